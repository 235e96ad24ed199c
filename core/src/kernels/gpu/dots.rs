//! GEMV by dot products of bytes: one row of floats times packed rows, a step of decoding on a device
//! that multiplies and adds four bytes in one instruction.
//!
//! `x` becomes integers of 16 bits, with a scale to each 64 of them, and each integer two bytes,
//! `256 h + l`. The weights are small integers times a scale: so they are never made floats, which
//! would cost more than to read them. What is lost is 1/65,000 of the largest of the 64.
//!
//! A unit has its columns of `x` for all its rows. It asks for the first rows before it makes
//! integers, and for the next before it adds up those it has: reading waits less. To have
//! two sets of rows at once cost more than it gave, since fewer units fit.

use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::TypeUsage;
use cubecl::ir::{ElemType, IntKind};
use cubecl::prelude::*;

use super::between::{activated, number};
use super::cubes;
use super::decode::{
    bias, block_at, halves, has_offset, is_plain, k_scale, pair, run_bits, scales,
};
use super::words::{Rms, Words, gather, planes, sum4};
use crate::kernels::cpu::Activation;
use crate::quant::Format;

/// Columns of a unit.
const COLUMNS: u32 = 64;

/// Packed rows that a unit has at once: with four, fewer units fit, and a 7B made 206 tokens a second
/// in place of 260 on an H200.
const SLOTS: u32 = 2;

/// The least units of a cube.
const UNITS: u32 = 128;

/// The most units that take turns at the columns of the same rows.
const LANES: u32 = 256;

/// Units in flight that keep a large GPU's memory busy.
const BUSY: usize = 1 << 16;

/// What integers of `x` go up to: their bytes must stay bytes when they are rounded.
const LARGEST: f32 = 32512.0;

/// Whether the device has such products, and rows of this format and width are made of them.
pub(super) fn fits(like: &CubeTensor, format: Format, width: usize) -> bool {
    let device = like.client.properties();
    let all = [ElemType::Int(IntKind::I8), ElemType::Int(IntKind::I16)];
    let has = |elem| device.features.type_usage(elem).contains(TypeUsage::Conversion);
    takes(format, width) && all.into_iter().all(has)
}

/// Whether rows of this format and width are made of what units take.
pub(super) fn takes(format: Format, width: usize) -> bool {
    !is_plain(format) && width.is_multiple_of(COLUMNS as usize)
}

/// Words that a kernel reads at once.
fn wide(format: Format) -> usize {
    if matches!(format, Format::Q4_K | Format::Q8_0) { 4 } else { 1 }
}

/// Reads that hold [`COLUMNS`] weights.
fn raw(format: Format) -> u32 {
    match format {
        Format::Q4_K => 3,
        Format::Q8_0 => 5,
        // Four runs of 16 weights in four words, then their scales and offsets.
        _ => 24,
    }
}

/// The rows of up to three matrices of one format and width times `x`, into `out` from number `start`
/// on; as `gemv::project`.
pub(super) fn project(
    x: &CubeTensor,
    matrices: &[&Words],
    norm: Option<&Rms<'_>>,
    add: Option<&CubeTensor>,
    out: &CubeTensor,
    start: usize,
) {
    launch(x, matrices, norm, add, out, start, None);
}

/// `activation(gate x) * (up x)`; as `gemv::gated`.
pub(super) fn gated(
    x: &CubeTensor,
    matrices: [&Words; 2],
    norm: Option<&Rms<'_>>,
    kind: Activation,
    out: &CubeTensor,
) {
    launch(x, &matrices, norm, None, out, 0, Some(kind));
}

