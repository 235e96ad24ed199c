//! What stands between the products: norms, activations, rotations, pooling, each one launch.

use burn::backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{cubes, empty, empty_of};
use crate::kernels::cpu::Activation;

/// Units of a cube of [`norm_rows`].
const UNITS: u32 = 64;

/// Units of a cube of the kernels that compute each number by itself.
const WIDE: u32 = 256;

/// A normalization of rows.
pub(crate) struct NormArgs<'a> {
    /// Whether the mean is taken away (layer norm) or not (root mean square).
    pub centered: bool,
    /// Added to the mean square.
    pub eps: f32,
    /// Scale, `[D]`.
    pub gamma: &'a CubeTensor,
    /// Shift, `[D]`.
    pub beta: Option<&'a CubeTensor>,
    /// Added after, `[rows, D]`.
    pub add: Option<&'a CubeTensor>,
}

/// Normalizes `x [rows, D]`, contiguous.
pub(crate) fn norm(norm: &NormArgs<'_>, x: &CubeTensor, rows: usize, width: usize) -> CubeTensor {
    let out = empty(x, [rows, width]);
    if rows * width == 0 {
        return out;
    }
    let beta = norm.beta.unwrap_or(norm.gamma);
    // SAFETY: rows are below `rows` and columns below `width`, and the buffers hold as many.
    unsafe {
        norm_rows::launch_unchecked(
            &x.client,
            cubes(rows, 1),
            CubeDim::new_1d(UNITS),
            x.clone().into_buffer_arg(),
            norm.gamma.clone().into_buffer_arg(),
            beta.clone().into_buffer_arg(),
            norm.add.unwrap_or(x).clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            rows as u32,
            width as u32,
            norm.eps,
            norm.centered,
            norm.beta.is_some(),
            norm.add.is_some(),
        );
    }
    out
}

/// Rows `x [rows, width]`, contiguous, divided by their lengths, or by `least` if they are shorter.
pub(crate) fn unit_rows(x: &CubeTensor, least: f32, [rows, width]: [usize; 2]) -> CubeTensor {
    let out = empty(x, [rows, width]);
    if rows * width > 0 {
        // SAFETY: rows are below `rows` and columns below `width`, and both buffers hold as many.
        unsafe {
            shortened::launch_unchecked(
                &x.client,
                cubes(rows, 1),
                CubeDim::new_1d(UNITS),
                x.clone().into_buffer_arg(),
                out.clone().into_buffer_arg(),
                rows as u32,
                width as u32,
                least,
            );
        }
    }
    out
}

/// What [`norm_of_sum`] gives, as it was asked for.
#[derive(Default)]
pub(crate) struct Normed {
    /// The sum.
    pub sum: Option<CubeTensor>,
    /// The norm of it.
    pub floats: Option<CubeTensor>,
    /// The same in 16-bit floats.
    pub halves: Option<CubeTensor>,
}

/// What is asked of [`norm_of_sum`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub sum: bool,
    pub floats: bool,
    pub halves: bool,
}

