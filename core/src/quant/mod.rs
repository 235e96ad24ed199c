//! Quantization, how weights are stored: the number formats and block formats that stay packed in
//! memory.
//!
//! A weight matrix `[rows, width]` is `rows` runs of `width / block` blocks, each block
//! [`Format::block_bytes`] long. Nothing here keeps a dequantized copy of a matrix.

pub mod weights;

pub use emberform_kernels::{Format, ggml};
pub(crate) mod repacked;
