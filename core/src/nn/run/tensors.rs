//! The steps of a plan by burn tensors: the reference, which knows all of them, on every device and
//! with gradients.

use burn::tensor::{Bool, Device, Tensor, activation};

use super::mask;
use super::params::Parameters;
use super::pass::{LayerPass, Pass};
use crate::nn::activate::{activate, gated};
use crate::nn::attention::{Attention, Latent};
use crate::nn::cache::LayerCache;
use crate::nn::norm::Norm;
use crate::nn::plan::{Attend, AttentionAt, Bias, Slot, Step};
use crate::nn::position::{Angles, alibi, tempers};
use crate::nn::relative::Vectors;
use crate::nn::spec::{self, Clamp, OutputGate, QkNorm, Relative};
use crate::nn::states::LayerStates;

/// A slot's value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `[B, T, H C]`
    Rows(Tensor<3>),
    /// `[B, H, T, C]`
    Heads(Tensor<4>),
}

impl Value {
    /// `[B, T, H C]`
    pub(crate) fn rows(self) -> Tensor<3> {
        match self {
            Value::Rows(x) => x,
            Value::Heads(x) => {
                let [b, h, t, c] = x.dims();
                x.swap_dims(1, 2).reshape([b, t, h * c])
            }
        }
    }

    /// `[B, H, T, C]`
    fn heads(self, c: usize) -> Tensor<4> {
        match self {
            Value::Heads(x) => x,
            Value::Rows(x) => {
                let [b, t, inner] = x.dims();
                x.reshape([b, t, inner / c, c]).swap_dims(1, 2)
            }
        }
    }
}

/// The values of a block's slots.
#[derive(Default)]
pub(crate) struct Slots([Option<Value>; Slot::COUNT]);

impl Slots {
    pub(crate) fn set(&mut self, slot: Slot, value: Value) {
        self.0[slot as usize] = Some(value);
    }

    /// What a step wrote there.
    ///
    /// # Panics
    /// Where none did: a plan writes a slot before it reads it, as a test of [`plan`] holds.
    ///
    /// [`plan`]: crate::nn::plan
    pub(crate) fn get(&self, slot: Slot) -> Value {
        let unset = || unreachable!("a plan writes {slot:?} before it reads it");
        self.0[slot as usize].clone().unwrap_or_else(unset)
    }

    pub(crate) fn take(&mut self, slot: Slot) -> Option<Value> {
        self.0[slot as usize].take()
    }

    fn rows(&self, slot: Slot) -> Tensor<3> {
        self.get(slot).rows()
    }
}

/// The states after all steps.
///
/// # Shapes
/// `x: [B, T, D]` -> `[B, T, D]`
pub(super) fn run(
    steps: &[Step],
    layer: &LayerPass<'_>,
    x: Tensor<3>,
    states: &mut LayerStates<'_>,
) -> Tensor<3> {
    let mut slots = Slots::default();
    slots.set(Slot::X, Value::Rows(x));
    for one in steps {
        step(one, layer, &mut slots, states);
    }
    slots.rows(Slot::X)
}

/// The steps of an MLP by itself.
///
/// # Shapes
/// `x: [B, T, D]` -> `[B, T, D]`
pub(crate) fn mlp(steps: &[Step], owner: &dyn Parameters, x: Tensor<3>) -> Tensor<3> {
    let mut slots = Slots::default();
    slots.set(Slot::X, Value::Rows(x));
    for step in steps {
        plain(step, owner, &mut slots);
    }
    slots.rows(Slot::Y)
}

