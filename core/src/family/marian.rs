//! Marian (arXiv:1804.00344) and the OPUS-MT models made with it: the encoder-decoder of 2017 with
//! SiLU and all sines before all cosines.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["marian"],
    gguf: &[],
    spec,
    prefixes: &["model."],
    tensors: &[bart::NAMES],
    fixups: bart::FIXUPS,
    // Numbers that follow from the place.
    ignored: &["encoder.embed_positions.weight", "decoder.embed_positions.weight"],
};

fn spec(config: &Config) -> Result<Spec> {
    let base = bart::stacks(config, Activation::Gelu)?;
    let plain = |spec: Spec, shared: bool| Spec {
        embed: Embed { norm: false, shared, ..spec.embed },
        position: Position::Sinusoidal { pairing: Pairing::Halves },
        ..spec
    };
    let shared = config.bool("share_encoder_decoder_embeddings")?.unwrap_or(true);
    let vocab = match (shared, config.usize("decoder_vocab_size")?) {
        (false, Some(vocab)) => vocab,
        _ => base.vocab,
    };
    let encoder = base.encoder.clone().map(|encoder| Box::new(plain(*encoder, shared)));
    Ok(Spec { vocab, encoder, ..plain(base, false) })
}
