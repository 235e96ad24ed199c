//! Falcon (arXiv:2311.16867): attention and MLP side by side, few key heads, and queries, keys and
//! values in one matrix by group; the 1B models with ALiBi and one after the other.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["falcon"],
    gguf: &["falcon"],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: &[
        Fixup::GatherQkv,
        Fixup::SplitQkv,
        // GGUF calls the MLP's norm the first where there are two.
        Fixup::Rename { when: "attn_norm_2", pairs: SECOND },
    ],
    ignored: &[],
};

const SECOND: &[(&str, &str)] = &[("attn_norm", "mlp_norm"), ("attn_norm_2", "attn_norm")];

const NAMES: Names = &[
    ("word_embeddings", "embed.tokens"),
    ("h.{i}.input_layernorm", "blocks.{i}.attn_norm"),
    ("h.{i}.ln_attn", "blocks.{i}.attn_norm"),
    ("h.{i}.self_attention.query_key_value", "blocks.{i}.attn.qkv"),
    ("h.{i}.self_attention.dense", "blocks.{i}.attn.out"),
    ("h.{i}.post_attention_layernorm", "blocks.{i}.mlp_norm"),
    ("h.{i}.ln_mlp", "blocks.{i}.mlp_norm"),
    ("h.{i}.mlp.dense_h_to_4h", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.dense_4h_to_h", "blocks.{i}.mlp.down"),
    ("ln_f", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = gpt2::blocks(config, gpt2::Defaults { window: 2048, activation: Activation::Gelu })?;
    let flag = |key: &str, default: bool| Ok(config.bool(key)?.unwrap_or(default));
    let grouped: bool = flag("new_decoder_architecture", false)?;
    let bias = match config.bool("bias")? {
        Some(bias) => bias,
        None => config.has("blocks.0.attn.out.bias"),
    };
    let said = config.usize("num_key_value_heads")?;
    let kv_heads = match grouped || config.is_gguf() {
        true => said.unwrap_or(if config.is_gguf() { 1 } else { base.attention.heads }),
        false if flag("multi_query", true)? => 1,
        false => base.attention.heads,
    };
    let own = config.has("blocks.0.mlp_norm.weight") || config.has("blocks.0.attn_norm_2.weight");
    let parallel = grouped || flag("parallel_attn", true)?;
    let position = match flag("alibi", false)? {
        // Distance is added before scores are scaled.
        true => Position::Alibi { scale: base.attention.scale },
        false => Position::Rope(rope(config, base.attention.head_dim, None, 10_000.0)?),
    };
    Ok(Spec {
        position,
        attention: Attention { kv_heads, qkv_bias: bias, out_bias: bias, ..base.attention },
        mlp: Mlp::Plain {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::Gelu)?,
            bias,
        },
        place: if parallel { Place::Parallel { shared: !own } } else { Place::Before },
        ..base
    })
}
