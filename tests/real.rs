//! The real GGUF files: next-token distributions against transformers on the same weights in
//! float32, on CPU and GPU.
//!
//! `tests/golden/record/record_real.py` recorded the 512 largest logits of each prompt and the log of the
//! sum over the whole vocabulary. What is left of the sum is one more outcome; the divergence over
//! these 513 outcomes is a lower bound of the whole one, which `tests/golden/record/compare.py` computes
//! from full logits.

use emberform::Device;
use emberform_tests::{arg_max, model, open, recorded, reference, software_gpu};

fn divergence(file: &str, recording: &str, device: &Device, prompts: usize) {
    let tensors = recorded(&reference(recording));
    let (lengths, ids) = (tensors["lengths"].ids(), tensors["prompts"].ids());
    let longest = tensors["prompts"].shape[1];
    let count = tensors["top_ids"].shape[1];
    let (top_ids, top_logits) = (tensors["top_ids"].ids(), tensors["top_logits"].f32());
    let sums = tensors["logsumexp"].f32();
    let model = open(&model(file), device);
    let (mut worst, mut total) = (0f64, 0f64);
    for (p, length) in lengths.iter().enumerate().take(prompts) {
        let prompt = &ids[p * longest..p * longest + *length as usize];
        let mut session = model.session().expect("a session");
        session.feed(prompt).expect("a prompt");
        let logits = session.logits();
        let peak = f64::from(logits[arg_max(logits)]);
        let sum = peak + logits.iter().map(|l| (f64::from(*l) - peak).exp()).sum::<f64>().ln();
        let (mut kl, mut rest, mut rest_found) = (0f64, 1f64, 1f64);
        let span = p * count..(p + 1) * count;
        for (id, wanted) in top_ids[span.clone()].iter().zip(&top_logits[span.clone()]) {
            let wanted = f64::from(*wanted) - f64::from(sums[p]);
            let found = f64::from(logits[*id as usize]) - sum;
            kl += wanted.exp() * (wanted - found);
            rest -= wanted.exp();
            rest_found -= found.exp();
        }
        if rest > 1e-9 && rest_found > 1e-9 {
            kl += rest * (rest.ln() - rest_found.ln());
        }
        let margin = top_logits[span.start] - top_logits[span.start + 1];
        if margin > 0.02 {
            assert_eq!(
                arg_max(logits),
                top_ids[span.start] as usize,
                "prompt {p}, margin {margin}"
            );
        }
        assert!(kl <= 1e-4, "prompt {p} of {length} tokens on {device}: divergence {kl:e}");
        worst = worst.max(kl);
        total += kl;
    }
    println!(
        "{file} on {device}: divergence at most {worst:.1e}, mean {:.1e}",
        total / prompts as f64
    );
}

#[test]
fn gemma_on_the_cpu() {
    divergence("gemma3-270m-q4_k_m.gguf", "real/gemma3-270m.safetensors", &Device::Cpu, 40);
}

#[test]
fn qwen_on_the_cpu() {
    divergence(
        "qwen25-coder-0.5b-q4_k_m.gguf",
        "real/qwen25-coder-0.5b.safetensors",
        &Device::Cpu,
        40,
    );
}

/// Fewer prompts: a software GPU is slow.
#[test]
fn gemma_on_the_gpu() {
    divergence("gemma3-270m-q4_k_m.gguf", "real/gemma3-270m.safetensors", &software_gpu(), 6);
}

#[test]
fn qwen_on_the_gpu() {
    divergence(
        "qwen25-coder-0.5b-q4_k_m.gguf",
        "real/qwen25-coder-0.5b.safetensors",
        &software_gpu(),
        4,
    );
}
