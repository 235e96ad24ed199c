//! DeBERTa v2 and v3 (arXiv:2006.03654, arXiv:2111.09543): attention of contents with contents and
//! with distances.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["deberta-v2"],
    gguf: &[],
    spec,
    prefixes: &["deberta."],
    tensors: &[NAMES, bert::NAMES, bert::HEADS],
    fixups: &[Fixup::WordsBias],
    // The head of v3's training, which tells replaced tokens.
    ignored: &["embeddings.position_ids", "mask_predictions.*"],
};

const NAMES: Names = &[
    ("encoder.rel_embeddings", "relative.table"),
    ("encoder.LayerNorm", "relative.norm"),
    ("encoder.layer.{i}.attention.self.query_proj", "blocks.{i}.attn.q"),
    ("encoder.layer.{i}.attention.self.key_proj", "blocks.{i}.attn.k"),
    ("encoder.layer.{i}.attention.self.value_proj", "blocks.{i}.attn.v"),
    ("encoder.layer.{i}.attention.self.pos_key_proj", "blocks.{i}.attn.pos_k"),
    ("encoder.layer.{i}.attention.self.pos_query_proj", "blocks.{i}.attn.pos_q"),
    ("lm_predictions.lm_head.dense", "heads.words.dense"),
    ("lm_predictions.lm_head.LayerNorm", "heads.words.norm"),
    ("lm_predictions.lm_head", "heads.words.own"),
];

fn spec(config: &Config) -> Result<Spec> {
    let base = bert::blocks(config)?;
    let sizes = [
        ("embedding_size", base.width),
        ("conv_kernel_size", 0),
        ("attention_head_size", base.attention.head_dim),
    ];
    for (key, wanted) in sizes {
        if let Some(found) = config.usize(key)?
            && found != wanted
        {
            return Err(unknown(key, &found.to_string(), &[&wanted.to_string()]));
        }
    }
    // `c2p|p2c`, or a list of the two.
    let text = config.text_list("pos_att_type", '|')?.unwrap_or_default();
    let kinds: Vec<&str> =
        text.iter().map(String::as_str).filter(|kind| !kind.is_empty()).collect();
    if let Some(other) = kinds.iter().find(|kind| !["c2p", "p2c"].contains(*kind)) {
        return Err(unknown("pos_att_type", other, &["c2p", "p2c"]));
    }
    let (to_position, to_content) = (kinds.contains(&"c2p"), kinds.contains(&"p2c"));
    let positive = |key: &str| -> Result<Option<usize>> {
        let found = config.f64(key)?.filter(|found| *found >= 1.0);
        Ok(found.map(|found| found as usize))
    };
    let furthest = positive("max_relative_positions")?.unwrap_or(base.window);
    let (reach, furthest) = match positive("position_buckets")? {
        Some(buckets) => (buckets, Some(furthest)),
        None => (furthest, None),
    };
    let relative = match config.bool("relative_attention")?.unwrap_or(false) {
        true => Some(Relative::Disentangled {
            reach,
            furthest,
            shared: config.bool("share_att_key")?.unwrap_or(false),
            to_position,
            to_content,
            norm: config.string("norm_rel_ebd")?.is_some_and(|kind| kind.contains("layer_norm")),
        }),
        false => None,
    };
    let parts = 1 + usize::from(to_position) + usize::from(to_content);
    let position = match config.bool("position_biased_input")?.unwrap_or(true) {
        true => base.position.clone(),
        false => Position::None,
    };
    let base = Spec {
        position,
        attention: Attention {
            scale: ((base.attention.head_dim * parts) as f64).powf(-0.5),
            relative,
            ..base.attention
        },
        ..base
    };
    let pooler = match config.string("pooler_hidden_act")? {
        None => Activation::Gelu,
        Some(name) => named_activation(name)?,
    };
    let heads = Heads::new(&base, activation(config, Activation::Gelu)?);
    Ok(Spec { head: Heads { pooler, ..heads }.of(config, &base)?, ..base })
}
