//! The Transformer of this crate: embeddings, blocks and last norm, for encoders and decoders.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::attention::{Keys, Places};
use super::block::Block;
use super::cache::{Cache, LayerCache};
use super::cross::Memory;
use super::gpu;
use super::host::{self, View};
use super::linear::{Proj, Weight};
use super::mask;
use super::moe::Load;
use super::norm::Norm;
use super::position::{Angles, alibi, sinusoidal, tempers};
use super::relative::{Distances, Vectors};
use super::source::{Random, Source};
use super::spec::{Factor, Layer, Position, Relative, Rope, Span, Spec};
use crate::error::{Error, Result};
use crate::kernels::cpu::attention::Part;

/// Tokens in, hidden states out.
///
/// Built from a [`Spec`]; [`BertEncoder`](super::BertEncoder) and
/// [`GptDecoder`](super::GptDecoder) put a top on it.
#[derive(Module, Debug)]
pub struct Transformer {
    /// A vector a token, `[V, D]`; `None` for the encoder of a [`Seq2Seq`](super::Seq2Seq) that
    /// shares the decoder's.
    pub tokens: Option<Weight>,
    /// A vector a place, where positions are learned.
    pub positions: Option<Weight>,
    /// A vector a segment type, where there are types.
    pub types: Option<Weight>,
    /// Norm over the sum of embeddings.
    pub embed_norm: Option<Norm>,
    /// From the size of an embedding to that of a hidden state, `[D, E]`, where they differ.
    pub embed_proj: Option<Proj>,
    /// What distances of tokens mean, where it is learned.
    pub relative: Option<Distances>,
    /// The blocks that have weights of their own; others share those of one of these.
    pub blocks: Vec<Block>,
    /// Norm after the last block.
    pub norm: Option<Norm>,
    #[module(skip)]
    spec: Arc<Spec>,
}

/// What a forward pass may be told beside the tokens.
#[derive(Debug, Default)]
pub(crate) struct Run<'a> {
    /// Segment types, `[B, T]`.
    pub types: Option<Tensor<2, Int>>,
    /// `true` for real tokens, `[B, T]`.
    pub kept: Option<Tensor<2, Bool>>,
    /// How many tokens of each row `kept` keeps, where that is known: else the device is asked.
    pub real: Option<Vec<usize>>,
    /// Keys and values of the tokens before.
    pub cache: Option<&'a mut Cache>,
    /// The same of sequences that each have one more token in the one row; where
    /// [`Transformer::joins`] says so alone, with a length for each.
    pub each: Vec<&'a mut Cache>,
    /// Lengths of sequences that stand one after another in the one row, without padding and
    /// without seeing each other; where [`Transformer::packs`] says so alone.
    pub packed: Option<&'a [usize]>,
    /// Where the experts of each block are counted.
    pub load: Option<&'a [Load]>,
    /// Tokens that each row will have when all of it was read, for rotations that go by it; what
    /// `kept` and the cache say where this is empty.
    pub lengths: Vec<usize>,
    /// Layers whose attention weights are wanted, `[B, H, T, S]`; not with `packed`.
    pub maps: &'a mut [(usize, Option<Tensor<4>>)],
    /// Whether the states of tokens that `kept` hides are wanted as well: they see the others.
    pub beyond: bool,
    /// What there is of a source, for a decoder with an encoder beside it.
    pub across: Option<&'a Memory>,
    /// The table of tokens, for a stack that shares another's.
    pub tokens: Option<&'a Weight>,
}

impl Transformer {
    /// A new model with random weights, to be trained.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the spec does not fit together.
    pub fn new(spec: &Spec, device: &Device) -> Result<Self> {
        spec.validate()?;
        alone(spec)?;
        Self::build(&mut Random { device }, spec)
    }

    pub(crate) fn build(source: &mut dyn Source, spec: &Spec) -> Result<Self> {
        let width = spec.sum_width();
        let positions = match spec.position {
            Position::Learned { count } => {
                Some(source.matrix("embed.positions.weight", count, width)?)
            }
            _ => None,
        };
        let types = match spec.embed.types {
            0 => None,
            types => Some(source.matrix("embed.types.weight", types, width)?),
        };
        let mut norm = |wanted: bool, name: &str, width: usize| match wanted {
            true => Norm::build(source, name, width, spec.norm).map(Some),
            false => Ok(None),
        };
        let embed_norm = norm(spec.embed.norm, "embed.norm", width)?;
        let last_norm = norm(spec.last_norm, "norm", spec.width)?;
        let embed_proj = match spec.embed.factor {
            Some(factor) => {
                let bias = matches!(factor, Factor::Sum { .. });
                Some(Proj::build(source, "embed.proj", [spec.width, factor.width()], bias)?)
            }
            None => None,
        };
        let relative = match &spec.attention.relative {
            Some(relative) => Some(Distances::build(source, relative, spec)?),
            None => None,
        };
        let blocks =
            (0..spec.blocks()).map(|i| Block::build(source, i, spec)).collect::<Result<_>>()?;
        Ok(Transformer {
            tokens: match spec.embed.shared {
                true => None,
                false => {
                    Some(source.matrix("embed.tokens.weight", spec.vocab, spec.embed_width())?)
                }
            },
            positions,
            types,
            embed_norm,
            embed_proj,
            relative,
            blocks,
            norm: last_norm,
            spec: Arc::new(spec.clone()),
        })
    }

