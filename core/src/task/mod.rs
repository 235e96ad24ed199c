//! What an encoder with a head answers: masked words, classes, entities, passages, order.
//!
//! ```text
//! texts -> tokens, cut or in windows -> batches by length -> hidden [B, T, D]
//!       -> head: logits of words, classes or bounds -> typed results, as transformers' pipelines
//! ```
//! Which head there is the files say: [`crate::nn::Spec::tasks`].

mod answer;
mod classify;
mod files;
mod fill;
mod late;
mod sparse;
mod tokens;

use std::ops::Range;

pub use answer::{Answer, AnswerOptions};
pub use classify::{Class, Classes, ClassifyOptions, Ranked, Scoring, ZeroShotOptions};
pub(crate) use files::Labels;
pub use fill::{Fill, FillOptions};
pub use late::{TextRole, TokenVectors};
pub use sparse::Sparse;
pub use tokens::{Aggregation, Entity, TokenOptions};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::TaskKind;
use crate::nn::{BertEncoder, Padded, TaskHead, by_length};
use crate::output::{finite, read};
use crate::run::RunOptions;
use crate::text::Encoding;

/// The characters that `bytes` of a text are, counted as most languages count.
///
/// # Errors
/// [`Error::Argument`] when `bytes` is not a part of the text on character boundaries.
pub fn char_range(text: &str, bytes: Range<usize>) -> Result<Range<usize>> {
    let part = text.get(bytes.clone()).zip(text.get(..bytes.start));
    let (part, before) = part.ok_or_else(|| {
        let problem = format!("is {}..{}, which is no part of the text", bytes.start, bytes.end);
        Error::argument("bytes", problem)
    })?;
    let start = before.chars().count();
    Ok(start..start + part.chars().count())
}

/// Tokens ready for a head, and of which of them the logits are wanted.
struct Job<'a> {
    encoding: &'a Encoding,
    /// Places of tokens; `None`: all that the head gives.
    places: Option<Vec<usize>>,
}

impl Model {
    /// The head for a task.
    fn need_head(&self, call: &'static str, kind: TaskKind) -> Result<(&BertEncoder, &TaskHead)> {
        let found = self.encoder().and_then(|encoder| Some((encoder, encoder.head(kind)?)));
        found.ok_or_else(|| {
            let name = |kind: TaskKind| match kind {
                TaskKind::Words => "words behind masks",
                TaskKind::Classes => "classes of texts",
                TaskKind::Tokens => "classes of tokens",
                TaskKind::Bounds => "bounds of answers",
                TaskKind::Order => "the order of two texts",
            };
            let there: Vec<&str> = self.spec().tasks().iter().map(|task| name(task.kind)).collect();
            let there = match there.is_empty() {
                true => "none; `architectures` of `config.json` says what a head is for".into(),
                false => format!("one for {}", there.join(", ")),
            };
            let what = format!("a model with a head for {}; this one has {there}", name(kind));
            Error::Missing { call, what }
        })
    }

    /// The most tokens of a text, or of a pair.
    fn limit(&self, options: &RunOptions) -> Result<usize> {
        let window = self.spec().window;
        match options.max_tokens {
            Some(0) => Err(Error::argument("max_tokens", "is 0; a text needs at least 1")),
            Some(limit) if limit > window => {
                let problem = format!("is {limit}; the model holds {window}");
                Err(Error::argument("max_tokens", problem))
            }
            Some(limit) => Ok(limit),
            None => Ok(self.max_tokens().min(window)),
        }
    }

    /// The logits of each job, `[N, O]` row by row: N is the places asked for, the tokens of the
    /// text for a head that reads each, or 1.
    fn head_logits(
        &self,
        call: &'static str,
        kind: TaskKind,
        jobs: &[Job<'_>],
        options: &RunOptions,
    ) -> Result<Vec<Vec<f32>>> {
        let (encoder, head) = self.need_head(call, kind)?;
        for job in jobs {
            self.check_ids(&job.encoding.ids)?;
            self.check_types(&job.encoding.type_ids)?;
            self.check_length(job.encoding.ids.len())?;
            if job.encoding.ids.is_empty() {
                return Err(Error::argument("text", "makes no token"));
            }
        }
        let bound = self.batch_tokens(options.batch_tokens)?;
        let lengths: Vec<usize> = jobs.iter().map(|job| job.encoding.ids.len()).collect();
        let mut found = vec![Vec::new(); jobs.len()];
        let mut done = 0;
        for batch in by_length(&lengths, bound) {
            let rows = self.guarded(|| self.head_batch(encoder, head, jobs, &batch, options))?;
            for (i, row) in batch.iter().zip(rows) {
                found[*i] = row;
            }
            done += batch.len();
            if let Some(progress) = &options.progress {
                progress.tell(done, jobs.len());
            }
        }
        Ok(found)
    }

    /// Rows of ids with their segment types, where the model and its tokenizer agree on those.
    fn task_batch(&self, ids: &[&[u32]], types: &[&[u32]]) -> Padded {
        let typed = self.spec().embed.types > 1 && !self.labels().untyped;
        Padded::new(ids, typed.then_some(types), self.tensor_device())
    }

    fn head_batch(
        &self,
        encoder: &BertEncoder,
        head: &TaskHead,
        jobs: &[Job<'_>],
        batch: &[usize],
        options: &RunOptions,
    ) -> Result<Vec<Vec<f32>>> {
        let ids: Vec<&[u32]> = batch.iter().map(|i| &jobs[*i].encoding.ids[..]).collect();
        let types: Vec<&[u32]> = batch.iter().map(|i| &jobs[*i].encoding.type_ids[..]).collect();
        let input = self.task_batch(&ids, &types);
        let (tokens, kept) = (input.tokens(), input.kept.clone());
        let hidden = self.hidden(input, None, options.cancel.as_ref())?;
        if batch.iter().all(|i| jobs[*i].places.is_some()) {
            // Only the tokens asked for: a vocabulary of logits at each token would be most of the
            // work.
            let places = |i: &usize| jobs[*i].places.as_deref().unwrap_or_default();
            let picks: Vec<i32> = batch
                .iter()
                .enumerate()
                .flat_map(|(b, i)| places(i).iter().map(move |place| (b * tokens + place) as i32))
                .collect();
            let logits = head.pick(hidden, &picks, encoder.transformer.table());
            let values = finite("logits", read(logits, self.device())?)?;
            let width = values.len() / picks.len().max(1);
            let mut rest = &values[..];
            return Ok(batch
                .iter()
                .map(|i| {
                    let (own, after) = rest.split_at(places(i).len() * width);
                    rest = after;
                    own.to_vec()
                })
                .collect());
        }
        let logits = encoder.read_by(head, hidden, kept);
        let [_, n, outputs] = logits.dims();
        let values = read(logits, self.device())?;
        let rows = batch.iter().zip(values.chunks_exact(n * outputs)).map(|(i, row)| {
            let real = n.min(jobs[*i].encoding.ids.len());
            finite("logits", row[..real * outputs].to_vec())
        });
        rows.collect()
    }
}

/// `exp(x)` over their sum, in place.
fn softmax(values: &mut [f32]) {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - most).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

/// Places of the largest values, largest first; of equals the first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let descending = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if count < order.len() && count > 0 {
        order.select_nth_unstable_by(count - 1, descending);
        order.truncate(count);
    }
    order.truncate(count);
    order.sort_unstable_by(descending);
    order
}
