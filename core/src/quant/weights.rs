//! A weight matrix that stays packed: the one holder of packed bytes on a device.
//!
//! [`Packed`] sits between the file (whose mapped bytes it shares on the CPU, without a copy) and
//! [`crate::kernels`]. On a GPU a matrix larger than one storage binding is split by rows.

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "train"))]
use burn::backend::DispatchDevice;
use burn::backend::{
    AllocationProperty, BackendTensor, Bytes as Storage, DType, DispatchTensorKind, TensorData,
};
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId,
};
use burn::tensor::{Device, Int, Tensor};
use burn_flex::FlexTensor;
use bytes::Bytes;

use super::Format;
use super::repacked::Repacked;
use crate::error::{Error, Result};
use crate::kernels;

/// No part on a GPU is larger, whatever the driver allows: kernels count bytes in 32 bits.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
const LARGEST_PART: usize = 1 << 31;

/// A matrix `[rows, width]` of packed weights on a device, for inference: it has no gradient.
#[derive(Clone)]
pub struct Packed {
    parts: Vec<Param<Tensor<1, Int>>>,
    /// Rows of each part but the last, which has the rest.
    rows_per_part: usize,
    format: Format,
    rows: usize,
    width: usize,
    repack: Repacked,
}

impl Packed {
    /// Puts `rows` packed rows of `width` weights on `device`. On the CPU the bytes are shared,
    /// not copied; on a GPU they are uploaded, in the order that kernels read.
    ///
    /// # Errors
    /// [`Error::Argument`] when `width` is no multiple of the format's block or `bytes` is not
    /// exactly as long as the rows; [`Error::Device`] when a row exceeds the device's buffers.
    pub fn new(
        bytes: Bytes,
        format: Format,
        rows: usize,
        width: usize,
        device: &Device,
    ) -> Result<Packed> {
        Packed::with_limit(bytes, format, rows, width, device, part_limit(device))
    }

    /// [`Packed::new`] with parts of at most `limit` bytes.
    fn with_limit(
        bytes: Bytes,
        format: Format,
        rows: usize,
        width: usize,
        device: &Device,
        limit: usize,
    ) -> Result<Packed> {
        let row = row_bytes(format, width)?;
        if row.checked_mul(rows) != Some(bytes.len()) || rows == 0 {
            let problem = format!(
                "hold {} bytes; `[{rows}, {width}]` in `{format}` is {rows} times {row}, at least one row",
                bytes.len()
            );
            return Err(Error::argument("weights", problem));
        }
        let rows_per_part = (limit / row).min(rows);
        if rows_per_part == 0 {
            return Err(Error::Device {
                device: format!("{device:?}"),
                problem: format!("one row of {row} bytes exceeds the largest buffer"),
            });
        }
        let part = |start: usize| {
            let end = rows.min(start + rows_per_part);
            let bytes = bytes.slice(start * row..end * row);
            if is_gpu(device) { on_gpu(bytes, format, device) } else { on_cpu(bytes, device) }
        };
        let parts = (0..rows).step_by(rows_per_part).map(part).collect();
        let repack = Repacked::Never;
        Ok(Packed { parts, rows_per_part, format, rows, width, repack })
    }

    /// The same, repacked so at its first product with many rows on the CPU.
    pub(crate) fn repacked(self, repack: Repacked) -> Packed {
        Packed { repack, ..self }
    }

    /// How it is repacked.
    pub(crate) fn repack(&self) -> &Repacked {
        &self.repack
    }

    /// The bytes of `count` rows from row `start` on, shared: splits a fused matrix (such as
    /// queries, keys and values in one) before each piece goes to [`Packed::new`].
    ///
    /// # Errors
    /// [`Error::Argument`] when `width` is no multiple of the format's block or the rows are not
    /// all in `bytes`.
    pub fn slice_rows(
        bytes: &Bytes,
        format: Format,
        width: usize,
        start: usize,
        count: usize,
    ) -> Result<Bytes> {
        let row = row_bytes(format, width)?;
        let end = start.checked_add(count).and_then(|end| end.checked_mul(row));
        match end {
            Some(end) if end <= bytes.len() => Ok(bytes.slice(start * row..end)),
            _ => Err(Error::argument(
                "rows",
                format!(
                    "{start} and {count} more are not in the {} there are",
                    bytes.len() / row.max(1)
                ),
            )),
        }
    }

