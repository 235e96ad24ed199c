//! GEMM by the tiles of AMX, which multiply bfloat16: floats in pieces.
//!
//! A float is the sum of three bfloat16, exactly: its first eight bits, the next eight, the last
//! eight. The product of two floats is that of their pieces, of which the three smallest are left
//! out: they are less than one rounding of the product. So six products in bfloat16, with sums in
//! floats, are one in floats, and still twice as quick as vectors of floats. Of packed weights and of
//! the activations beside them 16 bits are kept, as by the integer loops: two pieces, three products.
//!
//! ```text
//! w:    32 rows  --unpack, split-->          tiles [k / 32][2][piece][16 rows][32]     (in the cache)
//! x:    16 rows  --split, repacked, once-->  tiles [k / 32][piece][16 pairs][16 rows]  (by all threads)
//! sums: 32 rows of w times 32 of x, in four tiles, transposed as they are written
//! ```
//!
//! While some rows of `w` are multiplied, the next ones are unpacked: tiles and vectors work at the
//! same time, and the bytes of `w` are read in their order, once.
//!
//! Numbers below 2^-126 count as zero, and a product with an infinite number is NaN, since infinite
//! numbers have no pieces.
//!
//! Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations" (2019); Intel 64 and IA-32 Architectures Optimization Reference
//! Manual, chapter 20.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::sync::OnceLock;

use super::features::Avx512;
use super::packed::BlockFormat;
use super::pool::{Pool, Shares};
use super::simd::Simd;
use super::sums::{AHEAD, Base, Line, add, stretch};

/// Proof that the processor has AMX for bfloat16 and for bytes, which the system has given this
/// program leave to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles(Avx512);

/// Rows of a tile.
const TILE: usize = 16;

/// Rows of `w`, and of `x`, that are multiplied at once.
const ROWS: usize = 2 * TILE;

/// Lines from a group of 32 rows of `w` in so many pieces to the next. One more than there are: else
/// the pieces of a row would all be in the same few places of the nearest cache.
const fn apart(pieces: usize) -> usize {
    2 * pieces * TILE + 1
}

/// Bytes of `x` that are multiplied with one row of `w` after another: most of a second cache of 2
/// MiB.
const NEAR: usize = 5 << 18;

impl Tiles {
    /// Whether there are tiles, found out once.
    pub(super) fn best() -> Option<Tiles> {
        static BEST: OnceLock<Option<Tiles>> = OnceLock::new();
        *BEST.get_or_init(|| Avx512::detect().filter(|_| has_tiles() && permitted()).map(Tiles))
    }

    /// The vectors of a processor with tiles.
    pub(super) fn vectors(self) -> Avx512 {
        self.0
    }

    /// Runs `work` with tiles of such shapes.
    pub(super) fn run<R>(self, config: &TileConfig, work: impl FnOnce() -> R) -> R {
        struct Release;

        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: the processor has AMX; the compiler does not use its registers.
                unsafe { asm!("tilerelease", options(nostack, nomem)) }
            }
        }

        // SAFETY: as above.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config, options(nostack, readonly)) }
        let _release = Release;
        work()
    }
}

/// Shapes of tiles.
#[repr(C, align(64))]
pub(super) struct TileConfig([u8; 64]);

impl TileConfig {
    /// Eight tiles of 16 rows of 64 bytes.
    pub(super) const LARGE: TileConfig = TileConfig::new([[16, 64]; 8]);

    /// Tiles of so many rows of so many bytes.
    pub(super) const fn new<const N: usize>(shapes: [[u8; 2]; N]) -> TileConfig {
        let mut config = [0; 64];
        config[0] = 1; // the palette
        let mut tile = 0;
        while tile < N {
            config[16 + 2 * tile] = shapes[tile][1];
            config[48 + tile] = shapes[tile][0];
            tile += 1;
        }
        TileConfig(config)
    }
}

fn has_tiles() -> bool {
    const TILE_INT8_AND_BF16: u32 = 1 << 25 | 1 << 24 | 1 << 22;
    let [leaves, features] = [__cpuid(0).eax, __cpuid_count(7, 0).edx];
    leaves >= 7 && features & TILE_INT8_AND_BF16 == TILE_INT8_AND_BF16
}

