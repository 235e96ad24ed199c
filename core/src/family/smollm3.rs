//! SmolLM3 (Hugging Face, 2025): Llama's block, every fourth without a rotation (NoPE,
//! arXiv:2501.18795).

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["smollm3"],
    gguf: &["smollm3"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let count = base.layers.len();
    let interval = config.usize("no_rope_layer_interval")?.unwrap_or(4).max(1);
    let rotated = match config.usizes("no_rope_layers")? {
        Some(rotated) if rotated.len() != count => {
            let problem = format!("has {} entries for {count} layers", rotated.len());
            return Err(Error::config("no_rope_layers", problem));
        }
        // Despite its name, 1 stands for a rotation.
        Some(rotated) => rotated.into_iter().map(|rotated| rotated != 0).collect(),
        None => (1..=count).map(|i| !i.is_multiple_of(interval)).collect::<Vec<_>>(),
    };
    let slides = config.bool("use_sliding_window")?.unwrap_or(false);
    let window = if slides { config.usize("sliding_window")? } else { None };
    let mut layers = layers(config, count, window, |i| window.is_some() && !rotated[i])?;
    for (layer, rotated) in layers.iter_mut().zip(rotated) {
        if !rotated {
            layer.rope = LayerRope::None;
        }
    }
    Ok(paired(
        config,
        Spec {
            window: config.usize("max_position_embeddings")?.unwrap_or(32_768),
            position: Position::Rope(rope(config, base.attention.head_dim, None, 2_000_000.0)?),
            layers,
            ..base
        },
    ))
}
