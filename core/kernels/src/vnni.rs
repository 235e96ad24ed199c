//! GEMV in bytes: few rows of `x` times packed rows, for processors that multiply bytes: AVX-512 with
//! VNNI.
//!
//! A vector of 64 bytes holds two groups of weights, as unsigned integers. A number of `x` is two
//! signed bytes, `256 * high + low`, so that one instruction each multiplies the weights with the
//! high and with the low bytes and adds four products to a lane. Weights are never widened, which
//! is half of the work where `x` is one row. That integers are unsigned is made up for
//! by the sums of `x`.

use std::arch::x86_64::*;

use super::features::Avx512;
use super::packed::{self, Pairs, Quants};
use super::rounding;
use super::simd::{Simd, first};
use super::sums::{AHEAD, put};

/// Groups of `x` that stand together.
pub(super) const GROUPS: usize = 8;

/// Eight groups of a row of `x`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct EightGroups {
    /// For each pair of groups the high bytes, then the low ones.
    bytes: [[[i8; 64]; 2]; 4],
    /// What the sums of the halves of each group stand for.
    halves: [f32; 16],
    /// The same of whole groups.
    sums: [f32; 8],
    /// What the integers of a group are multiplied by.
    scales: [f32; 8],
}

impl EightGroups {
    pub(super) const ZERO: EightGroups = EightGroups {
        bytes: [[[0; 64]; 2]; 4],
        halves: [0.0; 16],
        sums: [0.0; 8],
        scales: [0.0; 8],
    };

    /// Rounds up to eight groups to 16 bits; those that are not there are zero.
    #[inline(always)]
    pub(super) fn new<S: Simd>(s: S, x: &[[f32; 32]]) -> EightGroups {
        let mut eight = EightGroups::ZERO;
        for (g, x) in x.iter().take(GROUPS).enumerate() {
            let mut words = [0; 32];
            let (scale, [low, high]) = s.quantize(x, &mut words);
            eight.scales[g] = scale;
            eight.sums[g] = low + high;
            [eight.halves[2 * g], eight.halves[2 * g + 1]] = [low, high];
            let at = g % 2 * 32;
            for (to, bytes) in eight.bytes[g / 2].iter_mut().zip(rounding::bytes(words)) {
                to[at..at + 32].copy_from_slice(&bytes);
            }
        }
        eight
    }
}

/// As in [`x86`](super::x86).
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: an `Avx512` is made where the processor has the features alone. Pointers come
        // from references to arrays of exactly the width of the load, which is of the unaligned
        // kind.
        unsafe { $($body)* }
    };
}

/// `N` bytes from `at` on.
#[inline(always)]
fn at<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    packed::part(block, at)
}

/// The low halves of 16 bytes, then their high halves, of two blocks.
#[inline(always)]
fn halves(_: Avx512, a: &[u8; 16], b: &[u8; 16]) -> __m512i {
    intrinsics! {
        let a = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.as_ptr().cast()));
        let b = _mm256_broadcastsi128_si256(_mm_loadu_si128(b.as_ptr().cast()));
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
        let moved = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
        _mm512_and_si512(moved, _mm512_set1_epi8(15))
    }
}

/// 16 more where the bit is set.
#[inline(always)]
fn fifths(_: Avx512, q: __m512i, [a, b]: [&[u8; 4]; 2]) -> __m512i {
    let bits = u64::from(u32::from_le_bytes(*a)) | u64::from(u32::from_le_bytes(*b)) << 32;
    intrinsics! { _mm512_mask_add_epi8(q, bits, q, _mm512_set1_epi8(16)) }
}

/// 32 bytes twice, moved right by `low` and by `high` bits.
#[inline(always)]
fn moved(_: Avx512, from: &[u8; 32], low: i64, high: i64) -> __m512i {
    intrinsics! {
        let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(from.as_ptr().cast()));
        let by = _mm512_setr_epi64(low, low, low, low, high, high, high, high);
        _mm512_srlv_epi64(both, by)
    }
}

