//! JinaBERT (arXiv:2310.19923): BERT with distances added to scores (ALiBi, both ways) instead of
//! positions, and a gated MLP.

use super::*;

pub(super) static FAMILY: Family = Family {
    // Published configs say `bert`.
    names: &["jina_bert", "bert:alibi"],
    gguf: &["jina-bert-v2"],
    spec,
    prefixes: &["bert."],
    tensors: &[NAMES, bert::NAMES, bert::HEADS],
    fixups: &[Fixup::SplitGateUp, Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

const NAMES: Names = &[
    ("encoder.layer.{i}.mlp.gated_layers", "blocks.{i}.mlp.gate_up"),
    ("encoder.layer.{i}.mlp.wo", "blocks.{i}.mlp.down"),
    ("encoder.layer.{i}.mlp.layernorm", "blocks.{i}.mlp_norm"),
];

fn spec(config: &Config) -> Result<Spec> {
    for (key, known) in [
        ("position_embedding_type", &["alibi"][..]),
        ("feed_forward_type", &["geglu"]),
        ("emb_pooler", &["mean"]),
        // How scores are computed, not what they are.
        ("attn_implementation", &["torch", "eager", "sdpa", "flash_attention_2"]),
    ] {
        if let Some(said) = config.string(key)?
            && !known.contains(&said)
        {
            return Err(unknown(key, said, known));
        }
    }
    let base = bert::blocks(&config.with("position_embedding_type", "absolute"))?;
    let mlp = Mlp::Gated {
        ffn: base.mlp.ffn(),
        activation: Activation::Gelu,
        bias: false,
        down_bias: true,
    };
    bert::headed(config, Spec { position: Position::Alibi { scale: 1.0 }, mlp, ..base })
}
