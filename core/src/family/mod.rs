//! Which model is which, as data: no forward code stands here.
//!
//! A [`Family`] says how a config becomes a [`Spec`] and how a checkpoint's names become ours.
//! GGUF files need nothing more: two tables in `gguf.rs` serve all families. Adding an
//! architecture is one small file and one line in [`FAMILIES`].

mod albert;
mod bart;
mod bert;
mod bloom;
mod cohere;
mod cohere2;
pub(crate) mod config;
mod deberta_v2;
mod deepseek;
mod distilbert;
mod electra;
mod experts;
mod falcon;
pub(crate) mod fixup;
mod gemma;
mod gemma2;
mod gemma3;
pub(crate) mod gguf;
mod gpt2;
mod gpt3;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod gte;
mod heads;
mod jina_bert;
mod llama;
mod llama4;
mod marian;
mod mbart;
mod mistral;
mod mixtral;
mod modernbert;
mod mpnet;
pub(crate) mod names;
mod nomic_bert;
mod olmo2;
mod openai_gpt;
mod opt;
mod phi;
mod phi3;
mod phimoe;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
pub(crate) mod revert;
mod roberta;
mod smollm3;
mod stablelm;
mod starcoder2;
mod t5;

use config::Config;
use fixup::Fixup;
use names::Names;

use crate::error::{Error, Result};
use crate::nn::Spec;
use crate::nn::spec::{
    Activation, Attention, Clamp, Embed, Experts, Factor, Groups, Head, Latent, Layer, LayerRope,
    Mlp, Norm, Pairing, Place, Position, QkNorm, Read, Relative, Rope, Routing, Scales, Scaling,
    Shared, Span, Stretch, Task, TaskKind, Temper,
};

/// A line of models that share their blocks and their names.
pub(crate) struct Family {
    /// `model_type` of `config.json`; the first is the family's name. Where two families have one
    /// type, the one that tells by its `position_embedding_type` has it behind a colon.
    pub names: &'static [&'static str],
    /// `general.architecture` of GGUF files.
    pub gguf: &'static [&'static str],
    /// From config to spec.
    pub spec: fn(&Config) -> Result<Spec>,
    /// Prefixes that a Hugging Face checkpoint may put before its names.
    pub prefixes: &'static [&'static str],
    /// Checkpoint name to ours, without `.weight` and `.bias`; `{i}` is the block's number.
    pub tensors: &'static [Names],
    /// What must be done to weights; each says in which layout.
    pub fixups: &'static [Fixup],
    /// Names in checkpoints that are not needed; `*` at the end stands for anything.
    pub ignored: &'static [&'static str],
}

/// Every family that opens.
pub(crate) static FAMILIES: &[&Family] = &[
    &albert::FAMILY,
    &bart::FAMILY,
    &bert::FAMILY,
    &bloom::FAMILY,
    &cohere::FAMILY,
    &cohere2::FAMILY,
    &deberta_v2::FAMILY,
    &deepseek::V2,
    &deepseek::V3,
    &distilbert::FAMILY,
    &electra::FAMILY,
    &falcon::FAMILY,
    &gemma::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gemma3::EMBEDDING,
    &gpt2::FAMILY,
    &gpt_neo::FAMILY,
    &gpt_neox::FAMILY,
    &gpt_oss::FAMILY,
    &gptj::FAMILY,
    &granite::FAMILY,
    &gte::FAMILY,
    &jina_bert::FAMILY,
    &llama::FAMILY,
    &llama4::FAMILY,
    &marian::FAMILY,
    &mbart::FAMILY,
    &mistral::FAMILY,
    &mixtral::FAMILY,
    &modernbert::FAMILY,
    &mpnet::FAMILY,
    &nomic_bert::FAMILY,
    &olmo2::FAMILY,
    &openai_gpt::FAMILY,
    &opt::FAMILY,
    &phi::FAMILY,
    &phi3::FAMILY,
    &phimoe::FAMILY,
    &qwen2::FAMILY,
    &qwen2_moe::FAMILY,
    &qwen3::FAMILY,
    &qwen3_moe::FAMILY,
    &roberta::FAMILY,
    &smollm3::FAMILY,
    &stablelm::FAMILY,
    &starcoder2::FAMILY,
    &t5::FAMILY,
];

/// The family of a `model_type`, and of a `position_embedding_type` where the config has one.
pub(crate) fn by_model_type(name: &str, positions: Option<&str>) -> Result<&'static Family> {
    let called = |name: &str| FAMILIES.iter().copied().find(|family| family.names.contains(&name));
    let own = positions.and_then(|positions| called(&format!("{name}:{positions}")));
    own.or_else(|| called(name)).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.names).copied().collect();
        unknown("model type", name, &known)
    })
}

/// The family of a GGUF file's `general.architecture`.
pub(crate) fn by_architecture(name: &str) -> Result<&'static Family> {
    let mut families = FAMILIES.iter().copied();
    families.find(|family| family.gguf.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.gguf).copied().collect();
        unknown("architecture", name, &known)
    })
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    Error::Unsupported { what: format!("{what} `{name}`"), known: known.join(", ") }
}

