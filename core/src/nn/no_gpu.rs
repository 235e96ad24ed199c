//! What [`gpu`](super::gpu) is in a build without GPUs: nothing is on one.

use burn::tensor::{Device, Int, Tensor};

use super::outcome::Outcome;
use super::spec::Activation;
use crate::kernels::Draw;

pub(crate) fn is_gpu(_device: &Device) -> bool {
    false
}

pub(crate) fn pool(
    _x: &Tensor<3>,
    _weights: Vec<f32>,
    _ranges: &[std::ops::Range<usize>],
) -> Option<Tensor<2>> {
    None
}

pub(crate) fn unit(_x: &Tensor<2>, _least: f32) -> Option<Tensor<2>> {
    None
}

pub(crate) fn gate<const N: usize>(
    _kind: Activation,
    _x: &Tensor<N>,
    _up: Option<&Tensor<N>>,
) -> Option<Tensor<N>> {
    None
}

/// Keys and values of one sequence on a GPU.
#[derive(Debug)]
pub(crate) enum DeviceKv {}

impl DeviceKv {
    pub(crate) fn begin(_window: Option<usize>) -> Option<DeviceKv> {
        None
    }

    pub(crate) fn places(&self, _t: usize) -> Vec<usize> {
        match *self {}
    }

    pub(crate) fn holds_all(&self) -> bool {
        match *self {}
    }

    pub(crate) fn truncate(&mut self, _len: usize) {
        match *self {}
    }

    pub(crate) fn pop(&mut self) {
        match *self {}
    }

    pub(crate) fn bytes(&self) -> usize {
        match *self {}
    }

    pub(crate) fn seen(&self) -> usize {
        match *self {}
    }

    pub(crate) fn window(&self) -> Option<usize> {
        match *self {}
    }

    pub(crate) fn tensors(&self) -> Option<(Tensor<4>, Tensor<4>)> {
        match *self {}
    }

    pub(crate) fn extend(&mut self, _k: Tensor<4>, _v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        match *self {}
    }
}

/// A token that was chosen on a GPU.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub ids: Tensor<2, Int>,
    never: std::convert::Infallible,
}

impl Chosen {
    pub(crate) fn of(_logits: &Tensor<3>, _by: Option<&Draw>) -> Option<Chosen> {
        None
    }

    pub(crate) fn read(self) -> Result<Outcome, String> {
        match self.never {}
    }
}

/// Numbers on their way from a GPU.
#[derive(Debug)]
pub(crate) enum Reading {}

impl Reading {
    pub(crate) fn begin<const N: usize>(_values: &Tensor<N>) -> Option<Reading> {
        None
    }

    pub(crate) fn floats(self) -> Result<Vec<f32>, String> {
        match self {}
    }
}
