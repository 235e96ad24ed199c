//! What a model's folder says for tasks: the names of labels, and which tokens are special.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::load::{json, kind};
use crate::text::Tokenizer;

/// Most labels that a config may name.
const MOST: u64 = 1 << 20;

/// What the files say for tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    /// `id2label`, where it is there.
    names: Vec<Option<String>>,
    /// `problem_type`
    pub problem: Option<Problem>,
    /// Whether a reranker's single logit is its score: sentence-transformers' `Identity`.
    pub plain: bool,
    /// Whether the tokenizer's segment types are not the model's: `model_input_names` leaves them
    /// out.
    pub untyped: bool,
    /// The token that stands for one to be found.
    pub mask: Option<u32>,
    /// The token that stands for one that is not known.
    pub unknown: Option<u32>,
    /// The token that fills a batch.
    pub padding: Option<u32>,
}

/// What a head that classes texts was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Regression,
    Single,
    Multi,
}

impl Labels {
    /// Reads the values of `config.json`.
    pub(crate) fn from_config(values: &Map<String, Value>) -> Result<Labels> {
        let mut labels = Labels::default();
        match values.get("id2label") {
            None | Some(Value::Null) => {}
            Some(Value::Object(pairs)) => {
                for (number, name) in pairs {
                    let key = format!("id2label.{number}");
                    let place = number.parse::<u64>().ok().filter(|place| *place < MOST);
                    let place = place.ok_or_else(|| {
                        Error::config(&key, format!("is not a number below {MOST}"))
                    })? as usize;
                    let name = match name {
                        Value::String(name) => name.clone(),
                        Value::Number(number) => number.to_string(),
                        other => {
                            let problem = format!("is {}, not a text", kind(other));
                            return Err(Error::config(&key, problem));
                        }
                    };
                    if labels.names.len() <= place {
                        labels.names.resize(place + 1, None);
                    }
                    labels.names[place] = Some(name);
                }
            }
            Some(other) => {
                let problem = format!("is {}, not an object of texts", kind(other));
                return Err(Error::config("id2label", problem));
            }
        }
        labels.problem = match values.get("problem_type").and_then(Value::as_str) {
            None => None,
            Some("regression") => Some(Problem::Regression),
            Some("single_label_classification") => Some(Problem::Single),
            Some("multi_label_classification") => Some(Problem::Multi),
            Some(other) => {
                return Err(Error::Unsupported {
                    what: format!("problem type `{other}`"),
                    known: "regression, single_label_classification, multi_label_classification"
                        .to_string(),
                });
            }
        };
        let own = values.get("sentence_transformers").and_then(|own| own.get("activation_fn"));
        let old = values.get("sbert_ce_default_activation_function");
        labels.plain = match own.or(old).and_then(Value::as_str) {
            None => false,
            Some(name) => match name.rsplit('.').next().unwrap_or(name) {
                "Identity" => true,
                "Sigmoid" => false,
                other => {
                    return Err(Error::Unsupported {
                        what: format!("activation `{other}` of a reranker"),
                        known: "Identity, Sigmoid".to_string(),
                    });
                }
            },
        };
        Ok(labels)
    }

    /// Finds the special tokens that the files name, or that the vocabulary has by a usual name.
    pub(crate) fn find_tokens(
        &mut self,
        home: &Path,
        config: &Map<String, Value>,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        let map = json(&home.join("special_tokens_map.json"))?.unwrap_or_default();
        let find = |key: &str, usual: [&str; 2]| {
            let said = config.get(key).or_else(|| map.get(key));
            let said = said.and_then(|said| said.get("content").unwrap_or(said).as_str());
            said.and_then(|token| tokenizer.id(token))
                .or_else(|| usual.into_iter().find_map(|token| tokenizer.id(token)))
        };
        let inputs = config.get("model_input_names").and_then(Value::as_array);
        self.untyped =
            inputs.is_some_and(|names| names.iter().all(|name| name != "token_type_ids"));
        self.mask = find("mask_token", ["[MASK]", "<mask>"]);
        self.unknown = find("unk_token", ["[UNK]", "<unk>"]);
        self.padding = find("pad_token", ["[PAD]", "<pad>"]);
        Ok(())
    }

    /// The name of a label.
    pub(crate) fn name(&self, index: usize) -> String {
        let own = self.names.get(index).cloned().flatten();
        own.unwrap_or_else(|| format!("LABEL_{index}"))
    }

    /// The first label whose name starts so, whatever its case.
    pub(crate) fn starting(&self, start: &str) -> Option<usize> {
        let starts = |name: &Option<String>| {
            name.as_ref().is_some_and(|name| name.to_lowercase().starts_with(start))
        };
        self.names.iter().position(starts)
    }
}
