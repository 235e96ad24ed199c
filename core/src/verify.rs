//! Whether a device computes what the CPU computes: the same tokens through both, step by step.

use std::fmt;

use burn::tensor::{Int, Tensor, TensorData};

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::kernels::{Cuts, Draw};
use crate::model::Model;
use crate::nn::{Cache, Chosen, GoOn, Outcome, Padded, Rows, Run};
use crate::output::read;
use crate::precision::Precision;

/// Tokens of the prompt.
const MANY: usize = 16;

/// Tokens that are fed at once before single ones.
const FEW: usize = 4;

/// Single tokens after them: a step is computed, one like it recorded, others played.
const STEPS: usize = 5;

/// A device compared with the CPU on the same model and tokens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verification {
    /// The device.
    pub device: String,
    /// One entry a step of the network, in order; then one each of the other ways that calls take.
    pub steps: Vec<Step>,
    /// Difference over scale beyond which a step is wrong: 1e-3 in floats, 2e-2 where the model's
    /// [`Precision`] rounds activations to 16-bit floats on this device.
    pub tolerance: f32,
}

/// The difference after one step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Of a prompt `embed`, `blocks.0`, ..., `norm`, `logits`. Of a decoder's other ways the logits:
    /// `few` of some tokens with a cache, `step.0`, `step.1`, ... of one more each, of which a GPU
    /// records and plays the later ones. `batch` and `packed` are the states of rows of different
    /// lengths, padded and one after another; `choice` and `draw` tell how far what a GPU chooses
    /// stands below the likeliest token.
    pub name: String,
    /// The largest absolute difference from the CPU.
    pub difference: f32,
    /// The largest absolute number on the CPU, to judge it by.
    pub scale: f32,
}

/// Difference over scale beyond which a device is wrong rather than rounded: sums of thousands of
/// 32-bit products in another order stay two powers of ten below it, and so do 16-bit floats.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::Stored | Precision::F32 | Precision::Int8 => 1e-3,
        Precision::F16 | Precision::Bf16 => 2e-2,
    }
}

impl Step {
    /// The difference in units of the step's own numbers.
    pub fn relative(&self) -> f32 {
        match self.difference.is_finite() {
            true => self.difference / self.scale.max(1e-6),
            false => f32::INFINITY,
        }
    }
}

impl Verification {
    /// Whether every step is within the tolerance.
    pub fn passed(&self) -> bool {
        self.first_wrong().is_none()
    }

    /// The first step beyond the tolerance: where a difference arose.
    pub fn first_wrong(&self) -> Option<&Step> {
        // Written so that a difference that is no number counts as wrong.
        let wrong = |step: &&Step| step.relative().is_nan() || step.relative() > self.tolerance;
        self.steps.iter().find(wrong)
    }

    /// The step with the largest difference relative to its numbers.
    pub fn worst(&self) -> Option<&Step> {
        self.steps.iter().max_by(|a, b| a.relative().total_cmp(&b.relative()))
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "agrees with" } else { "differs from" };
        write!(f, "{} {verdict} the CPU", self.device)?;
        if let Some(step) = self.first_wrong().or(self.worst()) {
            let what = if self.passed() { "largest difference" } else { "first wrong" };
            write!(f, "; {what} after `{}`: {:e} of {:e}", step.name, step.difference, step.scale)?;
        }
        Ok(())
    }
}

impl Model {
    /// Compares this model on its device with the same files on the CPU by tensor operations alone, on
    /// a few tokens and by every way that calls take: a prompt, step by step; some tokens and single
    /// ones after it; rows of different lengths; the choice of a token where the logits are. Both are
    /// of the model's own precision.
    ///
    /// # Errors
    /// As opening the files on the CPU, and [`Error::Device`].
    pub fn verify(&self) -> Result<Verification> {
        if self.device().kind == DeviceKind::Cpu {
            return compare(self, self);
        }
        let precision = match self.precision() {
            // Rounds on the CPU alone.
            Precision::Bf16 => Precision::Stored,
            other => other,
        };
        let options = Model::options().device(Device::Cpu).precision(precision);
        compare(self, &options.open(self.path())?)
    }
}

/// Runs the same tokens through both models, by each way that calls take.
pub(crate) fn compare(model: &Model, cpu: &Model) -> Result<Verification> {
    // Spread over the vocabulary, so that every part of a split table is looked at.
    let spec = model.spec();
    let reader = spec.encoder.as_deref().unwrap_or(spec);
    let count = MANY.min(spec.window).min(reader.window);
    let vocab = spec.vocab.min(reader.vocab);
    let ids: Vec<u32> =
        (0..count).map(|i| ((i * 7919 + i * vocab / count) % vocab) as u32).collect();
    let found = model.guarded(|| trace(model, &ids, false))?;
    let wanted = cpu.guarded(|| trace(cpu, &ids, true))?;
    let mut steps = Vec::new();
    for ((name, found), (_, wanted)) in found.into_iter().zip(wanted) {
        let mut step = Step { name, difference: 0.0, scale: 0.0 };
        for (found, wanted) in found.iter().zip(&wanted) {
            let difference = (found - wanted).abs();
            // `max` would drop a NaN.
            if difference.is_nan() || difference > step.difference {
                step.difference = difference;
            }
            step.scale = step.scale.max(wanted.abs());
        }
        if found.len() != wanted.len() {
            step.difference = f32::INFINITY;
        }
        steps.push(step);
    }
    steps.extend(model.guarded(|| choices(model, &ids))?);
    let tolerance = tolerance(model.precision());
    Ok(Verification { device: model.device().to_string(), steps, tolerance })
}

