//! Qwen3 (arXiv:2505.09388): Qwen2's block with a norm on queries and keys instead of biases.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["qwen3"],
    gguf: &["qwen3"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

pub(super) const NAMES: Names = &[
    ("layers.{i}.self_attn.q_norm", "blocks.{i}.attn.q_norm"),
    ("layers.{i}.self_attn.k_norm", "blocks.{i}.attn.k_norm"),
];

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let base = qwen2::spec(&config.with_default("head_dim", 128))?;
    let bias = config.bool("attention_bias")?.unwrap_or(false);
    Ok(Spec {
        attention: Attention {
            qkv_bias: bias,
            out_bias: bias,
            qk_norm: Some(QkNorm::Shared(base.norm)),
            ..base.attention
        },
        ..base
    })
}
