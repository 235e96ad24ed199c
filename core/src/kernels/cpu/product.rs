//! Floats times packed rows: one row of `x` from registers, many rows through a panel of floats.
//!
//! ```text
//! one row:    block of w --unpack--> registers --FMA with x--> sum          (4 rows of w at once)
//! many rows:  64 rows of w --unpack--> panel of floats (stays in the cache)
//!             panel x rows of x, in tiles of 4 x Simd::TILE sums held in registers
//! ```
//!
//! Both run along the width: lane `l` of a sum adds the products of the positions `l`, `l + LANES`,
//! `l + 2 * LANES`, ... of a stretch of at most [`DEPTH`] in this order; then the lanes are added,
//! then the stretches. So a row of `x` gives the same floats alone and in any batch, and on any
//! number of threads. A tile along the width also needs fewer loads than one along the rows, no
//! transposed copy of the weights, and no packed copy of `x`; the price is adding up lanes at the
//! end of each stretch.

use std::marker::PhantomData;

use super::packed::Packed;
use super::simd::{Kernel, Simd};

/// The longest stretch of a row that is summed in one go: a tile's rows of `x` and `w` must fit
/// the nearest cache together.
const DEPTH: usize = 1024;

/// Floats of a panel for many rows of `x`: half of a small second cache.
const PANEL: usize = 64 * DEPTH;

/// Floats of a panel when `x` has so few rows that a panel is read only a few times.
const SMALL_PANEL: usize = 4 * DEPTH;

/// A group of each of four rows, in a thread's scratch memory: aligned to the widest vectors.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Four([[f32; 32]; 4]);

impl Four {
    pub(super) const ZERO: Four = Four([[0.0; 32]; 4]);
}

/// Scratch that a product may use: 256 KiB.
pub(super) const SCRATCH: usize = PANEL / 128;

/// Stretches of a row of `k`: as even as multiples of the largest block allow.
fn stretch(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(256)
}

/// Calls `$body` with `$g` from 0 to 7 or 0 to 0, unrolled, so that shifts by `$g` are constants.
macro_rules! each_group {
    ($P:ident, $g:ident => $body:expr) => {
        each_group!(@ $g 0 $body);
        if $P::GROUPS == 8 {
            each_group!(@ $g 1 $body);
            each_group!(@ $g 2 $body);
            each_group!(@ $g 3 $body);
            each_group!(@ $g 4 $body);
            each_group!(@ $g 5 $body);
            each_group!(@ $g 6 $body);
            each_group!(@ $g 7 $body);
        }
    };
    (@ $g:ident $n:literal $body:expr) => {{
        let $g: usize = $n;
        $body
    }};
}

/// All of `x` times some rows of `w`.
pub(super) struct Product<'a, 'out, P> {
    pub(super) format: PhantomData<P>,
    /// Packed rows, each of `row_bytes`, a whole number of blocks of `P`.
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    /// Rows of `k`, a multiple of 32.
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    /// For each row of `x` one float per row of `w`.
    pub(super) out: &'a mut [&'out mut [f32]],
    /// [`SCRATCH`] long if there is more than one row of `x`.
    pub(super) scratch: &'a mut [Four],
}

impl<P: Packed> Kernel for Product<'_, '_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.out {
            [] => {}
            [out] => one::<S, P>(s, self.w, self.row_bytes, self.x, out),
            _ => many::<S, P>(s, self),
        }
    }
}

/// Rows `w` as floats, one after another.
pub(super) struct Unpack<'a, P> {
    pub(super) format: PhantomData<P>,
    pub(super) w: &'a [u8],
    pub(super) out: &'a mut [f32],
}

impl<P: Packed> Kernel for Unpack<'_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks: &[P::Block] = bytemuck::cast_slice(self.w);
        let (groups, _) = self.out.as_chunks_mut::<32>();
        for (block, to) in blocks.iter().zip(groups.chunks_exact_mut(P::GROUPS)) {
            let scales = in_memory(P::scales(s, [block; 4]));
            each_group!(P, g => s.store(P::group(s, block, &scales, 0, g), &mut to[g]));
        }
    }
}

