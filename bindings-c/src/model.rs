//! Models
//!
//! A model is opened once and shared by all threads.

use std::ffi::c_char;
use std::mem::offset_of;
use std::sync::{Arc, OnceLock};

use emberform::{Model, Verification};

use crate::device::{Entry, at, ember_device_info};
use crate::handle::{self, Object};
use crate::raw::{self, Options};
use crate::status::{
    Outcome, argument, call, ember_error, ember_status, ember_text, out_of_memory,
};

/// An open model: weights on a device, tokenizer, settings.
pub struct ember_model {
    _opaque: (),
}

/// What is chosen when a model is opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_open_options {
    /// `sizeof(ember_open_options)`; EMBER_OPEN_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// `auto`, `cpu`, `gpu`, `gpu:1`, `gpu:<part of a name>`; NULL is `auto`.
    pub device: *const c_char,
    /// How exactly: `stored` computes with the weights as the file has them; `f32` also keeps
    /// activations in floats, slower on the CPU; `int8` rounds matrices of 16 and 32 bits to 8, 32
    /// to a scale, for less memory and more speed; `bf16` has matrix products of many rows (prefill,
    /// embedding) use bfloat16 operands and f32 sums where the processor multiplies bfloat16 (AMX,
    /// AVX-512 BF16) and the matrix has 16 or 32 bits: up to three times the speed; `f16` rounds
    /// matrices of 32 bits and bfloat16 to F16, and on a GPU with cooperative matrices products of
    /// more than 8 rows use f16 operands and f32 sums. NULL is `stored`.
    pub precision: *const c_char,
    /// Threads that compute on the CPU, the caller's among them. EMBER_UNSET: one a processor,
    /// shared by all models that do not ask for their own.
    pub threads: usize,
}

impl Options for ember_open_options {
    const FIRST: usize = offset_of!(Self, device) + size_of::<*const c_char>();
    fn defaults() -> Self {
        ember_open_options {
            struct_size: size_of::<Self>(),
            device: std::ptr::null(),
            precision: std::ptr::null(),
            threads: usize::MAX,
        }
    }
}

/// What a model is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_model_info {
    /// One line: family, name, layers, width, parameters, format, device.
    pub description: ember_text,
    /// The family: `model_type` of Hugging Face configurations.
    pub family: ember_text,
    /// The folder or file that was opened.
    pub path: ember_text,
    /// Numbers of an embedding (D).
    pub width: usize,
    /// Numbers a token that ember_model_forward gives: the vocabulary (V) of a decoder, the width
    /// of an encoder's hidden states, also of one beside a decoder.
    pub output_width: usize,
    /// Token ids are below this (V).
    pub vocab: usize,
    /// Most tokens of a sequence.
    pub window: usize,
    /// Blocks (L).
    pub layers: usize,
    /// Parameters in all.
    pub parameters: usize,
    /// Most tokens of a text that embedding keeps unless told otherwise.
    pub max_tokens: usize,
    /// Tensors of the files: see ember_model_tensor.
    pub tensors: usize,
    /// Prompts by name that the files have for embedding: see ember_model_prompt.
    pub prompts: usize,
    /// Whether there is a tokenizer; without one a model takes token ids only.
    pub has_tokenizer: bool,
    /// Whether it makes text: a decoder, also of an encoder-decoder. An encoder only embeds.
    pub generates: bool,
    /// Numbers of a hidden state (D).
    pub hidden_width: usize,
    /// Heads of queries (H).
    pub heads: usize,
    /// Whether it reads a source: an encoder-decoder.
    pub reads_source: bool,
    /// Heads that answer tasks: see ember_model_task.
    pub tasks: usize,
}

/// A head that answers a task.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_task_info {
    /// What it answers: `words` behind masks (ember_model_fill_mask, _sparse), `classes` of texts
    /// (_classify, _zero_shot, _rerank), classes of `tokens` (_token_classify), `bounds` of answers
    /// (_answer), the `order` of two texts (_follows).
    pub kind: ember_text,
    /// What it is made of, in a line.
    pub description: ember_text,
    /// Numbers that come out: classes, or the size of the vocabulary.
    pub outputs: usize,
}