fn launch(
    x: &CubeTensor,
    matrices: &[&Words],
    norm: Option<&Rms<'_>>,
    add: Option<&CubeTensor>,
    out: &CubeTensor,
    start: usize,
    gate: Option<Activation>,
) {
    let (Some(first), Some(last)) = (matrices.first(), matrices.last()) else { return };
    let (format, width) = (first.format, first.width);
    debug_assert!(matrices.len() <= 3 && takes(format, width));
    let plane = planes(x);
    let turns = (width as u32).div_ceil(COLUMNS);
    let lanes = match plane {
        true => turns.next_multiple_of(32),
        false => turns.next_power_of_two().max(32),
    };
    let lanes = lanes.min(LANES);
    let groups = (UNITS / lanes).max(1);
    // With a gate each row is one of both matrices, and they are taken in turns.
    let share = if gate.is_some() { SLOTS / 2 } else { SLOTS };
    let count = if gate.is_some() { 1 } else { matrices.len() };
    let rows = [0, 1, 2].map(|i| matrices[..count].get(i).map_or(0, |matrix| matrix.rows));
    let total: usize = rows.iter().sum();
    let steps = total.div_ceil(share as usize).div_ceil(BUSY / lanes as usize).max(1);
    let per_cube = (groups * share) as usize * steps;
    let cube_count = rows.iter().map(|rows| rows.div_ceil(per_cube)).sum();
    let words = |i: usize| matrices.get(i).unwrap_or(last).words.clone().into_buffer_arg();
    // SAFETY: the kernel keeps rows below those of their matrix and columns below `width`, and the
    // buffers hold as many.
    unsafe {
        products::launch_unchecked(
            &x.client,
            cubes(cube_count, 1),
            CubeDim::new_1d(lanes * groups),
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
            steps as u32,
            norm.map_or(0.0, |norm| norm.eps),
            count as u32,
            gate.map(number),
            norm.is_some(),
            add.is_some(),
            lanes,
            groups,
            turns <= lanes,
            plane,
            format,
        );
    }
}

/// The numbers of `x` of this turn as integers, four in a word: their high bytes and their low ones,
/// and the sum of each 16. Gives back their scale and the sum of the squares of `x`.
#[cube]
fn split(
    x: &[Vector<f32, Const<4>>],
    gamma: &[Vector<f32, Const<4>>],
    turn: u32,
    high: &mut Array<i32>,
    low: &mut Array<i32>,
    sums: &mut Array<f32>,
    #[comptime] normed: bool,
) -> (f32, f32) {
    let mut values = Array::<Vector<f32, Const<4>>>::new(16usize);
    let mut most = Vector::<f32, Const<4>>::new(0.0f32);
    let mut squares = Vector::<f32, Const<4>>::new(0.0f32);
    let mut all = Vector::<f32, Const<4>>::new(0.0f32);
    #[unroll]
    for quad in 0..16usize {
        let at = turn as usize * 16usize + quad;
        let mut value = x[at];
        if comptime!(normed) {
            squares += value * value;
            value *= gamma[at];
        }
        most = max(most, value.abs());
        all += value;
        values[quad] = value;
    }
    let most = max(
        max(most.extract(0usize), most.extract(1usize)),
        max(most.extract(2usize), most.extract(3usize)),
    );
    let inverse = select(most > 0.0f32, comptime!(LARGEST) / most, 0.0f32);
    #[unroll]
    for run in 0..4usize {
        let mut sum = 0i32;
        #[unroll]
        for word in 0..4usize {
            let quad = comptime!(run * 4 + word);
            let value = values[quad] * Vector::<f32, Const<4>>::new(inverse);
            let mut ups = 0u32;
            let mut downs = 0u32;
            #[unroll]
            for e in 0..4usize {
                // 1.5 * 2^23: the sum's last bits are the nearest integer.
                let n = u32::reinterpret(value.extract(e) + 12_582_912.0f32) - 0x4b40_0000u32;
                sum += i32::reinterpret(n);
                let shift = comptime!(e as u32 * 8);
                ups |= (((n + 128u32) >> 8u32) & 0xffu32) << shift;
                downs |= (n & 0xffu32) << shift;
            }
            high[quad] = i32::reinterpret(ups);
            low[quad] = i32::reinterpret(downs);
        }
        sums[run] = f32::cast_from(sum);
    }
    // What is no number, or not finite, has no integer: then sums are no numbers. Asked of its bits,
    // since compilers take comparisons to be of numbers.
    let exponent = u32::reinterpret(sum4(all)) & 0x7f80_0000u32;
    let scale = u32::reinterpret(most / comptime!(LARGEST));
    let scale = f32::reinterpret(select(exponent == 0x7f80_0000u32, 0x7fc0_0000u32, scale));
    (scale, sum4(squares))
}

