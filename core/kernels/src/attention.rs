//! Attention without a matrix of scores in memory: keys come in blocks, and each query keeps the
//! largest score, the sum of weights and the weighted sum of values so far (online softmax,
//! arXiv:1805.02867; FlashAttention, arXiv:2205.14135).
//!
//! Both products of a block are tiles of a GEMM: keys, transposed, and values are panels that stay in
//! the nearest cache while they are multiplied with all queries of a task. One query or a few, as in
//! decoding, go another way (`attention/few.rs`).

mod few;

use std::cell::RefCell;
use std::ops::Range;

use super::between::{exp, tanh};
use super::level::Level;
use super::pool;
use super::product::tile;
use super::simd::{Ahead, Kernel, MOST, PANEL_ROWS, Simd};

/// Keys of a block: a whole number of panels everywhere.
const KEYS: usize = 64;

/// Queries of a task, which turns its keys by itself: a short text is one task a head.
const QUERIES: usize = 64;

/// Queries of a part up to which keys and values are read as they lie, without a panel.
const ALONE: usize = 3;

/// One sequence among the rows of queries and keys.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its rows among the queries.
    pub queries: Range<usize>,
    /// Its rows among keys and values.
    pub keys: Range<usize>,
    /// How many keys stand before that of the first query.
    pub before: usize,
}

/// What attends to what.
#[derive(Clone, Copy)]
pub struct AttentionArgs<'a> {
    /// `[T, H C]`
    pub q: &'a [f32],
    /// Keys and values, `[S, K C]` each: one pair for all parts, or one for each.
    pub sides: &'a [(&'a [f32], &'a [f32])],
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
    /// How many keys a query sees up to its own, included; `None`: all.
    pub window: Option<usize>,
    /// How many keys a query sees after its own; `None`: all.
    pub after: Option<usize>,
    /// The sequences, of which none sees another.
    pub parts: &'a [Part],
}

/// `out [T, H C]`, overwritten; the lengths are the caller's to have checked, and are asserted.
pub fn attend(all: AttentionArgs<'_>, out: &mut [f32]) {
    attend_with(Level::best(), all, out);
}

