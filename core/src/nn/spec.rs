//! What a model is made of, as data: [`Spec`] and its sum types.
//!
//! A `Config` is what a file says, a `Spec` is what is built from it. Fields say what a thing is,
//! never whose it is. [`Spec::validate`] refuses what does not fit together and names the key;
//! printing a spec expands the whole model on one page.

mod experts;
mod relative;
mod task;

use std::fmt;

pub use emberform_kernels::Activation;
pub use experts::{Clamp, Experts, Groups, Routing, Shared};
pub use relative::Relative;
pub use task::{Dense, Read, Task, TaskKind};

use crate::error::{Error, Result};

/// A whole model: embeddings, blocks, last norm and head.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Tokens in the vocabulary (V).
    pub vocab: usize,
    /// Size of a hidden state (D).
    pub width: usize,
    /// Longest sequence in tokens that positions are made for.
    pub window: usize,
    /// What is added to, or done to, the token embeddings.
    pub embed: Embed,
    /// How a token's place in the sequence enters.
    pub position: Position,
    /// The attention of every block.
    pub attention: Attention,
    /// The feed-forward part of every block.
    pub mlp: Mlp,
    /// The norm of every block and of the end.
    pub norm: Norm,
    /// Where a block's norms stand.
    pub place: Place,
    /// One entry a block: where blocks differ.
    pub layers: Vec<Layer>,
    /// Whether a norm follows the last block.
    pub last_norm: bool,
    /// What stands on top.
    pub head: Head,
    /// Constants that what blocks add, and logits, are multiplied by.
    pub scales: Scales,
    /// The encoder whose states every block also looks at, between its attention and its MLP
    /// (arXiv:1706.03762, section 3.2.3); this is then the decoder of the two.
    pub encoder: Option<Box<Spec>>,
}

/// Constants that some models multiply by, so that one rate of learning suits every width
/// (arXiv:2203.03466); `None` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Scales {
    /// Of what attention and MLP add to the residual stream.
    pub residual: Option<f64>,
    /// Of the logits, before they are capped.
    pub logits: Option<f64>,
}

/// What is added to, or done to, the token embeddings.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Embed {
    /// Constant that token embeddings are multiplied by (arXiv:1706.03762, section 3.4).
    pub scale: Option<f64>,
    /// Segment types that have an embedding of their own (BERT, arXiv:1810.04805); 0: none.
    pub types: usize,
    /// Whether a norm follows the sum of embeddings.
    pub norm: bool,
    /// How embeddings become hidden states where they are of another size.
    pub factor: Option<Factor>,
    /// Of an encoder beside a decoder: whether the decoder's table of tokens is also its own
    /// (arXiv:1706.03762, section 3.4).
    pub shared: bool,
}

/// How embeddings of another size (E) than hidden states become such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// The sum of embeddings is projected, after its norm, with a bias (ALBERT, arXiv:1909.11942;
    /// ELECTRA, arXiv:2003.10555).
    Sum {
        /// Size of an embedding.
        width: usize,
    },
    /// A token's vector alone is projected, before its place is added, and what logits are made of
    /// is projected back; without biases (arXiv:1809.10853, section 3; OPT, arXiv:2205.01068).
    Tokens {
        /// Size of a token's vector.
        width: usize,
    },
}

impl Factor {
    /// Size of a token's vector.
    pub fn width(self) -> usize {
        match self {
            Factor::Sum { width } | Factor::Tokens { width } => width,
        }
    }
}

/// How a token's place in the sequence enters.
#[derive(Clone, Debug, PartialEq)]
pub enum Position {
    /// Not at all: the causal mask alone orders tokens.
    None,
    /// A learned vector a place, added to the embedding.
    Learned {
        /// Places that have a vector.
        count: usize,
    },
    /// Sines and cosines added to the embedding (arXiv:1706.03762, section 3.5).
    Sinusoidal {
        /// Where the sine and the cosine of one wavelength stand: the paper has them adjacent, its
        /// first code all sines before all cosines.
        pairing: Pairing,
    },
    /// Queries and keys rotated by their place (RoFormer, arXiv:2104.09864).
    Rope(Rope),
    /// Scores fall with the distance between query and key, each head at its own rate (ALiBi,
    /// arXiv:2108.12409).
    Alibi {
        /// What the paper's rates are multiplied by: 1 in the paper; the scale of scores where a
        /// model adds the distance before it scales.
        scale: f64,
    },
}

/// A rotation of queries and keys by their place.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric row of wavelengths.
    pub theta: f64,
    /// How many of a head's dimensions are rotated; even.
    pub dims: usize,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// How wavelengths are stretched for sequences longer than those trained on.
    pub scaling: Scaling,
}

/// Which dimensions of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Dimension `i` with `i + dims / 2`, as Hugging Face checkpoints hold them.
    Halves,
    /// Dimension `2i` with `2i + 1`, as the paper has it and some GGUF files hold them.
    Adjacent,
}

