//! Products in bfloat16 with sums in floats, for processors that multiply it: tiles of AMX, or
//! vectors of AVX-512 BF16.
//!
//! A panel `[k / 2][32]` holds 32 rows of `w` beside each other, two numbers of each row at a time.
//! That is what both instructions take: a tile is 16 such lines of one half, a vector is one half of
//! a line. AMX makes 32 x 32 sums of a panel and 32 rows of `x` at once, in four tiles, with each
//! tile of either used twice (Intel 64 and IA-32 Architectures Optimization Reference Manual,
//! chapter 20).

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use half::bf16;

use super::sums::Line;
use super::tiles::{TileConfig, Tiles};

/// Rows of `w` in a panel, and rows of `x` in a block, which AMX takes at once.
pub(super) const ROWS: usize = 32;

/// Numbers of a row that a tile has.
const STEP: usize = 32;

/// Proof that the processor multiplies bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bf16 {
    /// AMX, which the system has given this program leave to use.
    Tiles(Tiles),
    /// AVX-512 BF16.
    Vectors(Proof),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof(());

impl Bf16 {
    /// The best that this processor has, looked for once.
    pub(super) fn best() -> Option<Bf16> {
        static BEST: OnceLock<Option<Bf16>> = OnceLock::new();
        *BEST.get_or_init(|| Bf16::detect().into_iter().flatten().next())
    }

    /// All that this processor has, the best first.
    pub(super) fn detect() -> [Option<Bf16>; 2] {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        let tiles = if vectors { Tiles::best() } else { None };
        [tiles.map(Bf16::Tiles), vectors.then_some(Bf16::Vectors(Proof(())))]
    }
}

/// Rounds floats, to the nearest even.
pub(super) fn round(_: Bf16, x: &[f32], to: &mut [bf16]) {
    assert_eq!(x.len(), to.len(), "a number for each");
    // SAFETY: a `Bf16` is made where the processor has the features alone.
    unsafe { rounded(x, to) }
}

/// Rounds up to [`ROWS`] rows of `k` to a block of `x`, `[k / 32][ROWS][32]`: what is read after each
/// other lies beside each other.
pub(super) fn round_block(_: Bf16, x: &[f32], k: usize, to: &mut [bf16]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn inner(x: &[f32], k: usize, to: &mut [bf16]) {
        for (i, row) in x.chunks_exact(k).enumerate() {
            for (x, step) in row.as_chunks::<STEP>().0.iter().zip(to.chunks_exact_mut(ROWS * STEP))
            {
                rounded(x, &mut step[i * STEP..][..STEP]);
            }
        }
    }
    assert!(x.len() <= ROWS * k && to.len() == ROWS * k, "a block and its rows");
    // SAFETY: as above.
    unsafe { inner(x, k, to) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn rounded(x: &[f32], to: &mut [bf16]) {
    let ((x, rest), (to, rest_to)) = (x.as_chunks::<16>(), to.as_chunks_mut::<16>());
    for (x, to) in x.iter().zip(to) {
        // SAFETY: pointers to arrays of the width of the load and the store.
        unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(x.as_ptr()));
            to.as_mut_ptr().cast::<__m256bh>().write_unaligned(rounded);
        }
    }
    for (x, to) in rest.iter().zip(rest_to) {
        *to = bf16::from_f32(*x);
    }
}

/// Rows of `x` times some panels.
pub(super) struct PanelProduct<'a, 'out> {
    /// Those of the columns of `out`, one after another.
    pub(super) panels: &'a [Line],
    /// Blocks as [`round_block`] makes them; what is in rows that are not there is any number.
    pub(super) x: &'a [bf16],
    /// A multiple of 32.
    pub(super) k: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'out mut [f32]],
}

/// 32-bit numbers of a panel.
pub(super) fn panel(k: usize) -> usize {
    k / 2 * ROWS
}

