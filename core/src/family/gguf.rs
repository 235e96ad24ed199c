//! GGUF in Hugging Face's words: two tables shared by all families.
//!
//! Source: `gguf-py/gguf/constants.py` and `tensor_mapping.py` of llama.cpp.

use serde_json::{Map, Value, json};

use super::names::Names;
use crate::error::{Error, Result};
use crate::load::gguf::Metadata;

/// Tensor names of GGUF files and ours.
pub(crate) const TENSORS: &[Names] = &[&[
    ("token_embd", "embed.tokens"),
    ("position_embd", "embed.positions"),
    ("token_types", "embed.types"),
    ("token_embd_norm", "embed.norm"),
    ("blk.{i}.attn_norm", "blocks.{i}.attn_norm"),
    ("blk.{i}.attn_norm_2", "blocks.{i}.attn_norm_2"),
    ("blk.{i}.attn_output_norm", "blocks.{i}.attn_norm"),
    ("blk.{i}.attn_q", "blocks.{i}.attn.q"),
    ("blk.{i}.attn_k", "blocks.{i}.attn.k"),
    ("blk.{i}.attn_v", "blocks.{i}.attn.v"),
    ("blk.{i}.attn_qkv", "blocks.{i}.attn.qkv"),
    ("blk.{i}.attn_sinks", "blocks.{i}.attn.sinks"),
    ("blk.{i}.attn_output", "blocks.{i}.attn.out"),
    ("blk.{i}.attn_q_norm", "blocks.{i}.attn.q_norm"),
    ("blk.{i}.attn_k_norm", "blocks.{i}.attn.k_norm"),
    ("blk.{i}.post_attention_norm", "blocks.{i}.attn_post_norm"),
    ("blk.{i}.ffn_norm", "blocks.{i}.mlp_norm"),
    ("blk.{i}.layer_output_norm", "blocks.{i}.mlp_norm"),
    ("blk.{i}.ffn_gate", "blocks.{i}.mlp.gate"),
    ("blk.{i}.ffn_up", "blocks.{i}.mlp.up"),
    ("blk.{i}.ffn_down", "blocks.{i}.mlp.down"),
    ("blk.{i}.ffn_gate_inp", "blocks.{i}.mlp.router"),
    ("blk.{i}.ffn_gate_exps", "blocks.{i}.mlp.experts.gate"),
    ("blk.{i}.ffn_up_exps", "blocks.{i}.mlp.experts.up"),
    ("blk.{i}.ffn_down_exps", "blocks.{i}.mlp.experts.down"),
    // As older files have the experts, one by one.
    ("blk.{i}.ffn_gate.{j}", "blocks.{i}.mlp.experts.{j}.gate"),
    ("blk.{i}.ffn_up.{j}", "blocks.{i}.mlp.experts.{j}.up"),
    ("blk.{i}.ffn_down.{j}", "blocks.{i}.mlp.experts.{j}.down"),
    ("blk.{i}.ffn_gate_shexp", "blocks.{i}.mlp.shared.gate"),
    ("blk.{i}.ffn_up_shexp", "blocks.{i}.mlp.shared.up"),
    ("blk.{i}.ffn_down_shexp", "blocks.{i}.mlp.shared.down"),
    ("blk.{i}.ffn_gate_inp_shexp", "blocks.{i}.mlp.shared_gate"),
    ("blk.{i}.post_ffw_norm", "blocks.{i}.mlp_post_norm"),
    ("rope_freqs", "rope.factors"),
    ("rope_factors_short", "rope.short"),
    ("rope_factors_long", "rope.long"),
    ("output_norm", "norm"),
    ("output", "head"),
]];

/// What a metadata value is.
#[derive(Clone, Copy)]
enum Kind {
    Count,
    Number,
    Text,
    Flag,
}

