//! Text as it is generated: the options, the stream of pieces, and the session behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use emberform::{BeamOptions, CancelToken, Error, GenerateOptions, Generation, Result};
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use pyo3::{PyTypeInfo, type_hint_identifier, type_hint_subscript};

use crate::batch::Batch;
use crate::chat::{Chat, Messages, Variables};
use crate::choice::EarlyStoppingName;
use crate::error::raise;
use crate::model::Model;
use crate::numpy::{Array, Count, Given, Ids, Keyword, Texts, word};
use crate::run::{is_long, run};

/// Writes methods that take the options of a generation as keyword arguments: blocks of
/// `#[pymethods]` beside the class's own, so that what `help()` and the stubs show is what Python
/// checks. The options are those of the core's table.
///
/// ```text
/// methods! {
///     impl Class {
///         /// What it does.
///         fn name(argument: Type, ...; keyword: Type, ...) -> Result = work;
///     }
/// }
/// ```
/// Keywords may be left out and then are `None`. `work` is a method of the class that gets the
/// core's options after the other arguments.
macro_rules! methods {
    (impl $class:ident {
        $(
            $(#[doc = $doc:tt])*
            fn $name:ident($($given:ident: $kind:ident),* $(; $($word:ident: $sort:ident),*)?)
                -> $result:ty = $work:ident;
        )*
    }) => {
        $(
            emberform::generate_options! { method
                impl $class {
                    $(#[doc = $doc])*
                    fn $name($($given: $kind),*; $($($word: $sort),*)?) -> $result = $work;
                }
            }
        )*
    };
}

/// One method of [`methods`], and the core's table.
macro_rules! method {
    (
        impl $class:ident {
            $(#[doc = $doc:tt])*
            fn $name:ident($($given:ident: $kind:ident),*; $($word:ident: $sort:ident),*)
                -> $result:ty = $work:ident;
        }
        $(
            $(#[doc = $about:tt])*
            $option:ident($argument:ident) [$($core:tt)+] $(in $range:ident)?;
        )*
    ) => {
        #[pymethods]
        impl $class {
            $(#[doc = $doc])*
            #[pyo3(signature = ($($given,)* *, $($word=None,)* $($option=None),*))]
            fn $name(
                &self,
                py: Python<'_>,
                $($given: $kind,)*
                $($word: Option<$sort>,)*
                $($option: Option<<$($core)+ as Keyword>::Given>,)*
            ) -> PyResult<$result> {
                let mut options = GenerateOptions::default();
                $(options.$option = $option.given(py, stringify!($option))?;)*
                self.$work(py, $($given,)* $($word,)* &options)
            }
        }
    };
}

methods! {
    impl Model {
        /// Continues a text, or answers the source of an encoder-decoder: a stream of pieces, each
        /// made when it is asked for.
        ///
        /// What is not given comes from the model's `generation_config.json`, then from the library:
        /// greedy, no penalty, until the window is full. Sampling starts with a temperature above 0.
        ///
        /// `max_tokens`: most tokens to generate. Default: the file's, else until the window is full.
        /// `temperature`: what the logits are divided by; 0 always takes the likeliest token.
        /// `top_k`, `top_p`, `min_p`: which tokens are drawn from; 0, 1 and 0 are off.
        /// `repetition_penalty`: factor against tokens of prompt and output; 1 is off.
        /// `frequency_penalty`, `presence_penalty`: taken off the logits of generated tokens, -2 to 2.
        /// `penalty_window`: how many of the last tokens the penalties look at. Default: all.
        /// `seed`: fixes the draws, from 0 to 2^64 - 1. Default: a fresh one each time.
        /// `stop`: a text or texts that end the generation and are not part of it.
        /// `stop_ids`: tokens that end it, besides the model's own.
        /// `logprobs`: give this many of the likeliest tokens with each token.
        /// `prefill_chunk`: tokens of the prompt that are processed at once. Default: 512.
        /// `ignore_eos`: go on past the model's end-of-text tokens.
        /// `min_tokens`: tokens to generate before one that ends the text may come.
        /// `no_repeat_ngram`: no row of so many tokens comes twice, the prompt's among them; 0 is off.
        /// `bad_words`: rows of token ids that never come. Default: the file's.
        /// `suppress`: tokens that never come. Default: the file's.
        /// `first_token`: the first token of an encoder-decoder's target, such as the language to
        /// translate to.
        ///
        /// Raises MissingError without a tokenizer or for an encoder, TooLongError for a prompt longer
        /// than the window, ValueError for an option out of range. What goes wrong later is raised by
        /// the stream.
        fn generate(prompt: PyBackedStr) -> Stream = continue_text;

        /// Continues several texts at once, each as `generate` would: a token of all is one forward
        /// pass on the CPU, which reads each weight once for all. The pieces come with the number of
        /// their text.
        ///
        /// `prompts`: the texts, or one.
        /// The other options are those of `generate`, and hold for each.
        ///
        /// Raises ValueError for an empty list and for a prompt that does not fit the window or has no
        /// token, whose number it tells; else as `generate`.
        fn generate_all(prompts: Texts) -> Batch = continue_all;

        /// The likeliest continuations of a text, or answers to the source of an encoder-decoder, best
        /// first: beam search.
        ///
        /// `beams`: rows that are followed at once, 1 to 1024. Default: the file's, else 4.
        /// `sequences`: rows that are given back, at most `beams`. Default: 1.
        /// `length_penalty`: power of a row's length that the sum of its log-probabilities is divided
        /// by: above 0 favours long rows, below 0 short ones. Default: the file's, else 1.
        /// `early_stopping`: when to stop. "full": as soon as there are as many ended rows as beams;
        /// "likely": when the best row that goes on, at its present length, is worse than all ended
        /// ones; "never": when it would be worse at any length. Default: the file's, else "likely".
        /// The other options are those of `generate`; what is for drawing does nothing.
        ///
        /// Raises as `generate`, ValueError for a temperature above 0 and for `stop`, CancelledError,
        /// DeviceError, NotFiniteError.
        fn beams(
            prompt: PyBackedStr;
            beams: Count, sequences: Count, length_penalty: f32, early_stopping: EarlyStoppingName
        ) -> Vec<Beam> = search;

        /// Answers messages: a stream of pieces, each made when it is asked for. For a conversation
        /// of several turns, `chat` keeps what was read.
        ///
        /// `messages`: each a mapping with `role` and `content`, as `Chat.messages` gives them.
        /// `variables`: variables of the model's chat template by name, such as `enable_thinking`.
        /// The other options are those of `generate`.
        ///
        /// Raises as `generate` and as `chat_prompt`.
        fn generate_chat(messages: Messages; variables: Variables) -> Stream = reply;
    }
}

methods! {
    impl Session {
        /// Generates from where the sequence stands; the tokens made join it.
        ///
        /// Options and errors are those of `Model.generate`; ValueError also before anything was fed.
        fn generate() -> Stream = go_on;

        /// The likeliest continuations from where the sequence stands, which is left there, best
        /// first: beam search. When blocks with a sliding window have let go of what they held, the
        /// session is empty after.
        ///
        /// Options and errors are those of `Model.beams`; ValueError also before anything was fed.
        fn beams(;
            beams: Count, sequences: Count, length_penalty: f32, early_stopping: EarlyStoppingName
        ) -> Vec<Beam> = search;
    }
}

methods! {
    impl Batch {
        /// Adds a text to continue, or a source to answer for an encoder-decoder.
        ///
        /// Returns its number. Options and errors are those of `Model.generate`; the batch is as before
        /// after one.
        fn add(prompt: PyBackedStr) -> usize = join_text;

        /// As `add`, for token ids: a sequence of int or an array of any integer type, [T].
        ///
        /// Raises ValueError for no ids or one beyond the vocabulary, and as `add`.
        fn add_ids(ids: Ids) -> usize = join_ids;
    }
}

methods! {
    impl Chat {
        /// Says something as the user; the reply comes as a stream of pieces, each made when it is
        /// asked for. What the model has not read yet is read with the first one.
        ///
        /// The reply joins `messages` when it has ended; of one that was cancelled, dropped or left
        /// for a later message, what was made until then does. An error undoes the turn.
        ///
        /// Options are those of `Model.generate`.
        ///
        /// Raises TooLongError when the conversation leaves no room in the window, ValueError for an
        /// option out of range or messages that the template refuses, FormatError and
        /// UnsupportedError when the template is not what it should be; the messages are as before
        /// then.
        fn say(text: PyBackedStr) -> Stream = speak;
    }
}

/// The options of a beam search.
pub fn beam_options(
    py: Python<'_>,
    beams: Option<Count>,
    sequences: Option<Count>,
    length_penalty: Option<f32>,
    early_stopping: Option<EarlyStoppingName>,
) -> PyResult<BeamOptions> {
    let mut options = BeamOptions::default();
    options.beams = beams.given(py, "beams")?;
    options.sequences = sequences.given(py, "sequences")?;
    options.length_penalty = length_penalty;
    options.early_stopping = early_stopping.given(py, "early_stopping")?;
    Ok(options)
}

/// A row of tokens that beam search found.
#[pyclass(frozen, module = "emberform")]
pub struct Beam(emberform::Beam);

#[pymethods]
impl Beam {
    /// The tokens after the prompt, with the one that ended the row: uint32 [T].
    #[getter]
    fn ids(&self) -> Array<u32> {
        Array::flat(self.0.ids.clone())
    }

    /// Their text, without special tokens; empty without a tokenizer.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The sum of the tokens' log-probabilities, divided by their number to the power of the length
    /// penalty.
    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    /// The text, so that a row can be printed as it is.
    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __len__(&self) -> usize {
        self.0.ids.len()
    }

    fn __repr__(&self) -> String {
        format!("<Beam {:.4} of {} tokens: {:?}>", self.0.score, self.0.ids.len(), self.0.text)
    }
}

impl From<emberform::Beam> for Beam {
    fn from(beam: emberform::Beam) -> Self {
        Beam(beam)
    }
}

/// A token as it was chosen.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(Clone, PartialEq)]
pub struct Token {
    /// Its number in the vocabulary.
    id: u32,
    /// Natural logarithm of its probability, before penalties, temperature and cuts; from -inf
    /// to 0.
    logprob: f32,
    /// The most probable tokens, best first, as (id, log-probability): as many as `logprobs` of
    /// the options asks for.
    top: Vec<(u32, f32)>,
}

#[pymethods]
impl Token {
    fn __repr__(&self) -> String {
        format!("Token(id={}, logprob={:.4})", self.id, self.logprob)
    }
}

/// A piece of generated text.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Piece {
    /// Whole characters; empty while a character or a possible stop string is not complete.
    text: String,
    /// The token behind it; None when the end of the stream releases text that was held back.
    token: Option<Token>,
}

#[pymethods]
impl Piece {
    /// The text, so that a piece can be printed as it is.
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = (&self.text).into_pyobject(py)?.repr()?;
        let token = self.token.as_ref().map_or("None".to_string(), Token::__repr__);
        Ok(format!("Piece(text={text}, token={token})"))
    }
}

impl From<emberform::Piece> for Piece {
    fn from(piece: emberform::Piece) -> Self {
        let token = |token: emberform::Token| Token {
            id: token.id,
            logprob: token.logprob,
            top: token.top,
        };
        Piece { text: piece.text, token: piece.token.map(token) }
    }
}

/// How long a generation took.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Stats {
    /// Tokens of the prompt that were read.
    prompt_tokens: usize,
    /// Seconds to read them.
    prefill: f64,
    /// Tokens generated.
    tokens: usize,
    /// Seconds to generate them.
    decode: f64,
    /// Tokens generated a second; 0 before the first.
    tokens_per_second: f64,
    /// Tokens of the prompt read a second; 0 before the first.
    prefill_per_second: f64,
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "<Stats {} tokens at {:.1} a second; the prompt's {} at {:.1} a second>",
            self.tokens, self.tokens_per_second, self.prompt_tokens, self.prefill_per_second
        )
    }
}