    /// What it was built from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The table of tokens.
    pub(crate) fn table(&self) -> &Weight {
        let missing = || unreachable!("an encoder without a table is given the decoder's");
        self.tokens.as_ref().unwrap_or_else(missing)
    }

    /// Hidden states of a batch.
    ///
    /// Ids must be below the vocabulary's size, and T at most the window: unchecked here, checked
    /// by [`Model`](crate::Model).
    ///
    /// # Shapes
    /// `ids: [B, T]`, `kept: [B, T]` with `true` for real tokens -> `[B, T, D]`. States of padding
    /// are numbers without meaning.
    pub fn forward(&self, ids: Tensor<2, Int>, kept: Option<Tensor<2, Bool>>) -> Tensor<3> {
        self.run(ids, Run { kept, ..Run::default() }, &mut |_, _| true)
            .unwrap_or_else(|| unreachable!("a run that is never told to stop ends"))
    }

    /// As [`forward`](Self::forward), with all that a run may be told; `None` when `go_on`, asked
    /// before each block with its number and its input, says no. The cache is then no longer fit
    /// for use.
    pub(crate) fn run(
        &self,
        ids: Tensor<2, Int>,
        mut run: Run<'_>,
        go_on: &mut dyn FnMut(usize, &Tensor<3>) -> bool,
    ) -> Option<Tensor<3>> {
        let [b, t] = ids.dims();
        let device = ids.device();
        let start = run.cache.as_ref().map_or(0, |cache| cache.len());
        let in_memory = host::is_host(&device);
        let on_gpu = gpu::is_gpu(&device) && (run.cache.is_none() || b == 1);
        let parts = match in_memory || on_gpu {
            true => parts(&run, [b, t]),
            false => vec![],
        };
        let each = !run.each.is_empty();
        let at: Vec<usize> = match run.packed {
            Some(lengths) => lengths.iter().flat_map(|length| 0..*length).collect(),
            None if each => run.each.iter().map(|cache| cache.len()).collect(),
            None => (start..start + t).collect(),
        };
        let lengths = self.lengths(&run, b, start + t);
        let mut x = self.embed(ids, run.tokens, run.types, &at);
        if on_gpu
            && t == 1
            && run.across.is_none()
            && run.load.is_none()
            && run.maps.is_empty()
            && !run.beyond
            && let Some(cache) = run.cache.as_deref_mut()
        {
            if !go_on(0, &x) {
                return None;
            }
            if let Some(y) = self.step(&x, cache, (start, lengths[0])) {
                cache.advance(1);
                return Some(match &self.norm {
                    Some(norm) => norm.forward(y),
                    None => y,
                });
            }
        }
        // Rows that continue one source look at it together.
        let sources = run.across.map_or(1, |memory| memory.rows().max(1));
        let looks = run.across.map(|memory| memory.parts(b / sources * t)).unwrap_or_default();

        let memo = gpu::Memo::default();
        // Angles and masks are made once for all blocks that share them.
        let mut ropes: Vec<(usize, Angles)> = Vec::new();
        let mut masks: Vec<(Span, Vec<usize>, Option<Tensor<4, Bool>>)> = Vec::new();
        let mut biases: Vec<(Vec<usize>, Tensor<4>)> = Vec::new();
        let mut vectors: Vec<(Vec<usize>, Vectors)> = Vec::new();
        for (i, own) in self.spec.layers.iter().enumerate() {
            let number = own.weights.unwrap_or(i);
            let block = &self.blocks[number];
            let across = run.across.and_then(|memory| memory.across(number, &looks));
            if !go_on(i, &x) {
                return None;
            }
            let rope = self.spec.rope(i).map(|rope| {
                let known = ropes.iter().position(|(j, _)| self.spec.rope(*j) == Some(rope));
                known.unwrap_or_else(|| {
                    let new = if each { Angles::each } else { Angles::new };
                    ropes.push((i, new(rope, &at, &lengths, &device)));
                    ropes.len() - 1
                })
            });
            let layer = run.cache.as_deref_mut().map(|cache| &mut cache.layers[i]);
            let angles = rope.map(|rope| &ropes[rope].1);
            let span = own.span;
            let load = run.load.and_then(|load| load.get(i));
            let wanted = run.maps.iter().any(|(own, _)| *own == i);
            // A token beyond the last key may see none of them through a window.
            let blind = run.beyond && span != Span::Bidirectional;
            let known = match on_gpu {
                true => {
                    gpu::is_plain(&x)
                        && block.on_gpu()
                        && layer.as_ref().is_none_or(|layer| layer.fits_gpu())
                }
                false => in_memory && block.on_host(),
            };
            if known && on_host(own) && !wanted && !blind {
                let view = Some(View { span, parts: &parts, memo: on_gpu.then_some(&memo) });
                let places = Places { angles, view, load, across, ..Places::default() };
                let keys = match each {
                    true => {
                        let caches = run.each.iter_mut();
                        Keys::Each(caches.map(|cache| &mut cache.layers[i]).collect())
                    }
                    false => Keys::Own(layer),
                };
                x = block.forward(x, places, keys);
                continue;
            }
            debug_assert!(run.packed.is_none() && !each, "`packs` and `joins` said otherwise");
            let keys = match &layer {
                Some(layer) => layer.places(t),
                None => (0..t).collect(),
            };
            let known = biases.iter().position(|(k, _)| *k == keys);
            let bias = known.or_else(|| {
                let bias = self.bias(start..start + t, &keys, &device)?;
                biases.push((keys.clone(), bias));
                Some(biases.len() - 1)
            });
            let known = vectors.iter().position(|(k, _)| *k == keys);
            let vector = known.or_else(|| {
                let new = self.vectors(start..start + t, &keys, &device)?;
                vectors.push((keys.clone(), new));
                Some(vectors.len() - 1)
            });
            let known = masks.iter().position(|(s, k, _)| *s == span && *k == keys);
            let hidden = known.unwrap_or_else(|| {
                let own = mask::span(span, start..start + t, &keys, &device);
                let padding = run.kept.clone().map(mask::padding);
                masks.push((span, keys, mask::either(own, padding)));
                masks.len() - 1
            });
            let temper = own.temper.map(|temper| tempers(temper, start..start + t, &device));
            let map = OnceCell::new();
            let places = Places {
                map: wanted.then_some(&map),
                angles,
                temper: temper.as_ref(),
                bias: bias.map(|bias| &biases[bias].1),
                vectors: vector.map(|vector| &vectors[vector].1),
                hidden: masks[hidden].2.as_ref(),
                view: None,
                load,
                across,
            };
            x = block.forward(x, places, Keys::Own(layer));
            if let (Some(found), Some((_, place))) =
                (map.into_inner(), run.maps.iter_mut().find(|(own, _)| *own == i))
            {
                *place = Some(found);
            }
        }
        if let Some(cache) = run.cache {
            cache.advance(t);
        }
        for cache in run.each {
            cache.advance(1);
        }
        debug_assert_eq!(x.dims()[..2], [b, t]);
        Some(match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }

    /// Tokens of the rows of a batch: one number for all, or one a row where rotations differ by it.
    fn lengths(&self, run: &Run<'_>, b: usize, longest: usize) -> Vec<usize> {
        let by_length = |i: usize| self.spec.rope(i).is_some_and(Rope::by_length);
        if !(0..self.spec.layers.len()).any(by_length) {
            return vec![longest];
        }
        match &run.kept {
            _ if !run.each.is_empty() || run.lengths.len() == b => run.lengths.clone(),
            Some(kept) => {
                let counts = kept.clone().int().sum_dim(1).into_data();
                counts.iter::<i64>().map(|count| count.max(0) as usize).collect()
            }
            None => vec![longest],
        }
    }

    /// What distances add to scores alike in all blocks, `[1, H, T, S]`.
    fn bias(&self, queries: Range<usize>, keys: &[usize], device: &Device) -> Option<Tensor<4>> {
        if let Position::Alibi { scale } = self.spec.position {
            let heads = self.spec.attention.heads;
            return Some(alibi(heads, scale, queries, keys, device));
        }
        match (&self.relative, &self.spec.attention.relative) {
            (Some(distances), Some(Relative::Buckets { count, furthest, both })) => {
                Some(distances.bias((*count, *furthest, *both), queries, keys, device))
            }
            _ => None,
        }
    }

    /// Distances as vectors, which each block projects by its own matrices.
    fn vectors(&self, queries: Range<usize>, keys: &[usize], device: &Device) -> Option<Vectors> {
        match (&self.relative, &self.spec.attention.relative) {
            (Some(distances), Some(Relative::Disentangled { reach, furthest, .. })) => {
                Some(distances.vectors(*reach, *furthest, queries, keys, device))
            }
            _ => None,
        }
    }

    /// Whether [`Run::packed`] is understood on this device.
    pub(crate) fn packs(&self, device: &Device) -> bool {
        let known = match host::is_host(device) {
            true => Block::on_host,
            false if gpu::is_gpu(device) => Block::on_gpu,
            false => return false,
        };
        !(0..self.spec.layers.len()).any(|i| self.spec.rope(i).is_some_and(Rope::by_length))
            && self.blocks.iter().all(known)
            && self.spec.layers.iter().all(on_host)
    }

    /// Whether [`Run::each`] is understood on this device, for sequences with these caches.
    pub(crate) fn joins<'a>(
        &self,
        device: &Device,
        mut caches: impl Iterator<Item = &'a Cache>,
    ) -> bool {
        host::is_host(device)
            && self.blocks.iter().all(Block::on_host)
            && self.spec.layers.iter().all(on_host)
            && caches.all(|cache| cache.layers.iter().all(LayerCache::fits_host))
    }

