//! The front door: what is open, and what it says of itself.
//!
//! What can be done with it stands where it is done: `embed/`, `generate/`, `chat/`, `task/`,
//! `forward.rs`, `save.rs`, `verify.rs`, `warmup.rs` each have an `impl Model`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chat::Prompter;
use crate::checkpoint::Checkpoint;
use crate::device::{self, Device, DeviceInfo};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::generate::Defaults;
use crate::kernels::cpu::Arithmetic;
use crate::kernels::cpu::pool::{self, Pool};
use crate::memory::{Memory, TensorInfo};
use crate::nn::spec::Head;
use crate::nn::{BertEncoder, GptDecoder, Seq2Seq, Spec, Transformer, Ways};
use crate::precision::Precision;
use crate::task::Labels;
use crate::text::Tokenizer;
use crate::weights::{Origin, Weights};

/// An open model: its weights on a device, its tokenizer and its files' settings.
///
/// Cheap to clone, and shared between threads as it is: nothing in it changes. What changes while
/// text is generated lives in a [`Session`](crate::Session).
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
    precision: Precision,
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

impl Net {
    /// Decides who computes the blocks, once.
    fn decide(&mut self, device: &burn::tensor::Device, name: &str) {
        match self {
            Net::Encoder(encoder) => encoder.transformer.decide(device, name),
            Net::Decoder(decoder) => decoder.transformer.decide(device, name),
            Net::Seq2Seq(net) => net.decide(device, name),
        }
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
        let (mut net, params) = {
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
        net.decide(&device, &info.id());
        if let Some(tokenizer) = &checkpoint.tokenizer
            && tokenizer.len() > checkpoint.spec.vocab
        {
            // Ids without an embedding would fail, or read past the table, at some later text.
            let (has, known) = (tokenizer.len(), checkpoint.spec.vocab);
            let problem = format!("is {known}; the tokenizer has {has} tokens");
            return Err(Error::config("vocab_size", problem));
        }
        let arithmetic = match options.precision {
            Precision::F32 => Arithmetic::Floats,
            Precision::Stored | Precision::Int8 | Precision::Bf16 | Precision::F16 => {
                Arithmetic::Integers
            }
        };
        let pool = match (options.threads, arithmetic) {
            (None, Arithmetic::Integers) => pool::shared().clone(),
            (threads, arithmetic) => {
                let threads = threads.unwrap_or_else(pool::processors);
                Arc::new(Pool::new(threads).computing(arithmetic))
            }
        };
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
                precision: options.precision,
                pool,
                lost: AtomicBool::new(false),
            }),
        })
    }

    /// The tokenizer, if the files have one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.inner.tokenizer.as_ref()
    }

    /// What the network is made of; prints as one page.
    pub fn spec(&self) -> &Spec {
        &self.inner.spec
    }

    /// Who computes each block on this device, and why where it is tensor operations: decided when the
    /// model was opened. Of an encoder-decoder those of the encoder, then those of the decoder. Prints
    /// as lines under the [`spec`](Self::spec).
    pub fn ways(&self) -> Vec<&Ways> {
        match &self.inner.net {
            Net::Encoder(encoder) => encoder.transformer.ways().into_iter().collect(),
            Net::Decoder(decoder) => decoder.transformer.ways().into_iter().collect(),
            Net::Seq2Seq(net) => {
                let stacks = [net.encoder(), &net.decoder().transformer];
                stacks.into_iter().filter_map(Transformer::ways).collect()
            }
        }
    }

    /// How exactly it computes, as it was opened.
    pub fn precision(&self) -> Precision {
        self.inner.precision
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
    pub(crate) fn reader(&self) -> &Spec {
        self.inner.spec.encoder.as_deref().unwrap_or(&self.inner.spec)
    }

    /// Refuses ids that the stack that reads texts has no vector or no place for.
    pub(crate) fn check_read(&self, ids: &[u32]) -> Result<()> {
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

    /// The chat template of the files.
    pub(crate) fn prompter(&self) -> &Prompter {
        &self.inner.chat
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