/// The numbers after each step of the network, by name: of a prompt, then of each other way; by
/// tensor operations alone where they are what others are compared with.
fn trace(model: &Model, ids: &[u32], reference: bool) -> Result<Vec<(String, Vec<f32>)>> {
    let mut seen: Vec<(String, Tensor<3>)> = Vec::new();
    let shape = [1, ids.len()];
    let mut stack = |part: &str, run: &mut dyn FnMut(GoOn<'_>) -> Option<Tensor<3>>| {
        let mut steps: Vec<(String, Tensor<3>)> = Vec::new();
        let hidden = run(&mut |i, x| {
            let name = if i == 0 { "embed".to_string() } else { format!("blocks.{}", i - 1) };
            steps.push((format!("{part}{name}"), x.tensor()));
            true
        });
        let hidden = hidden.ok_or(Error::Cancelled)?;
        steps.push((format!("{part}norm"), hidden.clone()));
        seen.append(&mut steps);
        Ok::<_, Error>(hidden)
    };
    let tokens = tensor(model, ids, shape);
    let prompt = || Run { reference, ..Run::of(Rows::full(shape, 0)) };
    let cross = match model.seq2seq() {
        Some(net) => {
            let states =
                stack("encoder.", &mut |go_on| net.encode_run(tokens.clone(), prompt(), go_on))?;
            Some(net.cross_cache(states, None))
        }
        None => None,
    };
    let decoder = match model.seq2seq() {
        Some(net) => Some(net.decoder()),
        None => model.decoder(),
    };
    let read_by = match decoder {
        Some(decoder) => &decoder.transformer,
        None => model.transformer(),
    };
    let hidden = stack("", &mut |go_on| {
        let run = Run { across: cross.as_ref(), ..prompt() };
        read_by.run(tokens.clone(), run, go_on)
    })?;
    if let Some(decoder) = decoder {
        seen.push(("logits".to_string(), decoder.logits(hidden)));
        // A few tokens at once, then one after another: the step of one, and as often as it takes to
        // be recorded and played.
        let mut cache = Cache::new(model.spec());
        let few = FEW.min(ids.len().div_ceil(2));
        let parts = [&ids[..few]].into_iter().chain(ids[few..].chunks(1).take(STEPS));
        for (i, part) in parts.enumerate() {
            let shape = [1, part.len()];
            let run = Run { across: cross.as_ref(), reference, ..Run::after(&mut cache, shape) };
            let states = decoder.transformer.run_through(tensor(model, part, shape), run);
            let logits = decoder.logits(states.narrow(1, part.len() - 1, 1));
            let name = if i == 0 { "few".to_string() } else { format!("step.{}", i - 1) };
            seen.push((name, logits));
        }
    }
    // Rows of different lengths, side by side and, where that is done, one after another.
    let (short, device) = (&ids[..ids.len().div_ceil(2)], model.tensor_device());
    let rows = [ids, short];
    let real = |states: Tensor<3>| {
        let [_, _, width] = states.dims();
        let first = states.clone().narrow(0, 0, 1).reshape([1, ids.len(), width]);
        let second = states.narrow(0, 1, 1).narrow(1, 0, short.len());
        Tensor::cat(vec![first, second], 1)
    };
    let mut batch = |name: &str, batch: Padded| {
        let run = Run { reference, ..Run::of(batch.rows) };
        let states = match model.seq2seq() {
            Some(net) => net.encode_run(batch.ids, run, &mut |_, _| true),
            None => Some(model.transformer().run_through(batch.ids, run)),
        };
        let states = states.ok_or(Error::Cancelled)?;
        seen.push((name.to_string(), if name == "batch" { real(states) } else { states }));
        Ok::<_, Error>(())
    };
    batch("batch", Padded::new(&rows, None, device))?;
    if model.transformer().packs(device) {
        let types = rows.map(|row| vec![0; row.len()]);
        batch("packed", Padded::packed(&rows, &[&types[0], &types[1]], device))?;
    }
    seen.into_iter().map(|(name, x)| Ok((name, read(x, model.device())?))).collect()
}

/// How far the tokens that are chosen where the logits are stand below the likeliest, as a GPU
/// chooses them: the likeliest, and the first of a draw, which is the same.
fn choices(model: &Model, ids: &[u32]) -> Result<Vec<Step>> {
    let Some(decoder) = model.decoder() else { return Ok(vec![]) };
    let mut cache = Cache::new(model.spec());
    let mut steps = vec![];
    let first = Draw { cuts: Cuts { top_k: 4, ..Cuts::OFF }, uniform: 0.0 };
    for (name, draw) in [("choice", None), ("draw", Some(first))] {
        let run = Run::after(&mut cache, [1, 1]);
        let states = decoder.transformer.run_through(tensor(model, &ids[..1], [1, 1]), run);
        let logits = decoder.logits(states);
        let Some(chosen) = Chosen::of(&logits, draw.as_ref()) else { continue };
        let logits = read(logits, model.device())?;
        let failed = |problem| Error::Device { device: model.device().id(), problem };
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let difference = match chosen.read().map_err(failed)? {
            Outcome::Token(id, _) => {
                logits.get(id as usize).map_or(f32::INFINITY, |own| most - own)
            }
            // The host chooses from these.
            Outcome::Undecided => 0.0,
            Outcome::NotFinite => f32::INFINITY,
        };
        let scale = logits.iter().fold(0.0f32, |scale, logit| scale.max(logit.abs()));
        steps.push(Step { name: name.to_string(), difference, scale });
    }
    Ok(steps)
}

/// Tokens on the model's device.
fn tensor(model: &Model, ids: &[u32], shape: [usize; 2]) -> Tensor<2, Int> {
    let values: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(values, shape), model.tensor_device())
}
