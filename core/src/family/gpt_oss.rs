//! gpt-oss (arXiv:2508.10925): every head has a score of no token, every other block a sliding
//! window, and experts with clamped gates stand in 4-bit floats.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gpt_oss"],
    gguf: &["gpt-oss"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, experts::NAMES, llama::NAMES],
    fixups: &[
        // GGUF has the second norm under the name of the one after the attention.
        Fixup::Rename { when: "attn_post_norm", pairs: &[("attn_post_norm", "mlp_norm")] },
        Fixup::TurnExperts,
        Fixup::Mxfp4,
        Fixup::GatherGateUp,
        Fixup::Unstack,
    ],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[("layers.{i}.self_attn.sinks", "blocks.{i}.attn.sinks")];

fn spec(config: &Config) -> Result<Spec> {
    if let Some(method) = config.object("quantization_config")?
        && let Some(method) = method.string("quant_method")?
        && method != "mxfp4"
    {
        return Err(unknown("quant_method", method, &["mxfp4"]));
    }
    if let Some(act) = config.string("hidden_act")?
        && act != "silu"
    {
        return Err(unknown("activation", act, &["silu"]));
    }
    let config = &config
        .with_default("head_dim", 64)
        .with_default("attention_bias", true)
        .with_default("max_position_embeddings", 131_072)
        .with_default("rms_norm_eps", 1e-5);
    let base = llama::spec(config)?;
    let mut rope = rope(config, base.attention.head_dim, None, 150_000.0)?;
    match &mut rope.scaling {
        // GGUF has no key for it, and all published ones say so.
        Scaling::Yarn { truncate, .. } if config.is_gguf() => *truncate = false,
        Scaling::None if !config.says("rope_scaling") && !config.says("rope_parameters") => {
            let (factor, original) = (32.0_f64, 4096.0);
            let magnitude = 0.1 * factor.ln() + 1.0;
            rope.scaling = Scaling::Yarn {
                factor,
                fast: 32.0,
                slow: 1.0,
                original,
                truncate: false,
                magnitude,
            };
        }
        _ => {}
    }
    let window = config.usize("sliding_window")?.filter(|window| *window > 0);
    let layers = layers(config, base.layers.len(), window, |i| i.is_multiple_of(2))?;
    let ffn = match config.usize("moe_intermediate_size")? {
        Some(ffn) => ffn,
        None => config.need_usize("intermediate_size")?,
    };
    let mixture = experts::of(config, ffn, Routing::SoftmaxChosen)?;
    Ok(Spec {
        position: Position::Rope(rope),
        attention: Attention { sinks: true, ..base.attention },
        mlp: Mlp::Experts(Experts {
            clamp: Some(Clamp {
                alpha: config.f64("swiglu_alpha")?.unwrap_or(1.702),
                limit: config.f64("swiglu_limit")?.unwrap_or(7.0),
            }),
            bias: true,
            router_bias: true,
            ..mixture
        }),
        layers,
        ..base
    })
}
