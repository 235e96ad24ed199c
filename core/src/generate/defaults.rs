//! What a model's files advise for a generation, and the numbers that an option takes.

use serde_json::Value;

use super::beam_options::{BeamOptions, EarlyStopping};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::load::kind;

/// The `top_k` of a `generation_config.json` that samples and names none: transformers leaves
/// out of the file what equals its own default, and this is that default.
const FILE_TOP_K: usize = 50;

/// What a model's `generation_config.json` advises.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Defaults {
    /// `do_sample`: whether to sample at all; false if absent.
    pub do_sample: bool,
    /// `temperature`
    pub temperature: Option<f32>,
    /// `top_k`; 0 is off.
    pub top_k: Option<usize>,
    /// `top_p`
    pub top_p: Option<f32>,
    /// `min_p`
    pub min_p: Option<f32>,
    /// `repetition_penalty`
    pub repetition_penalty: Option<f32>,
    /// `eos_token_id`, a number or a list: the tokens that end a text.
    pub eos_ids: Vec<u32>,
    /// `max_new_tokens`
    pub max_tokens: Option<usize>,
    /// What `no_repeat_ngram_size`, `bad_words_ids`, `min_new_tokens`, `forced_bos_token_id`,
    /// `forced_eos_token_id`, `suppress_tokens` and `begin_suppress_tokens` say.
    pub rules: Rules,
    /// `decoder_start_token_id`, else `bos_token_id`: what a target begins with.
    pub start: Option<u32>,
    /// `max_length` and `min_length`: tokens with the prompt.
    lengths: [Option<usize>; 2],
    /// `num_beams`, `length_penalty` and `early_stopping`.
    pub beams: BeamOptions,
}

impl Defaults {
    /// Reads the object of a `generation_config.json`.
    ///
    /// Keys that are not known are ignored, and `null` is as good as absent. A file that samples
    /// and names no `top_k` means 50: transformers, which writes these files, leaves out what
    /// equals its own default.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key whose value has the wrong type or is out of range.
    ///
    /// # Source
    /// `GenerationConfig` in transformers 5.
    pub fn from_json(file: &Value) -> Result<Self> {
        let Some(object) = file.as_object() else {
            let problem = format!("is {}, not an object", kind(file));
            return Err(Error::config("generation_config", problem));
        };
        let key = |name: &str| object.get(name).filter(|value| !value.is_null());
        let number = |name: &'static str, range: Range| -> Result<Option<f32>> {
            let Some(value) = key(name) else {
                return Ok(None);
            };
            let Some(number) = value.as_f64() else {
                return Err(Error::config(name, format!("is {}, not a number", kind(value))));
            };
            // Values are decimal texts such as 0.95: the nearest f32 is what is meant.
            let number = number as f32;
            match range.check(number) {
                Ok(()) => Ok(Some(number)),
                Err(problem) => Err(Error::config(name, problem)),
            }
        };
        let count = |name: &'static str| -> Result<Option<usize>> {
            let Some(value) = key(name) else {
                return Ok(None);
            };
            match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
                Some(count) => Ok(Some(count)),
                None => {
                    let problem = format!("is {}, not a whole number of at least 0", kind(value));
                    Err(Error::config(name, problem))
                }
            }
        };
        let ids = |name: &'static str| -> Result<Vec<u32>> {
            match key(name) {
                None => Ok(Vec::new()),
                Some(Value::Array(ids)) => ids.iter().map(|value| id(name, value)).collect(),
                Some(value) => Ok(vec![id(name, value)?]),
            }
        };
        let one = |name: &'static str| key(name).map(|value| id(name, value)).transpose();
        let words = match key("bad_words_ids") {
            None => Vec::new(),
            Some(Value::Array(words)) => {
                let word = |word: &Value| match word {
                    Value::Array(ids) => ids.iter().map(|x| id("bad_words_ids", x)).collect(),
                    other => id("bad_words_ids", other).map(|id| vec![id]),
                };
                words.iter().map(word).collect::<Result<_>>()?
            }
            Some(other) => {
                return Err(Error::config(
                    "bad_words_ids",
                    format!("is {}, not a list", kind(other)),
                ));
            }
        };
        let early_stopping = match key("early_stopping") {
            None => None,
            Some(Value::Bool(true)) => Some(EarlyStopping::Full),
            Some(Value::Bool(false)) => Some(EarlyStopping::Likely),
            Some(Value::String(name)) if name == "never" => Some(EarlyStopping::Never),
            Some(other) => {
                let problem = format!("is {}, not true, false or `never`", kind(other));
                return Err(Error::config("early_stopping", problem));
            }
        };
        let do_sample = match key("do_sample") {
            None => false,
            Some(Value::Bool(sample)) => *sample,
            Some(other) => {
                let problem = format!("is {}, not true or false", kind(other));
                return Err(Error::config("do_sample", problem));
            }
        };
        Ok(Defaults {
            do_sample,
            temperature: number("temperature", Range::TEMPERATURE)?,
            top_k: count("top_k")?.or(do_sample.then_some(FILE_TOP_K)),
            top_p: number("top_p", Range::TOP_P)?,
            min_p: number("min_p", Range::MIN_P)?,
            repetition_penalty: number("repetition_penalty", Range::REPETITION)?,
            eos_ids: ids("eos_token_id")?,
            max_tokens: count("max_new_tokens")?,
            rules: Rules {
                no_repeat_ngram: count("no_repeat_ngram_size")?.unwrap_or(0),
                bad_words: words,
                min_tokens: count("min_new_tokens")?.unwrap_or(0),
                first: one("forced_bos_token_id")?,
                last: ids("forced_eos_token_id")?,
                suppress: ids("suppress_tokens")?,
                suppress_first: ids("begin_suppress_tokens")?,
                ..Rules::default()
            },
            start: one("decoder_start_token_id")?.or(one("bos_token_id")?),
            lengths: [count("max_length")?, count("min_length")?],
            beams: BeamOptions {
                beams: count("num_beams")?,
                length_penalty: number("length_penalty", Range::ANY)?,
                early_stopping,
                ..BeamOptions::default()
            },
        })
    }

    /// What the lengths mean where the prompt is the one token that a target begins with.
    pub(crate) fn of_target(mut self) -> Self {
        let made = |length: Option<usize>| length.map(|length| length.saturating_sub(1));
        let [most, least] = self.lengths;
        self.max_tokens = self.max_tokens.or(made(most));
        self.rules.min_tokens = self.rules.min_tokens.max(made(least).unwrap_or(0));
        self
    }
}

