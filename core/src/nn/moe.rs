//! A mixture of experts: a router sends each token through a few of many MLPs.
//!
//! ```text
//! x [N, D] -> router [N, E] -> the chosen experts and their weights
//!          -> tokens gathered by expert -> each expert once -> scattered back, weighted, summed
//! ```
//! So the cost follows the experts that are used, and on the CPU the pages of mapped weights are
//! read when a token is first sent there. The router's logits are read back for it.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData, activation};

use super::linear::Proj;
use super::mlp::Mlp;
use super::run::params::Load;
use super::source::Source;
use super::spec::{self, Groups, Routing};
use crate::error::Result;

/// The feed-forward part of a block.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a block, and it stays where it is")]
pub enum FeedForward {
    /// One MLP for every token.
    Dense(Mlp),
    /// A few of many for each.
    Experts(Experts),
}

impl FeedForward {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Mlp,
    ) -> Result<Self> {
        match spec {
            spec::Mlp::Experts(spec) => {
                Experts::build(source, name, width, spec).map(FeedForward::Experts)
            }
            _ => Mlp::build(source, name, width, spec).map(FeedForward::Dense),
        }
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.counted(x, None)
    }

    /// As [`forward`](Self::forward); adds to `load` how often each expert was chosen.
    pub(crate) fn counted(&self, x: Tensor<3>, load: Option<&Load>) -> Tensor<3> {
        match self {
            FeedForward::Dense(mlp) => mlp.forward(x),
            FeedForward::Experts(experts) => experts.counted(x, load),
        }
    }
}

/// A router, its experts, and the expert that all tokens share where there is one.
#[derive(Module, Debug)]
pub struct Experts {
    /// `[E, D]`
    pub router: Proj,
    /// Added to scores when experts are chosen, `[E]`.
    pub correction: Option<Param<Tensor<1>>>,
    /// The experts, one MLP each.
    pub experts: Vec<Mlp>,
    /// An MLP that every token goes through beside.
    pub shared: Option<Mlp>,
    /// What the shared one's output is multiplied by, through a sigmoid, `[1, D]`.
    pub shared_gate: Option<Proj>,
    #[module(skip)]
    spec: spec::Experts,
}

