//! The KV cache: keys and values of the tokens that a session has read, so that none is computed
//! twice.

use burn::tensor::{Int, Tensor, TensorData};

use super::gpu;
use super::host;
use super::run::cube::Steps;
use super::spec::{Span, Spec};

/// The cache of a sequence, or of some that are equally long: a part for each block.
#[derive(Debug)]
pub struct Cache {
    pub(crate) layers: Vec<LayerCache>,
    len: usize,
    /// How one token more is computed on a GPU.
    pub(crate) steps: Steps,
}

impl Cache {
    /// An empty cache. Blocks that see a sliding window hold no more than it, on the CPU than twice it
    /// and the tokens that came last.
    pub fn new(spec: &Spec) -> Cache {
        let layers = spec
            .layers
            .iter()
            .map(|layer| match layer.span {
                Span::Sliding { window } => {
                    LayerCache::Rolling(RingKv { window, ..Default::default() })
                }
                Span::Causal | Span::Bidirectional | Span::Local { .. } | Span::Chunked { .. } => {
                    LayerCache::Full(GrowingKv::default())
                }
            })
            .collect();
        Cache { layers, len: 0, steps: Steps::default() }
    }

    /// Tokens in the cache, those that sliding windows have dropped included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that keys and values take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    /// Goes back to the first `len` tokens and says so. Where it was never so long, or a sliding window
    /// has let go of what it held then, the answer is `false` and nothing changes.
    pub fn truncate(&mut self, len: usize) -> bool {
        if len > self.len || !self.layers.iter().all(LayerCache::holds_all) {
            return false;
        }
        self.len = len;
        for layer in &mut self.layers {
            match layer {
                LayerCache::Full(full) => full.len = len,
                LayerCache::Rolling(ring) => ring.seen = len,
                LayerCache::Host(rows) => rows.iter_mut().for_each(|held| held.truncate(len)),
                LayerCache::Device(rows) => rows.truncate(len),
            }
        }
        true
    }

    /// How one token more is computed, and what each layer holds on a GPU; `None` where one holds
    /// tensors.
    pub(crate) fn stepped(&mut self) -> Option<(&mut Steps, Vec<&mut gpu::DeviceKv>)> {
        if !self.layers.iter().all(LayerCache::fits_gpu) {
            return None;
        }
        let held = self.layers.iter_mut().map(LayerCache::device).collect::<Option<_>>()?;
        Some((&mut self.steps, held))
    }

    /// Whether steps of one token are launches of their own, which [`withdraw`](Self::withdraw) can
    /// take back.
    pub(crate) fn is_stepped(&self) -> bool {
        self.steps.are_known()
    }

    /// Goes back by the last token, which was a step by itself; also where a sliding window is full,
    /// since what it lets go of goes only with the next. Where it is not possible nothing changes.
    pub(crate) fn withdraw(&mut self) -> bool {
        let device = |layer: &LayerCache| matches!(layer, LayerCache::Device(_));
        if self.len == 0 || !self.layers.iter().all(device) {
            return false;
        }
        self.len -= 1;
        for layer in &mut self.layers {
            if let LayerCache::Device(rows) = layer {
                rows.pop();
            }
        }
        true
    }

    /// Makes row `i` what row `rows[i]` was; there may be more or fewer rows after. Only rows that
    /// change place are copied.
    pub(crate) fn reorder(&mut self, rows: &[usize]) {
        self.layers.iter_mut().for_each(|layer| layer.reorder(rows));
    }

    /// Counts tokens that every layer has taken in.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

/// The keys and values of one block, `[B, K, S, C]` each; values may have a size of their own.
#[derive(Debug)]
pub(crate) enum LayerCache {
    /// Keys and values of all tokens.
    Full(GrowingKv),
    /// The last tokens of a sliding window.
    Rolling(RingKv),
    /// Rows in this program's memory, those of each sequence by themselves.
    Host(Vec<HostKv>),
    /// Rows of one sequence on a GPU.
    Device(gpu::DeviceKv),
}

/// Keys and values of a sequence as rows `[S, K C]`, of all tokens or of the last ones.
#[derive(Debug, Default)]
pub(crate) struct HostKv {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Floats of a row.
    row: usize,
    /// Tokens that are no longer held.
    gone: usize,
    /// Tokens that a later one may still look at; `None`: all.
    window: Option<usize>,
}

impl Clone for HostKv {
    /// With the same room to grow, so that the next token does not move it.
    fn clone(&self) -> HostKv {
        let copy = |from: &Vec<f32>| {
            let mut to = Vec::with_capacity(from.capacity());
            to.extend_from_slice(from);
            to
        };
        HostKv { keys: copy(&self.keys), values: copy(&self.values), ..*self }
    }
}

impl HostKv {
    /// Takes in rows of the next tokens.
    pub(crate) fn extend(&mut self, k: &[f32], v: &[f32], row: usize) {
        self.row = row;
        let held = self.keys.len() / row.max(1);
        // Let go now and then, so that the rest is seldom moved.
        if let Some(window) = self.window
            && held >= 2 * window
        {
            self.gone += held - window;
            self.keys.drain(..(held - window) * row);
            self.values.drain(..(held - window) * row);
        }
        for (all, new) in [(&mut self.keys, k), (&mut self.values, v)] {
            if all.capacity() < all.len() + new.len() {
                all.reserve_exact(new.len() + all.len() / 2 + 64 * row);
            }
            all.extend_from_slice(new);
        }
    }

