//! The Transformer of this crate: embeddings, blocks and last norm, for encoders and decoders.

use std::cell::OnceCell;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::block::Block;
use super::cache::Cache;
use super::cross::CrossCache;
use super::gpu::is_gpu;
use super::host::is_host;
use super::linear::Proj;
use super::norm::Norm;
use super::plan::{AttentionAt, Plan, Step};
use super::position::sinusoidal;
use super::relative::Distances;
use super::rows::Rows;
use super::run::params::{Load, Parameters};
use super::run::{self, Decided, Hidden, LayerPass, Pass, Stack, Ways, knows};
use super::source::{Random, Source};
use super::spec::{Factor, Position, Rope, Spec};
use super::states::States;
use super::weight::Weight;
use crate::error::{Error, Result};

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
    /// What its blocks compute.
    #[module(skip)]
    plan: Arc<Plan>,
    /// Who computes them, where it was decided.
    ways: Decided,
}

/// What a forward pass is told beside the tokens.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Which tokens there are.
    pub rows: Rows,
    /// Segment types, `[B, T]`.
    pub types: Option<Tensor<2, Int>>,
    /// What is held of the tokens before.
    pub states: States<'a>,
    /// Where the experts of each block are counted.
    pub load: Option<&'a [Load]>,
    /// Layers whose attention weights are wanted, `[B, H, T, S]`; of rows that do not stand together.
    pub maps: &'a mut [(usize, Option<Tensor<4>>)],
    /// What there is of a source, for a decoder with an encoder beside it.
    pub across: Option<&'a CrossCache>,
    /// The table of tokens, for a stack that shares another's.
    pub tokens: Option<&'a Weight>,
    /// Whether tensor operations compute every step: what others are compared with.
    pub reference: bool,
}

impl<'a> Run<'a> {
    /// Of these rows, with nothing before them.
    pub(crate) fn of(rows: Rows) -> Run<'a> {
        Run {
            rows,
            types: None,
            states: States::None,
            load: None,
            maps: &mut [],
            across: None,
            tokens: None,
            reference: false,
        }
    }

    /// Of B rows of T tokens that follow those of a cache.
    pub(crate) fn after(cache: &'a mut Cache, shape: [usize; 2]) -> Run<'a> {
        let rows = Rows::full(shape, cache.len());
        Run { states: States::One(cache), ..Run::of(rows) }
    }
}

