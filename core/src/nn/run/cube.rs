//! The steps of a plan on a GPU, where each tensor operation is a launch and launches are what small
//! models wait for.
//!
//! What stands between two products is one launch. Folds (fusions), each a kernel of
//! [`crate::kernels::gpu`]:
//!
//! | steps | one launch |
//! |---|---|
//! | `Join`, `Norm` | [`between::norm_of_sum`]: the sum, its norm, rounded for the next product |
//! | `Norm`, `Join` | [`between::norm`] with a residual |
//! | `Project`, `Gate` | biases of the product join in [`between::gate_rows`], rounded for the next |
//! | rotation, cache | [`between::place`] |
//!
//! One token more of a sequence has launches of its own, see [`super::tape`].

use std::fmt;

use burn::backend::DType;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;

use super::knows::{self, Sight, sight};
use super::params::Parameters;
use super::pass::LayerPass;
use super::tensors::{self, Slots, Value};
use super::why::Why;
use crate::kernels::cpu::attention::Part;
use crate::kernels::gpu::attend::{self, attend_as};
use crate::kernels::gpu::between::{self, Asked, Rotation, place, rotate};
use crate::kernels::gpu::words::Words;
use crate::kernels::gpu::{FEW, empty, half};
use crate::nn::gpu::{floats, is_plain, tensor};
use crate::nn::linear::Proj;
use crate::nn::norm::Norm;
use crate::nn::plan::{Attend, Slot, Step};
use crate::nn::position::Angles;
use crate::nn::spec::{self, Activation, Pairing};
use crate::nn::states::LayerStates;
use crate::nn::weight::Weight;
use crate::quant::repacked::Repacked;

pub(crate) use super::tape::{Steps, launches, step};

impl Norm {
    /// Normalizes rows of the scale's size.
    pub(crate) fn on_gpu<const N: usize>(&self, x: &Tensor<N>) -> Option<Tensor<N>> {
        let shape = x.dims();
        let x = floats(x)?;
        Some(tensor(NormParts::of(self)?.rows(&x), shape))
    }
}

/// A norm's numbers, as kernels take them.
pub(crate) struct NormParts {
    gamma: CubeTensor,
    beta: Option<CubeTensor>,
    kind: spec::Norm,
}

impl NormParts {
    pub(crate) fn of(norm: &Norm) -> Option<NormParts> {
        let beta = match &norm.beta {
            Some(beta) => Some(floats(&beta.val())?),
            None => None,
        };
        let gamma = floats(&norm.gamma.as_ref()?.val())?;
        Some(NormParts { gamma, beta, kind: norm.kind() })
    }

    /// Rows of the scale's size, normalized.
    fn rows(&self, x: &CubeTensor) -> CubeTensor {
        let width = self.gamma.meta.num_elements();
        let rows = x.meta.num_elements() / width.max(1);
        between::norm(&self.adding(None), x, rows, width)
    }

    /// The norm, after which something may be added.
    pub(crate) fn adding<'a>(&'a self, add: Option<&'a CubeTensor>) -> between::NormArgs<'a> {
        between::NormArgs {
            centered: self.kind.is_centered(),
            eps: self.kind.eps() as f32,
            gamma: &self.gamma,
            beta: self.beta.as_ref(),
            add,
        }
    }
}

impl Weight {
    /// `x W^T` in 16-bit floats, with a bias, if it was asked for, there are rows enough and the
    /// device can.
    pub(crate) fn in_halves(&self, x: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
        let Weight::Packed(packed) = self else { return None };
        let [m, width] = x.dims();
        if !matches!(packed.repack(), Repacked::Half) || !is_plain(x) {
            return None;
        }
        let x = floats(x)?;
        let words = self.half_words(&x, m)?;
        let bias = match bias {
            Some(bias) => Some(floats(bias)?),
            None => None,
        };
        let rows = words.rows;
        debug_assert_eq!(words.width, width);
        Some(tensor(half::product(&half::rounded(x), &words, bias.as_ref())?, [m, rows]))
    }

    /// The matrix, if its product with so many rows goes in f16 on the device of `like`.
    pub(crate) fn half_words(&self, like: &CubeTensor, m: usize) -> Option<Words> {
        let Weight::Packed(packed) = self else { return None };
        let [rows, width] = packed.shape();
        let asked = m > FEW && matches!(packed.repack(), Repacked::Half);
        if !asked || !half::fits(like, width) {
            return None;
        }
        Some(Words { words: packed.on_gpu()?, format: packed.format(), rows, width })
    }
}

