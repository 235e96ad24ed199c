//! An encoder-decoder: the encoder reads the source, the decoder writes the target and looks at the
//! encoder's states on the way (arXiv:1706.03762).
//!
//! ```text
//! source [B, S] -> encoder -> states [B, S, D] -> keys and values of every block: CrossCache
//!                                                     |
//! target [B, T] -> decoder: attn -> cross attention <-'  -> mlp -> head -> logits [B, T, V]
//! ```

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

use super::cache::Cache;
use super::cross::CrossCache;
use super::decoder::GptDecoder;
use super::rows::Rows;
use super::source::{Prefixed, Random, Source};
use super::spec::Spec;
use super::transformer::{GoOn, Run, Transformer};
use super::weight::Weight;
use crate::error::{Error, Result};

/// Source and target in, logits of the target's next tokens out.
///
/// Both stacks are made of the same [`Block`](super::Block)s as all other models; those of the
/// decoder have a second attention whose keys and values are the encoder's states.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use emberform::nn::{Cache, Seq2Seq, Spec};
///
/// let device = Device::flex();
/// let spec = Spec::seq2seq(100, 32, 2, 4, 64);
/// let model = Seq2Seq::new(&spec, &device)?;
/// let source = Tensor::<2, Int>::from_data([[5, 6, 7, 8]], &device);
/// let target = Tensor::<2, Int>::from_data([[1, 2, 3]], &device);
/// assert_eq!(model.forward(source.clone(), None, target).dims(), [1, 3, 100]);
///
/// // Token by token: the source is read once.
/// let cross = model.cross_cache(model.encode(source, None), None);
/// let mut cache = Cache::new(&spec);
/// let first = Tensor::<2, Int>::from_data([[1]], &device);
/// assert_eq!(model.step(first, &cross, &mut cache).dims(), [1, 1, 100]);
/// # Ok::<(), emberform::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Seq2Seq {
    /// Its table of tokens may be the decoder's.
    encoder: Transformer,
    decoder: GptDecoder,
}

impl Seq2Seq {
    /// A new model with random weights, to be trained.
    ///
    /// # Errors
    /// [`Error::Config`] when the spec does not fit together or has no encoder.
    pub fn new(spec: &Spec, device: &Device) -> Result<Self> {
        spec.validate()?;
        Self::build(&mut Random { device }, spec)
    }

    pub(crate) fn build(source: &mut dyn Source, spec: &Spec) -> Result<Self> {
        let Some(encoder) = &spec.encoder else {
            let problem = "is true of a spec without an encoder; give `Spec::encoder` one";
            return Err(Error::config("is_encoder_decoder", problem));
        };
        let mut prefixed = Prefixed { source: &mut *source, prefix: "encoder." };
        let encoder = Transformer::build(&mut prefixed, encoder)?;
        Ok(Seq2Seq { encoder, decoder: GptDecoder::build(source, spec)? })
    }

    /// What it was built from: the decoder's spec, which holds the encoder's.
    pub fn spec(&self) -> &Spec {
        self.decoder.transformer.spec()
    }

    /// Logits at every token of the targets.
    ///
    /// # Shapes
    /// `ids: [B, S]` of the sources, `kept: [B, S]` (`true` for real tokens, all when absent; padding
    /// stands on the right), `decoder_ids: [B, T]` -> `[B, T, V]`
    pub fn forward(
        &self,
        ids: Tensor<2, Int>,
        kept: Option<Tensor<2, Bool>>,
        decoder_ids: Tensor<2, Int>,
    ) -> Tensor<3> {
        let source = self.cross_cache(self.encode(ids, kept.clone()), kept);
        let rows = Rows::full(decoder_ids.dims(), 0);
        self.decode(decoder_ids, Run { across: Some(&source), ..Run::of(rows) })
    }

    /// The encoder's hidden states of sources.
    ///
    /// # Shapes
    /// `ids, kept: [B, S]` as in [`forward`](Self::forward) -> `[B, S, D]`
    pub fn encode(&self, ids: Tensor<2, Int>, kept: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let run = Run { tokens: self.shared(), ..Run::of(self.encoder.rows(&ids, kept)) };
        self.encoder.run_through(ids, run)
    }

    /// The keys and values that the decoder's blocks have of the encoder's states, computed once for
    /// all calls of [`step`](Self::step).
    ///
    /// # Shapes
    /// `hidden: [B, S, D]`, `kept: [B, S]`
    pub fn cross_cache(&self, hidden: Tensor<3>, kept: Option<Tensor<2, Bool>>) -> CrossCache {
        let [b, s, _] = hidden.dims();
        let blocks = self.decoder.transformer.blocks.iter();
        let seen = blocks.filter_map(|block| Some(block.cross.as_ref()?.look(hidden.clone())));
        CrossCache::new(seen.collect(), [b, s], kept)
    }

    /// The next tokens of targets, whose earlier ones are in `cache`.
    ///
    /// # Shapes
    /// `decoder_ids: [R, T]` -> `[R, T, V]`; R is the same in all calls with one cache, and a
    /// multiple of the sources in `source`: rows that continue one source follow each other.
    pub fn step(
        &self,
        decoder_ids: Tensor<2, Int>,
        source: &CrossCache,
        cache: &mut Cache,
    ) -> Tensor<3> {
        let run = Run::after(cache, decoder_ids.dims());
        self.decode(decoder_ids, Run { across: Some(source), ..run })
    }

    /// The table of tokens where both have one.
    fn shared(&self) -> Option<&Weight> {
        self.encoder.spec().embed.shared.then(|| self.decoder.transformer.table())
    }

    /// The encoder with all that a run may be told.
    pub(crate) fn encode_run(
        &self,
        ids: Tensor<2, Int>,
        run: Run<'_>,
        go_on: GoOn<'_>,
    ) -> Option<Tensor<3>> {
        self.encoder.run(ids, Run { tokens: self.shared(), ..run }, go_on)
    }

    /// The decoder, up to the logits.
    fn decode(&self, ids: Tensor<2, Int>, run: Run<'_>) -> Tensor<3> {
        self.decoder.logits(self.decoder.transformer.run_through(ids, run))
    }

    /// Decides who computes the blocks of both stacks on a device, which prints as `name`.
    pub(crate) fn decide(&mut self, device: &Device, name: &str) {
        self.encoder.decide(device, name);
        self.decoder.transformer.decide(device, name);
    }

    pub(crate) fn encoder(&self) -> &Transformer {
        &self.encoder
    }

    pub(crate) fn decoder(&self) -> &GptDecoder {
        &self.decoder
    }
}
