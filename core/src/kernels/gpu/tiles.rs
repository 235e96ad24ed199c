//! GEMM of f16 by tiles, on the cooperative matrices of a GPU, with f32 sums.
//!
//! A cube makes a tile of sums: each of its planes holds some 16 x 16 of them in registers. Columns
//! come in steps to shared memory, and while a step is multiplied, the next is already on its way
//! into registers. Sums are f32.
//!
//! Shared memory is made of vectors of 16 bytes, so that matrices are loaded from it with that
//! alignment; a row is one vector longer than its columns, so that rows begin in different banks.

use burn_cubecl::tensor::CubeTensor;
use cubecl::cmma;
use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::{cubes, empty};

/// Units of a plane.
const PLANE: u32 = 32;

/// Rows of cubes that take turns at the same weights, so that both sides stay in the cache.
const BAND: u32 = 8;

/// Cubes that keep a large GPU busy.
const MANY: usize = 100;

/// How a product is cut.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Tile {
    /// Rows of `x` of a cube.
    pub tall: u32,
    /// Rows of weights of a cube.
    pub wide: u32,
    /// Columns of a step: a multiple of 16.
    pub deep: u32,
    /// Rows of `x` of a plane: a multiple of 16.
    pub plane_tall: u32,
    /// Rows of weights of a plane: a multiple of 16.
    pub plane_wide: u32,
    /// Steps in shared memory: with two, one is written while the other is read.
    pub buffers: u32,
}

/// What [`product`] chooses from, the largest first: on an H200 201, 177 and 93 TFLOP/s.
const TILES: [Tile; 3] = [
    Tile { tall: 256, wide: 128, deep: 32, plane_tall: 64, plane_wide: 64, buffers: 1 },
    Tile { tall: 128, wide: 128, deep: 32, plane_tall: 64, plane_wide: 32, buffers: 1 },
    Tile { tall: 64, wide: 64, deep: 32, plane_tall: 32, plane_wide: 32, buffers: 2 },
];

impl Tile {
    fn planes(self) -> u32 {
        self.tall / self.plane_tall * (self.wide / self.plane_wide)
    }

    fn units(self) -> u32 {
        self.planes() * PLANE
    }

    /// 16 x 16 sums of a plane, down and across.
    fn sums(self) -> (usize, usize) {
        ((self.plane_tall / 16) as usize, (self.plane_wide / 16) as usize)
    }

    /// Vectors of 16 bytes from one row in shared memory to the next.
    fn row(self) -> u32 {
        self.deep / 8 + 1
    }

    /// Vectors of 16 bytes of a step.
    fn step(self) -> u32 {
        (self.tall + self.wide) * self.row()
    }

    /// Bytes of shared memory.
    fn shared(self) -> usize {
        (self.step() * self.buffers * 16 + self.planes() * 256 * 4) as usize
    }

    /// Cubes for this many sums.
    fn cubes(self, m: usize, rows: usize) -> usize {
        m.div_ceil(self.tall as usize) * rows.div_ceil(self.wide as usize)
    }

    /// Whether the device has the matrices, the memory and the units.
    fn fits(self, like: &CubeTensor) -> bool {
        let properties = like.client.properties();
        let [half, sum] = [FloatKind::F16, FloatKind::F32].map(ElemType::Float);
        let wanted = MmaConfig { a_type: half, b_type: half, cd_type: sum, m: 16, n: 16, k: 16 };
        let hardware = &properties.hardware;
        properties.features.matmul.cmma.contains(&wanted)
            && (hardware.plane_size_min, hardware.plane_size_max) == (PLANE, PLANE)
            && hardware.max_shared_memory_size >= self.shared()
            && hardware.max_units_per_cube >= self.units()
    }
}

/// Whether the device has the matrices for some tile.
pub(crate) fn is_there(like: &CubeTensor) -> bool {
    TILES.iter().any(|tile| tile.fits(like))
}

