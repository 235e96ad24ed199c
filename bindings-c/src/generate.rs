//! Generating text
//!
//! A stream gives text piece by piece; each is made when it is asked for.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard};

use emberform::{CancelToken, GenerateOptions, Generation, Piece, Stats};

use crate::chat::Conversation;
use crate::handle::{self, Object};
use crate::model::{Opened, ember_model, set_size, set_switch};
use crate::raw::{self, Options};
use crate::session::Sequence;
use crate::status::{Outcome, argument, ember_error, ember_status, ember_status::*, ember_text};

/// Text as it is generated.
pub struct ember_stream {
    _opaque: (),
}

/// What is chosen for a generation. What is EMBER_UNSET is as the model's files advise, else as
/// said here.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_generate_options {
    /// `sizeof(ember_generate_options)`; EMBER_GENERATE_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Most tokens to generate; else until the window is full.
    pub max_tokens: usize,
    /// What the logits are divided by; 0 always takes the likeliest token. Else 0.
    pub temperature: f32,
    /// Only the likeliest `top_k` tokens are drawn from; 0 is off. Else off.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability; 1 is off. Else off.
    pub top_p: f32,
    /// Only tokens at least this many times as likely as the likeliest; 0 is off. Else off.
    pub min_p: f32,
    /// Factor against tokens that were there before, above 0; 1 is off. Else off.
    pub repetition_penalty: f32,
    /// Taken off a token's logit for each time it was generated, -2 to 2; 0 is off.
    pub frequency_penalty: f32,
    /// Taken off a token's logit once it was generated, -2 to 2; 0 is off.
    pub presence_penalty: f32,
    /// How many of the last tokens the penalties look at. Else all.
    pub penalty_window: usize,
    /// Fixes the draws: same model, device, options and seed, same text. Else a fresh one each time.
    pub seed: u64,
    /// Texts that end the generation and are not part of it, each ended by a NUL.
    pub stop: *const *const c_char,
    /// How many.
    pub stop_count: usize,
    /// Tokens that end the generation, besides the model's own.
    pub stop_ids: *const u32,
    /// How many.
    pub stop_id_count: usize,
    /// With each token, as many of the likeliest with their log-probabilities. Else none.
    pub logprobs: usize,
    /// Tokens of the prompt that are read at once. Else 512.
    pub prefill_chunk: usize,
    /// 1 goes on past the model's end-of-text tokens; else 0.
    pub ignore_eos: i32,
    /// Tokens to generate before one that ends the text may come. Else 0.
    pub min_tokens: usize,
    /// No row of so many tokens comes twice, the prompt's among them; 0 is off. Else off.
    pub no_repeat_ngram: usize,
    /// Rows of tokens that never come, of one token or more; NULL and 0 of them: the file's.
    pub bad_words: *const *const u32,
    /// The length of each.
    pub bad_word_lengths: *const usize,
    /// How many.
    pub bad_word_count: usize,
    /// Tokens that never come; NULL and 0 of them: the file's.
    pub suppress: *const u32,
    /// How many.
    pub suppress_count: usize,
    /// The first token of an encoder-decoder's target, such as the language to translate to. Else none.
    pub first_token: i64,
}

impl Options for ember_generate_options {
    const FIRST: usize = offset_of!(Self, ignore_eos) + size_of::<i32>();
    fn defaults() -> Self {
        ember_generate_options {
            struct_size: size_of::<Self>(),
            max_tokens: usize::MAX,
            temperature: -1.0,
            top_k: usize::MAX,
            top_p: -1.0,
            min_p: -1.0,
            repetition_penalty: -1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: usize::MAX,
            seed: u64::MAX,
            stop: std::ptr::null(),
            stop_count: 0,
            stop_ids: std::ptr::null(),
            stop_id_count: 0,
            logprobs: usize::MAX,
            prefill_chunk: usize::MAX,
            ignore_eos: 0,
            min_tokens: usize::MAX,
            no_repeat_ngram: usize::MAX,
            bad_words: std::ptr::null(),
            bad_word_lengths: std::ptr::null(),
            bad_word_count: 0,
            suppress: std::ptr::null(),
            suppress_count: 0,
            first_token: -1,
        }
    }
}

