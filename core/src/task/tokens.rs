//! Classes of tokens, and entities made of them, as transformers aggregates them.

use std::str::FromStr;

use super::{Job, RunOptions, softmax};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::TaskKind;
use crate::text::{Encoding, Tokenizer};

/// A part of a text with a class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entity {
    /// The class; of joined tokens without its `B-` or `I-`.
    pub label: String,
    /// Its probability; of joined tokens the mean.
    pub score: f32,
    /// Where it begins, in bytes of the text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// That part of the text.
    pub text: String,
    /// The token's place among the text's tokens, special ones included; `None` where several were
    /// joined.
    pub token: Option<usize>,
}

/// How tokens are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregation {
    /// Not at all: an entity a token.
    #[default]
    None,
    /// Neighbours of one class, each token with the class that it has by itself.
    Simple,
    /// As `Simple`, a word having the class of its first token.
    First,
    /// As `Simple`, a word having the class that is likeliest on average over its tokens.
    Average,
    /// As `Simple`, a word having the class of its surest token.
    Max,
}

impl FromStr for Aggregation {
    type Err = Error;

    /// Reads the names of transformers: `none`, `simple`, `first`, `average`, `max`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "none" => Aggregation::None,
            "simple" => Aggregation::Simple,
            "first" => Aggregation::First,
            "average" => Aggregation::Average,
            "max" => Aggregation::Max,
            _ => {
                return Err(Error::Unsupported {
                    what: format!("aggregation `{name}`"),
                    known: "none, simple, first, average, max".to_string(),
                });
            }
        })
    }
}

/// What a caller chooses about classes of tokens.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokenOptions {
    /// How tokens are joined. Default: not at all.
    pub aggregation: Aggregation,
    /// Classes that are left out. Default: `O`.
    pub ignore: Option<Vec<String>>,
    /// Tokens that a window shares with the one before, for texts beyond the limit. Default: no
    /// windows, the text is cut on the right.
    pub stride: Option<usize>,
    /// How it is run.
    pub run: RunOptions,
}

impl TokenOptions {
    /// Sets [`aggregation`](Self::aggregation).
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Sets [`ignore`](Self::ignore).
    pub fn ignore<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.ignore = Some(labels.into_iter().map(Into::into).collect());
        self
    }

    /// Sets [`stride`](Self::stride).
    pub fn stride(mut self, tokens: usize) -> Self {
        self.stride = Some(tokens);
        self
    }

    /// Sets [`run`](Self::run).
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}

/// A token with the probabilities of its classes.
struct Scored<'a> {
    scores: &'a [f32],
    start: usize,
    end: usize,
    index: usize,
    /// Whether it goes on with the word of the token before.
    inside: bool,
}

/// A token or a word with its class.
struct Tagged {
    label: usize,
    score: f32,
    start: usize,
    end: usize,
    index: usize,
}

impl Model {
    /// The entities of each text.
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer or a head for it, [`Error::Argument`] for an option
    /// out of range or for windows with [`Aggregation::None`], whose tokens would come twice; else
    /// as [`classify`](Self::classify).
    pub fn token_classify(
        &self,
        texts: &[&str],
        options: &TokenOptions,
    ) -> Result<Vec<Vec<Entity>>> {
        const CALL: &str = "token_classify";
        let (_, head) = self.need_head(CALL, TaskKind::Tokens)?;
        let tokenizer = self.need_tokenizer(CALL)?;
        let limit = self.limit(&options.run)?;
        let mut windows: Vec<(usize, Encoding)> = Vec::new();
        match options.stride {
            Some(_) if options.aggregation == Aggregation::None => {
                let problem = "needs an aggregation: windows would give tokens twice";
                return Err(Error::argument("stride", problem));
            }
            Some(stride) => {
                for (i, text) in texts.iter().enumerate() {
                    let parts = tokenizer.encode_windows(text, true, limit, stride)?;
                    windows.extend(parts.into_iter().map(|part| (i, part)));
                }
            }
            None => windows
                .extend(tokenizer.encode_batch(texts, true, Some(limit))?.into_iter().enumerate()),
        }
        let outputs = head.task().outputs;
        let jobs: Vec<Job<'_>> =
            windows.iter().map(|(_, encoding)| Job { encoding, places: None }).collect();
        let logits = self.head_logits(CALL, TaskKind::Tokens, &jobs, &options.run)?;
        let mut found: Vec<Vec<Entity>> = vec![Vec::new(); texts.len()];
        let mut parts = vec![0; texts.len()];
        for ((i, encoding), mut scores) in windows.iter().zip(logits) {
            scores.chunks_exact_mut(outputs).for_each(softmax);
            let tokens = self.scored(tokenizer, texts[*i], encoding, &scores, outputs);
            found[*i].extend(self.entities(texts[*i], &tokens, options));
            parts[*i] += 1;
        }
        for (entities, parts) in found.iter_mut().zip(parts) {
            if parts > 1 {
                *entities = without_overlaps(std::mem::take(entities));
            }
        }
        Ok(found)
    }

