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
    /// Scale, `[D]`; most have it.
    pub gamma: Option<Param<Tensor<1>>>,
    /// Shift, `[D]`; most layer norms have it.
    pub beta: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: spec::Norm,
    #[module(skip)]
    width: usize,
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
            gamma: match kind.is_scaled() {
                true => Some(source.vector(&format!("{name}.weight"), width, Start::Ones)?),
                false => None,
            },
            beta: source.optional(shift, &format!("{name}.bias"), width)?,
            kind,
            width,
        })
    }

    /// Which norm it is.
    pub(crate) fn kind(&self) -> spec::Norm {
        self.kind
    }

    /// How many numbers are normed together (D).
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Normalizes the last dimension, of the norm's width.
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
        let (eps, beta) = (self.kind.eps(), self.beta.as_ref().map(|beta| beta.val()));
        match (&self.gamma, self.kind.is_centered()) {
            (Some(gamma), true) => layer_norm(x, gamma.val(), beta, eps),
            (gamma, centered) => {
                let x = if centered { x.clone() - x.mean_dim(N - 1) } else { x };
                let mean = x.clone().square().mean_dim(N - 1); // [.., 1]
                let y = x * (mean + eps).sqrt().recip();
                match gamma {
                    Some(gamma) => y * gamma.val().unsqueeze(),
                    None => y,
                }
            }
        }
    }

    /// Normalizes each head by itself, each with its part of the scale.
    ///
    /// # Shapes
    /// `x: [B, H, T, C]`, the scale `[H C]` -> `[B, H, T, C]`
    pub(crate) fn forward_heads(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, h, _, c] = x.dims();
        let x = if self.kind.is_centered() { x.clone() - x.mean_dim(3) } else { x };
        let mean = x.clone().square().mean_dim(3); // [B, H, T, 1]
        let by_head = |values: &Param<Tensor<1>>| values.val().reshape([1, h, 1, c]);
        let y = x * (mean + self.kind.eps()).sqrt().recip();
        let y = match &self.gamma {
            Some(gamma) => y * by_head(gamma),
            None => y,
        };
        match &self.beta {
            Some(beta) => y + by_head(beta),
            None => y,
        }
    }
}