/// The activation of a config's `hidden_act`.
fn activation(config: &Config, default: Activation) -> Result<Activation> {
    config.string("hidden_act")?.map_or(Ok(default), named_activation)
}

/// The activation that configs call `name`.
fn named_activation(name: &str) -> Result<Activation> {
    Ok(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        other => {
            let known = ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"];
            return Err(unknown("activation", other, &known));
        }
    })
}

/// A layer norm with the config's eps.
fn layer_norm(config: &Config, bias: bool) -> Result<Norm> {
    Ok(Norm::Layer { eps: config.f64("layer_norm_eps")?.unwrap_or(1e-5), bias })
}

/// What a token sees: the last `window` tokens, or all before.
fn span(window: Option<usize>) -> Span {
    window.map_or(Span::Causal, |window| Span::Sliding { window })
}

/// For architectures whose GGUF files keep the rows of queries and keys as the paper pairs them.
/// Rotating that way leaves the file's bytes in place; unpermuting would copy both matrices.
fn paired(config: &Config, mut spec: Spec) -> Spec {
    if let (Position::Rope(rope), true) = (&mut spec.position, config.is_gguf()) {
        rope.pairing = Pairing::Adjacent;
    }
    spec
}

/// The rotation that a config describes: of all layers, or of the layers called `kind`.
///
/// Reads `rope_theta` with `rope_scaling`, and the newer `rope_parameters` that holds both, once
/// or by the kind of layer.
fn rope(config: &Config, head_dim: usize, kind: Option<&str>, theta: f64) -> Result<Rope> {
    let shared = config.object("rope_parameters")?;
    let own = match (&shared, kind) {
        (Some(shared), Some(kind)) => shared.object(kind)?,
        _ => None,
    };
    let found = match own.or(shared) {
        Some(found) => Some(found),
        None => config.object("rope_scaling")?,
    };
    let theta = match &found {
        Some(found) => found.f64("rope_theta")?,
        None => None,
    }
    .map_or_else(|| config.f64("rope_theta").map(|own| own.unwrap_or(theta)), Ok)?;
    let factor = match &found {
        Some(found) => found.f64("partial_rotary_factor")?,
        None => None,
    };
    let dims = match (config.usize("rotary_dim")?, factor.or(config.f64("partial_rotary_factor")?))
    {
        (Some(dims), _) => dims,
        (None, Some(part)) if (0.0..=1.0).contains(&part) => (head_dim as f64 * part) as usize,
        (None, Some(part)) => {
            return Err(Error::config(
                "partial_rotary_factor",
                format!("is `{part}`, not from 0 to 1"),
            ));
        }
        (None, None) => head_dim,
    };
    let scaling = match &found {
        Some(found) => scaling(config, found)?,
        None => Scaling::None,
    };
    let stored = |tensor: &str| config.stored_factors(tensor).map(<[f32]>::to_vec);
    let scaling = match (stored("rope.short.weight"), stored("rope.long.weight")) {
        // GGUF files of LongRoPE give no kind of scaling, only these.
        (Some(short), Some(long)) => {
            let magnitude = config.f64("rope_attention_factor")?.unwrap_or(1.0);
            let original = window(config, "original_max_position_embeddings")?;
            let stretch = |factors| Stretch { factors, magnitude };
            Scaling::Long { short: stretch(short), long: stretch(long), original }
        }
        _ => stored("rope.factors.weight").map_or(scaling, Scaling::Factors),
    };
    Ok(Rope { theta, dims, pairing: Pairing::Halves, scaling })
}

/// A length in tokens that a scaling needs; the model's where it is not said.
fn window(config: &Config, key: &str) -> Result<usize> {
    match config.usize(key)? {
        Some(window) => Ok(window),
        None => config.need_usize("max_position_embeddings"),
    }
}

