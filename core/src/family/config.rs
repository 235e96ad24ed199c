//! What a file says of its model, in Hugging Face's words whatever the file.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::load::Tensors;

/// Other spellings of keys, as older or other exports have them.
const ALIASES: &[(&str, &[&str])] = &[
    ("hidden_size", &["n_embd", "n_embed", "d_model", "dim"]),
    ("num_hidden_layers", &["n_layer", "n_layers", "num_layers"]),
    ("num_attention_heads", &["n_head", "n_heads", "num_heads"]),
    ("num_key_value_heads", &["num_kv_heads", "n_head_kv"]),
    ("max_position_embeddings", &["n_positions", "n_ctx", "seq_length"]),
    ("intermediate_size", &["n_inner", "ffn_dim", "ffn_hidden_size", "hidden_dim"]),
    ("layer_norm_eps", &["layer_norm_epsilon", "norm_epsilon"]),
    ("hidden_act", &["hidden_activation", "activation_function", "activation"]),
    ("num_local_experts", &["num_experts", "n_routed_experts"]),
    ("rope_theta", &["rotary_emb_base"]),
    ("partial_rotary_factor", &["rotary_pct", "rope_pct"]),
    ("sliding_window_pattern", &["_sliding_window_pattern"]),
];

/// A model's config, and the shapes of its tensors for what the config leaves out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    values: Map<String, Value>,
    /// Where this object stands in the whole, for messages: `` or `rope_scaling.`.
    path: String,
    shapes: BTreeMap<String, Vec<usize>>,
    /// Rotary factors that the file stores as tensors, under our names.
    factors: BTreeMap<String, Vec<f32>>,
    gguf: bool,
}

impl Config {
    /// `values` of `config.json`, or the same words made from GGUF metadata; the text part of a
    /// multimodal model stands over the rest.
    pub(crate) fn new(mut values: Map<String, Value>, gguf: bool) -> Config {
        if let Some(Value::Object(text)) = values.remove("text_config") {
            for (key, value) in text {
                if key != "model_type" {
                    values.insert(key, value);
                }
            }
        }
        Config { values, gguf, ..Config::default() }
    }

    /// Adds what the tensors tell, under our names.
    pub(crate) fn with_tensors(mut self, tensors: &Tensors) -> Config {
        self.shapes = tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect();
        let factors = tensors.iter().filter(|(name, _)| name.starts_with("rope."));
        self.factors = factors.filter_map(|(name, t)| Some((name.clone(), t.floats()?))).collect();
        self
    }

    /// A copy in which a missing `key` has a value.
    pub(crate) fn with_default(&self, key: &str, value: impl Into<Value>) -> Config {
        let mut copy = self.clone();
        if self.value(key).is_none() {
            copy.values.insert(key.to_string(), value.into());
        }
        copy
    }

    /// A copy in which `key` has this value.
    pub(crate) fn with(&self, key: &str, value: impl Into<Value>) -> Config {
        let mut copy = self.clone();
        copy.values.insert(key.to_string(), value.into());
        copy
    }

    /// Whether the file has `key`, be it with null for a value.
    pub(crate) fn says(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether it came from a GGUF file.
    pub(crate) fn is_gguf(&self) -> bool {
        self.gguf
    }

    /// Whether the checkpoint has a tensor, under our name.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.shapes.contains_key(tensor)
    }

    /// The rows of a matrix of the checkpoint, under our name.
    pub(crate) fn rows(&self, tensor: &str) -> Option<usize> {
        self.shapes.get(tensor).and_then(|shape| shape.first()).copied()
    }

    /// Rotary factors that the file stores as a tensor, under our name.
    pub(crate) fn stored_factors(&self, tensor: &str) -> Option<&[f32]> {
        self.factors.get(tensor).map(Vec::as_slice)
    }

    /// The vocabulary's size: said by `config.json`; in GGUF, where the key may be missing or
    /// count without padding, the rows of the token embedding.
    pub(crate) fn vocab(&self) -> Result<usize> {
        let rows = self.rows("embed.tokens.weight");
        let said = self.usize("vocab_size")?;
        let first = if self.gguf { rows.or(said) } else { said.or(rows) };
        first.ok_or_else(|| self.missing("vocab_size"))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        let names =
            ALIASES.iter().find(|(name, _)| *name == key).map_or(&[][..], |(_, others)| others);
        let found = std::iter::once(&key).chain(names).find_map(|name| self.values.get(*name));
        found.filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> Error {
        let text = value.to_string();
        let short: String = text.chars().take(40).collect();
        Error::config(format!("{}{key}", self.path), format!("is `{short}`, not {wanted}"))
    }

    /// The error of a key that must be there.
    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::config(format!("{}{key}", self.path), "is missing")
    }

    /// A whole number that is not negative.
    pub(crate) fn usize(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(key, value, "a whole number from 0"))
    }

    /// As [`usize`](Self::usize), for a key that must be there.
    pub(crate) fn need_usize(&self, key: &str) -> Result<usize> {
        self.usize(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number.
    pub(crate) fn f64(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(key, value, "a number"))
    }

    /// As [`f64`](Self::f64), for a key that must be there.
    pub(crate) fn need_f64(&self, key: &str) -> Result<f64> {
        self.f64(key)?.ok_or_else(|| self.missing(key))
    }

    /// True or false.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    /// Text.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, value, "text"))
    }

    /// A list of any values.
    pub(crate) fn list(&self, key: &str) -> Result<Option<&Vec<Value>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| self.wrong(key, value, "a list"))
    }

    /// A list of whole numbers that are not negative.
    pub(crate) fn usizes(&self, key: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let list = value.as_array().and_then(|list| list.iter().map(number).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, value, "a list of whole numbers from 0"))
    }

    /// Texts: a list, or one text with `between` between them.
    pub(crate) fn text_list(&self, key: &str, between: char) -> Result<Option<Vec<String>>> {
        if let Some(Value::String(text)) = self.value(key) {
            return Ok(Some(text.split(between).map(str::to_string).collect()));
        }
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_string).collect();
        Ok(self.strings(key)?.map(owned))
    }

    /// A list of numbers.
    pub(crate) fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = |value: &Value| value.as_f64().map(|number| number as f32);
        let list = value.as_array().and_then(|list| list.iter().map(number).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, value, "a list of numbers"))
    }

    /// A list of texts.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, value, "a list of texts"))
    }

    /// An object, to be asked in the same way.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Config>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let Value::Object(values) = value else {
            return Err(self.wrong(key, value, "an object"));
        };
        let path = format!("{}{key}.", self.path);
        Ok(Some(Config { values: values.clone(), path, gguf: self.gguf, ..Config::default() }))
    }
}