/// Angles on the device.
struct OnDevice {
    cos: CubeTensor,
    sin: CubeTensor,
    pairing: Pairing,
    tokens: usize,
}

impl OnDevice {
    fn of(angles: &Angles) -> OnDevice {
        let (cos, sin, pairing) = angles.parts();
        let (Some(cos), Some(sin)) = (floats(cos), floats(sin)) else {
            unreachable!("angles are made on the device of the states")
        };
        // Where sequences have angles of their own, these stand one after another.
        let tokens = angles.rows() * angles.tokens();
        OnDevice { cos, sin, pairing, tokens }
    }

    fn rotation(&self) -> Rotation<'_> {
        Rotation {
            cos: &self.cos,
            sin: &self.sin,
            tokens: self.tokens,
            half: self.cos.meta.num_elements() / self.tokens.max(1),
            adjacent: matches!(self.pairing, Pairing::Adjacent),
        }
    }
}

/// What matrices want of the rows that they are multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Wanted {
    floats: bool,
    halves: bool,
}

impl Wanted {
    /// How one operand for one product is made.
    fn dtype(self) -> DType {
        if self.halves && !self.floats { DType::F16 } else { DType::F32 }
    }
}

/// A matrix with what is added to each product.
struct Matrix<'a> {
    weight: &'a Weight,
    bias: Option<CubeTensor>,
    /// Where as many rows as the pass has are multiplied in 16 bits.
    halves: Option<Words>,
}

impl<'a> Matrix<'a> {
    fn of(proj: &'a Proj, like: &CubeTensor, m: usize) -> Option<Matrix<'a>> {
        if let Weight::Full(weight) = &proj.weight
            && !is_plain(&weight.val())
        {
            return None;
        }
        let bias = match &proj.bias {
            Some(bias) => Some(floats(&bias.val())?),
            None => None,
        };
        Some(Matrix { weight: &proj.weight, bias, halves: proj.weight.half_words(like, m) })
    }

    fn product(&self, x: &Activations, m: usize) -> Activations {
        if let (Some(words), Some(x)) = (&self.halves, &x.halves)
            && let Some(y) = half::product(x, words, self.bias.as_ref())
        {
            return Activations::of(y);
        }
        let [_, width] = self.weight.dims();
        let x = tensor(x.whole(m), [m, width]);
        let y = floats(&self.weight.matmul(x));
        let y = y.unwrap_or_else(|| unreachable!("a product is where its operands are"));
        Activations { bias: self.bias.clone(), ..Activations::of(y) }
    }
}

/// Rows on their way through a block, `[M, width]`.
#[derive(Clone, Default)]
struct Activations {
    floats: Option<CubeTensor>,
    /// The same in 16-bit floats.
    halves: Option<CubeTensor>,
    /// Still to be added to each of the `floats`.
    bias: Option<CubeTensor>,
}

impl Activations {
    fn of(floats: CubeTensor) -> Activations {
        Activations { floats: Some(floats), ..Activations::default() }
    }

    fn floats(&self) -> CubeTensor {
        let rounded = || match &self.halves {
            Some(halves) => half::exact(halves.clone()),
            None => unreachable!("rows are floats or 16-bit floats"),
        };
        self.floats.clone().unwrap_or_else(rounded)
    }

    /// Floats with all added.
    fn whole(&self, m: usize) -> CubeTensor {
        let y = self.floats();
        let Some(bias) = &self.bias else { return y };
        let width = bias.meta.num_elements();
        let sum = tensor(y, [m, width]) + tensor(bias.clone(), [1, width]);
        floats(&sum).unwrap_or_else(|| unreachable!("a sum is where its operands are"))
    }

