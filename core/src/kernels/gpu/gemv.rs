//! GEMV: one row of floats times packed rows, a step of decoding, where reading the weights is the
//! cost.
//!
//! A few units take turns at the columns of [`SHARE`] packed rows, so that each number of `x` that
//! is read is multiplied with as many weights, and every weight is loaded once, where formats allow
//! it 16 bytes at a time. Where units are many columns apart, `x` comes through shared memory: from
//! where it is, each would wait for a line of its own. What stands beside the product is fused with
//! it: as prologue the RMS norm of `x` (its factor is known when all columns were read, and scales
//! the sums), as epilogue a residual or the gate of an MLP.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::between::{activated, number};
use super::decode::{block_at, has_offset, k_scale, levels, lifted, plain_wide, run_bits, scales};
pub(crate) use super::words::{Rms, Words};
use super::words::{gather, planes, sum4};
use super::{cubes, dots, empty};
use crate::kernels::cpu::Activation;
use crate::quant::Format;

/// Units of a cube.
const UNITS: u32 = 128;

/// Packed rows of a unit.
const SHARE: u32 = 4;

/// Units in flight that keep a large GPU's memory busy.
const BUSY: usize = 1 << 17;

/// Whether a row of `x` of this width can be multiplied with rows of this format here.
pub(crate) fn fits(format: Format, width: usize) -> bool {
    width.is_multiple_of(columns(format) as usize)
}

/// Words that a kernel reads at once: four where rows of the format are whole fours.
fn wide(format: Format) -> usize {
    match format {
        Format::Q4_K | Format::F32 | Format::F16 | Format::BF16 => 4,
        _ => 1,
    }
}

/// Plain weights of four words.
fn per_word(format: Format) -> u32 {
    if format == Format::F32 { 4 } else { 8 }
}

/// Columns of one turn of a unit.
fn columns(format: Format) -> u32 {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => 8,
        Format::Q4_K => 64,
        _ => 16,
    }
}

/// Units that take turns at the columns of the same rows.
fn lanes(like: &CubeTensor, rows: usize, format: Format, width: usize) -> u32 {
    let turns = width / columns(format) as usize;
    let groups = rows.div_ceil(SHARE as usize);
    let room = like.client.properties().hardware.max_shared_memory_size;
    let enough = |lanes: &usize| {
        groups * lanes >= BUSY
            || 2 * lanes > turns
            || is_staged(format) && 4 * staged(2 * *lanes as u32, format) as usize + RESERVED > room
    };
    [32, 64].into_iter().find(enough).unwrap_or(128) as u32
}

/// Whether `x` comes through shared memory.
fn is_staged(format: Format) -> bool {
    format == Format::Q4_K
}

/// Bytes of shared memory that are not for `x`.
const RESERVED: usize = 4096;

/// Numbers of shared memory that hold the `x` of a turn: after those of a unit there is room for four
/// more, so that units find theirs in different banks.
fn staged(lanes: u32, format: Format) -> u32 {
    lanes * (columns(format) + 4)
}

/// The rows of up to three matrices of one width times `x [width]`, one after another: `[1, rows]`;
/// with a norm of `x` before and numbers `[rows]` added after. Neighbours of one format are one
/// launch.
pub(crate) fn project(
    x: &CubeTensor,
    matrices: &[&Words],
    norm: Option<&Rms<'_>>,
    add: Option<&CubeTensor>,
) -> CubeTensor {
    let total: usize = matrices.iter().map(|matrix| matrix.rows).sum();
    let out = empty(x, [1, total]);
    let mut start = 0;
    for alike in matrices.chunk_by(|a, b| a.format == b.format) {
        match dots::fits(x, alike[0].format, alike[0].width) {
            true => dots::project(x, alike, norm, add, &out, start),
            false => launch(x, alike, norm, add, &out, start),
        }
        start += alike.iter().map(|matrix| matrix.rows).sum::<usize>();
    }
    out
}