/// The memory that a model takes, and its sessions would.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_memory {
    /// All of it in a line.
    pub description: ember_text,
    /// Bytes of the weights, as they are stored.
    pub weights: usize,
    /// Most tokens that a session can hold.
    pub window: usize,
    /// Whether the weights are pages of the files, which other processes share and which are read
    /// when they are used: so it is on the CPU.
    pub mapped: bool,
}

/// A tensor of the model's files.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_tensor_info {
    /// Its name in this library.
    pub name: ember_text,
    /// How its numbers are stored, such as `F32` or `Q4_K`.
    pub format: ember_text,
    /// Its sizes, output size first.
    pub shape: *const usize,
    /// How many sizes.
    pub rank: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

/// A model with the words that a caller may borrow.
pub(crate) struct Opened {
    pub model: Model,
    device: Entry,
    description: String,
    path: String,
    spec: OnceLock<String>,
    memory: OnceLock<String>,
    /// Kind and description of each head.
    tasks: OnceLock<Vec<(String, String)>>,
}

impl Object for Opened {
    type C = ember_model;
    const NAME: &'static str = "ember_model";
    const ARGUMENT: &'static str = "model";
}

/// Opens a model: a Hugging Face folder or a GGUF file, `path` ended by a NUL. `options` may be
/// NULL. Files are mapped, not read: leave them as they are while the model is open.
///
/// Errors: EMBER_ERROR_IO when a file cannot be read; EMBER_ERROR_FORMAT, _CONFIG, _UNSUPPORTED
/// and _WEIGHTS when it is not what it should be; EMBER_ERROR_DEVICE when the device is not there;
/// EMBER_ERROR_ARGUMENT for an option out of range.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_open(
    path: *const c_char,
    options: *const ember_open_options,
    model_out: *mut *mut ember_model,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let path = raw::string("path", path)?;
        let given = raw::options(options)?;
        let mut options = Model::options();
        if let Some(device) = raw::optional_string("device", given.device)? {
            options.device = device.parse()?;
        }
        if let Some(precision) = raw::optional_string("precision", given.precision)? {
            options.precision = precision.parse()?;
        }
        options.threads = set_size(given.threads);
        let out = raw::out("model_out", model_out)?;
        let model = options.open(path)?;
        let opened = Opened {
            device: Entry::new(model.device().clone()),
            description: model.to_string(),
            path: model.path().to_string_lossy().into_owned(),
            spec: OnceLock::new(),
            memory: OnceLock::new(),
            tasks: OnceLock::new(),
            model,
        };
        handle::give(out, opened)
    })
}

/// Frees the handle. The model itself goes when no session, stream or tokenizer uses it.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_free(model: *mut ember_model) {
    handle::free::<Opened>(model)
}

/// Numbers of an embedding (D); 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_width(model: *const ember_model) -> usize {
    handle::ask(model, 0, |opened: Arc<Opened>| opened.model.width())
}

/// Says what the model is; the texts live as long as `model`. `info_size` is
/// `sizeof(ember_model_info)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_describe(
    model: *const ember_model,
    info_out: *mut ember_model_info,
    info_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let model = &opened.model;
        let out = raw::sized_out("info_out", info_out, info_size)?;
        out.set(ember_model_info {
            description: ember_text::of(&opened.description),
            family: ember_text::of(model.family()),
            path: ember_text::of(&opened.path),
            width: model.width(),
            output_width: output_width(model),
            vocab: model.spec().vocab,
            window: model.spec().window,
            layers: model.spec().layers.len(),
            parameters: model.parameters(),
            max_tokens: model.max_tokens().min(model.spec().window),
            tensors: model.tensors().len(),
            prompts: model.prompts().count(),
            has_tokenizer: model.tokenizer().is_some(),
            generates: model.spec().has_logits(),
            hidden_width: model.spec().width,
            heads: model.spec().attention.heads,
            reads_source: model.seq2seq().is_some(),
            tasks: model.spec().tasks().len(),
        });
        Ok(())
    })
}

/// The device that the model computes on; the texts live as long as `model`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_device(
    model: *const ember_model,
    info_out: *mut ember_device_info,
    info_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        raw::sized_out("info_out", info_out, info_size)?.set(opened.device.as_c());
        Ok(())
    })
}