    /// As products want it.
    fn made(self, wanted: Wanted) -> Activations {
        match (&self.halves, &self.floats) {
            (None, Some(x)) if wanted.halves => {
                Activations { halves: Some(half::rounded(x.clone())), ..self }
            }
            _ => self,
        }
    }
}

/// An operation on the device, with the parameters that it needs.
#[allow(
    clippy::large_enum_variant,
    reason = "there are a dozen a block, and they stay where they are"
)]
enum Op<'a> {
    /// `to = norm(from)`
    Norm { norm: NormParts, from: Slot, to: Slot },
    /// `x = x + from`, `to = norm(x)`
    JoinNorm { norm: NormParts, from: Slot, to: Slot },
    /// `x = x + norm(from)`
    NormJoin { norm: NormParts, from: Slot },
    /// Products of one operand.
    Project { from: Slot, of: Vec<(Matrix<'a>, Slot)> },
    /// Attention.
    Attend { attend: &'a Attend, sight: Sight, norms: [Option<NormParts>; 2] },
    /// `U = activation(gate) * U`, or `activation(U)`
    Gate { gate: Option<Slot>, activation: Activation },
    /// `to = to + scale * from`
    Join { to: Slot, from: Slot, scale: Option<f64> },
    /// What tensors compute.
    Tensors(&'a Step),
}

/// The steps of a layer, each with its parameters: nothing can refuse any more.
pub(super) struct Bound<'a> {
    ops: Vec<Op<'a>>,
    /// What each slot is last read by; its buffer is free then.
    last: [usize; Slot::COUNT],
}

/// A layer's steps with their parameters, if states and parameters are on a GPU and no gradient is
/// asked of them.
pub(super) fn bind<'a>(
    steps: &'a [Step],
    layer: &LayerPass<'a>,
    x: &Tensor<3>,
    states: &LayerStates<'_>,
) -> Result<Bound<'a>, Why> {
    if !is_plain(x) {
        return Err(Why::States);
    }
    let fits = match states {
        LayerStates::None => true,
        LayerStates::One(cache) => layer.pass.rows.shape()[0] == 1 && cache.fits_gpu(),
        LayerStates::Each(_) => false,
    };
    bind_steps(steps, layer.owner, x, |attend| {
        if layer.only_tensors(attend).is_some() || !fits {
            return Ok(None);
        }
        let norm = |norm: &Option<Norm>| match norm {
            Some(norm) => NormParts::of(norm).ok_or(Why::Parameters).map(Some),
            None => Ok(None),
        };
        let Some(module) = layer.owner.attention(attend.of) else { return Err(Why::Parameters) };
        Ok(Some([norm(&module.q_norm)?, norm(&module.k_norm)?]))
    })
}

fn bind_steps<'a>(
    steps: &'a [Step],
    owner: &'a dyn Parameters,
    x: &Tensor<3>,
    look: impl Fn(&Attend) -> Result<Option<[Option<NormParts>; 2]>, Why>,
) -> Result<Bound<'a>, Why> {
    let [b, t, _] = x.dims();
    let like = floats(x).ok_or(Why::States)?;
    let norm = |at| owner.norm(at).and_then(NormParts::of).ok_or(Why::Parameters);
    let matrix = |at| {
        owner.matrix(at).and_then(|proj| Matrix::of(proj, &like, b * t)).ok_or(Why::Parameters)
    };
    let mut ops = Vec::with_capacity(steps.len());
    let mut last = [0; Slot::COUNT];
    let mut rest = steps;
    while let Some((step, after)) = rest.split_first() {
        let (at, before) = (ops.len(), rest);
        if knows::cube(step).is_err() {
            rest = after;
            step.reads().into_iter().for_each(|slot| last[slot as usize] = at);
            ops.push(Op::Tensors(step));
            continue;
        }
        let op;
        (op, rest) = match rest {
            [
                Step::Join { to: Slot::X, from, scale: None },
                Step::Norm { norm: at, kind, from: Slot::X, to },
                after @ ..,
            ] if kind.is_scaled() => {
                (Op::JoinNorm { norm: norm(*at)?, from: *from, to: *to }, after)
            }
            [
                Step::Norm { norm: at, kind: _, from, to },
                Step::Join { to: Slot::X, from: sum, scale: None },
                after @ ..,
            ] if from == to && to == sum => (Op::NormJoin { norm: norm(*at)?, from: *from }, after),
            [Step::Norm { norm: at, kind: _, from, to }, after @ ..] => {
                (Op::Norm { norm: norm(*at)?, from: *from, to: *to }, after)
            }
            [Step::Project { from, to }, after @ ..] => {
                let of = to.iter().map(|(at, slot)| Ok((matrix(*at)?, *slot)));
                (Op::Project { from: *from, of: of.collect::<Result<_, _>>()? }, after)
            }
            [Step::Gate { gate, activation, clamp: _ }, after @ ..] => {
                (Op::Gate { gate: *gate, activation: *activation }, after)
            }
            [Step::Join { to, from, scale }, after @ ..] => {
                (Op::Join { to: *to, from: *from, scale: *scale }, after)
            }
            [Step::Attend(attend), after @ ..] => match (look(attend)?, sight(attend.span)) {
                (Some(norms), Some(sight)) => (Op::Attend { attend, sight, norms }, after),
                _ => (Op::Tensors(step), after),
            },
            _ => (Op::Tensors(step), after),
        };
        let folded = &before[..before.len() - rest.len()];
        folded.iter().flat_map(Step::reads).for_each(|slot| last[slot as usize] = at);
        ops.push(op);
    }
    // What tensors compute may have parameters that no operation here was asked for with.
    if ops.iter().any(|op| matches!(op, Op::Tensors(_))) && owner.is_trained() {
        return Err(Why::Parameters);
    }
    Ok(Bound { ops, last })
}

impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Norm { from, to, .. } => write!(f, "{to} = norm({from})"),
            Op::JoinNorm { from, to: Slot::X, .. } => write!(f, "X = norm(X + {from})"),
            Op::JoinNorm { from, to, .. } => write!(f, "X += {from}, {to} = norm(X)"),
            Op::NormJoin { from, .. } => write!(f, "X += norm({from})"),
            Op::Project { from, of } => {
                of.iter().try_for_each(|(_, to)| write!(f, "{to} "))?;
                write!(f, "= {from} W")
            }
            Op::Attend { .. } => f.write_str("A = attention"),
            Op::Gate { gate: Some(gate), activation } => write!(f, "U = {activation}({gate}) * U"),
            Op::Gate { gate: None, activation } => write!(f, "U = {activation}(U)"),
            Op::Join { to, from, scale: None } => write!(f, "{to} += {from}"),
            Op::Join { to, from, scale: Some(scale) } => write!(f, "{to} += {scale} * {from}"),
            Op::Tensors(step) => write!(f, "{} by tensors", step.name()),
        }
    }
}

impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::slices::listed(f, &self.ops)
    }
}

impl Bound<'_> {
    /// What the products after operation `at` want of a slot, up to the next that writes it.
    fn wanted(&self, at: usize, slot: Slot) -> Wanted {
        let mut wanted = Wanted::default();
        for op in &self.ops[at + 1..] {
            match op {
                Op::Project { from, of } if *from == slot => {
                    let halves = of.iter().filter(|(matrix, _)| matrix.halves.is_some()).count();
                    wanted.halves |= halves > 0;
                    wanted.floats |= halves < of.len();
                }
                Op::Tensors(step) => {
                    wanted.floats |= step.reads().contains(&slot);
                    if step.writes().contains(&slot) {
                        return wanted;
                    }
                }
                Op::JoinNorm { .. } | Op::NormJoin { .. } if slot == Slot::X => return wanted,
                Op::Norm { to, .. } | Op::JoinNorm { to, .. } | Op::Join { to, .. }
                    if *to == slot =>
                {
                    return wanted;
                }
                _ => {}
            }
        }
        wanted
    }
}

/// A slot's value.
#[allow(clippy::large_enum_variant, reason = "there are ten a block, and they stay where they are")]
enum Cell {
    Rows(Activations),
    Tensor(Value),
}

/// The values of a block's slots.
struct Values([Option<Cell>; Slot::COUNT]);

impl Values {
    fn set(&mut self, slot: Slot, rows: Activations) {
        self.0[slot as usize] = Some(Cell::Rows(rows));
    }

    fn get(&self, slot: Slot) -> Activations {
        match &self.0[slot as usize] {
            Some(Cell::Rows(rows)) => rows.clone(),
            Some(Cell::Tensor(value)) => {
                let x = floats(&value.clone().rows());
                Activations::of(x.unwrap_or_else(|| unreachable!("tensors stay on their device")))
            }
            None => unreachable!("a plan writes {slot:?} before it reads it"),
        }
    }

    /// As a tensor, for a step that tensors compute.
    fn value(&self, slot: Slot, [b, t]: [usize; 2]) -> Option<Value> {
        Some(match self.0[slot as usize].as_ref()? {
            Cell::Tensor(value) => value.clone(),
            Cell::Rows(rows) => {
                let x = rows.whole(b * t);
                let width = x.meta.num_elements() / (b * t).max(1);
                Value::Rows(tensor(x, [b, t, width]))
            }
        })
    }
}

