//! The network's numbers for rows of ids: logits and hidden states, what they show of its inside, and
//! how busy experts are.

use burn::tensor::Tensor;

use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::inside::{Inside, See};
use crate::model::{Model, Net};
use crate::nn::{Cache, CrossCache, Hidden, Load, Padded, Run, Seq2Seq, States, by_length};
use crate::output::{Output, read};
use crate::reserve::{reserved, zeros};

/// What a caller chooses about a forward pass.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ForwardOptions {
    /// Stops the work from another thread.
    pub cancel: Option<CancelToken>,
    /// Hidden states to keep: 0 are those of the embeddings, `i` those after `i` blocks; the last
    /// ones are taken after the last norm, as transformers' `output_hidden_states` does. Default:
    /// none.
    pub hidden_states: Vec<usize>,
    /// Layers whose attention weights to keep, from 0. Each takes 4 H T bytes a token, and on the
    /// CPU is computed by a slower way that has these weights. Default: none.
    pub attentions: Vec<usize>,
    /// Of an encoder-decoder: a row of the target's ids for each row, which is then the source's;
    /// the decoder's logits come out. Without them the encoder's hidden states do.
    pub decoder_ids: Option<Vec<Vec<u32>>>,
}

impl ForwardOptions {
    /// Sets [`decoder_ids`](Self#structfield.decoder_ids).
    pub fn decoder_ids<R: Into<Vec<u32>>>(mut self, rows: impl IntoIterator<Item = R>) -> Self {
        self.decoder_ids = Some(rows.into_iter().map(Into::into).collect());
        self
    }

    /// Sets [`hidden_states`](Self::hidden_states).
    pub fn hidden_states(mut self, layers: impl IntoIterator<Item = usize>) -> Self {
        self.hidden_states = layers.into_iter().collect();
        self
    }

    /// Sets [`attentions`](Self::attentions).
    pub fn attentions(mut self, layers: impl IntoIterator<Item = usize>) -> Self {
        self.attentions = layers.into_iter().collect();
        self
    }

    /// Sets [`cancel`](Self#structfield.cancel).
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

/// Tokens that [`Model::forward`] takes through a block at once, unless a row of an encoder is
/// longer: a cancelled call stops after one block at most.
const FORWARD_TOKENS: usize = 256;

/// Products of the head between two looks at a cancel token.
const HEAD_WORK: usize = 1 << 31;

impl Model {
    /// The network's numbers for rows of ids: logits of a decoder, hidden states of an encoder, also
    /// of one beside a decoder (whose logits [`ForwardOptions::decoder_ids`] ask for).
    ///
    /// # Shapes
    /// B rows of ids -> `[B, T, V]` or `[B, T, D]`, T the longest row
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    pub fn forward<R: AsRef<[u32]>>(&self, rows: &[R]) -> Result<Output> {
        self.forward_with(rows, &ForwardOptions::default())
    }

