//! The KV cache of one sequence and block on a GPU.

use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;

use super::{floats, tensor};
use crate::kernels::gpu::between::rotate;
use crate::kernels::gpu::empty;

/// Keys and values of one sequence as rows `[S, K C]` in buffers with room to grow, in the order
/// of their places; those that a sliding window has passed are let go of now and then.
#[derive(Debug, Default)]
pub(crate) struct DeviceKv {
    buffers: Option<[CubeTensor; 2]>,
    /// Heads of a row and their size.
    shape: [usize; 2],
    /// Rows in the cache.
    pub held: usize,
    /// Rows that a sliding window has dropped.
    gone: usize,
    /// How often the buffers were made anew.
    made: usize,
    /// Tokens that a later one may still look at; `None`: all.
    window: Option<usize>,
}

impl DeviceKv {
    /// Nothing yet, of a layer that sees a sliding window where it is told; always there, but in a build
    /// without GPUs.
    pub(crate) fn begin(window: Option<usize>) -> Option<DeviceKv> {
        Some(DeviceKv { window, ..DeviceKv::default() })
    }

    /// The places of the rows that are held, and of `t` more.
    pub(crate) fn places(&self, t: usize) -> Vec<usize> {
        (self.gone..self.gone + self.held + t).collect()
    }

    /// Whether no row was dropped.
    pub(crate) fn holds_all(&self) -> bool {
        self.gone == 0
    }

    /// Goes back to the first `len` rows, all of which are held.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.held = self.held.min(len);
    }

    /// Bytes that the buffers take.
    pub(crate) fn bytes(&self) -> usize {
        let buffers = self.buffers.iter().flatten();
        buffers.map(|buffer| 4 * buffer.meta.num_elements()).sum()
    }

    /// Rows that are held, rows that are gone, and how often the buffers were made anew.
    pub(crate) fn state(&self) -> [usize; 3] {
        [self.held, self.gone, self.made]
    }

    /// Takes in a row that a kernel has written.
    pub(crate) fn push(&mut self) {
        self.held += 1;
    }

    /// Lets go of the last row.
    pub(crate) fn pop(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// Tokens read, in the cache or dropped.
    pub(crate) fn seen(&self) -> usize {
        self.gone + self.held
    }

    /// Tokens that a later one may still look at; `None`: all.
    pub(crate) fn window(&self) -> Option<usize> {
        self.window
    }

    /// The rows that are held, `[1, K, S, C]` each; `None` where there are none yet.
    pub(crate) fn tensors(&self) -> Option<(Tensor<4>, Tensor<4>)> {
        let [keys, values] = self.buffers.as_ref()?;
        let [heads, c] = self.shape;
        let all = |rows: &CubeTensor| {
            let size = rows.meta.num_elements() / (heads * c).max(1);
            let rows = tensor(rows.clone(), [size, heads * c]).narrow(0, 0, self.held);
            rows.reshape([1, self.held, heads, c]).swap_dims(1, 2)
        };
        Some((all(keys), all(values)))
    }

    /// Buffers with room for `t` more rows of so many heads of such a size.
    pub(crate) fn room(
        &mut self,
        t: usize,
        [heads, c]: [usize; 2],
        like: &CubeTensor,
    ) -> [CubeTensor; 2] {
        let row = heads * c;
        self.shape = [heads, c];
        // Let go only when there is no room, so that the rest is seldom moved.
        let elements = self.buffers.as_ref().map_or(0, |[keys, _]| keys.meta.num_elements());
        if let Some(buffers) = &self.buffers
            && self.held + t <= elements / row.max(1)
        {
            return buffers.clone();
        }
        let keep = self.window.map_or(self.held, |window| window.min(self.held));
        // Powers of two from 64: few sizes are ever allocated.
        let size = match self.window {
            Some(window) => (keep + t).max((2 * window).min(2 * (keep + t))),
            None => keep + t,
        };
        let size = size.next_power_of_two().max(64);
        let moved = |old: Option<&CubeTensor>| {
            let new = empty(like, [size, row]);
            if let (Some(old), true) = (old, keep > 0) {
                let rows = old.meta.num_elements() / row;
                let old = tensor(old.clone(), [rows, row]).narrow(0, self.held - keep, keep);
                if let Some(old) = floats(&old) {
                    rotate(None, &old, &new, 0, [keep, row, row]);
                }
            }
            new
        };
        let old = self.buffers.as_ref();
        let buffers = [moved(old.map(|old| &old[0])), moved(old.map(|old| &old[1]))];
        self.buffers = Some(buffers.clone());
        self.made += 1;
        self.gone += self.held - keep;
        self.held = keep;
        buffers
    }

    /// Takes in rows that tensor operations have made; gives back all that are held.
    ///
    /// # Shapes
    /// `k, v: [1, K, T, C]` -> `[1, K, S, C]`
    pub(crate) fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [_, heads, t, c] = k.dims();
        let row = heads * c;
        let flat = |x: &Tensor<4>| floats(&x.clone().swap_dims(1, 2));
        if let (Some(new_k), Some(new_v)) = (flat(&k), flat(&v)) {
            let [keys, values] = self.room(t, [heads, c], &new_k);
            rotate(None, &new_k, &keys, self.held, [t, row, row]);
            rotate(None, &new_v, &values, self.held, [t, row, row]);
            self.held += t;
        }
        self.tensors().unwrap_or((k, v))
    }
}
