//! Attention in decoding: few queries over many keys (Flash-Decoding).
//!
//! Each key and each value is read once, so memory is what this waits for. Rows of queries that
//! share a head of keys (the heads of a group, of each query) are multiplied with it together, keys
//! and values as they lie. The keys are cut into pieces, one a task, whatever the number of heads; a
//! piece leaves its sums, which are weighed against each other. Where keys are cut depends on
//! their number alone, so that the numbers do not depend on the threads.

use std::ops::Range;

use super::super::between::exp;
use super::super::simd::{Kernel, Simd};
use super::{AttentionArgs, KEYS, Part, SoftmaxState, within};

/// Keys of a piece, where that gives no more than [`PIECES`].
const PIECE: usize = 128;

/// Pieces at most: each costs a row of sums.
const PIECES: usize = 32;

/// Floats of keys or values that are used before the next ones, which are asked for meanwhile: both
/// are in the nearest cache.
const TILE: usize = 4096;

/// Some keys of one head, for all queries of a part.
pub(super) struct Piece<'a> {
    pub part: &'a Part,
    /// The part's keys and values.
    pub side: (&'a [f32], &'a [f32]),
    pub kv_head: usize,
    /// Counted from the part's first.
    pub keys: Range<usize>,
    /// What it leaves, [`left`] floats: the sums of each row, then their largest scores, then their
    /// sums of weights. A row is a query's head, the heads of the first query first.
    pub left: &'a mut [f32],
}

/// Rows that share a head of keys.
fn rows(all: &AttentionArgs<'_>, part: &Part) -> usize {
    part.queries.len() * (all.heads / all.kv_heads)
}

/// Floats that a piece leaves.
pub(super) fn left(all: &AttentionArgs<'_>, part: &Part) -> usize {
    rows(all, part) * (all.dim + 2)
}

/// Floats to work in.
pub(super) fn scratch(all: &AttentionArgs<'_>, part: &Part) -> usize {
    rows(all, part) * (all.dim + KEYS)
}

/// The keys that the queries of a part see, in pieces.
pub(super) fn cut(
    all: &AttentionArgs<'_>,
    part: &Part,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let keys = part.keys.len();
    let start = all.seen(keys, part.before).start;
    let end = all.seen(keys, part.before + part.queries.len() - 1).end;
    let pieces = (end - start).div_ceil(PIECE).clamp(1, PIECES);
    let each = (end - start).div_ceil(pieces).next_multiple_of(4).max(4);
    (start..end).step_by(each).map(move |first| first..end.min(first + each))
}

pub(super) struct FewQueries<'a, 'b> {
    pub all: AttentionArgs<'a>,
    pub piece: Piece<'b>,
    pub scratch: &'a mut [f32],
}

impl Kernel for FewQueries<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FewQueries { all, piece, scratch } = self;
        let Piece { part, side: (k, v), kv_head, keys, left } = piece;
        let (dim, group) = (all.dim, all.heads / all.kv_heads);
        let (q_row, k_row) = (all.heads * dim, all.kv_heads * dim);
        let count = part.queries.len() * group;
        let (q, scores) = scratch.split_at_mut(count * dim);
        let (sums, rest) = left.split_at_mut(count * dim);
        let (largest, weights) = rest.split_at_mut(count);
        sums.fill(0.0);
        let mut seen = SoftmaxState::new(largest, weights);
        for (query, to) in part.queries.clone().zip(q.chunks_exact_mut(group * dim)) {
            let from = &all.q[query * q_row + kv_head * group * dim..][..group * dim];
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * all.scale;
            }
        }
        // Scores are written by four.
        let tile = (TILE / dim / 4 * 4).clamp(4, KEYS);
        for first in keys.clone().step_by(KEYS) {
            let block = KEYS.min(keys.end - first);
            let at = (part.keys.start + first) * k_row + kv_head * dim;
            for from in (0..block).step_by(tile) {
                let rows = Strided { from: &k[at + from * k_row..], row: k_row, dim, tile };
                let keys = tile.min(block - from);
                let mut i = 0;
                while i < count {
                    let (q, to) = (&q[i * dim..], &mut scores[i * KEYS + from..]);
                    i += match (count - i).min(S::DOTS) {
                        4.. => rows.products::<S, 4>(s, keys, q, to, i == 0),
                        3 => rows.products::<S, 3>(s, keys, q, to, i == 0),
                        2 => rows.products::<S, 2>(s, keys, q, to, i == 0),
                        _ => rows.products::<S, 1>(s, keys, q, to, i == 0),
                    };
                }
            }
            let of_block =
                |i| within(all.seen(part.keys.len(), part.before + i / group), first, block);
            seen.soften(s, all.softcap, scores, of_block, sums, dim);
            for from in (0..block).step_by(tile) {
                let rows = Strided { from: &v[at + from * k_row..], row: k_row, dim, tile };
                let keys = tile.min(block - from);
                let mut i = 0;
                while i < count {
                    let (scores, sums) = (&scores[i * KEYS + from..], &mut sums[i * dim..]);
                    i += match (count - i).min(S::DOTS) {
                        4.. => rows.weigh::<S, 4>(s, keys, scores, sums, i == 0),
                        3 => rows.weigh::<S, 3>(s, keys, scores, sums, i == 0),
                        2 => rows.weigh::<S, 2>(s, keys, scores, sums, i == 0),
                        _ => rows.weigh::<S, 1>(s, keys, scores, sums, i == 0),
                    };
                }
            }
        }
    }
}

/// Keys or values of one head, as they lie.
struct Strided<'a> {
    from: &'a [f32],
    /// From one to the next.
    row: usize,
    dim: usize,
    /// So many further, the next ones are asked for.
    tile: usize,
}

