//! What stands between the products: norms, activations, rotations.
//!
//! Plain loops over arrays of lanes, compiled once for each instruction set, so that they become
//! vectors; rows are shared out to the threads.

use super::level::Level;
use super::rounding::ROUND;
use super::simd::{Kernel, Simd};
use super::{Activation, pool};

/// Floats of a norm that are worth another thread.
const SMALL: usize = 16 << 10;

/// The same of an activation, which takes some ten times as long.
const SOME: usize = 2 << 10;

/// Lanes that the loops are written in: a whole number of vectors everywhere.
const LANES: usize = 16;

/// A normalization of rows.
#[derive(Clone, Copy)]
pub struct NormArgs<'a> {
    /// Whether the mean is taken away (layer norm) or not (root mean square).
    pub centered: bool,
    /// Added to the mean square.
    pub eps: f32,
    /// Scale, `[D]`.
    pub gamma: &'a [f32],
    /// Shift, `[D]`.
    pub beta: Option<&'a [f32]>,
}

/// Normalizes rows of the size of the scale, in place.
pub fn norm(norm: NormArgs<'_>, x: &mut [f32]) {
    let width = norm.gamma.len().max(1);
    in_parts(x, width, SMALL, &|x| Level::best().run(NormRows { norm, x }));
}

/// `x = norm(x + y)`, row by row.
pub fn norm_of_sum(norm: NormArgs<'_>, x: &mut [f32], y: &[f32]) {
    let width = norm.gamma.len().max(1);
    in_pairs(x, y, width, SMALL, &|x, y| Level::best().run(NormOfSum { norm, x, y }));
}

/// Applies an activation to every float of some rows, on this thread.
pub(super) fn activate_rows(kind: Activation, rows: &mut [&mut [f32]]) {
    Level::best().run(ActivateRows { kind, rows });
}

/// Applies an activation to every float, in place.
pub fn activate(kind: Activation, x: &mut [f32]) {
    in_parts(x, LANES, SOME, &|x| Level::best().run(Activate { kind, x }));
}

/// `gate = activation(gate) * up`.
pub fn gate(kind: Activation, gate: &mut [f32], up: &[f32]) {
    in_pairs(gate, up, LANES, SOME, &|gate, up| Level::best().run(Gate { kind, gate, up }));
}

/// Rotates heads: each token's row holds `heads` of `c` floats, of which the first
/// `2 * half` are rotated; `cos` and `sin` are `[T, half]`.
pub fn rotate(x: &mut [f32], row: usize, c: usize, cos: &[f32], sin: &[f32], pairs: Pairs) {
    let half = cos.len() * row / x.len().max(1);
    let tokens = x.chunks_exact_mut(row.max(1));
    let angles = cos.chunks_exact(half.max(1)).zip(sin.chunks_exact(half.max(1)));
    for (x, (cos, sin)) in tokens.zip(angles) {
        for head in x.chunks_exact_mut(c) {
            Level::best().run(Rotate { head, cos, sin, pairs });
        }
    }
}

/// Which dimensions of a head are rotated together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// `i` with `i + half`.
    Halves,
    /// `2 i` with `2 i + 1`.
    Adjacent,
}

/// Calls `work` with whole rows of `x`, on the threads of the pool where that pays.
fn in_parts(x: &mut [f32], width: usize, small: usize, work: &(dyn Fn(&mut [f32]) + Sync)) {
    let Some(share) = share(x.len(), width, small) else { return work(x) };
    let count = x.len().div_ceil(share);
    let parts = pool::Shares::new(x.chunks_mut(share));
    pool::current().run(count, &|_| {
        if let Some(part) = parts.next() {
            work(part);
        }
    });
}

/// The same with the rows of `y` beside those of `x`.
fn in_pairs(
    x: &mut [f32],
    y: &[f32],
    width: usize,
    small: usize,
    work: &(dyn Fn(&mut [f32], &[f32]) + Sync),
) {
    let Some(share) = share(x.len(), width, small) else { return work(x, y) };
    let count = x.len().div_ceil(share);
    let parts = pool::Shares::new(x.chunks_mut(share).zip(y.chunks(share)));
    pool::current().run(count, &|_| {
        if let Some((x, y)) = parts.next() {
            work(x, y);
        }
    });
}

/// Floats that a thread takes at a time, a multiple of `width` and about `small` at least; `None` where
/// one is to take all.
fn share(all: usize, width: usize, small: usize) -> Option<usize> {
    let even = || all.div_ceil(4 * pool::current().threads());
    (all >= 2 * small).then(|| even().max(small).next_multiple_of(width))
}

struct NormRows<'a> {
    norm: NormArgs<'a>,
    x: &'a mut [f32],
}