impl Experts {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Experts,
    ) -> Result<Self> {
        let (shared, shared_gate) = match &spec.shared {
            Some(shared) => {
                let mlp = spec.mlp(shared.ffn);
                let gate = match shared.gated {
                    true => {
                        let name = format!("{name}.shared_gate");
                        Some(Proj::build(source, &name, [1, width], false)?)
                    }
                    false => None,
                };
                (Some(Mlp::build(source, &format!("{name}.shared"), width, &mlp)?), gate)
            }
            None => (None, None),
        };
        let mut expert = |j: usize| {
            Mlp::build(source, &format!("{name}.experts.{j}"), width, &spec.mlp(spec.ffn))
        };
        let experts = (0..spec.count).map(&mut expert).collect::<Result<_>>()?;
        let corrected = matches!(spec.routing, Routing::Sigmoid { corrected: true, .. });
        let router = format!("{name}.router");
        Ok(Experts {
            router: Proj::build(source, &router, [spec.count, width], spec.router_bias)?,
            correction: source.optional(
                corrected,
                &format!("{name}.correction.weight"),
                spec.count,
            )?,
            experts,
            shared,
            shared_gate,
            spec: spec.clone(),
        })
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.counted(x, None)
    }

    /// As [`forward`](Self::forward); adds to `load` how often each expert was chosen.
    pub(crate) fn counted(&self, x: Tensor<3>, load: Option<&Load>) -> Tensor<3> {
        let [b, t, d] = x.dims();
        let (n, used) = (b * t, self.spec.used);
        let device = x.device();
        let (weights, chosen) = self.route(x.clone());
        if let Some(load) = load {
            let mut load = load.borrow_mut();
            load.resize(self.spec.count, 0);
            chosen.iter().for_each(|expert| load[*expert] += 1);
        }
        let flat: Tensor<2> = x.clone().reshape([n, d]);

        let mut tokens: Vec<Vec<i32>> = vec![Vec::new(); self.spec.count];
        // Where each token's rows will stand among those of all experts.
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.spec.count];
        for (slot, expert) in chosen.iter().enumerate() {
            tokens[*expert].push((slot / used) as i32);
            places[*expert].push(slot);
        }
        let mut order = vec![0; n * used];
        for (row, slot) in places.into_iter().flatten().enumerate() {
            order[slot] = row as i32;
        }
        let ids = |values: Vec<i32>| {
            let len = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [len]), &device)
        };
        let busy = tokens.into_iter().enumerate().filter(|(_, tokens)| !tokens.is_empty());
        let rows: Vec<Tensor<2>> = busy
            .map(|(j, tokens)| {
                let m = tokens.len();
                let tokens = ids(tokens);
                let weight = weights.clone().narrow(1, j, 1).select(0, tokens.clone()); // [M, 1]
                let x = flat.clone().select(0, tokens);
                if self.spec.weighs_input {
                    return self.experts[j].forward((x * weight).unsqueeze()).reshape([m, d]);
                }
                self.experts[j].forward(x.unsqueeze()).reshape([m, d]) * weight
            })
            .collect();
        let rows = Tensor::cat(rows, 0).select(0, ids(order)); // [N K, D]
        let y: Tensor<3> = rows.reshape([n, used, d]).sum_dim(1).reshape([b, t, d]);
        match &self.shared {
            Some(shared) => {
                let z = shared.forward(x.clone());
                match &self.shared_gate {
                    Some(gate) => y + activation::sigmoid(gate.forward(x)) * z,
                    None => y + z,
                }
            }
            None => y,
        }
    }

    /// The weight of each expert for each token, `[N, E]`, and the experts that each goes through,
    /// `used` in a row.
    ///
    /// Weights are computed on the device, so that a gradient reaches the router.
    fn route(&self, x: Tensor<3>) -> (Tensor<2>, Vec<usize>) {
        let [b, t, _] = x.dims();
        let (n, count, used) = (b * t, self.spec.count, self.spec.used);
        let logits = self.router.forward(x).reshape([n, count]);
        let device = logits.device();
        let read: Vec<f32> = logits.clone().into_data().iter::<f32>().collect();
        // A device that failed may give back less; its model is refused after, so any choice will do.
        let row = |i: usize| read.get(i * count..(i + 1) * count).unwrap_or(&[]);
        let all_but = |seen: &[Vec<bool>]| {
            let hidden: Vec<bool> = seen.iter().flatten().map(|seen| !seen).collect();
            Tensor::<2, Bool>::from_data(TensorData::new(hidden, [n, count]), &device)
        };
        let softmax = |hidden: Tensor<2, Bool>| {
            activation::softmax(logits.clone().mask_fill(hidden, f32::NEG_INFINITY), 1)
        };
        let (weights, chosen) = match self.spec.routing {
            Routing::SoftmaxAll | Routing::SoftmaxChosen => {
                // Within one row, a softmax keeps the order: logits choose what it would.
                let choose = |i: usize| match self.spec.groups {
                    Some(groups) => {
                        let weights = softmax_of(row(i));
                        grouped(&weights, count, used, groups)
                    }
                    None => largest(row(i), count, used),
                };
                let chosen: Vec<usize> = (0..n).flat_map(choose).collect();
                let marks: Vec<Vec<bool>> =
                    chosen.chunks_exact(used).map(|chosen| mark(count, chosen)).collect();
                let weights = match self.spec.routing {
                    Routing::SoftmaxAll => activation::softmax(logits.clone(), 1),
                    _ => softmax(all_but(&marks)),
                };
                (weights, chosen)
            }
            Routing::Sigmoid { divided, .. } => {
                let correction: Vec<f32> = match &self.correction {
                    Some(correction) => correction.val().into_data().iter::<f32>().collect(),
                    None => vec![0.0; count],
                };
                let choose = |i: usize| {
                    let scores = row(i).iter().zip(&correction);
                    let scores: Vec<f32> =
                        scores.map(|(logit, own)| 1.0 / (1.0 + (-logit).exp()) + own).collect();
                    match self.spec.groups {
                        Some(groups) => grouped(&scores, count, used, groups),
                        None => largest(&scores, count, used),
                    }
                };
                let chosen: Vec<usize> = (0..n).flat_map(choose).collect();
                let marks: Vec<Vec<bool>> =
                    chosen.chunks_exact(used).map(|chosen| mark(count, chosen)).collect();
                let weights = activation::sigmoid(logits.clone());
                let weights = match divided {
                    true => {
                        let weights = weights.mask_fill(all_but(&marks), 0.0);
                        // The least that keeps a division by nothing away, as in the reference.
                        let sum = weights.clone().sum_dim(1) + 1e-20; // [N, 1]
                        weights / sum
                    }
                    false => weights,
                };
                (weights, chosen)
            }
            Routing::SparseMixer { jitter } => {
                let mut chosen = Vec::with_capacity(n * used);
                let (mut first, mut second) = (Vec::new(), Vec::new());
                let (mut near_first, mut near_second) = (Vec::new(), Vec::new());
                for i in 0..n {
                    let best = largest(row(i), count, 2);
                    first.push(mark(count, &best[..1]));
                    second.push(mark(count, &best[1..]));
                    near_first.push(near(row(i), count, best[0], None, jitter));
                    near_second.push(near(row(i), count, best[1], Some(best[0]), jitter));
                    chosen.extend(best);
                }
                // Each of the two has its weight among those that come near it.
                let part = |near: &[Vec<bool>], own: &[Vec<bool>]| {
                    softmax(all_but(near)).mask_fill(all_but(own), 0.0)
                };
                (part(&near_first, &first) + part(&near_second, &second), chosen)
            }
        };
        match self.spec.scale {
            Some(scale) => (weights * scale, chosen),
            None => (weights, chosen),
        }
    }
}

