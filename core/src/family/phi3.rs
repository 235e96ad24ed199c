//! Phi-3, Phi-3.5 and Phi-4 (arXiv:2404.14219, arXiv:2412.08905): Llama's block with queries, keys
//! and values in one matrix, and gate and up in another.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["phi3"],
    gguf: &["phi3"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[Fixup::SplitQkv, Fixup::SplitGateUp],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[
    ("layers.{i}.self_attn.qkv_proj", "blocks.{i}.attn.qkv"),
    ("layers.{i}.mlp.gate_up_proj", "blocks.{i}.mlp.gate_up"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    // GGUF says 0 for no window.
    let window = config.usize("sliding_window")?.filter(|window| *window > 0);
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(4096),
        norm: Norm::Rms { eps: config.f64("rms_norm_eps")?.unwrap_or(1e-5) },
        layers: vec![Layer::new(span(window)); base.layers.len()],
        ..base
    })
}