fn attend_with(level: Level, all: AttentionArgs<'_>, out: &mut [f32]) {
    let (q_row, k_row) = (all.heads * all.dim, all.kv_heads * all.dim);
    assert!(q_row > 0 && k_row > 0 && all.heads.is_multiple_of(all.kv_heads), "no heads");
    assert!(all.q.len() == out.len(), "lengths differ");
    assert!(all.sides.iter().all(|(k, v)| k.len() == v.len()), "lengths differ");
    assert!(
        all.sides.len() == 1 || all.sides.len() == all.parts.len(),
        "keys are neither those of all nor of each"
    );
    assert!(
        all.parts.iter().enumerate().all(|(i, part)| {
            part.queries.end * q_row <= all.q.len() && part.keys.end * k_row <= all.side(i).0.len()
        }),
        "a part is not in its rows"
    );
    thread_local! {
        static LEFT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken, so that whatever the caller computes meanwhile may attend too.
    let mut left = LEFT.take();
    let need = |part: &Part| few::cut(&all, part).count() * all.kv_heads * few::left(&all, part);
    let needs: usize = all.parts.iter().filter(|part| is_few(part)).map(need).sum();
    if left.len() < needs {
        left.resize(needs, 0.0);
    }
    // Each task owns its rows of one head, or what it leaves: gathered first, so that threads write
    // to slices.
    let mut tasks: Vec<Task<'_>> = Vec::new();
    let mut rows = out.chunks_exact_mut(q_row).map(|row| row.chunks_exact_mut(all.dim));
    let mut free = &mut left[..];
    let mut at = 0;
    let mut pairs = 0;
    for (i, part) in all.parts.iter().enumerate() {
        assert!(part.queries.start >= at, "parts must be in order");
        pairs += part.queries.len() * part.keys.len();
        // What belongs to no part is zero.
        for row in rows.by_ref().take(part.queries.start - at) {
            row.for_each(|head| head.fill(0.0));
        }
        at = part.queries.start;
        let side = all.side(i);
        if is_few(part) {
            for keys in few::cut(&all, part) {
                for kv_head in 0..all.kv_heads {
                    let left;
                    (left, free) = free.split_at_mut(few::left(&all, part));
                    let keys = keys.clone();
                    tasks.push(Task::Few(few::Piece { part, side, kv_head, keys, left }));
                }
            }
            rows.by_ref().take(part.queries.len()).for_each(drop);
            at = part.queries.end;
        }
        while at < part.queries.end {
            let count = QUERIES.min(part.queries.end - at);
            let mut heads: Vec<_> = (0..all.heads).map(|_| Vec::with_capacity(count)).collect();
            for row in rows.by_ref().take(count) {
                for (rows, row) in heads.iter_mut().zip(row) {
                    rows.push(row);
                }
            }
            let task = |(head, out)| Task::Many(Many { part, side, head, first: at, out });
            tasks.extend(heads.into_iter().enumerate().map(task));
            at += count;
        }
    }
    for row in rows {
        row.for_each(|head| head.fill(0.0));
    }
    let count = tasks.len();
    let tasks = pool::Shares::new(tasks.into_iter());
    let work = |_: usize| {
        if let Some(task) = tasks.next() {
            run_task(level, all, task);
        }
    };
    // Little work is done before another thread is awake.
    if pairs * q_row * all.kv_heads < 64 << 10 {
        (0..count).for_each(work);
    } else {
        pool::current().run(count, &work);
    }
    let mut rest = &left[..];
    for part in all.parts.iter().filter(|part| is_few(part)) {
        let left;
        (left, rest) = rest.split_at(need(part));
        let out = &mut out[part.queries.start * q_row..part.queries.end * q_row];
        level.run(few::Join { all, part, left, out });
    }
    LEFT.set(left);
}

/// Whether keys and values are read as they lie.
fn is_few(part: &Part) -> bool {
    (1..=ALONE).contains(&part.queries.len())
}

impl<'a> AttentionArgs<'a> {
    /// The keys and values that a part looks at.
    fn side(&self, part: usize) -> (&'a [f32], &'a [f32]) {
        self.sides[if self.sides.len() == 1 { 0 } else { part }]
    }

    /// Of so many keys, counted from the part's first, those that the query `place` keys after it
    /// sees.
    #[inline(always)]
    fn seen(&self, keys: usize, place: usize) -> Range<usize> {
        let end = match self.after {
            Some(after) => keys.min((place + 1).saturating_add(after)),
            None => keys,
        };
        let start = match self.window {
            Some(window) => (place + 1).saturating_sub(window),
            None => 0,
        };
        start.min(end)..end
    }
}

enum Task<'a> {
    Many(Many<'a>),
    Few(few::Piece<'a>),
}

/// Some queries of one head, for all keys that they see.
struct Many<'a> {
    part: &'a Part,
    /// The part's keys and values.
    side: (&'a [f32], &'a [f32]),
    head: usize,
    /// The first query.
    first: usize,
    /// The rows of this head, one a query.
    out: Vec<&'a mut [f32]>,
}

fn run_task(level: Level, all: AttentionArgs<'_>, task: Task<'_>) {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let dim = all.dim.next_multiple_of(32);
        let need = match &task {
            // Queries, keys and values of a block, scores, sums.
            Task::Many(_) => 2 * QUERIES * dim + 2 * KEYS * dim + QUERIES * (KEYS + 2),
            Task::Few(piece) => few::scratch(&all, piece.part),
        };
        if scratch.len() < need {
            scratch.resize(need, 0.0);
        }
        match task {
            Task::Many(task) => level.run(ManyQueries { all, task, scratch }),
            Task::Few(piece) => level.run(few::FewQueries { all, piece, scratch }),
        }
    });
}

/// The online softmax of some queries so far: the largest score of each, and the sum of its
/// weights.
struct SoftmaxState<'a> {
    largest: &'a mut [f32],
    weights: &'a mut [f32],
}

/// Of a range, what is in the block of so many from `first` on, counted from there.
fn within(range: Range<usize>, first: usize, block: usize) -> Range<usize> {
    let at = |place: usize| place.saturating_sub(first).min(block);
    at(range.start)..at(range.end)
}