/// Multiplies rows of `x` with the panels.
pub(super) fn gemm(how: Bf16, all: PanelProduct<'_, '_>) {
    let PanelProduct { panels, x, k, bias, out } = all;
    assert!(k.is_multiple_of(32) && x.len() >= out.len().next_multiple_of(ROWS) * k, "rows of x");
    let panels: &[i32] = bytemuck::cast_slice(panels);
    let blocks = out.len().div_ceil(ROWS);
    let mut sums = [[0.0_f32; ROWS]; ROWS];
    let mut work = || {
        for (column, panel) in panels.chunks_exact(panel(k).max(1)).enumerate() {
            for (block, rows) in out.chunks_mut(ROWS).enumerate() {
                let x = &x[block * ROWS * k..][..ROWS * k];
                match how {
                    // SAFETY: the tiles are configured below.
                    Bf16::Tiles(_) => unsafe {
                        let next = Next::of(panel, block, blocks);
                        tiles(panel, next, x, k, rows.len() > 16, &mut sums);
                    },
                    Bf16::Vectors(proof) => vectors(proof, panel, x, rows.len(), &mut sums),
                }
                write(how, &sums, column * ROWS, bias, rows);
            }
        }
    };
    match how {
        Bf16::Tiles(tiles) => tiles.run(&TileConfig::LARGE, work),
        Bf16::Vectors(_) => work(),
    }
}

/// Writes sums and the bias to the columns from `first` on, as many as there are.
fn write(
    _: Bf16,
    sums: &[[f32; ROWS]; ROWS],
    first: usize,
    bias: Option<&[f32]>,
    out: &mut [&mut [f32]],
) {
    #[target_feature(enable = "avx512f")]
    fn inner(sums: &[[f32; ROWS]; ROWS], first: usize, bias: &[f32; ROWS], out: &mut [&mut [f32]]) {
        for (row, sums) in out.iter_mut().zip(sums) {
            let row = &mut row[first..];
            match row.first_chunk_mut::<ROWS>() {
                Some(row) => *row = std::array::from_fn(|i| sums[i] + bias[i]),
                None => {
                    for ((out, sum), bias) in row.iter_mut().zip(sums).zip(bias) {
                        *out = sum + bias;
                    }
                }
            }
        }
    }
    let mut some = [0.0; ROWS];
    if let Some(bias) = bias {
        some.iter_mut().zip(&bias[first..]).for_each(|(to, bias)| *to = *bias);
    }
    // SAFETY: a `Bf16` is made where the processor has the features alone.
    unsafe { inner(sums, first, &some, out) }
}

/// What is asked for of the next panel with a block of `x`, so that it has come when its turn does: all
/// of it with eight blocks or more, a part with fewer, since a step asks for four lines at most.
#[derive(Clone, Copy)]
struct Next {
    from: *const i32,
    /// Bytes with each step.
    by: usize,
}

impl Next {
    /// With block `block` of so many.
    fn of(panel: &[i32], block: usize, blocks: usize) -> Next {
        let lines = ROWS.div_ceil(blocks.max(1));
        let from = panel.as_ptr_range().end.wrapping_add(block * lines * panel.len() / ROWS);
        Next { from, by: 64 * lines }
    }
}

