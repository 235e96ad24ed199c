//! What [emberform](https://docs.rs/emberform) computes on the CPU, on plain slices: products with
//! packed weights, attention, and what stands between them.
//!
//! ```text
//! matmul, rows (this file: checks, shares for the threads, choice of format and processor)
//!   format.rs     the formats, ggml.rs: their blocks in plain loops, the reference of all
//!   pool.rs       the threads
//!   quantized.rs  activations in 16 bits, rounding.rs: a group of them
//!   product.rs    GEMV and GEMM, once for all formats and processors, sums.rs: where their sums go,
//!                 wide.rs: the GEMM of floats in AVX-512
//!   packed.rs     what the bytes of a block mean
//!   panels.rs     repacked weights, bf16.rs: products in bfloat16
//!   vnni.rs       GEMV in bytes, tile_bytes.rs: small batches in bytes by tiles
//!   tiles.rs      prefill GEMM in pieces of bfloat16
//!   attention.rs  attention, between.rs: norms, activations, rotations
//!   logits.rs     what choosing a token asks of them
//!   simd.rs       the vocabulary all are written in, x86.rs, arm.rs: its instructions
//!   level.rs      which of them are taken, features.rs: proofs that the processor has them
//! ```
//!
//! Sums are f32: the result is that of the weights of [`crate::ggml::dequantize`] but for the order
//! of summation and, with [`Arithmetic::Integers`], the rounding of activations to 16 bits (of
//! weights too, in a GEMM by tiles). The number of threads changes nothing. No matrix is ever
//! dequantized as a whole: a thread holds at most 512 KiB, kept from call to call.

use std::borrow::Cow;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

mod activation;
mod arithmetic;
#[cfg(target_arch = "aarch64")]
mod arm;
pub mod attention;
pub mod between;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod features;
mod format;
pub mod ggml;
mod level;
pub mod logits;
mod packed;
mod panels;
pub mod pool;
#[allow(clippy::needless_range_loop, reason = "closures would lose the target features")]
mod product;
mod quantized;
mod rounding;
mod simd;
mod sums;
#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop, reason = "closures would lose the target features")]
mod tile_bytes;
#[cfg_attr(not(target_arch = "x86_64"), path = "no_tiles.rs")]
#[allow(clippy::needless_range_loop, reason = "closures would lose the target features")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activation::Activation;
pub use arithmetic::Arithmetic;
pub use format::Format;
pub use panels::Panels;

use format::row_bytes;
use level::Level;
use packed::{BlockFormat, Quants};
use panels::Kind;
use pool::{Pool, Shares};
use product::{IntProduct, Operands, Product, SCRATCH, STRIP, Unpack, few_floats};
use quantized::{FEW_INTS, Quantized};
use simd::PANEL_ROWS;
use sums::Line;
use tiles::{Pieces, Tiles};

/// Bytes of packed weights that a thread takes at a time in a GEMV: some 5 us of work.
const SHARE: usize = 128 << 10;

/// Multiplications under which a product is not worth another thread.
const SMALL: usize = 32 << 10;

/// Runs `$call::<P>($($arg),*)` with the [`BlockFormat`] type `P` of `$format`.
macro_rules! with_format {
    ($format:expr, $call:ident($($arg:expr),* $(,)?)) => {
        match $format {
            Format::F32 => $call::<packed::F32>($($arg),*),
            Format::F16 => $call::<packed::F16>($($arg),*),
            Format::BF16 => $call::<packed::Bf16>($($arg),*),
            Format::Q4_0 => $call::<packed::Q4_0>($($arg),*),
            Format::Q4_1 => $call::<packed::Q4_1>($($arg),*),
            Format::Q5_0 => $call::<packed::Q5_0>($($arg),*),
            Format::Q5_1 => $call::<packed::Q5_1>($($arg),*),
            Format::Q8_0 => $call::<packed::Q8_0>($($arg),*),
            Format::Q2_K => $call::<packed::Q2K>($($arg),*),
            Format::Q3_K => $call::<packed::Q3K>($($arg),*),
            Format::Q4_K => $call::<packed::Q4K>($($arg),*),
            Format::Q5_K => $call::<packed::Q5K>($($arg),*),
            Format::Q6_K => $call::<packed::Q6K>($($arg),*),
        }
    };
}

/// As [`with_format`], for the formats of integers; the others take `$else`.
macro_rules! with_quants {
    ($format:expr, $call:ident($($arg:expr),* $(,)?), else $else:expr) => {
        match $format {
            Format::F32 | Format::F16 | Format::BF16 => $else,
            Format::Q4_0 => $call::<packed::Q4_0>($($arg),*),
            Format::Q4_1 => $call::<packed::Q4_1>($($arg),*),
            Format::Q5_0 => $call::<packed::Q5_0>($($arg),*),
            Format::Q5_1 => $call::<packed::Q5_1>($($arg),*),
            Format::Q8_0 => $call::<packed::Q8_0>($($arg),*),
            Format::Q2_K => $call::<packed::Q2K>($($arg),*),
            Format::Q3_K => $call::<packed::Q3K>($($arg),*),
            Format::Q4_K => $call::<packed::Q4K>($($arg),*),
            Format::Q5_K => $call::<packed::Q5K>($($arg),*),
            Format::Q6_K => $call::<packed::Q6K>($($arg),*),
        }
    };
}

