//! GEMV and GEMM: rows of `x` times packed rows, as floats or as integers.
//!
//! ```text
//! GEMV:  block of w --unpack--> registers --multiply with x--> sums      (4 rows of w at once)
//! GEMM:  w --unpack, transpose--> panel: a row of w in each lane (stays in the cache)
//!        panel x rows of x, in tiles of TILE x 2 vectors of sums in registers
//! ```
//!
//! The GEMV loops (a row of `x`, or a few) run along the width: lane `l` of a sum adds the products
//! of the positions `l`, `l + LANES`, ... in this order, then the lanes are added. They read each
//! weight once and make nothing that is not used at once. The GEMM loops hold a row of `w` in each
//! lane, so that no lanes are to be added; there a row of `x` gives the same floats in any batch.
//! Both orders depend on the width alone, never on the number of threads.
//!
//! The integer loops take `x` in 16 bits, 32 numbers to a scale ([`quantized`](super::quantized)).
//! The sum of a group is exact, then becomes a float and is scaled. That is half of the work of
//! floats and loses next to nothing: a number of `x` is off by at most 1/65534 of the largest
//! beside it, where weights in 8 bits are off by 1/254.

use std::marker::PhantomData;

use super::packed::{BlockFormat, Quants};
use super::quantized::{Beside, FEW_INTS, Quantized, beside};
use super::simd::{Ahead, Kernel, MOST, PANEL_ROWS, Simd};
use super::sums::{AHEAD, Base, DEPTH, Line, add, put, stretch};
#[cfg(target_arch = "x86_64")]
use super::{tile_bytes, vnni};

/// 32-bit numbers of a panel: half of a small second cache.
const PANEL: usize = 96 * DEPTH;

/// The most rows of `x` that the GEMV loops take, in floats. Where unpacking is but a load, they are
/// quicker than panels until making a panel is little beside what it is used for.
pub(super) const fn few_floats(plain: bool) -> usize {
    if plain { 40 } else { 4 }
}

/// Rows of `w` that are multiplied with all of a few rows of `x` before the next ones: they stay in
/// the nearest cache.
pub(super) const STRIP: usize = 8;

/// Lines of scratch that a product of many rows may use.
pub(super) const SCRATCH: usize = PANEL / 16;

/// Packed rows and where their products go.
pub(super) struct Operands<'a, 'out, P> {
    pub(super) format: PhantomData<P>,
    /// Packed rows, each of `row_bytes`, a whole number of blocks of `P`.
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    /// Added to each row of `out`.
    pub(super) bias: Option<&'a [f32]>,
    /// For each row of `x` one float per row of `w`.
    pub(super) out: &'a mut [&'out mut [f32]],
    /// [`SCRATCH`] long if there are more than a few rows of `x`.
    pub(super) scratch: &'a mut [Line],
}

/// All of `x` times some rows of `w`, in floats.
pub(super) struct Product<'a, 'out, P> {
    pub(super) rows: Operands<'a, 'out, P>,
    /// Rows of `k`, a multiple of 32.
    pub(super) x: &'a [f32],
    pub(super) k: usize,
}

impl<P: BlockFormat> Kernel for Product<'_, '_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Product { rows: Operands { w, row_bytes, bias, out, scratch, .. }, x, k } = self;
        if out.len() <= few_floats(P::PLAIN) {
            for (i, strip) in w.chunks(STRIP * row_bytes).enumerate() {
                let mut m = 0;
                while m < out.len() {
                    let (x, out, to) = (&x[m * k..], &mut out[m..], i * STRIP);
                    // Weights that are not packed meet `x` vector by vector.
                    m += match out.len().min(S::DOTS) {
                        4.. if P::PLAIN => dots::<S, 4>(s, strip, x, k, out, to, m == 0),
                        3.. if P::PLAIN => dots::<S, 3>(s, strip, x, k, out, to, m == 0),
                        2 if P::PLAIN => dots::<S, 2>(s, strip, x, k, out, to, m == 0),
                        _ if P::PLAIN => dots::<S, 1>(s, strip, x, k, out, to, m == 0),
                        4.. => few::<S, P, 4>(s, strip, row_bytes, x, k, out, to),
                        _ => few::<S, P, 1>(s, strip, row_bytes, x, k, out, to),
                    };
                }
            }
            add_bias(out, bias);
        } else {
            many::<S, P>(s, w, row_bytes, Strip { x, k }, bias, out, scratch);
        }
    }
}

