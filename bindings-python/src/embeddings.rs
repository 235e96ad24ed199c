//! Embedding texts; and embeddings as rows, with what one does with them first: compare and search.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::choice::{PoolingName, UnknownName};
use crate::error::raise;
use crate::model::Model;
use crate::numpy::{Array, Count, Given, Texts, Vector, View};
use crate::progress::Progress;
use crate::words::WordVectors;

/// Writes `embed` and `embed_with` of a class: a block of `#[pymethods]` beside the class's own, so
/// that what `help()` and the stubs show is what Python checks, and both take the same options.
///
/// ```text
/// embeds! {
///     impl Class(option: Type = default, ...) {
///         /// What they do.
///         fn embed;
///         fn embed_with;
///     }
/// }
/// ```
/// The options are keywords. `embeddings`, a method of the class, gets them after the texts.
macro_rules! embeds {
    (impl $class:ident($($option:ident: $kind:ident $(<$of:ident>)? = $default:tt),* $(,)?) {
        $(#[doc = $doc:tt])*
        fn embed;
        $(#[doc = $more:tt])*
        fn embed_with;
    }) => {
        #[pymethods]
        impl $class {
            $(#[doc = $doc])*
            #[pyo3(signature = (texts, *, $($option=$default),*))]
            fn embed(
                &self,
                py: Python<'_>,
                texts: Texts,
                $($option: $kind $(<$of>)?,)*
            ) -> PyResult<Array<f32>> {
                let found = self.embeddings(py, &texts, $($option),*)?;
                let (rows, width) = (found.len(), found.width());
                let shape = if texts.single { vec![width] } else { vec![rows, width] };
                Ok(Array { values: found.into_vec(), shape })
            }

            $(#[doc = $more])*
            #[pyo3(signature = (texts, *, $($option=$default),*))]
            fn embed_with(
                &self,
                py: Python<'_>,
                texts: Texts,
                $($option: $kind $(<$of>)?,)*
            ) -> PyResult<Embeddings> {
                self.embeddings(py, &texts, $($option),*).map(Embeddings::from)
            }
        }
    };
}

embeds! {
    impl Model(
        normalize: Option<bool> = None,
        prompt: Option<String> = None,
        prompt_name: Option<String> = None,
        pooling: Option<PoolingName> = None,
        max_tokens: Option<Count> = None,
        dimensions: Option<Count> = None,
        batch_tokens: Option<Count> = None,
        progress: Option<Progress> = None,
    ) {
        /// Embeds texts, by default as the model's folder says.
        ///
        /// `texts`: one text or several.
        /// `normalize`: whether vectors have length 1.
        /// `prompt`: text put before each text; `prompt_name`: one of the folder's, see `prompts`.
        /// `pooling`: how tokens become a vector. Default: as the folder says; else the mean for an
        /// encoder and the last token for a decoder.
        /// `max_tokens`: most tokens of a text, special ones included; the rest is cut.
        /// `dimensions`: keep the first numbers of a vector only (Matryoshka).
        /// `batch_tokens`: most tokens of a batch, padding included. Default: 512 on a CPU;
        /// 2048 on a GPU, on one with memory of its own up to 16384, fewer the wider the model is.
        /// `progress`: called as `progress(done, all)` after each batch, texts counted, maybe on another
        /// thread; what it raises ends the call. True shows a bar of tqdm, which must be installed.
        ///
        /// Returns float32, C-contiguous: [D] for one text, [B, D] for B texts in their order. A text
        /// without a token, as an empty one can be, gives zeros.
        ///
        /// Raises MissingError without a tokenizer, ValueError for an option out of range,
        /// UnsupportedError for a pooling that is not known, MemoryError when there is no room for the
        /// result, DeviceError, NotFiniteError.
        fn embed;

        /// As `embed`, with how many tokens of each text were left out, and with rows that compare and
        /// search: `.values`, `.cut`, `.cosine(i, j)`, `.nearest(query)`.
        ///
        /// Arguments and errors are those of `embed`. One text gives one row.
        fn embed_with;
    }
}

embeds! {
    impl WordVectors(
        unknown: Option<UnknownName> = None,
        normalize: Option<bool> = None,
        unit_words: bool = false,
        exact: bool = false,
        max_tokens: Option<Count> = None,
        dimensions: Option<Count> = None,
    ) {
        /// Embeds texts: the mean of the vectors of their words, which white space divides, or of their
        /// tokens. The vector of a text of one word is the word's.
        ///
        /// `texts`: one text or several.
        /// `unknown`: what becomes of words without a vector. "error" raises, "skip" leaves them out,
        /// "zero" counts them as zeros, "subwords" makes a vector of their pieces. Default: "subwords"
        /// where the file has pieces, else "skip"; for folders, as the reference does.
        /// `normalize`: whether embeddings have length 1. Default: as the folder says; not for files.
        /// `unit_words`: whether each word's vector is brought to length 1 before the mean, as fastText's
        /// sentence vectors and gensim's `get_mean_vector` have it.
        /// `exact`: look words up only as they stand. Without it, a word that is not in the file is
        /// looked up without the punctuation around it, then in lower case.
        /// `max_tokens`: most tokens of a text, for folders; the rest is cut.
        /// `dimensions`: keep the first numbers of a vector only (Matryoshka).
        ///
        /// Returns float32, C-contiguous: [D] for one text, [B, D] for B texts in their order. A text
        /// without a known word gives zeros.
        ///
        /// Raises ValueError for an option out of range and for an unknown word under "error",
        /// MissingError for "subwords" in a file without pieces, NotFiniteError.
        fn embed;

        /// As `embed`, with how many words or tokens of each text were left out, and with rows that
        /// compare and search: `.values`, `.cut`, `.cosine(i, j)`, `.nearest(query)`.
        ///
        /// Arguments and errors are those of `embed`. One text gives one row.
        fn embed_with;
    }
}

/// Embeddings, one row a text in the order of the texts; from `embed_with()` of a model or of word
/// vectors. `len()` counts rows.
#[pyclass(frozen, module = "emberform")]
pub struct Embeddings(Arc<emberform::Embeddings>);

impl From<emberform::Embeddings> for Embeddings {
    fn from(found: emberform::Embeddings) -> Self {
        Embeddings(Arc::new(found))
    }
}

#[pymethods]
impl Embeddings {
    /// All rows: float32 [B, D], C-contiguous. The array only reads them; `.copy()` makes one that
    /// can be written to.
    #[getter]
    fn values(&self) -> View<emberform::Embeddings> {
        View::new(self.0.clone(), self.0.as_slice(), vec![self.0.len(), self.0.width()])
    }

    /// Tokens of each text that were left out: those beyond the limit, and of word vectors those
    /// that are not known.
    #[getter]
    fn cut(&self) -> Vec<usize> {
        self.0.cut().to_vec()
    }

    /// Numbers in a row (D).
    #[getter]
    fn width(&self) -> usize {
        self.0.width()
    }

    /// The cosine of the angle between rows `i` and `j`, from -1 to 1; 0 when a row is all zeros or
    /// is not there.
    fn cosine(&self, py: Python<'_>, i: Count, j: Count) -> PyResult<f32> {
        Ok(self.0.cosine(i.given(py, "i")?, j.given(py, "j")?))
    }

    /// The `count` rows nearest to `query` by cosine, best first, as (row, cosine). Of equals the
    /// first row comes first.
    ///
    /// `query`: a vector of D numbers, as `Model.embed` gives for one text.
    ///
    /// Raises ValueError for a query of another width.
    #[pyo3(signature = (query, count=Count::from(10)), text_signature = "(query, count=10)")]
    fn nearest(&self, py: Python<'_>, query: Vector, count: Count) -> PyResult<Vec<(usize, f32)>> {
        let count = count.given(py, "count")?;
        py.detach(|| self.0.nearest(&query.0, count)).map_err(|error| raise(py, error))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<Embeddings {} of width {}>", self.0.len(), self.0.width())
    }
}