/// `out[i, j] = sum over l of x[i, l] * w[j, l] + bias[j]`: floats times the transpose of packed rows.
///
/// # Shapes
///
/// `w`: `n` rows of `format.row_bytes(k)` bytes each, at any alignment (bytes after them are not
/// looked at); `x: [m, k]`; `out: [m, n]`, overwritten.
///
/// The lengths are the caller's to have checked. They are compared once, by assertions, before
/// anything is computed: a mismatch is a fault of this crate, not of its input, and must neither
/// read past the end nor leave `out` half written.
pub fn matmul(
    format: Format,
    w: &[u8],
    x: &[f32],
    [m, k, n]: [usize; 3],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    matmuls(&[Matrix { format, w, n, bias, panels: None, then: None }], x, [m, k], &mut [out]);
}

/// A matrix of packed rows to multiply with, and what is added to the products.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// How its rows are packed.
    pub format: Format,
    /// `n` rows, at any alignment; bytes after them are not looked at.
    pub w: &'a [u8],
    /// Number of rows.
    pub n: usize,
    /// `[n]`, added to each row of the result.
    pub bias: Option<&'a [f32]>,
    /// The same rows repacked as [`Panels`], for products with more than a few rows of `x`.
    pub panels: Option<&'a Panels>,
    /// What is made of the products, bias and all.
    pub then: Option<Activation>,
}

/// [`matmul`] of the same `x` with several matrices, as one piece of work for the threads:
/// `out[i]` is `[m, matrices[i].n]`.
pub fn matmuls(matrices: &[Matrix<'_>], x: &[f32], [m, k]: [usize; 2], out: &mut [&mut [f32]]) {
    let pool = pool::current();
    let (level, arithmetic) = (Level::best(), pool.arithmetic());
    let how = How { level, tiles: Tiles::best(), pool: &pool, arithmetic };
    matmuls_with(how, matrices, x, [m, k], out);
}

/// The rows `ids` of a packed table as floats.
///
/// # Shapes
///
/// `w`: rows of `format.row_bytes(k)` bytes each; `ids: [M]`, each less than the number of rows;
/// `out: [M, k]`, overwritten.
///
/// As in [`matmul`], lengths and ids are the caller's to have checked, and are asserted.
pub fn rows(format: Format, w: &[u8], ids: &[u32], k: usize, out: &mut [f32]) {
    rows_with(Level::best(), format, w, ids, k, out);
}

/// With what, by whom and how.
#[derive(Clone, Copy)]
struct How<'a> {
    level: Level,
    /// AMX, for products with many rows (GEMM).
    tiles: Option<Tiles>,
    pool: &'a Pool,
    arithmetic: Arithmetic,
}

