//! Prefill GEMM in f16, on the cooperative matrices of a GPU.
//!
//! `x` is rounded to f16 and weights of other formats are unpacked to it, each in a pass of its own:
//! unpacked on their way into a tile they cost more, since every tile of `x` unpacks them again.

use burn::backend::{DType, Shape};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::decode::weights;
use super::words::Words;
use super::{cubes, tiles};
use crate::quant::Format;

/// Units of a cube of [`unpack`].
const UNITS: u32 = 256;

/// Whether the device multiplies matrices of f16 with rows of this width, and adds in f32.
pub(crate) fn fits(like: &CubeTensor, width: usize) -> bool {
    width > 0 && width.is_multiple_of(8) && (tiles::is_there(like) || stands_in(like))
}

/// `x` in f16.
pub(crate) fn rounded(x: CubeTensor) -> CubeTensor {
    // Rows of what `cast` makes may be padded.
    into_contiguous(cast(x, DType::F16))
}

/// `x`, which is in f16, in floats.
pub(crate) fn exact(x: CubeTensor) -> CubeTensor {
    into_contiguous(cast(x, DType::F32))
}

/// `x [m, width]` in f16 times `w [rows, width]ᵀ`, in f16 but for the sums, with numbers `[rows]` added
/// to each row; `None` where it does not [fit](fits).
pub(crate) fn product(x: &CubeTensor, w: &Words, bias: Option<&CubeTensor>) -> Option<CubeTensor> {
    if !fits(x, w.width) {
        return None;
    }
    if !tiles::is_there(x) {
        return stand_in(x, w, bias);
    }
    let sizes = [x.meta.num_elements() / w.width, w.width, w.rows];
    let weights = match w.format {
        Format::F16 => w.words.clone(),
        _ => unpacked(w),
    };
    tiles::product(x, &weights, bias, sizes)
}

/// Whether tests may let products in floats stand in for those of matrices that software has not: so
/// what stands between them runs in tests, too.
fn stands_in(_like: &CubeTensor) -> bool {
    cfg!(test)
}

#[cfg(not(test))]
fn stand_in(_x: &CubeTensor, _w: &Words, _bias: Option<&CubeTensor>) -> Option<CubeTensor> {
    None
}

#[cfg(test)]
fn stand_in(x: &CubeTensor, w: &Words, bias: Option<&CubeTensor>) -> Option<CubeTensor> {
    use burn_cubecl::CubeBackend;

    use crate::kernels::PackedOps;
    use crate::nn::gpu::{floats, tensor};

    let m = x.meta.num_elements() / w.width;
    let floats_of = |x: &CubeTensor| into_contiguous(cast(x.clone(), DType::F32));
    let flat = |x: CubeTensor, shape| {
        CubeTensor::new_contiguous(x.client, x.device, Shape::from(shape), x.handle, DType::F32)
    };
    let x = flat(floats_of(x), [m, w.width]);
    // No shape that `packed_matmul` takes for a single row's.
    let y = CubeBackend::packed_matmul(x, w.words.clone(), w.format, w.rows);
    match bias {
        Some(bias) => floats(&(tensor(y, [m, w.rows]) + tensor(bias.clone(), [1, w.rows]))),
        None => Some(y),
    }
}

/// The weights as f16.
fn unpacked(w: &Words) -> CubeTensor {
    let out = empty_device_contiguous_dtype(
        w.words.client.clone(),
        w.words.device.clone(),
        Shape::from([w.rows, w.width]),
        DType::F16,
    );
    let count = w.rows * w.width / 4;
    // SAFETY: each unit reads and writes four weights of a row, whose width is a multiple of it.
    unsafe {
        unpack::launch_unchecked(
            &w.words.client,
            cubes(count.div_ceil(UNITS as usize), 1),
            CubeDim::new_1d(UNITS),
            w.words.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count as u32,
            w.width as u32,
            w.format,
        );
    }
    out
}

/// One unit four weights.
#[cube(launch_unchecked)]
fn unpack(
    words: &[Vector<u32, Const<1>>],
    out: &mut [Vector<half::f16, Const<4>>],
    count: u32,
    width: u32,
    #[comptime] format: Format,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * UNITS + UNIT_POS_X;
    if at < count {
        let row = at / (width / 4u32);
        let column = at % (width / 4u32) * 4u32;
        let rows = count / (width / 4u32);
        let four = weights::<Const<1>, Const<4>>(words, row, column, rows, width, format);
        out[at as usize] = Vector::<half::f16, Const<4>>::cast_from(four);
    }
}
