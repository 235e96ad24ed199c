//! Layer norm and root-mean-square norm over the last dimension.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;

use super::source::{Source, Start};
use super::spec;
use crate::error::Result;

/// A norm with its parameters; which one, [`spec::Norm`] says.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale, `[D]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[D]`; most layer norms have it.
    pub beta: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: spec::Norm,
}

impl Norm {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        kind: spec::Norm,
    ) -> Result<Self> {
        let shift = matches!(kind, spec::Norm::Layer { bias: true, .. });
        Ok(Norm {
            gamma: source.vector(&format!("{name}.weight"), width, Start::Ones)?,
            beta: source.optional(shift, &format!("{name}.bias"), width)?,
            kind,
        })
    }

    /// Which norm it is.
    pub(crate) fn kind(&self) -> spec::Norm {
        self.kind
    }

    /// Normalizes the last dimension, whose size is the scale's.
    ///
    /// # Shapes
    /// `x: [.., D]` -> `[.., D]`
    pub fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        if let Some(norm) = self.on_host_with(&x) {
            return norm.of(x);
        }
        if let Some(y) = self.on_gpu(&x) {
            return y;
        }
        let gamma = self.gamma.val();
        match self.kind {
            spec::Norm::Layer { eps, .. } => {
                layer_norm(x, gamma, self.beta.as_ref().map(|beta| beta.val()), eps)
            }
            spec::Norm::Rms { eps } => {
                let mean = x.clone().square().mean_dim(N - 1); // [.., 1]
                x * (mean + eps).sqrt().recip() * gamma.unsqueeze()
            }
        }
    }

    /// Normalizes each head by itself, each with its part of the scale.
    ///
    /// # Shapes
    /// `x: [B, H, T, C]`, the scale `[H C]` -> `[B, H, T, C]`
    pub(crate) fn forward_heads(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, h, _, c] = x.dims();
        let x = match self.kind {
            spec::Norm::Layer { .. } => x.clone() - x.mean_dim(3),
            spec::Norm::Rms { .. } => x,
        };
        let mean = x.clone().square().mean_dim(3); // [B, H, T, 1]
        let by_head = |values: &Param<Tensor<1>>| values.val().reshape([1, h, 1, c]);
        let y = x * (mean + self.kind.eps()).sqrt().recip() * by_head(&self.gamma);
        match &self.beta {
            Some(beta) => y + by_head(beta),
            None => y,
        }
    }
}