    /// Keys and values that are held.
    pub(crate) fn rows(&self) -> (&[f32], &[f32]) {
        (&self.keys, &self.values)
    }

    fn seen(&self) -> usize {
        self.gone + self.keys.len() / self.row.max(1)
    }

    fn truncate(&mut self, len: usize) {
        self.keys.truncate(len * self.row);
        self.values.truncate(len * self.row);
    }
}

/// Two tensors that grow together.
type Pair = (Tensor<4>, Tensor<4>);

/// A buffer with room to grow, so that a new token is written in place.
#[derive(Debug, Default)]
pub(crate) struct GrowingKv {
    buffer: Option<Pair>,
    len: usize,
}

/// A ring: place `p` stands at `p % window`.
#[derive(Debug, Default)]
pub(crate) struct RingKv {
    buffer: Option<Pair>,
    window: usize,
    /// Tokens seen, of which the last `window` are held.
    seen: usize,
}

impl LayerCache {
    /// The places of the keys that [`extend`](Self::extend) will give back after `t` new tokens.
    pub(crate) fn places(&self, t: usize) -> Vec<usize> {
        match self {
            LayerCache::Full(full) => (0..full.len + t).collect(),
            LayerCache::Rolling(ring) if t == 1 => ring.held(ring.seen + 1).collect(),
            LayerCache::Rolling(ring) => {
                ring.held(ring.seen).chain(ring.seen..ring.seen + t).collect()
            }
            LayerCache::Host(rows) => {
                rows.first().map_or(0..t, |held| held.gone..held.seen() + t).collect()
            }
            LayerCache::Device(rows) => rows.places(t),
        }
    }

    /// Takes in the keys and values of the next tokens; gives back all that these may look at.
    ///
    /// # Shapes
    /// `k, v: [B, K, T, C]` -> `[B, K, S, C]`
    pub(crate) fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> Pair {
        match self {
            LayerCache::Full(full) => full.extend(k, v),
            LayerCache::Rolling(ring) => ring.extend(k, v),
            LayerCache::Device(rows) => rows.extend(k, v),
            LayerCache::Host(all) => {
                // On the CPU after all in tensors: rows [S, K C] are [1, S, K, C].
                let [_, heads, t, c] = k.dims();
                let rows = |x: Tensor<4>| {
                    let x = x.swap_dims(1, 2).into_data();
                    x.try_into_vec::<f32>().unwrap_or_default()
                };
                let (k, v, part) = (rows(k), rows(v), (t * heads * c).max(1));
                let news = k.chunks_exact(part).zip(v.chunks_exact(part));
                for (held, (k, v)) in all.iter_mut().zip(news) {
                    held.extend(k, v, heads * c);
                }
                let tensor = |side: fn(&HostKv) -> &Vec<f32>| {
                    let rows: Vec<f32> = all.iter().flat_map(side).copied().collect();
                    let s = rows.len() / (all.len() * heads * c).max(1);
                    host::tensor(rows, [all.len(), s, heads, c]).swap_dims(1, 2)
                };
                (tensor(|held| &held.keys), tensor(|held| &held.values))
            }
        }
    }

    /// The rows of so many sequences in this program's memory; `None` when there are tensors
    /// already, or other sequences.
    pub(crate) fn host(&mut self, rows: usize) -> Option<&mut [HostKv]> {
        let window = match self {
            LayerCache::Full(full) if full.len == 0 => None,
            LayerCache::Rolling(ring) if ring.seen == 0 => Some(ring.window),
            LayerCache::Host(held) => return (held.len() == rows).then_some(held),
            _ => return None,
        };
        let empty = || HostKv { window, ..HostKv::default() };
        *self = LayerCache::Host((0..rows).map(|_| empty()).collect());
        match self {
            LayerCache::Host(held) => Some(held),
            _ => None,
        }
    }

