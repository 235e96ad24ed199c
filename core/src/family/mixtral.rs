//! Mixtral (arXiv:2401.04088): Mistral's attention over a mixture of experts. Its GGUF files say
//! `llama`.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["mixtral"],
    gguf: &[],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, experts::NAMES, llama::NAMES],
    fixups: &[Fixup::Unstack],
    ignored: llama::FAMILY.ignored,
};

/// As published; transformers 5 writes the names of [`experts::NAMES`].
pub(super) const NAMES: Names = &[
    ("layers.{i}.block_sparse_moe.gate", "blocks.{i}.mlp.router"),
    ("layers.{i}.block_sparse_moe.experts.{j}.w1", "blocks.{i}.mlp.experts.{j}.gate"),
    ("layers.{i}.block_sparse_moe.experts.{j}.w2", "blocks.{i}.mlp.experts.{j}.down"),
    ("layers.{i}.block_sparse_moe.experts.{j}.w3", "blocks.{i}.mlp.experts.{j}.up"),
];

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let mixture = Experts {
        count: config.usize("num_local_experts")?.unwrap_or(8),
        used: config.usize("num_experts_per_tok")?.unwrap_or(2),
        ..experts::of(config, base.mlp.ffn(), Routing::SoftmaxChosen)?
    };
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(131_072),
        position: Position::Rope(rope(config, base.attention.head_dim, None, 1_000_000.0)?),
        mlp: Mlp::Experts(mixture),
        norm: Norm::Rms { eps: config.f64("rms_norm_eps")?.unwrap_or(1e-5) },
        layers: vec![Layer::new(span(config.usize("sliding_window")?)); base.layers.len()],
        ..base
    })
}
