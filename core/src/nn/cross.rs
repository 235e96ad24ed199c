//! What a decoder sees of its source: the keys and values of every block, computed once for all
//! tokens of the target and for all rows that continue one source.

use burn::tensor::{Bool, Tensor};

use super::host;
use super::mask;
use crate::kernels::cpu::attention::Part;

/// The keys and values that one block has of a source.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// As rows in this program's memory, `[B, S, K C]` each.
    Rows(Tensor<3>, Tensor<3>),
    /// By head, `[B, K, S, C]` each.
    Heads(Tensor<4>, Tensor<4>),
}

impl Seen {
    /// Rows of keys and values, `[B, S, K C]` each, in heads of size `c`.
    pub(crate) fn new(k: Tensor<3>, v: Tensor<3>, c: usize) -> Seen {
        match host::floats(&k).is_some() && host::floats(&v).is_some() {
            true => Seen::Rows(k, v),
            false => Seen::Heads(heads(k, c), heads(v, c)),
        }
    }

    /// By head, `[B, K, S, C]` each.
    pub(crate) fn heads(&self, c: usize) -> (Tensor<4>, Tensor<4>) {
        match self {
            Seen::Rows(k, v) => (heads(k.clone(), c), heads(v.clone(), c)),
            Seen::Heads(k, v) => (k.clone(), v.clone()),
        }
    }

    fn bytes(&self) -> usize {
        4 * match self {
            Seen::Rows(k, v) => k.shape().num_elements() + v.shape().num_elements(),
            Seen::Heads(k, v) => k.shape().num_elements() + v.shape().num_elements(),
        }
    }
}

/// `[B, S, K C]` -> `[B, K, S, C]`
fn heads(x: Tensor<3>, c: usize) -> Tensor<4> {
    let [b, s, inner] = x.dims();
    x.reshape([b, s, inner / c, c]).swap_dims(1, 2)
}

/// What all blocks of a decoder see of a batch of sources.
#[derive(Clone, Debug)]
pub struct Memory {
    /// One a block that has weights of its own.
    pub(crate) blocks: Vec<Seen>,
    /// Tokens of each source.
    lengths: Vec<usize>,
    /// Tokens of the longest (S).
    tokens: usize,
    /// Hides padding, `[B, 1, 1, S]`.
    hidden: Option<Tensor<4, Bool>>,
}

/// What one block sees of the sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Across<'a> {
    /// Its keys and values.
    pub seen: &'a Seen,
    /// Hides padding.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// The sources among the rows of keys, with the target's tokens that look at each.
    pub parts: &'a [Part],
}

impl Memory {
    /// # Shapes
    /// `kept: [B, S]`, `true` for real tokens, which stand before the padding
    pub(crate) fn new(
        blocks: Vec<Seen>,
        [b, tokens]: [usize; 2],
        kept: Option<Tensor<2, Bool>>,
    ) -> Memory {
        let lengths = match &kept {
            Some(kept) => {
                let counts = kept.clone().int().sum_dim(1).into_data();
                counts.iter::<i64>().map(|count| usize::try_from(count).unwrap_or(0)).collect()
            }
            None => vec![tokens; b],
        };
        Memory { blocks, lengths, tokens, hidden: kept.map(mask::padding) }
    }

    /// Sources (B).
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of each source.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Bytes that keys and values take.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Seen::bytes).sum()
    }

    /// Which queries look at which keys when each source has this many queries in a row.
    pub(crate) fn parts(&self, queries: usize) -> Vec<Part> {
        let part = |(row, length): (usize, &usize)| Part {
            queries: row * queries..(row + 1) * queries,
            keys: row * self.tokens..row * self.tokens + length,
            before: 0,
        };
        self.lengths.iter().enumerate().map(part).collect()
    }

    /// What block `i` sees.
    pub(crate) fn across<'a>(&'a self, i: usize, parts: &'a [Part]) -> Option<Across<'a>> {
        Some(Across { seen: self.blocks.get(i)?, hidden: self.hidden.as_ref(), parts })
    }
}
