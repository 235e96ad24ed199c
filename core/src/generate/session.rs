//! What changes while text is made: the cache, the tokens so far, and the stream of pieces.

use std::time::{Duration, Instant};

use super::logits::{Ahead, Logits};
use super::options::{GenerateOptions, PREFILL_CHUNK, Resolved};
use super::pass::{pass, states, tensor};
use super::sampler::{Choice, Sampler};
use super::stop::{FinishReason, Stop, StopStrings};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::{self, Cache, CrossCache, Rows, Run, States};
use crate::output::{Later, Output};
use crate::reserve::reserved;
use crate::text::DecodeStream;

/// One sequence of tokens with its cache.
///
/// Sessions of one model are independent and may run on different threads.
#[derive(Debug)]
pub struct Session {
    pub(super) model: Model,
    pub(super) cache: Cache,
    /// What there is of the source, for an encoder-decoder that has read one.
    pub(super) source: Option<CrossCache>,
    pub(super) ids: Vec<u32>,
    /// The length that the cache's keys were rotated for.
    pub(super) rotated: usize,
    /// Logits after the last token.
    pub(super) logits: Logits,
    /// The step with the token after the last, where it is under way.
    pub(super) ahead: Option<Ahead>,
    pub(super) cancel: CancelToken,
}

impl Session {
    pub(crate) fn new(model: Model) -> Session {
        let cache = Cache::new(model.spec());
        let cancel = CancelToken::default();
        let (source, ids, logits) = (None, vec![], Logits::default());
        Session { model, cache, source, ids, rotated: 0, logits, ahead: None, cancel }
    }

