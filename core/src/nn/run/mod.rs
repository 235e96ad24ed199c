//! Who computes the steps of a [`Plan`](super::plan::Plan), and why.
//!
//! | executor | of | knows |
//! |---|---|---|
//! | [`tensors`] | burn tensors, on any device | every step, gradients, attention maps: the reference |
//! | [`slices`] | this program's memory, `core/kernels` | all but what its `knows` names |
//! | [`cube`] | a GPU, `kernels/gpu` | all but what its `knows` names; [`tape`] records the step of one token |
//!
//! An executor asks each step by destructuring it, so that a new field does not compile until it is
//! decided here. A step that an executor does not know is computed by tensors, between the others,
//! with a reason that [`Ways`] shows. What an executor needs of the parameters is gathered before
//! anything is computed: once a block has begun, nothing can refuse, so a cache is never half written.
//!
//! No executor can compute attention without knowing what is visible: a pass has [`Rows`] always, and
//! a mask is something that tensors make of them.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod cube;
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
#[path = "no_cube.rs"]
pub(crate) mod cube;
pub(crate) mod knows;
pub(crate) mod mask;
pub(crate) mod params;
mod pass;
pub(crate) mod slices;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod tape;
pub(crate) mod tensors;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod views;
mod way;
mod ways;
mod why;

use burn::tensor::Tensor;

pub(crate) use pass::{Hidden, LayerPass, Pass, Stack};
pub use way::Way;
pub(crate) use ways::Decided;
pub use ways::Ways;
pub use why::Why;

use super::cache::Cache;
use super::plan::Step;
use super::rows::Rows;
use super::states::LayerStates;

/// One token more of a sequence by launches of its own; `None` where blocks have to be asked one by
/// one.
///
/// # Shapes
/// `x: [1, 1, D]` -> `[1, 1, D]`
pub(crate) fn step(
    stack: &Stack<'_>,
    x: Tensor<3>,
    cache: &mut Cache,
    rows: &Rows,
) -> Option<Tensor<3>> {
    // A cache becomes rows on the device only where steps are written there.
    if !cache.steps.are_known_of(stack) {
        return None;
    }
    let (steps, held) = cache.stepped()?;
    cube::step(steps, stack, x, held, rows)
}

/// The states after a layer's steps.
pub(crate) fn layer(
    steps: &[Step],
    layer: &LayerPass<'_>,
    x: Hidden,
    mut states: LayerStates<'_>,
) -> Hidden {
    let x = match (layer.reference, x) {
        (true, x) => {
            return Hidden::Tensor(tensors::run(steps, layer, x.into_tensor(), &mut states));
        }
        (false, x) => match slices::bind(steps, layer, &x, &states) {
            Ok(bound) => return slices::run(bound, layer, x, &mut states),
            Err(_) => x.into_tensor(),
        },
    };
    Hidden::Tensor(match cube::bind(steps, layer, &x, &states) {
        Ok(bound) => cube::run(bound, layer, x, &mut states),
        Err(why) => {
            layer.check(why);
            tensors::run(steps, layer, x, &mut states)
        }
    })
}
