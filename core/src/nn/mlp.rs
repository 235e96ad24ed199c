//! The feed-forward part of a block.

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::linear::Proj;
use super::source::Source;
use super::spec::{self, Activation, Clamp};
use super::{gpu, host};
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
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    clamp: Option<Clamp>,
}

impl Mlp {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Mlp,
    ) -> Result<Self> {
        let clamp = match *spec {
            spec::Mlp::Clamped { clamp, .. } => Some(clamp),
            _ => None,
        };
        let (gated, ffn, activation, bias, down_bias) = match *spec {
            spec::Mlp::Clamped { ffn, bias, .. } => (true, ffn, Activation::Silu, bias, bias),
            spec::Mlp::Plain { ffn, activation, bias } => (false, ffn, activation, bias, bias),
            spec::Mlp::Gated { ffn, activation, bias, down_bias } => {
                (true, ffn, activation, bias, down_bias)
            }
            spec::Mlp::Experts(_) => {
                return Err(Error::config("num_experts", "asks for experts within an expert"));
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
            activation,
            clamp,
        })
    }

    /// The limit that takes the place of the activation.
    pub(crate) fn clamp(&self) -> Option<Clamp> {
        self.clamp
    }

    /// The activation of the gate, or between the two projections.
    pub(crate) fn activation(&self) -> Activation {
        self.activation
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        if let Some(values) = host::floats(&x)
            && let Some(y) = self.on_host(&values, b * t)
        {
            return host::tensor(y, [b, t, self.down.weight.dims()[0]]);
        }
        let inner = match (&self.gate, self.clamp) {
            (Some(gate), Some(Clamp { alpha, limit })) => {
                let gate = gate.forward(x.clone()).clamp_max(limit);
                let up = self.up.forward(x).clamp(-limit, limit);
                let open = activation::sigmoid(gate.clone() * alpha);
                (up + 1.0) * gate * open
            }
            (Some(gate), None) => {
                let (gate, up) = (gate.forward(x.clone()), self.up.forward(x));
                gpu::gate(self.activation, &gate, Some(&up))
                    .unwrap_or_else(|| activate(self.activation, gate) * up)
            }
            (None, _) => activate(self.activation, self.up.forward(x)),
        }; // [B, T, F]
        self.down.forward(inner)
    }
}

/// Applies an activation to every element.
pub(crate) fn activate<const N: usize>(kind: Activation, x: Tensor<N>) -> Tensor<N> {
    if let Some(y) = gpu::gate(kind, &x, None) {
        return y;
    }
    match kind {
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        Activation::Relu => activation::relu(x),
        Activation::Silu => activation::silu(x),
        Activation::Tanh => activation::tanh(x),
    }
}
