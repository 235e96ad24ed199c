//! Embedding
//!
//! Texts to vectors, as sentence-transformers computes them for the same folder.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use emberform::{EmbedOptions, Embeddings, Progress, RunOptions};

use crate::cancel::{self, ember_cancel_token};
use crate::handle;
use crate::model::{Opened, ember_model, product, set_size, set_switch};
use crate::raw::{self, Options};
use crate::status::{Outcome, call, ember_error, ember_status};

/// Takes how many texts are done, of how many. It is called on the thread of the embedding; it
/// must not throw.
pub type ember_progress_function =
    Option<extern "C" fn(user: *mut c_void, done: usize, count: usize)>;

/// What is chosen about embedding. What is EMBER_UNSET or NULL is as the model's folder says.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_embed_options {
    /// `sizeof(ember_embed_options)`; EMBER_EMBED_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Whether vectors have length 1: 0, 1 or EMBER_UNSET.
    pub normalize: i32,
    /// Text put before each text, ended by a NUL.
    pub prompt: *const c_char,
    /// Name of one of the folder's prompts: see ember_model_prompt.
    pub prompt_name: *const c_char,
    /// How tokens become a vector: `mean`, `cls`, `lasttoken`, `max`, `mean_sqrt_len_tokens`,
    /// `weightedmean`.
    pub pooling: *const c_char,
    /// Most tokens of a text, special ones included; the rest is cut.
    pub max_tokens: usize,
    /// Keep the first numbers of a vector only.
    pub dimensions: usize,
    /// Most tokens of a batch, padding included.
    pub batch_tokens: usize,
    /// Stops the work from another thread; NULL for none.
    pub cancel: *const ember_cancel_token,
    /// Told how far the work is; NULL for none.
    pub progress: ember_progress_function,
    /// Handed on to `progress`.
    pub progress_user: *mut c_void,
}

/// A row, or a word, near to what was asked for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_neighbor {
    /// The number of the row; of words see ember_words_word.
    pub index: usize,
    /// The cosine of the angle to what was asked for, from -1 to 1.
    pub cosine: f32,
}

impl Options for ember_embed_options {
    const FIRST: usize = offset_of!(Self, progress_user) + size_of::<*mut c_void>();
    fn defaults() -> Self {
        ember_embed_options {
            struct_size: size_of::<Self>(),
            normalize: -1,
            prompt: std::ptr::null(),
            prompt_name: std::ptr::null(),
            pooling: std::ptr::null(),
            max_tokens: usize::MAX,
            dimensions: usize::MAX,
            batch_tokens: usize::MAX,
            cancel: std::ptr::null(),
            progress: None,
            progress_user: std::ptr::null_mut(),
        }
    }
}

fn convert(given: ember_embed_options) -> Outcome<EmbedOptions> {
    let mut options = EmbedOptions::default();
    options.normalize = set_switch("normalize", given.normalize)?;
    options.prompt = raw::optional_string("prompt", given.prompt)?.map(str::to_string);
    options.prompt_name =
        raw::optional_string("prompt_name", given.prompt_name)?.map(str::to_string);
    options.pooling =
        raw::optional_string("pooling", given.pooling)?.map(str::parse).transpose()?;
    options.dimensions = set_size(given.dimensions);
    let watched = (given.cancel, given.progress, given.progress_user);
    options.run = run(given.max_tokens, given.batch_tokens, watched)?;
    Ok(options)
}

/// The core's options of how work on texts is run.
pub(crate) fn run(
    max_tokens: usize,
    batch_tokens: usize,
    (cancel, call, user): (*const ember_cancel_token, ember_progress_function, *mut c_void),
) -> Outcome<RunOptions> {
    let mut options = RunOptions::default();
    options.max_tokens = set_size(max_tokens);
    options.batch_tokens = set_size(batch_tokens);
    options.cancel = cancel::optional("cancel", cancel)?;
    options.progress = progress(call, user);
    Ok(options)
}

/// The core's progress of options that may have one.
fn progress(call: ember_progress_function, user: *mut c_void) -> Option<Progress> {
    // An address of the caller's, which is not followed here.
    let user = user.expose_provenance();
    let tell = |call: extern "C" fn(*mut c_void, usize, usize)| {
        Progress::new(move |done, count| {
            call(std::ptr::with_exposed_provenance_mut(user), done, count)
        })
    };
    call.map(tell)
}

/// Room for `count` neighbors and their number.
pub(crate) struct Found {
    out: raw::Buffer<ember_neighbor>,
    len_out: raw::Out<usize>,
}

