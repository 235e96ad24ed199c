//! Extractive question answering: the part of a passage that answers a question, in windows where
//! the passage is long (arXiv:1606.05250; with no answer arXiv:1806.03822).

use super::{Job, RunOptions, best};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::TaskKind;
use crate::text::Words;

/// An answer: a part of the passage, or none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Its probability; of the same words in several places, or windows, the sum.
    pub score: f32,
    /// Where it begins, in bytes of the passage.
    pub start: usize,
    /// Where it ends; `start` for the answer that there is none.
    pub end: usize,
    /// That part of the passage.
    pub text: String,
}

/// What a caller chooses about answers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AnswerOptions {
    /// Answers, best first. Default: 1.
    pub top_k: Option<usize>,
    /// Whether there may be no answer, which is then an answer with an empty text.
    pub no_answer: bool,
    /// Most tokens of an answer. Default: 15.
    pub max_answer_tokens: Option<usize>,
    /// Tokens of the passage that a window shares with the one before. Default: 128, and at most
    /// half of a window.
    pub stride: Option<usize>,
    /// Whether an answer is made of tokens as they are; else it begins and ends with a word.
    pub tokens: bool,
    /// How it is run. A window is `max_tokens` of it, 384 by default.
    pub run: RunOptions,
}

impl AnswerOptions {
    /// Sets [`top_k`](Self::top_k).
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Sets [`no_answer`](Self::no_answer).
    pub fn no_answer(mut self, no_answer: bool) -> Self {
        self.no_answer = no_answer;
        self
    }

    /// Sets [`max_answer_tokens`](Self::max_answer_tokens).
    pub fn max_answer_tokens(mut self, tokens: usize) -> Self {
        self.max_answer_tokens = Some(tokens);
        self
    }

    /// Sets [`stride`](Self::stride).
    pub fn stride(mut self, tokens: usize) -> Self {
        self.stride = Some(tokens);
        self
    }

    /// Sets [`tokens`](Self::tokens).
    pub fn tokens(mut self, tokens: bool) -> Self {
        self.tokens = tokens;
        self
    }

    /// Sets [`run`](Self::run).
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}

/// The longest window by default, in tokens, as transformers has it.
const WINDOW: usize = 384;

impl Model {
    /// The parts of a passage that answer a question, best first.
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer or a head for it, [`Error::Argument`] for an option
    /// out of range, a passage without a token or a question that leaves no room for it; else as
    /// [`classify`](Self::classify).
    pub fn answer(
        &self,
        question: &str,
        passage: &str,
        options: &AnswerOptions,
    ) -> Result<Vec<Answer>> {
        const CALL: &str = "answer";
        self.need_head(CALL, TaskKind::Bounds)?;
        let tokenizer = self.need_tokenizer(CALL)?;
        let (top_k, longest) =
            (options.top_k.unwrap_or(1), options.max_answer_tokens.unwrap_or(15));
        for (name, number) in [("top_k", top_k), ("max_answer_tokens", longest)] {
            if number == 0 {
                return Err(Error::argument(name, "is 0; 1 or more would be right"));
            }
        }
        let limit = match options.run.max_tokens {
            Some(_) => self.limit(&options.run)?,
            None => self.limit(&options.run)?.min(WINDOW),
        };
        let stride = options.stride.unwrap_or(128.min(limit / 2));
        let windows = tokenizer.encode_pair_windows(question, passage, limit, stride)?;
        let jobs: Vec<Job<'_>> =
            windows.iter().map(|(encoding, _)| Job { encoding, places: None }).collect();
        let logits = self.head_logits(CALL, TaskKind::Bounds, &jobs, &options.run)?;
        let words = Words::new(tokenizer);
        let mut answers: Vec<Answer> = Vec::new();
        let mut none = f32::MAX;
        // More than asked for: several may turn out to be the same words.
        let wanted = if options.tokens { top_k } else { 2 * top_k + 10 };
        for ((encoding, tokens), logits) in windows.iter().zip(&logits) {
            let side = |side: usize| -> Vec<f32> {
                let all = logits.chunks_exact(2).map(|pair| pair[side]).enumerate();
                // The first token stands for no answer; the question is none.
                let kept = |i: usize| i == 0 || tokens.contains(&i);
                let mut scores: Vec<f32> =
                    all.map(|(i, x)| if kept(i) { x } else { -10_000.0 }).collect();
                super::softmax(&mut scores);
                scores
            };
            let (mut starts, mut ends) = (side(0), side(1));
            none = none.min(starts[0] * ends[0]);
            (starts[0], ends[0]) = (0.0, 0.0);
            // Of each start its ends within reach, of all those the best.
            let mut spans = Vec::new();
            for start in tokens.clone() {
                let reach = start..tokens.end.min(start.saturating_add(longest));
                let ends = ends.get(reach).unwrap_or_default().iter().enumerate();
                spans.extend(ends.map(|(i, end)| (starts[start] * end, start, start + i)));
            }
            let scores: Vec<f32> = spans.iter().map(|span| span.0).collect();
            for i in best(&scores, wanted) {
                let (score, first, last) = spans[i];
                let (start, end) = match options.tokens {
                    true => (encoding.offsets[first].0, encoding.offsets[last].1),
                    false => words.around(encoding, passage, tokens, first, last),
                };
                let text = passage.get(start..end).unwrap_or_default();
                let same = |answer: &&mut Answer| answer.text.to_lowercase() == text.to_lowercase();
                match answers.iter_mut().find(same) {
                    Some(answer) => answer.score += score,
                    None => answers.push(Answer { score, start, end, text: text.to_string() }),
                }
            }
        }
        if options.no_answer {
            answers.push(Answer { score: none, start: 0, end: 0, text: String::new() });
        }
        answers.sort_by(|a, b| b.score.total_cmp(&a.score));
        answers.truncate(top_k);
        Ok(answers)
    }
}