fn matmuls_with(
    how: How<'_>,
    matrices: &[Matrix<'_>],
    x: &[f32],
    [m, k]: [usize; 2],
    out: &mut [&mut [f32]],
) {
    assert_eq!(m.checked_mul(k), Some(x.len()), "`x` is not [{m}, {k}]");
    assert_eq!(matrices.len(), out.len(), "one result a matrix");
    for (matrix, out) in matrices.iter().zip(&*out) {
        let Matrix { format, w, n, bias, .. } = *matrix;
        row_bytes(format, w, k, n);
        assert!(bias.is_none_or(|bias| bias.len() == n), "`bias` is not [{n}]");
        assert_eq!(m.checked_mul(n), Some(out.len()), "`out` is not [{m}, {n}]");
    }
    if m == 0 || k == 0 {
        for (matrix, out) in matrices.iter().zip(out) {
            for row in out.chunks_exact_mut(matrix.n.max(1)) {
                match matrix.bias {
                    Some(bias) => row.copy_from_slice(bias),
                    None => row.fill(0.0),
                }
                if let Some(kind) = matrix.then {
                    between::activate_rows(kind, &mut [row]);
                }
            }
        }
        return;
    }
    // Unpacked formats may have any width: what is missing to a whole group are zeros.
    let x = match k % 32 {
        0 => Cow::Borrowed(x),
        rest => {
            let zeros = [0.0; 32];
            Cow::Owned(x.chunks_exact(k).flat_map(|x| [x, &zeros[rest..]].concat()).collect())
        }
    };
    let (width, k) = (k, k.next_multiple_of(32));
    let floats = Activations { floats: &x, ints: None, pieces: None, halves: &[], m, k, width };
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = matrices.iter().find_map(|matrix| loops(how, matrix, &floats).rounds()) {
        thread_local! {
            static HALVES: RefCell<Vec<half::bf16>> = const { RefCell::new(Vec::new()) };
        }
        HALVES.with_borrow_mut(|halves| {
            let all = m.next_multiple_of(bf16::ROWS) * k;
            halves.resize(all.max(halves.len()), half::bf16::ZERO);
            let block = bf16::ROWS * k;
            let parts = Shares::new(x.chunks(block).zip(halves.chunks_exact_mut(block)));
            how.pool.run(m.div_ceil(bf16::ROWS), &|_| {
                if let Some((x, to)) = parts.next() {
                    bf16::round_block(kind, x, k, to);
                }
            });
            let rest = matrices.iter().any(|matrix| in_integers(how, matrix.format));
            debug_assert!(!rest, "matrices of one product are of one kind");
            share_out(how, matrices, &Activations { halves: &halves[..all], ..floats }, out);
        });
        return;
    }
    thread_local! {
        static BUFFERS: RefCell<(tiles::Buffer, quantized::Buffer)> = RefCell::default();
    }
    let by_tiles = |matrix: &&Matrix<'_>| matches!(loops(how, matrix, &floats), Loops::Tiles(_));
    let in_words = |matrix: &Matrix<'_>| in_integers(how, matrix.format) && !by_tiles(&matrix);
    BUFFERS.with_borrow_mut(|(pieces, ints)| {
        // What is multiplied with packed weights alone need not be exact.
        let exact = matrices.iter().filter(by_tiles).any(|m| !in_integers(how, m.format));
        let tiles = matrices.iter().find_map(|matrix| match loops(how, matrix, &floats) {
            Loops::Tiles(tiles) => Some(tiles),
            _ => None,
        });
        let pieces = tiles.map(|tiles| pieces.fill(tiles, how.pool, &x, k, exact));
        let ints = matrices
            .iter()
            .any(in_words)
            .then(|| ints.fill((how.level, how.tiles), how.pool, &x, k));
        share_out(how, matrices, &Activations { ints, pieces, ..floats }, out);
    });
}

/// By what all of `x` is multiplied with a matrix.
#[derive(Clone, Copy)]
enum Loops<'a> {
    /// A row or a few: dot products along the width, weights unpacked in registers.
    Gemv,
    /// GEMM by panels that were repacked before.
    Repacked(&'a Panels),
    /// GEMM by tiles of AMX, which unpack for themselves.
    Tiles(Tiles),
    /// GEMM by panels that are unpacked on the way.
    Gemm,
}

impl Loops<'_> {
    /// How `x` is rounded for it, if it is.
    #[cfg(target_arch = "x86_64")]
    fn rounds(self) -> Option<bf16::Bf16> {
        match self {
            Loops::Repacked(Panels { kind: Kind::Rounded(how), .. }) => Some(*how),
            _ => None,
        }
    }
}

/// Rows of `x` from which on panels that are there are used.
const READY: usize = 4;

/// Rows of `x` from which on tiles are quicker than panels of floats, even where another thread of the
/// same core is at work: then a tile takes three times as long to load.
const TILED: usize = 257;

/// Which loops compute a product. That depends on the number of rows, the format and the processor
/// alone, never on the threads.
fn loops<'a>(how: How<'_>, matrix: &Matrix<'a>, x: &Activations<'_>) -> Loops<'a> {
    let quicker = |panels: &&Panels| match panels.kind {
        Kind::Floats(_) => how.tiles.is_none() || x.m < TILED,
        #[cfg(target_arch = "x86_64")]
        Kind::Rounded(_) => true,
    };
    let is_of_it = |panels: &&Panels| panels.is(how.level, [matrix.n, x.width]);
    let held = matrix.panels.filter(|_| x.m >= READY).filter(quicker).filter(is_of_it);
    match (held, how.tiles) {
        (Some(panels), _) => Loops::Repacked(panels),
        _ if x.m <= few_rows(how, matrix.format) => Loops::Gemv,
        (None, Some(tiles)) => Loops::Tiles(tiles),
        (None, None) => Loops::Gemm,
    }
}

/// Whether products with this format are summed in integers.
fn in_integers(how: How<'_>, format: Format) -> bool {
    how.arithmetic == Arithmetic::Integers && format.block() > 1
}

/// The most rows of `x` that the GEMV loops take.
fn few_rows(how: How<'_>, format: Format) -> usize {
    match in_integers(how, format) {
        true => FEW_INTS,
        false => few_floats(format == Format::F32),
    }
}

/// What the matrices are multiplied with: `[m, k]`.
#[derive(Clone, Copy)]
struct Activations<'a> {
    floats: &'a [f32],
    /// Where a matrix asks for them.
    ints: Option<Quantized<'a>>,
    /// Where tiles ask for them.
    pieces: Option<Pieces<'a>>,
    /// Where panels ask for them, with rows of anything up to a whole block.
    halves: &'a [half::bf16],
    m: usize,
    /// A multiple of 32.
    k: usize,
    /// Weights in a row.
    width: usize,
}