/// Normalizes `x + y + bias` in one launch: `x [rows, width]`, `y` of the same shape if it is there,
/// `bias [width]` if it is; what `norm` would add after is not.
pub(crate) fn norm_of_sum(
    norm: &NormArgs<'_>,
    x: &CubeTensor,
    y: Option<&CubeTensor>,
    bias: Option<&CubeTensor>,
    asked: Asked,
    [rows, width]: [usize; 2],
) -> Normed {
    // A buffer that a kernel does not write must still be no other that it reads.
    let floats = |wanted: bool| empty(x, if wanted { [rows, width] } else { [1, 1] });
    let (sum, out) = (floats(asked.sum), floats(asked.floats));
    let halves = match asked.halves {
        true => empty_of(x, [rows, width], DType::F16),
        false => empty(x, [1, 1]),
    };
    if rows * width > 0 {
        let launch = match asked.halves {
            true => sum_rows::launch_unchecked::<half::f16>,
            false => sum_rows::launch_unchecked::<f32>,
        };
        // SAFETY: rows are below `rows` and columns below `width`, and the buffers that are read and
        // written hold as many.
        unsafe {
            launch(
                &x.client,
                cubes(rows, 1),
                CubeDim::new_1d(UNITS),
                x.clone().into_buffer_arg(),
                y.unwrap_or(x).clone().into_buffer_arg(),
                bias.unwrap_or(norm.gamma).clone().into_buffer_arg(),
                norm.gamma.clone().into_buffer_arg(),
                norm.beta.unwrap_or(norm.gamma).clone().into_buffer_arg(),
                sum.clone().into_buffer_arg(),
                out.clone().into_buffer_arg(),
                halves.clone().into_buffer_arg(),
                rows as u32,
                width as u32,
                norm.eps,
                Parts {
                    centered: norm.centered,
                    shifted: norm.beta.is_some(),
                    added: y.is_some(),
                    biased: bias.is_some(),
                    sum: asked.sum,
                    floats: asked.floats,
                    halves: asked.halves,
                },
            );
        }
    }
    Normed {
        sum: asked.sum.then_some(sum),
        floats: asked.floats.then_some(out),
        halves: asked.halves.then_some(halves),
    }
}

/// `activation(x)`, or `activation(x) * up` of as many numbers.
pub(crate) fn gate(kind: Activation, x: &CubeTensor, up: Option<&CubeTensor>) -> CubeTensor {
    let count = x.meta.num_elements();
    gate_rows(kind, x, up, None, DType::F32, [1, count])
}

/// [`gate`] of `x + bias` by rows, in floats or, to be multiplied in them, in 16 bits.
pub(crate) fn gate_rows(
    kind: Activation,
    x: &CubeTensor,
    up: Option<&CubeTensor>,
    bias: Option<&CubeTensor>,
    dtype: DType,
    [rows, width]: [usize; 2],
) -> CubeTensor {
    let count = rows * width;
    let out = empty_of(x, [rows, width], dtype);
    if count == 0 {
        return out;
    }
    let launch = match dtype {
        DType::F16 => gated::launch_unchecked::<half::f16>,
        _ => gated::launch_unchecked::<f32>,
    };
    // SAFETY: each unit reads and writes one number below `count`, and of the bias one below `width`.
    unsafe {
        launch(
            &x.client,
            cubes(count.div_ceil(WIDE as usize), 1),
            CubeDim::new_1d(WIDE),
            x.clone().into_buffer_arg(),
            up.unwrap_or(x).clone().into_buffer_arg(),
            bias.unwrap_or(x).clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count as u32,
            width as u32,
            number(kind),
            up.is_some(),
            bias.is_some(),
        );
    }
    out
}

/// The activation as a kernel is compiled for it.
pub(super) fn number(kind: Activation) -> u32 {
    match kind {
        Activation::Gelu => 0,
        Activation::GeluTanh => 1,
        Activation::Relu => 2,
        Activation::Silu => 3,
        Activation::Tanh => 4,
    }
}

/// The angles by which heads are rotated.
pub(crate) struct Rotation<'a> {
    /// `[T, half]`
    pub cos: &'a CubeTensor,
    /// `[T, half]`
    pub sin: &'a CubeTensor,
    /// Places (T), or those of all sequences where each has its own; rows beyond start anew.
    pub tokens: usize,
    /// Pairs of a head that are rotated.
    pub half: usize,
    /// Whether neighbours are a pair, and not halves.
    pub adjacent: bool,
}

/// Rotates the heads of rows `x [M, H C]` and writes them to `out` from row `first` on; without a
/// rotation it copies them.
pub(crate) fn rotate(
    rotation: Option<&Rotation<'_>>,
    x: &CubeTensor,
    out: &CubeTensor,
    first: usize,
    [rows, row, dim]: [usize; 3],
) {
    let count = rows * row;
    if count == 0 {
        return;
    }
    let (cos, sin) = rotation.map_or((x, x), |rotation| (rotation.cos, rotation.sin));
    // SAFETY: each unit reads and writes one number below `count`, its partner of the same head, and
    // angles of `tokens` places; the caller has made `out` large enough.
    unsafe {
        rotated::launch_unchecked(
            &x.client,
            cubes(count.div_ceil(WIDE as usize), 1),
            CubeDim::new_1d(WIDE),
            x.clone().into_buffer_arg(),
            cos.clone().into_buffer_arg(),
            sin.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count as u32,
            row as u32,
            dim as u32,
            rotation.map_or(0, |rotation| rotation.half) as u32,
            rotation.map_or(1, |rotation| rotation.tokens) as u32,
            (first * row) as u32,
            rotation.is_some(),
            rotation.is_some_and(|rotation| rotation.adjacent),
        );
    }
}