/// The states after a layer.
///
/// # Shapes
/// `x: [B, T, D]` -> `[B, T, D]`
pub(super) fn run(
    bound: Bound<'_>,
    layer: &LayerPass<'_>,
    x: Tensor<3>,
    states: &mut LayerStates<'_>,
) -> Tensor<3> {
    let shape @ [b, t, d] = x.dims();
    let m = b * t;
    let mut values = Values([const { None }; Slot::COUNT]);
    values.0[Slot::X as usize] = Some(Cell::Tensor(Value::Rows(x)));
    for (at, op) in bound.ops.iter().enumerate() {
        match op {
            Op::Norm { norm, from, to } => {
                let x = values.get(*from).whole(m);
                let wanted = bound.wanted(at, *to);
                let floats = wanted.floats || !wanted.halves;
                let asked = Asked { sum: false, floats, halves: wanted.halves };
                values.set(*to, normed(norm, &x, None, asked, [m, d]).0);
            }
            Op::JoinNorm { norm, from, to } => {
                let (x, y) = (values.get(Slot::X).whole(m), values.get(*from));
                let wanted = bound.wanted(at, *to);
                let inside = *to == Slot::X;
                let asked = Asked {
                    sum: !inside,
                    floats: inside || wanted.floats || !wanted.halves,
                    halves: wanted.halves,
                };
                let (rows, sum) = normed(norm, &x, Some(&y), asked, [m, d]);
                values.set(*to, rows);
                if let Some(sum) = sum {
                    values.set(Slot::X, Activations::of(sum));
                }
            }
            Op::NormJoin { norm, from } => {
                let (x, y) = (values.get(Slot::X).whole(m), values.get(*from).whole(m));
                let sum = between::norm(&norm.adding(Some(&x)), &y, m, d);
                values.set(Slot::X, Activations::of(sum));
            }
            Op::Project { from, of } => {
                let halves = of.iter().any(|(matrix, _)| matrix.halves.is_some());
                let x = values.get(*from).made(Wanted { floats: !halves, halves });
                for (matrix, to) in of {
                    values.set(*to, matrix.product(&x, m));
                }
            }
            Op::Gate { gate, activation } => {
                let dtype = bound.wanted(at, Slot::U).dtype();
                let up = values.get(Slot::U);
                let inner = up.floats().meta.num_elements() / m.max(1);
                let (first, second) = match gate {
                    Some(gate) => (values.get(*gate), Some(up.whole(m))),
                    None => (up, None),
                };
                let (x, bias) = (first.floats(), first.bias.as_ref());
                let sizes = [m, inner];
                let y = between::gate_rows(*activation, &x, second.as_ref(), bias, dtype, sizes);
                values.set(Slot::U, rows_of(y, dtype));
            }
            Op::Join { to, from, scale } => {
                let y = values.get(*from);
                let width = y.floats().meta.num_elements() / m.max(1);
                let x = tensor(values.get(*to).whole(m), [m, width]);
                let sum = match (scale, &y.bias) {
                    (Some(scale), _) => x + tensor(y.whole(m), [m, width]) * *scale,
                    (None, None) => x + tensor(y.floats(), [m, width]),
                    (None, Some(bias)) => {
                        x + tensor(y.floats(), [m, width]) + tensor(bias.clone(), [1, width])
                    }
                };
                values.0[*to as usize] =
                    Some(Cell::Tensor(Value::Rows(sum.reshape([b, t, width]))));
            }
            Op::Attend { attend, sight, norms } => {
                let dtype = bound.wanted(at, Slot::A).dtype();
                let found = see((attend, *sight, norms), layer, &values, states, dtype);
                values.set(Slot::A, rows_of(found, dtype));
            }
            Op::Tensors(step) => by_tensors(step, layer, &mut values, states),
        }
        for slot in [Slot::N, Slot::Q, Slot::K, Slot::V, Slot::A, Slot::G, Slot::U] {
            if bound.last[slot as usize] == at {
                values.0[slot as usize] = None;
            }
        }
    }
    match values.0[Slot::X as usize].take() {
        Some(Cell::Tensor(x)) => x.rows(),
        Some(Cell::Rows(x)) => tensor(x.whole(m), shape),
        None => unreachable!("a block has a residual stream"),
    }
}

/// The norm of `x`, or of `x + y` with the sum itself, as they are asked for.
fn normed(
    norm: &NormParts,
    x: &CubeTensor,
    y: Option<&Activations>,
    asked: Asked,
    sizes: [usize; 2],
) -> (Activations, Option<CubeTensor>) {
    let added = y.map(Activations::floats);
    let bias = y.and_then(|y| y.bias.as_ref());
    let made = between::norm_of_sum(&norm.adding(None), x, added.as_ref(), bias, asked, sizes);
    (Activations { floats: made.floats, halves: made.halves, bias: None }, made.sum)
}

