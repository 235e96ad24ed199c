//! Small batches in decoding: five to eight rows of `x` times packed rows, by the tiles of AMX, which
//! multiply bytes.
//!
//! A number of `x` is two signed bytes, `256 * high + low`, as in [`vnni`](super::vnni): the high bytes
//! of eight rows and their low ones are the sixteen columns of a tile. With 16 rows of `w` in signed
//! bytes it gives, group by group, exact sums that become floats and are scaled:
//!
//! ```text
//! 16 rows of w, a unit        --unpack-->    bytes and scales  (in the nearest cache)
//! bytes x columns, a group    --multiply-->  16 x 16 sums      (the same)
//! sums                        --scale-->     a vector of sums for each row, in registers
//! ```
//!
//! All arrows are taken at the same time, each for another group: what was stored cannot be loaded as
//! a tile, nor what a tile has stored as a vector, until it has left the processor's queue of stores.
//! Between two instructions of tiles stand a few dozen of vectors, since the processor takes up
//! nothing else while it takes up the many steps of the one. Where they are stored also matters: a
//! load waits for an earlier store whose address has the same last twelve bits.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::features::Avx512;
use super::packed::{Pairs, Quants};
use super::rounding;
use super::simd::{Simd, first};
use super::sums::Line;
use super::tiles::{TileConfig, Tiles};

/// Rows of a tile.
const TILE: usize = 16;

/// Rows of `x`, of which each is two columns.
pub(super) const COLUMNS: usize = TILE / 2;

/// Groups of 16 rows of `w` whose sums wait to be scaled.
const WAITING: usize = 8;

/// How many groups after its multiplication a group is scaled.
const LATER: usize = 4;

/// A group of up to eight rows of `x`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Group {
    /// Four numbers at a time, the high bytes of each row, then the low ones.
    bytes: [[[i8; 4]; TILE]; 8],
    /// What the sums of each column are multiplied by.
    scales: [f32; TILE],
    /// What the sums of each half of the group stand for; those of the low bytes count as zero.
    halves: [[f32; TILE]; 2],
    /// The same of the whole group.
    sums: [f32; TILE],
}

impl Group {
    pub(super) const ZERO: Group = Group {
        bytes: [[[0; 4]; TILE]; 8],
        scales: [0.0; TILE],
        halves: [[0.0; TILE]; 2],
        sums: [0.0; TILE],
    };

    /// Makes two groups of up to eight rows, or the one that there is.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(s: S, to: &mut [Group], x: [&[[f32; 32]]; COLUMNS]) {
        // Each column's numbers, group after group; those of rows that are not there are zero.
        let mut bytes = [[0_i8; 64]; TILE];
        for g in 0..to.len().min(2) {
            to[g] = Group::ZERO;
            for row in 0..COLUMNS {
                let Some(x) = x[row].get(g) else { continue };
                let mut words = [0; 32];
                let (scale, [low, high]) = s.quantize(x, &mut words);
                [to[g].scales[row], to[g].scales[row + COLUMNS]] = [scale * 256.0, scale];
                [to[g].halves[0][row], to[g].halves[1][row]] = [low, high];
                to[g].sums[row] = low + high;
                let [highs, lows] = rounding::bytes(words);
                bytes[row][g * 32..][..32].copy_from_slice(&highs);
                bytes[row + COLUMNS][g * 32..][..32].copy_from_slice(&lows);
            }
        }
        // Four numbers are as wide as a lane.
        let mut turned = [Line::ZERO; TILE];
        s.transpose(bytemuck::cast_ref(&bytes), bytemuck::cast_slice_mut(&mut turned), TILE);
        for (to, turned) in to.iter_mut().zip(turned.chunks_exact(8)) {
            to.bytes.copy_from_slice(bytemuck::cast_slice(turned));
        }
    }
}

/// Up to eight rows of `x`, group by group.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) tiles: Tiles,
    pub(super) groups: &'a [Group],
}

/// A unit of 16 rows of `w`: a block of eight groups of each, or four blocks of one group.
#[repr(C, align(64))]
struct Unit {
    /// Two groups at a time.
    bytes: [[[u8; 64]; TILE]; 4],
    /// Of blocks of one group for each of them the scales and the offsets of the rows, as they lie.
    halves: [[[u16; TILE]; 4]; 2],
    /// The same as floats; of blocks of eight groups those of each row, a group or half of one after
    /// another.
    scales: [[f32; 16]; TILE],
    offsets: [[f32; 16]; TILE],
    /// So that two parts further on, where bytes are loaded while these are stored, is 2,048 bytes
    /// off, but for whole times 4,096.
    _apart: [[u8; 64]; 12],
}

