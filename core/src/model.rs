//! The front door: open a model; embed, generate, or run its network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;

use crate::cancel::CancelToken;
use crate::chat::{Chat, Message, Prompter, Variable};
use crate::checkpoint::Checkpoint;
use crate::device::{self, Device, DeviceInfo};
use crate::embed::{EmbedOptions, Embedder, Embeddings, Prepared, Row};
use crate::error::{Error, Result};
use crate::generate::{
    self, Beam, BeamOptions, Defaults, GenerateOptions, PREFILL_CHUNK, Session, Stream,
};
use crate::inside::{Inside, See};
use crate::kernels::cpu::Arithmetic;
use crate::kernels::cpu::pool::{self, Pool};
use crate::load::Stored;
use crate::nn::spec::{Factor, Head, Span};
use crate::nn::{
    BertEncoder, Cache, GptDecoder, Load, Padded, Run, Seq2Seq, Spec, Transformer, by_length,
};
use crate::output::{Later, Output, finite, read};
use crate::precision::Precision;
use crate::reserve::{reserved, zeros};
use crate::task::Labels;
use crate::text::{Encoding, Tokenizer};
use crate::verify::{self, Verification};
use crate::weights::{Origin, Weights};

/// An open model: its weights on a device, its tokenizer and its files' settings.
///
/// Cheap to clone, and shared between threads as it is: nothing in it changes. What changes while
/// text is generated lives in a [`Session`].
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    family: &'static str,
    spec: Spec,
    net: Net,
    tokenizer: Option<Tokenizer>,
    embedder: Embedder,
    defaults: Defaults,
    chat: Prompter,
    labels: Labels,
    tensors: Vec<TensorInfo>,
    /// What the files were, for saving.
    origin: Origin,
    device: burn::tensor::Device,
    info: DeviceInfo,
    /// The threads of the CPU, and how they compute.
    pool: Arc<Pool>,
    /// Set when the device failed under a call: what it holds is not to be trusted after.
    lost: AtomicBool,
}

/// The network of a model.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a model, and it stays where it is")]
pub(crate) enum Net {
    Encoder(BertEncoder),
    Decoder(GptDecoder),
    Seq2Seq(Seq2Seq),
}

/// A tensor of the model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name in this crate, which is where it stands in the module.
    pub name: String,
    /// Its shape, output size first.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub format: String,
    /// Bytes that it takes.
    pub bytes: usize,
}

/// What a model takes of memory, and what a session of it will.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Bytes of the weights, as they are stored.
    pub weights: usize,
    /// Whether the weights are pages of the files, which other processes share and which are read
    /// when they are used: so it is on the CPU.
    pub mapped: bool,
    /// Most tokens that a session can hold.
    pub window: usize,
    /// Bytes of a token in each layer that sees all tokens.
    token: usize,
    /// Of each layer: the most tokens that it holds, if it sees a sliding window.
    layers: Vec<Option<usize>>,
    /// Whether there are sessions: an encoder has none.
    sessions: bool,
}

impl Memory {
    fn new(spec: &Spec, tensors: &[TensorInfo], cpu: bool) -> Memory {
        let layers = spec.layers.iter().map(|layer| match layer.span {
            Span::Sliding { window } => Some(window),
            Span::Causal | Span::Bidirectional | Span::Local { .. } | Span::Chunked { .. } => None,
        });
        Memory {
            weights: tensors.iter().map(|tensor| tensor.bytes).sum(),
            mapped: cpu,
            window: spec.window,
            // Keys and values in 32-bit floats.
            token: 4
                * spec.attention.kv_heads
                * (spec.attention.head_dim + spec.attention.value_dim()),
            layers: layers.collect(),
            sessions: spec.has_logits(),
        }
    }

