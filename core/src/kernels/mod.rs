//! The operations that the tensor library lacks: products with weights that stay packed.
//!
//! One backend extension, [`PackedOps`], with one implementation per backend: `flex` calls the
//! SIMD code of [`cpu`], a crate of its own that compiles alone, [`gpu`] holds the kernels for Vulkan, Metal, DX12 and WebGPU. The
//! reference of both is [`crate::quant::ggml::dequantize`] followed by a plain product, and their
//! tests compare with it. The one caller is [`crate::quant::weights::Packed`].

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

pub use emberform_kernels as cpu;

use crate::quant::Format;

#[cfg(feature = "train")]
mod autodiff;
pub(crate) mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub mod gpu;
#[cfg(test)]
pub(crate) mod tests;

/// Which tokens may be drawn, and how likely each is: a temperature, then top-k, top-p and min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cuts {
    /// Above 0, or 0 for greedy.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: usize,
    /// Above 0 and at most 1; 1 is off.
    pub top_p: f32,
    /// 0 to 1; 0 is off.
    pub min_p: f32,
}

impl Cuts {
    /// The model's own distribution.
    pub const OFF: Cuts = Cuts { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    /// Whether the likeliest token is taken without a draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether every token may be drawn.
    pub fn keeps_all(&self) -> bool {
        self.top_k == 0 && self.top_p >= 1.0 && self.min_p <= 0.0
    }
}

/// How a token is drawn from logits, as the sampler does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    pub cuts: Cuts,
    /// From 0 up to but without 1: which of the tokens that are left.
    pub uniform: f32,
}

/// Products and look-ups on packed weights.
///
/// `weights` holds the blocks of whole rows, one after another: bytes on the CPU, as the file has
/// them, 32-bit words (little endian) on a GPU, as [`Packed`](crate::quant::weights::Packed) puts
/// them there.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex,
    Autodiff: cfg(feature = "train")
)]
pub trait PackedOps: Backend {
    /// `x [M, K]` in f32 times the transpose of `rows` packed rows of width `K`: `[M, rows]`.
    ///
    /// Sums are f32. The gradient flows to `x`; the weights have none.
    fn packed_matmul(
        x: FloatTensor<Self>,
        weights: IntTensor<Self>,
        format: Format,
        rows: usize,
    ) -> FloatTensor<Self>;

    /// The rows `ids [M]` as floats: `[M, width]`.
    ///
    /// `weights` holds the rows `first..first + rows` of a table; an id outside gives a row of
    /// zeros, so that the answers of a table's parts add up to the answer of the table.
    fn packed_rows(
        weights: IntTensor<Self>,
        ids: IntTensor<Self>,
        format: Format,
        width: usize,
        first: usize,
        rows: usize,
    ) -> FloatTensor<Self>;
}

/// [`PackedOps::packed_matmul`] on tensors.
pub(crate) fn packed_matmul(
    x: Tensor<2>,
    weights: Tensor<1, Int>,
    format: Format,
    rows: usize,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as PackedOps>::packed_matmul(
        x.into_dispatch(),
        weights.into_dispatch(),
        format,
        rows,
    ))
}

/// [`PackedOps::packed_rows`] on tensors.
pub(crate) fn packed_rows(
    weights: Tensor<1, Int>,
    ids: Tensor<1, Int>,
    format: Format,
    width: usize,
    first: usize,
    rows: usize,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as PackedOps>::packed_rows(
        weights.into_dispatch(),
        ids.into_dispatch(),
        format,
        width,
        first,
        rows,
    ))
}