    /// Whether [`host`](Self::host) gives the rows of so many sequences.
    pub(crate) fn fits_host(&self, rows: usize) -> bool {
        match self {
            LayerCache::Full(full) => full.len == 0,
            LayerCache::Rolling(ring) => ring.seen == 0,
            LayerCache::Host(held) => held.len() == rows,
            LayerCache::Device(_) => false,
        }
    }

    /// Whether there are no tensors yet that the rows on a GPU would have to begin with.
    pub(crate) fn fits_gpu(&self) -> bool {
        match self {
            LayerCache::Full(full) => full.len == 0,
            LayerCache::Rolling(ring) => ring.seen == 0,
            LayerCache::Host(_) => false,
            LayerCache::Device(_) => true,
        }
    }

    /// The rows on a GPU; `None` when there are tensors already.
    pub(crate) fn device(&mut self) -> Option<&mut gpu::DeviceKv> {
        let window = match self {
            LayerCache::Full(full) if full.len == 0 => None,
            LayerCache::Rolling(ring) if ring.seen == 0 => Some(ring.window),
            LayerCache::Device(rows) => return Some(rows),
            _ => return None,
        };
        *self = LayerCache::Device(gpu::DeviceKv::begin(window)?);
        match self {
            LayerCache::Device(rows) => Some(rows),
            _ => None,
        }
    }

    /// Whether every token that was seen is still held.
    fn holds_all(&self) -> bool {
        match self {
            LayerCache::Full(_) => true,
            LayerCache::Rolling(ring) => ring.seen <= ring.window,
            LayerCache::Host(rows) => rows.iter().all(|held| held.gone == 0),
            LayerCache::Device(rows) => rows.holds_all(),
        }
    }

    /// The same rows as tensor operations hold them.
    fn in_tensors(rows: &gpu::DeviceKv) -> LayerCache {
        let (buffer, seen) = (rows.tensors(), rows.seen());
        match rows.window() {
            None => {
                LayerCache::Full(GrowingKv { len: if buffer.is_some() { seen } else { 0 }, buffer })
            }
            Some(window) => {
                let places = rows.places(0);
                let ring = RingKv { window, seen, buffer: None };
                let lay = |all: &Tensor<4>| ring.lay(all, &places, seen);
                let buffer = buffer.filter(|_| seen > 0).map(|(k, v)| (lay(&k), lay(&v)));
                LayerCache::Rolling(RingKv { buffer, ..ring })
            }
        }
    }

    fn reorder(&mut self, rows: &[usize]) {
        let stays = |count: usize| rows.len() == count && rows.iter().copied().eq(0..count);
        if let LayerCache::Device(held) = self
            && !stays(1)
        {
            // More sequences than one are looked at by tensors.
            *self = LayerCache::in_tensors(held);
        }
        let buffer = match self {
            LayerCache::Device(_) => return,
            LayerCache::Full(full) => &mut full.buffer,
            LayerCache::Rolling(ring) => &mut ring.buffer,
            LayerCache::Host(held) => {
                let mut left: Vec<Option<HostKv>> =
                    std::mem::take(held).into_iter().map(Some).collect();
                let used = |from: usize, row: usize| rows[from..].contains(&row);
                held.extend(rows.iter().enumerate().filter_map(|(i, row)| {
                    match used(i + 1, *row) {
                        true => left.get(*row)?.clone(),
                        false => left.get_mut(*row)?.take(),
                    }
                }));
                return;
            }
        };
        if let Some((keys, values)) = buffer.take_if(|(keys, _)| !stays(keys.dims()[0])) {
            let picks: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
            let picks = TensorData::new(picks, [rows.len()]);
            let picks = Tensor::<1, Int>::from_data(picks, &keys.device());
            *buffer = Some((keys.select(0, picks.clone()), values.select(0, picks)));
        }
    }