/// All of `x` times some rows of `w`, in integers.
pub(super) struct IntProduct<'a, 'out, P> {
    pub(super) rows: Operands<'a, 'out, P>,
    pub(super) x: Quantized<'a>,
}

impl<P: Quants> Kernel for IntProduct<'_, '_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let IntProduct { rows: Operands { w, row_bytes, bias, out, scratch, .. }, x } = self;
        if out.len() <= FEW_INTS {
            #[cfg(target_arch = "x86_64")]
            if let Some(columns) = x.columns {
                tile_bytes::few::<P>(w, row_bytes, columns, out);
                return add_bias(out, bias);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(s) = s.vnni() {
                match beside(out.len()) {
                    1 => vnni::few::<P, 1>(s, w, row_bytes, x.eights, out),
                    4 => vnni::few::<P, 4>(s, w, row_bytes, x.eights, out),
                    _ => vnni::few::<P, FEW_INTS>(s, w, row_bytes, x.eights, out),
                }
                return add_bias(out, bias);
            }
            match beside(out.len()) {
                1 => few_ints::<S, P, 1>(s, w, row_bytes, x.beside(), out),
                4 => few_ints::<S, P, 4>(s, w, row_bytes, x.beside(), out),
                _ => few_ints::<S, P, FEW_INTS>(s, w, row_bytes, x.beside(), out),
            }
            add_bias(out, bias);
        } else {
            many_ints::<S, P>(s, w, row_bytes, x, bias, out, scratch);
        }
    }
}

#[inline(always)]
fn add_bias(out: &mut [&mut [f32]], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        for row in out {
            row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
    }
}

/// Rows `w` as floats, one after another.
pub(super) struct Unpack<'a, P> {
    pub(super) format: PhantomData<P>,
    pub(super) w: &'a [u8],
    pub(super) out: &'a mut [f32],
}