/// Keeps the scales of a block out of registers.
///
/// A load from memory spreads a float over a vector for nothing; taking it out of a register
/// needs the shuffle unit, which the unpacking keeps busy already (a third of the time of the
/// K formats on AVX-512).
#[inline(always)]
fn in_memory<T>(scales: T) -> T {
    std::hint::black_box(scales)
}

/// Adds the products of a block of each of four rows with their stretch of `x`.
///
/// The rows take turns group by group: each sum is a chain of dependent additions, and four of
/// them keep the processor busy where one would make it wait.
#[inline(always)]
fn dot<S: Simd, P: Packed>(
    s: S,
    blocks: [&P::Block; 4],
    x: &[[f32; 32]],
    mut sum: [S::Floats; 4],
) -> [S::Floats; 4] {
    let scales = in_memory(P::scales(s, blocks));
    each_group!(P, g => {
        sum[0] = s.dot(P::group(s, blocks[0], &scales, 0, g), &x[g], sum[0]);
        sum[1] = s.dot(P::group(s, blocks[1], &scales, 1, g), &x[g], sum[1]);
        sum[2] = s.dot(P::group(s, blocks[2], &scales, 2, g), &x[g], sum[2]);
        sum[3] = s.dot(P::group(s, blocks[3], &scales, 3, g), &x[g], sum[3]);
    });
    sum
}

/// The weights of a stretch of four rows to a panel.
#[inline(always)]
fn unpack<S: Simd, P: Packed>(s: S, [a, b, c, d]: [&[P::Block]; 4], to: &mut [Four]) {
    for (i, to) in to.chunks_exact_mut(P::GROUPS).enumerate() {
        let scales = in_memory(P::scales(s, [&a[i], &b[i], &c[i], &d[i]]));
        each_group!(P, g => {
            s.store(P::group(s, &a[i], &scales, 0, g), &mut to[g].0[0]);
            s.store(P::group(s, &b[i], &scales, 1, g), &mut to[g].0[1]);
            s.store(P::group(s, &c[i], &scales, 2, g), &mut to[g].0[2]);
            s.store(P::group(s, &d[i], &scales, 3, g), &mut to[g].0[3]);
        });
    }
}

/// The blocks of four rows of `w` from row `first` on; where there are no four left, the last one
/// comes again.
#[inline(always)]
fn four<P: Packed>(w: &[u8], row_bytes: usize, first: usize) -> [&[P::Block]; 4] {
    let last = (w.len() / row_bytes).saturating_sub(1);
    [first, first + 1, first + 2, first + 3]
        .map(|row| bytemuck::cast_slice(&w[row.min(last) * row_bytes..][..row_bytes]))
}

/// One row of `x` times the rows of `w`, four at a time.
#[inline(always)]
fn one<S: Simd, P: Packed>(s: S, w: &[u8], row_bytes: usize, x: &[f32], out: &mut [f32]) {
    let depth = stretch(x.len());
    for (j, out) in out.chunks_mut(4).enumerate() {
        let rows = four::<P>(w, row_bytes, 4 * j);
        let mut total = [0.0; 4];
        for (i, x) in x.chunks(depth).enumerate() {
            let (x, _) = x.as_chunks::<32>();
            let blocks = x.len() / P::GROUPS;
            let first = i * (depth / 32 / P::GROUPS);
            let [a, b, c, d] = rows.map(|row| &row[first..first + blocks]);
            let mut sum = [s.splat(0.0); 4];
            for (i, x) in x.chunks_exact(P::GROUPS).enumerate() {
                sum = dot::<S, P>(s, [&a[i], &b[i], &c[i], &d[i]], x, sum);
            }
            for (total, sum) in total.iter_mut().zip(s.sums(sum)) {
                *total += sum;
            }
        }
        for (out, total) in out.iter_mut().zip(total) {
            *out = total;
        }
    }
}

