//! Doing once, on a few tokens, what calls do.

use crate::embed::{EmbedOptions, PooledRow, Prepared};
use crate::error::Result;
use crate::generate::{GenerateOptions, PREFILL_CHUNK};
use crate::model::Model;
use crate::text::Encoding;

/// Tokens of the batches of a warm-up: as many as products tell apart, which are few, some and many,
/// whole tiles and others.
const WARM_TOKENS: [usize; 10] = [1, 2, 7, 9, 20, 64, 100, 256, 512, 515];

impl Model {
    /// Does once, on a few tokens, what calls do, so that the first call is as fast as those after
    /// it: a GPU's driver compiles each kernel when it is first used, which can take seconds.
    ///
    /// Warm afterwards are prompts and steps of a decoder's sessions, whatever their lengths, since
    /// these are arguments of the kernels, and what chooses tokens; of encoders, [`embed`](Self::embed) and
    /// [`forward`](Self::forward) but for single kernels that depend on the number of tokens. Where
    /// attention adds something to scores (ALiBi, learned distances) or keeps sinks, other lengths
    /// may compile more, and so do tasks, beams and [`forward_with`](Self::forward_with)'s
    /// options.
    ///
    /// What is compiled lasts as long as the process. On the CPU there is little to gain.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device fails,
    /// [`Error::NotFinite`](crate::Error::NotFinite) when the model's numbers are broken.
    pub fn warmup(&self) -> Result<()> {
        let window = self.spec().window;
        if self.decoder().is_none() {
            let window = self.reader().window;
            for tokens in WARM_TOKENS {
                // One text, or some, of which the last is shorter.
                let longest = if tokens > 2 { tokens.div_ceil(2) } else { tokens };
                let rows: Vec<Vec<u32>> =
                    vec![0; tokens].chunks(longest.min(window)).map(<[u32]>::to_vec).collect();
                self.forward(&rows)?;
                self.warm_embedding(&rows)?;
            }
        } else {
            self.warm_embedding(&[vec![0]])?;
            self.warm_embedding(&[vec![0], vec![0; 5.min(window)]])?;
        }
        if self.encoder().is_some() {
            return Ok(());
        }
        // Prompts of as many tokens as products tell apart, and steps, with so few keys that one part
        // of the GPU looks at them and with more; where the window is short, as many as it has.
        for prompt in [1, 2, 5, 9, 20, 40, 70, PREFILL_CHUNK] {
            let mut session = self.session()?;
            if self.seq2seq().is_some() {
                session.read_source(&vec![0; window.min(9)])?;
            }
            for length in [prompt, 1, 2, 1] {
                // A long prompt leaves room for the steps after it.
                let kept = session.ids().len() + if length > 2 { 4 } else { 0 };
                let length = length.min(window.saturating_sub(kept));
                if length > 0 {
                    session.feed(&vec![0; length])?;
                }
            }
        }
        // What chooses tokens on a GPU: the likeliest, of all, and of those that cuts leave.
        if self.seq2seq().is_none() {
            let some = GenerateOptions::default().max_tokens(2).ignore_eos(true);
            let some = some.repetition_penalty(1.0).frequency_penalty(0.0).presence_penalty(0.0);
            let drawn = some.clone().temperature(1.0).top_p(1.0).min_p(0.0);
            for options in [some.greedy(), drawn.clone().top_k(0), drawn.top_k(4)] {
                let mut session = self.session()?;
                session.feed(&[0])?;
                session.generate(&options)?.text()?;
            }
        }
        Ok(())
    }

    /// Embeds rows of ids, where the files have a tokenizer that could have made them.
    fn warm_embedding(&self, rows: &[Vec<u32>]) -> Result<()> {
        if self.tokenizer().is_none() {
            return Ok(());
        }
        let prepared = rows.iter().map(|ids| Prepared {
            row: PooledRow { tokens: ids.len(), skipped: 0 },
            encoding: Encoding {
                ids: ids.clone(),
                type_ids: vec![0; ids.len()],
                offsets: vec![(0, 0); ids.len()],
                special: vec![false; ids.len()],
                cut: 0,
            },
        });
        let all: Vec<usize> = (0..rows.len()).collect();
        self.embed_batch(&prepared.collect::<Vec<_>>(), &all, &EmbedOptions::default()).map(drop)
    }
}
