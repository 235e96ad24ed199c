//! The parameters that steps name, of whichever module has them.

use std::cell::RefCell;
use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Tensor;

use crate::nn::attention::Attention;
use crate::nn::gpu::is_gpu;
use crate::nn::host::is_host;
use crate::nn::linear::Proj;
use crate::nn::norm::Norm;
use crate::nn::plan::{AttentionAt, MatrixAt, NormAt};

/// How often each expert of a block was chosen, `[E]`; empty before the first time.
pub(crate) type Load = RefCell<Vec<usize>>;

/// Whether a gradient may be asked of a parameter of a module: one is on another device than a plain
/// one.
pub(crate) fn is_trained(module: &impl Module) -> bool {
    let devices = module.collect_devices(vec![]);
    !devices.iter().all(|device| is_host(device) || is_gpu(device))
}

/// A module that owns what steps name: a block is built from its steps, so that all is there.
pub(crate) trait Parameters: Debug {
    /// The matrix.
    fn matrix(&self, at: MatrixAt) -> Option<&Proj>;

    /// The norm.
    fn norm(&self, at: NormAt) -> Option<&Norm>;

    /// The attention.
    fn attention(&self, at: AttentionAt) -> Option<&Attention>;

    /// Whether a gradient may be asked of one of the parameters.
    fn is_trained(&self) -> bool;

    /// Rows through the experts, counted where that is asked for.
    ///
    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    fn experts(&self, x: Tensor<3>, load: Option<&Load>) -> Option<Tensor<3>>;
}
