//! Decoding, hidden states to text: a cached loop of one token after the other.
//!
//! ```text
//! prompt -> prefill in chunks -> logits of the last token [V] -> penalties, sample -> token
//!                ^                                                                    |
//!                '---------------------------- cache <-------------------------------'
//! ```

mod ahead;
mod batch;
mod beam;
mod beam_options;
mod defaults;
mod logits;
mod options;
mod pass;
mod rules;
mod sampler;
mod session;
mod stop;

pub use batch::Batch;
pub use beam::Beam;
pub use beam_options::{BeamOptions, EarlyStopping};
pub(crate) use defaults::Defaults;
pub use options::GenerateOptions;
pub(crate) use options::PREFILL_CHUNK;
pub use session::{Generation, Piece, Session, Stats, Stream, Token};
pub use stop::FinishReason;

use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// Continues a text, or answers the source of an encoder-decoder: a stream of pieces, made as they
    /// are asked for.
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer or for an encoder, [`Error::TooLong`] for a prompt
    /// longer than the window, [`Error::Argument`] for an option out of range. What goes wrong
    /// later comes as an item of the stream.
    pub fn generate(&self, prompt: &str, options: &GenerateOptions) -> Result<Stream<'static>> {
        let ids = self.need_tokenizer("generate")?.encode(prompt, true)?.ids;
        self.session()?.into_stream(ids, options)
    }

    /// Continues several texts at once, each as [`generate`](Self::generate) would: a token of all
    /// is one forward pass on the CPU, which reads each weight once for all. The pieces come with
    /// the number of their text, counted from 0.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty list, for a prompt that does not fit the window or has no
    /// token, whose number it tells, and for an option out of range; [`Error::Missing`] as
    /// [`generate`](Self::generate). What goes wrong later comes with the pieces.
    pub fn generate_all(&self, prompts: &[&str], options: &GenerateOptions) -> Result<Batch> {
        Batch::of(self, prompts, options)
    }

    /// Sequences that are decoded together, none yet: each may have options of its own and may
    /// begin while others run.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, which generates nothing.
    pub fn batch(&self) -> Result<Batch> {
        self.need_decoder("batch")?;
        Ok(Batch::new(self.clone()))
    }

    /// The likeliest continuations of a text, or answers to the source of an encoder-decoder, best
    /// first.
    ///
    /// # Errors
    /// As [`generate`](Self::generate) and [`Session::beams`].
    pub fn beams(
        &self,
        prompt: &str,
        options: &GenerateOptions,
        beams: &BeamOptions,
    ) -> Result<Vec<Beam>> {
        let ids = self.need_tokenizer("beams")?.encode(prompt, true)?.ids;
        let mut session = self.session()?;
        if let Some(token) = &beams.cancel {
            session.listen_to(token.clone());
        }
        match self.seq2seq() {
            Some(_) => {
                self.check_target("beams", &ids)?;
                session.read_source(&ids)?;
            }
            None => session.feed(&ids)?,
        }
        session.beams(options, beams)
    }

    /// A session: a cache of its own, to feed tokens and generate step by step.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, which generates nothing.
    pub fn session(&self) -> Result<Session> {
        self.need_decoder("session")?;
        Ok(Session::new(self.clone()))
    }

    /// Refuses a source that cannot be read, and files that do not say how its target begins.
    pub(crate) fn check_target(&self, call: &'static str, source: &[u32]) -> Result<()> {
        self.check_source(source)?;
        match self.defaults().start {
            Some(start) => self.check_ids(&[start]),
            None => {
                let what = "a `decoder_start_token_id` in the model's files; without one, feed the \
                            target's first token to a session";
                Err(Error::Missing { call, what: what.to_string() })
            }
        }
    }
}