    /// Tokens at the places `at`: `[B, T]` -> `[B, T, D]`
    fn embed(
        &self,
        ids: Tensor<2, Int>,
        tokens: Option<&Weight>,
        types: Option<Tensor<2, Int>>,
        at: &[usize],
    ) -> Tensor<3> {
        let [b, t] = ids.dims();
        let device = ids.device();
        let look_up = |table: &Weight, ids: Tensor<2, Int>| {
            let [b, t] = ids.dims();
            let rows = table.select(ids.reshape([b * t]));
            let [_, width] = rows.dims();
            rows.reshape([b, t, width])
        };
        // [B, T, E] -> [B, T, D]
        let project = |wanted: bool, x: Tensor<3>| match &self.embed_proj {
            Some(proj) if wanted => proj.forward(x),
            _ => x,
        };
        let alone = matches!(self.spec.embed.factor, Some(Factor::Tokens { .. }));
        let mut x = look_up(tokens.unwrap_or_else(|| self.table()), ids);
        if let Some(scale) = self.spec.embed.scale {
            x = x * scale;
        }
        x = project(alone, x);
        if let Some(positions) = &self.positions {
            let places: Vec<i32> = at.iter().map(|place| *place as i32).collect();
            let places = Tensor::from_data(TensorData::new(places, [1, t]), &device);
            x = x + look_up(positions, places);
        }
        if let Position::Sinusoidal { pairing } = self.spec.position {
            x = x + sinusoidal(at, self.spec.sum_width(), pairing, &device).unsqueeze();
        }
        if let Some(table) = &self.types {
            let types = types.unwrap_or_else(|| Tensor::zeros([b, t], &device));
            x = x + look_up(table, types);
        }
        let x = match &self.embed_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        project(!alone, x)
    }
}

