//! Quantized activations: 16-bit integers, 32 to a scale.

use super::level::Level;
use super::pool::{Pool, Shares};
use super::simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::tile_bytes::{COLUMNS, Columns, Group};
use super::tiles::Tiles;
#[cfg(target_arch = "x86_64")]
use super::vnni;

/// The most rows of `x` that the GEMV loops take in integers.
pub(super) const FEW_INTS: usize = 8;

/// Rows of `x` in 16 bits: number `i` of a group stands for `words[i] * scale`.
///
/// Few rows stand beside each other: first group 0 of each, then group 1 of each, so that a group
/// of weights finds all that it is multiplied with in one place. Many rows follow each other.
#[derive(Clone, Copy)]
pub(super) struct Quantized<'a> {
    /// `[groups][rows]` of 32 if beside each other, else `[rows][groups]`.
    pub(super) words: &'a [[i16; 32]],
    /// The scale of each group, in the order of `words`.
    pub(super) scales: &'a [f32],
    /// The sums of the two halves of a group, as floats: `[groups][2][rows]`, else
    /// `[rows][groups][2]`.
    pub(super) sums: &'a [f32],
    /// Groups in a row.
    pub(super) groups: usize,
    /// Few rows in bytes, where the processor multiplies bytes; the others are empty then.
    #[cfg(target_arch = "x86_64")]
    pub(super) eights: &'a [vnni::EightGroups],
    /// The same for tiles.
    #[cfg(target_arch = "x86_64")]
    pub(super) columns: Option<Columns<'a>>,
}

impl<'a> Quantized<'a> {
    /// The rows from row `first` on, of rows that follow each other.
    #[allow(clippy::wrong_self_convention, reason = "rows from there on, not a conversion")]
    #[inline(always)]
    pub(super) fn from_row(self, first: usize) -> Quantized<'a> {
        self.from(first * self.groups)
    }

    /// The rows from group `first` of each on, of rows that follow each other.
    #[inline(always)]
    pub(super) fn from(self, first: usize) -> Quantized<'a> {
        Quantized {
            words: &self.words[first..],
            scales: &self.scales[first..],
            sums: &self.sums[2 * first..],
            ..self
        }
    }

    /// Rows beside each other.
    #[inline(always)]
    pub(super) fn beside<const M: usize>(self) -> Beside<'a, M> {
        let (sums, _) = self.sums.as_chunks();
        Beside {
            words: self.words.as_chunks().0,
            scales: self.scales.as_chunks().0,
            sums: sums.as_chunks().0,
        }
    }
}

/// `M` rows of `x` beside each other, group by group.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a, const M: usize> {
    pub(super) words: &'a [[[i16; 32]; M]],
    pub(super) scales: &'a [[f32; M]],
    /// Of the first halves, then of the second.
    pub(super) sums: &'a [[[f32; M]; 2]],
}

/// As how many rows beside each other the loops take `rows`; 1: they follow each other.
pub(super) fn beside(rows: usize) -> usize {
    match rows {
        0 | 1 => 1,
        2..=4 => 4,
        5..=FEW_INTS => FEW_INTS,
        _ => 1,
    }
}

/// 32 words, aligned to the widest vectors.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Words([i16; 32]);

/// Memory for [`Quantized`], kept from call to call.
#[derive(Default)]
pub(super) struct Buffer {
    words: Vec<Words>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    eights: Vec<vnni::EightGroups>,
    #[cfg(target_arch = "x86_64")]
    columns: Vec<Group>,
}

