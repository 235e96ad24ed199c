//! Sampling on the GPU: the next token, chosen on the device that its logits are on.

use burn::backend::{
    BackendTensor, DType, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Shape,
};
use burn::tensor::{Int, Tensor};
use burn_cubecl::tensor::CubeTensor;

use super::floats;
use super::reading::Reading;
use crate::kernels::Draw;
use crate::kernels::gpu::choose::{choose, outcome};
use crate::nn::Outcome;

/// A token that was chosen on the device, and is on its way to the host.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The token, `[1, 1]`; 0 where the choice came to none.
    pub ids: Tensor<2, Int>,
    found: Reading,
}

impl Chosen {
    /// Chooses from `logits [1, 1, V]`, the likeliest or as the draw says, and begins to read
    /// what it comes to. `None` where the host has to choose.
    pub(crate) fn of(logits: &Tensor<3>, by: Option<&Draw>) -> Option<Chosen> {
        let choice = choose(&floats(logits)?, by)?;
        let CubeTensor { client, device, handle, .. } = choice.id;
        let ids =
            CubeTensor::new_contiguous(client, device, Shape::from([1, 1]), handle, DType::I32);
        let ids = Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Cube(BackendTensor::Int(ids)),
            autodiff: DispatchAutodiffContext::Disabled,
        });
        Some(Chosen { ids, found: Reading::of(choice.found) })
    }

    /// Waits for what it comes to.
    pub(crate) fn read(self) -> Result<Outcome, String> {
        let words = self.found.words()?;
        match words[..] {
            [id, logprob, outcome::CHOSEN, ..] => Ok(Outcome::Token(id, f32::from_bits(logprob))),
            [_, _, outcome::NOT_FINITE, ..] => Ok(Outcome::NotFinite),
            [_, _, outcome::UNDECIDED, ..] => Ok(Outcome::Undecided),
            _ => Err(format!("{words:?} is no choice of a token")),
        }
    }
}
