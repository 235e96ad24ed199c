//! BLOOM (arXiv:2211.05100): ALiBi, a norm over the embeddings, queries, keys and values in one
//! matrix by head.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["bloom"],
    gguf: &["bloom"],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: &[Fixup::GatherQkv, Fixup::SplitQkv],
    ignored: &[],
};

const NAMES: Names = &[
    ("word_embeddings", "embed.tokens"),
    ("word_embeddings_layernorm", "embed.norm"),
    ("h.{i}.input_layernorm", "blocks.{i}.attn_norm"),
    ("h.{i}.self_attention.query_key_value", "blocks.{i}.attn.qkv"),
    ("h.{i}.self_attention.dense", "blocks.{i}.attn.out"),
    ("h.{i}.post_attention_layernorm", "blocks.{i}.mlp_norm"),
    ("h.{i}.mlp.dense_h_to_4h", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.dense_4h_to_h", "blocks.{i}.mlp.down"),
    ("ln_f", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let defaults = gpt2::Defaults { window: 2048, activation: Activation::GeluTanh };
    let base = gpt2::blocks(config, defaults)?;
    let key = "apply_residual_connection_post_layernorm";
    if config.bool(key)? == Some(true) {
        return Err(unknown(key, "true", &["false"]));
    }
    Ok(Spec {
        embed: Embed { norm: true, ..base.embed },
        position: Position::Alibi { scale: 1.0 },
        ..base
    })
}