impl<'a> SoftmaxState<'a> {
    fn new(largest: &'a mut [f32], weights: &'a mut [f32]) -> SoftmaxState<'a> {
        largest.fill(f32::NEG_INFINITY);
        weights.fill(0.0);
        SoftmaxState { largest, weights }
    }

    /// Makes weights of the scores of a block, `[queries, KEYS]`, of which query `i` sees those in
    /// `seen(i)`, and multiplies the sums so far, `[queries, wide]`, by what they count less than
    /// before.
    #[inline(always)]
    fn soften<S: Simd>(
        &mut self,
        s: S,
        softcap: Option<f32>,
        scores: &mut [f32],
        seen: impl Fn(usize) -> Range<usize>,
        sums: &mut [f32],
        wide: usize,
    ) {
        // Those among which some are seen.
        let chunks = |seen: &Range<usize>| seen.start / 16 * 16..seen.end.next_multiple_of(16);
        // As many queries at a time as a vector has lanes: across lanes they are turned, not added.
        for first in (0..self.largest.len()).step_by(S::LANES) {
            let all = &mut self.largest[first..];
            let count = all.len().min(S::LANES);
            let scores = &mut scores[first * KEYS..][..count * KEYS];
            let mut square = [[f32::NEG_INFINITY; 16]; 16];
            for (i, scores) in scores.chunks_exact_mut(KEYS).enumerate() {
                let seen = seen(first + i);
                let some = chunks(&seen);
                scores[..some.start].fill(0.0);
                scores[some.end..].fill(0.0);
                if let Some(cap) = softcap {
                    scores[some.clone()].iter_mut().for_each(|x| *x = cap * tanh(*x / cap));
                }
                scores[some.start..seen.start].fill(f32::NEG_INFINITY);
                scores[seen.end..some.end].fill(f32::NEG_INFINITY);
                let mut most = [s.splat(f32::NEG_INFINITY); 16];
                for chunk in scores[some].as_chunks::<16>().0 {
                    for v in 0..16 / S::LANES {
                        most[v] = s.max(s.load_floats(&chunk[v * S::LANES..]), most[v]);
                    }
                }
                for v in 0..16 / S::LANES {
                    s.store_floats(most[v], &mut square[i][v * S::LANES..]);
                }
            }
            let mut largest = [f32::NEG_INFINITY; 16];
            largest[..count].copy_from_slice(&all[..count]);
            let most = across::<S, false>(s, &square);
            let most = std::array::from_fn::<f32, 16, _>(|i| {
                if most[i] > largest[i] { most[i] } else { largest[i] }
            });
            let by = std::array::from_fn::<f32, 16, _>(|i| match largest[i] {
                f32::NEG_INFINITY => 0.0,
                largest => exp(largest - most[i]),
            });
            all[..count].copy_from_slice(&most[..count]);
            let mut square = [[0.0; 16]; 16];
            for (i, scores) in scores.chunks_exact_mut(KEYS).enumerate() {
                let (most, mut sum) = (most[i], [s.splat(0.0); 16]);
                for chunk in scores[chunks(&seen(first + i))].as_chunks_mut::<16>().0 {
                    for x in &mut *chunk {
                        *x = if *x == f32::NEG_INFINITY { 0.0 } else { exp(*x - most) };
                    }
                    for v in 0..16 / S::LANES {
                        sum[v] = s.add(s.load_floats(&chunk[v * S::LANES..]), sum[v]);
                    }
                }
                for v in 0..16 / S::LANES {
                    s.store_floats(sum[v], &mut square[i][v * S::LANES..]);
                }
            }
            let added = across::<S, true>(s, &square);
            let weights = &mut self.weights[first..][..count];
            for (i, weights) in weights.iter_mut().enumerate() {
                *weights = *weights * by[i] + added[i];
            }
            for (sums, by) in sums[first * wide..].chunks_exact_mut(wide).zip(&by[..count]) {
                if *by != 1.0 {
                    sums.iter_mut().for_each(|sum| *sum *= by);
                }
            }
        }
    }
}

/// The lanes of each row of a square as one, their sum or the largest of them, for as many rows as a
/// vector has lanes.
#[inline(always)]
fn across<S: Simd, const SUM: bool>(s: S, square: &[[f32; 16]; 16]) -> [f32; 16] {
    let mut turned = [[0.0; 16]; 16];
    s.transpose(bytemuck::cast_ref(square), bytemuck::cast_slice_mut(&mut turned), 16);
    // Loops, as closures lose the features of the function around them.
    let mut all = [s.splat(0.0); 16];
    for i in 0..16 {
        all[i] = s.load_floats(&turned[i]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            let (a, b) = (all[i], all[i + half]);
            all[i] = if SUM { s.add(a, b) } else { s.max(a, b) };
        }
    }
    s.store_floats(all[0], &mut turned[0]);
    turned[0]
}