impl<P: BlockFormat> Kernel for Unpack<'_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks: &[P::Block] = bytemuck::cast_slice(self.w);
        let (groups, _) = self.out.as_chunks_mut::<32>();
        for (block, to) in blocks.iter().zip(groups.chunks_exact_mut(P::GROUPS)) {
            let scales = in_memory(P::scales(s, [block; 4]));
            for (g, to) in to.iter_mut().enumerate() {
                s.store(P::group(s, block, &scales, 0, g), to);
            }
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

/// The blocks of four rows of `w` from row `first` on; where there are no four left, the last one
/// comes again.
#[inline(always)]
fn four<P: BlockFormat>(w: &[u8], row_bytes: usize, first: usize) -> [&[P::Block]; 4] {
    let last = (w.len() / row_bytes).saturating_sub(1);
    [first, first + 1, first + 2, first + 3]
        .map(|row| bytemuck::cast_slice(&w[row.min(last) * row_bytes..][..row_bytes]))
}

/// `M` rows of `x` times the rows of `w`, four at a time, to `out` from column `to` on; gives `M`.
#[inline(always)]
fn few<S: Simd, P: BlockFormat, const M: usize>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    x: &[f32],
    k: usize,
    out: &mut [&mut [f32]],
    to: usize,
) -> usize {
    let x: [&[[f32; 32]]; M] = std::array::from_fn(|m| x[m * k..][..k].as_chunks().0);
    for first in (0..w.len() / row_bytes).step_by(4) {
        let [a, b, c, d] = four::<P>(w, row_bytes, first);
        let mut sum = [[s.splat(0.0); 4]; M];
        for (i, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
            let scales = in_memory(P::scales(s, [a, b, c, d]));
            for g in 0..P::GROUPS {
                let weights = [
                    P::group(s, a, &scales, 0, g),
                    P::group(s, b, &scales, 1, g),
                    P::group(s, c, &scales, 2, g),
                    P::group(s, d, &scales, 3, g),
                ];
                for m in 0..M {
                    let x = &x[m][i * P::GROUPS + g];
                    for r in 0..4 {
                        sum[m][r] = s.dot(weights[r], x, sum[m][r]);
                    }
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            put(out, to + first, s.sums(sum));
        }
    }
    M
}

/// [`few`] for rows of `w` that are floats: each sum stays in a register, each vector is loaded where
/// it is used. With `ahead`, the next strip of `w` is asked for meanwhile.
#[inline(always)]
fn dots<S: Simd, const M: usize>(
    s: S,
    w: &[u8],
    x: &[f32],
    k: usize,
    out: &mut [&mut [f32]],
    to: usize,
    ahead: bool,
) -> usize {
    let x: [&[[f32; 32]]; M] = std::array::from_fn(|m| x[m * k..][..k].as_chunks().0);
    for first in (0..w.len() / (4 * k)).step_by(4) {
        let rows: [&[[u8; 128]]; 4] = four::<super::packed::F32>(w, 4 * k, first);
        let rows = rows.map(|row| &row[..x[0].len()]);
        let mut sum = [[s.splat(0.0); 4]; M];
        for g in 0..x[0].len() {
            if ahead {
                for row in rows {
                    let from: *const u8 = row[g].as_ptr();
                    s.prefetch(from.wrapping_add(STRIP * 4 * k), 128);
                }
            }
            for v in 0..32 / S::LANES {
                let mut weights = [s.splat(0.0); 4];
                for r in 0..4 {
                    weights[r] = s.load_bytes(&rows[r][g], v);
                }
                for m in 0..M {
                    let x = s.load(&x[m][g], v);
                    for r in 0..4 {
                        sum[m][r] = s.mul_add(weights[r], x, sum[m][r]);
                    }
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            put(out, to + first, s.sums(sum));
        }
    }
    M
}

/// [`few`] in integers: a row of `w` after another, so that the bytes are read in their order, which
/// is what memory is quickest at.
#[inline(always)]
fn few_ints<S: Simd, P: Quants, const M: usize>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    x: Beside<'_, M>,
    out: &mut [&mut [f32]],
) {
    let mut sums = [[s.splat(0.0); 4]; M];
    let mut offsets = [[0.0; 4]; M];
    let rows = w.len() / row_bytes;
    for first in (0..rows).step_by(4) {
        let four = 4.min(rows - first);
        for r in 0..four {
            let blocks: &[P::Block] =
                bytemuck::cast_slice(&w[(first + r) * row_bytes..][..row_bytes]);
            let mut row = RowSums { sum: [[s.splat(0.0); 2]; M], offsets: [[0.0; M]; 16] };
            let (whole, rest) = blocks.as_chunks::<4>();
            for (i, blocks) in whole.iter().enumerate() {
                row.add::<P>(s, blocks.each_ref(), 4, x, 4 * i);
            }
            if let [block, ..] = rest {
                let blocks = std::array::from_fn(|i| rest.get(i).unwrap_or(block));
                row.add::<P>(s, blocks, rest.len(), x, 4 * whole.len());
            }
            for m in 0..M {
                sums[m][r] = row.sum[m][0];
                if M <= 2 {
                    sums[m][r] = s.mul_add(row.sum[m][1], s.splat(1.0), sums[m][r]);
                }
                if P::OFFSET {
                    offsets[m][r] = row.offsets.iter().map(|of| of[m]).sum();
                }
            }
        }
        for ((out, sums), offsets) in out.iter_mut().zip(sums).zip(offsets) {
            let mut sums = s.sums(sums);
            if P::OFFSET {
                sums.iter_mut().zip(offsets).for_each(|(sum, offset)| *sum += offset);
            }
            put(out, first, sums);
        }
    }
}

/// Sums of one row of `w` with `M` rows of `x`.
struct RowSums<S: Simd, const M: usize> {
    /// Where one row of `x` is alone, it has two sums, so that an addition need not wait for the
    /// last.
    sum: [[S::Floats; 2]; M],
    offsets: [[f32; M]; 16],
}

impl<S: Simd, const M: usize> RowSums<S, M> {
    /// Adds the first `count` of four blocks that follow each other, from block `first` of the row.
    #[inline(always)]
    fn add<P: Quants>(
        &mut self,
        s: S,
        blocks: [&P::Block; 4],
        count: usize,
        x: Beside<'_, M>,
        first: usize,
    ) {
        let scales = P::scales(s, blocks);
        for unit in (0..count).step_by(P::UNIT) {
            let from: *const u8 = std::ptr::from_ref(blocks[unit]).cast();
            s.prefetch(from.wrapping_add(AHEAD), size_of::<P::Block>() * P::UNIT);
            let [scale, offset] = P::lines(&scales, unit);
            let at = (first + unit) * P::GROUPS;
            let groups = P::UNIT.min(count - unit) * P::GROUPS;
            let x_words = &x.words[at..][..groups];
            let x_scales = &x.scales[at..][..groups];
            let x_sums = &x.sums[at..][..groups];
            let mut by = [[0.0; M]; 16];
            for g in 0..groups {
                for m in 0..M {
                    if P::HALVES {
                        by[2 * g][m] = scale[2 * g] * x_scales[g][m];
                        by[2 * g + 1][m] = scale[2 * g + 1] * x_scales[g][m];
                    } else {
                        by[g][m] = scale[g] * x_scales[g][m];
                    }
                }
                for m in 0..M {
                    if P::OFFSET && P::HALVES {
                        self.offsets[2 * g][m] += offset[2 * g] * x_sums[g][0][m];
                        self.offsets[2 * g + 1][m] += offset[2 * g + 1] * x_sums[g][1][m];
                    } else if P::OFFSET {
                        self.offsets[g][m] += offset[g] * (x_sums[g][0][m] + x_sums[g][1][m]);
                    }
                }
            }
            let by = in_memory(&by);
            for g in 0..groups {
                let words = P::words(s, blocks[unit + g / P::GROUPS], g % P::GROUPS);
                for m in 0..M {
                    let x_words = s.load_words(&x_words[g][m]);
                    let sum = &mut self.sum[m][if M <= 2 { g % 2 } else { 0 }];
                    *sum = if P::HALVES {
                        let by = [s.splat(by[2 * g][m]), s.splat(by[2 * g + 1][m])];
                        s.dot_halves(words, x_words, by, *sum)
                    } else {
                        s.dot_words(words, x_words, s.splat(by[g][m]), *sum)
                    };
                }
            }
        }
    }
}

/// Rows of `x`, `k` apart, from some column on.
#[derive(Clone, Copy)]
struct Strip<'a> {
    x: &'a [f32],
    k: usize,
}

/// Sixteen columns of up to sixteen rows, before they are transposed.
type Square = [i32; 256];

/// Many rows of `x` times the rows of `w`, some panels of them at a time.
#[inline(always)]
fn many<S: Simd, P: BlockFormat>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    x: Strip<'_>,
    bias: Option<&[f32]>,
    out: &mut [&mut [f32]],
    scratch: &mut [Line],
) {
    let scratch: &mut [i32] = bytemuck::cast_slice_mut(scratch);
    let width = w.len() / row_bytes;
    for part in CacheBlocks::new(x.k, width, 2 * S::LANES) {
        let panels = &mut scratch[..part.columns.len().div_ceil(2 * S::LANES) * part.panel];
        fill_panels::<S, P>(s, w, row_bytes, &part, panels);
        let (first, groups) = (part.columns.start, part.depth.len() / 32);
        let x = Strip { x: &x.x[part.depth.start..], k: x.k };
        let base = Base::new(bias, part.depth.start);
        let panels = bytemuck::cast_slice(panels);
        s.run(PanelSums { panels, groups, x, base, out: &mut *out, first, ahead: false });
    }
}

/// What is multiplied in one go: some columns of the result, and a stretch of what is summed.
struct CacheBlock {
    columns: std::ops::Range<usize>,
    depth: std::ops::Range<usize>,
    /// 32-bit numbers in a panel of so many rows.
    panel: usize,
}

/// All of a product of rows of `k` that gives `width` columns, with panels of `rows`: as much at a
/// time as [`PANEL`] holds, stretch after stretch.
struct CacheBlocks {
    k: usize,
    width: usize,
    rows: usize,
    /// Where the next part begins.
    at: [usize; 2],
}

impl CacheBlocks {
    #[inline(always)]
    fn new(k: usize, width: usize, rows: usize) -> CacheBlocks {
        CacheBlocks { k, width, rows, at: [0, 0] }
    }
}

impl Iterator for CacheBlocks {
    type Item = CacheBlock;

    // By hand: adapters would not be inlined.
    #[inline(always)]
    fn next(&mut self) -> Option<CacheBlock> {
        let [from, first] = self.at;
        if from >= self.k || self.width == 0 {
            return None;
        }
        let depth = from..self.k.min(from + stretch(self.k));
        let panel = depth.len() * self.rows;
        let columns = first..self.width.min(first + (PANEL / panel).max(1) * self.rows);
        self.at = match columns.end < self.width {
            true => [from, columns.end],
            false => [depth.end, 0],
        };
        Some(CacheBlock { columns, depth, panel })
    }
}

/// The panels of a part, one after another.
#[inline(always)]
fn fill_panels<S: Simd, P: BlockFormat>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    part: &CacheBlock,
    panels: &mut [i32],
) {
    let mut squares: [Square; 16] = [[0; 256]; 16];
    for (i, to) in panels.chunks_exact_mut(part.panel).enumerate() {
        for v in 0..2 {
            let row = part.columns.start + (2 * i + v) * S::LANES;
            let blocks = part.depth.start / 32 / P::GROUPS..part.depth.end / 32 / P::GROUPS;
            let to = &mut to[v * S::LANES..];
            fill::<S, P>(s, w, row_bytes, row, blocks, &mut squares, to);
        }
    }
}

