//! [`tiles`](super::tiles) where the processor has none.

use super::product::Base;

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

impl<'a> Pieces<'a> {
    pub(super) fn from_row(self, _: usize) -> Pieces<'a> {
        self
    }

    pub(super) fn near(self, _: usize) -> usize {
        match self.tiles {}
    }
}

#[derive(Default)]
pub(super) struct Buffer;

impl Buffer {
    pub(super) fn fill(
        &mut self,
        tiles: Tiles,
        _: &super::Pool,
        _: &[f32],
        _: usize,
        _: usize,
    ) -> Pieces<'_> {
        match tiles {}
    }
}

/// As there.
#[allow(dead_code, reason = "nobody reads what nobody makes")]
pub(super) struct Meet<'a, 'out> {
    pub(super) panels: &'a [f32],
    pub(super) groups: usize,
    pub(super) x: Pieces<'a>,
    pub(super) from: usize,
    pub(super) base: Base<'a>,
    pub(super) out: &'a mut [&'out mut [f32]],
    pub(super) first: usize,
}

pub(super) fn meet(all: Meet<'_, '_>) {
    let _ = all.x.lines;
    match all.x.tiles {}
}
