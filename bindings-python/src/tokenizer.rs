//! Text to token ids and back.

use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;

use crate::error::raise;
use crate::generate::claim;
use crate::numpy::{Array, Count, Given, Ids, Texts};

/// The tokens of one text or of a pair of texts; every array has one entry a token, [T].
#[pyclass(frozen, module = "emberform")]
pub struct Encoding {
    inner: emberform::Encoding,
    /// The texts, to count characters in when somebody asks for offsets.
    first: PyBackedStr,
    second: Option<PyBackedStr>,
}

impl Encoding {
    fn new(py: Python<'_>, inner: emberform::Encoding, first: &PyBackedStr) -> Self {
        Encoding { inner, first: first.clone_ref(py), second: None }
    }
}

#[pymethods]
impl Encoding {
    /// Token ids: uint32 [T].
    #[getter]
    fn ids(&self) -> Array<u32> {
        Array::flat(self.inner.ids.clone())
    }

    /// Which text of a pair a token is of, 0 or 1: uint32 [T].
    #[getter]
    fn type_ids(&self) -> Array<u32> {
        Array::flat(self.inner.type_ids.clone())
    }

    /// Where a token comes from: int64 [T, 2], start and end in characters of its text, so that
    /// `text[start:end]` is what stands there. (0, 0) for tokens that no text stands behind.
    #[getter]
    fn offsets(&self) -> Array<i64> {
        let second = self.second.as_deref().unwrap_or("");
        let offsets = self.inner.char_offsets_pair(&self.first, second);
        let values = offsets.iter().flat_map(|&(from, to)| [from as i64, to as i64]).collect();
        Array { values, shape: vec![offsets.len(), 2] }
    }

    /// Whether a token was put there by the tokenizer rather than by the text, as `[CLS]` is:
    /// bool [T].
    #[getter]
    fn special(&self) -> Array<bool> {
        Array::flat(self.inner.special.clone())
    }

    /// Ones, uint32 [T]: no token here is padding.
    #[getter]
    fn attention_mask(&self) -> Array<u32> {
        Array::flat(vec![1; self.inner.ids.len()])
    }

    /// How many tokens of the text were left out to keep to a limit.
    #[getter]
    fn cut(&self) -> usize {
        self.inner.cut
    }

    /// The number of tokens.
    fn __len__(&self) -> usize {
        self.inner.ids.len()
    }

    /// Always true: an encoding of no tokens is an encoding.
    fn __bool__(&self) -> bool {
        true
    }

    fn __eq__(&self, other: &Encoding) -> bool {
        self.inner == other.inner
    }

    fn __repr__(&self) -> String {
        let shown: Vec<String> = self.inner.ids.iter().take(8).map(u32::to_string).collect();
        let more = if self.inner.ids.len() > 8 { ", ..." } else { "" };
        let cut = match self.inner.cut {
            0 => String::new(),
            cut => format!(", {cut} cut"),
        };
        format!("<Encoding {} tokens{cut}: [{}{more}]>", self.inner.ids.len(), shown.join(", "))
    }
}

/// Turns text into token ids and back. Works from any number of threads at once; pickles by value.
#[pyclass(frozen, module = "emberform")]
pub struct Tokenizer {
    inner: emberform::Tokenizer,
}

impl From<emberform::Tokenizer> for Tokenizer {
    fn from(inner: emberform::Tokenizer) -> Self {
        Tokenizer { inner }
    }
}

