//! The steps of a plan on the CPU, on plain slices.
//!
//! Between two steps there are floats in this program's memory and no tensors, from the first block
//! to the last. What is not known here (a bias on scores, say) tensors compute between the others.
//!
//! Folds (fusions): `x = norm(x + y)` is one pass over both ([`Op::JoinNorm`]); an activation
//! without a gate goes with the product before it ([`Op::Project`]'s `then`).

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::knows::{self, Sight, sight};
use super::params::Parameters;
use super::pass::{Hidden, LayerPass};
use super::tensors::{self, Slots, Value};
use super::why::Why;
use crate::kernels::cpu;
use crate::kernels::cpu::attention::{self, Part};
use crate::kernels::cpu::between;
use crate::kernels::flex::packed_bytes;
use crate::nn::attention::Attention;
use crate::nn::cache::HostKv;
use crate::nn::host::{Floats, floats, taken, tensor};
use crate::nn::linear::Proj;
use crate::nn::norm::Norm;
use crate::nn::plan::{Attend, AttentionAt, Slot, Step};
use crate::nn::position::Angles;
use crate::nn::spec::{self, Activation, Pairing};
use crate::nn::states::LayerStates;
use crate::nn::weight::Weight;
use crate::quant::Format;

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
    const KEPT: [usize; 2] = [8, 1 << 20];

    /// Floats of a room that is given for however little.
    const SMALL: usize = 1 << 16;

    fn new(len: usize) -> Room {
        let held = FREE.with_borrow_mut(|free| {
            // A large one given for little would be missed by the next that needs it, which would
            // make another.
            let most = (2 * len).max(Room::SMALL);
            let fits = (0..free.len()).filter(|&i| (len..=most).contains(&free[i].len()));
            fits.min_by_key(|&i| free[i].len()).map(|i| free.swap_remove(i))
        });
        Room { held: held.unwrap_or_else(|| vec![0.0; len]), len }
    }

    /// The floats, in a vector of their own.
    fn into_vec(mut self) -> Vec<f32> {
        let mut held = std::mem::take(&mut self.held);
        held.truncate(self.len);
        held
    }
}

impl From<Vec<f32>> for Room {
    fn from(held: Vec<f32>) -> Room {
        Room { len: held.len(), held }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let [rooms, floats] = Room::KEPT;
        let held = std::mem::take(&mut self.held);
        if held.is_empty() || held.len() > floats {
            return;
        }
        // A thread that ends has none any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            // The oldest makes room: what a call of another size left is not wanted again.
            if free.len() == rooms {
                free.remove(0);
            }
            free.push(held);
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
    gamma: Scale,
    beta: Option<Floats>,
}

/// A norm's scale.
enum Scale {
    Held(Floats),
    /// No scale in the file: ones.
    Ones(Vec<f32>),
}

impl Norm {
    /// The norm, if it and `x` are on the CPU.
    pub(crate) fn on_host_with<const N: usize>(&self, x: &Tensor<N>) -> Option<HostNorm> {
        floats(x)?;
        self.on_host().ok()
    }

    /// The norm, if it is on the CPU.
    fn on_host(&self) -> Result<HostNorm, Why> {
        let gamma = match &self.gamma {
            Some(gamma) => Scale::Held(floats(&gamma.val()).ok_or(Why::Parameters)?),
            None => Scale::Ones(vec![1.0; self.width()]),
        };
        let beta = match &self.beta {
            Some(beta) => Some(floats(&beta.val()).ok_or(Why::Parameters)?),
            None => None,
        };
        Ok(HostNorm { kind: self.kind(), gamma, beta })
    }
}

impl HostNorm {
    /// The norm of a tensor that it was asked for with.
    pub(crate) fn of<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let (dims, mut x) = (x.dims(), taken(x));
        self.rows(&mut x);
        tensor(x, dims)
    }

    /// Normalizes rows of the scale's size, in place.
    fn rows(&self, x: &mut [f32]) {
        between::norm(self.parts(), x);
    }

    fn parts(&self) -> between::NormArgs<'_> {
        between::NormArgs {
            centered: self.kind.is_centered(),
            eps: self.kind.eps() as f32,
            gamma: match &self.gamma {
                Scale::Held(gamma) => gamma,
                Scale::Ones(ones) => ones,
            },
            beta: self.beta.as_deref(),
        }
    }
}

/// A matrix in this program's memory, with what is added to each product.
struct Matrix<'a> {
    weight: &'a Weight,
    held: HostWeight,
    bias: Option<Floats>,
}

