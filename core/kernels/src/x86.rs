//! [`Simd`] for x86-64: AVX2 with FMA and F16C, and AVX-512 (F, BW, DQ, VL, VNNI).

use std::arch::x86_64::*;

use super::features::{Avx2, Avx512};
use super::rounding::scales;
use super::simd::{Ahead, Kernel, PANEL_ROWS, Simd, first};
use super::wide;

/// Marks intrinsics, which need processor features and, for loads and stores, valid pointers.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: the token `self` is made by `detect` alone, so the processor has the features.
        // Pointers come from references to arrays of exactly the width of the load or store,
        // which are the unaligned kinds.
        unsafe { $($body)* }
    };
}

impl Avx2 {
    /// The 16 bytes as low halves, then high halves.
    #[inline(always)]
    fn both_halves(self, from: &[u8; 16]) -> __m256i {
        intrinsics! {
            let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.as_ptr().cast()));
            // Bits from the neighbouring byte come in above and are masked off.
            let shifted = _mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 0, 4, 4));
            _mm256_and_si256(shifted, _mm256_set1_epi8(15))
        }
    }

    /// 16 in byte `i` where bit `i` is set.
    #[inline(always)]
    fn spread_sixteens(self, bits: u32) -> __m256i {
        intrinsics! {
            let spread = _mm256_shuffle_epi8(
                _mm256_set1_epi32(bits as i32),
                _mm256_setr_epi64x(
                    0,
                    0x0101_0101_0101_0101,
                    0x0202_0202_0202_0202,
                    0x0303_0303_0303_0303,
                ),
            );
            let one = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, one), one);
            _mm256_and_si256(set, _mm256_set1_epi8(16))
        }
    }

    #[inline(always)]
    fn bf16(self, from: &[u8; 16]) -> __m256 {
        intrinsics! {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn i8(self, from: &[u8; 8], scale: __m256) -> __m256 {
        intrinsics! {
            let wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()));
            _mm256_mul_ps(_mm256_cvtepi32_ps(wide), scale)
        }
    }

    /// Four times eight unsigned bytes as floats.
    #[inline(always)]
    fn widen(self, q: __m256i) -> [__m256; 4] {
        intrinsics! {
            let [low, high] = [_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q)];
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(low, low))),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(high, high))),
            ]
        }
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE: usize = 6;
    const INT_TILE: usize = 3;
    const DOTS: usize = 3;
    type Floats = __m256;
    type Ints = __m256i;
    type Words = [__m256i; 2];
    type Group = [__m256; 4];
    type Bytes = __m256i;

    fn run<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(simd: Avx2, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: `self` proves the features.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8, bytes: usize) {
        for at in (0..bytes).step_by(64) {
            // A prefetch reads nothing and faults nowhere.
            intrinsics! { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at).cast()) }
        }
    }

    #[inline(always)]
    fn prefetch_far(self, from: *const u8, bytes: usize) {
        for at in (0..bytes).step_by(64) {
            // As above.
            intrinsics! { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(at).cast()) }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        intrinsics! { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, group: &[f32; 32], v: usize) -> __m256 {
        let from: &[f32; 8] = &group.as_chunks().0[v];
        intrinsics! { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_bytes(self, group: &[u8; 128], v: usize) -> __m256 {
        let (group, _) = group.as_chunks::<32>();
        intrinsics! { _mm256_loadu_ps(group[v].as_ptr().cast()) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        intrinsics! { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        intrinsics! {
            let all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sum = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
            _mm_storeu_ps(out.as_mut_ptr(), sum);
        }
        out
    }

    #[inline(always)]
    fn dot(self, w: [__m256; 4], x: &[f32; 32], mut sum: __m256) -> __m256 {
        sum = self.mul_add(w[0], self.load(x, 0), sum);
        sum = self.mul_add(w[1], self.load(x, 1), sum);
        sum = self.mul_add(w[2], self.load(x, 2), sum);
        sum = self.mul_add(w[3], self.load(x, 3), sum);
        sum
    }

    #[inline(always)]
    fn store(self, w: [__m256; 4], to: &mut [f32; 32]) {
        let (to, _): (&mut [[f32; 8]], _) = to.as_chunks_mut();
        intrinsics! {
            _mm256_storeu_ps(to[0].as_mut_ptr(), w[0]);
            _mm256_storeu_ps(to[1].as_mut_ptr(), w[1]);
            _mm256_storeu_ps(to[2].as_mut_ptr(), w[2]);
            _mm256_storeu_ps(to[3].as_mut_ptr(), w[3]);
        }
    }

    #[inline(always)]
    fn f16s(self, [a, b, c, d]: [[u8; 2]; 4]) -> [f32; 4] {
        // Put together by the integer units, which have nothing else to do.
        let [a, b] = [u16::from_le_bytes(a), u16::from_le_bytes(b)].map(i64::from);
        let [c, d] = [u16::from_le_bytes(c), u16::from_le_bytes(d)].map(i64::from);
        let bits = a | b << 16 | c << 32 | d << 48;
        let mut out = [0.0; 4];
        intrinsics! { _mm_storeu_ps(out.as_mut_ptr(), _mm_cvtph_ps(_mm_cvtsi64_si128(bits))) }
        out
    }

    #[inline(always)]
    fn scaled(self, q: &[u8; 16], by: [f32; 2]) -> [f32; 16] {
        let mut out = [0.0; 16];
        let (q, _) = q.as_chunks();
        let (to, _): (&mut [[f32; 8]], _) = out.as_chunks_mut();
        intrinsics! {
            _mm256_storeu_ps(to[0].as_mut_ptr(), self.i8(&q[0], _mm256_set1_ps(by[0])));
            _mm256_storeu_ps(to[1].as_mut_ptr(), self.i8(&q[1], _mm256_set1_ps(by[1])));
        }
        out
    }

    #[inline(always)]
    fn group_f32(self, from: &[u8; 128]) -> [__m256; 4] {
        let (v, _) = from.as_chunks::<32>();
        intrinsics! {
            [
                _mm256_loadu_ps(v[0].as_ptr().cast()),
                _mm256_loadu_ps(v[1].as_ptr().cast()),
                _mm256_loadu_ps(v[2].as_ptr().cast()),
                _mm256_loadu_ps(v[3].as_ptr().cast()),
            ]
        }
    }

    #[inline(always)]
    fn group_f16(self, from: &[u8; 64]) -> [__m256; 4] {
        let (v, _) = from.as_chunks::<16>();
        intrinsics! {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(v[0].as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(v[1].as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(v[2].as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(v[3].as_ptr().cast())),
            ]
        }
    }

    #[inline(always)]
    fn group_bf16(self, from: &[u8; 64]) -> [__m256; 4] {
        let (v, _) = from.as_chunks::<16>();
        [self.bf16(&v[0]), self.bf16(&v[1]), self.bf16(&v[2]), self.bf16(&v[3])]
    }

    #[inline(always)]
    fn group_i8(self, from: &[u8; 32], scale: __m256) -> [__m256; 4] {
        let (v, _) = from.as_chunks::<8>();
        [self.i8(&v[0], scale), self.i8(&v[1], scale), self.i8(&v[2], scale), self.i8(&v[3], scale)]
    }

    #[inline(always)]
    fn group_u4(self, from: &[u8; 16], scale: __m256, offset: __m256) -> [__m256; 4] {
        self.group_u8(self.both_halves(from), [scale; 2], [offset; 2])
    }

    #[inline(always)]
    fn group_u5(self, from: &[u8; 16], fifth: u32, scale: __m256, offset: __m256) -> [__m256; 4] {
        let q = self.or(self.both_halves(from), self.spread_sixteens(fifth));
        self.group_u8(q, [scale; 2], [offset; 2])
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32]) -> __m256i {
        intrinsics! { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn moved<const LEFT: i32>(self, bytes: __m256i, by: usize, mask: u8) -> __m256i {
        intrinsics! {
            // There is no shift of bytes: what comes from the neighbour is masked off, and what
            // the mask leaves has room to the left.
            let moved = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(by as i32));
            let kept = _mm256_and_si256(moved, _mm256_set1_epi8((mask & (0xff >> LEFT)) as i8));
            _mm256_slli_epi16::<LEFT>(kept)
        }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        intrinsics! { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn group_u8(self, q: __m256i, scale: [__m256; 2], offset: [__m256; 2]) -> [__m256; 4] {
        let [a, b, c, d] = self.widen(q);
        intrinsics! {
            [
                _mm256_fmadd_ps(a, scale[0], offset[0]),
                _mm256_fmadd_ps(b, scale[0], offset[0]),
                _mm256_fmadd_ps(c, scale[1], offset[1]),
                _mm256_fmadd_ps(d, scale[1], offset[1]),
            ]
        }
    }

    #[inline(always)]
    fn load_floats(self, from: &[f32]) -> __m256 {
        let from: [f32; 8] = first(from);
        intrinsics! { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store_floats(self, value: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        intrinsics! { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        intrinsics! { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        intrinsics! { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        intrinsics! { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn words_u8(self, q: __m256i, bias: u8) -> [__m256i; 2] {
        intrinsics! {
            let q = _mm256_sub_epi8(q, _mm256_set1_epi8(bias as i8));
            [
                _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q)),
                _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(q)),
            ]
        }
    }

    #[inline(always)]
    fn words_i8(self, from: &[u8; 32]) -> [__m256i; 2] {
        self.words_u8(self.bytes(from), 0)
    }

    #[inline(always)]
    fn halves(self, from: &[u8; 16]) -> __m256i {
        self.both_halves(from)
    }

    #[inline(always)]
    fn sixteens(self, bits: u32) -> __m256i {
        self.spread_sixteens(bits)
    }

    #[inline(always)]
    fn load_words(self, from: &[i16; 32]) -> [__m256i; 2] {
        let (v, _) = from.as_chunks::<16>();
        intrinsics! {
            [
                _mm256_loadu_si256(v[0].as_ptr().cast()),
                _mm256_loadu_si256(v[1].as_ptr().cast()),
            ]
        }
    }

    #[inline(always)]
    fn store_words(self, w: [__m256i; 2], to: &mut [i16; 32]) {
        let (to, _): (&mut [[i16; 16]], _) = to.as_chunks_mut();
        intrinsics! {
            _mm256_storeu_si256(to[0].as_mut_ptr().cast(), w[0]);
            _mm256_storeu_si256(to[1].as_mut_ptr().cast(), w[1]);
        }
    }

    #[inline(always)]
    fn quantize(self, x: &[f32; 32], words: &mut [i16; 32]) -> (f32, [f32; 2]) {
        let (x, _): (&[[f32; 8]], _) = x.as_chunks();
        let (to, _): (&mut [[i16; 16]], _) = words.as_chunks_mut();
        intrinsics! {
            let mut v = [_mm256_setzero_ps(); 4];
            let mut most = _mm256_setzero_si256();
            for i in 0..4 {
                v[i] = _mm256_loadu_ps(x[i].as_ptr());
                let size = _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(i32::MAX));
                most = _mm256_max_epu32(most, size);
            }
            let most = _mm_max_epu32(
                _mm256_castsi256_si128(most),
                _mm256_extracti128_si256::<1>(most),
            );
            let most = _mm_max_epu32(most, _mm_shuffle_epi32::<0b01_00_11_10>(most));
            let most = _mm_max_epu32(most, _mm_shuffle_epi32::<0b10_11_00_01>(most));
            let [scale, by] = scales(f32::from_bits(_mm_cvtsi128_si32(most) as u32));
            let by = _mm256_set1_ps(by);
            let mut sums = [0.0; 2];
            for half in 0..2 {
                let low = _mm256_cvtps_epi32(_mm256_mul_ps(v[2 * half], by));
                let high = _mm256_cvtps_epi32(_mm256_mul_ps(v[2 * half + 1], by));
                let words = _mm256_packs_epi32(low, high);
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                _mm256_storeu_si256(to[half].as_mut_ptr().cast(), words);
                let sum = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
                let sum = _mm_add_epi32(
                    _mm256_castsi256_si128(sum),
                    _mm256_extracti128_si256::<1>(sum),
                );
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
                sums[half] = _mm_cvtsi128_si32(sum) as f32 * scale;
            }
            (scale, sums)
        }
    }

    #[inline(always)]
    fn dot_words(self, w: [__m256i; 2], x: [__m256i; 2], scale: __m256, sum: __m256) -> __m256 {
        intrinsics! {
            let both = _mm256_add_epi32(
                _mm256_madd_epi16(w[0], x[0]),
                _mm256_madd_epi16(w[1], x[1]),
            );
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(both), scale, sum)
        }
    }

    #[inline(always)]
    fn dot_halves(
        self,
        w: [__m256i; 2],
        x: [__m256i; 2],
        scale: [__m256; 2],
        sum: __m256,
    ) -> __m256 {
        intrinsics! {
            let low = _mm256_cvtepi32_ps(_mm256_madd_epi16(w[0], x[0]));
            let high = _mm256_cvtepi32_ps(_mm256_madd_epi16(w[1], x[1]));
            _mm256_fmadd_ps(high, scale[1], _mm256_fmadd_ps(low, scale[0], sum))
        }
    }

    #[inline(always)]
    fn zero_ints(self) -> __m256i {
        intrinsics! { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn load_ints(self, from: &[i32]) -> __m256i {
        let from: [i32; 8] = first(from);
        intrinsics! { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_int(self, pair: i32) -> __m256i {
        intrinsics! { _mm256_set1_epi32(pair) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        intrinsics! { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn to_floats(self, ints: __m256i) -> __m256 {
        intrinsics! { _mm256_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    fn transpose(self, from: &[i32; 256], to: &mut [i32], stride: usize) {
        let (rows, _) = from.as_chunks::<8>();
        for half in 0..2 {
            intrinsics! {
                // Loops, as closures lose the features of the function around them.
                let mut r = [_mm256_setzero_si256(); 8];
                for i in 0..8 {
                    r[i] = _mm256_loadu_si256(rows[2 * i + half].as_ptr().cast());
                }
                // Pairs of rows, then fours within each half, then halves.
                let mut two = r;
                for i in [0, 2, 4, 6] {
                    two[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
                    two[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
                }
                // four[4 b + c]: column 4 h + c of rows 4 b.. in half h.
                let mut four = two;
                for i in [0, 1, 4, 5] {
                    let to = i / 4 * 4 + i % 4 * 2;
                    four[to] = _mm256_unpacklo_epi64(two[i], two[i + 2]);
                    four[to + 1] = _mm256_unpackhi_epi64(two[i], two[i + 2]);
                }
                for c in 0..4 {
                    let columns = [
                        _mm256_permute2x128_si256::<0x20>(four[c], four[c + 4]),
                        _mm256_permute2x128_si256::<0x31>(four[c], four[c + 4]),
                    ];
                    for (h, column) in columns.into_iter().enumerate() {
                        let to = &mut to[(8 * half + 4 * h + c) * stride..][..8];
                        _mm256_storeu_si256(to.as_mut_ptr().cast(), column);
                    }
                }
            }
        }
    }
}

impl Avx512 {
    /// `scale * i + offset` for `i` in 0..16: a look-up takes the place of four operations.
    #[inline(always)]
    fn table(self, scale: __m512, offset: __m512) -> __m512 {
        intrinsics! {
            let i = _mm512_setr_ps(
                0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.,
            );
            _mm512_fmadd_ps(i, scale, offset)
        }
    }

    #[inline(always)]
    fn bf16(self, from: &[u8; 32]) -> __m512 {
        intrinsics! {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn i8(self, from: &[u8; 16], scale: __m512) -> __m512 {
        intrinsics! {
            let wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm512_mul_ps(_mm512_cvtepi32_ps(wide), scale)
        }
    }

    /// The halves of `a` and of `b`, each added up: what were quarters of two vectors are halves
    /// of one.
    #[inline(always)]
    fn fold(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! {
            let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
            _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
        }
    }

    /// 16 unsigned bytes in 32 bits each.
    #[inline(always)]
    fn widen(self, from: &[u8; 16]) -> __m512i {
        intrinsics! { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())) }
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE: usize = 12;
    const INT_TILE: usize = 8;
    const DOTS: usize = 4;
    type Floats = __m512;
    type Ints = __m512i;
    type Words = __m512i;
    type Group = [__m512; 2];
    type Bytes = __m256i;

    #[inline(always)]
    fn vnni(self) -> Option<Avx512> {
        Some(self)
    }

    fn run<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn inner<K: Kernel>(simd: Avx512, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: `self` proves the features.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8, bytes: usize) {
        self.avx2().prefetch(from, bytes);
    }

    #[inline(always)]
    fn rows<'a>(
        self,
        panel: &[f32],
        x: &[f32],
        k: usize,
        next: Ahead,
        to: &'a mut [[f32; PANEL_ROWS]],
    ) -> Option<&'a [[f32; PANEL_ROWS]]> {
        wide::rows(self, panel, x, k, next, to);
        Some(to)
    }

    #[inline(always)]
    fn prefetch_far(self, from: *const u8, bytes: usize) {
        self.avx2().prefetch_far(from, bytes);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        intrinsics! { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, group: &[f32; 32], v: usize) -> __m512 {
        let from: &[f32; 16] = &group.as_chunks().0[v];
        intrinsics! { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_bytes(self, group: &[u8; 128], v: usize) -> __m512 {
        let (group, _) = group.as_chunks::<64>();
        intrinsics! { _mm512_loadu_ps(group[v].as_ptr().cast()) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics! { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        let [ab, cd] = [self.fold(a, b), self.fold(c, d)];
        intrinsics! {
            let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
            let all = _mm512_add_ps(even, _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
            let all = _mm512_add_ps(all, _mm512_permute_ps::<0b01_00_11_10>(all));
            let all = _mm512_add_ps(all, _mm512_permute_ps::<0b10_11_00_01>(all));
            let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(first, all));
            _mm_storeu_ps(out.as_mut_ptr(), sums);
        }
        out
    }

    #[inline(always)]
    fn dot(self, w: [__m512; 2], x: &[f32; 32], mut sum: __m512) -> __m512 {
        sum = self.mul_add(w[0], self.load(x, 0), sum);
        sum = self.mul_add(w[1], self.load(x, 1), sum);
        sum
    }

    #[inline(always)]
    fn store(self, w: [__m512; 2], to: &mut [f32; 32]) {
        let (to, _): (&mut [[f32; 16]], _) = to.as_chunks_mut();
        intrinsics! {
            _mm512_storeu_ps(to[0].as_mut_ptr(), w[0]);
            _mm512_storeu_ps(to[1].as_mut_ptr(), w[1]);
        }
    }

    #[inline(always)]
    fn f16s(self, bits: [[u8; 2]; 4]) -> [f32; 4] {
        self.avx2().f16s(bits)
    }

    #[inline(always)]
    fn scaled(self, q: &[u8; 16], by: [f32; 2]) -> [f32; 16] {
        let mut out = [0.0; 16];
        intrinsics! {
            let by = _mm512_insertf32x8::<1>(_mm512_set1_ps(by[0]), _mm256_set1_ps(by[1]));
            _mm512_storeu_ps(out.as_mut_ptr(), self.i8(q, by));
        }
        out
    }

    #[inline(always)]
    fn group_f32(self, from: &[u8; 128]) -> [__m512; 2] {
        let (v, _) = from.as_chunks::<64>();
        intrinsics! {
            [_mm512_loadu_ps(v[0].as_ptr().cast()), _mm512_loadu_ps(v[1].as_ptr().cast())]
        }
    }

    #[inline(always)]
    fn group_f16(self, from: &[u8; 64]) -> [__m512; 2] {
        let (v, _) = from.as_chunks::<32>();
        intrinsics! {
            [
                _mm512_cvtph_ps(_mm256_loadu_si256(v[0].as_ptr().cast())),
                _mm512_cvtph_ps(_mm256_loadu_si256(v[1].as_ptr().cast())),
            ]
        }
    }

    #[inline(always)]
    fn group_bf16(self, from: &[u8; 64]) -> [__m512; 2] {
        let (v, _) = from.as_chunks::<32>();
        [self.bf16(&v[0]), self.bf16(&v[1])]
    }

    #[inline(always)]
    fn group_i8(self, from: &[u8; 32], scale: __m512) -> [__m512; 2] {
        let (v, _) = from.as_chunks::<16>();
        [self.i8(&v[0], scale), self.i8(&v[1], scale)]
    }

    #[inline(always)]
    fn group_u4(self, from: &[u8; 16], scale: __m512, offset: __m512) -> [__m512; 2] {
        let (q, table) = (self.widen(from), self.table(scale, offset));
        // The look-up takes the low four bits of an index and ignores the rest.
        intrinsics! {
            [
                _mm512_permutexvar_ps(q, table),
                _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(q), table),
            ]
        }
    }

    #[inline(always)]
    fn group_u5(self, from: &[u8; 16], fifth: u32, scale: __m512, offset: __m512) -> [__m512; 2] {
        let q = self.widen(from);
        intrinsics! {
            // A look-up in 32 entries takes the low five bits of an index. The fifth of lane `i`
            // comes from bit `i` or `i + 16` by rotation: 4 - i, 20 - i.
            let fifth = _mm512_set1_epi32(fifth as i32);
            let by = _mm512_setr_epi32(4, 3, 2, 1, 0, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21);
            let half = _mm512_set1_epi32(16);
            let low = _mm512_rolv_epi32(fifth, by);
            let high = _mm512_rolv_epi32(fifth, _mm512_xor_si512(by, half));
            // 16 ? b : a, bit by bit.
            let low = _mm512_ternarylogic_epi32::<0xca>(half, low, q);
            let high = _mm512_ternarylogic_epi32::<0xca>(half, high, _mm512_srli_epi32::<4>(q));
            let first = self.table(scale, offset);
            let upper = _mm512_setr_ps(
                16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27., 28., 29., 30., 31.,
            );
            let second = _mm512_fmadd_ps(upper, scale, offset);
            [
                _mm512_permutex2var_ps(first, low, second),
                _mm512_permutex2var_ps(first, high, second),
            ]
        }
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32]) -> __m256i {
        self.avx2().bytes(from)
    }

    #[inline(always)]
    fn moved<const LEFT: i32>(self, bytes: __m256i, by: usize, mask: u8) -> __m256i {
        self.avx2().moved::<LEFT>(bytes, by, mask)
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2().or(a, b)
    }

    #[inline(always)]
    fn group_u8(self, q: __m256i, scale: [__m512; 2], offset: [__m512; 2]) -> [__m512; 2] {
        intrinsics! {
            let low = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(q));
            let high = _mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(q));
            [
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), scale[0], offset[0]),
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), scale[1], offset[1]),
            ]
        }
    }

    #[inline(always)]
    fn load_floats(self, from: &[f32]) -> __m512 {
        let from: [f32; 16] = first(from);
        intrinsics! { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store_floats(self, value: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        intrinsics! { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn words_u8(self, q: __m256i, bias: u8) -> __m512i {
        intrinsics! { _mm512_cvtepi8_epi16(_mm256_sub_epi8(q, _mm256_set1_epi8(bias as i8))) }
    }

    #[inline(always)]
    fn words_i8(self, from: &[u8; 32]) -> __m512i {
        intrinsics! { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn halves(self, from: &[u8; 16]) -> __m256i {
        self.avx2().both_halves(from)
    }

    #[inline(always)]
    fn sixteens(self, bits: u32) -> __m256i {
        intrinsics! { _mm256_maskz_set1_epi8(bits, 16) }
    }

    #[inline(always)]
    fn load_words(self, from: &[i16; 32]) -> __m512i {
        intrinsics! { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_words(self, w: __m512i, to: &mut [i16; 32]) {
        intrinsics! { _mm512_storeu_si512(to.as_mut_ptr().cast(), w) }
    }

    #[inline(always)]
    fn quantize(self, x: &[f32; 32], words: &mut [i16; 32]) -> (f32, [f32; 2]) {
        self.avx2().quantize(x, words)
    }

    #[inline(always)]
    fn dot_words(self, w: __m512i, x: __m512i, scale: __m512, sum: __m512) -> __m512 {
        intrinsics! {
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)), scale, sum)
        }
    }

    #[inline(always)]
    fn dot_halves(self, w: __m512i, x: __m512i, scale: [__m512; 2], sum: __m512) -> __m512 {
        intrinsics! {
            let scale = _mm512_mask_mov_ps(scale[0], 0xff00, scale[1]);
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)), scale, sum)
        }
    }

    #[inline(always)]
    fn zero_ints(self) -> __m512i {
        intrinsics! { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load_ints(self, from: &[i32]) -> __m512i {
        let from: [i32; 16] = first(from);
        intrinsics! { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_int(self, pair: i32) -> __m512i {
        intrinsics! { _mm512_set1_epi32(pair) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        intrinsics! { _mm512_dpwssd_epi32(sum, a, b) }
    }

    #[inline(always)]
    fn to_floats(self, ints: __m512i) -> __m512 {
        intrinsics! { _mm512_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    fn transpose(self, from: &[i32; 256], to: &mut [i32], stride: usize) {
        let (rows, _) = from.as_chunks::<16>();
        intrinsics! {
            let mut r = [_mm512_setzero_si512(); 16];
            for i in 0..16 {
                r[i] = _mm512_loadu_si512(rows[i].as_ptr().cast());
            }
            self.transpose_words(&r, to, stride);
        }
    }

    #[inline(always)]
    fn transpose_words(self, r: &[__m512i; 16], to: &mut [i32], stride: usize) {
        intrinsics! {
            // Pairs of rows, then fours within each quarter, then quarters.
            let mut two = *r;
            for i in [0, 2, 4, 6, 8, 10, 12, 14] {
                two[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
                two[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
            }
            // four[4 b + c]: column 4 q + c of rows 4 b.. in quarter q.
            let mut four = two;
            for i in [0, 1, 4, 5, 8, 9, 12, 13] {
                let to = i / 4 * 4 + i % 4 * 2;
                four[to] = _mm512_unpacklo_epi64(two[i], two[i + 2]);
                four[to + 1] = _mm512_unpackhi_epi64(two[i], two[i + 2]);
            }
            for c in 0..4 {
                let [a, b, d, e] = [four[c], four[4 + c], four[8 + c], four[12 + c]];
                let ab_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b); // a0 a1 b0 b1
                let ab_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b);
                let de_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(d, e);
                let de_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(d, e);
                let columns = [
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, de_low),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, de_low),
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, de_high),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, de_high),
                ];
                for (q, column) in columns.into_iter().enumerate() {
                    let to = &mut to[(4 * q + c) * stride..][..16];
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), column);
                }
            }
        }
    }
}
