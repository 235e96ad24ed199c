//! Random small specs: every idea of a `Spec` alone and beside others, and a count of what was drawn.
//!
//! Structs are written and taken apart field by field, without `..`: a field or a variant more does
//! not compile until it is drawn and counted here.

use std::collections::BTreeMap;

use emberform::nn::Spec;
use emberform::nn::spec::{
    Activation, Attention, Clamp, Dense, Embed, Experts, Factor, Groups, Head, HeadShape, Latent,
    Layer, LayerRope, Mlp, Norm, OutputGate, Pairing, Place, Position, QkNorm, Read, Relative,
    Rope, Routing, Scales, Scaling, Shared, Span, Stretch, Task, TaskKind, Temper,
};

/// Most tokens of a sequence that the specs are made for.
pub const WINDOW: usize = 40;

/// Random numbers that are the same everywhere (SplitMix64).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of one case of one kind.
    pub fn new(kind: u64, case: u64) -> Dice {
        let mut dice = Dice(kind << 40 ^ case);
        Dice(dice.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// A number between two others.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of mean 0 and variance 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.within(f64::MIN_POSITIVE, 1.0).ln()).sqrt();
        radius * self.within(0.0, std::f64::consts::TAU).cos()
    }

    /// What is made, once in `n` times.
    fn maybe<T>(&mut self, n: usize, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        if self.once_in(n) { Some(make(self)) } else { None }
    }
}

/// What a spec is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A decoder by itself.
    Decoder,
    /// An encoder by itself.
    Encoder,
    /// A decoder with an encoder beside it.
    Seq2Seq,
}

/// Which specs are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taste {
    /// All there are.
    Any,
    /// What most decoders are made of, which has the fastest ways.
    Usual,
    /// The same, in sizes of which kernels of a GPU are made: every size more is one more to compile.
    Few,
}

/// A spec of this kind that fits together.
pub fn draw(kind: Kind, taste: Taste, dice: &mut Dice) -> Spec {
    for _ in 0..200 {
        let spec = match kind {
            Kind::Decoder => stack(Role::Decoder, taste, dice),
            Kind::Encoder => stack(Role::Encoder, taste, dice),
            Kind::Seq2Seq => pair(taste, dice),
        };
        if spec.validate().is_ok() {
            return spec;
        }
    }
    panic!("200 specs in a row do not fit together");
}

/// What one stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Decoder,
    Encoder,
    /// The encoder of two stacks.
    Source,
    /// The decoder of two stacks.
    Target,
}

fn pair(taste: Taste, dice: &mut Dice) -> Spec {
    let mut target = stack(Role::Target, taste, dice);
    let mut source = stack(Role::Source, taste, dice);
    source.width = target.width;
    source.embed.shared = dice.once_in(2);
    if source.embed.shared {
        source.vocab = target.vocab;
        source.embed.factor = match target.embed.factor {
            Some(Factor::Sum { width }) => Some(Factor::Sum { width }),
            // An encoder has no head that a token's vector alone would be projected back for.
            Some(Factor::Tokens { .. }) => {
                target.embed.factor = None;
                None
            }
            None => None,
        };
    }
    target.encoder = Some(Box::new(source));
    target
}

