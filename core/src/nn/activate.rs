//! Activations by tensor operations, or by one launch on a GPU.

use burn::tensor::{Tensor, activation};

use super::gpu;
use super::spec::Activation;

/// `activation(gate) * up`
pub(crate) fn gated<const N: usize>(kind: Activation, gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    gpu::gate(kind, &gate, Some(&up)).unwrap_or_else(|| activate(kind, gate) * up)
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
