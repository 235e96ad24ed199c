//! Phi-3.5-MoE (arXiv:2404.14219): layer norms, biases, and two experts of sixteen, each weighed
//! among those near it.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["phimoe"],
    gguf: &["phimoe"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[mixtral::NAMES, experts::NAMES, llama::NAMES],
    fixups: &[Fixup::Unstack],
    ignored: llama::FAMILY.ignored,
};

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let jitter = config.f64("router_jitter_noise")?.unwrap_or(0.01);
    let mixture = Experts {
        count: config.usize("num_local_experts")?.unwrap_or(16),
        used: config.usize("num_experts_per_tok")?.unwrap_or(2),
        ..experts::of(config, base.mlp.ffn(), Routing::SparseMixer { jitter })?
    };
    // GGUF has the epsilon under the name of the other norm.
    let eps = match config.f64("rms_norm_eps")? {
        Some(eps) => eps,
        None => config.f64("layer_norm_eps")?.unwrap_or(1e-5),
    };
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(131_072),
        position: Position::Rope(rope(config, base.attention.head_dim, None, 1_000_000.0)?),
        mlp: Mlp::Experts(mixture),
        norm: Norm::Layer { eps, bias: true },
        layers: vec![
            Layer::new(span(config.usize("sliding_window")?.filter(|window| *window > 0)));
            base.layers.len()
        ],
        ..base
    })
}
