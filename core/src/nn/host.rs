//! Tensors in this program's memory, as the floats that they are.

use std::ops::Deref;

use burn::backend::DispatchTensorKind;
use burn::backend::{BackendTensor, DType, DispatchAutodiffContext, DispatchDevice};
use burn::tensor::{Device, Tensor, TensorData};
use burn_flex::FlexTensor;

/// The floats of a tensor in this program's memory.
pub(crate) struct Floats {
    tensor: FlexTensor,
    start: usize,
    end: usize,
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.tensor.storage::<f32>()[self.start..self.end]
    }
}

/// Whether tensors of this device are in this program's memory and have no gradient.
pub(crate) fn is_host(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// A tensor's floats, if it is on the CPU and no gradient is asked of it.
pub(crate) fn floats<const N: usize>(x: &Tensor<N>) -> Option<Floats> {
    let x = x.clone().into_dispatch();
    if !matches!(x.autodiff, DispatchAutodiffContext::Disabled) {
        return None;
    }
    #[allow(unreachable_patterns, reason = "a build may have no other backend")]
    let tensor = match x.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor,
        _ => return None,
    };
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let tensor = tensor.to_contiguous();
    let (start, end) = tensor.layout().contiguous_offsets()?;
    Some(Floats { tensor, start, end })
}

/// The floats of a tensor of which [`floats`] knows some, to change: without a copy where nobody else
/// has them.
pub(crate) fn taken<const N: usize>(x: Tensor<N>) -> Vec<f32> {
    let values = x.into_data().try_into_vec();
    values.unwrap_or_else(|_| unreachable!("`floats` found 32-bit floats"))
}

/// Floats as a tensor on the CPU.
pub(crate) fn tensor<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}