fn scaling(config: &Config, found: &Config) -> Result<Scaling> {
    let kind = match found.string("rope_type")? {
        Some(kind) => Some(kind),
        None => found.string("type")?,
    };
    let kind = match kind.unwrap_or("default") {
        // The first release of Phi-3 called its scaling so.
        "su" | "yarn" if found.says("short_factor") => "longrope",
        kind => kind,
    };
    let key = "original_max_position_embeddings";
    // The window of the first training: beside the scaling in some exports, in it in most.
    let original = || match (config.usize(key)?, found.usize(key)?) {
        (Some(original), _) | (None, Some(original)) => Ok(original),
        (None, None) => window(config, key),
    };
    // How much longer the window is now.
    let stretched = |original: usize| match found.f64("factor")? {
        Some(factor) => Ok(factor),
        None => Ok(window(config, "max_position_embeddings")? as f64 / original as f64),
    };
    Ok(match kind {
        "default" => Scaling::None,
        "dynamic" => Scaling::Dynamic {
            factor: found.need_f64("factor")?,
            original: window(config, "max_position_embeddings")?,
        },
        "yarn" => {
            let original = original()?;
            let factor = stretched(original)?;
            let grown = |scale: f64| match factor > 1.0 {
                true => 0.1 * scale * factor.ln() + 1.0,
                false => 1.0,
            };
            let scales = (found.f64("mscale")?, found.f64("mscale_all_dim")?);
            let magnitude = match (found.f64("attention_factor")?, scales) {
                (Some(magnitude), _) => magnitude,
                (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => {
                    grown(one) / grown(all)
                }
                _ => grown(1.0),
            };
            if config.is_gguf() && config.f64("rope_attention_factor")?.is_some_and(|f| f != 1.0) {
                let known = "1";
                return Err(unknown("rope.scaling.attn_factor with", "yarn", &[known]));
            }
            Scaling::Yarn {
                factor,
                fast: found.f64("beta_fast")?.unwrap_or(32.0),
                slow: found.f64("beta_slow")?.unwrap_or(1.0),
                original: original as f64,
                truncate: found.bool("truncate")?.unwrap_or(true),
                magnitude,
            }
        }
        "longrope" => {
            let original = original()?;
            let factor = stretched(original)?;
            let magnitude = match found.f64("attention_factor")? {
                Some(magnitude) => magnitude,
                None if factor > 1.0 => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
                None => 1.0,
            };
            let stretch = |factors: &str, own: &str| {
                Ok(Stretch {
                    factors: found.f32s(factors)?.ok_or_else(|| found.missing(factors))?,
                    magnitude: found.f64(own)?.unwrap_or(magnitude),
                })
            };
            Scaling::Long {
                short: stretch("short_factor", "short_mscale")?,
                long: stretch("long_factor", "long_mscale")?,
                original,
            }
        }
        "linear" => Scaling::Linear { factor: found.need_f64("factor")? },
        "llama3" => Scaling::Llama3 {
            factor: found.need_f64("factor")?,
            low: found.need_f64("low_freq_factor")?,
            high: found.need_f64("high_freq_factor")?,
            original: found.need_f64("original_max_position_embeddings")?,
        },
        other => {
            let known = ["default", "dynamic", "linear", "llama3", "longrope", "yarn"];
            return Err(unknown("rope scaling", other, &known));
        }
    })
}

/// The head: tied to the embedding when the config says so or the checkpoint has no other.
///
/// A decoder that was trained to class texts has no logits of words: its head reads the last token.
fn head(config: &Config, softcap: Option<f64>) -> Result<Head> {
    if let (Some(outputs), Some(TaskKind::Classes)) =
        (config.rows("heads.task.out.weight"), heads::kind(config)?)
    {
        let (kind, read, bias) = (TaskKind::Classes, Read::Last, config.has("heads.task.out.bias"));
        let task = Task { kind, read, dense: None, outputs, tied: false, bias };
        return Ok(Head::Encoder { pooler: None, tasks: vec![task] });
    }
    let tied = match config.bool("tie_word_embeddings")? {
        Some(tied) => tied,
        None => !config.has("head.weight"),
    };
    Ok(match tied {
        true => Head::Tied { bias: false, softcap },
        false => Head::Own { bias: config.has("head.bias"), softcap },
    })
}

/// Which tokens each block sees, from `layer_types`, or from `default` where the config has none.
fn layers(
    config: &Config,
    count: usize,
    window: Option<usize>,
    sliding: impl Fn(usize) -> bool,
) -> Result<Vec<Layer>> {
    let types = config.strings("layer_types")?;
    if let Some(types) = &types
        && types.len() != count
    {
        let problem = format!("has {} entries for {count} layers", types.len());
        return Err(Error::config("layer_types", problem));
    }
    (0..count)
        .map(|i| {
            let slides = match types.as_ref().map(|types| types[i]) {
                None => sliding(i),
                Some("full_attention") => false,
                Some("sliding_attention") => true,
                Some(other) => {
                    return Err(unknown(
                        "layer type",
                        other,
                        &["full_attention", "sliding_attention"],
                    ));
                }
            };
            let span = match (slides, window) {
                (true, Some(window)) => Span::Sliding { window },
                (true, None) => {
                    let problem = format!("is missing, and layer {i} slides");
                    return Err(Error::config("sliding_window", problem));
                }
                (false, _) => Span::Causal,
            };
            Ok(Layer::new(span))
        })
        .collect()
}

/// The block count, checked before anything is made of it.
fn layer_count(config: &Config) -> Result<usize> {
    let count = config.need_usize("num_hidden_layers")?;
    match count {
        1..=4096 => Ok(count),
        _ => Err(Error::config("num_hidden_layers", format!("is `{count}`, not from 1 to 4096"))),
    }
}

/// The query heads, checked before anything is divided by them.
fn head_count(config: &Config) -> Result<usize> {
    match config.need_usize("num_attention_heads")? {
        0 => Err(Error::config("num_attention_heads", "is `0`, not 1 or more")),
        heads => Ok(heads),
    }
}

/// The size of a head: said by the config, or the width shared out.
fn head_dim(config: &Config, width: usize, heads: usize) -> Result<usize> {
    match config.usize("head_dim")? {
        Some(dim) => Ok(dim),
        None if width.is_multiple_of(heads) => Ok(width / heads),
        None => Err(Error::config(
            "num_attention_heads",
            format!("is `{heads}`, which does not divide a width of {width}"),
        )),
    }
}
