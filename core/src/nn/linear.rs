//! `y = x W^T + b`, with the matrix as the checkpoint holds it. Packed formats live here and in
//! [`Packed`], nowhere else.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use super::full::Full;
use super::host;
use super::source::Source;
use crate::error::Result;
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
        if let Some(values) = host::floats(&x) {
            let [m, _] = x.dims();
            if let Some(y) = self.on_host(&values, m) {
                return host::tensor(y, [m, self.dims()[0]]);
            }
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

/// A linear projection.
#[derive(Module, Debug)]
pub struct Proj {
    /// The matrix.
    pub weight: Weight,
    /// Added to the product.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Proj {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        [rows, width]: [usize; 2],
        bias: bool,
    ) -> Result<Self> {
        Ok(Proj {
            weight: source.matrix(&format!("{name}.weight"), rows, width)?,
            bias: source.optional(bias, &format!("{name}.bias"), rows)?,
        })
    }

    /// Projects the last dimension.
    ///
    /// # Shapes
    /// `x: [B, T, width]` -> `[B, T, rows]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        if let Some(values) = host::floats(&x)
            && let Some(y) = self.on_host(&values, b * t)
        {
            return host::tensor(y, [b, t, self.weight.dims()[0]]);
        }
        let x = x.reshape([b * t, width]);
        let bias = self.bias.as_ref().map(|bias| bias.val());
        let y = self.weight.in_halves(&x, bias.as_ref()).unwrap_or_else(|| {
            let y = self.weight.matmul(x); // [B * T, rows]
            match bias {
                Some(bias) => y + bias.unsqueeze(),
                None => y,
            }
        });
        let [_, rows] = y.dims();
        y.reshape([b, t, rows])
    }
}
