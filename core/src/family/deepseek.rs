//! DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437), of which R1 has the shape: keys and
//! values from one short vector a token, many small experts in groups, the first blocks without.

use super::*;

/// V2: softmax over all experts, the best of a group its score.
pub(super) static V2: Family = Family {
    names: &["deepseek_v2"],
    gguf: &["deepseek2"],
    spec: |config| if config.is_gguf() { gguf(config) } else { v2(config) },
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, experts::NAMES, llama::NAMES],
    fixups: &[Fixup::SplitLatent, Fixup::Correction, Fixup::Unstack],
    ignored: llama::FAMILY.ignored,
};

/// V3: a sigmoid an expert, corrected for the choice; the best two of a group its score.
pub(super) static V3: Family = Family {
    names: &["deepseek_v3"],
    gguf: &[],
    spec: v3,
    // The block that foretells a second token stands behind the 61 of the published ones.
    ignored: &["layers.{i}.self_attn.rotary_emb.inv_freq", "layers.61.*"],
    ..V2
};

const NAMES: Names = &[
    ("layers.{i}.self_attn.q_a_proj", "blocks.{i}.attn.latent.q"),
    ("layers.{i}.self_attn.q_a_layernorm", "blocks.{i}.attn.latent.q_norm"),
    ("layers.{i}.self_attn.q_b_proj", "blocks.{i}.attn.q"),
    ("layers.{i}.self_attn.kv_a_proj_with_mqa", "blocks.{i}.attn.latent.kv"),
    ("layers.{i}.self_attn.kv_a_layernorm", "blocks.{i}.attn.latent.kv_norm"),
    ("layers.{i}.self_attn.kv_b_proj", "blocks.{i}.attn.kv"),
    ("layers.{i}.mlp.gate.e_score_correction_bias", "blocks.{i}.mlp.correction"),
    ("layers.{i}.mlp.shared_experts.gate_proj", "blocks.{i}.mlp.shared.gate"),
    ("layers.{i}.mlp.shared_experts.up_proj", "blocks.{i}.mlp.shared.up"),
    ("layers.{i}.mlp.shared_experts.down_proj", "blocks.{i}.mlp.shared.down"),
];

/// What both have, with the routing of one.
fn blocks(config: &Config, routing: Routing, groups: Option<Groups>) -> Result<Spec> {
    let frequency = config.usize("moe_layer_freq")?.unwrap_or(1);
    if frequency != 1 {
        return Err(unknown("moe_layer_freq", &frequency.to_string(), &["1"]));
    }
    let rotated = config.need_usize("qk_rope_head_dim")?;
    let plain = config.need_usize("qk_nope_head_dim")?;
    let head_dim = rotated.saturating_add(plain);
    // Some exports say `head_dim` and mean the rotated part.
    let base = llama::spec(&config.with("head_dim", head_dim))?;
    let heads = base.attention.heads;
    let mut rope = rope(config, rotated, None, 10_000.0)?;
    rope.pairing = match config.bool("rope_interleave")?.unwrap_or(true) {
        true => Pairing::Adjacent,
        false => Pairing::Halves,
    };
    // What YaRN adds to the scale of scores for longer windows (arXiv:2309.00071, section 3.4).
    let found = match config.object("rope_parameters")? {
        Some(found) => Some(found),
        None => config.object("rope_scaling")?,
    };
    let grown = match (&rope.scaling, found) {
        (Scaling::None, _) | (_, None) => 1.0,
        (_, Some(found)) => match found.f64("mscale_all_dim")?.unwrap_or(0.0) {
            0.0 => 1.0,
            all => 0.1 * all * found.need_f64("factor")?.max(1.0).ln() + 1.0,
        },
    };
    let mut layers = base.layers;
    let dense = config.usize("first_k_dense_replace")?.unwrap_or(0);
    for layer in layers.iter_mut().take(dense) {
        layer.mlp = Some(base.mlp.clone());
    }
    let ffn = config.need_usize("moe_intermediate_size")?;
    let shared = match config.usize("n_shared_experts")? {
        None | Some(0) => None,
        Some(count) => Some(Shared { ffn: ffn.saturating_mul(count), gated: false }),
    };
    let mixture = Experts {
        shared,
        groups,
        scale: config.f64("routed_scaling_factor")?,
        ..experts::of(config, ffn, routing)?
    };
    Ok(Spec {
        position: Position::Rope(rope),
        attention: Attention {
            kv_heads: heads,
            head_dim,
            scale: (head_dim as f64).powf(-0.5) * grown * grown,
            latent: Some(Latent {
                rank: config.need_usize("kv_lora_rank")?,
                query_rank: config.usize("q_lora_rank")?,
                rotated,
                value_dim: config.need_usize("v_head_dim")?,
                // The reference takes this, whatever the others have.
                norm: Norm::Rms { eps: 1e-6 },
            }),
            ..base.attention
        },
        mlp: Mlp::Experts(mixture),
        layers,
        ..base
    })
}

