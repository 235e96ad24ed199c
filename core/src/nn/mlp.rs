//! The feed-forward part of a block.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::Attention;
use super::linear::Proj;
use super::norm::Norm;
use super::plan::{self, AttentionAt, MatrixAt, NormAt, Step};
use super::run::params::{self, Load, Parameters};
use super::run::{slices, tensors};
use super::source::Source;
use super::spec;
use crate::error::{Error, Result};

/// `down(act(up(x)))`, or `down(act(gate(x)) * up(x))` where there is a gate.
#[derive(Module, Debug)]
pub struct Mlp {
    /// The gate of a gated MLP, `[F, D]`.
    pub gate: Option<Proj>,
    /// `[F, D]`
    pub up: Proj,
    /// `[D, F]`
    pub down: Proj,
    /// What it computes by itself.
    #[module(skip)]
    steps: Arc<[Step]>,
}

impl Mlp {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Mlp,
    ) -> Result<Self> {
        let (gated, ffn, bias, down_bias) = match *spec {
            spec::Mlp::Clamped { ffn, bias, clamp: _ } => (true, ffn, bias, bias),
            spec::Mlp::Plain { ffn, bias, activation: _ } => (false, ffn, bias, bias),
            spec::Mlp::Gated { ffn, bias, down_bias, activation: _ } => {
                (true, ffn, bias, down_bias)
            }
            spec::Mlp::Experts(_) => {
                let problem = "asks for experts within an expert; want one of the other MLPs";
                return Err(Error::config("num_experts", problem));
            }
        };
        let gate = match gated {
            true => Some(Proj::build(source, &format!("{name}.gate"), [ffn, width], bias)?),
            false => None,
        };
        Ok(Mlp {
            gate,
            up: Proj::build(source, &format!("{name}.up"), [ffn, width], bias)?,
            down: Proj::build(source, &format!("{name}.down"), [width, ffn], down_bias)?,
            steps: plan::mlp(spec).into(),
        })
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        slices::mlp(&self.steps, self, &x).unwrap_or_else(|| tensors::mlp(&self.steps, self, x))
    }
}

impl Parameters for Mlp {
    fn matrix(&self, at: MatrixAt) -> Option<&Proj> {
        match at {
            MatrixAt::Gate => self.gate.as_ref(),
            MatrixAt::Up => Some(&self.up),
            MatrixAt::Down => Some(&self.down),
            MatrixAt::Q
            | MatrixAt::K
            | MatrixAt::V
            | MatrixAt::Out
            | MatrixAt::AttnGate
            | MatrixAt::CrossQ
            | MatrixAt::CrossOut => None,
        }
    }

    fn norm(&self, _at: NormAt) -> Option<&Norm> {
        None
    }

    fn attention(&self, _at: AttentionAt) -> Option<&Attention> {
        None
    }

    fn is_trained(&self) -> bool {
        params::is_trained(self)
    }

    fn experts(&self, _x: Tensor<3>, _load: Option<&Load>) -> Option<Tensor<3>> {
        None
    }
}
