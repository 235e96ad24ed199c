//! GPT-J (Wang and Komatsuzaki, 2021): attention and MLP side by side under one norm, a part of
//! each head rotated in adjacent pairs.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gptj"],
    gguf: &[],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: &[],
    // The causal mask that old checkpoints carry as weights.
    ignored: &["h.{i}.attn.bias", "h.{i}.attn.masked_bias"],
};

const NAMES: Names = &[
    ("wte", "embed.tokens"),
    ("h.{i}.ln_1", "blocks.{i}.attn_norm"),
    ("h.{i}.attn.q_proj", "blocks.{i}.attn.q"),
    ("h.{i}.attn.k_proj", "blocks.{i}.attn.k"),
    ("h.{i}.attn.v_proj", "blocks.{i}.attn.v"),
    ("h.{i}.attn.out_proj", "blocks.{i}.attn.out"),
    ("h.{i}.mlp.fc_in", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.fc_out", "blocks.{i}.mlp.down"),
    ("ln_f", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let config = &config.with_default("rotary_dim", 64);
    let base =
        gpt2::blocks(config, gpt2::Defaults { window: 2048, activation: Activation::GeluTanh })?;
    let rope = rope(config, base.attention.head_dim, None, 10_000.0)?;
    Ok(Spec {
        position: Position::Rope(Rope { pairing: Pairing::Adjacent, ..rope }),
        attention: Attention { qkv_bias: false, out_bias: false, ..base.attention },
        place: Place::Parallel { shared: true },
        ..base
    })
}