/// Metadata keys after `{architecture}.`, and the words of `config.json` for them.
const KEYS: &[(&str, &str, Kind)] = &[
    ("block_count", "num_hidden_layers", Kind::Count),
    ("context_length", "max_position_embeddings", Kind::Count),
    ("embedding_length", "hidden_size", Kind::Count),
    ("feed_forward_length", "intermediate_size", Kind::Count),
    ("expert_count", "num_local_experts", Kind::Count),
    ("expert_used_count", "num_experts_per_tok", Kind::Count),
    ("expert_feed_forward_length", "moe_intermediate_size", Kind::Count),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size", Kind::Count),
    ("expert_weights_norm", "norm_topk_prob", Kind::Flag),
    ("attention.head_count", "num_attention_heads", Kind::Count),
    ("attention.head_count_kv", "num_key_value_heads", Kind::Count),
    ("attention.key_length", "head_dim", Kind::Count),
    ("attention.value_length", "value_head_dim", Kind::Count),
    ("attention.layer_norm_epsilon", "layer_norm_eps", Kind::Number),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::Number),
    ("attention.sliding_window", "sliding_window", Kind::Count),
    ("attention.sliding_window_pattern", "sliding_window_pattern", Kind::Count),
    ("attention.causal", "is_causal", Kind::Flag),
    ("attention.scale", "attention_multiplier", Kind::Number),
    ("embedding_scale", "embedding_multiplier", Kind::Number),
    ("residual_scale", "residual_multiplier", Kind::Number),
    ("logit_scale", "logit_scale", Kind::Number),
    ("use_parallel_residual", "use_parallel_residual", Kind::Flag),
    ("attn_logit_softcapping", "attn_logit_softcapping", Kind::Number),
    ("final_logit_softcapping", "final_logit_softcapping", Kind::Number),
    ("rope.freq_base", "rope_theta", Kind::Number),
    ("rope.freq_base_swa", "rope_local_base_freq", Kind::Number),
    ("rope.dimension_count", "rotary_dim", Kind::Count),
    ("rope.scaling.type", "rope_scaling.rope_type", Kind::Text),
    ("rope.scaling.factor", "rope_scaling.factor", Kind::Number),
    ("rope.scale_linear", "rope_scaling.factor", Kind::Number),
    ("rope.scaling.original_context_length", "original_max_position_embeddings", Kind::Count),
    ("rope.scaling.attn_factor", "rope_attention_factor", Kind::Number),
    ("rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast", Kind::Number),
    ("rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow", Kind::Number),
    ("vocab_size", "vocab_size", Kind::Count),
    ("pooling_type", "pooling_type", Kind::Count),
];

/// The metadata of `architecture` as the object that `config.json` would hold.
pub(crate) fn config(metadata: &Metadata, architecture: &str) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    let mut scaling = Map::new();
    for (theirs, ours, kind) in KEYS {
        let key = format!("{architecture}.{theirs}");
        let value = match kind {
            Kind::Count => match metadata.usizes(&key)? {
                // Some files give a count a block; one number serves when they agree.
                Some(counts) if counts.windows(2).all(|pair| pair[0] == pair[1]) => {
                    counts.first().map(|count| json!(count))
                }
                Some(_) => {
                    return Err(Error::config(
                        key,
                        "differs from block to block, which is not known",
                    ));
                }
                None => None,
            },
            Kind::Number => metadata.f32(&key)?.map(|number| json!(plain(number))),
            Kind::Text => metadata.string(&key)?.map(|text| json!(text)),
            Kind::Flag => metadata.bool(&key)?.map(|flag| json!(flag)),
        };
        let Some(value) = value else { continue };
        match ours.strip_prefix("rope_scaling.") {
            Some(ours) => scaling.entry(ours).or_insert(value),
            None => config.entry(*ours).or_insert(value),
        };
    }
    match scaling.get("rope_type").and_then(Value::as_str) {
        // Old files have a factor and no type, which has always meant this one.
        None if scaling.contains_key("factor") => {
            scaling.insert("rope_type".into(), json!("linear"));
        }
        None | Some("none") => scaling.clear(),
        Some(_) => {}
    }
    if !scaling.is_empty() {
        config.insert("rope_scaling".into(), Value::Object(scaling));
    }
    Ok(config)
}

/// A float as it was meant: `1e-6`, not the digits that its 32 bits have as 64. A number that is
/// not finite becomes text, which no key takes.
fn plain(number: f32) -> Value {
    match number.to_string().parse::<f64>() {
        Ok(number) if number.is_finite() => json!(number),
        _ => json!(number.to_string()),
    }
}