fn stack(role: Role, taste: Taste, dice: &mut Dice) -> Spec {
    let decodes = matches!(role, Role::Decoder | Role::Target);
    let any = taste == Taste::Any;
    let vocab = if taste == Taste::Few { 48 } else { dice.of(&[37, 48, 61]) };
    let width = if taste == Taste::Few { 24 } else { dice.of(&[16, 24, 27, 40]) };
    let norm = if any { norm(dice) } else { Norm::Rms { eps: eps(dice) } };
    let place = match role {
        _ if !any => dice.of(&[Place::Before, Place::Around]),
        Role::Target => dice.of(&[Place::Before, Place::After]),
        _ => dice.of(&[
            Place::Before,
            Place::Before,
            Place::After,
            Place::Around,
            Place::Inside,
            Place::Parallel { shared: true },
            Place::Parallel { shared: false },
        ]),
    };
    let place = if role == Role::Target && place == Place::Around { Place::Before } else { place };
    // Half of the specs have no idea that only tensors know, so that the other ways are met as often.
    let odd = if any && dice.once_in(2) { Some(dice.below(7)) } else { None };
    let (attention, alibi) = attention(odd, taste, norm, dice);
    let turned = attention.latent.map_or(attention.head_dim, |latent| latent.rotated);
    let whole = attention.latent.is_some();
    let position = match dice.below(8) {
        _ if alibi => Position::Alibi { scale: dice.within(0.3, 1.5) },
        0 => Position::None,
        1 => Position::Learned { count: WINDOW },
        2 if any => {
            Position::Sinusoidal { pairing: dice.of(&[Pairing::Halves, Pairing::Adjacent]) }
        }
        _ => Position::Rope(rope(turned, whole, dice)),
    };
    let factor = match role {
        _ if !any || !dice.once_in(4) => None,
        Role::Decoder | Role::Target if dice.once_in(2) => Some(Factor::Tokens { width: 12 }),
        _ => Some(Factor::Sum { width: 20 }),
    };
    let embed = Embed {
        scale: dice.maybe(3, |dice| dice.within(0.5, 4.0)),
        types: match any && dice.once_in(if decodes { 5 } else { 2 }) {
            true => 2,
            false => 0,
        },
        norm: any && dice.once_in(3),
        factor,
        shared: false,
    };
    let head = match role {
        Role::Source => Head::None,
        Role::Encoder => encoder_head(vocab, width, factor, dice),
        Role::Decoder | Role::Target => {
            let (bias, softcap) = (dice.once_in(3), dice.maybe(3, |dice| dice.within(1.0, 4.0)));
            match dice.once_in(2) || matches!(factor, Some(Factor::Sum { .. })) {
                true => Head::Own { bias, softcap },
                false => Head::Tied { bias, softcap },
            }
        }
    };
    let mlp = mlp(taste, dice);
    let count = if taste == Taste::Few { 2 } else { 1 + dice.below(3) };
    let mut layers: Vec<Layer> = (0..count)
        .map(|_| {
            let rotates = matches!(position, Position::Rope(_));
            layer(taste, !decodes, rotates, (turned, whole), place, &attention, dice)
        })
        .collect();
    if any && count > 1 && dice.once_in(4) {
        // Those that share weights are of one make, and differ in what needs none.
        let blocks = 1 + dice.below(count - 1);
        for i in 0..count {
            let own = i % blocks;
            let Layer { mlp, bare, heads, .. } = layers[own].clone();
            layers[i] = Layer { mlp, bare, heads, weights: Some(own), ..layers[i].clone() };
        }
    }
    Spec {
        vocab,
        width,
        window: WINDOW,
        embed,
        position,
        attention,
        mlp,
        norm,
        place,
        layers,
        last_norm: !dice.once_in(4),
        head,
        scales: Scales {
            residual: if any { dice.maybe(5, |dice| dice.within(0.4, 1.5)) } else { None },
            logits: dice.maybe(4, |dice| dice.within(0.4, 2.0)),
        },
        encoder: None,
    }
}

/// Large ones too: what is left out should be seen.
fn eps(dice: &mut Dice) -> f64 {
    dice.of(&[1e-6, 1e-5, 0.03])
}

fn norm(dice: &mut Dice) -> Norm {
    match dice.below(5) {
        0 => Norm::Layer { eps: eps(dice), bias: true },
        1 => Norm::Layer { eps: eps(dice), bias: false },
        2 => Norm::Plain { eps: eps(dice), centered: dice.once_in(2) },
        _ => Norm::Rms { eps: eps(dice) },
    }
}

fn activation(dice: &mut Dice) -> Activation {
    dice.of(&[
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ])
}