impl Kernel for NormRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let NormArgs { centered, eps, gamma, beta } = self.norm;
        let width = gamma.len();
        if width == 0 {
            return;
        }
        for row in self.x.chunks_exact_mut(width) {
            if centered {
                let mean = sum(row, |x| x) / width as f32;
                row.iter_mut().for_each(|x| *x -= mean);
            }
            let square = sum(row, |x| x * x) / width as f32;
            let by = 1.0 / (square + eps).sqrt();
            match beta {
                Some(beta) => {
                    for ((x, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
                        *x = *x * by * gamma + beta;
                    }
                }
                None => {
                    for (x, gamma) in row.iter_mut().zip(gamma) {
                        *x = *x * by * gamma;
                    }
                }
            }
        }
    }
}

struct NormOfSum<'a> {
    norm: NormArgs<'a>,
    x: &'a mut [f32],
    y: &'a [f32],
}

impl Kernel for NormOfSum<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NormOfSum { norm, x, y } = self;
        let width = norm.gamma.len().max(1);
        // Row by row, so that a sum is normalized while it is in the nearest cache.
        for (x, y) in x.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            NormRows { norm, x }.run(s);
        }
    }
}

/// The sum of `f` of each, lane by lane.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

struct Activate<'a> {
    kind: Activation,
    x: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    #[allow(
        clippy::excessive_precision,
        reason = "2 sqrt(2 / pi) to one digit more than a float has"
    )]
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let x = self.x;
        match self.kind {
            Activation::Gelu => {
                each(x, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)))
            }
            // `x (1 + tanh u) / 2 = x sigmoid(2 u)`, u = sqrt(2 / pi) (x + 0.044715 x^3)
            Activation::GeluTanh => {
                each(x, |x| x * sigmoid(1.595_769_1 * (x + 0.044_715 * x * x * x)));
            }
            Activation::Relu => each(x, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::Silu => each(x, |x| x * sigmoid(x)),
            Activation::Tanh => each(x, tanh),
        }
    }
}

struct ActivateRows<'a, 'b> {
    kind: Activation,
    rows: &'a mut [&'b mut [f32]],
}

impl Kernel for ActivateRows<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.rows {
            Activate { kind: self.kind, x }.run(s);
        }
    }
}

struct Gate<'a> {
    kind: Activation,
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Gate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gate { kind, gate, up } = self;
        Activate { kind, x: &mut *gate }.run(s);
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate *= up;
        }
    }
}

