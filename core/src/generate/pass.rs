//! Prefill and decoding, the forward passes of a decoder: tokens of one sequence, of equally long
//! ones, or one of each of several.

use burn::tensor::{Int, Tensor, TensorData};

use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::{Cache, CrossCache, GptDecoder, Hidden, Rows, Run, States};
use crate::output::read;

/// One forward pass of the next tokens of `rows` sequences that are equally long, one sequence
/// after another; the logits after the last token of each, or after every one. `total` is the
/// length of a sequence once all that is being read is in.
pub(super) fn pass(
    model: &Model,
    cache: &mut Cache,
    source: Option<&CrossCache>,
    cancel: &CancelToken,
    (ids, rows): (&[u32], usize),
    all: bool,
    total: usize,
) -> Result<Vec<f32>> {
    let t = ids.len() / rows.max(1);
    let tokens = Rows::full([rows, t], cache.len()).of_lengths(&[total]);
    let run = Run { states: States::One(cache), across: source, ..Run::of(tokens) };
    logits(model, cancel, (ids, [rows, t]), run, all)
}

/// One forward pass of the next token of each of several sequences; the logits after each.
///
/// [`Transformer::joins`](crate::nn::Transformer::joins) must know the caches. `totals` are the
/// lengths of the sequences with the token.
pub(super) fn join(
    model: &Model,
    caches: Vec<&mut Cache>,
    cancel: &CancelToken,
    ids: &[u32],
    totals: &[usize],
) -> Result<Vec<f32>> {
    let before: Vec<usize> = caches.iter().map(|cache| cache.len()).collect();
    let rows = Rows::joined(&before).of_lengths(totals);
    let run = Run { states: States::Each(caches), ..Run::of(rows) };
    logits(model, cancel, (ids, [1, ids.len()]), run, true)
}

/// The logits after every token of `[B, T]`, or after the last of each row.
fn logits(
    model: &Model,
    cancel: &CancelToken,
    (ids, [b, t]): (&[u32], [usize; 2]),
    run: Run<'_>,
    all: bool,
) -> Result<Vec<f32>> {
    let decoder = model.need_decoder("feed")?;
    model.guarded(|| {
        let hidden = states(decoder, cancel, tensor(model, ids, [b, t]), run)?;
        // The head is the largest matrix of all: only the tokens that are asked for.
        let hidden = if all { hidden } else { hidden.narrow(1, t - 1, 1) };
        read(decoder.logits(hidden), model.device())
    })
}

/// Tokens on the model's device.
pub(super) fn tensor(model: &Model, ids: &[u32], shape: [usize; 2]) -> Tensor<2, Int> {
    let values: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(values, shape), model.tensor_device())
}

/// The states of a pass.
pub(super) fn states(
    decoder: &GptDecoder,
    cancel: &CancelToken,
    ids: Tensor<2, Int>,
    run: Run<'_>,
) -> Result<Tensor<3>> {
    let mut go_on = |_: usize, _: &Hidden| !cancel.is_cancelled();
    decoder.transformer.run(ids, run, &mut go_on).ok_or(Error::Cancelled)
}