struct ManyQueries<'a, 'b> {
    all: AttentionArgs<'a>,
    task: Many<'b>,
    scratch: &'a mut [f32],
}

impl Kernel for ManyQueries<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ManyQueries { all, mut task, scratch } = self;
        let (all_k, all_v) = task.side;
        let (count, dim) = (task.out.len(), all.dim);
        let wide = dim.next_multiple_of(32);
        let (q, scratch) = scratch.split_at_mut(QUERIES * wide);
        let (sums, scratch) = scratch.split_at_mut(QUERIES * wide);
        let (k, scratch) = scratch.split_at_mut(KEYS * wide);
        let (v, scratch) = scratch.split_at_mut(KEYS * wide);
        let (scores, scratch) = scratch.split_at_mut(QUERIES * KEYS);
        let (largest, scratch) = scratch.split_at_mut(QUERIES);
        sums[..count * wide].fill(0.0);
        let mut seen = SoftmaxState::new(&mut largest[..count], &mut scratch[..count]);

        let (q_row, k_row) = (all.heads * dim, all.kv_heads * dim);
        let kv_head = task.head / (all.heads / all.kv_heads);
        for (i, q) in q.chunks_exact_mut(wide).take(count).enumerate() {
            let from = &all.q[(task.first + i) * q_row + task.head * dim..][..dim];
            for (q, from) in q.iter_mut().zip(from) {
                *q = from * all.scale;
            }
            q[dim..].fill(0.0);
        }
        let keys = task.part.keys.len();
        let place = |i: usize| task.part.before + task.first + i - task.part.queries.start;
        let start = all.seen(keys, place(0)).start;
        let end = all.seen(keys, place(count - 1)).end;
        fn head(from: &[f32], key: usize, row: usize, at: usize, dim: usize) -> &[f32] {
            &from[key * row + at..][..dim]
        }
        let at = kv_head * dim;
        let first_key = task.part.keys.start;
        for first in (start..end).step_by(KEYS) {
            let block = KEYS.min(end - first);
            // [KEYS / 2 LANES][wide][2 LANES]
            let lanes = 2 * S::LANES;
            for (p, panel) in k.chunks_exact_mut(wide * lanes).enumerate() {
                for (v, c) in (0..2).flat_map(|v| (0..dim).step_by(16).map(move |c| (v, c))) {
                    let mut square = [0.0; 256];
                    for j in 0..S::LANES {
                        let key = first + p * lanes + v * S::LANES + j;
                        if key < first + block {
                            let key = &head(all_k, first_key + key, k_row, at, dim)[c..];
                            let to = &mut square[j * 16..][..16];
                            // Of a length that is known: no call.
                            match key.first_chunk::<16>() {
                                Some(key) => to.copy_from_slice(key),
                                None => to[..key.len()].copy_from_slice(key),
                            }
                        }
                    }
                    let to = bytemuck::cast_slice_mut(&mut panel[c * lanes + v * S::LANES..]);
                    s.transpose(bytemuck::cast_ref(&square), to, lanes);
                }
                // Up to a whole group; the queries are zero there.
                panel[dim.next_multiple_of(16) * lanes..].fill(0.0);
                let mut i = 0;
                while i < count {
                    let x = &q[i * wide..];
                    let to = &mut scores[i * KEYS + p * lanes..];
                    i += meet_some(s, panel, x, wide, to, KEYS, false, count - i);
                }
            }
            let of_block = |i| within(all.seen(keys, place(i)), first, block);
            seen.soften(s, all.softcap, scores, of_block, sums, wide);
            // [wide / 2 LANES][KEYS][2 LANES]
            let lanes = 2 * S::LANES;
            // Up to a whole group; the scores are zero there.
            let whole = block.next_multiple_of(32);
            for (p, panel) in v[..KEYS * wide].chunks_exact_mut(KEYS * lanes).enumerate() {
                for (j, to) in panel.chunks_exact_mut(lanes).enumerate().take(whole) {
                    if j >= block {
                        to.fill(0.0);
                        continue;
                    }
                    let value = head(all_v, first_key + first + j, k_row, at, dim);
                    // Narrow vectors have panels past the end of a head.
                    let value = &value[dim.min(p * lanes)..];
                    if value.len() >= lanes {
                        to[..lanes].copy_from_slice(&value[..lanes]);
                    } else {
                        to[..value.len()].copy_from_slice(value);
                        to[value.len()..].fill(0.0);
                    }
                }
                let panel = &panel[..whole * lanes];
                let mut i = 0;
                while i < count {
                    let x = &scores[i * KEYS..];
                    let to = &mut sums[i * wide + p * lanes..];
                    i += meet_some(s, panel, x, KEYS, to, wide, true, count - i);
                }
            }
        }
        for (i, out) in task.out.iter_mut().enumerate() {
            // A query that sees nothing (an empty part) gives zeros.
            let weights = seen.weights[i];
            let by = if weights == 0.0 { 0.0 } else { 1.0 / weights };
            for (out, sum) in out.iter_mut().zip(&sums[i * wide..]) {
                *out = sum * by;
            }
        }
    }
}