impl<'a> Activations<'a> {
    /// How many rows stay in the cache of a thread while they are multiplied with one row of a matrix
    /// after another.
    fn near(&self) -> usize {
        /// Bytes of halves: what panels and results leave of a second cache.
        const HALVES: usize = 512 << 10;
        match self.pieces {
            Some(pieces) => pieces.near(),
            None if self.halves.is_empty() => self.m,
            None => (HALVES / (2 * self.k)).max(1).next_multiple_of(PANEL_ROWS),
        }
    }

    /// The rows from row `first` on, which is 0 but in a GEMM by tiles.
    fn skip_rows(&self, first: usize) -> Activations<'a> {
        debug_assert!(first == 0 || self.ints.is_none(), "in a GEMM all rows go by tiles");
        let pieces = self.pieces.map(|pieces| pieces.skip_rows(first));
        let halves =
            if self.halves.is_empty() { self.halves } else { &self.halves[first * self.k..] };
        Activations { floats: &self.floats[first * self.k..], pieces, halves, ..*self }
    }
}

/// Multiplies shares of the rows of the matrices, on the threads of the pool.
fn share_out(how: How<'_>, matrices: &[Matrix<'_>], x: &Activations<'_>, out: &mut [&mut [f32]]) {
    let (m, k, threads) = (x.m, x.k, how.pool.threads());
    let all: usize = matrices.iter().map(|matrix| matrix.n).sum();
    let small = threads == 1 || m.saturating_mul(all).saturating_mul(k) < SMALL;
    // Rows of a share. For many rows of `x`, whole panels.
    let share = |matrix: &Matrix<'_>| {
        let way = loops(how, matrix, x);
        match way {
            _ if small => matrix.n.max(1),
            Loops::Gemv => {
                let row_bytes = row_bytes(matrix.format, matrix.w, x.width, matrix.n);
                let even = matrix.n.div_ceil(threads).min(SHARE / row_bytes.max(1));
                // Whole tiles, where those meet them.
                even.max(1).next_multiple_of(2 * STRIP)
            }
            Loops::Repacked(_) | Loops::Tiles(_) | Loops::Gemm => {
                // Tiles unpack the next panel while they multiply one.
                let each = if matches!(way, Loops::Repacked(_)) { 16 } else { 6 };
                (all.div_ceil(PANEL_ROWS) / (each * threads)).clamp(1, 8) * PANEL_ROWS
            }
        }
    };
    let shares = |matrix: &Matrix<'_>| matrix.n.div_ceil(share(matrix));
    // Where tiles meet them, as many rows of `x` at a time as stay in the cache of a thread.
    let near = x.near();
    let columns: OutColumns = out.iter_mut().map(|out| out.as_mut_ptr()).collect();
    let count: usize = matrices.iter().map(shares).sum();
    how.pool.run(count * m.div_ceil(near), &|task| {
        let few = task / count * near..m.min((task / count + 1) * near);
        let mut task = task % count;
        for (i, matrix) in matrices.iter().enumerate() {
            if task >= shares(matrix) {
                task -= shares(matrix);
                continue;
            }
            let share = share(matrix);
            let rows = task * share..((task + 1) * share).min(matrix.n);
            // SAFETY: each number of a task comes once, and belongs to a part of its own.
            unsafe {
                columns.with(i, few.clone(), [matrix.n, rows.start, rows.end], |out| {
                    multiply(how, matrix, &x.skip_rows(few.start), rows, out);
                    if let Some(kind) = matrix.then {
                        // While they are in the nearest cache.
                        between::activate_rows(kind, out);
                    }
                })
            };
            return;
        }
    });
}

/// Where the results go, as threads share them: columns of `[m, n]`.
struct OutColumns(Vec<*mut f32>);

// SAFETY: threads write to columns of their own alone, as `with` asks of its caller.
unsafe impl Sync for OutColumns {}

impl FromIterator<*mut f32> for OutColumns {
    fn from_iter<I: IntoIterator<Item = *mut f32>>(from: I) -> OutColumns {
        OutColumns(from.into_iter().collect())
    }
}

impl OutColumns {
    /// Calls `work` with the columns from `start` to `end` of some rows of result `i`, a slice for
    /// each.
    ///
    /// # Safety
    /// The result has `n` columns and all of the rows, `end` is not above `n`, and nobody else has
    /// any of it.
    unsafe fn with(
        &self,
        i: usize,
        rows: Range<usize>,
        [n, start, end]: [usize; 3],
        work: impl FnOnce(&mut [&mut [f32]]),
    ) {
        let row = |m: usize| {
            let at = (rows.start + m) * n + start;
            // SAFETY: within the result and disjoint, as the caller vouches for.
            unsafe { std::slice::from_raw_parts_mut(self.0[i].add(at), end - start) }
        };
        // A token allocates nothing, nor do those of a few sequences.
        let m = rows.len();
        match m {
            1 => work(&mut [row(0)]),
            2 => work(&mut [row(0), row(1)]),
            3 => work(&mut [row(0), row(1), row(2)]),
            4..=FEW_INTS => {
                let mut rows: [&mut [f32]; FEW_INTS] = Default::default();
                (0..m).zip(&mut rows).for_each(|(m, to)| *to = row(m));
                work(&mut rows[..m]);
            }
            _ => work(&mut (0..m).map(row).collect::<Vec<_>>()),
        }
    }
}

