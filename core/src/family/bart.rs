//! BART (arXiv:1910.13461): the encoder-decoder of 2017 with learned places, GELU and a norm over
//! the embeddings.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["bart"],
    gguf: &[],
    spec,
    prefixes: &["model."],
    tensors: &[NAMES],
    fixups: FIXUPS,
    ignored: &[],
};

/// The tables of places start with two rows that are never used.
pub(super) const FIXUPS: &[Fixup] = &[
    Fixup::Tables,
    Fixup::DropRows("embed.positions", 2),
    Fixup::DropRows("encoder.embed.positions", 2),
    Fixup::LogitsBias,
];

pub(super) const NAMES: Names = &[
    ("shared", "embed.tokens"),
    ("encoder.embed_tokens", "encoder.embed.tokens"),
    ("encoder.embed_positions", "encoder.embed.positions"),
    ("encoder.layernorm_embedding", "encoder.embed.norm"),
    ("encoder.layers.{i}.self_attn_layer_norm", "encoder.blocks.{i}.attn_norm"),
    ("encoder.layers.{i}.self_attn.q_proj", "encoder.blocks.{i}.attn.q"),
    ("encoder.layers.{i}.self_attn.k_proj", "encoder.blocks.{i}.attn.k"),
    ("encoder.layers.{i}.self_attn.v_proj", "encoder.blocks.{i}.attn.v"),
    ("encoder.layers.{i}.self_attn.out_proj", "encoder.blocks.{i}.attn.out"),
    ("encoder.layers.{i}.final_layer_norm", "encoder.blocks.{i}.mlp_norm"),
    ("encoder.layers.{i}.fc1", "encoder.blocks.{i}.mlp.up"),
    ("encoder.layers.{i}.fc2", "encoder.blocks.{i}.mlp.down"),
    ("encoder.layer_norm", "encoder.norm"),
    ("decoder.embed_tokens", "embed.twin"),
    ("decoder.embed_positions", "embed.positions"),
    ("decoder.layernorm_embedding", "embed.norm"),
    ("decoder.layers.{i}.self_attn_layer_norm", "blocks.{i}.attn_norm"),
    ("decoder.layers.{i}.self_attn.q_proj", "blocks.{i}.attn.q"),
    ("decoder.layers.{i}.self_attn.k_proj", "blocks.{i}.attn.k"),
    ("decoder.layers.{i}.self_attn.v_proj", "blocks.{i}.attn.v"),
    ("decoder.layers.{i}.self_attn.out_proj", "blocks.{i}.attn.out"),
    ("decoder.layers.{i}.encoder_attn_layer_norm", "blocks.{i}.cross_norm"),
    ("decoder.layers.{i}.encoder_attn.q_proj", "blocks.{i}.cross.q"),
    ("decoder.layers.{i}.encoder_attn.k_proj", "blocks.{i}.cross.k"),
    ("decoder.layers.{i}.encoder_attn.v_proj", "blocks.{i}.cross.v"),
    ("decoder.layers.{i}.encoder_attn.out_proj", "blocks.{i}.cross.out"),
    ("decoder.layers.{i}.final_layer_norm", "blocks.{i}.mlp_norm"),
    ("decoder.layers.{i}.fc1", "blocks.{i}.mlp.up"),
    ("decoder.layers.{i}.fc2", "blocks.{i}.mlp.down"),
    ("decoder.layer_norm", "norm"),
    ("lm_head", "head"),
    ("final_logits_bias", "head.own"),
];

fn spec(config: &Config) -> Result<Spec> {
    stacks(config, Activation::Gelu)
}

/// Both stacks: post-norm, places and norms as BART has them.
pub(super) fn stacks(config: &Config, default: Activation) -> Result<Spec> {
    let encoder = stack(config, "encoder", default)?;
    let decoder = stack(config, "decoder", default)?;
    let head = match config.bool("tie_word_embeddings")?.unwrap_or(true) {
        true => Head::Tied { bias: config.has("head.own.weight"), softcap: None },
        false => Head::Own { bias: config.has("head.own.weight"), softcap: None },
    };
    let encoder = Spec { embed: Embed { shared: true, ..encoder.embed }, ..encoder };
    Ok(Spec {
        layers: vec![Layer::new(Span::Causal); decoder.layers.len()],
        head,
        encoder: Some(Box::new(encoder)),
        ..decoder
    })
}

/// One of the stacks, without a head.
fn stack(config: &Config, side: &str, default: Activation) -> Result<Spec> {
    let own = |key: &str| format!("{side}_{key}");
    let need = |key: &str| config.need_usize(&own(key));
    let mut side = config.clone();
    for (key, value) in [
        ("num_hidden_layers", need("layers")?),
        ("num_attention_heads", need("attention_heads")?),
        ("intermediate_size", need("ffn_dim")?),
    ] {
        side = side.with(key, value);
    }
    let base = bert::blocks(&side)?;
    let scaled = config.bool("scale_embedding")?.unwrap_or(false);
    Ok(Spec {
        embed: Embed {
            scale: scaled.then_some((base.width as f64).sqrt()),
            norm: true,
            ..Embed::default()
        },
        mlp: Mlp::Plain {
            ffn: base.mlp.ffn(),
            activation: activation(config, default)?,
            bias: true,
        },
        norm: Norm::Layer { eps: 1e-5, bias: true },
        ..base
    })
}
