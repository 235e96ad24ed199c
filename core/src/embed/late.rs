//! Late interaction, how a folder makes a vector of each token: what a query and a document are
//! marked with, filled up and cut to.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::load::{count, flag, kind};

/// How texts are marked, filled up and cut, as a folder says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Late {
    pub query: Side,
    pub document: Side,
    pub expansion: Option<Expansion>,
    /// Tokens without a vector in documents.
    pub skipped: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Text or a token before the text.
    pub marker: String,
    /// Most tokens, the marker and special ones included.
    pub length: Option<usize>,
}

/// Tokens that fill a query up.
#[derive(Clone, Debug)]
pub(crate) struct Expansion {
    pub length: usize,
    /// Whether longer queries are cut to that length.
    pub fixed: bool,
    /// Whether the text's tokens see them.
    pub seen: bool,
    /// The token; the mask token when absent.
    pub token: Option<String>,
}

/// What PyLate takes for a folder that does not say: `string.punctuation` of Python.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// Keys of PyLate in `config_sentence_transformers.json`.
const KEYS: [&str; 7] = [
    "query_prefix",
    "document_prefix",
    "query_length",
    "document_length",
    "attend_to_expansion_tokens",
    "skiplist_words",
    "do_query_expansion",
];

impl Late {
    /// Reads PyLate's keys of `config_sentence_transformers.json`; `None` without one.
    pub(crate) fn of_pylate(values: &Map<String, Value>) -> Result<Option<Late>> {
        let typed = values.get("model_type").and_then(Value::as_str) == Some("ColBERT");
        if !typed && !KEYS.iter().any(|key| values.contains_key(*key)) {
            return Ok(None);
        }
        let side = |role: &str, marker: &str, length: usize| -> Result<Side> {
            let key = format!("{role}_prefix");
            let marker = text(values, &key)?.unwrap_or(marker).to_string();
            let length = count(values, &format!("{role}_length"))?.unwrap_or(length);
            Ok(Side { marker, length: Some(length) })
        };
        let query = side("query", "[Q] ", 32)?;
        let expansion = match flag(values, "do_query_expansion")?.unwrap_or(true) {
            true => Some(Expansion {
                length: query.length.unwrap_or(32),
                fixed: true,
                seen: flag(values, "attend_to_expansion_tokens")?.unwrap_or(false),
                token: None,
            }),
            false => None,
        };
        let skipped = match words(values)? {
            Some(words) => words,
            None => PUNCTUATION.chars().map(String::from).collect(),
        };
        Ok(Some(Late { query, document: side("document", "[D] ", 180)?, expansion, skipped }))
    }

    /// Reads sentence-transformers' own files: the values of a `MultiVectorMask`, those of
    /// `sentence_bert_config.json`, and the prompts.
    pub(crate) fn of_modules<'a>(
        mask: &Map<String, Value>,
        transformer: &Map<String, Value>,
        prompt: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Late> {
        let unknown = |what: &str, known: &str| Error::Unsupported {
            what: what.to_string(),
            known: known.to_string(),
        };
        let tasks = mask.get("skiplist_tasks").unwrap_or(&Value::Null);
        if !tasks.is_null() && *tasks != serde_json::json!(["document"]) {
            return Err(unknown(&format!("`skiplist_tasks` {tasks}"), "[\"document\"]"));
        }
        if mask.get("keep_only_token_ids").is_some_and(|ids| !ids.is_null()) {
            return Err(unknown("`keep_only_token_ids`", "null"));
        }
        let side = |role: &str| -> Result<Side> {
            let length = count(transformer, &format!("{role}_length"))?;
            Ok(Side { marker: prompt(role).unwrap_or_default().to_string(), length })
        };
        let expansion = match transformer.get("query_expansion") {
            None | Some(Value::Null) => None,
            Some(Value::Object(values)) => Some(Expansion {
                length: count(values, "length")?
                    .ok_or_else(|| Error::config("query_expansion.length", "is missing"))?,
                fixed: match text(values, "strategy")? {
                    Some("fixed") => true,
                    Some("min") => false,
                    other => {
                        let what = format!("query expansion `{}`", other.unwrap_or_default());
                        return Err(unknown(&what, "fixed, min"));
                    }
                },
                seen: flag(values, "attend")?.unwrap_or(false),
                token: text(values, "token")?.map(str::to_string),
            }),
            Some(other) => {
                let problem = format!("is {}, not an object", kind(other));
                return Err(Error::config("query_expansion", problem));
            }
        };
        Ok(Late {
            query: side("query")?,
            document: side("document")?,
            expansion,
            skipped: words(mask)?.unwrap_or_default(),
        })
    }
}

fn text<'a>(values: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match values.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::config(key, format!("is {}, not a text", kind(other)))),
    }
}

/// The skip list.
fn words(values: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    const KEY: &str = "skiplist_words";
    match values.get(KEY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(words)) => {
            let own = |word: &Value| {
                let problem = || format!("holds {}, not a text", kind(word));
                word.as_str().map(str::to_string).ok_or_else(|| Error::config(KEY, problem()))
            };
            words.iter().map(own).collect::<Result<_>>().map(Some)
        }
        Some(other) => Err(Error::config(KEY, format!("is {}, not a list of texts", kind(other)))),
    }
}
