//! Files to bytes that were checked: safetensors, GGUF and JSON, mapped and not copied.
//!
//! All files are untrusted; every number is checked against the bytes that are there before
//! anything is allocated for it.

pub(crate) mod file;
pub(crate) mod gguf;
mod json;
pub(crate) mod safetensors;

pub(crate) use file::{Dtype, Stored, Tensors, aligned_copy};
pub(crate) use json::{count, flag, json, json_value, kind};