/// How rotary wavelengths are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Wavelengths as trained.
    None,
    /// All wavelengths times `factor` (arXiv:2306.15595).
    Linear {
        /// The factor, above 0.
        factor: f64,
    },
    /// Long wavelengths times `factor`, short ones kept, a ramp between (Llama 3.1, arXiv:2407.21783).
    Llama3 {
        /// Stretch of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original / low` are long.
        low: f64,
        /// Wavelengths below `original / high` are short.
        high: f64,
        /// Window that the model was first trained with.
        original: f64,
    },
    /// Each wavelength times a factor of its own, as some GGUF files store it.
    Factors(Vec<f32>),
    /// Wavelengths that turn often within the first window kept, those that hardly turn times
    /// `factor`, a ramp between; queries and keys grow (YaRN, arXiv:2309.00071).
    Yarn {
        /// Stretch of the long wavelengths.
        factor: f64,
        /// Turns within the first window from which on a wavelength is kept.
        fast: f64,
        /// Turns up to which a wavelength is stretched in full.
        slow: f64,
        /// Window that the model was first trained with.
        original: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
        /// What rotated queries and keys are multiplied by.
        magnitude: f64,
    },
    /// Beyond `original` tokens the base grows with the length of the sequence (dynamic NTK, as
    /// transformers has it). Keys in a cache keep the rotation that they came with.
    Dynamic {
        /// How far the base grows with the length.
        factor: f64,
        /// Tokens up to which nothing is stretched.
        original: usize,
    },
    /// Each wavelength times a factor of its own, one set for sequences up to `original` tokens and
    /// one for longer ones (LongRoPE, arXiv:2402.13753).
    Long {
        /// Up to `original` tokens.
        short: Stretch,
        /// Beyond `original` tokens.
        long: Stretch,
        /// Where one set ends and the other begins.
        original: usize,
    },
}

/// A factor for each wavelength.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// One a rotated pair.
    pub factors: Vec<f32>,
    /// What rotated queries and keys are multiplied by.
    pub magnitude: f64,
}

/// Multi-head attention; grouped-query when `kv_heads < heads` (arXiv:2305.13245), multi-query
/// when `kv_heads == 1` (arXiv:1911.02150).
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query heads (H).
    pub heads: usize,
    /// Key and value heads (K); divides `heads`.
    pub kv_heads: usize,
    /// Size of a head (C).
    pub head_dim: usize,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub out_bias: bool,
    /// Norm over queries and keys, before rotation (arXiv:2010.04245).
    pub qk_norm: Option<QkNorm>,
    /// What scores are multiplied by; usually `head_dim.powf(-0.5)`.
    pub scale: f64,
    /// Scores are bent below this bound by `cap * tanh(score / cap)` (Gemma 2, arXiv:2408.00118).
    pub softcap: Option<f64>,
    /// What the distance of two tokens adds to their score.
    pub relative: Option<Relative>,
    /// Whether each head has a learned score that takes part in the softmax and belongs to no
    /// token, so that a head may look at nothing (attention sinks, arXiv:2309.17453).
    pub sinks: bool,
    /// Whether what attention gives is multiplied by the sigmoid of a projection of what the queries
    /// come from, before the output projection (gated attention, arXiv:2505.06708).
    pub gate: Option<OutputGate>,
    /// Keys and values made from one short vector a token. Then `head_dim` is the size of a head
    /// of queries and keys, of which the position's rotation turns the last ones alone, and
    /// `kv_heads` equals `heads`.
    pub latent: Option<Latent>,
}

/// How wide the gate of an attention's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputGate {
    /// A number for each number: `[H V, D]`.
    Full,
    /// A number for each head: `[H, D]`.
    Heads,
}

impl OutputGate {
    /// Rows of its projection.
    pub fn rows(self, heads: usize, value_dim: usize) -> usize {
        match self {
            OutputGate::Full => heads * value_dim,
            OutputGate::Heads => heads,
        }
    }
}

/// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): keys and values come from a normed
/// vector of `rank`, and what is rotated of a key is one vector that all heads share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latent {
    /// Size of the vector that keys and values are made from.
    pub rank: usize,
    /// Size of the normed vector that queries are made from; `None`: from the hidden state.
    pub query_rank: Option<usize>,
    /// Dimensions of a head of queries and keys that are rotated, its last ones.
    pub rotated: usize,
    /// Size of a head of values.
    pub value_dim: usize,
    /// The norm of both vectors.
    pub norm: Norm,
}

/// What a norm over queries and keys spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkNorm {
    /// Each head by itself; all heads share one scale `[C]`.
    Shared(Norm),
    /// Each head by itself, with a scale of its own: `[H, C]` (Command R+).
    PerHead(Norm),
    /// All heads as one vector `[H C]` (OLMo 2, arXiv:2501.00656).
    Whole(Norm),
    /// Each head by itself, after the rotation, without a scale, in blocks that rotate alone
    /// (Llama 4).
    Rotated {
        /// Added to the mean square.
        eps: f64,
    },
}

