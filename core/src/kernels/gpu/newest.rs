//! Attention in decoding: of the newest token of a sequence, what `between::settle` and `attend`
//! do, in one launch, where each of few queries waits for memory more than it computes.
//!
//! A cube has some heads that share a head of keys, and a chunk of the keys: it norms its queries
//! and the newest key, rotates them, writes that key's row to the KV cache, and computes all
//! scores of the chunk before the first is needed. Eight neighbours share a key, so that rows are
//! read in whole lines. With more than one chunk `attend::join` puts together what each found
//! (Flash-Decoding).

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::attend::{AttentionArgs, AttentionOut, HIDDEN, join_parts};
use super::between::{Spot, paired, tanh};
use super::empty;
use super::words::{planes, sum4};

/// Units of a cube, and the most keys of a chunk.
const UNITS: u32 = 256;

/// Neighbours that share a key.
const SIDE: u32 = 8;

/// Keys that each unit asks for at once.
const BURST: u32 = 4;

/// Rows of values that each unit asks for at once.
const VALUES: u32 = 8;

/// Numbers of queries that a unit holds at the most.
const HELD: usize = 64;

/// Cubes that keep a GPU busy.
const BUSY: usize = 128;

/// The norms of each query's head and each key's by itself, with one scale for all heads.
#[derive(Clone, Debug)]
pub(crate) struct HeadNorms {
    /// Scale of queries, `[C]`.
    pub q: CubeTensor,
    /// Scale of keys, `[C]`.
    pub k: CubeTensor,
    /// Added to the mean square.
    pub eps: f32,
}

/// How cubes share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CubeSplit {
    /// Heads of a cube.
    pub group: usize,
    /// Keys of a cube, at most [`UNITS`].
    pub chunk: usize,
}

/// Whether heads of this size can be served.
pub(crate) fn fits(dim: usize) -> bool {
    dim.is_multiple_of((4 * SIDE) as usize) && dim <= super::attend::LARGEST
}

/// Shared memory of a cube of so many heads of this size.
fn shared_bytes(group: usize, dim: usize, plane: bool) -> usize {
    let units = UNITS as usize;
    let (sides, folded) = if plane { (8, group * units / 32) } else { (units, group * units) };
    let squares = (group + 1) * SIDE as usize;
    4 * ((group + 2) * dim + squares + group * units + sides + folded + 4 * units)
}

/// For this many keys, of heads so that `shared` of `heads` share the same keys, of which a cube can
/// have `most`. Measured on an H200: until there are enough cubes of many heads, smaller ones are
/// quicker though keys are read again.
fn plan(keys: usize, heads: usize, shared: usize, dim: usize, most: usize) -> CubeSplit {
    let whole = UNITS as usize;
    let most = (HELD * SIDE as usize / dim).clamp(1, most);
    let group = |most: usize| (1..=most).rev().find(|size| shared.is_multiple_of(*size));
    let plan = |most, chunk| CubeSplit { group: group(most).unwrap_or(1), chunk };
    let cubes = |plan: CubeSplit| heads / plan.group * keys.div_ceil(plan.chunk);
    [(plan(most, whole), 2 * BUSY), (plan(2.min(most), whole / 2), BUSY)]
        .into_iter()
        .find(|(plan, enough)| cubes(*plan) >= *enough)
        .map_or_else(
            // What is seen at once has not to be joined.
            || plan(1, if keys > whole { whole / 2 } else { keys.next_multiple_of(whole / 2) }),
            |(plan, _)| plan,
        )
}

/// Attention of one token, of which `row` is `[q | k | v]`, neither normed nor rotated: keys and values
/// go to their row among those that are held. Of `all`, `q` is not looked at and `k` and `v` are written;
/// `seen` holds what `spot` tells of, and the last key that is seen is the newest one.
pub(crate) fn attend_newest(
    all: &AttentionArgs<'_>,
    spot: Spot,
    norms: Option<&HeadNorms>,
    row: &CubeTensor,
) -> AttentionOut {
    let keys = all.ranges.first().map_or(0, |range| range.1.saturating_sub(range.0)) as usize;
    let room = row.client.properties().hardware.max_shared_memory_size;
    let most = (1..=8).rev().find(|group| shared_bytes(*group, all.dim, planes(row)) <= room);
    let plan = plan(keys.max(1), all.heads, all.heads / all.kv_heads, all.dim, most.unwrap_or(1));
    attend_with(plan, all, spot, norms, row)
}

