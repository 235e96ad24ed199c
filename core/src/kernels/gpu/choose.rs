//! Sampling where the logits are: the host reads sixteen bytes of it, and the step after
//! can begin before it has.
//!
//! ```text
//! logits [V] -> scan:    of each block the largest, and sums of weights
//!            -> settle:  of all; the token, where nothing is cut
//!            -> collect: the tokens that may be among the likeliest
//!            -> draw:    these in order, cut and drawn from
//! ```
//!
//! It chooses what [`Sampler`](crate::generate::Sampler) chooses of the same logits by the same
//! number, but for sums in 32 bits: a draw at the border of two tokens may take the other. Where
//! the likeliest are too many to be put in order it leaves the choice to the host.

use burn::backend::{DType, Shape};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::between::total;
use super::cubes;
use crate::kernels::{Cuts, Draw};

/// Logits of a block.
const BLOCK: u32 = 256;

/// The most blocks that [`settle`] holds; a vocabulary of more is left to the host.
const BLOCKS: u32 = 2048;

/// Units of a cube of [`scan`] and [`collect`].
const UNITS: u32 = 64;

/// Units of the one cube of [`settle`] and [`draw`].
const WIDE: u32 = 256;

/// The most tokens that [`draw`] puts in order.
const MOST: u32 = 512;

/// As many blocks are looked into at least: the likeliest tokens stand in few, and what a top-p of
/// 0.95 leaves of a text is seldom more.
const SOME: usize = 64;

/// The most tokens that top-k may keep, so that [`MOST`] are enough with those beside them.
const TOP_K: usize = 256;

/// Stands for minus infinity, with which some drivers do not reckon.
const LEAST: f32 = -3.0e38;

/// What became of a choice, beside the token and the logarithm of its probability.
pub(crate) mod outcome {
    /// It is the token.
    pub(crate) const CHOSEN: u32 = 0;
    /// A logit was NaN or infinite, or all were minus infinity.
    pub(crate) const NOT_FINITE: u32 = 1;
    /// Too many tokens may be drawn.
    pub(crate) const UNDECIDED: u32 = 2;
}

/// A token on the device.
pub(crate) struct DeviceChoice {
    /// The token, `[1]` as `i32`; 0 where none was chosen.
    pub id: CubeTensor,
    /// The token, the bits of its log-probability, an [`outcome`], and nothing: `[4]` as `u32`.
    pub found: CubeTensor,
}

