//! StarCoder2 (arXiv:2402.19173): layer norms, plain MLP, biases, a sliding window.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["starcoder2"],
    gguf: &["starcoder2"],
    spec,
    prefixes: llama::FAMILY.prefixes,
    tensors: &[NAMES, llama::NAMES],
    fixups: &[],
    ignored: llama::FAMILY.ignored,
};

const NAMES: Names = &[
    ("layers.{i}.mlp.c_fc", "blocks.{i}.mlp.up"),
    ("layers.{i}.mlp.c_proj", "blocks.{i}.mlp.down"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = llama::spec(config)?;
    let bias = config.bool("use_bias")?.unwrap_or(true);
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(4096),
        attention: Attention { qkv_bias: bias, out_bias: bias, ..base.attention },
        mlp: Mlp::Plain {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::GeluTanh)?,
            bias,
        },
        norm: layer_norm(config, true)?,
        layers: vec![Layer::new(span(config.usize("sliding_window")?)); base.layers.len()],
        ..base
    })
}
