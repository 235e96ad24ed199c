//! Llama 1 to 3.3 (arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783): causal, RMS pre-norm,
//! rotary positions, gated SiLU, grouped queries.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["llama"],
    gguf: &["llama"],
    spec: |config| {
        // GGUF files of Mixtral say that they are Llama.
        let mixed = config.is_gguf() && config.usize("num_local_experts")?.unwrap_or(0) > 0;
        let spec = if mixed { mixtral::spec(config) } else { spec(config) };
        Ok(paired(config, spec?))
    },
    prefixes: &["model."],
    tensors: &[NAMES],
    fixups: &[Fixup::Unstack],
    ignored: &["layers.{i}.self_attn.rotary_emb.inv_freq"],
};

pub(super) const NAMES: Names = &[
    ("embed_tokens", "embed.tokens"),
    ("layers.{i}.input_layernorm", "blocks.{i}.attn_norm"),
    ("layers.{i}.self_attn.q_proj", "blocks.{i}.attn.q"),
    ("layers.{i}.self_attn.k_proj", "blocks.{i}.attn.k"),
    ("layers.{i}.self_attn.v_proj", "blocks.{i}.attn.v"),
    ("layers.{i}.self_attn.o_proj", "blocks.{i}.attn.out"),
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.mlp_norm"),
    ("layers.{i}.mlp.gate_proj", "blocks.{i}.mlp.gate"),
    ("layers.{i}.mlp.up_proj", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.down_proj", "blocks.{i}.mlp.down"),
    ("norm", "norm"),
    ("lm_head", "head"),
    ("score", "heads.task.out"),
];

/// The spec that Llama's descendants start from.
pub(super) fn spec(config: &Config) -> Result<Spec> {
    let (width, heads) = (config.need_usize("hidden_size")?, head_count(config)?);
    let head_dim = head_dim(config, width, heads)?;
    let layers = layer_count(config)?;
    let bias = |key: &str, tensor: &str| -> Result<bool> {
        Ok(config.bool(key)?.unwrap_or_else(|| config.has(tensor)))
    };
    let rope = rope(config, head_dim, None, 10_000.0)?;
    let window = config.usize("max_position_embeddings")?.unwrap_or(2048);
    Ok(Spec {
        vocab: config.vocab()?,
        width,
        // With this scaling, the config's number is the window of the training.
        window: match rope.scaling {
            Scaling::Dynamic { factor, .. } => (window as f64 * factor) as usize,
            _ => window,
        },
        embed: Embed::default(),
        position: Position::Rope(rope),
        attention: Attention {
            heads,
            kv_heads: config.usize("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            qkv_bias: bias("attention_bias", "blocks.0.attn.q.bias")?,
            out_bias: bias("attention_bias", "blocks.0.attn.out.bias")?,
            qk_norm: None,
            scale: (head_dim as f64).powf(-0.5),
            softcap: None,
            relative: None,
            sinks: false,
            gate: None,
            latent: None,
        },
        mlp: Mlp::Gated {
            ffn: config.need_usize("intermediate_size")?,
            activation: activation(config, Activation::Silu)?,
            bias: bias("mlp_bias", "blocks.0.mlp.up.bias")?,
            down_bias: bias("mlp_bias", "blocks.0.mlp.down.bias")?,
        },
        norm: Norm::Rms { eps: config.f64("rms_norm_eps")?.unwrap_or(1e-6) },
        place: Place::Before,
        layers: vec![Layer::new(Span::Causal); layers],
        last_norm: true,
        head: head(config, None)?,
        scales: Scales::default(),
        encoder: None,
    })
}