/// Asks the system for leave to use the registers, as a program must once.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), Linux, Documentation/arch/x86/xstate.rst.
    let mut answer: i64 = 158;
    // SAFETY: the call reads no memory and changes what is asked for alone; a kernel that does not
    // know it gives an error.
    unsafe {
        asm!(
            "syscall",
            inout("rax") answer,
            in("rdi") 0x1023,
            in("rsi") 18,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Rows of `x` in pieces.
#[derive(Clone, Copy)]
pub(super) struct Pieces<'a> {
    tiles: Tiles,
    /// `[rows / 16][steps][pieces][16]`; what is in rows that are not there is any number.
    lines: &'a [Line],
    /// Two or three.
    pieces: usize,
    /// Groups of 32 numbers in a row.
    steps: usize,
}

/// Memory for [`Pieces`], kept from call to call.
#[derive(Default)]
pub(super) struct Buffer(Vec<Line>);

impl Buffer {
    /// Splits rows of `k`, a multiple of 32: into all of their bits if `exact`, else into 16.
    pub(super) fn fill(
        &mut self,
        tiles: Tiles,
        pool: &Pool,
        x: &[f32],
        k: usize,
        exact: bool,
    ) -> Pieces<'_> {
        let (steps, rows) = (k / 32, x.len() / k);
        let pieces = if exact { 3 } else { 2 };
        let block = steps * pieces * TILE;
        let all = rows.div_ceil(TILE) * block;
        self.0.resize(all.max(self.0.len()), Line::ZERO);
        let parts = Shares::new(x.chunks(TILE * k).zip(self.0.chunks_mut(block)));
        pool.run(rows.div_ceil(TILE), &|_| {
            let Some((x, to)) = parts.next() else { return };
            // SAFETY: `tiles` proves the features.
            unsafe {
                match pieces {
                    2 => turn::<2>(tiles.0, x, k, to),
                    _ => turn::<3>(tiles.0, x, k, to),
                }
            }
        });
        Pieces { tiles, lines: &self.0[..all], pieces, steps }
    }
}

impl<'a> Pieces<'a> {
    /// The rows from row `first` on, a multiple of what [`Pieces::near`] gives.
    pub(super) fn skip_rows(self, first: usize) -> Pieces<'a> {
        let lines = &self.lines[first / TILE * self.steps * self.pieces * TILE..];
        Pieces { lines, ..self }
    }

    /// How many rows stay in the cache of a thread while one row of `w` after another is multiplied
    /// with them.
    pub(super) fn near(self) -> usize {
        let row = 2 * self.pieces * stretch(self.steps * 32).max(1);
        (NEAR / row).max(1).next_multiple_of(ROWS)
    }
}

/// Which words of two vectors are the upper halves of their floats: those of the first, then those
/// of the second.
const UPPER: [u16; 32] = {
    let mut words = [0; 32];
    let mut i = 0;
    while i < 32 {
        words[i] = 2 * i as u16 + 1;
        i += 1;
    }
    words
};

/// The pieces of 32 floats.
#[inline(always)]
fn split<const N: usize>(_: Avx512, [mut a, mut b]: [__m512; 2]) -> [__m512i; N] {
    // SAFETY: an `Avx512` proves the features; `UPPER` is as long as a vector.
    unsafe {
        let upper_words = _mm512_loadu_si512(UPPER.as_ptr().cast());
        let upper = _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000_u32 as i32));
        let mut pieces = [_mm512_setzero_si512(); N];
        for i in 0..N {
            if i > 0 {
                // What the piece before has left, exactly.
                a = _mm512_sub_ps(a, _mm512_and_ps(a, upper));
                b = _mm512_sub_ps(b, _mm512_and_ps(b, upper));
            }
            let [mut low, mut high] = [_mm512_castps_si512(a), _mm512_castps_si512(b)];
            if N < 3 && i == N - 1 {
                // The last piece is rounded. Of three nothing is left over.
                let half = _mm512_set1_epi32(0x8000);
                low = _mm512_add_epi32(low, half);
                high = _mm512_add_epi32(high, half);
            }
            pieces[i] = _mm512_permutex2var_epi16(low, upper_words, high);
        }
        pieces
    }
}

