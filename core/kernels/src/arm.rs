//! [`Simd`] for 64-bit ARM: NEON.

use std::arch::aarch64::*;

use super::features::Neon;
use super::simd::{Kernel, Simd, first, transpose};

/// Marks intrinsics, which need processor features and, for loads and stores, valid pointers.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: the token `self` is made by `detect` alone, so the processor has NEON. Pointers
        // come from references to arrays of exactly the width of the load or store, which need
        // no alignment.
        unsafe { $($body)* }
    };
}

type Floats = float32x4_t;

impl Neon {
    /// 16 unsigned bytes times the scale, plus the offset.
    #[inline(always)]
    fn affine(self, q: uint8x16_t, scale: Floats, offset: Floats) -> [Floats; 4] {
        intrinsics! {
            let [low, high] = [vmovl_u8(vget_low_u8(q)), vmovl_high_u8(q)];
            [
                vfmaq_f32(offset, vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), scale),
                vfmaq_f32(offset, vcvtq_f32_u32(vmovl_high_u16(low)), scale),
                vfmaq_f32(offset, vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), scale),
                vfmaq_f32(offset, vcvtq_f32_u32(vmovl_high_u16(high)), scale),
            ]
        }
    }

    /// 16 signed bytes times the scale.
    #[inline(always)]
    fn signed(self, q: &[u8; 16], scale: Floats) -> [Floats; 4] {
        intrinsics! {
            let q = vreinterpretq_s8_u8(vld1q_u8(q.as_ptr()));
            let [low, high] = [vmovl_s8(vget_low_s8(q)), vmovl_high_s8(q)];
            [
                vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), scale),
                vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(low)), scale),
                vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), scale),
                vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(high)), scale),
            ]
        }
    }

    /// 16 in byte `i` where bit `i` is set.
    #[inline(always)]
    fn spread_sixteens(self, bits: u16) -> uint8x16_t {
        const ONE: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        let [low, high] = bits.to_le_bytes();
        intrinsics! {
            let spread = vcombine_u8(vdup_n_u8(low), vdup_n_u8(high));
            vandq_u8(vtstq_u8(spread, vld1q_u8(ONE.as_ptr())), vdupq_n_u8(16))
        }
    }
}

#[inline(always)]
fn join([a, b, c, d]: [Floats; 4], [e, f, g, h]: [Floats; 4]) -> [Floats; 8] {
    [a, b, c, d, e, f, g, h]
}

impl Simd for Neon {
    const LANES: usize = 4;
    const TILE: usize = 8;
    const INT_TILE: usize = 4;
    const DOTS: usize = 4;
    type Floats = Floats;
    type Ints = int32x4_t;
    type Words = [int16x8_t; 4];
    type Group = [Floats; 8];
    type Bytes = [uint8x16_t; 2];

