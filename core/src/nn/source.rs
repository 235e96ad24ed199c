//! Where the numbers of a module come from: drawn at random, or read from a checkpoint.
//!
//! Every module is built by one function from a [`Spec`](super::Spec) and a [`Source`], so that
//! a module made to be trained and one read from a file cannot differ in shape.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Distribution, Tensor};

use super::weight::Weight;
use crate::error::Result;

/// What a vector of parameters starts as when it is not read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A bias.
    Zeros,
    /// A norm's scale.
    Ones,
}

/// Gives modules their parameters by name.
pub(crate) trait Source {
    /// The matrix `name`, `[rows, width]` as checkpoints hold it: output size first.
    fn matrix(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight>;

    /// The vector `name` of `len` numbers.
    fn vector(&mut self, name: &str, len: usize, start: Start) -> Result<Param<Tensor<1>>>;

    /// The vector `name`, if `wanted`.
    fn optional(
        &mut self,
        wanted: bool,
        name: &str,
        len: usize,
    ) -> Result<Option<Param<Tensor<1>>>> {
        if wanted { self.vector(name, len, Start::Zeros).map(Some) } else { Ok(None) }
    }
}

/// Another source under names that all begin alike: one part of a model made of two.
pub(crate) struct Prefixed<'a> {
    pub(crate) source: &'a mut dyn Source,
    pub(crate) prefix: &'static str,
}

impl Source for Prefixed<'_> {
    fn matrix(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight> {
        self.source.matrix(&format!("{}{name}", self.prefix), rows, width)
    }

    fn vector(&mut self, name: &str, len: usize, start: Start) -> Result<Param<Tensor<1>>> {
        self.source.vector(&format!("{}{name}", self.prefix), len, start)
    }
}

/// Draws matrices from a normal distribution of standard deviation 0.02, as GPT-2 and BERT do.
pub(crate) struct Random<'a> {
    pub(crate) device: &'a Device,
}

impl Source for Random<'_> {
    fn matrix(&mut self, _name: &str, rows: usize, width: usize) -> Result<Weight> {
        let values = Tensor::random([rows, width], Distribution::Normal(0.0, 0.02), self.device);
        Ok(Weight::Full(Param::from_tensor(values).into()))
    }

    fn vector(&mut self, _name: &str, len: usize, start: Start) -> Result<Param<Tensor<1>>> {
        Ok(Param::from_tensor(match start {
            Start::Zeros => Tensor::zeros([len], self.device),
            Start::Ones => Tensor::ones([len], self.device),
        }))
    }
}

/// Makes no numbers and counts how many there would be.
pub(crate) struct Count<'a> {
    pub(crate) device: &'a Device,
    pub(crate) total: u64,
}

impl Source for Count<'_> {
    fn matrix(&mut self, _name: &str, rows: usize, width: usize) -> Result<Weight> {
        self.total = self.total.saturating_add((rows as u64).saturating_mul(width as u64));
        Ok(Weight::Full(frozen(Tensor::zeros([1, 1], self.device)).into()))
    }

    fn vector(&mut self, _name: &str, len: usize, _start: Start) -> Result<Param<Tensor<1>>> {
        self.total = self.total.saturating_add(len as u64);
        Ok(frozen(Tensor::zeros([1], self.device)))
    }
}

/// A parameter that is only read: no gradient is asked for.
pub(crate) fn frozen<const D: usize>(values: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), values)
}