impl From<emberform::Stats> for Stats {
    fn from(stats: emberform::Stats) -> Self {
        Stats {
            prompt_tokens: stats.prompt_tokens,
            prefill: stats.prefill.as_secs_f64(),
            tokens: stats.tokens,
            decode: stats.decode.as_secs_f64(),
            tokens_per_second: stats.tokens_per_second(),
            prefill_per_second: stats.prefill_per_second(),
        }
    }
}

/// Why a stream or a sequence ended, as its word.
pub struct FinishReason(pub emberform::FinishReason);

impl<'py> IntoPyObject<'py> for FinishReason {
    type Target = pyo3::types::PyString;
    type Output = Bound<'py, Self::Target>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("typing", "Literal"),
        word("length"),
        word("stop"),
        word("stop_string"),
        word("window"),
        word("cancelled")
    );

    fn into_pyobject(self, py: Python<'py>) -> std::result::Result<Self::Output, Self::Error> {
        self.0.as_str().into_pyobject(py)
    }
}

/// An awaitable of a piece.
pub struct Later<'py>(Bound<'py, PyAny>);

impl<'py> IntoPyObject<'py> for Later<'py> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("collections.abc", "Awaitable"),
        Piece::TYPE_HINT
    );

    fn into_pyobject(self, _py: Python<'py>) -> std::result::Result<Self::Output, Self::Error> {
        Ok(self.0)
    }
}

