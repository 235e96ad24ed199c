//! Qwen2 and Qwen2.5 (arXiv:2407.10671, arXiv:2412.15115): Llama's block with biases on queries,
//! keys and values.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["qwen2"],
    gguf: &["qwen2"],
    spec,
    prefixes: &["model."],
    tensors: &[llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    // Sliding starts after the first `max_window_layers` blocks, and only when switched on.
    let slides = config.bool("use_sliding_window")?.unwrap_or(false);
    let window = if slides { config.usize("sliding_window")? } else { None };
    let first = config.usize("max_window_layers")?.unwrap_or(28);
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(32_768),
        attention: Attention { qkv_bias: true, out_bias: false, ..base.attention },
        layers: layers(config, base.layers.len(), window, |i| slides && i >= first)?,
        ..base
    })
}
