//! Packed weights to floats inside a kernel, from 32-bit words alone.
//!
//! WGSL has no 8-bit and 16-bit integers, and blocks of 18, 22, 34, 110 or 210 bytes do not start
//! on words: a halfword is cut out of the word that holds it, a word is joined from two. The
//! format is known when a kernel is compiled, so that each kernel holds one decoder.
//!
//! Q8_0 comes in two planes, all bytes of the matrix and then all scales ([`arranged`]), so that bytes
//! stand on words and are read 16 at a time. All quantized formats are read alike, by runs of 16 weights that share a scale `s` and an
//! offset `o`, and within them by four bytes `u`: the weight is `s * (u - bias) + o`.
//!
//! Source of the layouts: `ggml-common.h` and `ggml-quants.c` of llama.cpp.

use bytes::Bytes;
use cubecl::ir::features::TypeUsage;
use cubecl::ir::{DeviceProperties, ElemType, FloatKind, IntKind};
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

/// The 16-bit float of a word's low half; the other half is zero.
#[cube]
fn low_half(word: u32) -> f32 {
    let (low, _high) = halves(word);
    low
}

/// Whether a kernel may use 16-bit floats: WGSL's may lose what is subnormal, and has no 16-bit
/// integers.
fn has_halves(device: &DeviceProperties) -> bool {
    let all = [ElemType::Float(FloatKind::F16), ElemType::Int(IntKind::I16)];
    all.into_iter().all(|elem| device.features.type_usage(elem).contains(TypeUsage::Conversion))
}

/// The two 16-bit floats of a word, the low one first.
#[cube]
pub(super) fn halves(word: u32) -> (f32, f32) {
    let device = comptime::device_properties();
    if comptime!(has_halves(&device)) {
        let pair = Vector::<half::f16, Const<2>>::reinterpret(word);
        let pair = Vector::<f32, Const<2>>::cast_from(pair);
        (pair.extract(0usize), pair.extract(1usize))
    } else {
        (f16_value(word & 0xffffu32), f16_value(word >> 16u32))
    }
}

/// The word with this number, of words that come one by one.
#[cube]
fn word<W: Size>(words: &[Vector<u32, W>], at: u32) -> u32 {
    words[at as usize].extract(0usize)
}

/// The halfword at an even byte offset.
#[cube]
fn half_at<W: Size>(words: &[Vector<u32, W>], offset: u32) -> u32 {
    (word::<W>(words, offset >> 2u32) >> ((offset & 2u32) * 8u32)) & 0xffffu32
}

/// The byte at an offset.
#[cube]
fn byte_at<W: Size>(words: &[Vector<u32, W>], offset: u32) -> u32 {
    (word::<W>(words, offset >> 2u32) >> ((offset & 3u32) * 8u32)) & 0xffu32
}

/// The word at a byte offset that is a multiple of 4, or of 2 where the format's blocks are not
/// whole words.
#[cube]
fn word_at<W: Size>(words: &[Vector<u32, W>], offset: u32, #[comptime] format: Format) -> u32 {
    let at = offset >> 2u32;
    if comptime!(format.block_bytes().is_multiple_of(4)) {
        word::<W>(words, at)
    } else {
        let odd = (offset >> 1u32) & 1u32;
        let low = word::<W>(words, at);
        // The next word is read only where it is needed: there may be none.
        let high = word::<W>(words, at + odd);
        select(odd == 0u32, low, (low >> 16u32) | (high << 16u32))
    }
}

/// The bytes of whole rows in the order that kernels read, as 32-bit words: those of Q8_0 in two planes,
/// others as they are, all padded with zeros to a multiple of 16 bytes.
pub(crate) fn arranged(bytes: Bytes, format: Format) -> Bytes {
    let size = bytes.len().next_multiple_of(16);
    if format != Format::Q8_0 {
        if bytes.len() == size {
            return bytes;
        }
        let mut padded = bytes.to_vec();
        padded.resize(size, 0);
        return padded.into();
    }
    let block = format.block_bytes();
    let mut planes = Vec::with_capacity(size);
    bytes.chunks_exact(block).for_each(|block| planes.extend_from_slice(&block[2..]));
    bytes.chunks_exact(block).for_each(|block| planes.extend_from_slice(&block[..2]));
    planes.resize(size, 0);
    planes.into()
}