/// What the network is made of, on one page, and under it who computes each block on the model's
/// device, with a reason where it is tensor operations. The text lives as long as `model`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_spec(
    model: *const ember_model,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("text_out", text_out)?;
        let text = opened.spec.get_or_init(|| {
            let ways = opened.model.ways().into_iter().map(|ways| format!("\n{ways}"));
            format!("{}{}", opened.model.spec(), ways.collect::<String>())
        });
        out.set(ember_text::of(text));
        Ok(())
    })
}

/// What the weights take of memory and what sessions will. The text lives as long as `model`.
/// `memory_size` is `sizeof(ember_memory)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_memory(
    model: *const ember_model,
    memory_out: *mut ember_memory,
    memory_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::sized_out("memory_out", memory_out, memory_size)?;
        let memory = opened.model.memory();
        out.set(ember_memory {
            description: ember_text::of(opened.memory.get_or_init(|| memory.to_string())),
            weights: memory.weights,
            window: memory.window,
            mapped: memory.mapped,
        });
        Ok(())
    })
}

/// Bytes that the keys and values of a session with so many tokens take; 0 for an encoder, and for a
/// handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_cache_bytes(model: *const ember_model, tokens: usize) -> usize {
    handle::ask(model, 0, |opened: Arc<Opened>| opened.model.memory().cache(tokens))
}

/// Head number `index` that answers a task, below `ember_model_info.tasks`; its texts live as long as
/// `model`. `task_size` is `sizeof(ember_task_info)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_task(
    model: *const ember_model,
    index: usize,
    task_out: *mut ember_task_info,
    task_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::sized_out("task_out", task_out, task_size)?;
        let tasks = opened.model.spec().tasks();
        let task = at("index", tasks, index)?;
        let texts = opened.tasks.get_or_init(|| {
            tasks.iter().map(|task| (task.kind.to_string(), task.to_string())).collect()
        });
        let (kind, description) = at("index", texts, index)?;
        let (kind, description) = (ember_text::of(kind), ember_text::of(description));
        out.set(ember_task_info { kind, description, outputs: task.outputs });
        Ok(())
    })
}

/// Tensor number `index` of the files, below `ember_model_info.tensors`; what it points to lives
/// as long as `model`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_tensor(
    model: *const ember_model,
    index: usize,
    tensor_out: *mut ember_tensor_info,
    tensor_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::sized_out("tensor_out", tensor_out, tensor_size)?;
        let tensor = at("index", opened.model.tensors(), index)?;
        out.set(ember_tensor_info {
            name: ember_text::of(&tensor.name),
            format: ember_text::of(&tensor.format),
            shape: tensor.shape.as_ptr(),
            rank: tensor.shape.len(),
            bytes: tensor.bytes,
        });
        Ok(())
    })
}

/// Prompt number `index` that the files have for embedding, below `ember_model_info.prompts`: its
/// name and its text, which live as long as `model`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_prompt(
    model: *const ember_model,
    index: usize,
    name_out: *mut ember_text,
    prompt_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let name_out = raw::out("name_out", name_out)?;
        let prompt_out = raw::out("prompt_out", prompt_out)?;
        let prompts: Vec<(&str, &str)> = opened.model.prompts().collect();
        let (name, prompt) = at("index", &prompts, index)?;
        name_out.set(ember_text::of(name));
        prompt_out.set(ember_text::of(prompt));
        Ok(())
    })
}

/// Does once, on a few tokens, what calls do, so that the first call is as fast as those after it: a
/// GPU's driver compiles each kernel when it is first used, which can take seconds. Warm afterwards are
/// prompts and steps of a decoder, and of an encoder embedding and forward passes but for single kernels
/// that depend on the number of tokens; tasks, beams and options of a forward pass may compile more. It
/// lasts as long as the process. On the CPU there is little to gain.
///
/// Errors: EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_warmup(
    model: *const ember_model,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| Ok(opened.model.warmup()?))
}

