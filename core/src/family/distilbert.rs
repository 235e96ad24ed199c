//! DistilBERT (arXiv:1910.01108): BERT without segment types and pooler. GGUF calls it `bert`.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["distilbert"],
    gguf: &[],
    spec,
    prefixes: &["distilbert."],
    tensors: &[NAMES],
    fixups: &[],
    ignored: &[],
};

const NAMES: Names = &[
    ("embeddings.word_embeddings", "embed.tokens"),
    ("embeddings.position_embeddings", "embed.positions"),
    ("embeddings.LayerNorm", "embed.norm"),
    ("transformer.layer.{i}.attention.q_lin", "blocks.{i}.attn.q"),
    ("transformer.layer.{i}.attention.k_lin", "blocks.{i}.attn.k"),
    ("transformer.layer.{i}.attention.v_lin", "blocks.{i}.attn.v"),
    ("transformer.layer.{i}.attention.out_lin", "blocks.{i}.attn.out"),
    ("transformer.layer.{i}.sa_layer_norm", "blocks.{i}.attn_norm"),
    ("transformer.layer.{i}.ffn.lin1", "blocks.{i}.mlp.up"),
    ("transformer.layer.{i}.ffn.lin2", "blocks.{i}.mlp.down"),
    ("transformer.layer.{i}.output_layer_norm", "blocks.{i}.mlp_norm"),
    ("vocab_transform", "heads.words.dense"),
    ("vocab_layer_norm", "heads.words.norm"),
    ("vocab_projector", "heads.words.out"),
    ("pre_classifier", "heads.task.dense"),
    ("classifier", "heads.task.out"),
    ("qa_outputs", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = bert::blocks(&config.with_default("intermediate_size", 3072))?;
    let heads = Heads::new(&base, activation(config, Activation::Gelu)?);
    let head = heads.first(&base, Activation::Relu).of(config, &base)?;
    Ok(Spec { head, ..base })
}
