//! GGUF in Hugging Face's words: two tables shared by all families.
//!
//! Source: `gguf-py/gguf/constants.py` and `tensor_mapping.py` of llama.cpp.

use serde_json::{Map, Value, json};

use super::names::{self, Names};
use crate::error::{Error, Result};
use crate::load::gguf::Metadata;

/// Tensor names of GGUF files and ours.
pub(crate) const TENSORS: &[Names] = &[ONE_STACK, TWO_STACKS];

/// The names of a model that is one stack of blocks.
const ONE_STACK: Names = &[
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
    // Keys and values from short vectors.
    ("blk.{i}.attn_q_a", "blocks.{i}.attn.latent.q"),
    ("blk.{i}.attn_q_a_norm", "blocks.{i}.attn.latent.q_norm"),
    ("blk.{i}.attn_q_b", "blocks.{i}.attn.q"),
    ("blk.{i}.attn_kv_a_mqa", "blocks.{i}.attn.latent.kv"),
    ("blk.{i}.attn_kv_a_norm", "blocks.{i}.attn.latent.kv_norm"),
    ("blk.{i}.attn_k_b", "blocks.{i}.attn.k_turned"),
    ("blk.{i}.attn_v_b", "blocks.{i}.attn.v_stacked"),
    // As older files have the two, in one matrix.
    ("blk.{i}.attn_kv_b", "blocks.{i}.attn.kv"),
    ("blk.{i}.exp_probs_b", "blocks.{i}.mlp.correction"),
];

/// The names of an encoder-decoder, beside its table and its head; and those of an encoder that was
/// trained as one.
const TWO_STACKS: Names = &[
    ("enc.blk.0.attn_rel_b", "encoder.relative.table"),
    ("enc.blk.{i}.attn_norm", "encoder.blocks.{i}.attn_norm"),
    ("enc.blk.{i}.attn_q", "encoder.blocks.{i}.attn.q"),
    ("enc.blk.{i}.attn_k", "encoder.blocks.{i}.attn.k"),
    ("enc.blk.{i}.attn_v", "encoder.blocks.{i}.attn.v"),
    ("enc.blk.{i}.attn_o", "encoder.blocks.{i}.attn.out"),
    ("enc.blk.{i}.ffn_norm", "encoder.blocks.{i}.mlp_norm"),
    ("enc.blk.{i}.ffn_gate", "encoder.blocks.{i}.mlp.gate"),
    ("enc.blk.{i}.ffn_up", "encoder.blocks.{i}.mlp.up"),
    ("enc.blk.{i}.ffn_down", "encoder.blocks.{i}.mlp.down"),
    ("enc.output_norm", "encoder.norm"),
    ("dec.blk.0.attn_rel_b", "relative.table"),
    ("dec.blk.{i}.attn_norm", "blocks.{i}.attn_norm"),
    ("dec.blk.{i}.attn_q", "blocks.{i}.attn.q"),
    ("dec.blk.{i}.attn_k", "blocks.{i}.attn.k"),
    ("dec.blk.{i}.attn_v", "blocks.{i}.attn.v"),
    ("dec.blk.{i}.attn_o", "blocks.{i}.attn.out"),
    ("dec.blk.{i}.cross_attn_norm", "blocks.{i}.cross_norm"),
    ("dec.blk.{i}.cross_attn_q", "blocks.{i}.cross.q"),
    ("dec.blk.{i}.cross_attn_k", "blocks.{i}.cross.k"),
    ("dec.blk.{i}.cross_attn_v", "blocks.{i}.cross.v"),
    ("dec.blk.{i}.cross_attn_o", "blocks.{i}.cross.out"),
    ("dec.blk.{i}.ffn_norm", "blocks.{i}.mlp_norm"),
    ("dec.blk.{i}.ffn_gate", "blocks.{i}.mlp.gate"),
    ("dec.blk.{i}.ffn_up", "blocks.{i}.mlp.up"),
    ("dec.blk.{i}.ffn_down", "blocks.{i}.mlp.down"),
    ("dec.output_norm", "norm"),
];

/// Tensors of GGUF files that no model needs: a table of an early export, since no distance is
/// defined between source and target.
pub(crate) const IGNORED: &[&str] = &["dec.blk.0.cross_attn_rel_b.weight"];

/// A GGUF file's name of our tensor, for a model of two stacks or of one.
pub(crate) fn theirs(ours: &str, two_stacks: bool) -> Option<String> {
    let tables = if two_stacks { [TWO_STACKS, ONE_STACK] } else { [ONE_STACK, TWO_STACKS] };
    names::theirs(&tables, ours)
}

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
    ("expert_weights_scale", "routed_scaling_factor", Kind::Number),
    ("expert_gating_func", "expert_gating_func", Kind::Count),
    ("expert_shared_count", "n_shared_experts", Kind::Count),
    ("expert_group_count", "n_group", Kind::Count),
    ("expert_group_used_count", "topk_group", Kind::Count),
    ("leading_dense_block_count", "first_k_dense_replace", Kind::Count),
    ("interleave_moe_layer_step", "interleave_moe_layer_step", Kind::Count),
    ("decoder_block_count", "num_decoder_layers", Kind::Count),
    ("attention.head_count", "num_attention_heads", Kind::Count),
    ("attention.head_count_kv", "num_key_value_heads", Kind::Count),
    ("attention.key_length", "head_dim", Kind::Count),
    ("attention.value_length", "value_head_dim", Kind::Count),
    ("attention.key_length_mla", "key_length_mla", Kind::Count),
    ("attention.value_length_mla", "value_length_mla", Kind::Count),
    ("attention.q_lora_rank", "q_lora_rank", Kind::Count),
    ("attention.kv_lora_rank", "kv_lora_rank", Kind::Count),
    ("attention.relative_buckets_count", "relative_attention_num_buckets", Kind::Count),
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
    ("rope.scaling.yarn_log_multiplier", "rope_scaling.yarn_log_multiplier", Kind::Number),
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
                Some(counts) => {
                    let other = counts.iter().find(|count| **count != counts[0]);
                    let problem = format!(
                        "is `{}` in one block and `{}` in another; one number for all is known",
                        counts[0],
                        other.unwrap_or(&counts[0])
                    );
                    return Err(Error::config(key, problem));
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
    // In this architecture it is a tenth of what `config.json` calls `mscale_all_dim`, and stands for
    // `mscale`, too.
    if architecture == "deepseek2"
        && let Some(log) = scaling.get("yarn_log_multiplier").and_then(Value::as_f64)
    {
        for key in ["mscale", "mscale_all_dim"] {
            scaling.insert(key.into(), json!(log * 10.0));
        }
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
