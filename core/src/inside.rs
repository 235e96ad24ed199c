//! Hidden states between blocks, and attention maps: what a forward pass is asked to show of its
//! inside, gathered over its batches.

use burn::tensor::Tensor;

use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::nn::Spec;
use crate::output::{AttentionMaps, Output, Shown, read};
use crate::reserve::zeros;

/// What one pass through the network is asked to keep, by layer; the pass fills it.
#[derive(Debug, Default)]
pub(crate) struct See {
    /// Hidden states before block `i`, or the last ones, `[B, T, D]`.
    pub states: Vec<(usize, Option<Tensor<3>>)>,
    /// Attention weights of block `i`, `[B, H, T, S]`.
    pub maps: Vec<(usize, Option<Tensor<4>>)>,
}

/// All that a call asked for, gathered over its batches.
pub(crate) struct Inside {
    tokens: usize,
    width: usize,
    heads: usize,
    states: Vec<(usize, Vec<f32>)>,
    maps: Vec<(usize, Vec<f32>)>,
}

impl Inside {
    /// Room for `rows` rows of at most `tokens` tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] for a layer that is not there, [`Error::Memory`] without room.
    pub(crate) fn new(
        spec: &Spec,
        states: &[usize],
        maps: &[usize],
        rows: usize,
        tokens: usize,
    ) -> Result<Inside> {
        let (layers, width, heads) = (spec.layers.len(), spec.width, spec.attention.heads);
        let own = |argument, wanted: &[usize], end: usize| {
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            wanted.dedup();
            match wanted.last() {
                Some(last) if *last >= end => {
                    let problem =
                        format!("hold {last}, not below {end}: there are {layers} layers");
                    Err(Error::argument(argument, problem))
                }
                _ => Ok(wanted),
            }
        };
        let room = |wanted: Vec<usize>, what, shape: &[usize]| -> Result<Vec<_>> {
            wanted.into_iter().map(|layer| Ok((layer, zeros(what, shape)?))).collect()
        };
        let states = own("hidden_states", states, layers + 1)?;
        let maps = own("attentions", maps, layers)?;
        Ok(Inside {
            tokens,
            width,
            heads,
            states: room(states, "hidden states", &[rows, tokens, width])?,
            maps: room(maps, "attention maps", &[rows, heads, tokens, tokens])?,
        })
    }

    /// Whether a pass must see all of a row at once.
    pub(crate) fn whole(&self) -> bool {
        !self.maps.is_empty()
    }

    /// What a pass is asked to keep.
    pub(crate) fn ask(&self) -> See {
        See {
            states: self.states.iter().map(|(layer, _)| (*layer, None)).collect(),
            maps: self.maps.iter().map(|(layer, _)| (*layer, None)).collect(),
        }
    }

    /// Takes in what a pass kept: of each of its rows, the row in the whole, the first token and
    /// how many.
    pub(crate) fn take(
        &mut self,
        see: See,
        rows: &[(usize, usize, usize)],
        info: &DeviceInfo,
    ) -> Result<()> {
        let (all, width, heads) = (self.tokens, self.width, self.heads);
        for ((_, into), (_, kept)) in self.states.iter_mut().zip(see.states) {
            let Some(kept) = kept else { continue };
            let [_, t, _] = kept.dims();
            let values = read(kept, info)?;
            for ((row, from, count), values) in rows.iter().zip(values.chunks_exact(t * width)) {
                let start = (row * all + from) * width;
                into[start..start + count * width].copy_from_slice(&values[..count * width]);
            }
        }
        for ((_, into), (_, kept)) in self.maps.iter_mut().zip(see.maps) {
            let Some(kept) = kept else { continue };
            let [_, _, t, s] = kept.dims();
            let values = read(kept, info)?;
            for (i, map) in values.chunks_exact(t * s).enumerate() {
                let (row, from, count) = rows[i / heads];
                let start = (row * heads + i % heads) * all;
                for (token, weights) in map.chunks_exact(s).take(count).enumerate() {
                    let start = (start + from + token) * all;
                    into[start..start + count].copy_from_slice(&weights[..count]);
                }
            }
        }
        Ok(())
    }

    /// The results by layer.
    pub(crate) fn finish(self, lengths: &[usize]) -> Shown {
        let (tokens, width, heads) = (self.tokens, self.width, self.heads);
        let lengths = || lengths.to_vec();
        let states = self.states.into_iter();
        let maps = self.maps.into_iter();
        Shown {
            states: states
                .map(|(layer, values)| (layer, Output::new(values, tokens, width, lengths())))
                .collect(),
            maps: maps
                .map(|(layer, values)| {
                    (layer, AttentionMaps { values, heads, tokens, lengths: lengths() })
                })
                .collect(),
        }
    }
}