    /// The network's numbers for rows of ids, computed as `options` say.
    ///
    /// Rows may differ in length; a row's numbers do not depend on the rows beside it. All numbers
    /// are kept: a decoder's take 4 V bytes a token.
    ///
    /// # Shapes
    /// B rows of ids -> `[B, T, V]` or `[B, T, D]`, T the longest row; with decoder ids `[B, T, V]`,
    /// T the longest of these
    ///
    /// # Errors
    /// [`Error::Argument`] for an id beyond the vocabulary, for a layer that is not there, or for
    /// decoder ids that are not as many rows or go to no encoder-decoder, [`Error::TooLong`] for a
    /// row longer than the window, [`Error::Memory`] when there is no room for the result,
    /// [`Error::Cancelled`] when asked to stop, [`Error::Device`] when the device fails.
    pub fn forward_with<R: AsRef<[u32]>>(
        &self,
        rows: &[R],
        options: &ForwardOptions,
    ) -> Result<Output> {
        let mut ids: Vec<&[u32]> = reserved("rows", &[rows.len()])?;
        for row in rows.iter().map(AsRef::as_ref) {
            self.check_read(row)?;
            ids.push(row);
        }
        if let Some(targets) = &options.decoder_ids {
            if !options.hidden_states.is_empty() || !options.attentions.is_empty() {
                let problem = "go without hidden states and attentions, which are of one stack";
                return Err(Error::argument("decoder_ids", problem));
            }
            return self.forward_target(&ids, targets, options.cancel.as_ref());
        }
        let lengths: Vec<usize> = ids.iter().map(|row| row.len()).collect();
        let tokens = lengths.iter().copied().max().unwrap_or(0);
        let (what, width) = match self.decoder().is_some() {
            true => ("logits", self.spec().vocab),
            false => ("hidden states", self.spec().width),
        };
        let mut values = zeros(what, &[ids.len(), tokens, width])?;
        let (states, maps) = (&options.hidden_states, &options.attentions);
        let mut inside = Inside::new(self.reader(), states, maps, ids.len(), tokens)?;
        for batch in by_length(&lengths, FORWARD_TOKENS) {
            let rows: Vec<&[u32]> = batch.iter().map(|i| ids[*i]).collect();
            let mut give = |row: usize, token: usize, numbers: &[f32]| {
                let start = (batch[row] * tokens + token) * width;
                values[start..start + numbers.len()].copy_from_slice(numbers);
            };
            let cancel = options.cancel.as_ref();
            self.guarded(|| self.forward_batch(&rows, cancel, (&batch, &mut inside), &mut give))?;
        }
        let shown = inside.finish(&lengths);
        let mut output = Output::new(values, tokens, width, lengths);
        output.shown = shown;
        Ok(output)
    }

    /// Logits of an encoder-decoder at every token of the targets.
    fn forward_target(
        &self,
        sources: &[&[u32]],
        targets: &[Vec<u32>],
        cancel: Option<&CancelToken>,
    ) -> Result<Output> {
        let Net::Seq2Seq(net) = self.net() else {
            let problem = format!("go to an encoder-decoder; `{}` is none", self.family());
            return Err(Error::argument("decoder_ids", problem));
        };
        if targets.len() != sources.len() {
            let problem = format!("are {} rows for {} of ids", targets.len(), sources.len());
            return Err(Error::argument("decoder_ids", problem));
        }
        for (source, target) in sources.iter().zip(targets) {
            self.check_ids(target)?;
            self.check_length(target.len())?;
            if source.is_empty() {
                return Err(Error::argument("ids", "hold an empty source"));
            }
        }
        let lengths: Vec<usize> = targets.iter().map(Vec::len).collect();
        let (tokens, vocab) = (lengths.iter().copied().max().unwrap_or(0), self.spec().vocab);
        let mut values = zeros("logits", &[targets.len(), tokens, vocab])?;
        // Rows without a target have no numbers.
        let rows: Vec<usize> = (0..targets.len()).filter(|row| lengths[*row] > 0).collect();
        let work: Vec<usize> =
            rows.iter().map(|row| sources[*row].len().max(lengths[*row])).collect();
        for batch in by_length(&work, FORWARD_TOKENS) {
            let batch: Vec<usize> = batch.iter().map(|i| rows[*i]).collect();
            self.guarded(|| {
                let part: Vec<&[u32]> = batch.iter().map(|row| sources[*row]).collect();
                let cross = self.read_sources(net, &part, cancel)?;
                let part: Vec<&[u32]> = batch.iter().map(|row| &targets[*row][..]).collect();
                let target = Padded::new(&part, None, self.tensor_device());
                let mut go_on =
                    |_: usize, _: &Hidden| !cancel.is_some_and(CancelToken::is_cancelled);
                let run = Run { across: Some(&cross), ..Run::of(target.rows) };
                let hidden = net.decoder().transformer.run(target.ids, run, &mut go_on);
                let hidden = hidden.ok_or(Error::Cancelled)?; // [B, T, D]
                let [b, t, d] = hidden.dims();
                let piece = (HEAD_WORK / (d * vocab) / b).clamp(1, t);
                for from in (0..t).step_by(piece) {
                    if cancel.is_some_and(CancelToken::is_cancelled) {
                        return Err(Error::Cancelled);
                    }
                    let count = piece.min(t - from);
                    let logits = net.decoder().logits(hidden.clone().narrow(1, from, count));
                    let logits = read(logits, self.device())?;
                    for (row, logits) in batch.iter().zip(logits.chunks_exact(count * vocab)) {
                        let real = lengths[*row].saturating_sub(from).min(count) * vocab;
                        let start = (row * tokens + from) * vocab;
                        values[start..start + real].copy_from_slice(&logits[..real]);
                    }
                }
                Ok(())
            })?;
        }
        Ok(Output::new(values, tokens, vocab, lengths))
    }