/// The [`COLUMNS`] weights of a turn of a row to where slot `slot` of `bits` begins.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube]
fn load<W: Size>(
    words: &[Vector<u32, W>],
    bits: &mut Array<Vector<u32, W>>,
    row: u32,
    rows: u32,
    width: u32,
    turn: u32,
    #[comptime] slot: u32,
    #[comptime] format: Format,
) {
    let to = comptime!((slot * raw(format)) as usize);
    let row = min(row, rows - 1u32);
    if comptime!(format == Format::Q4_K) {
        let block = (row * (width >> 8u32) + (turn >> 2u32)) * 9u32;
        let at = block + 1u32 + (turn & 3u32) * 2u32;
        bits[to] = words[block as usize];
        bits[comptime!(to + 1)] = words[at as usize];
        bits[comptime!(to + 2)] = words[(at + 1u32) as usize];
    } else if comptime!(format == Format::Q8_0) {
        let at = (row * width + turn * comptime!(COLUMNS)) >> 4u32;
        #[unroll]
        for i in 0..4usize {
            bits[comptime!(to + i)] = words[at as usize + i];
        }
        let scales = pair(row, rows, width) + turn;
        bits[comptime!(to + 4)] = words[(scales >> 2u32) as usize];
    } else {
        let block = comptime!(format.block() as u32);
        #[unroll]
        for run in 0..4u32 {
            let column = turn * comptime!(COLUMNS) + comptime!(run * 16);
            let (base, head) = block_at(row, column, rows, width, format);
            let i = column % block;
            let (scale, offset) = scales::<W>(words, head, i >> 4u32, format);
            let mut four = Array::<u32>::new(4usize);
            run_bits::<W>(words, base, i, &mut four, format);
            let run = comptime!(run as usize);
            #[unroll]
            for word in 0..4usize {
                bits[comptime!(to + run * 4 + word)] = Vector::<u32, W>::new(four[word]);
            }
            bits[comptime!(to + 16 + run)] = Vector::<u32, W>::new(u32::reinterpret(scale));
            bits[comptime!(to + 20 + run)] = Vector::<u32, W>::new(u32::reinterpret(offset));
        }
    }
}

/// The sum over the weights in slot `slot` times the integers of `x`.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube]
fn dot<W: Size>(
    bits: &Array<Vector<u32, W>>,
    high: &Array<i32>,
    low: &Array<i32>,
    sums: &Array<f32>,
    row: u32,
    rows: u32,
    width: u32,
    turn: u32,
    #[comptime] slot: u32,
    #[comptime] format: Format,
) -> f32 {
    let from = comptime!((slot * raw(format)) as usize);
    let mut sum = 0.0f32;
    if comptime!(format == Format::Q4_K) {
        let head = bits[from];
        #[unroll]
        for side in 0..2usize {
            let mut ups = 0i32;
            let mut downs = 0i32;
            #[unroll]
            for word in 0..8usize {
                let both = bits[comptime!(from + 1 + word / 4)].extract(comptime!(word % 4));
                let four = i32::reinterpret((both >> comptime!(side as u32 * 4)) & 0x0f0f_0f0fu32);
                ups = dp4a(four, high[comptime!(side * 8 + word)], ups);
                downs = dp4a(four, low[comptime!(side * 8 + word)], downs);
            }
            let (scale, least) = k_scale::<W>(head, (turn & 3u32) * 2u32 + comptime!(side as u32));
            sum += scale * f32::cast_from(ups * 256i32 + downs)
                - least * (sums[comptime!(side * 2)] + sums[comptime!(side * 2 + 1)]);
        }
    } else if comptime!(format == Format::Q8_0) {
        let (first, second) =
            of_pair::<W>(bits[comptime!(from + 4)], (pair(row, rows, width) + turn) & 3u32);
        #[unroll]
        for side in 0..2usize {
            let mut ups = 0i32;
            let mut downs = 0i32;
            #[unroll]
            for word in 0..8usize {
                let four = bits[comptime!(from + side * 2 + word / 4)];
                let four = i32::reinterpret(four.extract(comptime!(word % 4)));
                ups = dp4a(four, high[comptime!(side * 8 + word)], ups);
                downs = dp4a(four, low[comptime!(side * 8 + word)], downs);
            }
            let scale = if comptime!(side == 0) { first } else { second };
            sum += scale * f32::cast_from(ups * 256i32 + downs);
        }
    } else {
        let bias = comptime!(bias(format) as f32);
        #[unroll]
        for run in 0..4usize {
            let mut ups = 0i32;
            let mut downs = 0i32;
            #[unroll]
            for word in 0..4usize {
                let four = bits[comptime!(from + run * 4 + word)].extract(0usize);
                let four = i32::reinterpret(four);
                ups = dp4a(four, high[comptime!(run * 4 + word)], ups);
                downs = dp4a(four, low[comptime!(run * 4 + word)], downs);
            }
            let scale = f32::reinterpret(bits[comptime!(from + 16 + run)].extract(0usize));
            sum += scale * (f32::cast_from(ups * 256i32 + downs) - bias * sums[run]);
            if comptime!(has_offset(format)) {
                let offset = f32::reinterpret(bits[comptime!(from + 20 + run)].extract(0usize));
                sum += offset * sums[run];
            }
        }
    }
    sum
}