/// Where the panels of a part are among those of all rows: stretch after stretch, those of all
/// rows one after another. `first` is the row that columns are counted from.
#[inline(always)]
fn place(part: &CacheBlock, first: usize, all: usize, rows: usize) -> std::ops::Range<usize> {
    let before = part.depth.start * all.next_multiple_of(rows);
    let start = before + (first + part.columns.start) / rows * part.panel;
    start..start + part.columns.len().div_ceil(rows) * part.panel
}

/// Makes the panels of a stretch of all rows of `w`, or of a share of them.
pub(super) struct Fill<'a, P> {
    pub(super) format: PhantomData<P>,
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) k: usize,
    /// The rows to make panels of, a whole number of panels but at the end.
    pub(super) rows: std::ops::Range<usize>,
    pub(super) all: usize,
    pub(super) to: &'a Shared,
}

/// Panels that threads write to, each to its own.
pub(super) struct Shared {
    to: *mut i32,
    len: usize,
}

// SAFETY: `Fill` of disjoint rows writes to disjoint ranges, as its maker sees to.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(lines: &mut [Line]) -> Shared {
        let to: &mut [i32] = bytemuck::cast_slice_mut(lines);
        Shared { to: to.as_mut_ptr(), len: to.len() }
    }
}

impl<P: BlockFormat> Kernel for Fill<'_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fill { w, row_bytes, k, rows, all, to, .. } = self;
        let w = &w[rows.start * row_bytes..rows.end * row_bytes];
        for part in CacheBlocks::new(k, rows.len(), 2 * S::LANES) {
            let range = place(&part, rows.start, all, 2 * S::LANES);
            assert!(range.end <= to.len, "panels of all rows");
            // SAFETY: the range is within the panels, and belongs to these rows alone.
            let to = unsafe { std::slice::from_raw_parts_mut(to.to.add(range.start), range.len()) };
            fill_panels::<S, P>(s, w, row_bytes, &part, to);
        }
    }
}