/// Asked before each block, with its number and its input; `false` ends the pass.
pub(crate) type GoOn<'a> = &'a mut dyn FnMut(usize, &Hidden) -> bool;

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
        let plan = Plan::of(spec);
        let block = |number: usize| {
            let first = spec.layers.iter().enumerate();
            let mut own = first.filter(|(i, layer)| layer.weights.unwrap_or(*i) == number);
            let layer = own.next().map_or(number, |(i, _)| i);
            Block::build(source, (number, layer), spec, &plan.layers[layer])
        };
        let blocks = (0..spec.blocks()).map(block).collect::<Result<_>>()?;
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
            plan: Arc::new(plan),
            ways: Decided::default(),
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
    /// are numbers without meaning. A token's place is its index, wherever padding stands.
    pub fn forward(&self, ids: Tensor<2, Int>, kept: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let rows = self.rows(&ids, kept);
        self.run_through(ids, Run::of(rows))
    }

    /// The rows of a batch, of which a mask may say what is no padding.
    pub(crate) fn rows(&self, ids: &Tensor<2, Int>, kept: Option<Tensor<2, Bool>>) -> Rows {
        match kept {
            Some(kept) => Rows::masked(ids.dims(), kept),
            None => Rows::full(ids.dims(), 0),
        }
    }

    /// [`run`](Self::run) up to its end.
    pub(crate) fn run_through(&self, ids: Tensor<2, Int>, run: Run<'_>) -> Tensor<3> {
        self.run(ids, run, &mut |_, _| true)
            .unwrap_or_else(|| unreachable!("a run that is never told to stop ends"))
    }

    /// As [`forward`](Self::forward), with all that a run may be told; `None` when `go_on` says no.
    /// The states are then no longer fit for use.
    ///
    /// # Shapes
    /// `ids: [B, T]`, those of the run's rows -> `[B, T, D]`
    pub(crate) fn run(
        &self,
        ids: Tensor<2, Int>,
        run: Run<'_>,
        go_on: GoOn<'_>,
    ) -> Option<Tensor<3>> {
        let Run { rows, types, mut states, load, maps, across, tokens, reference } = run;
        debug_assert_eq!(ids.dims(), rows.shape());
        let device = ids.device();
        let x = self.embed(ids, tokens, types, rows.places());
        let stack = self.stack();
        let plain = across.is_none() && load.is_none() && maps.is_empty() && !reference;
        if let (true, [1, 1], States::One(cache)) = (plain, rows.shape(), &mut states)
            && is_gpu(&device)
        {
            let x = Hidden::Tensor(x.clone());
            if !go_on(0, &x) {
                return None;
            }
            if let Some(y) = run::step(&stack, x.into_tensor(), cache, &rows) {
                cache.advance(1);
                return Some(self.last(y));
            }
        }
        let pass = Pass::new(&stack, &rows, device, across);
        let mut x = Hidden::Tensor(x);
        for (i, (own, steps)) in self.spec.layers.iter().zip(&self.plan.layers).enumerate() {
            if !go_on(i, &x) {
                return None;
            }
            let number = own.weights.unwrap_or(i);
            let (map, wanted) = (OnceCell::new(), maps.iter_mut().find(|(own, _)| *own == i));
            let layer = LayerPass {
                pass: &pass,
                owner: stack.blocks[number],
                number,
                ways: self.ways.get().and_then(|ways| ways.block(i)).filter(|_| plain),
                reference,
                load: load.and_then(|load| load.get(i)),
                map: wanted.is_some().then_some(&map),
            };
            x = run::layer(steps, &layer, x, states.layer(i));
            if let Some((_, place)) = wanted {
                *place = map.into_inner();
            }
        }
        states.advance(rows.shape()[1]);
        Some(self.last(x.into_tensor()))
    }

    /// The last norm.
    fn last(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// Decides who computes its blocks on a device, which prints as `name`.
    pub(crate) fn decide(&mut self, device: &Device, name: &str) {
        self.ways = Decided::of(Ways::of(&self.stack(), device, name));
    }

    /// Who computes its blocks, where it was decided: when a [`Model`](crate::Model) was opened. A
    /// stack whose parameters changed or moved since has forgotten.
    pub fn ways(&self) -> Option<&Ways> {
        self.ways.get()
    }

    /// Its blocks, as executors take them.
    fn stack(&self) -> Stack<'_> {
        Stack {
            spec: &self.spec,
            plan: &self.plan,
            relative: self.relative.as_ref(),
            blocks: self.blocks.iter().map(|block| block as &dyn Parameters).collect(),
        }
    }

    /// Whether [`Rows::packed`] is worth it on this device: where an attention is computed by tensors,
    /// those of each sequence with all others are computed and thrown away.
    pub(crate) fn packs(&self, device: &Device) -> bool {
        let knows = match is_host(device) {
            true => knows::slices,
            false if is_gpu(device) => knows::cube,
            false => return false,
        };
        let unknown = |step: &Step| match step {
            Step::Attend(attend) if attend.of == AttentionAt::Own => knows(step).is_err(),
            _ => false,
        };
        !self.plan.ropes.iter().any(Rope::by_length) && !self.plan.any(unknown)
    }

    /// Whether [`Rows::joined`] is worth it on this device, for sequences with these caches: where an
    /// attention is computed by tensors, it is one product after another.
    pub(crate) fn joins<'a>(
        &self,
        device: &Device,
        mut caches: impl Iterator<Item = &'a Cache>,
    ) -> bool {
        let unknown = |step: &Step| matches!(step, Step::Attend(_)) && knows::slices(step).is_err();
        is_host(device)
            && !self.plan.any(unknown)
            && caches.all(|cache| cache.layers.iter().all(|layer| layer.fits_host(1)))
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

/// Refuses a decoder without its encoder.
pub(crate) fn alone(spec: &Spec) -> Result<()> {
    match &spec.encoder {
        None if !spec.embed.shared => Ok(()),
        _ => {
            let problem = "is true, and this module is one stack; build both with `Seq2Seq`";
            Err(Error::config("is_encoder_decoder", problem))
        }
    }
}
