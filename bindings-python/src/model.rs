//! The front door: open a model; embed, generate, or run its network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use emberform::{CancelToken, Device, EmbedOptions, ForwardOptions, GenerateOptions};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;
use pyo3::{type_hint_identifier, type_hint_subscript, type_hint_union};

use crate::batch::Batch;
use crate::chat::{Chat, Messages, Variables};
use crate::choice::{EarlyStoppingName, PoolingName, PrecisionName};
use crate::error::{closed, raise};
use crate::generate::{Beam, Session, Stream, beam_options};
use crate::info::{DeviceInfo, Memory, Spec, TensorInfo, Verification};
use crate::numpy::{Array, Count, Given, Rows, STR, Several, Texts, word};
use crate::output::{Output, array};
use crate::progress::Progress;
use crate::run::{Job, is_long, run};
use crate::tokenizer::Tokenizer;

/// A device as text.
pub struct DeviceText(String);

impl<'py> FromPyObject<'_, 'py> for DeviceText {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(
        type_hint_subscript!(
            type_hint_identifier!("typing", "Literal"),
            word("auto"),
            word("cpu"),
            word("gpu")
        ),
        STR
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(DeviceText(given.extract()?))
    }
}

/// Opens a model: a Hugging Face folder or a GGUF file.
///
/// `device`: where to compute. "auto" is a real GPU where there is one and the CPU otherwise;
/// "cpu"; "gpu", "gpu:1" or "gpu:<part of its name>", see `devices()`.
/// `precision`: how exactly. "stored" computes with the weights as the file has them; "f32" also
/// keeps activations in floats, slower on the CPU; "int8" rounds matrices of 16 and 32 bits to 8, 32
/// to a scale, for less memory and more speed; "bf16" has matrix products of many rows (prefill,
/// embedding) use bfloat16 operands and f32 sums where the processor multiplies bfloat16 (AMX, AVX-512
/// BF16) and the matrix has 16 or 32 bits: up to three times the speed; "f16" rounds matrices of 32
/// bits and bfloat16 to F16, and on a GPU with cooperative matrices products of more than 8 rows use
/// f16 operands and f32 sums. Default: "stored".
/// `threads`: threads that compute on the CPU, the caller's among them. Default: one a processor,
/// shared by all models that do not ask for their own.
///
/// Files are mapped, not read: keep them as they are while the model is open.
///
/// Raises FileNotFoundError and other OSErrors when a file cannot be read, FormatError,
/// ConfigError, UnsupportedError and WeightsError when it is not what it should be, DeviceError
/// when the device is not there, ValueError for an option out of range.
#[pyfunction]
#[pyo3(
    signature = (path, *, device=DeviceText("auto".to_string()), precision=None, threads=None),
    text_signature = "(path, *, device='auto', precision=None, threads=None)"
)]
pub fn open(
    py: Python<'_>,
    path: PathBuf,
    device: DeviceText,
    precision: Option<PrecisionName>,
    threads: Option<Count>,
) -> PyResult<Model> {
    let device_asked = device.0.parse().map_err(|error| raise(py, error))?;
    let mut options = emberform::Model::options().device(device_asked);
    let precision_name = precision.as_ref().map(|precision| precision.0.clone());
    options.precision = precision.given(py, "precision")?.unwrap_or_default();
    options.threads = threads.given(py, "threads")?;
    let model = py.detach(|| options.open(&path)).map_err(|error| raise(py, error))?;
    Ok(Model {
        // A worker process may start in another folder.
        path: std::path::absolute(&path)?,
        device: device.0,
        precision: precision_name,
        threads: options.threads,
        size: model.parameters(),
        inner: RwLock::new(Some(model)),
    })
}

/// The devices of this machine: the GPUs in the order of their numbers, then the CPU.
#[pyfunction]
pub fn devices(py: Python<'_>) -> Vec<DeviceInfo> {
    py.detach(|| Device::list().iter().map(DeviceInfo::from).collect())
}

