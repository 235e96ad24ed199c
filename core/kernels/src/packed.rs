//! The block formats in the words of [`Simd`]: each knows how a block becomes groups of floats.
//!
//! The layouts are those of [`crate::ggml`], which is also the reference of the tests.
//! Integers with a bias (`q - 8`) are unpacked as unsigned ones; the bias goes into the offset,
//! which is exact since biases are powers of two.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m512i;

use bytemuck::Pod;

#[cfg(target_arch = "x86_64")]
use super::features::Avx512;
use super::simd::Simd;
use crate::ggml::{q3_scales, q4_scales};

/// A block format, known when compiled.
pub(super) trait BlockFormat {
    /// The bytes of one block.
    type Block: Pod;
    /// What all groups of a block of each of four rows need: scales as floats.
    type Scales;
    /// Groups of 32 weights in a block: 1 or 8.
    const GROUPS: usize;
    /// Whether weights are floats as they are computed with.
    const PLAIN: bool;

    fn scales<S: Simd>(s: S, blocks: [&Self::Block; 4]) -> Self::Scales;

    /// The weights `32 * g..32 * g + 32` of `block`, the one of row `r` of the four.
    fn group<S: Simd>(
        s: S,
        block: &Self::Block,
        scales: &Self::Scales,
        r: usize,
        g: usize,
    ) -> S::Group;
}

/// How two groups of a format become unsigned bytes.
#[cfg(target_arch = "x86_64")]
pub(super) trait Pairs: BlockFormat {
    /// What integers are more than they stand for, where that is the same for all. Signed bytes are
    /// taken as unsigned ones, 128 more.
    const BIAS: u8 = 0;

    /// Where in a block its integers lie, if they are 32 signed bytes.
    const SIGNED: Option<usize> = None;

    /// The integers of groups `2 * pair` and `2 * pair + 1` of some blocks, with their bias.
    fn pair(s: Avx512, blocks: &[&Self::Block; 4], pair: usize) -> __m512i;
}

/// What formats know of bytes, where nothing multiplies them.
#[cfg(not(target_arch = "x86_64"))]
pub(super) trait Pairs {}
#[cfg(not(target_arch = "x86_64"))]
impl<P: BlockFormat> Pairs for P {}

/// A block format whose weights are small integers times a scale, plus an offset for some.
pub(super) trait Quants: BlockFormat + Pairs {
    /// Whether a group has a scale for each half.
    const HALVES: bool;
    /// Whether weights have an offset. A bias of the integers is none: the words are without it.
    const OFFSET: bool;

    /// The integers of [`BlockFormat::group`], less their bias.
    fn words<S: Simd>(s: S, block: &Self::Block, g: usize) -> S::Words;

    /// Blocks whose scales stand together: four of one group, or one of eight.
    const UNIT: usize = if Self::GROUPS == 1 { 4 } else { 1 };

    /// The scales and the offsets of the groups of a unit, of which block `r` of the four is the
    /// first; one a group, or one for each half. Offsets are to be looked at where
    /// [`Quants::OFFSET`] says so alone.
    fn lines(scales: &Self::Scales, r: usize) -> [&[f32]; 2];

    /// The scales and the offsets of the halves of group `g` of block `r` of the four.
    #[inline(always)]
    fn factors(scales: &Self::Scales, r: usize, g: usize) -> [[f32; 2]; 2] {
        let [scale, offset] = Self::lines(scales, r / Self::UNIT * Self::UNIT);
        let at = r % Self::UNIT + g;
        match Self::HALVES {
            true => [[scale[2 * at], scale[2 * at + 1]], [offset[2 * at], offset[2 * at + 1]]],
            false => [[scale[at], scale[at]], [offset[at], offset[at]]],
        }
    }
}

/// The `N` bytes from `at` on.
///
/// `N` is constant; where `at` is too, the check goes away.
#[inline(always)]
pub(super) fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    match block.split_at(at).1.split_first_chunk() {
        Some((part, _)) => part,
        None => &[0; N],
    }
}

