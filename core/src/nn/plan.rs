//! What each block computes, said once: a short list of wide steps, made from a [`Spec`].
//!
//! ```text
//! Llama: norm -> q k v -> attend -> out -> join -> norm -> gate up -> gate -> down -> join
//! BERT:          q k v -> attend -> out -> join -> norm -> up -> gate -> down -> join -> norm
//! ```
//! A step is as wide as the widest kernel that computes it. [`run`](super::run) has three executors
//! of the same list: burn tensors, which know every step and give gradients, slices on the CPU and
//! CubeCL kernels on a GPU. A new field of a step does not compile until each of them has answered
//! for it.

use std::fmt;

use super::spec::{
    self, Activation, Clamp, OutputGate, Place, Position, QkNorm, Relative, Rope, Span, Spec,
    Temper,
};

/// A value on its way through a block, rows `[M, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The residual stream, `[M, D]`: what comes in and what goes out.
    X,
    /// What a part reads, `[M, D]`.
    N,
    /// Queries, `[M, H C]`.
    Q,
    /// Keys, `[M, K C]`.
    K,
    /// Values, `[M, K V]`.
    V,
    /// What attention gives, `[M, H V]`.
    A,
    /// The gate of an MLP, `[M, F]`.
    G,
    /// What an MLP projects up, `[M, F]`.
    U,
    /// What a part adds to the residual stream, `[M, D]`.
    Y,
    /// The same of a second part beside it, `[M, D]`.
    Z,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Slot {
    /// How many there are.
    pub(crate) const COUNT: usize = 10;
}

/// Which norm of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormAt {
    /// `attn_norm`
    Attn,
    /// `attn_post_norm`
    AttnPost,
    /// `cross_norm`
    Cross,
    /// `mlp_norm`
    Mlp,
    /// `mlp_post_norm`
    MlpPost,
}

impl NormAt {
    /// Its name in a block.
    pub(crate) fn name(self) -> &'static str {
        match self {
            NormAt::Attn => "attn_norm",
            NormAt::AttnPost => "attn_post_norm",
            NormAt::Cross => "cross_norm",
            NormAt::Mlp => "mlp_norm",
            NormAt::MlpPost => "mlp_post_norm",
        }
    }
}

/// Which matrix of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatrixAt {
    /// Of a block's attention: queries, keys, values, what joins.
    Q,
    K,
    V,
    Out,
    /// The gate of what attention gives.
    AttnGate,
    /// Of the attention to a source: queries, what joins. Its keys and values are made once, see
    /// [`CrossCache`](super::CrossCache).
    CrossQ,
    CrossOut,
    /// Of an MLP.
    Gate,
    Up,
    Down,
}

/// Which attention of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionAt {
    /// To the tokens of the sequence.
    Own,
    /// To the source's.
    Cross,
}

/// What is added to scores by the distance of query and key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bias {
    /// The distance times a rate of each head.
    Alibi {
        /// What the rates are multiplied by.
        scale: f64,
    },
    /// A learned number for each bucket of distances and head.
    Buckets,
    /// Products of queries and keys with learned vectors of distances.
    Disentangled,
}

/// A pass of queries over keys and values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attend {
    /// Whose keys and values.
    pub of: AttentionAt,
    /// Query heads (H).
    pub heads: usize,
    /// Key heads (K).
    pub kv_heads: usize,
    /// Size of a head of queries and keys (C).
    pub head_dim: usize,
    /// Size of a head of values (V).
    pub value_dim: usize,
    /// The norm of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Which of the plan's rotations turns queries and keys.
    pub rope: Option<usize>,
    /// Grows queries with their place.
    pub temper: Option<Temper>,
    /// Which tokens a token sees.
    pub span: Span,
    /// Multiplies scores.
    pub scale: f64,
    /// Bends scores below a bound.
    pub softcap: Option<f64>,
    /// Whether each head has a score of no token.
    pub sinks: bool,
    /// Added to scores.
    pub bias: Option<Bias>,
}

/// One step of a block. Steps read slots and write others; which parameters they need, `*At` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `to = norm(from)`
    Norm { norm: NormAt, kind: spec::Norm, from: Slot, to: Slot },
    /// Products of one operand with some matrices, biases added.
    Project { from: Slot, to: Vec<(MatrixAt, Slot)> },
    /// Queries, keys and values by way of short vectors (multi-head latent attention).
    Latent { from: Slot, heads: usize, head_dim: usize, rope: Option<usize>, latent: spec::Latent },
    /// `A` from `Q`, `K`, `V` and what the cache or a source holds.
    Attend(Box<Attend>),
    /// `A = A * sigmoid(G)`, a number of the gate for each of `A` or for each of its heads.
    Open { gate: OutputGate, heads: usize },
    /// `U = activation(gate) * U`, or `activation(U)` without a gate.
    Gate { gate: Option<Slot>, activation: Activation, clamp: Option<Clamp> },
    /// Each row through a few of many MLPs.
    Experts { from: Slot, to: Slot, spec: Box<spec::Experts> },
    /// `to = to + scale * from`
    Join { to: Slot, from: Slot, scale: Option<f64> },
}

