//! GPT-NeoX and Pythia (arXiv:2204.06745, arXiv:2304.01373): attention and MLP side by side, each
//! under its norm, a part of each head rotated, queries, keys and values in one matrix by head.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gpt_neox"],
    gguf: &["gptneox"],
    spec,
    prefixes: &["gpt_neox."],
    tensors: &[NAMES],
    fixups: &[Fixup::GatherQkv, Fixup::SplitQkv],
    // The causal mask and the rotation that old checkpoints carry as weights.
    ignored: &[
        "layers.{i}.attention.bias",
        "layers.{i}.attention.masked_bias",
        "layers.{i}.attention.rotary_emb.inv_freq",
    ],
};

const NAMES: Names = &[
    ("embed_in", "embed.tokens"),
    ("layers.{i}.input_layernorm", "blocks.{i}.attn_norm"),
    ("layers.{i}.attention.query_key_value", "blocks.{i}.attn.qkv"),
    ("layers.{i}.attention.dense", "blocks.{i}.attn.out"),
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.mlp_norm"),
    ("layers.{i}.mlp.dense_h_to_4h", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.dense_4h_to_h", "blocks.{i}.mlp.down"),
    ("final_layer_norm", "norm"),
    ("embed_out", "head"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let config = &config.with_default("partial_rotary_factor", 0.25);
    let base = gpt2::blocks(config, gpt2::Defaults { window: 2048, activation: Activation::Gelu })?;
    let bias = config.bool("attention_bias")?.unwrap_or(true);
    let parallel = config.bool("use_parallel_residual")?.unwrap_or(true);
    Ok(Spec {
        position: Position::Rope(rope(config, base.attention.head_dim, None, 10_000.0)?),
        attention: Attention { qkv_bias: bias, out_bias: bias, ..base.attention },
        place: if parallel { Place::Parallel { shared: false } } else { Place::Before },
        ..base
    })
}