/// Takes a lock that only its owner's thread should want; a second thread is refused, not kept
/// waiting.
pub fn claim<'a, T>(what: &'static str, lock: &'a Mutex<T>) -> Result<MutexGuard<'a, T>> {
    match lock.try_lock() {
        Ok(guard) => Ok(guard),
        // The core leaves nothing half done behind a panic: it says so in later calls.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::Argument {
            argument: what,
            problem: "is in use by another thread; one thread at a time is right".to_string(),
        }),
    }
}

/// Takes a lock that is never held for long.
pub fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a stream draws its pieces from.
enum Source {
    Model(Box<emberform::Stream<'static>>),
    Session(Arc<Mutex<emberform::Session>>, Box<Generation>),
    Chat(Arc<Mutex<emberform::Chat>>, Box<Generation>),
}

impl Source {
    /// The next piece, and how it stands after it.
    fn next(&mut self) -> Result<(Option<emberform::Piece>, Seen)> {
        match self {
            Source::Model(stream) => {
                let piece = stream.next().transpose()?;
                Ok((piece, Seen { finish: stream.finish_reason(), stats: stream.stats() }))
            }
            Source::Session(session, generation) => {
                let mut session = claim("session", session)?;
                let piece = generation.next(&mut session).transpose()?;
                Ok((piece, Seen::of(generation)))
            }
            Source::Chat(chat, generation) => {
                let piece = claim("chat", chat)?.next(generation).transpose()?;
                Ok((piece, Seen::of(generation)))
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A conversation that is at work has gone on without this reply.
        if let Source::Chat(chat, generation) = self
            && let Ok(mut chat) = claim("chat", chat)
        {
            chat.end(generation);
        }
    }
}

/// How a stream stands: kept beside it, so that it can be read while a piece is made.
#[derive(Clone, Copy, Default)]
struct Seen {
    finish: Option<emberform::FinishReason>,
    stats: emberform::Stats,
}

impl Seen {
    fn of(generation: &Generation) -> Self {
        Seen { finish: generation.finish_reason(), stats: generation.stats() }
    }
}

/// Text as it is generated: an iterator, and an async iterator, of `Piece`s.
///
/// Each piece is made when it is asked for; the prompt is read with the first. Dropping the stream
/// ends the generation. `async for` works under asyncio: pieces are made on its default executor,
/// and a task that is cancelled while it waits for one cancels the stream.
///
/// One thread at a time: a second one gets ValueError.
#[pyclass(frozen, module = "emberform")]
pub struct Stream {
    source: Mutex<Source>,
    seen: Mutex<Seen>,
    cancel: CancelToken,
    /// Whether the next piece may take long, as the first one with its prompt does.
    long: AtomicBool,
}

impl Stream {
    /// A stream that reads its prompt first.
    pub fn of_model(stream: emberform::Stream<'static>) -> Self {
        let cancel = stream.cancel_token();
        Stream::new(Source::Model(Box::new(stream)), cancel, true)
    }

    /// A stream of a conversation, which reads what is new first.
    pub fn of_chat(
        chat: Arc<Mutex<emberform::Chat>>,
        generation: Generation,
        cancel: CancelToken,
    ) -> Self {
        Stream::new(Source::Chat(chat, Box::new(generation)), cancel, true)
    }

    fn new(source: Source, cancel: CancelToken, long: bool) -> Self {
        Stream {
            source: Mutex::new(source),
            seen: Mutex::default(),
            cancel,
            long: AtomicBool::new(long),
        }
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<Piece>> {
        // Loops in C, such as that of `list`, never come to look for signals themselves.
        py.check_signals()?;
        let long = self.long.swap(false, Ordering::Relaxed);
        let piece = run(py, long, &self.cancel, || {
            let (piece, seen) = claim("stream", &self.source)?.next()?;
            *lock(&self.seen) = seen;
            Ok(piece)
        })?;
        Ok(piece.map(Piece::from))
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Piece>> {
        self.next(py)
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Later<'py>> {
        let py = slf.py();
        let events = py.import("asyncio")?.call_method0("get_running_loop")?;
        let stream = slf.clone().unbind();
        let next = PyCFunction::new_closure(
            py,
            None,
            None,
            move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let end = || PyStopAsyncIteration::new_err(());
                stream.get().next(args.py())?.ok_or_else(end)
            },
        )?;
        let later = events.call_method1("run_in_executor", (py.None(), next))?;
        let cancel = slf.get().cancel.clone();
        let ended = PyCFunction::new_closure(
            py,
            None,
            None,
            move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                if args.get_item(0)?.call_method0("cancelled")?.is_truthy()? {
                    cancel.cancel();
                }
                PyResult::Ok(())
            },
        )?;
        later.call_method1("add_done_callback", (ended,))?;
        Ok(Later(later))
    }

    /// All text that is still to come; a cancelled stream gives what it has.
    ///
    /// Raises what goes wrong on the way, such as DeviceError.
    fn text(&self, py: Python<'_>) -> PyResult<String> {
        let mut text = String::new();
        while let Some(piece) = self.next(py)? {
            text.push_str(&piece.text);
        }
        Ok(text)
    }

    /// Stops the stream from any thread, also while the prompt is read: `finish_reason` is then
    /// "cancelled".
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Why the stream ended; None while it goes on, and after an error.
    #[getter]
    fn finish_reason(&self) -> Option<FinishReason> {
        lock(&self.seen).finish.map(FinishReason)
    }

    /// Counts and times so far.
    #[getter]
    fn stats(&self) -> Stats {
        lock(&self.seen).stats.into()
    }

    /// Tokens generated a second so far; 0 before the first.
    #[getter]
    fn tokens_per_second(&self) -> f64 {
        lock(&self.seen).stats.tokens_per_second()
    }

    fn __repr__(&self) -> String {
        let seen = *lock(&self.seen);
        let state = seen.finish.map_or("not ended", |finish| finish.as_str());
        let (tokens, speed) = (seen.stats.tokens, seen.stats.tokens_per_second());
        format!("<Stream {tokens} tokens, {speed:.1} a second: {state}>")
    }
}

/// One sequence of tokens with its cache, to feed and continue step by step; from
/// `Model.session()`.
///
/// Sessions of one model are independent and may run on different threads; one session takes one
/// thread at a time, and a second one gets ValueError. A session keeps its model's weights until
/// it goes, also after `Model.close()`.
#[pyclass(frozen, module = "emberform")]
pub struct Session {
    inner: Arc<Mutex<emberform::Session>>,
    /// That of the session as it stands: `reset` makes another.
    cancel: Mutex<CancelToken>,
    parameters: usize,
}

impl Session {
    pub fn new(session: emberform::Session, parameters: usize) -> Self {
        let cancel = Mutex::new(session.cancel_token());
        Session { inner: Arc::new(Mutex::new(session)), cancel, parameters }
    }

    /// Does work on the session; `tokens` is about how many it reads. After Ctrl-C the session is
    /// empty and can be used again.
    fn work<T: Send>(
        &self,
        py: Python<'_>,
        tokens: usize,
        work: impl FnOnce(&mut emberform::Session) -> Result<T> + Send,
    ) -> PyResult<T> {
        let cancel = lock(&self.cancel).clone();
        let long = is_long(self.parameters, tokens);
        let result = run(py, long, &cancel, || work(&mut *claim("session", &self.inner)?));
        if long && result.is_err() && cancel.is_cancelled() {
            self.reset(py)?;
        }
        result
    }

    fn go_on(&self, py: Python<'_>, options: &GenerateOptions) -> PyResult<Stream> {
        let generation = self.work(py, 0, |session| session.start(options))?;
        let source = Source::Session(self.inner.clone(), Box::new(generation));
        Ok(Stream::new(source, lock(&self.cancel).clone(), false))
    }

    fn search(
        &self,
        py: Python<'_>,
        beams: Option<Count>,
        sequences: Option<Count>,
        length_penalty: Option<f32>,
        early_stopping: Option<EarlyStoppingName>,
        options: &GenerateOptions,
    ) -> PyResult<Vec<Beam>> {
        let how = beam_options(py, beams, sequences, length_penalty, early_stopping)?;
        // How long it takes shows on the way.
        let found = self.work(py, usize::MAX, |session| session.beams(options, &how))?;
        Ok(found.into_iter().map(Beam::from).collect())
    }

    fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&emberform::Session) -> T) -> PyResult<T> {
        let session = claim("session", &self.inner).map_err(|error| raise(py, error))?;
        Ok(read(&session))
    }
}

#[pymethods]
impl Session {
    /// Reads a text: its tokens join the sequence. The first text of a sequence begins it, with
    /// the model's opening token where it has one; later ones join as they are.
    ///
    /// Raises TooLongError beyond the model's window, MissingError without a tokenizer,
    /// CancelledError, DeviceError. When it was cancelled or failed half way, the session is empty
    /// after.
    fn feed_text(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        self.work(py, text.len(), |session| session.feed_text(text))
    }