/// The f16 at `at` of each of four blocks.
#[inline(always)]
fn f16s<S: Simd, const N: usize>(s: S, blocks: [&[u8; N]; 4], at: usize) -> [f32; 4] {
    s.f16s([*part(blocks[0], at), *part(blocks[1], at), *part(blocks[2], at), *part(blocks[3], at)])
}

#[inline(always)]
fn times(by: f32, [a, b, c, d]: [f32; 4]) -> [f32; 4] {
    [by * a, by * b, by * c, by * d]
}

/// A format of one group: its bytes in a block, whether they are F32, its scales, and its weights.
macro_rules! one_group {
    (
        $name:ident, $bytes:literal, plain $plain:literal,
        $scales:ty: |$s:ident, $blocks:pat_param| $make:expr,
        |$block:ident, $given:pat_param, $r:pat_param| $group:expr
    ) => {
        pub(super) struct $name;

        impl BlockFormat for $name {
            type Block = [u8; $bytes];
            type Scales = $scales;
            const GROUPS: usize = 1;
            const PLAIN: bool = $plain;

            #[inline(always)]
            fn scales<S: Simd>($s: S, $blocks: [&Self::Block; 4]) -> $scales {
                let _ = $s;
                $make
            }

            #[inline(always)]
            fn group<S: Simd>(
                $s: S,
                $block: &Self::Block,
                $given: &$scales,
                $r: usize,
                _: usize,
            ) -> S::Group {
                $group
            }
        }
    };
}

// Unpacked formats have blocks of one weight; here they go in groups like all others.
one_group!(F32, 128, plain true, (): |s, _| (), |b, (), _| s.group_f32(b));
one_group!(F16, 64, plain false, (): |s, _| (), |b, (), _| s.group_f16(b));
one_group!(Bf16, 64, plain false, (): |s, _| (), |b, (), _| s.group_bf16(b));

one_group!(Q8_0, 34, plain false, [f32; 4]: |s, b| f16s(s, b, 0), |b, d, r| {
    s.group_i8(part(b, 2), s.splat(d[r]))
});
one_group!(Q4_0, 18, plain false, [[f32; 4]; 2]: |s, b| with_bias(f16s(s, b, 0), 8.0), |b, [d, m], r| {
    s.group_u4(part(b, 2), s.splat(d[r]), s.splat(m[r]))
});
one_group!(Q4_1, 20, plain false, [[f32; 4]; 2]: |s, b| [f16s(s, b, 0), f16s(s, b, 2)], |b, [d, m], r| {
    s.group_u4(part(b, 4), s.splat(d[r]), s.splat(m[r]))
});
one_group!(Q5_0, 22, plain false, [[f32; 4]; 2]: |s, b| with_bias(f16s(s, b, 0), 16.0), |b, [d, m], r| {
    let fifth = u32::from_le_bytes(*part(b, 2));
    s.group_u5(part(b, 6), fifth, s.splat(d[r]), s.splat(m[r]))
});
one_group!(Q5_1, 24, plain false, [[f32; 4]; 2]: |s, b| [f16s(s, b, 0), f16s(s, b, 2)], |b, [d, m], r| {
    let fifth = u32::from_le_bytes(*part(b, 4));
    s.group_u5(part(b, 8), fifth, s.splat(d[r]), s.splat(m[r]))
});

/// Scales, and offsets that take `bias` away from the integers.
#[inline(always)]
fn with_bias(d: [f32; 4], bias: f32) -> [[f32; 4]; 2] {
    [d, times(-bias, d)]
}