/// The feed-forward part of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Mlp {
    /// `down(act(up(x)))`
    Plain {
        /// Size between (F).
        ffn: usize,
        /// The activation.
        activation: Activation,
        /// Whether both projections have a bias.
        bias: bool,
    },
    /// `down(act(gate(x)) * up(x))` (GLU variants, arXiv:2002.05202)
    Gated {
        /// Size between (F).
        ffn: usize,
        /// The activation of the gate.
        activation: Activation,
        /// Whether gate and up have a bias.
        bias: bool,
        /// Whether down has a bias.
        down_bias: bool,
    },
    /// `down((up(x) + 1) * g * sigmoid(alpha g))` with `g = gate(x)`, both held within a limit
    /// (arXiv:2508.10925)
    Clamped {
        /// Size between (F).
        ffn: usize,
        /// The limit and the slope.
        clamp: Clamp,
        /// Whether the projections have a bias.
        bias: bool,
    },
    /// Each token through a few of many gated MLPs.
    Experts(Experts),
}

/// A normalization over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// Mean and variance, with a scale (arXiv:1607.06450).
    Layer {
        /// Added to the variance.
        eps: f64,
        /// Whether it also has a shift, as in the paper.
        bias: bool,
    },
    /// Root mean square, with scale (arXiv:1910.07467).
    Rms {
        /// Added to the mean square.
        eps: f64,
    },
    /// Either without a scale or a shift: nothing is learned (OLMo, arXiv:2402.00838).
    Plain {
        /// Added to the variance or the mean square.
        eps: f64,
        /// Whether the mean is taken away first.
        centered: bool,
    },
}

/// Where a block's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `x + f(norm(x))` (pre-norm, arXiv:2002.04745).
    Before,
    /// `norm(x + f(x))` (post-norm, arXiv:1706.03762).
    After,
    /// `x + norm(f(norm(x)))` (Gemma 2, arXiv:2408.00118).
    Around,
    /// `x + norm(f(x))` (OLMo 2, arXiv:2501.00656).
    Inside,
    /// `x + attn(norm(x)) + mlp(norm(x))`: both read the block's input (GPT-J; PaLM,
    /// arXiv:2204.02311).
    Parallel {
        /// Whether both read one norm; else each has its own (GPT-NeoX, arXiv:2204.06745).
        shared: bool,
    },
}

/// Where one block differs from the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Which tokens a token sees.
    pub span: Span,
    /// How queries and keys are rotated here.
    pub rope: LayerRope,
    /// A scale of scores of its own instead of the attention's.
    pub scale: Option<f64>,
    /// Key heads and the size of a head of its own instead of the attention's (Gemma 4).
    pub heads: Option<HeadShape>,
    /// A feed-forward part of its own instead of the spec's.
    pub mlp: Option<Mlp>,
    /// Whether the attention takes its input without a norm of its own, as the first block may
    /// after a norm of the embeddings; with [`Place::Before`] only.
    pub bare: bool,
    /// Grows queries with their place, in blocks without a rotation.
    pub temper: Option<Temper>,
    /// Which block's weights it has, counted among those that have weights: blocks may share
    /// (ALBERT, arXiv:1909.11942). Either all layers say so or none does, which gives each its own.
    pub weights: Option<usize>,
}

impl Layer {
    /// A block that differs from the others in nothing but what it sees.
    pub fn new(span: Span) -> Layer {
        Layer {
            span,
            rope: LayerRope::Shared,
            scale: None,
            heads: None,
            mlp: None,
            bare: false,
            temper: None,
            weights: None,
        }
    }
}

/// Key heads and the size of a head, where a block has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Key and value heads (K); divides the heads of queries.
    pub kv_heads: usize,
    /// Size of a head (C).
    pub head_dim: usize,
}

/// What queries are multiplied by, so that a softmax over many tokens stays sharp:
/// `1 + scale * ln(1 + floor((place + 1) / floor))` (arXiv:2501.19399; Llama 4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temper {
    /// Tokens of one step.
    pub floor: f64,
    /// Growth a step.
    pub scale: f64,
}

/// How one block rotates queries and keys, in a model that rotates them.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerRope {
    /// As the spec's position says.
    Shared,
    /// By a rotation of its own.
    Own(Rope),
    /// Not at all: the causal mask alone orders tokens here (NoPE, arXiv:2305.19466).
    None,
}

/// Which tokens a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All tokens, before and after.
    Bidirectional,
    /// Itself and those before.
    Causal,
    /// Itself and the `window - 1` before (arXiv:2004.05150).
    Sliding {
        /// Visible tokens, itself included.
        window: usize,
    },
    /// Itself and those before that stand in the same run of `size` places (Llama 4).
    Chunked {
        /// Places of a run.
        size: usize,
    },
    /// Itself and up to `reach` on either side (ModernBERT, arXiv:2412.13663).
    Local {
        /// Visible tokens on one side.
        reach: usize,
    },
}

/// What stands on top of the last hidden state.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// Nothing: hidden states come out.
    None,
    /// Hidden states come out, and what stands beside them answers tasks.
    Encoder {
        /// BERT's pooler: a dense layer over the first token, for embeddings and tasks.
        pooler: Option<Activation>,
        /// What answers tasks, at most one a kind.
        tasks: Vec<Task>,
    },
    /// Logits by the token embedding's matrix (arXiv:1608.05859).
    Tied {
        /// Whether a number a token is added.
        bias: bool,
        /// Logits are bent below this bound by `cap * tanh(logit / cap)`.
        softcap: Option<f64>,
    },
    /// Logits by a matrix of their own.
    Own {
        /// Whether the matrix has a bias.
        bias: bool,
        /// As in [`Head::Tied`].
        softcap: Option<f64>,
    },
}