impl Unit {
    const ZERO: Unit = Unit {
        bytes: [[[0; 64]; TILE]; 4],
        halves: [[[0; TILE]; 4]; 2],
        scales: [[0.0; 16]; TILE],
        offsets: [[0.0; 16]; TILE],
        _apart: [[0; 64]; 12],
    };
}

/// The sums of a group, or of half of one.
type Sums = [[i32; TILE]; TILE];

/// What a thread keeps from call to call.
#[repr(C, align(64))]
struct Scratch {
    /// The unit that is being scaled, the one that is multiplied, and the next two.
    parts: [Unit; 4],
    ints: [Sums; 2 * WAITING],
}

impl Scratch {
    const ZERO: Scratch =
        Scratch { parts: [Unit::ZERO; 4], ints: [[[0; TILE]; TILE]; 2 * WAITING] };
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
    const WHOLE: TileConfig = TileConfig::new([[16, 64], [16, 32], [8, 64]]);
    const HALVES: TileConfig = TileConfig::new([[16, 64], [16, 16], [4, 64]]);
    let config = if P::HALVES { &HALVES } else { &WHOLE };
    SCRATCH.with_borrow_mut(|scratch| {
        let s = x.tiles.vectors();
        // SAFETY: `Tiles` proves the features, and `run` configures the tiles.
        x.tiles.run(config, || unsafe { all::<P>(s, w, row_bytes, x.groups, scratch, out) });
    });
}

/// A unit of all rows.
#[derive(Clone, Copy)]
struct Place {
    /// The first of its 16 rows.
    row: usize,
    unit: usize,
}