/// The attention, and whether distances lower scores by head. `odd` is an idea that it has for sure.
fn attention(odd: Option<usize>, taste: Taste, norm: Norm, dice: &mut Dice) -> (Attention, bool) {
    let mut has = |idea: usize| odd == Some(idea) || (odd.is_some() && dice.once_in(8));
    let [alibi, sinks, by_head, rotated] = [0, 1, 2, 3].map(&mut has);
    let [buckets, vectors, latent] = [4, 5, 6].map(&mut has);
    // These bear no other beside them.
    let latent = latent && (odd == Some(6) || !(sinks || by_head || rotated || buckets || vectors));
    let vectors = vectors && !latent && (odd == Some(5) || !buckets);
    let heads: usize = dice.of(&[2, 3, 4, 6]);
    let kv_heads = match latent || vectors {
        true => heads,
        false => {
            let divides: Vec<usize> = (1..=heads).filter(|n| heads.is_multiple_of(*n)).collect();
            dice.of(&divides)
        }
    };
    let (heads, kv_heads) = match taste {
        Taste::Few => dice.of(&[(4, 4), (4, 2)]),
        _ => (heads, kv_heads),
    };
    let head_dim = match taste {
        Taste::Any => dice.of(&[4, 6, 7, 8, 16]),
        Taste::Usual => dice.of(&[6, 8, 16, 32]),
        Taste::Few => dice.of(&[8, 32]),
    };
    let qk_norm = match () {
        _ if latent => None,
        _ if by_head && (odd != Some(3)) => Some(QkNorm::PerHead(self::norm(dice))),
        _ if rotated => Some(QkNorm::Rotated { eps: eps(dice) }),
        _ if taste != Taste::Any => dice.maybe(3, |_| QkNorm::Shared(norm)),
        _ => dice.maybe(3, |dice| {
            let norm = self::norm(dice);
            dice.of(&[QkNorm::Shared(norm), QkNorm::Whole(norm)])
        }),
    };
    let relative = match () {
        _ if latent => None,
        _ if vectors => {
            let (reach, far) = (4 + dice.below(5), 8 + dice.below(20));
            let furthest = dice.maybe(2, |_| reach.max(far));
            let [shared, norm] = [2, 2].map(|n| dice.once_in(n));
            let (to_position, to_content) =
                dice.of(&[(true, true), (true, true), (true, false), (false, true)]);
            Some(Relative::Disentangled { reach, furthest, shared, to_position, to_content, norm })
        }
        _ if buckets => Some(Relative::Buckets {
            count: dice.of(&[4, 8, 12]),
            furthest: 8 + dice.below(20),
            both: dice.once_in(2),
        }),
        _ => None,
    };
    let latent = match latent {
        true => {
            let rotated = dice.of(&[2, 4]).min((head_dim - 1) / 2 * 2);
            Some(Latent {
                rank: dice.of(&[7, 12]),
                query_rank: dice.maybe(2, |_| 9),
                rotated,
                value_dim: dice.of(&[5, 8]),
                norm,
            })
        }
        false => None,
    };
    let biased = if taste == Taste::Few { 2 } else { 3 };
    let attention = Attention {
        heads,
        kv_heads,
        head_dim,
        qkv_bias: dice.once_in(biased),
        out_bias: taste == Taste::Any && dice.once_in(3),
        qk_norm,
        scale: (head_dim as f64).powf(-0.5) * dice.within(0.7, 1.6),
        softcap: dice.maybe(5, |dice| dice.within(0.5, 3.0)),
        relative,
        sinks: sinks && latent.is_none(),
        gate: match taste {
            Taste::Any => dice.maybe(5, |dice| dice.of(&[OutputGate::Full, OutputGate::Heads])),
            Taste::Usual | Taste::Few => None,
        },
        latent,
    };
    let alibi = alibi && attention.relative.is_none();
    (attention, alibi)
}

/// A rotation of a part of `size` dimensions, or of the `whole`.
fn rope(size: usize, whole: bool, dice: &mut Dice) -> Rope {
    let dims = match whole || dice.once_in(2) {
        true => size / 2 * 2,
        false => 2 * (1 + dice.below(size / 2)),
    };
    let factors = |dice: &mut Dice| -> Vec<f32> {
        (0..dims / 2).map(|_| dice.within(0.5, 4.0) as f32).collect()
    };
    let stretch =
        |dice: &mut Dice| Stretch { factors: factors(dice), magnitude: dice.within(0.8, 1.3) };
    let scaling = match dice.below(9) {
        0 => Scaling::Linear { factor: dice.within(1.0, 4.0) },
        1 => Scaling::Llama3 {
            factor: dice.within(1.5, 4.0),
            low: 1.0,
            high: 4.0,
            original: dice.within(8.0, 30.0),
        },
        2 => Scaling::Factors(factors(dice)),
        3 => Scaling::Yarn {
            factor: dice.within(1.5, 4.0),
            fast: 4.0,
            slow: 0.5,
            original: dice.within(8.0, 30.0),
            truncate: dice.once_in(2),
            magnitude: dice.within(0.8, 1.3),
        },
        4 => Scaling::Dynamic { factor: dice.within(1.5, 3.0), original: 4 + dice.below(12) },
        5 => Scaling::Long {
            short: stretch(dice),
            long: stretch(dice),
            original: 4 + dice.below(12),
        },
        _ => Scaling::None,
    };
    Rope {
        theta: dice.of(&[100.0, 10_000.0]),
        dims,
        pairing: dice.of(&[Pairing::Halves, Pairing::Adjacent]),
        scaling,
    }
}

