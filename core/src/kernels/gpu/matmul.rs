//! GEMM: a few or many rows of floats times packed rows.
//!
//! Two shapes: [`few_rows`] for a step of generation, where every weight is read once and the
//! reading is the cost, and [`many_rows`] for prefill and batches, where a tile of weights is
//! unpacked once for up to 64 rows. Neither needs subgroups, and sums are taken in a fixed order,
//! so that the same call gives the same bits each time.

use cubecl::prelude::*;

use super::decode::{block_at, has_offset, is_plain, levels, plain, quad_bits, scales, weights};
use crate::quant::Format;

/// Units that share one packed row in [`few_rows`].
pub(super) const LANES: u32 = 32;
/// Packed rows of one cube of [`few_rows`].
pub(super) const ROWS: u32 = 4;
/// Units along each side of a cube of [`many_rows`].
pub(super) const SIDE: u32 = 16;
/// Packed rows of a tile of [`many_rows`]: four for each unit of a side.
pub(super) const TILE: u32 = 64;
/// Columns of a tile of [`many_rows`].
const DEPTH: u32 = 16;

/// `out [m, rows] = x [m, k] * w [rows, k]ᵀ`, `group` rows of `x` per cube: each of 32 units takes every
/// 32nd run of a packed row, and the partial sums are added in shared memory.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
pub(super) fn few_rows<N: Size>(
    words: &[Vector<u32, Const<1>>],
    x: &[Vector<f32, N>],
    out: &mut [f32],
    m: u32,
    k: u32,
    rows: u32,
    #[comptime] group: u32,
    #[comptime] format: Format,
) {
    let lane = UNIT_POS_X;
    let row = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * ROWS + UNIT_POS_Y;
    let first = CUBE_POS_Z * group;
    // Units past the end work on the last row, since all must reach the barriers.
    let safe = min(row, rows - 1u32);

    let mut sums = Array::<Vector<f32, N>>::new(comptime!(group as usize));
    #[unroll]
    for r in 0..group {
        sums[r as usize] = Vector::<f32, N>::new(0.0f32);
    }

    if comptime!(is_plain(format)) {
        let step = comptime!(LANES) * N::value() as u32;
        let mut column = lane * N::value() as u32;
        while column < k {
            let w = plain::<Const<1>, N>(words, safe * k + column, format);
            #[unroll]
            for r in 0..group {
                let x_row = min(first + r, m - 1u32);
                let x = x[((x_row * k + column) / N::value() as u32) as usize];
                sums[r as usize] += w * x;
            }
            column += step;
        }
    } else {
        let block = comptime!(format.block() as u32);
        let runs = k / 16u32;
        let mut run = lane;
        while run < runs {
            let column = run * 16u32;
            let (base, head) = block_at(safe, column, rows, k, format);
            let i = column % block;
            let (scale, offset) = scales::<Const<1>>(words, head, i >> 4u32, format);
            let scale = Vector::<f32, N>::new(scale);
            let offset = Vector::<f32, N>::new(offset);
            #[unroll]
            for quad in 0..4u32 {
                let at = comptime!(quad * 4);
                let mut w =
                    levels::<N>(quad_bits::<Const<1>>(words, base, i + at, format), format) * scale;
                if comptime!(has_offset(format)) {
                    w += offset;
                }
                #[unroll]
                for r in 0..group {
                    let x_row = min(first + r, m - 1u32);
                    let x = x[((x_row * k + column + at) / N::value() as u32) as usize];
                    sums[r as usize] += w * x;
                }
            }
            run += LANES;
        }
    }

    let mut shared = Shared::<[f32]>::new_slice(comptime!((LANES * ROWS * group) as usize));
    let slot = UNIT_POS_Y * LANES + lane;
    #[unroll]
    for r in 0..group {
        let mut sum = 0.0f32;
        #[unroll]
        for e in 0..N::value() {
            sum += sums[r as usize].extract(e);
        }
        shared[(slot + comptime!(r * LANES * ROWS)) as usize] = sum;
    }
    sync_cube();
    #[unroll]
    for level in 0..5u32 {
        let reach = comptime!(LANES >> (level + 1));
        if lane < reach {
            #[unroll]
            for r in 0..group {
                let at = slot + comptime!(r * LANES * ROWS);
                shared[at as usize] += shared[(at + reach) as usize];
            }
        }
        sync_cube();
    }
    if lane == 0u32 && row < rows {
        #[unroll]
        for r in 0..group {
            if first + r < m {
                out[((first + r) * rows + row) as usize] =
                    shared[(slot + comptime!(r * LANES * ROWS)) as usize];
            }
        }
    }
}