    /// The tokens that stand for text, with their probabilities.
    fn scored<'a>(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        encoding: &Encoding,
        scores: &'a [f32],
        outputs: usize,
    ) -> Vec<Scored<'a>> {
        let marked = tokenizer.inside_mark().is_some();
        let rows = scores.chunks_exact(outputs).enumerate();
        rows.filter(|(index, _)| !encoding.special[*index])
            .map(|(index, scores)| {
                let (id, (start, end)) = (encoding.ids[index], encoding.offsets[index]);
                let part = text.get(start..end).unwrap_or_default();
                let inside = if Some(id) == self.labels().unknown {
                    false
                } else if marked {
                    // `##ing` is longer than the text that it stands for.
                    let written = tokenizer.token(id).unwrap_or_default();
                    written.chars().count() != part.chars().count()
                } else {
                    let before = text.get(..start).and_then(|before| before.chars().next_back());
                    let first = text.get(start..).and_then(|rest| rest.chars().next());
                    start > 0 && before != Some(' ') && first != Some(' ')
                };
                Scored { scores, start, end, index, inside }
            })
            .collect()
    }

    fn entities(&self, text: &str, tokens: &[Scored<'_>], options: &TokenOptions) -> Vec<Entity> {
        let entity = |label: String, score: f32, start: usize, end: usize, token| Entity {
            label,
            score,
            start,
            end,
            text: text.get(start..end).unwrap_or_default().to_string(),
            token,
        };
        let name = |label: usize| self.labels().name(label);
        let mut tagged: Vec<Tagged> = Vec::new();
        match options.aggregation {
            Aggregation::None | Aggregation::Simple => {
                tagged.extend(tokens.iter().map(|token| word(&[token], Aggregation::First)));
            }
            kind => {
                let mut words: Vec<Vec<&Scored<'_>>> = Vec::new();
                for token in tokens {
                    match words.last_mut() {
                        Some(word) if token.inside => word.push(token),
                        _ => words.push(vec![token]),
                    }
                }
                tagged.extend(words.iter().map(|tokens| word(tokens, kind)));
            }
        }
        let mut found: Vec<Entity> = Vec::new();
        if options.aggregation == Aggregation::None {
            found.extend(tagged.iter().map(|one| {
                entity(name(one.label), one.score, one.start, one.end, Some(one.index))
            }));
        } else {
            let mut groups: Vec<Vec<&Tagged>> = Vec::new();
            for one in &tagged {
                let label = name(one.label);
                let (begins, tag) = tag(&label);
                match groups.last_mut() {
                    Some(group)
                        if !begins
                            && group.last().is_some_and(|last| self.tag_is(last.label, tag)) =>
                    {
                        group.push(one)
                    }
                    _ => groups.push(vec![one]),
                }
            }
            for group in &groups {
                let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
                let score = group.iter().map(|one| one.score).sum::<f32>() / group.len() as f32;
                let label = name(first.label);
                let label = label.split_once('-').map_or(label.as_str(), |(_, tag)| tag);
                found.push(entity(label.to_string(), score, first.start, last.end, None));
            }
        }
        match &options.ignore {
            Some(labels) => found.retain(|entity| !labels.contains(&entity.label)),
            None => found.retain(|entity| entity.label != "O"),
        }
        found
    }

    fn tag_is(&self, label: usize, wanted: &str) -> bool {
        tag(&self.labels().name(label)).1 == wanted
    }
}

/// Whether a label begins an entity, and the label without its mark.
fn tag(label: &str) -> (bool, &str) {
    match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
        (Some(tag), _) => (true, tag),
        (None, Some(tag)) => (false, tag),
        (None, None) => (false, label),
    }
}

/// The class of a word, of its tokens'.
fn word(tokens: &[&Scored<'_>], kind: Aggregation) -> Tagged {
    let surest = |scores: &[f32]| {
        let best = scores.iter().enumerate();
        // The first of equals.
        best.fold((0, f32::NEG_INFINITY), |most, (i, x)| if *x > most.1 { (i, *x) } else { most })
    };
    let (label, score) = match (kind, tokens) {
        (Aggregation::Average, [first, ..]) => {
            let mean = |i: usize| {
                tokens.iter().map(|token| token.scores[i]).sum::<f32>() / tokens.len() as f32
            };
            surest(&(0..first.scores.len()).map(mean).collect::<Vec<_>>())
        }
        (Aggregation::Max, _) => {
            let each = tokens.iter().map(|token| surest(token.scores));
            each.fold((0, f32::NEG_INFINITY), |most, one| if one.1 > most.1 { one } else { most })
        }
        (_, [first, ..]) => surest(first.scores),
        (_, []) => (0, 0.0),
    };
    let edge = |token: Option<&&Scored<'_>>| token.map_or((0, 0, 0), |t| (t.start, t.end, t.index));
    let ((start, _, index), (_, end, _)) = (edge(tokens.first()), edge(tokens.last()));
    Tagged { label, score, start, end, index }
}

/// Of entities of several windows that overlap, the longer; of equally long ones the surer.
fn without_overlaps(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.start);
    let mut found: Vec<Entity> = Vec::new();
    for entity in entities {
        match found.last_mut() {
            Some(last) if last.start <= entity.start && entity.start < last.end => {
                let (new, old) = (entity.end - entity.start, last.end - last.start);
                if new > old || (new == old && entity.score > last.score) {
                    *last = entity;
                }
            }
            _ => found.push(entity),
        }
    }
    found
}
