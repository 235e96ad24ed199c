//! What must be done to some weights while loading, as a closed list, so that `forward` never
//! knows where a checkpoint came from.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::load::{Dtype, Stored, Tensors};
use crate::nn::Spec;
use crate::quant::Format;

/// A change to weights of certain names: the part after `blocks.{i}.`, or the whole.
pub(crate) enum Fixup {
    /// Hugging Face only: matrices stand as `[width, rows]`, since they were written by a
    /// convolution of width 1. GGUF has them turned already.
    Transpose(&'static [&'static str]),
    /// Queries, keys and values stand in one matrix, in that order of rows.
    SplitQkv,
    /// Hugging Face only: norms hold their scale minus 1. GGUF has the 1 added.
    AddOne(&'static [&'static str]),
}

impl Fixup {
    /// Changes the tensors it names.
    pub(crate) fn apply(&self, tensors: &mut Tensors, spec: &Spec, gguf: bool) -> Result<()> {
        match self {
            Fixup::Transpose(names) if !gguf => each(tensors, names, "weight", transpose),
            Fixup::AddOne(names) if !gguf => each(tensors, names, "weight", add_one),
            Fixup::SplitQkv => split_qkv(tensors, spec),
            Fixup::Transpose(_) | Fixup::AddOne(_) => Ok(()),
        }
    }
}

/// Our name without the block and the suffix.
fn part<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let stem = name.strip_suffix(suffix)?.strip_suffix('.')?;
    Some(match stem.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
        Some((_, part)) => part,
        None => stem,
    })
}

fn each(
    tensors: &mut Tensors,
    names: &[&str],
    suffix: &str,
    change: fn(&Stored) -> Option<Stored>,
) -> Result<()> {
    for (name, stored) in tensors.iter_mut() {
        if part(name, suffix).is_some_and(|part| names.contains(&part)) {
            *stored = change(stored).ok_or_else(|| Error::Unsupported {
                what: format!("`{name}` stored as {}", stored.dtype),
                known: "F32, F16, BF16".to_string(),
            })?;
        }
    }
    Ok(())
}

/// Bytes of one number, where each stands for itself.
fn element(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::Weight(format) if format.block() == 1 => Some(format.block_bytes()),
        _ => None,
    }
}

fn transpose(stored: &Stored) -> Option<Stored> {
    let size = element(stored.dtype)?;
    let &[rows, width] = stored.shape.as_slice() else {
        return Some(stored.clone()); // the report on shapes says what is wrong
    };
    let mut bytes = vec![0; stored.bytes.len()];
    for row in 0..rows {
        for column in 0..width {
            let (from, to) = ((row * width + column) * size, (column * rows + row) * size);
            bytes[to..to + size].copy_from_slice(&stored.bytes[from..from + size]);
        }
    }
    Some(Stored { dtype: stored.dtype, shape: vec![width, rows], bytes: bytes.into() })
}

fn add_one(stored: &Stored) -> Option<Stored> {
    let values: Vec<f32> = stored.floats()?.into_iter().map(|x| x + 1.0).collect();
    Some(Stored {
        dtype: Dtype::Weight(Format::F32),
        shape: stored.shape.clone(),
        bytes: Bytes::from(bytemuck::cast_slice(&values).to_vec()),
    })
}

fn split_qkv(tensors: &mut Tensors, spec: &Spec) -> Result<()> {
    let attention = &spec.attention;
    let (q, kv) = (attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim);
    let fused: Vec<String> =
        tensors.keys().filter(|name| name.contains(".attn.qkv.")).cloned().collect();
    for name in fused {
        let Some(stored) = tensors.get(&name) else { continue };
        // Left in place when it does not fit: the report then names it with its shape.
        if stored.shape.first() != Some(&(q + 2 * kv))
            || !stored.bytes.len().is_multiple_of(q + 2 * kv)
        {
            continue;
        }
        let row = stored.bytes.len() / (q + 2 * kv);
        let stored = stored.clone();
        tensors.remove(&name);
        for (side, start, rows) in [("q", 0, q), ("k", q, kv), ("v", q + kv, kv)] {
            let mut shape = stored.shape.clone();
            shape[0] = rows;
            let bytes = stored.bytes.slice(start * row..(start + rows) * row);
            let name = name.replace(".attn.qkv.", &format!(".attn.{side}."));
            tensors.insert(name, Stored { dtype: stored.dtype, shape, bytes });
        }
    }
    Ok(())
}
