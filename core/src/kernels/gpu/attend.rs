//! Attention over rows of keys and values, without a matrix of scores in memory: keys come in
//! tiles, and each query keeps the largest score, the sum of weights and the weighted sum of
//! values so far (online softmax, arXiv:1805.02867; FlashAttention, arXiv:2205.14135).
//!
//! A cube serves some queries that read the same keys: the heads of one token that share a head of
//! keys where tokens are few, some tokens of one head where they are many. Where there are few
//! cubes, the keys are split among more, and a second kernel joins what each found
//! (Flash-Decoding).

use burn::backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::between::tanh;
use super::{empty, empty_of};

/// Units of a cube, and keys of a tile.
const UNITS: u32 = 64;

/// Rows of values, or splits, that are loaded at once; it divides [`UNITS`].
const BURST: u32 = 8;

/// Queries of a cube.
const GROUP: usize = 8;

/// Cubes that keep a GPU busy.
const BUSY: usize = 256;

/// The most cubes that share the keys of one query.
const SPLITS: usize = 32;

/// What attends to what.
#[derive(Clone, Copy)]
pub(crate) struct AttentionArgs<'a> {
    /// `[T, H C]`, contiguous, as the others.
    pub q: &'a CubeTensor,
    /// `[S, K C]` or more rows
    pub k: &'a CubeTensor,
    /// `[S, K C]` or more rows
    pub v: &'a CubeTensor,
    /// Of each query the first row of keys that it sees, and the first after it that it does not.
    pub ranges: &'a [(u32, u32)],
    /// The same on the device, `[T, 2]`, from number `seen_at` on: what counts, where `ranges` are
    /// wider.
    pub seen: &'a CubeTensor,
    /// Where the ranges begin in `seen`.
    pub seen_at: usize,
    /// Heads of the queries (H), a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values (K).
    pub kv_heads: usize,
    /// Size of a head (C).
    pub dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// Bytes of shared memory that every device has.
const SHARED: usize = 16 << 10;

/// The largest head that the shared memory of every device has room for.
pub(crate) const LARGEST: usize = 256;

/// What queries see, and what was needed on the way.
pub(crate) struct AttentionOut {
    /// `[T, H C]`; zeros for a query that sees nothing.
    pub out: CubeTensor,
    /// What each split found, if there are some.
    pub parts: Option<CubeTensor>,
}

/// Attention of all queries, in floats.
pub(crate) fn attend(all: &AttentionArgs<'_>) -> AttentionOut {
    attend_as(all, DType::F32)
}

/// Attention of all queries, in floats or, to be multiplied in them, in 16 bits.
pub(crate) fn attend_as(all: &AttentionArgs<'_>, dtype: DType) -> AttentionOut {
    let (tokens, row) = (all.ranges.len(), all.heads * all.dim);
    let out = empty_of(all.q, [tokens, row], dtype);
    if tokens == 0 {
        return AttentionOut { out, parts: None };
    }
    let shared = all.heads / all.kv_heads;
    // The heads of a token meet the same keys; else the tokens of a head do.
    let by_heads = tokens < GROUP;
    let group = match by_heads {
        true => (1..=GROUP).rev().find(|size| shared.is_multiple_of(*size)).unwrap_or(1),
        false => GROUP,
    };
    let (over, deep) = match by_heads {
        true => (tokens, all.heads / group),
        false => (tokens.div_ceil(group), all.heads),
    };
    // The keys that the queries of one cube look at, at most.
    let width = |ranges: &[(u32, u32)]| {
        let first = ranges.iter().map(|range| range.0).min().unwrap_or(0);
        let last = ranges.iter().map(|range| range.1).max().unwrap_or(0);
        last.saturating_sub(first) as usize
    };
    let chunks = all.ranges.chunks(if by_heads { 1 } else { group });
    let keys = chunks.map(width).max().unwrap_or(0).max(1);
    let tiles = keys.div_ceil(UNITS as usize);
    let splits = (BUSY / (over * deep)).clamp(1, SPLITS).min(tiles);
    let tiles = tiles.div_ceil(splits);
    let found = match splits {
        1 => out.clone(),
        _ => empty(all.q, [tokens * all.heads * splits, all.dim + 2]),
    };
    let lanes = if all.dim.is_multiple_of(4) { 4 } else { 1 };
    let client = &all.q.client;
    let launch = match (splits, dtype) {
        (1, DType::F16) => look::launch_unchecked::<half::f16>,
        _ => look::launch_unchecked::<f32>,
    };
    // SAFETY: queries are below `tokens` and keys within the ranges, which the caller has kept
    // below the rows of `k` and `v`; `found` holds what each cube writes.
    unsafe {
        launch(
            client,
            CubeCount::Static(splits as u32, over as u32, deep as u32),
            CubeDim::new_1d(UNITS),
            lanes,
            if group.is_multiple_of(4) { 4 } else { 1 },
            all.q.clone().into_buffer_arg(),
            all.k.clone().into_buffer_arg(),
            all.v.clone().into_buffer_arg(),
            all.seen.clone().into_buffer_arg(),
            found.clone().into_buffer_arg(),
            tokens as u32,
            all.heads as u32,
            all.kv_heads as u32,
            splits as u32,
            tiles as u32,
            all.seen_at as u32,
            all.scale,
            all.softcap.unwrap_or(1.0),
            all.dim as u32,
            group as u32,
            columns(all.dim / lanes, lanes, group) as u32,
            by_heads,
            all.softcap.is_some(),
            splits > 1,
        );
    }
    if splits > 1 {
        join_parts(&found, &out, [tokens, all.heads, all.dim, splits]);
    }
    AttentionOut { out, parts: (splits > 1).then_some(found) }
}