/// The likeliest of `logits [V]`, or one that is drawn; `None` where there are too many tokens, or
/// top-k keeps too many.
pub(crate) fn choose(logits: &CubeTensor, by: Option<&Draw>) -> Option<DeviceChoice> {
    let vocab = logits.meta.num_elements();
    let blocks = vocab.div_ceil(BLOCK as usize);
    let kept = by.map_or(0, |by| by.cuts.top_k);
    if vocab == 0 || blocks > BLOCKS as usize || kept > TOP_K {
        return None;
    }
    let whole = |count: usize, dtype: DType| {
        let (client, device) = (logits.client.clone(), logits.device.clone());
        empty_device_contiguous_dtype(client, device, Shape::from([count]), dtype)
    };
    let (id, found) = (whole(1, DType::I32), whole(4, DType::U32));
    let (parts, state, count) =
        (whole(PLANES * blocks, DType::U32), whole(4, DType::U32), whole(1, DType::U32));
    let client = &logits.client;
    let by_blocks = cubes(blocks, 1);
    let kind = match by {
        None => GREEDY,
        Some(by) if by.cuts.keeps_all() => ALL,
        Some(_) => CUT,
    };
    let Draw { cuts, uniform } = by.copied().unwrap_or(Draw { cuts: Cuts::OFF, uniform: 0.0 });
    let Cuts { temperature, top_k, top_p, min_p } = cuts;
    // SAFETY: blocks are below `blocks` and tokens below `vocab`, and the buffers hold as many; of
    // what is collected no more than `MOST` is written or read.
    unsafe {
        scan::launch_unchecked(
            client,
            by_blocks.clone(),
            CubeDim::new_1d(UNITS),
            logits.clone().into_buffer_arg(),
            parts.clone().into_buffer_arg(),
            vocab as u32,
            blocks as u32,
            temperature,
            kind != GREEDY,
        );
        settle::launch_unchecked(
            client,
            CubeCount::new_single(),
            CubeDim::new_1d(WIDE),
            logits.clone().into_buffer_arg(),
            parts.clone().into_buffer_arg(),
            id.clone().into_buffer_arg(),
            found.clone().into_buffer_arg(),
            state.clone().into_buffer_arg(),
            count.clone().into_buffer_arg(),
            vocab as u32,
            blocks as u32,
            temperature,
            uniform,
            top_k.max(SOME) as u32,
            kind,
        );
        if kind == CUT {
            let list = whole(2 * MOST as usize, DType::U32);
            collect::launch_unchecked(
                client,
                by_blocks,
                CubeDim::new_1d(UNITS),
                logits.clone().into_buffer_arg(),
                parts.into_buffer_arg(),
                state.clone().into_buffer_arg(),
                list.clone().into_buffer_arg(),
                count.clone().into_buffer_arg(),
                vocab as u32,
                blocks as u32,
            );
            draw::launch_unchecked(
                client,
                CubeCount::new_single(),
                CubeDim::new_1d(WIDE),
                logits.clone().into_buffer_arg(),
                state.into_buffer_arg(),
                list.into_buffer_arg(),
                count.into_buffer_arg(),
                id.clone().into_buffer_arg(),
                found.clone().into_buffer_arg(),
                vocab as u32,
                top_k as u32,
                temperature,
                top_p,
                min_p,
                uniform,
            );
        }
    }
    Some(DeviceChoice { id, found })
}

/// What [`settle`] does: it takes the likeliest, draws from all, or says what is to be collected.
const GREEDY: u32 = 0;
const ALL: u32 = 1;
const CUT: u32 = 2;

/// What stands of each block, one after another: the largest logit, the sums of weights at a
/// temperature of 1 and at the draw's, the first token with the largest logit, and whether a logit is
/// no number. As words: a float's bits may be flushed where they are not meant as one.
const PLANES: usize = 5;

/// `exp((x - peak) / temperature)`, 0 below e^-87.
#[cube]
fn weight(x: f32, peak: f32, temperature: f32) -> f32 {
    let power = (x - peak) / temperature;
    select(power >= -87.0f32, f32::exp(max(power, -87.0f32)), 0.0f32)
}

/// What became of a choice, of logits of which some may be no numbers.
#[cube]
fn outcome_of(bad: u32, otherwise: u32) -> u32 {
    select(bad == 0u32, otherwise, outcome::NOT_FINITE)
}

/// Says which token was chosen; `mass` is the logarithm of what all weigh beside the likeliest.
#[cube]
fn put(
    logits: &[f32],
    chosen: &mut [i32],
    found: &mut [u32],
    id: u32,
    peak: f32,
    mass: f32,
    what: u32,
) {
    let id = select(what == outcome::CHOSEN, id, 0u32);
    chosen[0] = i32::cast_from(id);
    found[0] = id;
    found[1] = u32::reinterpret(min(logits[id as usize] - peak - mass, 0.0f32));
    found[2] = what;
    found[3] = 0u32;
}