/// Writes `Every` from the core's table.
macro_rules! every {
    ($(
        $(#[doc = $doc:tt])*
        $name:ident($argument:ident) [$kind:ty] $(in $range:ident)?;
    )*) => {
        /// Every option of the core, so that one that C does not pass on does not compile.
        struct Every {
            $($name: $kind,)*
        }

        impl From<Every> for GenerateOptions {
            fn from(every: Every) -> Self {
                let mut options = GenerateOptions::default();
                $(options.$name = every.$name;)*
                options
            }
        }
    };
}

emberform::generate_options!(every);

/// The caller's options in the core's words.
pub(crate) fn convert(given: *const ember_generate_options) -> Outcome<GenerateOptions> {
    let given = raw::options(given)?;
    let number = |value: f32| (value != -1.0).then_some(value);
    let stop = raw::texts("stop", given.stop, std::ptr::null(), given.stop_count)?;
    let mut bad_words = None;
    if given.bad_word_count > 0 || !given.bad_words.is_null() {
        let lengths = ("bad_word_lengths", given.bad_word_lengths);
        let words = raw::rows(("bad_words", given.bad_words), lengths, given.bad_word_count)?;
        bad_words = Some(words.into_iter().map(<[u32]>::to_vec).collect());
    }
    let mut suppress = None;
    if given.suppress_count > 0 || !given.suppress.is_null() {
        suppress = Some(raw::slice("suppress", given.suppress, given.suppress_count)?.to_vec());
    }
    let mut first_token = None;
    if given.first_token != -1 {
        let id = u32::try_from(given.first_token);
        let problem = |_| argument("first_token", format!("is {}, no id", given.first_token));
        first_token = Some(id.map_err(problem)?);
    }
    let every = Every {
        max_tokens: set_size(given.max_tokens),
        temperature: number(given.temperature),
        top_k: set_size(given.top_k),
        top_p: number(given.top_p),
        min_p: number(given.min_p),
        repetition_penalty: number(given.repetition_penalty),
        frequency_penalty: Some(given.frequency_penalty),
        presence_penalty: Some(given.presence_penalty),
        penalty_window: set_size(given.penalty_window),
        seed: (given.seed != u64::MAX).then_some(given.seed),
        stop: stop.into_iter().map(str::to_string).collect(),
        stop_ids: raw::slice("stop_ids", given.stop_ids, given.stop_id_count)?.to_vec(),
        logprobs: set_size(given.logprobs),
        prefill_chunk: set_size(given.prefill_chunk),
        ignore_eos: set_switch("ignore_eos", given.ignore_eos)?.unwrap_or(false),
        min_tokens: set_size(given.min_tokens),
        no_repeat_ngram: set_size(given.no_repeat_ngram),
        bad_words,
        suppress,
        first_token,
    };
    Ok(every.into())
}

/// A token and how likely it was.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_logprob {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// A token as it was chosen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Natural logarithm of its probability, before penalties, temperature and cuts.
    pub logprob: f32,
    /// The most probable tokens, best first, as many as `logprobs` asks for.
    pub top: *const ember_logprob,
    /// How many.
    pub top_len: usize,
}

/// Counts and times of a stream.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_stats {
    /// Why it ended: `length`, `stop`, `stop_string`, `window` or `cancelled`, ended by a NUL; NULL
    /// while it goes on and after an error.
    pub finish_reason: *const c_char,
    /// Tokens of the prompt that were read.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Seconds that reading the prompt took.
    pub prefill_seconds: f64,
    /// Seconds that generating took.
    pub decode_seconds: f64,
    /// Tokens of the prompt read a second; 0 before the first.
    pub prefill_per_second: f64,
    /// Tokens generated a second; 0 before the first.
    pub tokens_per_second: f64,
}

impl ember_stats {
    pub(crate) fn of(finish: Option<emberform::FinishReason>, stats: Stats) -> ember_stats {
        let finish_reason = match finish.map(emberform::FinishReason::as_str) {
            None => std::ptr::null(),
            Some("length") => c"length".as_ptr(),
            Some("stop") => c"stop".as_ptr(),
            Some("stop_string") => c"stop_string".as_ptr(),
            Some("window") => c"window".as_ptr(),
            Some("cancelled") => c"cancelled".as_ptr(),
            Some(_) => c"other".as_ptr(),
        };
        ember_stats {
            finish_reason,
            prompt_tokens: stats.prompt_tokens,
            tokens: stats.tokens,
            prefill_seconds: stats.prefill.as_secs_f64(),
            decode_seconds: stats.decode.as_secs_f64(),
            prefill_per_second: stats.prefill_per_second(),
            tokens_per_second: stats.tokens_per_second(),
        }
    }
}

