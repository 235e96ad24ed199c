//! What must be done to some weights while loading, as a closed list, so that `forward` never
//! knows where a checkpoint came from.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::load::{Dtype, Stored, Tensors};
use crate::nn::Spec;
use crate::nn::spec::Position;
use crate::quant::Format;

/// A change to weights of certain names: the part after `blocks.{i}.`, or the whole.
pub(crate) enum Fixup {
    /// Hugging Face only: matrices stand as `[width, rows]`, since they were written by a
    /// convolution of width 1. GGUF has them turned already.
    Transpose(&'static [&'static str]),
    /// Queries, keys and values stand in one matrix, in that order of rows.
    SplitQkv,
    /// Hugging Face only: in that matrix, the rows of each key head and its query heads stand
    /// together. GGUF has them in the order that [`SplitQkv`](Self::SplitQkv) takes.
    GatherQkv,
    /// Gate and up of the MLP stand in one matrix, called `mlp.gate_up`, or `mlp.up` in GGUF.
    SplitGateUp,
    /// The same with the other first, called `mlp.up_gate`.
    SplitUpGate,
    /// Hugging Face only: the table of positions starts with rows that are no token's, since places
    /// count from behind the padding id. GGUF has them gone.
    DropPositions,
    /// The bias of the head over words may stand beside the head, beside its matrix, or at both
    /// places: then the one beside the matrix counts.
    WordsBias,
    /// Vectors that stand one by one, with a number behind their name, belong together.
    Join(&'static [&'static str]),
    /// Vectors stand as `[heads, size]`.
    Flatten(&'static [&'static str]),
    /// The matrices of all experts stand in one tensor `[experts, rows, width]`, gate and up apart
    /// or in one, called `experts.gate_up`.
    Unstack,
    /// Matrices of one row stand as a vector.
    Row(&'static [&'static str]),
    /// The first rows of a matrix are never used.
    DropRows(&'static str, usize),
    /// Where `when` is there, names stand for others, in this order.
    Rename {
        /// The part whose presence tells.
        when: &'static str,
        /// From and to.
        pairs: &'static [(&'static str, &'static str)],
    },
    /// Hugging Face only: norms hold their scale minus 1. GGUF has the 1 added.
    AddOne(&'static [&'static str]),
}

