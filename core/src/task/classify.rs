//! Classes of texts and of pairs, and what is built on them: zero-shot classes, reranking, order.

use std::str::FromStr;

use super::files::Problem;
use super::{Job, RunOptions, best, softmax};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::TaskKind;
use crate::text::{Cut, Encoding};

/// A class of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Class {
    /// Its name: `id2label` of the config, or what the caller called it.
    pub label: String,
    /// Its number among the head's labels, or among those that the caller gave.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// The classes of a text, best first.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classes {
    /// The classes, best first.
    pub classes: Vec<Class>,
    /// Tokens of the text that were left out to keep to the limit.
    pub cut: usize,
}

/// What becomes of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scoring {
    /// Probabilities that add to 1: one class is right.
    Softmax,
    /// A probability for each class: several can be right.
    Sigmoid,
    /// The logits.
    Logits,
}

impl FromStr for Scoring {
    type Err = Error;

    /// Reads the names of transformers: `softmax`, `sigmoid`, `none`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "softmax" => Scoring::Softmax,
            "sigmoid" => Scoring::Sigmoid,
            "none" => Scoring::Logits,
            _ => {
                return Err(Error::Unsupported {
                    what: format!("scoring `{name}`"),
                    known: "softmax, sigmoid, none".to_string(),
                });
            }
        })
    }
}

/// What a caller chooses about classes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClassifyOptions {
    /// Classes of a text, best first. Default: all.
    pub top_k: Option<usize>,
    /// What becomes of logits. Default: by `problem_type` of the config; else softmax, or sigmoid
    /// where there is one label.
    pub scoring: Option<Scoring>,
    /// How it is run.
    pub run: RunOptions,
}

impl ClassifyOptions {
    /// Sets [`top_k`](Self::top_k).
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Sets [`scoring`](Self::scoring).
    pub fn scoring(mut self, scoring: Scoring) -> Self {
        self.scoring = Some(scoring);
        self
    }

    /// Sets [`run`](Self::run).
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}

/// What a caller chooses about zero-shot classes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ZeroShotOptions {
    /// The sentence that a label makes, with `{}` for the label. Default: `This example is {}.`
    pub template: Option<String>,
    /// Whether several labels can be right, so that each has a probability of its own; else they
    /// add to 1.
    pub multi_label: bool,
    /// How it is run.
    pub run: RunOptions,
}

impl ZeroShotOptions {
    /// Sets [`template`](Self::template).
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Sets [`multi_label`](Self::multi_label).
    pub fn multi_label(mut self, multi_label: bool) -> Self {
        self.multi_label = multi_label;
        self
    }

    /// Sets [`run`](Self::run).
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}

/// A document and how well it fits a query.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Its place among the documents that were given.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

impl Classes {
    /// The best class; `None` when none was asked for.
    pub fn best(&self) -> Option<&Class> {
        self.classes.first()
    }
}

impl Model {
    /// The classes of each text. A text beyond the limit is cut on the right.
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer or a head for it, [`Error::Argument`] for an option
    /// out of range, [`Error::Cancelled`] when asked to stop, [`Error::Device`] when the device
    /// fails, [`Error::NotFinite`] when the model's numbers are broken.
    pub fn classify(&self, texts: &[&str], options: &ClassifyOptions) -> Result<Vec<Classes>> {
        const CALL: &str = "classify";
        self.need_head(CALL, TaskKind::Classes)?;
        let limit = self.limit(&options.run)?;
        let encodings = self.need_tokenizer(CALL)?.encode_batch(texts, true, Some(limit))?;
        self.classes(CALL, &encodings, options)
    }

    /// The classes of each pair of texts, such as a premise and a hypothesis. Of a pair beyond the
    /// limit the longer text is cut on the right, then both.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn classify_pairs(
        &self,
        pairs: &[(&str, &str)],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classes>> {
        const CALL: &str = "classify_pairs";
        let encodings =
            self.encode_pairs(CALL, TaskKind::Classes, pairs, Cut::Longest, &options.run)?;
        self.classes(CALL, &encodings, options)
    }

    /// Which of the caller's labels a text is of, by a head for entailment: it is asked whether the
    /// text entails what `template` makes of each label (arXiv:1909.00161).
    ///
    /// # Errors
    /// [`Error::Missing`] without such a head, whose config names a label that begins with
    /// `entail`; [`Error::Argument`] for no label or a template without `{}`; else as
    /// [`classify`](Self::classify).
    pub fn zero_shot(
        &self,
        text: &str,
        labels: &[&str],
        options: &ZeroShotOptions,
    ) -> Result<Classes> {
        const CALL: &str = "zero_shot";
        let outputs = self.outputs(CALL, TaskKind::Classes)?;
        let entails = self.labels().starting("entail").filter(|place| *place < outputs);
        let entails = entails.filter(|_| outputs > 1).ok_or_else(|| Error::Missing {
            call: CALL,
            what: "a head for entailment: no label of the config begins with `entail`".into(),
        })?;
        let template = options.template.as_deref().unwrap_or("This example is {}.");
        if labels.is_empty() {
            return Err(Error::argument("labels", "is empty; at least one would be right"));
        }
        if !template.contains("{}") {
            return Err(Error::argument("template", "has no `{}` for the label"));
        }
        let sentences: Vec<String> =
            labels.iter().map(|label| template.replace("{}", label)).collect();
        let pairs: Vec<(&str, &str)> = sentences.iter().map(|made| (text, made.as_str())).collect();
        let encodings =
            self.encode_pairs(CALL, TaskKind::Classes, &pairs, Cut::First, &options.run)?;
        let logits = self.logits(CALL, TaskKind::Classes, &encodings, &options.run)?;
        let scores: Vec<f32> = if options.multi_label || labels.len() == 1 {
            // Against the other end of the labels, as the pipeline does.
            let contradicts = if entails == 0 { outputs - 1 } else { 0 };
            let score = |row: &Vec<f32>| {
                let mut two = [row[contradicts], row[entails]];
                softmax(&mut two);
                two[1]
            };
            logits.iter().map(score).collect()
        } else {
            let mut scores: Vec<f32> = logits.iter().map(|row| row[entails]).collect();
            softmax(&mut scores);
            scores
        };
        let class =
            |index: usize| Class { label: labels[index].to_string(), index, score: scores[index] };
        let cut = encodings.iter().map(|encoding| encoding.cut).max().unwrap_or(0);
        Ok(Classes { classes: best(&scores, labels.len()).into_iter().map(class).collect(), cut })
    }

