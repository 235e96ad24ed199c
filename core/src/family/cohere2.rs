//! Command R7B and Command A (Cohere, 2024): three sliding blocks to a full one, which is not
//! rotated.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["cohere2"],
    gguf: &["cohere2"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = cohere::spec(config)?;
    let window = config.usize("sliding_window")?.unwrap_or(4096);
    let pattern = config.usize("sliding_window_pattern")?.unwrap_or(4).max(1);
    let slides = |i: usize| !(i + 1).is_multiple_of(pattern);
    let mut layers = layers(config, base.layers.len(), Some(window), slides)?;
    for layer in &mut layers {
        if layer.span == Span::Causal {
            layer.rope = LayerRope::None;
        }
    }
    let rope = rope(config, base.attention.head_dim, None, 10_000.0)?;
    Ok(Spec {
        position: Position::Rope(Rope { pairing: Pairing::Adjacent, ..rope }),
        attention: Attention { qk_norm: None, ..base.attention },
        layers,
        ..base
    })
}
