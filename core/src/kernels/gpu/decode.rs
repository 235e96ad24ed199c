//! Packed weights to floats inside a kernel, from 32-bit words alone.
//!
//! WGSL has no 8-bit and 16-bit integers, and blocks of 18, 22, 34, 110 or 210 bytes do not start
//! on words: a halfword is cut out of the word that holds it, a word is joined from two. The
//! format is known when a kernel is compiled, so that each kernel holds one decoder.
//!
//! All quantized formats are read alike, by runs of 16 weights that share a scale `s` and an
//! offset `o`, and within them by four bytes `u`: the weight is `s * (u - bias) + o`.
//!
//! Source of the layouts: `ggml-common.h` and `ggml-quants.c` of llama.cpp.

use cubecl::prelude::*;

use crate::quant::Format;

/// What is subtracted from the unsigned bytes of [`quad_bits`].
pub(super) fn bias(format: Format) -> i32 {
    match format {
        Format::Q4_0 => 8,
        Format::Q5_0 => 16,
        Format::Q8_0 => 128,
        Format::Q3_K => 4,
        Format::Q6_K => 32,
        _ => 0,
    }
}

/// Whether the weights of a run have an offset beside the scale.
pub(super) fn has_offset(format: Format) -> bool {
    matches!(format, Format::Q4_1 | Format::Q5_1 | Format::Q2_K | Format::Q4_K | Format::Q5_K)
}

/// Whether each weight is a number of its own, without blocks.
pub(super) fn is_plain(format: Format) -> bool {
    format.block() == 1
}

/// A 16-bit IEEE float, exactly: subnormals are computed from integers, since a GPU may flush the
/// subnormal that shifting their bits would give.
#[cube]
fn f16_value(half: u32) -> f32 {
    let exponent = (half >> 10u32) & 31u32;
    let mantissa = half & 1023u32;
    let sign = (half & 0x8000u32) << 16u32;
    let special = select(exponent == 31u32, 255u32, exponent + 112u32);
    let normal = f32::reinterpret(sign | (special << 23u32) | (mantissa << 13u32));
    let tiny = f32::cast_from(mantissa) * 5.960_464_5e-8f32;
    let subnormal = select(sign == 0u32, tiny, -tiny);
    select(exponent == 0u32, subnormal, normal)
}

/// The halfword at an even byte offset.
#[cube]
fn half_at(words: &[u32], offset: u32) -> u32 {
    (words[(offset >> 2u32) as usize] >> ((offset & 2u32) * 8u32)) & 0xffffu32
}

/// The byte at an offset.
#[cube]
fn byte_at(words: &[u32], offset: u32) -> u32 {
    (words[(offset >> 2u32) as usize] >> ((offset & 3u32) * 8u32)) & 0xffu32
}

/// The word at a byte offset that is a multiple of 4, or of 2 where the format's blocks are not
/// whole words.
#[cube]
fn word_at(words: &[u32], offset: u32, #[comptime] format: Format) -> u32 {
    let at = offset >> 2u32;
    if comptime!(format.block_bytes().is_multiple_of(4)) {
        words[at as usize]
    } else {
        let odd = (offset >> 1u32) & 1u32;
        let low = words[at as usize];
        // The next word is read only where it is needed: there may be none.
        let high = words[(at + odd) as usize];
        select(odd == 0u32, low, (low >> 16u32) | (high << 16u32))
    }
}

/// Scale and offset of the run `run` of 16 weights in the block at byte `base`.
#[cube]
pub(super) fn scales(words: &[u32], base: u32, run: u32, #[comptime] format: Format) -> (f32, f32) {
    if comptime!(matches!(format, Format::Q4_0 | Format::Q5_0 | Format::Q8_0)) {
        (f16_value(half_at(words, base)), 0.0f32)
    } else if comptime!(matches!(format, Format::Q4_1 | Format::Q5_1)) {
        let pair = words[(base >> 2u32) as usize];
        (f16_value(pair & 0xffffu32), f16_value(pair >> 16u32))
    } else if comptime!(format == Format::Q2_K) {
        let pair = words[((base + 80u32) >> 2u32) as usize];
        let both = byte_at(words, base + run);
        let scale = f16_value(pair & 0xffffu32) * f32::cast_from(both & 15u32);
        let offset = f16_value(pair >> 16u32) * f32::cast_from(both >> 4u32);
        (scale, -offset)
    } else if comptime!(format == Format::Q3_K) {
        let low = (byte_at(words, base + 96u32 + (run & 7u32)) >> ((run >> 3u32) * 4u32)) & 15u32;
        let high = (byte_at(words, base + 104u32 + (run & 3u32)) >> ((run >> 2u32) * 2u32)) & 3u32;
        let level = i32::cast_from(low | (high << 4u32)) - 32i32;
        (f16_value(half_at(words, base + 108u32)) * f32::cast_from(level), 0.0f32)
    } else if comptime!(matches!(format, Format::Q4_K | Format::Q5_K)) {
        let at = base >> 2u32;
        let pair = words[at as usize];
        let first = words[(at + 1u32) as usize];
        let second = words[(at + 2u32) as usize];
        let third = words[(at + 3u32) as usize];
        let group = run >> 1u32;
        let shift = (group & 3u32) * 8u32;
        let (a, b, c) = (first >> shift, second >> shift, third >> shift);
        let early = group < 4u32;
        let scale = select(early, a & 63u32, (c & 15u32) | ((a >> 2u32) & 48u32));
        let least = select(early, b & 63u32, ((c >> 4u32) & 15u32) | ((b >> 2u32) & 48u32));
        let offset = f16_value(pair >> 16u32) * f32::cast_from(least);
        (f16_value(pair & 0xffffu32) * f32::cast_from(scale), -offset)
    } else {
        // Q6_K: signed 8-bit scales.
        let level = (i32::cast_from(byte_at(words, base + 192u32 + run)) ^ 128i32) - 128i32;
        (f16_value(half_at(words, base + 208u32)) * f32::cast_from(level), 0.0f32)
    }
}