/// `x [m, k] * w [rows, k]ᵀ`, both in f16, with numbers `[rows]` in f32 added to each row: `[m, rows]`
/// in f32. `None` where the device has no such matrices, or rows are not whole vectors of 16 bytes.
pub(crate) fn product(
    x: &CubeTensor,
    w: &CubeTensor,
    bias: Option<&CubeTensor>,
    [m, k, rows]: [usize; 3],
) -> Option<CubeTensor> {
    let mut able = TILES.into_iter().filter(|tile| tile.fits(x));
    let last = able.clone().next_back()?;
    // Tall tiles waste the rows that `x` does not have.
    let tile = able
        .find(|tile| tile.cubes(m, rows) >= MANY && (tile.tall as usize) < m + 64)
        .unwrap_or(last);
    product_with(tile, x, w, bias, [m, k, rows])
}

/// [`product`] by a tile of the caller's choice.
fn product_with(
    tile: Tile,
    x: &CubeTensor,
    w: &CubeTensor,
    bias: Option<&CubeTensor>,
    [m, k, rows]: [usize; 3],
) -> Option<CubeTensor> {
    if k == 0 || !k.is_multiple_of(8) || !tile.fits(x) {
        return None;
    }
    let out = empty(x, [m, rows]);
    if m == 0 || rows == 0 {
        return Some(out);
    }
    // SAFETY: the kernel reads rows below `m` and `rows` and columns below `k`, writes sums of such
    // rows alone, and the buffers hold as many.
    unsafe {
        tiles::launch_unchecked(
            &x.client,
            cubes(tile.cubes(m, rows), 1),
            CubeDim::new_2d(PLANE, tile.planes()),
            if rows.is_multiple_of(4) { 4 } else { 1 },
            w.clone().into_buffer_arg(),
            x.clone().into_buffer_arg(),
            bias.unwrap_or(&out).clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            m as u32,
            k as u32,
            rows as u32,
            tile,
            k.is_multiple_of(tile.deep as usize),
            bias.is_some(),
        );
    }
    Some(out)
}

