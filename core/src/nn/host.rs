//! The modules of this folder on the CPU, on plain slices.
//!
//! Each `on_host` computes what the `forward` beside it does, with [`crate::kernels::cpu`] instead
//! of tensor operations, and `forward` asks it first: it answers where the numbers are on the CPU
//! and no gradient is wanted. What it does not know (a bias on scores, say) it leaves to the
//! tensors by giving `None`; so an idea is written once, in tensors, and here when it has to be
//! fast.

use std::ops::Deref;

use burn::backend::DispatchTensorKind;
use burn::backend::{BackendTensor, DType, DispatchAutodiffContext, DispatchDevice};
use burn::tensor::{Device, Tensor, TensorData};
use burn_flex::FlexTensor;

use super::attention::{Attention, Keys, Places};
use super::cross::Seen;
use super::linear::{Proj, Weight};
use super::mlp::Mlp;
use super::norm::Norm;
use super::position::Angles;
use super::spec::{self, Pairing, QkNorm, Span};
use crate::kernels::cpu;
use crate::kernels::cpu::attention::{Attend, Part, attend};
use crate::kernels::cpu::between;
use crate::quant::Format;

/// The floats of a tensor in this program's memory.
pub(crate) struct Floats {
    tensor: FlexTensor,
    start: usize,
    end: usize,
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.tensor.storage::<f32>()[self.start..self.end]
    }
}

/// Whether tensors of this device are in this program's memory and have no gradient.
pub(crate) fn is_host(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// A tensor's floats, if it is on the CPU and no gradient is asked of it.
pub(crate) fn floats<const N: usize>(x: &Tensor<N>) -> Option<Floats> {
    let x = x.clone().into_dispatch();
    if !matches!(x.autodiff, DispatchAutodiffContext::Disabled) {
        return None;
    }
    #[allow(unreachable_patterns, reason = "a build may have no other backend")]
    let tensor = match x.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor,
        _ => return None,
    };
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let tensor = tensor.to_contiguous();
    let (start, end) = tensor.layout().contiguous_offsets()?;
    Some(Floats { tensor, start, end })
}

/// Floats as a tensor on the CPU.
pub(crate) fn tensor<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Which tokens a block's tokens see, told by numbers instead of a mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// What they see of the tokens beside them.
    pub span: Span,
    /// The sequences among the rows.
    pub parts: &'a [Part],
}

impl Norm {
    /// Normalizes rows of the scale's size, in place.
    pub(crate) fn on_host(&self, x: &mut [f32]) -> Option<()> {
        let gamma = floats(&self.gamma.val())?;
        let beta = match &self.beta {
            Some(beta) => Some(floats(&beta.val())?),
            None => None,
        };
        let kind = self.kind();
        between::norm(
            between::Norm {
                centered: matches!(kind, spec::Norm::Layer { .. }),
                eps: kind.eps() as f32,
                gamma: &gamma,
                beta: beta.as_deref(),
            },
            x,
        );
        Some(())
    }
}

impl Weight {
    /// `x W^T + bias` of `m` rows.
    pub(crate) fn on_host(&self, x: &[f32], m: usize, bias: Option<&[f32]>) -> Option<Vec<f32>> {
        let [rows, width] = self.dims();
        let mut out = vec![0.0; m * rows];
        let shape = [m, width, rows];
        match self {
            Weight::Full(values) => {
                let w = floats(&values.val())?;
                let w: &[u8] = bytemuck::cast_slice(&w);
                cpu::matmul(Format::F32, w, x, shape, bias, &mut out);
            }
            Weight::Packed(packed) => {
                packed.on_host(|w| cpu::matmul(packed.format(), w, x, shape, bias, &mut out))?;
            }
        }
        Some(out)
    }
}

impl Proj {
    /// Projects `m` rows.
    pub(crate) fn on_host(&self, x: &[f32], m: usize) -> Option<Vec<f32>> {
        match &self.bias {
            Some(bias) => self.weight.on_host(x, m, Some(&floats(&bias.val())?)),
            None => self.weight.on_host(x, m, None),
        }
    }
}

impl Mlp {
    /// `m` rows through the feed-forward part.
    pub(crate) fn on_host(&self, x: &[f32], m: usize) -> Option<Vec<f32>> {
        if self.clamp().is_some() {
            return None;
        }
        let up = self.up.on_host(x, m)?;
        let inner = match &self.gate {
            Some(gate) => {
                let mut gate = gate.on_host(x, m)?;
                between::gate(self.activation(), &mut gate, &up);
                gate
            }
            None => {
                let mut up = up;
                between::activate(self.activation(), &mut up);
                up
            }
        };
        self.down.on_host(&inner, m)
    }
}

