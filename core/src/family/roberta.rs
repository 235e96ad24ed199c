//! RoBERTa (arXiv:1907.11692), XLM-RoBERTa (arXiv:1911.02116), CamemBERT (arXiv:1911.03894): BERT
//! whose places count from the padding id + 1. GGUF calls them `bert`, with the rows before gone.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["roberta", "xlm-roberta", "camembert"],
    gguf: &[],
    spec,
    prefixes: &["roberta.", "camembert."],
    tensors: &[bert::NAMES, HEADS],
    fixups: &[Fixup::DropPositions, Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

pub(super) const HEADS: Names = &[
    ("lm_head.dense", "heads.words.dense"),
    ("lm_head.layer_norm", "heads.words.norm"),
    ("lm_head.decoder", "heads.words.out"),
    ("lm_head", "heads.words.own"),
    ("classifier.dense", "heads.task.dense"),
    ("classifier.out_proj", "heads.task.out"),
    ("classifier", "heads.task.out"),
    ("qa_outputs", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = places_after_padding(config, bert::blocks(config)?)?;
    let heads = Heads::new(&base, Activation::Gelu).first(&base, Activation::Tanh);
    Ok(Spec { head: heads.of(config, &base)?, ..base })
}

/// The rows of positions up to the padding's are never a token's.
pub(super) fn places_after_padding(config: &Config, base: Spec) -> Result<Spec> {
    let unused = config.usize("pad_token_id")?.unwrap_or(1).saturating_add(1);
    let window = base.window.checked_sub(unused).filter(|window| *window > 0);
    let window = window.ok_or_else(|| {
        let problem = format!("is `{}`, no more than the {unused} before the first", base.window);
        Error::config("max_position_embeddings", problem)
    })?;
    Ok(Spec { window, position: Position::Learned { count: window }, ..base })
}
