//! Tensors on a GPU, and what is launched for them outside blocks.

mod choice;
mod kv;
mod reading;

use std::ops::Range;

use burn::backend::{
    BackendTensor, DType, DispatchAutodiffContext, DispatchDevice, DispatchTensor,
    DispatchTensorKind, Shape,
};
use burn::tensor::{Device, Tensor, TensorData};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::bytes::Bytes;

pub(crate) use choice::Chosen;
pub(crate) use kv::DeviceKv;
pub(crate) use reading::Reading;

use super::spec::Activation;
use crate::kernels::gpu::between;

/// Whether tensors of this device are on a GPU and have no gradient.
pub(crate) fn is_gpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}

/// Whether [`floats`] knows these, without their being put in order.
pub(crate) fn is_plain<const N: usize>(x: &Tensor<N>) -> bool {
    let x = x.clone().into_dispatch();
    matches!(x.autodiff, DispatchAutodiffContext::Disabled)
        && matches!(
            x.kind,
            DispatchTensorKind::Cube(BackendTensor::Float(x)) if x.dtype == DType::F32
        )
}

/// A tensor's floats in their order, if it is on a GPU and no gradient is asked of it.
pub(crate) fn floats<const N: usize>(x: &Tensor<N>) -> Option<CubeTensor> {
    let x = x.clone().into_dispatch();
    if !matches!(x.autodiff, DispatchAutodiffContext::Disabled) {
        return None;
    }
    match x.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(x)) if x.dtype == DType::F32 => {
            Some(into_contiguous(x))
        }
        _ => None,
    }
}

/// As many floats as a tensor of this shape.
pub(crate) fn tensor<const N: usize>(x: CubeTensor, shape: [usize; N]) -> Tensor<N> {
    let x =
        CubeTensor::new_contiguous(x.client, x.device, Shape::from(shape), x.handle, DType::F32);
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Cube(BackendTensor::Float(x)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// `activation(x)`, or `activation(x) * up`.
pub(crate) fn gate<const N: usize>(
    kind: Activation,
    x: &Tensor<N>,
    up: Option<&Tensor<N>>,
) -> Option<Tensor<N>> {
    let shape = x.dims();
    let x = floats(x)?;
    let up = match up {
        Some(up) => Some(floats(up)?),
        None => None,
    };
    Some(tensor(between::gate(kind, &x, up.as_ref()), shape))
}

/// Rows divided by their lengths, or by `least` if they are shorter.
pub(crate) fn unit(x: &Tensor<2>, least: f32) -> Option<Tensor<2>> {
    let sizes = x.dims();
    Some(tensor(between::unit_rows(&floats(x)?, least, sizes), sizes))
}

/// Sums of rows with weights, those of one result beside each other.
///
/// # Shapes
/// `x: [1, N, D]`, N weights, B ranges of rows -> `[B, D]`
pub(crate) fn pool(x: &Tensor<3>, weights: Vec<f32>, ranges: &[Range<usize>]) -> Option<Tensor<2>> {
    let [_, n, d] = x.dims();
    let device = x.device();
    debug_assert!(weights.len() == n && ranges.iter().all(|range| range.end <= n));
    let ends = ranges.iter().flat_map(|range| [range.start as i32, range.end as i32]);
    let x = floats(x)?;
    let ends = ints(&ends.collect::<Vec<_>>(), &x);
    let weights = floats(&Tensor::<1>::from_data(TensorData::new(weights, [n]), &device))?;
    let sums = between::pool(&x, &weights, &ends, ranges.len(), d);
    Some(tensor(sums, [ranges.len(), d]))
}

/// Whole numbers beside `like`.
pub(crate) fn ints(values: &[i32], like: &CubeTensor) -> CubeTensor {
    let bytes = Bytes::from_bytes_vec(bytemuck::cast_slice(values).to_vec());
    let handle = like.client.create(bytes);
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, Shape::from([values.len()]), handle, DType::I32)
}