/// The bytes where the block of this column begins: that of its weights, and that of its scales.
#[cube]
pub(super) fn block_at(
    row: u32,
    column: u32,
    rows: u32,
    width: u32,
    #[comptime] format: Format,
) -> (u32, u32) {
    let block = comptime!(format.block() as u32);
    let number = row * (width / block) + column / block;
    if comptime!(format == Format::Q8_0) {
        (number * block, rows * width + number * 2u32)
    } else {
        let base = number * comptime!(format.block_bytes() as u32);
        (base, base)
    }
}

/// The word that holds the first two scales of a row of Q8_0, whose width is a multiple of 64.
#[cube]
pub(super) fn pair(row: u32, rows: u32, width: u32) -> u32 {
    ((rows * width) >> 2u32) + ((row * width) >> 6u32)
}

/// Scale and offset of the run `run` of 16 weights in the block whose scales begin at byte `base`.
#[cube]
pub(super) fn scales<W: Size>(
    words: &[Vector<u32, W>],
    base: u32,
    run: u32,
    #[comptime] format: Format,
) -> (f32, f32) {
    if comptime!(matches!(format, Format::Q4_0 | Format::Q5_0 | Format::Q8_0)) {
        (low_half(half_at::<W>(words, base)), 0.0f32)
    } else if comptime!(matches!(format, Format::Q4_1 | Format::Q5_1)) {
        halves(word::<W>(words, base >> 2u32))
    } else if comptime!(format == Format::Q2_K) {
        let pair = word::<W>(words, (base + 80u32) >> 2u32);
        let both = byte_at::<W>(words, base + run);
        let (d, least) = halves(pair);
        (d * f32::cast_from(both & 15u32), -(least * f32::cast_from(both >> 4u32)))
    } else if comptime!(format == Format::Q3_K) {
        let low =
            (byte_at::<W>(words, base + 96u32 + (run & 7u32)) >> ((run >> 3u32) * 4u32)) & 15u32;
        let high =
            (byte_at::<W>(words, base + 104u32 + (run & 3u32)) >> ((run >> 2u32) * 2u32)) & 3u32;
        let level = i32::cast_from(low | (high << 4u32)) - 32i32;
        (low_half(half_at::<W>(words, base + 108u32)) * f32::cast_from(level), 0.0f32)
    } else if comptime!(matches!(format, Format::Q4_K | Format::Q5_K)) {
        let at = base >> 2u32;
        let mut head = Vector::<u32, Const<4>>::empty();
        #[unroll]
        for i in 0..4usize {
            head.insert(i, word::<W>(words, at + comptime!(i as u32)));
        }
        let (scale, least) = k_scale::<Const<4>>(head, run >> 1u32);
        (scale, -least)
    } else {
        // Q6_K: signed 8-bit scales.
        let level = (i32::cast_from(byte_at::<W>(words, base + 192u32 + run)) ^ 128i32) - 128i32;
        (low_half(half_at::<W>(words, base + 208u32)) * f32::cast_from(level), 0.0f32)
    }
}

/// Scale of the 32 weights `group` of a block of Q4_K or Q5_K that starts with these four words, and
/// what is taken from them.
#[cube]
pub(super) fn k_scale<W: Size>(head: Vector<u32, W>, group: u32) -> (f32, f32) {
    let pair = head.extract(0usize);
    let shift = (group & 3u32) * 8u32;
    let (a, b, c) = (
        head.extract(1usize) >> shift,
        head.extract(2usize) >> shift,
        head.extract(3usize) >> shift,
    );
    let early = group < 4u32;
    let scale = select(early, a & 63u32, (c & 15u32) | ((a >> 2u32) & 48u32));
    let least = select(early, b & 63u32, ((c >> 4u32) & 15u32) | ((b >> 2u32) & 48u32));
    let (d, off) = halves(pair);
    (d * f32::cast_from(scale), off * f32::cast_from(least))
}

