//! Phi-1, Phi-1.5 and Phi-2 (arXiv:2306.11644, arXiv:2309.05463): attention and MLP side by side
//! under one norm, a part of each head rotated, biases everywhere.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["phi"],
    gguf: &["phi2"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[Fixup::SplitQkv],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[
    ("layers.{i}.self_attn.dense", "blocks.{i}.attn.out"),
    ("layers.{i}.self_attn.q_layernorm", "blocks.{i}.attn.q_norm"),
    ("layers.{i}.self_attn.k_layernorm", "blocks.{i}.attn.k_norm"),
    ("layers.{i}.mlp.fc1", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.fc2", "blocks.{i}.mlp.down"),
    ("final_layernorm", "norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    let config = &config.with_default("partial_rotary_factor", 0.5);
    let base = llama::spec(config)?;
    let norm = layer_norm(config, true)?;
    let normed = config.bool("qk_layernorm")?.unwrap_or(false);
    Ok(Spec {
        attention: Attention {
            qkv_bias: true,
            out_bias: true,
            qk_norm: normed.then_some(QkNorm::Shared(norm)),
            ..base.attention
        },
        mlp: Mlp::Plain {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::GeluTanh)?,
            bias: true,
        },
        norm,
        place: Place::Parallel { shared: true },
        ..base
    })
}
