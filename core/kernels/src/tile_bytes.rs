//! Five to eight rows of `x` times packed rows, by the tiles of AMX, which multiply bytes.
//!
//! A number of `x` is two signed bytes, `256 * high + low`, as in [`vnni`](super::vnni): the high bytes
//! of eight rows and their low ones are the sixteen columns of a tile. With 16 rows of `w` in signed
//! bytes it gives, group by group, exact sums that become floats and are scaled:
//!
//! ```text
//! 16 rows of w, eight groups  --unpack-->    bytes and scales  (in the nearest cache)
//! bytes x columns, a group    --multiply-->  16 x 16 sums      (the same)
//! sums                        --scale-->     a vector of sums for each row, in registers
//! ```
//!
//! Each arrow is taken for eight groups before the next one, and the next eight groups are unpacked
//! between the other two: what was stored cannot be loaded as a tile, nor what a tile has stored as a
//! vector, until it has left the processor's queue of stores.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::packed::Quants;
use super::product::Line;
use super::quantized;
use super::simd::{Simd, first};
use super::tiles::{Config, Tiles};
use super::vnni::Pairs;
use super::x86::Avx512;

/// Rows of a tile.
const TILE: usize = 16;

/// Rows of `x`, of which each is two columns.
pub(super) const COLUMNS: usize = TILE / 2;

/// Groups that are unpacked, multiplied and scaled at a time: the largest blocks have so many.
const UNIT: usize = 8;

/// A group of up to eight rows of `x`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Group {
    /// Four numbers at a time, the high bytes of each row, then the low ones.
    bytes: [[[i8; 4]; TILE]; 8],
    /// What the sums of each column are multiplied by.
    scales: [f32; TILE],
    /// What the sums of each half of the group stand for; those of the low bytes count as zero.
    sums: [[f32; TILE]; 2],
}

impl Group {
    pub(super) const ZERO: Group =
        Group { bytes: [[[0; 4]; TILE]; 8], scales: [0.0; TILE], sums: [[0.0; TILE]; 2] };

    /// Takes the group in as row `row`.
    #[inline(always)]
    pub(super) fn set<S: Simd>(&mut self, s: S, row: usize, x: &[f32; 32]) {
        let mut words = [0; 32];
        let (scale, [low, high]) = s.quantize(x, &mut words);
        [self.scales[row], self.scales[row + COLUMNS]] = [scale * 256.0, scale];
        [self.sums[0][row], self.sums[1][row]] = [low, high];
        let [highs, lows] = quantized::bytes(words);
        for i in 0..8 {
            self.bytes[i][row] = first(&highs[4 * i..]);
            self.bytes[i][row + COLUMNS] = first(&lows[4 * i..]);
        }
    }
}

/// Up to eight rows of `x`, group by group.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) tiles: Tiles,
    pub(super) groups: &'a [Group],
}

/// Eight groups of 16 rows of `w`.
#[repr(C, align(64))]
struct Part {
    /// Two groups at a time.
    bytes: [[[u8; 64]; TILE]; UNIT / 2],
    /// Of each group, or of each half of a group.
    scales: [[f32; 2 * UNIT]; TILE],
    offsets: [[f32; 2 * UNIT]; TILE],
}

impl Part {
    const ZERO: Part = Part {
        bytes: [[[0; 64]; TILE]; UNIT / 2],
        scales: [[0.0; 2 * UNIT]; TILE],
        offsets: [[0.0; 2 * UNIT]; TILE],
    };
}

/// The sums of each of eight groups, or of each half.
#[repr(C, align(64))]
struct Sums([[[i32; TILE]; TILE]; 2 * UNIT]);

/// What a thread keeps from call to call.
struct Scratch {
    parts: [Part; 2],
    ints: Sums,
}

impl Scratch {
    const ZERO: Scratch =
        Scratch { parts: [Part::ZERO; 2], ints: Sums([[[0; TILE]; TILE]; 2 * UNIT]) };
}