impl Place {
    /// Goes to the next one of rows of so many units.
    #[inline(always)]
    fn go(&mut self, units: usize) {
        self.unit += 1;
        if self.unit == units {
            *self = Place { row: self.row + TILE, unit: 0 };
        }
    }
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
    let blocks: &[P::Block] = bytemuck::cast_slice(w);
    let width = row_bytes / size_of::<P::Block>();
    let rows = blocks.len() / width;
    if rows == 0 {
        return;
    }
    let count = const { P::UNIT * P::GROUPS };
    let parts = const { if P::HALVES { 2 } else { 1 } };
    let units = x.len() / count;
    let steps = rows.div_ceil(TILE) * units;
    // Bytes of the next 16 rows that are asked for with each group. In the order of their bytes: a
    // processor waits for few lines at a time, and looks ahead by itself where they follow each
    // other.
    let each = (TILE * row_bytes).div_ceil(x.len().max(1)).next_multiple_of(4);
    let [mut new, mut now, mut old] = [Place { row: 0, unit: 0 }; 3];
    // Where the blocks of 16 rows begin.
    let mut starts = [0; TILE];
    let mut sums = [s.splat(0.0); TILE];
    // Step `t` unpacks unit `t`, multiplies unit `t - 2` and scales what was multiplied before.
    for t in 0..steps + 3 {
        let [unpacks, multiplies, scales] = [t < steps, t >= 2, t >= 3];
        let [fresh, ready, done] = [t % 4, (t + 2) % 4, (t + 1) % 4];
        let base = t * count % WAITING;
        if new.unit == 0 {
            for r in 0..TILE {
                // A row that is not there is the last one again.
                starts[r] = (new.row + r).min(rows - 1) * width;
            }
        }
        let first = new.unit * P::UNIT;
        let whole = first + P::UNIT <= width;
        let copies = P::SIGNED.is_none() || new.row + TILE > rows;
        let ahead = (new.row + TILE) * row_bytes + new.unit * count * each;
        let [x_now, x_old] = [&x[now.unit * count..][..count], &x[old.unit * count..][..count]];
        // Where the bytes of `w` can be loaded as they lie.
        let direct = P::SIGNED.filter(|_| now.row + TILE <= rows);
        macro_rules! group {
            ($g:literal) => {
                // The group before `LATER` others, of this unit or of the one before.
                let slot = (base + $g + WAITING - LATER) % WAITING;
                let early = $g < LATER;
                let waits = if early { scales } else { multiplies && t < steps + 2 };
                let which = (count + $g - LATER) % count;
                let (part, x_then) = if early { (done, x_old) } else { (ready, x_now) };
                // A quarter of what vectors have to do.
                macro_rules! piece {
                    ($i:literal) => {
                        if waits {
                            let ints = &scratch.ints[slot * parts..][..parts];
                            let (w, x) = (&scratch.parts[part], &x_then[which]);
                            scale::<P>(s, ints, w, which, x, 4 * $i, &mut sums);
                        }
                        if unpacks {
                            if count == 4 || $i % 2 == 1 {
                                let r = $g * (TILE / count) + $i * 4 / count;
                                // SAFETY: a row begins at each start, and the blocks are in it.
                                unsafe {
                                    let from = blocks.as_ptr().add(first + starts[r]);
                                    let four = match P::UNIT {
                                        1 => [&*from; 4],
                                        _ if whole => {
                                            [&*from, &*from.add(1), &*from.add(2), &*from.add(3)]
                                        }
                                        _ => {
                                            // One that is not there meets zeros.
                                            let [b, c] = [1, 2].map(|i| match first + i < width {
                                                true => i,
                                                false => 0,
                                            });
                                            [&*from, &*from.add(b), &*from.add(c), &*from]
                                        }
                                    };
                                    scratch.parts[fresh].unpack::<P>(s, r, four, copies);
                                }
                            }
                            let at = ahead + $g * each + $i * each / 4;
                            let [from, to] = [at / 64 * 64, (at + each / 4) / 64 * 64];
                            s.prefetch(w.as_ptr().wrapping_add(from), to - from);
                        }
                    };
                }
                if multiplies {
                    if P::GROUPS == 1 {
                        scratch.parts[ready].widen::<P>($g);
                    }
                    let bytes = (&raw const scratch.parts[ready].bytes[$g / 2]).cast::<u8>();
                    let (bytes, line) = match direct {
                        Some(at) => {
                            // One that is not there meets zeros.
                            let block = now.unit * P::UNIT + $g;
                            let block = if block < width { block } else { now.unit * P::UNIT };
                            let block = now.row * width + block;
                            (w[block * size_of::<P::Block>() + at..].as_ptr(), row_bytes)
                        }
                        None => (bytes.wrapping_add($g % 2 * 32), 64),
                    };
                    let x: *const u8 = (&raw const x_now[$g].bytes).cast();
                    // What is stored is what was multiplied last, what is multiplied is what was
                    // loaded last: nothing waits for what was begun just before.
                    macro_rules! tiles {
                        ($call:expr) => {
                            // SAFETY: the caller's. There are 16 rows of 32 or 16 bytes, `line`
                            // apart, and 8 or 4 lines of `x`.
                            unsafe { $call }
                        };
                    }
                    if P::HALVES {
                        let slot = 2 * ((base + $g + WAITING - 1) % WAITING);
                        tiles!(put(&mut scratch.ints[slot]));
                        piece!(0);
                        tiles!(product());
                        tiles!(take_w(bytes, line));
                        piece!(1);
                        tiles!(take_x(x));
                        tiles!(put(&mut scratch.ints[slot + 1]));
                        piece!(2);
                        tiles!(product());
                        tiles!(take_w(bytes.wrapping_add(16), line));
                        piece!(3);
                        tiles!(take_x(x.wrapping_add(256)));
                    } else {
                        let slot = (base + $g + WAITING - 2) % WAITING;
                        tiles!(put(&mut scratch.ints[slot]));
                        piece!(0);
                        tiles!(product());
                        piece!(1);
                        tiles!(take_w(bytes, line));
                        piece!(2);
                        tiles!(take_x(x));
                        piece!(3);
                    }
                } else {
                    piece!(0);
                    piece!(1);
                    piece!(2);
                    piece!(3);
                }
                if $g + 1 == LATER && scales {
                    if old.unit + 1 == units {
                        write(s, &sums, old.row, out);
                        sums = [s.splat(0.0); TILE];
                    }
                    old.go(units);
                }
            };
        }
        group!(0);
        group!(1);
        group!(2);
        group!(3);
        if count == 8 {
            group!(4);
            group!(5);
            group!(6);
            group!(7);
        }
        if unpacks {
            new.go(units);
        }
        if multiplies {
            now.go(units);
        }
    }
}

