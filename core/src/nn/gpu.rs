//! The modules of this folder on a GPU, in few launches.
//!
//! As [`super::host`] does for the CPU: each `on_gpu` computes what the `forward` beside it does,
//! with the kernels of [`crate::kernels`] instead of tensor operations, of which each is a launch.
//! What it does not know it leaves to the tensors by giving `None`.

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) use none::{Memo, Rows, gate, is_gpu, is_plain, pool, unit};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use some::{
    Memo, NormParts, Rows, floats, gate, ints, is_gpu, is_plain, is_plain_norm, is_plain_proj,
    pool, ranges, rms, tensor, unit, words,
};

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod some {
    use std::cell::RefCell;
    use std::ops::Range;
    use std::rc::Rc;

    use burn::backend::{
        BackendTensor, DType, DispatchAutodiffContext, DispatchDevice, DispatchTensor,
        DispatchTensorKind, Shape,
    };
    use burn::tensor::{Device, Int, Tensor, TensorData};
    use burn_cubecl::kernel::into_contiguous;
    use burn_cubecl::tensor::CubeTensor;

    use crate::kernels::cpu::attention::Part;
    use crate::kernels::gpu::attend::{Attend, LARGEST, attend_as};
    use crate::kernels::gpu::between::{self, Rotation, place, rotate};
    use crate::kernels::gpu::gemv::{self, Words};
    use crate::kernels::gpu::{FEW, empty, half};
    use crate::nn::attention::{Attention, Keys, Places};
    use crate::nn::cache::LayerCache;
    use crate::nn::host::{Sight, sight};
    use crate::nn::linear::{Proj, Weight};
    use crate::nn::norm::Norm;
    use crate::nn::position::Angles;
    use crate::nn::spec::{self, Activation, Pairing, Span};
    use crate::quant::Format;
    use crate::quant::turned::Turned;

    /// Whether tensors of this device are on a GPU and have no gradient.
    pub(crate) fn is_gpu(device: &Device) -> bool {
        matches!(device.as_dispatch(), DispatchDevice::Cube(_))
    }

    /// Whether [`floats`] knows these, without their being put in order.
    pub(crate) fn is_plain<const N: usize>(x: &Tensor<N>) -> bool {
        let x = x.clone().into_dispatch();
        matches!(x.autodiff, DispatchAutodiffContext::Disabled)
            && matches!(
                x.kind,
                DispatchTensorKind::Cube(BackendTensor::Float(x)) if x.dtype == DType::F32
            )
    }

    /// A tensor's floats in their order, if it is on a GPU and no gradient is asked of it.
    pub(crate) fn floats<const N: usize>(x: &Tensor<N>) -> Option<CubeTensor> {
        let x = x.clone().into_dispatch();
        if !matches!(x.autodiff, DispatchAutodiffContext::Disabled) {
            return None;
        }
        match x.kind {
            DispatchTensorKind::Cube(BackendTensor::Float(x)) if x.dtype == DType::F32 => {
                Some(into_contiguous(x))
            }
            _ => None,
        }
    }

    /// As many floats as a tensor of this shape.
    pub(crate) fn tensor<const N: usize>(x: CubeTensor, shape: [usize; N]) -> Tensor<N> {
        let x = CubeTensor::new_contiguous(
            x.client,
            x.device,
            Shape::from(shape),
            x.handle,
            DType::F32,
        );
        Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Cube(BackendTensor::Float(x)),
            autodiff: DispatchAutodiffContext::Disabled,
        })
    }

    /// `activation(x)`, or `activation(x) * up`.
    pub(crate) fn gate<const N: usize>(
        kind: Activation,
        x: &Tensor<N>,
        up: Option<&Tensor<N>>,
    ) -> Option<Tensor<N>> {
        let shape = x.dims();
        let x = floats(x)?;
        let up = match up {
            Some(up) => Some(floats(up)?),
            None => None,
        };
        Some(tensor(between::gate(kind, &x, up.as_ref()), shape))
    }

    /// Rows divided by their lengths, or by `least` if they are shorter.
    pub(crate) fn unit(x: &Tensor<2>, least: f32) -> Option<Tensor<2>> {
        let sizes = x.dims();
        Some(tensor(between::unit_rows(&floats(x)?, least, sizes), sizes))
    }

    /// Sums of rows with weights, those of one result beside each other.
    ///
    /// # Shapes
    /// `x: [1, N, D]`, N weights, B ranges of rows -> `[B, D]`
    pub(crate) fn pool(
        x: &Tensor<3>,
        weights: Vec<f32>,
        ranges: &[Range<usize>],
    ) -> Option<Tensor<2>> {
        let [_, n, d] = x.dims();
        let device = x.device();
        debug_assert!(weights.len() == n && ranges.iter().all(|range| range.end <= n));
        let ends = ranges.iter().flat_map(|range| [range.start as i32, range.end as i32]);
        let ends = ints(ends.collect(), &device)?;
        let weights = floats(&Tensor::<1>::from_data(TensorData::new(weights, [n]), &device))?;
        let sums = between::pool(&floats(x)?, &weights, &ends, ranges.len(), d);
        Some(tensor(sums, [ranges.len(), d]))
    }

    /// Whole numbers on a device.
    pub(crate) fn ints(values: Vec<i32>, device: &Device) -> Option<CubeTensor> {
        let count = values.len();
        let data = TensorData::new(values, [count]);
        match Tensor::<1, Int>::from_data(data, (device, DType::I32)).into_dispatch().kind {
            DispatchTensorKind::Cube(BackendTensor::Int(tensor)) => Some(tensor),
            _ => None,
        }
    }

    impl Norm {
        /// Normalizes rows of the scale's size.
        pub(crate) fn on_gpu<const N: usize>(&self, x: &Tensor<N>) -> Option<Tensor<N>> {
            let shape = x.dims();
            Some(tensor(self.rows_on_gpu(&floats(x)?)?, shape))
        }

        fn rows_on_gpu(&self, x: &CubeTensor) -> Option<CubeTensor> {
            let parts = NormParts::of(self)?;
            let width = parts.gamma.meta.num_elements();
            let rows = x.meta.num_elements() / width.max(1);
            Some(between::norm(&parts.adding(None), x, rows, width))
        }
    }

    /// A norm's numbers, as kernels take them.
    pub(crate) struct NormParts {
        gamma: CubeTensor,
        beta: Option<CubeTensor>,
        kind: spec::Norm,
    }

    impl NormParts {
        pub(crate) fn of(norm: &Norm) -> Option<NormParts> {
            let beta = match &norm.beta {
                Some(beta) => Some(floats(&beta.val())?),
                None => None,
            };
            Some(NormParts { gamma: floats(&norm.gamma.val())?, beta, kind: norm.kind() })
        }

        /// The norm, after which something may be added.
        pub(crate) fn adding<'a>(&'a self, add: Option<&'a CubeTensor>) -> between::Norm<'a> {
            between::Norm {
                centered: matches!(self.kind, spec::Norm::Layer { .. }),
                eps: self.kind.eps() as f32,
                gamma: &self.gamma,
                beta: self.beta.as_ref(),
                add,
            }
        }
    }

    /// What queries see, on the device.
    #[derive(Debug)]
    struct Seen {
        ranges: Vec<(u32, u32)>,
        tensor: CubeTensor,
    }

    /// What queries see in blocks that are alike, made once a pass: by span and rows of keys.
    #[derive(Debug, Default)]
    pub(crate) struct Memo(RefCell<Vec<(Span, usize, Rc<Seen>)>>);

    impl Memo {
        fn seen(
            &self,
            span: Span,
            m: usize,
            keys: usize,
            parts: &[Part],
            device: &Device,
        ) -> Option<Rc<Seen>> {
            let known = self
                .0
                .borrow()
                .iter()
                .find(|(s, k, _)| (*s, *k) == (span, keys))
                .map(|(_, _, seen)| seen.clone());
            if known.is_some() {
                return known;
            }
            let ranges = ranges(sight(span)?, m, parts);
            let flat: Vec<i32> =
                ranges.iter().flat_map(|range| [range.0 as i32, range.1 as i32]).collect();
            let tensor = ints(flat, device)?;
            let seen = Rc::new(Seen { ranges, tensor });
            self.0.borrow_mut().push((span, keys, seen.clone()));
            Some(seen)
        }
    }

    /// Of each query the first row of keys that it sees, and the first after it that it does not.
    pub(crate) fn ranges(
        Sight { window, after }: Sight,
        m: usize,
        parts: &[Part],
    ) -> Vec<(u32, u32)> {
        // What belongs to no part sees nothing.
        let mut ranges = vec![(0, 0); m];
        for part in parts {
            for (i, range) in ranges[part.queries.clone()].iter_mut().enumerate() {
                let place = part.keys.start + part.before + i;
                let from = window.map_or(0, |window: usize| (place + 1).saturating_sub(window));
                let to = after.map_or(usize::MAX, |after: usize| {
                    place.saturating_add(after).saturating_add(1)
                });
                *range = (from.max(part.keys.start) as u32, to.min(part.keys.end) as u32);
            }
        }
        ranges
    }

    /// Keys and values of one sequence as rows `[S, K C]` in buffers with room to grow, in the order
    /// of their places; those that a sliding window has passed are let go of now and then.
    #[derive(Debug, Default)]
    pub(crate) struct Rows {
        buffers: Option<[Tensor<2>; 2]>,
        /// Heads of a row and their size.
        shape: [usize; 2],
        /// Rows that are held.
        held: usize,
        /// Rows that are no longer held.
        gone: usize,
        /// How often the buffers were made anew.
        made: usize,
        /// Tokens that a later one may still look at; `None`: all.
        window: Option<usize>,
    }

    impl Rows {
        pub(crate) fn new(window: Option<usize>) -> Rows {
            Rows { window, ..Rows::default() }
        }

        /// The places of the rows that are held, and of `t` more.
        pub(crate) fn places(&self, t: usize) -> Vec<usize> {
            (self.gone..self.gone + self.held + t).collect()
        }

        /// Whether every row is still held.
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
            buffers.map(|buffer| 4 * buffer.shape().num_elements()).sum()
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

        /// Tokens seen, held or not.
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
            let all = |rows: &Tensor<2>| {
                let rows = rows.clone().narrow(0, 0, self.held);
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
        ) -> Option<[CubeTensor; 2]> {
            let row = heads * c;
            self.shape = [heads, c];
            // Let go only when there is no room, so that the rest is seldom moved.
            let capacity = self.buffers.as_ref().map_or(0, |[keys, _]| keys.dims()[0]);
            if self.held + t > capacity {
                let keep = self.window.map_or(self.held, |window| window.min(self.held));
                // Powers of two from 64: few sizes are ever allocated.
                let size = match self.window {
                    Some(window) => (keep + t).max((2 * window).min(2 * (keep + t))),
                    None => keep + t,
                };
                let size = size.next_power_of_two().max(64);
                let moved = |old: Option<&Tensor<2>>| {
                    let new = empty(like, [size, row]);
                    if let (Some(old), true) = (old, keep > 0) {
                        let old = floats(&old.clone().narrow(0, self.held - keep, keep))?;
                        rotate(None, &old, &new, 0, [keep, row, row]);
                    }
                    Some(tensor(new, [size, row]))
                };
                let old = self.buffers.as_ref();
                let keys = moved(old.map(|old| &old[0]))?;
                let values = moved(old.map(|old| &old[1]))?;
                self.buffers = Some([keys, values]);
                self.made += 1;
                self.gone += self.held - keep;
                self.held = keep;
            }
            let [keys, values] = self.buffers.as_ref()?;
            Some([floats(keys)?, floats(values)?])
        }

        /// Takes in rows that tensor operations have made; gives back all that are held.
        ///
        /// # Shapes
        /// `k, v: [1, K, T, C]` -> `[1, K, S, C]`
        pub(crate) fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
            let [_, heads, t, c] = k.dims();
            let row = heads * c;
            let flat = |x: &Tensor<4>| floats(&x.clone().swap_dims(1, 2));
            if let (Some(new_k), Some(new_v)) = (flat(&k), flat(&v))
                && let Some([keys, values]) = self.room(t, [heads, c], &new_k)
            {
                rotate(None, &new_k, &keys, self.held, [t, row, row]);
                rotate(None, &new_v, &values, self.held, [t, row, row]);
                self.held += t;
            }
            self.tensors().unwrap_or((k, v))
        }
    }

    /// A matrix on a GPU, whole, if one row may meet it.
    pub(crate) fn words(weight: &Weight) -> Option<Words> {
        let [rows, width] = weight.dims();
        let (words, format) = match weight {
            Weight::Full(values) => (floats(&values.val())?, Format::F32),
            Weight::Packed(packed) => (packed.on_gpu()?, packed.format()),
        };
        gemv::fits(format, width).then_some(Words { words, format, rows, width })
    }

    impl Weight {
        /// `x W^T` in 16-bit floats, with a bias, if it was asked for, there are rows enough and the
        /// device can.
        pub(crate) fn in_halves(
            &self,
            x: &Tensor<2>,
            bias: Option<&Tensor<1>>,
        ) -> Option<Tensor<2>> {
            let Weight::Packed(packed) = self else { return None };
            let [m, width] = x.dims();
            if !matches!(packed.as_turned(), Turned::Half) || !is_plain(x) {
                return None;
            }
            let x = floats(x)?;
            let words = self.half_words(&x, m)?;
            let bias = match bias {
                Some(bias) => Some(floats(bias)?),
                None => None,
            };
            let rows = words.rows;
            debug_assert_eq!(words.width, width);
            Some(tensor(half::product(&half::rounded(x), &words, bias.as_ref())?, [m, rows]))
        }

        /// The matrix, if so many rows meet it in 16-bit floats on the device of `like`.
        pub(crate) fn half_words(&self, like: &CubeTensor, m: usize) -> Option<Words> {
            let Weight::Packed(packed) = self else { return None };
            let [rows, width] = packed.shape();
            let asked = m > FEW && matches!(packed.as_turned(), Turned::Half);
            if !asked || !half::fits(like, width) {
                return None;
            }
            Some(Words { words: packed.on_gpu()?, format: packed.format(), rows, width })
        }
    }

    /// The scale of a norm of root mean squares.
    pub(crate) fn rms(norm: &Norm) -> Option<(CubeTensor, f32)> {
        match (norm.kind(), &norm.beta) {
            (spec::Norm::Rms { eps }, None) => Some((floats(&norm.gamma.val())?, eps as f32)),
            _ => None,
        }
    }

    /// Angles on the device.
    struct OnDevice {
        cos: CubeTensor,
        sin: CubeTensor,
        pairing: Pairing,
        tokens: usize,
    }

    impl OnDevice {
        /// `None` where they are elsewhere, within it where there are none.
        fn of(angles: Option<&Angles>) -> Option<Option<OnDevice>> {
            let Some(angles) = angles else { return Some(None) };
            let (cos, sin, pairing) = angles.parts();
            // Where sequences have angles of their own, these stand one after another.
            let tokens = angles.rows() * angles.tokens();
            Some(Some(OnDevice { cos: floats(cos)?, sin: floats(sin)?, pairing, tokens }))
        }

        fn rotation(&self) -> Rotation<'_> {
            Rotation {
                cos: &self.cos,
                sin: &self.sin,
                tokens: self.tokens,
                half: self.cos.meta.num_elements() / self.tokens.max(1),
                adjacent: matches!(self.pairing, Pairing::Adjacent),
            }
        }
    }

    /// Whether a projection's numbers are [plain](is_plain).
    pub(crate) fn is_plain_proj(proj: &Proj) -> bool {
        let weight = match &proj.weight {
            Weight::Full(weight) => is_plain(&weight.val()),
            Weight::Packed(_) => true,
        };
        weight && proj.bias.as_ref().is_none_or(|bias| is_plain(&bias.val()))
    }

    /// Whether a norm's numbers are [plain](is_plain).
    pub(crate) fn is_plain_norm(norm: &Norm) -> bool {
        is_plain(&norm.gamma.val()) && norm.beta.as_ref().is_none_or(|beta| is_plain(&beta.val()))
    }

    impl Attention {
        /// Whether every step is known here, of [plain](is_plain) rows: what says yes gets no mask, so
        /// that nothing may be left to the tensors after.
        pub(crate) fn known_to_gpu(&self) -> bool {
            self.spec().head_dim <= LARGEST
                && [&self.q, &self.k, &self.v].into_iter().all(is_plain_proj)
                && [&self.q_norm, &self.k_norm].into_iter().flatten().all(is_plain_norm)
        }

        /// Lets every token look at those that the view shows.
        ///
        /// # Shapes
        /// `x: [B, T, D]` -> `[B, T, D]`
        pub(crate) fn on_gpu(
            &self,
            x: &Tensor<3>,
            places: Places<'_>,
            keys: &mut Keys<'_>,
        ) -> Option<Tensor<3>> {
            if !self.plain(&places) || !self.known_to_gpu() || !is_plain(x) {
                return None;
            }
            let (Keys::Own(cache), Some(_)) = (keys, places.view?.memo) else { return None };
            let [b, t, _] = x.dims();
            let [q, k, v] =
                [&self.q, &self.k, &self.v].map(|proj| floats(&proj.forward(x.clone())));
            let y = self.see([q?, k?, v?], &places, cache, DType::F32, &x.device())?;
            let row = self.spec().heads * self.spec().head_dim;
            Some(self.out.forward(tensor(y, [b, t, row])))
        }

        /// What queries find, in floats or 16 bits, `[M, H C]`; all tokens' keys and values go to the
        /// cache where there is one. For what is [known](Self::known_to_gpu).
        pub(crate) fn see(
            &self,
            [q, k, v]: [CubeTensor; 3],
            places: &Places<'_>,
            cache: &mut Option<&mut LayerCache>,
            dtype: DType,
            device: &Device,
        ) -> Option<CubeTensor> {
            let spec = self.spec();
            let view = places.view?;
            let memo = view.memo?;
            let (c, q_row, k_row) =
                (spec.head_dim, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
            let m = q.meta.num_elements() / q_row.max(1);
            let normed = |y: CubeTensor, norm: &Option<Norm>| match norm {
                Some(norm) => norm.rows_on_gpu(&y),
                None => Some(y),
            };
            let (q, k) = (normed(q, &self.q_norm)?, normed(k, &self.k_norm)?);
            let turned = OnDevice::of(places.angles)?;
            let rotation = turned.as_ref().map(OnDevice::rotation);
            let rotated = |y: CubeTensor, row: usize| match &rotation {
                Some(rotation) => {
                    let out = empty(&y, [m, row]);
                    rotate(Some(rotation), &y, &out, 0, [m, row, c]);
                    out
                }
                None => y,
            };
            let (q, k, v, seen) = match cache {
                None => {
                    let seen = memo.seen(view.span, m, m, view.parts, device)?;
                    (rotated(q, q_row), rotated(k, k_row), v, seen)
                }
                Some(cache) => {
                    let rows = cache.device()?;
                    let [keys, values] = rows.room(m, [spec.kv_heads, c], &k)?;
                    let sizes = [m, q_row, k_row, c];
                    let rotation = rotation.as_ref();
                    let q = place(rotation, [&q, &k, &v], [&keys, &values], rows.held, sizes);
                    rows.held += m;
                    let part = [Part { queries: 0..m, keys: 0..rows.held, before: rows.held - m }];
                    (q, keys, values, memo.seen(view.span, m, rows.held, &part, device)?)
                }
            };
            let all = Attend {
                q: &q,
                k: &k,
                v: &v,
                ranges: &seen.ranges,
                seen: &seen.tensor,
                heads: spec.heads,
                kv_heads: spec.kv_heads,
                dim: c,
                scale: spec.scale as f32,
                softcap: spec.softcap.map(|cap| cap as f32),
                seen_at: 0,
            };
            Some(attend_as(&all, dtype).out)
        }
    }
}

