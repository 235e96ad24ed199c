//! The block formats of GGUF files, one block at a time: the reference that every kernel is
//! tested against.
//!
//! Plain loops, no SIMD: this crate and the GPU kernels give the same weights faster.
//!
//! ```text
//! block (bytes of the file)  ->  scale, minimum, small integers  ->  scale * integer - minimum
//! ```
//!
//! # Source
//!
//! `dequantize_row_*` in `ggml-quants.c` of llama.cpp; the values equal those of
//! `gguf.quants.dequantize` of its Python package to the last bit.

use half::{bf16, f16};

use crate::Format;

/// Writes the weights of packed `blocks` to `out`.
///
/// `out` holds whole blocks, `out.len() / format.block()` of them, and `blocks` exactly their
/// bytes, at any alignment. Callers check both ([`Format::row_bytes`]); a mismatch is a fault of
/// this crate and stops by an assertion before anything is written.
pub fn dequantize(format: Format, blocks: &[u8], out: &mut [f32]) {
    assert_eq!(
        format.row_bytes(out.len()),
        Some(blocks.len()),
        "packed bytes and floats of {format} do not match"
    );
    match format {
        Format::F32 => each(blocks, out, |b, w: &mut [f32; 1]| *w = [f32::from_le_bytes(*b)]),
        Format::F16 => each(blocks, out, |b: &[u8; 2], w: &mut [f32; 1]| *w = [f16_at(b, 0)]),
        Format::BF16 => {
            each(blocks, out, |b, w: &mut [f32; 1]| *w = [bf16::from_le_bytes(*b).to_f32()])
        }
        Format::Q4_0 => each(blocks, out, q4_0),
        Format::Q4_1 => each(blocks, out, q4_1),
        Format::Q5_0 => each(blocks, out, q5_0),
        Format::Q5_1 => each(blocks, out, q5_1),
        Format::Q8_0 => each(blocks, out, q8_0),
        Format::Q2_K => each(blocks, out, q2_k),
        Format::Q3_K => each(blocks, out, q3_k),
        Format::Q4_K => each(blocks, out, q4_k),
        Format::Q5_K => each(blocks, out, q5_k),
        Format::Q6_K => each(blocks, out, q6_k),
    }
}

fn each<const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; WEIGHTS]),
) {
    for (block, weights) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        one(block, weights);
    }
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `d, quants[16]`: byte `i` holds weight `i` in its low and weight `i + 16` in its high half.
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for i in 0..16 {
        let q = block[2 + i];
        out[i] = d * (i32::from(q & 15) - 8) as f32;
        out[i + 16] = d * (i32::from(q >> 4) - 8) as f32;
    }
}

/// `d, m, quants[16]`.
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let [d, m] = [f16_at(block, 0), f16_at(block, 2)];
    for i in 0..16 {
        let q = block[4 + i];
        out[i] = d * f32::from(q & 15) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The 32 five-bit integers: four bits from `quants[16]`, the fifth from bit `i` of `high`.
fn five_bits(high: u32, quants: &[u8], i: usize) -> u8 {
    let low = if i < 16 { quants[i] & 15 } else { quants[i - 16] >> 4 };
    low | ((high >> i & 1) << 4) as u8
}

/// `d, high[4], quants[16]`.
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let high = u32_at(block, 2);
    for (i, w) in out.iter_mut().enumerate() {
        *w = d * (i32::from(five_bits(high, &block[6..], i)) - 16) as f32;
    }
}

/// `d, m, high[4], quants[16]`.
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let [d, m] = [f16_at(block, 0), f16_at(block, 2)];
    let high = u32_at(block, 4);
    for (i, w) in out.iter_mut().enumerate() {
        *w = d * f32::from(five_bits(high, &block[8..], i)) + m;
    }
}

/// `d, quants[32]` (signed).
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (w, &q) in out.iter_mut().zip(&block[2..]) {
        *w = f32::from(q as i8) * d;
    }
}

