//! What a forward pass gives: numbers for each token, on the host or on their way to it.

use burn::tensor::Tensor;

use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::nn::Reading;

/// Numbers for each token of a batch: logits of a decoder, hidden states of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    values: Vec<f32>,
    tokens: usize,
    width: usize,
    lengths: Vec<usize>,
    pub(crate) shown: Shown,
}

impl Output {
    pub(crate) fn new(values: Vec<f32>, tokens: usize, width: usize, lengths: Vec<usize>) -> Self {
        debug_assert_eq!(values.len(), lengths.len() * tokens * width);
        Output { values, tokens, width, lengths, shown: Shown::default() }
    }

    /// `[B, T, D]`, or `[B, T, V]` for logits; T is the longest row.
    pub fn shape(&self) -> [usize; 3] {
        [self.lengths.len(), self.tokens, self.width]
    }

    /// Tokens of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The numbers of token `t` of row `b`; `None` beyond the row's length.
    pub fn at(&self, b: usize, t: usize) -> Option<&[f32]> {
        if t >= *self.lengths.get(b)? {
            return None;
        }
        let start = (b * self.tokens + t) * self.width;
        Some(&self.values[start..start + self.width])
    }

    /// The numbers of the last token of row `b`; `None` for a row that is empty or not there.
    pub fn last(&self, b: usize) -> Option<&[f32]> {
        self.at(b, self.lengths.get(b)?.checked_sub(1)?)
    }

    /// All numbers, row-major. Those of padding, beyond a row's length, are zeros.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// The hidden states after `layer` blocks, if
    /// [`ForwardOptions::hidden_states`](crate::ForwardOptions::hidden_states) asked for them.
    pub fn hidden_states(&self, layer: usize) -> Option<&Output> {
        let found = self.shown.states.iter().find(|(own, _)| *own == layer);
        found.map(|(_, states)| states)
    }

    /// The attention weights of a layer, if
    /// [`ForwardOptions::attentions`](crate::ForwardOptions::attentions) asked for them.
    pub fn attentions(&self, layer: usize) -> Option<&AttentionMaps> {
        self.shown.maps.iter().find(|(own, _)| *own == layer).map(|(_, maps)| maps)
    }

    /// Takes out what [`hidden_states`](Self::hidden_states) shows.
    pub fn take_hidden_states(&mut self, layer: usize) -> Option<Output> {
        let states = &mut self.shown.states;
        let place = states.iter().position(|(own, _)| *own == layer)?;
        Some(states.swap_remove(place).1)
    }

    /// Takes out what [`attentions`](Self::attentions) shows.
    pub fn take_attentions(&mut self, layer: usize) -> Option<AttentionMaps> {
        let maps = &mut self.shown.maps;
        let place = maps.iter().position(|(own, _)| *own == layer)?;
        Some(maps.swap_remove(place).1)
    }

    /// All numbers, row-major, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

/// Attention weights of one layer: how much each token takes of each token that it sees.
///
/// Those of a token sum to 1; what it does not see weighs 0.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMaps {
    pub(crate) values: Vec<f32>,
    pub(crate) heads: usize,
    pub(crate) tokens: usize,
    pub(crate) lengths: Vec<usize>,
}

impl AttentionMaps {
    /// `[B, H, T, T]`: rows, query heads, the token that looks, the token that is looked at; T is
    /// the longest row.
    pub fn shape(&self) -> [usize; 4] {
        [self.lengths.len(), self.heads, self.tokens, self.tokens]
    }

    /// Tokens of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The weights of token `t` of row `b` in a head, one for each token of the row; `None` beyond
    /// the row's length or the last head.
    pub fn at(&self, b: usize, head: usize, t: usize) -> Option<&[f32]> {
        let length = *self.lengths.get(b)?;
        if t >= length || head >= self.heads {
            return None;
        }
        let start = ((b * self.heads + head) * self.tokens + t) * self.tokens;
        Some(&self.values[start..start + length])
    }

    /// All numbers, row-major. Those of padding, beyond a row's length, are zeros.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, row-major, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

/// What an output holds beside its numbers, by layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub states: Vec<(usize, Output)>,
    pub maps: Vec<(usize, AttentionMaps)>,
}

/// The numbers of a tensor, which come from a GPU while more is computed.
#[derive(Debug)]
pub(crate) enum Later {
    Here(Vec<f32>),
    Coming(Reading),
}

impl Later {
    pub(crate) fn of<const N: usize>(values: Tensor<N>, info: &DeviceInfo) -> Result<Later> {
        match Reading::begin(&values) {
            Some(reading) => Ok(Later::Coming(reading)),
            None => Ok(Later::Here(read(values, info)?)),
        }
    }

    /// Waits for them.
    pub(crate) fn read(self, info: &DeviceInfo) -> Result<Vec<f32>> {
        match self {
            Later::Here(values) => Ok(values),
            Later::Coming(reading) => {
                reading.floats().map_err(|problem| Error::Device { device: info.id(), problem })
            }
        }
    }
}

/// The numbers of a tensor, brought from its device.
pub(crate) fn read<const N: usize>(values: Tensor<N>, info: &DeviceInfo) -> Result<Vec<f32>> {
    let failed = |problem: String| Error::Device { device: info.id(), problem };
    let data = values.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| failed(format!("{error:?}")))
}

/// Refuses numbers that are not finite.
pub(crate) fn finite(what: &'static str, values: Vec<f32>) -> Result<Vec<f32>> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(Error::NotFinite { what }),
    }
}