/// A token's number under a key.
fn id(name: &'static str, value: &Value) -> Result<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| Error::config(name, format!("holds {}, not a token id", kind(value))))
}

/// The largest frequency or presence penalty, up and down, as OpenAI's interface has it.
const MOST_PENALTY: f32 = 2.0;

/// The numbers that an option takes.
#[derive(Clone, Copy)]
pub(super) struct Range {
    low: f32,
    high: f32,
    /// Whether `low` itself is outside.
    above: bool,
    /// The range in words.
    words: &'static str,
}

impl Range {
    pub const TEMPERATURE: Range =
        Range { low: 0.0, high: f32::MAX, above: false, words: "0 (greedy) or a number above 0" };
    pub const TOP_P: Range =
        Range { low: 0.0, high: 1.0, above: true, words: "above 0 and at most 1 (off)" };
    pub const MIN_P: Range = Range { low: 0.0, high: 1.0, above: false, words: "0 (off) to 1" };
    pub const REPETITION: Range =
        Range { low: 0.0, high: f32::MAX, above: true, words: "a number above 0; 1 is off" };
    pub const ANY: Range = Range { low: f32::MIN, high: f32::MAX, above: false, words: "a number" };
    pub const PENALTY: Range =
        Range { low: -MOST_PENALTY, high: MOST_PENALTY, above: false, words: "-2 to 2; 0 is off" };

    /// What is wrong with `value`; NaN fails every comparison and so is outside.
    pub fn check(self, value: f32) -> Result<(), String> {
        let inside = value >= self.low && value <= self.high && !(self.above && value == self.low);
        if inside { Ok(()) } else { Err(format!("is {value}; right is {}", self.words)) }
    }
}