/// `scales[16]` (low half scale, high half minimum), `quants[64]`, `d`, `dmin`.
fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let [d, dmin] = [f16_at(block, 80), f16_at(block, 82)];
    for (i, w) in out.iter_mut().enumerate() {
        let scale = block[i / 16];
        let q = block[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        *w = (d * f32::from(scale & 15)) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// The 16 six-bit scales of [`Format::Q3_K`], minus 32, as signed bytes.
///
/// Low halves are in bytes 0..8 (first the low, then the high ones), the upper two bits of each
/// in bytes 8..12: four at a time in words of 32 bits.
#[inline(always)]
pub(crate) fn q3_scales(packed: &[u8; 12]) -> [u8; 16] {
    let [a, b, upper] = [u32_at(packed, 0), u32_at(packed, 4), u32_at(packed, 8)];
    let lows = [a, b, a >> 4, b >> 4];
    let mut out = 0;
    for (i, low) in lows.into_iter().enumerate() {
        let q = low & 0x0f0f_0f0f | (upper >> (2 * i) & 0x0303_0303) << 4;
        // Each byte is below 64: `(q + 96) ^ 128` is `q - 32` without a carry between bytes.
        out |= u128::from(q.wrapping_add(0x6060_6060) ^ 0x8080_8080) << (32 * i);
    }
    out.to_le_bytes()
}

/// `high[32]`, `quants[64]`, `scales[12]`, `d`; a *cleared* bit of `high` takes 4 away.
fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 108);
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[96..108]);
    let scales = q3_scales(&packed);
    for (i, w) in out.iter_mut().enumerate() {
        let low = block[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        let high = block[i % 32] >> (i / 32) & 1;
        let q = i32::from(low) - if high == 0 { 4 } else { 0 };
        *w = (d * f32::from(scales[i / 16] as i8)) * q as f32;
    }
}

/// The 8 six-bit scales, then the 8 six-bit minima of [`Format::Q4_K`] and [`Format::Q5_K`].
///
/// The first four of each are the low six bits of bytes 0..4 and 4..8; the last four have their
/// low four bits in bytes 8..12 and their upper two in the spare bits of the first eight.
#[inline(always)]
pub(crate) fn q4_scales(packed: &[u8; 12]) -> [u8; 16] {
    let [s, m, both] = [u32_at(packed, 0), u32_at(packed, 4), u32_at(packed, 8)];
    let words = [
        s & 0x3f3f_3f3f,
        both & 0x0f0f_0f0f | (s >> 6 & 0x0303_0303) << 4,
        m & 0x3f3f_3f3f,
        both >> 4 & 0x0f0f_0f0f | (m >> 6 & 0x0303_0303) << 4,
    ];
    let mut out = 0;
    for (i, word) in words.into_iter().enumerate() {
        out |= u128::from(word) << (32 * i);
    }
    out.to_le_bytes()
}

/// `d`, `dmin`, `scales[12]`, `quants[128]`: 32 bytes hold one group low and the next high.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let [d, dmin] = [f16_at(block, 0), f16_at(block, 2)];
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let scales = q4_scales(&packed);
    for (i, w) in out.iter_mut().enumerate() {
        let g = i / 32;
        let q = block[16 + g / 2 * 32 + i % 32] >> (g % 2 * 4) & 15;
        *w = (d * f32::from(scales[g])) * f32::from(q) - dmin * f32::from(scales[g + 8]);
    }
}

/// `d`, `dmin`, `scales[12]`, `high[32]`, `quants[128]`: bit `g` of `high` is group `g`'s fifth.
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let [d, dmin] = [f16_at(block, 0), f16_at(block, 2)];
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let scales = q4_scales(&packed);
    for (i, w) in out.iter_mut().enumerate() {
        let g = i / 32;
        let low = block[48 + g / 2 * 32 + i % 32] >> (g % 2 * 4) & 15;
        let q = low | (block[16 + i % 32] >> g & 1) << 4;
        *w = (d * f32::from(scales[g])) * f32::from(q) - dmin * f32::from(scales[g + 8]);
    }
}

/// `low[128]`, `high[64]`, `scales[16]` (signed), `d`; halves of 128 weights.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16_at(block, 208);
    for (i, w) in out.iter_mut().enumerate() {
        let [half, g] = [i / 128, i % 128 / 32];
        let low = block[half * 64 + g % 2 * 32 + i % 32] >> (g / 2 * 4) & 15;
        let high = block[128 + half * 32 + i % 32] >> (g * 2) & 3;
        let scale = block[192 + i / 16] as i8;
        *w = (d * f32::from(scale)) * (i32::from(low | high << 4) - 32) as f32;
    }
}

/// Rounds weights of a format of floats to Q8_0: the scale of 32 is a 127th of their largest.
///
/// `bytes` holds a multiple of 32 weights; what is beyond the last whole block is left out.
pub fn to_q8_0(format: Format, bytes: &[u8]) -> Vec<u8> {
    let size = format.block_bytes();
    let mut out = Vec::with_capacity(bytes.len() / size / 32 * 34);
    let mut floats = [0.0_f32; 32];
    for block in bytes.chunks_exact(32 * size) {
        dequantize(format, block, &mut floats);
        // Not `max`, which loses a NaN: what is broken must stay so.
        let larger = |most: f32, x: &f32| if x.abs() <= most { most } else { x.abs() };
        let largest = floats.iter().fold(0.0, larger);
        let largest = if floats.iter().any(|x| x.is_nan()) { f32::NAN } else { largest };
        let scale = f16::from_f32(largest / 127.0);
        out.extend(scale.to_le_bytes());
        let scale = scale.to_f32();
        let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        out.extend(floats.iter().map(|x| (x * by).round().clamp(-127.0, 127.0) as i8 as u8));
    }
    out
}