    /// Reads token ids: a sequence of int or an array of any integer type, [T].
    ///
    /// Raises ValueError for an id beyond the vocabulary, and as `feed_text`.
    fn feed(&self, py: Python<'_>, ids: Ids) -> PyResult<()> {
        self.work(py, ids.0.len(), |session| session.feed(&ids.0))
    }

    /// Reads the source of an encoder-decoder, [T], once for all that is generated from it, and begins
    /// the target with the token that the model's files name; where they name none, `feed` begins it.
    /// What the session held before is forgotten.
    ///
    /// Raises MissingError for a model that is no encoder-decoder, ValueError for a source without
    /// tokens or with one beyond the vocabulary, and as `feed`.
    fn read_source(&self, py: Python<'_>, ids: Ids) -> PyResult<()> {
        self.work(py, ids.0.len(), |session| session.read_source(&ids.0))
    }

    /// Reads token ids, [T], and gives the logits after each: float32 [T, V].
    ///
    /// Raises as `feed`, and MemoryError when there is no room for the logits.
    fn forward(&self, py: Python<'_>, ids: Ids) -> PyResult<Array<f32>> {
        let output = self.work(py, ids.0.len(), |session| session.forward(&ids.0))?;
        let [_, tokens, vocab] = output.shape();
        Ok(Array { values: output.into_vec(), shape: vec![tokens, vocab] })
    }