    /// Bytes that the keys and values of a session with so many tokens take; 0 for an encoder.
    pub fn cache(&self, tokens: usize) -> usize {
        let held = |window: &Option<usize>| window.map_or(tokens, |window| window.min(tokens));
        match self.sessions {
            true => self.layers.iter().map(held).sum::<usize>().saturating_mul(self.token),
            false => 0,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let how = if self.mapped { "mapped from the files" } else { "on the device" };
        write!(f, "weights {:.1} MB, {how}", mb(self.weights))?;
        if self.sessions {
            let some = 512.min(self.window);
            write!(f, "; a session of {some} tokens {:.1} MB", mb(self.cache(some)))?;
            write!(f, ", of {} tokens {:.1} MB", self.window, mb(self.cache(self.window)))?;
        }
        Ok(())
    }
}

/// What a caller chooses when opening a model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Where to compute. Default: [`Device::Auto`].
    pub device: Device,
    /// How exactly. Default: [`Precision::Stored`].
    pub precision: Precision,
    /// Threads that compute on the CPU, the caller's among them, at least 1. Default: one a
    /// processor, shared by all models that do not ask for their own.
    pub threads: Option<usize>,
}

impl OpenOptions {
    /// Sets [`precision`](Self::precision).
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets [`threads`](Self::threads).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the device.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Opens a model: a Hugging Face folder or a GGUF file.
    ///
    /// Files are mapped, not read: keep them as they are while the model is open.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Format`], [`Error::Config`],
    /// [`Error::Unsupported`] and [`Error::Weights`] when it is not what it should be,
    /// [`Error::Device`] when the device is not there, [`Error::Argument`] for 0 threads.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Model> {
        if self.threads == Some(0) {
            return Err(Error::argument("threads", "is 0; the caller's is 1"));
        }
        let checkpoint = Checkpoint::open(path.as_ref())?;
        let opened = device::open(&self.device)?;
        log::info!("device {}: {}", opened.info, opened.info.why);
        device::guard(&opened.info.id(), || {
            Model::load(checkpoint, opened.device, opened.info.clone(), self)
        })
    }
}

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

/// Tokens of the batches of a warm-up: as many as products tell apart, which are few, some and many,
/// whole tiles and others.
const WARM_TOKENS: [usize; 10] = [1, 2, 7, 9, 20, 64, 100, 256, 512, 515];

/// Products of the head between two looks at a cancel token.
const HEAD_WORK: usize = 1 << 31;

