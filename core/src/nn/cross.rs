//! The cross-attention cache: a source's keys and values in every block, computed once for all
//! tokens of the target and for all rows that continue one source.

use burn::tensor::{Bool, Tensor};

use super::host::{self, Floats};
use super::rows::Rows;
use super::run::mask;
use crate::kernels::cpu::attention::Part;

/// The keys and values that one block has of a source.
#[derive(Clone, Debug)]
pub(crate) enum SourceKv {
    /// As rows in this program's memory, `[B, S, K C]` each.
    Rows(Tensor<3>, Tensor<3>),
    /// By head, `[B, K, S, C]` each.
    Heads(Tensor<4>, Tensor<4>),
}

impl SourceKv {
    /// Rows of keys and values, `[B, S, K C]` each, in heads of size `c`.
    pub(crate) fn new(k: Tensor<3>, v: Tensor<3>, c: usize) -> SourceKv {
        match host::floats(&k).is_some() && host::floats(&v).is_some() {
            true => SourceKv::Rows(k, v),
            false => SourceKv::Heads(heads(k, c), heads(v, c)),
        }
    }

    /// By head, `[B, K, S, C]` each.
    pub(crate) fn heads(&self, c: usize) -> (Tensor<4>, Tensor<4>) {
        match self {
            SourceKv::Rows(k, v) => (heads(k.clone(), c), heads(v.clone(), c)),
            SourceKv::Heads(k, v) => (k.clone(), v.clone()),
        }
    }

    fn bytes(&self) -> usize {
        4 * match self {
            SourceKv::Rows(k, v) => k.shape().num_elements() + v.shape().num_elements(),
            SourceKv::Heads(k, v) => k.shape().num_elements() + v.shape().num_elements(),
        }
    }
}

/// `[B, S, K C]` -> `[B, K, S, C]`
fn heads(x: Tensor<3>, c: usize) -> Tensor<4> {
    let [b, s, inner] = x.dims();
    x.reshape([b, s, inner / c, c]).swap_dims(1, 2)
}

/// The cross-attention cache: the keys and values that all blocks of a decoder have of a batch of
/// sources.
#[derive(Clone, Debug)]
pub struct CrossCache {
    /// One a block that has weights of its own.
    pub(crate) blocks: Vec<SourceKv>,
    /// Tokens of each source.
    lengths: Vec<usize>,
    /// Tokens of the longest (S).
    tokens: usize,
    /// Hides padding, `[B, 1, 1, S]`.
    hidden: Option<Tensor<4, Bool>>,
    /// Whether padding, where there is some, stands after all real tokens of its source.
    on_the_right: bool,
}

impl CrossCache {
    /// # Shapes
    /// `kept: [B, S]`, `true` for real tokens
    pub(crate) fn new(
        blocks: Vec<SourceKv>,
        [b, tokens]: [usize; 2],
        kept: Option<Tensor<2, Bool>>,
    ) -> CrossCache {
        let Some(kept) = kept else {
            let lengths = vec![tokens; b];
            return CrossCache { blocks, lengths, tokens, hidden: None, on_the_right: true };
        };
        let rows = Rows::masked([b, tokens], kept.clone());
        CrossCache {
            blocks,
            lengths: rows.lengths().to_vec(),
            tokens,
            hidden: Some(mask::padding(kept)),
            on_the_right: rows.is_on_the_right(),
        }
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
        self.blocks.iter().map(SourceKv::bytes).sum()
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

    /// Whether padding stands after all real tokens of its source.
    pub(crate) fn is_on_the_right(&self) -> bool {
        self.on_the_right
    }

    /// Hides padding, `[B, 1, 1, S]`.
    pub(crate) fn hidden(&self) -> Option<&Tensor<4, Bool>> {
        self.hidden.as_ref()
    }

    /// Keys and values for block `i` in this program's memory, `[B, S, K C]` each.
    pub(crate) fn rows_of(&self, i: usize) -> Option<[Floats; 2]> {
        match self.blocks.get(i)? {
            SourceKv::Rows(k, v) => Some([host::floats(k)?, host::floats(v)?]),
            SourceKv::Heads(..) => None,
        }
    }

    /// The same by head, `[B, K, S, C]` each.
    pub(crate) fn heads(&self, i: usize, c: usize) -> Option<(Tensor<4>, Tensor<4>)> {
        Some(self.blocks.get(i)?.heads(c))
    }
}
