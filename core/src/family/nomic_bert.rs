//! NomicBERT (arXiv:2402.01613): BERT with rotary positions and a gated MLP, without biases. Read
//! with the names of the published checkpoints and of transformers.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["nomic_bert"],
    gguf: &["nomic-bert"],
    spec,
    prefixes: &["nomic_bert.", "bert."],
    tensors: &[NAMES, bert::HEADS],
    fixups: &[Fixup::SplitQkv, Fixup::WordsBias],
    ignored: &[],
};

const NAMES: Names = &[
    ("embeddings.word_embeddings", "embed.tokens"),
    ("embeddings.token_type_embeddings", "embed.types"),
    ("embeddings.LayerNorm", "embed.norm"),
    ("emb_ln", "embed.norm"),
    ("layers.{i}.self_attn.q_proj", "blocks.{i}.attn.q"),
    ("layers.{i}.self_attn.k_proj", "blocks.{i}.attn.k"),
    ("layers.{i}.self_attn.v_proj", "blocks.{i}.attn.v"),
    ("layers.{i}.self_attn.o_proj", "blocks.{i}.attn.out"),
    ("encoder.layers.{i}.attn.Wqkv", "blocks.{i}.attn.qkv"),
    ("encoder.layers.{i}.attn.out_proj", "blocks.{i}.attn.out"),
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.attn_norm"),
    ("encoder.layers.{i}.norm1", "blocks.{i}.attn_norm"),
    ("layers.{i}.mlp.gate_proj", "blocks.{i}.mlp.gate"),
    ("layers.{i}.mlp.up_proj", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.down_proj", "blocks.{i}.mlp.down"),
    ("encoder.layers.{i}.mlp.fc12", "blocks.{i}.mlp.gate"),
    ("encoder.layers.{i}.mlp.fc11", "blocks.{i}.mlp.up"),
    ("encoder.layers.{i}.mlp.fc2", "blocks.{i}.mlp.down"),
    ("layers.{i}.post_mlp_layernorm", "blocks.{i}.mlp_norm"),
    ("encoder.layers.{i}.norm2", "blocks.{i}.mlp_norm"),
    ("pooler.dense", "pooler"),
    ("cls.predictions.transform.layer_norm", "heads.words.norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    // The published config calls the whole gated MLP an activation.
    let gated = config.string("hidden_act")? == Some("swiglu");
    let silu = if gated { config.with("hidden_act", "silu") } else { config.clone() };
    let config = &silu.with_default("hidden_act", "silu");
    for (key, wanted) in [
        ("prenorm", false),
        ("qkv_proj_bias", false),
        ("mlp_fc1_bias", false),
        ("mlp_fc2_bias", false),
        ("rotary_emb_interleaved", false),
        ("parallel_block", false),
    ] {
        if config.bool(key)?.is_some_and(|value| value != wanted) {
            return Err(unknown(key, &(!wanted).to_string(), &[&wanted.to_string()]));
        }
    }
    if let Some(experts) = config.usize("num_experts")?
        && experts > 0
    {
        return Err(unknown("num_experts", &experts.to_string(), &["0"]));
    }
    let base = bert::blocks(config)?;
    let rotated = rope(config, base.attention.head_dim, None, 1000.0)?;
    let activation = activation(config, Activation::Silu)?;
    let base = Spec {
        position: Position::Rope(rotated),
        attention: Attention { qkv_bias: false, out_bias: false, ..base.attention },
        mlp: Mlp::Gated { ffn: base.mlp.ffn(), activation, bias: false, down_bias: false },
        ..base
    };
    Ok(Spec { head: Heads::new(&base, activation).of(config, &base)?, ..base })
}
