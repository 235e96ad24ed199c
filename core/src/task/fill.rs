//! Masked words: which tokens stand behind the masks of a text (arXiv:1810.04805, section 3.1).

use super::{Job, RunOptions, best, softmax};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::TaskKind;

/// A token for a mask.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fill {
    /// Its probability among all tokens of the vocabulary.
    pub score: f32,
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// The text with the mask replaced. With several masks the others stay, and special tokens are
    /// written out, as transformers does.
    pub text: String,
}

/// What a caller chooses about filling masks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FillOptions {
    /// Tokens for a mask, likeliest first. Default: 5.
    pub top_k: Option<usize>,
    /// Only these tokens, each one token of the vocabulary. Default: all.
    pub targets: Vec<String>,
    /// How it is run.
    pub run: RunOptions,
}

impl FillOptions {
    /// Sets [`top_k`](Self::top_k).
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Sets [`targets`](Self::targets).
    pub fn targets<S: Into<String>>(mut self, targets: impl IntoIterator<Item = S>) -> Self {
        self.targets = targets.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`run`](Self::run).
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}

impl Model {
    /// The likeliest tokens for each mask of a text, one list a mask, in their order.
    ///
    /// ```no_run
    /// # use emberform::{FillOptions, Model};
    /// let model = Model::open("models/bert-base-uncased")?;
    /// for fill in &model.fill_mask("Paris is the [MASK] of France.", &FillOptions::default())?[0] {
    ///     println!("{:.3} {}", fill.score, fill.text);
    /// }
    /// # Ok::<(), emberform::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer, a mask token or a head for it, [`Error::Argument`]
    /// for a text without a mask, [`Error::TooLong`] for one beyond the limit.
    pub fn fill_mask(&self, text: &str, options: &FillOptions) -> Result<Vec<Vec<Fill>>> {
        const CALL: &str = "fill_mask";
        let tokenizer = self.need_tokenizer(CALL)?;
        let (_, head) = self.need_head(CALL, TaskKind::Words)?;
        let mask = self.labels().mask.ok_or_else(|| Error::Missing {
            call: CALL,
            what: "a mask token: `tokenizer_config.json` names none".to_string(),
        })?;
        let top_k = options.top_k.unwrap_or(5);
        if top_k == 0 {
            return Err(Error::argument("top_k", "is 0; 1 or more would be right"));
        }
        let mut targets = Vec::new();
        for target in &options.targets {
            let id = tokenizer.id(target).filter(|id| (*id as usize) < self.spec().vocab);
            let id = id.ok_or_else(|| {
                let problem = format!("hold `{target}`, which is no token of the vocabulary");
                Error::argument("targets", problem)
            })?;
            if !targets.contains(&id) {
                targets.push(id);
            }
        }
        let encoding = tokenizer.encode(text, true)?;
        let window = self.limit(&options.run)?;
        if encoding.ids.len() > window {
            return Err(Error::TooLong { tokens: encoding.ids.len(), window });
        }
        let masks: Vec<usize> =
            (0..encoding.ids.len()).filter(|i| encoding.ids[*i] == mask).collect();
        if masks.is_empty() {
            let name = tokenizer.token(mask).unwrap_or_default();
            return Err(Error::argument("text", format!("holds no mask, which is `{name}` here")));
        }
        let job = Job { encoding: &encoding, places: Some(masks.clone()) };
        let mut logits = self.head_logits(CALL, TaskKind::Words, &[job], &options.run)?;
        let mut logits = logits.pop().unwrap_or_default();
        let vocab = head.task().outputs;
        let rows = masks.iter().zip(logits.chunks_exact_mut(vocab));
        rows.map(|(place, row)| {
            softmax(row);
            let scores: Vec<f32> = match targets.is_empty() {
                true => row.to_vec(),
                false => targets.iter().map(|id| row[*id as usize]).collect(),
            };
            let id = |i: usize| targets.get(i).copied().unwrap_or(i as u32);
            // A vocabulary may be padded with ids that are no token.
            let real = best(&scores, top_k).into_iter().map(|i| (scores[i], id(i)));
            real.filter(|(_, id)| tokenizer.token(*id).is_some())
                .map(|(score, id)| {
                    let mut ids = encoding.ids.clone();
                    ids[*place] = id;
                    ids.retain(|id| Some(*id) != self.labels().padding);
                    Ok(Fill {
                        score,
                        id,
                        token: tokenizer.decode(&[id], false)?,
                        text: tokenizer.decode(&ids, masks.len() == 1)?,
                    })
                })
                .collect()
        })
        .collect()
    }
}