/// How many of the vectors of a head are in shared memory at once: a divisor of them, of which all keys
/// of a tile have room beside the queries, the weights and the peaks.
fn columns(parts: usize, lanes: usize, group: usize) -> usize {
    let (dim, units) = (parts * lanes, UNITS as usize);
    let left = SHARED.saturating_sub(4 * group * (dim + 2 * units)) / (4 * lanes * units);
    let most = left.saturating_sub(1).min(32 / lanes);
    (1..=most).rev().find(|cut| parts.is_multiple_of(*cut)).unwrap_or(1)
}

/// Puts together what splits have found: of each token and head so many rows of its values, its largest
/// score and its sum of weights.
pub(super) fn join_parts(
    found: &CubeTensor,
    out: &CubeTensor,
    [tokens, heads, dim, splits]: [usize; 4],
) {
    let launch = match out.dtype {
        DType::F16 => join::launch_unchecked::<half::f16>,
        _ => join::launch_unchecked::<f32>,
    };
    // SAFETY: the caller has made both as large as these say.
    unsafe {
        launch(
            &found.client,
            CubeCount::Static(tokens as u32, heads as u32, 1),
            CubeDim::new_1d(UNITS),
            found.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            heads as u32,
            dim as u32,
            splits as u32,
        );
    }
}

/// Below every score: what hides a key.
pub(super) const HIDDEN: f32 = -1e30;