    /// Documents by how well they fit a query, best first: a cross-encoder reads each with the
    /// query (arXiv:1901.04085). Scores are what sentence-transformers' `CrossEncoder` gives.
    ///
    /// # Errors
    /// [`Error::Missing`] without a head with one label; else as [`classify`](Self::classify).
    pub fn rerank(
        &self,
        query: &str,
        documents: &[&str],
        options: &RunOptions,
    ) -> Result<Vec<Ranked>> {
        const CALL: &str = "rerank";
        let outputs = self.outputs(CALL, TaskKind::Classes)?;
        if outputs != 1 {
            let what = format!("a head with one label; this one has {outputs}");
            return Err(Error::Missing { call: CALL, what });
        }
        let pairs: Vec<(&str, &str)> = documents.iter().map(|one| (query, *one)).collect();
        let encodings =
            self.encode_pairs(CALL, TaskKind::Classes, &pairs, Cut::Longest, options)?;
        let logits = self.logits(CALL, TaskKind::Classes, &encodings, options)?;
        let plain = self.labels().plain;
        let scores: Vec<f32> =
            logits.iter().map(|row| if plain { row[0] } else { sigmoid(row[0]) }).collect();
        let ranked = |index: usize| Ranked { index, score: scores[index] };
        Ok(best(&scores, scores.len()).into_iter().map(ranked).collect())
    }

    /// The probability that the second text of each pair follows the first: BERT's next sentence
    /// (arXiv:1810.04805, section 3.1), ALBERT's order of sentences (arXiv:1909.11942).
    ///
    /// # Errors
    /// As [`classify_pairs`](Self::classify_pairs).
    pub fn follows(&self, pairs: &[(&str, &str)], options: &RunOptions) -> Result<Vec<f32>> {
        const CALL: &str = "follows";
        let encodings = self.encode_pairs(CALL, TaskKind::Order, pairs, Cut::Longest, options)?;
        let mut logits = self.logits(CALL, TaskKind::Order, &encodings, options)?;
        let score = |row: &mut Vec<f32>| {
            softmax(row);
            row[0]
        };
        Ok(logits.iter_mut().map(score).collect())
    }

    /// How many numbers come out of a head.
    fn outputs(&self, call: &'static str, kind: TaskKind) -> Result<usize> {
        let (_, head) = self.need_head(call, kind)?;
        Ok(head.task().outputs)
    }

    fn encode_pairs(
        &self,
        call: &'static str,
        kind: TaskKind,
        pairs: &[(&str, &str)],
        cut: Cut,
        options: &RunOptions,
    ) -> Result<Vec<Encoding>> {
        self.need_head(call, kind)?;
        let (tokenizer, limit) = (self.need_tokenizer(call)?, self.limit(options)?);
        tokenizer.encode_pairs(pairs, limit, cut)
    }

    fn logits(
        &self,
        call: &'static str,
        kind: TaskKind,
        encodings: &[Encoding],
        options: &RunOptions,
    ) -> Result<Vec<Vec<f32>>> {
        let jobs: Vec<Job<'_>> =
            encodings.iter().map(|encoding| Job { encoding, places: None }).collect();
        self.head_logits(call, kind, &jobs, options)
    }

    fn classes(
        &self,
        call: &'static str,
        encodings: &[Encoding],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classes>> {
        if options.top_k == Some(0) {
            return Err(Error::argument("top_k", "is 0; 1 or more would be right"));
        }
        let outputs = self.outputs(call, TaskKind::Classes)?;
        let scoring = options.scoring.unwrap_or(match self.labels().problem {
            Some(Problem::Regression) => Scoring::Logits,
            Some(Problem::Multi) => Scoring::Sigmoid,
            _ if outputs == 1 => Scoring::Sigmoid,
            _ => Scoring::Softmax,
        });
        let logits = self.logits(call, TaskKind::Classes, encodings, &options.run)?;
        let classes = |(encoding, mut scores): (&Encoding, Vec<f32>)| {
            match scoring {
                Scoring::Softmax => softmax(&mut scores),
                Scoring::Sigmoid => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
                Scoring::Logits => {}
            }
            let class = |index: usize| Class {
                label: self.labels().name(index),
                index,
                score: scores[index],
            };
            let top = best(&scores, options.top_k.unwrap_or(outputs));
            Classes { classes: top.into_iter().map(class).collect(), cut: encoding.cut }
        };
        Ok(encodings.iter().zip(logits).map(classes).collect())
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