impl Norm {
    /// What is added under the root.
    pub fn eps(self) -> f64 {
        match self {
            Norm::Layer { eps, .. } | Norm::Rms { eps } | Norm::Plain { eps, .. } => eps,
        }
    }

    /// Whether the mean is taken away first.
    pub fn is_centered(self) -> bool {
        match self {
            Norm::Layer { .. } => true,
            Norm::Rms { .. } => false,
            Norm::Plain { centered, .. } => centered,
        }
    }

    /// Whether it has a scale.
    pub fn is_scaled(self) -> bool {
        match self {
            Norm::Layer { .. } | Norm::Rms { .. } => true,
            Norm::Plain { .. } => false,
        }
    }
}

impl Span {
    /// Whether a token at one place sees one at another.
    pub fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Span::Bidirectional => true,
            Span::Causal => key <= query,
            Span::Sliding { window } => key <= query && query - key < window,
            Span::Chunked { size } => key <= query && query / size == key / size,
            Span::Local { reach } => query.abs_diff(key) <= reach,
        }
    }
}

impl QkNorm {
    /// The norm, whatever it spans.
    pub fn norm(self) -> Norm {
        match self {
            QkNorm::Rotated { eps } => Norm::Rms { eps },
            QkNorm::Shared(norm) | QkNorm::PerHead(norm) | QkNorm::Whole(norm) => norm,
        }
    }
}

impl Attention {
    /// Size of a head of values.
    pub fn value_dim(&self) -> usize {
        self.latent.map_or(self.head_dim, |latent| latent.value_dim)
    }
}

impl Mlp {
    /// Size between (F).
    pub fn ffn(&self) -> usize {
        match self {
            Mlp::Plain { ffn, .. } | Mlp::Gated { ffn, .. } | Mlp::Clamped { ffn, .. } => *ffn,
            Mlp::Experts(experts) => experts.ffn,
        }
    }
}

impl Spec {
    /// A causal decoder in today's usual form: pre-norm RMS, rotary positions, gated SiLU.
    ///
    /// `heads` divides `width`; all fields can be changed after.
    pub fn decoder(vocab: usize, width: usize, layers: usize, heads: usize, ffn: usize) -> Spec {
        let head_dim = width / heads.max(1);
        Spec {
            vocab,
            width,
            window: 2048,
            embed: Embed::default(),
            position: Position::Rope(Rope {
                theta: 10_000.0,
                dims: head_dim,
                pairing: Pairing::Halves,
                scaling: Scaling::None,
            }),
            attention: Attention {
                heads,
                kv_heads: heads,
                head_dim,
                qkv_bias: false,
                out_bias: false,
                qk_norm: None,
                scale: (head_dim as f64).powf(-0.5),
                softcap: None,
                relative: None,
                sinks: false,
                gate: None,
                latent: None,
            },
            mlp: Mlp::Gated { ffn, activation: Activation::Silu, bias: false, down_bias: false },
            norm: Norm::Rms { eps: 1e-5 },
            place: Place::Before,
            layers: vec![Layer::new(Span::Causal); layers],
            last_norm: true,
            head: Head::Tied { bias: false, softcap: None },
            scales: Scales::default(),
            encoder: None,
        }
    }

    /// A bidirectional encoder as BERT has it (arXiv:1810.04805): post-norm, learned positions,
    /// plain GELU, two segment types.
    pub fn encoder(vocab: usize, width: usize, layers: usize, heads: usize, ffn: usize) -> Spec {
        let norm = Norm::Layer { eps: 1e-12, bias: true };
        Spec {
            window: 512,
            embed: Embed { types: 2, norm: true, ..Embed::default() },
            position: Position::Learned { count: 512 },
            attention: Attention {
                qkv_bias: true,
                out_bias: true,
                ..Spec::decoder(vocab, width, layers, heads, ffn).attention
            },
            mlp: Mlp::Plain { ffn, activation: Activation::Gelu, bias: true },
            norm,
            place: Place::After,
            layers: vec![Layer::new(Span::Bidirectional); layers],
            last_norm: false,
            head: Head::None,
            ..Spec::decoder(vocab, width, layers, heads, ffn)
        }
    }

    /// The Transformer of 2017 (arXiv:1706.03762): an encoder of the source and a decoder of the
    /// target, `layers` blocks each; post-norm, ReLU, sines and cosines for places, one table of
    /// tokens for source, target and logits, scaled by the root of the width where it is looked up.
    pub fn seq2seq(vocab: usize, width: usize, layers: usize, heads: usize, ffn: usize) -> Spec {
        let base = Spec::encoder(vocab, width, layers, heads, ffn);
        let scale = Some((width as f64).sqrt());
        let encoder = Spec {
            embed: Embed { scale, shared: true, ..Embed::default() },
            position: Position::Sinusoidal { pairing: Pairing::Adjacent },
            mlp: Mlp::Plain { ffn, activation: Activation::Relu, bias: true },
            norm: Norm::Layer { eps: 1e-5, bias: true },
            ..base
        };
        Spec {
            embed: Embed { scale, ..Embed::default() },
            layers: vec![Layer::new(Span::Causal); layers],
            head: Head::Tied { bias: false, softcap: None },
            encoder: Some(Box::new(encoder.clone())),
            ..encoder
        }
    }

