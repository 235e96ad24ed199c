//! [`PackedOps`] on burn's CPU backend: hands the mapped bytes to [`super::cpu`].

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Bytes, DType, Flex, Shape, TensorMetadata};
use burn_flex::{FlexTensor, Layout};

use super::{PackedOps, cpu};
use crate::quant::Format;

impl PackedOps for Flex {
    fn packed_matmul(
        x: FloatTensor<Self>,
        weights: IntTensor<Self>,
        format: Format,
        rows: usize,
    ) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let [m, k] = [x.shape()[0], x.shape()[1]];
        let mut out = vec![0f32; m * rows];
        let w = packed_bytes(&weights);
        cpu::matmul(format, w, x.storage::<f32>(), [m, k, rows], None, &mut out);
        floats(out, [m, rows])
    }

    fn packed_rows(
        weights: IntTensor<Self>,
        ids: IntTensor<Self>,
        format: Format,
        width: usize,
        first: usize,
        rows: usize,
    ) -> FloatTensor<Self> {
        let here = local_ids(&ids, first, rows);
        let bytes = packed_bytes(&weights);
        let mut out = vec![0f32; here.len() * width];
        if let Some(all) = here.iter().copied().collect::<Option<Vec<u32>>>() {
            cpu::rows(format, bytes, &all, width, &mut out);
        } else {
            for (id, row) in here.iter().zip(out.chunks_exact_mut(width.max(1))) {
                if let Some(id) = id {
                    cpu::rows(format, bytes, &[*id], width, row);
                }
            }
        }
        floats(out, [here.len(), width])
    }
}

/// The bytes that the tensor covers: all of its storage unless it is a view.
pub(crate) fn packed_bytes(weights: &FlexTensor) -> &[u8] {
    let bytes = weights.bytes();
    match weights.layout().contiguous_offsets() {
        Some((start, end)) if weights.dtype() == DType::U8 => &bytes[start..end],
        _ => bytes,
    }
}

/// The ids as row numbers of this part; `None` for those that are not in it.
fn local_ids(ids: &FlexTensor, first: usize, rows: usize) -> Vec<Option<u32>> {
    let local = |id: i64| {
        let row = usize::try_from(id).ok()?.checked_sub(first)?;
        if row < rows { u32::try_from(row).ok() } else { None }
    };
    let ids = ids.to_contiguous();
    match ids.dtype() {
        DType::I32 => ids.storage::<i32>().iter().map(|&id| local(id.into())).collect(),
        DType::U32 => ids.storage::<u32>().iter().map(|&id| local(id.into())).collect(),
        _ => ids.storage::<i64>().iter().map(|&id| local(id)).collect(),
    }
}

fn floats(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}