/// The weights `i..i + 4` of the block at byte `base` as four unsigned bytes, `i` a multiple of 4.
#[cube]
pub(super) fn quad_bits<W: Size>(
    words: &[Vector<u32, W>],
    base: u32,
    i: u32,
    #[comptime] format: Format,
) -> u32 {
    if comptime!(matches!(format, Format::Q4_0 | Format::Q4_1)) {
        let head = comptime!(format.block_bytes() as u32 - 16);
        let nibbles = word_at::<W>(words, base + head + (i & 15u32), format);
        (nibbles >> ((i >> 4u32) * 4u32)) & 0x0f0f_0f0fu32
    } else if comptime!(matches!(format, Format::Q5_0 | Format::Q5_1)) {
        let head = comptime!(format.block_bytes() as u32 - 20);
        let nibbles = word_at::<W>(words, base + head + 4u32 + (i & 15u32), format);
        let fifth = word_at::<W>(words, base + head, format) >> i;
        ((nibbles >> ((i >> 4u32) * 4u32)) & 0x0f0f_0f0fu32)
            | ((fifth & 1u32) << 4u32)
            | ((fifth & 2u32) << 11u32)
            | ((fifth & 4u32) << 18u32)
            | ((fifth & 8u32) << 25u32)
    } else if comptime!(format == Format::Q8_0) {
        word::<W>(words, (base + i) >> 2u32) ^ 0x8080_8080u32
    } else if comptime!(format == Format::Q2_K) {
        let at = base + 16u32 + (i >> 7u32) * 32u32 + (i & 31u32);
        (word_at::<W>(words, at, format) >> (((i >> 5u32) & 3u32) * 2u32)) & 0x0303_0303u32
    } else if comptime!(format == Format::Q3_K) {
        let lane = i & 31u32;
        let at = base + 32u32 + (i >> 7u32) * 32u32 + lane;
        let low =
            (word_at::<W>(words, at, format) >> (((i >> 5u32) & 3u32) * 2u32)) & 0x0303_0303u32;
        let high = (word_at::<W>(words, base + lane, format) >> (i >> 5u32)) & 0x0101_0101u32;
        low | (high << 2u32)
    } else if comptime!(format == Format::Q4_K) {
        let at = base + 16u32 + (i >> 6u32) * 32u32 + (i & 31u32);
        (word_at::<W>(words, at, format) >> (((i >> 5u32) & 1u32) * 4u32)) & 0x0f0f_0f0fu32
    } else if comptime!(format == Format::Q5_K) {
        let lane = i & 31u32;
        let at = base + 48u32 + (i >> 6u32) * 32u32 + lane;
        let low =
            (word_at::<W>(words, at, format) >> (((i >> 5u32) & 1u32) * 4u32)) & 0x0f0f_0f0fu32;
        let high =
            (word_at::<W>(words, base + 16u32 + lane, format) >> (i >> 5u32)) & 0x0101_0101u32;
        low | (high << 4u32)
    } else {
        // Q6_K
        let half = i >> 7u32;
        let quarter = (i >> 5u32) & 3u32;
        let lane = i & 31u32;
        let at = base + half * 64u32 + (quarter & 1u32) * 32u32 + lane;
        let low = (word_at::<W>(words, at, format) >> ((quarter >> 1u32) * 4u32)) & 0x0f0f_0f0fu32;
        let at = base + 128u32 + half * 32u32 + lane;
        let high = (word_at::<W>(words, at, format) >> (quarter * 2u32)) & 0x0303_0303u32;
        low | (high << 4u32)
    }
}