/// Up to 16 rows of `x` in pieces, a row in each column.
///
/// # Safety
/// The processor has the features of an [`Avx512`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn turn<const N: usize>(s: Avx512, x: &[f32], k: usize, to: &mut [Line]) {
    let mut squares = [[0_i32; TILE * TILE]; N];
    for (step, to) in to.chunks_exact_mut(N * TILE).enumerate() {
        for (row, x) in x.chunks_exact(k).enumerate() {
            let x = &x[step * 32..][..32];
            let pieces = split::<N>(s, [s.load_floats(x), s.load_floats(&x[TILE..])]);
            for i in 0..N {
                let to = &mut squares[i][row * TILE..][..TILE];
                // SAFETY: 16 numbers are as wide as the vector.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pieces[i]) };
            }
        }
        for (square, to) in squares.iter().zip(to.chunks_exact_mut(TILE)) {
            s.transpose(square, bytemuck::cast_slice_mut(to), TILE);
        }
    }
}

/// Rows of `x` times packed rows.
pub(super) struct TileProduct<'a, 'out> {
    /// Rows of `row_bytes`, a whole number of blocks.
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) x: Pieces<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'out mut [f32]],
}

/// Unpacks and splits some groups of a row, of which it is given all bytes: a line for each piece, 16
/// lines from one piece to the next, [`apart`] from one group to the next.
type UnpackFn = unsafe fn(Avx512, &[u8], std::ops::Range<usize>, &mut [Line]);

/// Multiplies rows of `x` with packed rows: 32 at a time are unpacked while others are multiplied.
pub(super) fn gemm<P: BlockFormat>(all: TileProduct<'_, '_>) {
    thread_local! {
        /// Two times 32 rows of `w`.
        static STRIPS: RefCell<[Vec<Line>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
    }
    let unpack: UnpackFn = match all.x.pieces {
        2 => unpack::<P, 2>,
        _ => unpack::<P, 3>,
    };
    STRIPS.with_borrow_mut(|strips| {
        // SAFETY: `Tiles` proves the features, and `run` configures the tiles.
        all.x.tiles.run(&TileConfig::LARGE, || unsafe {
            match all.x.pieces {
                2 => meet_with::<2>(all, unpack, strips),
                _ => meet_with::<3>(all, unpack, strips),
            }
        });
    });
}

/// Products of the pieces of a group, of two or of three.
const PRODUCTS: [usize; 2] = [3, 6];

/// Groups that are unpacked at a time: of the largest blocks.
const UNIT: usize = 8;

/// [`UnpackFn`] of a format into `N` pieces. The groups are those of whole blocks.
///
/// # Safety
/// The processor has the features of an [`Avx512`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn unpack<P: BlockFormat, const N: usize>(
    s: Avx512,
    row: &[u8],
    groups: std::ops::Range<usize>,
    to: &mut [Line],
) {
    let blocks: &[P::Block] = bytemuck::cast_slice(row);
    let blocks = &blocks[groups.start / P::GROUPS..groups.end / P::GROUPS];
    let mut g = 0;
    for unit in blocks.chunks(4 / 4_usize.min(P::GROUPS)) {
        let last = unit.len() - 1;
        let four = [&unit[0], &unit[last.min(1)], &unit[last.min(2)], &unit[last]];
        let scales = P::scales(s, four);
        for i in 0..unit.len() * P::GROUPS {
            let floats = match P::GROUPS {
                1 => P::group(s, four[i & 3], &scales, i & 3, 0),
                _ => P::group(s, four[0], &scales, 0, i),
            };
            let pieces = split::<N>(s, floats);
            for (piece, line) in pieces.into_iter().zip((g * apart(N)..).step_by(TILE)) {
                // SAFETY: a line is as wide as the store, and aligned to it.
                unsafe { _mm512_store_si512((&raw mut to[line]).cast(), piece) };
            }
            g += 1;
        }
    }
}

/// What is left to be unpacked of 32 rows.
#[derive(Clone)]
struct Rest<'a> {
    s: Avx512,
    unpack: UnpackFn,
    pieces: usize,
    /// The rows from the one on that is next, and how many bytes a row has.
    w: &'a [u8],
    row_bytes: usize,
    /// Groups of a row.
    steps: usize,
    /// The stretch of a row, in groups.
    stretch: std::ops::Range<usize>,
    /// The next row of the strip, and the next group.
    row: usize,
    group: usize,
}

