//! What a model takes of memory: its tensors, and the keys and values of sessions.

use std::fmt;

use crate::load::Stored;
use crate::nn::Spec;
use crate::nn::spec::Span;

/// A tensor of the model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name in this crate, which is where it stands in the module.
    pub name: String,
    /// Its shape, output size first.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub format: String,
    /// Bytes that it takes.
    pub bytes: usize,
}

/// What a model takes of memory, and what a session of it will.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Bytes of the weights, as they are stored.
    pub weights: usize,
    /// Whether the weights are pages of the files, which other processes share and which are read
    /// when they are used: so it is on the CPU.
    pub mapped: bool,
    /// Most tokens that a session can hold.
    pub window: usize,
    /// Of each layer: the most tokens that it holds, if it sees a sliding window, and the bytes of one.
    layers: Vec<(Option<usize>, usize)>,
    /// Whether there are sessions: an encoder has none.
    sessions: bool,
}

impl Memory {
    pub(crate) fn new(spec: &Spec, tensors: &[TensorInfo], cpu: bool) -> Memory {
        let layers = spec.layers.iter().enumerate().map(|(i, layer)| {
            let window = match layer.span {
                Span::Sliding { window } => Some(window),
                Span::Causal | Span::Bidirectional | Span::Local { .. } | Span::Chunked { .. } => {
                    None
                }
            };
            let own = spec.attention_of(i);
            // Keys and values in 32-bit floats.
            (window, 4 * own.kv_heads * (own.head_dim + own.value_dim()))
        });
        Memory {
            weights: tensors.iter().map(|tensor| tensor.bytes).sum(),
            mapped: cpu,
            window: spec.window,
            layers: layers.collect(),
            sessions: spec.has_logits(),
        }
    }

    /// Bytes that the keys and values of a session with so many tokens take; 0 for an encoder.
    pub fn cache(&self, tokens: usize) -> usize {
        let held = |(window, token): &(Option<usize>, usize)| {
            window.map_or(tokens, |window| window.min(tokens)).saturating_mul(*token)
        };
        match self.sessions {
            true => self.layers.iter().map(held).fold(0, usize::saturating_add),
            false => 0,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let how = if self.mapped { "mapped from the files" } else { "on the device" };
        write!(f, "weights {:.1} MB, {how}", mb(self.weights))?;
        if self.sessions {
            let some = 512.min(self.window);
            write!(f, "; a session of {some} tokens {:.1} MB", mb(self.cache(some)))?;
            write!(f, ", of {} tokens {:.1} MB", self.window, mb(self.cache(self.window)))?;
        }
        Ok(())
    }
}

impl TensorInfo {
    pub(crate) fn new(name: &str, stored: &Stored) -> Self {
        TensorInfo {
            name: name.to_string(),
            shape: stored.shape.clone(),
            format: stored.dtype.to_string(),
            bytes: stored.bytes.len(),
        }
    }
}