/// The rows of `w` times those of `x`.
pub(super) fn few<P: Pairs + Quants>(
    w: &[u8],
    row_bytes: usize,
    x: Columns<'_>,
    out: &mut [&mut [f32]],
) {
    thread_local! {
        static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch::ZERO));
    }
    const WHOLE: Config = Config::new([[16, 64], [16, 32], [8, 64]]);
    const HALVES: Config = Config::new([[16, 64], [16, 16], [4, 64]]);
    let config = if P::HALVES { &HALVES } else { &WHOLE };
    SCRATCH.with_borrow_mut(|scratch| {
        let s = x.tiles.vectors();
        // SAFETY: `Tiles` proves the features, and `run` configures the tiles.
        x.tiles.run(config, || unsafe { all::<P>(s, w, row_bytes, x.groups, scratch, out) });
    });
}

/// # Safety
/// The processor has the features of an [`Avx512`], and tiles 0 to 2 are those of sums, of bytes of
/// `w`, and of columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all<P: Pairs + Quants>(
    s: Avx512,
    w: &[u8],
    row_bytes: usize,
    x: &[Group],
    scratch: &mut Scratch,
    out: &mut [&mut [f32]],
) {
    let rows = w.len() / row_bytes;
    // Eight groups of 16 rows from row `first` on.
    let unpack = |first: usize, unit: usize, to: &mut Part| {
        let count = UNIT.min(x.len() - unit * UNIT);
        let blocks = unit * UNIT / P::GROUPS..(unit * UNIT + count) / P::GROUPS;
        for r in 0..TILE {
            // A row that is not there is the last one again.
            let row = &w[(first + r).min(rows - 1) * row_bytes..][..row_bytes];
            let row: &[P::Block] = bytemuck::cast_slice(row);
            to.unpack::<P>(s, r, &row[blocks.clone()]);
        }
    };
    let Scratch { parts: [now, next], ints } = scratch;
    let (mut now, mut next) = (now, next);
    unpack(0, 0, now);
    // Bytes of 16 rows for each time that a group is looked at: when multiplied, when scaled.
    let each = (TILE * row_bytes).div_ceil(2 * x.len().max(1));
    for first in (0..rows).step_by(TILE) {
        let mut sums = [s.splat(0.0); TILE];
        for (unit, groups) in x.chunks(UNIT).enumerate() {
            // The next rows are asked for bit by bit, in the order of their bytes: a processor waits
            // for few lines at a time, and looks ahead by itself where they follow each other.
            let ask = |place: usize| {
                let at = (first + TILE) * row_bytes + (2 * unit * UNIT + place) * each;
                s.prefetch(w.as_ptr().wrapping_add(at), each);
            };
            // SAFETY: the caller's.
            unsafe { ints.multiply(P::HALVES, now, groups, ask) };
            // Between what stores and what loads it.
            match (unit + 1) * UNIT < x.len() {
                true => unpack(first, unit + 1, next),
                false if first + TILE < rows => unpack(first + TILE, 0, next),
                false => {}
            }
            ints.scale::<P>(s, now, groups, &mut sums, |g| ask(UNIT + g));
            std::mem::swap(&mut now, &mut next);
        }
        let mut turned = [Line::ZERO; TILE];
        for r in 0..TILE {
            s.store_floats(sums[r], bytemuck::cast_slice_mut(&mut turned[r..=r]));
        }
        let mut columns = [Line::ZERO; TILE];
        s.transpose(bytemuck::cast_ref(&turned), bytemuck::cast_slice_mut(&mut columns), TILE);
        let columns: &[[f32; TILE]; TILE] = bytemuck::cast_ref(&columns);
        for (m, out) in out.iter_mut().enumerate() {
            let low = s.load_floats(&columns[m + COLUMNS]);
            let both = s.mul_add(low, s.splat(1.0), s.load_floats(&columns[m]));
            match out[first..].first_chunk_mut::<TILE>() {
                Some(out) => s.store_floats(both, out),
                None => {
                    let mut all = [0.0; TILE];
                    s.store_floats(both, &mut all);
                    out[first..].iter_mut().zip(all).for_each(|(out, sum)| *out = sum);
                }
            }
        }
    }
}

