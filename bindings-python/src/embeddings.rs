//! Embeddings as rows, and what one does with them first: compare and search.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::error::raise;
use crate::numpy::{Array, Count, Given, Vector, View};

/// The numbers of a result as an array: `[D]` of a single text, else `[B, D]`.
pub fn array(embeddings: emberform::Embeddings, single: bool) -> Array<f32> {
    let (rows, width) = (embeddings.len(), embeddings.width());
    let shape = if single { vec![width] } else { vec![rows, width] };
    Array { values: embeddings.into_vec(), shape }
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
