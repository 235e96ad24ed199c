//! The SIMD vocabulary that the products of this folder are written in, once for all processors.
//!
//! A value of a type that implements [`Simd`] is a proof that the processor has its features: it
//! is made by detection alone ([`features`](super::features)). So the methods are safe to call; they
//! read and write through references to arrays, and only the intrinsics inside are `unsafe`.
//!
//! A *group* is 32 consecutive weights of a row as floats. A *vector* is [`Simd::LANES`] floats.
//! Weights are made by `scale * integer + offset` with one rounding, fused or not: the product
//! of an f16 scale, a scale of at most 8 bits and an integer of at most 8 bits is exact in f32 for
//! every format, so all levels give the weights of [`crate::ggml::dequantize`].

#[cfg(target_arch = "x86_64")]
use super::features::Avx512;
use super::rounding::quantize;

/// Rows of `w` in the widest panel.
pub(super) const PANEL_ROWS: usize = 32;

/// The most of [`Simd::TILE`].
pub(super) const MOST: usize = 12;

/// Memory that is asked for while a panel is used.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) from: *const u8,
    /// Lines of 64 bytes for each group of the panel.
    pub(super) lines: usize,
}

impl Ahead {
    /// No memory is asked for.
    pub(super) const NONE: Ahead = Ahead { from: std::ptr::null(), lines: 0 };

    /// Where it begins, and whole lines of it, in bytes, for each turn of a loop that takes four numbers
    /// of a row: a group has eight turns.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn a_turn(self) -> (*const u8, usize) {
        (self.from, (self.lines * 64 / 8).next_multiple_of(64))
    }

    /// The `turn`th of so many parts of what comes after a panel, as long as it is.
    #[inline(always)]
    pub(super) fn part(panel: &[f32], groups: usize, [turn, turns]: [usize; 2]) -> Ahead {
        let bytes = size_of_val(panel);
        let lines = (bytes / groups.max(1) / 64).div_ceil(turns);
        let from = panel.as_ptr().cast::<u8>().wrapping_add(bytes + turn * groups * lines * 64);
        Ahead { from, lines }
    }
}

/// The operations of one instruction set.
pub(super) trait Simd: Copy {
    /// Floats in a vector: divides 16.
    const LANES: usize;
    /// Rows of `x` in a tile of sums of floats ([`super::product`]), at most [`MOST`].
    const TILE: usize;
    /// The same where the sums of a tile are integers that become floats.
    const INT_TILE: usize;
    /// Rows of `x` multiplied with four rows of `w` at once along the width (GEMV), as many sums as
    /// registers hold.
    const DOTS: usize;
    /// A vector of floats.
    type Floats: Copy;
    /// A vector of 32-bit integers.
    type Ints: Copy;
    /// 32 integers of 16 bits.
    type Words: Copy;
    /// A group of 32 floats.
    type Group: Copy;
    /// 32 bytes.
    type Bytes: Copy;