enum HostWeight {
    Full(Floats),
    Packed(Format, FlexTensor),
}

impl<'a> Matrix<'a> {
    fn of(weight: &'a Weight, bias: Option<Floats>) -> Option<Matrix<'a>> {
        let held = match weight {
            Weight::Full(values) => HostWeight::Full(floats(&values.val())?),
            Weight::Packed(packed) => HostWeight::Packed(packed.format(), packed.on_host()?),
        };
        Some(Matrix { weight, held, bias })
    }

    fn of_proj(proj: &'a Proj) -> Option<Matrix<'a>> {
        let bias = match &proj.bias {
            Some(bias) => Some(floats(&bias.val())?),
            None => None,
        };
        Matrix::of(&proj.weight, bias)
    }

    /// Output size.
    fn rows(&self) -> usize {
        self.weight.dims()[0]
    }

    /// As products of `m` rows take it.
    fn operand(&self, then: Option<Activation>, m: usize) -> cpu::Matrix<'_> {
        let (format, w) = match &self.held {
            HostWeight::Full(values) => (Format::F32, bytemuck::cast_slice(values)),
            HostWeight::Packed(format, bytes) => (*format, packed_bytes(bytes)),
        };
        let repack = match self.weight {
            Weight::Full(full) => full.repack(),
            Weight::Packed(packed) => packed.repack(),
        };
        let panels = if m > 1 { repack.panels(format, w, self.weight.dims()) } else { None };
        cpu::Matrix { format, w, n: self.rows(), bias: self.bias.as_deref(), panels, then }
    }
}

/// `x W^T + bias` of `m` rows for each of some matrices, then the activation if there is one: one
/// piece of work for the threads.
fn products(of: &[Matrix<'_>], then: Option<Activation>, x: &[f32], m: usize) -> Vec<Room> {
    let Some(first) = of.first() else { return vec![] };
    let [_, width] = first.weight.dims();
    let operands: Vec<_> = of.iter().map(|matrix| matrix.operand(then, m)).collect();
    let mut rooms: Vec<Room> = of.iter().map(|matrix| Room::new(m * matrix.rows())).collect();
    let mut out: Vec<&mut [f32]> = rooms.iter_mut().map(|room| &mut **room).collect();
    cpu::matmuls(&operands, x, [m, width], &mut out);
    drop(out);
    rooms
}

/// One product, in a vector of its own.
fn product(matrix: &Matrix<'_>, x: &[f32], m: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * matrix.rows()];
    cpu::matmuls(&[matrix.operand(None, m)], x, [m, matrix.weight.dims()[1]], &mut [&mut out]);
    out
}

impl Weight {
    /// `x W^T`, if both are on the CPU.
    ///
    /// # Shapes
    /// `x: [M, width]` -> `[M, rows]`
    pub(crate) fn of_floats(&self, x: &Tensor<2>) -> Option<Tensor<2>> {
        let (values, [m, _]) = (floats(x)?, x.dims());
        let matrix = Matrix::of(self, None)?;
        Some(tensor(product(&matrix, &values, m), [m, matrix.rows()]))
    }
}

impl Proj {
    /// The projection, if both are on the CPU.
    ///
    /// # Shapes
    /// `x: [B, T, width]` -> `[B, T, rows]`
    pub(crate) fn of_floats(&self, x: &Tensor<3>) -> Option<Tensor<3>> {
        let (values, [b, t, _]) = (floats(x)?, x.dims());
        let matrix = Matrix::of_proj(self)?;
        Some(tensor(product(&matrix, &values, b * t), [b, t, matrix.rows()]))
    }
}

/// An operation on slices, with the parameters that it needs.
#[allow(
    clippy::large_enum_variant,
    reason = "there are a dozen a block, and they stay where they are"
)]
enum Op<'a> {
    /// `to = norm(from)`
    Norm { norm: HostNorm, from: Slot, to: Slot },
    /// Products of one operand, with an activation folded in.
    Project { from: Slot, of: Vec<Matrix<'a>>, to: Vec<Slot>, then: Option<Activation> },
    /// Attention.
    Attend(Look<'a>),
    /// `U = activation(gate) * U`
    Gate { gate: Slot, activation: Activation },
    /// `A = A * sigmoid(G)`, one of the gate for as many of `A` as there are more.
    Open,
    /// `U = activation(U)`
    Activate { activation: Activation },
    /// `to += scale * from`
    Join { to: Slot, from: Slot, scale: Option<f32> },
    /// `to = norm(to + from)`
    JoinNorm { norm: HostNorm, to: Slot, from: Slot },
    /// What tensors compute.
    Tensors(&'a Step),
}

/// Attention with what it needs.
struct Look<'a> {
    attend: &'a Attend,
    norms: [Option<HostNorm>; 2],
    /// Keys and values of a source, `[B, S, K C]` each.
    source: Option<[Floats; 2]>,
    sight: Sight,
}

/// The steps of a layer, each with its parameters: nothing can refuse any more.
pub(super) struct Bound<'a> {
    ops: Vec<Op<'a>>,
    /// What each slot is last read by; the rest of the way it is free.
    last: [usize; Slot::COUNT],
    /// Rows and their width.
    shape: [usize; 3],
}

impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Norm { from, to, .. } => write!(f, "{to} = norm({from})"),
            Op::JoinNorm { to, from, .. } => write!(f, "{to} = norm({to} + {from})"),
            Op::Project { from, to, then, .. } => {
                to.iter().try_for_each(|to| write!(f, "{to} "))?;
                write!(f, "= {from} W")?;
                then.map_or(Ok(()), |then| write!(f, ", {then}"))
            }
            Op::Attend(_) => f.write_str("A = attention"),
            Op::Gate { gate, activation } => write!(f, "U = {activation}({gate}) * U"),
            Op::Open => f.write_str("A = A * sigmoid(G)"),
            Op::Activate { activation } => write!(f, "U = {activation}(U)"),
            Op::Join { to, from, scale: None } => write!(f, "{to} += {from}"),
            Op::Join { to, from, scale: Some(scale) } => write!(f, "{to} += {scale} * {from}"),
            Op::Tensors(step) => write!(f, "{} by tensors", step.name()),
        }
    }
}

impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, &self.ops)
    }
}

/// Operations on one line.
pub(super) fn listed(f: &mut fmt::Formatter<'_>, ops: &[impl fmt::Display]) -> fmt::Result {
    ops.iter().enumerate().try_for_each(|(i, op)| match i {
        0 => write!(f, "{op}"),
        _ => write!(f, "; {op}"),
    })
}

/// A layer's steps with their parameters, if states and parameters are in this program's memory and
/// no gradient is asked of them.
pub(super) fn bind<'a>(
    steps: &'a [Step],
    layer: &LayerPass<'a>,
    x: &Hidden,
    states: &LayerStates<'_>,
) -> Result<Bound<'a>, Why> {
    let shape = match x {
        Hidden::Floats(_, shape) => *shape,
        Hidden::Tensor(x) => {
            floats(x).ok_or(Why::States)?;
            x.dims()
        }
    };
    bind_steps(steps, layer.owner, shape, |step| match step {
        Step::Attend(attend) => Ok(match layer.only_tensors(attend) {
            Some(_) => None,
            None => look(attend, layer, states)?,
        }),
        _ => Ok(None),
    })
}