/// `whole` says that steps end where rows do.
#[allow(clippy::too_many_arguments, reason = "a kernel's bindings are its arguments")]
#[cube(launch_unchecked)]
fn tiles<N: Size>(
    w: &[Vector<u32, Const<4>>],
    x: &[Vector<u32, Const<4>>],
    add: &[f32],
    out: &mut [Vector<f32, N>],
    m: u32,
    k: u32,
    rows: u32,
    #[comptime] tile: Tile,
    #[comptime] whole: bool,
    #[comptime] added: bool,
) {
    let tall = comptime!(tile.tall);
    let across = comptime!(tile.wide);
    let deep = comptime!(tile.deep);
    let (sums_down, sums_across) = comptime!(tile.sums());

    // Neighbours go down a band of a few rows of cubes before they go across.
    let cubes_down = m.div_ceil(tall);
    let cubes_across = rows.div_ceil(across);
    // Cubes past the end make the last tile once more.
    let cube = min(CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X, cubes_down * cubes_across - 1u32);
    let band = cubes_across * BAND;
    let band_first = cube / band * BAND;
    let band_tall = min(cubes_down - band_first, 8u32);
    let first_m = (band_first + cube % band % band_tall) * tall;
    let first_n = (cube % band / band_tall) * across;

    let plane = UNIT_POS_Y;
    let unit = plane * PLANE + UNIT_POS_X;
    let planes_across = comptime!(tile.wide / tile.plane_wide);
    // The first row of the plane on either side, in the tile.
    let plane_m = plane / planes_across * comptime!(tile.plane_tall);
    let plane_n = plane % planes_across * comptime!(tile.plane_wide);

    let mut shared = Shared::<[Vector<u32, Const<4>>]>::new_slice(comptime!(
        (tile.step() * tile.buffers) as usize
    ));
    // One 16 x 16 for each plane, where sums pass on their way to the edges.
    let mut scratch = Shared::<[f32]>::new_slice(comptime!((tile.planes() * 256) as usize));
    let own = (plane * 256u32) as usize;

    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(sums_down * sums_across) {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            16usize,
            16usize,
            16usize,
            cmma::MatrixLayout::Undefined,
            0.0f32,
        ));
    }
    if comptime!(added) {
        #[unroll]
        for c in 0..sums_across {
            // Sixteen rows alike.
            let column = first_n + plane_n + comptime!(c as u32 * 16) + UNIT_POS_X % 16u32;
            let value = add[min(column, rows - 1u32) as usize];
            #[unroll]
            for i in 0..8usize {
                scratch[own + comptime!(i * 32) + UNIT_POS_X as usize] = value;
            }
            sync_cube();
            #[unroll]
            for r in 0..sums_down {
                cmma::load_with_layout(
                    sums.index_mut(comptime!(r * sums_across + c)),
                    &scratch[own..own + 256],
                    16u32,
                    cmma::MatrixLayout::RowMajor,
                );
            }
            sync_cube();
        }
    }

    let mut x_ahead = Array::<Vector<u32, Const<4>>>::new(comptime!(share(tile, tall) as usize));
    let mut w_ahead = Array::<Vector<u32, Const<4>>>::new(comptime!(share(tile, across) as usize));
    let step_size = comptime!(tile.step());
    // Where the weights of a step begin.
    let w_first = comptime!(tile.tall * tile.row());
    let x_own = plane_m * comptime!(tile.row());
    let w_own = plane_n * comptime!(tile.row()) + w_first;

    fetch(x, &mut x_ahead, first_m, m, 0u32, k, unit, tall, tile, whole);
    fetch(w, &mut w_ahead, first_n, rows, 0u32, k, unit, across, tile, whole);
    keep(&mut shared, &x_ahead, 0u32, 0u32, k, unit, tall, tile, whole);
    keep(&mut shared, &w_ahead, w_first, 0u32, k, unit, across, tile, whole);
    sync_cube();

    let steps = k.div_ceil(deep);
    let mut step = 1u32;
    while step < steps {
        let start = step * deep;
        fetch(x, &mut x_ahead, first_m, m, start, k, unit, tall, tile, whole);
        fetch(w, &mut w_ahead, first_n, rows, start, k, unit, across, tile, whole);
        let mut here = 0u32;
        let mut next = 0u32;
        if comptime!(tile.buffers == 2) {
            here = ((step - 1u32) & 1u32) * step_size;
            next = (step & 1u32) * step_size;
        }
        multiply(&shared, &mut sums, here + x_own, here + w_own, tile);
        if comptime!(tile.buffers == 1) {
            sync_cube();
        }
        keep(&mut shared, &x_ahead, next, start, k, unit, tall, tile, whole);
        keep(&mut shared, &w_ahead, next + w_first, start, k, unit, across, tile, whole);
        sync_cube();
        step += 1u32;
    }
    let mut here = 0u32;
    if comptime!(tile.buffers == 2) {
        here = ((steps - 1u32) & 1u32) * step_size;
    }
    multiply(&shared, &mut sums, here + x_own, here + w_own, tile);

    let lanes = N::value();
    let size = comptime!(lanes as u32);
    if first_m + tall <= m && first_n + across <= rows {
        #[unroll]
        for r in 0..sums_down {
            #[unroll]
            for c in 0..sums_across {
                let row = first_m + plane_m + comptime!(r as u32 * 16);
                let column = first_n + plane_n + comptime!(c as u32 * 16);
                let at = ((row * rows + column) / size) as usize;
                cmma::store(
                    &mut out[at..at + 1],
                    sums.index(comptime!(r * sums_across + c)),
                    rows,
                    cmma::MatrixLayout::RowMajor,
                );
            }
        }
    } else {
        #[unroll]
        for r in 0..sums_down {
            #[unroll]
            for c in 0..sums_across {
                sync_cube();
                cmma::store(
                    &mut scratch[own..own + 256],
                    sums.index(comptime!(r * sums_across + c)),
                    16u32,
                    cmma::MatrixLayout::RowMajor,
                );
                sync_cube();
                #[unroll]
                for i in 0..comptime!(8 / size) {
                    // The first of the numbers that this unit stores at once.
                    let at = (UNIT_POS_X + comptime!(i * PLANE)) * size;
                    let row = first_m + plane_m + comptime!(r as u32 * 16) + at / 16u32;
                    let column = first_n + plane_n + comptime!(c as u32 * 16) + at % 16u32;
                    if row < m && column < rows {
                        let mut some = Vector::<f32, N>::empty();
                        #[unroll]
                        for e in 0..N::value() {
                            some.insert(e, scratch[own + at as usize + e]);
                        }
                        out[((row * rows + column) / size) as usize] = some;
                    }
                }
            }
        }
    }
}