#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn look<O: Float, N: Size, G: Size>(
    q: &[Vector<f32, N>],
    k: &[Vector<f32, N>],
    v: &[f32],
    seen: &[i32],
    out: &mut [O],
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    splits: u32,
    tiles: u32,
    seen_at: u32,
    scale: f32,
    cap: f32,
    #[comptime] dim: u32,
    #[comptime] group: u32,
    #[comptime] cut: u32,
    #[comptime] by_heads: bool,
    #[comptime] capped: bool,
    #[comptime] split: bool,
) {
    let lane = UNIT_POS_X;
    let share = comptime!(dim.div_ceil(UNITS));
    let mut first_token = CUBE_POS_Y;
    let mut first_head = CUBE_POS_Z;
    if comptime!(by_heads) {
        first_head = CUBE_POS_Z * group;
    } else {
        first_token = CUBE_POS_Y * group;
    }
    let kv = first_head / (heads / kv_heads);

    // Queries to shared memory, and the keys that any of them sees. What is in shared memory is read
    // by whole vectors: each reading of it costs as much as some products.
    let (vector, pack_size) = (N::value(), G::value());
    let parts = comptime!(dim / vector as u32);
    let mut queries = Shared::<[Vector<f32, N>]>::new_slice(comptime!((group * parts) as usize));
    let mut first = 0x7fff_ffffu32;
    let mut last = 0u32;
    #[unroll]
    for r in 0..group {
        // Those past the end repeat the last one; what they find is not stored.
        let token = min(first_token + comptime!(if by_heads { 0 } else { r }), tokens - 1u32);
        let head = first_head + comptime!(if by_heads { r } else { 0 });
        let mut part = lane;
        while part < parts {
            queries[(r * parts + part) as usize] =
                q[((token * heads + head) * parts + part) as usize] * Vector::new(scale);
            part += UNITS;
        }
        first = min(first, u32::cast_from(seen[(seen_at + token * 2u32) as usize]));
        last = max(last, u32::cast_from(seen[(seen_at + token * 2u32 + 1u32) as usize]));
    }
    sync_cube();

    // Keys of a tile, some columns at a time, so that units that are neighbours load what is side by
    // side; a row is one vector longer, so that rows begin in different banks.
    let mut rows = Shared::<[Vector<f32, N>]>::new_slice(comptime!(((cut + 1) * UNITS) as usize));
    // The weights of all queries for a key stand side by side.
    let packs = comptime!(group / pack_size as u32);
    let mut weights = Shared::<[Vector<f32, G>]>::new_slice(comptime!((packs * UNITS) as usize));
    let mut peaks = Shared::<[f32]>::new_slice(comptime!((group * UNITS) as usize));
    let mut most = Array::<f32>::new(comptime!(group as usize));
    let mut sums = Array::<f32>::new(comptime!(group as usize));
    let mut values = Array::<f32>::new(comptime!((group * share) as usize));
    #[unroll]
    for r in 0..group {
        most[r as usize] = HIDDEN;
        sums[r as usize] = 0.0f32;
        #[unroll]
        for d in 0..share {
            values[comptime!(r * share + d) as usize] = 0.0f32;
        }
    }

    let start = first + CUBE_POS_X * tiles * UNITS;
    // As many turns for every cube, since all units must reach the barriers.
    for tile in 0..tiles {
        let at = start + tile * UNITS;
        let key = at + lane;
        let mut dots = Array::<f32>::new(comptime!(group as usize));
        #[unroll]
        for r in 0..group {
            dots[r as usize] = 0.0f32;
        }
        for step in 0..comptime!(parts / cut) {
            // What the step before has put there has been read.
            sync_cube();
            #[unroll]
            for u in 0..cut {
                let i = lane + comptime!(u * UNITS);
                let (row, part) = (i / cut, i % cut);
                if at + row < last {
                    let from = ((at + row) * kv_heads + kv) * parts + step * cut + part;
                    rows[(row * comptime!(cut + 1) + part) as usize] = k[from as usize];
                }
            }
            sync_cube();
            // Those past the end are not rows of keys; their scores are hidden.
            #[unroll]
            for part in 0..cut {
                let x = rows[(lane * comptime!(cut + 1) + part) as usize];
                #[unroll]
                for r in 0..group {
                    let query = queries[(r * parts + step * cut + part) as usize];
                    #[unroll]
                    for e in 0..N::value() {
                        dots[r as usize] += x.extract(e) * query.extract(e);
                    }
                }
            }
        }
        #[unroll]
        for r in 0..group {
            let token = min(first_token + comptime!(if by_heads { 0 } else { r }), tokens - 1u32);
            let from = u32::cast_from(seen[(seen_at + token * 2u32) as usize]);
            let to = u32::cast_from(seen[(seen_at + token * 2u32 + 1u32) as usize]);
            let mut score = dots[r as usize];
            if comptime!(capped) {
                score = cap * tanh(score / cap);
            }
            score = select(key >= from && key < to, score, HIDDEN);
            dots[r as usize] = score;
            peaks[(r * UNITS + lane) as usize] = score;
        }
        sync_cube();
        #[unroll]
        for level in 0..6u32 {
            let reach = comptime!(UNITS >> (level + 1));
            if lane < reach {
                #[unroll]
                for r in 0..group {
                    let slot = r * UNITS + lane;
                    peaks[slot as usize] =
                        max(peaks[slot as usize], peaks[(slot + reach) as usize]);
                }
            }
            sync_cube();
        }
        #[unroll]
        for pack in 0..packs {
            let mut own = Vector::<f32, G>::empty();
            #[unroll]
            for e in 0..G::value() {
                let r = comptime!(pack * pack_size as u32 + e as u32);
                let peak = max(most[r as usize], peaks[(r * UNITS) as usize]);
                let shrink = f32::exp(most[r as usize] - peak);
                let score = dots[r as usize];
                let weight = select(score > HIDDEN, f32::exp(score - peak), 0.0f32);
                own.insert(e, weight);
                sums[r as usize] = sums[r as usize] * shrink + weight;
                most[r as usize] = peak;
                #[unroll]
                for d in 0..share {
                    values[comptime!(r * share + d) as usize] *= shrink;
                }
            }
            weights[(lane * packs + pack) as usize] = own;
        }
        sync_cube();
        let there = min(max(last, at) - at, UNITS);
        for start in 0..there.div_ceil(BURST) {
            #[unroll]
            for u in 0..BURST {
                // Those past the end are the last one, with no weight.
                let j = start * BURST + u;
                let base = (min(at + j, last - 1u32) * kv_heads + kv) * dim;
                #[unroll]
                for d in 0..share {
                    let c = lane + comptime!(d * UNITS);
                    if c < dim {
                        let x = v[(base + c) as usize];
                        #[unroll]
                        for pack in 0..packs {
                            let weights = weights[(j * packs + pack) as usize];
                            #[unroll]
                            for e in 0..G::value() {
                                let r = comptime!(pack * pack_size as u32 + e as u32);
                                values[comptime!(r * share + d) as usize] += x * weights.extract(e);
                            }
                        }
                    }
                }
            }
        }
        sync_cube();
    }

    // The sums of all units.
    #[unroll]
    for r in 0..group {
        peaks[(r * UNITS + lane) as usize] = sums[r as usize];
    }
    sync_cube();
    #[unroll]
    for level in 0..6u32 {
        let reach = comptime!(UNITS >> (level + 1));
        if lane < reach {
            #[unroll]
            for r in 0..group {
                let slot = r * UNITS + lane;
                peaks[slot as usize] += peaks[(slot + reach) as usize];
            }
        }
        sync_cube();
    }
    #[unroll]
    for r in 0..group {
        let token = first_token + comptime!(if by_heads { 0 } else { r });
        let head = first_head + comptime!(if by_heads { r } else { 0 });
        if token < tokens {
            let sum = peaks[(r * UNITS) as usize];
            let query = token * heads + head;
            if comptime!(split) {
                let base = (query * splits + CUBE_POS_X) * comptime!(dim + 2);
                #[unroll]
                for d in 0..share {
                    let c = lane + comptime!(d * UNITS);
                    if c < dim {
                        out[(base + c) as usize] =
                            O::cast_from(values[comptime!(r * share + d) as usize]);
                    }
                }
                if lane == 0u32 {
                    out[(base + dim) as usize] = O::cast_from(most[r as usize]);
                    out[(base + dim + 1u32) as usize] = O::cast_from(sum);
                }
            } else {
                let whole = select(sum > 0.0f32, sum, 1.0f32);
                #[unroll]
                for d in 0..share {
                    let c = lane + comptime!(d * UNITS);
                    if c < dim {
                        let value = values[comptime!(r * share + d) as usize] / whole;
                        out[(query * dim + c) as usize] = O::cast_from(value);
                    }
                }
            }
        }
    }
}

