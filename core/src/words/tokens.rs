//! Folders of model2vec and of sentence-transformers' `StaticEmbedding`: a vector for each token.
//!
//! ```text
//! text -> tokens of tokenizer.json, none put around -> rows of the table -> mean (-> length 1)
//! ```
//! Source: `StaticModel` of model2vec 0.10 (tensor `embeddings`, with `mapping` and `weights` when
//! tokens share rows) and `StaticEmbedding` of sentence-transformers 6.2 (`embedding.weight`).

use std::path::Path;

use serde::Deserialize;

use super::table::{Number, Table};
use crate::embed::Recipe;
use crate::error::{Error, Result};
use crate::load::{self, Dtype, Stored, count, file, flag, safetensors};
use crate::quant::Format;
use crate::quote::quote;
use crate::text::{MAX_FILE, Tokenizer};

const FORMAT: &str = "a table of token vectors";

/// How texts become tokens of a table.
pub(super) struct Tokens {
    pub tokenizer: Tokenizer,
    /// The token that stands for what the tokenizer does not know.
    pub unknown: Option<u32>,
    /// Whether the unknown token is left out unless the caller says otherwise.
    pub skip_unknown: bool,
    /// Most tokens of a text, unless the caller says otherwise.
    pub max_tokens: Option<usize>,
    /// model2vec cuts a text at this many characters a token before it looks at tokens.
    pub token_characters: Option<usize>,
    /// Whether embeddings have length 1 unless the caller says otherwise.
    pub normalize: bool,
    /// Added to the length that an embedding is divided by, or the least of it.
    pub tiny: Tiny,
    /// Text put before every text.
    pub prompt: String,
}

/// How a division by zero is kept away where embeddings are brought to length 1.
#[derive(Clone, Copy)]
pub(super) enum Tiny {
    /// As model2vec: added to the length.
    Add(f32),
    /// As PyTorch: the least that is divided by.
    Least(f32),
}

/// What is needed of a `tokenizer.json` beside the tokenizer itself.
#[derive(Deserialize)]
struct Peek {
    truncation: Option<Truncation>,
    model: PeekModel,
}

#[derive(Deserialize)]
struct Truncation {
    max_length: usize,
}