impl Fixup {
    /// Changes the tensors it names.
    pub(crate) fn apply(&self, tensors: &mut Tensors, spec: &Spec, gguf: bool) -> Result<()> {
        match self {
            Fixup::Transpose(names) if !gguf => each(tensors, names, "weight", transpose)?,
            Fixup::AddOne(names) if !gguf => each(tensors, names, "weight", add_one)?,
            Fixup::GatherQkv if !gguf => gather_qkv(tensors, spec),
            Fixup::SplitQkv => split_qkv(tensors, spec),
            Fixup::SplitGateUp => split_gate_up(tensors, spec),
            Fixup::SplitUpGate => {
                let sides = [(".mlp.up.", spec.mlp.ffn()), (".mlp.gate.", spec.mlp.ffn())];
                for name in named(tensors, ".mlp.up_gate.") {
                    split(tensors, &name, ".mlp.up_gate.", &sides);
                }
            }
            Fixup::WordsBias => {
                if let Some(stored) = tensors.remove("heads.words.own.bias") {
                    tensors.entry("heads.words.out.bias".to_string()).or_insert(stored);
                }
            }
            Fixup::DropPositions if !gguf => {
                let rows = tensors.get("embed.positions.weight").and_then(|t| t.shape.first());
                if let (Some(rows), Position::Learned { count }) = (rows, &spec.position) {
                    let unused = rows.saturating_sub(*count);
                    drop_rows(tensors, "embed.positions", unused);
                }
            }
            Fixup::Join(names) => join(tensors, names),
            Fixup::Flatten(names) => flatten(tensors, names),
            Fixup::Unstack => unstack(tensors),
            Fixup::Row(names) => row(tensors, names),
            Fixup::DropRows(name, rows) => drop_rows(tensors, name, *rows),
            Fixup::Rename { when, pairs } => rename(tensors, when, pairs),
            Fixup::Transpose(_) | Fixup::AddOne(_) | Fixup::GatherQkv | Fixup::DropPositions => {}
        }
        Ok(())
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
    Some(Stored { shape: stored.shape.clone(), ..vector(&values) })
}

/// The names with `part` between block and suffix.
fn named(tensors: &Tensors, part: &str) -> Vec<String> {
    tensors.keys().filter(|name| name.contains(part)).cloned().collect()
}

/// Takes a fused tensor of `sizes` rows apart; leaves it in place when it does not fit: the report
/// then names it with its shape.
fn split(tensors: &mut Tensors, name: &str, part: &str, sides: &[(&str, usize)]) {
    let rows: usize = sides.iter().map(|(_, rows)| rows).sum();
    let Some(stored) = tensors.get(name).cloned() else { return };
    if stored.shape.first() != Some(&rows) || !stored.bytes.len().is_multiple_of(rows.max(1)) {
        return;
    }
    let (row, mut start) = (stored.bytes.len() / rows.max(1), 0);
    tensors.remove(name);
    for (side, rows) in sides {
        let mut shape = stored.shape.clone();
        shape[0] = *rows;
        let bytes = stored.bytes.slice(start * row..(start + rows) * row);
        tensors.insert(name.replace(part, side), Stored { dtype: stored.dtype, shape, bytes });
        start += rows;
    }
}

fn split_qkv(tensors: &mut Tensors, spec: &Spec) {
    let attention = &spec.attention;
    let (q, kv) = (attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim);
    for name in named(tensors, ".attn.qkv.") {
        let sides = [(".attn.q.", q), (".attn.k.", kv), (".attn.v.", kv)];
        split(tensors, &name, ".attn.qkv.", &sides);
    }
}

fn gather_qkv(tensors: &mut Tensors, spec: &Spec) {
    let attention = &spec.attention;
    let (kv, head_dim) = (attention.kv_heads, attention.head_dim);
    let each = attention.heads / kv; // query heads of a key head
    let rows = (attention.heads + 2 * kv) * head_dim;
    for name in named(tensors, ".attn.qkv.") {
        let Some(stored) = tensors.get_mut(&name) else { continue };
        if stored.shape.first() != Some(&rows) || !stored.bytes.len().is_multiple_of(rows.max(1)) {
            continue; // the report on shapes says what is wrong
        }
        let head = stored.bytes.len() / rows.max(1) * head_dim;
        let mut bytes = Vec::with_capacity(stored.bytes.len());
        for part in [0..each, each..each + 1, each + 1..each + 2] {
            for group in 0..kv {
                let start = group * (each + 2);
                let (from, to) = (start + part.start, start + part.end);
                bytes.extend_from_slice(&stored.bytes[from * head..to * head]);
            }
        }
        stored.bytes = bytes.into();
    }
}

fn split_gate_up(tensors: &mut Tensors, spec: &Spec) {
    let ffn = spec.mlp.ffn();
    let sides = [(".mlp.gate.", ffn), (".mlp.up.", ffn)];
    for part in [".mlp.gate_up.", ".mlp.up."] {
        for name in named(tensors, part) {
            split(tensors, &name, part, &sides);
        }
    }
}

fn join(tensors: &mut Tensors, parts: &[&str]) {
    let firsts: Vec<String> =
        parts.iter().flat_map(|part| named(tensors, &format!(".{part}.0."))).collect();
    for first in firsts {
        let Some((stem, suffix)) = first.rsplit_once(".0.") else { continue };
        let numbered = |j: usize| format!("{stem}.{j}.{suffix}");
        let mut values = Vec::new();
        for j in 0.. {
            let Some(more) = tensors.get(&numbered(j)).and_then(Stored::floats) else { break };
            tensors.remove(&numbered(j));
            values.extend(more);
        }
        tensors.insert(format!("{stem}.{suffix}"), vector(&values));
    }
}

/// Numbers as a stored tensor.
fn vector(values: &[f32]) -> Stored {
    Stored {
        dtype: Dtype::Weight(Format::F32),
        shape: vec![values.len()],
        bytes: Bytes::from(bytemuck::cast_slice(values).to_vec()),
    }
}

fn flatten(tensors: &mut Tensors, names: &[&str]) {
    for (name, stored) in tensors.iter_mut() {
        let wanted = ["weight", "bias"].iter().find_map(|suffix| part(name, suffix));
        if let (true, &[heads, size]) =
            (wanted.is_some_and(|part| names.contains(&part)), stored.shape.as_slice())
            && let Some(all) = heads.checked_mul(size)
        {
            stored.shape = vec![all];
        }
    }
}

fn unstack(tensors: &mut Tensors) {
    let sides: [(&str, &[&str]); 4] = [
        (".mlp.experts.gate.", &["gate"]),
        (".mlp.experts.up.", &["up"]),
        (".mlp.experts.down.", &["down"]),
        (".mlp.experts.gate_up.", &["gate", "up"]),
    ];
    for (stack, parts) in sides {
        for name in named(tensors, stack) {
            let Some(stored) = tensors.get(&name).cloned() else { continue };
            let &[count, rows, width] = stored.shape.as_slice() else { continue };
            let pieces = count.saturating_mul(parts.len());
            // Left in place when it does not fit: the report then names it with its shape.
            if pieces == 0
                || !stored.bytes.len().is_multiple_of(pieces)
                || !rows.is_multiple_of(parts.len())
                || count > 4096
            {
                continue;
            }
            tensors.remove(&name);
            let size = stored.bytes.len() / pieces;
            for piece in 0..pieces {
                let (j, part) = (piece / parts.len(), parts[piece % parts.len()]);
                let bytes = stored.bytes.slice(piece * size..(piece + 1) * size);
                let shape = vec![rows / parts.len(), width];
                let one = name.replace(stack, &format!(".mlp.experts.{j}.{part}."));
                tensors.insert(one, Stored { dtype: stored.dtype, shape, bytes });
            }
        }
    }
}

fn row(tensors: &mut Tensors, names: &[&str]) {
    for (name, stored) in tensors.iter_mut() {
        if let (Some(part), &[width]) = (part(name, "weight"), stored.shape.as_slice())
            && names.contains(&part)
        {
            stored.shape = vec![1, width];
        }
    }
}

fn drop_rows(tensors: &mut Tensors, name: &str, count: usize) {
    let Some(stored) = tensors.get_mut(&format!("{name}.weight")) else { return };
    let Some(&rows) = stored.shape.first() else { return };
    if rows > count && stored.bytes.len().is_multiple_of(rows) {
        stored.bytes = stored.bytes.slice(count * (stored.bytes.len() / rows)..);
        stored.shape[0] = rows - count;
    }
}

fn rename(tensors: &mut Tensors, when: &str, pairs: &[(&str, &str)]) {
    if named(tensors, &format!(".{when}.")).is_empty() {
        return;
    }
    for (from, to) in pairs {
        for name in named(tensors, &format!(".{from}.")) {
            if let Some(stored) = tensors.remove(&name) {
                tensors.insert(name.replace(&format!(".{from}."), &format!(".{to}.")), stored);
            }
        }
    }
}
