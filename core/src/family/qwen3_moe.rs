//! Qwen3-MoE (arXiv:2505.09388): Qwen3's attention over many small experts.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["qwen3_moe"],
    gguf: &["qwen3moe"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[experts::NAMES, qwen3::NAMES, llama::NAMES],
    fixups: &[Fixup::Unstack],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = qwen3::spec(config)?;
    let slides = config.bool("use_sliding_window")?.unwrap_or(false);
    let window = if slides { config.usize("sliding_window")? } else { None };
    let mut layers = vec![Layer::new(span(window)); base.layers.len()];
    experts::dense(config, &mut layers, &base.mlp)?;
    let config = &config
        .with_default("num_local_experts", 128)
        .with_default("num_experts_per_tok", 8)
        .with_default("moe_intermediate_size", 768);
    // The files of all published ones divide; GGUF has no key for it.
    let routing = match config.bool("norm_topk_prob")?.unwrap_or(config.is_gguf()) {
        true => Routing::SoftmaxChosen,
        false => Routing::SoftmaxAll,
    };
    let ffn = config.need_usize("moe_intermediate_size")?;
    Ok(Spec { mlp: Mlp::Experts(experts::of(config, ffn, routing)?), layers, ..base })
}