    /// The attention of block `i`.
    pub fn attention_of(&self, i: usize) -> Attention {
        let (layer, shared) = (self.layers.get(i), &self.attention);
        let heads = layer.and_then(|layer| layer.heads);
        Attention {
            scale: layer.and_then(|layer| layer.scale).unwrap_or(shared.scale),
            kv_heads: heads.map_or(shared.kv_heads, |own| own.kv_heads),
            head_dim: heads.map_or(shared.head_dim, |own| own.head_dim),
            ..shared.clone()
        }
    }

    /// The rotation of block `i`, if queries and keys are rotated there.
    pub fn rope(&self, i: usize) -> Option<&Rope> {
        let Position::Rope(shared) = &self.position else { return None };
        match &self.layers.get(i)?.rope {
            LayerRope::Shared => Some(shared),
            LayerRope::Own(own) => Some(own),
            LayerRope::None => None,
        }
    }

    /// Whether a sequence that was rotated as one of `before` tokens must be rotated anew as one
    /// of `after` (see [`Scaling::Long`]).
    pub(crate) fn turns(&self, before: usize, after: usize) -> bool {
        let turns = |rope: &Rope| match rope.scaling {
            Scaling::Long { original, .. } => (before > original) != (after > original),
            _ => false,
        };
        (0..self.layers.len()).filter_map(|i| self.rope(i)).any(turns)
    }

    /// Whether tokens only see what stands before them.
    pub fn is_causal(&self) -> bool {
        self.layers
            .iter()
            .all(|layer| !matches!(layer.span, Span::Bidirectional | Span::Local { .. }))
    }

    /// The size of a token's embedding.
    pub fn embed_width(&self) -> usize {
        self.embed.factor.map_or(self.width, Factor::width)
    }

    /// The size of what places, types and norm of the embeddings have.
    pub(crate) fn sum_width(&self) -> usize {
        match self.embed.factor {
            Some(Factor::Sum { width }) => width,
            Some(Factor::Tokens { .. }) | None => self.width,
        }
    }

    /// How many blocks have weights of their own.
    pub fn blocks(&self) -> usize {
        let shared = self.layers.iter().filter_map(|layer| layer.weights).max();
        shared.map_or(self.layers.len(), |last| last + 1)
    }

    /// The heads that answer tasks.
    pub fn tasks(&self) -> &[Task] {
        match &self.head {
            Head::Encoder { tasks, .. } => tasks,
            _ => &[],
        }
    }

    /// Whether logits come out.
    pub fn has_logits(&self) -> bool {
        matches!(self.head, Head::Tied { .. } | Head::Own { .. })
    }

