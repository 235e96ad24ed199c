//! The modules of this folder on the CPU, on plain slices.
//!
//! Each `on_host` computes what the `forward` beside it does, with [`crate::kernels::cpu`] instead
//! of tensor operations, and `forward` asks it first: it answers where the numbers are on the CPU
//! and no gradient is wanted. What it does not know (a bias on scores, say) it leaves to the
//! tensors by giving `None`; so an idea is written once, in tensors, and here when it has to be
//! fast.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use burn::backend::DispatchTensorKind;
use burn::backend::{BackendTensor, DType, DispatchAutodiffContext, DispatchDevice};
use burn::tensor::{Device, Tensor, TensorData};
use burn_flex::FlexTensor;

use super::attention::{Attention, Keys, Places};
use super::cache::Held;
use super::cross::Seen;
use super::gpu::Memo;
use super::linear::{Proj, Weight};
use super::mlp::Mlp;
use super::norm::Norm;
use super::position::Angles;
use super::spec::{self, Activation, Pairing, Span};
use crate::kernels::cpu;
use crate::kernels::cpu::attention::{Attend, Part, attend};
use crate::kernels::cpu::between;
use crate::kernels::flex::packed_bytes;
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

/// The floats of a tensor of which [`floats`] knows some, to change: without a copy where nobody else
/// has them.
fn taken<const N: usize>(x: Tensor<N>) -> Vec<f32> {
    let values = x.into_data().try_into_vec();
    values.unwrap_or_else(|_| unreachable!("`floats` found 32-bit floats"))
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
    /// What was made for other blocks of the pass; `None` on the CPU.
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
    pub memo: Option<&'a Memo>,
}

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

/// Memory for what lies between two products, kept by the thread from call to call. What is in it at
/// first is any numbers.
struct Room {
    held: Vec<f32>,
    len: usize,
}

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Room {
    /// Most rooms that a thread keeps, and most floats of one: what a call of some hundred tokens
    /// takes.
    const KEPT: [usize; 2] = [6, 1 << 20];

    fn new(len: usize) -> Room {
        let held = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, or the largest.
            let fits =
                (0..free.len()).min_by_key(|&i| (free[i].len() < len, free[i].len().abs_diff(len)));
            fits.map(|i| free.swap_remove(i))
        });
        let mut held = held.unwrap_or_default();
        if held.len() < len {
            held.resize(len, 0.0);
        }
        Room { held, len }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let [rooms, floats] = Room::KEPT;
        let held = std::mem::take(&mut self.held);
        // A thread that ends has none any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < rooms && held.len() <= floats {
                free.push(held);
            }
        });
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.held[..self.len]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.held[..self.len]
    }
}

/// A norm in this program's memory.
pub(crate) struct HostNorm {
    kind: spec::Norm,
    gamma: Floats,
    beta: Option<Floats>,
}

impl Norm {
    /// The norm, if it and the tensors, all of one shape, are on the CPU.
    pub(crate) fn on_host<const N: usize>(&self, tensors: &[&Tensor<N>]) -> Option<HostNorm> {
        let alike = |x: &&Tensor<N>| x.dims() == tensors[0].dims() && floats(x).is_some();
        if tensors.iter().all(alike) { self.held() } else { None }
    }

    /// The norm, if it is on the CPU.
    fn held(&self) -> Option<HostNorm> {
        let gamma = floats(&self.gamma.val())?;
        let beta = match &self.beta {
            Some(beta) => Some(floats(&beta.val())?),
            None => None,
        };
        Some(HostNorm { kind: self.kind(), gamma, beta })
    }
}

impl HostNorm {
    /// Normalizes rows of the scale's size, in place.
    fn rows(&self, x: &mut [f32]) {
        between::norm(self.parts(), x);
    }

