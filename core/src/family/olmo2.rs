//! OLMo 2 (arXiv:2501.00656): norms between a part and its residual, and over whole queries and
//! keys.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["olmo2"],
    gguf: &["olmo2"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, qwen3::NAMES, llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.attn_post_norm"),
    ("layers.{i}.post_feedforward_layernorm", "blocks.{i}.mlp_post_norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let norm = Norm::Rms { eps: config.f64("rms_norm_eps")?.unwrap_or(1e-5) };
    Ok(Spec {
        attention: Attention { qk_norm: Some(QkNorm::Whole(norm)), ..base.attention },
        norm,
        place: Place::Inside,
        ..base
    })
}