    /// Refuses what does not fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, in the words of `config.json`, and what would be right.
    pub fn validate(&self) -> Result<()> {
        let size = |key: &str, value: usize, limit: usize| {
            if value == 0 || value > limit {
                let problem = format!("is `{value}`, not from 1 to {limit}");
                return Err(Error::config(key, problem));
            }
            Ok(())
        };
        let attention = &self.attention;
        size("vocab_size", self.vocab, 1 << 24)?;
        size("hidden_size", self.width, 1 << 20)?;
        size("num_hidden_layers", self.layers.len(), 4096)?;
        size("num_attention_heads", attention.heads, 1 << 16)?;
        size("num_key_value_heads", attention.kv_heads, 1 << 16)?;
        size("head_dim", attention.head_dim, 1 << 16)?;
        for mlp in self.layers.iter().filter_map(|layer| layer.mlp.as_ref()).chain([&self.mlp]) {
            size("intermediate_size", mlp.ffn(), 1 << 24)?;
            if let Mlp::Experts(experts) = mlp {
                experts.validate()?;
            }
        }
        size("max_position_embeddings", self.window, 1 << 30)?;
        if !attention.heads.is_multiple_of(attention.kv_heads) {
            return Err(Error::config(
                "num_key_value_heads",
                format!(
                    "is `{}`, which does not divide {} heads",
                    attention.kv_heads, attention.heads
                ),
            ));
        }
        let positive = |key: &str, value: f64| {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(key, format!("is `{value}`, not a number above 0")));
            }
            Ok(())
        };
        let norm_key = |norm: Norm| match norm {
            Norm::Layer { .. } | Norm::Plain { centered: true, .. } => "layer_norm_eps",
            Norm::Rms { .. } | Norm::Plain { centered: false, .. } => "rms_norm_eps",
        };
        let eps = |norm: Norm| {
            if !(norm.eps().is_finite() && (0.0..1.0).contains(&norm.eps())) {
                let problem = format!("is `{}`, not from 0 to 1", norm.eps());
                return Err(Error::config(norm_key(norm), problem));
            }
            Ok(())
        };
        eps(self.norm)?;
        if let Some(norm) = attention.qk_norm {
            eps(norm.norm())?;
        }
        for scale in self.layers.iter().filter_map(|layer| layer.scale).chain([attention.scale]) {
            positive("query_pre_attn_scalar", scale)?;
        }
        if let Some(cap) = attention.softcap {
            positive("attn_logit_softcapping", cap)?;
        }
        if let Head::Tied { softcap: Some(cap), .. } | Head::Own { softcap: Some(cap), .. } =
            self.head
        {
            positive("final_logit_softcapping", cap)?;
        }
        let scales = [
            ("embedding_multiplier", self.embed.scale),
            ("residual_multiplier", self.scales.residual),
            ("logit_scale", self.scales.logits),
        ];
        for (key, scale) in scales {
            scale.map_or(Ok(()), |scale| positive(key, scale))?;
        }
        if let Position::Alibi { scale } = self.position {
            positive("alibi", scale)?;
        }
        if let Position::Learned { count } = self.position {
            size("max_position_embeddings", count, 1 << 24)?;
        }
        match (self.embed.factor, &self.head) {
            (None, _) => {}
            (Some(Factor::Sum { width }), head) => {
                size("embedding_size", width, 1 << 20)?;
                if matches!(head, Head::Tied { .. }) {
                    let problem = format!(
                        "is `{width}`, where logits by the table of embeddings need hidden_size, {}",
                        self.width
                    );
                    return Err(Error::config("embedding_size", problem));
                }
            }
            (Some(Factor::Tokens { width }), Head::Tied { .. } | Head::Own { .. }) => {
                size("word_embed_proj_dim", width, 1 << 20)?;
            }
            (Some(Factor::Tokens { width }), Head::None | Head::Encoder { .. }) => {
                let problem = format!(
                    "is `{width}`, which is known with a head over words only; want hidden_size, {}",
                    self.width
                );
                return Err(Error::config("word_embed_proj_dim", problem));
            }
        }
        if attention.relative.is_some() && matches!(self.position, Position::Alibi { .. }) {
            let problem = "is set beside learned relative positions; keep one of the two";
            return Err(Error::config("alibi", problem));
        }
        match attention.relative {
            Some(Relative::Buckets { count, furthest, both }) => {
                size("relative_attention_num_buckets", count, 1 << 16)?;
                size("relative_attention_max_distance", furthest, 1 << 30)?;
                let exact = if both { count / 4 } else { count / 2 };
                if !count.is_multiple_of(4) || furthest <= exact {
                    let problem = format!(
                        "is `{count}`, of which {exact} hold one distance each; want a multiple of 4 \
                         and fewer of these than relative_attention_max_distance, {furthest}"
                    );
                    return Err(Error::config("relative_attention_num_buckets", problem));
                }
            }
            Some(Relative::Disentangled { reach, furthest, .. }) => {
                if attention.kv_heads != attention.heads {
                    let problem = format!(
                        "is `{}`; disentangled attention needs num_attention_heads, {}",
                        attention.kv_heads, attention.heads
                    );
                    return Err(Error::config("num_key_value_heads", problem));
                }
                size("position_buckets", reach, 1 << 20)?;
                if let Some(furthest) = furthest {
                    size("max_relative_positions", furthest, 1 << 30)?;
                    if reach < 4 || furthest < reach {
                        let problem = format!(
                            "is `{reach}`, not from 4 to max_relative_positions, {furthest}"
                        );
                        return Err(Error::config("position_buckets", problem));
                    }
                }
            }
            None => {}
        }
        if let Some(latent) = attention.latent {
            size("kv_lora_rank", latent.rank, 1 << 20)?;
            size("v_head_dim", latent.value_dim, 1 << 20)?;
            latent.query_rank.map_or(Ok(()), |rank| size("q_lora_rank", rank, 1 << 20))?;
            eps(latent.norm)?;
            if !(1..attention.head_dim).contains(&latent.rotated) {
                let problem = format!(
                    "is `{}`, not from 1 to below a head's size, {}",
                    latent.rotated, attention.head_dim
                );
                return Err(Error::config("qk_rope_head_dim", problem));
            }
            if attention.kv_heads != attention.heads {
                let problem = format!(
                    "is `{}`; latent attention needs num_attention_heads, {}",
                    attention.kv_heads, attention.heads
                );
                return Err(Error::config("num_key_value_heads", problem));
            }
            let mut ropes = (0..self.layers.len()).filter_map(|i| self.rope(i));
            let beside = [
                ("a norm of queries and keys", attention.qk_norm.is_some()),
                ("relative positions", attention.relative.is_some()),
                ("attention sinks", attention.sinks),
                (
                    "a rotation of another size than qk_rope_head_dim",
                    ropes.any(|rope| rope.dims != latent.rotated),
                ),
            ];
            if let Some((other, _)) = beside.iter().find(|(_, there)| *there) {
                let problem = format!(
                    "is `{}` beside {other}; latent attention is known without",
                    latent.rank
                );
                return Err(Error::config("kv_lora_rank", problem));
            }
        }
        for task in self.tasks() {
            let pooled = matches!(self.head, Head::Encoder { pooler: Some(_), .. });
            if task.read == Read::Pooler && !pooled {
                let problem = format!(
                    "names a head that reads the pooler's vector (`{task}`) of an encoder without a \
                     pooler; give `Head::Encoder` one, or let the head read another vector"
                );
                return Err(Error::config("architectures", problem));
            }
            size("num_labels", task.outputs, 1 << 24)?;
            if let Some(dense) = &task.dense {
                size("hidden_size", dense.width, 1 << 20)?;
                dense.norm.map_or(Ok(()), eps)?;
            }
        }
        if let Some(encoder) = &self.encoder {
            encoder.validate()?;
            let bad = |problem: String| Err(Error::config("is_encoder_decoder", problem));
            if encoder.width != self.width {
                return bad(format!(
                    "joins an encoder of width {} to a decoder of width {}, which must be equal",
                    encoder.width, self.width
                ));
            }
            if encoder.has_logits() || encoder.encoder.is_some() {
                let what = if encoder.has_logits() { "logits" } else { "an encoder" };
                return bad(format!("joins an encoder that has {what} of its own; give it none"));
            }
            let theirs = (encoder.vocab, encoder.embed_width());
            let ours = (self.vocab, self.embed_width());
            if encoder.embed.shared && theirs != ours {
                let problem = format!(
                    "is true of tables of {theirs:?} and {ours:?} (tokens, size), which must be equal"
                );
                return Err(Error::config("share_encoder_decoder_embeddings", problem));
            }
            if !matches!(self.place, Place::Before | Place::After) {
                return bad(format!(
                    "is true with norms at `Place::{:?}`; known with `Before` and `After`",
                    self.place
                ));
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            if let Span::Sliding { window } = layer.span {
                size("sliding_window", window, 1 << 30)?;
            }
            if let Span::Local { reach } = layer.span {
                size("local_attention", reach, 1 << 30)?;
            }
            if let Span::Chunked { size: chunk } = layer.span {
                size("attention_chunk_size", chunk, 1 << 30)?;
            }
            if let Some(temper) = layer.temper {
                positive("floor_scale", temper.floor)?;
                positive("attn_scale", temper.scale)?;
            }
            if layer.bare && self.place != Place::Before {
                let problem = format!(
                    "leaves out the norm before the attention of layer {i}, which norms at \
                     `Place::{:?}` have not; known with `Before`",
                    self.place
                );
                return Err(Error::config("layer_types", problem));
            }
            // What is built is that of the first of them.
            let first = self.layers[..i].iter().find(|other| other.weights == layer.weights);
            if let (Some(block), Some(first)) = (layer.weights, first)
                && (&first.mlp, first.bare, first.heads) != (&layer.mlp, layer.bare, layer.heads)
            {
                let problem = format!(
                    "lets layer {i} share block {block} with a layer of another MLP, norm or size of \
                     heads; layers of one block must be equal in these"
                );
                return Err(Error::config("num_hidden_groups", problem));
            }
            let layers = self.layers.len();
            if layer.weights.is_some() != self.layers[0].weights.is_some() {
                let problem = format!(
                    "lets layer {i} and layer 0 differ in whether they name their block; either all \
                     layers do or none does"
                );
                return Err(Error::config("num_hidden_groups", problem));
            }
            if let Some(block) = layer.weights.filter(|block| *block >= layers) {
                let problem =
                    format!("lets layer {i} share block {block}, not one below {layers} layers");
                return Err(Error::config("num_hidden_groups", problem));
            }
            if let Some(HeadShape { kv_heads, head_dim }) = layer.heads {
                size("num_key_value_heads", kv_heads, 1 << 16)?;
                size("head_dim", head_dim, 1 << 16)?;
                if !attention.heads.is_multiple_of(kv_heads) {
                    let heads = attention.heads;
                    let problem = format!("is `{kv_heads}`, which does not divide {heads} heads");
                    return Err(Error::config("num_key_value_heads", problem));
                }
                if attention.latent.is_some() || attention.relative.is_some() {
                    let problem = format!(
                        "is `{head_dim}` in layer {i} alone, beside latent attention or relative \
                         positions; give all layers one"
                    );
                    return Err(Error::config("head_dim", problem));
                }
            }
            if let Some(rope) = self.rope(i) {
                rope.validate(self.attention_of(i).head_dim)?;
            } else if matches!(layer.rope, LayerRope::Own(_)) {
                let problem = format!(
                    "gives layer {i} a rotation of its own in a model without one; give \
                     `Spec::position` a `Rope`"
                );
                return Err(Error::config("layer_types", problem));
            }
        }
        Ok(())
    }
}