/// A build without GPUs.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod none {
    use burn::tensor::{Device, Tensor};

    use crate::nn::attention::{Attention, Keys, Places};
    use crate::nn::linear::Weight;
    use crate::nn::norm::Norm;
    use crate::nn::spec::Activation;

    pub(crate) fn is_gpu(_device: &Device) -> bool {
        false
    }

    pub(crate) fn is_plain<const N: usize>(_x: &Tensor<N>) -> bool {
        false
    }

    pub(crate) fn pool(
        _x: &Tensor<3>,
        _weights: Vec<f32>,
        _ranges: &[std::ops::Range<usize>],
    ) -> Option<Tensor<2>> {
        None
    }

    pub(crate) fn unit(_x: &Tensor<2>, _least: f32) -> Option<Tensor<2>> {
        None
    }

    pub(crate) fn gate<const N: usize>(
        _kind: Activation,
        _x: &Tensor<N>,
        _up: Option<&Tensor<N>>,
    ) -> Option<Tensor<N>> {
        None
    }

    impl Norm {
        pub(crate) fn on_gpu<const N: usize>(&self, _x: &Tensor<N>) -> Option<Tensor<N>> {
            None
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Memo {}

    /// There are none.
    #[derive(Debug)]
    pub(crate) enum Rows {}

    impl Rows {
        pub(crate) fn places(&self, _t: usize) -> Vec<usize> {
            match *self {}
        }

        pub(crate) fn holds_all(&self) -> bool {
            match *self {}
        }

        pub(crate) fn truncate(&mut self, _len: usize) {
            match *self {}
        }

        pub(crate) fn pop(&mut self) {
            match *self {}
        }

        pub(crate) fn bytes(&self) -> usize {
            match *self {}
        }

        pub(crate) fn seen(&self) -> usize {
            match *self {}
        }

        pub(crate) fn window(&self) -> Option<usize> {
            match *self {}
        }

        pub(crate) fn tensors(&self) -> Option<(Tensor<4>, Tensor<4>)> {
            match *self {}
        }

        pub(crate) fn extend(&mut self, _k: Tensor<4>, _v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
            match *self {}
        }
    }

    impl Weight {
        pub(crate) fn in_halves(
            &self,
            _x: &Tensor<2>,
            _bias: Option<&Tensor<1>>,
        ) -> Option<Tensor<2>> {
            None
        }
    }

    impl Attention {
        pub(crate) fn known_to_gpu(&self) -> bool {
            false
        }

        pub(crate) fn on_gpu(
            &self,
            _x: &Tensor<3>,
            _places: Places<'_>,
            _keys: &mut Keys<'_>,
        ) -> Option<Tensor<3>> {
            None
        }
    }
}
