//! Mistral (arXiv:2310.06825): Llama's block over a sliding window. Its GGUF files say `llama`.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["mistral"],
    gguf: &[],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    // Left out, it is the first release's; null switches it off.
    let window = match config.usize("sliding_window")? {
        None if !config.says("sliding_window") => Some(4096),
        window => window,
    };
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(131_072),
        layers: vec![Layer::new(span(window)); base.layers.len()],
        ..base
    })
}