fn mlp(taste: Taste, dice: &mut Dice) -> Mlp {
    let ffn = if taste == Taste::Few { 40 } else { dice.of(&[24, 33, 40]) };
    match dice.below(6) {
        _ if taste != Taste::Any => Mlp::Gated {
            ffn,
            activation: match taste {
                Taste::Few => dice.of(&[Activation::Silu, Activation::GeluTanh]),
                _ => activation(dice),
            },
            bias: false,
            down_bias: false,
        },
        0 => Mlp::Plain { ffn, activation: activation(dice), bias: dice.once_in(2) },
        1 => Mlp::Clamped { ffn, clamp: clamp(dice), bias: dice.once_in(2) },
        2 | 3 => Mlp::Experts(experts(dice)),
        _ => Mlp::Gated {
            ffn,
            activation: activation(dice),
            bias: dice.once_in(2),
            down_bias: dice.once_in(2),
        },
    }
}

fn clamp(dice: &mut Dice) -> Clamp {
    Clamp { alpha: dice.within(0.5, 2.0), limit: dice.within(0.3, 1.5) }
}

fn experts(dice: &mut Dice) -> Experts {
    let routing = match dice.below(4) {
        0 => Routing::SoftmaxAll,
        1 => Routing::SoftmaxChosen,
        2 => Routing::Sigmoid { corrected: dice.once_in(2), divided: dice.once_in(2) },
        _ => Routing::SparseMixer { jitter: dice.within(0.1, 0.6) },
    };
    let grouped = match routing {
        Routing::SoftmaxAll | Routing::Sigmoid { corrected: _, divided: _ } => dice.once_in(2),
        Routing::SoftmaxChosen | Routing::SparseMixer { jitter: _ } => false,
    };
    let used = match routing {
        Routing::SparseMixer { jitter: _ } => 2,
        _ => 1 + dice.below(3),
    };
    Experts {
        count: if grouped { 6 } else { used + dice.below(4) },
        used,
        ffn: dice.of(&[9, 16]),
        activation: activation(dice),
        clamp: dice.maybe(4, clamp),
        bias: dice.once_in(3),
        router_bias: dice.once_in(3),
        routing,
        groups: match grouped {
            true => Some(Groups { count: 3, used: 2, best: 1 + dice.below(2) }),
            false => None,
        },
        scale: dice.maybe(3, |dice| dice.within(0.5, 2.5)),
        weighs_input: dice.once_in(4),
        shared: dice.maybe(3, |dice| Shared { ffn: 10, gated: dice.once_in(2) }),
    }
}

fn layer(
    taste: Taste,
    both: bool,
    rotates: bool,
    (turned, whole): (usize, bool),
    place: Place,
    attention: &Attention,
    dice: &mut Dice,
) -> Layer {
    let any = taste == Taste::Any;
    let sliding = Span::Sliding { window: 1 + dice.below(8) };
    let span = match dice.below(8) {
        0 if any => Span::Chunked { size: 2 + dice.below(6) },
        1 | 2 => sliding,
        3 | 4 if both => Span::Local { reach: 1 + dice.below(4) },
        5 | 6 if both => Span::Bidirectional,
        _ => Span::Causal,
    };
    let rope = match dice.below(6) {
        0 if rotates => LayerRope::Own(rope(turned, whole, dice)),
        1 if rotates => LayerRope::None,
        _ => LayerRope::Shared,
    };
    Layer {
        span,
        rope,
        scale: dice.maybe(5, |dice| attention.scale * dice.within(0.5, 1.5)),
        heads: match any && attention.latent.is_none() && attention.relative.is_none() {
            true => dice.maybe(5, |dice| HeadShape {
                kv_heads: dice.of(&[1, attention.heads]),
                // No smaller, so that the rotation fits.
                head_dim: attention.head_dim + 2 * dice.below(3),
            }),
            false => None,
        },
        mlp: if any { dice.maybe(5, |dice| mlp(taste, dice)) } else { None },
        bare: any && place == Place::Before && dice.once_in(4),
        temper: match any {
            true => dice.maybe(9, |dice| Temper {
                floor: dice.within(1.0, 6.0),
                scale: dice.within(0.1, 0.8),
            }),
            false => None,
        },
        weights: None,
    }
}