    /// Sources through the encoder: what the decoder will see of them.
    fn read_sources(
        &self,
        net: &Seq2Seq,
        rows: &[&[u32]],
        cancel: Option<&CancelToken>,
    ) -> Result<CrossCache> {
        let batch = Padded::new(rows, None, self.tensor_device());
        let kept = batch.kept.clone();
        let hidden = self.hidden(batch, None, cancel)?;
        Ok(net.cross_cache(hidden, kept))
    }

    /// One source through the encoder.
    pub(crate) fn read_source(&self, ids: &[u32], cancel: &CancelToken) -> Result<CrossCache> {
        let Net::Seq2Seq(net) = self.net() else {
            let what = format!("an encoder-decoder: `{}` is none", self.family());
            return Err(Error::Missing { call: "read_source", what });
        };
        self.check_source(ids)?;
        self.guarded(|| self.read_sources(net, &[ids], Some(cancel)))
    }

    pub(crate) fn check_source(&self, ids: &[u32]) -> Result<()> {
        match ids.is_empty() {
            true => Err(Error::argument("source", "has no tokens; an encoder reads at least one")),
            false => self.check_read(ids),
        }
    }

    /// Runs rows that are one batch; `give` gets the numbers of some tokens of a row, with the
    /// row's index and the first token's. `inside` takes what it asked for, of rows that are `places`
    /// among those of the call.
    fn forward_batch(
        &self,
        rows: &[&[u32]],
        cancel: Option<&CancelToken>,
        (places, inside): (&[usize], &mut Inside),
        give: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let decoder = self.decoder();
        // A long row of a decoder, alone in its batch, is read through a cache.
        let chunk = match decoder.is_some() && !inside.whole() {
            true => FORWARD_TOKENS,
            false => longest.max(1),
        };
        let mut cache = (longest > chunk).then(|| Cache::new(self.spec()));
        for start in (0..longest).step_by(chunk) {
            let part = |row: &&[u32]| start.min(row.len())..(start + chunk).min(row.len());
            let parts: Vec<&[u32]> = rows.iter().map(|row| &row[part(row)]).collect();
            let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
            let batch = Padded::new(&parts, None, self.tensor_device());
            let mut see = inside.ask();
            let batch = match &cache {
                Some(cache) => batch.after(cache.len()),
                None => batch,
            };
            let batch = batch.of_lengths(&lengths);
            let hidden = self.hidden_with(batch, cache.as_mut(), cancel, &mut see)?; // [B, T, D]
            let taken = parts.iter().zip(places).map(|(part, row)| (*row, start, part.len()));
            inside.take(see, &taken.collect::<Vec<_>>(), self.device())?;
            let [b, t, d] = hidden.dims();
            let piece = match decoder {
                Some(_) => (HEAD_WORK / (d * self.spec().vocab) / b).clamp(1, t),
                None => t,
            };
            for from in (0..t).step_by(piece) {
                if cancel.is_some_and(CancelToken::is_cancelled) {
                    return Err(Error::Cancelled);
                }
                let count = piece.min(t - from);
                let hidden = hidden.clone().narrow(1, from, count);
                let values = match decoder {
                    Some(decoder) => decoder.logits(hidden),
                    None => hidden,
                };
                let [_, _, width] = values.dims();
                let values = read(values, self.device())?;
                let rows = values.chunks_exact(count * width).zip(&parts);
                for (row, (numbers, part)) in rows.enumerate() {
                    let real = part.len().saturating_sub(from).min(count);
                    give(row, start + from, &numbers[..real * width]);
                }
            }
        }
        Ok(())
    }

