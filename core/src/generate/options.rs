//! What a caller chooses for a generation, and what becomes of it with what a model's files advise.
//!
//! ```text
//! GenerateOptions (caller) --+
//!                            +-- resolve --> Resolved --> Sampler, StopStrings, session
//! Defaults (the files) ------+
//! ```

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::defaults::{Defaults, Range};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::kernels::Cuts;

/// Tokens of a prompt that are processed at once when the caller says nothing.
pub const PREFILL_CHUNK: usize = 512;

/// The options of a generation, said once. Calls the macro `$then` with what follows its name, and
/// then a row an option:
///
/// ```text
/// /// What it is.
/// name(argument) [type] in RANGE;
/// ```
/// `argument` is what the method that sets it calls its value; `RANGE`, a constant of `Range`, are
/// the numbers that it takes, where not all. The core's struct comes from it, and the bindings take
/// from it what they ask of their callers; what no macro can write (the header of C, the struct of
/// C++, the stubs of Python) `tests/options.rs` compares with it.
#[doc(hidden)]
#[macro_export]
macro_rules! generate_options {
    ($then:ident $($before:tt)*) => {
        $then! {
            $($before)*

            /// Most tokens to generate; 0 generates nothing. Default: the file's `max_new_tokens`,
            /// else until the window is full.
            max_tokens(tokens) [Option<usize>];
            /// What the logits are divided by, at least 0; 0 always takes the likeliest token. A
            /// value above 0 samples whatever the file says. Default: the file's if the file
            /// samples (1 if it names none), else 0.
            temperature(temperature) [Option<f32>] in TEMPERATURE;
            /// Only the `top_k` likeliest tokens are drawn from; 0 is off. Default: the file's,
            /// else off.
            top_k(tokens) [Option<usize>];
            /// Only the likeliest tokens that together have this probability are drawn from, above
            /// 0 and at most 1; 1 is off. Default: the file's, else off.
            top_p(probability) [Option<f32>] in TOP_P;
            /// Only tokens at least `min_p` times as likely as the likeliest are drawn from, 0 to
            /// 1; 0 is off. Default: the file's, else off.
            min_p(ratio) [Option<f32>] in MIN_P;
            /// Factor against tokens of the prompt and the output, above 0; 1 is off, above 1 makes
            /// them rarer. Default: the file's, else off.
            repetition_penalty(factor) [Option<f32>] in REPETITION;
            /// Taken off a token's logit for each time it was generated, -2 to 2. Default: 0, off.
            frequency_penalty(penalty) [Option<f32>] in PENALTY;
            /// Taken off a token's logit once it was generated, -2 to 2. Default: 0, off.
            presence_penalty(penalty) [Option<f32>] in PENALTY;
            /// How many of the last tokens, prompt and output, the three penalties look at; 0 turns
            /// them off. Default: all.
            penalty_window(tokens) [Option<usize>];
            /// Number that fixes the draws: same model, device, options and seed, same text.
            /// Default: a fresh one for each generation.
            seed(seed) [Option<u64>];
            /// Texts that end the generation and are not part of it; none may be empty. Default:
            /// none.
            stop(strings) [Vec<String>];
            /// Tokens that end the generation, besides the model's own. Default: none.
            stop_ids(ids) [Vec<u32>];
            /// Log-probabilities with each token: the token's own and those of this many of the
            /// likeliest; 0 is only its own. Default: none.
            logprobs(alternatives) [Option<usize>];
            /// Tokens of the prompt that are processed at once, at least 1: more is faster, less
            /// needs less memory and answers a cancel sooner. Default: 512.
            prefill_chunk(tokens) [Option<usize>];
            /// Goes on past the model's end-of-text tokens; `stop_ids` still count. Default: false.
            ignore_eos(ignore) [bool];
            /// Tokens to generate before the model's end-of-text tokens and `stop_ids` may come.
            /// Default: the file's `min_new_tokens`, else 0.
            min_tokens(tokens) [Option<usize>];
            /// No row of so many tokens comes twice, prompt and output together (of an
            /// encoder-decoder the target); 0 is off. Default: the file's, else off.
            no_repeat_ngram(tokens) [Option<usize>];
            /// Rows of tokens that never come, of one token or more. Default: the file's
            /// `bad_words_ids`.
            bad_words(rows) [Option<Vec<Vec<u32>>>];
            /// Tokens that never come. Default: the file's `suppress_tokens`.
            suppress(ids) [Option<Vec<u32>>];
            /// The first token of an encoder-decoder's target: the language to translate to, where
            /// a token says it. Default: the file's `forced_bos_token_id`, else none.
            first_token(id) [Option<u32>];
        }
    };
}