/// Whether a block of this kind may do without a mask in kernels of ours.
pub(super) fn on_host(layer: &Layer) -> bool {
    !matches!(layer.span, Span::Chunked { .. }) && layer.temper.is_none()
}

/// Refuses a decoder without its encoder.
pub(crate) fn alone(spec: &Spec) -> Result<()> {
    match &spec.encoder {
        None if !spec.embed.shared => Ok(()),
        _ => Err(Error::config("is_encoder_decoder", "asks for two stacks, as `Seq2Seq` has them")),
    }
}

/// The sequences among the rows of a pass.
fn parts(run: &Run<'_>, [b, t]: [usize; 2]) -> Vec<Part> {
    let part = |start: usize, length: usize| {
        let keys = start..start + length;
        let queries = start..start + if run.beyond { t } else { length };
        Part { queries, keys, before: 0 }
    };
    if !run.each.is_empty() {
        return (0..t).map(|token| part(token, 1)).collect();
    }
    if let Some(lengths) = run.packed {
        let starts = lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        return starts.zip(lengths).map(|(start, length)| part(start, *length)).collect();
    }
    // Padding stands on the right.
    let lengths: Vec<usize> = match (&run.real, &run.kept) {
        (Some(real), Some(_)) if real.len() == b => real.clone(),
        (_, Some(kept)) => {
            let kept = kept.clone().int().sum_dim(1).into_data();
            kept.iter::<i64>().map(|length| usize::try_from(length).unwrap_or(0)).collect()
        }
        (_, None) => vec![t; b],
    };
    lengths.into_iter().enumerate().map(|(row, length)| part(row * t, length)).collect()
}