/// Rows that a kernel has written in floats or 16 bits.
fn rows_of(y: CubeTensor, dtype: DType) -> Activations {
    match dtype {
        DType::F16 => Activations { halves: Some(y), ..Activations::default() },
        _ => Activations::of(y),
    }
}

/// What queries find, in floats or 16 bits, `[M, H C]`; all tokens' keys and values go to the cache
/// where there is one.
fn see(
    (attend, sight, norms): (&Attend, Sight, &[Option<NormParts>; 2]),
    layer: &LayerPass<'_>,
    values: &Values,
    states: &mut LayerStates<'_>,
    dtype: DType,
) -> CubeTensor {
    let pass = layer.pass;
    let m = pass.rows.count();
    let (c, q_row, k_row) =
        (attend.head_dim, attend.heads * attend.head_dim, attend.kv_heads * attend.head_dim);
    let [q_norm, k_norm] = norms;
    let normed = |slot: Slot, norm: &Option<NormParts>| {
        let y = values.get(slot).whole(m);
        norm.as_ref().map_or_else(|| y.clone(), |norm| norm.rows(&y))
    };
    let (q, k) = (normed(Slot::Q, q_norm), normed(Slot::K, k_norm));
    let v = values.get(Slot::V).whole(m);
    let turned = pass.angles(attend.rope).map(OnDevice::of);
    let rotation = turned.as_ref().map(OnDevice::rotation);
    let rotated = |y: CubeTensor, row: usize| match &rotation {
        Some(rotation) => {
            let out = empty(&y, [m, row]);
            rotate(Some(rotation), &y, &out, 0, [m, row, c]);
            out
        }
        None => y,
    };
    let look = (attend.span, sight);
    let cache = match states {
        LayerStates::One(cache) => cache.device(),
        LayerStates::None | LayerStates::Each(_) => None,
    };
    let (q, k, v, seen) = match cache {
        None => {
            let seen = pass.views.seen(look, m, m, &pass.parts, &q);
            (rotated(q, q_row), rotated(k, k_row), v, seen)
        }
        Some(held) => {
            let [keys, values] = held.room(m, [attend.kv_heads, c], &k);
            let sizes = [m, q_row, k_row, c];
            let q = place(rotation.as_ref(), [&q, &k, &v], [&keys, &values], held.held, sizes);
            held.held += m;
            let part = [Part { queries: 0..m, keys: 0..held.held, before: held.held - m }];
            let seen = pass.views.seen(look, m, held.held, &part, &q);
            (q, keys, values, seen)
        }
    };
    let all = attend::AttentionArgs {
        q: &q,
        k: &k,
        v: &v,
        ranges: &seen.ranges,
        seen: &seen.tensor,
        heads: attend.heads,
        kv_heads: attend.kv_heads,
        dim: c,
        scale: attend.scale as f32,
        softcap: attend.softcap.map(|cap| cap as f32),
        seen_at: 0,
    };
    attend_as(&all, dtype).out
}

/// A step that tensors compute.
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Device, Model, Precision};

    /// Blocks with norms after, before and around their parts, rounded between products to 16 bits:
    /// near what they are in floats, and not the same. `families.rs` has those in floats.
    #[test]
    fn products_in_halves_get_what_is_between_them_in_halves() {
        let Some(gpu) = Device::list().into_iter().find_map(|info| info.index) else {
            println!("left out: this machine has no adapter");
            return;
        };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/checkpoints");
        for name in ["bert-plain", "llama-q8_0.gguf", "gemma3-pattern", "gpt2-untied"] {
            let open = |precision| {
                let device = format!("gpu:{gpu}").parse().unwrap();
                let options = Model::options().device(device).precision(precision);
                options.open(golden.join(name)).unwrap()
            };
            let (exact, rounded) = (open(Precision::F32), open(Precision::F16));
            let vocab = exact.spec().vocab as u32;
            let ids: Vec<u32> = (0..24).map(|i| (i * 31 + 7) % vocab).collect();
            let [wanted, found] =
                [&exact, &rounded].map(|model| model.forward(&[&ids]).unwrap().as_slice().to_vec());
            let most = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let pairs = wanted.iter().zip(&found);
            let worst = pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / most;
            println!("{name}: {worst:.1e} of the largest");
            assert!(worst > 1e-6 && worst < 1e-2, "{name}: {worst}");
        }
    }
}
