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
    let (width, heads) = (config.need_usize("hidden_size")?, head_count(config)?);
    let head_dim = head_dim(config, width, heads)?;
    let scale = match config.bool("scale_attn_weights")? {
        Some(false) => 1.0,
        _ => (head_dim as f64).powf(-0.5),
    };
    let inverse = config.bool("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);
    let layer = |i: usize| Layer {
        scale: inverse.then_some(scale / (i + 1) as f64),
        ..Layer::new(Span::Causal)
    };
    let window = config.usize("max_position_embeddings")?.unwrap_or(1024);
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
            scale,
            softcap: None,
        },
        mlp: Mlp::Plain {
            ffn: config.usize("intermediate_size")?.unwrap_or(width.saturating_mul(4)),
            activation: activation(config, Activation::GeluTanh)?,
            bias: true,
        },
        norm: Norm::Layer { eps: config.f64("layer_norm_eps")?.unwrap_or(1e-5) },
        place: Place::Before,
        layers: (0..layer_count(config)?).map(layer).collect(),
        last_norm: true,
        head: head(config, None)?,
    })
}
