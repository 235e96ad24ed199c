//! What families with mixtures of experts share.

use super::*;

/// Names as transformers 5 has them in memory, one by one or stacked.
pub(super) const NAMES: Names = &[
    ("layers.{i}.mlp.gate", "blocks.{i}.mlp.router"),
    ("layers.{i}.mlp.router", "blocks.{i}.mlp.router"),
    ("layers.{i}.mlp.experts.{j}.gate_proj", "blocks.{i}.mlp.experts.{j}.gate"),
    ("layers.{i}.mlp.experts.{j}.up_proj", "blocks.{i}.mlp.experts.{j}.up"),
    ("layers.{i}.mlp.experts.{j}.down_proj", "blocks.{i}.mlp.experts.{j}.down"),
    ("layers.{i}.mlp.experts.gate_up_proj", "blocks.{i}.mlp.experts.gate_up"),
    ("layers.{i}.mlp.experts.gate_up_proj_bias", "blocks.{i}.mlp.experts.gate_up_bias"),
    ("layers.{i}.mlp.experts.gate_up_proj_blocks", "blocks.{i}.mlp.experts.gate_up_blocks"),
    ("layers.{i}.mlp.experts.gate_up_proj_scales", "blocks.{i}.mlp.experts.gate_up_scales"),
    ("layers.{i}.mlp.experts.down_proj_bias", "blocks.{i}.mlp.experts.down_bias"),
    ("layers.{i}.mlp.experts.down_proj_blocks", "blocks.{i}.mlp.experts.down_blocks"),
    ("layers.{i}.mlp.experts.down_proj_scales", "blocks.{i}.mlp.experts.down_scales"),
    ("layers.{i}.mlp.experts.down_proj", "blocks.{i}.mlp.experts.down"),
    ("layers.{i}.mlp.shared_expert.gate_proj", "blocks.{i}.mlp.shared.gate"),
    ("layers.{i}.mlp.shared_expert.up_proj", "blocks.{i}.mlp.shared.up"),
    ("layers.{i}.mlp.shared_expert.down_proj", "blocks.{i}.mlp.shared.down"),
    ("layers.{i}.mlp.shared_expert_gate", "blocks.{i}.mlp.shared_gate"),
];

/// A mixture of experts of this size between, without a shared one.
pub(super) fn of(config: &Config, ffn: usize, routing: Routing) -> Result<Experts> {
    Ok(Experts {
        count: config.usize("num_local_experts")?.unwrap_or(0),
        used: config.usize("num_experts_per_tok")?.unwrap_or(0),
        ffn,
        activation: activation(config, Activation::Silu)?,
        clamp: None,
        bias: false,
        router_bias: false,
        routing,
        groups: None,
        scale: None,
        weighs_input: false,
        shared: None,
    })
}

/// Gives the blocks that have no experts the MLP of their own: those that are listed, and those
/// between the steps.
pub(super) fn dense(config: &Config, layers: &mut [Layer], mlp: &Mlp) -> Result<()> {
    let step = config.usize("decoder_sparse_step")?.unwrap_or(1).max(1);
    let listed = config.usizes("mlp_only_layers")?.unwrap_or_default();
    for (i, layer) in layers.iter_mut().enumerate() {
        if listed.contains(&i) || !(i + 1).is_multiple_of(step) {
            layer.mlp = Some(mlp.clone());
        }
    }
    Ok(())
}