impl Rope {
    fn validate(&self, head_dim: usize) -> Result<()> {
        if self.dims == 0 || self.dims > head_dim || !self.dims.is_multiple_of(2) {
            let problem = format!(
                "rotates {} of {head_dim} dimensions, not an even number from 2 to {head_dim}",
                self.dims
            );
            return Err(Error::config("partial_rotary_factor", problem));
        }
        if !(self.theta.is_finite() && self.theta > 0.0) {
            return Err(Error::config(
                "rope_theta",
                format!("is `{}`, not a number above 0", self.theta),
            ));
        }
        let bad = |what: String| Err(Error::config("rope_scaling", what));
        match &self.scaling {
            Scaling::None => Ok(()),
            Scaling::Linear { factor } if factor.is_finite() && *factor > 0.0 => Ok(()),
            Scaling::Linear { factor } => bad(format!("has a `factor` of {factor}, not above 0")),
            Scaling::Llama3 { factor, low, high, original } => {
                let fine = [factor, low, high, original].iter().all(|x| x.is_finite() && **x > 0.0);
                if fine && high > low {
                    Ok(())
                } else {
                    bad(format!(
                        "has a `factor` of {factor}, `low_freq_factor` {low}, `high_freq_factor` \
                         {high} and an original window of {original}; want all above 0, and high \
                         above low"
                    ))
                }
            }
            Scaling::Yarn { factor, fast, slow, original, magnitude, .. } => {
                let all = [factor, fast, slow, original, magnitude];
                let fine = all.iter().all(|x| x.is_finite() && **x > 0.0);
                // The base's logarithm divides.
                if fine && fast >= slow && self.theta > 1.0 {
                    Ok(())
                } else {
                    bad(format!(
                        "has a `factor` of {factor}, `beta_fast` {fast}, `beta_slow` {slow}, an \
                         original window of {original} and an attention factor of {magnitude} \
                         beside a `rope_theta` of {}; want all above 0, fast no less than slow, and \
                         theta above 1",
                        self.theta
                    ))
                }
            }
            Scaling::Dynamic { factor, original } => {
                if factor.is_finite() && *factor >= 1.0 && *original > 0 && self.dims > 2 {
                    Ok(())
                } else {
                    bad(format!(
                        "has a `factor` of {factor} and an original window of {original} for {} \
                         rotated dimensions; want at least 1, 1 and 4",
                        self.dims
                    ))
                }
            }
            Scaling::Factors(factors) => self.factors(factors),
            Scaling::Long { short, long, original } => {
                self.factors(&short.factors)?;
                self.factors(&long.factors)?;
                let magnitudes = [short.magnitude, long.magnitude];
                if magnitudes.iter().all(|x| x.is_finite() && *x > 0.0) && *original > 0 {
                    Ok(())
                } else {
                    bad(format!(
                        "has attention factors of {} and {} and an original window of {original}; \
                         want all above 0",
                        short.magnitude, long.magnitude
                    ))
                }
            }
        }
    }
}

