//! `y = x W^T + b`

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::source::Source;
use super::weight::Weight;
use crate::error::Result;

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
        if let Some(y) = self.of_floats(&x) {
            return y;
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