/// Vectors of a step's rows that a unit takes.
fn share(tile: Tile, tall: u32) -> u32 {
    (tall * (tile.deep / 8)).div_ceil(tile.units())
}

/// Whether the units' shares are more than the vectors there are.
fn ragged(tile: Tile, tall: u32) -> bool {
    !(tall * (tile.deep / 8)).is_multiple_of(tile.units())
}

/// Reads this unit's vectors of the step at column `start`, of the `tall` rows from `first` on.
#[allow(clippy::too_many_arguments, reason = "what a kernel knows is its variables")]
#[cube]
fn fetch(
    from: &[Vector<u32, Const<4>>],
    ahead: &mut Array<Vector<u32, Const<4>>>,
    first: u32,
    rows: u32,
    start: u32,
    k: u32,
    unit: u32,
    #[comptime] tall: u32,
    #[comptime] tile: Tile,
    #[comptime] whole: bool,
) {
    let of_row = comptime!(tile.deep / 8);
    #[unroll]
    for i in 0..comptime!(share(tile, tall)) {
        let mut at = unit + comptime!(i * tile.units());
        if comptime!(ragged(tile, tall)) {
            at = min(at, comptime!(tall * (tile.deep / 8) - 1));
        }
        // Past the end, the last row and the last vector are read again: such rows are not stored,
        // and such columns become zeros.
        let row = min(first + at / of_row, rows - 1u32);
        let mut column = start + at % of_row * 8u32;
        if comptime!(!whole) {
            column = min(column, k - 8u32);
        }
        ahead[i as usize] = from[((row * k + column) / 8u32) as usize];
    }
}

/// Writes what [`fetch`] read, rows from vector `to` of shared memory on.
#[allow(clippy::too_many_arguments, reason = "what a kernel knows is its variables")]
#[cube]
fn keep(
    shared: &mut Shared<[Vector<u32, Const<4>>]>,
    ahead: &Array<Vector<u32, Const<4>>>,
    to: u32,
    start: u32,
    k: u32,
    unit: u32,
    #[comptime] tall: u32,
    #[comptime] tile: Tile,
    #[comptime] whole: bool,
) {
    let of_row = comptime!(tile.deep / 8);
    #[unroll]
    for i in 0..comptime!(share(tile, tall)) {
        let at = unit + comptime!(i * tile.units());
        let part = at % of_row;
        let place = to + at / of_row * comptime!(tile.row()) + part;
        let mut halves = ahead[i as usize];
        if comptime!(!whole) {
            let inside = start + part * 8u32 < k;
            #[unroll]
            for lane in 0..4usize {
                halves.insert(lane, select(inside, halves.extract(lane), 0u32));
            }
        }
        if comptime!(ragged(tile, tall)) {
            if at < comptime!(tall * (tile.deep / 8)) {
                shared[place as usize] = halves;
            }
        } else {
            shared[place as usize] = halves;
        }
    }
}