impl Buffer {
    /// Quantizes rows of `k`, a multiple of 32.
    pub(super) fn fill(
        &mut self,
        (level, tiles): (Level, Option<Tiles>),
        pool: &Pool,
        x: &[f32],
        k: usize,
    ) -> Quantized<'_> {
        let (groups, rows) = (k / 32, x.len() / k);
        let beside = beside(rows);
        let none = Quantized {
            words: &[],
            scales: &[],
            sums: &[],
            groups,
            #[cfg(target_arch = "x86_64")]
            eights: &[],
            #[cfg(target_arch = "x86_64")]
            columns: None,
        };
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = tiles.filter(|_| beside == COLUMNS) {
            // Four blocks of one group are taken at a time.
            let all = groups.next_multiple_of(4);
            self.columns.resize(all.max(self.columns.len()), Group::ZERO);
            let to = &mut self.columns[..all];
            to[groups..].fill(Group::ZERO);
            let (x, _) = x.as_chunks();
            let share = groups.div_ceil(pool.threads()).max(SOME).next_multiple_of(2);
            let parts = Shares::new(to[..groups].chunks_mut(share).enumerate());
            pool.run(groups.div_ceil(share), &|_| {
                if let Some((part, to)) = parts.next() {
                    level.run(Transpose { x, all: groups, first: part * share, to });
                }
            });
            return Quantized { columns: Some(Columns { tiles, groups: to }), ..none };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = tiles;
        #[cfg(target_arch = "x86_64")]
        if matches!(level, Level::Avx512(_)) && rows <= FEW_INTS {
            let all = groups.div_ceil(vnni::GROUPS) * beside;
            self.eights.resize(all.max(self.eights.len()), vnni::EightGroups::ZERO);
            let to = &mut self.eights[..all];
            level.run(Eights { x: x.as_chunks().0, beside, groups, to });
            return Quantized { eights: to, ..none };
        }
        let all = groups * rows.next_multiple_of(beside);
        self.words.resize(all.max(self.words.len()), Words([0; 32]));
        self.scales.resize(all.max(self.scales.len()), 0.0);
        self.sums.resize((2 * all).max(self.sums.len()), 0.0);
        let words: &mut [[i16; 32]] = bytemuck::cast_slice_mut(&mut self.words[..all]);
        let (x, _) = x.as_chunks();
        let parts = Shares::new(
            words
                .chunks_mut(SHARE)
                .zip(self.scales.chunks_mut(SHARE))
                .zip(self.sums.chunks_mut(2 * SHARE))
                .enumerate(),
        );
        pool.run(all.div_ceil(SHARE), &|_| {
            if let Some((part, ((words, scales), sums))) = parts.next() {
                let first = part * SHARE;
                level.run(Quantize { x, first, beside, groups, words, scales, sums });
            }
        });
        Quantized {
            words: bytemuck::cast_slice(&self.words[..all]),
            scales: &self.scales[..all],
            sums: &self.sums[..2 * all],
            ..none
        }
    }
}

/// Groups that a thread quantizes at a time: some 10 us of work. A whole number of any rows beside
/// each other.
const SHARE: usize = 1024;

/// Groups of eight rows that a thread quantizes at least: some 5 us of work.
#[cfg(target_arch = "x86_64")]
const SOME: usize = 16;

#[cfg(target_arch = "x86_64")]
struct Transpose<'a> {
    x: &'a [[f32; 32]],
    /// Groups in a row.
    all: usize,
    /// Those that are wanted, from group `first` of the rows on.
    first: usize,
    to: &'a mut [Group],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Transpose<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transpose { x, all, first, to } = self;
        for (i, to) in to.chunks_mut(2).enumerate() {
            // A row that is not there is empty.
            let mut rows: [&[[f32; 32]]; COLUMNS] = [&[]; COLUMNS];
            for (row, x) in rows.iter_mut().zip(x.chunks_exact(all)) {
                *row = &x[first + 2 * i..];
            }
            Group::fill(s, to, rows);
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Eights<'a> {
    x: &'a [[f32; 32]],
    beside: usize,
    /// Groups in a row.
    groups: usize,
    to: &'a mut [vnni::EightGroups],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Eights<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Eights { x, beside, groups, to } = self;
        for (i, to) in to.chunks_exact_mut(beside).enumerate() {
            for (to, x) in to.iter_mut().zip(x.chunks_exact(groups)) {
                *to = vnni::EightGroups::new(s, &x[vnni::GROUPS * i..]);
            }
        }
    }
}

struct Quantize<'a> {
    x: &'a [[f32; 32]],
    /// Number of the first group to make.
    first: usize,
    beside: usize,
    /// Groups in a row.
    groups: usize,
    words: &'a mut [[i16; 32]],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Quantize { x, first, beside, groups, words, scales, sums } = self;
        for (i, (words, scale)) in words.iter_mut().zip(scales).enumerate() {
            let (at, row) = ((first + i) / beside, (first + i) % beside);
            // A row that is not there is zero.
            let of = if row * groups < x.len() {
                s.quantize(&x[row * groups + at], words)
            } else {
                *words = [0; 32];
                (0.0, [0.0; 2])
            };
            *scale = of.0;
            let to = (i - row) * 2 + row;
            [sums[to], sums[to + beside]] = of.1;
        }
    }
}