    /// Itself, where a GEMV in integers goes by bytes.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vnni(self) -> Option<Avx512> {
        None
    }

    /// Runs `kernel` with these instructions, as a function of its own.
    fn run<K: Kernel>(self, kernel: K);

    /// Asks for the memory of as many bytes from `from` on. It need not exist.
    #[inline(always)]
    fn prefetch(self, from: *const u8, bytes: usize) {
        let _ = (from, bytes);
    }

    /// The sums of as many rows of `x`, `k` apart, as `to` has (up to [`Self::TILE`]) with a panel, two
    /// vectors a row, where that is known better than [`super::product::tile`].
    #[inline(always)]
    fn rows<'a>(
        self,
        panel: &[f32],
        x: &[f32],
        k: usize,
        next: Ahead,
        to: &'a mut [[f32; PANEL_ROWS]],
    ) -> Option<&'a [[f32; PANEL_ROWS]]> {
        let _ = (panel, x, k, next, to);
        None
    }

    /// The same for later: for the second cache, not the nearest.
    #[inline(always)]
    fn prefetch_far(self, from: *const u8, bytes: usize) {
        let _ = (from, bytes);
    }

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::Floats;
    /// The vector `v` of a group in memory, `v < 32 / LANES`.
    fn load(self, group: &[f32; 32], v: usize) -> Self::Floats;
    /// The same of a group in a file.
    fn load_bytes(self, group: &[u8; 128], v: usize) -> Self::Floats;
    /// `a * b + c`, fused where the processor can.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The sums of the lanes of each. The order is the same for all four.
    fn sums(self, of: [Self::Floats; 4]) -> [f32; 4];

    /// `sum + w * x`, vector after vector of the group.
    fn dot(self, w: Self::Group, x: &[f32; 32], sum: Self::Floats) -> Self::Floats;
    fn store(self, w: Self::Group, to: &mut [f32; 32]);

    /// Four f16 scales.
    fn f16s(self, bits: [[u8; 2]; 4]) -> [f32; 4];
    /// Signed integers as floats, the first eight times `by[0]`, the others times `by[1]`.
    fn scaled(self, q: &[u8; 16], by: [f32; 2]) -> [f32; 16];

    fn group_f32(self, from: &[u8; 128]) -> Self::Group;
    fn group_f16(self, from: &[u8; 64]) -> Self::Group;
    fn group_bf16(self, from: &[u8; 64]) -> Self::Group;
    /// `scale * q`, `q` signed.
    fn group_i8(self, from: &[u8; 32], scale: Self::Floats) -> Self::Group;
    /// `scale * q + offset`: the low halves of the 16 bytes, then their high halves.
    fn group_u4(self, from: &[u8; 16], scale: Self::Floats, offset: Self::Floats) -> Self::Group;
    /// As [`Simd::group_u4`], plus 16 where bit `i` of `fifth` is set.
    fn group_u5(
        self,
        from: &[u8; 16],
        fifth: u32,
        scale: Self::Floats,
        offset: Self::Floats,
    ) -> Self::Group;

    /// `LANES` floats of memory; `from` holds at least as many.
    fn load_floats(self, from: &[f32]) -> Self::Floats;
    /// To the first `LANES` floats of `to`.
    fn store_floats(self, value: Self::Floats, to: &mut [f32]);
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The larger one, or `b` where one of them is no number.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// 32 bytes less `bias`, as words.
    fn words_u8(self, q: Self::Bytes, bias: u8) -> Self::Words;
    /// 32 signed bytes as words.
    fn words_i8(self, from: &[u8; 32]) -> Self::Words;
    /// The low halves of the 16 bytes, then their high halves.
    fn halves(self, from: &[u8; 16]) -> Self::Bytes;
    /// 16 in byte `i` where bit `i` is set.
    fn sixteens(self, bits: u32) -> Self::Bytes;
    fn load_words(self, from: &[i16; 32]) -> Self::Words;
    /// Rounds a group to 16 bits, of which the largest is 32767: the scale, and the sums of the
    /// halves times it.
    #[inline(always)]
    fn quantize(self, x: &[f32; 32], words: &mut [i16; 32]) -> (f32, [f32; 2]) {
        quantize(x, words)
    }
    fn store_words(self, w: Self::Words, to: &mut [i16; 32]);
    /// `sum + scale * (w * x)`, in each lane products of words added. No sum overflows: `w` has
    /// at most 8 bits.
    fn dot_words(
        self,
        w: Self::Words,
        x: Self::Words,
        scale: Self::Floats,
        sum: Self::Floats,
    ) -> Self::Floats;
    /// The same with `scale[0]` for the first half of the words and `scale[1]` for the second.
    fn dot_halves(
        self,
        w: Self::Words,
        x: Self::Words,
        scale: [Self::Floats; 2],
        sum: Self::Floats,
    ) -> Self::Floats;

    fn zero_ints(self) -> Self::Ints;
    /// `LANES` integers of memory; `from` holds at least as many.
    fn load_ints(self, from: &[i32]) -> Self::Ints;
    /// The same pair of words, as one integer, in every lane.
    fn splat_int(self, pair: i32) -> Self::Ints;
    /// `sum + a * b`: in each lane the products of two words, added.
    fn dot_pairs(self, a: Self::Ints, b: Self::Ints, sum: Self::Ints) -> Self::Ints;
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
    /// `to[j * stride + i] = from[i * 16 + j]` for `i < LANES`, `j < 16`.
    fn transpose(self, from: &[i32; 256], to: &mut [i32], stride: usize);
    /// The same of words as pairs, the first `LANES` of `from`.
    #[inline(always)]
    fn transpose_words(self, from: &[Self::Words; 16], to: &mut [i32], stride: usize) {
        let mut square = [0; 256];
        let (rows, _): (&mut [[i32; 16]], _) = square.as_chunks_mut();
        for i in 0..Self::LANES {
            self.store_words(from[i], bytemuck::cast_mut(&mut rows[i]));
        }
        self.transpose(&square, to, stride);
    }

    fn bytes(self, from: &[u8; 32]) -> Self::Bytes;
    /// Every byte moved right by `by` bits, less than 8, then `& mask`; moved left by `LEFT` after.
    fn moved<const LEFT: i32>(self, bytes: Self::Bytes, by: usize, mask: u8) -> Self::Bytes;
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `scale * q + offset`, `q` unsigned, with one scale and offset for each half of the group.
    fn group_u8(
        self,
        q: Self::Bytes,
        scale: [Self::Floats; 2],
        offset: [Self::Floats; 2],
    ) -> Self::Group;
}