/// The two floats of the word `lane` of four.
#[cube]
fn of_pair<W: Size>(four: Vector<u32, W>, lane: u32) -> (f32, f32) {
    let low = select(lane == 0u32, four.extract(0usize), four.extract(1usize));
    let high = select(lane == 2u32, four.extract(2usize), four.extract(3usize));
    halves(select(lane < 2u32, low, high))
}

/// [`load`] of all slots: rows from `row` on of the cube's matrix, or of both with a gate.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[allow(
    clippy::if_same_then_else,
    reason = "what is known when a kernel is compiled is asked by itself"
)]
#[cube]
fn load_all<W: Size>(
    first: &[Vector<u32, W>],
    second: &[Vector<u32, W>],
    third: &[Vector<u32, W>],
    bits: &mut Array<Vector<u32, W>>,
    which: u32,
    row: u32,
    rows: u32,
    width: u32,
    turn: u32,
    #[comptime] count: u32,
    #[comptime] gates: bool,
    #[comptime] format: Format,
) {
    #[unroll]
    for slot in 0..SLOTS {
        if comptime!(gates) {
            let row = row + comptime!(slot / 2);
            if comptime!(slot % 2 == 0) {
                load::<W>(first, bits, row, rows, width, turn, slot, format);
            } else {
                load::<W>(second, bits, row, rows, width, turn, slot, format);
            }
        } else if comptime!(count == 1) {
            load::<W>(first, bits, row + slot, rows, width, turn, slot, format);
        } else if which == 0u32 {
            load::<W>(first, bits, row + slot, rows, width, turn, slot, format);
        } else if which == 1u32 {
            load::<W>(second, bits, row + slot, rows, width, turn, slot, format);
        } else {
            load::<W>(third, bits, row + slot, rows, width, turn, slot, format);
        }
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
    steps: u32,
    eps: f32,
    #[comptime] count: u32,
    #[comptime] kind: Option<u32>,
    #[comptime] normed: bool,
    #[comptime] added: bool,
    #[comptime] lanes: u32,
    #[comptime] groups: u32,
    #[comptime] once: bool,
    #[comptime] plane: bool,
    #[comptime] format: Format,
) {
    let lane = UNIT_POS_X % lanes;
    let group = UNIT_POS_X / lanes;
    let gates = comptime!(kind.is_some());
    let share = comptime!(if gates { SLOTS / 2 } else { SLOTS });
    let units = comptime!(lanes * groups);
    let per_cube = comptime!(groups * share) * steps;
    let cube = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    let first_cubes = first_rows.div_ceil(per_cube);
    let second_cubes = second_rows.div_ceil(per_cube);
    // The cube's matrix: where it begins in `out`, how many rows it has, and which of its cubes
    // this is.
    let mut which = 0u32;
    let mut start = 0u32;
    let mut rows = first_rows;
    let mut own = cube;
    if comptime!(count > 1) {
        if cube >= first_cubes {
            which = 1u32;
            start = first_rows;
            rows = second_rows;
            own = cube - first_cubes;
        }
    }
    if comptime!(count > 2) {
        if cube >= first_cubes + second_cubes {
            which = 2u32;
            start = first_rows + second_rows;
            rows = third_rows;
            own = cube - first_cubes - second_cubes;
        }
    }
    let first_row = own * per_cube + group * share;

    let turns = width / comptime!(COLUMNS);
    let size = comptime!((SLOTS * raw(format)) as usize);
    let mut high = Array::<i32>::new(16usize);
    let mut low = Array::<i32>::new(16usize);
    let mut runs = Array::<f32>::new(4usize);
    let mut scale = 0.0f32;
    let mut square = Array::<f32>::new(1usize);
    square[0] = 0.0f32;
    let mut factor = 1.0f32;
    let mut bits = Array::<Vector<u32, W>>::new(size);
    let turn = min(lane, turns - 1u32);
    if comptime!(once) {
        load_all::<W>(
            first_words,
            second_words,
            third_words,
            &mut bits,
            which,
            first_row,
            rows,
            width,
            turn,
            count,
            gates,
            format,
        );
        let (own_scale, own_square) = split(x, gamma, turn, &mut high, &mut low, &mut runs, normed);
        // Units past the end have repeated the last one's turn.
        scale = select(lane < turns, own_scale, 0.0f32);
        if comptime!(normed) {
            square[0] = select(lane < turns, own_square, 0.0f32);
            gather(&mut square, 1u32, lanes, units, plane);
            factor = 1.0f32 / f32::sqrt(square[0] / f32::cast_from(width) + eps);
        }
    }

    for step in 0..steps {
        let row = first_row + step * comptime!(groups * share);
        let mut sums = Array::<f32>::new(comptime!(SLOTS as usize));
        #[unroll]
        for slot in 0..SLOTS {
            sums[slot as usize] = 0.0f32;
        }
        if comptime!(once) {
            #[unroll]
            for slot in 0..SLOTS {
                let row = min(row + comptime!(if gates { slot / 2 } else { slot }), rows - 1u32);
                sums[slot as usize] = scale
                    * dot::<W>(&bits, &high, &low, &runs, row, rows, width, turn, slot, format);
            }
            if step + 1u32 < steps {
                load_all::<W>(
                    first_words,
                    second_words,
                    third_words,
                    &mut bits,
                    which,
                    row + comptime!(groups * share),
                    rows,
                    width,
                    turn,
                    count,
                    gates,
                    format,
                );
            }
        } else {
            square[0] = 0.0f32;
            let mut turn = lane;
            while turn < turns {
                load_all::<W>(
                    first_words,
                    second_words,
                    third_words,
                    &mut bits,
                    which,
                    row,
                    rows,
                    width,
                    turn,
                    count,
                    gates,
                    format,
                );
                let (own_scale, own_square) =
                    split(x, gamma, turn, &mut high, &mut low, &mut runs, normed);
                square[0] += own_square;
                #[unroll]
                for slot in 0..SLOTS {
                    let row =
                        min(row + comptime!(if gates { slot / 2 } else { slot }), rows - 1u32);
                    sums[slot as usize] += own_scale
                        * dot::<W>(&bits, &high, &low, &runs, row, rows, width, turn, slot, format);
                }
                turn += lanes;
            }
            if comptime!(normed) {
                gather(&mut square, 1u32, lanes, units, plane);
                factor = 1.0f32 / f32::sqrt(square[0] / f32::cast_from(width) + eps);
            }
        }
        gather(&mut sums, SLOTS, lanes, units, plane);
        #[unroll]
        for r in 0..share {
            let row = row + r;
            if lane == r && row < rows {
                let at = (at + start + row) as usize;
                let mut value = if comptime!(gates) {
                    let up = sums[comptime!((r * 2 + 1) as usize)] * factor;
                    let gate = sums[comptime!((r * 2) as usize)] * factor;
                    activated(gate, comptime!(kind.unwrap_or(0))) * up
                } else {
                    sums[r as usize] * factor
                };
                if comptime!(added) {
                    value += add[at];
                }
                out[at] = value;
            }
        }
    }
}
