//! Whose parameters steps name.

use std::cell::RefCell;
use std::fmt::Debug;

use burn::tensor::Tensor;

use crate::nn::attention::Attention;
use crate::nn::linear::Proj;
use crate::nn::norm::Norm;
use crate::nn::plan::{AttentionAt, MatrixAt, NormAt};

/// How often each expert of a block was chosen, `[E]`; empty before the first time.
pub(crate) type Load = RefCell<Vec<usize>>;

/// A module that owns what steps name: a block is built from its steps, so that all is there.
pub(crate) trait Parameters: Debug {
    /// The matrix.
    fn matrix(&self, at: MatrixAt) -> Option<&Proj>;

    /// The norm.
    fn norm(&self, at: NormAt) -> Option<&Norm>;

    /// The attention.
    fn attention(&self, at: AttentionAt) -> Option<&Attention>;

    /// Rows through the experts, counted where that is asked for.
    ///
    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    fn experts(&self, x: Tensor<3>, load: Option<&Load>) -> Option<Tensor<3>>;
}