/// Work that is compiled once for each instruction set.
///
/// `run` and all that it calls must be `#[inline(always)]`, so that it is compiled with the
/// features of the caller.
pub(super) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// Plain loops over arrays, which compilers turn into whatever vectors the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable;

type Eight = [f32; 8];

#[inline(always)]
fn f16(bits: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bits).to_f32_const()
}

impl Portable {
    #[inline(always)]
    fn affine(self, q: [u8; 32], scale: [Eight; 2], offset: [Eight; 2]) -> [Eight; 4] {
        let mut out = [[0.0; 8]; 4];
        for (i, w) in out.as_flattened_mut().iter_mut().enumerate() {
            *w = scale[i / 16][i % 8] * f32::from(q[i]) + offset[i / 16][i % 8];
        }
        out
    }
}

impl Simd for Portable {
    const LANES: usize = 8;
    const TILE: usize = 4;
    const INT_TILE: usize = 2;
    const DOTS: usize = 1;
    type Floats = Eight;
    type Ints = [i32; 8];
    type Words = [i16; 32];
    type Group = [Eight; 4];
    type Bytes = [u8; 32];

    #[inline(never)]
    fn run<K: Kernel>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Eight {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, group: &[f32; 32], v: usize) -> Eight {
        group.as_chunks().0[v]
    }

    #[inline(always)]
    fn load_bytes(self, group: &[u8; 128], v: usize) -> Eight {
        self.group_f32(group)[v]
    }

    // Not `f32::mul_add`: without hardware that is a call, many times slower.
    #[inline(always)]
    fn mul_add(self, a: Eight, b: Eight, c: Eight) -> Eight {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn sums(self, of: [Eight; 4]) -> [f32; 4] {
        of.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }

    #[inline(always)]
    fn dot(self, w: [Eight; 4], x: &[f32; 32], mut sum: Eight) -> Eight {
        for (w, x) in w.iter().zip(x.as_chunks().0) {
            sum = self.mul_add(*w, *x, sum);
        }
        sum
    }

    #[inline(always)]
    fn store(self, w: [Eight; 4], to: &mut [f32; 32]) {
        to.copy_from_slice(w.as_flattened());
    }

    #[inline(always)]
    fn f16s(self, bits: [[u8; 2]; 4]) -> [f32; 4] {
        bits.map(f16)
    }

    #[inline(always)]
    fn scaled(self, q: &[u8; 16], by: [f32; 2]) -> [f32; 16] {
        std::array::from_fn(|i| by[i / 8] * f32::from(q[i] as i8))
    }

    #[inline(always)]
    fn group_f32(self, from: &[u8; 128]) -> [Eight; 4] {
        let mut out = [[0.0; 8]; 4];
        for (w, b) in out.as_flattened_mut().iter_mut().zip(from.as_chunks().0) {
            *w = f32::from_le_bytes(*b);
        }
        out
    }

    #[inline(always)]
    fn group_f16(self, from: &[u8; 64]) -> [Eight; 4] {
        let mut out = [[0.0; 8]; 4];
        for (w, b) in out.as_flattened_mut().iter_mut().zip(from.as_chunks().0) {
            *w = f16(*b);
        }
        out
    }

    #[inline(always)]
    fn group_bf16(self, from: &[u8; 64]) -> [Eight; 4] {
        let mut out = [[0.0; 8]; 4];
        for (w, b) in out.as_flattened_mut().iter_mut().zip(from.as_chunks().0) {
            *w = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
        }
        out
    }

    #[inline(always)]
    fn group_i8(self, from: &[u8; 32], scale: Eight) -> [Eight; 4] {
        let mut out = [[0.0; 8]; 4];
        for (i, w) in out.as_flattened_mut().iter_mut().enumerate() {
            *w = scale[i % 8] * f32::from(from[i] as i8);
        }
        out
    }

    #[inline(always)]
    fn group_u4(self, from: &[u8; 16], scale: Eight, offset: Eight) -> [Eight; 4] {
        self.group_u5(from, 0, scale, offset)
    }

    #[inline(always)]
    fn group_u5(self, from: &[u8; 16], fifth: u32, scale: Eight, offset: Eight) -> [Eight; 4] {
        let mut q = [0; 32];
        for i in 0..16 {
            q[i] = from[i] & 15 | ((fifth >> i & 1) << 4) as u8;
            q[i + 16] = from[i] >> 4 | ((fifth >> (i + 16) & 1) << 4) as u8;
        }
        self.affine(q, [scale; 2], [offset; 2])
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32]) -> [u8; 32] {
        *from
    }

