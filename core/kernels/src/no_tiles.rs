//! [`tiles`](super::tiles) where the processor has none.

use super::packed::Packed;
use super::pool::Pool;

/// None.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tiles {}

impl Tiles {
    pub(super) fn best() -> Option<Tiles> {
        None
    }
}

/// None.
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

/// As there.
#[allow(dead_code, reason = "nobody reads what nobody makes")]
pub(super) struct Meet<'a, 'out> {
    pub(super) w: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) x: Pieces<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'out mut [f32]],
}

pub(super) fn meet<P: Packed>(all: Meet<'_, '_>) {
    let _ = all.x.lines;
    match all.x.tiles {}
}