fn bind_steps<'a>(
    steps: &'a [Step],
    owner: &'a dyn Parameters,
    shape: [usize; 3],
    look: impl Fn(&'a Step) -> Result<Option<Look<'a>>, Why>,
) -> Result<Bound<'a>, Why> {
    let norm = |at| match owner.norm(at) {
        Some(norm) => norm.on_host(),
        None => Err(Why::Parameters),
    };
    let matrix = |at| owner.matrix(at).and_then(Matrix::of_proj).ok_or(Why::Parameters);
    let mut ops = Vec::with_capacity(steps.len());
    let mut last = [0; Slot::COUNT];
    let mut rest = steps;
    while let Some((step, after)) = rest.split_first() {
        rest = after;
        let at = ops.len();
        step.reads().into_iter().for_each(|slot| last[slot as usize] = at);
        if knows::slices(step).is_err() {
            ops.push(Op::Tensors(step));
            continue;
        }
        ops.push(match step {
            Step::Norm { norm: at, from, to, .. } => {
                Op::Norm { norm: norm(*at)?, from: *from, to: *to }
            }
            Step::Join { to, from, scale: None }
                if let Some((Step::Norm { norm: own, from: sum, to: into, .. }, after)) =
                    rest.split_first()
                    && (sum, into) == (to, to) =>
            {
                rest = after;
                Op::JoinNorm { norm: norm(*own)?, to: *to, from: *from }
            }
            Step::Join { to, from, scale } => {
                Op::Join { to: *to, from: *from, scale: scale.map(|scale| scale as f32) }
            }
            Step::Project { from, to } => {
                let of = to.iter().map(|(at, _)| matrix(*at)).collect::<Result<_, _>>()?;
                let to: Vec<Slot> = to.iter().map(|(_, slot)| *slot).collect();
                let then = match rest.split_first() {
                    Some((Step::Gate { gate: None, activation, clamp: None }, after))
                        if to == [Slot::U] =>
                    {
                        rest = after;
                        Some(*activation)
                    }
                    _ => None,
                };
                Op::Project { from: *from, of, to, then }
            }
            Step::Gate { gate: Some(gate), activation, clamp: _ } => {
                Op::Gate { gate: *gate, activation: *activation }
            }
            Step::Gate { gate: None, activation, clamp: _ } => {
                Op::Activate { activation: *activation }
            }
            Step::Attend(_) => look(step)?.map_or(Op::Tensors(step), Op::Attend),
            Step::Open { .. } => Op::Open,
            Step::Latent { .. } | Step::Experts { .. } => Op::Tensors(step),
        });
    }
    // What tensors compute may have parameters that no operation here was asked for with.
    if ops.iter().any(|op| matches!(op, Op::Tensors(_))) && owner.is_trained() {
        return Err(Why::Parameters);
    }
    // The residual stream is what comes out.
    last[Slot::X as usize] = usize::MAX;
    Ok(Bound { ops, last, shape })
}

/// What an attention needs; `None` where what is held of earlier tokens is in tensors.
fn look<'a>(
    attend: &'a Attend,
    layer: &LayerPass<'a>,
    states: &LayerStates<'_>,
) -> Result<Option<Look<'a>>, Why> {
    let held = |module: &'a Attention| -> Result<[Option<HostNorm>; 2], Why> {
        let norm = |norm: &Option<Norm>| norm.as_ref().map(Norm::on_host).transpose();
        Ok([norm(&module.q_norm)?, norm(&module.k_norm)?])
    };
    let Some(sight) = sight(attend.span) else { return Ok(None) };
    let Some(module) = layer.owner.attention(attend.of) else { return Err(Why::Parameters) };
    let (norms, source) = match attend.of {
        AttentionAt::Own => {
            let fits = match states {
                LayerStates::None => true,
                LayerStates::One(cache) => {
                    cache.fits_host(layer.pass.rows.sequences().len().max(1))
                }
                LayerStates::Each(caches) => caches.iter().all(|cache| cache.fits_host(1)),
            };
            if !fits {
                return Ok(None);
            }
            (held(module)?, None)
        }
        AttentionAt::Cross => {
            let [q, _] = held(module)?;
            // Without a source it is asked what would be, see `Ways`.
            let source = match layer.pass.across {
                None => None,
                Some(memory) => match memory.rows_of(layer.number) {
                    None => return Ok(None),
                    source => source,
                },
            };
            ([q, None], source)
        }
    };
    Ok(Some(Look { attend, norms, source, sight }))
}

/// A slot's value.
#[allow(clippy::large_enum_variant, reason = "there are ten a block, and they stay where they are")]
enum Cell {
    Floats(Room),
    Tensor(Value),
}

/// The values of a block's slots.
struct Values([Option<Cell>; Slot::COUNT]);

impl Values {
    fn set(&mut self, slot: Slot, room: Room) {
        self.0[slot as usize] = Some(Cell::Floats(room));
    }

    fn take(&mut self, slot: Slot) -> Room {
        match self.0[slot as usize].take() {
            Some(Cell::Floats(room)) => room,
            Some(Cell::Tensor(value)) => taken(value.rows()).into(),
            None => unreachable!("a plan writes {slot:?} before it reads it"),
        }
    }

    fn get(&mut self, slot: Slot) -> &[f32] {
        let room = self.take(slot);
        self.set(slot, room);
        match &self.0[slot as usize] {
            Some(Cell::Floats(room)) => room,
            Some(Cell::Tensor(_)) | None => &[],
        }
    }

    /// As a tensor, for a step that tensors compute.
    fn value(&self, slot: Slot, [b, t]: [usize; 2]) -> Option<Value> {
        Some(match self.0[slot as usize].as_ref()? {
            Cell::Tensor(value) => value.clone(),
            Cell::Floats(room) => {
                let width = room.len() / (b * t).max(1);
                Value::Rows(tensor(room.to_vec(), [b, t, width]))
            }
        })
    }
}

