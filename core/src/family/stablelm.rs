//! StableLM (arXiv:2402.17834): Llama's block with layer norms and a part of each head rotated;
//! the 12B with attention and MLP side by side and norms on queries and keys.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["stablelm"],
    gguf: &["stablelm"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[
        Fixup::Join(&["attn.q_norm", "attn.k_norm"]),
        Fixup::Flatten(&["attn.q_norm", "attn.k_norm"]),
    ],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[
    ("layers.{i}.self_attn.q_layernorm.norms.{j}", "blocks.{i}.attn.q_norm.{j}"),
    ("layers.{i}.self_attn.k_layernorm.norms.{j}", "blocks.{i}.attn.k_norm.{j}"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let norm = layer_norm(config, true)?;
    let eps = norm.eps();
    let shared = match config.bool("use_parallel_residual")? {
        Some(shared) if !config.is_gguf() => shared,
        // Published GGUF files say it of models that are not.
        _ => !config.has("blocks.0.mlp_norm.weight"),
    };
    let normed = match config.bool("qk_layernorm")? {
        Some(normed) => normed,
        None => config.has("blocks.0.attn.q_norm.weight"),
    };
    let config = config.with_default("partial_rotary_factor", 0.25);
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(4096),
        position: Position::Rope(rope(&config, base.attention.head_dim, None, 10_000.0)?),
        attention: Attention {
            qkv_bias: match config.bool("use_qkv_bias")? {
                Some(bias) => bias,
                None => config.has("blocks.0.attn.q.bias"),
            },
            out_bias: false,
            qk_norm: normed.then_some(QkNorm::PerHead(Norm::Layer { eps, bias: false })),
            ..base.attention
        },
        norm,
        place: if shared { Place::Parallel { shared } } else { Place::Before },
        ..base
    })
}