/// An open model: its weights on a device, its tokenizer and its files' settings; from `open()`.
///
/// Any number of threads may use it at once. It is a context manager that closes at the end. It
/// pickles, and copies itself to another process, by its path and its options as they were given:
/// the other side opens the files again.
#[pyclass(frozen, module = "emberform")]
pub struct Model {
    inner: RwLock<Option<emberform::Model>>,
    path: PathBuf,
    /// The device as it was asked for.
    device: String,
    /// The precision as it was asked for.
    precision: Option<String>,
    threads: Option<usize>,
    /// Parameters in all.
    pub size: usize,
}

impl Model {
    /// The model, unless it was closed. A clone of a handle: closing does not wait for calls.
    pub fn get(&self, py: Python<'_>) -> PyResult<emberform::Model> {
        // The lock is free again before Python code runs, which may hand over to a thread that
        // waits for it.
        let model = self.inner.read().unwrap_or_else(PoisonError::into_inner).clone();
        model.ok_or_else(|| closed(py))
    }

    pub fn continue_text(
        &self,
        py: Python<'_>,
        prompt: PyBackedStr,
        options: &GenerateOptions,
    ) -> PyResult<Stream> {
        let model = self.get(py)?;
        let stream = py.detach(|| model.generate(&prompt, options));
        stream.map(Stream::of_model).map_err(|error| raise(py, error))
    }

    pub fn continue_all(
        &self,
        py: Python<'_>,
        prompts: Texts,
        options: &GenerateOptions,
    ) -> PyResult<Batch> {
        let model = self.get(py)?;
        let batch = py.detach(|| model.generate_all(&prompts.all(), options));
        batch.map(|batch| Batch::new(batch, self.size)).map_err(|error| raise(py, error))
    }

    pub fn search(
        &self,
        py: Python<'_>,
        prompt: PyBackedStr,
        beams: Option<Count>,
        sequences: Option<Count>,
        length_penalty: Option<f32>,
        early_stopping: Option<EarlyStoppingName>,
        options: &GenerateOptions,
    ) -> PyResult<Vec<Beam>> {
        let (model, cancel) = (self.get(py)?, CancelToken::new());
        let how = beam_options(py, beams, sequences, length_penalty, early_stopping)?;
        let how = how.cancel(cancel.clone());
        // How long it takes shows on the way.
        let found = run(py, true, &cancel, || model.beams(&prompt, options, &how))?;
        Ok(found.into_iter().map(Beam::from).collect())
    }

    pub fn embeddings(
        &self,
        py: Python<'_>,
        texts: &Texts,
        normalize: Option<bool>,
        prompt: Option<String>,
        prompt_name: Option<String>,
        pooling: Option<PoolingName>,
        max_tokens: Option<Count>,
        dimensions: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<emberform::Embeddings> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = EmbedOptions::default();
        options.normalize = normalize;
        options.prompt = prompt;
        options.prompt_name = prompt_name;
        options.pooling = pooling.given(py, "pooling")?;
        options.dimensions = dimensions.given(py, "dimensions")?;
        options.run = job.options.clone();
        let given = texts.all();
        let bytes = given.iter().map(|text| text.len()).sum();
        job.run(py, self, bytes, || model.embed_with(&given, &options))
    }

    /// A forward pass, and whether it was of a single row.
    fn pass(
        &self,
        py: Python<'_>,
        ids: Rows,
        decoder_ids: Option<Rows>,
        mut options: ForwardOptions,
    ) -> PyResult<(emberform::Output, bool)> {
        let (model, cancel) = (self.get(py)?, CancelToken::new());
        let (rows, single) = ids.all();
        options.decoder_ids = decoder_ids.map(|rows| rows.all().0);
        options.cancel = Some(cancel.clone());
        let all = rows.iter().chain(options.decoder_ids.iter().flatten());
        let long = is_long(self.size, all.map(Vec::len).sum());
        let output = run(py, long, &cancel, || model.forward_with(&rows, &options))?;
        Ok((output, single))
    }

