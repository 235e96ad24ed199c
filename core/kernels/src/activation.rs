//! Activation functions.

use std::fmt;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Gaussian error linear unit, exact, by erf (arXiv:1606.08415).
    Gelu,
    /// The same by its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `x * sigmoid(x)`, also called swish (arXiv:1702.03118).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Tanh => "tanh",
        })
    }
}