/// A format of eight groups: its bytes in a block, its scales made for one row out of the bytes
/// and the f16 of each `at`, and its integers as bytes of which `bias` is to be taken away.
macro_rules! eight_groups {
    (
        $name:ident, $bytes:literal, f16 at [$($at:literal as $d:ident),+],
        $scales:ident: |$s:ident, $block:ident| $make:expr,
        bias $bias:literal, offset $has:literal, |$g:ident| $quants:expr
    ) => {
        pub(super) struct $name;

        impl $name {
            #[inline(always)]
            fn quants<S: Simd>($s: S, $block: &[u8; $bytes], $g: usize) -> S::Bytes {
                $quants
            }
        }

        impl BlockFormat for $name {
            type Block = [u8; $bytes];
            type Scales = [$scales; 4];
            const GROUPS: usize = 8;
            const PLAIN: bool = false;

            #[inline(always)]
            fn scales<S: Simd>($s: S, [a, b, c, d]: [&Self::Block; 4]) -> [$scales; 4] {
                $(let $d = f16s($s, [a, b, c, d], $at);)+
                [
                    { let ($block, $($d),+) = (a, $($d[0]),+); $make },
                    { let ($block, $($d),+) = (b, $($d[1]),+); $make },
                    { let ($block, $($d),+) = (c, $($d[2]),+); $make },
                    { let ($block, $($d),+) = (d, $($d[3]),+); $make },
                ]
            }

            #[inline(always)]
            fn group<S: Simd>(
                s: S,
                block: &Self::Block,
                scales: &[$scales; 4],
                r: usize,
                g: usize,
            ) -> S::Group {
                // By hand: closures would lose the target features.
                let [[a, b], [c, d]] = scales[r].of(g);
                let (scale, offset) = ([s.splat(a), s.splat(b)], [s.splat(c), s.splat(d)]);
                s.group_u8(Self::quants(s, block, g), scale, offset)
            }
        }

        impl Quants for $name {
            const HALVES: bool = $scales::HALVES;
            const OFFSET: bool = $has;

            #[inline(always)]
            fn words<S: Simd>(s: S, block: &Self::Block, g: usize) -> S::Words {
                s.words_u8(Self::quants(s, block, g), $bias)
            }

            #[inline(always)]
            fn lines(scales: &[$scales; 4], r: usize) -> [&[f32]; 2] {
                scales[r].lines()
            }
        }
    };
}

/// Scales and offsets of 16 groups of 16 weights.
#[repr(align(64))]
pub(super) struct Sixteen {
    scale: [f32; 16],
    offset: [f32; 16],
}

impl Sixteen {
    const HALVES: bool = true;

    /// Scales `d * q`, and offsets that take `bias` away from the integers.
    #[inline(always)]
    fn with_bias<S: Simd>(s: S, q: &[u8; 16], d: f32, bias: f32) -> Sixteen {
        Sixteen { scale: s.scaled(q, [d; 2]), offset: s.scaled(q, [-bias * d; 2]) }
    }

    /// The two scales and the two offsets of group `g` of 32.
    #[inline(always)]
    fn of(&self, g: usize) -> [[f32; 2]; 2] {
        let [i, j] = [2 * g, 2 * g + 1];
        [[self.scale[i], self.scale[j]], [self.offset[i], self.offset[j]]]
    }

    #[inline(always)]
    fn lines(&self) -> [&[f32]; 2] {
        [&self.scale, &self.offset]
    }
}

/// Scales of 8 groups of 32 weights, then their offsets.
#[repr(align(64))]
pub(super) struct EightScales([f32; 16]);

impl EightScales {
    const HALVES: bool = false;

    #[inline(always)]
    fn new<S: Simd>(s: S, packed: &[u8; 12], d: f32, dmin: f32) -> EightScales {
        EightScales(s.scaled(&q4_scales(packed), [d, -dmin]))
    }

    /// The scale and the offset of group `g`, for both halves.
    #[inline(always)]
    fn of(&self, g: usize) -> [[f32; 2]; 2] {
        [[self.0[g]; 2], [self.0[g + 8]; 2]]
    }

    #[inline(always)]
    fn lines(&self) -> [&[f32]; 2] {
        let (scale, offset) = self.0.split_at(8);
        [scale, offset]
    }
}