/// Rounds weights of a format to F16, whole blocks of them.
pub fn to_f16(format: Format, bytes: &[u8]) -> Vec<u8> {
    let size = format.block_bytes();
    let mut out = Vec::with_capacity(bytes.len() / size * format.block() * 2);
    let mut floats = vec![0.0_f32; format.block()];
    for block in bytes.chunks_exact(size) {
        dequantize(format, block, &mut floats);
        out.extend(floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random blocks of 512 weights whose scales have small exponents, so that all weights
    /// are finite.
    fn blocks(format: Format) -> Vec<u8> {
        let mut state = 12345u32;
        let mut bytes: Vec<u8> = (0..512 / format.block() * format.block_bytes())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let (upper, exponent): (&[usize], u8) = match format {
            Format::F32 => (&[3], 0x3c),
            Format::BF16 => (&[1], 0x3c),
            Format::F16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => (&[1], 0x28),
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => (&[1, 3], 0x28),
            Format::Q2_K => (&[81, 83], 0x28),
            Format::Q3_K => (&[109], 0x28),
            Format::Q6_K => (&[209], 0x28),
        };
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            for &at in upper {
                block[at] = block[at] & 0x83 | exponent;
            }
        }
        bytes
    }

    /// Weights 0, 17, 100, 300 and 511 and the FNV-1a hash of all 512, recorded from
    /// `gguf.quants.dequantize` on the same blocks.
    #[rustfmt::skip]
    #[allow(clippy::excessive_precision)]
    const RECORDED: [(Format, [f32; 5], u64); 13] = [
        (Format::F32, [-0.27151504158973694, 0.6178862452507019, 0.011669785715639591, 0.1540973037481308, -0.979421079158783], 0x5815_d51d_9755_1e1b),
        (Format::F16, [0.031402587890625, -0.05133056640625, 0.048736572265625, 0.0455322265625, 0.0364990234375], 0xa039_23b7_5f04_11a3),
        (Format::BF16, [0.00811767578125, -0.28515625, 0.1845703125, 0.103515625, 0.02099609375], 0x50a8_40e3_6b64_dc20),
        (Format::Q4_0, [0.094207763671875, 0.06280517578125, -0.1387939453125, -0.1788330078125, 0.09063720703125], 0x8e94_d110_67ca_1c84),
        (Format::Q4_1, [0.200103759765625, -0.01971435546875, -0.34027099609375, 0.03216552734375, 0.037109375], 0x025a_0ec0_6d7d_e280),
        (Format::Q5_0, [0.43963623046875, -0.251220703125, 0.6895751953125, -0.62408447265625, -0.0], 0x6f23_b816_b205_be0b),
        (Format::Q5_1, [0.200103759765625, 0.828155517578125, 0.01300048828125, -0.98663330078125, -0.470855712890625], 0xb809_4d41_41df_247c),
        (Format::Q8_0, [-3.674102783203125, -0.408233642578125, -1.562774658203125, 5.4580078125, 0.84075927734375], 0xe612_82be_14e5_facd),
        (Format::Q2_K, [-0.227813720703125, -0.364501953125, -1.611358642578125, 0.181884765625, 0.29278564453125], 0xeca7_4c0f_ba29_9c20),
        (Format::Q3_K, [-0.7349853515625, -1.408721923828125, 0.0, -0.0, 0.56103515625], 0xee29_e15f_7f31_8875),
        (Format::Q4_K, [7.50732421875, 13.787841796875, 6.56072998046875, -5.293853759765625, -9.947662353515625], 0x5f9d_eef5_dc22_787a),
        (Format::Q5_K, [27.60498046875, 12.53173828125, 12.96685791015625, 50.410125732421875, -0.349365234375], 0x4f0a_fa67_2f93_de61),
        (Format::Q6_K, [-82.4337158203125, 137.3895263671875, -2.326171875, 178.37142944335938, -14.51788330078125], 0x28a7_1966_5bce_591f),
    ];

    #[test]
    fn equals_the_recorded_values_of_gguf() {
        for (format, some, hash) in RECORDED {
            let packed = blocks(format);
            let mut out = [0f32; 512];
            // One byte further, so that nothing can count on alignment.
            let shifted: Vec<u8> = std::iter::once(0).chain(packed).collect();
            dequantize(format, &shifted[1..], &mut out);
            for (i, want) in [0, 17, 100, 300, 511].into_iter().zip(some) {
                assert_eq!(out[i].to_bits(), want.to_bits(), "{format} weight {i}: {}", out[i]);
            }
            let got =
                out.iter().flat_map(|w| w.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |h, b| {
                    (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
                });
            assert_eq!(got, hash, "{format}");
        }
    }
}
