//! Sampling over the vocabulary: what choosing a token asks of a row of logits.
//!
//! Plain loops in lanes, compiled once for each instruction set. Their number is fixed and nothing is
//! fused, so that the order of additions, and with it the result, is the same everywhere.

use super::level::Level;
use super::simd::{Kernel, Simd};

/// Logits per block: a block's maximum tells whether to look inside.
pub const BLOCK: usize = 1024;

/// Sums and maxima that run side by side.
const LANES: usize = 8;

/// Fills `peaks` with the largest logit of each [`BLOCK`]; whether all logits are finite or negative
/// infinity.
pub fn peaks(logits: &[f32], peaks: &mut Vec<f32>) -> bool {
    peaks.clear();
    peaks.resize(logits.len().div_ceil(BLOCK), f32::NEG_INFINITY);
    let mut fine = true;
    Level::best().run(Peaks { logits, peaks, fine: &mut fine });
    fine
}

struct Peaks<'a> {
    logits: &'a [f32],
    peaks: &'a mut [f32],
    fine: &'a mut bool,
}

impl Kernel for Peaks<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (block, peak) in self.logits.chunks(BLOCK).zip(self.peaks) {
            let mut most = [f32::NEG_INFINITY; LANES];
            let mut fit = [true; LANES];
            let (lanes, rest) = block.as_chunks::<LANES>();
            for lane in lanes {
                for i in 0..LANES {
                    // False for NaN, so that `most` never becomes one.
                    most[i] = if lane[i] > most[i] { lane[i] } else { most[i] };
                    fit[i] &= lane[i] < f32::INFINITY;
                }
            }
            *self.fine &= rest.iter().all(|&x| x < f32::INFINITY) && !fit.contains(&false);
            *peak = most.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        }
    }
}

/// Fills `sums` with what the [`weight`]s of each [`BLOCK`] add up to.
pub fn weigh(logits: &[f32], peak: f32, temperature: f32, sums: &mut Vec<f64>) {
    sums.clear();
    sums.resize(logits.len().div_ceil(BLOCK), 0.0);
    Level::best().run(Weigh { logits, peak, temperature, sums });
}

struct Weigh<'a> {
    logits: &'a [f32],
    peak: f32,
    temperature: f32,
    sums: &'a mut [f64],
}

impl Kernel for Weigh<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Weigh { logits, peak, temperature, sums } = self;
        for (block, to) in logits.chunks(BLOCK).zip(sums) {
            let mut sum = [0.0f32; LANES];
            let (lanes, rest) = block.as_chunks::<LANES>();
            for lane in lanes {
                for i in 0..LANES {
                    sum[i] += weight(lane[i], peak, temperature);
                }
            }
            for lane in sum {
                *to += f64::from(lane);
            }
            for &x in rest {
                *to += f64::from(weight(x, peak, temperature));
            }
        }
    }
}

/// Logarithm of the smallest weight that is not 0.
pub const LEAST_POWER: f32 = -87.0;

/// `exp((logit - peak) / temperature)` for `logit <= peak`, relative error below 3e-7 of the
/// exponential; 0 below e^-87.
///
/// Not the platform's `exp`, which differs between platforms and is not vectorized.
///
/// # Source
/// Cephes `expf`: two-part reduction by ln 2 and a polynomial of degree 7.
#[inline(always)]
pub fn weight(logit: f32, peak: f32, temperature: f32) -> f32 {
    /// Adding 1.5 * 2^23 rounds to a whole number, which the lowest bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let x = (logit - peak) / temperature;
    let y = if x > LEAST_POWER { x } else { LEAST_POWER };
    let rounded = y * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = y - whole * (355.0 / 512.0) + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let e = e * f32::from_bits(power);
    if x >= LEAST_POWER { e } else { 0.0 }
}