/// The states after a layer.
pub(super) fn run(
    bound: Bound<'_>,
    layer: &LayerPass<'_>,
    x: Hidden,
    states: &mut LayerStates<'_>,
) -> Hidden {
    let shape = bound.shape;
    let x = match x {
        Hidden::Floats(values, _) => values,
        Hidden::Tensor(x) => taken(x),
    };
    let mut values = Values([const { None }; Slot::COUNT]);
    values.set(Slot::X, x.into());
    run_ops(&bound, &mut values, |op, values| match op {
        Op::Attend(look) => attend(look, layer, values, states),
        Op::Tensors(step) => by_tensors(step, layer, values, states),
        _ => {}
    });
    Hidden::Floats(values.take(Slot::X).into_vec(), shape)
}

/// The steps of an MLP by itself; `None` where what it needs is not on the CPU.
///
/// # Shapes
/// `x: [B, T, D]` -> `[B, T, D]`
pub(crate) fn mlp(steps: &[Step], owner: &dyn Parameters, x: &Tensor<3>) -> Option<Tensor<3>> {
    let [b, t, _] = x.dims();
    floats(x)?;
    if steps.iter().any(|step| knows::slices(step).is_err()) {
        return None;
    }
    let bound = bind_steps(steps, owner, x.dims(), |_| Ok(None)).ok()?;
    let mut values = Values([const { None }; Slot::COUNT]);
    values.set(Slot::X, taken(x.clone()).into());
    run_ops(&bound, &mut values, |_, _| {});
    let y = values.take(Slot::Y).into_vec();
    let width = y.len() / (b * t).max(1);
    Some(tensor(y, [b, t, width]))
}

fn run_ops<'a>(
    bound: &Bound<'a>,
    values: &mut Values,
    mut other: impl FnMut(&Op<'a>, &mut Values),
) {
    let m = bound.shape[0] * bound.shape[1];
    for (at, op) in bound.ops.iter().enumerate() {
        // Whether nothing reads the slot after.
        let is_last = |slot: Slot| bound.last[slot as usize] == at;
        match op {
            Op::Norm { norm, from, to } => {
                let mut room = match from == to || is_last(*from) {
                    true => values.take(*from),
                    false => {
                        let x = values.get(*from);
                        let mut room = Room::new(x.len());
                        room.copy_from_slice(x);
                        room
                    }
                };
                norm.rows(&mut room);
                values.set(*to, room);
            }
            Op::Project { from, of, to, then } => {
                let rooms = products(of, *then, values.get(*from), m);
                if is_last(*from) {
                    drop(values.take(*from));
                }
                to.iter().zip(rooms).for_each(|(slot, room)| values.set(*slot, room));
            }
            Op::Gate { gate, activation } => {
                let (mut inner, up) = (values.take(*gate), values.take(Slot::U));
                between::gate(*activation, &mut inner, &up);
                values.set(Slot::U, inner);
            }
            Op::Open => {
                let (mut x, gate) = (values.take(Slot::A), values.take(Slot::G));
                let each = x.len() / gate.len().max(1);
                for (x, gate) in x.chunks_exact_mut(each.max(1)).zip(&*gate) {
                    let open = 1.0 / (1.0 + (-gate).exp());
                    x.iter_mut().for_each(|x| *x *= open);
                }
                values.set(Slot::A, x);
            }
            Op::Activate { activation } => {
                let mut up = values.take(Slot::U);
                between::activate(*activation, &mut up);
                values.set(Slot::U, up);
            }
            Op::Join { to, from, scale } => {
                let (mut sum, y) = (values.take(*to), values.take(*from));
                match scale {
                    Some(scale) => sum.iter_mut().zip(&*y).for_each(|(x, y)| *x += y * scale),
                    None => sum.iter_mut().zip(&*y).for_each(|(x, y)| *x += y),
                }
                values.set(*to, sum);
            }
            Op::JoinNorm { norm, to, from } => {
                // What a part has just computed is nobody else's.
                let (x, mut sum) = (values.take(*to), values.take(*from));
                between::norm_of_sum(norm.parts(), &mut sum, &x);
                values.set(*to, sum);
            }
            Op::Attend(_) | Op::Tensors(_) => other(op, values),
        }
    }
}

