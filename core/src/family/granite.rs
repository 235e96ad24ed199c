//! Granite 3 (IBM, 2024): Llama's block with constants on embeddings, scores, residuals and logits.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["granite"],
    gguf: &["granite"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    // GGUF calls the divisor of the logits their scale.
    let divisor = match config.f64("logits_scaling")? {
        None if config.is_gguf() => config.f64("logit_scale")?,
        divisor => divisor,
    };
    let scale = match config.f64("attention_multiplier")? {
        None if config.is_gguf() => base.attention.scale,
        scale => scale.unwrap_or(1.0),
    };
    Ok(paired(
        config,
        Spec {
            embed: Embed { scale: config.f64("embedding_multiplier")?, ..base.embed },
            attention: Attention { scale, ..base.attention },
            scales: Scales {
                residual: config.f64("residual_multiplier")?,
                logits: divisor.map(f64::recip),
            },
            ..base
        },
    ))
}