/// One step.
pub(super) fn step(
    step: &Step,
    layer: &LayerPass<'_>,
    slots: &mut Slots,
    states: &mut LayerStates<'_>,
) {
    let missing = || unreachable!("a block is built from its steps");
    match step {
        Step::Latent { from, heads, head_dim, rope, latent } => {
            let attn = layer.owner.attention(AttentionAt::Own).unwrap_or_else(missing);
            let module =
                attn.latent.as_ref().unwrap_or_else(|| unreachable!("built from its steps"));
            let angles = layer.pass.angles(*rope);
            let x = slots.rows(*from);
            let made = through_latent(attn, module, latent, (*heads, *head_dim), angles, x);
            let slot = [Slot::Q, Slot::K, Slot::V];
            slot.into_iter().zip(made).for_each(|(slot, x)| slots.set(slot, Value::Heads(x)));
        }
        Step::Attend(attend) => {
            let module = layer.owner.attention(attend.of).unwrap_or_else(missing);
            let found = match attend.of {
                AttentionAt::Own => own(attend, module, layer, slots, states),
                AttentionAt::Cross => across(attend, module, layer, slots),
            };
            slots.set(Slot::A, Value::Rows(found));
        }
        Step::Experts { from, to, spec: _ } => {
            let y = layer.owner.experts(slots.rows(*from), layer.load);
            slots.set(*to, Value::Rows(y.unwrap_or_else(|| unreachable!("built from its steps"))));
        }
        Step::Norm { .. }
        | Step::Project { .. }
        | Step::Open { .. }
        | Step::Gate { .. }
        | Step::Join { .. } => {
            plain(step, layer.owner, slots);
        }
    }
}

/// A step that looks at no other token.
fn plain(step: &Step, owner: &dyn Parameters, slots: &mut Slots) {
    match step {
        Step::Norm { norm, kind: _, from, to } => {
            let x = slots.rows(*from);
            let y = owner.norm(*norm).map_or_else(|| x.clone(), |norm| norm.forward(x.clone()));
            slots.set(*to, Value::Rows(y));
        }
        Step::Project { from, to } => {
            let x = slots.rows(*from);
            for (at, to) in to {
                if let Some(proj) = owner.matrix(*at) {
                    slots.set(*to, Value::Rows(proj.forward(x.clone())));
                }
            }
        }
        Step::Open { gate, heads } => {
            let (x, open) = (slots.rows(Slot::A), activation::sigmoid(slots.rows(Slot::G)));
            let [b, t, width] = x.dims();
            let open = match gate {
                OutputGate::Full => open,
                OutputGate::Heads => open
                    .reshape([b, t, *heads, 1])
                    .expand([b, t, *heads, width / heads])
                    .reshape([b, t, width]),
            };
            slots.set(Slot::A, Value::Rows(x * open));
        }
        Step::Gate { gate, activation: kind, clamp } => {
            let up = slots.rows(Slot::U);
            let y = match (gate, clamp) {
                (Some(gate), Some(Clamp { alpha, limit })) => {
                    let gate = slots.rows(*gate).clamp_max(*limit);
                    let up = up.clamp(-limit, *limit);
                    let open = activation::sigmoid(gate.clone() * *alpha);
                    (up + 1.0) * gate * open
                }
                (Some(gate), None) => gated(*kind, slots.rows(*gate), up),
                (None, _) => activate(*kind, up),
            };
            slots.set(Slot::U, Value::Rows(y));
        }
        Step::Join { to, from, scale } => {
            let (x, y) = (slots.rows(*to), slots.rows(*from));
            let y = scale.map_or(y.clone(), |scale| y * scale);
            slots.set(*to, Value::Rows(x + y));
        }
        Step::Latent { .. } | Step::Attend(_) | Step::Experts { .. } => {
            unreachable!("an MLP by itself has no such step")
        }
    }
}

/// Queries or keys as scores take them: normed, turned by their place.
///
/// # Shapes
/// `[B, T, H C]` -> `[B, H, T, C]`
fn placed(
    value: Value,
    norm: &Option<Norm>,
    kind: Option<QkNorm>,
    angles: Option<&Angles>,
    c: usize,
) -> Tensor<4> {
    let y = match (norm, kind) {
        (Some(norm), Some(QkNorm::Shared(_))) => norm.forward(value.heads(c)),
        (Some(norm), Some(QkNorm::PerHead(_))) => norm.forward_heads(value.heads(c)),
        (Some(norm), Some(QkNorm::Whole(_) | QkNorm::Rotated { .. }) | None) => {
            Value::Rows(norm.forward(value.rows())).heads(c)
        }
        (None, _) => value.heads(c),
    };
    match (angles, kind) {
        (Some(angles), Some(QkNorm::Rotated { eps })) => {
            let y = angles.rotate(y);
            let mean = y.clone().square().mean_dim(3); // [B, H, T, 1]
            y * (mean + eps).sqrt().recip()
        }
        (Some(angles), _) => angles.rotate(y),
        (None, _) => y,
    }
}

