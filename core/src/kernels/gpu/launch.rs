//! What launches have in common: how many cubes, and where results go.

use burn::backend::{DType, Shape};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// The most cubes along one axis of a dispatch, in every graphics API.
const AXIS: u32 = 65_535;

/// `count` cubes over two axes, `deep` along the third.
pub(super) fn cubes(count: usize, deep: usize) -> CubeCount {
    let count = count as u32;
    let high = count.div_ceil(AXIS);
    CubeCount::Static(count.div_ceil(high), high, deep as u32)
}

/// An uninitialized tensor of floats beside `like`.
pub(crate) fn empty(like: &CubeTensor, shape: [usize; 2]) -> CubeTensor {
    empty_of(like, shape, DType::F32)
}

/// An uninitialized tensor beside `like`.
pub(crate) fn empty_of(like: &CubeTensor, shape: [usize; 2], dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), dtype)
}