/// Writes [`GenerateOptions`], the methods that set it, and the check of its numbers.
macro_rules! options {
    ($(
        $(#[doc = $doc:tt])*
        $name:ident($argument:ident) [$($kind:tt)+] $(in $range:ident)?;
    )*) => {
        /// What a caller chooses for a generation.
        ///
        /// What is not set comes from the model's `generation_config.json`, then from the library:
        /// greedy, no penalty, until the window is full. Sampling starts with a temperature above
        /// 0, either set here or advised by the file; without one, `top_k`, `top_p`, `min_p` and
        /// `seed` do nothing.
        ///
        /// # Examples
        /// ```
        /// use emberform::GenerateOptions;
        ///
        /// let options = GenerateOptions::default().max_tokens(64).temperature(0.7).seed(1);
        /// ```
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct GenerateOptions {
            $($(#[doc = $doc])* pub $name: $($kind)+,)*
        }

        impl GenerateOptions {
            $(setter!($name, $argument, [$($kind)+]);)*

            /// Refuses a number that is out of range.
            fn check(&self) -> Result<()> {
                $($(
                    if let Some(Err(problem)) = self.$name.map(|value| Range::$range.check(value)) {
                        return Err(Error::argument(stringify!($name), problem));
                    }
                )?)*
                Ok(())
            }
        }
    };
}

/// Writes the method that sets an option of a type.
macro_rules! setter {
    ($name:ident, $argument:ident, [bool]) => {
        setter!(@ $name, $argument: bool, $argument);
    };
    ($name:ident, $argument:ident, [Vec<String>]) => {
        setter!(
            @ $name, $argument: impl IntoIterator<Item = impl Into<String>>,
            $argument.into_iter().map(Into::into).collect(), ", in place of what was set before"
        );
    };
    ($name:ident, $argument:ident, [Vec<u32>]) => {
        setter!(
            @ $name, $argument: impl IntoIterator<Item = u32>,
            $argument.into_iter().collect(), ", in place of what was set before"
        );
    };
    ($name:ident, $argument:ident, [Option<Vec<u32>>]) => {
        setter!(
            @ $name, $argument: impl IntoIterator<Item = u32>,
            Some($argument.into_iter().collect()), ", in place of what was set before"
        );
    };
    ($name:ident, $argument:ident, [Option<Vec<Vec<u32>>>]) => {
        setter!(
            @ $name, $argument: impl IntoIterator<Item = Vec<u32>>,
            Some($argument.into_iter().collect()), ", in place of what was set before"
        );
    };
    ($name:ident, $argument:ident, [Option<$kind:ty>]) => {
        setter!(@ $name, $argument: $kind, Some($argument));
    };
    (@ $name:ident, $argument:ident: $kind:ty, $value:expr $(, $more:literal)?) => {
        #[doc = concat!(
            "Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ")",
            $($more,)? "."
        )]
        pub fn $name(mut self, $argument: $kind) -> Self {
            self.$name = $value;
            self
        }
    };
}

generate_options!(options);

impl GenerateOptions {
    /// Always takes the likeliest token, whatever the file says: `temperature(0.0)`.
    pub fn greedy(self) -> Self {
        self.temperature(0.0)
    }

