//! Beam search
//!
//! The likeliest rows of tokens, some at a time, instead of the likeliest token.

use std::ffi::c_char;
use std::mem::offset_of;
use std::sync::Arc;

use emberform::{Beam, BeamOptions};

use crate::cancel::{self, ember_cancel_token};
use crate::generate::{self, ember_generate_options};
use crate::handle::{self, item, results};
use crate::model::{Opened, ember_model, set_size};
use crate::raw::{self, Options};
use crate::session::{Sequence, ember_session};
use crate::status::{Outcome, ember_error, ember_status, ember_text};

/// Rows that beam search found, best first.
pub struct ember_beams {
    _opaque: (),
}

results! {
    Vec<Beam>: ember_beams, "beams";
}

/// A row that beam search found.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_beam {
    /// The tokens after the prompt, with the one that ended the row.
    pub ids: *const u32,
    /// How many.
    pub len: usize,
    /// Their text, without special tokens; empty without a tokenizer.
    pub text: ember_text,
    /// The sum of the tokens' log-probabilities, divided by their number to the power of the length
    /// penalty.
    pub score: f32,
}

/// What is chosen for a beam search. What is EMBER_UNSET or NULL is as the model's files advise, else as
/// said here.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_beam_options {
    /// `sizeof(ember_beam_options)`; EMBER_BEAM_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Rows that are followed at once, 1 to 1024. Else 4.
    pub beams: usize,
    /// Rows that are given back, 1 to `beams`. EMBER_UNSET: 1.
    pub sequences: usize,
    /// Power of a row's length that the sum of its log-probabilities is divided by: above 0 favours long
    /// rows, below 0 short ones. Since every number has a meaning, the place of one, or NULL. Else 1.
    pub length_penalty: *const f32,
    /// When to stop. `full`: as soon as there are as many ended rows as beams; `likely`: when the best row
    /// that goes on, at its present length, is worse than all ended ones; `never`: when it would be worse
    /// at any length. Else `likely`.
    pub early_stopping: *const c_char,
    /// Stops the work from another thread; NULL for none. In ember_session_beams it stands in place of
    /// ember_session_cancel.
    pub cancel: *const ember_cancel_token,
}

impl Options for ember_beam_options {
    const FIRST: usize = offset_of!(Self, cancel) + size_of::<*const ember_cancel_token>();
    fn defaults() -> Self {
        ember_beam_options {
            struct_size: size_of::<Self>(),
            beams: usize::MAX,
            sequences: usize::MAX,
            length_penalty: std::ptr::null(),
            early_stopping: std::ptr::null(),
            cancel: std::ptr::null(),
        }
    }
}

/// The caller's options in the core's words.
fn convert(given: *const ember_beam_options) -> Outcome<BeamOptions> {
    let given = raw::options(given)?;
    let mut options = BeamOptions::default();
    options.beams = set_size(given.beams);
    options.sequences = set_size(given.sequences);
    let penalty = usize::from(!given.length_penalty.is_null());
    options.length_penalty =
        raw::slice("length_penalty", given.length_penalty, penalty)?.first().copied();
    options.early_stopping = raw::optional_string("early_stopping", given.early_stopping)?
        .map(str::parse)
        .transpose()?;
    options.cancel = cancel::optional("cancel", given.cancel)?;
    Ok(options)
}

/// The likeliest continuations of a text of `len` bytes, or up to its NUL with EMBER_NUL, or answers to the
/// source of an encoder-decoder, which the text then is; best first. Both kinds of options may be NULL; of
/// those of a generation, what is for drawing does nothing.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer or for an encoder; EMBER_ERROR_TOO_LONG for a prompt
/// longer than the window; EMBER_ERROR_ARGUMENT for an option out of range, a temperature above 0 or texts
/// in `stop`; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_beams(
    model: *const ember_model,
    prompt: *const c_char,
    len: usize,
    options: *const ember_generate_options,
    beam_options: *const ember_beam_options,
    beams_out: *mut *mut ember_beams,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let prompt = raw::text("prompt", prompt, len)?;
        let (options, beams) = (generate::convert(options)?, convert(beam_options)?);
        let out = raw::out("beams_out", beams_out)?;
        handle::give(out, opened.model.beams(prompt, &options, &beams)?)
    })
}

/// The likeliest continuations from where the session stands, which is left there, best first. When blocks
/// with a sliding window have let go of what they held, the session is empty after. Options are those of
/// ember_model_beams.
///
/// Errors: as ember_model_beams; EMBER_ERROR_ARGUMENT before any token was fed. When it stopped half way
/// the session is empty after.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_beams(
    session: *mut ember_session,
    options: *const ember_generate_options,
    beam_options: *const ember_beam_options,
    beams_out: *mut *mut ember_beams,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let (options, beams) = (generate::convert(options)?, convert(beam_options)?);
        let out = raw::out("beams_out", beams_out)?;
        let found = sequence.lock()?.beams(&options, &beams)?;
        handle::give(out, found)
    })
}

/// Row number `index`, best first; EMBER_DONE after the last. Its text and ids live as long as `beams`.
/// `beam_size` is `sizeof(ember_beam)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_beams_get(
    beams: *const ember_beams,
    index: usize,
    beam_out: *mut ember_beam,
    beam_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(beams, error, |beams: Arc<Vec<Beam>>| {
        item("beam_out", (beam_out, beam_size), &beams, index, |beam: &Beam| ember_beam {
            ids: beam.ids.as_ptr(),
            len: beam.ids.len(),
            text: ember_text::of(&beam.text),
            score: beam.score,
        })
    })
}

/// Frees the rows.
#[unsafe(no_mangle)]
pub extern "C" fn ember_beams_free(beams: *mut ember_beams) {
    handle::free::<Vec<Beam>>(beams)
}