/// Some rows of a matrix times all of `x`.
fn multiply(
    how: How<'_>,
    matrix: &Matrix<'_>,
    x: &Activations<'_>,
    rows: Range<usize>,
    out: &mut [&mut [f32]],
) {
    let way = loops(how, matrix, x);
    if let Loops::Repacked(panels) = way {
        return by_panels(how, matrix, panels, x, rows, out);
    }
    let row_bytes = row_bytes(matrix.format, matrix.w, x.width, matrix.n);
    let share = Share { how, matrix, rows, row_bytes };
    match (way, x.pieces, x.ints) {
        (Loops::Tiles(_), Some(pieces), _) => {
            with_format!(matrix.format, by_tiles(share, pieces, out));
        }
        (_, _, Some(ints)) if in_integers(how, matrix.format) => with_quants!(
            matrix.format,
            integers(share, ints, out),
            else unreachable!("the formats of floats are not summed in integers")
        ),
        _ => with_format!(matrix.format, floats(share, x, out)),
    }
}

fn by_panels(
    how: How<'_>,
    matrix: &Matrix<'_>,
    held: &Panels,
    x: &Activations<'_>,
    rows: Range<usize>,
    out: &mut [&mut [f32]],
) {
    let bias = matrix.bias.map(|bias| &bias[rows.clone()]);
    match held.kind {
        Kind::Floats(_) => {
            let (panels, all, first) = (&held.lines[..], matrix.n, rows.start);
            let (x, k) = (x.floats, x.k);
            how.level.run(product::Ready { panels, all, first, x, k, bias, out });
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Rounded(how) => {
            let panel = bf16::panel(x.k) / 16;
            let panels = rows.start / bf16::ROWS..rows.end.div_ceil(bf16::ROWS);
            let panels = &held.lines[panels.start * panel..panels.end * panel];
            bf16::gemm(how, bf16::PanelProduct { panels, x: x.halves, k: x.k, bias, out });
        }
    }
}

/// A share of the rows of a matrix.
struct Share<'a> {
    how: How<'a>,
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    row_bytes: usize,
}

fn floats<P: BlockFormat>(share: Share<'_>, x: &Activations<'_>, out: &mut [&mut [f32]]) {
    let level = share.how.level;
    rows_of::<P>(share, out, &|rows| level.run(Product::<P> { rows, x: x.floats, k: x.k }));
}

fn by_tiles<P: BlockFormat>(share: Share<'_>, x: Pieces<'_>, out: &mut [&mut [f32]]) {
    let Share { matrix, rows, row_bytes, .. } = share;
    let w = &matrix.w[rows.start * row_bytes..rows.end * row_bytes];
    let (w, row_bytes) = padded::<P>(w, row_bytes);
    let bias = matrix.bias.map(|bias| &bias[rows]);
    tiles::gemm::<P>(tiles::TileProduct { w: &w, row_bytes, x, bias, out });
}

fn integers<P: Quants>(share: Share<'_>, x: Quantized<'_>, out: &mut [&mut [f32]]) {
    let level = share.how.level;
    rows_of::<P>(share, out, &|rows| level.run(IntProduct::<P> { rows, x }));
}

