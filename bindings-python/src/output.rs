//! What a forward pass gives beside its numbers: hidden states and attention maps.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::numpy::{Array, Held};

/// Numbers for each token of a batch, and what was asked for of the network's inside; from
/// `Model.forward_with()`.
///
/// Where one row of ids was given, the arrays have no B.
#[pyclass(frozen, module = "emberform")]
pub struct Output {
    values: Held,
    lengths: Vec<usize>,
    hidden_states: BTreeMap<usize, Held>,
    attentions: BTreeMap<usize, Held>,
    shape: Vec<usize>,
}

/// The numbers of a result as an array; of a single row without the B.
pub fn array(output: emberform::Output, single: bool) -> Array<f32> {
    let shape = output.shape()[usize::from(single)..].to_vec();
    Array { values: output.into_vec(), shape }
}

impl Output {
    /// Takes over a result with the layers that were asked for.
    pub fn new(
        py: Python<'_>,
        mut output: emberform::Output,
        single: bool,
        hidden_states: &[usize],
        attentions: &[usize],
    ) -> PyResult<Output> {
        let mut states = BTreeMap::new();
        for layer in hidden_states {
            if let Some(found) = output.take_hidden_states(*layer) {
                states.insert(*layer, array(found, single).held(py)?);
            }
        }
        let mut maps = BTreeMap::new();
        for layer in attentions {
            if let Some(found) = output.take_attentions(*layer) {
                let shape = found.shape()[usize::from(single)..].to_vec();
                maps.insert(*layer, Array { values: found.into_vec(), shape }.held(py)?);
            }
        }
        let lengths = output.lengths().to_vec();
        let values = array(output, single);
        let shape = values.shape.clone();
        let values = values.held(py)?;
        Ok(Output { values, lengths, hidden_states: states, attentions: maps, shape })
    }
}

#[pymethods]
impl Output {
    /// The numbers that `Model.forward` gives: float32 [B, T, V] or [B, T, D].
    #[getter]
    fn values(&self) -> &Held {
        &self.values
    }

    /// Tokens of each row; what is beyond is zeros.
    #[getter]
    fn lengths(&self) -> Vec<usize> {
        self.lengths.clone()
    }

    /// The hidden states that were asked for, by layer: float32 [B, T, D].
    #[getter]
    fn hidden_states(&self) -> BTreeMap<usize, &Held> {
        self.hidden_states.iter().map(|(layer, states)| (*layer, states)).collect()
    }

    /// The attention weights that were asked for, by layer: float32 [B, H, T, T], of query heads (H),
    /// the token that looks and the token that is looked at. Those of a token sum to 1.
    #[getter]
    fn attentions(&self) -> BTreeMap<usize, &Held> {
        self.attentions.iter().map(|(layer, maps)| (*layer, maps)).collect()
    }

    fn __repr__(&self) -> String {
        let layers = |held: &BTreeMap<usize, Held>| held.keys().copied().collect::<Vec<_>>();
        format!(
            "<Output {:?}, hidden states of {:?}, attentions of {:?}>",
            self.shape,
            layers(&self.hidden_states),
            layers(&self.attentions)
        )
    }
}