/// The heads of rows `q [M, H C]` and `k [M, K C]` rotated, in one launch: `q` to new rows; `k`, and
/// `v [M, K C]` as it is, to the rows from `first` on of `keys` and `values`.
pub(crate) fn place(
    rotation: Option<&Rotation<'_>>,
    [q, k, v]: [&CubeTensor; 3],
    [keys, values]: [&CubeTensor; 2],
    first: usize,
    [rows, q_row, k_row, dim]: [usize; 4],
) -> CubeTensor {
    let out = empty(q, [rows, q_row]);
    let count = rows * (q_row + 2 * k_row);
    if count == 0 {
        return out;
    }
    let (cos, sin) = rotation.map_or((q, q), |rotation| (rotation.cos, rotation.sin));
    // SAFETY: each unit reads and writes one number of a row, its partner of the same head, and angles
    // of `tokens` places; the caller has made keys and values large enough.
    unsafe {
        placed::launch_unchecked(
            &q.client,
            cubes(count.div_ceil(WIDE as usize), 1),
            CubeDim::new_1d(WIDE),
            q.clone().into_buffer_arg(),
            k.clone().into_buffer_arg(),
            v.clone().into_buffer_arg(),
            cos.clone().into_buffer_arg(),
            sin.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            keys.clone().into_buffer_arg(),
            values.clone().into_buffer_arg(),
            rows as u32,
            q_row as u32,
            k_row as u32,
            dim as u32,
            rotation.map_or(0, |rotation| rotation.half) as u32,
            rotation.map_or(1, |rotation| rotation.tokens) as u32,
            (first * k_row) as u32,
            rotation.is_some(),
            rotation.is_some_and(|rotation| rotation.adjacent),
        );
    }
    out
}

/// Where [`settle`] finds what it needs to know among words on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The row of keys and values that is written.
    pub row: usize,
    /// The cosines of the place, and after them the sines; none: nothing is rotated.
    pub angles: Option<usize>,
    /// Pairs of a head that are rotated.
    pub half: usize,
    /// Whether neighbours are a pair, and not halves.
    pub adjacent: bool,
}

/// Of one token's `[q | k | v]`, the queries rotated, `[1, q_row]`; keys, rotated, and values go to
/// their row among those that are held.
pub(crate) fn settle(
    spot: Spot,
    words: &CubeTensor,
    row: &CubeTensor,
    [keys, values]: [&CubeTensor; 2],
    [q_row, k_row, dim]: [usize; 3],
) -> CubeTensor {
    let out = empty(row, [1, q_row]);
    // SAFETY: each unit reads and writes one number of the row, its partner of the same head, and
    // angles of one place; the caller has made keys and values large enough.
    unsafe {
        settled::launch_unchecked(
            &row.client,
            cubes((q_row + 2 * k_row).div_ceil(WIDE as usize), 1),
            CubeDim::new_1d(WIDE),
            row.clone().into_buffer_arg(),
            words.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            keys.clone().into_buffer_arg(),
            values.clone().into_buffer_arg(),
            q_row as u32,
            k_row as u32,
            dim as u32,
            spot.half as u32,
            spot.row as u32,
            spot.angles.unwrap_or(0) as u32,
            spot.angles.is_some(),
            spot.adjacent,
        );
    }
    out
}

