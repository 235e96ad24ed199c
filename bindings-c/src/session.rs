//! Sessions
//!
//! One sequence of tokens with its cache: fed step by step, asked for logits, continued.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emberform::{CancelToken, Session};

use crate::generate::{self, Source, ember_generate_options, ember_stream};
use crate::handle::{self, Object};
use crate::model::{Opened, ember_model, product};
use crate::raw;
use crate::status::{Outcome, ember_error, ember_status};

/// One sequence of tokens with its cache.
pub struct ember_session {
    _opaque: (),
}

/// The object behind a session; streams share it.
pub(crate) struct Sequence {
    session: Mutex<Session>,
    /// Beside the lock, so that a running call can be cancelled. A reset brings another token.
    cancel: Mutex<CancelToken>,
    vocab: usize,
}

impl Sequence {
    pub(crate) fn lock(&self) -> Outcome<MutexGuard<'_, Session>> {
        handle::lock(Self::ARGUMENT, &self.session)
    }
}

impl Object for Sequence {
    type C = ember_session;
    const NAME: &'static str = "ember_session";
    const ARGUMENT: &'static str = "session";
}

/// Makes an empty session, which keeps the model alive. Sessions of one model are independent.
///
/// Errors: EMBER_ERROR_MISSING for an encoder.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_session(
    model: *const ember_model,
    session_out: *mut *mut ember_session,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("session_out", session_out)?;
        let session = opened.model.session()?;
        let cancel = Mutex::new(session.cancel_token());
        let vocab = opened.model.spec().vocab;
        handle::give(out, Sequence { session: Mutex::new(session), cancel, vocab })
    })
}

/// Frees the session; streams of it go on.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_free(session: *mut ember_session) {
    handle::free::<Sequence>(session)
}

/// Reads `count` token ids, which join the sequence.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary; EMBER_ERROR_TOO_LONG
/// beyond the window; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE. When it stopped half way the
/// session is empty after.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_feed(
    session: *mut ember_session,
    ids: *const u32,
    count: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let ids = raw::slice("ids", ids, count)?;
        Ok(sequence.lock()?.feed(ids)?)
    })
}

/// Reads the source of an encoder-decoder, once for all that is generated from it, and begins the target
/// with the token that the model's files name; where they name none, ember_session_feed begins it. What
/// the session held before is forgotten.
///
/// Errors: EMBER_ERROR_MISSING for a model that is no encoder-decoder; EMBER_ERROR_ARGUMENT for a source
/// without tokens; else as ember_session_feed.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_read_source(
    session: *mut ember_session,
    ids: *const u32,
    count: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let ids = raw::slice("ids", ids, count)?;
        Ok(sequence.lock()?.read_source(ids)?)
    })
}

/// Reads a text of `len` bytes, or up to its NUL with EMBER_NUL. The first one of a sequence begins
/// it with the model's opening token where it has one; later ones join as they are.
///
/// Errors: as ember_session_feed, and EMBER_ERROR_MISSING without a tokenizer.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_feed_text(
    session: *mut ember_session,
    text: *const c_char,
    len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let text = raw::text("text", text, len)?;
        Ok(sequence.lock()?.feed_text(text)?)
    })
}

/// Reads `count` token ids and writes the logits after each, [count, V] floats, to `out`.
///
/// Errors: as ember_session_feed, and EMBER_ERROR_ARGUMENT for too short an `out`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_forward(
    session: *mut ember_session,
    ids: *const u32,
    count: usize,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let ids = raw::slice("ids", ids, count)?;
        let needed = product("logits", &[count, sequence.vocab])?;
        let out = raw::buffer("out", out, out_len, needed)?;
        out.fill(sequence.lock()?.forward(ids)?.as_slice())
    })
}

/// The log-odds of each next token after the last one that was fed. Writes their number, V or 0
/// before the first token, to `len_out`, and them to `out` unless that is NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT for too short an `out`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_logits(
    session: *mut ember_session,
    out: *mut f32,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let session = sequence.lock()?;
        raw::give_slice(session.logits(), out, out_len, len_out)
    })
}

/// The tokens so far; where they go is as in ember_session_logits.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_ids(
    session: *mut ember_session,
    out: *mut u32,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let session = sequence.lock()?;
        raw::give_slice(session.ids(), out, out_len, len_out)
    })
}

/// Bytes that keys and values take.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_cache_bytes(
    session: *mut ember_session,
    bytes_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let out = raw::out("bytes_out", bytes_out)?;
        out.set(sequence.lock()?.cache_bytes());
        Ok(())
    })
}

/// Forgets all tokens, the source of an encoder-decoder, and that anything was cancelled.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_reset(
    session: *mut ember_session,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let mut session = sequence.lock()?;
        session.reset();
        *sequence.cancel.lock().unwrap_or_else(PoisonError::into_inner) = session.cancel_token();
        Ok(())
    })
}

/// Goes back to the first `len` tokens, or stays where it is when it has no more. There are no
/// logits until the next token is fed. What blocks with a sliding window have let go of does not
/// come back: when going back needs it, the session is empty after; ember_session_ids tells.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_truncate(
    session: *mut ember_session,
    len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        sequence.lock()?.truncate(len);
        Ok(())
    })
}

/// Generates from where the sequence stands; the tokens made join it. `options` may be NULL. Feed
/// nothing to the session before the stream has ended.
///
/// Errors: EMBER_ERROR_ARGUMENT for an option out of range or before any token was fed.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_generate(
    session: *mut ember_session,
    options: *const ember_generate_options,
    stream_out: *mut *mut ember_stream,
    error: *mut ember_error,
) -> ember_status {
    handle::with(session, error, |sequence: Arc<Sequence>| {
        let options = generate::convert(options)?;
        let out = raw::out("stream_out", stream_out)?;
        let (generation, cancel) = {
            let session = sequence.lock()?;
            (session.start(&options)?, session.cancel_token())
        };
        generate::give(out, Source::Session(sequence, Box::new(generation)), cancel)
    })
}

/// Stops what the session does, until it is reset. May be called from any thread at any time.
#[unsafe(no_mangle)]
pub extern "C" fn ember_session_cancel(session: *const ember_session) {
    handle::ask(session, (), |sequence: Arc<Sequence>| {
        sequence.cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    })
}