impl Step {
    /// What it is called where steps are listed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Step::Norm { norm, .. } => norm.name(),
            Step::Project { .. } => "products",
            Step::Latent { .. } => "queries, keys and values",
            Step::Open { .. } => "gate of attention",
            Step::Attend(attend) => match attend.of {
                AttentionAt::Own => "attention",
                AttentionAt::Cross => "cross attention",
            },
            Step::Gate { .. } => "gate",
            Step::Experts { .. } => "experts",
            Step::Join { .. } => "residual",
        }
    }

    /// The slots that it reads.
    pub(crate) fn reads(&self) -> Vec<Slot> {
        match self {
            Step::Norm { from, .. }
            | Step::Project { from, .. }
            | Step::Latent { from, .. }
            | Step::Experts { from, .. } => vec![*from],
            Step::Attend(attend) => match attend.of {
                AttentionAt::Own => vec![Slot::Q, Slot::K, Slot::V],
                AttentionAt::Cross => vec![Slot::Q],
            },
            Step::Open { .. } => vec![Slot::A, Slot::G],
            Step::Gate { gate, .. } => gate.iter().copied().chain([Slot::U]).collect(),
            Step::Join { to, from, .. } => vec![*to, *from],
        }
    }

    /// The slots that it writes.
    pub(crate) fn writes(&self) -> Vec<Slot> {
        match self {
            Step::Norm { to, .. } | Step::Join { to, .. } | Step::Experts { to, .. } => vec![*to],
            Step::Project { to, .. } => to.iter().map(|(_, slot)| *slot).collect(),
            Step::Latent { .. } => vec![Slot::Q, Slot::K, Slot::V],
            Step::Attend(_) | Step::Open { .. } => vec![Slot::A],
            Step::Gate { .. } => vec![Slot::U],
        }
    }
}

/// The steps of every block, and the rotations that they share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The rotations of queries and keys, each once.
    pub ropes: Vec<Rope>,
    /// The steps of each layer.
    pub layers: Vec<Vec<Step>>,
}

/// Which norms a part of a block has: `after(x + inside(f(before(x))))`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Norms {
    kind: spec::Norm,
    before: Option<NormAt>,
    inside: Option<NormAt>,
    after: Option<NormAt>,
}

impl Norms {
    /// The one place that knows what a [`Place`] means, for a part whose norms have these names.
    fn of(spec: &Spec, norm: NormAt, post: NormAt) -> Norms {
        let none = Norms { kind: spec.norm, before: None, inside: None, after: None };
        match spec.place {
            Place::Before => Norms { before: Some(norm), ..none },
            Place::After => Norms { after: Some(norm), ..none },
            Place::Around => Norms { before: Some(norm), inside: Some(post), ..none },
            Place::Inside => Norms { inside: Some(post), ..none },
            // Both parts before one join, see `block`.
            Place::Parallel { .. } => Norms { before: Some(norm), ..none },
        }
    }
}

impl Plan {
    /// What a spec's blocks compute.
    pub(crate) fn of(spec: &Spec) -> Plan {
        let mut ropes: Vec<Rope> = Vec::new();
        let layers = (0..spec.layers.len()).map(|i| block(spec, i, &mut ropes)).collect();
        Plan { ropes, layers }
    }

    /// Whether some layer's step is so.
    pub(crate) fn any(&self, is: impl Fn(&Step) -> bool) -> bool {
        self.layers.iter().flatten().any(is)
    }
}