/// `[B, D]`: of `x [N, D]`, contiguous, the sum of each range of rows, with weights `[N]`; `ranges [B, 2]`
/// are first rows and those after the last.
pub(crate) fn pool(
    x: &CubeTensor,
    weights: &CubeTensor,
    ranges: &CubeTensor,
    count: usize,
    width: usize,
) -> CubeTensor {
    let out = empty(x, [count, width]);
    if count * width == 0 {
        return out;
    }
    // SAFETY: each unit writes one number below `count * width` and reads rows of its range, which the
    // caller has kept below the rows of `x`.
    unsafe {
        pooled::launch_unchecked(
            &x.client,
            cubes((count * width).div_ceil(WIDE as usize), 1),
            CubeDim::new_1d(WIDE),
            x.clone().into_buffer_arg(),
            weights.clone().into_buffer_arg(),
            ranges.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            (count * width) as u32,
            width as u32,
        );
    }
    out
}

/// The sum over a cube of so many units, in a fixed order; the same for all of them.
#[cube]
pub(super) fn total(value: f32, #[comptime] units: u32) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units as usize));
    shared[UNIT_POS_X as usize] = value;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(units.ilog2()) {
        let reach = comptime!(units >> (level + 1));
        if UNIT_POS_X < reach {
            shared[UNIT_POS_X as usize] += shared[(UNIT_POS_X + reach) as usize];
        }
        sync_cube();
    }
    shared[0]
}

/// One cube a row.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn norm_rows(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    add: &[f32],
    out: &mut [f32],
    rows: u32,
    width: u32,
    eps: f32,
    #[comptime] centered: bool,
    #[comptime] shifted: bool,
    #[comptime] added: bool,
) {
    let row = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    // Cubes past the end repeat the last row, since all must reach the barriers.
    let base = min(row, rows - 1u32) * width;
    let mut mean = 0.0f32;
    if comptime!(centered) {
        let mut sum = 0.0f32;
        let mut column = UNIT_POS_X;
        while column < width {
            sum += x[(base + column) as usize];
            column += UNITS;
        }
        mean = total(sum, UNITS) / f32::cast_from(width);
    }
    let mut sum = 0.0f32;
    let mut column = UNIT_POS_X;
    while column < width {
        let away = x[(base + column) as usize] - mean;
        sum += away * away;
        column += UNITS;
    }
    let scale = 1.0f32 / f32::sqrt(total(sum, UNITS) / f32::cast_from(width) + eps);
    let mut column = UNIT_POS_X;
    while column < width {
        let mut value = (x[(base + column) as usize] - mean) * scale * gamma[column as usize];
        if comptime!(shifted) {
            value += beta[column as usize];
        }
        if comptime!(added) {
            value += add[(base + column) as usize];
        }
        if row < rows {
            out[(base + column) as usize] = value;
        }
        column += UNITS;
    }
}

/// One cube a row.
#[cube(launch_unchecked)]
fn shortened(x: &[f32], out: &mut [f32], rows: u32, width: u32, least: f32) {
    let row = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    // Cubes past the end repeat the last row, since all must reach the barriers.
    let base = min(row, rows - 1u32) * width;
    let mut sum = 0.0f32;
    let mut column = UNIT_POS_X;
    while column < width {
        let value = x[(base + column) as usize];
        sum += value * value;
        column += UNITS;
    }
    let length = max(f32::sqrt(total(sum, UNITS)), least);
    let mut column = UNIT_POS_X;
    while column < width && row < rows {
        out[(base + column) as usize] = x[(base + column) as usize] / length;
        column += UNITS;
    }
}

/// What [`sum_rows`] reads and writes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Parts {
    centered: bool,
    shifted: bool,
    added: bool,
    biased: bool,
    sum: bool,
    floats: bool,
    halves: bool,
}

/// A number of what is normalized.
#[cube]
fn summed(
    x: &[f32],
    y: &[f32],
    bias: &[f32],
    base: u32,
    column: u32,
    #[comptime] parts: Parts,
) -> f32 {
    let at = (base + column) as usize;
    let mut value = x[at];
    if comptime!(parts.added) {
        value += y[at];
    }
    if comptime!(parts.biased) {
        value += bias[column as usize];
    }
    value
}

