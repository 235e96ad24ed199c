//! Embedding look-up: rows of a packed table as floats.

use cubecl::prelude::*;

use super::decode::weights;
use crate::quant::Format;

/// Units of a cube of [`gather`].
pub(super) const UNITS: u32 = 64;

/// `out [m, width]`: the row `ids[i] - first` of the table, or zeros where it is not in
/// `0..rows`; one unit writes `N` columns.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
pub(super) fn gather<N: Size>(
    words: &[Vector<u32, Const<1>>],
    ids: &[i32],
    out: &mut [Vector<f32, N>],
    m: u32,
    width: u32,
    first: i32,
    rows: i32,
    #[comptime] format: Format,
) {
    let pos = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * UNITS + UNIT_POS_X;
    let per_row = width / N::value() as u32;
    if pos < m * per_row {
        let id = ids[(pos / per_row) as usize];
        let column = (pos % per_row) * N::value() as u32;
        let mut value = Vector::<f32, N>::new(0.0f32);
        if id >= first && id - first < rows {
            let row = u32::cast_from(id - first);
            let rows = u32::cast_from(rows);
            value = weights::<Const<1>, N>(words, row, column, rows, width, format);
        }
        out[pos as usize] = value;
    }
}