    /// The tokens so far.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Bytes that keys and values take, those of a source among them.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes() + self.source.as_ref().map_or(0, CrossCache::bytes)
    }

    /// What stops this session's work from another thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Forgets all tokens, the source of an encoder-decoder, and that anything was cancelled.
    pub fn reset(&mut self) {
        self.clear();
        self.source = None;
        self.cancel = CancelToken::default();
    }

    /// Forgets all tokens but a source.
    pub(super) fn clear(&mut self) {
        self.cache = Cache::new(self.model.spec());
        self.ids.clear();
        self.logits = Logits::default();
        self.ahead = None;
    }

    /// Reads the source of an encoder-decoder, once for all that is generated from it, and begins
    /// the target with the token that the model's files name; where they name none, the target is
    /// empty and [`feed`](Self::feed) begins it. What the session held before is forgotten.
    ///
    /// # Errors
    /// [`Error::Missing`] for a model that is no encoder-decoder, [`Error::Argument`] for a source
    /// without tokens or with one beyond the vocabulary, [`Error::TooLong`], [`Error::Cancelled`],
    /// [`Error::Device`].
    pub fn read_source(&mut self, ids: &[u32]) -> Result<()> {
        let source = self.model.read_source(ids, &self.cancel)?;
        self.clear();
        self.source = Some(source);
        match self.model.defaults().start {
            Some(start) => self.feed(&[start]),
            None => Ok(()),
        }
    }

    /// Goes back to the first `len` tokens, or stays where it is when it has no more.
    ///
    /// What blocks with a sliding window have let go of does not come back: when going back
    /// needs it, the session is empty after. [`ids`](Self::ids) tell. There are no
    /// [`logits`](Self::logits) until the next token is fed.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.ids.len() {
            return;
        }
        self.withdraw();
        if len == 0 || !self.cache.truncate(len) {
            self.clear();
            return;
        }
        self.ids.truncate(len);
        self.logits = Logits::default();
    }

    /// The log-odds of each next token after the last one fed, `[V]`; empty before the first, and on
    /// a device that failed, as the next call will say.
    ///
    /// While tokens are generated on a GPU they stay there until they are asked for.
    pub fn logits(&self) -> &[f32] {
        self.logits.read(&self.model).unwrap_or_default()
    }

    /// Reads a text: its tokens join the sequence. The first one of a sequence begins it, with
    /// the model's opening token where it has one; later ones join as they are.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`Error::Missing`] without a tokenizer.
    pub fn feed_text(&mut self, text: &str) -> Result<()> {
        let first = self.ids.is_empty();
        let ids = self.model.need_tokenizer("feed_text")?.encode(text, first)?.ids;
        self.feed(&ids)
    }

    /// Reads tokens, in chunks; [`logits`](Self::logits) then follow the last.
    ///
    /// # Errors
    /// [`Error::Argument`] for an id beyond the vocabulary, [`Error::TooLong`] beyond the window,
    /// [`Error::Cancelled`], [`Error::Device`]. When it was cancelled or failed half way, the
    /// session is empty after.
    pub fn feed(&mut self, ids: &[u32]) -> Result<()> {
        self.feed_in(ids, PREFILL_CHUNK)
    }

    fn feed_in(&mut self, ids: &[u32], chunk: usize) -> Result<()> {
        if let [id] = ids
            && self.confirm(*id)
        {
            return Ok(());
        }
        self.check(ids)?;
        let total = self.rotate(ids.len())?;
        let chunk = chunk.max(1);
        let (first, last) = ids.split_at(ids.len().saturating_sub(1) / chunk * chunk);
        // The last chunk is ordered before the one before it is waited for.
        let _under_way = self.take_in(first, chunk, total)?;
        if !last.is_empty() {
            self.logits = self.pass(last, false, total)?.into();
        }
        Ok(())
    }

    /// Reads tokens in chunks and asks for no logits; gives what the last chunk is waited for by.
    fn take_in(&mut self, ids: &[u32], chunk: usize, total: usize) -> Result<Option<Later>> {
        let mut last = None;
        for part in ids.chunks(chunk) {
            let Session { model, cache, source, cancel, .. } = self;
            let rows = Rows::full([1, part.len()], cache.len()).of_lengths(&[total]);
            let across = source.as_ref();
            let run = Run { states: States::One(cache), across, ..Run::of(rows) };
            let taken = model.guarded(|| {
                let decoder = model.need_decoder("feed")?;
                let states = states(decoder, cancel, tensor(model, part, [1, part.len()]), run)?;
                let state = Later::of(states.narrow(1, part.len() - 1, 1), model.device())?;
                last.replace(state).map_or(Ok(()), |last| last.read(model.device()).map(drop))
            });
            self.whole(taken)?;
            self.ids.extend_from_slice(part);
        }
        Ok(last)
    }

    /// Makes what the cache holds fit for `more` tokens, and gives the length they lead to.
    ///
    /// A few models rotate all tokens otherwise once a sequence is long; what was read is then
    /// read anew.
    pub(super) fn rotate(&mut self, more: usize) -> Result<usize> {
        self.withdraw();
        let total = self.ids.len() + more;
        if !self.ids.is_empty() && self.model.spec().turns(self.rotated, total) {
            let ids = std::mem::take(&mut self.ids);
            self.cache = Cache::new(self.model.spec());
            self.take_in(&ids, PREFILL_CHUNK, total)?;
        }
        self.rotated = total;
        Ok(total)
    }

    /// Reads tokens and gives the logits after each.
    ///
    /// # Shapes
    /// T ids -> `[1, T, V]`
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`Error::Memory`], with the session as it was.
    pub fn forward(&mut self, ids: &[u32]) -> Result<Output> {
        self.check(ids)?;
        let vocab = self.model.spec().vocab;
        let mut values = reserved("logits", &[ids.len(), vocab])?;
        let total = self.rotate(ids.len())?;
        for part in ids.chunks(PREFILL_CHUNK) {
            values.extend(self.pass(part, true, total)?);
        }
        if let Some(last) = values.len().checked_sub(vocab) {
            self.logits = values[last..].to_vec().into();
        }
        Ok(Output::new(values, ids.len(), vocab, vec![ids.len()]))
    }

    /// Generates from where the sequence stands; the tokens made join it.
    ///
    /// # Errors
    /// [`Error::Argument`] for an option out of range or before any token was fed.
    pub fn generate(&mut self, options: &GenerateOptions) -> Result<Stream<'_>> {
        let generation = self.start(options)?;
        Ok(Stream { session: Handle::Borrowed(self), generation })
    }

    /// Lets another token stop the work; gives the one that did.
    pub(crate) fn listen_to(&mut self, token: CancelToken) -> CancelToken {
        std::mem::replace(&mut self.cancel, token)
    }

    /// Begins a generation from where the sequence stands, without borrowing the session:
    /// [`Generation::next`] takes it for each token. [`generate`](Self::generate) is the same as
    /// an iterator.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn start(&self, options: &GenerateOptions) -> Result<Generation> {
        self.check_started()?;
        let resolved = self.resolve(options)?;
        Ok(Generation::new(self, vec![], resolved, true))
    }

    pub(super) fn check_started(&self) -> Result<()> {
        if self.logits.is_empty() {
            let problem = "has nothing to go on from; feed it a token first";
            return Err(Error::argument("session", problem));
        }
        Ok(())
    }

    /// Begins a generation that reads `prompt` first and leaves the session with all tokens.
    pub(crate) fn begin(&self, prompt: Vec<u32>, options: &GenerateOptions) -> Result<Generation> {
        self.check(&prompt)?;
        let resolved = self.resolve(options)?;
        Ok(Generation::new(self, prompt, resolved, true))
    }

    /// A stream that reads `prompt` first and owns the session.
    pub(crate) fn into_stream(
        self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
    ) -> Result<Stream<'static>> {
        let generation = self.open(prompt, options)?;
        Ok(Stream { session: Handle::Owned(Box::new(self)), generation })
    }

    /// Begins a generation that reads `prompt` first, or answers it as the source of an
    /// encoder-decoder, and leaves a session that is done with.
    pub(super) fn open(&self, prompt: Vec<u32>, options: &GenerateOptions) -> Result<Generation> {
        if prompt.is_empty() {
            let problem = "has no tokens; a model continues at least one";
            return Err(Error::argument("prompt", problem));
        }
        let resolved = self.resolve(options)?;
        let source = self.model.seq2seq().is_some();
        match source {
            true => self.model.check_target("generate", &prompt)?,
            false => self.check(&prompt)?,
        }
        let mut generation = Generation::new(self, prompt, resolved, false);
        generation.source = source;
        Ok(generation)
    }

    /// Whether logits are on a GPU, after a pass of a decoder alone.
    fn is_on_gpu(&self) -> bool {
        self.model.seq2seq().is_none() && nn::is_gpu(self.model.tensor_device())
    }

    pub(super) fn resolve(&self, options: &GenerateOptions) -> Result<Resolved> {
        options.resolve(self.model.defaults(), self.model.spec().vocab)
    }

    pub(super) fn check(&self, ids: &[u32]) -> Result<()> {
        if self.source.is_none() && self.model.seq2seq().is_some() {
            let problem = "has no source to look at; give it one with `read_source` first";
            return Err(Error::argument("session", problem));
        }
        self.model.check_ids(ids)?;
        self.model.check_length(self.ids.len() + ids.len())
    }

    /// One forward pass; the logits after the last token, or after each.
    ///
    /// `total` is the length of the sequence once all that is being read is in.
    fn pass(&mut self, ids: &[u32], all: bool, total: usize) -> Result<Vec<f32>> {
        let source = self.source.as_ref();
        let logits = pass(&self.model, &mut self.cache, source, &self.cancel, (ids, 1), all, total);
        let logits = self.whole(logits)?;
        self.ids.extend_from_slice(ids);
        Ok(logits)
    }

    /// What a pass gave; after one that failed, in which some blocks have taken tokens in and some have
    /// not, the session is empty.
    pub(super) fn whole<T>(&mut self, pass: Result<T>) -> Result<T> {
        if pass.is_err() {
            self.clear();
        }
        pass
    }
}

