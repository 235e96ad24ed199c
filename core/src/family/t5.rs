//! T5 (arXiv:1910.10683), its version 1.1 with gated MLPs (arXiv:2002.05202) and Flan-T5
//! (arXiv:2210.11416): pre-norm RMS without biases, scores that are not scaled, learned buckets of
//! distances. A folder without a decoder is an encoder alone, as in sentence-t5
//! (arXiv:2108.08877).

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["t5"],
    gguf: &["t5", "t5encoder"],
    spec,
    prefixes: &[],
    tensors: &[NAMES],
    fixups: &[Fixup::Tables, Fixup::EncoderAlone],
    // Of an early export; no distance is defined between source and target.
    ignored: &["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
};

const NAMES: Names = &[
    ("shared", "embed.tokens"),
    ("encoder.embed_tokens", "encoder.embed.tokens"),
    ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "encoder.relative.table"),
    ("encoder.block.{i}.layer.0.layer_norm", "encoder.blocks.{i}.attn_norm"),
    ("encoder.block.{i}.layer.0.SelfAttention.q", "encoder.blocks.{i}.attn.q"),
    ("encoder.block.{i}.layer.0.SelfAttention.k", "encoder.blocks.{i}.attn.k"),
    ("encoder.block.{i}.layer.0.SelfAttention.v", "encoder.blocks.{i}.attn.v"),
    ("encoder.block.{i}.layer.0.SelfAttention.o", "encoder.blocks.{i}.attn.out"),
    ("encoder.block.{i}.layer.1.layer_norm", "encoder.blocks.{i}.mlp_norm"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi", "encoder.blocks.{i}.mlp.up"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_0", "encoder.blocks.{i}.mlp.gate"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_1", "encoder.blocks.{i}.mlp.up"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wo", "encoder.blocks.{i}.mlp.down"),
    ("encoder.final_layer_norm", "encoder.norm"),
    ("decoder.embed_tokens", "embed.twin"),
    ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias", "relative.table"),
    ("decoder.block.{i}.layer.0.layer_norm", "blocks.{i}.attn_norm"),
    ("decoder.block.{i}.layer.0.SelfAttention.q", "blocks.{i}.attn.q"),
    ("decoder.block.{i}.layer.0.SelfAttention.k", "blocks.{i}.attn.k"),
    ("decoder.block.{i}.layer.0.SelfAttention.v", "blocks.{i}.attn.v"),
    ("decoder.block.{i}.layer.0.SelfAttention.o", "blocks.{i}.attn.out"),
    ("decoder.block.{i}.layer.1.layer_norm", "blocks.{i}.cross_norm"),
    ("decoder.block.{i}.layer.1.EncDecAttention.q", "blocks.{i}.cross.q"),
    ("decoder.block.{i}.layer.1.EncDecAttention.k", "blocks.{i}.cross.k"),
    ("decoder.block.{i}.layer.1.EncDecAttention.v", "blocks.{i}.cross.v"),
    ("decoder.block.{i}.layer.1.EncDecAttention.o", "blocks.{i}.cross.out"),
    ("decoder.block.{i}.layer.2.layer_norm", "blocks.{i}.mlp_norm"),
    ("decoder.block.{i}.layer.2.DenseReluDense.wi", "blocks.{i}.mlp.up"),
    ("decoder.block.{i}.layer.2.DenseReluDense.wi_0", "blocks.{i}.mlp.gate"),
    ("decoder.block.{i}.layer.2.DenseReluDense.wi_1", "blocks.{i}.mlp.up"),
    ("decoder.block.{i}.layer.2.DenseReluDense.wo", "blocks.{i}.mlp.down"),
    ("decoder.final_layer_norm", "norm"),
    ("lm_head", "head"),
];

/// Distances have no end, so that no length is too long; this one bounds what a caller may ask for.
const WINDOW: usize = 1 << 14;

fn spec(config: &Config) -> Result<Spec> {
    let (width, heads) = (config.need_usize("hidden_size")?, head_count(config)?);
    let ffn = config.usize("d_ff")?.map_or_else(|| config.need_usize("intermediate_size"), Ok)?;
    // GGUF has no key for it: T5's, or Flan-T5's where there are gates.
    let kind = match config.is_gguf() && config.has("encoder.blocks.0.mlp.gate.weight") {
        true => "gated-gelu",
        false => config.string("feed_forward_proj")?.unwrap_or("relu"),
    };
    let mlp = match kind.strip_prefix("gated-") {
        // The name says the exact function, the model was trained with its approximation.
        Some("gelu") => gated(ffn, Activation::GeluTanh),
        Some(name) => gated(ffn, named_activation(name)?),
        None => Mlp::Plain { ffn, activation: named_activation(kind)?, bias: false },
    };
    let count = config.usize("relative_attention_num_buckets")?.unwrap_or(32);
    let furthest = config.usize("relative_attention_max_distance")?.unwrap_or(128);
    let relative = |both| Some(Relative::Buckets { count, furthest, both });
    let head_dim = match config.usize("d_kv")? {
        Some(dim) => dim,
        None => head_dim(config, width, heads)?,
    };
    let encoder = Spec {
        vocab: config.vocab()?,
        width,
        window: config.usize("max_position_embeddings")?.unwrap_or(0).max(WINDOW),
        embed: Embed::default(),
        position: Position::None,
        attention: Attention {
            heads,
            kv_heads: heads,
            head_dim,
            qkv_bias: false,
            out_bias: false,
            qk_norm: None,
            scale: 1.0,
            softcap: None,
            relative: relative(true),
            sinks: false,
            gate: None,
            latent: None,
        },
        mlp,
        norm: Norm::Rms { eps: config.f64("layer_norm_eps")?.unwrap_or(1e-6) },
        place: Place::Before,
        layers: vec![Layer::new(Span::Bidirectional); layer_count(config)?],
        last_norm: true,
        head: Head::None,
        scales: Scales::default(),
        encoder: None,
    };
    if !config.has("blocks.0.attn.q.weight") {
        return Ok(encoder);
    }
    // The first version trained a head that is the table, and scaled what it reads; the next has a
    // head of its own and scales nothing.
    let tied = match config.is_gguf() {
        true => !config.has("head.weight"),
        false => config.bool("tie_word_embeddings")?.unwrap_or(true),
    };
    let head = match tied || !config.has("head.weight") {
        true => Head::Tied { bias: false, softcap: None },
        false => Head::Own { bias: false, softcap: None },
    };
    let layers = config.usize("num_decoder_layers")?.unwrap_or(encoder.layers.len());
    let layers = layer_count(&config.with("num_hidden_layers", layers))?;
    let shared = Embed { shared: true, ..Embed::default() };
    Ok(Spec {
        attention: Attention { relative: relative(false), ..encoder.attention.clone() },
        layers: vec![Layer::new(Span::Causal); layers],
        head,
        scales: Scales { logits: tied.then_some((width as f64).powf(-0.5)), ..Scales::default() },
        encoder: Some(Box::new(Spec { embed: shared, ..encoder.clone() })),
        ..encoder
    })
}

fn gated(ffn: usize, activation: Activation) -> Mlp {
    Mlp::Gated { ffn, activation, bias: false, down_bias: false }
}