    #[inline(always)]
    fn moved<const LEFT: i32>(self, bytes: [u8; 32], by: usize, mask: u8) -> [u8; 32] {
        bytes.map(|b| (b >> (by & 7) & mask) << LEFT)
    }

    #[inline(always)]
    fn or(self, mut a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        for (a, b) in a.iter_mut().zip(b) {
            *a |= b;
        }
        a
    }

    #[inline(always)]
    fn group_u8(self, q: [u8; 32], scale: [Eight; 2], offset: [Eight; 2]) -> [Eight; 4] {
        self.affine(q, scale, offset)
    }

    #[inline(always)]
    fn load_floats(self, from: &[f32]) -> Eight {
        first(from)
    }

    #[inline(always)]
    fn store_floats(self, value: Eight, to: &mut [f32]) {
        to[..8].copy_from_slice(&value);
    }

    #[inline(always)]
    fn mul(self, a: Eight, b: Eight) -> Eight {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn add(self, a: Eight, b: Eight) -> Eight {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn max(self, a: Eight, b: Eight) -> Eight {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn words_u8(self, q: [u8; 32], bias: u8) -> [i16; 32] {
        q.map(|q| i16::from(q) - i16::from(bias))
    }

    #[inline(always)]
    fn words_i8(self, from: &[u8; 32]) -> [i16; 32] {
        from.map(|q| i16::from(q as i8))
    }

    #[inline(always)]
    fn halves(self, from: &[u8; 16]) -> [u8; 32] {
        std::array::from_fn(|i| if i < 16 { from[i] & 15 } else { from[i - 16] >> 4 })
    }

    #[inline(always)]
    fn sixteens(self, bits: u32) -> [u8; 32] {
        std::array::from_fn(|i| ((bits >> i & 1) << 4) as u8)
    }

    #[inline(always)]
    fn load_words(self, from: &[i16; 32]) -> [i16; 32] {
        *from
    }

    #[inline(always)]
    fn store_words(self, w: [i16; 32], to: &mut [i16; 32]) {
        *to = w;
    }

    #[inline(always)]
    fn dot_words(self, w: [i16; 32], x: [i16; 32], scale: Eight, sum: Eight) -> Eight {
        self.dot_halves(w, x, [scale; 2], sum)
    }

    #[inline(always)]
    fn dot_halves(self, w: [i16; 32], x: [i16; 32], scale: [Eight; 2], sum: Eight) -> Eight {
        let pair = |i: usize| {
            let product = |i: usize| i32::from(w[i]) * i32::from(x[i]);
            (product(2 * i) + product(2 * i + 1)) as f32
        };
        std::array::from_fn(|i| sum[i] + pair(i) * scale[0][i] + pair(i + 8) * scale[1][i])
    }

    #[inline(always)]
    fn zero_ints(self) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn load_ints(self, from: &[i32]) -> [i32; 8] {
        first(from)
    }

    #[inline(always)]
    fn splat_int(self, pair: i32) -> [i32; 8] {
        [pair; 8]
    }

    #[inline(always)]
    fn dot_pairs(self, a: [i32; 8], b: [i32; 8], sum: [i32; 8]) -> [i32; 8] {
        let low = |v: i32| i32::from(v as i16);
        std::array::from_fn(|i| sum[i] + low(a[i]) * low(b[i]) + (a[i] >> 16) * (b[i] >> 16))
    }

    #[inline(always)]
    fn to_floats(self, ints: [i32; 8]) -> Eight {
        ints.map(|i| i as f32)
    }

    #[inline(always)]
    fn transpose(self, from: &[i32; 256], to: &mut [i32], stride: usize) {
        transpose::<8>(from, to, stride);
    }
}

/// The first `N` of a slice that holds at least as many.
#[inline(always)]
pub(super) fn first<T: Copy, const N: usize>(from: &[T]) -> [T; N] {
    match from.first_chunk() {
        Some(first) => *first,
        None => unreachable!("vectors are loaded from whole panels"),
    }
}

/// [`Simd::transpose`] lane by lane.
#[inline(always)]
pub(super) fn transpose<const LANES: usize>(from: &[i32; 256], to: &mut [i32], stride: usize) {
    for j in 0..16 {
        let to = &mut to[j * stride..][..LANES];
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[i * 16 + j];
        }
    }
}