/// The steps of layer `i`.
fn block(spec: &Spec, i: usize, ropes: &mut Vec<Rope>) -> Vec<Step> {
    let (layer, scale) = (&spec.layers[i], spec.scales.residual);
    let mut steps = Vec::new();
    let mut norms = Norms::of(spec, NormAt::Attn, NormAt::AttnPost);
    if layer.bare {
        norms.before = None;
    }
    let mlp = layer.mlp.as_ref().unwrap_or(&spec.mlp);
    if let Place::Parallel { shared } = spec.place {
        let from = normed(&mut steps, norms);
        attention(&mut steps, spec, i, from, ropes);
        let norms = Norms::of(spec, NormAt::Mlp, NormAt::MlpPost);
        let from = if shared { from } else { normed(&mut steps, norms) };
        feed_forward(&mut steps, mlp, from, Slot::Z);
        steps.push(Step::Join { to: Slot::Y, from: Slot::Z, scale: None });
        steps.push(Step::Join { to: Slot::X, from: Slot::Y, scale });
        return steps;
    }
    part(&mut steps, norms, scale, |steps, from| attention(steps, spec, i, from, ropes));
    if spec.encoder.is_some() {
        let norms = Norms::of(spec, NormAt::Cross, NormAt::Cross);
        part(&mut steps, norms, scale, |steps, from| cross(steps, spec, i, from));
    }
    let norms = Norms::of(spec, NormAt::Mlp, NormAt::MlpPost);
    part(&mut steps, norms, scale, |steps, from| feed_forward(steps, mlp, from, Slot::Y));
    steps
}

/// `x = after(x + scale * inside(f(before(x))))`, where `f` reads a slot and writes `Y`.
fn part(
    steps: &mut Vec<Step>,
    norms: Norms,
    scale: Option<f64>,
    f: impl FnOnce(&mut Vec<Step>, Slot),
) {
    let from = normed(steps, norms);
    f(steps, from);
    if let Some(norm) = norms.inside {
        steps.push(Step::Norm { norm, kind: norms.kind, from: Slot::Y, to: Slot::Y });
    }
    steps.push(Step::Join { to: Slot::X, from: Slot::Y, scale });
    if let Some(norm) = norms.after {
        steps.push(Step::Norm { norm, kind: norms.kind, from: Slot::X, to: Slot::X });
    }
}

/// What a part reads: the residual stream, or a norm of it.
fn normed(steps: &mut Vec<Step>, norms: Norms) -> Slot {
    let Some(norm) = norms.before else { return Slot::X };
    steps.push(Step::Norm { norm, kind: norms.kind, from: Slot::X, to: Slot::N });
    Slot::N
}

/// Attention to the sequence's own tokens, into `Y`.
fn attention(steps: &mut Vec<Step>, spec: &Spec, i: usize, from: Slot, ropes: &mut Vec<Rope>) {
    let own = spec.attention_of(i);
    let rope = spec.rope(i).map(|rope| {
        ropes.iter().position(|known| known == rope).unwrap_or_else(|| {
            ropes.push(rope.clone());
            ropes.len() - 1
        })
    });
    let bias = match (&spec.position, &own.relative) {
        (Position::Alibi { scale }, _) => Some(Bias::Alibi { scale: *scale }),
        (_, Some(Relative::Buckets { .. })) => Some(Bias::Buckets),
        (_, Some(Relative::Disentangled { .. })) => Some(Bias::Disentangled),
        (_, None) => None,
    };
    let mut rotated = rope;
    match own.latent {
        Some(latent) => {
            let (heads, head_dim) = (own.heads, own.head_dim);
            // What is rotated is a part of a head, by the step that makes it.
            rotated = None;
            steps.push(Step::Latent { from, heads, head_dim, rope, latent });
            if own.gate.is_some() {
                steps.push(Step::Project { from, to: vec![(MatrixAt::AttnGate, Slot::G)] });
            }
        }
        None => {
            let mut to =
                vec![(MatrixAt::Q, Slot::Q), (MatrixAt::K, Slot::K), (MatrixAt::V, Slot::V)];
            to.extend(own.gate.map(|_| (MatrixAt::AttnGate, Slot::G)));
            steps.push(Step::Project { from, to });
        }
    }
    let layer = &spec.layers[i];
    steps.push(Step::Attend(Box::new(Attend {
        rope: rotated,
        temper: layer.temper,
        span: layer.span,
        bias,
        ..look(&own, AttentionAt::Own)
    })));
    if let Some(gate) = own.gate {
        steps.push(Step::Open { gate, heads: own.heads });
    }
    steps.push(Step::Project { from: Slot::A, to: vec![(MatrixAt::Out, Slot::Y)] });
}

/// Attention to a source, into `Y`. A source has no place beside the target's: nothing goes by
/// distance.
fn cross(steps: &mut Vec<Step>, spec: &Spec, i: usize, from: Slot) {
    let own = spec.attention_of(i);
    steps.push(Step::Project { from, to: vec![(MatrixAt::CrossQ, Slot::Q)] });
    let across = spec::Attention { latent: None, gate: None, ..own };
    steps.push(Step::Attend(Box::new(look(&across, AttentionAt::Cross))));
    steps.push(Step::Project { from: Slot::A, to: vec![(MatrixAt::CrossOut, Slot::Y)] });
}