/// [`attend_newest`] by this plan.
pub(super) fn attend_with(
    plan: CubeSplit,
    all: &AttentionArgs<'_>,
    spot: Spot,
    norms: Option<&HeadNorms>,
    row: &CubeTensor,
) -> AttentionOut {
    let keys = all.ranges.first().map_or(0, |range| range.1.saturating_sub(range.0)) as usize;
    let splits = keys.max(1).div_ceil(plan.chunk);
    let out = empty(row, [1, all.heads * all.dim]);
    let found = match splits {
        1 => out.clone(),
        _ => empty(row, [all.heads * splits, all.dim + 2]),
    };
    // SAFETY: heads are below `heads`, keys below the end of what is seen, which the caller has kept
    // below the rows of `k` and `v`, as that which is written; `found` holds what each cube writes.
    unsafe {
        look::launch_unchecked(
            &row.client,
            CubeCount::Static(splits as u32, (all.heads / plan.group) as u32, 1),
            CubeDim::new_1d(UNITS),
            row.clone().into_buffer_arg(),
            norms.map_or(row, |norms| &norms.q).clone().into_buffer_arg(),
            norms.map_or(row, |norms| &norms.k).clone().into_buffer_arg(),
            all.k.clone().into_buffer_arg(),
            all.v.clone().into_buffer_arg(),
            all.seen.clone().into_buffer_arg(),
            found.clone().into_buffer_arg(),
            all.heads as u32,
            all.kv_heads as u32,
            splits as u32,
            plan.chunk as u32,
            all.seen_at as u32,
            spot.row as u32,
            spot.half as u32,
            spot.angles.unwrap_or(0) as u32,
            all.scale,
            all.softcap.unwrap_or(1.0),
            norms.map_or(0.0, |norms| norms.eps),
            all.dim as u32,
            plan.group as u32,
            norms.is_some(),
            spot.angles.is_some(),
            spot.adjacent,
            all.softcap.is_some(),
            splits > 1,
            planes(row),
        );
    }
    if splits > 1 {
        join_parts(&found, &out, [1, all.heads, all.dim, splits]);
    }
    AttentionOut { out, parts: (splits > 1).then_some(found) }
}

/// Number `c` of the heads in `raw`, normed: those of queries, and after `group` of them that of the key.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube]
fn normed_at(
    raw: &Shared<[f32]>,
    squares: &Shared<[f32]>,
    q_gamma: &[f32],
    k_gamma: &[f32],
    c: u32,
    eps: f32,
    #[comptime] dim: u32,
    #[comptime] group: u32,
    #[comptime] normed: bool,
) -> f32 {
    let mut value = raw[c as usize];
    if comptime!(normed) {
        let head = c / dim;
        let mut sum = 0.0f32;
        #[unroll]
        for part in 0..SIDE {
            sum += squares[(head * SIDE + part) as usize];
        }
        let at = (c % dim) as usize;
        let mut gamma = q_gamma[at];
        if head == group {
            gamma = k_gamma[at];
        }
        value *= gamma / f32::sqrt(sum / comptime!(dim as f32) + eps);
    }
    value
}

