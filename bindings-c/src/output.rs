//! Running the network
//!
//! Token ids in, numbers out: logits, hidden states, attention maps, the load of experts.

use std::mem::offset_of;
use std::sync::Arc;

use emberform::{ForwardOptions, Model, Output};

use crate::cancel::{self, ember_cancel_token};
use crate::handle::{self, results};
use crate::model::{Opened, ember_model, output_width, product};
use crate::raw::{self, Options};
use crate::status::{Outcome, argument, ember_error, ember_status};

/// What a forward pass gave.
pub struct ember_output {
    _opaque: (),
}

/// How often each expert of each block was chosen.
pub struct ember_expert_load {
    _opaque: (),
}

results! {
    Output: ember_output, "output";
    Vec<Vec<usize>>: ember_expert_load, "load";
}

/// Numbers that somebody else owns, row-major.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_array {
    /// The first number.
    pub data: *const f32,
    /// How many sizes there are, at most 4.
    pub rank: usize,
    /// The sizes; those beyond `rank` are 1.
    pub shape: [usize; 4],
}

impl ember_array {
    fn new(values: &[f32], sizes: &[usize]) -> ember_array {
        let mut shape = [1; 4];
        shape.iter_mut().zip(sizes).for_each(|(to, from)| *to = *from);
        ember_array { data: values.as_ptr(), rank: sizes.len(), shape }
    }
}

/// What is chosen about a forward pass.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_forward_options {
    /// `sizeof(ember_forward_options)`; EMBER_FORWARD_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Stops the work from another thread; NULL for none.
    pub cancel: *const ember_cancel_token,
    /// Of an encoder-decoder: a row of the target's ids for each row, which is then the source's; the
    /// decoder's logits come out. NULL and 0 of them: none, the encoder's hidden states do.
    pub decoder_ids: *const *const u32,
    /// The length of each row of these.
    pub decoder_lengths: *const usize,
    /// How many, as many as there are rows.
    pub decoder_count: usize,
    /// Hidden states to keep: 0 are those of the embeddings, i those after i blocks; the last ones are
    /// taken after the last norm. For ember_model_forward_output, and not with `decoder_ids`.
    pub hidden_states: *const usize,
    /// How many.
    pub hidden_state_count: usize,
    /// Layers whose attention weights to keep, from 0. On the CPU they are computed by a slower way that
    /// has these weights. For ember_model_forward_output, and not with `decoder_ids`.
    pub attentions: *const usize,
    /// How many.
    pub attention_count: usize,
}

impl Options for ember_forward_options {
    const FIRST: usize = offset_of!(Self, cancel) + size_of::<*const ember_cancel_token>();
    fn defaults() -> Self {
        ember_forward_options {
            struct_size: size_of::<Self>(),
            cancel: std::ptr::null(),
            decoder_ids: std::ptr::null(),
            decoder_lengths: std::ptr::null(),
            decoder_count: 0,
            hidden_states: std::ptr::null(),
            hidden_state_count: 0,
            attentions: std::ptr::null(),
            attention_count: 0,
        }
    }
}

/// The caller's options in the core's words.
fn convert(given: *const ember_forward_options) -> Outcome<ForwardOptions> {
    let given = raw::options(given)?;
    let mut options = ForwardOptions::default();
    options.cancel = cancel::optional("cancel", given.cancel)?;
    if given.decoder_count > 0 || !given.decoder_ids.is_null() {
        let lengths = ("decoder_lengths", given.decoder_lengths);
        let rows = raw::rows(("decoder_ids", given.decoder_ids), lengths, given.decoder_count)?;
        options = options.decoder_ids(rows);
    }
    let states = raw::slice("hidden_states", given.hidden_states, given.hidden_state_count)?;
    options.hidden_states = states.to_vec();
    options.attentions =
        raw::slice("attentions", given.attentions, given.attention_count)?.to_vec();
    Ok(options)
}

/// Runs the network on rows of token ids: logits of a decoder, hidden states of an encoder.
///
/// Row i is `rows[i]`, `lengths[i]` ids long; rows may differ in length. With T the longest length,
/// writes [count, T, W] floats to `out`, W = `ember_model_info.output_width`; those beyond a row's
/// length are zeros. `out_len` counts floats.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary or too short an `out`;
/// EMBER_ERROR_TOO_LONG for a row longer than the window; EMBER_ERROR_MEMORY; EMBER_ERROR_DEVICE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_forward(
    model: *const ember_model,
    rows: *const *const u32,
    lengths: *const usize,
    count: usize,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let rows = raw::rows(("rows", rows), ("lengths", lengths), count)?;
        forward(&opened.model, &rows, &ForwardOptions::default(), (out, out_len))
    })
}

/// ember_model_forward as `options` say, which may be NULL. With `decoder_ids`, T is the longest of these
/// and W the vocabulary.
///
/// Errors: as ember_model_forward; EMBER_ERROR_ARGUMENT for decoder ids that go to no encoder-decoder, and
/// for hidden states and attentions; EMBER_ERROR_CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_forward_with(
    model: *const ember_model,
    rows: *const *const u32,
    lengths: *const usize,
    count: usize,
    options: *const ember_forward_options,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let rows = raw::rows(("rows", rows), ("lengths", lengths), count)?;
        let options = convert(options)?;
        let shown =
            [("hidden_states", &options.hidden_states), ("attentions", &options.attentions)];
        if let Some((name, _)) = shown.into_iter().find(|(_, layers)| !layers.is_empty()) {
            return Err(argument(
                name,
                "have no place here; ember_model_forward_output gives them",
            ));
        }
        forward(&opened.model, &rows, &options, (out, out_len))
    })
}