impl Found {
    pub(crate) fn new(
        out: *mut ember_neighbor,
        count: usize,
        len_out: *mut usize,
    ) -> Outcome<Found> {
        let len_out = raw::out("len_out", len_out)?;
        Ok(Found { out: raw::buffer("out", out, count, count)?, len_out })
    }

    /// Writes what was found: numbers and cosines.
    pub(crate) fn set(self, found: impl Iterator<Item = (usize, f32)>) -> Outcome {
        let found: Vec<ember_neighbor> =
            found.map(|(index, cosine)| ember_neighbor { index, cosine }).collect();
        self.out.fill(&found)?;
        self.len_out.set(found.len());
        Ok(())
    }
}

/// Embeds `count` texts, each ended by a NUL, as the model's folder says. Writes [count, width]
/// floats to `out`, width = ember_model_width(model); `out_len` counts floats. A text without a
/// token, as an empty one can be, gives zeros.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer; EMBER_ERROR_ARGUMENT when `out` is too short or
/// a text is NULL or no UTF-8; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_embed(
    model: *const ember_model,
    texts: *const *const c_char,
    count: usize,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, std::ptr::null(), count)?;
        let needed = product("embeddings", &[count, opened.model.width()])?;
        let out = raw::buffer("out", out, out_len, needed)?;
        out.fill(opened.model.embed(&texts)?.as_slice())
    })
}

/// Numbers of an embedding with these options, which may be NULL: ember_model_width(model) unless
/// `dimensions` or `pooling` make it less.
///
/// Errors: EMBER_ERROR_ARGUMENT for an option out of range; EMBER_ERROR_UNSUPPORTED for a pooling
/// that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_embedding_width(
    model: *const ember_model,
    options: *const ember_embed_options,
    width_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let options = convert(raw::options(options)?)?;
        let out = raw::out("width_out", width_out)?;
        out.set(opened.model.embedding_width(&options)?);
        Ok(())
    })
}

/// Embeds `count` texts as `options` say, which may be NULL. Text i is `lengths[i]` bytes long;
/// `lengths` may be NULL when each is ended by a NUL. Writes [count, width] floats to `out`, width
/// as ember_model_embedding_width tells; it goes to `width_out`. `cut_out` gets how many tokens of each text were beyond the limit and left out,
/// `count` numbers. Both may be NULL.
///
/// Errors: as ember_model_embed; EMBER_ERROR_ARGUMENT for an option out of range;
/// EMBER_ERROR_CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_embed_with(
    model: *const ember_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_embed_options,
    out: *mut f32,
    out_len: usize,
    width_out: *mut usize,
    cut_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let options = convert(raw::options(options)?)?;
        let width = opened.model.embedding_width(&options)?;
        let out = raw::buffer("out", out, out_len, product("embeddings", &[count, width])?)?;
        let cut_out = raw::optional_buffer("cut_out", cut_out, count)?;
        let width_out = raw::optional_out("width_out", width_out)?;
        let embeddings = opened.model.embed_with(&texts, &options)?;
        out.fill(embeddings.as_slice())?;
        if let Some(cut_out) = cut_out {
            cut_out.fill(embeddings.cut())?;
        }
        if let Some(width_out) = width_out {
            width_out.set(embeddings.width());
        }
        Ok(())
    })
}

/// The cosine of the angle between two vectors of `width` floats, from -1 to 1; 0 when one is all
/// zeros.
#[unsafe(no_mangle)]
pub extern "C" fn ember_cosine(
    a: *const f32,
    b: *const f32,
    width: usize,
    cosine_out: *mut f32,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let (a, b) = (raw::slice("a", a, width)?, raw::slice("b", b, width)?);
        let out = raw::out("cosine_out", cosine_out)?;
        out.set(Embeddings::cosine_between(a, b)?);
        Ok(())
    })
}

/// The rows nearest to `query` by cosine, best first: at most `count` go to `out` and their number to
/// `len_out`. `rows` are [row_count, width], as embeddings come, and `query` is a vector of `query_len`
/// floats, which is the width too. Of equals the first row comes first.
///
/// Errors: EMBER_ERROR_ARGUMENT for a query of another width, or a width of 0.
#[unsafe(no_mangle)]
pub extern "C" fn ember_nearest(
    query: *const f32,
    query_len: usize,
    rows: *const f32,
    row_count: usize,
    width: usize,
    out: *mut ember_neighbor,
    count: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let query = raw::slice("query", query, query_len)?;
        let rows = raw::slice("rows", rows, product("rows", &[row_count, width])?)?;
        let found = Found::new(out, count, len_out)?;
        found.set(Embeddings::nearest_among(query, rows, width, count)?.into_iter())
    })
}
