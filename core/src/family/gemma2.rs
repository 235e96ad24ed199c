//! Gemma 2 (arXiv:2408.00118): Gemma with norms around, capped scores and logits, and every other
//! block sliding.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gemma2"],
    gguf: &["gemma2"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[Fixup::AddOne(&["attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm", "norm"])],
    ignored: llama::FAMILY.ignored,
};

/// The norms around, whose names Llama's table has for others.
pub(super) const NAMES: Names = &[
    ("layers.{i}.post_attention_layernorm", "blocks.{i}.attn_post_norm"),
    ("layers.{i}.pre_feedforward_layernorm", "blocks.{i}.mlp_norm"),
    ("layers.{i}.post_feedforward_layernorm", "blocks.{i}.mlp_post_norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = gemma::spec(config)?;
    let window = config.usize("sliding_window")?.unwrap_or(4096);
    // A null switches a cap off; left out, it is the published one.
    let cap = |key: &str, published: f64| -> Result<Option<f64>> {
        Ok(config.f64(key)?.or((!config.says(key)).then_some(published)))
    };
    Ok(Spec {
        attention: Attention {
            scale: gemma::scale(config, &base, 256.0, 46)?,
            softcap: cap("attn_logit_softcapping", 50.0)?,
            ..base.attention
        },
        place: Place::Around,
        layers: layers(config, base.layers.len(), Some(window), |i| i.is_multiple_of(2))?,
        head: head(config, cap("final_logit_softcapping", 30.0)?)?,
        ..base
    })
}
