//! [`tiles`](super::tiles) where the processor has none.

use super::packed::BlockFormat;
use super::pool::Pool;

/// Proof of AMX, which this processor cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tiles {}

impl Tiles {
    pub(super) fn best() -> Option<Tiles> {
        None
    }
}

/// Rows of `x` in pieces of bfloat16, which only AMX takes.
#[derive(Clone, Copy)]
pub(super) struct Pieces<'a> {
    tiles: Tiles,
    lines: std::marker::PhantomData<&'a ()>,
}

impl Pieces<'_> {
    pub(super) fn skip_rows(self, _: usize) -> Self {
        self
    }

    pub(super) fn near(self) -> usize {
        match self.tiles {}
    }
}

#[derive(Default)]
pub(super) struct Buffer;

impl Buffer {
    pub(super) fn fill(
        &mut self,
        tiles: Tiles,
        _: &Pool,
        _: &[f32],
        _: usize,
        _: bool,
    ) -> Pieces<'_> {
        match tiles {}
    }
}

/// Rows of `x` times packed rows by tiles, which nothing here can ask for.
#[allow(dead_code, reason = "nobody reads what nobody makes")]
pub(super) struct TileProduct<'a, 'out> {
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) x: Pieces<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'out mut [f32]],
}

pub(super) fn gemm<P: BlockFormat>(all: TileProduct<'_, '_>) {
    let _ = all.x.lines;
    match all.x.tiles {}
}