    /// Fills in what is not set from `defaults`, then from the library, for a model that gives
    /// `vocab` logits.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the option that is out of range, or `vocab` when it is 0 or has
    /// tokens that no 32-bit id reaches.
    pub(crate) fn resolve(&self, defaults: &Defaults, vocab: usize) -> Result<Resolved> {
        if vocab == 0 || u32::try_from(vocab).is_err() {
            let problem = format!("is {vocab}; a vocabulary has 1 to {} tokens", u32::MAX);
            return Err(Error::argument("vocab", problem));
        }
        self.check()?;
        // Each by name: an option that is new does not compile until it is said what becomes of it.
        let GenerateOptions {
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            penalty_window,
            seed,
            stop,
            stop_ids,
            logprobs,
            prefill_chunk,
            ignore_eos,
            min_tokens,
            no_repeat_ngram,
            bad_words,
            suppress,
            first_token,
        } = self;
        if let Some(index) = stop.iter().position(String::is_empty) {
            let problem = format!("holds an empty text at {index}; each needs a character");
            return Err(Error::argument("stop", problem));
        }
        if let Some(logprobs) = logprobs.filter(|logprobs| *logprobs > vocab) {
            let problem = format!("is {logprobs}; the vocabulary has {vocab} tokens");
            return Err(Error::argument("logprobs", problem));
        }
        if *prefill_chunk == Some(0) {
            return Err(Error::argument("prefill_chunk", "is 0; at least 1 token is needed"));
        }
        known("stop_ids", stop_ids, vocab)?;
        known("bad_words", bad_words.iter().flatten().flatten(), vocab)?;
        known("suppress", suppress.iter().flatten(), vocab)?;
        known("first_token", first_token, vocab)?;

        let file = &defaults.rules;
        let max_tokens = max_tokens.or(defaults.max_tokens);
        let eos_ids = if *ignore_eos { Vec::new() } else { defaults.eos_ids.clone() };
        // A word that is an end alone would keep the text from ending.
        let kept = |word: &&Vec<u32>| !defaults.eos_ids.iter().any(|end| word[..] == [*end]);
        let words = bad_words.as_ref().unwrap_or(&file.bad_words);
        let rules = Rules {
            no_repeat_ngram: no_repeat_ngram.unwrap_or(file.no_repeat_ngram),
            bad_words: words.iter().filter(kept).cloned().collect(),
            min_tokens: min_tokens.unwrap_or(file.min_tokens),
            ends: [&eos_ids[..], stop_ids].concat(),
            first: first_token.or(file.first),
            last: if *ignore_eos { Vec::new() } else { file.last.clone() },
            suppress: suppress.as_ref().unwrap_or(&file.suppress).clone(),
            suppress_first: file.suppress_first.clone(),
            max_tokens,
        };
        let advised = if defaults.do_sample { defaults.temperature.unwrap_or(1.0) } else { 0.0 };
        // A caller who turns sampling on above a file that is greedy still gets the file's other
        // values: its authors tuned them together.
        Ok(Resolved {
            vocab,
            max_tokens,
            cuts: Cuts {
                temperature: temperature.unwrap_or(advised),
                top_k: top_k.or(defaults.top_k).unwrap_or(Cuts::OFF.top_k),
                top_p: top_p.or(defaults.top_p).unwrap_or(Cuts::OFF.top_p),
                min_p: min_p.or(defaults.min_p).unwrap_or(Cuts::OFF.min_p),
            },
            repetition_penalty: repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0),
            frequency_penalty: frequency_penalty.unwrap_or(0.0),
            presence_penalty: presence_penalty.unwrap_or(0.0),
            penalty_window: *penalty_window,
            seed: seed.unwrap_or_else(fresh_seed),
            stop: stop.clone(),
            stop_ids: stop_ids.clone(),
            eos_ids,
            logprobs: *logprobs,
            prefill_chunk: prefill_chunk.unwrap_or(PREFILL_CHUNK),
            rules,
        })
    }
}

/// Refuses tokens that the vocabulary does not have.
fn known<'a>(
    argument: &'static str,
    ids: impl IntoIterator<Item = &'a u32>,
    vocab: usize,
) -> Result<()> {
    match ids.into_iter().find(|id| **id as usize >= vocab) {
        None => Ok(()),
        Some(id) => {
            let problem = format!("holds {id}; the vocabulary ends at {}", vocab - 1);
            Err(Error::argument(argument, problem))
        }
    }
}