/// Some of `count` rows of `x` times a panel, to rows of `to`, or added to them; gives how many.
#[allow(clippy::too_many_arguments, reason = "a loop's body, in registers")]
#[inline(always)]
fn meet_some<S: Simd>(
    s: S,
    panel: &[f32],
    x: &[f32],
    x_row: usize,
    to: &mut [f32],
    to_row: usize,
    added: bool,
    count: usize,
) -> usize {
    let count = count.min(S::TILE);
    let mut sums = [[0.0; PANEL_ROWS]; MOST];
    if let Some(sums) = s.rows(panel, x, x_row, Ahead::NONE, &mut sums[..count]) {
        for (i, sums) in sums.iter().enumerate() {
            let sums = [s.load_floats(sums), s.load_floats(&sums[S::LANES..])];
            put(s, sums, &mut to[i * to_row..], added);
        }
        return count;
    }
    match count {
        6.. => panel_product::<S, 6>(s, panel, x, x_row, to, to_row, added),
        3.. => panel_product::<S, 3>(s, panel, x, x_row, to, to_row, added),
        _ => panel_product::<S, 1>(s, panel, x, x_row, to, to_row, added),
    }
}

/// Writes two vectors of sums, or adds them.
#[inline(always)]
fn put<S: Simd>(s: S, sums: [S::Floats; 2], to: &mut [f32], added: bool) {
    let one = s.splat(1.0);
    for (v, sum) in sums.into_iter().enumerate() {
        let to = &mut to[v * S::LANES..];
        let sum = if added { s.mul_add(sum, one, s.load_floats(to)) } else { sum };
        s.store_floats(sum, to);
    }
}

