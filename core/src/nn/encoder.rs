//! A bidirectional encoder: a [`Transformer`] whose tokens see each other, and BERT's pooler.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, activation};

use super::linear::Proj;
use super::source::{Random, Source};
use super::spec::{Head, Spec};
use super::transformer::{Run, Transformer};
use crate::error::{Error, Result};

/// Tokens in, hidden states out (arXiv:1810.04805).
#[derive(Module, Debug)]
pub struct BertEncoder {
    /// Embeddings and blocks.
    pub transformer: Transformer,
    /// Dense layer over the first token's state, where the checkpoint has one.
    pub pooler: Option<Proj>,
}

impl BertEncoder {
    /// A new encoder with random weights, to be trained.
    ///
    /// # Errors
    /// [`Error::Config`] when the spec does not fit together or has a head that gives logits.
    pub fn new(spec: &Spec, device: &Device) -> Result<Self> {
        spec.validate()?;
        Self::build(&mut Random { device }, spec)
    }

    pub(crate) fn build(source: &mut dyn Source, spec: &Spec) -> Result<Self> {
        if spec.has_logits() {
            return Err(Error::config(
                "architectures",
                "asks for logits, which an encoder has not",
            ));
        }
        let pooler = match spec.head {
            Head::Pooler => Some(Proj::build(source, "pooler", [spec.width, spec.width], true)?),
            _ => None,
        };
        Ok(BertEncoder { transformer: Transformer::build(source, spec)?, pooler })
    }

    /// Hidden states of a batch.
    ///
    /// # Shapes
    /// `ids: [B, T]`, `types: [B, T]` (segment of each token, all 0 when absent), `kept: [B, T]`
    /// (`true` for real tokens, all when absent) -> `[B, T, D]`
    pub fn forward(
        &self,
        ids: Tensor<2, Int>,
        types: Option<Tensor<2, Int>>,
        kept: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        self.transformer
            .run(ids, Run { types, kept, cache: None }, &mut |_, _| true)
            .unwrap_or_else(|| unreachable!("a run that is never told to stop ends"))
    }

    /// BERT's pooled vector: `tanh` of a dense layer over the first token's state; `None` without
    /// a pooler.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]` -> `[B, D]`
    pub fn pool(&self, hidden: Tensor<3>) -> Option<Tensor<2>> {
        let [b, _, d] = hidden.dims();
        let pooler = self.pooler.as_ref()?;
        Some(activation::tanh(pooler.forward(hidden.narrow(1, 0, 1)).reshape([b, d])))
    }
}
