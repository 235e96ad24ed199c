//! One token more of one sequence on a GPU, where issuing a launch costs more than most of them
//! compute.
//!
//! All blocks take six launches each, five while keys are few and two more with norms between their
//! parts and the residual: other norms, residuals and the gate are in the kernels of the products. What changes from token to token (the place, what it sees, its angles) stands in one
//! small buffer, so that the launches are the same each time: they are recorded once and then
//! played, until the cache gets new buffers or the keys outgrow the split of the attention.

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) use none::Steps;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use some::Steps;

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod some {
    use std::thread::ThreadId;

    use burn::tensor::Tensor;
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::bytes::Bytes;
    use cubecl::client::Graph;

    use crate::kernels::cpu::Activation;
    use crate::kernels::cpu::attention::Part;
    use crate::kernels::gpu::attend::{Attend, LARGEST, attend};
    use crate::kernels::gpu::between::{self, Spot, rotate, settle};
    use crate::kernels::gpu::empty;
    use crate::kernels::gpu::gemv::{self, Rms, Words};
    use crate::kernels::gpu::newest::{self, HeadNorms, attend_newest};
    use crate::nn::attention::Places;
    use crate::nn::block::Block;
    use crate::nn::cache::{Cache, LayerCache};
    use crate::nn::gpu::{floats, ints, is_plain, ranges, rms, tensor, words};
    use crate::nn::host::sight;
    use crate::nn::linear::Proj;
    use crate::nn::moe::FeedForward;
    use crate::nn::position::spot;
    use crate::nn::spec::{Pairing, QkNorm, Span};
    use crate::nn::transformer::{Transformer, on_host};

    /// How one token more of a sequence is computed.
    #[derive(Debug, Default)]
    pub(crate) enum Steps {
        /// Not yet known.
        #[default]
        New,
        /// By launches that are the same for every step like the last; how often they could not be
        /// recorded.
        Like(Box<Alike>, usize),
        /// By playing launches.
        Taped(Box<Tape>),
        /// By block, as any other number of tokens.
        Never,
    }

    impl Steps {
        /// Whether the last token was a step of these launches.
        pub(crate) fn are_known(&self) -> bool {
            matches!(self, Steps::Like(..) | Steps::Taped(_))
        }
    }

    /// How often recording is tried: memory may be short of a buffer now and not at the next step.
    const TRIES: usize = 4;

    /// What launches depend on, beside what stands in the buffer.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Alike {
        /// Which kind of view each block has.
        kinds: Vec<usize>,
        /// Keys that views of each kind may have.
        rooms: Vec<usize>,
        /// How often each block's buffers were made anew.
        made: Vec<usize>,
        /// Launches are ordered by the thread they come from.
        thread: ThreadId,
    }

    /// Launches that were recorded.
    #[derive(Debug)]
    pub(crate) struct Tape {
        alike: Alike,
        graph: Graph,
        /// What changes from step to step.
        words: CubeTensor,
        /// The states that go in.
        x: CubeTensor,
        /// The states that come out.
        y: CubeTensor,
        /// What is written on the way: launches write there again, so nothing else may be there.
        _kept: Vec<CubeTensor>,
        /// What is read by them.
        _layers: Vec<Layer>,
    }

    /// A block with all it needs on the device.
    #[derive(Debug)]
    struct Layer {
        /// Before the attention and the MLP.
        norms: [(CubeTensor, f32); 2],
        /// Between each and its residual.
        after: [Option<(CubeTensor, f32)>; 2],
        /// Of queries and keys.
        heads_norms: Option<HeadNorms>,
        qkv: [Words; 3],
        /// Added to queries, keys and values.
        bias: Option<CubeTensor>,
        out: Words,
        up: [Words; 2],
        down: Words,
        activation: Activation,
        keys: CubeTensor,
        values: CubeTensor,
        spot: Spot,
        /// Where the view stands in the buffer, and how wide it may be.
        seen: (usize, usize),
        heads: [usize; 3],
        scale: f32,
        softcap: Option<f32>,
    }

    /// The biases of projections one after another; `None` where some have one and some have not.
    fn bias(of: [&Proj; 3]) -> Option<Option<CubeTensor>> {
        let all = of.iter().filter_map(|proj| proj.bias.as_ref());
        let all: Vec<Tensor<1>> = all.map(|bias| bias.val()).collect();
        match all.len() {
            0 => Some(None),
            3 => Some(Some(floats(&Tensor::cat(all, 0))?)),
            _ => None,
        }
    }

    impl Layer {
        /// The block's matrices and norms; `None` if it has more than these, or they are elsewhere.
        fn of(block: &Block) -> Option<Layer> {
            let FeedForward::Dense(mlp) = &block.mlp else { return None };
            let (attn, spec) = (&block.attn, block.attn.spec());
            let simple = block.is_simple()
                && block.on_gpu()
                && mlp.clamp().is_none()
                && attn.plain(&Places::default())
                && spec.head_dim <= LARGEST;
            if !simple {
                return None;
            }
            let heads_norms = match (spec.qk_norm, &attn.q_norm, &attn.k_norm) {
                (None, None, None) => None,
                (Some(QkNorm::Shared(_)), Some(q), Some(k)) if newest::fits(spec.head_dim) => {
                    let ((q, eps), (k, _)) = (rms(q)?, rms(k)?);
                    Some(HeadNorms { q, k, eps })
                }
                _ => return None,
            };
            let after = match (&block.attn_post_norm, &block.mlp_post_norm) {
                (None, None) => [None, None],
                (Some(first), Some(second)) => [Some(rms(first)?), Some(rms(second)?)],
                _ => return None,
            };
            let gate = mlp.gate.as_ref()?;
            if [&attn.out, gate, &mlp.up, &mlp.down].into_iter().any(|proj| proj.bias.is_some()) {
                return None;
            }
            let up = [words(&gate.weight)?, words(&mlp.up.weight)?];
            let (first, eps) = rms(block.attn_norm.as_ref()?)?;
            Some(Layer {
                norms: [(first.clone(), eps), rms(block.mlp_norm.as_ref()?)?],
                after,
                heads_norms,
                qkv: [words(&attn.q.weight)?, words(&attn.k.weight)?, words(&attn.v.weight)?],
                bias: bias([&attn.q, &attn.k, &attn.v])?,
                out: words(&attn.out.weight)?,
                up,
                down: words(&mlp.down.weight)?,
                activation: mlp.activation(),
                keys: first.clone(),
                values: first,
                spot: Spot { row: 0, angles: None, half: 0, adjacent: false },
                seen: (0, 0),
                heads: [spec.heads, spec.kv_heads, spec.head_dim],
                scale: spec.scale as f32,
                softcap: spec.softcap.map(|cap| cap as f32),
            })
        }

        /// `x` and what a part of the block adds to it, by its last matrix and its norm.
        fn joined(
            part: &CubeTensor,
            matrix: &Words,
            after: &Option<(CubeTensor, f32)>,
            x: &CubeTensor,
            kept: &mut Vec<CubeTensor>,
        ) -> CubeTensor {
            let Some((gamma, eps)) = after else {
                return gemv::project(part, &[matrix], None, Some(x));
            };
            let y = gemv::project(part, &[matrix], None, None);
            let norm =
                between::Norm { centered: false, eps: *eps, gamma, beta: None, add: Some(x) };
            let sum = between::norm(&norm, &y, 1, matrix.rows);
            kept.push(y);
            sum
        }

        /// The states after the block; all that is written goes to `kept`.
        fn launch(&self, x: &CubeTensor, words: &CubeTensor, kept: &mut Vec<CubeTensor>) {
            let [heads, kv_heads, dim] = self.heads;
            let [first, second] = &self.norms;
            let rms = Rms { gamma: &first.0, eps: first.1 };
            let [q, k, v] = &self.qkv;
            let row = gemv::project(x, &[q, k, v], Some(&rms), self.bias.as_ref());
            let (seen_at, room) = self.seen;
            let mut all = Attend {
                q: &row,
                k: &self.keys,
                v: &self.values,
                ranges: &[(0, room as u32)],
                seen: words,
                seen_at,
                heads,
                kv_heads,
                dim,
                scale: self.scale,
                softcap: self.softcap,
            };
            let found = if newest::fits(dim) {
                attend_newest(&all, self.spot, self.heads_norms.as_ref(), &row)
            } else {
                let sizes = [heads * dim, kv_heads * dim, dim];
                let q = settle(self.spot, words, &row, [&self.keys, &self.values], sizes);
                all.q = &q;
                let found = attend(&all);
                kept.push(q);
                found
            };
            let x = Layer::joined(&found.out, &self.out, &self.after[0], x, kept);
            let rms = Rms { gamma: &second.0, eps: second.1 };
            let [gate, up] = &self.up;
            let inner = match gate.format == up.format {
                true => gemv::gated(&x, [gate, up], Some(&rms), self.activation),
                false => {
                    let sides = [gate, up].map(|of| gemv::project(&x, &[of], Some(&rms), None));
                    let inner = between::gate(self.activation, &sides[0], Some(&sides[1]));
                    kept.extend(sides);
                    inner
                }
            };
            let y = Layer::joined(&inner, &self.down, &self.after[1], &x, kept);
            kept.extend([row, found.out]);
            kept.extend(found.parts);
            kept.extend([x, inner, y]);
        }
    }

    /// All that is written by the blocks, what comes out of the last one last.
    fn launch(layers: &[Layer], x: &CubeTensor, words: &CubeTensor) -> Vec<CubeTensor> {
        let mut kept = vec![x.clone()];
        for layer in layers {
            if let Some(x) = kept.last().cloned() {
                layer.launch(&x, words, &mut kept);
            }
        }
        kept
    }

    impl Tape {
        /// Computes the step and records it; else the layers, and then the step may not have been
        /// computed.
        fn record(
            alike: Alike,
            layers: Vec<Layer>,
            (x, words): (&CubeTensor, &CubeTensor),
        ) -> Result<Tape, (Alike, Vec<Layer>)> {
            let (client, size) = (x.client.clone(), x.meta.num_elements());
            let own = empty(x, [1, size]);
            rotate(None, x, &own, 0, [1, size, size]);
            // Nobody else may launch meanwhile: it would be recorded and not computed.
            let recorded = client.exclusive(|| {
                client.graph_prepare().ok()?;
                // What this run writes to is what the recorded one is given: nothing can be
                // allocated while launches are recorded.
                drop(launch(&layers, &own, words));
                client.start_capture().ok()?;
                let kept = launch(&layers, &own, words);
                let graph = client.stop_capture().ok()?;
                Some((graph, kept))
            });
            let Ok(Some((graph, mut kept))) = recorded else { return Err((alike, layers)) };
            // SAFETY: all that the launches read and write is kept by the tape, and they come from
            // this thread. Others read the weights alone.
            match (unsafe { graph.replay() }, kept.pop()) {
                (Ok(()), Some(y)) => {
                    let words = words.clone();
                    Ok(Tape { alike, graph, words, x: own, y, _kept: kept, _layers: layers })
                }
                _ => Err((alike, layers)),
            }
        }

        /// Computes a step like the one that was recorded.
        fn play(&self, x: &CubeTensor, words: &[i32]) -> Option<()> {
            let size = x.meta.num_elements();
            let bytes = Bytes::from_bytes_vec(bytemuck::cast_slice(words).to_vec());
            self.x.client.write(&self.words.handle, bytes);
            rotate(None, x, &self.x, 0, [1, size, size]);
            // SAFETY: as in `record`.
            unsafe { self.graph.replay() }.ok()
        }
    }

    impl Transformer {
        /// The states of one token more, at this place of a sequence of so many tokens, before the
        /// last norm; `None` where blocks have to be asked one by one.
        ///
        /// # Shapes
        /// `x: [1, 1, D]` -> `[1, 1, D]`
        pub(crate) fn step(
            &self,
            x: &Tensor<3>,
            cache: &mut Cache,
            (place, length): (usize, usize),
        ) -> Option<Tensor<3>> {
            if matches!(cache.steps, Steps::Never) || !is_plain(x) {
                return None;
            }
            let steps = std::mem::take(&mut cache.steps);
            let (y, steps) = match self.step_with(steps, x, &mut cache.layers, (place, length)) {
                Some((y, steps)) => (Some(y), steps),
                None => (None, Steps::Never),
            };
            cache.steps = steps;
            y
        }

        fn step_with(
            &self,
            steps: Steps,
            x: &Tensor<3>,
            caches: &mut [LayerCache],
            (place, length): (usize, usize),
        ) -> Option<(Tensor<3>, Steps)> {
            let shape = x.dims();
            let states = floats(x)?;
            let spec = self.spec();
            let block = |i: usize| &self.blocks[spec.layers[i].weights.unwrap_or(i)];
            if matches!(steps, Steps::New)
                && !(0..spec.layers.len())
                    .all(|i| on_host(&spec.layers[i]) && Layer::of(block(i)).is_some())
            {
                return None;
            }

            // Room for a row in each block's cache, and what the row sees.
            let mut views: Vec<(Span, [usize; 2])> = vec![];
            let (mut words, mut rooms, mut kinds, mut made) = (vec![], vec![], vec![], vec![]);
            for (i, cache) in caches.iter_mut().enumerate() {
                let attention = block(i).attn.spec();
                let rows = cache.device()?;
                rows.room(1, [attention.kv_heads, attention.head_dim], &states)?;
                let [held, gone, times] = rows.state();
                made.push(times);
                let view = (spec.layers[i].span, [held, gone]);
                let known = views.iter().position(|other| *other == view);
                let kind = match known {
                    Some(kind) => kind,
                    None => {
                        let part = [Part { queries: 0..1, keys: 0..held + 1, before: held }];
                        let [(from, to)] = ranges(sight(view.0)?, 1, &part)[..] else {
                            return None;
                        };
                        words.extend([held as i32, from as i32, to as i32]);
                        rooms.push((to.saturating_sub(from) as usize).next_power_of_two().max(64));
                        views.push(view);
                        views.len() - 1
                    }
                };
                kinds.push(kind);
            }
            // Where the angles of each block stand.
            let mut ropes = vec![];
            let mut angles = vec![];
            for i in 0..spec.layers.len() {
                let Some(rope) = spec.rope(i) else {
                    angles.push(None);
                    continue;
                };
                let known = ropes.iter().find(|(own, _)| *own == rope).map(|(_, at)| *at);
                let at = known.unwrap_or(words.len());
                if known.is_none() {
                    let values = spot(rope, place, length);
                    words.extend(values.iter().map(|value| value.to_bits() as i32));
                    ropes.push((rope, at));
                }
                angles.push(Some(at));
            }
            let alike = Alike { kinds, rooms, made, thread: std::thread::current().id() };

            if let Steps::Taped(tape) = &steps
                && tape.alike == alike
                && tape.play(&states, &words).is_some()
            {
                let y = tensor(tape.y.clone(), shape);
                caches.iter_mut().for_each(|cache| cache.push());
                return Some((y, steps));
            }
            let mut layers = vec![];
            for (i, cache) in caches.iter_mut().enumerate() {
                let own = Layer::of(block(i))?;
                let attention = block(i).attn.spec();
                let rows = cache.device()?;
                let [keys, values] =
                    rows.room(1, [attention.kv_heads, attention.head_dim], &states)?;
                let kind = alike.kinds[i];
                let (half, adjacent) = spec.rope(i).map_or((0, false), |rope| {
                    (rope.dims / 2, matches!(rope.pairing, Pairing::Adjacent))
                });
                layers.push(Layer {
                    keys,
                    values,
                    spot: Spot { row: 3 * kind, angles: angles[i], half, adjacent },
                    seen: (3 * kind + 1, alike.rooms[kind]),
                    ..own
                });
            }
            let words = ints(words, &x.device())?;
            let (recorded, failed) = match steps {
                Steps::Like(last, failed) if *last == alike && failed < TRIES => {
                    (Tape::record(alike, layers, (&states, &words)), failed + 1)
                }
                Steps::Like(_, failed) => (Err((alike, layers)), failed),
                _ => (Err((alike, layers)), 0),
            };
            let (y, steps) = match recorded {
                Ok(tape) => (tape.y.clone(), Steps::Taped(Box::new(tape))),
                Err((alike, layers)) => {
                    let y = launch(&layers, &states, &words).pop()?;
                    (y, Steps::Like(Box::new(alike), failed))
                }
            };
            caches.iter_mut().for_each(|cache| cache.push());
            Some((tensor(y, shape), steps))
        }
    }
}

/// A build without GPUs.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod none {
    use burn::tensor::Tensor;

    use crate::nn::cache::Cache;
    use crate::nn::transformer::Transformer;

    #[derive(Debug, Default)]
    pub(crate) struct Steps {}

    impl Steps {
        pub(crate) fn are_known(&self) -> bool {
            false
        }
    }

    impl Transformer {
        pub(crate) fn step(
            &self,
            _x: &Tensor<3>,
            _cache: &mut Cache,
            _at: (usize, usize),
        ) -> Option<Tensor<3>> {
            None
        }
    }
}
