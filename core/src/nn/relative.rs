//! Learned relative positions, what the distance of two tokens adds to their score: a table of
//! vectors or of numbers, made ready once for all blocks.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::norm::Norm;
use super::source::Source;
use super::spec::{Relative, Spec};
use super::weight::Weight;
use crate::error::Result;

/// The table of distances that all blocks share.
#[derive(Module, Debug)]
pub struct Distances {
    /// A number a head for each bucket, `[buckets, H]`; or a vector a distance, `[2 reach, D]`.
    pub table: Weight,
    /// Norm over the vectors.
    pub norm: Option<Norm>,
}

/// Distances as vectors, for one pass: what [`Relative::Disentangled`] needs.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    /// `[1, 2 reach, D]`
    pub table: Tensor<3>,
    /// The row of the table for each query and key, `[1, 1, T, S]`.
    pub rows: Tensor<4, Int>,
}

impl Distances {
    pub(crate) fn build(
        source: &mut dyn Source,
        relative: &Relative,
        spec: &Spec,
    ) -> Result<Distances> {
        let (rows, width, norm) = match *relative {
            Relative::Buckets { count, .. } => (count, spec.attention.heads, false),
            Relative::Disentangled { reach, norm, .. } => (2 * reach, spec.width, norm),
        };
        let norm = match norm {
            true => Some(Norm::build(source, "relative.norm", width, spec.norm)?),
            false => None,
        };
        Ok(Distances { table: source.matrix("relative.table.weight", rows, width)?, norm })
    }

    /// What buckets add to scores.
    ///
    /// # Shapes
    /// T queries, S keys -> `[1, H, T, S]`
    pub(crate) fn bias(
        &self,
        (count, furthest, both): (usize, usize, bool),
        queries: &[usize],
        keys: &[usize],
        device: &Device,
    ) -> Tensor<4> {
        let (t, s) = (queries.len(), keys.len());
        let buckets = pairs(queries, keys, |distance| bucket(distance, count, furthest, both));
        let buckets = Tensor::from_data(TensorData::new(buckets, [t * s]), device);
        let bias = self.table.select(buckets); // [T * S, H]
        let [_, heads] = bias.dims();
        bias.reshape([1, t, s, heads]).permute([0, 3, 1, 2])
    }

    /// Distances as vectors.
    pub(crate) fn vectors(
        &self,
        reach: usize,
        furthest: Option<usize>,
        queries: &[usize],
        keys: &[usize],
        device: &Device,
    ) -> Vectors {
        let (t, s) = (queries.len(), keys.len());
        let rows = pairs(queries, keys, |distance| row(distance, reach, furthest));
        let all = TensorData::new((0..2 * reach as i32).collect(), [2 * reach]);
        let table = self.table.select(Tensor::from_data(all, device)); // [2 reach, D]
        let table = match &self.norm {
            Some(norm) => norm.forward(table),
            None => table,
        };
        Vectors {
            table: table.unsqueeze(),
            rows: Tensor::from_data(TensorData::new(rows, [1, 1, t, s]), device),
        }
    }
}

/// A number for each query and key, by the key's place minus the query's.
fn pairs(queries: &[usize], keys: &[usize], number: impl Fn(i64) -> i64) -> Vec<i32> {
    let number = |query: usize, key: usize| number(key as i64 - query as i64) as i32;
    queries
        .iter()
        .flat_map(|query| keys.iter().map(move |key| (*query, *key)))
        .map(|(q, k)| number(q, k))
        .collect()
}

/// The bucket of a distance: half of a direction's buckets for short ones, half for long ones
/// (arXiv:1910.10683, and the authors' code). With one direction, what stands after is in the bucket
/// of no distance.
fn bucket(distance: i64, count: usize, furthest: usize, both: bool) -> i64 {
    let half = if both { count as i64 / 2 } else { count as i64 };
    let side = if both && distance > 0 { half } else { 0 };
    let (exact, far) = (half / 2, if both { distance.abs() } else { (-distance).max(0) });
    if far < exact {
        return side + far;
    }
    // In f32, as the reference computes it: its rounding decides at the edges of buckets.
    let part = (far as f32 / exact as f32).ln() / (furthest as f64 / exact as f64).ln() as f32;
    side + (exact + (part * (half - exact) as f32) as i64).min(half - 1)
}

/// The row of a distance in a table of `2 * reach` (arXiv:2006.03654, section 3.1; with `furthest`
/// arXiv:2111.09543, and the authors' code): those up to half of `reach` have a row each.
fn row(distance: i64, reach: usize, furthest: Option<usize>) -> i64 {
    let distance = -distance; // the query's place minus the key's
    let (span, half, far) = (reach as i64, reach as i64 / 2, distance.abs());
    let place = match furthest {
        Some(furthest) if far > half => {
            let most = ((furthest - 1) as f32 / half as f32).ln();
            let part = (far as f32 / half as f32).ln() / most * (half - 1) as f32;
            (part.ceil() as i64 + half) * distance.signum()
        }
        _ => distance,
    };
    (place + span).clamp(0, 2 * span - 1)
}
