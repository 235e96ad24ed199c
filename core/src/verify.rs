//! Whether a device computes what the CPU computes: the same tokens through both, step by step.

use std::fmt;

use burn::tensor::{Int, Tensor, TensorData};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::Run;
use crate::output::read;

/// A device compared with the CPU on the same model and tokens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verification {
    /// The device.
    pub device: String,
    /// One entry a step of the network, in order.
    pub steps: Vec<Step>,
}

/// The difference after one step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// `embed`, `blocks.0`, ..., `norm`, `logits`.
    pub name: String,
    /// The largest absolute difference from the CPU.
    pub difference: f32,
    /// The largest absolute number on the CPU, to judge it by.
    pub scale: f32,
}

/// Difference over scale beyond which a device is wrong rather than rounded: sums of thousands of
/// 32-bit products in another order stay two powers of ten below it.
const TOLERANCE: f32 = 1e-3;

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
    /// Whether every step is within the tolerance of 32-bit arithmetic.
    pub fn passed(&self) -> bool {
        self.first_wrong().is_none()
    }

    /// The first step beyond the tolerance: where a difference arose.
    pub fn first_wrong(&self) -> Option<&Step> {
        // Written so that a difference that is no number counts as wrong.
        self.steps.iter().find(|step| step.relative().is_nan() || step.relative() > TOLERANCE)
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
    /// Compares this model on its device with the same files on the CPU, on a few tokens: the
    /// largest difference, and after which step it arose.
    ///
    /// # Errors
    /// As opening the files on the CPU, and [`Error::Device`].
    pub fn verify(&self) -> Result<Verification> {
        let cpu = Model::options().device(Device::Cpu).open(self.path())?;
        compare(self, &cpu)
    }
}

/// Runs the same tokens through both models.
fn compare(model: &Model, cpu: &Model) -> Result<Verification> {
    // Spread over the vocabulary, so that every part of a split table is looked at.
    let spec = model.spec();
    let reader = spec.encoder.as_deref().unwrap_or(spec);
    let count = 16.min(spec.window).min(reader.window);
    let vocab = spec.vocab.min(reader.vocab);
    let ids: Vec<i32> =
        (0..count).map(|i| (i * 7919 + i * vocab / count) as i32 % vocab as i32).collect();
    let found = model.guarded(|| trace(model, &ids))?;
    let wanted = cpu.guarded(|| trace(cpu, &ids))?;
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
        steps.push(step);
    }
    Ok(Verification { device: model.device().to_string(), steps })
}

/// The numbers after each step of the network.
fn trace(model: &Model, ids: &[i32]) -> Result<Vec<(String, Vec<f32>)>> {
    let device = model.tensor_device();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), device);
    let mut seen: Vec<(String, Tensor<3>)> = Vec::new();
    let mut stack = |part: &str, run: &mut dyn FnMut(Watch<'_>) -> Option<Tensor<3>>| {
        let mut steps: Vec<(String, Tensor<3>)> = Vec::new();
        let hidden = run(&mut |i, x| {
            let name = if i == 0 { "embed".to_string() } else { format!("blocks.{}", i - 1) };
            steps.push((format!("{part}{name}"), x.clone()));
            true
        });
        let hidden = hidden.ok_or(Error::Cancelled)?;
        steps.push((format!("{part}norm"), hidden.clone()));
        seen.append(&mut steps);
        Ok::<_, Error>(hidden)
    };
    let logits = match model.seq2seq() {
        Some(net) => {
            let states =
                stack("encoder.", &mut |watch| net.encode_run(ids.clone(), Run::default(), watch))?;
            let memory = net.memory(states, None);
            let hidden = stack("", &mut |watch| {
                let run = Run { across: Some(&memory), ..Run::default() };
                net.decoder().transformer.run(ids.clone(), run, watch)
            })?;
            Some(net.decoder().logits(hidden))
        }
        None => {
            let hidden = stack("", &mut |watch| {
                model.transformer().run(ids.clone(), Run::default(), watch)
            })?;
            model.decoder().map(|decoder| decoder.logits(hidden))
        }
    };
    if let Some(logits) = logits {
        seen.push(("logits".to_string(), logits));
    }
    seen.into_iter().map(|(name, x)| Ok((name, read(x, model.device())?))).collect()
}

/// What a stack tells before each block.
type Watch<'a> = &'a mut dyn FnMut(usize, &Tensor<3>) -> bool;
