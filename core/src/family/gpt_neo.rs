//! GPT-Neo (Black et al., 2021): GPT-2's block with unscaled scores, every other one local.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gpt_neo"],
    gguf: &[],
    spec,
    prefixes: &["transformer."],
    tensors: &[NAMES],
    fixups: &[],
    // The causal mask that old checkpoints carry as weights.
    ignored: &["h.{i}.attn.attention.bias", "h.{i}.attn.attention.masked_bias"],
};

const NAMES: Names = &[
    ("wte", "embed.tokens"),
    ("wpe", "embed.positions"),
    ("h.{i}.ln_1", "blocks.{i}.attn_norm"),
    ("h.{i}.attn.attention.q_proj", "blocks.{i}.attn.q"),
    ("h.{i}.attn.attention.k_proj", "blocks.{i}.attn.k"),
    ("h.{i}.attn.attention.v_proj", "blocks.{i}.attn.v"),
    ("h.{i}.attn.attention.out_proj", "blocks.{i}.attn.out"),
    ("h.{i}.ln_2", "blocks.{i}.mlp_norm"),
    ("h.{i}.mlp.c_fc", "blocks.{i}.mlp.up"),
    ("h.{i}.mlp.c_proj", "blocks.{i}.mlp.down"),
    ("ln_f", "norm"),
    ("lm_head", "head"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base =
        gpt2::blocks(config, gpt2::Defaults { window: 2048, activation: Activation::GeluTanh })?;
    let window = config.usize("window_size")?.unwrap_or(256);
    let layers = kinds(config, base.layers.len())?
        .into_iter()
        .map(|local| Layer::new(span(local.then_some(window))))
        .collect();
    Ok(Spec {
        attention: Attention { qkv_bias: false, scale: 1.0, ..base.attention },
        layers,
        ..base
    })
}

/// Which blocks are local: `attention_types` is a list of `[[kinds], times]`.
fn kinds(config: &Config, count: usize) -> Result<Vec<bool>> {
    let key = "attention_types";
    let Some(runs) = config.list(key)? else {
        return Ok((0..count).map(|i| i % 2 == 1).collect());
    };
    let mut kinds = Vec::new();
    for run in runs {
        let (names, times) = match (run.get(0).and_then(|n| n.as_array()), run.get(1)) {
            (Some(names), Some(times)) => (names, times.as_u64().unwrap_or(0)),
            _ => {
                let found: String = run.to_string().chars().take(40).collect();
                let problem = format!("holds `{found}`, not `[[kinds], times]`");
                return Err(Error::config(key, problem));
            }
        };
        for _ in 0..times {
            for name in names {
                kinds.push(match name.as_str() {
                    Some("global") => false,
                    Some("local") => true,
                    _ => {
                        let name = name.to_string();
                        return Err(unknown("attention type", &name, &["global", "local"]));
                    }
                });
            }
            if kinds.len() > count {
                break;
            }
        }
    }
    match kinds.len() == count {
        true => Ok(kinds),
        false => {
            // Counting stops at the first list that is too long.
            let named = match kinds.len() > count {
                true => "more".to_string(),
                false => kinds.len().to_string(),
            };
            Err(Error::config(key, format!("names {named} of {count} layers")))
        }
    }
}
