//! The next token, chosen on the GPU that its logits are on.

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) use none::Chosen;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use some::Chosen;

/// What a choice comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
pub(crate) enum Found {
    /// A token and the natural logarithm of its probability.
    Token(u32, f32),
    /// A logit was NaN or infinite, or all were minus infinity.
    NotFinite,
    /// The host has to choose.
    Undecided,
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod some {
    use burn::backend::{
        BackendTensor, DType, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Shape,
    };
    use burn::tensor::{Int, Tensor};
    use burn_cubecl::tensor::CubeTensor;

    use super::Found;
    use crate::kernels::Draw;
    use crate::kernels::gpu::choose::{choose, outcome};
    use crate::nn::gpu::floats;
    use crate::nn::reading::Reading;

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
        pub(crate) fn read(self) -> Result<Found, String> {
            let words = self.found.words()?;
            match words[..] {
                [id, logprob, outcome::CHOSEN, ..] => Ok(Found::Token(id, f32::from_bits(logprob))),
                [_, _, outcome::NOT_FINITE, ..] => Ok(Found::NotFinite),
                [_, _, outcome::UNDECIDED, ..] => Ok(Found::Undecided),
                _ => Err(format!("{words:?} is no choice of a token")),
            }
        }
    }
}

/// A build without GPUs.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod none {
    use burn::tensor::{Int, Tensor};

    use super::Found;
    use crate::kernels::Draw;

    /// There are none.
    #[derive(Debug)]
    pub(crate) struct Chosen {
        pub ids: Tensor<2, Int>,
        never: std::convert::Infallible,
    }

    impl Chosen {
        pub(crate) fn of(_logits: &Tensor<3>, _by: Option<&Draw>) -> Option<Chosen> {
            None
        }

        pub(crate) fn read(self) -> Result<Found, String> {
            match self.never {}
        }
    }
}