impl Rest<'_> {
    /// Units of all of it.
    fn units(&self) -> usize {
        self.w.len() / self.row_bytes * self.stretch.len().div_ceil(UNIT)
    }

    /// Unpacks the next unit, if one is left.
    #[inline(always)]
    fn next(&mut self, to: &mut [Line]) {
        let Some(row) = self.w.get(..self.row_bytes) else { return };
        let groups = self.group..self.stretch.end.min(self.group + UNIT);
        self.s.prefetch(row.as_ptr().wrapping_add(AHEAD), UNIT * self.row_bytes / self.steps);
        let half = self.row / TILE * self.pieces * TILE;
        let at = (groups.start - self.stretch.start) * apart(self.pieces) + half;
        let to = &mut to[at + self.row % TILE..];
        self.group = groups.end;
        // SAFETY: the maker's.
        unsafe { (self.unpack)(self.s, row, groups, to) };
        if self.group == self.stretch.end {
            self.group = self.stretch.start;
            self.row += 1;
            self.w = &self.w[self.row_bytes..];
        }
    }

    /// Unpacks all that is left.
    fn finish(mut self, to: &mut [Line]) {
        while !self.w.is_empty() {
            self.next(to);
        }
    }
}

/// Loads a tile from 16 lines.
macro_rules! load {
    ($tile:literal, $from:expr) => {
        asm!(
            concat!("tileloadd ", $tile, ", [{from} + {line}]"),
            from = in(reg) $from,
            line = in(reg) 64_usize,
            options(nostack, readonly, preserves_flags),
        )
    };
}

/// Adds the product of a tile of `w` and one of `x` to a third.
macro_rules! multiply {
    ($sums:literal, $w:literal, $x:literal) => {
        asm!(
            concat!("tdpbf16ps ", $sums, ", ", $w, ", ", $x),
            options(nostack, nomem, preserves_flags),
        )
    };
}

/// # Safety
/// The processor has the features of an [`Avx512`], and tiles are configured.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn meet_with<const N: usize>(
    all: TileProduct<'_, '_>,
    unpack: UnpackFn,
    strips: &mut [Vec<Line>; 2],
) {
    let TileProduct { w, row_bytes, x, bias, out } = all;
    let Tiles(s) = x.tiles;
    let (rows, block) = (w.len() / row_bytes, x.steps * N * TILE);
    let depth = stretch(x.steps * 32) / 32;
    let mut sums = Sums::ZERO;
    for from in (0..x.steps).step_by(depth) {
        let stretch = from..x.steps.min(from + depth);
        let (groups, base) = (stretch.len(), Base::new(bias, from));
        let lines = groups * apart(N);
        let [now, next] = strips;
        for strip in [&mut *now, &mut *next] {
            strip.resize(lines.max(strip.len()), Line::ZERO);
        }
        let (mut now, mut next) = (&mut now[..lines], &mut next[..lines]);
        let strip =
            |first: usize| &w[rows.min(first) * row_bytes..rows.min(first + ROWS) * row_bytes];
        let (row, group) = (0, from);
        let rest =
            Rest { s, unpack, pieces: N, w: &[], row_bytes, steps: x.steps, stretch, row, group };
        Rest { w: strip(0), ..rest.clone() }.finish(next);
        for first in (0..rows).step_by(ROWS) {
            std::mem::swap(&mut now, &mut next);
            let mut rest = Rest { w: strip(first + ROWS), ..rest.clone() };
            for (i, out) in out.chunks_mut(ROWS).enumerate() {
                let at = 2 * i * block + from * N * TILE;
                let lower = &x.lines[at..][..groups * N * TILE];
                let upper = (out.len() > TILE).then(|| &x.lines[at + block..][..groups * N * TILE]);
                // SAFETY: the caller's.
                unsafe { multiply::<N>(now, lower, upper, &mut rest, next, &mut sums) };
                sums.add(s, base, out, first);
            }
            rest.finish(next);
        }
    }
}

/// Sums of 16 rows of `w` with 16 of `x`: two times two such.
#[repr(C, align(64))]
struct Sums([[[i32; TILE * TILE]; 2]; 2]);

impl Sums {
    const ZERO: Sums = Sums([[[0; TILE * TILE]; 2]; 2]);

