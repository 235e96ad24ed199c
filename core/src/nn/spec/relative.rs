//! Relative positions, what the distance of two tokens does to their score, as data.

use std::fmt;

/// What the distance of two tokens adds to their score.
#[derive(Clone, Debug, PartialEq)]
pub enum Relative {
    /// A learned number for each head and bucket of distances, one table for all blocks: short
    /// distances have a bucket each, longer ones share buckets by their logarithm
    /// (T5, arXiv:1910.10683, section 2.1).
    Buckets {
        /// Buckets.
        count: usize,
        /// Distances from here on share the last bucket.
        furthest: usize,
        /// Whether half of the buckets are for what stands after; else all are for what stands
        /// before, as a decoder needs it.
        both: bool,
    },
    /// Scores of contents with learned vectors of the distance, projected by the block's own
    /// queries and keys (DeBERTa, arXiv:2006.03654).
    Disentangled {
        /// Vectors in each direction: `2 * reach` in one table for all blocks.
        reach: usize,
        /// Beyond half of `reach`, distances share vectors by their logarithm up to this one
        /// (arXiv:2111.09543); `None`: a vector each up to `reach`, beyond which all share one.
        furthest: Option<usize>,
        /// Whether distances go through the queries' and keys' own projections; else through
        /// projections that are for them alone.
        shared: bool,
        /// Whether a query's content is multiplied with the distance (content to position).
        to_position: bool,
        /// Whether the distance is multiplied with a key's content (position to content).
        to_content: bool,
        /// Whether a norm follows the table.
        norm: bool,
    },
}

impl fmt::Display for Relative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relative::Buckets { count, furthest, .. } => {
                write!(f, "a score a head for each of {count} buckets of distances to {furthest}")
            }
            Relative::Disentangled { reach, furthest, to_position, to_content, norm, .. } => {
                write!(f, "{} vectors of distances", 2 * reach)?;
                if let Some(furthest) = furthest {
                    write!(f, ", by the logarithm up to {furthest}")?;
                }
                if *norm {
                    f.write_str(", normed")?;
                }
                match (to_position, to_content) {
                    (true, true) => f.write_str("; content to position, position to content"),
                    (true, false) => f.write_str("; content to position"),
                    (false, true) => f.write_str("; position to content"),
                    (false, false) => Ok(()),
                }
            }
        }
    }
}