    pub fn reply(
        &self,
        py: Python<'_>,
        messages: Messages,
        variables: Option<Variables>,
        options: &GenerateOptions,
    ) -> PyResult<Stream> {
        let (model, variables) = (self.get(py)?, variables.unwrap_or_default());
        let stream = py.detach(|| model.generate_chat_with(&messages.0, &variables.0, options));
        stream.map(Stream::of_model).map_err(|error| raise(py, error))
    }
}

#[pymethods]
impl Model {
    /// The text that the model's chat template makes of messages, up to where the model answers.
    ///
    /// `messages`: each a mapping with `role` and `content`, as `Chat.messages` gives them.
    /// `variables`: variables of the template by name, such as `enable_thinking`; which there are,
    /// `chat_template` says.
    ///
    /// It holds its special tokens as text: encode it with `special=False`.
    ///
    /// Raises MissingError without a template, ValueError for messages that the template refuses,
    /// FormatError and UnsupportedError when it is not what it should be.
    #[pyo3(signature = (messages, *, variables=None))]
    fn chat_prompt(
        &self,
        py: Python<'_>,
        messages: Messages,
        variables: Option<Variables>,
    ) -> PyResult<String> {
        let (model, variables) = (self.get(py)?, variables.unwrap_or_default());
        let prompt = py.detach(|| model.chat_prompt_with(&messages.0, &variables.0));
        prompt.map_err(|error| raise(py, error))
    }

    /// A conversation: messages, and a cache that is kept between turns.
    ///
    /// `system`: the message that says how to answer.
    /// `variables`: variables of the model's chat template by name, such as `enable_thinking`;
    /// which there are, `chat_template` says.
    ///
    /// Raises MissingError for an encoder, or without a tokenizer or a chat template; FormatError
    /// and UnsupportedError when the template is not what it should be.
    #[pyo3(signature = (system=None, *, variables=None))]
    fn chat(
        &self,
        py: Python<'_>,
        system: Option<String>,
        variables: Option<Variables>,
    ) -> PyResult<Chat> {
        let model = self.get(py)?;
        let mut chat = py.detach(|| model.chat()).map_err(|error| raise(py, error))?;
        if let Some(text) = system {
            chat.system(text);
        }
        for (name, value) in variables.unwrap_or_default().0 {
            chat.set(name, value);
        }
        Ok(Chat::new(chat))
    }