/// Attention to the tokens of the sequence.
fn own(
    attend: &Attend,
    module: &Attention,
    layer: &LayerPass<'_>,
    slots: &mut Slots,
    states: &mut LayerStates<'_>,
) -> Tensor<3> {
    let Attend { head_dim, value_dim, qk_norm, rope, temper, .. } = attend;
    let pass = layer.pass;
    let angles = pass.angles(*rope);
    let device = &pass.device;
    let q = placed(slots.get(Slot::Q), &module.q_norm, *qk_norm, angles, *head_dim);
    let q = match temper {
        Some(temper) => q * tempers(*temper, pass.rows.places(), device),
        None => q,
    };
    let k = placed(slots.get(Slot::K), &module.k_norm, *qk_norm, angles, *head_dim);
    let v = slots.get(Slot::V).heads(*value_dim);
    let whole = pass.rows.places();
    match states {
        LayerStates::None => {
            let keys = Keys { queries: whole, places: whole.to_vec(), fresh: true };
            scores(attend, module, layer, [q, k, v], keys)
        }
        LayerStates::One(cache) => {
            let places = cache.places(whole.len());
            let (k, v) = cache.extend(k, v); // [B, K, S, C]
            scores(attend, module, layer, [q, k, v], Keys { queries: whole, places, fresh: false })
        }
        LayerStates::Each(caches) => {
            // Sequences that have one token each, one after another.
            let one = |(i, cache): (usize, &mut &mut LayerCache)| {
                let own = |x: &Tensor<4>| x.clone().narrow(2, i, 1);
                let places = cache.places(1);
                let (k, v) = cache.extend(own(&k), own(&v));
                let keys = Keys { queries: &whole[i..i + 1], places, fresh: false };
                scores(attend, module, layer, [own(&q), k, v], keys)
            };
            Tensor::cat(caches.iter_mut().enumerate().map(one).collect(), 1)
        }
    }
}

/// Whose scores: places of queries and keys.
struct Keys<'a> {
    queries: &'a [usize],
    places: Vec<usize>,
    /// Whether keys are those of the pass, in its rows, and not what a cache holds.
    fresh: bool,
}

/// From queries, keys and values to what attention gives.
///
/// # Shapes
/// `q: [B, H, T, C]`, `k: [B, K, S, C]`, `v: [B, K, S, V]` -> `[B, T, H V]`
fn scores(
    attend: &Attend,
    module: &Attention,
    layer: &LayerPass<'_>,
    [q, k, v]: [Tensor<4>; 3],
    keys: Keys<'_>,
) -> Tensor<3> {
    let pass = layer.pass;
    let hidden = pass.hidden(attend.span, &keys);
    let bias = match attend.bias {
        None => None,
        Some(Bias::Alibi { scale }) => Some(pass.bias(&keys, |queries, places, device| {
            Some(alibi(attend.heads, scale, queries, places, device))
        })),
        Some(Bias::Buckets) => Some(pass.bias(&keys, |queries, places, device| {
            match (pass.relative, &pass.spec.attention.relative) {
                (Some(distances), Some(Relative::Buckets { count, furthest, both })) => {
                    Some(distances.bias((*count, *furthest, *both), queries, places, device))
                }
                _ => None,
            }
        })),
        Some(Bias::Disentangled) => {
            Some(pass.vectors(&keys).map(|vectors| disentangled(module, attend, &q, &k, &vectors)))
        }
    };
    let bias = bias.map(|bias| {
        bias.unwrap_or_else(|| unreachable!("a stack with distances has a table of them"))
    });
    softmax(attend, module, [q, k, v], bias, hidden, layer.map)
}

/// Attention to the tokens of the sources: queries of all rows that look at one source stand in one
/// row, so that its keys are never repeated.
fn across(
    attend: &Attend,
    module: &Attention,
    layer: &LayerPass<'_>,
    slots: &mut Slots,
) -> Tensor<3> {
    let Some(across) = layer.pass.across else {
        unreachable!("a decoder beside an encoder is given a source")
    };
    let c = attend.head_dim;
    let x = slots.rows(Slot::Q);
    let ([r, t, inner], b) = (x.dims(), across.rows().max(1));
    let q = Value::Rows(x.reshape([b, r / b * t, inner]));
    let q = placed(q, &module.q_norm, attend.qk_norm, None, c);
    let missing = || unreachable!("a source is read for every block");
    let (k, v) = across.heads(layer.number, c).unwrap_or_else(missing);
    let y = softmax(attend, module, [q, k, v], None, across.hidden().cloned(), None);
    let [_, _, inner] = y.dims();
    y.reshape([r, t, inner])
}