#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for x in chunk {
            *x = f(*x);
        }
    }
    for x in rest {
        *x = f(*x);
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh`, to within 2e-7.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// `e^x` to within two units in the last place; beyond the range of floats, its ends.
///
/// `x = n ln 2 + r`, and a polynomial for `e^r` (Cephes, `expf.c`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Not `clamp`, `min` or `max`: a NaN must stay one.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    p * f32::from_bits((exponent.wrapping_add(127) << 23) as u32)
}

/// The error function to within 4e-7: an odd polynomial over an even one, as Eigen has it.
#[allow(clippy::excessive_precision, reason = "the digits as they were published")]
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let s = x * x;
    let a = -2.726_142_3e-10;
    let a = a * s + 2.770_681_4e-8;
    let a = a * s + -2.101_024e-6;
    let a = a * s + -5.692_506_4e-5;
    let a = a * s + -7.349_906_3e-4;
    let a = a * s + -2.954_6e-3;
    let a = a * s + -1.609_603_3e-2;
    let b = -1.456_607_2e-5;
    let b = b * s + -2.133_740_55e-4;
    let b = b * s + -1.682_827e-3;
    let b = b * s + -7.373_329_2e-3;
    let b = b * s + -1.426_473_9e-2;
    x * a / b
}

struct Rotate<'a> {
    head: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    pairs: Pairs,
}

impl Kernel for Rotate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Rotate { head, cos, sin, pairs } = self;
        let angles = cos.iter().zip(sin);
        let head = &mut head[..2 * cos.len()];
        match pairs {
            Pairs::Halves => {
                let (left, right) = head.split_at_mut(cos.len());
                for ((l, r), (cos, sin)) in left.iter_mut().zip(right).zip(angles) {
                    (*l, *r) = (*l * cos - *r * sin, *r * cos + *l * sin);
                }
            }
            Pairs::Adjacent => {
                for ([l, r], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(angles) {
                    (*l, *r) = (*l * cos - *r * sin, *r * cos + *l * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<f32> {
        (-1000..=1000).map(|i| i as f32 * 0.01).collect()
    }

    /// `erf` by its series, in f64; good up to 5 or so.
    fn series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn functions_are_near() {
        for x in grid() {
            let wide = f64::from(x);
            let off = (f64::from(exp(x)) / wide.exp() - 1.0).abs();
            assert!(off < 3e-7, "exp({x}) is off by {off}");
            let off = (f64::from(tanh(x)) - wide.tanh()).abs();
            assert!(off < 3e-7, "tanh({x}) is off by {off}");
            if x.abs() < 4.5 {
                let off = (f64::from(erf(x)) - series(wide)).abs();
                assert!(off < 4e-7, "erf({x}) is off by {off}");
            }
        }
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    }

    #[test]
    #[allow(clippy::type_complexity, reason = "a table that is read where it stands")]
    fn activations_are_those_of_their_formulas() {
        let formulas: [(Activation, fn(f64) -> f64); 5] = [
            (Activation::Tanh, f64::tanh),
            (Activation::Gelu, |x| {
                let erf = if x.abs() < 5.6 { series(x / 2f64.sqrt()) } else { x.signum() };
                0.5 * x * (1.0 + erf)
            }),
            (Activation::GeluTanh, |x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }),
            (Activation::Relu, |x| x.max(0.0)),
            (Activation::Silu, |x| x / (1.0 + (-x).exp())),
        ];
        for (kind, formula) in formulas {
            let mut x = grid();
            activate(kind, &mut x);
            for (x, y) in grid().into_iter().zip(x) {
                let off = (f64::from(y) - formula(f64::from(x))).abs();
                assert!(off < 1.5e-6, "{kind:?}({x}) is {y}, off by {off}");
            }
        }
    }

    /// In several parts, of which the last is shorter.
    #[test]
    fn gates_are_activations_times_what_they_let_through() {
        for count in [5, 2 * SOME - 1, 5 * SOME + 21] {
            let x: Vec<f32> = (0..count).map(|i| (i % 401) as f32 * 0.05 - 10.0).collect();
            let up: Vec<f32> = (0..count).map(|i| (i % 37) as f32 - 18.0).collect();
            let mut wanted = x.clone();
            Level::best().run(Activate { kind: Activation::Silu, x: &mut wanted });
            let mut gated = x.clone();
            gate(Activation::Silu, &mut gated, &up);
            for i in 0..count {
                assert_eq!(gated[i], wanted[i] * up[i], "{i} of {count}");
            }
            let mut active = x;
            activate(Activation::Silu, &mut active);
            assert_eq!(active, wanted, "{count}");
        }
    }

    /// In one part, and in several.
    #[test]
    fn a_norm_of_a_sum_is_that_of_the_sum() {
        for rows in [1, 3, 2 * SMALL / 40 + 7] {
            let floats = |by: usize| (0..rows * 40).map(move |i| (i * by % 97) as f32 - 48.0);
            let (mut x, y): (Vec<f32>, Vec<f32>) = (floats(31).collect(), floats(57).collect());
            let gamma: Vec<f32> = (0..40).map(|i| 1.0 - i as f32 * 0.02).collect();
            let kind = NormArgs { centered: true, eps: 1e-6, gamma: &gamma, beta: Some(&gamma) };
            let mut wanted: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            norm(kind, &mut wanted);
            norm_of_sum(kind, &mut x, &y);
            assert_eq!(x, wanted, "{rows} rows");
        }
    }

    #[test]
    fn norms_and_rotations() {
        let mut x: Vec<f32> = (0..3 * 37).map(|i| ((i * 29) % 41) as f32 - 7.0).collect();
        let before = x.clone();
        let gamma: Vec<f32> = (0..37).map(|i| 1.0 + i as f32 * 0.01).collect();
        let norm_of = |centered, x: &mut [f32]| {
            norm(NormArgs { centered, eps: 1e-5, gamma: &gamma, beta: Some(&gamma) }, x);
        };
        for centered in [false, true] {
            x.copy_from_slice(&before);
            norm_of(centered, &mut x);
            for (row, old) in x.chunks_exact(37).zip(before.chunks_exact(37)) {
                let mean = if centered { old.iter().sum::<f32>() / 37.0 } else { 0.0 };
                let var = old.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 37.0;
                for ((y, x), gamma) in row.iter().zip(old).zip(&gamma) {
                    let want = (x - mean) / (var + 1e-5).sqrt() * gamma + gamma;
                    assert!((y - want).abs() < 1e-5, "{y} is not {want}");
                }
            }
        }
        let (cos, sin) = (vec![0.6, 0.0], vec![0.8, 1.0]);
        let mut x = vec![1.0, 2.0, 3.0, 4.0, 9.0];
        rotate(&mut x, 5, 5, &cos, &sin, Pairs::Halves);
        let want = [0.6 - 2.4, -4.0, 1.8 + 0.8, 2.0, 9.0];
        assert!(x.iter().zip(want).all(|(x, want): (&f32, f32)| (x - want).abs() < 1e-6), "{x:?}");
        let mut x = vec![1.0, 2.0, 3.0, 4.0, 9.0];
        rotate(&mut x, 5, 5, &cos, &sin, Pairs::Adjacent);
        let want = [0.6 - 1.6, 1.2 + 0.8, -4.0, 3.0, 9.0];
        assert!(x.iter().zip(want).all(|(x, want): (&f32, f32)| (x - want).abs() < 1e-6), "{x:?}");
    }
}
