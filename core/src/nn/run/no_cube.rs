//! What [`super::cube`] is in a build without GPUs: it knows nothing.

use burn::tensor::Tensor;

use super::params::Parameters;
use super::pass::{LayerPass, Stack};
use super::why::Why;
use crate::nn::gpu::DeviceKv;
use crate::nn::norm::Norm;
use crate::nn::plan::Step;
use crate::nn::rows::Rows;
use crate::nn::states::LayerStates;
use crate::nn::weight::Weight;

impl Norm {
    pub(crate) fn on_gpu<const N: usize>(&self, _x: &Tensor<N>) -> Option<Tensor<N>> {
        None
    }
}

impl Weight {
    pub(crate) fn in_halves(&self, _x: &Tensor<2>, _bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
        None
    }
}

/// The steps of a layer on a GPU.
pub(super) enum Bound {}

impl std::fmt::Display for Bound {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

pub(super) fn bind(
    _steps: &[Step],
    _layer: &LayerPass<'_>,
    _x: &Tensor<3>,
    _states: &LayerStates<'_>,
) -> Result<Bound, Why> {
    Err(Why::States)
}

pub(super) fn run(
    bound: Bound,
    _layer: &LayerPass<'_>,
    _x: Tensor<3>,
    _states: &mut LayerStates<'_>,
) -> Tensor<3> {
    match bound {}
}

/// How one token more is computed.
#[derive(Debug, Default)]
pub(crate) struct Steps {}

impl Steps {
    pub(crate) fn are_known_of(&mut self, _stack: &Stack<'_>) -> bool {
        false
    }

    pub(crate) fn are_known(&self) -> bool {
        false
    }
}

pub(crate) fn step(
    _known: &mut Steps,
    _stack: &Stack<'_>,
    _x: Tensor<3>,
    _held: Vec<&mut DeviceKv>,
    _rows: &Rows,
) -> Option<Tensor<3>> {
    None
}

/// Why a layer's steps cannot be launches of one token, or else these launches.
pub(crate) fn launches(_steps: &[Step], _owner: &dyn Parameters) -> Result<String, Why> {
    Err(Why::States)
}