    /// `norm(x)` of a tensor that the norm was asked for with.
    pub(crate) fn of<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let (dims, mut x) = (x.dims(), taken(x));
        self.rows(&mut x);
        tensor(x, dims)
    }

    /// `norm(x + y)` of two such.
    pub(crate) fn of_sum<const N: usize>(&self, x: Tensor<N>, y: Tensor<N>) -> Tensor<N> {
        let Some(held) = floats(&x) else { unreachable!("the norm was asked for with it") };
        // What has just been computed is nobody else's.
        let mut sum = taken(y);
        between::norm_of_sum(self.parts(), &mut sum, &held);
        tensor(sum, x.dims())
    }

    fn parts(&self) -> between::Norm<'_> {
        between::Norm {
            centered: matches!(self.kind, spec::Norm::Layer { .. }),
            eps: self.kind.eps() as f32,
            gamma: &self.gamma,
            beta: self.beta.as_deref(),
        }
    }
}

/// A matrix in this program's memory.
enum Matrix {
    Full(Floats),
    Packed(Format, FlexTensor),
}

impl Matrix {
    fn of(weight: &Weight) -> Option<Matrix> {
        Some(match weight {
            Weight::Full(values) => Matrix::Full(floats(&values.val())?),
            Weight::Packed(packed) => Matrix::Packed(packed.format(), packed.on_host()?),
        })
    }

    fn bytes(&self) -> (Format, &[u8]) {
        match self {
            Matrix::Full(values) => (Format::F32, bytemuck::cast_slice(values)),
            Matrix::Packed(format, bytes) => (*format, packed_bytes(bytes)),
        }
    }
}

/// `x W^T + bias` of `m` rows for each of some matrices, then the activation if there is one.
fn products<const N: usize>(
    matrices: [(&Weight, Option<&Floats>); N],
    then: Option<Activation>,
    x: &[f32],
    m: usize,
    mut out: [&mut [f32]; N],
) -> Option<()> {
    let width = matrices.first()?.0.dims()[1];
    let mut held = [const { None }; N];
    for (held, (weight, _)) in held.iter_mut().zip(matrices) {
        *held = Some(Matrix::of(weight)?);
    }
    let of = std::array::from_fn::<_, N, _>(|i| {
        let (format, w) = held[i].as_ref().map_or((Format::F32, &[][..]), Matrix::bytes);
        let (weight, bias) = matrices[i];
        let turned = match weight {
            Weight::Full(full) => full.as_turned(),
            Weight::Packed(packed) => packed.as_turned(),
        };
        let panels = if m > 1 { turned.panels(format, w, weight.dims()) } else { None };
        let (n, bias) = (weight.dims()[0], bias.map(|bias| &**bias));
        cpu::Matrix { format, w, n, bias, panels, then }
    });
    cpu::matmuls(&of, x, [m, width], &mut out);
    Some(())
}

impl Weight {
    /// `x W^T` of `m` rows.
    pub(crate) fn on_host(&self, x: &[f32], m: usize) -> Option<Vec<f32>> {
        let mut out = vec![0.0; m * self.dims()[0]];
        products([(self, None)], None, x, m, [&mut out])?;
        Some(out)
    }
}

impl Proj {
    /// Projects `m` rows.
    pub(crate) fn on_host(&self, x: &[f32], m: usize) -> Option<Vec<f32>> {
        let mut out = vec![0.0; m * self.weight.dims()[0]];
        Proj::into([self], None, x, m, [&mut out])?;
        Some(out)
    }

    /// Projects `m` rows by each, as one piece of work for the threads.
    fn several<const N: usize>(
        of: [&Proj; N],
        then: Option<Activation>,
        x: &[f32],
        m: usize,
    ) -> Option<[Room; N]> {
        let mut rooms = of.map(|proj| Room::new(m * proj.weight.dims()[0]));
        Proj::into(of, then, x, m, rooms.each_mut().map(|room| &mut **room))?;
        Some(rooms)
    }

    /// The same, to where the caller says.
    fn into<const N: usize>(
        of: [&Proj; N],
        then: Option<Activation>,
        x: &[f32],
        m: usize,
        out: [&mut [f32]; N],
    ) -> Option<()> {
        let mut biases = [const { None }; N];
        for (held, proj) in biases.iter_mut().zip(of) {
            if let Some(bias) = &proj.bias {
                *held = Some(floats(&bias.val())?);
            }
        }
        let matrices = std::array::from_fn(|i| (&of[i].weight, biases[i].as_ref()));
        products(matrices, then, x, m, out)
    }
}