    /// `x [M, width]` times the transpose of the matrix: `[M, rows]`. Sums are f32; under
    /// automatic differentiation the gradient flows to `x`.
    ///
    /// # Panics
    /// When `x` has another width, as tensor operations do.
    pub fn matmul(&self, x: Tensor<2>) -> Tensor<2> {
        assert_eq!(x.dims()[1], self.width, "the width of `x` must be that of the weights");
        let x = if x.dtype() == DType::F32 { x } else { x.cast(DType::F32) };
        let mut sums: Vec<Tensor<2>> = self
            .parts()
            .map(|(part, _, rows)| kernels::packed_matmul(x.clone(), part, self.format, rows))
            .collect();
        if sums.len() == 1 { sums.swap_remove(0) } else { Tensor::cat(sums, 1) }
    }

    /// The bytes of all rows, if they are in this program's memory.
    pub(crate) fn on_host(&self) -> Option<FlexTensor> {
        let [part] = &self.parts[..] else { return None };
        let part = part.val().into_dispatch();
        #[allow(unreachable_patterns, reason = "a build may have no other backend")]
        match part.kind {
            DispatchTensorKind::Flex(BackendTensor::Int(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The words of all rows, if they are whole on a GPU.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(crate) fn on_gpu(&self) -> Option<burn_cubecl::tensor::CubeTensor> {
        let [part] = &self.parts[..] else { return None };
        match part.val().into_dispatch().kind {
            DispatchTensorKind::Cube(BackendTensor::Int(words)) => Some(words),
            _ => None,
        }
    }

    /// The rows `ids [M]` as floats: `[M, width]`. An id outside the matrix gives zeros.
    pub fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let look_up = |(part, first, rows)| {
            kernels::packed_rows(part, ids.clone(), self.format, self.width, first, rows)
        };
        self.parts()
            .map(look_up)
            .reduce(|sum, part| sum + part)
            .unwrap_or_else(|| Tensor::zeros([ids.dims()[0], self.width], &ids.device()))
    }

    /// The whole matrix as floats `[rows, width]`: for tests and inspection, never for inference.
    pub fn dequantize(&self) -> Tensor<2> {
        let device = self.devices().into_iter().next().unwrap_or_default();
        self.rows(Tensor::arange(0..self.rows as i64, &device))
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        self.rows * self.format.row_bytes(self.width).unwrap_or(0)
    }

    /// The tensors that hold it, row after row, with the bytes of each that are weights.
    pub(crate) fn ids(&self) -> Vec<(ParamId, usize)> {
        let row = self.format.row_bytes(self.width).unwrap_or(0);
        let rows = self.parts().map(|(_, _, rows)| rows * row);
        self.parts.iter().map(|part| part.id).zip(rows).collect()
    }

    /// How the weights are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows and width.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.width]
    }

    /// Each part with its first row and its number of rows.
    fn parts(&self) -> impl Iterator<Item = (Tensor<1, Int>, usize, usize)> {
        self.parts.iter().enumerate().map(|(index, part)| {
            let first = index * self.rows_per_part;
            (part.val(), first, self.rows_per_part.min(self.rows - first))
        })
    }
}

/// The bytes of a row of `width` weights.
fn row_bytes(format: Format, width: usize) -> Result<usize> {
    match format.row_bytes(width) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(Error::argument(
            "width",
            format!("is {width}; `{format}` needs a multiple of {} above 0", format.block()),
        )),
    }
}

/// The most bytes of one part on this device.
pub(crate) fn part_limit(device: &Device) -> usize {
    match device.as_dispatch() {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        DispatchDevice::Cube(device) => {
            let limit = device.client().properties().memory.max_page_size;
            usize::try_from(limit).unwrap_or(LARGEST_PART).min(LARGEST_PART)
        }
        #[cfg(feature = "train")]
        DispatchDevice::Autodiff(device) => part_limit(&Device::new(device.clone().inner())),
        _ => usize::MAX,
    }
}

/// Whether the device takes words and not bytes.
fn is_gpu(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        DispatchDevice::Cube(_) => true,
        #[cfg(feature = "train")]
        DispatchDevice::Autodiff(device) => is_gpu(&Device::new(device.clone().inner())),
        _ => false,
    }
}

/// A tensor of bytes over the shared memory.
fn on_cpu(bytes: Bytes, device: &Device) -> Param<Tensor<1, Int>> {
    let length = bytes.len();
    let data = TensorData::from_bytes(
        Storage::from_shared(bytes, AllocationProperty::File),
        [length],
        DType::U8,
    );
    Param::initialized(ParamId::new(), Tensor::from_data(data, (device, DType::U8)))
}