/// [`quad_bits`] of the weights `i..i + 16`, `i` a multiple of 16.
#[cube]
pub(super) fn run_bits<W: Size>(
    words: &[Vector<u32, W>],
    base: u32,
    i: u32,
    bits: &mut Array<u32>,
    #[comptime] format: Format,
) {
    #[unroll]
    for quad in 0..4u32 {
        bits[quad as usize] = quad_bits::<W>(words, base, i + comptime!(quad * 4), format);
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
pub(super) fn plain<W: Size, N: Size>(
    words: &[Vector<u32, W>],
    index: u32,
    #[comptime] format: Format,
) -> Vector<f32, N> {
    let mut out = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let at = index + comptime!(lane as u32);
        if comptime!(format == Format::F32) {
            out.insert(lane, f32::reinterpret(word::<W>(words, at)));
        } else {
            let half = (word::<W>(words, at >> 1u32) >> ((at & 1u32) * 16u32)) & 0xffffu32;
            if comptime!(format == Format::BF16) {
                out.insert(lane, f32::reinterpret(half << 16u32));
            } else {
                out.insert(lane, low_half(half));
            }
        }
    }
    out
}

/// Four plain weights: those of quad `quad` from the four words with number `at` on.
#[cube]
pub(super) fn plain_wide<W: Size>(
    words: &[Vector<u32, W>],
    at: u32,
    #[comptime] quad: usize,
    #[comptime] format: Format,
) -> Vector<f32, Const<4>> {
    let mut out = Vector::<f32, Const<4>>::empty();
    if comptime!(matches!(format, Format::F32)) {
        let words = words[at as usize + quad];
        #[unroll]
        for lane in 0..4usize {
            out.insert(lane, f32::reinterpret(words.extract(lane)));
        }
    } else {
        let words = words[at as usize];
        #[unroll]
        for pair in 0..2usize {
            let word = words.extract(comptime!(quad * 2 + pair));
            let (low, high) = if comptime!(matches!(format, Format::BF16)) {
                (f32::reinterpret(word << 16u32), f32::reinterpret(word & 0xffff_0000u32))
            } else {
                halves(word)
            };
            out.insert(comptime!(pair * 2), low);
            out.insert(comptime!(pair * 2 + 1), high);
        }
    }
    out
}

/// Four nibbles of a word, the low ones of its bytes or the high ones, each as `1 + n / 16`: put into
/// the mantissa of 1, which is cheaper than to convert them.
#[cube]
pub(super) fn lifted(bits: u32, #[comptime] high: bool) -> Vector<f32, Const<4>> {
    let mut out = Vector::<f32, Const<4>>::empty();
    #[unroll]
    for byte in 0..4usize {
        let from = comptime!(byte as u32 * 8 + if high { 4 } else { 0 });
        let moved = if comptime!(from <= 19) {
            bits << comptime!(19u32.saturating_sub(from))
        } else {
            bits >> comptime!(from.saturating_sub(19))
        };
        out.insert(byte, f32::reinterpret((moved & 0x0078_0000u32) | 0x3f80_0000u32));
    }
    out
}

/// The `N` weights from column `column` of row `row` on, of `rows` rows, as floats.
#[cube]
pub(super) fn weights<W: Size, N: Size>(
    words: &[Vector<u32, W>],
    row: u32,
    column: u32,
    rows: u32,
    width: u32,
    #[comptime] format: Format,
) -> Vector<f32, N> {
    if comptime!(is_plain(format)) {
        plain::<W, N>(words, row * width + column, format)
    } else {
        let (base, head) = block_at(row, column, rows, width, format);
        let i = column % comptime!(format.block() as u32);
        let (scale, offset) = scales::<W>(words, head, i >> 4u32, format);
        let levels = levels::<N>(quad_bits::<W>(words, base, i, format), format);
        let scaled = levels * Vector::<f32, N>::new(scale);
        if comptime!(has_offset(format)) { scaled + Vector::<f32, N>::new(offset) } else { scaled }
    }
}
