//! OPT (arXiv:2205.01068): GPT-2's block with ReLU; the table of positions starts with two rows
//! that are never used. The 350M has its norms after, no last one, and small embeddings.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["opt"],
    gguf: &[],
    spec,
    prefixes: &["model."],
    tensors: &[NAMES],
    fixups: &[Fixup::DropRows("embed.positions", 2)],
    ignored: &[],
};

const NAMES: Names = &[
    ("decoder.embed_tokens", "embed.tokens"),
    ("decoder.embed_positions", "embed.positions"),
    ("decoder.project_in", "embed.proj"),
    ("decoder.project_out", "out_proj"),
    ("decoder.layers.{i}.self_attn_layer_norm", "blocks.{i}.attn_norm"),
    ("decoder.layers.{i}.self_attn.q_proj", "blocks.{i}.attn.q"),
    ("decoder.layers.{i}.self_attn.k_proj", "blocks.{i}.attn.k"),
    ("decoder.layers.{i}.self_attn.v_proj", "blocks.{i}.attn.v"),
    ("decoder.layers.{i}.self_attn.out_proj", "blocks.{i}.attn.out"),
    ("decoder.layers.{i}.final_layer_norm", "blocks.{i}.mlp_norm"),
    ("decoder.layers.{i}.fc1", "blocks.{i}.mlp.up"),
    ("decoder.layers.{i}.fc2", "blocks.{i}.mlp.down"),
    ("decoder.final_layer_norm", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = gpt2::blocks(config, gpt2::Defaults { window: 2048, activation: Activation::Relu })?;
    let width = config.usize("word_embed_proj_dim")?.unwrap_or(base.width);
    let factor = (width != base.width).then_some(Factor::Tokens { width });
    if config.bool("layer_norm_elementwise_affine")? == Some(false) {
        return Err(unknown("layer_norm_elementwise_affine", "false", &["true"]));
    }
    let before = config.bool("do_layer_norm_before")?.unwrap_or(true);
    let removed = config.bool("_remove_final_layer_norm")?.unwrap_or(false);
    let bias = config.bool("enable_bias")?.unwrap_or(true);
    Ok(Spec {
        embed: Embed { factor, ..base.embed },
        attention: Attention { qkv_bias: bias, out_bias: bias, ..base.attention },
        mlp: Mlp::Plain {
            ffn: config.need_usize("intermediate_size")?,
            activation: activation(config, Activation::Relu)?,
            bias,
        },
        norm: Norm::Layer { eps: 1e-5, bias: true },
        place: if before { Place::Before } else { Place::After },
        last_norm: before && !removed,
        ..base
    })
}
