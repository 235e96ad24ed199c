//! GTE (arXiv:2407.19669): BERT with rotary positions and a gated MLP. Read with the names of the
//! published checkpoints (`new`) and of transformers (`gte`).

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gte", "new"],
    gguf: &[],
    spec,
    prefixes: &["gte.", "new."],
    tensors: &[NAMES, roberta::HEADS],
    fixups: &[Fixup::SplitQkv, Fixup::SplitUpGate, Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

const NAMES: Names = &[
    ("embeddings.word_embeddings", "embed.tokens"),
    ("embeddings.token_type_embeddings", "embed.types"),
    ("embeddings.LayerNorm", "embed.norm"),
    ("layers.{i}.self_attn.q_proj", "blocks.{i}.attn.q"),
    ("layers.{i}.self_attn.k_proj", "blocks.{i}.attn.k"),
    ("layers.{i}.self_attn.v_proj", "blocks.{i}.attn.v"),
    ("layers.{i}.self_attn.o_proj", "blocks.{i}.attn.out"),
    ("encoder.layer.{i}.attention.qkv_proj", "blocks.{i}.attn.qkv"),
    ("encoder.layer.{i}.attention.o_proj", "blocks.{i}.attn.out"),
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.attn_norm"),
    ("encoder.layer.{i}.attn_ln", "blocks.{i}.attn_norm"),
    ("layers.{i}.mlp.gate_proj", "blocks.{i}.mlp.gate"),
    ("layers.{i}.mlp.up_proj", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.down_proj", "blocks.{i}.mlp.down"),
    ("encoder.layer.{i}.mlp.up_gate_proj", "blocks.{i}.mlp.up_gate"),
    ("encoder.layer.{i}.mlp.down_proj", "blocks.{i}.mlp.down"),
    ("layers.{i}.post_mlp_layernorm", "blocks.{i}.mlp_norm"),
    ("encoder.layer.{i}.mlp_ln", "blocks.{i}.mlp_norm"),
    ("pooler.dense", "pooler"),
    ("lm_head.norm", "heads.words.norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    if let Some(kind) = config.string("position_embedding_type")?
        && kind != "rope"
    {
        return Err(unknown("position embedding", kind, &["rope"]));
    }
    if let Some(kind) = config.string("layer_norm_type")?
        && kind != "layer_norm"
    {
        return Err(unknown("layer_norm_type", kind, &["layer_norm"]));
    }
    for key in ["logn_attention_scale", "pack_qkv"] {
        let wanted = key == "pack_qkv";
        if config.bool(key)?.is_some_and(|value| value != wanted) {
            return Err(unknown(key, &(!wanted).to_string(), &[&wanted.to_string()]));
        }
    }
    let base = bert::blocks(&config.with("position_embedding_type", "absolute"))?;
    let rotated = rope(config, base.attention.head_dim, None, 160_000.0)?;
    let base = Spec {
        position: Position::Rope(rotated),
        mlp: Mlp::Gated {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::Gelu)?,
            bias: false,
            down_bias: true,
        },
        ..base
    };
    Ok(Spec { head: Heads::new(&base, Activation::Gelu).of(config, &base)?, ..base })
}