#[pymethods]
impl Tokenizer {
    /// Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file.
    ///
    /// Raises FileNotFoundError and other OSErrors, FormatError, UnsupportedError, and
    /// MissingError when a GGUF file has none.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| emberform::Tokenizer::open(path));
        opened.map(Self::from).map_err(|error| raise(py, error))
    }

    /// A tokenizer from the bytes of a `tokenizer.json` or GGUF file, or from `to_bytes()`.
    ///
    /// Raises FormatError, UnsupportedError, MissingError; messages name the file `bytes`.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let opened = py.detach(|| emberform::Tokenizer::from_bytes(data));
        opened.map(Self::from).map_err(|error| raise(py, error))
    }

    /// The tokenizer by value: the text of its `tokenizer.json`, or a GGUF file without tensors.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.inner.to_bytes());
        PyBytes::new(py, &bytes)
    }

    /// The tokens of `text`, or of `text` and `pair` together, as of a question and a passage.
    ///
    /// `special`: with the tokens around a text too, such as `[CLS]` and `[SEP]`. Control tokens
    /// that are written out in the text are found in both cases.
    /// `limit`: the most tokens in all; the text is cut on the right, the tokens around it stay,
    /// and `cut` counts what is left out. Not for a pair. Default: none.
    ///
    /// Raises ValueError for a text over 1 GiB, or a limit without room for the special tokens.
    #[pyo3(signature = (text, pair=None, *, special=true, limit=None))]
    fn encode(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        pair: Option<PyBackedStr>,
        special: bool,
        limit: Option<Count>,
    ) -> PyResult<Encoding> {
        let limit: Option<usize> = limit.given(py, "limit")?;
        if pair.is_some() && limit.is_some() {
            return Err(crate::error::argument(py, "limit", "cannot be given for a pair"));
        }
        let encoded = py.detach(|| match (&pair, limit) {
            (Some(pair), _) => self.inner.encode_pair(&text, pair, special),
            (None, Some(limit)) => self.inner.encode_limited(&text, special, limit),
            (None, None) => self.inner.encode(&text, special),
        });
        let inner = encoded.map_err(|error| raise(py, error))?;
        Ok(Encoding { inner, first: text, second: pair })
    }

    /// The tokens of many texts, in order, on all cores; options as those of `encode`.
    ///
    /// Raises as `encode`.
    #[pyo3(signature = (texts, *, special=true, limit=None))]
    fn encode_batch(
        &self,
        py: Python<'_>,
        texts: Texts,
        special: bool,
        limit: Option<Count>,
    ) -> PyResult<Vec<Encoding>> {
        let limit = limit.given(py, "limit")?;
        let encoded = py.detach(|| self.inner.encode_batch(&texts.all(), special, limit));
        let encoded = encoded.map_err(|error| raise(py, error))?;
        let pairs = encoded.into_iter().zip(&texts.texts);
        Ok(pairs.map(|(inner, text)| Encoding::new(py, inner, text)).collect())
    }

    /// The tokens of `text` in windows of at most `limit` tokens each, special ones included; each
    /// begins with the last `stride` tokens of text of the one before. A text that fits is one
    /// window.
    ///
    /// Raises as `encode`, and ValueError if `stride` leaves no room for a new token.
    #[pyo3(signature = (text, *, limit, stride=None, special=true))]
    fn encode_windows(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        limit: Count,
        stride: Option<Count>,
        special: bool,
    ) -> PyResult<Vec<Encoding>> {
        let limit = limit.given(py, "limit")?;
        let stride: Option<usize> = stride.given(py, "stride")?;
        let stride = stride.unwrap_or(0);
        let encoded = py.detach(|| self.inner.encode_windows(&text, special, limit, stride));
        let encoded = encoded.map_err(|error| raise(py, error))?;
        Ok(encoded.into_iter().map(|inner| Encoding::new(py, inner, &text)).collect())
    }

    /// How many tokens `encode` gives.
    ///
    /// Raises as `encode`.
    #[pyo3(signature = (text, *, special=true))]
    fn count(&self, py: Python<'_>, text: PyBackedStr, special: bool) -> PyResult<usize> {
        py.detach(|| self.inner.count(&text, special)).map_err(|error| raise(py, error))
    }

    /// The text of token ids, [T]; with `skip_special` without control tokens. Bytes that are no
    /// UTF-8 become U+FFFD.
    ///
    /// Raises ValueError for an id that is not in the vocabulary.
    #[pyo3(signature = (ids, *, skip_special=true))]
    fn decode(&self, py: Python<'_>, ids: Ids, skip_special: bool) -> PyResult<String> {
        let decoded = py.detach(|| self.inner.decode(&ids.0, skip_special));
        decoded.map_err(|error| raise(py, error))
    }

    /// Decodes tokens as they come, without ever giving half a character.
    #[pyo3(signature = (*, skip_special=true))]
    fn stream(&self, skip_special: bool) -> DecodeStream {
        DecodeStream { inner: Mutex::new(self.inner.stream(skip_special)) }
    }

    /// The string of a token as the vocabulary writes it, such as `Ġthe` or `▁the`.
    ///
    /// Raises IndexError for an id that is no token.
    fn token(&self, py: Python<'_>, id: Count) -> PyResult<String> {
        let id: u32 = id.given(py, "id")?;
        let problem = || PyIndexError::new_err(format!("{id} is no token of this vocabulary"));
        self.inner.token(id).ok_or_else(problem)
    }

    /// The id of a token, written as `token` writes it.
    ///
    /// Raises KeyError for a string that is no token.
    fn id(&self, token: &str) -> PyResult<u32> {
        self.inner.id(token).ok_or_else(|| PyKeyError::new_err(token.to_string()))
    }

    /// Whether `skip_special` leaves this token out.
    fn is_special(&self, py: Python<'_>, id: Count) -> PyResult<bool> {
        Ok(self.inner.is_special(id.given(py, "id")?))
    }

    /// Whether there is such a token.
    fn __contains__(&self, token: &str) -> bool {
        self.inner.id(token).is_some()
    }

    /// The size of the vocabulary: every id is below it.
    fn __len__(&self) -> usize {
        self.inner.len()
    }

    /// Always true, whatever its length.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        format!("<Tokenizer of {} tokens>", self.inner.len())
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let rebuild = slf.get_type().getattr("from_bytes")?;
        Ok((rebuild, (slf.get().to_bytes(slf.py()),)))
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

/// Turns tokens into text as they come; from `Tokenizer.stream()`. One thread at a time.
#[pyclass(frozen, module = "emberform")]
pub struct DecodeStream {
    inner: Mutex<emberform::DecodeStream>,
}

#[pymethods]
impl DecodeStream {
    /// Takes the next token and gives the text that has become certain, which may be empty. All
    /// pieces and what `finish` gives are together what `decode` gives for all tokens.
    ///
    /// Raises ValueError for an id that is not in the vocabulary.
    fn push(&self, py: Python<'_>, id: Count) -> PyResult<String> {
        let id = id.given(py, "id")?;
        let text = claim("stream", &self.inner).and_then(|mut inner| inner.push(id));
        Ok(text.map_err(|error| raise(py, error))?.unwrap_or_default())
    }

    /// Gives what was held back, with U+FFFD for half a character, and starts anew.
    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        let text = claim("stream", &self.inner).map(|mut inner| inner.finish());
        Ok(text.map_err(|error| raise(py, error))?.unwrap_or_default())
    }
}