/// Stores the last product, and begins another with nothing.
///
/// # Safety
/// Tiles are configured as [`all`] asks for; so for the next three.
#[inline(always)]
unsafe fn put(to: &mut Sums) {
    // SAFETY: the caller's, and there are 16 lines.
    unsafe {
        asm!(
            "tilestored [{to} + {line}], tmm0",
            "tilezero tmm0",
            to = in(reg) to,
            line = in(reg) 64_usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Multiplies what was loaded.
///
/// # Safety
/// As of [`put`].
#[inline(always)]
unsafe fn product() {
    // SAFETY: the caller's.
    unsafe { asm!("tdpbssd tmm0, tmm1, tmm2", options(nostack, preserves_flags)) }
}

/// Loads bytes of 16 rows of `w`, `line` apart.
///
/// # Safety
/// As of [`put`], and they are there.
#[inline(always)]
unsafe fn take_w(w: *const u8, line: usize) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tileloadd tmm1, [{w} + {line}]",
            w = in(reg) w,
            line = in(reg) line,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads the columns of a group, or of half of one.
///
/// # Safety
/// As of [`put`], and they are there.
#[inline(always)]
unsafe fn take_x(x: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tileloadd tmm2, [{x} + {line}]",
            x = in(reg) x,
            line = in(reg) 64_usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds what the sums of group `g` of a unit stand for to those of the columns, for four rows from
/// row `first` on.
#[inline(always)]
fn scale<P: Quants>(
    s: Avx512,
    ints: &[Sums],
    w: &Unit,
    g: usize,
    x: &Group,
    first: usize,
    sums: &mut [__m512; TILE],
) {
    let by = s.load_floats(&x.scales);
    for r in first..first + 4 {
        let low = s.to_floats(s.load_ints(&ints[0][r]));
        let sum = match P::HALVES {
            true => {
                let high = s.to_floats(s.load_ints(&ints[1][r]));
                let low = s.mul(low, s.splat(w.scales[r][2 * g]));
                s.mul_add(high, s.splat(w.scales[r][2 * g + 1]), low)
            }
            false => s.mul(low, s.splat(Unit::factor::<P>(&w.scales, r, g))),
        };
        sums[r] = s.mul_add(sum, by, sums[r]);
    }
    if P::OFFSET && P::HALVES {
        let [low, high] = [s.load_floats(&x.halves[0]), s.load_floats(&x.halves[1])];
        for r in first..first + 4 {
            sums[r] = s.mul_add(s.splat(w.offsets[r][2 * g]), low, sums[r]);
            sums[r] = s.mul_add(s.splat(w.offsets[r][2 * g + 1]), high, sums[r]);
        }
    } else if P::OFFSET {
        let of = s.load_floats(&x.sums);
        for r in first..first + 4 {
            sums[r] = s.mul_add(s.splat(Unit::factor::<P>(&w.offsets, r, g)), of, sums[r]);
        }
    }
}

/// Writes the sums of 16 rows of `w` from row `first` on, or of as many as there are.
#[inline(always)]
fn write(s: Avx512, sums: &[__m512; TILE], first: usize, out: &mut [&mut [f32]]) {
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

impl Unit {
    /// Row `r` out of the blocks of a unit; without the bytes where nothing has to be done to them.
    #[inline(always)]
    fn unpack<P: Pairs + Quants>(
        &mut self,
        s: Avx512,
        r: usize,
        four: [&P::Block; 4],
        copies: bool,
    ) {
        let pairs = if copies { P::UNIT * P::GROUPS / 2 } else { 0 };
        for pair in 0..pairs {
            let q = P::pair(s, &four, pair);
            // SAFETY: the array is as wide as the vector.
            unsafe {
                let q = _mm512_sub_epi8(q, _mm512_set1_epi8(P::BIAS as i8));
                _mm512_store_si512(self.bytes[pair][r].as_mut_ptr().cast(), q);
            }
        }
        if P::GROUPS == 1 {
            // Blocks begin with their scale, then their offset if they have one.
            for i in 0..4 {
                let block = bytemuck::bytes_of(four[i]);
                self.halves[0][i][r] = u16::from_le_bytes(first(block));
                if P::OFFSET {
                    self.halves[1][i][r] = u16::from_le_bytes(first(&block[2..]));
                }
            }
            return;
        }
        let count = P::GROUPS * if P::HALVES { 2 } else { 1 };
        let scales = P::scales(s, four);
        let [scales, offsets] = P::lines(&scales, 0);
        self.scales[r][..count].copy_from_slice(&scales[..count]);
        if P::OFFSET {
            self.offsets[r][..count].copy_from_slice(&offsets[..count]);
        }
    }

    /// Makes floats of the scales and the offsets of blocks of one group.
    #[inline(always)]
    fn widen<P: Quants>(&mut self, g: usize) {
        // SAFETY: the arrays are as wide as the vectors.
        unsafe {
            let from = _mm256_loadu_si256(self.halves[0][g].as_ptr().cast());
            _mm512_storeu_ps(self.scales[g].as_mut_ptr(), _mm512_cvtph_ps(from));
            if P::OFFSET {
                let from = _mm256_loadu_si256(self.halves[1][g].as_ptr().cast());
                _mm512_storeu_ps(self.offsets[g].as_mut_ptr(), _mm512_cvtph_ps(from));
            }
        }
    }

    /// That of row `r` and group `g`.
    #[inline(always)]
    fn factor<P: Quants>(of: &[[f32; 16]; TILE], r: usize, g: usize) -> f32 {
        if P::GROUPS == 1 { of[g][r] } else { of[r][g] }
    }
}