#[derive(Deserialize)]
struct PeekModel {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

/// Opens a folder.
pub(super) fn open(folder: &Path) -> Result<(Tokens, Table)> {
    let recipe = Recipe::read(folder)?;
    let home = recipe.transformer(folder);
    let path = home.join(safetensors::SINGLE);
    let mut tensors = safetensors::open(&path)?;
    let own = tensors.remove("embeddings");
    let model2vec = own.is_some();
    let Some(stored) = own.or_else(|| tensors.remove("embedding.weight")) else {
        let problem = "neither `embeddings` (model2vec) nor `embedding.weight` \
                       (StaticEmbedding) is in it; a transformer opens as a model";
        return Err(Error::format(&path, FORMAT, problem));
    };
    let table = table(&path, stored, tensors.remove("mapping"), tensors.remove("weights"))?;
    if let Some(name) = tensors.keys().next() {
        let problem = format!("tensor {} belongs to no part of it", quote(name));
        return Err(Error::format(&path, FORMAT, problem));
    }
    let normalized = recipe.normalizes_only()?;

    let path = home.join("tokenizer.json");
    let json = file::read_limited(&path, MAX_FILE)?;
    let tokenizer = Tokenizer::open(&path)?;
    let peek: Peek = serde_json::from_slice(&json)
        .map_err(|error| Error::format(&path, "a tokenizer", error.to_string()))?;
    if tokenizer.len() > table.len() {
        let (tokens, rows) = (tokenizer.len(), table.len());
        let problem = format!("its {tokens} tokens are more than the {rows} rows of the table");
        return Err(Error::format(&path, FORMAT, problem));
    }
    let unknown = match &peek.model.unk_token {
        Some(token) => tokenizer.id(token),
        None => peek.model.unk_id,
    };
    let prompt = recipe.default_prompt.as_ref().and_then(|name| recipe.prompts.get(name));
    let mut tokens = Tokens {
        unknown,
        skip_unknown: model2vec,
        max_tokens: peek.truncation.map(|truncation| truncation.max_length),
        token_characters: None,
        normalize: normalized,
        tiny: Tiny::Least(1e-12),
        prompt: prompt.cloned().unwrap_or_default(),
        tokenizer,
    };
    if model2vec {
        let path = folder.join("config.json");
        let config = load::json(&path)?.unwrap_or_default();
        tokens.normalize = flag(&config, "normalize")?.unwrap_or(false);
        tokens.tiny = Tiny::Add(1e-32);
        tokens.max_tokens = match config.get("max_length") {
            Some(serde_json::Value::Null) => None,
            _ => Some(count(&config, "max_length")?.unwrap_or(512)),
        };
        tokens.token_characters = Some(median_characters(&tokens.tokenizer));
    }
    // Rows beyond the vocabulary belong to no token.
    let table = table.truncate(tokens.tokenizer.len());
    Ok((tokens, table))
}

/// The middle of the lengths of all tokens in characters, rounded down.
fn median_characters(tokenizer: &Tokenizer) -> usize {
    let lengths = (0..tokenizer.len()).filter_map(|id| tokenizer.token(id as u32));
    let mut lengths: Vec<usize> = lengths.map(|token| token.chars().count()).collect();
    lengths.sort_unstable();
    match lengths.len() {
        0 => 0,
        n if n % 2 == 1 => lengths[n / 2],
        n => (lengths[n / 2 - 1] + lengths[n / 2]) / 2,
    }
}

fn table(
    path: &Path,
    stored: Stored,
    mapping: Option<Stored>,
    weights: Option<Stored>,
) -> Result<Table> {
    let failed = |problem: String| Error::format(path, FORMAT, problem);
    let &[rows, width] = &stored.shape[..] else {
        return Err(failed(format!("its table is {:?}, want rows by numbers", stored.shape)));
    };
    let number = match stored.dtype {
        Dtype::Weight(Format::F32) => Number::F32,
        Dtype::Weight(Format::F16) => Number::F16,
        Dtype::Weight(Format::BF16) => Number::BF16,
        Dtype::Other("F64") => Number::F64,
        Dtype::Other("I8") => Number::I8,
        other => {
            let problem = format!("its table is stored as {other}, want F32, F64, F16, BF16 or I8");
            return Err(failed(problem));
        }
    };
    if rows == 0 || width == 0 || u32::try_from(rows).is_err() {
        return Err(failed(format!("its table is {rows} rows of {width} numbers")));
    }
    let map = match mapping {
        None => None,
        Some(mapping) => Some(indices(&mapping, rows).map_err(failed)?),
    };
    let len = map.as_ref().map_or(rows, Vec::len);
    let weights = match weights {
        None => None,
        Some(weights) => Some(factors(&weights, len).map_err(failed)?),
    };
    Ok(Table::even(stored.bytes, number, width).with(map, weights))
}

/// The rows that tokens take, all below `rows`.
fn indices(stored: &Stored, rows: usize) -> Result<Vec<u32>, String> {
    let values: Vec<i64> = match (stored.dtype, stored.shape.len()) {
        (Dtype::Other("I64"), 1) => {
            stored.bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
        }
        (Dtype::Other("I32"), 1) => {
            stored.bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()
        }
        (dtype, _) => {
            return Err(format!("`mapping` is {dtype} {:?}, want a list of I64", stored.shape));
        }
    };
    let fits = |value: i64| u32::try_from(value).ok().filter(|value| (*value as usize) < rows);
    let check = |value| fits(value).ok_or_else(|| format!("`mapping` has {value} of {rows} rows"));
    values.into_iter().map(check).collect()
}

/// The weights of `len` tokens.
fn factors(stored: &Stored, len: usize) -> Result<Vec<f32>, String> {
    let values = match stored.dtype {
        Dtype::Other("F64") => {
            Some(stored.bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect())
        }
        _ => stored.floats(),
    };
    match values {
        Some(values) if stored.shape == [len] => Ok(values),
        _ => Err(format!("`weights` is {} {:?}, want {len} floats", stored.dtype, stored.shape)),
    }
}