impl Angles {
    /// Rotates the heads of rows `[B T, H C]`, in place.
    fn on_host(&self, x: &mut [f32], row: usize, c: usize) -> Option<()> {
        let (cos, sin, pairing) = self.parts();
        let (cos, sin) = (floats(cos)?, floats(sin)?);
        let pairs = match pairing {
            Pairing::Halves => between::Pairs::Halves,
            Pairing::Adjacent => between::Pairs::Adjacent,
        };
        let tokens = self.tokens();
        // One row of angles for all sequences, or one for each.
        let each = cos.len() / self.rows().max(1);
        let parts = cos.chunks_exact(each.max(1)).zip(sin.chunks_exact(each.max(1))).cycle();
        for (x, (cos, sin)) in x.chunks_exact_mut((tokens * row).max(1)).zip(parts) {
            between::rotate(x, row, c, cos, sin, pairs);
        }
        Some(())
    }
}

impl Attention {
    /// Lets every token look at those that the view shows.
    ///
    /// # Shapes
    /// `x: [B T, D]` -> `[B T, D]`
    pub(crate) fn on_host(
        &self,
        x: &[f32],
        places: Places<'_>,
        keys: &mut Keys<'_>,
    ) -> Option<Vec<f32>> {
        let spec = self.spec();
        let view = places.view?;
        let (window, after) = match view.span {
            Span::Bidirectional => (None, None),
            Span::Causal => (None, Some(0)),
            Span::Sliding { window } => (Some(window), Some(0)),
            Span::Local { reach } => (Some(reach.saturating_add(1)), Some(reach)),
            Span::Chunked { .. } => return None,
        };
        if places.map.is_some()
            || places.bias.is_some()
            || places.vectors.is_some()
            || places.temper.is_some()
            || self.sinks.is_some()
            || self.latent.is_some()
            || matches!(spec.qk_norm, Some(QkNorm::PerHead(_) | QkNorm::Rotated { .. }))
        {
            return None;
        }
        let (c, q_row, k_row) =
            (spec.head_dim, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let [_, width] = self.q.weight.dims();
        let m = x.len() / width;
        let mut q = self.q.on_host(x, m)?;
        if let Some(norm) = &self.q_norm {
            norm.on_host(&mut q)?;
        }
        if let Some(angles) = places.angles {
            angles.on_host(&mut q, q_row, c)?;
        }
        let (own, seen);
        let (k, v): (&[f32], &[f32]) = match keys {
            Keys::Own(_) => {
                let mut k = self.k.on_host(x, m)?;
                if let Some(norm) = &self.k_norm {
                    norm.on_host(&mut k)?;
                }
                if let Some(angles) = places.angles {
                    angles.on_host(&mut k, k_row, c)?;
                }
                own = (k, self.v.on_host(x, m)?);
                (&own.0, &own.1)
            }
            Keys::Across(Seen::Rows(k, v)) => {
                seen = (floats(k)?, floats(v)?);
                (&seen.0, &seen.1)
            }
            Keys::Across(Seen::Heads(..)) => return None,
        };
        let all = Attend {
            q: &q,
            k,
            v,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            dim: c,
            scale: spec.scale as f32,
            softcap: spec.softcap.map(|cap| cap as f32),
            window,
            after,
            parts: view.parts,
        };
        let mut y = vec![0.0; q.len()];
        match keys {
            Keys::Own(Some(cache)) => {
                // Each sequence has rows of its own to look at.
                let rows = view.parts.len().max(1);
                let t = m / rows;
                let sides =
                    k.chunks_exact((t * k_row).max(1)).zip(v.chunks_exact((t * k_row).max(1)));
                let queries = q.chunks_exact((t * q_row).max(1));
                let outs = y.chunks_exact_mut((t * q_row).max(1));
                for (((held, (k, v)), q), y) in
                    cache.host(rows)?.iter_mut().zip(sides).zip(queries).zip(outs)
                {
                    held.extend(k, v, k_row);
                    let (k, v) = held.rows();
                    let keys = k.len() / k_row;
                    let part = [Part { queries: 0..t, keys: 0..keys, before: keys - t }];
                    attend(Attend { q, k, v, parts: &part, ..all }, y);
                }
            }
            _ => attend(all, &mut y),
        }
        self.out.on_host(&y, m)
    }
}