fn forward(
    model: &Model,
    rows: &[&[u32]],
    options: &ForwardOptions,
    (out, out_len): (*mut f32, usize),
) -> Outcome {
    let (longest, width) = match &options.decoder_ids {
        Some(targets) => (targets.iter().map(Vec::len).max(), model.spec().vocab),
        None => (rows.iter().map(|row| row.len()).max(), output_width(model)),
    };
    let needed = product("numbers", &[rows.len(), longest.unwrap_or(0), width])?;
    let out = raw::buffer("out", out, out_len, needed)?;
    out.fill(model.forward_with(rows, options)?.as_slice())
}

/// ember_model_forward_with to an object, which also holds the hidden states and attention weights that
/// `options` ask for.
///
/// Errors: as ember_model_forward_with; EMBER_ERROR_ARGUMENT for a layer that is not there.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_forward_output(
    model: *const ember_model,
    rows: *const *const u32,
    lengths: *const usize,
    count: usize,
    options: *const ember_forward_options,
    output_out: *mut *mut ember_output,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let rows = raw::rows(("rows", rows), ("lengths", lengths), count)?;
        let options = convert(options)?;
        let out = raw::out("output_out", output_out)?;
        handle::give(out, opened.model.forward_with(&rows, &options)?)
    })
}

/// The numbers that ember_model_forward gives, [count, T, W]; they live as long as `output`.
/// `array_size` is `sizeof(ember_array)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_output_values(
    output: *const ember_output,
    array_out: *mut ember_array,
    array_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(output, error, |output: Arc<Output>| {
        let out = raw::sized_out("array_out", array_out, array_size)?;
        out.set(ember_array::new(output.as_slice(), &output.shape()));
        Ok(())
    })
}

/// Hidden states after `layer` blocks, [count, T, D], D = `ember_model_info.hidden_width`; those beyond a
/// row's length are zeros. They live as long as `output`. `array_size` is `sizeof(ember_array)`.
///
/// Errors: EMBER_ERROR_ARGUMENT for a layer that was not asked for.
#[unsafe(no_mangle)]
pub extern "C" fn ember_output_hidden_states(
    output: *const ember_output,
    layer: usize,
    array_out: *mut ember_array,
    array_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(output, error, |output: Arc<Output>| {
        let out = raw::sized_out("array_out", array_out, array_size)?;
        let states = output.hidden_states(layer).ok_or_else(|| not_asked_for(layer))?;
        out.set(ember_array::new(states.as_slice(), &states.shape()));
        Ok(())
    })
}

/// Attention weights of a layer, [count, H, T, T]: rows, query heads, the token that looks, the token that
/// is looked at. Those of a token sum to 1; what it does not see weighs 0, and so does what is beyond a
/// row's length. They live as long as `output`. `array_size` is `sizeof(ember_array)`.
///
/// Errors: EMBER_ERROR_ARGUMENT for a layer that was not asked for.
#[unsafe(no_mangle)]
pub extern "C" fn ember_output_attentions(
    output: *const ember_output,
    layer: usize,
    array_out: *mut ember_array,
    array_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(output, error, |output: Arc<Output>| {
        let out = raw::sized_out("array_out", array_out, array_size)?;
        let maps = output.attentions(layer).ok_or_else(|| not_asked_for(layer))?;
        out.set(ember_array::new(maps.as_slice(), &maps.shape()));
        Ok(())
    })
}

fn not_asked_for(layer: usize) -> crate::status::Fault {
    argument("layer", format!("is {layer}, which the options did not ask for"))
}

/// Frees the output.
#[unsafe(no_mangle)]
pub extern "C" fn ember_output_free(output: *mut ember_output) {
    handle::free::<Output>(output)
}

/// Counts how often each expert of each block is chosen for the tokens of rows, which are given as for
/// ember_model_forward: whether a router keeps its experts evenly busy, and which of them a kind of text
/// needs. `cancel` stops the work from another thread; NULL for none.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary; EMBER_ERROR_TOO_LONG for a row
/// longer than the window; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_expert_load(
    model: *const ember_model,
    rows: *const *const u32,
    lengths: *const usize,
    count: usize,
    cancel: *const ember_cancel_token,
    load_out: *mut *mut ember_expert_load,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let rows = raw::rows(("rows", rows), ("lengths", lengths), count)?;
        let out = raw::out("load_out", load_out)?;
        let cancel = cancel::optional("cancel", cancel)?.unwrap_or_default();
        handle::give(out, opened.model.expert_load_with(&rows, &cancel)?)
    })
}

/// The counts of block number `layer`, one for each expert, none for a block without experts; EMBER_DONE
/// after the last block. Those of a block sum to all tokens times the experts that a token goes through.
/// They live as long as `load`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_expert_load_get(
    load: *const ember_expert_load,
    layer: usize,
    counts_out: *mut *const usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(load, error, |load: Arc<Vec<Vec<usize>>>| {
        let (counts_out, len_out) =
            (raw::out("counts_out", counts_out)?, raw::out("len_out", len_out)?);
        let Some(counts) = load.get(layer) else {
            return Ok(ember_status::EMBER_DONE);
        };
        counts_out.set(counts.as_ptr());
        len_out.set(counts.len());
        Ok(ember_status::EMBER_OK)
    })
}

/// Frees the counts.
#[unsafe(no_mangle)]
pub extern "C" fn ember_expert_load_free(load: *mut ember_expert_load) {
    handle::free::<Vec<Vec<usize>>>(load)
}