fn v2(config: &Config) -> Result<Spec> {
    let known = ["greedy", "group_limited_greedy"];
    let groups = match config.string("topk_method")?.unwrap_or(known[0]) {
        "greedy" => None,
        "group_limited_greedy" => Some(Groups {
            count: config.need_usize("n_group")?,
            used: config.need_usize("topk_group")?,
            best: 1,
        }),
        other => return Err(unknown("topk_method", other, &known)),
    };
    if config.bool("norm_topk_prob")?.unwrap_or(false) {
        return Err(unknown("norm_topk_prob", "true", &["false"]));
    }
    if let Some(scoring) = config.string("scoring_func")?
        && scoring != "softmax"
    {
        return Err(unknown("scoring_func", scoring, &["softmax"]));
    }
    blocks(config, Routing::SoftmaxAll, groups)
}

fn v3(config: &Config) -> Result<Spec> {
    for (key, wanted) in [("topk_method", "noaux_tc"), ("scoring_func", "sigmoid")] {
        if let Some(found) = config.string(key)?
            && found != wanted
        {
            return Err(unknown(key, found, &[wanted]));
        }
    }
    let config = &config
        .with_default("first_k_dense_replace", 3)
        .with_default("routed_scaling_factor", 2.5)
        .with_default("n_shared_experts", 1);
    let groups = Groups {
        count: config.usize("n_group")?.unwrap_or(8),
        used: config.usize("topk_group")?.unwrap_or(4),
        best: 2,
    };
    let divided = config.bool("norm_topk_prob")?.unwrap_or(true);
    blocks(config, Routing::Sigmoid { corrected: true, divided }, Some(groups))
}

/// GGUF calls both one architecture; how experts are chosen tells them apart.
fn gguf(config: &Config) -> Result<Spec> {
    let rotated = config.need_usize("rotary_dim")?;
    // Older files give the sizes of a head under the keys where newer ones have the vector's.
    let sizes = (config.usize("key_length_mla")?, config.usize("value_length_mla")?);
    let (whole, value) = match sizes {
        (Some(whole), Some(value)) => (whole, value),
        _ => (config.need_usize("head_dim")?, config.need_usize("value_head_dim")?),
    };
    let Some(plain) = whole.checked_sub(rotated) else {
        let problem = format!("is `{rotated}`, more than the {whole} of a head");
        return Err(Error::config("rope.dimension_count", problem));
    };
    // Of DeepSeek-V3 and R1, older files leave out the groups.
    let grouped = config.usize("num_local_experts")? == Some(256);
    let (count, used) = if grouped { (8, 4) } else { (1, 1) };
    let config = config
        .with("qk_rope_head_dim", rotated)
        .with("qk_nope_head_dim", plain)
        .with("v_head_dim", value)
        .with_default("first_k_dense_replace", 0)
        .with_default("routed_scaling_factor", 1.0)
        .with_default("norm_topk_prob", false);
    match config.usize("expert_gating_func")?.unwrap_or(0) {
        0 | 1 => {
            let groups = config.usize("n_group")?.unwrap_or(1);
            let method = if groups > 1 { "group_limited_greedy" } else { "greedy" };
            v2(&config.with("topk_method", method))
        }
        2 => v3(&config.with_default("n_group", count).with_default("topk_group", used)),
        other => {
            let known = ["1 (softmax)", "2 (sigmoid)"];
            Err(unknown("expert_gating_func", &other.to_string(), &known))
        }
    }
}
