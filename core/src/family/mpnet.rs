//! MPNet (arXiv:2004.09297): RoBERTa's places, and T5's buckets of distances over them.

use super::heads::Heads;
use super::roberta::places_after_padding;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["mpnet"],
    gguf: &[],
    spec,
    prefixes: &["mpnet."],
    tensors: &[NAMES, bert::NAMES, roberta::HEADS],
    fixups: &[Fixup::DropPositions, Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

const NAMES: Names = &[
    ("encoder.relative_attention_bias", "relative.table"),
    ("encoder.layer.{i}.attention.attn.q", "blocks.{i}.attn.q"),
    ("encoder.layer.{i}.attention.attn.k", "blocks.{i}.attn.k"),
    ("encoder.layer.{i}.attention.attn.v", "blocks.{i}.attn.v"),
    ("encoder.layer.{i}.attention.attn.o", "blocks.{i}.attn.out"),
    ("encoder.layer.{i}.attention.LayerNorm", "blocks.{i}.attn_norm"),
];

/// Distances from here on share a bucket; no config says it.
const FURTHEST: usize = 128;

fn spec(config: &Config) -> Result<Spec> {
    let base = places_after_padding(config, bert::blocks(config)?)?;
    let count = config.usize("relative_attention_num_buckets")?.unwrap_or(32);
    let relative = Some(Relative::Buckets { count, furthest: FURTHEST, both: true });
    let base = Spec { attention: Attention { relative, ..base.attention }, ..base };
    let heads = Heads::new(&base, Activation::Gelu).first(&base, Activation::Tanh);
    Ok(Spec { head: heads.of(config, &base)?, ..base })
}