/// What holds for one generation: every choice made and in range.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resolved {
    /// Logits per token, and one more than the highest id.
    pub vocab: usize,
    /// Most tokens to generate; `None` is until the window is full.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub cuts: Cuts,
    /// Above 0; 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// Last tokens that the penalties look at; `None` is all.
    pub penalty_window: Option<usize>,
    /// The caller's seed or a fresh one: with it, the generation can be repeated.
    pub seed: u64,
    /// Texts that end the generation, none empty.
    pub stop: Vec<String>,
    /// The caller's tokens that end the generation.
    pub stop_ids: Vec<u32>,
    /// The model's tokens that end the generation; empty if they are to be ignored.
    pub eos_ids: Vec<u32>,
    /// Alternatives to report with each token; `None` if no log-probabilities are wanted.
    pub logprobs: Option<usize>,
    /// Tokens of the prompt that are processed at once, at least 1.
    pub prefill_chunk: usize,
    /// What a next token may and must be.
    pub rules: Rules,
}

impl Resolved {
    /// The tokens that end the generation.
    pub fn ends(&self) -> Vec<u32> {
        let mut ends = [&self.eos_ids[..], &self.stop_ids].concat();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Whether the token `id` ends the generation.
    pub fn ends_with(&self, id: u32) -> bool {
        self.eos_ids.contains(&id) || self.stop_ids.contains(&id)
    }
}

/// A seed that no other generation of this process has, from the keys that the standard library
/// draws from the system for its hash maps.
fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn options() -> GenerateOptions {
        GenerateOptions::default()
    }

    fn file(value: Value) -> Defaults {
        Defaults::from_json(&value).unwrap()
    }