/// The largest value over a cube, the lowest id that has it, and whether any unit said `bad`.
#[cube]
fn largest(value: f32, id: u32, bad: u32, #[comptime] units: u32) -> (f32, u32, u32) {
    let mut values = Shared::<[f32]>::new_slice(comptime!(units as usize));
    let mut ids = Shared::<[u32]>::new_slice(comptime!(units as usize));
    let mut bads = Shared::<[u32]>::new_slice(comptime!(units as usize));
    let lane = UNIT_POS_X as usize;
    values[lane] = value;
    ids[lane] = id;
    bads[lane] = bad;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(units.ilog2()) {
        let reach = comptime!(units >> (level + 1));
        if UNIT_POS_X < reach {
            let other = lane + comptime!(reach as usize);
            if values[other] > values[lane]
                || (values[other] == values[lane] && ids[other] < ids[lane])
            {
                values[lane] = values[other];
                ids[lane] = ids[other];
            }
            bads[lane] = max(bads[lane], bads[other]);
        }
        sync_cube();
    }
    (values[0], ids[0], bads[0])
}

/// One cube a block.
#[cube(launch_unchecked)]
fn scan(
    logits: &[f32],
    parts: &mut [u32],
    vocab: u32,
    blocks: u32,
    temperature: f32,
    #[comptime] draws: bool,
) {
    // Cubes past the end repeat the last block, since all must reach the barriers.
    let block = min(CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X, blocks - 1u32);
    let from = block * BLOCK;
    let to = min(from + BLOCK, vocab);
    let mut peak = f32::new(LEAST);
    let mut id = from + UNIT_POS_X;
    let mut bad = 0u32;
    let mut at = from + UNIT_POS_X;
    while at < to {
        let x = logits[at as usize];
        // By bits: a driver may reckon as if there were no NaN.
        let bits = u32::reinterpret(x);
        let size = bits & 0x7fff_ffffu32;
        if size >= 0x7f80_0000u32 && bits != 0xff80_0000u32 {
            bad = 1u32;
        }
        if x > peak {
            peak = x;
            id = at;
        }
        at += UNITS;
    }
    let (peak, id, bad) = largest(peak, id, bad, UNITS);
    let mut mass = 0.0f32;
    let mut drawn = 0.0f32;
    let mut at = from + UNIT_POS_X;
    while at < to {
        let x = max(logits[at as usize], LEAST);
        mass += weight(x, peak, 1.0f32);
        if comptime!(draws) {
            drawn += weight(x, peak, temperature);
        }
        at += UNITS;
    }
    let mass = total(mass, UNITS);
    let drawn = total(drawn, UNITS);
    if UNIT_POS_X == 0u32 {
        parts[block as usize] = u32::reinterpret(peak);
        parts[(blocks + block) as usize] = u32::reinterpret(mass);
        parts[(2u32 * blocks + block) as usize] = u32::reinterpret(drawn);
        parts[(3u32 * blocks + block) as usize] = id;
        parts[(4u32 * blocks + block) as usize] = bad;
    }
}

