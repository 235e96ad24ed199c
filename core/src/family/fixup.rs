//! Weight conversion, what must be done to some weights while loading, as a closed list, so that
//! `forward` never knows where a checkpoint came from.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::load::{Dtype, Stored, Tensors};
use crate::nn::Spec;
use crate::nn::spec::Position;
use crate::quant::{Format, ggml};

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
    /// Hugging Face only: the stacked matrices of experts stand as `[experts, width, rows]`.
    TurnExperts,
    /// The stacked matrices of experts stand as 4-bit floats, 32 to a scale: `experts.*_blocks` with
    /// `[experts, rows, groups, 16]` bytes and `experts.*_scales` with `[experts, rows, groups]`
    /// (MXFP4, OCP Microscaling Formats 1.0), or in GGUF's blocks. They become bfloat16, which
    /// holds each exactly.
    Mxfp4,
    /// Hugging Face only: rows of gate and up take turns in `experts.gate_up`.
    GatherGateUp,
    /// What [`Latent`](crate::nn::spec::Latent) makes keys and values with: rows of both of one
    /// head after another in one matrix, called `attn.kv`; or, in GGUF, a matrix of values for each
    /// head, `attn.v_stacked`, and a turned one of keys, `attn.k_turned`.
    SplitLatent,
    /// GGUF only: what is added to scores when experts are chosen is called a bias.
    Correction,
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
    /// Of an encoder-decoder: the table of tokens stands once or at up to three places. Where both
    /// stacks share it, the copies go; a checkpoint with a table for each keeps both.
    Tables,
    /// The decoder of an encoder-decoder is not there: the encoder's weights are the model's.
    EncoderAlone,
    /// What is added to logits stands as a matrix of one row beside all modules.
    LogitsBias,
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
            Fixup::TurnExperts if !gguf => turn_experts(tensors)?,
            Fixup::Mxfp4 => mxfp4(tensors),
            Fixup::GatherGateUp if !gguf => gather_gate_up(tensors),
            Fixup::SplitLatent => {
                split_latent(tensors, spec);
                unturn_keys(tensors);
            }
            Fixup::Correction if gguf => {
                for name in named(tensors, ".mlp.correction.bias") {
                    if let Some(stored) = tensors.remove(&name) {
                        tensors.insert(name.replace(".bias", ".weight"), stored);
                    }
                }
            }
            Fixup::Row(names) => row(tensors, names),
            Fixup::Tables => tables(tensors, spec),
            Fixup::EncoderAlone if spec.encoder.is_none() => {
                let names: Vec<String> = tensors.keys().cloned().collect();
                for name in names {
                    if let (Some(ours), Some(stored)) =
                        (name.strip_prefix("encoder."), tensors.get(&name).cloned())
                    {
                        tensors.remove(&name);
                        tensors.entry(ours.to_string()).or_insert(stored);
                    }
                }
            }
            Fixup::LogitsBias => {
                if let Some(mut stored) = tensors.remove("head.own.weight") {
                    if let &[1, len] = stored.shape.as_slice() {
                        stored.shape = vec![len];
                    }
                    tensors.insert("head.bias".to_string(), stored);
                }
            }
            Fixup::DropRows(name, rows) => drop_rows(tensors, name, *rows),
            Fixup::Rename { when, pairs } => rename(tensors, when, pairs),
            Fixup::Transpose(_)
            | Fixup::AddOne(_)
            | Fixup::GatherQkv
            | Fixup::DropPositions
            | Fixup::TurnExperts
            | Fixup::GatherGateUp
            | Fixup::Correction
            | Fixup::EncoderAlone => {}
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