/// Many rows of `x` times rows of `w` that are panels already.
pub(super) struct Ready<'a, 'out> {
    /// Those of all rows.
    pub(super) panels: &'a [Line],
    pub(super) all: usize,
    /// The row that is column 0 of `out`, the first of a panel.
    pub(super) first: usize,
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'out mut [f32]],
}

impl Kernel for Ready<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Ready { panels, all, first, x, k, bias, out } = self;
        let panels: &[f32] = bytemuck::cast_slice(panels);
        let width = out.first().map_or(0, |row| row.len());
        for part in CacheBlocks::new(k, width, 2 * S::LANES) {
            let panels = &panels[place(&part, first, all, 2 * S::LANES)];
            let (first, groups) = (part.columns.start, part.depth.len() / 32);
            let x = Strip { x: &x[part.depth.start..], k };
            let base = Base::new(bias, part.depth.start);
            s.run(PanelSums { panels, groups, x, base, out: &mut *out, first, ahead: true });
        }
    }
}

/// Some blocks of [`Simd::LANES`] rows of `w` as one half of a panel `[k][2 * LANES]` of floats.
#[inline(always)]
fn fill<S: Simd, P: BlockFormat>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    first: usize,
    blocks: std::ops::Range<usize>,
    squares: &mut [Square; 16],
    to: &mut [i32],
) {
    let stride = 2 * S::LANES;
    for (i, block) in blocks.enumerate() {
        for r4 in (0..S::LANES).step_by(4) {
            let rows = four::<P>(w, row_bytes, first + r4);
            let blocks = [0, 1, 2, 3].map(|r| &rows[r][block]);
            next_rows::<S, P>(s, blocks, row_bytes);
            let scales = in_memory(P::scales(s, blocks));
            for g in 0..P::GROUPS {
                for r in 0..4 {
                    let mut floats = [0.0; 32];
                    s.store(P::group(s, blocks[r], &scales, r, g), &mut floats);
                    let halves: &[[i32; 16]; 2] = bytemuck::cast_ref(&floats);
                    for half in 0..2 {
                        squares[2 * g + half][(r4 + r) * 16..][..16].copy_from_slice(&halves[half]);
                    }
                }
            }
        }
        for (j, square) in squares[..2 * P::GROUPS].iter().enumerate() {
            let at = (i * P::GROUPS * 32 + j * 16) * stride;
            s.transpose(square, &mut to[at..], stride);
        }
    }
}

