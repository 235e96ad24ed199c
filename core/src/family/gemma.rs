//! Gemma (arXiv:2403.08295): Llama's block with scaled embeddings, large heads and a tanh GELU.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gemma"],
    gguf: &["gemma"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[llama::NAMES],
    fixups: &[Fixup::AddOne(&["attn_norm", "mlp_norm", "norm"])],
    ignored: llama::FAMILY.ignored,
};

/// The spec that the Gemmas after it start from.
pub(super) fn spec(config: &Config) -> Result<Spec> {
    // Exports leave out what equals the published defaults.
    let base = llama::spec(&config.with_default("head_dim", 256))?;
    if config.bool("use_bidirectional_attention")? == Some(true) {
        return Err(unknown("use_bidirectional_attention", "true", &["false"]));
    }
    let activation = match activation(config, Activation::GeluTanh)? {
        // The first release's configs say `gelu` and mean its approximation.
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(8192),
        embed: Embed { scale: Some((base.width as f64).sqrt()), ..base.embed },
        mlp: Mlp::Gated { ffn: base.mlp.ffn(), activation, bias: false, down_bias: false },
        ..base
    })
}

/// What scores are multiplied by from the second Gemma on.
pub(super) fn scale(config: &Config, spec: &Spec, scalar: f64, largest: usize) -> Result<f64> {
    if let Some(scale) = config.f64("attention_multiplier")? {
        return Ok(scale); // said by some GGUF files
    }
    let head_dim = spec.attention.head_dim as f64;
    let scalar = match config.f64("query_pre_attn_scalar")? {
        Some(scalar) => scalar,
        // GGUF has no key for it: all sizes take a head's but the largest, known by its depth,
        // which takes the width shared out.
        None if config.is_gguf() && spec.layers.len() == largest => {
            spec.width as f64 / spec.attention.heads as f64
        }
        None if config.is_gguf() => head_dim,
        None => scalar,
    };
    Ok(scalar.powf(-0.5))
}