/// Writes the model as a Hugging Face folder, `folder` ended by a NUL and made where it is missing: the
/// weights in `model.safetensors` under the checkpoint's own names, and copies of the other files. Each
/// file is written whole under another name and renamed.
///
/// Errors: EMBER_ERROR_MISSING for a model from a GGUF file; EMBER_ERROR_ARGUMENT for the model's own
/// folder or one in it; EMBER_ERROR_UNSUPPORTED for weights that were rounded to 8 bits on opening;
/// EMBER_ERROR_IO when a file cannot be written; EMBER_ERROR_DEVICE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_save(
    model: *const ember_model,
    folder: *const c_char,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        Ok(opened.model.save(raw::string("folder", folder)?)?)
    })
}

/// The product of sizes, or a fault when no memory has so many.
pub(crate) fn product(what: &'static str, sizes: &[usize]) -> Outcome<usize> {
    let product = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    product.ok_or_else(|| {
        out_of_memory(what, sizes.iter().fold(4, |all, size| all.saturating_mul(*size as u128)))
    })
}

/// Numbers a token of a forward pass without decoder ids.
pub(crate) fn output_width(model: &Model) -> usize {
    match model.decoder() {
        Some(_) => model.spec().vocab,
        None => model.spec().width,
    }
}

/// A comparison of a model's device with the CPU.
pub struct ember_verification {
    _opaque: (),
}

/// The difference after one step of the network.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_step {
    /// `embed`, `blocks.0`, ..., `norm`, `logits`.
    pub name: ember_text,
    /// The largest absolute difference from the CPU.
    pub difference: f32,
    /// The largest absolute number on the CPU, to judge it by.
    pub scale: f32,
}

struct Verified {
    verification: Verification,
    text: String,
}

impl Object for Verified {
    type C = ember_verification;
    const NAME: &'static str = "ember_verification";
    const ARGUMENT: &'static str = "verification";
}

/// Compares the model on its device with the same files on the CPU, on a few tokens.
///
/// Errors: as ember_model_open on the CPU; EMBER_ERROR_DEVICE. A device that computes something
/// else is no error: ask ember_verification_passed.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_verify(
    model: *const ember_model,
    verification_out: *mut *mut ember_verification,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("verification_out", verification_out)?;
        let verification = opened.model.verify()?;
        handle::give(out, Verified { text: verification.to_string(), verification })
    })
}

/// Whether every step is within the tolerance of 32-bit arithmetic; false for a handle that is
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_verification_passed(verification: *const ember_verification) -> bool {
    handle::ask(verification, false, |verified: Arc<Verified>| verified.verification.passed())
}

/// The outcome in a sentence, which lives as long as `verification`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_verification_text(
    verification: *const ember_verification,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(verification, error, |verified: Arc<Verified>| {
        raw::out("text_out", text_out)?.set(ember_text::of(&verified.text));
        Ok(())
    })
}

/// Step number `index`, in the order of the network; its name lives as long as `verification`.
/// EMBER_DONE after the last. `step_size` is `sizeof(ember_step)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_verification_step(
    verification: *const ember_verification,
    index: usize,
    step_out: *mut ember_step,
    step_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(verification, error, |verified: Arc<Verified>| {
        let out = raw::sized_out("step_out", step_out, step_size)?;
        let Some(step) = verified.verification.steps.get(index) else {
            return Ok(ember_status::EMBER_DONE);
        };
        let name = ember_text::of(&step.name);
        out.set(ember_step { name, difference: step.difference, scale: step.scale });
        Ok(ember_status::EMBER_OK)
    })
}

/// Frees the comparison.
#[unsafe(no_mangle)]
pub extern "C" fn ember_verification_free(verification: *mut ember_verification) {
    handle::free::<Verified>(verification)
}

/// A size that the caller may leave to the model: `EMBER_UNSET` in the header.
pub(crate) fn set_size(value: usize) -> Option<usize> {
    (value != usize::MAX).then_some(value)
}

/// A switch that the caller may leave to the model.
pub(crate) fn set_switch(name: &str, value: i32) -> Outcome<Option<bool>> {
    match value {
        -1 => Ok(None),
        0 => Ok(Some(false)),
        1 => Ok(Some(true)),
        _ => Err(argument(name, format!("is {value}, not 0, 1 or EMBER_UNSET"))),
    }
}