/// The attention that a spec says, of tokens that all see each other.
fn look(spec: &spec::Attention, of: AttentionAt) -> Attend {
    Attend {
        of,
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        value_dim: spec.value_dim(),
        qk_norm: spec.qk_norm,
        rope: None,
        temper: None,
        span: Span::Bidirectional,
        scale: spec.scale,
        softcap: spec.softcap,
        sinks: spec.sinks,
        bias: None,
    }
}

/// A feed-forward part.
fn feed_forward(steps: &mut Vec<Step>, spec: &spec::Mlp, from: Slot, to: Slot) {
    let (gated, activation, clamp) = match spec {
        spec::Mlp::Experts(experts) => {
            let spec = Box::new(experts.clone());
            return steps.push(Step::Experts { from, to, spec });
        }
        spec::Mlp::Plain { activation, .. } => (false, *activation, None),
        spec::Mlp::Gated { activation, .. } => (true, *activation, None),
        spec::Mlp::Clamped { clamp, .. } => (true, Activation::Silu, Some(*clamp)),
    };
    let gate = gated.then_some((MatrixAt::Gate, Slot::G));
    let matrices = gate.into_iter().chain([(MatrixAt::Up, Slot::U)]);
    steps.push(Step::Project { from, to: matrices.collect() });
    steps.push(Step::Gate { gate: gated.then_some(Slot::G), activation, clamp });
    steps.push(Step::Project { from: Slot::U, to: vec![(MatrixAt::Down, to)] });
}

/// The steps of an MLP by itself, from `X` to `Y`.
pub(crate) fn mlp(spec: &spec::Mlp) -> Vec<Step> {
    let mut steps = Vec::new();
    feed_forward(&mut steps, spec, Slot::X, Slot::Y);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::spec::{Layer, Mlp, OutputGate};

    /// Specs of every place of norms, as a decoder, an encoder and with an encoder beside.
    fn specs() -> Vec<Spec> {
        let places = [
            Place::Before,
            Place::After,
            Place::Around,
            Place::Inside,
            Place::Parallel { shared: true },
            Place::Parallel { shared: false },
        ];
        let latent = spec::Latent {
            rank: 8,
            query_rank: None,
            rotated: 2,
            value_dim: 4,
            norm: spec::Norm::Rms { eps: 1e-5 },
        };
        let mut specs = vec![Spec::seq2seq(50, 24, 2, 4, 40), Spec::encoder(50, 24, 2, 4, 40)];
        for place in places {
            for gate in [None, Some(OutputGate::Full)] {
                for latent in [None, Some(latent)] {
                    let mut spec = Spec { place, ..Spec::decoder(50, 24, 2, 4, 40) };
                    (spec.attention.gate, spec.attention.latent) = (gate, latent);
                    let plain = Mlp::Plain { ffn: 8, activation: Activation::Relu, bias: true };
                    spec.layers[1] = Layer { mlp: Some(plain), ..spec.layers[1].clone() };
                    specs.push(spec);
                }
            }
        }
        specs
    }

    #[test]
    fn a_slot_is_written_before_it_is_read() {
        for spec in specs() {
            for steps in Plan::of(&spec).layers {
                let mut written = vec![Slot::X];
                for step in &steps {
                    for slot in step.reads() {
                        assert!(written.contains(&slot), "{:?}: {step:?}", spec.place);
                    }
                    written.extend(step.writes());
                }
                // What comes out is the residual stream, with all that the parts add.
                let joins = steps
                    .iter()
                    .filter(|step| matches!(step, Step::Join { to: Slot::X, from: Slot::Y, .. }));
                let parts = match spec.place {
                    Place::Parallel { .. } => 1,
                    _ => 2 + usize::from(spec.encoder.is_some()),
                };
                assert_eq!(joins.count(), parts, "{:?}", spec.place);
            }
        }
    }

    #[test]
    fn rotations_that_are_alike_are_one() {
        let mut spec = Spec::decoder(50, 24, 4, 4, 40);
        let Position::Rope(shared) = spec.position.clone() else { panic!("a rotation") };
        let other = Rope { theta: 7.0, ..shared };
        spec.layers[1].rope = spec::LayerRope::Own(other.clone());
        spec.layers[3].rope = spec::LayerRope::Own(other);
        let plan = Plan::of(&spec);
        assert_eq!(plan.ropes.len(), 2);
        assert_eq!(plan.layers[1], plan.layers[3]);
        assert_ne!(plan.layers[0], plan.layers[1]);
    }
}