eight_groups!(Q2K, 84, f16 at [80 as d, 82 as dmin], Sixteen: |s, block| {
    let both = u128::from_le_bytes(*part(block, 0));
    let halves = u128::from_le_bytes([15; 16]);
    Sixteen {
        scale: s.scaled(&(both & halves).to_le_bytes(), [d; 2]),
        offset: s.scaled(&(both >> 4 & halves).to_le_bytes(), [-dmin; 2]),
    }
}, bias 0, offset true, |g| {
    let quants = s.bytes(part(block, 16 + g / 4 * 32));
    s.moved::<0>(quants, 2 * (g % 4), 3)
});

eight_groups!(Q3K, 110, f16 at [108 as d], Sixteen: |s, block| {
    Sixteen::with_bias(s, &q3_scales(part(block, 96)), d, 4.0)
}, bias 4, offset false, |g| {
    let low = s.moved::<0>(s.bytes(part(block, 32 + g / 4 * 32)), 2 * (g % 4), 3);
    let high = s.moved::<2>(s.bytes(part(block, 0)), g, 1);
    s.or(low, high)
});

eight_groups!(Q4K, 144, f16 at [0 as d, 2 as dmin], EightScales: |s, block| {
    EightScales::new(s, part(block, 4), d, dmin)
}, bias 0, offset true, |g| {
    s.moved::<0>(s.bytes(part(block, 16 + g / 2 * 32)), 4 * (g % 2), 15)
});

eight_groups!(Q5K, 176, f16 at [0 as d, 2 as dmin], EightScales: |s, block| {
    EightScales::new(s, part(block, 4), d, dmin)
}, bias 0, offset true, |g| {
    let low = s.moved::<0>(s.bytes(part(block, 48 + g / 2 * 32)), 4 * (g % 2), 15);
    let fifth = s.moved::<4>(s.bytes(part(block, 16)), g, 1);
    s.or(low, fifth)
});

eight_groups!(Q6K, 210, f16 at [208 as d], Sixteen: |s, block| {
    Sixteen::with_bias(s, part(block, 192), d, 32.0)
}, bias 32, offset false, |g| {
    let [half, g4] = [g / 4, g % 4];
    let low = s.bytes(part(block, half * 64 + g4 % 2 * 32));
    let low = s.moved::<0>(low, 4 * (g4 / 2), 15);
    let high = s.moved::<4>(s.bytes(part(block, 128 + half * 32)), 2 * g4, 3);
    s.or(low, high)
});

/// [`Quants`] of a format of one group: how words come out of a block, and which of the scales are
/// scales and offsets.
macro_rules! quants {
    (
        $name:ident, offset $offset:literal,
        |$s:ident, $block:ident| $words:expr, |$scales:ident| $lines:expr
    ) => {
        impl Quants for $name {
            const HALVES: bool = false;
            const OFFSET: bool = $offset;

            #[inline(always)]
            fn words<S: Simd>($s: S, $block: &Self::Block, _: usize) -> S::Words {
                $words
            }

            #[inline(always)]
            fn lines($scales: &Self::Scales, _: usize) -> [&[f32]; 2] {
                $lines
            }
        }
    };
}

quants!(Q8_0, offset false, |s, b| s.words_i8(part(b, 2)), |d| [d, d]);
quants!(Q4_0, offset false, |s, b| s.words_u8(s.halves(part(b, 2)), 8), |d| [&d[0], &d[1]]);
quants!(Q4_1, offset true, |s, b| s.words_u8(s.halves(part(b, 4)), 0), |d| [&d[0], &d[1]]);
quants!(Q5_0, offset false, |s, b| {
    let fifth = s.sixteens(u32::from_le_bytes(*part(b, 2)));
    s.words_u8(s.or(s.halves(part(b, 6)), fifth), 16)
}, |d| [&d[0], &d[1]]);
quants!(Q5_1, offset true, |s, b| {
    let fifth = s.sixteens(u32::from_le_bytes(*part(b, 4)));
    s.words_u8(s.or(s.halves(part(b, 8)), fifth), 0)
}, |d| [&d[0], &d[1]]);