    #[test]
    fn caller_then_file_then_library() {
        let sampling = file(json!({
            "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05,
            "repetition_penalty": 1.1, "max_new_tokens": 7, "eos_token_id": [1, 3],
            "transformers_version": "5.0.0", "num_codebooks": {"ignored": true}
        }));
        let greedy = file(json!({"temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}));
        let none = Defaults::default();

        let all = options().resolve(&sampling, 10).unwrap();
        assert_eq!((all.cuts.temperature, all.cuts.top_k, all.cuts.top_p), (0.6, 20, 0.95));
        assert_eq!((all.cuts.min_p, all.repetition_penalty), (0.05, 1.1));
        assert_eq!((all.max_tokens, all.eos_ids), (Some(7), vec![1, 3]));

        // The file's temperature means nothing while it does not sample.
        let all = options().resolve(&greedy, 10).unwrap();
        assert!(all.cuts.is_greedy());
        // A caller's temperature samples, with the file's other values.
        let all = options().temperature(0.8).resolve(&greedy, 10).unwrap();
        assert_eq!((all.cuts.temperature, all.cuts.top_p, all.cuts.top_k), (0.8, 0.9, 0));
        // A caller's 0 is greedy over any file.
        assert!(options().greedy().resolve(&sampling, 10).unwrap().cuts.is_greedy());
        // Each option wins on its own.
        let set = options().top_k(0).top_p(1.0).min_p(0.0).repetition_penalty(1.0).max_tokens(0);
        let all = set.resolve(&sampling, 10).unwrap();
        assert_eq!((all.cuts.temperature, all.cuts.top_k, all.cuts.top_p), (0.6, 0, 1.0));
        assert_eq!((all.cuts.min_p, all.repetition_penalty, all.max_tokens), (0.0, 1.0, Some(0)));

        let all = options().resolve(&none, 10).unwrap();
        assert!(all.cuts.is_greedy());
        assert_eq!((all.cuts.top_k, all.cuts.top_p, all.cuts.min_p), (0, 1.0, 0.0));
        assert_eq!((all.max_tokens, all.prefill_chunk), (None, PREFILL_CHUNK));

        // What transformers leaves out of a file that samples.
        let bare = file(json!({"do_sample": true}));
        let all = options().resolve(&bare, 10).unwrap();
        assert_eq!((all.cuts.temperature, all.cuts.top_k), (1.0, 50));
        let null = file(json!({"do_sample": true, "top_k": null, "top_p": null}));
        assert_eq!(null, bare);
        assert_eq!(file(json!({"do_sample": true, "top_k": 0})).top_k, Some(0));
    }

    #[test]
    fn ends() {
        let defaults = file(json!({"eos_token_id": 2}));
        let all = options().stop_ids([5]).resolve(&defaults, 10).unwrap();
        assert!(all.ends_with(2) && all.ends_with(5) && !all.ends_with(4));
        let all = options().stop_ids([5]).ignore_eos(true).resolve(&defaults, 10).unwrap();
        assert!(!all.ends_with(2) && all.ends_with(5));
    }

    #[test]
    fn a_seed_is_kept_and_a_fresh_one_is_new() {
        let none = Defaults::default();
        assert_eq!(options().seed(9).resolve(&none, 10).unwrap().seed, 9);
        let seeds: std::collections::HashSet<u64> =
            (0..100).map(|_| options().resolve(&none, 10).unwrap().seed).collect();
        assert_eq!(seeds.len(), 100);
    }

    #[test]
    fn arguments_out_of_range_are_named() {
        let inf = f32::INFINITY;
        let wrong = [
            ("temperature", options().temperature(f32::NAN)),
            ("temperature", options().temperature(-0.1)),
            ("temperature", options().temperature(inf)),
            ("top_p", options().top_p(0.0)),
            ("top_p", options().top_p(1.01)),
            ("top_p", options().top_p(f32::NAN)),
            ("min_p", options().min_p(-0.1)),
            ("min_p", options().min_p(1.1)),
            ("min_p", options().min_p(f32::NAN)),
            ("repetition_penalty", options().repetition_penalty(0.0)),
            ("repetition_penalty", options().repetition_penalty(-1.0)),
            ("repetition_penalty", options().repetition_penalty(inf)),
            ("frequency_penalty", options().frequency_penalty(2.5)),
            ("frequency_penalty", options().frequency_penalty(f32::NAN)),
            ("presence_penalty", options().presence_penalty(-2.5)),
            ("stop", options().stop(["a", ""])),
            ("stop_ids", options().stop_ids([9, 10])),
            ("logprobs", options().logprobs(11)),
            ("prefill_chunk", options().prefill_chunk(0)),
        ];
        for (name, options) in wrong {
            match options.resolve(&Defaults::default(), 10) {
                Err(Error::Argument { argument, .. }) => assert_eq!(argument, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        let right = [
            options().temperature(0.0).top_k(0).top_p(1.0).min_p(0.0).max_tokens(0),
            options().temperature(-0.0).min_p(1.0).penalty_window(0).top_k(usize::MAX),
            options().frequency_penalty(-2.0).presence_penalty(2.0).logprobs(10).stop_ids([9]),
            options().max_tokens(usize::MAX).prefill_chunk(usize::MAX).seed(u64::MAX),
        ];
        for options in right {
            options.resolve(&Defaults::default(), 10).unwrap();
        }
        for vocab in [0, u32::MAX as usize + 1] {
            assert!(options().resolve(&Defaults::default(), vocab).is_err());
        }
    }

    #[test]
    fn keys_of_the_wrong_type_are_named() {
        let wrong = [
            ("generation_config", json!([1])),
            ("do_sample", json!({"do_sample": 1})),
            ("temperature", json!({"temperature": "hot"})),
            ("temperature", json!({"temperature": -1})),
            ("temperature", json!({"temperature": 1e300})),
            ("top_k", json!({"top_k": -1})),
            ("top_k", json!({"top_k": 1.5})),
            ("top_p", json!({"top_p": [0.5]})),
            ("top_p", json!({"top_p": 0})),
            ("min_p", json!({"min_p": 2})),
            ("repetition_penalty", json!({"repetition_penalty": {}})),
            ("eos_token_id", json!({"eos_token_id": "</s>"})),
            ("eos_token_id", json!({"eos_token_id": [1, -1]})),
            ("eos_token_id", json!({"eos_token_id": 4294967296u64})),
            ("max_new_tokens", json!({"max_new_tokens": true})),
        ];
        for (name, value) in wrong {
            match Defaults::from_json(&value) {
                Err(Error::Config { key, .. }) => assert_eq!(key, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(file(json!({})), Defaults::default());
    }
}