/// One cube: what all blocks come to.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn settle(
    logits: &[f32],
    parts: &[u32],
    chosen: &mut [i32],
    found: &mut [u32],
    state: &mut [u32],
    count: &mut [u32],
    vocab: u32,
    blocks: u32,
    temperature: f32,
    uniform: f32,
    wanted: u32,
    #[comptime] kind: u32,
) {
    let lane = UNIT_POS_X;
    let mut peak = f32::new(LEAST);
    let mut id = vocab;
    let mut bad = 0u32;
    let mut block = lane;
    while block < blocks {
        let own = f32::reinterpret(parts[block as usize]);
        if own > peak {
            peak = own;
            id = parts[(3u32 * blocks + block) as usize];
        }
        bad = max(bad, parts[(4u32 * blocks + block) as usize]);
        block += WIDE;
    }
    let (peak, id, bad) = largest(peak, id, bad, WIDE);
    let bad = max(bad, select(peak > LEAST, 0u32, 1u32));

    // Sums of blocks are relative to their own largest.
    let mut sums = Shared::<[f32]>::new_slice(comptime!(BLOCKS as usize));
    let mut mass = 0.0f32;
    let mut drawn = 0.0f32;
    let mut block = lane;
    while block < blocks {
        let own = f32::reinterpret(parts[block as usize]);
        mass += f32::reinterpret(parts[(blocks + block) as usize]) * weight(own, peak, 1.0f32);
        if comptime!(kind != GREEDY) {
            let sum = f32::reinterpret(parts[(2u32 * blocks + block) as usize])
                * weight(own, peak, temperature);
            drawn += sum;
            if comptime!(kind == ALL) {
                sums[block as usize] = sum;
            } else {
                sums[block as usize] = own;
            }
        }
        block += WIDE;
    }
    let mass = f32::ln(total(mass, WIDE));
    let drawn = total(drawn, WIDE);

    if comptime!(kind == GREEDY) {
        if lane == 0u32 {
            put(logits, chosen, found, id, peak, mass, outcome_of(bad, outcome::CHOSEN));
        }
    } else if comptime!(kind == ALL) {
        let mut weights = Shared::<[f32]>::new_slice(comptime!(BLOCK as usize));
        let mut where_to = Shared::<[f32]>::new_slice(2usize);
        if lane == 0u32 {
            // The last block that holds anything, if rounding carries the target past the end.
            let mut target = uniform * drawn;
            let mut at = 0u32;
            let mut last = 0u32;
            let mut rest = target;
            let mut inside = false;
            while at < blocks && !inside {
                let sum = sums[at as usize];
                if sum > 0.0f32 {
                    last = at;
                    rest = target;
                    inside = target < sum;
                    target -= sum;
                }
                at += 1u32;
            }
            where_to[0] = f32::cast_from(last);
            where_to[1] = rest;
        }
        sync_cube();
        let from = u32::cast_from(where_to[0]) * BLOCK;
        let mut at = lane;
        while at < BLOCK {
            let mut own = 0.0f32;
            if from + at < vocab {
                own = weight(max(logits[(from + at) as usize], LEAST), peak, temperature);
            }
            weights[at as usize] = own;
            at += WIDE;
        }
        sync_cube();
        if lane == 0u32 {
            let target = where_to[1];
            let mut sum = 0.0f32;
            let mut id = 0u32;
            let mut at = 0u32;
            let mut inside = false;
            while at < BLOCK && !inside {
                let own = weights[at as usize];
                if own > 0.0f32 {
                    id = from + at;
                    sum += own;
                    inside = target < sum;
                }
                at += 1u32;
            }
            put(logits, chosen, found, id, peak, mass, outcome_of(bad, outcome::CHOSEN));
        }
    } else {
        // As many tokens as there are blocks whose largest is not below this one are not below it.
        if lane == 0u32 {
            state[3] = u32::reinterpret(f32::new(LEAST));
        }
        sync_cube();
        let mut block = lane;
        while block < blocks {
            let own = sums[block as usize];
            let mut before = 0u32;
            for other in 0..blocks {
                let its = sums[other as usize];
                if its > own || (its == own && other < block) {
                    before += 1u32;
                }
            }
            if before + 1u32 == wanted {
                state[3] = u32::reinterpret(own);
            }
            block += WIDE;
        }
        if lane == 0u32 {
            state[0] = u32::reinterpret(peak);
            state[1] = u32::reinterpret(mass);
            state[2] = u32::reinterpret(drawn);
            found[2] = bad;
            count[0] = 0u32;
        }
    }
}

/// One cube a block: the tokens from the floor on, in any order.
#[cube(launch_unchecked)]
fn collect(
    logits: &[f32],
    parts: &[u32],
    state: &[u32],
    list: &mut [u32],
    count: &[Atomic<u32>],
    vocab: u32,
    blocks: u32,
) {
    let block = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    let floor = f32::reinterpret(state[3]);
    let peak = f32::reinterpret(parts[min(block, blocks - 1u32) as usize]);
    if block < blocks && peak >= floor {
        let to = min((block + 1u32) * BLOCK, vocab);
        let mut at = block * BLOCK + UNIT_POS_X;
        while at < to {
            let x = max(logits[at as usize], LEAST);
            if x >= floor {
                let slot = count[0].fetch_add(1u32);
                if slot < MOST {
                    list[slot as usize] = u32::reinterpret(x);
                    list[(MOST + slot) as usize] = at;
                }
            }
            at += UNITS;
        }
    }
}