/// The weights `i..i + 4` of the block at byte `base` as four unsigned bytes, `i` a multiple of 4.
#[cube]
pub(super) fn quad_bits(words: &[u32], base: u32, i: u32, #[comptime] format: Format) -> u32 {
    if comptime!(matches!(format, Format::Q4_0 | Format::Q4_1)) {
        let head = comptime!(format.block_bytes() as u32 - 16);
        let nibbles = word_at(words, base + head + (i & 15u32), format);
        (nibbles >> ((i >> 4u32) * 4u32)) & 0x0f0f_0f0fu32
    } else if comptime!(matches!(format, Format::Q5_0 | Format::Q5_1)) {
        let head = comptime!(format.block_bytes() as u32 - 20);
        let nibbles = word_at(words, base + head + 4u32 + (i & 15u32), format);
        let fifth = word_at(words, base + head, format) >> i;
        ((nibbles >> ((i >> 4u32) * 4u32)) & 0x0f0f_0f0fu32)
            | ((fifth & 1u32) << 4u32)
            | ((fifth & 2u32) << 11u32)
            | ((fifth & 4u32) << 18u32)
            | ((fifth & 8u32) << 25u32)
    } else if comptime!(format == Format::Q8_0) {
        word_at(words, base + 2u32 + i, format) ^ 0x8080_8080u32
    } else if comptime!(format == Format::Q2_K) {
        let at = base + 16u32 + (i >> 7u32) * 32u32 + (i & 31u32);
        (word_at(words, at, format) >> (((i >> 5u32) & 3u32) * 2u32)) & 0x0303_0303u32
    } else if comptime!(format == Format::Q3_K) {
        let lane = i & 31u32;
        let at = base + 32u32 + (i >> 7u32) * 32u32 + lane;
        let low = (word_at(words, at, format) >> (((i >> 5u32) & 3u32) * 2u32)) & 0x0303_0303u32;
        let high = (word_at(words, base + lane, format) >> (i >> 5u32)) & 0x0101_0101u32;
        low | (high << 2u32)
    } else if comptime!(format == Format::Q4_K) {
        let at = base + 16u32 + (i >> 6u32) * 32u32 + (i & 31u32);
        (word_at(words, at, format) >> (((i >> 5u32) & 1u32) * 4u32)) & 0x0f0f_0f0fu32
    } else if comptime!(format == Format::Q5_K) {
        let lane = i & 31u32;
        let at = base + 48u32 + (i >> 6u32) * 32u32 + lane;
        let low = (word_at(words, at, format) >> (((i >> 5u32) & 1u32) * 4u32)) & 0x0f0f_0f0fu32;
        let high = (word_at(words, base + 16u32 + lane, format) >> (i >> 5u32)) & 0x0101_0101u32;
        low | (high << 4u32)
    } else {
        // Q6_K
        let half = i >> 7u32;
        let quarter = (i >> 5u32) & 3u32;
        let lane = i & 31u32;
        let at = base + half * 64u32 + (quarter & 1u32) * 32u32 + lane;
        let low = (word_at(words, at, format) >> ((quarter >> 1u32) * 4u32)) & 0x0f0f_0f0fu32;
        let at = base + 128u32 + half * 32u32 + lane;
        let high = (word_at(words, at, format) >> (quarter * 2u32)) & 0x0303_0303u32;
        low | (high << 4u32)
    }
}

/// `u - bias` of the four bytes of [`quad_bits`].
#[cube]
pub(super) fn levels<N: Size>(bits: u32, #[comptime] format: Format) -> Vector<f32, N> {
    let bias = comptime!(bias(format));
    let mut out = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let byte = (bits >> comptime!(lane as u32 * 8)) & 0xffu32;
        out.insert(lane, f32::cast_from(i32::cast_from(byte) - bias));
    }
    out
}

/// The `N` plain weights from number `index` on; `index` is a multiple of `N`, which is 1 or 4.
#[cube]
pub(super) fn plain<N: Size>(
    words: &[u32],
    index: u32,
    #[comptime] format: Format,
) -> Vector<f32, N> {
    let mut out = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let at = index + comptime!(lane as u32);
        if comptime!(format == Format::F32) {
            out.insert(lane, f32::reinterpret(words[at as usize]));
        } else {
            let half = (words[(at >> 1u32) as usize] >> ((at & 1u32) * 16u32)) & 0xffffu32;
            if comptime!(format == Format::BF16) {
                out.insert(lane, f32::reinterpret(half << 16u32));
            } else {
                out.insert(lane, f16_value(half));
            }
        }
    }
    out
}

/// The `N` weights from column `column` of row `row` on, as floats.
#[cube]
pub(super) fn weights<N: Size>(
    words: &[u32],
    row: u32,
    column: u32,
    width: u32,
    #[comptime] format: Format,
) -> Vector<f32, N> {
    if comptime!(is_plain(format)) {
        plain::<N>(words, row * width + column, format)
    } else {
        let block = comptime!(format.block() as u32);
        let bytes = comptime!(format.block_bytes() as u32);
        let base = (row * (width / block) + column / block) * bytes;
        let i = column % block;
        let (scale, offset) = scales(words, base, i >> 4u32, format);
        let levels = levels::<N>(quad_bits(words, base, i, format), format);
        let scaled = levels * Vector::<f32, N>::new(scale);
        if comptime!(has_offset(format)) { scaled + Vector::<f32, N>::new(offset) } else { scaled }
    }
}
