//! A matrix as the checkpoint holds it. Packed (quantized) formats live here and in [`Packed`],
//! nowhere else.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::full::Full;
use crate::quant::Format;
use crate::quant::weights::Packed;

/// A matrix `[rows, width]`, output size first.
#[derive(Module, Debug)]
pub enum Weight {
    /// 32-bit floats that burn multiplies, and that can be trained.
    Full(Full),
    /// The bytes of the file, multiplied as they are.
    Packed(Packed),
}

impl Weight {
    /// The number of rows and their width.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Weight::Full(values) => values.val().dims(),
            Weight::Packed(packed) => packed.shape(),
        }
    }

    /// How its numbers are stored.
    pub fn format(&self) -> Format {
        match self {
            Weight::Full(_) => Format::F32,
            Weight::Packed(packed) => packed.format(),
        }
    }

    /// Bytes that its numbers take.
    pub fn bytes(&self) -> usize {
        match self {
            Weight::Full(values) => values.val().shape().num_elements() * 4,
            Weight::Packed(packed) => packed.bytes(),
        }
    }

    /// `x W^T`.
    ///
    /// # Shapes
    /// `x: [M, width]` -> `[M, rows]`
    pub fn matmul(&self, x: Tensor<2>) -> Tensor<2> {
        if let Some(y) = self.of_floats(&x) {
            return y;
        }
        if let Some(y) = self.in_halves(&x, None) {
            return y;
        }
        match self {
            Weight::Full(values) => x.matmul(values.val().transpose()),
            Weight::Packed(packed) => packed.matmul(x),
        }
    }

    /// The rows with these numbers; each must be below the number of rows.
    ///
    /// # Shapes
    /// `ids: [M]` -> `[M, width]`
    pub fn select(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Weight::Full(values) => values.val().select(0, ids),
            Weight::Packed(packed) => packed.rows(ids),
        }
    }
}