/// `M` rows.
#[inline(always)]
fn panel_product<S: Simd, const M: usize>(
    s: S,
    panel: &[f32],
    x: &[f32],
    x_row: usize,
    to: &mut [f32],
    to_row: usize,
    added: bool,
) -> usize {
    let rows: [&[f32]; M] =
        std::array::from_fn(|i| &x[i * x_row..][..panel.len() / (2 * S::LANES)]);
    let sums = tile(s, panel, rows, Ahead::NONE);
    for (i, sums) in sums.into_iter().enumerate() {
        put(s, sums, &mut to[i * to_row..], added);
    }
    M
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Score by score, in f64.
    fn plain(all: AttentionArgs<'_>) -> Vec<f64> {
        let AttentionArgs { heads, kv_heads, dim, .. } = all;
        let mut out = vec![0.0; all.q.len()];
        for (i, part) in all.parts.iter().enumerate() {
            let (k, v) = all.side(i);
            for query in part.queries.clone() {
                let place = part.before + query - part.queries.start;
                for head in 0..heads {
                    let kv = head / (heads / kv_heads);
                    let q = &all.q[(query * heads + head) * dim..][..dim];
                    let row = |from: &'_ [f32], key: usize| -> Vec<f64> {
                        let key = part.keys.start + key;
                        let row = &from[(key * kv_heads + kv) * dim..][..dim];
                        row.iter().map(|x| f64::from(*x)).collect()
                    };
                    let mut weights = Vec::new();
                    for key in 0..part.keys.len() {
                        let late = all.after.is_some_and(|after| key > place + after);
                        if late || all.window.is_some_and(|window| key + window <= place) {
                            weights.push(0.0);
                            continue;
                        }
                        let k = row(k, key);
                        let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * k).sum();
                        let score = dot * f64::from(all.scale);
                        weights.push(match all.softcap {
                            Some(cap) => (f64::from(cap) * (score / f64::from(cap)).tanh()).exp(),
                            None => score.exp(),
                        });
                    }
                    let total: f64 = weights.iter().sum();
                    for (key, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                        for (c, v) in row(v, key).into_iter().enumerate() {
                            out[(query * heads + head) * dim + c] += weight / total * v;
                        }
                    }
                }
            }
        }
        out
    }

    /// On every level of this processor.
    #[test]
    fn equals_attention_score_by_score() {
        let one = |queries: usize, keys: usize| {
            vec![Part { queries: 0..queries, keys: 0..keys, before: keys - queries }]
        };
        let lengths = [5, 1, 70, 3];
        let mut several = Vec::new();
        let mut at = 2;
        for length in lengths {
            several.push(Part { queries: at..at + length, keys: at..at + length, before: 0 });
            at += length;
        }
        let small = [(1, 1, 8), (4, 2, 7), (6, 1, 33), (2, 2, 64)];
        // Groups of heads that registers do not hold at once, heads that are several vectors.
        let real = [(14, 2, 64), (4, 1, 256), (5, 1, 80)];
        let cases = [
            (one(1, 1), 1, 1),
            (one(1, 200), 1, 200),
            (one(3, 130), 3, 130),
            (one(100, 100), 100, 100),
            (one(60, 300), 60, 300),
            (several, at + 1, at + 1),
            (vec![Part { queries: 0..1, keys: 0..0, before: 0 }], 1, 0),
        ];
        // More keys than pieces of the usual size.
        let many = [(one(1, 4500), 1, 4500), (one(3, 700), 3, 700)];
        let all = cases.iter().map(|case| (case, &small[..]));
        for ((parts, t, s), sizes) in all.chain(many.iter().map(|case| (case, &real[..]))) {
            for &(heads, kv_heads, dim) in sizes {
                let q = floats(t * heads * dim, 1);
                let (k, v) = (floats(s * kv_heads * dim, 2), floats(s * kv_heads * dim, 3));
                for (after, window, softcap) in [
                    (None, None, None),
                    (Some(0), None, None),
                    (Some(0), Some(20), None),
                    (Some(5), Some(6), None),
                    (Some(0), Some(1), Some(3.0)),
                    (Some(0), None, Some(0.5)),
                ] {
                    let all = AttentionArgs {
                        q: &q,
                        sides: &[(&k, &v)],
                        heads,
                        kv_heads,
                        dim,
                        scale: 0.7,
                        softcap,
                        window,
                        after,
                        parts,
                    };
                    let wanted = plain(all);
                    for level in Level::detect() {
                        let mut out = vec![f32::NAN; q.len()];
                        attend_with(level, all, &mut out);
                        for (i, (a, b)) in out.iter().zip(&wanted).enumerate() {
                            let off = (f64::from(*a) - b).abs();
                            let what =
                                format!("{parts:?} {heads} {kv_heads} {dim} {after:?} {window:?}");
                            assert!(off < 3e-6, "{what} at {i}: {a} is not {b}");
                        }
                    }
                }
            }
        }
    }

    /// Where keys are cut does not depend on who computes.
    #[test]
    fn threads_change_no_bit() {
        let [heads, kv_heads, dim, keys] = [4, 1, 64, 3000];
        let (q, k) = (floats(heads * dim, 1), floats(keys * dim, 2));
        let run = |threads: usize| {
            let mut out = vec![0.0; q.len()];
            let parts = [Part { queries: 0..1, keys: 0..keys, before: keys - 1 }];
            let all = AttentionArgs {
                q: &q,
                sides: &[(&k, &k)],
                heads,
                kv_heads,
                dim,
                scale: 0.7,
                softcap: None,
                window: Some(2000),
                after: Some(0),
                parts: &parts,
            };
            pool::with(&std::sync::Arc::new(pool::Pool::new(threads)), || attend(all, &mut out));
            out
        };
        let alone = run(1);
        for threads in [2, 3, 5] {
            assert_eq!(run(threads), alone, "{threads} threads");
        }
    }
}