/// A token as it was chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Natural logarithm of its probability, before penalties, temperature and cuts.
    pub logprob: f32,
    /// The most probable tokens with their log-probabilities, best first, as many as
    /// [`GenerateOptions::logprobs`] asks for.
    pub top: Vec<(u32, f32)>,
}

/// A piece of generated text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Piece {
    /// Whole characters; empty while a character or a possible stop string is not complete.
    pub text: String,
    /// The token behind it; `None` when the end of the stream releases text that was held back.
    pub token: Option<Token>,
}

/// How long a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Tokens of the prompt that were read.
    pub prompt_tokens: usize,
    /// Time to read them.
    pub prefill: Duration,
    /// Tokens generated.
    pub tokens: usize,
    /// Time to generate them.
    pub decode: Duration,
}

impl Stats {
    /// Tokens generated a second; 0 before the first.
    pub fn tokens_per_second(&self) -> f64 {
        rate(self.tokens, self.decode)
    }

    /// Tokens of the prompt read a second; 0 before the first.
    pub fn prefill_per_second(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if tokens == 0 || time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

#[derive(Debug)]
enum Handle<'a> {
    Owned(Box<Session>),
    Borrowed(&'a mut Session),
}

/// Text as it is generated: an iterator of [`Piece`]s, each made when it is asked for.
///
/// The prompt is read at the first call of `next`. Dropping the stream stops the work.
#[derive(Debug)]
pub struct Stream<'a> {
    session: Handle<'a>,
    generation: Generation,
}

impl Stream<'_> {
    /// Why the stream ended; `None` while it goes on, and after an error.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.generation.finish_reason()
    }

    /// Counts and times so far.
    pub fn stats(&self) -> Stats {
        self.generation.stats()
    }

    /// What stops this stream from another thread, also while the prompt is read.
    pub fn cancel_token(&self) -> CancelToken {
        match &self.session {
            Handle::Owned(session) => session.cancel_token(),
            Handle::Borrowed(session) => session.cancel_token(),
        }
    }

    /// All text that is still to come.
    ///
    /// # Errors
    /// What goes wrong on the way; see [`Session::feed`]. A cancelled stream gives what it has.
    pub fn text(self) -> Result<String> {
        let mut text = String::new();
        for piece in self {
            text.push_str(&piece?.text);
        }
        Ok(text)
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.session {
            Handle::Owned(session) => self.generation.next(session),
            Handle::Borrowed(session) => self.generation.next(session),
        }
    }
}