/// A step that tensors compute; its results stay tensors until a slice is asked for.
fn by_tensors(
    step: &Step,
    layer: &LayerPass<'_>,
    values: &mut Values,
    states: &mut LayerStates<'_>,
) {
    let mut slots = Slots::default();
    let shape = layer.pass.rows.shape();
    for slot in step.reads() {
        if let Some(value) = values.value(slot, shape) {
            slots.set(slot, value);
        }
    }
    tensors::step(step, layer, &mut slots, states);
    for slot in step.writes() {
        if let Some(value) = slots.take(slot) {
            values.0[slot as usize] = Some(Cell::Tensor(value));
        }
    }
}

impl Angles {
    /// Rotates the heads of rows `[B T, H C]`, in place.
    fn turn(&self, x: &mut [f32], row: usize, c: usize) {
        let (cos, sin, pairing) = self.parts();
        let (Some(cos), Some(sin)) = (floats(cos), floats(sin)) else {
            unreachable!("angles are made on the device of the states")
        };
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
    }
}

/// `A` from `Q`, `K`, `V` and what is held of earlier tokens or of a source.
fn attend(
    look: &Look<'_>,
    layer: &LayerPass<'_>,
    values: &mut Values,
    states: &mut LayerStates<'_>,
) {
    let Look { attend, norms: [q_norm, k_norm], source, sight } = look;
    let pass = layer.pass;
    let (heads, kv_heads, c) = (attend.heads, attend.kv_heads, attend.head_dim);
    let (q_row, k_row) = (heads * c, kv_heads * c);
    let angles = pass.angles(attend.rope);
    let placed = |mut x: Room, norm: &Option<HostNorm>, row: usize| {
        if let Some(norm) = norm {
            norm.rows(&mut x);
        }
        if let Some(angles) = angles {
            angles.turn(&mut x, row, c);
        }
        x
    };
    let q = placed(values.take(Slot::Q), q_norm, q_row);
    let fresh = match attend.of {
        AttentionAt::Cross => None,
        AttentionAt::Own => {
            Some((placed(values.take(Slot::K), k_norm, k_row), values.take(Slot::V)))
        }
    };
    let own;
    let mut sides: Vec<(&[f32], &[f32])> = Vec::with_capacity(pass.parts.len().max(1));
    let parts: &[Part] = match (&fresh, source, states) {
        (None, Some([k, v]), _) => {
            sides.push((k, v));
            &pass.looks
        }
        (Some((k, v)), _, LayerStates::None) => {
            sides.push((k, v));
            &pass.parts
        }
        // Each sequence has rows of its own to look at, whose new ones join them first.
        (Some((k, v)), _, LayerStates::One(cache)) => {
            let held = cache.host(pass.rows.sequences().len().max(1));
            own = joined(held.unwrap_or_default().iter_mut(), (k, v), k_row, &mut sides);
            &own
        }
        (Some((k, v)), _, LayerStates::Each(caches)) => {
            let held = caches.iter_mut().filter_map(|cache| cache.host(1)?.first_mut());
            own = joined(held.collect::<Vec<_>>().into_iter(), (k, v), k_row, &mut sides);
            &own
        }
        (None, None, _) => unreachable!("what looks at a source was bound with one"),
    };
    let mut y = Room::new(q.len());
    let all = attention::AttentionArgs {
        q: &q,
        sides: &sides,
        heads,
        kv_heads,
        dim: c,
        scale: attend.scale as f32,
        softcap: attend.softcap.map(|cap| cap as f32),
        window: sight.window,
        after: sight.after,
        parts,
    };
    attention::attend(all, &mut y);
    values.set(Slot::A, y);
}

/// Lets the new rows of sequences that have equally many join those that are held; gives the parts
/// of the queries, and fills `sides` with what each looks at.
fn joined<'a>(
    held: impl ExactSizeIterator<Item = &'a mut HostKv>,
    (k, v): (&[f32], &[f32]),
    row: usize,
    sides: &mut Vec<(&'a [f32], &'a [f32])>,
) -> Vec<Part> {
    let t = k.len() / row / held.len().max(1);
    let each = (t * row).max(1);
    let news = k.chunks_exact(each).zip(v.chunks_exact(each));
    let part = |(i, (held, (k, v))): (usize, (&'a mut HostKv, _))| {
        held.extend(k, v, row);
        let (k, v) = held.rows();
        sides.push((k, v));
        let keys = k.len() / row;
        Part { queries: i * t..(i + 1) * t, keys: 0..keys, before: keys - t }
    };
    held.zip(news).enumerate().map(part).collect()
}
