//! GPT-1 (Radford et al., 2018): GPT-2's block with the norms after the residuals.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["openai-gpt"],
    gguf: &[],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: gpt2::FAMILY.fixups,
    ignored: gpt2::FAMILY.ignored,
};

const NAMES: Names = &[
    ("tokens_embed", "embed.tokens"),
    ("positions_embed", "embed.positions"),
    ("h.{i}.attn.c_attn", "blocks.{i}.attn.qkv"),
    ("h.{i}.attn.c_proj", "blocks.{i}.attn.out"),
    ("h.{i}.ln_1", "blocks.{i}.attn_norm"),
    ("h.{i}.mlp.c_fc", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.c_proj", "blocks.{i}.mlp.down"),
    ("h.{i}.ln_2", "blocks.{i}.mlp_norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let defaults = gpt2::Defaults { window: 512, activation: Activation::GeluTanh };
    let base = gpt2::blocks(config, defaults)?;
    let activation = match config.string("afn")? {
        // Its `gelu` is the approximation.
        None | Some("gelu") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some("silu" | "swish") => Activation::Silu,
        Some(other) => return Err(unknown("activation", other, &["gelu", "relu", "silu"])),
    };
    Ok(Spec {
        mlp: Mlp::Plain { ffn: base.mlp.ffn(), activation, bias: true },
        place: Place::After,
        last_norm: false,
        ..base
    })
}