/// Where the pieces come from.
pub(crate) enum Source {
    /// A sequence of its own.
    Own(Box<emberform::Stream<'static>>),
    /// A session, which can be used again after.
    Session(Arc<Sequence>, Box<Generation>),
    /// A conversation, whose reply it is.
    Chat(Arc<Conversation>, Box<Generation>),
}

impl Source {
    fn next(&mut self) -> Outcome<Option<Piece>> {
        let piece = match self {
            Source::Own(stream) => stream.next(),
            Source::Session(sequence, generation) => generation.next(&mut *sequence.lock()?),
            Source::Chat(conversation, generation) => conversation.lock()?.chat.next(generation),
        };
        Ok(piece.transpose()?)
    }

    fn stats(&self) -> (Option<emberform::FinishReason>, Stats) {
        match self {
            Source::Own(stream) => (stream.finish_reason(), stream.stats()),
            Source::Session(_, generation) | Source::Chat(_, generation) => {
                (generation.finish_reason(), generation.stats())
            }
        }
    }
}

/// The last piece, which a caller may borrow from.
#[derive(Default)]
pub(crate) struct Last {
    piece: Option<Piece>,
    top: Vec<ember_logprob>,
}

impl Last {
    /// Lets go of it.
    pub(crate) fn clear(&mut self) {
        self.top.clear();
        self.piece = None;
    }

    /// Keeps the next one; its text.
    pub(crate) fn keep(&mut self, piece: Piece) -> ember_text {
        self.clear();
        if let Some(token) = &piece.token {
            self.top.extend(token.top.iter().map(|&(id, logprob)| ember_logprob { id, logprob }));
        }
        ember_text::of(&self.piece.insert(piece).text)
    }

    /// The token behind it.
    pub(crate) fn token(&self) -> Option<ember_token> {
        let token = self.piece.as_ref()?.token.as_ref()?;
        let (top, top_len) = (self.top.as_ptr(), self.top.len());
        Some(ember_token { id: token.id, logprob: token.logprob, top, top_len })
    }
}

/// A source with what a caller may borrow.
struct State {
    source: Source,
    last: Last,
    text: String,
}

impl State {
    /// The text of the next piece, or nothing at the end.
    fn next(&mut self) -> Outcome<Option<ember_text>> {
        self.last.clear();
        Ok(self.source.next()?.map(|piece| self.last.keep(piece)))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // A conversation that another thread uses ends its reply by itself, with what comes next.
        if let Source::Chat(conversation, generation) = &self.source
            && let Ok(mut talk) = conversation.lock()
        {
            talk.chat.end(generation);
        }
    }
}

struct Stream {
    state: Mutex<State>,
    cancel: CancelToken,
}

impl Stream {
    fn lock(&self) -> Outcome<MutexGuard<'_, State>> {
        handle::lock(Self::ARGUMENT, &self.state)
    }
}

impl Object for Stream {
    type C = ember_stream;
    const NAME: &'static str = "ember_stream";
    const ARGUMENT: &'static str = "stream";
}

/// Hands a stream out.
pub(crate) fn give(
    out: raw::Out<*mut ember_stream>,
    source: Source,
    cancel: CancelToken,
) -> Outcome {
    let state = State { source, last: Last::default(), text: String::new() };
    handle::give(out, Stream { state: Mutex::new(state), cancel })
}

/// Continues a text of `len` bytes, or up to its NUL with EMBER_NUL, or answers the source of an
/// encoder-decoder, which the text then is. `options` may be NULL. The prompt is read at the first call of ember_stream_next. The stream keeps the model alive.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer or for an encoder; EMBER_ERROR_TOO_LONG for a
/// prompt longer than the window; EMBER_ERROR_ARGUMENT for an option out of range.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_generate(
    model: *const ember_model,
    prompt: *const c_char,
    len: usize,
    options: *const ember_generate_options,
    stream_out: *mut *mut ember_stream,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let prompt = raw::text("prompt", prompt, len)?;
        let options = convert(options)?;
        let out = raw::out("stream_out", stream_out)?;
        let stream = opened.model.generate(prompt, &options)?;
        let cancel = stream.cancel_token();
        give(out, Source::Own(Box::new(stream)), cancel)
    })
}

