//! [`PackedOps`] on burn's CubeCL backend: one source for Vulkan, Metal, DX12 and WebGPU.
//!
//! `decode` unpacks weights in registers. Products: `gemv` of one row, in floats or by `dots` of
//! bytes, `matmul` of small batches and prefill (GEMM) in floats, `half` of prefill in f16 by the
//! cooperative matrices of `tiles`; `rows` looks rows up. `between` and `attend` are what stands
//! between the products, called by `nn/run/cube.rs` and, for one more token with `newest`, by
//! `nn/run/tape.rs`; `choose` takes the next token from logits. Kernels compile to plain WGSL with
//! 32-bit integers and floats; `gemv`, `dots` and `newest` add over subgroups, `decode` reads
//! 16-bit floats, `dots` and `tiles` run where the device has their instructions.

pub(crate) mod attend;
pub(crate) mod between;
pub(crate) mod choose;
pub(crate) mod decode;
mod dots;
pub(crate) mod gemv;
pub(crate) mod half;
mod launch;
mod matmul;
pub(crate) mod newest;
mod rows;
#[cfg(test)]
pub(crate) mod tests;
mod tiles;
pub(crate) mod words;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{cast, into_contiguous};
use cubecl::prelude::*;

use self::launch::cubes;
pub(crate) use self::launch::{empty, empty_of};
use self::words::Words;
use super::PackedOps;
use crate::quant::Format;

/// Up to this many rows of `x`, reading the weights is the cost.
pub(crate) const FEW: usize = 8;

/// Rows of `x` that share one reading of a weight while there are few.
const GROUP: usize = 4;

impl PackedOps for CubeBackend {
    fn packed_matmul(
        x: FloatTensor<Self>,
        weights: IntTensor<Self>,
        format: Format,
        rows: usize,
    ) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let [m, k] = [x.shape()[0], x.shape()[1]];
        let out = empty(&x, [m, rows]);
        if m == 0 || rows == 0 {
            return out;
        }
        if m == 1 && gemv::fits(format, k) {
            let words = Words { words: weights, format, rows, width: k };
            return gemv::project(&x, &[&words], None, None);
        }
        let client = x.client.clone();
        let lanes = lanes(k);
        let arguments = (m as u32, k as u32, rows as u32);
        let (words, x, sums) =
            (weights.into_buffer_arg(), x.into_buffer_arg(), out.clone().into_buffer_arg());
        if m <= FEW {
            let group = if m == 1 { 1 } else { GROUP };
            let cubes = cubes(rows.div_ceil(matmul::ROWS as usize), m.div_ceil(group));
            let units = CubeDim::new_2d(matmul::LANES, matmul::ROWS);
            // SAFETY: the kernel keeps every index below `m`, `k` and `rows`, and the buffers
            // hold `m * k` floats, `rows` packed rows and `m * rows` sums.
            unsafe {
                matmul::few_rows::launch_unchecked(
                    &client,
                    cubes,
                    units,
                    lanes,
                    words,
                    x,
                    sums,
                    arguments.0,
                    arguments.1,
                    arguments.2,
                    group as u32,
                    format,
                )
            };
        } else {
            let share = if m <= matmul::SIDE as usize { 1 } else { 4 };
            let tall = (matmul::SIDE * share) as usize;
            let cubes = cubes(rows.div_ceil(matmul::TILE as usize), m.div_ceil(tall));
            let units = CubeDim::new_2d(matmul::SIDE, matmul::SIDE);
            // SAFETY: as above.
            unsafe {
                matmul::many_rows::launch_unchecked(
                    &client,
                    cubes,
                    units,
                    lanes,
                    words,
                    x,
                    sums,
                    arguments.0,
                    arguments.1,
                    arguments.2,
                    share,
                    format,
                )
            };
        }
        out
    }

    fn packed_rows(
        weights: IntTensor<Self>,
        ids: IntTensor<Self>,
        format: Format,
        width: usize,
        first: usize,
        rows: usize,
    ) -> FloatTensor<Self> {
        let ids =
            into_contiguous(if ids.dtype == DType::I32 { ids } else { cast(ids, DType::I32) });
        let m = ids.shape()[0];
        let out = empty(&ids, [m, width]);
        if m == 0 || width == 0 {
            return out;
        }
        let client = ids.client.clone();
        let lanes = lanes(width);
        let cubes = cubes((m * (width / lanes)).div_ceil(rows::UNITS as usize), 1);
        // SAFETY: the kernel writes below `m * width` and reads rows below `rows`, whatever the
        // ids are.
        unsafe {
            rows::gather::launch_unchecked(
                &client,
                cubes,
                CubeDim::new_1d(rows::UNITS),
                lanes,
                weights.into_buffer_arg(),
                ids.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                m as u32,
                width as u32,
                first as i32,
                rows as i32,
                format,
            )
        };
        out
    }
}

/// Floats that a unit reads at once: 4 where rows are a multiple of it.
fn lanes(width: usize) -> usize {
    if width.is_multiple_of(4) { 4 } else { 1 }
}