/// Asks for the same blocks of the rows that come after these.
#[inline(always)]
fn next_rows<S: Simd, P: BlockFormat>(s: S, blocks: [&P::Block; 4], row_bytes: usize) {
    for block in blocks {
        let from: *const u8 = std::ptr::from_ref(block).cast();
        s.prefetch(from.wrapping_add(S::LANES * row_bytes), size_of::<P::Block>());
    }
}

/// Adds all rows of `x` times some panels to `out`, from column `first` on: the same for all
/// formats.
struct PanelSums<'a, 'out> {
    panels: &'a [f32],
    groups: usize,
    x: Strip<'a>,
    base: Base<'a>,
    out: &'a mut [&'out mut [f32]],
    first: usize,
    /// Whether what comes after a panel is asked for while it is used.
    ahead: bool,
}

/// Rows of `x` that are multiplied with panel after panel: a stretch of them stays in the second
/// cache.
const NEAR: usize = 96;

impl Kernel for PanelSums<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PanelSums { panels, groups, x: Strip { x, k }, base, out, first, ahead } = self;
        let width = 2 * S::LANES;
        let mut sums = [[0.0; PANEL_ROWS]; MOST];
        for (i, out) in out.chunks_mut(NEAR).enumerate() {
            let turns = out.len().div_ceil(S::TILE);
            for (j, panel) in panels.chunks_exact(groups * 32 * width).enumerate() {
                let mut m = 0;
                for turn in 0..turns {
                    let (x, out) = (Strip { x: &x[(i * NEAR + m) * k..], k }, &mut out[m..]);
                    // The next panel, some of it in each turn, so that memory is never waited for.
                    let next = match ahead && i == 0 {
                        true => Ahead::part(panel, groups, [turn, turns]),
                        false => Ahead::NONE,
                    };
                    let first = first + j * width;
                    let count = out.len().min(S::TILE);
                    if let Some(sums) = s.rows(panel, x.x, k, next, &mut sums[..count]) {
                        for (out, sums) in out.iter_mut().zip(sums) {
                            let sums = [s.load_floats(sums), s.load_floats(&sums[S::LANES..])];
                            add(s, sums, base, out, first);
                        }
                        m += count;
                        continue;
                    }
                    m += match count {
                        7.. => some::<S, 8>(s, panel, groups, x, base, out, first, next),
                        4.. if S::TILE == 6 => {
                            some::<S, 6>(s, panel, groups, x, base, out, first, next)
                        }
                        5.. => some::<S, 8>(s, panel, groups, x, base, out, first, next),
                        2.. if S::TILE == 6 => {
                            some::<S, 3>(s, panel, groups, x, base, out, first, next)
                        }
                        2.. => some::<S, 4>(s, panel, groups, x, base, out, first, next),
                        _ => some::<S, 1>(s, panel, groups, x, base, out, first, next),
                    };
                }
            }
        }
    }
}

/// Adds up to `M` rows of `x` times a panel to `out`, from column `first` on; gives how many.
#[allow(clippy::too_many_arguments, reason = "a loop's body, in registers")]
#[inline(always)]
fn some<S: Simd, const M: usize>(
    s: S,
    panel: &[f32],
    groups: usize,
    x: Strip<'_>,
    base: Base<'_>,
    out: &mut [&mut [f32]],
    first: usize,
    next: Ahead,
) -> usize {
    let count = M.min(out.len());
    // Where there are fewer, the last one comes again: that takes no longer than one alone would.
    let rows: [&[f32]; M] = std::array::from_fn(|i| &x.x[i.min(count - 1) * x.k..][..groups * 32]);
    let sums = tile(s, panel, rows, next);
    for (out, sums) in out.iter_mut().zip(sums) {
        add(s, sums, base, out, first);
    }
    count
}

/// The sums of `M` rows of `x` with a panel of whole groups.
#[inline(always)]
pub(super) fn tile<S: Simd, const M: usize>(
    s: S,
    panel: &[f32],
    x: [&[f32]; M],
    next: Ahead,
) -> [[S::Floats; 2]; M] {
    let mut sum = [[s.splat(0.0); 2]; M];
    for (g, panel) in panel.chunks_exact(32 * 2 * S::LANES).enumerate() {
        s.prefetch_far(next.from.wrapping_add(g * next.lines * 64), next.lines * 64);
        // A row is checked once a group, not at every number.
        let mut group = [&[0.0; 32]; M];
        for i in 0..M {
            group[i] = &x[i].as_chunks().0[g];
        }
        for t in 0..32 {
            let w = &panel[t * 2 * S::LANES..][..2 * S::LANES];
            let w = [s.load_floats(w), s.load_floats(&w[S::LANES..])];
            for i in 0..M {
                let x = s.splat(group[i][t]);
                sum[i][0] = s.mul_add(w[0], x, sum[i][0]);
                sum[i][1] = s.mul_add(w[1], x, sum[i][1]);
            }
        }
    }
    sum
}