impl Mlp {
    /// `m` rows through the feed-forward part.
    pub(crate) fn on_host(&self, x: &[f32], m: usize) -> Option<Vec<f32>> {
        if self.clamp().is_some() {
            return None;
        }
        let inner = match &self.gate {
            Some(gate) => {
                let [mut gate, up] = Proj::several([gate, &self.up], None, x, m)?;
                between::gate(self.activation(), &mut gate, &up);
                gate
            }
            None => {
                let [up] = Proj::several([&self.up], Some(self.activation()), x, m)?;
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
        let Sight { window, after } = sight(view.span)?;
        if !self.plain(&places) {
            return None;
        }
        let (c, q_row, k_row) =
            (spec.head_dim, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let [_, width] = self.q.weight.dims();
        let m = x.len() / width;
        let (mut q, mut fresh) = match keys {
            Keys::Own(_) | Keys::Each(..) => {
                let [q, k, v] = Proj::several([&self.q, &self.k, &self.v], None, x, m)?;
                (q, Some((k, v)))
            }
            Keys::Across(_) => {
                let [q] = Proj::several([&self.q], None, x, m)?;
                (q, None)
            }
        };
        if let Some(norm) = &self.q_norm {
            norm.held()?.rows(&mut q);
        }
        if let Some(angles) = places.angles {
            angles.on_host(&mut q, q_row, c)?;
        }
        if let Some((k, _)) = &mut fresh {
            if let Some(norm) = &self.k_norm {
                norm.held()?.rows(k);
            }
            if let Some(angles) = places.angles {
                angles.on_host(k, k_row, c)?;
            }
        }
        let (own, seen);
        let mut sides: Vec<(&[f32], &[f32])> = Vec::with_capacity(view.parts.len().max(1));
        let parts: &[Part] = match (keys, &fresh) {
            (Keys::Own(None), Some((k, v))) => {
                sides.push((k, v));
                view.parts
            }
            (Keys::Across(Seen::Rows(k, v)), _) => {
                seen = (floats(k)?, floats(v)?);
                sides.push((&seen.0, &seen.1));
                view.parts
            }
            // Each sequence has rows of its own to look at, whose new ones join them first.
            (Keys::Own(Some(cache)), Some((k, v))) => {
                let held = cache.host(view.parts.len().max(1))?;
                own = joined(held.iter_mut(), (k, v), k_row, &mut sides);
                &own
            }
            (Keys::Each(caches), Some((k, v))) => {
                let held = caches.iter_mut().map(|cache| cache.host(1)?.first_mut());
                let held = held.collect::<Option<Vec<_>>>()?;
                own = joined(held.into_iter(), (k, v), k_row, &mut sides);
                &own
            }
            _ => return None,
        };
        let mut y = Room::new(q.len());
        attend(
            Attend {
                q: &q,
                sides: &sides,
                heads: spec.heads,
                kv_heads: spec.kv_heads,
                dim: c,
                scale: spec.scale as f32,
                softcap: spec.softcap.map(|cap| cap as f32),
                window,
                after,
                parts,
            },
            &mut y,
        );
        self.out.on_host(&y, m)
    }
}

/// Lets the new rows of sequences that have equally many join those that are held; gives the parts
/// of the queries, and fills `sides` with what each looks at.
fn joined<'a>(
    held: impl ExactSizeIterator<Item = &'a mut Held>,
    (k, v): (&[f32], &[f32]),
    row: usize,
    sides: &mut Vec<(&'a [f32], &'a [f32])>,
) -> Vec<Part> {
    let t = k.len() / row / held.len().max(1);
    let each = (t * row).max(1);
    let news = k.chunks_exact(each).zip(v.chunks_exact(each));
    let part = |(i, (held, (k, v))): (usize, (&'a mut Held, _))| {
        held.extend(k, v, row);
        let (k, v) = held.rows();
        sides.push((k, v));
        let keys = k.len() / row;
        Part { queries: i * t..(i + 1) * t, keys: 0..keys, before: keys - t }
    };
    held.zip(news).enumerate().map(part).collect()
}
