//! What products of one row take, in floats or in bytes, and how their sums are added up.

use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;

use crate::quant::Format;

/// Packed rows on a GPU.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// The rows, one after another.
    pub words: CubeTensor,
    /// How they are packed.
    pub format: Format,
    /// How many there are.
    pub rows: usize,
    /// Weights of a row.
    pub width: usize,
}

/// The root-mean-square norm that stands before a product.
pub(crate) struct Rms<'a> {
    /// Scale, `[width]`.
    pub gamma: &'a CubeTensor,
    /// Added to the mean square.
    pub eps: f32,
}

/// Whether sums over 32 neighbours need no shared memory.
pub(super) fn planes(like: &CubeTensor) -> bool {
    let device = like.client.properties();
    let hardware = &device.hardware;
    device.features.plane.contains(Plane::Ops)
        && (hardware.plane_size_min, hardware.plane_size_max) == (32, 32)
}

/// The sum of four.
#[cube]
pub(super) fn sum4(of: Vector<f32, Const<4>>) -> f32 {
    (of.extract(0usize) + of.extract(1usize)) + (of.extract(2usize) + of.extract(3usize))
}

/// The sums of each of `count` numbers over the lanes of a group, for all of them; all units of the cube
/// come here.
#[cube]
pub(super) fn gather(
    values: &mut Array<f32>,
    #[comptime] count: u32,
    #[comptime] lanes: u32,
    #[comptime] units: u32,
    #[comptime] plane: bool,
) {
    // What is left to be added in shared memory: a number of each unit, or of each plane.
    let mut slot = UNIT_POS_X;
    let mut writes = true;
    if comptime!(plane) {
        #[unroll]
        for i in 0..count {
            values[i as usize] = plane_sum(values[i as usize]);
        }
        slot = UNIT_POS_X / 32u32;
        writes = UNIT_POS_X.is_multiple_of(32u32);
    }
    let size = comptime!(if plane { units / 32 } else { units });
    let reach = comptime!(if plane { lanes / 32 } else { lanes });
    if comptime!(reach > 1) {
        let mut shared = Shared::<[f32]>::new_slice(comptime!((size * count) as usize));
        // The last call's sums have been read.
        sync_cube();
        if writes {
            #[unroll]
            for i in 0..count {
                shared[(slot + comptime!(i * size)) as usize] = values[i as usize];
            }
        }
        sync_cube();
        // The first of each group's slots.
        let base = slot / reach * reach;
        if comptime!(plane) {
            #[unroll]
            for i in 0..count {
                let mut sum = 0.0f32;
                #[unroll]
                for other in 0..reach {
                    sum += shared[(base + comptime!(i * size + other)) as usize];
                }
                values[i as usize] = sum;
            }
        } else {
            #[unroll]
            for level in 0..comptime!(reach.ilog2()) {
                let half = comptime!(reach >> (level + 1));
                if slot - base < half {
                    #[unroll]
                    for i in 0..count {
                        let at = slot + comptime!(i * size);
                        shared[at as usize] += shared[(at + half) as usize];
                    }
                }
                sync_cube();
            }
            #[unroll]
            for i in 0..count {
                values[i as usize] = shared[(base + comptime!(i * size)) as usize];
            }
        }
    }
}