/// 32-bit numbers that a group of a panel of integers takes, per row of `w`: pairs of words, then
/// scales, then offsets.
const fn group_size(halves: bool, offset: bool) -> usize {
    let factors = if halves { 2 } else { 1 };
    16 + if offset { 2 * factors } else { factors }
}

/// [`many`] in integers.
#[inline(always)]
fn many_ints<S: Simd, P: Quants>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    x: Quantized<'_>,
    bias: Option<&[f32]>,
    out: &mut [&mut [f32]],
    scratch: &mut [Line],
) {
    let scratch: &mut [i32] = bytemuck::cast_slice_mut(scratch);
    let width = w.len() / row_bytes;
    let rows = 2 * S::LANES;
    let depth = stretch(x.groups * 32) / 32;
    for g0 in (0..x.groups).step_by(depth) {
        let groups = depth.min(x.groups - g0);
        let panel = groups * group_size(P::HALVES, P::OFFSET) * rows;
        let most = (PANEL / panel).max(1) * rows;
        for first in (0..width).step_by(most) {
            let columns = most.min(width - first);
            let panels = &mut scratch[..columns.div_ceil(rows) * panel];
            for (i, to) in panels.chunks_exact_mut(panel).enumerate() {
                for v in 0..2 {
                    let row = first + i * rows + v * S::LANES;
                    let blocks = g0 / P::GROUPS..(g0 + groups) / P::GROUPS;
                    let to = &mut to[v * S::LANES..];
                    fill_ints::<S, P>(s, w, row_bytes, row, blocks, to);
                }
            }
            let (x, base) = (x.from(g0), Base::new(bias, g0));
            let out = &mut *out;
            match (P::HALVES, P::OFFSET) {
                (false, false) => {
                    s.run(IntTiles::<false, false> { panels, groups, x, base, out, first })
                }
                (false, true) => {
                    s.run(IntTiles::<false, true> { panels, groups, x, base, out, first })
                }
                (true, false) => {
                    s.run(IntTiles::<true, false> { panels, groups, x, base, out, first })
                }
                (true, true) => {
                    s.run(IntTiles::<true, true> { panels, groups, x, base, out, first })
                }
            }
        }
    }
}

/// [`fill`] in integers: a panel `[groups][group_size][2 * LANES]`.
#[inline(always)]
fn fill_ints<S: Simd, P: Quants>(
    s: S,
    w: &[u8],
    row_bytes: usize,
    first: usize,
    blocks: std::ops::Range<usize>,
    to: &mut [i32],
) {
    let stride = 2 * S::LANES;
    let size = group_size(P::HALVES, P::OFFSET) * stride;
    let factors = if P::HALVES { 2 } else { 1 };
    for (i, block) in blocks.enumerate() {
        let to = &mut to[i * P::GROUPS * size..];
        let [a, ..] = four::<P>(w, row_bytes, first);
        let mut rows = [&a[block]; 16];
        for r4 in (0..S::LANES).step_by(4) {
            let blocks = four::<P>(w, row_bytes, first + r4).map(|row| &row[block]);
            rows[r4..r4 + 4].copy_from_slice(&blocks);
            next_rows::<S, P>(s, blocks, row_bytes);
            let scales = in_memory(P::scales(s, blocks));
            for g in 0..P::GROUPS {
                for r in 0..4 {
                    let [scale, offset] = P::factors(&scales, r, g);
                    for half in 0..factors {
                        let at = g * size + (16 + half) * stride + r4 + r;
                        to[at] = scale[half].to_bits() as i32;
                        if P::OFFSET {
                            to[at + factors * stride] = offset[half].to_bits() as i32;
                        }
                    }
                }
            }
        }
        for g in 0..P::GROUPS {
            let mut words = [P::words(s, rows[0], g); 16];
            for r in 1..S::LANES {
                words[r] = P::words(s, rows[r], g);
            }
            s.transpose_words(&words, &mut to[g * size..], stride);
        }
    }
}