    /// Goes back to the first `length` tokens, or stays where it is when it has no more. There are no
    /// logits until the next token is fed. What blocks with a sliding window have let go of does not
    /// come back: when going back needs it, the session is empty after; `ids` tells.
    fn truncate(&self, py: Python<'_>, length: Count) -> PyResult<()> {
        let length = length.given(py, "length")?;
        self.work(py, 0, |session| {
            session.truncate(length);
            Ok(())
        })
    }

    /// Forgets all tokens, the source of an encoder-decoder, and that anything was cancelled.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.work(py, 0, |session| {
            session.reset();
            *lock(&self.cancel) = session.cancel_token();
            Ok(())
        })
    }

    /// Stops the session's work from any thread; it raises CancelledError there. `reset()` makes
    /// the session usable again.
    fn cancel(&self) {
        lock(&self.cancel).cancel();
    }

    /// The tokens so far: uint32 [T].
    #[getter]
    fn ids(&self, py: Python<'_>) -> PyResult<Array<u32>> {
        self.read(py, |session| Array::flat(session.ids().to_vec()))
    }

    /// The log-odds of each next token after the last one fed: float32 [V]; [0] before the first.
    #[getter]
    fn logits(&self, py: Python<'_>) -> PyResult<Array<f32>> {
        self.read(py, |session| Array::flat(session.logits().to_vec()))
    }

    /// Bytes that the keys and values of the sequence take.
    #[getter]
    fn cache_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, emberform::Session::cache_bytes)
    }

    /// The number of tokens so far.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, |session| session.ids().len())
    }

    /// Always true: an empty session is a session.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        match claim("session", &self.inner) {
            Ok(session) => {
                let megabytes = session.cache_bytes() as f64 / 1e6;
                format!("<Session {} tokens, cache of {megabytes:.1} MB>", session.ids().len())
            }
            Err(_) => "<Session at work>".to_string(),
        }
    }
}