fn launch(
    x: &CubeTensor,
    matrices: &[&Words],
    norm: Option<&Rms<'_>>,
    add: Option<&CubeTensor>,
    out: &CubeTensor,
    start: usize,
) {
    let (Some(first), Some(last)) = (matrices.first(), matrices.last()) else { return };
    let (format, width) = (first.format, first.width);
    debug_assert!(matrices.len() <= 3 && matrices.iter().all(|matrix| matrix.width == width));
    let rows = [0, 1, 2].map(|i| matrices.get(i).map_or(0, |matrix| matrix.rows));
    let lanes = lanes(x, rows.iter().sum(), format, width);
    // Each matrix has cubes of its own.
    let per_cube = (UNITS / lanes * SHARE) as usize;
    let count = rows.iter().map(|rows| rows.div_ceil(per_cube)).sum();
    let words = |i: usize| matrices.get(i).unwrap_or(last).words.clone().into_buffer_arg();
    // SAFETY: the kernel keeps rows below those of their matrix and columns below `width`, and the
    // buffers hold as many.
    unsafe {
        products::launch_unchecked(
            &x.client,
            cubes(count, 1),
            CubeDim::new_1d(UNITS),
            wide(format),
            x.clone().into_buffer_arg(),
            norm.map_or(x, |norm| norm.gamma).clone().into_buffer_arg(),
            add.unwrap_or(x).clone().into_buffer_arg(),
            words(0),
            words(1),
            words(2),
            out.clone().into_buffer_arg(),
            start as u32,
            rows[0] as u32,
            rows[1] as u32,
            rows[2] as u32,
            width as u32,
            norm.map_or(0.0, |norm| norm.eps),
            matrices.len() as u32,
            norm.is_some(),
            add.is_some(),
            lanes,
            planes(x),
            format,
        );
    }
}

/// `activation(gate x) * (up x)` of two matrices of one format and shape, with a norm of `x`
/// before: `[1, rows]`.
pub(crate) fn gated(
    x: &CubeTensor,
    [gate, up]: [&Words; 2],
    norm: Option<&Rms<'_>>,
    kind: Activation,
) -> CubeTensor {
    let (format, rows, width) = (gate.format, gate.rows, gate.width);
    debug_assert_eq!((format, rows, width), (up.format, up.rows, up.width));
    let out = empty(x, [1, rows]);
    if dots::fits(x, format, width) {
        dots::gated(x, [gate, up], norm, kind, &out);
        return out;
    }
    let lanes = lanes(x, rows, format, width);
    // SAFETY: as above.
    unsafe {
        gates::launch_unchecked(
            &x.client,
            cubes(rows.div_ceil((UNITS / lanes * SHARE) as usize), 1),
            CubeDim::new_1d(UNITS),
            wide(format),
            x.clone().into_buffer_arg(),
            norm.map_or(x, |norm| norm.gamma).clone().into_buffer_arg(),
            gate.words.clone().into_buffer_arg(),
            up.words.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            rows as u32,
            width as u32,
            norm.map_or(0.0, |norm| norm.eps),
            number(kind),
            norm.is_some(),
            lanes,
            planes(x),
            format,
        );
    }
    out
}

/// Puts the numbers of `x` from turn `first` on to shared memory, as many as all lanes take, scaled by
/// the norm's; gives back the sum of the squares of those that this unit has put there.
#[cube]
fn stage(
    x: &[Vector<f32, Const<4>>],
    gamma: &[Vector<f32, Const<4>>],
    near: &mut Shared<[Vector<f32, Const<4>>]>,
    first: u32,
    width: u32,
    #[comptime] normed: bool,
    #[comptime] lanes: u32,
    #[comptime] format: Format,
) -> f32 {
    let quads = comptime!(columns(format) / 4);
    let mut square = 0.0f32;
    #[unroll]
    for part in 0..comptime!((lanes * quads).div_ceil(UNITS)) {
        let own = UNIT_POS_X + comptime!(part * UNITS);
        let at = first * quads + own;
        if own < comptime!(lanes * quads) && at < width / 4u32 {
            let mut value = x[at as usize];
            if comptime!(normed) {
                square += sum4(value * value);
                value *= gamma[at as usize];
            }
            near[(own / quads * comptime!(quads + 1) + own % quads) as usize] = value;
        }
    }
    square
}