/// [`PanelSums`] in integers.
struct IntTiles<'a, 'out, const HALVES: bool, const OFFSET: bool> {
    panels: &'a [i32],
    groups: usize,
    x: Quantized<'a>,
    base: Base<'a>,
    out: &'a mut [&'out mut [f32]],
    first: usize,
}

impl<const HALVES: bool, const OFFSET: bool> Kernel for IntTiles<'_, '_, HALVES, OFFSET> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let IntTiles { panels, groups, x, base, out, first } = self;
        let mut m = 0;
        while m < out.len() {
            let (x, out) = (x.from_row(m), &mut out[m..]);
            m += match out.len().min(S::INT_TILE) {
                8.. => int_tiles::<S, HALVES, OFFSET, 8>(s, panels, groups, x, base, out, first),
                4.. => int_tiles::<S, HALVES, OFFSET, 4>(s, panels, groups, x, base, out, first),
                3 => int_tiles::<S, HALVES, OFFSET, 3>(s, panels, groups, x, base, out, first),
                2 => int_tiles::<S, HALVES, OFFSET, 2>(s, panels, groups, x, base, out, first),
                _ => int_tiles::<S, HALVES, OFFSET, 1>(s, panels, groups, x, base, out, first),
            };
        }
    }
}

/// What [`PanelSums`] does for `M` rows, in integers.
#[inline(always)]
fn int_tiles<S: Simd, const HALVES: bool, const OFFSET: bool, const M: usize>(
    s: S,
    panels: &[i32],
    groups: usize,
    x: Quantized<'_>,
    base: Base<'_>,
    out: &mut [&mut [f32]],
    first: usize,
) -> usize {
    let x: [Quantized<'_>; M] = std::array::from_fn(|m| x.from_row(m));
    let size = group_size(HALVES, OFFSET) * 2 * S::LANES;
    for (j, panel) in panels.chunks_exact(groups * size).enumerate() {
        let sums = int_tile::<S, HALVES, OFFSET, M>(s, panel, x);
        for (out, sums) in out.iter_mut().zip(sums) {
            add(s, sums, base, out, first + j * 2 * S::LANES);
        }
    }
    M
}

/// [`tile`] in integers.
#[inline(always)]
fn int_tile<S: Simd, const HALVES: bool, const OFFSET: bool, const M: usize>(
    s: S,
    panel: &[i32],
    x: [Quantized<'_>; M],
) -> [[S::Floats; 2]; M] {
    let rows = 2 * S::LANES;
    let factors = if HALVES { 2 } else { 1 };
    let mut sum = [[s.splat(0.0); 2]; M];
    for (g, group) in panel.chunks_exact(group_size(HALVES, OFFSET) * rows).enumerate() {
        let x_pairs: [&[i32; 16]; M] = std::array::from_fn(|m| bytemuck::cast_ref(&x[m].words[g]));
        let (pairs, scales) = group.split_at(16 * rows);
        for half in 0..factors {
            let range = half * 16 / factors..(half + 1) * 16 / factors;
            let mut ints = [[s.zero_ints(); 2]; M];
            for t in range {
                let w = &pairs[t * rows..][..rows];
                let w = [s.load_ints(w), s.load_ints(&w[S::LANES..])];
                for m in 0..M {
                    let x = s.splat_int(x_pairs[m][t]);
                    ints[m][0] = s.dot_pairs(w[0], x, ints[m][0]);
                    ints[m][1] = s.dot_pairs(w[1], x, ints[m][1]);
                }
            }
            let scale: &[f32] = bytemuck::cast_slice(&scales[half * rows..][..rows]);
            let offset = match OFFSET {
                true => &scales[(factors + half) * rows..][..rows],
                false => &scales[..rows],
            };
            let offset: &[f32] = bytemuck::cast_slice(offset);
            for v in 0..2 {
                let scale = s.load_floats(&scale[v * S::LANES..]);
                let offset = s.load_floats(&offset[v * S::LANES..]);
                for m in 0..M {
                    let by = s.mul(scale, s.splat(x[m].scales[g]));
                    sum[m][v] = s.mul_add(s.to_floats(ints[m][v]), by, sum[m][v]);
                    if OFFSET {
                        let [low, high] = [x[m].sums[2 * g], x[m].sums[2 * g + 1]];
                        let of = if HALVES { [low, high][half] } else { low + high };
                        sum[m][v] = s.mul_add(offset, s.splat(of), sum[m][v]);
                    }
                }
            }
        }
    }
    sum
}