    /// A session: a cache of its own, to feed tokens and generate step by step.
    ///
    /// Raises MissingError for an encoder, which generates nothing.
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        let session = self.get(py)?.session().map_err(|error| raise(py, error))?;
        Ok(Session::new(session, self.size))
    }

    /// Sequences that are decoded together, none yet: each may have options of its own and may begin
    /// while others run.
    ///
    /// Raises MissingError for an encoder, which generates nothing.
    fn batch(&self, py: Python<'_>) -> PyResult<Batch> {
        let batch = self.get(py)?.batch().map_err(|error| raise(py, error))?;
        Ok(Batch::new(batch, self.size))
    }

    /// The network's numbers for token ids: logits of a decoder (V), hidden states of an encoder
    /// (D), also of one beside a decoder.
    ///
    /// `ids`: one row, [T], or several of any lengths, [B, T]: sequences of int, or arrays of any
    /// integer type.
    /// `decoder_ids`: of an encoder-decoder, the target's ids for each row, which is then the source's;
    /// the decoder's logits come out.
    ///
    /// Returns float32, C-contiguous: [T, V] or [T, D] for one row, [B, T, V] or [B, T, D] for B
    /// rows, T the longest; with `decoder_ids` the longest of these. Row b has `len(ids[b])` tokens;
    /// what is beyond is zeros.
    ///
    /// Raises ValueError for an id beyond the vocabulary, and for decoder ids that are not as many rows
    /// or go to no encoder-decoder; TooLongError for a row longer than the window, MemoryError when
    /// there is no room for the result, DeviceError.
    #[pyo3(signature = (ids, *, decoder_ids=None))]
    fn forward(
        &self,
        py: Python<'_>,
        ids: Rows,
        decoder_ids: Option<Rows>,
    ) -> PyResult<Array<f32>> {
        let (output, single) = self.pass(py, ids, decoder_ids, ForwardOptions::default())?;
        Ok(array(output, single))
    }

    /// As `forward`, with hidden states and attention maps of chosen layers.
    ///
    /// `hidden_states`: layers whose hidden states to keep: 0 are those of the embeddings, i those
    /// after i blocks; the last ones are taken after the last norm, as transformers'
    /// `output_hidden_states` does. `range(model.spec.layers + 1)` is all.
    /// `attentions`: layers whose attention weights to keep, from 0. On the CPU they are computed by a
    /// slower way that has these weights.
    ///
    /// Raises as `forward`, ValueError for a layer that is not there, and for either with
    /// `decoder_ids`.
    #[pyo3(signature = (ids, *, decoder_ids=None, hidden_states=None, attentions=None))]
    fn forward_with(
        &self,
        py: Python<'_>,
        ids: Rows,
        decoder_ids: Option<Rows>,
        hidden_states: Option<Several<Count>>,
        attentions: Option<Several<Count>>,
    ) -> PyResult<Output> {
        let states: Vec<usize> = hidden_states.given(py, "hidden_states")?.unwrap_or_default();
        let maps: Vec<usize> = attentions.given(py, "attentions")?.unwrap_or_default();
        let options = ForwardOptions::default()
            .hidden_states(states.iter().copied())
            .attentions(maps.iter().copied());
        let (output, single) = self.pass(py, ids, decoder_ids, options)?;
        Output::new(py, output, single, &states, &maps)
    }

    /// How often each expert of each block was chosen for the tokens of `ids`, which says whether a
    /// router keeps its experts evenly busy and which of them a kind of text needs.
    ///
    /// `ids`: as in `forward`.
    ///
    /// Returns one int64 array a block: a count for each expert, [E], or [0] for a block without
    /// experts. Those of a block sum to all tokens times the experts that a token goes through.
    ///
    /// Raises ValueError for an id beyond the vocabulary, TooLongError, DeviceError.
    fn expert_load(&self, py: Python<'_>, ids: Rows) -> PyResult<Vec<Array<i64>>> {
        let (model, (rows, _), cancel) = (self.get(py)?, ids.all(), CancelToken::new());
        let long = is_long(self.size, rows.iter().map(Vec::len).sum());
        let load = run(py, long, &cancel, || model.expert_load_with(&rows, &cancel))?;
        let counts = |block: Vec<usize>| block.into_iter().map(|count| count as i64).collect();
        Ok(load.into_iter().map(|block| Array::flat(counts(block))).collect())
    }

    /// Does once, on a few tokens, what calls do, so that the first call is as fast as those after
    /// it: a GPU's driver compiles each kernel when it is first used, which can take seconds.
    ///
    /// Warm afterwards are prompts and steps of a decoder, and of an encoder `embed` and `forward` but
    /// for single kernels that depend on the number of tokens; tasks, beams and `forward_with` may
    /// compile more. It lasts as long as the process. On the CPU there is little to gain.
    ///
    /// Raises DeviceError, NotFiniteError.
    fn warmup(&self, py: Python<'_>) -> PyResult<()> {
        let model = self.get(py)?;
        py.detach(|| model.warmup()).map_err(|error| raise(py, error))
    }

    /// Compares this model on its device with the same files on the CPU, on a few tokens: the
    /// largest difference, and after which step it arose.
    ///
    /// Raises as `open`, and DeviceError.
    fn verify(&self, py: Python<'_>) -> PyResult<Verification> {
        let model = self.get(py)?;
        let found = py.detach(|| model.verify());
        found.map(Verification::from).map_err(|error| raise(py, error))
    }

    /// Writes the model as a Hugging Face folder, made where it is missing: the weights in
    /// `model.safetensors` under the checkpoint's own names, and copies of the other files.
    ///
    /// Each file is written whole under another name and renamed. Raises MissingError for a model
    /// from a GGUF file, ValueError for the model's own folder or one in it, UnsupportedError for
    /// weights that were rounded to 8 bits on opening, OSError when a file cannot be written.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        let model = self.get(py)?;
        py.detach(|| model.save(folder)).map_err(|error| raise(py, error))
    }

    /// Lets the weights go; later calls raise ClosedError. Sessions and streams that still are
    /// there keep the weights until they go. Closing twice does nothing.
    fn close(&self, py: Python<'_>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let model = inner.take();
        drop(inner);
        py.detach(|| drop(model));
    }

    /// Whether the model was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().get(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception: "object") -> "None")]
    fn __exit__(&self, py: Python<'_>, _exception: Bound<'_, PyAny>) {
        self.close(py);
    }

    /// The tokenizer.
    ///
    /// Raises MissingError when the files have none.
    #[getter]
    fn tokenizer(&self, py: Python<'_>) -> PyResult<Tokenizer> {
        let model = self.get(py)?;
        match model.tokenizer() {
            Some(tokenizer) => Ok(tokenizer.clone().into()),
            None => Err(raise(
                py,
                emberform::Error::Missing {
                    call: "tokenizer",
                    what: "a tokenizer in the model's files".to_string(),
                },
            )),
        }
    }

    /// What the network is made of, and who computes each block on the model's device; prints as one
    /// page.
    #[getter]
    fn spec(&self, py: Python<'_>) -> PyResult<Spec> {
        Ok(Spec::from(&self.get(py)?))
    }

    /// The family: `model_type` of Hugging Face configs.
    #[getter]
    fn family(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.get(py)?.family().to_string())
    }

    /// The folder or file that was opened, absolute.
    #[getter]
    fn path(&self) -> &Path {
        &self.path
    }

    /// The device that computes.
    #[getter]
    fn device(&self, py: Python<'_>) -> PyResult<DeviceInfo> {
        Ok(self.get(py)?.device().into())
    }

    /// The prompts that the folder has for embedding, by name.
    #[getter]
    fn prompts(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        let model = self.get(py)?;
        Ok(model.prompts().map(|(name, text)| (name.to_string(), text.to_string())).collect())
    }

    /// Size of an embedding (D).
    #[getter]
    fn width(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.get(py)?.width())
    }

    /// The most tokens of a text that `embed` keeps.
    #[getter]
    fn max_tokens(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.get(py)?.max_tokens())
    }

    /// The chat template of the files, as they have it; None without one.
    #[getter]
    fn chat_template(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.get(py)?.chat_template().map(String::from))
    }

    /// The tensors of the files, by name.
    #[getter]
    fn tensors(&self, py: Python<'_>) -> PyResult<Vec<TensorInfo>> {
        Ok(self.get(py)?.tensors().iter().map(TensorInfo::from).collect())
    }

    /// Parameters in all: the numbers of the files' tensors.
    #[getter]
    fn parameters(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.get(py)?.parameters())
    }

    /// The memory that the model takes, and its sessions would.
    #[getter]
    fn memory(&self, py: Python<'_>) -> PyResult<Memory> {
        Ok(self.get(py)?.memory().into())
    }

    fn __repr__(&self) -> String {
        match &*self.inner.read().unwrap_or_else(PoisonError::into_inner) {
            Some(model) => format!("<Model {model}>"),
            None => format!("<Model closed: {}>", self.path.display()),
        }
    }

    #[pyo3(signature = () -> "tuple[object, ...]")]
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (&Path,))> {
        self.get(py)?;
        let module = py.import("emberform")?;
        let options = PyDict::new(py);
        options.set_item("device", &self.device)?;
        options.set_item("precision", &self.precision)?;
        options.set_item("threads", self.threads)?;
        let open = py.import("functools")?.call_method(
            "partial",
            (module.getattr("open")?,),
            Some(&options),
        )?;
        Ok((open, (&self.path,)))
    }

    /// Nothing in it changes, so a copy is itself.
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Nothing in it changes, so a copy is itself.
    fn __deepcopy__(slf: Py<Self>, _memo: Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}
