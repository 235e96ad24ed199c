//! Several sequences at once
//!
//! A token of all living sequences is one forward pass on the CPU, which reads each weight once for
//! all. Each has its own prompt, options, draws and end, and its tokens are those that it has alone,
//! except where two logits are as good as equal. Those that have ended leave the pass; more may be
//! added at any time. On a GPU, for encoder-decoders and for some kinds of attention (ALiBi, learned
//! distances, sinks, latent vectors, chunks) the sequences have their steps one after the other, with
//! the same result.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emberform::CancelToken;

use crate::generate::{Last, convert, ember_generate_options, ember_stats, ember_token};
use crate::handle::{self, Object};
use crate::model::{Opened, ember_model};
use crate::raw;
use crate::status::{Outcome, ember_error, ember_status, ember_status::*, ember_text};

/// Sequences that are decoded together. One thread at a time, but for cancelling.
pub struct ember_batch {
    _opaque: (),
}

/// A batch with what a caller may borrow.
struct State {
    batch: emberform::Batch,
    last: Last,
}

/// The object behind a batch.
struct Batch {
    state: Mutex<State>,
    /// Beside the lock, as those of `parts`, so that a running call can be cancelled.
    cancel: CancelToken,
    /// Those of the sequences, by number.
    parts: Mutex<BTreeMap<usize, CancelToken>>,
}

impl Batch {
    fn lock(&self) -> Outcome<MutexGuard<'_, State>> {
        handle::lock(Self::ARGUMENT, &self.state)
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<usize, CancelToken>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a sequence and writes its number.
    fn add(
        &self,
        out: raw::Out<usize>,
        add: impl FnOnce(&mut emberform::Batch) -> emberform::Result<usize>,
    ) -> Outcome {
        let mut state = self.lock()?;
        let sequence = add(&mut state.batch)?;
        self.parts().extend(state.batch.cancel_token_of(sequence).map(|token| (sequence, token)));
        out.set(sequence);
        Ok(())
    }
}

impl Object for Batch {
    type C = ember_batch;
    const NAME: &'static str = "ember_batch";
    const ARGUMENT: &'static str = "batch";
}

/// Hands a batch out.
fn give(out: raw::Out<*mut ember_batch>, batch: emberform::Batch) -> Outcome {
    let cancel = batch.cancel_token();
    let part = |sequence| Some((sequence, batch.cancel_token_of(sequence)?));
    let parts = Mutex::new(batch.sequences().into_iter().filter_map(part).collect());
    let state = Mutex::new(State { batch, last: Last::default() });
    handle::give(out, Batch { state, cancel, parts })
}

/// Continues `count` texts, each as ember_model_generate would; text i has the number i. It is
/// `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL. `options`, which may be
/// NULL, hold for each. The batch keeps the model alive.
///
/// Errors: EMBER_ERROR_ARGUMENT for no texts, for one that does not fit the window or has no token,
/// whose number the message tells, and for an option out of range; EMBER_ERROR_MISSING without a
/// tokenizer or for an encoder.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_generate_all(
    model: *const ember_model,
    prompts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_generate_options,
    batch_out: *mut *mut ember_batch,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let prompts = raw::texts("prompts", prompts, lengths, count)?;
        let options = convert(options)?;
        let out = raw::out("batch_out", batch_out)?;
        give(out, opened.model.generate_all(&prompts, &options)?)
    })
}

/// A batch without sequences, which keeps the model alive: each may have options of its own and may
/// begin while others run.
///
/// Errors: EMBER_ERROR_MISSING for an encoder, which generates nothing.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_batch(
    model: *const ember_model,
    batch_out: *mut *mut ember_batch,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("batch_out", batch_out)?;
        give(out, opened.model.batch()?)
    })
}

/// Adds a text of `len` bytes, or up to its NUL with EMBER_NUL, to be continued, or the source of an
/// encoder-decoder. `options` may be NULL. Its number, counted from 0 over all that were ever added,
/// goes to `sequence_out`. It is read when the next piece is asked for.
///
/// Errors: as ember_model_generate; the batch is as before then.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_add(
    batch: *mut ember_batch,
    prompt: *const c_char,
    len: usize,
    options: *const ember_generate_options,
    sequence_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let prompt = raw::text("prompt", prompt, len)?;
        let options = convert(options)?;
        let out = raw::out("sequence_out", sequence_out)?;
        batch.add(out, |batch| batch.add(prompt, &options))
    })
}