#[inline(always)]
fn and(_: Avx512, a: __m512i, mask: u8) -> __m512i {
    intrinsics! { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
}

/// `low | (bits << left) & mask`, `left` within 16-bit words.
#[inline(always)]
fn or_bits<const LEFT: u32>(_: Avx512, low: __m512i, bits: __m512i, mask: u8) -> __m512i {
    intrinsics! {
        let bits = _mm512_slli_epi16::<LEFT>(bits);
        // a | b & c
        _mm512_ternarylogic_epi32::<0xf8>(low, bits, _mm512_set1_epi8(mask as i8))
    }
}

impl Pairs for packed::Q8_0 {
    const BIAS: u8 = 128;
    const SIGNED: Option<usize> = Some(2);

    #[inline(always)]
    fn pair(_: Avx512, blocks: &[&[u8; 34]; 4], pair: usize) -> __m512i {
        let [a, b]: [&[u8; 32]; 2] = [at(blocks[2 * pair], 2), at(blocks[2 * pair + 1], 2)];
        intrinsics! {
            let a = _mm512_castsi256_si512(_mm256_loadu_si256(a.as_ptr().cast()));
            let both = _mm512_inserti64x4::<1>(a, _mm256_loadu_si256(b.as_ptr().cast()));
            _mm512_xor_si512(both, _mm512_set1_epi8(i8::MIN))
        }
    }
}

/// Formats of one group of four bits, and a fifth.
macro_rules! nibbles {
    ($(
        $name:ident, $bytes:literal, bias $bias:literal,
        at $at:literal $(, fifth at $fifth:literal)?;
    )+) => {$(
        impl Pairs for packed::$name {
            const BIAS: u8 = $bias;

            #[inline(always)]
            fn pair(s: Avx512, blocks: &[&[u8; $bytes]; 4], pair: usize) -> __m512i {
                let [a, b] = [blocks[2 * pair], blocks[2 * pair + 1]];
                let q = halves(s, at(a, $at), at(b, $at));
                $(let q = fifths(s, q, [at(a, $fifth), at(b, $fifth)]);)?
                q
            }
        }
    )+};
}

nibbles! {
    Q4_0, 18, bias 8, at 2;
    Q4_1, 20, bias 0, at 4;
    Q5_0, 22, bias 16, at 6, fifth at 2;
    Q5_1, 24, bias 0, at 8, fifth at 4;
}

/// Formats of eight groups: out of the one block and the number of the pair.
macro_rules! eight_groups {
    ($(
        $name:ident, $bytes:literal, bias $bias:literal,
        |$s:ident, $block:ident, $pair:ident| $make:expr;
    )+) => {$(
        impl Pairs for packed::$name {
            const BIAS: u8 = $bias;

            #[inline(always)]
            fn pair($s: Avx512, blocks: &[&[u8; $bytes]; 4], $pair: usize) -> __m512i {
                let $block = blocks[0];
                $make
            }
        }
    )+};
}

eight_groups! {
    Q2K, 84, bias 0, |s, block, pair| {
        let by = 4 * (pair % 2) as i64;
        and(s, moved(s, at(block, 16 + pair / 2 * 32), by, by + 2), 3)
    };
    Q3K, 110, bias 4, |s, block, pair| {
        let by = 4 * (pair % 2) as i64;
        let low = and(s, moved(s, at(block, 32 + pair / 2 * 32), by, by + 2), 3);
        let by = 2 * pair as i64;
        or_bits::<2>(s, low, moved(s, at(block, 0), by, by + 1), 4)
    };
    Q4K, 144, bias 0, |s, block, pair| and(s, moved(s, at(block, 16 + pair * 32), 0, 4), 15);
    Q5K, 176, bias 0, |s, block, pair| {
        let low = and(s, moved(s, at(block, 48 + pair * 32), 0, 4), 15);
        let by = 2 * pair as i64;
        or_bits::<4>(s, low, moved(s, at(block, 16), by, by + 1), 16)
    };
    Q6K, 210, bias 32, |s, block, pair| {
        let low: &[u8; 64] = at(block, pair / 2 * 64);
        let low = intrinsics! { _mm512_loadu_si512(low.as_ptr().cast()) };
        let low = match pair % 2 {
            0 => and(s, low, 15),
            _ => and(s, intrinsics! { _mm512_srli_epi16::<4>(low) }, 15),
        };
        let by = 4 * (pair % 2) as i64;
        let high = moved(s, at(block, 128 + pair / 2 * 32), by, by + 2);
        or_bits::<4>(s, low, high, 0x30)
    };
}

/// `M` rows of `x` beside each other times the rows of `w`, one after another, so that the bytes are
/// read in their order, which is what memory is quickest at.
#[inline(always)]
pub(super) fn few<P: Pairs + Quants, const M: usize>(
    s: Avx512,
    w: &[u8],
    row_bytes: usize,
    x: &[EightGroups],
    out: &mut [&mut [f32]],
) {
    let (x, _) = x.as_chunks::<M>();
    let rows = w.len() / row_bytes;
    let mut sums = [[s.splat(0.0); 4]; M];
    for first in (0..rows).step_by(4) {
        let four = 4.min(rows - first);
        for r in 0..four {
            let blocks: &[P::Block] =
                bytemuck::cast_slice(&w[(first + r) * row_bytes..][..row_bytes]);
            let mut row = [s.splat(0.0); M];
            if P::GROUPS == 1 {
                let (whole, rest) = blocks.as_chunks::<4>();
                for (i, [a, b, c, d]) in whole.iter().enumerate() {
                    add::<P, M>(s, [a, b, c, d], &x[i / 2], i % 2 * 4, &mut row);
                }
                if let [a, ..] = rest {
                    // What is not there meets zeros.
                    let [b, c] = [rest.get(1).unwrap_or(a), rest.get(2).unwrap_or(a)];
                    let i = whole.len();
                    add::<P, M>(s, [a, b, c, a], &x[i / 2], i % 2 * 4, &mut row);
                }
            } else {
                for (block, x) in blocks.iter().zip(x) {
                    add::<P, M>(s, [block; 4], x, 0, &mut row);
                }
            }
            for m in 0..M {
                sums[m][r] = row[m];
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            put(out, first, s.sums(sums));
        }
    }
}

/// Adds four blocks of one group or one of eight, from group `at` of the eight of `x` on.
#[inline(always)]
fn add<P: Pairs + Quants, const M: usize>(
    s: Avx512,
    blocks: [&P::Block; 4],
    x: &[EightGroups; M],
    at: usize,
    sums: &mut [__m512; M],
) {
    let bytes = size_of::<P::Block>() * P::UNIT;
    s.prefetch(std::ptr::from_ref(blocks[0]).cast::<u8>().wrapping_add(AHEAD), bytes);
    let scales = P::scales(s, blocks);
    let [scale, offset] = P::lines(&scales, 0);
    let count = if P::HALVES { 16 } else { P::UNIT * P::GROUPS };
    let [scale, offset] = [spread(s, &scale[..count]), spread(s, &offset[..count])];
    let offset = match P::OFFSET {
        true => offset,
        false => s.mul(scale, s.splat(-f32::from(P::BIAS))),
    };
    // A vector of what the lanes of each pair are multiplied by is picked out of these.
    let mut by = [s.splat(0.0); M];
    for m in 0..M {
        let scales = &x[m].scales[at..][..P::UNIT * P::GROUPS];
        let own = match P::HALVES {
            true => intrinsics! {
                let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
                _mm512_permutexvar_ps(twice, spread(s, scales))
            },
            false => spread(s, scales),
        };
        by[m] = s.mul(scale, own);
        let of = match P::HALVES {
            true => &x[m].halves[..],
            false => &x[m].sums[at..][..P::UNIT * P::GROUPS],
        };
        sums[m] = s.mul_add(offset, spread(s, of), sums[m]);
    }
    for pair in 0..P::UNIT * P::GROUPS / 2 {
        let w = P::pair(s, &blocks, pair);
        let first = if P::HALVES { 4 * pair } else { 2 * pair } as i32;
        intrinsics! {
            let which = match P::HALVES {
                true => _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                false => _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
            };
            let which = _mm512_add_epi32(which, _mm512_set1_epi32(first));
            for m in 0..M {
                let [high, low] = &x[m].bytes[at / 2 + pair];
                let high = _mm512_loadu_si512(high.as_ptr().cast());
                let low = _mm512_loadu_si512(low.as_ptr().cast());
                let high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, high);
                let all = _mm512_dpbusd_epi32(_mm512_slli_epi32::<8>(high), w, low);
                let by = _mm512_permutexvar_ps(which, by[m]);
                sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), by, sums[m]);
            }
        }
    }
}

/// 4, 8 or 16 floats as the first lanes of a vector; the others are zero.
#[inline(always)]
fn spread(_: Avx512, from: &[f32]) -> __m512 {
    intrinsics! {
        match from.len() {
            4 => _mm512_zextps128_ps512(_mm_loadu_ps(first::<f32, 4>(from).as_ptr())),
            8 => _mm512_zextps256_ps512(_mm256_loadu_ps(first::<f32, 8>(from).as_ptr())),
            _ => _mm512_loadu_ps(first::<f32, 16>(from).as_ptr()),
        }
    }
}
