//! Sparse vectors: a weight for each token of the vocabulary that a text is about, by the head over
//! words (SPLADE, arXiv:2107.05720).

use burn::tensor::{Tensor, activation};

use super::RunOptions;
use crate::error::Result;
use crate::model::Model;
use crate::nn::spec::TaskKind;
use crate::nn::{BertEncoder, TaskHead, by_length};
use crate::output::{finite, read};
use crate::text::Encoding;

/// A vector over the vocabulary that is zero nearly everywhere.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sparse {
    /// The ids of tokens with a weight, in ascending order.
    pub ids: Vec<u32>,
    /// The weight of each, above 0.
    pub weights: Vec<f32>,
    /// Tokens of the text that were left out to keep to the limit.
    pub cut: usize,
}

impl Sparse {
    /// The product with another: how alike the two texts are.
    pub fn dot(&self, other: &Sparse) -> f32 {
        let (mut sum, mut j) = (0.0, 0);
        for (id, weight) in self.ids.iter().zip(&self.weights) {
            while other.ids.get(j).is_some_and(|there| there < id) {
                j += 1;
            }
            if other.ids.get(j) == Some(id) {
                sum += weight * other.weights[j];
            }
        }
        sum
    }
}

/// Logits that are held at once.
const HELD: usize = 16 << 20;

impl Model {
    /// The sparse vector of each text: `log(1 + relu(logit))` of each token of the vocabulary, the
    /// largest over the text's tokens, or as the folder's `SpladePooling` says. What
    /// sentence-transformers' `SparseEncoder` computes for the same folder.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) without a tokenizer or a head over words; else as
    /// [`classify`](Self::classify).
    pub fn sparse(&self, texts: &[&str], options: &RunOptions) -> Result<Vec<Sparse>> {
        const CALL: &str = "sparse";
        let (encoder, head) = self.need_head(CALL, TaskKind::Words)?;
        let limit = self.limit(options)?;
        let encodings = self.need_tokenizer(CALL)?.encode_batch(texts, true, Some(limit))?;
        let bound = self.batch_tokens(options.batch_tokens)?;
        for encoding in &encodings {
            self.check_ids(&encoding.ids)?;
            self.check_types(&encoding.type_ids)?;
        }
        let nothing = |encoding: &Encoding| Sparse {
            ids: Vec::new(),
            weights: Vec::new(),
            cut: encoding.cut,
        };
        let mut found: Vec<Sparse> = encodings.iter().map(nothing).collect();
        let lengths: Vec<usize> = encodings.iter().map(|encoding| encoding.ids.len()).collect();
        let mut done = lengths.iter().filter(|length| **length == 0).count();
        for batch in by_length(&lengths, bound) {
            let values =
                self.guarded(|| self.sparse_batch(encoder, head, &encodings, &batch, options))?;
            for (i, row) in batch.iter().zip(values.chunks_exact(values.len() / batch.len())) {
                let some = row.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
                (found[*i].ids, found[*i].weights) =
                    some.map(|(id, weight)| (id as u32, *weight)).unzip();
            }
            done += batch.len();
            if let Some(progress) = &options.progress {
                progress.tell(done, texts.len());
            }
        }
        Ok(found)
    }

    /// The vectors of a batch, `[B, V]` row by row.
    fn sparse_batch(
        &self,
        encoder: &BertEncoder,
        head: &TaskHead,
        encodings: &[Encoding],
        batch: &[usize],
        options: &RunOptions,
    ) -> Result<Vec<f32>> {
        let ids: Vec<&[u32]> = batch.iter().map(|i| &encodings[*i].ids[..]).collect();
        let types: Vec<&[u32]> = batch.iter().map(|i| &encodings[*i].type_ids[..]).collect();
        let input = self.task_batch(&ids, &types);
        let (tokens, kept) = (input.tokens(), input.kept.clone());
        let hidden = self.hidden(input, None, options.cancel.as_ref())?; // [B, T, D]
        let splade = self.embedder().splade();
        let piece = (HELD / (batch.len() * head.task().outputs)).clamp(1, tokens);
        let mut all: Option<Tensor<3>> = None; // [B, 1, V]
        for from in (0..tokens).step_by(piece) {
            let count = piece.min(tokens - from);
            let states = hidden.clone().narrow(1, from, count);
            let logits = head.forward(states, encoder.transformer.table());
            let mut weights = activation::relu(logits).log1p(); // [B, count, V]
            if splade.twice {
                weights = weights.log1p();
            }
            if let Some(kept) = &kept {
                weights = weights * kept.clone().narrow(1, from, count).float().unsqueeze_dim(2);
            }
            let part = if splade.sum { weights.sum_dim(1) } else { weights.max_dim(1) };
            all = Some(match all {
                Some(all) if splade.sum => all + part,
                Some(all) => all.max_pair(part),
                None => part,
            });
        }
        match all {
            Some(all) => finite("weights", read(all, self.device())?),
            None => Ok(Vec::new()),
        }
    }
}
