//! Command R and Aya (Cohere, 2024): attention and MLP side by side under one norm without bias,
//! scaled logits, rotated in adjacent pairs.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["cohere"],
    gguf: &["command-r"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[qwen3::NAMES, llama::NAMES],
    fixups: &[Fixup::Flatten(&["attn.q_norm", "attn.k_norm"])],
    ignored: llama::FAMILY.ignored,
};

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let norm = layer_norm(config, false)?;
    let normed = match config.bool("use_qk_norm")? {
        Some(normed) => normed,
        None => config.has("blocks.0.attn.q_norm.weight"),
    };
    let rope = rope(config, base.attention.head_dim, None, 500_000.0)?;
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(8192),
        position: Position::Rope(Rope { pairing: Pairing::Adjacent, ..rope }),
        attention: Attention { qk_norm: normed.then_some(QkNorm::PerHead(norm)), ..base.attention },
        norm,
        place: Place::Parallel { shared: true },
        scales: Scales {
            logits: Some(config.f64("logit_scale")?.unwrap_or(0.0625)),
            ..base.scales
        },
        ..base
    })
}
