//! ModernBERT (arXiv:2412.13663): pre-norm, rotary, gated; every third block sees all tokens, the
//! others their neighbours.

use super::heads::{Heads, dense, kind};
use super::*;
use crate::nn::spec::Dense;

pub(super) static FAMILY: Family = Family {
    names: &["modernbert"],
    gguf: &["modern-bert"],
    spec,
    prefixes: &["model."],
    tensors: &[NAMES],
    fixups: &[
        Fixup::SplitQkv,
        Fixup::SplitGateUp,
        // One name for two heads: what else there is tells which.
        Fixup::Rename {
            when: "task.out",
            pairs: &[("words.dense", "task.dense"), ("words.norm", "task.norm")],
        },
    ],
    ignored: &[],
};

const NAMES: Names = &[
    ("embeddings.tok_embeddings", "embed.tokens"),
    ("embeddings.norm", "embed.norm"),
    ("layers.{i}.attn_norm", "blocks.{i}.attn_norm"),
    ("layers.{i}.attn.Wqkv", "blocks.{i}.attn.qkv"),
    ("layers.{i}.attn.Wo", "blocks.{i}.attn.out"),
    ("layers.{i}.mlp_norm", "blocks.{i}.mlp_norm"),
    ("layers.{i}.mlp.Wi", "blocks.{i}.mlp.gate_up"),
    ("layers.{i}.mlp.Wo", "blocks.{i}.mlp.down"),
    ("final_norm", "norm"),
    ("head.dense", "heads.words.dense"),
    ("head.norm", "heads.words.norm"),
    ("decoder", "heads.words.out"),
    ("classifier", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = bert::blocks(&config.with_default("max_position_embeddings", 8192))?;
    let head_dim = base.attention.head_dim;
    let flag = |key: &str| config.bool(key).map(|flag| flag.unwrap_or(false));
    let eps = match config.f64("norm_eps")? {
        Some(eps) => eps,
        None => config.f64("layer_norm_eps")?.unwrap_or(1e-5),
    };
    let norm = Norm::Layer { eps, bias: flag("norm_bias")? };
    let theta = |key: &str, default: f64| config.f64(key).map(|own| own.unwrap_or(default));
    // GGUF has these two thetas under the names that Gemma's files gave the keys.
    let (global, local) = match config.is_gguf() {
        true => (theta("rope_theta", 160_000.0)?, theta("rope_local_base_freq", 10_000.0)?),
        false => (theta("global_rope_theta", 160_000.0)?, theta("local_rope_theta", 10_000.0)?),
    };
    let wide = rope(config, head_dim, Some("full_attention"), global)?;
    let near = rope(&config.with("rope_theta", local), head_dim, Some("sliding_attention"), local)?;
    let every = match config.usize("global_attn_every_n_layers")? {
        Some(every) => every,
        None => config.usize("sliding_window_pattern")?.unwrap_or(3),
    };
    let seen = match config.usize("local_attention")? {
        Some(seen) => seen,
        // So GGUF calls it.
        None => config.usize("sliding_window")?.unwrap_or(128),
    };
    let reach = seen / 2;
    // `layers` reads the kinds of layers; what sliding means here is ours.
    let kinds = layers(config, base.layers.len(), Some(1), |i| every == 0 || i % every != 0)?;
    let layer = |(i, kind): (usize, Layer)| Layer {
        bare: i == 0,
        ..match kind.span {
            Span::Sliding { .. } => {
                Layer { rope: LayerRope::Own(near.clone()), ..Layer::new(Span::Local { reach }) }
            }
            _ => Layer::new(Span::Bidirectional),
        }
    };
    let attention_bias = flag("attention_bias")?;
    let mlp_bias = flag("mlp_bias")?;
    let base = Spec {
        embed: Embed { norm: true, ..Embed::default() },
        position: Position::Rope(wide),
        attention: Attention {
            qkv_bias: attention_bias,
            out_bias: attention_bias,
            ..base.attention
        },
        mlp: Mlp::Gated {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::Gelu)?,
            bias: mlp_bias,
            down_bias: mlp_bias,
        },
        norm,
        place: Place::Before,
        layers: kinds.into_iter().enumerate().map(layer).collect(),
        last_norm: true,
        ..base
    };
    let act = match config.string("classifier_activation")? {
        None => Activation::Gelu,
        Some(name) => named_activation(name)?,
    };
    let before =
        Dense { bias: flag("classifier_bias")?, norm: Some(norm), ..dense(base.width, act) };
    // A head that marks an answer has a bias of its own only where the config says so as well.
    let read = match (config.string("classifier_pooling")?, kind(config)?) {
        (None | Some("cls"), _) | (_, Some(TaskKind::Tokens | TaskKind::Bounds)) => Read::First,
        (Some("mean"), _) => Read::Mean,
        (Some(other), _) => return Err(unknown("classifier_pooling", other, &["cls", "mean"])),
    };
    let heads = Heads {
        pooler: Activation::Tanh,
        words: Some(before.clone()),
        read,
        classes: Some(before.clone()),
        tokens: Some(before),
    };
    Ok(Spec { head: heads.of(config, &base)?, ..base })
}