/// Adds to `sums` the products of [`SHARE`] rows from `first` on with the columns of this turn; gives
/// back the sum of the squares of `x` there. For formats that take `x` from where it is.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube]
fn multiply<W: Size>(
    words: &[Vector<u32, W>],
    x: &[Vector<f32, Const<4>>],
    gamma: &[Vector<f32, Const<4>>],
    sums: &mut Array<f32>,
    first: u32,
    rows: u32,
    width: u32,
    turn: u32,
    #[comptime] normed: bool,
    #[comptime] format: Format,
) -> f32 {
    let step = comptime!(columns(format));
    let quads = comptime!((step / 4) as usize);
    let column = turn * step;
    let mut square = 0.0f32;
    let mut near = Array::<Vector<f32, Const<4>>>::new(quads);
    #[unroll]
    for quad in 0..quads {
        let at = (column >> 2u32) as usize + quad;
        let value = x[at];
        if comptime!(normed) {
            square += sum4(value * value);
            near[quad] = value * gamma[at];
        } else {
            near[quad] = value;
        }
    }
    if comptime!(matches!(format, Format::F32 | Format::F16 | Format::BF16)) {
        #[unroll]
        for r in 0..SHARE {
            let row = min(first + r, rows - 1u32);
            let at = (row * width + column) / comptime!(per_word(format));
            let mut sum = Vector::<f32, Const<4>>::new(0.0f32);
            #[unroll]
            for quad in 0..quads {
                sum += plain_wide::<W>(words, at, quad, format) * near[quad];
            }
            sums[r as usize] += sum4(sum);
        }
    } else {
        let i = column % comptime!(format.block() as u32);
        let mut all = Vector::<f32, Const<4>>::new(0.0f32);
        if comptime!(has_offset(format)) {
            #[unroll]
            for quad in 0..quads {
                all += near[quad];
            }
        }
        let all = sum4(all);
        #[unroll]
        for r in 0..SHARE {
            let row = min(first + r, rows - 1u32);
            let (base, head) = block_at(row, column, rows, width, format);
            let (scale, offset) = scales::<W>(words, head, i >> 4u32, format);
            let mut bits = Array::<u32>::new(4usize);
            run_bits::<W>(words, base, i, &mut bits, format);
            let mut sum = Vector::<f32, Const<4>>::new(0.0f32);
            #[unroll]
            for quad in 0..4usize {
                sum += levels::<Const<4>>(bits[quad], format) * near[quad];
            }
            sums[r as usize] += scale * sum4(sum);
            if comptime!(has_offset(format)) {
                sums[r as usize] += offset * all;
            }
        }
    }
    square
}

/// As [`multiply`] for Q4_K, with the numbers of `x` in `near` from `here` on.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube]
fn meet_staged<W: Size>(
    words: &[Vector<u32, W>],
    near: &Shared<[Vector<f32, Const<4>>]>,
    here: u32,
    sums: &mut Array<f32>,
    first: u32,
    rows: u32,
    width: u32,
    turn: u32,
) {
    let here = here as usize;
    // All that comes from far away is asked for before any of it is needed.
    let mut heads = Array::<Vector<u32, W>>::new(comptime!(SHARE as usize));
    let mut bits = Array::<Vector<u32, W>>::new(comptime!(2 * SHARE as usize));
    let chunk = turn & 3u32;
    #[unroll]
    for r in 0..SHARE {
        let row = min(first + r, rows - 1u32);
        let block = (row * (width >> 8u32) + (turn >> 2u32)) * 9u32;
        heads[r as usize] = words[block as usize];
        #[unroll]
        for half in 0..2u32 {
            let at = block + 1u32 + chunk * 2u32 + half;
            bits[comptime!((2 * r + half) as usize)] = words[at as usize];
        }
    }
    // Two scales: one of the low nibbles of 32 bytes, one of the high ones.
    let mut low = Vector::<f32, Const<4>>::new(0.0f32);
    let mut high = Vector::<f32, Const<4>>::new(0.0f32);
    #[unroll]
    for quad in 0..8usize {
        low += near[here + quad];
        high += near[here + comptime!(quad + 8)];
    }
    let low = sum4(low);
    let high = sum4(high);
    #[unroll]
    for r in 0..SHARE {
        let head = heads[r as usize];
        let (scale, least) = k_scale::<W>(head, chunk * 2u32);
        let (scale_high, least_high) = k_scale::<W>(head, chunk * 2u32 + 1u32);
        let mut sum = Vector::<f32, Const<4>>::new(0.0f32);
        let mut sum_high = Vector::<f32, Const<4>>::new(0.0f32);
        #[unroll]
        for half in 0..2usize {
            let bits = bits[comptime!(2 * r as usize + half)];
            #[unroll]
            for word in 0..4usize {
                let quad = comptime!(half * 4 + word);
                let both = bits.extract(word);
                sum += lifted(both, false) * near[here + quad];
                sum_high += lifted(both, true) * near[here + comptime!(quad + 8)];
            }
        }
        let (scale, scale_high) = (scale * 16.0f32, scale_high * 16.0f32);
        sums[r as usize] += (scale * sum4(sum) - (scale + least) * low)
            + (scale_high * sum4(sum_high) - (scale_high + least_high) * high);
    }
}