/// One cube a row.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn sum_rows<O: Float>(
    x: &[f32],
    y: &[f32],
    bias: &[f32],
    gamma: &[f32],
    beta: &[f32],
    sum_out: &mut [f32],
    out: &mut [f32],
    halves: &mut [O],
    rows: u32,
    width: u32,
    eps: f32,
    #[comptime] parts: Parts,
) {
    let row = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    // Cubes past the end repeat the last row, since all must reach the barriers.
    let base = min(row, rows - 1u32) * width;
    let mut mean = 0.0f32;
    if comptime!(parts.centered) {
        let mut sum = 0.0f32;
        let mut column = UNIT_POS_X;
        while column < width {
            sum += summed(x, y, bias, base, column, parts);
            column += UNITS;
        }
        mean = total(sum, UNITS) / f32::cast_from(width);
    }
    let mut sum = 0.0f32;
    let mut column = UNIT_POS_X;
    while column < width {
        let away = summed(x, y, bias, base, column, parts) - mean;
        sum += away * away;
        column += UNITS;
    }
    let scale = 1.0f32 / f32::sqrt(total(sum, UNITS) / f32::cast_from(width) + eps);
    let mut column = UNIT_POS_X;
    while column < width && row < rows {
        let own = summed(x, y, bias, base, column, parts);
        let mut value = (own - mean) * scale * gamma[column as usize];
        if comptime!(parts.shifted) {
            value += beta[column as usize];
        }
        let at = (base + column) as usize;
        if comptime!(parts.sum) {
            sum_out[at] = own;
        }
        if comptime!(parts.floats) {
            out[at] = value;
        }
        if comptime!(parts.halves) {
            halves[at] = O::cast_from(value);
        }
        column += UNITS;
    }
}

/// Bent at both ends first: some drivers compute it from powers that overflow.
#[cube]
pub(super) fn tanh(x: f32) -> f32 {
    f32::tanh(max(min(x, 15.0f32), -15.0f32))
}

/// The activation with this [`number`].
#[cube]
pub(super) fn activated(x: f32, #[comptime] kind: u32) -> f32 {
    if comptime!(kind == 0) {
        0.5f32 * x * (1.0f32 + Erf::erf(x * 0.707_106_77f32))
    } else if comptime!(kind == 1) {
        0.5f32 * x * (1.0f32 + tanh(0.797_884_6f32 * (x + 0.044_715f32 * x * x * x)))
    } else if comptime!(kind == 2) {
        max(x, 0.0f32)
    } else if comptime!(kind == 3) {
        x / (1.0f32 + f32::exp(-x))
    } else {
        tanh(x)
    }
}

/// One unit a number.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn gated<O: Float>(
    x: &[f32],
    up: &[f32],
    bias: &[f32],
    out: &mut [O],
    count: u32,
    width: u32,
    #[comptime] kind: u32,
    #[comptime] has_up: bool,
    #[comptime] has_bias: bool,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * WIDE + UNIT_POS_X;
    if at < count {
        let mut x = x[at as usize];
        if comptime!(has_bias) {
            x += bias[(at % width) as usize];
        }
        let mut y = activated(x, kind);
        if comptime!(has_up) {
            y *= up[at as usize];
        }
        out[at as usize] = O::cast_from(y);
    }
}

/// One unit a number.
#[cube(launch_unchecked)]
fn pooled(x: &[f32], weights: &[f32], ranges: &[i32], out: &mut [f32], count: u32, width: u32) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * WIDE + UNIT_POS_X;
    if at < count {
        let row = at / width;
        let column = at % width;
        let mut token = u32::cast_from(ranges[(row * 2u32) as usize]);
        let end = u32::cast_from(ranges[(row * 2u32 + 1u32) as usize]);
        let mut sum = 0.0f32;
        while token < end {
            sum += x[(token * width + column) as usize] * weights[token as usize];
            token += 1u32;
        }
        out[at as usize] = sum;
    }
}