/// `softmax(scale q k^T) v`, heads of queries sharing those of keys in order.
///
/// # Shapes
/// `q: [B, H, T, C]`, `k: [B, K, S, C]`, `v: [B, K, S, V]` -> `[B, T, H V]`
fn softmax(
    attend: &Attend,
    module: &Attention,
    [q, k, v]: [Tensor<4>; 3],
    bias: Option<Tensor<4>>,
    hidden: Option<Tensor<4, Bool>>,
    map: Option<&std::cell::OnceCell<Tensor<4>>>,
) -> Tensor<3> {
    let Attend { scale, softcap, sinks, .. } = attend;
    let ([b, h, t, c], [_, kv, s, _]) = (q.dims(), k.dims());
    // The queries that share a key head are rows of one product: keys are never repeated.
    let q = (q * *scale).reshape([b, kv, h / kv * t, c]);
    let scores = q.matmul(k.transpose()).reshape([b, h, t, s]);
    let scores = match softcap {
        Some(cap) => activation::tanh(scores / *cap) * *cap,
        None => scores,
    };
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    let scores = match hidden {
        // A finite bottom: a row that sees nothing (an empty text of a batch) stays a number.
        Some(hidden) => scores.mask_fill(hidden.expand([b, h, t, s]), -1e30),
        None => scores,
    };
    let weights = match (&module.sinks, sinks) {
        (Some(own), true) => {
            let own = own.val().reshape([1, h, 1, 1]).expand([b, h, t, 1]);
            activation::softmax(Tensor::cat(vec![scores, own], 3), 3).narrow(3, 0, s)
        }
        _ => activation::softmax(scores, 3),
    };
    if let Some(map) = map {
        // A block has one attention to its own tokens: the place is empty.
        let _ = map.set(weights.clone());
    }
    let [.., c] = v.dims();
    let y = weights.reshape([b, kv, h / kv * t, s]).matmul(v).reshape([b, h, t, c]);
    Value::Heads(y).rows()
}

/// What vectors of distances add to scores (arXiv:2006.03654, equation 4).
///
/// # Shapes
/// `q: [B, H, T, C]`, `k: [B, H, S, C]` -> `[B, H, T, S]`
fn disentangled(
    module: &Attention,
    attend: &Attend,
    q: &Tensor<4>,
    k: &Tensor<4>,
    vectors: &Vectors,
) -> Tensor<4> {
    let ([b, h, t, c], [_, _, s, _]) = (q.dims(), k.dims());
    let (to_position, to_content) = match module.spec().relative {
        Some(Relative::Disentangled { to_position, to_content, .. }) => (to_position, to_content),
        Some(Relative::Buckets { .. }) | None => (false, false),
    };
    let [_, reach, _] = vectors.table.dims();
    let project = |proj: &crate::nn::Proj| {
        let y = proj.forward(vectors.table.clone()).reshape([1, reach, h, c]);
        y.permute([0, 2, 3, 1]).expand([b, h, c, reach]) // [B, H, C, 2 reach]
    };
    let mut scores = Tensor::zeros([b, h, t, s], &q.device());
    if to_position {
        let met = q.clone().matmul(project(module.pos_k.as_ref().unwrap_or(&module.k)));
        scores = scores + met.gather(3, vectors.rows.clone().expand([b, h, t, s]));
    }
    if to_content {
        let met = k.clone().matmul(project(module.pos_q.as_ref().unwrap_or(&module.q)));
        let rows = vectors.rows.clone().swap_dims(2, 3).expand([b, h, s, t]);
        scores = scores + met.gather(3, rows).swap_dims(2, 3);
    }
    scores * attend.scale
}