/// Calls `part` with a share of rows, in whole blocks.
fn rows_of<P: BlockFormat>(
    share: Share<'_>,
    out: &mut [&mut [f32]],
    part: &impl Fn(Operands<'_, '_, P>),
) {
    thread_local! {
        static PANEL: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    let Share { matrix, rows, row_bytes, .. } = share;
    let w = &matrix.w[rows.start * row_bytes..rows.end * row_bytes];
    let (w, row_bytes) = padded::<P>(w, row_bytes);
    PANEL.with_borrow_mut(|scratch| {
        if out.len() > few_floats(P::PLAIN) && scratch.is_empty() {
            scratch.resize(SCRATCH, Line::ZERO);
        }
        let bias = matrix.bias.map(|bias| &bias[rows]);
        part(Operands { format: PhantomData, w: &w, row_bytes, bias, out, scratch });
    });
}

/// The rows with zeros after each up to a whole number of blocks, and the bytes of such a row.
fn padded<P: BlockFormat>(w: &[u8], row_bytes: usize) -> (Cow<'_, [u8]>, usize) {
    let whole = row_bytes.next_multiple_of(size_of::<P::Block>());
    if whole == row_bytes {
        return (Cow::Borrowed(w), whole);
    }
    let mut rows = vec![0; w.len() / row_bytes * whole];
    for (to, from) in rows.chunks_exact_mut(whole).zip(w.chunks_exact(row_bytes)) {
        to[..row_bytes].copy_from_slice(from);
    }
    (Cow::Owned(rows), whole)
}

fn rows_with(level: Level, format: Format, w: &[u8], ids: &[u32], k: usize, out: &mut [f32]) {
    let last = ids.iter().max().map_or(0, |&id| (id as usize).saturating_add(1));
    let row_bytes = row_bytes(format, w, k, last);
    assert_eq!(ids.len().checked_mul(k), Some(out.len()), "`out` is not [{}, {k}]", ids.len());
    if k == 0 {
        return;
    }
    for (&id, out) in ids.iter().zip(out.chunks_exact_mut(k)) {
        let row = &w[id as usize * row_bytes..][..row_bytes];
        if k.is_multiple_of(32) {
            with_format!(format, unpack(level, row, out));
        } else {
            crate::ggml::dequantize(format, row, out);
        }
    }
}

fn unpack<P: BlockFormat>(level: Level, w: &[u8], out: &mut [f32]) {
    level.run(Unpack { format: PhantomData::<P>, w, out });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::dequantize;

    fn matmul_with(
        how: How<'_>,
        format: Format,
        w: &[u8],
        x: &[f32],
        [m, k, n]: [usize; 3],
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let matrix = Matrix { format, w, n, bias, panels: None, then: None };
        matmuls_with(how, &[matrix], x, [m, k], &mut [out]);
    }

    /// Small pseudo-random numbers.
    struct Random(u32);

    impl Random {
        fn next(&mut self) -> u32 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.0 >> 8
        }

        fn float(&mut self) -> f32 {
            self.next() as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// `n` rows of random blocks whose scales are finite.
    fn packed(format: Format, k: usize, n: usize, random: &mut Random) -> Vec<u8> {
        let block = format.block_bytes();
        let mut bytes: Vec<u8> = (0..n * format.row_bytes(k).expect("a whole number of blocks"))
            .map(|_| random.next() as u8)
            .collect();
        // The upper byte of each float of a block: sign, and an exponent that is not large.
        let (upper, exponent): (&[usize], u8) = match format {
            Format::F32 => (&[3], 0x3c),
            Format::BF16 => (&[1], 0x3c),
            Format::F16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => (&[1], 0x28),
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => (&[1, 3], 0x28),
            Format::Q2_K => (&[81, 83], 0x28),
            Format::Q3_K => (&[109], 0x28),
            Format::Q6_K => (&[209], 0x28),
        };
        for block in bytes.chunks_exact_mut(block) {
            for &at in upper {
                block[at] = block[at] & 0x83 | exponent;
            }
        }
        bytes
    }

    fn widths(format: Format) -> &'static [usize] {
        match format.block() {
            1 => &[1, 7, 33, 640, 1100],
            32 => &[32, 96, 640, 1056, 2080],
            _ => &[256, 1280, 2304],
        }
    }

    /// Every format, every level of this processor, many shapes: the sums are as near to those
    /// of the reference as f32 allows, the same on more threads and in a smaller batch.
    #[test]
    fn products_are_those_of_the_reference() {
        let mut random = Random(1);
        for format in Format::ALL {
            for &k in widths(format) {
                for [m, n] in [[1, 7], [1, 1000], [2, 33], [5, 4], [7, 130], [13, 9], [70, 33]] {
                    let w = packed(format, k, n, &mut random);
                    let x: Vec<f32> = (0..m * k).map(|_| random.float()).collect();
                    let mut floats = vec![0.0; n * k];
                    dequantize(format, &w, &mut floats);
                    for level in Level::detect() {
                        for arithmetic in [Arithmetic::Floats, Arithmetic::Integers] {
                            for tiles in tiles_at(level) {
                                let how = (level, tiles, arithmetic);
                                check(how, format, &w, &floats, &x, [m, k, n]);
                            }
                        }
                    }
                }
            }
        }
    }

    /// More rows than are multiplied at a time, and a width of more than one stretch.
    #[test]
    fn tiles_meet_many_rows() {
        let mut random = Random(4);
        let Some(level) = Level::detect().next().filter(|_| Tiles::best().is_some()) else {
            return;
        };
        for format in [Format::F32, Format::Q8_0, Format::Q4_K] {
            let [m, k, n] = [450, 1280, 37];
            let w = packed(format, k, n, &mut random);
            let x: Vec<f32> = (0..m * k).map(|_| random.float()).collect();
            let mut floats = vec![0.0; n * k];
            dequantize(format, &w, &mut floats);
            let how = (level, Tiles::best(), Arithmetic::Integers);
            check(how, format, &w, &floats, &x, [m, k, n]);
        }
    }

    /// Without tiles, and with them where they are used.
    fn tiles_at(level: Level) -> impl Iterator<Item = Option<Tiles>> {
        let some = Tiles::best().filter(|_| level.lanes() == 16);
        std::iter::once(None).chain(some.map(Some))
    }

    #[allow(clippy::too_many_arguments)]
    fn check(
        (level, tiles, arithmetic): (Level, Option<Tiles>, Arithmetic),
        format: Format,
        w: &[u8],
        floats: &[f32],
        x: &[f32],
        [m, k, n]: [usize; 3],
    ) {
        let [alone, three] = [Pool::new(1), Pool::new(3)];
        let how = |pool, arithmetic| How { level, tiles, pool, arithmetic };
        let mut out = vec![f32::NAN; m * n];
        matmul_with(how(&alone, arithmetic), format, w, x, [m, k, n], None, &mut out);

        // The longest chain of roundings: the products and sums of a lane (at least four lanes),
        // the lanes, the stretches.
        let chain = 2 * (k.min(1024) + 1) + 4 + k.div_ceil(1024);
        let integers = arithmetic == Arithmetic::Integers;
        let within = |out: &[f32]| {
            for (i, x) in x.chunks_exact(k).enumerate() {
                for (j, w) in floats.chunks_exact(k).enumerate() {
                    let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let error = (terms().sum::<f64>() - f64::from(out[i * n + j])).abs();
                    let mut bound =
                        terms().map(f64::abs).sum::<f64>() * chain as f64 / (1 << 24) as f64;
                    if integers && format.block() > 1 {
                        // Each number of `x` is off by half a step of its group.
                        for (x, w) in x.chunks(32).zip(w.chunks(32)) {
                            let largest =
                                x.iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
                            let weights: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
                            bound += 0.51 * largest / 32512.0 * weights;
                        }
                    }
                    let what = format!("{format} [{m}, {k}, {n}] at [{i}, {j}]");
                    assert!(error <= bound, "{what}: {error} > {bound}");
                }
            }
        };
        within(&out);

        let mut again = vec![f32::NAN; m * n];
        matmul_with(how(&three, arithmetic), format, w, x, [m, k, n], None, &mut again);
        assert!(out == again, "{format} [{m}, {k}, {n}] on three threads");
        let few = few_rows(how(&alone, arithmetic), format);
        if let Some(panels) = Panels::at(level, format, w, [n, k]) {
            let (bias, panels) = (None, Some(&panels));
            let matrix = Matrix { format, w, n, bias, panels, then: None };
            let mut ready = vec![f32::NAN; m * n];
            matmuls_with(how(&three, arithmetic), &[matrix], x, [m, k], &mut [&mut ready]);
            within(&ready);
            assert!(
                m <= few || tiles.is_some() || out == ready,
                "{format} [{m}, {k}, {n}], panels made before"
            );
        }
        if m > few {
            // The last rows, in tiles of other sizes.
            let rest = &x[(m - few - 1) * k..];
            let mut again = vec![f32::NAN; (few + 1) * n];
            matmul_with(
                how(&alone, arithmetic),
                format,
                w,
                rest,
                [few + 1, k, n],
                None,
                &mut again,
            );
            assert!(out[(m - few - 1) * n..] == again, "{format} [{m}, {k}, {n}], a smaller batch");
        }
    }

    /// The activation is that of the products, few rows or many, by panels and without.
    #[test]
    fn products_become_what_is_asked() {
        let mut random = Random(5);
        let [k, n] = [96, 150];
        let bias: Vec<f32> = (0..n).map(|_| random.float()).collect();
        for format in [Format::F32, Format::Q8_0] {
            let w = packed(format, k, n, &mut random);
            let panels = Panels::new(format, &w, [n, k]);
            for m in [0, 1, 5, 30, 130] {
                let x: Vec<f32> = (0..m * k).map(|_| random.float()).collect();
                for panels in [None, panels.as_ref()] {
                    let bias = Some(&bias[..]);
                    let run = |then| {
                        let mut out = vec![f32::NAN; m * n];
                        let matrix = Matrix { format, w: &w, n, bias, panels, then };
                        matmuls(&[matrix], &x, [m, k], &mut [&mut out]);
                        out
                    };
                    let mut wanted = run(None);
                    between::activate(Activation::Gelu, &mut wanted);
                    assert_eq!(run(Some(Activation::Gelu)), wanted, "{format}, {m} rows");
                }
            }
            let matrix = Matrix { format, w: &w, n, bias: None, panels: None, then: None };
            let some = Matrix { bias: Some(&bias), then: Some(Activation::Relu), ..matrix };
            let mut out = vec![f32::NAN; n];
            matmuls(&[some], &[], [1, 0], &mut [&mut out]);
            assert!(out.iter().zip(&bias).all(|(out, bias)| *out == bias.max(0.0)), "no width");
        }
    }

    /// Products in bfloat16: each number is off by at most half a unit of its eight bits.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn rounded_products_are_near() {
        let mut random = Random(3);
        for how_to in bf16::Bf16::detect().into_iter().flatten() {
            for [m, k, n] in
                [[4, 32, 7], [17, 96, 33], [33, 640, 100], [70, 1056, 64], [450, 640, 37]]
            {
                let w = packed(Format::F32, k, n, &mut random);
                let x: Vec<f32> = (0..m * k).map(|_| random.float()).collect();
                let bias: Vec<f32> = (0..n).map(|_| random.float()).collect();
                let panels = Panels::rounded_for(how_to, Format::F32, &w, [n, k]).expect("floats");
                let mut out = vec![f32::NAN; m * n];
                let mut again = out.clone();
                for (threads, out) in [(1, &mut out), (3, &mut again)] {
                    let pool = Pool::new(threads);
                    let (level, arithmetic) = (Level::best(), Arithmetic::Floats);
                    let how = How { level, tiles: None, pool: &pool, arithmetic };
                    let (format, bias) = (Format::F32, Some(&bias[..]));
                    let (w, panels) = (&w[..], Some(&panels));
                    let matrix = Matrix { format, w, n, bias, panels, then: None };
                    matmuls_with(how, &[matrix], &x, [m, k], &mut [out]);
                }
                assert!(out == again, "[{m}, {k}, {n}] on three threads");
                let mut floats = vec![0.0; n * k];
                dequantize(Format::F32, &w, &mut floats);
                for (i, x) in x.chunks_exact(k).enumerate() {
                    for (j, w) in floats.chunks_exact(k).enumerate() {
                        let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                        let sum = terms().sum::<f64>() + f64::from(bias[j]);
                        let error = (sum - f64::from(out[i * n + j])).abs();
                        let bound = terms().map(f64::abs).sum::<f64>() / 128.0 + 1e-6;
                        assert!(error <= bound, "{how_to:?} [{m}, {k}, {n}]: {error} > {bound}");
                    }
                }
            }
        }
    }

    /// Looked-up rows are the reference's floats, whatever the level and the alignment.
    #[test]
    fn rows_are_those_of_the_reference() {
        let mut random = Random(2);
        for format in Format::ALL {
            for &k in widths(format) {
                let mut w = packed(format, k, 5, &mut random);
                let mut floats = vec![0.0; 5 * k];
                dequantize(format, &w, &mut floats);
                w.insert(0, 0);
                let ids = [4, 0, 2, 2];
                let want: Vec<f32> =
                    ids.iter().flat_map(|&i| &floats[i as usize * k..][..k]).copied().collect();
                for level in Level::detect() {
                    let mut out = vec![f32::NAN; 4 * k];
                    rows_with(level, format, &w[1..], &ids, k, &mut out);
                    assert!(out == want, "{format} {k}");
                }
            }
        }
    }

    /// Lengths that do not fit stop before anything is read.
    #[test]
    fn lengths_are_compared() {
        let refused =
            |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        let (w, x) = ([0; 2 * 34], [0.0; 32]);
        matmul(Format::Q8_0, &w, &x, [1, 32, 2], None, &mut [0.0; 2]);
        assert!(
            refused(&|| matmul(Format::Q8_0, &w, &x, [1, 32, 3], None, &mut [0.0; 3])),
            "rows of w"
        );
        assert!(
            refused(&|| matmul(Format::Q8_0, &w, &x, [1, 31, 2], None, &mut [0.0; 2])),
            "width"
        );
        assert!(refused(&|| matmul(Format::Q8_0, &w, &x, [2, 32, 2], None, &mut [0.0; 4])), "x");
        assert!(refused(&|| matmul(Format::Q8_0, &w, &x, [1, 32, 2], None, &mut [0.0; 3])), "out");
        let most = usize::MAX / 32 * 32;
        assert!(
            refused(&|| matmul(Format::Q8_0, &w, &x, [1, most, 2], None, &mut [0.0; 2])),
            "overflow"
        );
        rows(Format::Q8_0, &w, &[1], 32, &mut [0.0; 32]);
        assert!(refused(&|| rows(Format::Q8_0, &w, &[2], 32, &mut [0.0; 32])), "id");
        assert!(refused(&|| rows(Format::Q8_0, &w, &[1], 32, &mut [0.0; 33])), "out of rows");
        matmul(Format::Q8_0, &[], &[], [0, 32, 0], None, &mut []);
        let mut out = [1.0; 2];
        matmul(Format::Q8_0, &[], &[], [1, 0, 2], None, &mut out);
        assert_eq!(out, [0.0; 2], "an empty sum");
        for m in [1, 7] {
            let mut out = vec![f32::NAN; 2 * m];
            matmul(Format::Q8_0, &w, &vec![0.0; 32 * m], [m, 32, 2], Some(&[3.0, 4.0]), &mut out);
            assert!(out.chunks_exact(2).all(|row| row == [3.0, 4.0]), "a bias");
        }
    }
}