/// The experts with the `used` largest logits, largest first.
fn largest(logits: &[f32], count: usize, used: usize) -> Vec<usize> {
    let at = |expert: &usize| logits.get(*expert).copied().unwrap_or(0.0);
    let mut experts: Vec<usize> = (0..count).collect();
    experts.sort_by(|a, b| at(b).total_cmp(&at(a)));
    experts.truncate(used);
    experts
}

/// The softmax of a row.
fn softmax_of(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let grown: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = grown.iter().sum();
    grown.iter().map(|grown| grown / sum).collect()
}

/// The experts with the `used` largest scores among those of the best groups, largest first.
fn grouped(scores: &[f32], count: usize, used: usize, groups: Groups) -> Vec<usize> {
    let size = count / groups.count;
    let sums: Vec<f32> = (0..groups.count)
        .map(|group| {
            let own = scores.get(group * size..(group + 1) * size).unwrap_or(&[]);
            largest(own, size, groups.best).iter().filter_map(|j| own.get(*j)).sum()
        })
        .collect();
    let best = largest(&sums, groups.count, groups.used);
    let mut own = scores.to_vec();
    for (expert, score) in own.iter_mut().enumerate() {
        if !best.contains(&(expert / size)) {
            *score = f32::NEG_INFINITY;
        }
    }
    largest(&own, count, used)
}

fn mark(count: usize, chosen: &[usize]) -> Vec<bool> {
    (0..count).map(|expert| chosen.contains(&expert)).collect()
}

/// The experts whose logits are not further below that of `best` than the jitter they were trained
/// with, `without` one that is taken already (arXiv:2409.12136).
fn near(
    logits: &[f32],
    count: usize,
    best: usize,
    without: Option<usize>,
    jitter: f64,
) -> Vec<bool> {
    let at = |expert: usize| logits.get(expert).copied().unwrap_or(0.0);
    let top = at(best);
    (0..count)
        .map(|expert| {
            let logit = at(expert);
            let far = (top - logit) / logit.abs().max(top) > 2.0 * jitter as f32;
            Some(expert) != without && !far
        })
        .collect()
}
