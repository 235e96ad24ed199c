//! Activations as 16-bit integers, 32 to a scale.

use super::simd::{Kernel, Level, Simd};

/// Rows of `x` in 16 bits: number `i` of a group stands for `words[i] * scale`.
#[derive(Clone, Copy)]
pub(super) struct Quantized<'a> {
    /// `[rows, groups]` of 32.
    pub(super) words: &'a [[i16; 32]],
    /// `[rows, groups]`
    pub(super) scales: &'a [f32],
    /// `[rows, groups]`: the sums of the two halves of a group, as floats.
    pub(super) sums: &'a [[f32; 2]],
    /// Groups in a row.
    pub(super) groups: usize,
}

impl<'a> Quantized<'a> {
    /// The rows from row `first` on.
    #[inline(always)]
    pub(super) fn from_row(self, first: usize) -> Quantized<'a> {
        self.from(first * self.groups)
    }

    /// The rows from group `first` of each on.
    #[inline(always)]
    pub(super) fn from(self, first: usize) -> Quantized<'a> {
        Quantized {
            words: &self.words[first..],
            scales: &self.scales[first..],
            sums: &self.sums[first..],
            groups: self.groups,
        }
    }
}

/// Memory for [`Quantized`], kept from call to call.
#[derive(Default)]
pub(super) struct Buffer {
    words: Vec<[i16; 32]>,
    scales: Vec<f32>,
    sums: Vec<[f32; 2]>,
}

impl Buffer {
    /// Quantizes rows of `k`, a multiple of 32.
    pub(super) fn fill(
        &mut self,
        level: Level,
        pool: &super::pool::Pool,
        x: &[f32],
        k: usize,
    ) -> Quantized<'_> {
        let groups = x.len() / 32;
        self.words.resize(groups.max(self.words.len()), [0; 32]);
        self.scales.resize(groups.max(self.scales.len()), 0.0);
        self.sums.resize(groups.max(self.sums.len()), [0.0; 2]);
        let (x, _) = x.as_chunks();
        let parts = super::Shares::new(
            x.chunks(SHARE)
                .zip(self.words.chunks_mut(SHARE))
                .zip(self.scales.chunks_mut(SHARE).zip(self.sums.chunks_mut(SHARE))),
        );
        pool.run(groups.div_ceil(SHARE), &|_| {
            if let Some(((x, words), (scales, sums))) = parts.next() {
                level.run(Quantize { x, words, scales, sums });
            }
        });
        Quantized {
            words: &self.words[..groups],
            scales: &self.scales[..groups],
            sums: &self.sums[..groups],
            groups: k / 32,
        }
    }
}

/// Groups that a thread quantizes at a time: some 10 us of work.
const SHARE: usize = 1024;

struct Quantize<'a> {
    x: &'a [[f32; 32]],
    words: &'a mut [[i16; 32]],
    scales: &'a mut [f32],
    sums: &'a mut [[f32; 2]],
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let to = self.words.iter_mut().zip(self.scales).zip(self.sums);
        for (x, ((words, scale), sums)) in self.x.iter().zip(to) {
            one(x, words, scale, sums);
        }
    }
}

/// Added to a float below 2^22 in size, it leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn one(x: &[f32; 32], words: &mut [i16; 32], scale: &mut f32, sums: &mut [f32; 2]) {
    // The largest size, found among the bits: so a NaN is larger than all and is not lost.
    let largest = x.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
    let largest = f32::from_bits(largest);
    let by = if largest > 1e-30 { 32767.0 / largest } else { 0.0 };
    *scale = if largest > 1e-30 || largest.is_nan() { largest / 32767.0 } else { 0.0 };
    let mut ints = [0_i32; 32];
    for (int, x) in ints.iter_mut().zip(x) {
        *int = ((x * by + ROUND).to_bits() as i32) - ROUND.to_bits() as i32;
    }
    for (word, int) in words.iter_mut().zip(ints) {
        *word = int as i16;
    }
    let (halves, _) = ints.as_chunks::<16>();
    *sums = [halves[0].iter().sum::<i32>() as f32, halves[1].iter().sum::<i32>() as f32]
        .map(|sum| sum * *scale);
}
