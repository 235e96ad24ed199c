//! Pooling: one vector out of the hidden states of a text's tokens.

use std::str::FromStr;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::nn::{gpu, host};

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean over tokens.
    Mean,
    /// The first token's state, BERT's `[CLS]`.
    First,
    /// The last token's state.
    Last,
    /// The largest value of each dimension.
    Max,
    /// The sum over tokens divided by the root of their number.
    MeanSqrt,
    /// The mean with weights 1, 2, 3, ... (SGPT, arXiv:2202.08904).
    WeightedMean,
}

impl FromStr for Pooling {
    type Err = Error;

    /// Reads the names of sentence-transformers: `mean`, `cls`, `lasttoken`, `max`,
    /// `mean_sqrt_len_tokens`, `weightedmean`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "mean" => Pooling::Mean,
            "cls" | "first" => Pooling::First,
            "lasttoken" | "last" => Pooling::Last,
            "max" => Pooling::Max,
            "mean_sqrt_len_tokens" => Pooling::MeanSqrt,
            "weightedmean" => Pooling::WeightedMean,
            _ => {
                let known = "mean, cls, lasttoken, max, mean_sqrt_len_tokens, weightedmean";
                return Err(Error::Unsupported {
                    what: format!("pooling `{name}`"),
                    known: known.to_string(),
                });
            }
        })
    }
}

/// A text's tokens in a batch: how many there are, and how many of the first are not pooled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PooledRow {
    pub tokens: usize,
    pub skipped: usize,
}

impl Pooling {
    /// Pools a batch. A row without tokens to pool gives zeros.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]`, B rows -> `[B, D]`
    pub(crate) fn forward(self, hidden: Tensor<3>, rows: &[PooledRow]) -> Tensor<2> {
        let [b, t, d] = hidden.dims();
        let device = hidden.device();
        if self == Pooling::Max {
            let mut left_out = Vec::with_capacity(b * t);
            for row in rows {
                let empty = row.skipped >= row.tokens;
                left_out.extend((0..t).map(|i| !empty && !(row.skipped..row.tokens).contains(&i)));
            }
            let left_out =
                Tensor::<3, Bool>::from_data(TensorData::new(left_out, [b, t, 1]), &device);
            let pooled = hidden.mask_fill(left_out.expand([b, t, d]), f32::MIN).max_dim(1);
            let full =
                rows.iter().map(|row| f32::from(row.skipped < row.tokens)).collect::<Vec<_>>();
            let full = Tensor::<3>::from_data(TensorData::new(full, [b, 1, 1]), &device);
            return (pooled * full).reshape([b, d]);
        }
        // All the others are sums with weights, and padding weighs nothing.
        let mut weights = Vec::with_capacity(b * t);
        for row in rows {
            weights.extend(self.weights(*row, t));
        }
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [b, 1, t]), &device);
        weights.matmul(hidden).reshape([b, d])
    }

    /// Whether [`packed`](Self::packed) knows this device.
    pub(crate) fn packs(self, device: &Device) -> bool {
        host::is_host(device) || (gpu::is_gpu(device) && self != Pooling::Max)
    }

    /// Pools sequences that stand one after another: what [`forward`](Self::forward) gives. `None`
    /// where [`packs`](Self::packs) says no.
    ///
    /// # Shapes
    /// `hidden: [1, N, D]`, the tokens of B rows -> `[B, D]`
    pub(crate) fn packed(self, hidden: &Tensor<3>, rows: &[PooledRow]) -> Option<Tensor<2>> {
        let [_, n, d] = hidden.dims();
        if let Some(values) = host::floats(hidden) {
            return Some(host::tensor(self.on_host(&values, d, rows), [rows.len(), d]));
        }
        if self == Pooling::Max {
            return None;
        }
        let mut weights = Vec::with_capacity(n);
        let mut ranges = Vec::with_capacity(rows.len());
        for row in rows {
            let start = weights.len();
            weights.extend(self.weights(*row, row.tokens));
            // Of the first or the last token alone, only that one is read.
            let weighs = |weight: &f32| *weight != 0.0;
            let from = weights[start..].iter().position(weighs).unwrap_or(0);
            let to = weights[start..].iter().rposition(weighs).map_or(0, |last| last + 1);
            ranges.push(start + from..start + to);
        }
        gpu::pool(hidden, weights, &ranges)
    }

    /// As [`packed`](Self::packed), in plain floats.
    ///
    /// # Shapes
    /// `hidden: [N, D]`, the tokens of B rows -> `[B, D]`
    fn on_host(self, hidden: &[f32], d: usize, rows: &[PooledRow]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * d];
        let mut rest = hidden;
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(d.max(1))) {
            let (states, after) = rest.split_at(row.tokens * d);
            rest = after;
            let states = states.chunks_exact(d.max(1));
            if self == Pooling::Max {
                if row.skipped < row.tokens {
                    out.fill(f32::MIN);
                }
                for state in states.skip(row.skipped) {
                    for (out, x) in out.iter_mut().zip(state) {
                        // A NaN stays: a broken model must be seen.
                        *out = if *x > *out || x.is_nan() { *x } else { *out };
                    }
                }
                continue;
            }
            for (state, weight) in states.zip(self.weights(*row, row.tokens)) {
                if weight != 0.0 {
                    out.iter_mut().zip(state).for_each(|(out, x)| *out += weight * x);
                }
            }
        }
        out
    }

    /// The weight of each of a row's `t` places.
    fn weights(self, row: PooledRow, t: usize) -> Vec<f32> {
        let pooled = row.skipped.min(row.tokens)..row.tokens;
        let n = pooled.len() as f32;
        // Weights of places count from the text's start, the tokens not pooled included.
        let total: f32 = pooled.clone().map(|i| (i + 1) as f32).sum();
        (0..t)
            .map(|i| match self {
                _ if !pooled.contains(&i) => 0.0,
                Pooling::Mean => 1.0 / n,
                Pooling::MeanSqrt => 1.0 / n.sqrt(),
                Pooling::WeightedMean => (i + 1) as f32 / total,
                Pooling::First => f32::from(i == pooled.start),
                Pooling::Last => f32::from(i + 1 == pooled.end),
                Pooling::Max => unreachable!("the largest value is no weighted sum"),
            })
            .collect()
    }
}
