//! A causal decoder: a [`Transformer`] whose tokens see those before, and a head over the
//! vocabulary.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Int, Tensor, activation};

use super::cache::Cache;
use super::linear::Proj;
use super::source::{Random, Source};
use super::spec::{Factor, Head, Span, Spec};
use super::transformer::{Run, Transformer, alone};
use crate::error::{Error, Result};

/// Tokens in, logits of the next token out (GPT-2 and its descendants).
#[derive(Module, Debug)]
pub struct GptDecoder {
    /// Embeddings, blocks and last norm.
    pub transformer: Transformer,
    /// From the size of a hidden state back to that of a token's embedding, `[E, D]`, where they
    /// differ.
    pub out_proj: Option<Proj>,
    /// The head's matrix `[V, E]`; `None` when it is the token embedding's.
    pub head: Option<Proj>,
    /// Added to logits by the token embedding's matrix, `[V]`.
    pub head_bias: Option<Param<Tensor<1>>>,
}

impl GptDecoder {
    /// A new decoder with random weights, to be trained.
    ///
    /// # Errors
    /// [`Error::Config`] when the spec does not fit together, has no head that gives logits, or
    /// lets a token see those after it.
    pub fn new(spec: &Spec, device: &Device) -> Result<Self> {
        spec.validate()?;
        alone(spec)?;
        Self::build(&mut Random { device }, spec)
    }

    pub(crate) fn build(source: &mut dyn Source, spec: &Spec) -> Result<Self> {
        if !spec.has_logits() {
            let problem = "leaves a decoder without logits; want `Head::Tied` or `Head::Own`";
            return Err(Error::config("architectures", problem));
        }
        if !spec.is_causal() {
            let later = |span: &Span| matches!(span, Span::Bidirectional | Span::Local { .. });
            let found = spec.layers.iter().position(|layer| later(&layer.span)).unwrap_or(0);
            let problem = format!(
                "lets tokens of layer {found} see those after them; a decoder wants `Span::Causal`, \
                 `Sliding` or `Chunked`"
            );
            return Err(Error::config("layer_types", problem));
        }
        let (out_proj, width) = match spec.embed.factor {
            Some(Factor::Tokens { width }) => {
                (Some(Proj::build(source, "out_proj", [width, spec.width], false)?), width)
            }
            _ => (None, spec.width),
        };
        let head = match spec.head {
            Head::Own { bias, .. } => Some(Proj::build(source, "head", [spec.vocab, width], bias)?),
            _ => None,
        };
        let biased = matches!(spec.head, Head::Tied { bias: true, .. });
        let head_bias = source.optional(biased, "head.bias", spec.vocab)?;
        let transformer = Transformer::build(source, spec)?;
        Ok(GptDecoder { transformer, out_proj, head, head_bias })
    }

    /// Logits at every token of a batch.
    ///
    /// # Shapes
    /// `ids: [B, T]`, `kept: [B, T]` (`true` for real tokens, all when absent) -> `[B, T, V]`.
    /// A token's place is its index, wherever padding stands.
    pub fn forward(&self, ids: Tensor<2, Int>, kept: Option<Tensor<2, Bool>>) -> Tensor<3> {
        self.logits(self.transformer.forward(ids, kept))
    }

    /// The next tokens of a sequence, whose earlier ones are in `cache`.
    ///
    /// # Shapes
    /// `ids: [B, T]` -> `[B, T, V]`; B is the same in all calls with one cache.
    pub fn step(&self, ids: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let run = Run::after(cache, ids.dims());
        self.logits(self.transformer.run_through(ids, run))
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]` -> `[B, T, V]`
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let hidden = match &self.out_proj {
            Some(proj) => proj.forward(hidden),
            None => hidden,
        };
        let logits = match &self.head {
            Some(head) => head.forward(hidden),
            None => {
                let [b, t, d] = hidden.dims();
                let logits = self.transformer.table().matmul(hidden.reshape([b * t, d]));
                let [_, vocab] = logits.dims();
                logits.reshape([b, t, vocab])
            }
        };
        let logits = match self.transformer.spec().scales.logits {
            Some(scale) => logits * scale,
            None => logits,
        };
        let logits = match &self.head_bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        };
        match self.transformer.spec().head {
            Head::Tied { softcap: Some(cap), .. } | Head::Own { softcap: Some(cap), .. } => {
                activation::tanh(logits / cap) * cap
            }
            _ => logits,
        }
    }
}
