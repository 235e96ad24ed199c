//! Qwen1.5-MoE and Qwen2-MoE (arXiv:2407.10671): Qwen2's attention over many small experts and a
//! large one that all tokens share.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["qwen2_moe"],
    gguf: &["qwen2moe"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[experts::NAMES, llama::NAMES],
    fixups: &[Fixup::Unstack, Fixup::Row(&["mlp.shared_gate"])],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = qwen2::spec(config)?;
    let count = base.layers.len();
    let slides = config.bool("use_sliding_window")?.unwrap_or(false);
    let window = if slides { config.usize("sliding_window")? } else { None };
    let first = config.usize("max_window_layers")?.unwrap_or(28);
    let sliding = |i: usize| window.is_some() && i < first && i.is_multiple_of(2);
    let mut layers = layers(config, count, window, sliding)?;
    experts::dense(config, &mut layers, &base.mlp)?;
    let config = &config
        .with_default("num_local_experts", 60)
        .with_default("num_experts_per_tok", 4)
        .with_default("moe_intermediate_size", 1408)
        .with_default("shared_expert_intermediate_size", 5632);
    let routing = match config.bool("norm_topk_prob")?.unwrap_or(false) {
        true => Routing::SoftmaxChosen,
        false => Routing::SoftmaxAll,
    };
    let ffn = config.need_usize("moe_intermediate_size")?;
    let shared = config.need_usize("shared_expert_intermediate_size")?;
    Ok(Spec {
        attention: Attention {
            qkv_bias: config.bool("qkv_bias")?.unwrap_or(true),
            ..base.attention
        },
        mlp: Mlp::Experts(Experts {
            shared: Some(Shared { ffn: shared, gated: true }),
            ..experts::of(config, ffn, routing)?
        }),
        layers,
        ..base
    })
}