impl Model {
    /// Opens a model on the best device that there is; see [`OpenOptions::open`].
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::options().open(path)
    }

    /// Options for opening, all at their defaults.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    fn load(
        checkpoint: Checkpoint,
        device: burn::tensor::Device,
        info: DeviceInfo,
        options: &OpenOptions,
    ) -> Result<Model> {
        let (net, params) = {
            let mut weights = Weights::new(&checkpoint, &device, options.precision);
            let net = match checkpoint.spec.head {
                _ if checkpoint.spec.encoder.is_some() => {
                    Net::Seq2Seq(Seq2Seq::build(&mut weights, &checkpoint.spec)?)
                }
                Head::None | Head::Encoder { .. } => {
                    Net::Encoder(BertEncoder::build(&mut weights, &checkpoint.spec)?)
                }
                Head::Tied { .. } | Head::Own { .. } => {
                    Net::Decoder(GptDecoder::build(&mut weights, &checkpoint.spec)?)
                }
            };
            (net, weights.finish()?)
        };
        if let Some(tokenizer) = &checkpoint.tokenizer
            && tokenizer.len() > checkpoint.spec.vocab
        {
            // Ids without an embedding would fail, or read past the table, at some later text.
            let (has, known) = (tokenizer.len(), checkpoint.spec.vocab);
            let problem = format!("is {known}; the tokenizer has {has} tokens");
            return Err(Error::config("vocab_size", problem));
        }
        let tensors = checkpoint.tensors.iter().map(|(name, stored)| TensorInfo::new(name, stored));
        let embedder = Embedder::new(checkpoint.recipe.clone(), checkpoint.spec.width, &device)?;
        let home = checkpoint.recipe.transformer(&checkpoint.path);
        let origin = Origin {
            family: checkpoint.family,
            home: (!checkpoint.gguf).then_some(home),
            params,
            found: checkpoint.found,
            theirs: checkpoint.theirs,
        };
        Ok(Model {
            inner: Arc::new(Inner {
                origin,
                tensors: tensors.collect(),
                embedder,
                family: checkpoint.family.names.first().copied().unwrap_or_default(),
                path: checkpoint.path,
                spec: checkpoint.spec,
                net,
                tokenizer: checkpoint.tokenizer,
                defaults: checkpoint.defaults,
                chat: checkpoint.chat,
                labels: checkpoint.labels,
                device,
                info,
                pool: match (options.threads, options.precision) {
                    (None, precision) if precision != Precision::F32 => pool::shared().clone(),
                    (threads, precision) => {
                        Arc::new(Pool::new(threads.unwrap_or_else(pool::processors)).computing(
                            match precision {
                                Precision::F32 => Arithmetic::Floats,
                                Precision::Stored
                                | Precision::Int8
                                | Precision::Bf16
                                | Precision::F16 => Arithmetic::Integers,
                            },
                        ))
                    }
                },
                lost: AtomicBool::new(false),
            }),
        })
    }

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
        if let Some(Factor::Tokens { .. }) = self.inner.spec.embed.factor {
            return Err(Error::Unsupported {
                what: "an embedding by states that are projected back to the size of a token's"
                    .to_string(),
                known: "models whose hidden states come out as they are".to_string(),
            });
        }
        let embedder = &self.inner.embedder;
        let width = self.embedding_width(options)?;
        let bound = self.batch_tokens(options.batch_tokens)?;
        let mut values = zeros("embeddings", &[texts.len(), width])?;
        let prepared = embedder.prepare(tokenizer, texts, options, self.reader().window)?;
        for text in &prepared {
            self.check_read(&text.encoding.ids)?;
            self.check_types(&text.encoding.type_ids)?;
        }
        let mut done = prepared.iter().filter(|text| text.row.tokens == 0).count();
        let lengths: Vec<usize> = prepared.iter().map(|text| text.row.tokens).collect();
        let mut take = |(batch, rows): (Vec<usize>, Later)| {
            let rows = self.guarded(|| finite("embeddings", rows.read(&self.inner.info)?))?;
            if rows.len() != batch.len() * width {
                let problem = format!("gives {} numbers for {} texts", rows.len(), batch.len());
                return Err(Error::argument("pooling", problem));
            }
            for (i, row) in batch.iter().zip(rows.chunks_exact(width)) {
                values[i * width..(i + 1) * width].copy_from_slice(row);
            }
            done += batch.len();
            if let Some(progress) = &options.progress {
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

    fn embed_batch(
        &self,
        prepared: &[Prepared],
        batch: &[usize],
        options: &EmbedOptions,
    ) -> Result<Later> {
        let ids: Vec<&[u32]> = batch.iter().map(|i| &prepared[*i].encoding.ids[..]).collect();
        let types: Vec<&[u32]> =
            batch.iter().map(|i| &prepared[*i].encoding.type_ids[..]).collect();
        let rows: Vec<_> = batch.iter().map(|i| prepared[*i].row).collect();
        let device = &self.inner.device;
        if self.transformer().packs(device) && self.inner.embedder.packs(device, options) {
            return self.guarded(|| {
                let lengths = ids.iter().map(|ids| ids.len()).collect();
                let (ids, types) = (ids.concat(), types.concat());
                let mut batch = Padded::new(&[&ids], Some(&[&types]), &self.inner.device);
                batch.packed = Some(lengths);
                let hidden = self.hidden(batch, None, options.cancel.as_ref())?;
                let embeddings = self.inner.embedder.finish_packed(&hidden, &rows, options);
                let embeddings =
                    embeddings.unwrap_or_else(|| unreachable!("`packs` said that it is known"));
                Later::of(embeddings, &self.inner.info)
            });
        }
        self.guarded(|| {
            let batch = Padded::new(&ids, Some(&types), &self.inner.device);
            let hidden = self.hidden(batch, None, options.cancel.as_ref())?;
            let embeddings = self.inner.embedder.finish(hidden, &rows, options);
            Later::of(embeddings, &self.inner.info)
        })
    }

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
            true => ("logits", self.inner.spec.vocab),
            false => ("hidden states", self.inner.spec.width),
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
        Ok(Output { shown, ..Output::new(values, tokens, width, lengths) })
    }

    /// Logits of an encoder-decoder at every token of the targets.
    fn forward_target(
        &self,
        sources: &[&[u32]],
        targets: &[Vec<u32>],
        cancel: Option<&CancelToken>,
    ) -> Result<Output> {
        let Net::Seq2Seq(net) = &self.inner.net else {
            let problem = format!("go to an encoder-decoder; `{}` is none", self.inner.family);
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
        let (tokens, vocab) = (lengths.iter().copied().max().unwrap_or(0), self.inner.spec.vocab);
        let mut values = zeros("logits", &[targets.len(), tokens, vocab])?;
        // Rows without a target have no numbers.
        let rows: Vec<usize> = (0..targets.len()).filter(|row| lengths[*row] > 0).collect();
        let work: Vec<usize> =
            rows.iter().map(|row| sources[*row].len().max(lengths[*row])).collect();
        for batch in by_length(&work, FORWARD_TOKENS) {
            let batch: Vec<usize> = batch.iter().map(|i| rows[*i]).collect();
            self.guarded(|| {
                let part: Vec<&[u32]> = batch.iter().map(|row| sources[*row]).collect();
                let memory = self.read_sources(net, &part, cancel)?;
                let part: Vec<&[u32]> = batch.iter().map(|row| &targets[*row][..]).collect();
                let target = Padded::new(&part, None, &self.inner.device);
                let mut go_on =
                    |_: usize, _: &Tensor<3>| !cancel.is_some_and(CancelToken::is_cancelled);
                let run = Run { across: Some(&memory), ..Run::default() };
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
                    let logits = read(logits, &self.inner.info)?;
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
    ) -> Result<crate::nn::Memory> {
        let batch = Padded::new(rows, None, &self.inner.device);
        let kept = batch.kept.clone();
        let hidden = self.hidden(batch, None, cancel)?;
        Ok(net.memory(hidden, kept))
    }

    /// One source through the encoder.
    pub(crate) fn read_source(
        &self,
        ids: &[u32],
        cancel: &CancelToken,
    ) -> Result<crate::nn::Memory> {
        let Net::Seq2Seq(net) = &self.inner.net else {
            let what = format!("an encoder-decoder: `{}` is none", self.inner.family);
            return Err(Error::Missing { call: "read_source", what });
        };
        self.check_source(ids)?;
        self.guarded(|| self.read_sources(net, &[ids], Some(cancel)))
    }

    fn check_source(&self, ids: &[u32]) -> Result<()> {
        match ids.is_empty() {
            true => Err(Error::argument("source", "has no tokens; an encoder reads at least one")),
            false => self.check_read(ids),
        }
    }

    /// Refuses a source that cannot be read, and files that do not say how its target begins.
    pub(crate) fn check_target(&self, call: &'static str, source: &[u32]) -> Result<()> {
        self.check_source(source)?;
        match self.inner.defaults.start {
            Some(start) => self.check_ids(&[start]),
            None => {
                let what = "a `decoder_start_token_id` in the model's files; without one, feed the \
                            target's first token to a session";
                Err(Error::Missing { call, what: what.to_string() })
            }
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
            let batch = Padded {
                lengths: rows.iter().map(|row| row.len()).collect(),
                ..Padded::new(&parts, None, &self.inner.device)
            };
            let mut see = inside.ask();
            let hidden = self.hidden_with(batch, cache.as_mut(), cancel, &mut see)?; // [B, T, D]
            let taken = parts.iter().zip(places).map(|(part, row)| (*row, start, part.len()));
            inside.take(see, &taken.collect::<Vec<_>>(), &self.inner.info)?;
            let [b, t, d] = hidden.dims();
            let piece = match decoder {
                Some(_) => (HEAD_WORK / (d * self.inner.spec.vocab) / b).clamp(1, t),
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
                let values = read(values, &self.inner.info)?;
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
        let load: Vec<Load> = self.inner.spec.layers.iter().map(|_| Load::default()).collect();
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
                    let batch = Padded {
                        lengths: vec![row.len()],
                        ..Padded::new(&[part], None, &self.inner.device)
                    };
                    let run = Run {
                        cache: cache.as_mut(),
                        lengths: batch.lengths,
                        load: Some(&load),
                        ..Run::default()
                    };
                    let go_on = &mut |_: usize, _: &Tensor<3>| !cancel.is_cancelled();
                    let hidden = self.transformer().run(batch.ids, run, go_on);
                    // What is read back tells of a device that failed.
                    read(hidden.ok_or(Error::Cancelled)?, &self.inner.info)?;
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
        debug_assert!(batch.tokens > 0);
        let mut keep = |layer: usize, x: &Tensor<3>| {
            for (_, kept) in see.states.iter_mut().filter(|(own, _)| *own == layer) {
                *kept = Some(x.clone());
            }
        };
        let mut go_on = |layer: usize, x: &Tensor<3>| {
            keep(layer, x);
            !cancel.is_some_and(CancelToken::is_cancelled)
        };
        let (packed, maps) = (batch.packed.as_deref(), &mut see.maps[..]);
        let (types, kept, beyond) = (batch.types, batch.kept, batch.beyond);
        let (lengths, real) = (batch.lengths, Some(batch.real));
        let run = Run { types, kept, real, packed, cache, maps, beyond, lengths, ..Run::default() };
        let hidden = match &self.inner.net {
            Net::Seq2Seq(net) => net.encode_run(batch.ids, run, &mut go_on),
            Net::Encoder(_) | Net::Decoder(_) => self.transformer().run(batch.ids, run, &mut go_on),
        };
        let hidden = hidden.ok_or(Error::Cancelled)?;
        keep(self.reader().layers.len(), &hidden);
        Ok(hidden)
    }

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
    pub fn generate_all(
        &self,
        prompts: &[&str],
        options: &GenerateOptions,
    ) -> Result<generate::Batch> {
        generate::Batch::of(self, prompts, options)
    }

    /// Sequences that are decoded together, none yet: each may have options of its own and may
    /// begin while others run.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, which generates nothing.
    pub fn batch(&self) -> Result<generate::Batch> {
        self.need_decoder("batch")?;
        Ok(generate::Batch::new(self.clone()))
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

    /// The text that the model's chat template makes of messages, up to where the model answers.
    ///
    /// It holds its special tokens as text: encode it without further ones.
    ///
    /// # Errors
    /// [`Error::Missing`] without a template, [`Error::Argument`] for messages that the template
    /// refuses, [`Error::Format`] and [`Error::Unsupported`] when it is not what it should be.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<String> {
        self.chat_prompt_with(messages, &[])
    }

    /// As [`chat_prompt`](Self::chat_prompt), with variables of the template by name, such as
    /// `enable_thinking`. Which there are, the template says: see
    /// [`chat_template`](Self::chat_template).
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt).
    pub fn chat_prompt_with(
        &self,
        messages: &[Message],
        variables: &[(String, Variable)],
    ) -> Result<String> {
        self.render_prompt("chat_prompt", messages, variables)
    }

    /// Answers messages: a stream of pieces, made as they are asked for.
    ///
    /// For a conversation of several turns, [`chat`](Self::chat) keeps what was read.
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt) and [`generate`](Self::generate).
    pub fn generate_chat(
        &self,
        messages: &[Message],
        options: &GenerateOptions,
    ) -> Result<Stream<'static>> {
        self.generate_chat_with(messages, &[], options)
    }

    /// As [`generate_chat`](Self::generate_chat), with variables of the template by name.
    ///
    /// # Errors
    /// As [`generate_chat`](Self::generate_chat).
    pub fn generate_chat_with(
        &self,
        messages: &[Message],
        variables: &[(String, Variable)],
        options: &GenerateOptions,
    ) -> Result<Stream<'static>> {
        let prompt = self.render_prompt("generate_chat", messages, variables)?;
        let ids = self.need_tokenizer("generate_chat")?.encode(&prompt, false)?.ids;
        self.check_room(&ids)?;
        self.session()?.into_stream(ids, options)
    }

    /// A conversation: messages and a session of its own.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, or without a tokenizer or a chat template.
    pub fn chat(&self) -> Result<Chat> {
        Chat::new(self)
    }

    /// A session: a cache of its own, to feed tokens and generate step by step.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, which generates nothing.
    pub fn session(&self) -> Result<Session> {
        self.need_decoder("session")?;
        Ok(Session::new(self.clone()))
    }

    /// Does once, on a few tokens, what calls do, so that the first call is as fast as those after
    /// it: a GPU's driver compiles each kernel when it is first used, which can take seconds.
    ///
    /// Warm afterwards are prompts and steps of a decoder's sessions, whatever lengths are met, since
    /// these are arguments of the kernels, and what chooses tokens; of encoders, [`embed`](Self::embed) and
    /// [`forward`](Self::forward) but for single kernels that depend on the number of tokens. Where
    /// attention adds something to scores (ALiBi, learned distances) or keeps sinks, lengths that were
    /// not met may compile more, and so do tasks, beams and [`forward_with`](Self::forward_with)'s
    /// options.
    ///
    /// What is compiled lasts as long as the process. On the CPU there is little to gain.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails, [`Error::NotFinite`] when the model's numbers are
    /// broken.
    pub fn warmup(&self) -> Result<()> {
        let window = self.inner.spec.window;
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
        if self.inner.tokenizer.is_none() {
            return Ok(());
        }
        let prepared = rows.iter().map(|ids| Prepared {
            row: Row { tokens: ids.len(), skipped: 0 },
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

    /// Compares this model on its device with the same files on the CPU, on a few tokens: the
    /// largest difference, and after which step it arose.
    ///
    /// # Errors
    /// As opening the files on the CPU, and [`Error::Device`].
    pub fn verify(&self) -> Result<Verification> {
        let cpu = Model::options().device(Device::Cpu).open(&self.inner.path)?;
        verify::compare(self, &cpu)
    }

    /// The tokenizer, if the files have one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.inner.tokenizer.as_ref()
    }

    /// What the network is made of; prints as one page.
    pub fn spec(&self) -> &Spec {
        &self.inner.spec
    }

    /// The family: `model_type` of Hugging Face configs.
    pub fn family(&self) -> &str {
        self.inner.family
    }

    /// The folder or file that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The device that computes.
    pub fn device(&self) -> &DeviceInfo {
        &self.inner.info
    }

    /// The encoder's module, for use with burn; `None` for a decoder and for an encoder-decoder.
    pub fn encoder(&self) -> Option<&BertEncoder> {
        match &self.inner.net {
            Net::Encoder(encoder) => Some(encoder),
            Net::Decoder(_) | Net::Seq2Seq(_) => None,
        }
    }

    /// The decoder's module, for use with burn; `None` for an encoder and for an encoder-decoder.
    pub fn decoder(&self) -> Option<&GptDecoder> {
        match &self.inner.net {
            Net::Encoder(_) | Net::Seq2Seq(_) => None,
            Net::Decoder(decoder) => Some(decoder),
        }
    }

    /// The encoder-decoder's module, for use with burn; `None` for a model of one stack.
    pub fn seq2seq(&self) -> Option<&Seq2Seq> {
        match &self.inner.net {
            Net::Seq2Seq(net) => Some(net),
            Net::Encoder(_) | Net::Decoder(_) => None,
        }
    }

    /// The prompts that the folder has for embedding: (name, text).
    pub fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.embedder.prompts()
    }

    /// Size of an embedding.
    pub fn width(&self) -> usize {
        self.inner.embedder.width
    }

    /// Size of an embedding with these options, some of which make it less than
    /// [`width`](Self::width).
    ///
    /// # Errors
    /// [`Error::Argument`] for dimensions that the model has not, or a pooling that cannot be chosen.
    pub fn embedding_width(&self, options: &EmbedOptions) -> Result<usize> {
        self.inner.embedder.check(options)?;
        Ok(self.inner.embedder.width_with(options))
    }

    /// The most tokens of a text that [`embed`](Self::embed) keeps.
    pub fn max_tokens(&self) -> usize {
        self.inner.embedder.max_tokens()
    }

    /// The chat template of the files, as they have it.
    pub fn chat_template(&self) -> Option<&str> {
        self.inner.chat.source()
    }

    /// The tensors of the files, by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// What the weights take of memory, and what sessions will.
    pub fn memory(&self) -> Memory {
        let cpu = self.inner.info.kind == device::DeviceKind::Cpu;
        Memory::new(&self.inner.spec, &self.inner.tensors, cpu)
    }

    /// Parameters in all: the numbers of the files' tensors.
    pub fn parameters(&self) -> usize {
        self.inner.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.inner.defaults
    }

    /// The stack that reads texts: of an encoder-decoder the encoder.
    pub(crate) fn transformer(&self) -> &Transformer {
        match &self.inner.net {
            Net::Encoder(encoder) => &encoder.transformer,
            Net::Decoder(decoder) => &decoder.transformer,
            Net::Seq2Seq(net) => net.encoder(),
        }
    }

    /// The spec of the stack that reads texts.
    fn reader(&self) -> &Spec {
        self.inner.spec.encoder.as_deref().unwrap_or(&self.inner.spec)
    }

    /// Refuses ids that the stack that reads texts has no vector or no place for.
    fn check_read(&self, ids: &[u32]) -> Result<()> {
        let Spec { vocab, window, .. } = *self.reader();
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::argument("ids", format!("hold {id}, not below {vocab}")));
        }
        match ids.len() > window {
            true => Err(Error::TooLong { tokens: ids.len(), window }),
            false => Ok(()),
        }
    }

    /// The network.
    pub(crate) fn net(&self) -> &Net {
        &self.inner.net
    }

    /// The files that it was opened from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    pub(crate) fn tensor_device(&self) -> &burn::tensor::Device {
        &self.inner.device
    }

    pub(crate) fn need_tokenizer(&self, call: &'static str) -> Result<&Tokenizer> {
        self.inner.tokenizer.as_ref().ok_or_else(|| Error::Missing {
            call,
            what: match self.inner.path.is_dir() {
                true if self.inner.path.join("source.spm").exists() => {
                    "a `tokenizer.json`: the folder has `source.spm`, `target.spm` and `vocab.json`, \
                     which are not known; give ids that sentencepiece made"
                        .to_string()
                }
                true => "a tokenizer: the folder has no `tokenizer.json`".to_string(),
                false => "a tokenizer: the file has no `tokenizer.ggml.model`".to_string(),
            },
        })
    }

    /// Messages as the prompt that the chat template makes of them.
    pub(crate) fn render_prompt(
        &self,
        call: &'static str,
        messages: &[Message],
        variables: &[(String, Variable)],
    ) -> Result<String> {
        self.inner.chat.render(call, messages, variables)
    }

    /// Refuses a model without a chat template, or with one that cannot be read.
    pub(crate) fn check_template(&self, call: &'static str) -> Result<()> {
        self.inner.chat.template(call).map(|_| ())
    }

    /// Refuses a prompt that leaves no room for an answer.
    pub(crate) fn check_room(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::argument("messages", "make a prompt without a token"));
        }
        self.check_length(ids.len() + 1)
    }

    pub(crate) fn need_decoder(&self, call: &'static str) -> Result<&GptDecoder> {
        match &self.inner.net {
            Net::Decoder(decoder) => Ok(decoder),
            Net::Seq2Seq(net) => Ok(net.decoder()),
            Net::Encoder(_) => Err(Error::Missing {
                call,
                what: format!("a model that gives logits: `{}` is an encoder", self.inner.family),
            }),
        }
    }

    /// Refuses ids beyond the vocabulary: a GPU would read past the table without a word.
    pub(crate) fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.inner.spec.vocab;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Error::argument("ids", format!("hold {id}, not below {vocab}"))),
            None => Ok(()),
        }
    }

    /// Refuses segment types that the model has no vector for, for the same reason. A model with
    /// one type is given none.
    pub(crate) fn check_types(&self, types: &[u32]) -> Result<()> {
        let known = self.inner.spec.embed.types;
        match types.iter().find(|kind| known > 1 && **kind as usize >= known) {
            Some(kind) => {
                let problem = format!("is {known}; the tokenizer gives type {kind}");
                Err(Error::config("type_vocab_size", problem))
            }
            None => Ok(()),
        }
    }

    /// How hidden states become vectors.
    pub(crate) fn embedder(&self) -> &Embedder {
        &self.inner.embedder
    }

    /// What the files say for tasks.
    pub(crate) fn labels(&self) -> &Labels {
        &self.inner.labels
    }

    pub(crate) fn check_length(&self, tokens: usize) -> Result<()> {
        let window = self.inner.spec.window;
        if tokens > window { Err(Error::TooLong { tokens, window }) } else { Ok(()) }
    }

    /// Runs work on the device; a panic below becomes an error, here and in all later calls.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let name = self.inner.info.id();
        if self.inner.lost.load(Ordering::Acquire) {
            let problem = "failed in an earlier call; open the model again".to_string();
            return Err(Error::Device { device: name, problem });
        }
        device::guard(&name, || pool::with(&self.inner.pool, work)).inspect_err(|error| {
            if matches!(error, Error::Device { .. }) {
                self.inner.lost.store(true, Ordering::Release);
            }
        })
    }
}