/// A generation on its way: what [`Stream`] holds beside its session.
///
/// It does not borrow the session, so that both can stand side by side in a struct, as bindings
/// need it. Between two calls of [`next`](Self::next) nothing else may be fed to the session.
pub struct Generation {
    /// Tokens to read before the first is generated.
    prompt: Vec<u32>,
    /// Whether these are the source of an encoder-decoder.
    source: bool,
    /// Tokens of the sequence that were not generated here.
    given: usize,
    /// Tokens that the session holds between two calls.
    at: usize,
    /// Which reply of a conversation it makes, from 1; 0 outside of one.
    pub(crate) turn: u64,
    options: Resolved,
    sampler: Sampler,
    /// What the sampler works on.
    logits: Vec<f32>,
    /// Whether tokens can be chosen where logits are.
    plain: bool,
    stops: StopStrings,
    decoder: Option<DecodeStream>,
    /// Whether the session is to hold every token at the end, so that it can go on.
    keep: bool,
    started: bool,
    /// The token that was chosen last and is not fed yet.
    pending: Option<u32>,
    finish: Option<FinishReason>,
    /// Whether an error was given, after which there is nothing more.
    failed: bool,
    /// Whether what was held back has been released.
    released: bool,
    stats: Stats,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("options", &self.options)
            .field("finish", &self.finish)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Generation {
    fn new(session: &Session, prompt: Vec<u32>, options: Resolved, keep: bool) -> Generation {
        let tokenizer = session.model.tokenizer();
        let sampler = Sampler::new(&options, options.seed);
        Generation {
            given: session.ids.len() + prompt.len(),
            at: session.ids.len(),
            turn: 0,
            prompt,
            source: false,
            plain: sampler.is_plain() && options.rules.is_empty() && session.is_on_gpu(),
            sampler,
            logits: vec![],
            stops: StopStrings::new(&options.stop),
            options,
            decoder: tokenizer.map(|tokenizer| tokenizer.stream(true)),
            keep,
            started: false,
            pending: None,
            finish: None,
            failed: false,
            released: false,
            stats: Stats::default(),
        }
    }

    /// Why it ended; `None` while it goes on, and after an error.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish
    }

    /// Counts and times so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The next piece, or `None` at the end and after an error.
    ///
    /// # Errors
    /// What goes wrong in the forward pass, see [`Session::feed`]; [`Error::Argument`] when
    /// `session` is not the one it began with, or was changed since.
    pub fn next(&mut self, session: &mut Session) -> Option<Result<Piece>> {
        if self.failed {
            return None;
        }
        let result = match self.finish.is_none() && session.ids.len() != self.at {
            true => Err(Error::argument("session", "was changed since the generation began")),
            false => self.step(session),
        };
        self.give(session, result)
    }