    fn bytes(&self) -> usize {
        let buffer = match self {
            LayerCache::Full(full) => &full.buffer,
            LayerCache::Rolling(ring) => &ring.buffer,
            LayerCache::Device(rows) => return rows.bytes(),
            LayerCache::Host(held) => {
                let floats = |held: &HostKv| held.keys.capacity() + held.values.capacity();
                return 4 * held.iter().map(floats).sum::<usize>();
            }
        };
        buffer
            .as_ref()
            .map_or(0, |(k, v)| 4 * (k.shape().num_elements() + v.shape().num_elements()))
    }
}

/// Writes `new` at `start` along the tokens, in place when the buffer has no other owner.
fn write(buffer: Tensor<4>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [b, h, t, c] = new.dims();
    buffer.slice_assign([0..b, 0..h, start..start + t, 0..c], new)
}

/// The first `len` tokens.
fn first((k, v): &Pair, len: usize) -> Pair {
    (k.clone().narrow(2, 0, len), v.clone().narrow(2, 0, len))
}

impl GrowingKv {
    fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> Pair {
        let len = self.len + k.dims()[2];
        let room_for = |x: &Tensor<4>| {
            let [b, h, _, c] = x.dims();
            Tensor::zeros([b, h, capacity(len), c], &x.device())
        };
        let (mut keys, mut values) = match self.buffer.take() {
            Some(buffer) => buffer,
            None => (room_for(&k), room_for(&v)),
        };
        if keys.dims()[2] < len {
            let room = |old: Tensor<4>| write(room_for(&old), 0, old);
            (keys, values) = (room(keys), room(values));
        }
        let buffer = (write(keys, self.len, k), write(values, self.len, v));
        let seen = first(&buffer, len);
        self.buffer = Some(buffer);
        self.len = len;
        seen
    }
}

/// Room for `len` tokens: powers of two from 64, so that few sizes are ever allocated.
fn capacity(len: usize) -> usize {
    len.next_power_of_two().max(64)
}

impl RingKv {
    /// The places held once `seen` tokens were taken in, in the order of the ring.
    fn held(&self, seen: usize) -> impl Iterator<Item = usize> + use<> {
        let window = self.window;
        let last = seen.saturating_sub(window);
        // Slot i holds the newest place that is i modulo the window.
        (0..seen.min(window)).map(move |slot| {
            if seen <= window { slot } else { last + (slot + window - last % window) % window }
        })
    }

    fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> Pair {
        let [_, _, t, _] = k.dims();
        let device = k.device();
        let seen = self.seen + t;
        let old = self.buffer.take();
        if t == 1 {
            let slot = self.seen % self.window;
            // The ring grows to its window by doubling; it wraps only at full size.
            let size = |len: usize| capacity(len).min(self.window);
            let grow = |old: Option<Tensor<4>>, new: &Tensor<4>| {
                // Values may be of another size than keys.
                let [b, h, _, c] = new.dims();
                match old {
                    Some(old) if old.dims()[2] > slot => old,
                    Some(old) => write(Tensor::zeros([b, h, size(slot + 1), c], &device), 0, old),
                    None => Tensor::zeros([b, h, size(slot + 1), c], &device),
                }
            };
            let (keys, values) = match old {
                Some((keys, values)) => (Some(keys), Some(values)),
                None => (None, None),
            };
            let (keys, values) = (grow(keys, &k), grow(values, &v));
            let buffer = (write(keys, slot, k), write(values, slot, v));
            let all = first(&buffer, seen.min(self.window));
            self.buffer = Some(buffer);
            self.seen = seen;
            return all;
        }
        // Early queries of a chunk still need keys that its late tokens push out of the window,
        // so the chunk looks at the ring and itself, and the ring is laid anew after.
        let held = self.seen.min(self.window);
        let join = |old: Option<Tensor<4>>, new: Tensor<4>| match old {
            Some(old) if held > 0 => Tensor::cat(vec![old.narrow(2, 0, held), new], 2),
            _ => new,
        };
        let (keys, values) = match old {
            Some((keys, values)) => (Some(keys), Some(values)),
            None => (None, None),
        };
        let all = (join(keys, k), join(values, v));
        let places: Vec<usize> = self.held(self.seen).chain(self.seen..seen).collect();
        let ring = |all: &Tensor<4>| self.lay(all, &places, seen);
        self.buffer = Some((ring(&all.0), ring(&all.1)));
        self.seen = seen;
        all
    }

    /// The last tokens of `all`, each in the slot of its place.
    fn lay(&self, all: &Tensor<4>, places: &[usize], seen: usize) -> Tensor<4> {
        let mut from: Vec<(usize, usize)> = Vec::new(); // (index in `all`, length), runs in slot order
        for place in self.held(seen) {
            // `places` is the old ring, then the chunk in order: the last match is the right one.
            let index = places.iter().rposition(|other| *other == place).unwrap_or(0);
            match from.last_mut() {
                Some((start, len)) if *start + *len == index => *len += 1,
                _ => from.push((index, 1)),
            }
        }
        let runs = from.into_iter().map(|(start, len)| all.clone().narrow(2, start, len)).collect();
        Tensor::cat(runs, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_slots_hold_the_newest_place_of_their_remainder() {
        for window in 1..9 {
            let ring = RingKv { window, ..Default::default() };
            for seen in 0..40 {
                let held: Vec<usize> = ring.held(seen).collect();
                assert_eq!(held.len(), seen.min(window));
                for (slot, place) in held.iter().enumerate() {
                    assert_eq!(place % window, slot, "window {window}, seen {seen}");
                    assert!(*place < seen && *place + window >= seen);
                }
            }
        }
    }
}