/// The largest of each number over all units, or the sum, for all of them.
#[cube]
fn over_all(
    values: &mut Array<f32>,
    shared: &mut Shared<[f32]>,
    #[comptime] count: u32,
    #[comptime] most: bool,
    #[comptime] plane: bool,
) {
    let mut slot = UNIT_POS_X;
    let mut writes = true;
    if comptime!(plane) {
        #[unroll]
        for i in 0..count {
            let own = values[i as usize];
            values[i as usize] = if comptime!(most) { plane_max(own) } else { plane_sum(own) };
        }
        slot = UNIT_POS_X / 32u32;
        writes = UNIT_POS_X.is_multiple_of(32u32);
    }
    let size = comptime!(if plane { UNITS / 32 } else { UNITS });
    sync_cube();
    if writes {
        #[unroll]
        for i in 0..count {
            shared[(comptime!(i * size) + slot) as usize] = values[i as usize];
        }
    }
    sync_cube();
    if comptime!(!plane) {
        #[unroll]
        for level in 0..comptime!(UNITS.ilog2() - 3) {
            let reach = comptime!(UNITS >> (level + 1));
            if slot < reach {
                #[unroll]
                for i in 0..count {
                    let at = comptime!(i * size) + slot;
                    let (own, other) = (shared[at as usize], shared[(at + reach) as usize]);
                    shared[at as usize] =
                        if comptime!(most) { max(own, other) } else { own + other };
                }
            }
            sync_cube();
        }
    }
    #[unroll]
    for i in 0..count {
        let mut all = shared[comptime!((i * size) as usize)];
        #[unroll]
        for other in 1..8u32 {
            let other = shared[comptime!((i * size + other) as usize)];
            all = if comptime!(most) { max(all, other) } else { all + other };
        }
        values[i as usize] = all;
    }
}