    fn run<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "neon")]
        fn inner<K: Kernel>(simd: Neon, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: `self` proves the feature.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        intrinsics! { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn load(self, group: &[f32; 32], v: usize) -> Floats {
        let from: &[f32; 4] = &group.as_chunks().0[v];
        intrinsics! { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_bytes(self, group: &[u8; 128], v: usize) -> float32x4_t {
        let (group, _) = group.as_chunks::<16>();
        intrinsics! { vreinterpretq_f32_u8(vld1q_u8(group[v].as_ptr())) }
    }

    #[inline(always)]
    fn mul_add(self, a: Floats, b: Floats, c: Floats) -> Floats {
        intrinsics! { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn sums(self, [a, b, c, d]: [Floats; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        intrinsics! {
            let sums = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
            vst1q_f32(out.as_mut_ptr(), sums);
        }
        out
    }

    #[inline(always)]
    fn dot(self, w: [Floats; 8], x: &[f32; 32], mut sum: Floats) -> Floats {
        for (v, w) in w.into_iter().enumerate() {
            sum = self.mul_add(w, self.load(x, v), sum);
        }
        sum
    }

    #[inline(always)]
    fn store(self, w: [Floats; 8], to: &mut [f32; 32]) {
        let (to, _): (&mut [[f32; 4]], _) = to.as_chunks_mut();
        for (w, to) in w.into_iter().zip(to) {
            intrinsics! { vst1q_f32(to.as_mut_ptr(), w) }
        }
    }

    #[inline(always)]
    fn f16s(self, bits: [[u8; 2]; 4]) -> [f32; 4] {
        bits.map(|bits| half::f16::from_le_bytes(bits).to_f32())
    }

    #[inline(always)]
    fn scaled(self, q: &[u8; 16], by: [f32; 2]) -> [f32; 16] {
        let [a, b, ..] = self.signed(q, self.splat(by[0]));
        let [.., c, d] = self.signed(q, self.splat(by[1]));
        let mut out = [0.0; 16];
        let (to, _): (&mut [[f32; 4]], _) = out.as_chunks_mut();
        for (w, to) in [a, b, c, d].into_iter().zip(to) {
            intrinsics! { vst1q_f32(to.as_mut_ptr(), w) }
        }
        out
    }

    #[inline(always)]
    fn group_f32(self, from: &[u8; 128]) -> [Floats; 8] {
        let mut out = [self.splat(0.0); 8];
        for (w, from) in out.iter_mut().zip(from.as_chunks::<16>().0) {
            *w = intrinsics! { vreinterpretq_f32_u8(vld1q_u8(from.as_ptr())) };
        }
        out
    }

    // The instruction that converts f16 vectors is not in stable Rust yet.
    #[inline(always)]
    fn group_f16(self, from: &[u8; 64]) -> [Floats; 8] {
        let mut floats = [0.0; 32];
        for (to, from) in floats.iter_mut().zip(from.as_chunks().0) {
            *to = half::f16::from_le_bytes(*from).to_f32();
        }
        let mut out = [self.splat(0.0); 8];
        for (v, w) in out.iter_mut().enumerate() {
            *w = self.load(&floats, v);
        }
        out
    }

    #[inline(always)]
    fn group_bf16(self, from: &[u8; 64]) -> [Floats; 8] {
        let mut out = [self.splat(0.0); 8];
        for (w, from) in out.iter_mut().zip(from.as_chunks::<8>().0) {
            intrinsics! {
                let wide = vmovl_u16(vreinterpret_u16_u8(vld1_u8(from.as_ptr())));
                *w = vreinterpretq_f32_u32(vshlq_n_u32::<16>(wide));
            }
        }
        out
    }

    #[inline(always)]
    fn group_i8(self, from: &[u8; 32], scale: Floats) -> [Floats; 8] {
        let (from, _) = from.as_chunks();
        join(self.signed(&from[0], scale), self.signed(&from[1], scale))
    }

    #[inline(always)]
    fn group_u4(self, from: &[u8; 16], scale: Floats, offset: Floats) -> [Floats; 8] {
        intrinsics! {
            let q = vld1q_u8(from.as_ptr());
            let q = [vandq_u8(q, vdupq_n_u8(15)), vshrq_n_u8::<4>(q)];
            self.group_u8(q, [scale; 2], [offset; 2])
        }
    }

    #[inline(always)]
    fn group_u5(self, from: &[u8; 16], fifth: u32, scale: Floats, offset: Floats) -> [Floats; 8] {
        intrinsics! {
            let q = vld1q_u8(from.as_ptr());
            let q = [vandq_u8(q, vdupq_n_u8(15)), vshrq_n_u8::<4>(q)];
            let q = self.or(q, [self.spread_sixteens(fifth as u16), self.spread_sixteens((fifth >> 16) as u16)]);
            self.group_u8(q, [scale; 2], [offset; 2])
        }
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32]) -> [uint8x16_t; 2] {
        let (from, _) = from.as_chunks::<16>();
        intrinsics! { [vld1q_u8(from[0].as_ptr()), vld1q_u8(from[1].as_ptr())] }
    }

    #[inline(always)]
    fn moved<const LEFT: i32>(
        self,
        bytes: [uint8x16_t; 2],
        by: usize,
        mask: u8,
    ) -> [uint8x16_t; 2] {
        intrinsics! {
            // A shift by a negative number goes to the right.
            let by = vdupq_n_s8(-(by as i8));
            let mask = vdupq_n_u8(mask);
            bytes.map(|bytes| vshlq_n_u8::<LEFT>(vandq_u8(vshlq_u8(bytes, by), mask)))
        }
    }

    #[inline(always)]
    fn or(self, [a, b]: [uint8x16_t; 2], [c, d]: [uint8x16_t; 2]) -> [uint8x16_t; 2] {
        intrinsics! { [vorrq_u8(a, c), vorrq_u8(b, d)] }
    }

    #[inline(always)]
    fn group_u8(
        self,
        [a, b]: [uint8x16_t; 2],
        scale: [Floats; 2],
        offset: [Floats; 2],
    ) -> [Floats; 8] {
        join(self.affine(a, scale[0], offset[0]), self.affine(b, scale[1], offset[1]))
    }

    #[inline(always)]
    fn load_floats(self, from: &[f32]) -> Floats {
        let from: [f32; 4] = first(from);
        intrinsics! { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn store_floats(self, value: Floats, to: &mut [f32]) {
        let to = &mut to[..4];
        intrinsics! { vst1q_f32(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        intrinsics! { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        intrinsics! { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        intrinsics! { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn words_u8(self, q: [uint8x16_t; 2], bias: u8) -> [int16x8_t; 4] {
        intrinsics! {
            let bias = vdupq_n_s8(bias as i8);
            let a = vsubq_s8(vreinterpretq_s8_u8(q[0]), bias);
            let b = vsubq_s8(vreinterpretq_s8_u8(q[1]), bias);
            [
                vmovl_s8(vget_low_s8(a)),
                vmovl_high_s8(a),
                vmovl_s8(vget_low_s8(b)),
                vmovl_high_s8(b),
            ]
        }
    }

    #[inline(always)]
    fn words_i8(self, from: &[u8; 32]) -> [int16x8_t; 4] {
        self.words_u8(self.bytes(from), 0)
    }

    #[inline(always)]
    fn halves(self, from: &[u8; 16]) -> [uint8x16_t; 2] {
        intrinsics! {
            let q = vld1q_u8(from.as_ptr());
            [vandq_u8(q, vdupq_n_u8(15)), vshrq_n_u8::<4>(q)]
        }
    }

    #[inline(always)]
    fn sixteens(self, bits: u32) -> [uint8x16_t; 2] {
        [self.spread_sixteens(bits as u16), self.spread_sixteens((bits >> 16) as u16)]
    }

    #[inline(always)]
    fn load_words(self, from: &[i16; 32]) -> [int16x8_t; 4] {
        let (v, _) = from.as_chunks::<8>();
        intrinsics! {
            [
                vld1q_s16(v[0].as_ptr()),
                vld1q_s16(v[1].as_ptr()),
                vld1q_s16(v[2].as_ptr()),
                vld1q_s16(v[3].as_ptr()),
            ]
        }
    }

    #[inline(always)]
    fn store_words(self, w: [int16x8_t; 4], to: &mut [i16; 32]) {
        let (to, _): (&mut [[i16; 8]], _) = to.as_chunks_mut();
        intrinsics! {
            vst1q_s16(to[0].as_mut_ptr(), w[0]);
            vst1q_s16(to[1].as_mut_ptr(), w[1]);
            vst1q_s16(to[2].as_mut_ptr(), w[2]);
            vst1q_s16(to[3].as_mut_ptr(), w[3]);
        }
    }

    #[inline(always)]
    fn dot_words(self, w: [int16x8_t; 4], x: [int16x8_t; 4], scale: Floats, sum: Floats) -> Floats {
        intrinsics! {
            let mut ints = vdupq_n_s32(0);
            for (w, x) in w.into_iter().zip(x) {
                ints = vmlal_s16(ints, vget_low_s16(w), vget_low_s16(x));
                ints = vmlal_high_s16(ints, w, x);
            }
            vfmaq_f32(sum, vcvtq_f32_s32(ints), scale)
        }
    }

    #[inline(always)]
    fn dot_halves(
        self,
        w: [int16x8_t; 4],
        x: [int16x8_t; 4],
        scale: [Floats; 2],
        sum: Floats,
    ) -> Floats {
        intrinsics! {
            let dot = |a: int16x8_t, b: int16x8_t, sum: int32x4_t| {
                let low = vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b));
                vmlal_high_s16(low, a, b)
            };
            let low = dot(w[1], x[1], dot(w[0], x[0], vdupq_n_s32(0)));
            let high = dot(w[3], x[3], dot(w[2], x[2], vdupq_n_s32(0)));
            let sum = vfmaq_f32(sum, vcvtq_f32_s32(low), scale[0]);
            vfmaq_f32(sum, vcvtq_f32_s32(high), scale[1])
        }
    }

    #[inline(always)]
    fn zero_ints(self) -> int32x4_t {
        intrinsics! { vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn load_ints(self, from: &[i32]) -> int32x4_t {
        let from: [i32; 4] = first(from);
        intrinsics! { vld1q_s32(from.as_ptr()) }
    }

    #[inline(always)]
    fn splat_int(self, pair: i32) -> int32x4_t {
        intrinsics! { vdupq_n_s32(pair) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: int32x4_t, b: int32x4_t, sum: int32x4_t) -> int32x4_t {
        intrinsics! {
            let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, b)))
        }
    }

    #[inline(always)]
    fn to_floats(self, ints: int32x4_t) -> Floats {
        intrinsics! { vcvtq_f32_s32(ints) }
    }

    #[inline(always)]
    fn transpose(self, from: &[i32; 256], to: &mut [i32], stride: usize) {
        transpose::<4>(from, to, stride);
    }
}
