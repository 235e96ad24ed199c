//! The block formats in the words of [`Simd`]: each knows how a block becomes groups of floats.
//!
//! The layouts are those of [`crate::quant::ggml`], which is also the reference of the tests.
//! Integers with a bias (`q - 8`) are unpacked as unsigned ones; the bias goes into the offset,
//! which is exact since biases are powers of two.

use bytemuck::Pod;

use super::simd::Simd;
use crate::quant::ggml::{q3_scales, q4_scales};

/// A block format, known when compiled.
pub(super) trait Packed {
    /// The bytes of one block.
    type Block: Pod;
    /// What all groups of a block need: scales as floats.
    type Scales;
    /// Groups of 32 weights in a block: 1 or 8.
    const GROUPS: usize;

    fn scales<S: Simd>(s: S, block: &Self::Block) -> Self::Scales;

    /// The weights `32 * g..32 * g + 32` of the block.
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Self::Scales, g: usize) -> S::Group;
}

/// The `N` bytes from `at` on.
///
/// Both are constants wherever this is called, so that the check goes away.
#[inline(always)]
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    match block.split_at(at).1.split_first_chunk() {
        Some((part, _)) => part,
        None => &[0; N],
    }
}

#[inline(always)]
fn f16_at<S: Simd>(s: S, block: &[u8], at: usize) -> f32 {
    s.f16(*part(block, at))
}

/// A block of one group whose weights need no more than the block itself.
macro_rules! one_group {
    ($name:ident, $bytes:literal, |$s:ident, $block:ident| $group:expr) => {
        pub(super) struct $name;

        impl Packed for $name {
            type Block = [u8; $bytes];
            type Scales = ();
            const GROUPS: usize = 1;

            #[inline(always)]
            fn scales<S: Simd>(_: S, _: &Self::Block) {}

            #[inline(always)]
            fn group<S: Simd>($s: S, $block: &Self::Block, (): &(), _: usize) -> S::Group {
                $group
            }
        }
    };
}

// Unpacked formats have blocks of one weight; here they go in groups like all others.
one_group!(F32, 128, |s, b| s.group_f32(b));
one_group!(F16, 64, |s, b| s.group_f16(b));
one_group!(Bf16, 64, |s, b| s.group_bf16(b));

one_group!(Q4_0, 18, |s, b| {
    let d = s.splat_f16(*part(b, 0));
    s.group_u4(part(b, 2), d, s.mul(d, s.splat(-8.0)))
});
one_group!(Q4_1, 20, |s, b| {
    s.group_u4(part(b, 4), s.splat_f16(*part(b, 0)), s.splat_f16(*part(b, 2)))
});
one_group!(Q5_0, 22, |s, b| {
    let d = s.splat_f16(*part(b, 0));
    s.group_u5(part(b, 6), u32::from_le_bytes(*part(b, 2)), d, s.mul(d, s.splat(-16.0)))
});
one_group!(Q5_1, 24, |s, b| {
    let fifth = u32::from_le_bytes(*part(b, 4));
    s.group_u5(part(b, 8), fifth, s.splat_f16(*part(b, 0)), s.splat_f16(*part(b, 2)))
});
one_group!(Q8_0, 34, |s, b| s.group_i8(part(b, 2), s.splat_f16(*part(b, 0))));

/// Scales and offsets of 16 groups of 16 weights.
pub(super) struct Sixteen {
    scale: [f32; 16],
    offset: [f32; 16],
}

impl Sixteen {
    /// Scales `d * q`, and offsets that take `bias` away from the integers.
    #[inline(always)]
    fn with_bias<S: Simd>(s: S, q: &[u8; 16], d: f32, bias: f32) -> Sixteen {
        Sixteen { scale: s.scaled(q, [d; 2]), offset: s.scaled(q, [-bias * d; 2]) }
    }

    /// The two scales and the two offsets of group `g` of 32.
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, g: usize) -> ([S::Floats; 2], [S::Floats; 2]) {
        let [i, j] = [2 * g, 2 * g + 1];
        (
            [s.splat(self.scale[i]), s.splat(self.scale[j])],
            [s.splat(self.offset[i]), s.splat(self.offset[j])],
        )
    }
}

