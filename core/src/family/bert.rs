//! BERT (arXiv:1810.04805): bidirectional, post-norm, learned positions and segment types.

use super::heads::Heads;
use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["bert"],
    gguf: &["bert"],
    spec,
    prefixes: &["bert."],
    tensors: &[NAMES, HEADS],
    fixups: &[Fixup::WordsBias],
    ignored: &["embeddings.position_ids"],
};

pub(super) const NAMES: Names = &[
    ("embeddings.word_embeddings", "embed.tokens"),
    ("embeddings.position_embeddings", "embed.positions"),
    ("embeddings.token_type_embeddings", "embed.types"),
    ("embeddings.LayerNorm", "embed.norm"),
    ("encoder.layer.{i}.attention.self.query", "blocks.{i}.attn.q"),
    ("encoder.layer.{i}.attention.self.key", "blocks.{i}.attn.k"),
    ("encoder.layer.{i}.attention.self.value", "blocks.{i}.attn.v"),
    ("encoder.layer.{i}.attention.output.dense", "blocks.{i}.attn.out"),
    ("encoder.layer.{i}.attention.output.LayerNorm", "blocks.{i}.attn_norm"),
    ("encoder.layer.{i}.intermediate.dense", "blocks.{i}.mlp.up"),
    ("encoder.layer.{i}.output.dense", "blocks.{i}.mlp.down"),
    ("encoder.layer.{i}.output.LayerNorm", "blocks.{i}.mlp_norm"),
    ("pooler.dense", "pooler"),
];

pub(super) const HEADS: Names = &[
    ("cls.predictions.transform.dense", "heads.words.dense"),
    ("cls.predictions.transform.LayerNorm", "heads.words.norm"),
    ("cls.predictions.decoder", "heads.words.out"),
    ("cls.predictions", "heads.words.own"),
    ("cls.seq_relationship", "heads.order.out"),
    ("classifier", "heads.task.out"),
    ("qa_outputs", "heads.task.out"),
];

fn spec(config: &Config) -> Result<Spec> {
    headed(config, blocks(config)?)
}

/// `base` with the heads that the checkpoint has.
pub(super) fn headed(config: &Config, base: Spec) -> Result<Spec> {
    let head = Heads::new(&base, activation(config, Activation::Gelu)?).of(config, &base)?;
    Ok(Spec { head, ..base })
}

/// The spec that the family's children start from, without a head.
pub(super) fn blocks(config: &Config) -> Result<Spec> {
    let (width, heads) = (config.need_usize("hidden_size")?, head_count(config)?);
    let head_dim = head_dim(config, width, heads)?;
    if let Some(kind) = config.string("position_embedding_type")?
        && kind != "absolute"
    {
        return Err(unknown("position embedding", kind, &["absolute"]));
    }
    let window = config.usize("max_position_embeddings")?.unwrap_or(512);
    Ok(Spec {
        vocab: config.vocab()?,
        width,
        window,
        embed: Embed {
            types: config.rows("embed.types.weight").unwrap_or(0),
            norm: true,
            ..Embed::default()
        },
        position: Position::Learned { count: window },
        attention: Attention {
            heads,
            kv_heads: heads,
            head_dim,
            qkv_bias: true,
            out_bias: true,
            qk_norm: None,
            scale: (head_dim as f64).powf(-0.5),
            softcap: None,
            relative: None,
            sinks: false,
            gate: None,
            latent: None,
        },
        mlp: Mlp::Plain {
            ffn: config.need_usize("intermediate_size")?,
            activation: activation(config, Activation::Gelu)?,
            bias: true,
        },
        norm: Norm::Layer { eps: config.f64("layer_norm_eps")?.unwrap_or(1e-12), bias: true },
        place: Place::After,
        layers: vec![Layer::new(Span::Bidirectional); layer_count(config)?],
        last_norm: false,
        head: Head::None,
        scales: Scales::default(),
        encoder: None,
    })
}
