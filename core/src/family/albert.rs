//! ALBERT (arXiv:1909.11942): BERT with one block's weights for all layers, or for each group of
//! them, and small embeddings.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["albert"],
    gguf: &[],
    spec,
    prefixes: &["albert."],
    tensors: &[NAMES],
    fixups: &[Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

const NAMES: Names = &[
    ("embeddings.word_embeddings", "embed.tokens"),
    ("embeddings.position_embeddings", "embed.positions"),
    ("embeddings.token_type_embeddings", "embed.types"),
    ("embeddings.LayerNorm", "embed.norm"),
    ("encoder.embedding_hidden_mapping_in", "embed.proj"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.attention.query", "blocks.{i}.attn.q"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.attention.key", "blocks.{i}.attn.k"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.attention.value", "blocks.{i}.attn.v"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.attention.dense", "blocks.{i}.attn.out"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.attention.LayerNorm", "blocks.{i}.attn_norm"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.ffn", "blocks.{i}.mlp.up"),
    ("encoder.albert_layer_groups.{i}.albert_layers.0.ffn_output", "blocks.{i}.mlp.down"),
    (
        "encoder.albert_layer_groups.{i}.albert_layers.0.full_layer_layer_norm",
        "blocks.{i}.mlp_norm",
    ),
    ("pooler", "pooler"),
    ("predictions.dense", "heads.words.dense"),
    ("predictions.LayerNorm", "heads.words.norm"),
    ("predictions.decoder", "heads.words.out"),
    ("predictions", "heads.words.own"),
    ("sop_classifier.classifier", "heads.order.out"),
    ("classifier", "heads.task.out"),
    ("qa_outputs", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    let activation = activation(config, Activation::GeluTanh)?;
    let config = &config.with_default("hidden_act", "gelu_new");
    let base = bert::blocks(config)?;
    if let Some(inner) = config.usize("inner_group_num")?
        && inner != 1
    {
        return Err(unknown("inner_group_num", &inner.to_string(), &["1"]));
    }
    let (layers, groups) = (base.layers.len(), config.usize("num_hidden_groups")?.unwrap_or(1));
    if groups == 0 || groups > layers {
        let problem = format!("is `{groups}`, not from 1 to {layers} layers");
        return Err(Error::config("num_hidden_groups", problem));
    }
    let width = config.usize("embedding_size")?.unwrap_or(128);
    let layer =
        |i: usize| Layer { weights: Some(i * groups / layers), ..Layer::new(Span::Bidirectional) };
    let base = Spec {
        // The projection is there whether or not it changes the size.
        embed: Embed { factor: Some(Factor::Sum { width }), ..base.embed },
        layers: (0..layers).map(layer).collect(),
        ..base
    };
    Ok(Spec { head: Heads::new(&base, activation).of(config, &base)?, ..base })
}