/// The sums of 32 rows of `x` with a panel, of the first 16 alone without `both`.
///
/// # Safety
/// Tiles are configured.
unsafe fn tiles(
    panel: &[i32],
    next: Next,
    x: &[bf16],
    k: usize,
    both: bool,
    sums: &mut [[f32; ROWS]; ROWS],
) {
    assert!(panel.len() == self::panel(k) && x.len() == ROWS * k, "a panel and its rows");
    let steps = k / STEP;
    if steps == 0 {
        return;
    }
    // Asks for the lines from the step after the next one on, eight at a time: tiles take theirs one by
    // one, and wait for each that is far.
    macro_rules! ahead {
        ($x:literal, $at:literal) => {
            concat!(
                ".irp line, 0, 64, 128, 192, 256, 320, 384, 448\n",
                "prefetcht0 [{",
                $x,
                "} + 4096 + ",
                $at,
                " + \\line]\n",
                ".endr",
            )
        };
    }
    // SAFETY: the processor has AMX and its tiles are configured. Step `i` reads 2048 bytes at `2048 i`
    // of the block, 16 lines of 64 bytes at a time, and 16 lines of 128 bytes of the panel, both of
    // which have `k / 32` such; the sums are 32 lines of 128 bytes. Prefetches read nothing.
    unsafe {
        if both {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{w} + {line}]",
                "tileloadd tmm4, [{x} + {row}]",
                ahead!("x", 0),
                "tileloadd tmm7, [{w} + {line} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ahead!("x", 512),
                "tileloadd tmm5, [{x} + {row} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                ahead!("x", 1024),
                ahead!("w", 0),
                ahead!("w", 512),
                "tdpbf16ps tmm2, tmm5, tmm6",
                ahead!("x", 1536),
                ahead!("w", 1024),
                ahead!("w", 1536),
                "prefetcht1 [{next}]",
                "prefetcht1 [{next} + 64]",
                "prefetcht1 [{next} + 128]",
                "prefetcht1 [{next} + 192]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {next}, {by}",
                "add {w}, 2048",
                "add {x}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 64], tmm1",
                "add {sums}, 2048",
                "tilestored [{sums} + {line}], tmm2",
                "tilestored [{sums} + {line} + 64], tmm3",
                w = inout(reg) panel.as_ptr() => _,
                x = inout(reg) x.as_ptr() => _,
                row = in(reg) 64_usize,
                line = in(reg) 128_usize,
                steps = inout(reg) steps => _,
                sums = inout(reg) sums.as_mut_ptr() => _,
                next = inout(reg) next.from => _,
                by = in(reg) next.by,
                options(nostack),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm6, [{w} + {line}]",
                "tileloadd tmm4, [{x} + {row}]",
                ahead!("x", 0),
                "tileloadd tmm7, [{w} + {line} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ahead!("x", 512),
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {w}, 2048",
                "add {x}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 64], tmm1",
                w = inout(reg) panel.as_ptr() => _,
                x = inout(reg) x.as_ptr() => _,
                row = in(reg) 64_usize,
                line = in(reg) 128_usize,
                steps = inout(reg) steps => _,
                sums = in(reg) sums.as_mut_ptr(),
                options(nostack),
            );
        }
    }
}

/// The sums of the first `count` of 32 rows of `x` with a panel.
fn vectors(_: Proof, panel: &[i32], x: &[bf16], count: usize, sums: &mut [[f32; ROWS]; ROWS]) {
    /// Rows of `x` whose sums registers hold.
    const M: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn inner(panel: &[i32], x: &[i32], first: usize, sums: &mut [[f32; ROWS]]) {
        const PAIRS: usize = STEP / 2;
        let mut all = [[_mm512_setzero_ps(); 2]; M];
        let (lines, steps) = (panel.as_chunks::<ROWS>().0, x.as_chunks::<{ ROWS * PAIRS }>().0);
        for (lines, x) in lines.as_chunks::<PAIRS>().0.iter().zip(steps) {
            let rows: &[[i32; PAIRS]; M] = x.as_chunks().0[first..][..M].try_into().expect("M");
            for (t, line) in lines.iter().enumerate() {
                // SAFETY: pointers to arrays of the width of the loads.
                unsafe {
                    let w: [__m512bh; 2] = [
                        line.as_ptr().cast::<__m512bh>().read_unaligned(),
                        line[16..].as_ptr().cast::<__m512bh>().read_unaligned(),
                    ];
                    for m in 0..M {
                        let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(rows[m][t]));
                        all[m][0] = _mm512_dpbf16_ps(all[m][0], w[0], x);
                        all[m][1] = _mm512_dpbf16_ps(all[m][1], w[1], x);
                    }
                }
            }
        }
        for (to, all) in sums.iter_mut().zip(all) {
            // SAFETY: as above.
            unsafe {
                _mm512_storeu_ps(to.as_mut_ptr(), all[0]);
                _mm512_storeu_ps(to[16..].as_mut_ptr(), all[1]);
            }
        }
    }
    let x: &[i32] = bytemuck::cast_slice(x);
    for first in (0..count).step_by(M) {
        // SAFETY: a `Bf16` is made where the processor has the features alone.
        unsafe { inner(panel, x, first, &mut sums[first..first + M]) }
    }
}
