//! Repacked weights: matrices of floats as panels, made once for GEMMs again and again.

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::bf16::{self as rounded, Bf16};
use super::format::{Format, row_bytes};
use super::level::Level;
use super::simd::PANEL_ROWS;
use super::sums::Line;
use super::{packed, pool, product};

/// A matrix of floats repacked into panels, once for products with many rows of `x` again and again.
///
/// It takes as much memory as the matrix in F32, or in BF16.
#[derive(Debug)]
pub struct Panels {
    pub(super) lines: Vec<Line>,
    pub(super) kind: Kind,
    n: usize,
    k: usize,
}

/// What panels hold, and for which instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floats, for vectors of so many.
    Floats(usize),
    /// Numbers in bfloat16, which `x` is rounded to as well.
    #[cfg(target_arch = "x86_64")]
    Rounded(Bf16),
}

impl Panels {
    /// Turns `n` packed rows of `k` floats; `None` where that is no use: for weights of fewer
    /// bits, and for widths that are no multiple of 32.
    pub fn new(format: Format, w: &[u8], shape: [usize; 2]) -> Option<Panels> {
        Panels::at(Level::best(), format, w, shape)
    }

    /// The same rounded to bfloat16, which `x` is rounded to as well in products; `None` also
    /// where the processor does not multiply it.
    pub fn rounded(format: Format, w: &[u8], shape: [usize; 2]) -> Option<Panels> {
        #[cfg(target_arch = "x86_64")]
        return Panels::rounded_for(Bf16::best()?, format, w, shape);
        #[cfg(not(target_arch = "x86_64"))]
        return {
            let _ = (format, w, shape);
            None
        };
    }

    pub(super) fn at(level: Level, format: Format, w: &[u8], [n, k]: [usize; 2]) -> Option<Panels> {
        if format.block() > 1 || !k.is_multiple_of(32) || n == 0 || k == 0 {
            return None;
        }
        let row_bytes = row_bytes(format, w, k, n);
        let mut lines = vec![Line::ZERO; n.next_multiple_of(PANEL_ROWS) * k / 16];
        let to = product::Shared::new(&mut lines);
        pool::current().run(n.div_ceil(PANEL_ROWS), &|task| {
            let rows = task * PANEL_ROWS..n.min((task + 1) * PANEL_ROWS);
            macro_rules! fill {
                ($packed:ty) => {
                    level.run(product::Fill {
                        format: PhantomData::<$packed>,
                        w,
                        row_bytes,
                        k,
                        rows,
                        all: n,
                        to: &to,
                    })
                };
            }
            match format {
                Format::F32 => fill!(packed::F32),
                Format::F16 => fill!(packed::F16),
                _ => fill!(packed::Bf16),
            }
        });
        Some(Panels { lines, kind: Kind::Floats(level.lanes()), n, k })
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn rounded_for(
        how: Bf16,
        format: Format,
        w: &[u8],
        [n, k]: [usize; 2],
    ) -> Option<Panels> {
        if format.block() > 1 || !k.is_multiple_of(32) || n == 0 || k == 0 {
            return None;
        }
        let row_bytes = row_bytes(format, w, k, n);
        let panel = rounded::panel(k);
        let mut lines = vec![Line::ZERO; n.div_ceil(rounded::ROWS) * panel / 16];
        let numbers: &mut [bf16] = bytemuck::cast_slice_mut(&mut lines);
        let panels = pool::Shares::new(numbers.chunks_exact_mut(2 * panel).enumerate());
        pool::current().run(n.div_ceil(rounded::ROWS), &|_| {
            let Some((first, panel)) = panels.next() else { return };
            let (mut floats, mut row) = (vec![0.0; k], vec![bf16::ZERO; k]);
            for i in 0..rounded::ROWS.min(n - first * rounded::ROWS) {
                let w = &w[(first * rounded::ROWS + i) * row_bytes..][..row_bytes];
                crate::ggml::dequantize(format, w, &mut floats);
                rounded::round(how, &floats, &mut row);
                // Two numbers of a row, then two of the next.
                let lines = panel.chunks_exact_mut(2 * rounded::ROWS);
                for (line, two) in lines.zip(row.as_chunks::<2>().0) {
                    line[2 * i..][..2].copy_from_slice(two);
                }
            }
        });
        Some(Panels { lines, kind: Kind::Rounded(how), n, k })
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Whether it was made for these instructions, and of such a matrix.
    pub(super) fn is(&self, level: Level, shape: [usize; 2]) -> bool {
        let kind = match self.kind {
            Kind::Floats(lanes) => lanes == level.lanes(),
            #[cfg(target_arch = "x86_64")]
            Kind::Rounded(_) => true,
        };
        kind && [self.n, self.k] == shape
    }
}