pub(super) fn each(
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

pub(super) fn transpose(stored: &Stored) -> Option<Stored> {
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
pub(super) fn named(tensors: &Tensors, part: &str) -> Vec<String> {
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
pub(super) fn vector(values: &[f32]) -> Stored {
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

/// The stacked matrices of experts, each turned.
pub(super) fn turn_experts(tensors: &mut Tensors) -> Result<()> {
    for (name, stored) in tensors.iter_mut() {
        let wanted = ["mlp.experts.gate_up", "mlp.experts.down"];
        if !part(name, "weight").is_some_and(|part| wanted.contains(&part)) {
            continue;
        }
        let &[count, width, rows] = stored.shape.as_slice() else { continue };
        let size = match count {
            0 => continue,
            _ => stored.bytes.len() / count,
        };
        let mut bytes = Vec::with_capacity(stored.bytes.len());
        for j in 0..count {
            let one = Stored {
                dtype: stored.dtype,
                shape: vec![width, rows],
                bytes: stored.bytes.slice(j * size..(j + 1) * size),
            };
            let turned = transpose(&one).ok_or_else(|| Error::Unsupported {
                what: format!("`{name}` stored as {}", stored.dtype),
                known: "F32, F16, BF16".to_string(),
            })?;
            bytes.extend_from_slice(&turned.bytes);
        }
        stored.shape = vec![count, rows, width];
        stored.bytes = bytes.into();
    }
    Ok(())
}

/// The numbers of four bits: a sign, two bits of exponent, one of fraction.
const FP4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Sixteen bytes of two such numbers each, in the order of the halves, and their scale.
fn fp4s(bytes: &[u8], scale: u8) -> impl Iterator<Item = [half::bf16; 2]> {
    // Powers of two; 255 is no number.
    let scale = match scale {
        255 => f64::NAN,
        scale => 2f64.powi(i32::from(scale) - 127),
    };
    let number = move |half: u8| half::bf16::from_f64(f64::from(FP4[usize::from(half)]) * scale);
    bytes.iter().map(move |byte| [number(byte & 15), number(byte >> 4)])
}

fn mxfp4(tensors: &mut Tensors) {
    // As GGUF has them: the scale, then bytes with the first 16 numbers in their low halves.
    for name in named(tensors, ".mlp.experts.") {
        let Some(stored) = tensors.get_mut(&name) else { continue };
        if stored.dtype != Dtype::Other("MXFP4") {
            continue;
        }
        let mut out = Vec::with_capacity(stored.bytes.len() * 4);
        for block in stored.bytes.chunks_exact(17) {
            let pairs: Vec<_> = fp4s(&block[1..], block[0]).collect();
            for side in [0, 1] {
                out.extend(pairs.iter().flat_map(|pair| pair[side].to_le_bytes()));
            }
        }
        stored.bytes = out.into();
        stored.dtype = Dtype::Weight(Format::BF16);
    }
    for name in named(tensors, ".mlp.experts.") {
        let Some(stem) = name.strip_suffix("_blocks.weight") else { continue };
        let others = format!("{stem}_scales.weight");
        let (Some(blocks), Some(scales)) = (tensors.get(&name), tensors.get(&others)) else {
            continue;
        };
        let bytes = Dtype::Other("U8");
        let &[count, rows, groups, 16] = blocks.shape.as_slice() else { continue };
        // Left in place when it does not fit: the report then names it.
        if blocks.dtype != bytes || scales.dtype != bytes || scales.shape != [count, rows, groups] {
            continue;
        }
        let mut out = Vec::with_capacity(blocks.bytes.len() * 4);
        for (block, scale) in blocks.bytes.chunks_exact(16).zip(scales.bytes.iter()) {
            out.extend(fp4s(block, *scale).flatten().flat_map(half::bf16::to_le_bytes));
        }
        let stored = Stored {
            dtype: Dtype::Weight(Format::BF16),
            shape: vec![count, rows, groups * 32],
            bytes: out.into(),
        };
        let ours = format!("{stem}.weight");
        tensors.remove(&name);
        tensors.remove(&others);
        tensors.insert(ours, stored);
    }
}

/// Even rows, then odd ones, of each expert.
fn gather_gate_up(tensors: &mut Tensors) {
    for part in [".mlp.experts.gate_up.", ".mlp.experts.gate_up_bias."] {
        for name in named(tensors, part) {
            let Some(stored) = tensors.get_mut(&name) else { continue };
            let (Some(&count), Some(&rows)) = (stored.shape.first(), stored.shape.get(1)) else {
                continue;
            };
            let all = count.saturating_mul(rows);
            // Left as it is when it does not fit: the report on shapes says what is wrong.
            if all == 0 || !stored.bytes.len().is_multiple_of(all) || !rows.is_multiple_of(2) {
                continue;
            }
            let row = stored.bytes.len() / all;
            let mut bytes = Vec::with_capacity(stored.bytes.len());
            for expert in stored.bytes.chunks_exact(rows * row) {
                for first in [0, 1] {
                    for i in (first..rows).step_by(2) {
                        bytes.extend_from_slice(&expert[i * row..(i + 1) * row]);
                    }
                }
            }
            stored.bytes = bytes.into();
        }
    }
}

fn split_latent(tensors: &mut Tensors, spec: &Spec) {
    let Some(latent) = spec.attention.latent else { return };
    let heads = spec.attention.heads;
    let (k, v) = (spec.attention.head_dim - latent.rotated, latent.value_dim);
    for name in named(tensors, ".attn.kv.") {
        let Some(stored) = tensors.get(&name).cloned() else { continue };
        let rows = heads * (k + v);
        // Left in place when it does not fit: the report then names it with its shape.
        if stored.shape.first() != Some(&rows) || !stored.bytes.len().is_multiple_of(rows.max(1)) {
            continue;
        }
        let row = stored.bytes.len() / rows;
        tensors.remove(&name);
        for (side, from, count) in [(".attn.k.", 0, k), (".attn.v.", k, v)] {
            let mut bytes = Vec::with_capacity(heads * count * row);
            for head in stored.bytes.chunks_exact((k + v) * row) {
                bytes.extend_from_slice(&head[from * row..(from + count) * row]);
            }
            let mut shape = stored.shape.clone();
            shape[0] = heads * count;
            let part = Stored { dtype: stored.dtype, shape, bytes: bytes.into() };
            tensors.insert(name.replace(".attn.kv.", side), part);
        }
    }
}

/// Keys and values of one head after another, as one matrix each.
fn unturn_keys(tensors: &mut Tensors) {
    for (part, ours) in [(".attn.k_turned.", ".attn.k."), (".attn.v_stacked.", ".attn.v.")] {
        for name in named(tensors, part) {
            let Some(stored) = tensors.get(&name) else { continue };
            // Left in place when it does not fit: the report then names it with its shape.
            let &[heads, rows, width] = stored.shape.as_slice() else { continue };
            let all = match stored.dtype {
                Dtype::Weight(format) if part == ".attn.k_turned." => {
                    turn_heads(format, &stored.bytes, [heads, rows, width])
                }
                _ => heads.checked_mul(rows).map(|all| Stored {
                    dtype: stored.dtype,
                    shape: vec![all, width],
                    bytes: stored.bytes.clone(),
                }),
            };
            if let Some(all) = all {
                tensors.remove(&name);
                tensors.insert(name.replace(part, ours), all);
            }
        }
    }
}

/// Matrices `[heads, rows, width]`, each turned, as `[heads * width, rows]`. Of blocks, whose numbers
/// stand together along a row, floats are made.
fn turn_heads(format: Format, bytes: &Bytes, [heads, rows, width]: [usize; 3]) -> Option<Stored> {
    let all = heads.checked_mul(width)?;
    if heads == 0 || !bytes.len().is_multiple_of(heads) {
        return None;
    }
    let mut out = Vec::new();
    let mut dtype = Dtype::Weight(format);
    for head in bytes.chunks_exact(bytes.len() / heads) {
        let one = match format.block() {
            1 => Stored { dtype, shape: vec![rows, width], bytes: Bytes::copy_from_slice(head) },
            _ => {
                let count = rows.checked_mul(width)?;
                if format.row_bytes(count) != Some(head.len()) {
                    return None;
                }
                let mut values = vec![0.0; count];
                ggml::dequantize(format, head, &mut values);
                dtype = Dtype::Weight(Format::F32);
                Stored { shape: vec![rows, width], ..vector(&values) }
            }
        };
        out.extend_from_slice(&transpose(&one)?.bytes);
    }
    Some(Stored { dtype, shape: vec![all, rows], bytes: out.into() })
}

fn unstack(tensors: &mut Tensors) {
    for name in named(tensors, ".mlp.experts.") {
        if let Some(stem) = name.strip_suffix("_bias.weight")
            && let Some(stored) = tensors.remove(&name)
        {
            tensors.insert(format!("{stem}.bias"), stored);
        }
    }
    let sides: [(&str, &[&str]); 4] = [
        (".mlp.experts.gate.", &["gate"]),
        (".mlp.experts.up.", &["up"]),
        (".mlp.experts.down.", &["down"]),
        (".mlp.experts.gate_up.", &["gate", "up"]),
    ];
    for (stack, parts) in sides {
        for name in named(tensors, stack) {
            let Some(stored) = tensors.get(&name).cloned() else { continue };
            let (count, rows, width) = match *stored.shape.as_slice() {
                [count, rows, width] => (count, rows, Some(width)),
                [count, rows] if name.ends_with(".bias") => (count, rows, None),
                _ => continue,
            };
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
                let shape = std::iter::once(rows / parts.len()).chain(width).collect();
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

fn tables(tensors: &mut Tensors, spec: &Spec) {
    let (own, twin, encoder) =
        ("embed.tokens.weight", "embed.twin.weight", "encoder.embed.tokens.weight");
    let shared = spec.encoder.as_ref().is_some_and(|encoder| encoder.embed.shared);
    let twin = tensors.remove(twin);
    let others = match shared {
        true => [twin, tensors.remove(encoder)],
        false => [twin, None],
    };
    if let Some(table) = others.into_iter().flatten().next() {
        tensors.entry(own.to_string()).or_insert(table);
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