impl TensorInfo {
    fn new(name: &str, stored: &Stored) -> Self {
        TensorInfo {
            name: name.to_string(),
            shape: stored.shape.clone(),
            format: stored.dtype.to_string(),
            bytes: stored.bytes.len(),
        }
    }
}

/// `bert "all-MiniLM-L6-v2": 6 layers, width 384, 22.7M parameters, F32 on cpu`
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        let name = inner.path.file_stem().unwrap_or(inner.path.as_os_str()).to_string_lossy();
        let parameters = self.parameters() as f64;
        let (number, unit) = match parameters {
            n if n >= 1e9 => (n / 1e9, "G"),
            n if n >= 1e6 => (n / 1e6, "M"),
            n => (n / 1e3, "k"),
        };
        // The format that most bytes are in.
        let mut formats: Vec<(usize, &str)> = Vec::new();
        for tensor in &inner.tensors {
            match formats.iter_mut().find(|(_, format)| *format == tensor.format) {
                Some((bytes, _)) => *bytes += tensor.bytes,
                None => formats.push((tensor.bytes, &tensor.format)),
            }
        }
        let format = formats.iter().max().map_or("nothing", |(_, format)| format);
        write!(
            f,
            "{} \"{name}\": {} layers, width {}, {number:.1}{unit} parameters, {format} on {}",
            inner.family,
            inner.spec.layers.len(),
            inner.spec.width,
            inner.info
        )
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({self})")
    }
}