#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[allow(
    clippy::collapsible_if,
    clippy::if_same_then_else,
    reason = "what is known when a kernel is compiled is asked by itself"
)]
#[cube(launch_unchecked)]
fn products<W: Size>(
    x: &[Vector<f32, Const<4>>],
    gamma: &[Vector<f32, Const<4>>],
    add: &[f32],
    first_words: &[Vector<u32, W>],
    second_words: &[Vector<u32, W>],
    third_words: &[Vector<u32, W>],
    out: &mut [f32],
    at: u32,
    first_rows: u32,
    second_rows: u32,
    third_rows: u32,
    width: u32,
    eps: f32,
    #[comptime] count: u32,
    #[comptime] normed: bool,
    #[comptime] added: bool,
    #[comptime] lanes: u32,
    #[comptime] plane: bool,
    #[comptime] format: Format,
) {
    let lane = UNIT_POS_X % lanes;
    let group = UNIT_POS_X / lanes;
    let per_cube = comptime!(UNITS / lanes * SHARE);
    let cube = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    let mut sums = Array::<f32>::new(comptime!(SHARE as usize));
    #[unroll]
    for r in 0..SHARE {
        sums[r as usize] = 0.0f32;
    }
    let first_cubes = first_rows.div_ceil(per_cube);
    let second_cubes = second_rows.div_ceil(per_cube);
    // Where the matrix begins in `out`, how many rows it has, and the first of this group.
    let mut start = 0u32;
    let mut rows = first_rows;
    let mut own = cube;
    if comptime!(count > 1) {
        if cube >= first_cubes {
            start = first_rows;
            rows = second_rows;
            own = cube - first_cubes;
        }
    }
    if comptime!(count > 2) {
        if cube >= first_cubes + second_cubes {
            start = first_rows + second_rows;
            rows = third_rows;
            own = cube - first_cubes - second_cubes;
        }
    }
    let row = own * per_cube + group * SHARE;
    let mut square = Array::<f32>::new(1usize);
    square[0] = 0.0f32;
    let turns = width / comptime!(columns(format));
    if comptime!(is_staged(format)) {
        let mut near = Shared::<[Vector<f32, Const<4>>]>::new_slice(comptime!(
            staged(lanes, format) as usize / 4
        ));
        let here = lane * comptime!(columns(format) / 4 + 1);
        let mut turn = 0u32;
        while turn < turns {
            // What the turn before has read is overwritten.
            sync_cube();
            square[0] += stage(x, gamma, &mut near, turn, width, normed, lanes, format);
            sync_cube();
            let own = turn + lane;
            if own < turns {
                if comptime!(count == 1) {
                    meet_staged::<W>(first_words, &near, here, &mut sums, row, rows, width, own);
                } else if cube < first_cubes {
                    meet_staged::<W>(first_words, &near, here, &mut sums, row, rows, width, own);
                } else if cube < first_cubes + second_cubes {
                    meet_staged::<W>(second_words, &near, here, &mut sums, row, rows, width, own);
                } else {
                    meet_staged::<W>(third_words, &near, here, &mut sums, row, rows, width, own);
                }
            }
            turn += lanes;
        }
    } else {
        let mut turn = lane;
        while turn < turns {
            if comptime!(count == 1) {
                square[0] += multiply::<W>(
                    first_words,
                    x,
                    gamma,
                    &mut sums,
                    row,
                    rows,
                    width,
                    turn,
                    normed,
                    format,
                );
            } else if cube < first_cubes {
                square[0] += multiply::<W>(
                    first_words,
                    x,
                    gamma,
                    &mut sums,
                    row,
                    rows,
                    width,
                    turn,
                    normed,
                    format,
                );
            } else if cube < first_cubes + second_cubes {
                square[0] += multiply::<W>(
                    second_words,
                    x,
                    gamma,
                    &mut sums,
                    row,
                    rows,
                    width,
                    turn,
                    normed,
                    format,
                );
            } else {
                square[0] += multiply::<W>(
                    third_words,
                    x,
                    gamma,
                    &mut sums,
                    row,
                    rows,
                    width,
                    turn,
                    normed,
                    format,
                );
            }
            turn += lanes;
        }
    }
    gather(&mut sums, SHARE, lanes, UNITS, plane);
    let mut factor = 1.0f32;
    if comptime!(normed) {
        // Units of the whole cube have put `x` to shared memory, or those of each group have seen it.
        let lanes = comptime!(if is_staged(format) { UNITS } else { lanes });
        gather(&mut square, 1u32, lanes, UNITS, plane);
        let mean = square[0] / f32::cast_from(width);
        factor = 1.0f32 / f32::sqrt(mean + eps);
    }
    #[unroll]
    for r in 0..SHARE {
        if lane == r && row + r < rows {
            let at = (at + start + row + r) as usize;
            let mut value = sums[r as usize] * factor;
            if comptime!(added) {
                value += add[at];
            }
            out[at] = value;
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn gates<W: Size>(
    x: &[Vector<f32, Const<4>>],
    gamma: &[Vector<f32, Const<4>>],
    gate: &[Vector<u32, W>],
    up: &[Vector<u32, W>],
    out: &mut [f32],
    rows: u32,
    width: u32,
    eps: f32,
    #[comptime] kind: u32,
    #[comptime] normed: bool,
    #[comptime] lanes: u32,
    #[comptime] plane: bool,
    #[comptime] format: Format,
) {
    let lane = UNIT_POS_X % lanes;
    let group = UNIT_POS_X / lanes;
    let cube = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    let row = (cube * comptime!(UNITS / lanes) + group) * SHARE;
    let mut sums = Array::<f32>::new(comptime!(SHARE as usize));
    let mut ups = Array::<f32>::new(comptime!(SHARE as usize));
    #[unroll]
    for r in 0..SHARE {
        sums[r as usize] = 0.0f32;
        ups[r as usize] = 0.0f32;
    }
    let mut square = Array::<f32>::new(1usize);
    square[0] = 0.0f32;
    let turns = width / comptime!(columns(format));
    if comptime!(is_staged(format)) {
        let mut near = Shared::<[Vector<f32, Const<4>>]>::new_slice(comptime!(
            staged(lanes, format) as usize / 4
        ));
        let here = lane * comptime!(columns(format) / 4 + 1);
        let mut turn = 0u32;
        while turn < turns {
            sync_cube();
            square[0] += stage(x, gamma, &mut near, turn, width, normed, lanes, format);
            sync_cube();
            let own = turn + lane;
            if own < turns {
                meet_staged::<W>(gate, &near, here, &mut sums, row, rows, width, own);
                meet_staged::<W>(up, &near, here, &mut ups, row, rows, width, own);
            }
            turn += lanes;
        }
    } else {
        let mut turn = lane;
        while turn < turns {
            square[0] +=
                multiply::<W>(gate, x, gamma, &mut sums, row, rows, width, turn, normed, format);
            multiply::<W>(up, x, gamma, &mut ups, row, rows, width, turn, normed, format);
            turn += lanes;
        }
    }
    gather(&mut sums, SHARE, lanes, UNITS, plane);
    gather(&mut ups, SHARE, lanes, UNITS, plane);
    let mut factor = 1.0f32;
    if comptime!(normed) {
        // Units of the whole cube have put `x` to shared memory, or those of each group have seen it.
        let lanes = comptime!(if is_staged(format) { UNITS } else { lanes });
        gather(&mut square, 1u32, lanes, UNITS, plane);
        let mean = square[0] / f32::cast_from(width);
        factor = 1.0f32 / f32::sqrt(mean + eps);
    }
    #[unroll]
    for r in 0..SHARE {
        if lane == r && row + r < rows {
            out[(row + r) as usize] =
                activated(sums[r as usize] * factor, kind) * (ups[r as usize] * factor);
        }
    }
}