    /// How often each expert of each block was chosen for the tokens of `rows`, which says
    /// whether a router keeps its experts evenly busy and which of them a kind of text needs.
    ///
    /// # Shapes
    /// B rows of ids -> L lists: a count for each expert, or none for a block without experts.
    /// Those of a block sum to all tokens times the experts that a token goes through.
    ///
    /// # Errors
    /// As [`expert_load_with`](Self::expert_load_with).
    pub fn expert_load<R: AsRef<[u32]>>(&self, rows: &[R]) -> Result<Vec<Vec<usize>>> {
        self.expert_load_with(rows, &CancelToken::new())
    }

    /// As [`expert_load`](Self::expert_load); `cancel` stops the work from another thread.
    ///
    /// # Errors
    /// [`Error::Argument`] for an id beyond the vocabulary, [`Error::TooLong`] for a row longer
    /// than the window, [`Error::Cancelled`] when asked to stop, [`Error::Device`] when the device
    /// fails.
    pub fn expert_load_with<R: AsRef<[u32]>>(
        &self,
        rows: &[R],
        cancel: &CancelToken,
    ) -> Result<Vec<Vec<usize>>> {
        let load: Vec<Load> = self.spec().layers.iter().map(|_| Load::default()).collect();
        for row in rows.iter().map(AsRef::as_ref) {
            self.check_ids(row)?;
            self.check_length(row.len())?;
        }
        for row in rows.iter().map(AsRef::as_ref) {
            self.guarded(|| {
                // Each row alone: padding would be counted too.
                let decoder = self.decoder().is_some();
                let chunk = if decoder { FORWARD_TOKENS } else { row.len().max(1) };
                let mut cache = (row.len() > chunk).then(|| Cache::new(self.spec()));
                for part in row.chunks(chunk) {
                    let batch = Padded::new(&[part], None, self.tensor_device());
                    let batch = batch.after(cache.as_ref().map_or(0, Cache::len));
                    let states = cache.as_mut().map_or(States::None, States::One);
                    let rows = batch.rows.of_lengths(&[row.len()]);
                    let run = Run { states, load: Some(&load), ..Run::of(rows) };
                    let go_on = &mut |_: usize, _: &Hidden| !cancel.is_cancelled();
                    let hidden = self.transformer().run(batch.ids, run, go_on);
                    // What is read back tells of a device that failed.
                    read(hidden.ok_or(Error::Cancelled)?, self.device())?;
                }
                Ok(())
            })?;
        }
        Ok(load.into_iter().map(Load::into_inner).collect())
    }

    /// Hidden states after the last norm; the cache, where there is one, takes the tokens in.
    pub(crate) fn hidden(
        &self,
        batch: Padded,
        cache: Option<&mut Cache>,
        cancel: Option<&CancelToken>,
    ) -> Result<Tensor<3>> {
        self.hidden_with(batch, cache, cancel, &mut See::default())
    }

    /// As [`hidden`](Self::hidden), keeping what `see` asks for.
    fn hidden_with(
        &self,
        batch: Padded,
        cache: Option<&mut Cache>,
        cancel: Option<&CancelToken>,
        see: &mut See,
    ) -> Result<Tensor<3>> {
        debug_assert!(batch.tokens() > 0);
        let See { states: wanted, maps } = see;
        let mut go_on = |layer: usize, x: &Hidden| {
            for (_, kept) in wanted.iter_mut().filter(|(own, _)| *own == layer) {
                *kept = Some(x.tensor());
            }
            !cancel.is_some_and(CancelToken::is_cancelled)
        };
        let states = cache.map_or(States::None, States::One);
        let run = Run { types: batch.types, states, maps, ..Run::of(batch.rows) };
        let hidden = match self.net() {
            Net::Seq2Seq(net) => net.encode_run(batch.ids, run, &mut go_on),
            Net::Encoder(_) | Net::Decoder(_) => self.transformer().run(batch.ids, run, &mut go_on),
        };
        let hidden = hidden.ok_or(Error::Cancelled)?;
        let last = self.reader().layers.len();
        for (_, kept) in wanted.iter_mut().filter(|(own, _)| *own == last) {
            *kept = Some(hidden.clone());
        }
        Ok(hidden)
    }
}
