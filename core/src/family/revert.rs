//! Fix-ups undone: weights as a Hugging Face folder of the family holds them, to be saved.

use std::collections::BTreeMap;

use super::fixup::{Fixup, each, named, transpose, turn_experts, vector};
use crate::error::{Error, Result};
use crate::load::{Dtype, Stored, Tensors};
use crate::nn::Spec;
use crate::quant::Format;

/// The shapes that the checkpoint had, under our names before its fix-ups.
pub(crate) type StoredShapes = BTreeMap<String, Vec<usize>>;

impl Fixup {
    /// Undoes [`apply`](Self::apply) for a folder whose tensors had these shapes. What does not fit
    /// stays as it is: its name and shape then differ from what was found.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for numbers that the checkpoint's way of storing cannot hold.
    pub(crate) fn revert(
        &self,
        tensors: &mut Tensors,
        found: &StoredShapes,
        spec: &Spec,
    ) -> Result<()> {
        match self {
            Fixup::Transpose(names) => each(tensors, names, "weight", transpose)?,
            Fixup::AddOne(names) => each(tensors, names, "weight", less_one)?,
            Fixup::SplitQkv => {
                fuse(tensors, found, ".attn.qkv.", &[".attn.q.", ".attn.k.", ".attn.v."]);
            }
            Fixup::SplitGateUp => {
                fuse(tensors, found, ".mlp.gate_up.", &[".mlp.gate.", ".mlp.up."]);
            }
            Fixup::SplitUpGate => {
                fuse(tensors, found, ".mlp.up_gate.", &[".mlp.up.", ".mlp.gate."]);
            }
            Fixup::GatherQkv => scatter_qkv(tensors, spec),
            Fixup::WordsBias => {
                put_back(tensors, found, "heads.words.out.bias", &["heads.words.own.bias"]);
            }
            Fixup::DropPositions => pad_rows(tensors, found, "embed.positions.weight"),
            Fixup::DropRows(name, _) => pad_rows(tensors, found, &format!("{name}.weight")),
            Fixup::Join(parts) => part(tensors, found, parts),
            Fixup::Flatten(_) | Fixup::Row(_) => {
                for (name, stored) in tensors.iter_mut() {
                    let count = |shape: &[usize]| shape.iter().product::<usize>();
                    if let Some(shape) = found.get(name)
                        && shape.len() != stored.shape.len()
                        && count(shape) == count(&stored.shape)
                    {
                        stored.shape = shape.clone();
                    }
                }
            }
            Fixup::Unstack => stack(tensors, found),
            Fixup::TurnExperts => turn_experts(tensors)?,
            Fixup::Mxfp4 => to_mxfp4(tensors, found)?,
            Fixup::GatherGateUp => scatter_gate_up(tensors),
            Fixup::SplitLatent => fuse_latent(tensors, found, spec),
            Fixup::Tables => tables(tensors, found, spec),
            Fixup::EncoderAlone if spec.encoder.is_none() => {
                for name in found.keys() {
                    if let Some(ours) = name.strip_prefix("encoder.") {
                        put_back(tensors, found, ours, &[name]);
                    }
                }
            }
            Fixup::EncoderAlone | Fixup::Correction => {}
            Fixup::LogitsBias => {
                let own = "head.own.weight";
                put_back(tensors, found, "head.bias", &[own]);
                if let (Some(stored), Some([1, _])) =
                    (tensors.get_mut(own), found.get(own).map(Vec::as_slice))
                {
                    stored.shape.insert(0, 1);
                }
            }
            Fixup::Rename { when, pairs } => {
                if found.keys().any(|name| name.contains(&format!(".{when}."))) {
                    for (from, to) in pairs.iter().rev() {
                        for name in named(tensors, &format!(".{to}.")) {
                            if let Some(stored) = tensors.remove(&name) {
                                let name = name.replace(&format!(".{to}."), &format!(".{from}."));
                                tensors.insert(name, stored);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn less_one(stored: &Stored) -> Option<Stored> {
    let values: Vec<f32> = stored.floats()?.into_iter().map(|x| x - 1.0).collect();
    Some(Stored { shape: stored.shape.clone(), ..vector(&values) })
}

/// Tensors as one, row after row; in floats where they are stored differently.
fn joined(parts: &[Stored]) -> Option<Stored> {
    let first = parts.first()?;
    let rows = parts.iter().map(|part| part.shape.first()).sum::<Option<usize>>()?;
    let mut shape = first.shape.clone();
    shape[0] = rows;
    if parts.iter().all(|part| part.dtype == first.dtype) {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes.iter().copied()).collect();
        return Some(Stored { dtype: first.dtype, shape, bytes: bytes.into() });
    }
    let mut values = Vec::new();
    for part in parts {
        values.extend(part.floats()?);
    }
    Some(Stored { shape, ..vector(&values) })
}

/// Takes tensors out, if all are there.
fn taken(tensors: &mut Tensors, names: &[String]) -> Option<Vec<Stored>> {
    names
        .iter()
        .all(|name| tensors.contains_key(name))
        .then(|| names.iter().filter_map(|name| tensors.remove(name)).collect())
}

/// Puts a tensor under these names as well where the checkpoint had them, and leaves it under its own
/// only where that was there, too.
fn put_back(tensors: &mut Tensors, found: &StoredShapes, ours: &str, others: &[&str]) {
    let others = others.iter().filter(|name| found.contains_key(**name));
    let names: Vec<&str> = others.copied().collect();
    let Some(stored) = tensors.get(ours).cloned().filter(|_| !names.is_empty()) else { return };
    if !found.contains_key(ours) {
        tensors.remove(ours);
    }
    for name in names {
        tensors.insert(name.to_string(), stored.clone());
    }
}

fn tables(tensors: &mut Tensors, found: &StoredShapes, spec: &Spec) {
    let shared = spec.encoder.as_ref().is_some_and(|encoder| encoder.embed.shared);
    let others = ["embed.twin.weight", "encoder.embed.tokens.weight"];
    let others = if shared { &others[..] } else { &others[..1] };
    put_back(tensors, found, "embed.tokens.weight", others);
}

fn fuse(tensors: &mut Tensors, found: &StoredShapes, whole: &str, sides: &[&str]) {
    for name in found.keys().filter(|name| name.contains(whole)) {
        let names: Vec<String> = sides.iter().map(|side| name.replace(whole, side)).collect();
        if let Some(fused) = taken(tensors, &names).and_then(|parts| joined(&parts)) {
            tensors.insert(name.clone(), fused);
        }
    }
}

fn scatter_qkv(tensors: &mut Tensors, spec: &Spec) {
    let attention = &spec.attention;
    let (kv, head_dim) = (attention.kv_heads, attention.head_dim);
    let each = attention.heads / kv; // query heads of a key head
    let rows = (attention.heads + 2 * kv) * head_dim;
    for name in named(tensors, ".attn.qkv.") {
        let Some(stored) = tensors.get_mut(&name) else { continue };
        if stored.shape.first() != Some(&rows) || !stored.bytes.len().is_multiple_of(rows.max(1)) {
            continue;
        }
        let head = stored.bytes.len() / rows.max(1) * head_dim;
        let mut bytes = Vec::with_capacity(stored.bytes.len());
        for group in 0..kv {
            let own = group * each..(group + 1) * each;
            let (key, value) = (attention.heads + group, attention.heads + kv + group);
            for part in [own, key..key + 1, value..value + 1] {
                bytes.extend_from_slice(&stored.bytes[part.start * head..part.end * head]);
            }
        }
        stored.bytes = bytes.into();
    }
}

/// Rows that no token has: zeros.
fn pad_rows(tensors: &mut Tensors, found: &StoredShapes, name: &str) {
    let (Some(stored), Some(shape)) = (tensors.get_mut(name), found.get(name)) else { return };
    let (Some(&rows), Some(&wanted)) = (stored.shape.first(), shape.first()) else { return };
    if rows == 0 || wanted <= rows {
        return;
    }
    let row = stored.bytes.len() / rows;
    let mut bytes = vec![0; (wanted - rows) * row];
    bytes.extend_from_slice(&stored.bytes);
    stored.bytes = bytes.into();
    stored.shape[0] = wanted;
}

/// Vectors that were joined, one by one again.
fn part(tensors: &mut Tensors, found: &StoredShapes, parts: &[&str]) {
    for part in parts {
        for first in found.keys().filter(|name| name.contains(&format!(".{part}.0."))) {
            let Some((stem, suffix)) = first.rsplit_once(".0.") else { continue };
            let whole = format!("{stem}.{suffix}");
            let Some(values) = tensors.get(&whole).and_then(Stored::floats) else { continue };
            let mut rest = &values[..];
            for j in 0.. {
                let name = format!("{stem}.{j}.{suffix}");
                let Some(count) = found.get(&name).map(|shape| shape.iter().product()) else {
                    break;
                };
                let Some((own, after)) = rest.split_at_checked(count) else { break };
                rest = after;
                tensors.insert(name, vector(own));
            }
            tensors.remove(&whole);
        }
    }
}

fn stack(tensors: &mut Tensors, found: &StoredShapes) {
    let sides: [(&str, &[&str]); 4] = [
        (".mlp.experts.gate.", &["gate"]),
        (".mlp.experts.up.", &["up"]),
        (".mlp.experts.down.", &["down"]),
        (".mlp.experts.gate_up.", &["gate", "up"]),
    ];
    for (name, shape) in found.iter().filter(|(name, _)| name.contains(".mlp.experts.")) {
        // Where it stood before it was taken apart, and what is called so there.
        let (stacked, plain) = match name.strip_suffix(".weight") {
            Some(stem) => match (stem.strip_suffix("_bias"), stem.strip_suffix("_blocks")) {
                (Some(stem), _) => (name.clone(), format!("{stem}.bias")),
                (_, Some(stem)) => (format!("{stem}.weight"), format!("{stem}.weight")),
                _ => (name.clone(), name.clone()),
            },
            None => (name.clone(), name.clone()),
        };
        let side = sides.iter().find(|(whole, _)| plain.contains(whole));
        let (Some((whole, parts)), Some(&count)) = (side, shape.first()) else { continue };
        if count > tensors.len() {
            continue;
        }
        let one = |j: usize, part: &str| plain.replace(whole, &format!(".mlp.experts.{j}.{part}."));
        let names: Vec<String> =
            (0..count).flat_map(|j| parts.iter().map(move |part| one(j, part))).collect();
        if let Some(mut all) = taken(tensors, &names).and_then(|parts| joined(&parts)) {
            all.shape[0] /= count.max(1);
            all.shape.insert(0, count);
            tensors.insert(stacked, all);
        }
    }
}

/// Rows of gate and up in turn.
fn scatter_gate_up(tensors: &mut Tensors) {
    for part in [".mlp.experts.gate_up.", ".mlp.experts.gate_up_bias."] {
        for name in named(tensors, part) {
            let Some(stored) = tensors.get_mut(&name) else { continue };
            let (Some(&count), Some(&rows)) = (stored.shape.first(), stored.shape.get(1)) else {
                continue;
            };
            let all = count.saturating_mul(rows);
            if all == 0 || !stored.bytes.len().is_multiple_of(all) || !rows.is_multiple_of(2) {
                continue;
            }
            let row = stored.bytes.len() / all;
            let mut bytes = Vec::with_capacity(stored.bytes.len());
            for expert in stored.bytes.chunks_exact(rows * row) {
                let (gate, up) = expert.split_at(rows / 2 * row);
                for (gate, up) in gate.chunks_exact(row).zip(up.chunks_exact(row)) {
                    bytes.extend_from_slice(gate);
                    bytes.extend_from_slice(up);
                }
            }
            stored.bytes = bytes.into();
        }
    }
}

fn fuse_latent(tensors: &mut Tensors, found: &StoredShapes, spec: &Spec) {
    let Some(latent) = spec.attention.latent else { return };
    let heads = spec.attention.heads;
    let k = spec.attention.head_dim.saturating_sub(latent.rotated);
    let rows = [heads * k, heads * latent.value_dim];
    for name in found.keys().filter(|name| name.contains(".attn.kv.")) {
        let names = [".attn.k.", ".attn.v."].map(|side| name.replace(".attn.kv.", side));
        let sides = names.each_ref().map(|name| tensors.get(name));
        let [Some(keys), Some(values)] = sides else { continue };
        let fits = |stored: &Stored, rows: usize| {
            stored.shape.first() == Some(&rows) && stored.bytes.len().is_multiple_of(rows.max(1))
        };
        let same = keys.dtype == values.dtype && keys.shape.get(1..) == values.shape.get(1..);
        if !same || rows.contains(&0) || !fits(keys, rows[0]) || !fits(values, rows[1]) {
            continue;
        }
        let sizes = [keys.bytes.len() / heads, values.bytes.len() / heads];
        let mut bytes = Vec::with_capacity(keys.bytes.len() + values.bytes.len());
        let heads_of = keys.bytes.chunks_exact(sizes[0]).zip(values.bytes.chunks_exact(sizes[1]));
        for (keys, values) in heads_of {
            bytes.extend_from_slice(keys);
            bytes.extend_from_slice(values);
        }
        let mut shape = keys.shape.clone();
        shape[0] = rows[0] + rows[1];
        let fused = Stored { dtype: keys.dtype, shape, bytes: bytes.into() };
        for name in &names {
            tensors.remove(name);
        }
        tensors.insert(name.clone(), fused);
    }
}

/// Matrices of experts as 4-bit floats again, each number exactly as it was.
fn to_mxfp4(tensors: &mut Tensors, found: &StoredShapes) -> Result<()> {
    for name in found.keys().filter(|name| name.contains(".mlp.experts.")) {
        let Some(stem) = name.strip_suffix("_blocks.weight") else { continue };
        let ours = format!("{stem}.weight");
        let Some(stored) = tensors.get(&ours) else { continue };
        let packed = match (stored.dtype, stored.shape.as_slice()) {
            (Dtype::Weight(Format::BF16), &[count, rows, width]) if width.is_multiple_of(32) => {
                let blocks: Option<Vec<_>> =
                    stored.bytes.chunks_exact(64).map(to_fp4_block).collect();
                blocks.map(|blocks| (blocks, [count, rows, width / 32]))
            }
            _ => None,
        };
        let Some((blocks, [count, rows, groups])) = packed else {
            return Err(Error::Unsupported {
                what: format!(
                    "a way to save `{ours}`, whose numbers are no 4-bit floats any more,"
                ),
                known: "MXFP4, as the checkpoint has it".to_string(),
            });
        };
        let dtype = Dtype::Other("U8");
        let scales: Vec<u8> = blocks.iter().map(|(scale, _)| *scale).collect();
        let pairs: Vec<u8> = blocks.iter().flat_map(|(_, pairs)| *pairs).collect();
        tensors.remove(&ours);
        let shape = vec![count, rows, groups, 16];
        tensors.insert(name.clone(), Stored { dtype, shape, bytes: pairs.into() });
        let shape = vec![count, rows, groups];
        let scales = Stored { dtype, shape, bytes: scales.into() };
        tensors.insert(format!("{stem}_scales.weight"), scales);
    }
    Ok(())
}

/// The scale and the pairs of 32 bfloat16 numbers; `None` where they are no 4-bit floats.
fn to_fp4_block(bytes: &[u8]) -> Option<(u8, [u8; 16])> {
    let number = |pair: &[u8]| f64::from(half::bf16::from_le_bytes([pair[0], pair[1]]).to_f32());
    let values: Vec<f64> = bytes.chunks_exact(2).map(number).collect();
    if values.iter().all(|value| value.is_nan()) {
        return Some((255, [0; 16]));
    }
    let most = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if most.is_infinite() {
        return None;
    }
    // The largest number of a block is 0.5 to 6 times its scale.
    let top = match most {
        0.0 => 0,
        most => most.log2().floor() as i32,
    };
    (top - 2..=top + 1).find_map(|exponent| {
        let scale = u8::try_from(exponent + 127).ok().filter(|scale| *scale < 255)?;
        let mut pairs = [0; 16];
        for (i, value) in values.iter().enumerate() {
            let halves = value.abs() * 2f64.powi(1 - exponent);
            let code =
                [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0].iter().position(|x| *x == halves)?;
            let sign = u8::from(value.is_sign_negative()) << 3;
            pairs[i / 2] |= (code as u8 | sign) << (4 * (i % 2));
        }
        Some((scale, pairs))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bit_floats_come_back() {
        let bytes = |values: &[f32]| -> Vec<u8> {
            values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect()
        };
        let steps = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        let all: Vec<f32> = steps.iter().flat_map(|x| [*x, -x]).cycle().take(32).collect();
        for exponent in [-127, -60, 0, 3, 125] {
            let values: Vec<f32> = all.iter().map(|x| x * 2f32.powi(exponent)).collect();
            let (scale, pairs) = to_fp4_block(&bytes(&values)).unwrap();
            assert_eq!(i32::from(scale) - 127, exponent);
            // 0 and -0, 0.5 and -0.5, 1 and -1: the first in the lower half.
            assert_eq!(pairs[..3], [0x80, 0x91, 0xa2]);
        }
        // A small largest number needs a scale of its own.
        let mut values = vec![0.0; 32];
        values[31] = 0.5;
        let (scale, pairs) = to_fp4_block(&bytes(&values)).unwrap();
        assert_eq!((scale, pairs[15]), (124, 0x60));
        assert_eq!(to_fp4_block(&bytes(&[f32::NAN; 32])), Some((255, [0; 16])));
        for wrong in [2.5, 7.0, 0.25, f32::INFINITY, f32::NAN] {
            values[..2].copy_from_slice(&[6.0, wrong]);
            assert_eq!(to_fp4_block(&bytes(&values)), None, "{wrong}");
        }
    }
}