    /// Writes them on top of their base, to columns from `first` on, as many as there are.
    #[inline(always)]
    fn add(&self, s: Avx512, base: Base<'_>, out: &mut [&mut [f32]], first: usize) {
        for (b, out) in out.chunks_mut(TILE).enumerate() {
            let mut turned = [[0; TILE * TILE]; 2];
            for a in 0..2 {
                s.transpose(&self.0[a][b], &mut turned[a], TILE);
            }
            let turned: &[[[f32; TILE]; TILE]; 2] = bytemuck::cast_ref(&turned);
            for (j, out) in out.iter_mut().enumerate() {
                let sums = [s.load_floats(&turned[0][j]), s.load_floats(&turned[1][j])];
                add(s, sums, base, out, first);
            }
        }
    }
}

/// The sums of 32 rows of `w` with 16 or 32 of `x`, and meanwhile what is left to unpack.
///
/// # Safety
/// The processor has the features of an [`Avx512`], and tiles are configured.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply<const N: usize>(
    w: &[Line],
    lower: &[Line],
    upper: Option<&[Line]>,
    rest: &mut Rest<'_>,
    to: &mut [Line],
    sums: &mut Sums,
) {
    let groups = w.len() / apart(N);
    let fits = |x: &[Line]| x.len() == groups * N * TILE;
    assert!(fits(lower) && upper.is_none_or(fits), "as many groups");
    let places = groups * PRODUCTS[N - 2];
    let s = rest.s;
    let (units, mut due) = (rest.units(), 0);
    // SAFETY: the lines of a group are within `w`, `lower` and `upper`, as compared above; a tile
    // of sums is 16 lines of 64 bytes.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem, preserves_flags));
        asm!("tilezero tmm2", "tilezero tmm3", options(nostack, nomem, preserves_flags));
        for group in 0..groups {
            let x = group * N * TILE;
            let (lower, upper) = (lower[x..].as_ptr(), upper.map(|upper| upper[x..].as_ptr()));
            let w = w[group * apart(N)..].as_ptr();
            let mut ahead = [
                w.wrapping_add(apart(N)),
                lower.wrapping_add(N * TILE),
                upper.map_or(lower, |upper| upper.wrapping_add(N * TILE)),
            ];
            macro_rules! load_w {
                ($piece:literal) => {
                    load!("tmm4", w.add($piece * TILE));
                    load!("tmm5", w.add((N + $piece) * TILE));
                };
            }
            macro_rules! load_x {
                ($piece:literal) => {
                    load!("tmm6", lower.add($piece * TILE));
                    if let Some(upper) = upper {
                        load!("tmm7", upper.add($piece * TILE));
                    }
                };
            }
            // The product of the pieces that are loaded; after it, something else is begun.
            macro_rules! add {
                () => {
                    multiply!("tmm0", "tmm4", "tmm6");
                    multiply!("tmm2", "tmm5", "tmm6");
                    if upper.is_some() {
                        multiply!("tmm1", "tmm4", "tmm7");
                        multiply!("tmm3", "tmm5", "tmm7");
                    }
                    // The lines of the next group: a tile that waits for each is slow.
                    let part = N * TILE / PRODUCTS[N - 2];
                    s.prefetch(ahead[0].cast(), 2 * part * size_of::<Line>());
                    ahead[0] = ahead[0].wrapping_add(2 * part);
                    for x in &mut ahead[1..] {
                        s.prefetch(x.cast(), part * size_of::<Line>());
                        *x = x.wrapping_add(part);
                    }
                    due += units;
                    while due >= places {
                        due -= places;
                        rest.next(to);
                    }
                };
            }
            // Loads take about as long as products: each piece is loaded as seldom as eight tiles allow.
            if N > 2 {
                load_w!(2);
                load_x!(0);
                add!();
            }
            load_w!(1);
            if N < 3 {
                load_x!(0);
            }
            add!();
            if N > 2 {
                load_x!(1);
                add!();
            }
            load_w!(0);
            add!();
            if N < 3 {
                load_x!(1);
            } else {
                load_x!(0);
            }
            add!();
            if N > 2 {
                load_x!(2);
                add!();
            }
        }
        let to = sums.0.as_mut_ptr().cast::<Line>();
        asm!(
            "tilestored [{sums} + {line}], tmm0",
            "tilestored [{sums} + {line} + 1024], tmm1",
            "tilestored [{sums} + {line} + 2048], tmm2",
            "tilestored [{sums} + {line} + 3072], tmm3",
            sums = in(reg) to,
            line = in(reg) 64_usize,
            options(nostack, preserves_flags),
        );
    }
}
