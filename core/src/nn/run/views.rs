//! Visible keys on a GPU: for each query a range of rows of the cache.

use std::cell::RefCell;
use std::rc::Rc;

use burn_cubecl::tensor::CubeTensor;

use super::knows::Sight;
use crate::kernels::cpu::attention::Part;
use crate::nn::gpu::ints;
use crate::nn::spec::Span;

/// What queries see, on the device.
#[derive(Debug)]
pub(crate) struct Seen {
    pub ranges: Vec<(u32, u32)>,
    pub tensor: CubeTensor,
}

/// What queries see in blocks that are alike, made once a pass: by span and rows of keys.
#[derive(Debug, Default)]
pub(crate) struct Views(RefCell<Vec<(Span, usize, Rc<Seen>)>>);

impl Views {
    pub(crate) fn seen(
        &self,
        (span, sight): (Span, Sight),
        m: usize,
        keys: usize,
        parts: &[Part],
        like: &CubeTensor,
    ) -> Rc<Seen> {
        let known = self
            .0
            .borrow()
            .iter()
            .find(|(s, k, _)| (*s, *k) == (span, keys))
            .map(|(_, _, seen)| seen.clone());
        if let Some(known) = known {
            return known;
        }
        let ranges = ranges(sight, m, parts);
        let flat: Vec<i32> =
            ranges.iter().flat_map(|range| [range.0 as i32, range.1 as i32]).collect();
        let seen = Rc::new(Seen { ranges, tensor: ints(&flat, like) });
        self.0.borrow_mut().push((span, keys, seen.clone()));
        seen
    }
}

/// Of each query the first row of keys that it sees, and the first after it that it does not.
pub(crate) fn ranges(Sight { window, after }: Sight, m: usize, parts: &[Part]) -> Vec<(u32, u32)> {
    // What belongs to no part sees nothing.
    let mut ranges = vec![(0, 0); m];
    for part in parts {
        for (i, range) in ranges[part.queries.clone()].iter_mut().enumerate() {
            let place = part.keys.start + part.before + i;
            let from = window.map_or(0, |window: usize| (place + 1).saturating_sub(window));
            let to = after
                .map_or(usize::MAX, |after: usize| place.saturating_add(after).saturating_add(1));
            *range = (from.max(part.keys.start) as u32, to.min(part.keys.end) as u32);
        }
    }
    ranges
}