fn encoder_head(vocab: usize, width: usize, factor: Option<Factor>, dice: &mut Dice) -> Head {
    if dice.once_in(4) {
        return Head::None;
    }
    let pooler = dice.maybe(2, activation);
    // Those of one name stand for each other.
    let one = dice.of(&[TaskKind::Classes, TaskKind::Tokens, TaskKind::Bounds]);
    let mut tasks = vec![];
    for kind in [TaskKind::Words, one, TaskKind::Order] {
        if dice.once_in(3) {
            continue;
        }
        let read = match pooler {
            Some(_) => dice.of(&[Read::Each, Read::First, Read::Last, Read::Mean, Read::Pooler]),
            None => dice.of(&[Read::Each, Read::First, Read::Last, Read::Mean]),
        };
        let embedded = factor.map_or(width, Factor::width);
        let dense = dice.maybe(2, |dice| Dense {
            width: dice.of(&[embedded, 11]),
            bias: dice.once_in(2),
            activation: activation(dice),
            norm: dice.maybe(2, norm),
        });
        let fits = dense.as_ref().map_or(width, |dense| dense.width) == embedded;
        let tied = kind == TaskKind::Words && fits && dice.once_in(2);
        let outputs = if kind == TaskKind::Words { vocab } else { 2 + dice.below(3) };
        tasks.push(Task { kind, read, dense, outputs, tied, bias: dice.once_in(2) });
    }
    Head::Encoder { pooler, tasks }
}

/// How often each idea was drawn.
#[derive(Default)]
pub struct Seen(pub BTreeMap<String, usize>);

/// All that is counted: a row a field or a sum type, with its variants.
pub const IDEAS: &[(&str, &[&str])] = &[
    ("embed.scale", &["none", "some"]),
    ("embed.types", &["none", "some"]),
    ("embed.norm", &["no", "yes"]),
    ("embed.factor", &["none", "sum", "tokens"]),
    ("embed.shared", &["no", "yes"]),
    ("position", &["none", "learned", "sinusoidal", "rope", "alibi"]),
    ("sines", &["halves", "adjacent"]),
    ("pairing", &["halves", "adjacent"]),
    ("rotated", &["all", "a part"]),
    ("scaling", &["none", "linear", "llama3", "factors", "yarn", "dynamic", "long"]),
    ("yarn.truncate", &["no", "yes"]),
    ("kv_heads", &["as many", "grouped", "one"]),
    ("qkv_bias", &["no", "yes"]),
    ("out_bias", &["no", "yes"]),
    ("qk_norm", &["none", "shared", "by head", "whole", "rotated"]),
    ("softcap", &["none", "some"]),
    ("relative", &["none", "buckets", "disentangled"]),
    ("buckets.both", &["no", "yes"]),
    ("disentangled.furthest", &["none", "some"]),
    ("disentangled.shared", &["no", "yes"]),
    ("disentangled.to_position", &["no", "yes"]),
    ("disentangled.to_content", &["no", "yes"]),
    ("disentangled.norm", &["no", "yes"]),
    ("sinks", &["no", "yes"]),
    ("gate", &["none", "full", "heads"]),
    ("latent", &["none", "some"]),
    ("latent.query_rank", &["none", "some"]),
    ("mlp", &["plain", "gated", "clamped", "experts"]),
    ("mlp.bias", &["no", "yes"]),
    ("mlp.down_bias", &["no", "yes"]),
    ("activation", &["gelu", "gelu_tanh", "relu", "silu", "tanh"]),
    ("routing", &["softmax all", "softmax chosen", "sigmoid", "sparse mixer"]),
    ("routing.corrected", &["no", "yes"]),
    ("routing.divided", &["no", "yes"]),
    ("experts.clamp", &["none", "some"]),
    ("experts.bias", &["no", "yes"]),
    ("experts.router_bias", &["no", "yes"]),
    ("experts.groups", &["none", "some"]),
    ("experts.scale", &["none", "some"]),
    ("experts.weighs_input", &["no", "yes"]),
    ("experts.shared", &["none", "some"]),
    ("experts.shared.gated", &["no", "yes"]),
    ("norm", &["layer", "rms", "plain"]),
    ("norm.centered", &["no", "yes"]),
    ("norm.bias", &["no", "yes"]),
    ("place", &["before", "after", "around", "inside", "parallel"]),
    ("parallel.shared", &["no", "yes"]),
    ("span", &["bidirectional", "causal", "sliding", "chunked", "local"]),
    ("layer.rope", &["shared", "own", "none"]),
    ("layer.scale", &["none", "some"]),
    ("layer.heads", &["none", "some"]),
    ("layer.mlp", &["none", "some"]),
    ("layer.bare", &["no", "yes"]),
    ("layer.temper", &["none", "some"]),
    ("layer.weights", &["none", "some"]),
    ("last_norm", &["no", "yes"]),
    ("head", &["none", "encoder", "tied", "own"]),
    ("head.bias", &["no", "yes"]),
    ("head.softcap", &["none", "some"]),
    ("pooler", &["none", "some"]),
    ("task", &["words", "classes", "tokens", "bounds", "order"]),
    ("task.read", &["each", "first", "last", "mean", "pooler"]),
    ("task.dense", &["none", "some"]),
    ("task.dense.bias", &["no", "yes"]),
    ("task.dense.norm", &["none", "some"]),
    ("task.tied", &["no", "yes"]),
    ("task.bias", &["no", "yes"]),
    ("scales.residual", &["none", "some"]),
    ("scales.logits", &["none", "some"]),
    ("encoder", &["none", "some"]),
];