#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn look(
    row: &[f32],
    q_gamma: &[f32],
    k_gamma: &[f32],
    keys: &mut [Vector<f32, Const<4>>],
    values: &mut [Vector<f32, Const<4>>],
    words: &[i32],
    out: &mut [f32],
    heads: u32,
    kv_heads: u32,
    splits: u32,
    chunk: u32,
    seen_at: u32,
    spot: u32,
    half: u32,
    angles: u32,
    scale: f32,
    cap: f32,
    eps: f32,
    #[comptime] dim: u32,
    #[comptime] group: u32,
    #[comptime] normed: bool,
    #[comptime] rotates: bool,
    #[comptime] adjacent: bool,
    #[comptime] capped: bool,
    #[comptime] split: bool,
    #[comptime] plane: bool,
) {
    let unit = UNIT_POS_X;
    let quads = comptime!(dim / 4);
    let parts = comptime!(quads / SIDE);
    let first_head = CUBE_POS_Y * group;
    let shared = heads / kv_heads;
    let kv = first_head / shared;
    let newest = u32::cast_from(words[spot as usize]);
    let from = u32::cast_from(words[seen_at as usize]) + CUBE_POS_X * chunk;
    let last = u32::cast_from(words[(seen_at + 1u32) as usize]);
    let to = min(from + chunk, last);

    // Queries, the newest key and its values: first as they are.
    let mut met = Shared::<[f32]>::new_slice(comptime!((4 * UNITS) as usize));
    let mut near = Shared::<[f32]>::new_slice(comptime!(((group + 2) * dim) as usize));
    let mut squares = Shared::<[f32]>::new_slice(comptime!(((group + 1) * SIDE) as usize));
    let mut c = unit;
    while c < comptime!((group + 2) * dim) {
        let head = c / dim;
        let mut from = first_head + head;
        if head >= group {
            from = heads + kv + (head - group) * kv_heads;
        }
        let value = row[(from * dim + c % dim) as usize];
        if head > group {
            near[c as usize] = value;
        } else {
            met[c as usize] = value;
        }
        c += UNITS;
    }
    sync_cube();
    if comptime!(normed) {
        if unit < comptime!((group + 1) * SIDE) {
            let mut sum = 0.0f32;
            #[unroll]
            for i in 0..comptime!(dim / SIDE) {
                let value = met[(unit / SIDE * dim + i * SIDE + unit % SIDE) as usize];
                sum += value * value;
            }
            squares[unit as usize] = sum;
        }
        sync_cube();
    }
    let mut c = unit;
    while c < comptime!((group + 1) * dim) {
        let mut value = normed_at(&met, &squares, q_gamma, k_gamma, c, eps, dim, group, normed);
        if comptime!(rotates) {
            let (turns, left, pair, other) = paired(c, dim, half, adjacent);
            if turns {
                let cos = f32::reinterpret(words[(angles + pair) as usize]);
                let sin = f32::reinterpret(words[(angles + half + pair) as usize]);
                let other =
                    normed_at(&met, &squares, q_gamma, k_gamma, other, eps, dim, group, normed);
                let across = other * sin;
                value = value * cos + select(left, -across, across);
            }
        }
        near[c as usize] = select(c < comptime!(group * dim), value * scale, value);
        c += UNITS;
    }
    sync_cube();
    // One cube keeps them; others look at their own copy, since they may be faster.
    if CUBE_POS_X == 0u32 && first_head.is_multiple_of(shared) && unit < quads {
        let to = (newest * kv_heads + kv) * quads + unit;
        let mut key = Vector::<f32, Const<4>>::empty();
        let mut value = Vector::<f32, Const<4>>::empty();
        #[unroll]
        for e in 0..4usize {
            let at = unit as usize * 4usize + e;
            key.insert(e, near[comptime!((group * dim) as usize) + at]);
            value.insert(e, near[comptime!(((group + 1) * dim) as usize) + at]);
        }
        keys[to as usize] = key;
        values[to as usize] = value;
    }

    let side = unit % SIDE;
    let mut queries = Array::<Vector<f32, Const<4>>>::new(comptime!((group * parts) as usize));
    #[unroll]
    for r in 0..group {
        #[unroll]
        for part in 0..parts {
            let mut quad = Vector::<f32, Const<4>>::empty();
            #[unroll]
            for e in 0..4u32 {
                let at = r * dim + (side + comptime!(part * SIDE)) * 4u32 + e;
                quad.insert(comptime!(e as usize), near[at as usize]);
            }
            queries[comptime!((r * parts + part) as usize)] = quad;
        }
    }

    // Scores of all keys of the chunk.
    let mut scores = Shared::<[f32]>::new_slice(comptime!((group * UNITS) as usize));
    let mut sides = Shared::<[f32]>::new_slice(comptime!((if plane { 8 } else { UNITS }) as usize));
    #[unroll]
    for r in 0..group {
        scores[(r * UNITS + unit) as usize] = HIDDEN;
    }
    sync_cube();
    let over = comptime!(UNITS / SIDE);
    let rounds = chunk.div_ceil(over * BURST);
    for round in 0..rounds {
        let mut held = Array::<Vector<f32, Const<4>>>::new(comptime!((BURST * parts) as usize));
        #[unroll]
        for u in 0..BURST {
            let key = from + (round * BURST + u) * over + unit / SIDE;
            // Keys past the end are the last one again; the newest is not there yet.
            let base = (min(key, max(last, 1u32) - 1u32) * kv_heads + kv) * quads + side;
            #[unroll]
            for part in 0..parts {
                held[comptime!((u * parts + part) as usize)] =
                    keys[(base + comptime!(part * SIDE)) as usize];
            }
        }
        #[unroll]
        for u in 0..BURST {
            let own = (round * BURST + u) * over + unit / SIDE;
            let key = from + own;
            let mut dots = Array::<f32>::new(comptime!(group as usize));
            #[unroll]
            for r in 0..group {
                dots[r as usize] = 0.0f32;
            }
            #[unroll]
            for part in 0..parts {
                let mut quad = held[comptime!((u * parts + part) as usize)];
                if key == newest {
                    #[unroll]
                    for e in 0..4u32 {
                        let at =
                            comptime!(group * dim) + (side + comptime!(part * SIDE)) * 4u32 + e;
                        quad.insert(comptime!(e as usize), near[at as usize]);
                    }
                }
                #[unroll]
                for r in 0..group {
                    dots[r as usize] +=
                        sum4(quad * queries[comptime!((r * parts + part) as usize)]);
                }
            }
            #[unroll]
            for r in 0..group {
                let mut dot = dots[r as usize];
                if comptime!(plane) {
                    dot += plane_shuffle_xor(dot, 1u32);
                    dot += plane_shuffle_xor(dot, 2u32);
                    dot += plane_shuffle_xor(dot, 4u32);
                } else {
                    sides[unit as usize] = dot;
                    sync_cube();
                    dot = 0.0f32;
                    #[unroll]
                    for other in 0..SIDE {
                        dot += sides[(unit / SIDE * SIDE + other) as usize];
                    }
                    sync_cube();
                }
                if comptime!(capped) {
                    dot = cap * tanh(dot / cap);
                }
                if side == 0u32 && own < chunk && key < to {
                    scores[(r * UNITS + own) as usize] = dot;
                }
            }
        }
    }
    sync_cube();

    // Weights of the keys.
    let mut folded = Shared::<[f32]>::new_slice(comptime!(
        (group * if plane { UNITS / 32 } else { UNITS }) as usize
    ));
    let mut most = Array::<f32>::new(comptime!(group as usize));
    let mut sums = Array::<f32>::new(comptime!(group as usize));
    #[unroll]
    for r in 0..group {
        most[r as usize] = scores[(r * UNITS + unit) as usize];
    }
    over_all(&mut most, &mut folded, group, true, plane);
    #[unroll]
    for r in 0..group {
        let score = scores[(r * UNITS + unit) as usize];
        let weight = select(score > HIDDEN, f32::exp(score - most[r as usize]), 0.0f32);
        scores[(r * UNITS + unit) as usize] = weight;
        sums[r as usize] = weight;
    }
    over_all(&mut sums, &mut folded, group, false, plane);

    // Values: units that share a quad of the row take keys in turns.
    let slots = comptime!(UNITS / quads);
    let quad = unit % quads;
    let slot = unit / quads;
    let mut found = Array::<Vector<f32, Const<4>>>::new(comptime!(group as usize));
    #[unroll]
    for r in 0..group {
        found[r as usize] = Vector::<f32, Const<4>>::new(0.0f32);
    }
    let count = max(to, from) - from;
    if slot < slots {
        let mut start = slot;
        while start < count {
            let mut held = Array::<Vector<f32, Const<4>>>::new(comptime!(VALUES as usize));
            #[unroll]
            for u in 0..VALUES {
                let key = from + min(start + comptime!(u * slots), count - 1u32);
                held[u as usize] = values[((key * kv_heads + kv) * quads + quad) as usize];
            }
            #[unroll]
            for u in 0..VALUES {
                let own = start + comptime!(u * slots);
                let mut value = held[u as usize];
                if from + min(own, count - 1u32) == newest {
                    #[unroll]
                    for e in 0..4u32 {
                        let at = comptime!((group + 1) * dim) + quad * 4u32 + e;
                        value.insert(comptime!(e as usize), near[at as usize]);
                    }
                }
                #[unroll]
                for r in 0..group {
                    let at = r * UNITS + min(own, comptime!(UNITS - 1));
                    let weight = select(own < count, scores[at as usize], 0.0f32);
                    found[r as usize] += value * Vector::<f32, Const<4>>::new(weight);
                }
            }
            start += comptime!(VALUES * slots);
        }
    }
    #[unroll]
    for r in 0..group {
        sync_cube();
        #[unroll]
        for e in 0..4u32 {
            met[(comptime!(e * UNITS) + unit) as usize] =
                found[r as usize].extract(comptime!(e as usize));
        }
        sync_cube();
        let head = first_head + r;
        if unit < quads {
            let mut all = Vector::<f32, Const<4>>::empty();
            #[unroll]
            for e in 0..4u32 {
                let mut sum = 0.0f32;
                #[unroll]
                for other in 0..slots {
                    sum += met[(comptime!(e * UNITS + other * quads) + unit) as usize];
                }
                all.insert(comptime!(e as usize), sum);
            }
            let sum = sums[r as usize];
            let mut base = head * dim;
            if comptime!(split) {
                base = (head * splits + CUBE_POS_X) * comptime!(dim + 2);
                if unit == 0u32 {
                    out[(base + dim) as usize] = most[r as usize];
                    out[(base + dim + 1u32) as usize] = sum;
                }
            } else {
                all /= Vector::<f32, Const<4>>::new(select(sum > 0.0f32, sum, 1.0f32));
            }
            #[unroll]
            for e in 0..4usize {
                out[(base + unit * 4u32) as usize + e] = all.extract(e);
            }
        }
    }
}
