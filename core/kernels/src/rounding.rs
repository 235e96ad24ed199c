//! Quantization of activations, floats to integers: a group of 32 to words with a scale, and words
//! to bytes.

/// Added to a float below 2^22 in size, it leaves the nearest integer in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// What the largest number of a group becomes: it fits a signed high byte beside a signed low one.
const LARGEST: f32 = 32512.0;

/// What the words of a group are multiplied by, and what by it the largest becomes 32767.
#[inline(always)]
pub(super) fn scales(largest: f32) -> [f32; 2] {
    let some = largest > 1e-30;
    [
        if some || largest.is_nan() { largest / LARGEST } else { 0.0 },
        if some { LARGEST / largest } else { 0.0 },
    ]
}

/// [`Simd::quantize`](super::simd::Simd::quantize) in plain loops.
#[inline(always)]
pub(super) fn quantize(x: &[f32; 32], words: &mut [i16; 32]) -> (f32, [f32; 2]) {
    // The largest size, found among the bits: so a NaN is larger than all and is not lost.
    let largest = x.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
    let [scale, by] = scales(f32::from_bits(largest));
    let mut ints = [0_i32; 32];
    for (int, x) in ints.iter_mut().zip(x) {
        *int = ((x * by + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    }
    for (word, int) in words.iter_mut().zip(ints) {
        *word = int as i16;
    }
    let (halves, _) = words.as_chunks::<16>();
    let sum = |half: &[i16; 16]| half.iter().map(|&word| i32::from(word)).sum::<i32>();
    (scale, [sum(&halves[0]) as f32 * scale, sum(&halves[1]) as f32 * scale])
}

/// The high and the low bytes of words: a word is `256 * high + low`, both signed.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn bytes(words: [i16; 32]) -> [[i8; 32]; 2] {
    let mut bytes = [[0; 32]; 2];
    for i in 0..32 {
        // What the low byte takes away is added to the high one.
        bytes[0][i] = ((words[i] + 128) >> 8) as i8;
        bytes[1][i] = words[i] as i8;
    }
    bytes
}