/// One cube: a token of those that were collected.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn draw(
    logits: &[f32],
    state: &[u32],
    list: &[u32],
    count: &[u32],
    chosen: &mut [i32],
    found: &mut [u32],
    vocab: u32,
    top_k: u32,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    uniform: f32,
) {
    let lane = UNIT_POS_X;
    let peak = f32::reinterpret(state[0]);
    let all = count[0];
    let many = min(all, MOST);
    let mut values = Shared::<[f32]>::new_slice(comptime!(MOST as usize));
    let mut ids = Shared::<[u32]>::new_slice(comptime!(MOST as usize));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(MOST as usize));
    let mut tokens = Shared::<[u32]>::new_slice(comptime!(MOST as usize));
    let mut ends = Shared::<[u32]>::new_slice(2usize);
    let mut at = lane;
    while at < many {
        values[at as usize] = f32::reinterpret(list[at as usize]);
        ids[at as usize] = list[(MOST + at) as usize];
        at += WIDE;
    }
    sync_cube();
    // In order: the likeliest first, of equals the lowest id.
    let mut at = lane;
    while at < many {
        let x = values[at as usize];
        let id = ids[at as usize];
        let mut before = 0u32;
        for other in 0..many {
            let its = values[other as usize];
            if its > x || (its == x && ids[other as usize] < id) {
                before += 1u32;
            }
        }
        weights[before as usize] = weight(x, peak, temperature);
        tokens[before as usize] = id;
        at += WIDE;
    }
    sync_cube();
    if lane == 0u32 {
        let by_count = top_k > 0u32;
        let mut end = select(by_count, min(top_k, many), many);
        // Whether the last that is kept is known: what was not collected may follow it otherwise.
        let mut known = by_count || all == vocab;
        if top_p < 1.0f32 {
            let mut mass = f32::reinterpret(state[2]);
            if by_count {
                mass = 0.0f32;
                for i in 0..end {
                    mass += weights[i as usize];
                }
            }
            let enough = top_p * mass;
            let mut sum = 0.0f32;
            let mut i = 0u32;
            let limit = end;
            let mut crossed = false;
            while i < limit && !crossed {
                sum += weights[i as usize];
                i += 1u32;
                crossed = sum >= enough;
            }
            if crossed {
                end = i;
                known = true;
            }
        }
        let mut light = true;
        while end > 1u32 && light {
            let least = weights[(end - 1u32) as usize];
            light = least <= 0.0f32 || least < min_p;
            if light {
                end -= 1u32;
                known = true;
            }
        }
        ends[0] = end;
        ends[1] = select(known && all <= MOST, outcome::CHOSEN, outcome::UNDECIDED);
    }
    sync_cube();
    // The order in which it is drawn: that of likelihood after top-k, else that of ids.
    let end = ends[0];
    let mut at = lane;
    while at < end {
        let id = tokens[at as usize];
        let mut before = 0u32;
        for other in 0..end {
            if tokens[other as usize] < id {
                before += 1u32;
            }
        }
        let slot = select(top_k > 0u32, at, before);
        values[slot as usize] = weights[at as usize];
        ids[slot as usize] = id;
        at += WIDE;
    }
    sync_cube();
    if lane == 0u32 {
        let mut mass = 0.0f32;
        for i in 0..end {
            mass += values[i as usize];
        }
        let target = uniform * mass;
        let mut sum = 0.0f32;
        let mut id = 0u32;
        let mut i = 0u32;
        let mut inside = false;
        while i < end && !inside {
            let own = values[i as usize];
            if own > 0.0f32 {
                id = ids[i as usize];
                sum += own;
                inside = target < sum;
            }
            i += 1u32;
        }
        let what = outcome_of(found[2], ends[1]);
        let mass = f32::reinterpret(state[1]);
        put(logits, chosen, found, id, peak, mass, what);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::super::tests::{gpus, on};
    use super::*;

    /// The words of a choice, and the token on the device.
    fn chosen(device: &Device, logits: &[f32], by: Option<&Draw>) -> Option<(Vec<u32>, i32)> {
        let choice = choose(&on(device, logits), by)?;
        let words = |of: CubeTensor| {
            let bytes = of.client.read_one(of.handle).unwrap();
            let words = bytes.as_chunks::<4>().0.iter();
            words.map(|word| u32::from_ne_bytes(*word)).collect::<Vec<u32>>()
        };
        Some((words(choice.found), words(choice.id)[0] as i32))
    }

    /// Logits as a model has them: a wide heap, and some tokens that stand out.
    fn logits(vocab: usize, out: usize, ties: bool, random: &mut ChaCha8Rng) -> Vec<f32> {
        let mut unit = || (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let mut all: Vec<f32> =
            (0..vocab).map(|_| (0..6).map(|_| unit()).sum::<f32>() * 2.0 - 6.0).collect();
        for _ in 0..out {
            let at = (unit() * vocab as f32) as usize % vocab;
            all[at] += 8.0 + 6.0 * unit();
        }
        if ties {
            all.iter_mut().for_each(|x| *x = (*x * 2.0).round() / 2.0);
        }
        all
    }

    /// The tokens that may be drawn with what they weigh, in the order in which they are drawn.
    fn cut(logits: &[f32], by: &Cuts) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        let logit = |id: u32| f64::from(logits[id as usize]);
        let peak = logit(order[0]);
        let weigh = |id: u32| ((logit(id) - peak) / f64::from(by.temperature)).exp();
        let mut kept: Vec<(u32, f64)> = order.iter().map(|id| (*id, weigh(*id))).collect();
        if by.top_k > 0 {
            kept.truncate(by.top_k);
        }
        if by.top_p < 1.0 {
            let mass: f64 = kept.iter().map(|(_, weight)| weight).sum();
            let mut sum = 0.0;
            let end = kept.iter().position(|(_, weight)| {
                sum += weight;
                sum >= f64::from(by.top_p) * mass
            });
            kept.truncate(end.map_or(usize::MAX, |end| end + 1));
        }
        kept.retain(|(_, weight)| *weight >= f64::from(by.min_p));
        if by.top_k == 0 {
            kept.sort_by_key(|(id, _)| *id);
        }
        kept
    }

    fn check(device: &Device, logits: &[f32], by: Option<&Draw>, may_leave: bool) -> bool {
        let vocab = logits.len();
        let what = format!("{vocab} tokens, {by:?}");
        let (words, id) = chosen(device, logits, by).expect(&what);
        if words[2] == outcome::UNDECIDED && may_leave {
            assert_eq!((words[0], id), (0, 0), "{what}");
            return false;
        }
        assert_eq!((words[2], words[0] as i32), (outcome::CHOSEN, id), "{what}");
        let peak = logits.iter().fold(f32::NEG_INFINITY, |most, x| most.max(*x));
        let mass: f64 = logits.iter().map(|x| (f64::from(*x) - f64::from(peak)).exp()).sum();
        let logprob = f64::from(logits[id as usize]) - f64::from(peak) - mass.ln();
        let found = f64::from(f32::from_bits(words[1]));
        assert!((found - logprob).abs() <= 1e-5 * (1.0 + logprob.abs()), "{what}: {found}");
        let Some(by) = by else {
            let first = logits.iter().position(|x| *x == peak);
            assert_eq!(Some(id as usize), first, "{what}");
            return true;
        };
        // The token whose part of the mass holds the number, but for rounding at the borders.
        let kept = cut(logits, &by.cuts);
        let mass: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let (target, slack) = (f64::from(by.uniform) * mass, 2e-5 * mass);
        let mut sum = 0.0;
        let fits = kept.iter().any(|(own, weight)| {
            let from = sum;
            sum += weight;
            *own as i32 == id && from - slack <= target && target <= sum + slack
        });
        assert!(fits, "{what}: {id} of {} that are kept", kept.len());
        true
    }

    #[test]
    fn tokens_are_chosen_as_by_plain_loops() {
        let draw = |temperature, top_k, top_p, min_p| {
            move |uniform| Draw { cuts: Cuts { temperature, top_k, top_p, min_p }, uniform }
        };
        let ways = [
            draw(1.0, 0, 1.0, 0.0),
            draw(0.3, 0, 1.0, 0.0),
            draw(0.7, 40, 1.0, 0.0),
            draw(0.7, 200, 0.9, 0.0),
            draw(1.0, 20, 0.95, 0.1),
            draw(0.8, 0, 0.9, 0.0),
            draw(0.8, 0, 1.0, 0.05),
            draw(1.2, 0, 0.95, 0.02),
            draw(0.01, 1, 1.0, 0.0),
        ];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for device in gpus() {
            let (mut decided, mut all) = (0, 0);
            for vocab in [1, 7, 300, 511, 5_000, 40_000, 151_936, 262_208] {
                for (out, ties) in [(30, false), (30, true), (3, false)] {
                    let logits = logits(vocab, out, ties, &mut random);
                    check(&device, &logits, None, false);
                    for by in ways {
                        let uniform = (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
                        let by = by(uniform);
                        // So many blocks that the likeliest are in some of them; or so few tokens
                        // that all are put in order.
                        let sure = by.cuts.keeps_all() || vocab <= MOST as usize;
                        decided += usize::from(check(&device, &logits, Some(&by), !sure));
                        all += 1;
                    }
                }
            }
            println!("{decided} of {all} draws were decided on the device");
            assert!(decided * 10 >= all * 7, "{decided} of {all}");
        }
    }

    #[test]
    fn what_is_no_choice_is_left_or_refused() {
        let draw = |cuts| Draw { cuts, uniform: 0.5 };
        let few = Cuts { top_k: 40, top_p: 0.9, ..Cuts::OFF };
        let (cut, all) = (draw(few), draw(Cuts::OFF));
        for device in gpus() {
            for at in [0, 700, 2999] {
                for wrong in [f32::NAN, -f32::NAN, f32::INFINITY] {
                    let mut logits = vec![0.5; 3000];
                    logits[at] = wrong;
                    for by in [None, Some(&all), Some(&cut)] {
                        let (words, id) = chosen(&device, &logits, by).unwrap();
                        assert_eq!((words[2], id), (outcome::NOT_FINITE, 0), "{wrong} at {at}");
                    }
                }
                // What is forbidden is not chosen.
                let mut logits = vec![f32::NEG_INFINITY; 3000];
                for by in [None, Some(&all), Some(&cut)] {
                    let (words, _) = chosen(&device, &logits, by).unwrap();
                    assert_eq!(words[2], outcome::NOT_FINITE, "all are forbidden");
                }
                logits[at] = -7.0;
                for by in [None, Some(&all)] {
                    let (words, id) = chosen(&device, &logits, by).unwrap();
                    assert_eq!((words[2], id as usize), (outcome::CHOSEN, at));
                    assert!(f32::from_bits(words[1]).abs() <= 1e-6);
                }
            }
            // A flat distribution, of which too many tokens may be drawn.
            let flat = vec![1.0; 40_000];
            let (words, id) =
                chosen(&device, &flat, Some(&draw(Cuts { top_k: 0, ..few }))).unwrap();
            assert_eq!((words[2], id), (outcome::UNDECIDED, 0));
            // More than the kernels hold.
            assert!(
                chosen(&device, &flat, Some(&draw(Cuts { top_k: TOP_K + 1, ..few }))).is_none()
            );
            let vast = vec![1.0; (BLOCKS * BLOCK) as usize + 1];
            assert!(chosen(&device, &vast, None).is_none());
        }
    }
}
