//! Which steps each executor knows, whatever their parameters are: every field by name, so that a new
//! one does not compile until it is decided.

use super::why::Why;
use crate::nn::plan::{Attend, AttentionAt, Step};
use crate::nn::spec::{QkNorm, Span};

/// The widest head that the shared memory of every GPU has room for, see
/// [`attend`](crate::kernels::gpu::attend).
const WIDEST: usize = 256;

/// How far a token sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// Tokens back from the query's place, with it; `None`: all.
    pub window: Option<usize>,
    /// Tokens after the query's place; `None`: all.
    pub after: Option<usize>,
}

/// How far tokens see with this span; `None` where that differs by their place.
pub(crate) fn sight(span: Span) -> Option<Sight> {
    let (window, after) = match span {
        Span::Bidirectional => (None, None),
        Span::Causal => (None, Some(0)),
        Span::Sliding { window } => (Some(window), Some(0)),
        Span::Local { reach } => (Some(reach.saturating_add(1)), Some(reach)),
        Span::Chunked { .. } => return None,
    };
    Some(Sight { window, after })
}

/// What [`slices`](super::slices) knows.
pub(crate) fn slices(step: &Step) -> Result<(), Why> {
    match step {
        Step::Norm { norm: _, kind: _, from: _, to: _ } | Step::Project { from: _, to: _ } => {
            Ok(())
        }
        Step::Join { to: _, from: _, scale: _ } | Step::Open { gate: _, heads: _ } => Ok(()),
        Step::Gate { gate: _, activation: _, clamp } => match clamp {
            None => Ok(()),
            Some(_) => Err(Why::Clamp),
        },
        Step::Latent { from: _, heads: _, head_dim: _, rope: _, latent: _ } => Err(Why::Latent),
        Step::Experts { from: _, to: _, spec: _ } => Err(Why::Experts),
        Step::Attend(attend) => attention(attend),
    }
}

/// What [`cube`](super::cube) knows.
pub(crate) fn cube(step: &Step) -> Result<(), Why> {
    match step {
        // Kernels multiply by a scale.
        Step::Norm { norm: _, kind, from: _, to: _ } => match kind.is_scaled() {
            true => Ok(()),
            false => Err(Why::Scale),
        },
        Step::Project { from: _, to: _ } | Step::Join { to: _, from: _, scale: _ } => Ok(()),
        Step::Gate { gate: _, activation: _, clamp } => match clamp {
            None => Ok(()),
            Some(_) => Err(Why::Clamp),
        },
        Step::Open { gate: _, heads: _ } => Err(Why::OutputGate),
        Step::Latent { from: _, heads: _, head_dim: _, rope: _, latent: _ } => Err(Why::Latent),
        Step::Experts { from: _, to: _, spec: _ } => Err(Why::Experts),
        Step::Attend(attend) if attend.of == AttentionAt::Cross => Err(Why::Source),
        Step::Attend(attend) => {
            attention(attend)?;
            // Kernels multiply by a scale, and hold a head in shared memory.
            match attend.qk_norm {
                Some(norm) if !norm.norm().is_scaled() => Err(Why::Scale),
                _ if attend.head_dim > WIDEST => Err(Why::HeadWidth),
                _ => Ok(()),
            }
        }
    }
}

/// What both know of an attention.
fn attention(attend: &Attend) -> Result<(), Why> {
    let Attend {
        of: _,
        heads: _,
        kv_heads: _,
        head_dim,
        value_dim,
        qk_norm,
        rope: _,
        temper,
        span,
        scale: _,
        softcap: _,
        sinks,
        bias,
    } = attend;
    match qk_norm {
        None | Some(QkNorm::Shared(_) | QkNorm::Whole(_)) => {}
        Some(QkNorm::PerHead(_) | QkNorm::Rotated { .. }) => return Err(Why::QkNorm),
    }
    if head_dim != value_dim {
        return Err(Why::ValueWidth);
    }
    if sight(*span).is_none() {
        return Err(Why::Chunks);
    }
    match (temper, sinks, bias) {
        (Some(_), _, _) => Err(Why::Temper),
        (_, true, _) => Err(Why::Sinks),
        (_, _, Some(_)) => Err(Why::Bias),
        (None, false, None) => Ok(()),
    }
}
