//! How many parameters a [`Spec`] has.

use burn::tensor::Device;

use super::decoder::GptDecoder;
use super::encoder::BertEncoder;
use super::seq2seq::Seq2Seq;
use super::source::Count;
use super::spec::Spec;
use crate::error::Result;

impl Spec {
    /// How many numbers a model of this spec has: weights, biases and norms, each once.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the spec does not fit together.
    pub fn parameters(&self) -> Result<u64> {
        self.validate()?;
        let mut count = Count { device: &Device::flex(), total: 0 };
        match self.has_logits() {
            _ if self.encoder.is_some() => Seq2Seq::build(&mut count, self).map(|_| ())?,
            true => GptDecoder::build(&mut count, self).map(|_| ())?,
            false => BertEncoder::build(&mut count, self).map(|_| ())?,
        }
        Ok(count.total)
    }
}