impl Strided<'_> {
    /// The products of `count` keys with `M` rows of `q`, to rows of scores; gives `M`.
    #[inline(always)]
    fn products<S: Simd, const M: usize>(
        &self,
        s: S,
        count: usize,
        q: &[f32],
        to: &mut [f32],
        ahead: bool,
    ) -> usize {
        let dim = self.dim;
        let mut rows = [&q[..0]; M];
        for m in 0..M {
            rows[m] = &q[m * dim..][..dim];
        }
        let whole = dim / S::LANES * S::LANES;
        for first in (0..count).step_by(4) {
            // Those of a key that is not there are not looked at.
            let mut keys = [&q[..0]; 4];
            for (j, key) in keys.iter_mut().enumerate() {
                *key = &self.from[(first + j).min(count - 1) * self.row..][..dim];
                if ahead {
                    let next = key.as_ptr().wrapping_add(self.tile * self.row);
                    s.prefetch(next.cast(), 4 * dim);
                }
            }
            let mut sums = [[s.splat(0.0); 4]; M];
            for c in (0..whole).step_by(S::LANES) {
                let mut key = [s.splat(0.0); 4];
                for j in 0..4 {
                    key[j] = s.load_floats(&keys[j][c..]);
                }
                for m in 0..M {
                    let q = s.load_floats(&rows[m][c..]);
                    for j in 0..4 {
                        sums[m][j] = s.mul_add(q, key[j], sums[m][j]);
                    }
                }
            }
            for m in 0..M {
                let mut out = s.sums(sums[m]);
                for c in whole..dim {
                    for j in 0..4 {
                        out[j] += rows[m][c] * keys[j][c];
                    }
                }
                to[m * KEYS + first..][..4].copy_from_slice(&out);
            }
        }
        M
    }

    /// Adds `count` values times their weights to `M` rows of sums, which stay in registers
    /// meanwhile, some columns after the others; gives `M`.
    #[inline(always)]
    fn weigh<S: Simd, const M: usize>(
        &self,
        s: S,
        count: usize,
        weights: &[f32],
        sums: &mut [f32],
        ahead: bool,
    ) -> usize {
        let mut c = 0;
        while c + 4 * S::LANES <= self.dim {
            self.columns::<S, M, 4>(s, count, weights, sums, c, ahead);
            c += 4 * S::LANES;
        }
        while c + S::LANES <= self.dim {
            self.columns::<S, M, 1>(s, count, weights, sums, c, ahead);
            c += S::LANES;
        }
        for m in 0..M {
            for j in 0..count {
                for c in c..self.dim {
                    sums[m * self.dim + c] += weights[m * KEYS + j] * self.from[j * self.row + c];
                }
            }
        }
        M
    }

    /// [`weigh`](Self::weigh) of `V` vectors from column `c` on.
    #[inline(always)]
    fn columns<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        count: usize,
        weights: &[f32],
        sums: &mut [f32],
        c: usize,
        ahead: bool,
    ) {
        let mut sum = [[s.splat(0.0); V]; M];
        let mut rows = [&weights[..0]; M];
        for m in 0..M {
            rows[m] = &weights[m * KEYS..][..count];
            for i in 0..V {
                sum[m][i] = s.load_floats(&sums[m * self.dim + c + i * S::LANES..]);
            }
        }
        for (j, value) in self.from[c..].chunks(self.row).take(count).enumerate() {
            let value = &value[..V * S::LANES];
            if ahead {
                let next = value.as_ptr().wrapping_add(self.tile * self.row);
                s.prefetch(next.cast(), 4 * V * S::LANES);
            }
            let mut weight = [s.splat(0.0); M];
            for m in 0..M {
                weight[m] = s.splat(rows[m][j]);
            }
            for i in 0..V {
                let value = s.load_floats(&value[i * S::LANES..]);
                for m in 0..M {
                    sum[m][i] = s.mul_add(weight[m], value, sum[m][i]);
                }
            }
        }
        for m in 0..M {
            for i in 0..V {
                s.store_floats(sum[m][i], &mut sums[m * self.dim + c + i * S::LANES..]);
            }
        }
    }
}

/// Makes of what the pieces of a part left the rows of `out`, those of its queries.
pub(super) struct Join<'a> {
    pub all: AttentionArgs<'a>,
    pub part: &'a Part,
    /// Those of the first piece, head by head, then those of the next.
    pub left: &'a [f32],
    /// `[queries, H C]`
    pub out: &'a mut [f32],
}

impl Kernel for Join<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Join { all, part, left: found, out } = self;
        let (dim, group) = (all.dim, all.heads / all.kv_heads);
        let count = part.queries.len() * group;
        let each = left(&all, part);
        for kv_head in 0..all.kv_heads {
            for i in 0..count {
                let at = (i / group * all.heads + kv_head * group + i % group) * dim;
                let out = &mut out[at..][..dim];
                let pieces = found.chunks_exact(each).skip(kv_head).step_by(all.kv_heads);
                let mut largest = f32::NEG_INFINITY;
                for piece in pieces.clone() {
                    largest = largest.max(piece[count * dim + i]);
                }
                out.fill(0.0);
                let mut weights = 0.0;
                for piece in pieces {
                    let score = piece[count * dim + i];
                    // A row need not see a piece that another one sees.
                    if score == f32::NEG_INFINITY {
                        continue;
                    }
                    let by = exp(score - largest);
                    weights += by * piece[count * (dim + 1) + i];
                    for (out, sum) in out.iter_mut().zip(&piece[i * dim..][..dim]) {
                        *out += by * sum;
                    }
                }
                // A query that sees nothing (an empty part) gives zeros.
                let by = if weights == 0.0 { 0.0 } else { 1.0 / weights };
                out.iter_mut().for_each(|out| *out *= by);
            }
        }
    }
}