impl Seen {
    /// Counts one, which must stand in [`IDEAS`].
    fn note(&mut self, idea: &str, variant: &str) {
        let known = IDEAS.iter().any(|(own, all)| *own == idea && all.contains(&variant));
        assert!(known, "`{idea}: {variant}` is not among the ideas that are counted");
        *self.0.entry(format!("{idea}: {variant}")).or_default() += 1;
    }

    fn flag(&mut self, idea: &str, on: bool) {
        self.note(idea, if on { "yes" } else { "no" });
    }

    fn some<T>(&mut self, idea: &str, value: &Option<T>) {
        self.note(idea, if value.is_some() { "some" } else { "none" });
    }

    /// Counts all that a spec is made of.
    pub fn count(&mut self, spec: &Spec) {
        let Spec {
            vocab: _,
            width: _,
            window: _,
            embed,
            position,
            attention,
            mlp,
            norm,
            place,
            layers,
            last_norm,
            head,
            scales,
            encoder,
        } = spec;
        let Embed { scale, types, norm: embed_norm, factor, shared } = embed;
        self.some("embed.scale", scale);
        self.note("embed.types", if *types > 0 { "some" } else { "none" });
        self.flag("embed.norm", *embed_norm);
        self.note(
            "embed.factor",
            match factor {
                None => "none",
                Some(Factor::Sum { width: _ }) => "sum",
                Some(Factor::Tokens { width: _ }) => "tokens",
            },
        );
        self.flag("embed.shared", *shared);
        let head_dim = attention.latent.map_or(attention.head_dim, |latent| latent.rotated);
        match position {
            Position::None => self.note("position", "none"),
            Position::Learned { count: _ } => self.note("position", "learned"),
            Position::Sinusoidal { pairing } => {
                self.note("position", "sinusoidal");
                self.note("sines", pairing_name(*pairing));
            }
            Position::Rope(rope) => {
                self.note("position", "rope");
                self.rope(rope, head_dim);
            }
            Position::Alibi { scale: _ } => self.note("position", "alibi"),
        }
        self.attention(attention);
        self.mlp(mlp);
        self.norm(*norm);
        let name = match place {
            Place::Before => "before",
            Place::After => "after",
            Place::Around => "around",
            Place::Inside => "inside",
            Place::Parallel { shared } => {
                self.flag("parallel.shared", *shared);
                "parallel"
            }
        };
        self.note("place", name);
        for Layer { span, rope, scale, heads, mlp, bare, temper, weights } in layers {
            self.note(
                "span",
                match span {
                    Span::Bidirectional => "bidirectional",
                    Span::Causal => "causal",
                    Span::Sliding { window: _ } => "sliding",
                    Span::Chunked { size: _ } => "chunked",
                    Span::Local { reach: _ } => "local",
                },
            );
            match rope {
                LayerRope::Shared => self.note("layer.rope", "shared"),
                LayerRope::Own(rope) => {
                    self.note("layer.rope", "own");
                    self.rope(rope, head_dim);
                }
                LayerRope::None => self.note("layer.rope", "none"),
            }
            self.some("layer.scale", scale);
            self.some("layer.heads", heads);
            if let Some(HeadShape { kv_heads: _, head_dim: _ }) = heads {}
            self.some("layer.mlp", mlp);
            if let Some(mlp) = mlp {
                self.mlp(mlp);
            }
            self.flag("layer.bare", *bare);
            self.some("layer.temper", temper);
            if let Some(Temper { floor: _, scale: _ }) = temper {}
            self.some("layer.weights", weights);
        }
        self.flag("last_norm", *last_norm);
        match head {
            Head::None => self.note("head", "none"),
            Head::Encoder { pooler, tasks } => {
                self.note("head", "encoder");
                self.some("pooler", pooler);
                if let Some(activation) = pooler {
                    self.activation(*activation);
                }
                tasks.iter().for_each(|task| self.task(task));
            }
            Head::Tied { bias, softcap } => {
                self.note("head", "tied");
                self.flag("head.bias", *bias);
                self.some("head.softcap", softcap);
            }
            Head::Own { bias, softcap } => {
                self.note("head", "own");
                self.flag("head.bias", *bias);
                self.some("head.softcap", softcap);
            }
        }
        let Scales { residual, logits } = scales;
        self.some("scales.residual", residual);
        self.some("scales.logits", logits);
        self.some("encoder", encoder);
        if let Some(encoder) = encoder {
            self.count(encoder);
        }
    }