/// Scales of 8 groups of 32 weights, then their offsets.
pub(super) struct Eight([f32; 16]);

impl Eight {
    #[inline(always)]
    fn new<S: Simd>(s: S, block: &[u8]) -> Eight {
        let [d, dmin] = [f16_at(s, block, 0), f16_at(s, block, 2)];
        Eight(s.scaled(&q4_scales(part(block, 4)), [d, -dmin]))
    }

    /// The scale and the offset of group `g`.
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, g: usize) -> (S::Floats, S::Floats) {
        (s.splat(self.0[g]), s.splat(self.0[g + 8]))
    }
}

pub(super) struct Q2K;

impl Packed for Q2K {
    type Block = [u8; 84];
    type Scales = Sixteen;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Sixteen {
        let [d, dmin] = [f16_at(s, block, 80), f16_at(s, block, 82)];
        let both = u128::from_le_bytes(*part(block, 0));
        let halves = u128::from_le_bytes([15; 16]);
        Sixteen {
            scale: s.scaled(&(both & halves).to_le_bytes(), [d; 2]),
            offset: s.scaled(&(both >> 4 & halves).to_le_bytes(), [-dmin; 2]),
        }
    }

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Sixteen, g: usize) -> S::Group {
        let quants = s.bytes(part(block, 16 + g / 4 * 32));
        let (scale, offset) = scales.of(s, g);
        s.group_u8(s.moved(quants, -2 * (g as i32 % 4), 3), scale, offset)
    }
}

pub(super) struct Q3K;

impl Packed for Q3K {
    type Block = [u8; 110];
    type Scales = Sixteen;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Sixteen {
        Sixteen::with_bias(s, &q3_scales(part(block, 96)), f16_at(s, block, 108), 4.0)
    }

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Sixteen, g: usize) -> S::Group {
        let low = s.moved(s.bytes(part(block, 32 + g / 4 * 32)), -2 * (g as i32 % 4), 3);
        let high = s.moved(s.bytes(part(block, 0)), 2 - g as i32, 4);
        let (scale, offset) = scales.of(s, g);
        s.group_u8(s.or(low, high), scale, offset)
    }
}

pub(super) struct Q4K;

impl Packed for Q4K {
    type Block = [u8; 144];
    type Scales = Eight;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Eight {
        Eight::new(s, block)
    }

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Eight, g: usize) -> S::Group {
        let quants = part(block, 16 + g / 2 * 32);
        let (scale, offset) = scales.of(s, g);
        s.group_half(quants, 4 * (g as i32 % 2), scale, offset)
    }
}

pub(super) struct Q5K;

impl Packed for Q5K {
    type Block = [u8; 176];
    type Scales = Eight;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Eight {
        Eight::new(s, block)
    }

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Eight, g: usize) -> S::Group {
        let low = s.moved(s.bytes(part(block, 48 + g / 2 * 32)), -4 * (g as i32 % 2), 15);
        let fifth = s.moved(s.bytes(part(block, 16)), 4 - g as i32, 16);
        let (scale, offset) = scales.of(s, g);
        s.group_u8(s.or(low, fifth), [scale; 2], [offset; 2])
    }
}

pub(super) struct Q6K;

impl Packed for Q6K {
    type Block = [u8; 210];
    type Scales = Sixteen;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Sixteen {
        Sixteen::with_bias(s, part(block, 192), f16_at(s, block, 208), 32.0)
    }
        out
    }

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &Self::Block, scales: &Sixteen, g: usize) -> S::Group {
        let [half, g4] = [g / 4, g % 4];
        let low = s.bytes(part(block, half * 64 + g4 % 2 * 32));
        let low = s.moved(low, -4 * (g4 as i32 / 2), 15);
        let high = s.moved(s.bytes(part(block, 128 + half * 32)), 4 - 2 * g4 as i32, 48);
        let (scale, offset) = scales.of(s, g);
        s.group_u8(s.or(low, high), scale, offset)
    }
}
