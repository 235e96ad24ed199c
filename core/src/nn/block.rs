//! One block: attention and MLP, each with its residual and its norms.
//!
//! ```text
//! Before   x + attn(norm(x))          x + mlp(norm(x))
//! After    norm(x + attn(x))          norm(x + mlp(x))
//! Around   x + norm(attn(norm(x)))    x + norm(mlp(norm(x)))
//! Inside   x + norm(attn(x))          x + norm(mlp(x))
//! Parallel x + attn(norm(x)) + mlp(norm(x))
//! ```
//! A decoder with an encoder beside it has a second attention between the two, on the encoder's
//! states, placed as the first.
//!
//! Here are its parameters: which there are, the [`plan`](super::plan)'s steps say.

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::Attention;
use super::linear::Proj;
use super::moe::FeedForward;
use super::norm::Norm;
use super::plan::{AttentionAt, MatrixAt, NormAt, Step};
use super::run::params::{self, Load, Parameters};
use super::source::Source;
use super::spec::{self, Spec};
use crate::error::Result;

/// Attention, MLP and their norms.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention, or after its residual with [`After`](spec::Place::After); none with
    /// [`Inside`](spec::Place::Inside), or where the embeddings' norm stands for it.
    pub attn_norm: Option<Norm>,
    /// The attention.
    pub attn: Attention,
    /// Norm between the attention and its residual, with [`Around`](spec::Place::Around) and [`Inside`](spec::Place::Inside).
    pub attn_post_norm: Option<Norm>,
    /// Norm of the attention to a source, as `attn_norm`.
    pub cross_norm: Option<Norm>,
    /// The attention to a source, where there is an encoder.
    pub cross: Option<Attention>,
    /// Norm before the MLP, or after its residual with [`After`](spec::Place::After); none with
    /// [`Inside`](spec::Place::Inside), or where the MLP reads the attention's.
    pub mlp_norm: Option<Norm>,
    /// The MLP, or the experts that stand for it.
    pub mlp: FeedForward,
    /// Norm between the MLP and its residual, with [`Around`](spec::Place::Around) and [`Inside`](spec::Place::Inside).
    pub mlp_post_norm: Option<Norm>,
}

impl Block {
    /// The block that layer `layer` of a spec is computed by, with the weights that `steps` name.
    pub(crate) fn build(
        source: &mut dyn Source,
        (number, layer): (usize, usize),
        spec: &Spec,
        steps: &[Step],
    ) -> Result<Self> {
        let (name, width) = (format!("blocks.{number}"), spec.width);
        let attention = spec.attention_of(layer);
        let mlp = spec.layers[layer].mlp.as_ref().unwrap_or(&spec.mlp);
        let mut norm = |at: NormAt| {
            let named = |step: &Step| matches!(step, Step::Norm { norm, .. } if *norm == at);
            match steps.iter().any(named) {
                true => Norm::build(source, &format!("{name}.{}", at.name()), width, spec.norm)
                    .map(Some),
                false => Ok(None),
            }
        };
        let attn_norm = norm(NormAt::Attn)?;
        let attn_post_norm = norm(NormAt::AttnPost)?;
        let cross_norm = norm(NormAt::Cross)?;
        let mlp_norm = norm(NormAt::Mlp)?;
        let mlp_post_norm = norm(NormAt::MlpPost)?;
        // A source has no place beside the target's: distances mean nothing across.
        let across =
            spec::Attention { relative: None, latent: None, gate: None, ..attention.clone() };
        let cross = match spec.encoder {
            Some(_) => Some(Attention::build(source, &format!("{name}.cross"), width, &across)?),
            None => None,
        };
        Ok(Block {
            attn_norm,
            attn: Attention::build(source, &format!("{name}.attn"), width, &attention)?,
            attn_post_norm,
            cross_norm,
            cross,
            mlp_norm,
            mlp: FeedForward::build(source, &format!("{name}.mlp"), width, mlp)?,
            mlp_post_norm,
        })
    }
}

impl Parameters for Block {
    fn matrix(&self, at: MatrixAt) -> Option<&Proj> {
        match at {
            MatrixAt::Q => Some(&self.attn.q),
            MatrixAt::K => Some(&self.attn.k),
            MatrixAt::V => Some(&self.attn.v),
            MatrixAt::Out => Some(&self.attn.out),
            MatrixAt::AttnGate => self.attn.gate.as_ref(),
            MatrixAt::CrossQ => self.cross.as_ref().map(|cross| &cross.q),
            MatrixAt::CrossOut => self.cross.as_ref().map(|cross| &cross.out),
            MatrixAt::Gate | MatrixAt::Up | MatrixAt::Down => match &self.mlp {
                FeedForward::Dense(mlp) => mlp.matrix(at),
                FeedForward::Experts(_) => None,
            },
        }
    }

    fn norm(&self, at: NormAt) -> Option<&Norm> {
        match at {
            NormAt::Attn => self.attn_norm.as_ref(),
            NormAt::AttnPost => self.attn_post_norm.as_ref(),
            NormAt::Cross => self.cross_norm.as_ref(),
            NormAt::Mlp => self.mlp_norm.as_ref(),
            NormAt::MlpPost => self.mlp_post_norm.as_ref(),
        }
    }

    fn attention(&self, at: AttentionAt) -> Option<&Attention> {
        match at {
            AttentionAt::Own => Some(&self.attn),
            AttentionAt::Cross => self.cross.as_ref(),
        }
    }

    fn is_trained(&self) -> bool {
        params::is_trained(self)
    }

    fn experts(&self, x: Tensor<3>, load: Option<&Load>) -> Option<Tensor<3>> {
        match &self.mlp {
            FeedForward::Experts(experts) => Some(experts.counted(x, load)),
            FeedForward::Dense(_) => None,
        }
    }
}