    fn attention(&mut self, attention: &Attention) {
        let Attention {
            heads,
            kv_heads,
            head_dim: _,
            qkv_bias,
            out_bias,
            qk_norm,
            scale: _,
            softcap,
            relative,
            sinks,
            gate,
            latent,
        } = attention;
        self.note(
            "kv_heads",
            match *kv_heads {
                1 => "one",
                n if n == *heads => "as many",
                _ => "grouped",
            },
        );
        self.flag("qkv_bias", *qkv_bias);
        self.flag("out_bias", *out_bias);
        let (name, norm) = match qk_norm {
            None => ("none", None),
            Some(QkNorm::Shared(norm)) => ("shared", Some(norm)),
            Some(QkNorm::PerHead(norm)) => ("by head", Some(norm)),
            Some(QkNorm::Whole(norm)) => ("whole", Some(norm)),
            Some(QkNorm::Rotated { eps: _ }) => ("rotated", None),
        };
        self.note("qk_norm", name);
        if let Some(norm) = norm {
            self.norm(*norm);
        }
        self.some("softcap", softcap);
        match relative {
            None => self.note("relative", "none"),
            Some(Relative::Buckets { count: _, furthest: _, both }) => {
                self.note("relative", "buckets");
                self.flag("buckets.both", *both);
            }
            Some(Relative::Disentangled {
                reach: _,
                furthest,
                shared,
                to_position,
                to_content,
                norm,
            }) => {
                self.note("relative", "disentangled");
                self.some("disentangled.furthest", furthest);
                self.flag("disentangled.shared", *shared);
                self.flag("disentangled.to_position", *to_position);
                self.flag("disentangled.to_content", *to_content);
                self.flag("disentangled.norm", *norm);
            }
        }
        self.flag("sinks", *sinks);
        self.note(
            "gate",
            match gate {
                None => "none",
                Some(OutputGate::Full) => "full",
                Some(OutputGate::Heads) => "heads",
            },
        );
        self.some("latent", latent);
        if let Some(Latent { rank: _, query_rank, rotated: _, value_dim: _, norm }) = latent {
            self.some("latent.query_rank", query_rank);
            self.norm(*norm);
        }
    }

    fn rope(&mut self, rope: &Rope, head_dim: usize) {
        let Rope { theta: _, dims, pairing, scaling } = rope;
        self.note("pairing", pairing_name(*pairing));
        self.note("rotated", if *dims == head_dim { "all" } else { "a part" });
        let name = match scaling {
            Scaling::None => "none",
            Scaling::Linear { factor: _ } => "linear",
            Scaling::Llama3 { factor: _, low: _, high: _, original: _ } => "llama3",
            Scaling::Factors(_) => "factors",
            Scaling::Yarn { factor: _, fast: _, slow: _, original: _, truncate, magnitude: _ } => {
                self.flag("yarn.truncate", *truncate);
                "yarn"
            }
            Scaling::Dynamic { factor: _, original: _ } => "dynamic",
            Scaling::Long { short, long, original: _ } => {
                let [Stretch { factors: _, magnitude: _ }, _] = [short, long];
                "long"
            }
        };
        self.note("scaling", name);
    }

