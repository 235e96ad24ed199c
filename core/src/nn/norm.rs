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
    /// Shift, `[D]`; a layer norm has it.
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
        let shift = matches!(kind, spec::Norm::Layer { .. });
        Ok(Norm {
            gamma: source.vector(&format!("{name}.weight"), width, Start::Ones)?,
            beta: source.optional(shift, &format!("{name}.bias"), width)?,
            kind,
        })
    }

    /// Normalizes the last dimension, whose size is the scale's.
    ///
    /// # Shapes
    /// `x: [.., D]` -> `[.., D]`
    pub fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let gamma = self.gamma.val();
        match self.kind {
            spec::Norm::Layer { eps } => {
                layer_norm(x, gamma, self.beta.as_ref().map(|beta| beta.val()), eps)
            }
            spec::Norm::Rms { eps } => {
                let mean = x.clone().square().mean_dim(N - 1); // [.., 1]
                x * (mean + eps).sqrt().recip() * gamma.unsqueeze()
            }
        }
    }
}
