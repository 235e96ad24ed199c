//! Hidden states to embeddings: what sentence-transformers computes for the same folder.
//!
//! ```text
//! texts -> prompt, tokens, cut at the limit -> batches by length -> hidden [B, T, D]
//!       -> pool [B, D] -> dense, normalize -> rows in the order of the texts
//! ```

mod embedder;
mod late;
mod options;
mod pooling;
mod recipe;
mod vectors;

pub(crate) use embedder::{Embedder, Prepared};
pub(crate) use late::Late;
pub use options::EmbedOptions;
pub(crate) use pooling::PooledRow;
pub use pooling::Pooling;
pub(crate) use recipe::Recipe;
pub use vectors::Embeddings;

use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::spec::Factor;
use crate::nn::{Padded, by_length};
use crate::output::{Later, finite};
use crate::reserve::zeros;

/// Tokens of a batch on a GPU, by default.
const LEAST_TOKENS: usize = 2048;

/// Tokens of a batch on a GPU of a kind that is fast, by default.
const MOST_TOKENS: usize = 16_384;

/// Bytes of the largest buffer between two products of a batch: what every graphics API binds as one.
const HELD: usize = 96 << 20;

impl Model {
    /// Embeds texts as the model's folder says.
    ///
    /// The result has one row a text, in their order. No text gives no rows; a text without a
    /// token, as an empty one can be, gives zeros.
    ///
    /// # Errors
    /// As [`embed_with`](Self::embed_with).
    pub fn embed(&self, texts: &[&str]) -> Result<Embeddings> {
        self.embed_with(texts, &EmbedOptions::default())
    }

    /// Embeds texts as `options` say.
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer, [`Error::Argument`] for an option out of range,
    /// [`Error::Memory`] when there is no room for the result, [`Error::Cancelled`] when asked to
    /// stop, [`Error::Device`] when the device fails, [`Error::NotFinite`] when the model's numbers
    /// are broken.
    pub fn embed_with(&self, texts: &[&str], options: &EmbedOptions) -> Result<Embeddings> {
        let tokenizer = self.need_tokenizer("embed")?;
        if let Some(Factor::Tokens { .. }) = self.spec().embed.factor {
            return Err(Error::Unsupported {
                what: "an embedding by states that are projected back to the size of a token's"
                    .to_string(),
                known: "models whose hidden states come out as they are".to_string(),
            });
        }
        let embedder = self.embedder();
        let width = self.embedding_width(options)?;
        let bound = self.batch_tokens(options.run.batch_tokens)?;
        let mut values = zeros("embeddings", &[texts.len(), width])?;
        let prepared = embedder.prepare(tokenizer, texts, options, self.reader().window)?;
        for text in &prepared {
            self.check_read(&text.encoding.ids)?;
            self.check_types(&text.encoding.type_ids)?;
        }
        let mut done = prepared.iter().filter(|text| text.row.tokens == 0).count();
        let lengths: Vec<usize> = prepared.iter().map(|text| text.row.tokens).collect();
        let mut take = |(batch, rows): (Vec<usize>, Later)| {
            let rows = self.guarded(|| finite("embeddings", rows.read(self.device())?))?;
            if rows.len() != batch.len() * width {
                let problem = format!("gives {} numbers for {} texts", rows.len(), batch.len());
                return Err(Error::argument("pooling", problem));
            }
            for (i, row) in batch.iter().zip(rows.chunks_exact(width)) {
                values[i * width..(i + 1) * width].copy_from_slice(row);
            }
            done += batch.len();
            if let Some(progress) = &options.run.progress {
                progress.tell(done, texts.len());
            }
            Ok(())
        };
        // On a GPU a batch is ordered before the last one is waited for.
        let mut last = None;
        for batch in by_length(&lengths, bound) {
            let rows = self.embed_batch(&prepared, &batch, options)?;
            let here = matches!(rows, Later::Here(_));
            let before = last.replace((batch, rows));
            before.into_iter().chain(last.take_if(|_| here)).try_for_each(&mut take)?;
        }
        last.into_iter().try_for_each(&mut take)?;
        let cut = prepared.iter().map(|text| text.encoding.cut).collect();
        Ok(Embeddings::new(values, width, cut))
    }

    pub(crate) fn embed_batch(
        &self,
        prepared: &[Prepared],
        batch: &[usize],
        options: &EmbedOptions,
    ) -> Result<Later> {
        let ids: Vec<&[u32]> = batch.iter().map(|i| &prepared[*i].encoding.ids[..]).collect();
        let types: Vec<&[u32]> =
            batch.iter().map(|i| &prepared[*i].encoding.type_ids[..]).collect();
        let rows: Vec<_> = batch.iter().map(|i| prepared[*i].row).collect();
        let device = self.tensor_device();
        if self.transformer().packs(device) && self.embedder().packs(device, options) {
            return self.guarded(|| {
                let batch = Padded::packed(&ids, &types, self.tensor_device());
                let hidden = self.hidden(batch, None, options.run.cancel.as_ref())?;
                let embeddings = self.embedder().finish_packed(&hidden, &rows, options);
                let embeddings =
                    embeddings.unwrap_or_else(|| unreachable!("`packs` said that it is known"));
                Later::of(embeddings, self.device())
            });
        }
        self.guarded(|| {
            let batch = Padded::new(&ids, Some(&types), self.tensor_device());
            let hidden = self.hidden(batch, None, options.run.cancel.as_ref())?;
            let embeddings = self.embedder().finish(hidden, &rows, options);
            Later::of(embeddings, self.device())
        })
    }

    /// The prompts that the folder has for embedding: (name, text).
    pub fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.embedder().prompts()
    }

    /// Size of an embedding.
    pub fn width(&self) -> usize {
        self.embedder().width
    }

    /// Size of an embedding with these options, some of which make it less than
    /// [`width`](Self::width).
    ///
    /// # Errors
    /// [`Error::Argument`] for dimensions that the model has not, or a pooling that cannot be chosen.
    pub fn embedding_width(&self, options: &EmbedOptions) -> Result<usize> {
        self.embedder().check(options)?;
        Ok(self.embedder().width_with(options))
    }

    /// The most tokens of a text that [`embed`](Self::embed) keeps.
    pub fn max_tokens(&self) -> usize {
        self.embedder().max_tokens()
    }

    /// Most tokens of a batch, as asked or by default: enough for full speed; on a CPU, few enough for
    /// what lies between two products to stay in its caches; on a GPU with memory of its own, so many
    /// that its launches are few and large, while no buffer between two products passes [`HELD`].
    pub(crate) fn batch_tokens(&self, asked: Option<usize>) -> Result<usize> {
        match asked {
            Some(0) => Err(Error::argument("batch_tokens", "is 0; a batch needs at least 1")),
            Some(tokens) => Ok(tokens),
            None if self.device().kind == DeviceKind::Cpu => Ok(512),
            None => {
                let (spec, device) = (self.spec(), self.tensor_device());
                let large =
                    self.device().kind == DeviceKind::Discrete && self.transformer().packs(device);
                let width = |i: usize| spec.attention.heads * spec.attention_of(i).head_dim;
                let attention = (0..spec.layers.len()).map(width).max().unwrap_or(0);
                let widest = spec.mlp.ffn().max(spec.width).max(attention).max(1);
                let most = if large { MOST_TOKENS } else { LEAST_TOKENS };
                Ok((HELD / (4 * widest)).clamp(LEAST_TOKENS, most))
            }
        }
    }
}