/// The next piece: whole characters, empty while a character or a possible stop text is not
/// complete. It lives until the next call with this stream. EMBER_DONE at the end, and after an
/// error; then `piece_out` is not written.
///
/// Errors: EMBER_ERROR_DEVICE, EMBER_ERROR_NOT_FINITE; EMBER_ERROR_ARGUMENT when the stream's
/// session was fed meanwhile or is in use by another thread.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_next(
    stream: *mut ember_stream,
    piece_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(stream, error, |stream: Arc<Stream>| {
        let mut state = stream.lock()?;
        let out = raw::out("piece_out", piece_out)?;
        let Some(text) = state.next()? else {
            return Ok(EMBER_DONE);
        };
        out.set(text);
        Ok(EMBER_OK)
    })
}

/// The token behind the last piece; EMBER_DONE when there is none, as before the first piece and
/// for text that the end of the stream released. `top` lives until the next call with this
/// stream. `token_size` is `sizeof(ember_token)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_token(
    stream: *mut ember_stream,
    token_out: *mut ember_token,
    token_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(stream, error, |stream: Arc<Stream>| {
        let state = stream.lock()?;
        let out = raw::sized_out("token_out", token_out, token_size)?;
        let Some(token) = state.last.token() else {
            return Ok(EMBER_DONE);
        };
        out.set(token);
        Ok(EMBER_OK)
    })
}

/// All text that is still to come; it lives until the next call with this stream.
///
/// Errors: as ember_stream_next.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_text(
    stream: *mut ember_stream,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(stream, error, |stream: Arc<Stream>| {
        let mut state = stream.lock()?;
        let out = raw::out("text_out", text_out)?;
        let state = &mut *state;
        state.text.clear();
        while state.next()?.is_some() {
            if let Some(piece) = &state.last.piece {
                state.text.push_str(&piece.text);
            }
        }
        out.set(ember_text::of(&state.text));
        Ok(())
    })
}

/// Takes a piece, which lives until the function returns; false pauses the stream. It is called on
/// the thread of ember_stream_run. It must not throw, and cannot use the stream but to cancel it.
pub type ember_text_function = Option<extern "C" fn(user: *mut c_void, piece: ember_text) -> bool>;

/// Calls `on_text` with each piece up to the end of the stream: EMBER_DONE, or EMBER_OK when
/// `on_text` returned false, after which the stream can be gone on with.
///
/// Errors: as ember_stream_next.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_run(
    stream: *mut ember_stream,
    on_text: ember_text_function,
    user: *mut c_void,
    error: *mut ember_error,
) -> ember_status {
    handle::with(stream, error, |stream: Arc<Stream>| {
        let on_text = on_text.ok_or_else(|| argument("on_text", "is NULL"))?;
        let mut state = stream.lock()?;
        while let Some(text) = state.next()? {
            if !on_text(user, text) {
                return Ok(EMBER_OK);
            }
        }
        Ok(EMBER_DONE)
    })
}

/// Counts and times so far. `stats_size` is `sizeof(ember_stats)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_stats(
    stream: *mut ember_stream,
    stats_out: *mut ember_stats,
    stats_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(stream, error, |stream: Arc<Stream>| {
        let state = stream.lock()?;
        let out = raw::sized_out("stats_out", stats_out, stats_size)?;
        let (finish, stats) = state.source.stats();
        out.set(ember_stats::of(finish, stats));
        Ok(())
    })
}

/// Stops the stream, also while the prompt is read; it then ends as `cancelled`. May be called from
/// any thread at any time, also while another is inside ember_stream_next.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_cancel(stream: *const ember_stream) {
    handle::ask(stream, (), |stream: Arc<Stream>| stream.cancel.cancel())
}

/// Frees the stream; what is not generated yet will not be.
#[unsafe(no_mangle)]
pub extern "C" fn ember_stream_free(stream: *mut ember_stream) {
    handle::free::<Stream>(stream)
}