impl Part {
    /// Row `r` out of its blocks.
    #[inline(always)]
    fn unpack<P: Pairs + Quants>(&mut self, s: Avx512, r: usize, blocks: &[P::Block]) {
        // Pairs of groups of a unit of blocks: four of one group, or one of eight.
        let pairs = P::UNIT * P::GROUPS / 2;
        let parts = if P::HALVES { 4 * pairs } else { 2 * pairs };
        for (i, unit) in blocks.chunks(P::UNIT).enumerate() {
            let last = unit.len() - 1;
            let four = match P::UNIT {
                1 => [&unit[0]; 4],
                _ => [&unit[0], &unit[last.min(1)], &unit[last.min(2)], &unit[last]],
            };
            for pair in 0..pairs {
                let q = P::pair(s, &four, pair);
                // SAFETY: the array is as wide as the vector.
                unsafe {
                    let q = _mm512_sub_epi8(q, _mm512_set1_epi8(P::BIAS as i8));
                    let to = &mut self.bytes[i * pairs + pair][r];
                    _mm512_store_si512(to.as_mut_ptr().cast(), q);
                }
            }
            let scales = P::scales(s, four);
            let [scales, offsets] = P::lines(&scales, 0);
            self.scales[r][i * parts..][..parts].copy_from_slice(&scales[..parts]);
            if P::OFFSET {
                self.offsets[r][i * parts..][..parts].copy_from_slice(&offsets[..parts]);
            }
        }
    }
}

impl Sums {
    /// Computes them. After each group, something else is begun.
    ///
    /// # Safety
    /// Tiles are configured for them.
    #[inline(always)]
    unsafe fn multiply(&mut self, halves: bool, w: &Part, x: &[Group], after: impl Fn(usize)) {
        let parts = if halves { 2 } else { 1 };
        for (g, x) in x.iter().enumerate() {
            for half in 0..parts {
                let w = &raw const w.bytes[g / 2][0][g % 2 * 32 + half * 16];
                let x = &raw const x.bytes[half * 4];
                let to = &raw mut self.0[g * parts + half];
                // SAFETY: 16 rows of 32 or 16 bytes, 64 apart, 8 or 4 lines of 64, and 16 lines
                // for the sums.
                unsafe {
                    asm!(
                        "tilezero tmm0",
                        "tileloadd tmm1, [{w} + {line}]",
                        "tileloadd tmm2, [{x} + {line}]",
                        "tdpbssd tmm0, tmm1, tmm2",
                        "tilestored [{to} + {line}], tmm0",
                        w = in(reg) w,
                        x = in(reg) x,
                        to = in(reg) to,
                        line = in(reg) 64_usize,
                        options(nostack, preserves_flags),
                    );
                }
            }
            after(g);
        }
    }

    /// Adds what they stand for to the sums of the columns. After each group, something else is
    /// begun.
    #[inline(always)]
    fn scale<P: Quants>(
        &self,
        s: Avx512,
        w: &Part,
        x: &[Group],
        sums: &mut [__m512; TILE],
        after: impl Fn(usize),
    ) {
        let parts = if P::HALVES { 2 } else { 1 };
        for (g, x) in x.iter().enumerate() {
            let by = s.load_floats(&x.scales);
            for half in 0..parts {
                let at = g * parts + half;
                let of = match P::HALVES {
                    true => s.load_floats(&x.sums[half]),
                    false => {
                        let low = s.load_floats(&x.sums[0]);
                        s.mul_add(low, s.splat(1.0), s.load_floats(&x.sums[1]))
                    }
                };
                for r in 0..TILE {
                    let sum = s.to_floats(s.load_ints(&self.0[at][r]));
                    let by = s.mul(by, s.splat(w.scales[r][at]));
                    sums[r] = s.mul_add(sum, by, sums[r]);
                    if P::OFFSET {
                        sums[r] = s.mul_add(s.splat(w.offsets[r][at]), of, sums[r]);
                    }
                }
            }
            after(g);
        }
    }
}