/// As ember_batch_add, for `count` token ids.
///
/// Errors: as ember_batch_add, and EMBER_ERROR_ARGUMENT for no ids or one that is not below the
/// vocabulary.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_add_ids(
    batch: *mut ember_batch,
    ids: *const u32,
    count: usize,
    options: *const ember_generate_options,
    sequence_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let ids = raw::slice("ids", ids, count)?;
        let options = convert(options)?;
        let out = raw::out("sequence_out", sequence_out)?;
        batch.add(out, |batch| batch.add_ids(ids, &options))
    })
}

/// The next piece, and the number of its sequence: whole characters, empty while a character or a
/// possible stop text is not complete. It lives until the next call of this function. EMBER_DONE when
/// all sequences have ended, until more are added; then nothing is written.
///
/// Errors: EMBER_ERROR_DEVICE, EMBER_ERROR_NOT_FINITE, of the sequence whose number is written: it has
/// no more pieces then, and the others go on with the next call. EMBER_ERROR_ARGUMENT, with nothing
/// written, when the batch is in use by another thread.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_next(
    batch: *mut ember_batch,
    sequence_out: *mut usize,
    piece_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let sequence_out = raw::out("sequence_out", sequence_out)?;
        let piece_out = raw::out("piece_out", piece_out)?;
        let mut state = batch.lock()?;
        state.last.clear();
        let Some((sequence, piece)) = state.batch.next() else {
            return Ok(EMBER_DONE);
        };
        sequence_out.set(sequence);
        piece_out.set(state.last.keep(piece?));
        Ok(EMBER_OK)
    })
}

/// The token behind the last piece; EMBER_DONE when there is none, as before the first piece and for
/// text that the end of a sequence released. `top` lives until the next call of ember_batch_next.
/// `token_size` is `sizeof(ember_token)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_token(
    batch: *mut ember_batch,
    token_out: *mut ember_token,
    token_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let out = raw::sized_out("token_out", token_out, token_size)?;
        let Some(token) = batch.lock()?.last.token() else {
            return Ok(EMBER_DONE);
        };
        out.set(token);
        Ok(EMBER_OK)
    })
}

/// Counts and times of a sequence so far, and why it ended, once its last piece was given. The time of
/// a step of several counts for each of them. EMBER_DONE where there is none of this number.
/// `stats_size` is `sizeof(ember_stats)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_stats(
    batch: *mut ember_batch,
    sequence: usize,
    stats_out: *mut ember_stats,
    stats_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let out = raw::sized_out("stats_out", stats_out, stats_size)?;
        let state = batch.lock()?;
        let Some(stats) = state.batch.stats(sequence) else {
            return Ok(EMBER_DONE);
        };
        out.set(ember_stats::of(state.batch.finish_reason(sequence), stats));
        Ok(EMBER_OK)
    })
}

/// Sequences that have not ended.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_running(
    batch: *mut ember_batch,
    count_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let out = raw::out("count_out", count_out)?;
        out.set(batch.lock()?.batch.running());
        Ok(())
    })
}

/// Bytes that keys and values of all sequences take.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_cache_bytes(
    batch: *mut ember_batch,
    bytes_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let out = raw::out("bytes_out", bytes_out)?;
        out.set(batch.lock()?.batch.cache_bytes());
        Ok(())
    })
}

/// Ends a sequence, if it has not ended, and forgets what is known of it, its pieces that were not
/// taken included. EMBER_DONE where there is none of this number. A batch that lives long remembers the
/// end of each sequence until then.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_remove(
    batch: *mut ember_batch,
    sequence: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(batch, error, |batch: Arc<Batch>| {
        let removed = batch.lock()?.batch.remove(sequence);
        batch.parts().remove(&sequence);
        Ok(if removed { EMBER_OK } else { EMBER_DONE })
    })
}

/// Stops all sequences, also while a prompt is read, and those that are added later; they end as
/// `cancelled`. May be called from any thread at any time, also while another is inside
/// ember_batch_next.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_cancel(batch: *const ember_batch) {
    handle::ask(batch, (), |batch: Arc<Batch>| batch.cancel.cancel())
}

/// As ember_batch_cancel, for one sequence: before its next step, or while its prompt is read. Nothing
/// happens where there is none of this number.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_cancel_one(batch: *const ember_batch, sequence: usize) {
    handle::ask(batch, (), |batch: Arc<Batch>| {
        if let Some(token) = batch.parts().get(&sequence) {
            token.cancel();
        }
    })
}

/// Frees the batch; what is not generated yet will not be.
#[unsafe(no_mangle)]
pub extern "C" fn ember_batch_free(batch: *mut ember_batch) {
    handle::free::<Batch>(batch)
}
