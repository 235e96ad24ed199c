//! Sums of products on their way: a thread's scratch memory, stretches of a row, and how sums come
//! to where they go.

use super::simd::{PANEL_ROWS, Simd};

/// The longest stretch of a row that is summed in one go.
pub(super) const DEPTH: usize = 1024;

/// How far ahead a token asks for weights: processors look ahead by themselves, but not past a page.
pub(super) const AHEAD: usize = 4096;

/// Sixteen 32-bit numbers of a thread's scratch memory: aligned to the widest vectors.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([i32; 16]);

impl Line {
    pub(super) const ZERO: Line = Line([0; 16]);
}

/// Stretches of a row of `k`: as even as multiples of the largest block allow.
pub(super) fn stretch(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(256)
}

/// What sums of a stretch are added to.
#[derive(Clone, Copy)]
pub(super) enum Base<'a> {
    /// The first stretch: to the bias of the columns, if there is one.
    Bias(Option<&'a [f32]>),
    /// To the sums so far.
    Sums,
}

impl<'a> Base<'a> {
    pub(super) fn new(bias: Option<&'a [f32]>, stretch: usize) -> Base<'a> {
        if stretch == 0 { Base::Bias(bias) } else { Base::Sums }
    }
}

/// Writes the sums of four rows of `w` from row `first` on.
#[inline(always)]
pub(super) fn put(out: &mut [f32], first: usize, sums: [f32; 4]) {
    for (out, sum) in out[first..].iter_mut().zip(sums) {
        *out = sum;
    }
}

/// Writes two vectors, on top of their base, to columns of `out` from `first` on, as many as there
/// are.
#[inline(always)]
pub(super) fn add<S: Simd>(
    s: S,
    sums: [S::Floats; 2],
    base: Base<'_>,
    out: &mut [f32],
    first: usize,
) {
    let one = s.splat(1.0);
    let out = &mut out[first..];
    if out.len() >= 2 * S::LANES {
        for v in 0..2 {
            let out = &mut out[v * S::LANES..];
            let sum = match base {
                Base::Bias(None) => sums[v],
                Base::Bias(Some(bias)) => {
                    s.mul_add(sums[v], one, s.load_floats(&bias[first + v * S::LANES..]))
                }
                Base::Sums => s.mul_add(sums[v], one, s.load_floats(out)),
            };
            s.store_floats(sum, out);
        }
    } else {
        let mut all = [0.0; PANEL_ROWS];
        for v in 0..2 {
            s.store_floats(sums[v], &mut all[v * S::LANES..]);
        }
        for (i, (out, sum)) in out.iter_mut().zip(all).enumerate() {
            *out = match base {
                Base::Bias(bias) => sum + bias.map_or(0.0, |bias| bias[first + i]),
                Base::Sums => sum + *out,
            };
        }
    }
}
