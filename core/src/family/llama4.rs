//! The text part of Llama 4: blocks that rotate and see a run of places, and every fourth one that
//! does not rotate and sees all; one expert a token, beside one that all share.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["llama4_text", "llama4"],
    gguf: &["llama4"],
    spec,
    prefixes: &["language_model.model.", "model.language_model.", "language_model.", "model."],
    tensors: &[NAMES, llama::NAMES],
    fixups: &[Fixup::TurnExperts, Fixup::Unstack],
    ignored: &["vision_model.*", "multi_modal_projector.*"],
};

const NAMES: Names = &[
    ("layers.{i}.feed_forward.gate_proj", "blocks.{i}.mlp.gate"),
    ("layers.{i}.feed_forward.up_proj", "blocks.{i}.mlp.up"),
    ("layers.{i}.feed_forward.down_proj", "blocks.{i}.mlp.down"),
    ("layers.{i}.feed_forward.router", "blocks.{i}.mlp.router"),
    ("layers.{i}.feed_forward.experts.gate_up_proj", "blocks.{i}.mlp.experts.gate_up"),
    ("layers.{i}.feed_forward.experts.down_proj", "blocks.{i}.mlp.experts.down"),
    ("layers.{i}.feed_forward.shared_expert.gate_proj", "blocks.{i}.mlp.shared.gate"),
    ("layers.{i}.feed_forward.shared_expert.up_proj", "blocks.{i}.mlp.shared.up"),
    ("layers.{i}.feed_forward.shared_expert.down_proj", "blocks.{i}.mlp.shared.down"),
];

/// GGUF has keys for what the published ones differ in alone; the rest is as they have it.
fn gguf(config: &Config) -> Result<Config> {
    if let Some(window) = config.usize("sliding_window")? {
        return Err(unknown("attention.sliding_window", &window.to_string(), &["none"]));
    }
    let own = config.need_usize("moe_intermediate_size")?;
    // Of the published ones, the larger has no norms on queries and keys.
    let normed = config.need_usize("num_local_experts")? != 128;
    Ok(config
        .with("intermediate_size_mlp", config.need_usize("intermediate_size")?)
        .with("intermediate_size", own)
        .with("use_qk_norm", normed))
}

fn spec(config: &Config) -> Result<Spec> {
    let config = if config.is_gguf() { &gguf(config)? } else { config };
    let config = &config
        .with_default("head_dim", 128)
        .with_default("intermediate_size", 8192)
        .with_default("max_position_embeddings", 131_072)
        .with_default("rms_norm_eps", 1e-5);
    let base = llama::spec(config)?;
    let count = base.layers.len();
    let mut rope = rope(config, base.attention.head_dim, None, 500_000.0)?;
    rope.pairing = Pairing::Adjacent;
    let eps = base.norm.eps();

    let every = config.usize("no_rope_layer_interval")?.unwrap_or(4).max(1);
    let rotates = match config.usizes("no_rope_layers")?.filter(|list| !list.is_empty()) {
        Some(list) if list.len() < count => {
            let problem = format!("has {} entries for {count} layers", list.len());
            return Err(Error::config("no_rope_layers", problem));
        }
        Some(list) => list.iter().map(|on| *on != 0).collect(),
        None => (0..count).map(|i| !(i + 1).is_multiple_of(every)).collect::<Vec<_>>(),
    };
    let types = config.strings("layer_types")?;
    if let Some(types) = &types
        && types.len() != count
    {
        let problem = format!("has {} entries for {count} layers", types.len());
        return Err(Error::config("layer_types", problem));
    }
    let chunk = config.usize("attention_chunk_size")?;
    let temper = match config.bool("attn_temperature_tuning")?.unwrap_or(true) {
        true => Some(Temper {
            floor: config.f64("floor_scale")?.unwrap_or(8192.0),
            scale: config.f64("attn_scale")?.unwrap_or(0.1),
        }),
        false => None,
    };
    let step = config.usize("interleave_moe_layer_step")?.unwrap_or(1).max(1);
    let mixed = config.usizes("moe_layers")?;
    let dense = Mlp::Gated {
        ffn: config.usize("intermediate_size_mlp")?.unwrap_or(16_384),
        activation: activation(config, Activation::Silu)?,
        bias: false,
        down_bias: false,
    };
    let layer = |i: usize| {
        let known = ["chunked_attention", "full_attention"];
        let chunked = match types.as_ref().map(|types| types[i]) {
            None => rotates[i],
            Some("chunked_attention") => true,
            Some("full_attention") => false,
            Some(other) => return Err(unknown("layer type", other, &known)),
        };
        let mixed = match &mixed {
            Some(mixed) => mixed.contains(&i),
            None => (i + 1).is_multiple_of(step),
        };
        let span = match chunked {
            true => Span::Chunked { size: chunk.unwrap_or(8192) },
            false => Span::Causal,
        };
        Ok(Layer {
            rope: if rotates[i] { LayerRope::Shared } else { LayerRope::None },
            temper: if rotates[i] { None } else { temper },
            mlp: if mixed { None } else { Some(dense.clone()) },
            ..Layer::new(span)
        })
    };
    let layers = (0..count).map(layer).collect::<Result<_>>()?;
    let ffn = base.mlp.ffn();
    let config =
        &config.with_default("num_local_experts", 16).with_default("num_experts_per_tok", 1);
    let normed = config.bool("use_qk_norm")?.unwrap_or(true);
    Ok(Spec {
        position: Position::Rope(rope),
        attention: Attention {
            qk_norm: normed.then_some(QkNorm::Rotated { eps }),
            ..base.attention
        },
        mlp: Mlp::Experts(Experts {
            shared: Some(Shared { ffn, gated: false }),
            weighs_input: true,
            ..experts::of(config, ffn, Routing::Sigmoid { corrected: false, divided: false })?
        }),
        layers,
        ..base
    })
}