    fn mlp(&mut self, mlp: &Mlp) {
        match mlp {
            Mlp::Plain { ffn: _, activation, bias } => {
                self.note("mlp", "plain");
                self.activation(*activation);
                self.flag("mlp.bias", *bias);
            }
            Mlp::Gated { ffn: _, activation, bias, down_bias } => {
                self.note("mlp", "gated");
                self.activation(*activation);
                self.flag("mlp.bias", *bias);
                self.flag("mlp.down_bias", *down_bias);
            }
            Mlp::Clamped { ffn: _, clamp, bias } => {
                let Clamp { alpha: _, limit: _ } = clamp;
                self.note("mlp", "clamped");
                self.flag("mlp.bias", *bias);
            }
            Mlp::Experts(experts) => {
                self.note("mlp", "experts");
                self.experts(experts);
            }
        }
    }

    fn experts(&mut self, experts: &Experts) {
        let Experts {
            count: _,
            used: _,
            ffn: _,
            activation,
            clamp,
            bias,
            router_bias,
            routing,
            groups,
            scale,
            weighs_input,
            shared,
        } = experts;
        self.activation(*activation);
        self.some("experts.clamp", clamp);
        self.flag("experts.bias", *bias);
        self.flag("experts.router_bias", *router_bias);
        let name = match routing {
            Routing::SoftmaxAll => "softmax all",
            Routing::SoftmaxChosen => "softmax chosen",
            Routing::Sigmoid { corrected, divided } => {
                self.flag("routing.corrected", *corrected);
                self.flag("routing.divided", *divided);
                "sigmoid"
            }
            Routing::SparseMixer { jitter: _ } => "sparse mixer",
        };
        self.note("routing", name);
        self.some("experts.groups", groups);
        if let Some(Groups { count: _, used: _, best: _ }) = groups {}
        self.some("experts.scale", scale);
        self.flag("experts.weighs_input", *weighs_input);
        self.some("experts.shared", shared);
        if let Some(Shared { ffn: _, gated }) = shared {
            self.flag("experts.shared.gated", *gated);
        }
    }

    fn norm(&mut self, norm: Norm) {
        match norm {
            Norm::Layer { eps: _, bias } => {
                self.note("norm", "layer");
                self.flag("norm.bias", bias);
            }
            Norm::Rms { eps: _ } => self.note("norm", "rms"),
            Norm::Plain { eps: _, centered } => {
                self.note("norm", "plain");
                self.flag("norm.centered", centered);
            }
        }
    }

    fn activation(&mut self, activation: Activation) {
        self.note(
            "activation",
            match activation {
                Activation::Gelu => "gelu",
                Activation::GeluTanh => "gelu_tanh",
                Activation::Relu => "relu",
                Activation::Silu => "silu",
                Activation::Tanh => "tanh",
            },
        );
    }

    fn task(&mut self, task: &Task) {
        let Task { kind, read, dense, outputs: _, tied, bias } = task;
        self.note(
            "task",
            match kind {
                TaskKind::Words => "words",
                TaskKind::Classes => "classes",
                TaskKind::Tokens => "tokens",
                TaskKind::Bounds => "bounds",
                TaskKind::Order => "order",
            },
        );
        self.note(
            "task.read",
            match read {
                Read::Each => "each",
                Read::First => "first",
                Read::Last => "last",
                Read::Mean => "mean",
                Read::Pooler => "pooler",
            },
        );
        self.some("task.dense", dense);
        if let Some(Dense { width: _, bias, activation, norm }) = dense {
            self.flag("task.dense.bias", *bias);
            self.activation(*activation);
            self.some("task.dense.norm", norm);
            if let Some(norm) = norm {
                self.norm(*norm);
            }
        }
        self.flag("task.tied", *tied);
        self.flag("task.bias", *bias);
    }
}

fn pairing_name(pairing: Pairing) -> &'static str {
    match pairing {
        Pairing::Halves => "halves",
        Pairing::Adjacent => "adjacent",
    }
}
