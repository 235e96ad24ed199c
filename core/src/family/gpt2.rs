//! GPT-2 (Radford et al., 2019): causal, pre-norm, learned positions, queries, keys and values in
//! one matrix.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gpt2"],
    gguf: &["gpt2"],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: &[Fixup::Transpose(&["attn.qkv", "attn.out", "mlp.up", "mlp.down"]), Fixup::SplitQkv],
    // The causal mask that old checkpoints carry as weights.
    ignored: &["h.{i}.attn.bias", "h.{i}.attn.masked_bias"],
};

const NAMES: Names = &[
    ("wte", "embed.tokens"),
    ("wpe", "embed.positions"),
    ("h.{i}.ln_1", "blocks.{i}.attn_norm"),
    ("h.{i}.attn.c_attn", "blocks.{i}.attn.qkv"),
    ("h.{i}.attn.c_proj", "blocks.{i}.attn.out"),
    ("h.{i}.ln_2", "blocks.{i}.mlp_norm"),
    ("h.{i}.mlp.c_fc", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.c_proj", "blocks.{i}.mlp.down"),
    ("ln_f", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = blocks(config, Defaults { window: 1024, activation: Activation::GeluTanh })?;
    let scale = match config.bool("scale_attn_weights")? {
        Some(false) => 1.0,
        _ => base.attention.scale,
    };
    let inverse = config.bool("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);
    let layer = |i: usize| Layer {
        scale: inverse.then_some(scale / (i + 1) as f64),
        ..Layer::new(Span::Causal)
    };
    Ok(Spec {
        attention: Attention { scale, ..base.attention },
        layers: (0..base.layers.len()).map(layer).collect(),
        ..base
    })
}

/// What the GPTs leave out of their configs.
pub(super) struct Defaults {
    /// Longest sequence.
    pub window: usize,
    /// The activation of the MLP.
    pub activation: Activation,
}

/// The spec that the GPTs start from: pre-norm with layer norms, learned positions, plain MLP.
pub(super) fn blocks(config: &Config, defaults: Defaults) -> Result<Spec> {
    let (width, heads) = (config.need_usize("hidden_size")?, head_count(config)?);
    let head_dim = head_dim(config, width, heads)?;
    let window = config.usize("max_position_embeddings")?.unwrap_or(defaults.window);
    Ok(Spec {
        vocab: config.vocab()?,
        width,
        window,
        embed: Embed::default(),
        position: Position::Learned { count: window },
        attention: Attention {
            heads,
            kv_heads: heads,
            head_dim,
            qkv_bias: true,
            out_bias: true,
            qk_norm: None,
            scale: (head_dim as f64).powf(-0.5),
            softcap: None,
            relative: None,
            sinks: false,
            gate: None,
            latent: None,
        },
        mlp: Mlp::Plain {
            ffn: config.usize("intermediate_size")?.unwrap_or(width.saturating_mul(4)),
            activation: activation(config, defaults.activation)?,
            bias: true,
        },
        norm: layer_norm(config, true)?,
        place: Place::Before,
        layers: vec![Layer::new(Span::Causal); layer_count(config)?],
        last_norm: true,
        head: head(config, None)?,
        scales: Scales::default(),
        encoder: None,
    })
}
