//! ELECTRA (arXiv:2003.10555): BERT whose embeddings may be smaller than its hidden states. The
//! discriminator's head, which tells replaced tokens, is left out.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["electra"],
    gguf: &[],
    spec,
    prefixes: &["electra."],
    tensors: &[bert::NAMES, NAMES],
    fixups: &[],
    ignored: &["embeddings.position_ids", "discriminator_predictions.*"],
};

const NAMES: Names = &[
    ("embeddings_project", "embed.proj"),
    ("generator_predictions.dense", "heads.words.dense"),
    ("generator_predictions.LayerNorm", "heads.words.norm"),
    ("generator_lm_head", "heads.words.out"),
    ("classifier.dense", "heads.task.dense"),
    ("classifier.out_proj", "heads.task.out"),
    ("classifier", "heads.task.out"),
    ("qa_outputs", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = bert::blocks(config)?;
    let width = config.usize("embedding_size")?.unwrap_or(128);
    let factor = (width != base.width).then_some(Factor::Sum { width });
    let base = Spec { embed: Embed { factor, ..base.embed }, ..base };
    let heads = Heads::new(&base, Activation::Gelu).first(&base, Activation::Gelu);
    Ok(Spec { head: heads.of(config, &base)?, ..base })
}