impl Rope {
    /// Whether it differs with the length of the sequence.
    pub(crate) fn by_length(&self) -> bool {
        matches!(self.scaling, Scaling::Dynamic { .. } | Scaling::Long { .. })
    }

    fn factors(&self, factors: &[f32]) -> Result<()> {
        let pairs = self.dims / 2;
        let problem = if factors.len() != pairs {
            format!("has {} factors, not {pairs}: one a rotated pair", factors.len())
        } else if let Some(wrong) = factors.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
            format!("has the factor {wrong}, not above 0")
        } else {
            return Ok(());
        };
        Err(Error::config("rope_scaling", problem))
    }
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = match self.pairing {
            Pairing::Halves => "halves",
            Pairing::Adjacent => "adjacent pairs",
        };
        write!(f, "rotate {} dimensions as {pairs}, theta {}", self.dims, self.theta)?;
        match &self.scaling {
            Scaling::None => Ok(()),
            Scaling::Linear { factor } => write!(f, ", stretched {factor} times"),
            Scaling::Llama3 { factor, low, high, original } => {
                write!(
                    f,
                    ", long waves stretched {factor} times (llama3, {low} to {high} of {original})"
                )
            }
            Scaling::Factors(factors) => {
                write!(f, ", stretched by {} stored factors", factors.len())
            }
            Scaling::Yarn { factor, original, magnitude, .. } => {
                write!(
                    f,
                    ", long waves stretched {factor} times (YaRN from {original}), * {magnitude:.4}"
                )
            }
            Scaling::Dynamic { factor, original } => {
                write!(f, ", base growing by {factor} beyond {original} tokens")
            }
            Scaling::Long { short, long, original } => {
                write!(
                    f,
                    ", stretched by {} factors up to {original} tokens, * {:.4}, by others beyond, * {:.4}",
                    short.factors.len(),
                    short.magnitude,
                    long.magnitude
                )
            }
        }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Norm::Layer { eps, bias: true } => write!(f, "layer norm, eps {eps:e}"),
            Norm::Layer { eps, bias: false } => write!(f, "layer norm without bias, eps {eps:e}"),
            Norm::Rms { eps } => write!(f, "RMS norm, eps {eps:e}"),
            Norm::Plain { eps, centered: true } => {
                write!(f, "layer norm without a scale, eps {eps:e}")
            }
            Norm::Plain { eps, centered: false } => {
                write!(f, "RMS norm without a scale, eps {eps:e}")
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Bidirectional => f.write_str("all tokens"),
            Span::Causal => f.write_str("tokens before"),
            Span::Sliding { window } => write!(f, "last {window} tokens"),
            Span::Chunked { size } => write!(f, "tokens before, in runs of {size}"),
            Span::Local { reach } => write!(f, "{reach} tokens on either side"),
        }
    }
}