/// Of the number `at` of a row of heads: whether it is rotated, whether it is the left of its pair,
/// which pair of the head that is, and where its partner is.
#[cube]
pub(super) fn paired(
    at: u32,
    dim: u32,
    half: u32,
    #[comptime] adjacent: bool,
) -> (bool, bool, u32, u32) {
    let c = at % dim;
    let mut left = c < half;
    let mut pair = c;
    let mut other = at + half;
    if comptime!(adjacent) {
        left = (c & 1u32) == 0u32;
        pair = c >> 1u32;
        // Within the head, which an odd size lets begin at an odd number.
        other = at - c + (c ^ 1u32);
    } else if c >= half {
        pair = c - half;
        other = at - half;
    }
    (c < 2u32 * half, left, pair, other)
}

/// One unit a number.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn settled(
    row: &[f32],
    words: &[i32],
    out: &mut [f32],
    keys: &mut [f32],
    values: &mut [f32],
    q_row: u32,
    k_row: u32,
    dim: u32,
    half: u32,
    spot: u32,
    angles: u32,
    #[comptime] rotates: bool,
    #[comptime] adjacent: bool,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * WIDE + UNIT_POS_X;
    let first = u32::cast_from(words[spot as usize]) * k_row;
    if at < q_row + k_row {
        let mut value = row[at as usize];
        if comptime!(rotates) {
            let (turns, left, pair, other) = paired(at, dim, half, adjacent);
            if turns {
                let cos = f32::reinterpret(words[(angles + pair) as usize]);
                let sin = f32::reinterpret(words[(angles + half + pair) as usize]);
                let across = row[other as usize] * sin;
                value = value * cos + select(left, -across, across);
            }
        }
        if at < q_row {
            out[at as usize] = value;
        } else {
            keys[(first + at - q_row) as usize] = value;
        }
    } else if at < q_row + 2u32 * k_row {
        values[(first + at - q_row - k_row) as usize] = row[at as usize];
    }
}

/// One unit a number.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn rotated(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    out: &mut [f32],
    count: u32,
    row: u32,
    dim: u32,
    half: u32,
    tokens: u32,
    first: u32,
    #[comptime] rotates: bool,
    #[comptime] adjacent: bool,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * WIDE + UNIT_POS_X;
    if at < count {
        let value = rotated_at(x, cos, sin, at, at / row, dim, half, tokens, rotates, adjacent);
        out[(first + at) as usize] = value;
    }
}

/// One unit a number.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn placed(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    cos: &[f32],
    sin: &[f32],
    out: &mut [f32],
    keys: &mut [f32],
    values: &mut [f32],
    rows: u32,
    q_row: u32,
    k_row: u32,
    dim: u32,
    half: u32,
    tokens: u32,
    first: u32,
    #[comptime] rotates: bool,
    #[comptime] adjacent: bool,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * WIDE + UNIT_POS_X;
    let width = q_row + 2u32 * k_row;
    let row = at / width;
    let column = at % width;
    if row < rows {
        if column < q_row {
            let at = row * q_row + column;
            let value = rotated_at(q, cos, sin, at, row, dim, half, tokens, rotates, adjacent);
            out[at as usize] = value;
        } else if column < q_row + k_row {
            let at = row * k_row + column - q_row;
            let value = rotated_at(k, cos, sin, at, row, dim, half, tokens, rotates, adjacent);
            keys[(first + at) as usize] = value;
        } else {
            let at = row * k_row + column - q_row - k_row;
            values[(first + at) as usize] = v[at as usize];
        }
    }
}

/// The number `at` of heads in this row, rotated.
#[allow(clippy::too_many_arguments, reason = "as its kernels have")]
#[cube]
fn rotated_at(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    at: u32,
    row: u32,
    dim: u32,
    half: u32,
    tokens: u32,
    #[comptime] rotates: bool,
    #[comptime] adjacent: bool,
) -> f32 {
    let mut value = x[at as usize];
    if comptime!(rotates) {
        let (turns, left, pair, other) = paired(at, dim, half, adjacent);
        if turns {
            let angle = (row % tokens * half + pair) as usize;
            let across = x[other as usize] * sin[angle];
            value = value * cos[angle] + select(left, -across, across);
        }
    }
    value
}
