//! Static word vectors: a vector a word, whatever stands around it.

use std::path::{Path, PathBuf};

use emberform::{WordOptions, WordVectors as Core};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::choice::UnknownName;
use crate::error::raise;
use crate::numpy::{Array, Count, Given, Texts, Vector};

/// Opens word vectors: a word2vec `.bin` or `.txt`, a fastText `.bin` or `.vec`, GloVe text, any of
/// them in gzip, or a folder of model2vec or of sentence-transformers' `StaticEmbedding`.
///
/// What a file is, is seen from its bytes. Binary ones are mapped, not read: keep them as they are
/// while they are open.
///
/// Raises FileNotFoundError and other OSErrors when a file cannot be read, FormatError when it is
/// none of these or broken, ConfigError and UnsupportedError for what a folder's files say.
#[pyfunction]
pub fn open_words(py: Python<'_>, path: PathBuf) -> PyResult<WordVectors> {
    let opened = py.detach(|| Core::open(&path));
    let inner = opened.map_err(|error| raise(py, error))?;
    // A worker process may start in another folder.
    Ok(WordVectors { path: std::path::absolute(&path)?, inner })
}

/// A word near to what was asked for.
#[pyclass(frozen, eq, module = "emberform")]
#[derive(Clone, PartialEq)]
pub struct Neighbor {
    /// Its number in the file.
    #[pyo3(get)]
    index: usize,
    /// The word.
    #[pyo3(get)]
    word: String,
    /// The cosine of the angle to what was asked for, from -1 to 1.
    #[pyo3(get)]
    cosine: f32,
}

#[pymethods]
impl Neighbor {
    fn __repr__(&self) -> String {
        format!("<Neighbor {:?} {:.4}>", self.word, self.cosine)
    }
}

/// Word vectors from a file, or token vectors from a folder; from `open_words()`.
///
/// Any number of threads may use them at once. `len()` counts words, `in` asks for one exactly as
/// the file has it. They pickle by their path: the other side opens the file again.
#[pyclass(frozen, module = "emberform")]
pub struct WordVectors {
    inner: Core,
    path: PathBuf,
}

impl WordVectors {
    pub fn embeddings(
        &self,
        py: Python<'_>,
        texts: &Texts,
        unknown: Option<UnknownName>,
        normalize: Option<bool>,
        unit_words: bool,
        exact: bool,
        max_tokens: Option<Count>,
        dimensions: Option<Count>,
    ) -> PyResult<emberform::Embeddings> {
        let mut options = WordOptions::default().unit_words(unit_words).exact(exact);
        options.unknown = unknown.given(py, "unknown")?;
        options.normalize = normalize;
        options.max_tokens = max_tokens.given(py, "max_tokens")?;
        options.dimensions = dimensions.given(py, "dimensions")?;
        let given = texts.all();
        py.detach(|| self.inner.embed_with(&given, &options)).map_err(|error| raise(py, error))
    }

    fn search(
        &self,
        py: Python<'_>,
        search: impl FnOnce(&Core) -> emberform::Result<Vec<emberform::Neighbor>> + Send,
    ) -> PyResult<Vec<Neighbor>> {
        let found = py.detach(|| search(&self.inner)).map_err(|error| raise(py, error))?;
        let convert = |near: emberform::Neighbor| Neighbor {
            index: near.index,
            word: near.word,
            cosine: near.cosine,
        };
        Ok(found.into_iter().map(convert).collect())
    }
}

#[pymethods]
impl WordVectors {
    /// The vector of one word exactly as it stands, or of its pieces where the file has such.
    ///
    /// Raises ValueError for a word without a vector.
    fn vector(&self, py: Python<'_>, word: &str) -> PyResult<Array<f32>> {
        self.inner.vector(word).map(Array::flat).map_err(|error| raise(py, error))
    }

    /// The `count` words nearest to `word` by cosine, itself left out, best first.
    ///
    /// Every word is compared with. The first call measures all vectors, and of fastText's `.bin`
    /// it makes them first and keeps them, as fastText does.
    ///
    /// Raises ValueError for a word without a vector, NotFiniteError.
    #[pyo3(signature = (word, count=Count::from(10)), text_signature = "(word, count=10)")]
    fn nearest(&self, py: Python<'_>, word: PyBackedStr, count: Count) -> PyResult<Vec<Neighbor>> {
        let count = count.given(py, "count")?;
        self.search(py, |words| words.nearest(&word, count))
    }

    /// The `count` words nearest to a vector by cosine, best first.
    ///
    /// Raises ValueError for a vector of another width, NotFiniteError.
    #[pyo3(signature = (vector, count=Count::from(10)), text_signature = "(vector, count=10)")]
    fn nearest_to(&self, py: Python<'_>, vector: Vector, count: Count) -> PyResult<Vec<Neighbor>> {
        let count = count.given(py, "count")?;
        self.search(py, |words| words.nearest_to(&vector.0, count))
    }

    /// The `count` words nearest to `a - b + c`, these three left out, best first: `a` is to `b` as
    /// what is to `c`?
    ///
    /// Raises ValueError for a word without a vector, NotFiniteError.
    #[pyo3(signature = (a, b, c, count=Count::from(10)), text_signature = "(a, b, c, count=10)")]
    fn analogy(
        &self,
        py: Python<'_>,
        a: PyBackedStr,
        b: PyBackedStr,
        c: PyBackedStr,
        count: Count,
    ) -> PyResult<Vec<Neighbor>> {
        let count = count.given(py, "count")?;
        self.search(py, |words| words.analogy(&a, &b, &c, count))
    }

    /// The cosine of the angle between two words, from -1 to 1; 0 when a vector is all zeros.
    ///
    /// Raises ValueError for a word without a vector.
    fn similarity(&self, py: Python<'_>, a: &str, b: &str) -> PyResult<f32> {
        self.inner.similarity(a, b).map_err(|error| raise(py, error))
    }

    /// Word `index`, or token as its vocabulary writes it; None beyond the last.
    fn word(&self, py: Python<'_>, index: Count) -> PyResult<Option<String>> {
        Ok(self.inner.word(index.given(py, "index")?).map(String::from))
    }

    /// The number of `word`, exactly as the file has it; None when it has it not.
    fn index(&self, word: &str) -> Option<usize> {
        self.inner.index(word)
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __contains__(&self, word: &str) -> bool {
        self.inner.index(word).is_some()
    }

    /// Numbers of a vector (D).
    #[getter]
    fn width(&self) -> usize {
        self.inner.width()
    }

    /// What the file is: "word2vec binary", "word2vec text", "GloVe text", "fastText binary", or
    /// "token" for a folder.
    #[getter]
    fn format(&self) -> &'static str {
        self.inner.format()
    }

    /// Whether a word that is not in the file gets a vector from its pieces.
    #[getter]
    fn has_subwords(&self) -> bool {
        self.inner.has_subwords()
    }

    /// The file or folder that was opened, absolute.
    #[getter]
    fn path(&self) -> &Path {
        &self.path
    }

    fn __repr__(&self) -> String {
        format!("<WordVectors {}>", self.inner)
    }

    #[pyo3(signature = () -> "tuple[object, ...]")]
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (&Path,))> {
        Ok((py.import("emberform")?.getattr("open_words")?, (&self.path,)))
    }

    /// Nothing in it changes, so a copy is itself.
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Nothing in it changes, so a copy is itself.
    fn __deepcopy__(slf: Py<Self>, _memo: Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}
