//! Heads that answer tasks: `out(norm(activation(dense(x))))`, each part where a spec has it.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};

use super::activate::activate;
use super::linear::Proj;
use super::norm::Norm;
use super::source::Source;
use super::spec::{Spec, Task};
use super::weight::Weight;
use crate::error::Result;

/// A head over hidden states.
#[derive(Module, Debug)]
pub struct TaskHead {
    /// Dense layer before the last product.
    pub dense: Option<Proj>,
    /// Norm after the dense layer's activation.
    pub norm: Option<Norm>,
    /// The last matrix, `[O, width]`; `None` when it is the token embedding's.
    pub out: Option<Weight>,
    /// Added to the last product, `[O]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    task: Task,
}

impl TaskHead {
    pub(crate) fn build(source: &mut dyn Source, task: &Task, spec: &Spec) -> Result<Self> {
        let name = format!("heads.{}", task.kind.name());
        let dense = match &task.dense {
            Some(dense) => {
                let (name, shape) = (format!("{name}.dense"), [dense.width, spec.width]);
                Some(Proj::build(source, &name, shape, dense.bias)?)
            }
            None => None,
        };
        let width = task.dense.as_ref().map_or(spec.width, |dense| dense.width);
        let norm = match task.dense.as_ref().and_then(|dense| dense.norm) {
            Some(kind) => Some(Norm::build(source, &format!("{name}.norm"), width, kind)?),
            None => None,
        };
        let out = match task.tied {
            true => None,
            false => Some(source.matrix(&format!("{name}.out.weight"), task.outputs, width)?),
        };
        let bias = source.optional(task.bias, &format!("{name}.out.bias"), task.outputs)?;
        Ok(TaskHead { dense, norm, out, bias, task: task.clone() })
    }

    /// What it was built from.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Logits at some tokens of a batch: `picks` are their places with rows run together, `b T + t`.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]`, N picks -> `[N, O]`
    pub(crate) fn pick(&self, hidden: Tensor<3>, picks: &[i32], tokens: &Weight) -> Tensor<2> {
        let ([b, t, d], n) = (hidden.dims(), picks.len());
        let picks = TensorData::new(picks.to_vec(), [n]);
        let picks = Tensor::<1, Int>::from_data(picks, &hidden.device());
        let read = hidden.reshape([b * t, d]).select(0, picks);
        self.forward(read.unsqueeze(), tokens).reshape([n, self.task.outputs])
    }

    /// Logits of what the head reads; `tokens` is the token embedding's matrix, for a head that
    /// shares it.
    ///
    /// # Shapes
    /// `x: [B, N, D]` -> `[B, N, O]`
    pub fn forward(&self, x: Tensor<3>, tokens: &Weight) -> Tensor<3> {
        let x = match (&self.dense, &self.task.dense) {
            (Some(dense), Some(spec)) => activate(spec.activation, dense.forward(x)),
            _ => x,
        };
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let [b, n, width] = x.dims();
        let y = self.out.as_ref().unwrap_or(tokens).matmul(x.reshape([b * n, width]));
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        let [_, outputs] = y.dims();
        y.reshape([b, n, outputs])
    }
}