/// Many rows of `x` times the rows of `w`, a panel of them at a time.
#[inline(always)]
fn many<S: Simd, P: Packed>(s: S, p: Product<'_, '_, P>) {
    let depth = stretch(p.k);
    let width = p.out.first().map_or(0, |row| row.len());
    for row in p.out.iter_mut() {
        row.fill(0.0);
    }
    let floats = if p.out.len() <= 2 * S::TILE { SMALL_PANEL } else { PANEL };
    let panel_rows = (floats / depth / 4 * 4).max(4);

    for first in (0..width).step_by(panel_rows) {
        let rows = panel_rows.min(width - first);
        for k0 in (0..p.k).step_by(depth) {
            let groups = depth.min(p.k - k0) / 32;
            // [rows / 4, groups, 4, 32]: a tile reads it from front to back.
            let panel = &mut p.scratch[..rows.div_ceil(4) * groups];
            for (j, to) in panel.chunks_exact_mut(groups).enumerate() {
                let rows = four::<P>(p.w, p.row_bytes, first + 4 * j);
                let rows = rows.map(|row| &row[k0 / 32 / P::GROUPS..][..groups / P::GROUPS]);
                unpack::<S, P>(s, rows, to);
            }
            let x = Strip { x: &p.x[k0..], k: p.k };
            s.run(Tiles { panel, groups, x, out: &mut *p.out, first });
        }
    }
}

/// Rows of `x`, `k` apart, from some column on.
#[derive(Clone, Copy)]
struct Strip<'a> {
    x: &'a [f32],
    k: usize,
}

/// Adds all rows of `x` times a panel to `out`, from column `first` on: the same for all formats.
struct Tiles<'a, 'out> {
    panel: &'a [Four],
    groups: usize,
    x: Strip<'a>,
    out: &'a mut [&'out mut [f32]],
    first: usize,
}

impl Kernel for Tiles<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles { panel, groups, x: Strip { x, k }, out, first } = self;
        for (i, out) in out.chunks_mut(S::TILE).enumerate() {
            let x = Strip { x: &x[i * S::TILE * k..], k };
            match out.len() {
                1 => tiles::<S, 1>(s, panel, groups, x, out, first),
                2 => tiles::<S, 2>(s, panel, groups, x, out, first),
                3 => tiles::<S, 3>(s, panel, groups, x, out, first),
                4 => tiles::<S, 4>(s, panel, groups, x, out, first),
                5 => tiles::<S, 5>(s, panel, groups, x, out, first),
                _ => tiles::<S, 6>(s, panel, groups, x, out, first),
            }
        }
    }
}

/// Adds `M` rows of `x` times a panel to `out`, from column `first` on.
#[inline(always)]
fn tiles<S: Simd, const M: usize>(
    s: S,
    panel: &[Four],
    groups: usize,
    x: Strip<'_>,
    out: &mut [&mut [f32]],
    first: usize,
) {
    let rows: [&[[f32; 32]]; M] =
        std::array::from_fn(|i| x.x[i * x.k..][..groups * 32].as_chunks().0);
    for (j, w) in panel.chunks_exact(groups).enumerate() {
        let sums = tile(s, w, rows);
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out[first + 4 * j..].iter_mut().zip(s.sums(sums)) {
                *out += sum;
            }
        }
    }
}

/// The sums of `M` rows of `x` with four rows of `w`, lane by lane.
#[inline(always)]
fn tile<S: Simd, const M: usize>(s: S, w: &[Four], x: [&[[f32; 32]]; M]) -> [[S::Floats; 4]; M] {
    let mut sum = [[s.splat(0.0); 4]; M];
    // Equal lengths, so that the checks in the loop go away.
    let x = x.map(|row| &row[..w.len()]);
    for (t, Four(w)) in w.iter().enumerate() {
        for v in 0..32 / S::LANES {
            let w = [s.load(&w[0], v), s.load(&w[1], v), s.load(&w[2], v), s.load(&w[3], v)];
            for i in 0..M {
                let x = s.load(&x[i][t], v);
                for j in 0..4 {
                    sum[i][j] = s.mul_add(w[j], x, sum[i][j]);
                }
            }
        }
    }
    sum
}