    /// What a step comes to for the caller.
    pub(super) fn give(
        &mut self,
        session: &Session,
        result: Result<Option<Piece>>,
    ) -> Option<Result<Piece>> {
        self.at = session.ids.len();
        match result {
            Ok(Some(piece)) => Some(Ok(piece)),
            Ok(None) => self.release().map(Ok),
            Err(Error::Cancelled) => {
                self.finish = Some(FinishReason::Cancelled);
                self.release().map(Ok)
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    /// Whether the first step is to come, which reads the prompt.
    pub(super) fn is_new(&self) -> bool {
        !self.started
    }

    /// Tokens of the prompt that were not read yet.
    pub(super) fn unread(&self) -> usize {
        self.prompt.len()
    }

    /// Whether it ended or failed.
    pub(super) fn is_over(&self) -> bool {
        self.finish.is_some() || self.failed
    }

    /// Whether a token was chosen that is not fed yet.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes the token that was chosen last and is to be fed next.
    pub(super) fn take_pending(&mut self) -> Option<u32> {
        self.pending.take()
    }

    /// Makes nothing more; whether there was more to come.
    pub(crate) fn abandon(&mut self) -> bool {
        self.finish.is_none() && !std::mem::replace(&mut self.failed, true)
    }

    /// The next token's piece, or `None` at the end.
    fn step(&mut self, session: &mut Session) -> Result<Option<Piece>> {
        if self.finish.is_some() {
            return Ok(None);
        }
        if session.cancel.is_cancelled() {
            self.finish = Some(FinishReason::Cancelled);
            return Ok(None);
        }
        if !self.started {
            self.started = true;
            if self.options.max_tokens == Some(0) {
                self.finish = Some(FinishReason::Length);
                return Ok(None);
            }
            let start = Instant::now();
            let prompt = std::mem::take(&mut self.prompt);
            match self.source {
                true => {
                    session.read_source(&prompt)?;
                    self.given = session.ids.len();
                }
                false => session.feed_in(&prompt, self.options.prefill_chunk)?,
            }
            // What another generation has begun is not drawn as this one draws.
            session.withdraw();
            self.stats.prompt_tokens = prompt.len();
            self.stats.prefill = start.elapsed();
        }
        let start = Instant::now();
        if let Some(id) = self.pending.take() {
            if self.plain {
                let next = self.stats.tokens + 1;
                let more = self.keep || self.options.max_tokens.is_none_or(|most| next < most);
                if let Some(choice) = session.follow(id, &mut self.sampler, more)? {
                    return self.take(session, choice, start).map(Some);
                }
            } else {
                session.feed(&[id])?;
            }
        }
        // A copy: the penalties change what they are given, and the session's logits are the model's.
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        logits.extend_from_slice(session.logits.read(&session.model)?);
        let piece = self.choose(session, &mut logits, start);
        self.logits = logits;
        piece.map(Some)
    }

    /// The next token by the logits after the last, which are changed, and its piece; `start` is when
    /// the step began.
    pub(super) fn choose(
        &mut self,
        session: &mut Session,
        logits: &mut [f32],
        start: Instant,
    ) -> Result<Piece> {
        let (given, made) = session.ids.split_at(self.given.min(session.ids.len()));
        self.options.rules.apply(logits, given, made);
        let choice = self.sampler.sample(logits, given, made)?;
        self.take(session, choice, start)
    }

    /// The piece of a token that was chosen in a step that began at `start`.
    fn take(&mut self, session: &mut Session, choice: Choice, start: Instant) -> Result<Piece> {
        self.stats.tokens += 1;
        self.stats.decode += start.elapsed();

        let id = choice.id;
        let stopped = self.options.ends_with(id);
        let mut text = String::new();
        if stopped {
            self.finish = Some(FinishReason::Stop);
        } else {
            if let Some(decoder) = &mut self.decoder
                && let Some(piece) = decoder.push(id)?
            {
                match self.stops.push(&piece) {
                    Stop::Go(sure) => text = sure,
                    Stop::Found { text: sure, .. } => {
                        text = sure;
                        self.finish = Some(FinishReason::StopString);
                        self.released = true;
                    }
                }
            }
            self.pending = Some(id);
            let enough = self.options.max_tokens.is_some_and(|most| self.stats.tokens >= most);
            if self.finish.is_none() && enough {
                self.finish = Some(FinishReason::Length);
            } else if self.finish.is_none() && session.ids.len() >= session.model.spec().window {
                self.finish = Some(FinishReason::Window);
            }
        }
        if self.finish.is_some() {
            self.settle(session)?;
        }
        let token = Token { id, logprob: choice.logprob, top: choice.top };
        Ok(Piece { text, token: Some(token) })
    }

    /// Leaves a session that is to go on with every generated token fed.
    fn settle(&mut self, session: &mut Session) -> Result<()> {
        let pending = self.pending.take();
        if let (true, Some(id)) = (self.keep, pending)
            && session.ids.len() < session.model.spec().window
        {
            session.feed(&[id])?;
        }
        session.withdraw();
        Ok(())
    }

    /// The text that was held back, once.
    fn release(&mut self) -> Option<Piece> {
        if std::mem::replace(&mut self.released, true) {
            return None;
        }
        let mut text = String::new();
        if let Some(rest) = self.decoder.as_mut().and_then(DecodeStream::finish) {
            match self.stops.push(&rest) {
                Stop::Go(sure) => text.push_str(&sure),
                Stop::Found { text: sure, .. } => {
                    self.finish = Some(FinishReason::StopString);
                    return (!sure.is_empty()).then_some(Piece { text: sure, token: None });
                }
            }
        }
        text.push_str(&self.stops.finish());
        (!text.is_empty()).then_some(Piece { text, token: None })
    }
}
