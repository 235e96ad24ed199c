//! Repacked weights: the panels that the CPU makes once of a matrix of floats.

use std::sync::{Arc, OnceLock};

use super::Format;
use crate::kernels::cpu::Panels;

/// A matrix repacked into panels in the order in which the processor reads them, at the first
/// product with many rows (prefill GEMM): that doubles its memory, of which the mapped half is the
/// system's to take back.
#[derive(Clone, Debug, Default)]
pub(crate) enum Repacked {
    /// Never: it is not worth it, or the numbers may change.
    #[default]
    Never,
    /// As they are stored.
    Stored(Arc<OnceLock<Option<Panels>>>),
    /// In bfloat16 where the processor multiplies it, else as stored.
    Rounded(Arc<OnceLock<Option<Panels>>>),
    /// Not at all, but a GPU may multiply it by many rows in 16-bit floats.
    Half,
}

impl Repacked {
    /// The panels, made if they are not yet, of rows at `w`.
    pub(crate) fn panels(&self, format: Format, w: &[u8], shape: [usize; 2]) -> Option<&Panels> {
        match self {
            Repacked::Never | Repacked::Half => None,
            Repacked::Stored(panels) => {
                panels.get_or_init(|| Panels::new(format, w, shape)).as_ref()
            }
            Repacked::Rounded(panels) => panels
                .get_or_init(|| {
                    Panels::rounded(format, w, shape).or_else(|| Panels::new(format, w, shape))
                })
                .as_ref(),
        }
    }
}
