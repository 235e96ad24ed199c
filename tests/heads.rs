//! The heads of every encoder family: the logits that transformers computes, on CPU and GPU.
//!
//! `tests/golden/record/encoders.py` made the checkpoints. `families.rs` compares their hidden states.
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "a difference that is no number must fail")]

use burn::tensor::{Bool, Int, Tensor, TensorData};
use emberform::nn::spec::TaskKind;
use emberform_tests::{devices, difference, golden, open_exact, recorded};

/// Against the reference, which sums in another order.
const REFERENCE: f32 = 1e-4;

const KINDS: [(&str, TaskKind); 5] = [
    ("words", TaskKind::Words),
    ("classes", TaskKind::Classes),
    ("tokens", TaskKind::Tokens),
    ("bounds", TaskKind::Bounds),
    ("order", TaskKind::Order),
];

#[test]
fn heads_give_the_references_logits() {
    let mut failed = Vec::new();
    let mut seen = [0; KINDS.len()];
    for (device_name, device) in devices() {
        for entry in std::fs::read_dir(golden("")).expect("tests/golden/checkpoints") {
            let folder = entry.expect("an entry").path();
            let file = folder.join("expected.safetensors");
            if !file.exists() || !folder.join("model.safetensors").exists() {
                continue;
            }
            let tensors = recorded(&file);
            for (i, (key, kind)) in KINDS.into_iter().enumerate() {
                let (Some(wanted), Some(mask)) = (tensors.get(key), tensors.get("mask")) else {
                    continue;
                };
                seen[i] += 1;
                let name = folder.file_name().expect("a name").to_string_lossy();
                let model = open_exact(&folder, &device);
                let encoder = model.encoder().expect("an encoder");
                let on = &encoder.heads[0].bias.as_ref().map_or_else(
                    || match &encoder.heads[0].out {
                        Some(emberform::nn::Weight::Full(weight)) => weight.val().device(),
                        _ => encoder.transformer.blocks[0].mlp_norm.as_ref().map_or_else(
                            || panic!("{name} has no norm"),
                            |norm| norm.gamma.as_ref().expect("a scale").val().device(),
                        ),
                    },
                    |bias| bias.val().device(),
                );
                let [b, t] = mask.shape[..] else { panic!("[B, T]") };
                let mask = mask.i64();
                let ids = TensorData::new(tensors["ids"].i64(), [b, t]);
                let ids = Tensor::<2, Int>::from_data(ids.convert::<i32>(), on);
                let kept: Vec<bool> = mask.iter().map(|kept| *kept == 1).collect();
                let kept = Tensor::<2, Bool>::from_data(TensorData::new(kept, [b, t]), on);
                let hidden = encoder.forward(ids, None, Some(kept.clone()));
                let logits = encoder.logits(kind, hidden, Some(kept)).expect("a head");
                let [_, n, o] = logits.dims();
                let found = logits.into_data().try_into_vec::<f32>().expect("floats");
                let wanted = wanted.f32();
                assert_eq!(found.len(), wanted.len(), "{name}: {key}");
                let mut worst = 0f32;
                for (row, kept) in mask.iter().enumerate().take(b * n) {
                    if n == 1 || *kept == 1 {
                        let part = row * o..(row + 1) * o;
                        worst = worst.max(difference(&found[part.clone()], &wanted[part]));
                    }
                }
                println!("{name:26} {device_name:12} {key:7} {worst:.1e}");
                if !(worst <= REFERENCE) {
                    failed.push(format!("{name}, {key} on {device_name}: {worst}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "beyond {REFERENCE}: {failed:#?}");
    assert!(seen.iter().all(|count| *count >= 4), "too few recordings of a kind: {seen:?}");
}