/// Adds the products of a step to the sums of a plane, whose rows begin at vectors `x_at` and
/// `w_at`.
#[cube]
fn multiply(
    shared: &Shared<[Vector<u32, Const<4>>]>,
    sums: &mut Sequence<cmma::Matrix<f32>>,
    x_at: u32,
    w_at: u32,
    #[comptime] tile: Tile,
) {
    let (down, across) = comptime!(tile.sums());
    // In words, of which a vector has four.
    let stride = comptime!(tile.row() * 4);
    let high = comptime!((tile.row() * 16) as usize);
    #[unroll]
    for depth in 0..comptime!(tile.deep / 16) {
        let mut left = Sequence::<cmma::Matrix<half::f16>>::new();
        #[unroll]
        for r in 0..down {
            let mut matrix = unsafe {
                cmma::Matrix::<half::f16>::uninitialized(
                    cmma::MatrixIdent::A,
                    16usize,
                    16usize,
                    16usize,
                    cmma::MatrixLayout::RowMajor,
                )
            };
            let at = x_at as usize + comptime!(r * high + depth as usize * 2);
            cmma::load(&mut matrix, &shared[at..at + high], stride);
            left.push(matrix);
        }
        #[unroll]
        for c in 0..across {
            let mut right = unsafe {
                cmma::Matrix::<half::f16>::uninitialized(
                    cmma::MatrixIdent::B,
                    16usize,
                    16usize,
                    16usize,
                    cmma::MatrixLayout::ColMajor,
                )
            };
            let at = w_at as usize + comptime!(c * high + depth as usize * 2);
            cmma::load(&mut right, &shared[at..at + high], stride);
            #[unroll]
            for r in 0..down {
                cmma::execute(
                    left.index(r),
                    &right,
                    sums.index(comptime!(r * across + c)),
                    sums.index(comptime!(r * across + c)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::DType;
    use burn_cubecl::kernel::cast;

    use super::*;
    use crate::kernels::gpu::tests::{gpus, on, read, times};
    use crate::kernels::tests::floats;

    /// Sums are those of rounded numbers in 64-bit floats, but for the order of adding.
    #[test]
    fn tiles_are_near() {
        for device in gpus() {
            if !is_there(&on(&device, &[0.0])) {
                println!("left out: the device has no cooperative matrices of f16");
                return;
            }
            // Rows that are and are not whole fours, edges, and steps that do not end where rows do.
            for [m, rows, k] in [[130, 257, 256], [300, 132, 768], [1, 1, 8], [70, 96, 40]] {
                let (x, w, add) = (floats(m * k, 1), floats(rows * k, 2), floats(rows, 3));
                let half = |x: &[f32]| cast(on(&device, x), DType::F16);
                let (x_on, w_on, add_on) = (half(&x), half(&w), on(&device, &add));
                let round = |x: &[f32]| -> Vec<f32> {
                    x.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect()
                };
                let (x, w) = (round(&x), round(&w));
                for (tile, added) in
                    TILES.into_iter().flat_map(|tile| [(tile, false), (tile, true)])
                {
                    let bias = added.then_some(&add_on);
                    let found = product_with(tile, &x_on, &w_on, bias, [m, k, rows]);
                    let found = read(found.expect("a product"));
                    for (found, x) in found.chunks_exact(rows).zip(x.chunks_exact(k)) {
                        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                        for (j, (sum, size)) in times(&w, &x).into_iter().enumerate() {
                            let wanted = if added { sum + f64::from(add[j]) } else { sum };
                            let error = (f64::from(found[j]) - wanted).abs();
                            assert!(
                                error <= 1e-5 * (size + 1.0),
                                "{tile:?} [{m}, {k}] x [{rows}, {k}] at {j}: {} is not {wanted}",
                                found[j]
                            );
                        }
                    }
                }
            }
        }
    }
}