/// `out [m, rows] = x [m, k] * w [rows, k]ᵀ` by tiles of `16 * share` by 64 sums, 16 columns at a time;
/// each of 16 x 16 units holds `share` by 4 of them.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
pub(super) fn many_rows<N: Size>(
    words: &[Vector<u32, Const<1>>],
    x: &[Vector<f32, N>],
    out: &mut [f32],
    m: u32,
    k: u32,
    rows: u32,
    #[comptime] share: u32,
    #[comptime] format: Format,
) {
    let tall = comptime!(SIDE * share);
    let mut x_tile = Shared::<[f32]>::new_slice(comptime!((DEPTH * tall) as usize));
    let mut w_tile = Shared::<[f32]>::new_slice(comptime!((DEPTH * TILE) as usize));

    let unit = UNIT_POS_Y * SIDE + UNIT_POS_X;
    let load_row = unit / 4u32;
    let load_column = (unit % 4u32) * 4u32;
    let first_n = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * TILE;
    let first_m = CUBE_POS_Z * tall;
    // Rows past the end repeat the last one; their sums are not stored.
    let w_row = min(first_n + load_row, rows - 1u32);
    let x_row = min(first_m + load_row, m - 1u32);

    let mut sums = Array::<f32>::new(comptime!((share * 4) as usize));
    #[unroll]
    for i in 0..comptime!(share * 4) {
        sums[i as usize] = 0.0f32;
    }

    let mut start = 0u32;
    while start < k {
        let vector = N::value();
        // With N = 1 the four columns are four loads: only plain formats have such widths.
        #[unroll]
        for part in 0..comptime!(4 / vector) {
            let local = load_column + comptime!((part * vector) as u32);
            let column = start + local;
            let mut w = Vector::<f32, N>::new(0.0f32);
            let mut v = Vector::<f32, N>::new(0.0f32);
            if column < k {
                w = weights::<Const<1>, N>(words, w_row, column, rows, k, format);
                v = x[((x_row * k + column) / N::value() as u32) as usize];
            }
            #[unroll]
            for e in 0..N::value() {
                let depth = local + comptime!(e as u32);
                w_tile[(depth * TILE + load_row) as usize] = w.extract(e);
                if load_row < tall {
                    x_tile[(depth * tall + load_row) as usize] = v.extract(e);
                }
            }
        }
        sync_cube();

        for depth in 0..DEPTH {
            let w_at = depth * TILE + UNIT_POS_X * 4u32;
            let x_at = depth * tall + UNIT_POS_Y * share;
            let mut column = Array::<f32>::new(comptime!(share as usize));
            #[unroll]
            for r in 0..share {
                column[r as usize] = x_tile[(x_at + r) as usize];
            }
            #[unroll]
            for c in 0..4u32 {
                let w = w_tile[(w_at + c) as usize];
                #[unroll]
                for r in 0..share {
                    sums[comptime!(r * 4 + c) as usize] += column[r as usize] * w;
                }
            }
        }
        sync_cube();
        start += DEPTH;
    }

    #[unroll]
    for r in 0..share {
        let out_row = first_m + UNIT_POS_Y * share + r;
        #[unroll]
        for c in 0..4u32 {
            let out_column = first_n + UNIT_POS_X * 4u32 + c;
            if out_row < m && out_column < rows {
                out[(out_row * rows + out_column) as usize] = sums[comptime!(r * 4 + c) as usize];
            }
        }
    }
}