/// A tensor of 32-bit words, in the order that kernels read.
fn on_gpu(bytes: Bytes, format: Format, device: &Device) -> Param<Tensor<1, Int>> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    let bytes = kernels::gpu::decode::arranged(bytes, format);
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    let _ = format;
    let words = bytes.len() / 4;
    let storage = Storage::from_shared(bytes, AllocationProperty::File);
    let data = TensorData::from_bytes(storage, [words], DType::U32);
    device.memory_persistent_allocations(data, |data| {
        Param::initialized(ParamId::new(), Tensor::from_data(data, (device, DType::U32)))
    })
}

// By hand, so that the number of parameters is that of weights and not of words.
impl Module for Packed {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.parts.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Packed { parts: self.parts.fork(device), ..self }
    }

    fn to_device(self, device: &Device) -> Self {
        Packed { parts: self.parts.to_device(device), ..self }
    }

    fn train(self) -> Self {
        Packed { parts: self.parts.train(), ..self }
    }

    fn valid(&self) -> Self {
        Packed { parts: self.parts.valid(), ..self.clone() }
    }

    fn materialize(self) -> Self {
        self
    }

    fn num_params(&self) -> usize {
        self.rows * self.width
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.parts.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Packed { parts: self.parts.map(mapper), ..self }
    }
}

impl ModuleDisplayDefault for Packed {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&format!("{self:?}")).optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Packed {}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} [{}, {}]", self.format, self.rows, self.width)?;
        match self.parts.len() {
            1 => f.write_str(")"),
            parts => write!(f, " in {parts} parts)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::DispatchTensorKind;

    use super::*;
    use crate::kernels::tests::{packed, small_devices};

    #[test]
    fn the_cpu_shares_the_bytes() {
        let bytes = Bytes::from(packed(Format::Q4_K, 5, 512, 1));
        let all = Packed::new(bytes.clone(), Format::Q4_K, 5, 512, &Device::flex()).unwrap();
        let piece = Packed::slice_rows(&bytes, Format::Q4_K, 512, 2, 3).unwrap();
        let piece = Packed::new(piece, Format::Q4_K, 3, 512, &Device::flex()).unwrap();
        #[allow(unreachable_patterns, reason = "a build may have no other backend")]
        let seen = |packed: &Packed| match packed.parts[0].val().into_dispatch().kind {
            DispatchTensorKind::Flex(tensor) => tensor.int().bytes().as_ptr() as usize,
            _ => panic!("the tensor must be on the CPU"),
        };
        assert_eq!(seen(&all), bytes.as_ptr() as usize);
        assert_eq!(
            seen(&piece),
            bytes.as_ptr() as usize + 2 * Format::Q4_K.row_bytes(512).unwrap()
        );
    }

    #[test]
    fn parts_answer_as_the_whole() {
        for device in small_devices() {
            let bytes = Bytes::from(packed(Format::Q6_K, 11, 256, 2));
            let whole = Packed::new(bytes.clone(), Format::Q6_K, 11, 256, &device).unwrap();
            let split = Packed::with_limit(bytes, Format::Q6_K, 11, 256, &device, 850).unwrap();
            assert_eq!((whole.parts.len(), split.parts.len()), (1, 3));
            assert_eq!(Module::num_params(&split), 11 * 256);
            assert_eq!(format!("{split:?}"), "Packed(Q6_K [11, 256] in 3 parts)");
            let x = Tensor::<1>::from_floats([0.5; 512], &device).reshape([2, 256]);
            let same = |a: Tensor<2>, b: Tensor<2>| a.into_data().assert_eq(&b.into_data(), true);
            same(whole.matmul(x.clone()), split.clone().matmul(x));
            let ids = || Tensor::<1, Int>::from_ints([10, 0, 4, 3, 7, 8], &device);
            same(whole.rows(ids()), split.rows(ids()));
            same(whole.dequantize(), split.dequantize());
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let new = |length, rows, width| {
            let bytes = Bytes::from(vec![0; length]);
            Packed::new(bytes, Format::Q8_0, rows, width, &Device::flex()).map(|_| ())
        };
        assert!(new(34 * 6, 3, 64).is_ok());
        for (length, rows, width) in [
            (34 * 6 - 1, 3, 64),
            (34 * 7, 3, 64),
            (0, 0, 64),
            (0, 3, 0),
            (34 * 6, 3, 65),
            (34 * 6, usize::MAX, 64),
        ] {
            assert!(matches!(new(length, rows, width), Err(Error::Argument { .. })));
        }
        let bytes = Bytes::from(vec![0; 34 * 3]);
        let slice = |start, count| Packed::slice_rows(&bytes, Format::Q8_0, 32, start, count);
        assert_eq!(slice(1, 2).unwrap().len(), 68);
        assert!(slice(1, 3).is_err() && slice(usize::MAX, 2).is_err());
    }
}
