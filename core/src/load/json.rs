//! Small JSON files, and what stands under their keys.

use std::path::Path;

use serde_json::{Map, Value};

use super::file::read_limited;
use crate::error::{Error, Result};

/// Largest `config.json` or other small JSON file, in bytes.
const MAX_JSON: u64 = 16 << 20;

/// A JSON object from a file, or `None` when there is no such file.
pub(crate) fn json(path: &Path) -> Result<Option<Map<String, Value>>> {
    Ok(match json_value(path)? {
        None => None,
        Some(Value::Object(values)) => Some(values),
        Some(_) => return Err(Error::format(path, "JSON", "it holds no object")),
    })
}

/// Any JSON from a file, or `None` when there is no such file.
pub(crate) fn json_value(path: &Path) -> Result<Option<Value>> {
    // A name that is there but leads nowhere (a broken link) is an error, not an absence.
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let bytes = read_limited(path, MAX_JSON)?;
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| Error::format(path, "JSON", error.to_string()))
}

/// The whole number from 1 under `key`.
pub(crate) fn count(values: &Map<String, Value>, key: &str) -> Result<Option<usize>> {
    match values.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(Error::config(key, format!("is `{value}`, not a whole number from 1"))),
        },
    }
}

/// The truth value under `key`.
pub(crate) fn flag(values: &Map<String, Value>, key: &str) -> Result<Option<bool>> {
    match values.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(value) => Err(Error::config(key, format!("is `{value}`, not true or false"))),
    }
}

/// What a JSON value is, for an error's text, without quoting what may be long.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "true or false".into(),
        Value::Number(number) => format!("`{number}`"),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
