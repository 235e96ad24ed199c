//! Gemma 3, its text part (arXiv:2503.19786): norms around, a norm on queries and keys, five
//! sliding blocks to a full one with a rotation of its own, scaled embeddings. EmbeddingGemma
//! (arXiv:2509.20354) is the same with tokens that see both sides, and without a head.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["gemma3_text", "gemma3"],
    gguf: &["gemma3"],
    spec,
    prefixes: &["language_model.model.", "model.language_model.", "language_model.", "model."],
    tensors: &[gemma2::NAMES, qwen3::NAMES, llama::NAMES],
    fixups: &[Fixup::AddOne(&[
        "attn_norm",
        "attn_post_norm",
        "mlp_norm",
        "mlp_post_norm",
        "attn.q_norm",
        "attn.k_norm",
        "norm",
    ])],
    // The eyes of the larger sizes: text alone needs none of them.
    ignored: &["vision_tower.*", "multi_modal_projector.*"],
};

/// EmbeddingGemma in GGUF; a folder calls both `gemma3_text`.
pub(super) static EMBEDDING: Family = Family {
    names: &["gemma_embedding"],
    gguf: &["gemma-embedding"],
    spec: |config| spec(&config.with("use_bidirectional_attention", true)),
    ..FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    let both_sides = config.bool("use_bidirectional_attention")?.unwrap_or(false);
    let base = gemma::spec(&config.with("use_bidirectional_attention", false))?;
    let head_dim = base.attention.head_dim;
    let window = config.usize("sliding_window")?.unwrap_or(4096);
    let pattern = config.usize("sliding_window_pattern")?.unwrap_or(6).max(1);
    let full = rope(config, head_dim, Some("full_attention"), 1_000_000.0)?;
    let local = match config.object("rope_parameters")? {
        Some(parameters) if parameters.object("sliding_attention")?.is_some() => {
            rope(config, head_dim, Some("sliding_attention"), 10_000.0)?
        }
        _ => Rope {
            theta: config.f64("rope_local_base_freq")?.unwrap_or(10_000.0),
            scaling: Scaling::None,
            ..full.clone()
        },
    };
    let mut layers =
        layers(config, base.layers.len(), Some(window), |i| !(i + 1).is_multiple_of(pattern))?;
    for layer in &mut layers {
        let slides = matches!(layer.span, Span::Sliding { .. });
        if slides {
            layer.rope = LayerRope::Own(local.clone());
        }
        layer.span = match (both_sides, slides) {
            (false, _) => layer.span,
            // The window is shared out to both sides.
            (true, true) => Span::Local { reach: window / 2 },
            (true, false) => Span::Bidirectional,
        };
    }
    let scale = gemma::scale(config, &base, head_dim as f64, 62)?;
    Ok(Spec {
        window: config.usize("max_position_embeddings")?.unwrap_or(131_072),
        position: Position::Rope(full),
        attention: Attention {
            qk_norm: Some(QkNorm::Shared(base.norm)),
            scale,
            softcap: config.f64("attn_logit_softcapping")?,
            ..base.attention
        },
        mlp: Mlp::Gated {
            ffn: base.mlp.ffn(),
            activation: activation(config, Activation::GeluTanh)?,
            bias: false,
            down_bias: false,
        },
        place: Place::Around,
        layers,
        head: match both_sides {
            true => Head::None,
            false => head(config, config.f64("final_logit_softcapping")?)?,
        },
        ..base
    })
}