/// Joins what the splits of each query found.
#[cube(launch_unchecked)]
fn join<O: Float>(found: &[f32], out: &mut [O], heads: u32, dim: u32, splits: u32) {
    let query = CUBE_POS_X * heads + CUBE_POS_Y;
    let size = dim + 2u32;
    let base = query * splits * size;
    // Some loads are under way at once; those past the end are the last one again.
    let bursts = splits.div_ceil(BURST);
    let mut peak = f32::new(HIDDEN);
    for start in 0..bursts {
        #[unroll]
        for u in 0..BURST {
            let s = min(start * BURST + u, splits - 1u32);
            peak = max(peak, found[(base + s * size + dim) as usize]);
        }
    }
    let mut c = UNIT_POS_X;
    while c < dim {
        let mut sum = 0.0f32;
        let mut value = 0.0f32;
        for start in 0..bursts {
            #[unroll]
            for u in 0..BURST {
                let s = start * BURST + u;
                let at = base + min(s, splits - 1u32) * size;
                let weight = f32::exp(found[(at + dim) as usize] - peak);
                let weight = select(s < splits, weight, 0.0f32);
                sum += weight * found[(at + dim + 1u32) as usize];
                value += weight * found[(at + c) as usize];
            }
        }
        let value = value / select(sum > 0.0f32, sum, 1.0f32);
        out[(query * dim + c) as usize] = O::cast_from(value);
        c += UNITS;
    }
}