/// Queries, keys and values from short vectors. A cache holds keys and values as made: longer rows
/// than the vectors, and nothing to be done again for each token.
///
/// # Shapes
/// `x: [B, T, D]` -> `[B, H, T, C]` twice, `[B, H, T, V]`
fn through_latent(
    attn: &Attention,
    module: &Latent,
    latent: &spec::Latent,
    (heads, head_dim): (usize, usize),
    angles: Option<&Angles>,
    x: Tensor<3>,
) -> [Tensor<4>; 3] {
    let [b, t, _] = x.dims();
    let spec::Latent { rank, query_rank: _, rotated, value_dim: _, norm: _ } = *latent;
    let plain = head_dim - rotated;
    let split = |y: Tensor<3>, heads: usize| {
        let [_, _, inner] = y.dims();
        y.reshape([b, t, heads, inner / heads]).swap_dims(1, 2) // [B, H, T, C]
    };
    let turn = |y: Tensor<4>| match angles {
        Some(angles) => angles.rotate(y),
        None => y,
    };
    let from = match (&module.q, &module.q_norm) {
        (Some(q), Some(norm)) => norm.forward(q.forward(x.clone())),
        _ => x.clone(),
    };
    let q = split(attn.q.forward(from), heads);
    let turned = turn(q.clone().narrow(3, plain, rotated));
    let q = Tensor::cat(vec![q.narrow(3, 0, plain), turned], 3);
    let kv = module.kv.forward(x); // [B, T, rank + rotated]
    let turned = turn(split(kv.clone().narrow(2, rank, rotated), 1)); // [B, 1, T, rotated]
    let kv = module.kv_norm.forward(kv.narrow(2, 0, rank));
    let k = split(attn.k.forward(kv.clone()), heads);
    let k = Tensor::cat(vec![k, turned.expand([b, heads, t, rotated])], 3);
    [q, k, split(attn.v.forward(kv), heads)]
}

impl Pass<'_> {
    /// What queries do not see of keys, `[B or 1, 1, T, S]`; `None` where nothing is hidden.
    fn hidden(&self, span: spec::Span, keys: &Keys<'_>) -> Option<Tensor<4, Bool>> {
        let make = || {
            if self.rows.run_together() && keys.fresh {
                return Some(mask::together(span, self.rows, &self.device));
            }
            let own = mask::span(span, keys.queries, &keys.places, &self.device);
            // A cache holds no padding.
            let kept = if keys.fresh { self.rows.kept(&self.device) } else { None };
            mask::either(own, kept.map(mask::padding))
        };
        if self.is_by_sequence(keys) {
            return make();
        }
        let mut masks = self.memo.masks.borrow_mut();
        let known = masks.iter().find(|(own, places, _)| *own == span && *places == keys.places);
        if let Some((_, _, hidden)) = known {
            return hidden.clone();
        }
        let hidden = make();
        masks.push((span, keys.places.clone(), hidden.clone()));
        hidden
    }

    /// What distances add to scores alike in all blocks, `[1, H, T, S]`.
    fn bias(
        &self,
        keys: &Keys<'_>,
        make: impl FnOnce(&[usize], &[usize], &Device) -> Option<Tensor<4>>,
    ) -> Option<Tensor<4>> {
        let make = || make(keys.queries, &keys.places, &self.device);
        if self.is_by_sequence(keys) {
            return make();
        }
        let mut biases = self.memo.biases.borrow_mut();
        if let Some((_, bias)) = biases.iter().find(|(places, _)| *places == keys.places) {
            return Some(bias.clone());
        }
        let bias = make()?;
        biases.push((keys.places.clone(), bias.clone()));
        Some(bias)
    }

    /// Distances as vectors, which each block projects by its own matrices.
    fn vectors(&self, keys: &Keys<'_>) -> Option<Vectors> {
        let make = || match (self.relative, &self.spec.attention.relative) {
            (Some(distances), Some(Relative::Disentangled { reach, furthest, .. })) => {
                let (queries, places) = (keys.queries, &keys.places);
                Some(distances.vectors(*reach, *furthest, queries, places, &self.device))
            }
            _ => None,
        };
        if self.is_by_sequence(keys) {
            return make();
        }
        let mut vectors = self.memo.vectors.borrow_mut();
        if let Some((_, vectors)) = vectors.iter().find(|(places, _)| *places == keys.places) {
            return Some(vectors.clone());
        }
        let made = make()?;
        vectors.push((keys.places.clone(), made.clone()));
        Some(made)
    }

    /// Whether these are queries of one sequence of several, so that nothing is shared by places.
    fn is_by_sequence(&self, keys: &Keys<'_>) -> bool {
        keys.queries.len() != self.rows.places().len()
    }
}
