//! A bidirectional encoder: a [`Transformer`] whose tokens see each other, and BERT's pooler.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

use super::activate::activate;
use super::heads::TaskHead;
use super::linear::Proj;
use super::source::{Random, Source};
use super::spec::{Head, Read, Spec, TaskKind};
use super::transformer::{Run, Transformer, alone};
use crate::error::{Error, Result};

/// Tokens in, hidden states out (arXiv:1810.04805).
#[derive(Module, Debug)]
pub struct BertEncoder {
    /// Embeddings and blocks.
    pub transformer: Transformer,
    /// Dense layer over the first token's state, where the checkpoint has one.
    pub pooler: Option<Proj>,
    /// What answers tasks, in the order of the spec.
    pub heads: Vec<TaskHead>,
}

impl BertEncoder {
    /// A new encoder with random weights, to be trained.
    ///
    /// # Errors
    /// [`Error::Config`] when the spec does not fit together or has a head that gives logits.
    pub fn new(spec: &Spec, device: &Device) -> Result<Self> {
        spec.validate()?;
        alone(spec)?;
        Self::build(&mut Random { device }, spec)
    }

    pub(crate) fn build(source: &mut dyn Source, spec: &Spec) -> Result<Self> {
        if spec.has_logits() {
            let problem = "gives an encoder the logits of a decoder; want `Head::None` or \
                           `Head::Encoder`";
            return Err(Error::config("architectures", problem));
        }
        let pooler = match spec.head {
            Head::Encoder { pooler: Some(_), .. } => {
                Some(Proj::build(source, "pooler", [spec.width, spec.width], true)?)
            }
            _ => None,
        };
        let heads = spec.tasks().iter().map(|task| TaskHead::build(source, task, spec));
        let heads = heads.collect::<Result<_>>()?;
        Ok(BertEncoder { transformer: Transformer::build(source, spec)?, pooler, heads })
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
        let run = Run { types, ..Run::of(self.transformer.rows(&ids, kept)) };
        self.transformer.run_through(ids, run)
    }

    /// BERT's pooled vector: a dense layer over the first token's state and its activation, `tanh`
    /// in the paper; `None` without a pooler.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]` -> `[B, D]`
    pub fn pool(&self, hidden: Tensor<3>) -> Option<Tensor<2>> {
        let [b, _, d] = hidden.dims();
        let pooler = self.pooler.as_ref()?;
        let Head::Encoder { pooler: Some(kind), .. } = self.transformer.spec().head else {
            return None;
        };
        Some(activate(kind, pooler.forward(hidden.narrow(1, 0, 1)).reshape([b, d])))
    }

    /// The head for a task, if there is one.
    pub fn head(&self, kind: TaskKind) -> Option<&TaskHead> {
        self.heads.iter().find(|head| head.task().kind == kind)
    }

    /// A task's logits; `None` without a head for it.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]`, `kept: [B, T]` (`true` for real tokens, all when absent; padding stands
    /// on the right) -> `[B, T, O]` for a head that reads each token, else `[B, 1, O]`
    pub fn logits(
        &self,
        kind: TaskKind,
        hidden: Tensor<3>,
        kept: Option<Tensor<2, Bool>>,
    ) -> Option<Tensor<3>> {
        Some(self.read_by(self.head(kind)?, hidden, kept))
    }

    /// The logits of one of the heads; shapes as in [`logits`](Self::logits).
    pub(crate) fn read_by(
        &self,
        head: &TaskHead,
        hidden: Tensor<3>,
        kept: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let [b, t, d] = hidden.dims();
        let weighted = |weights: Tensor<2>| weights.reshape([b, 1, t]).matmul(hidden.clone());
        let ones = || Tensor::ones([b, t], &hidden.device());
        let real = || kept.clone().map_or_else(ones, |kept| kept.float());
        let read = match head.task().read {
            Read::Each => hidden,
            Read::First => hidden.narrow(1, 0, 1),
            // The spec has a pooler wherever a head reads it.
            Read::Pooler => match self.pool(hidden.clone()) {
                Some(pooled) => pooled.reshape([b, 1, d]),
                None => hidden.narrow(1, 0, 1),
            },
            Read::Mean => {
                let real = real();
                weighted(real.clone() / real.sum_dim(1).clamp_min(1.0))
            }
            Read::Last => {
                // 1 where a real token has none after it.
                let (real, zero) = (real(), Tensor::zeros([b, 1], &hidden.device()));
                let next = match t {
                    1 => zero,
                    _ => Tensor::cat(vec![real.clone().narrow(1, 1, t - 1), zero], 1),
                };
                weighted(real - next)
            }
        };
        head.forward(read, self.transformer.table())
    }
}
