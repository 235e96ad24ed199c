//! Batched decoding, which sequences join and leave (continuous batching): a token of all is one
//! forward pass.

use std::collections::VecDeque;
use std::time::Instant;

use super::logits::Logits;
use super::options::GenerateOptions;
use super::pass::join;
use super::session::{Generation, Piece, Session, Stats};
use super::stop::FinishReason;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::kernels::cpu::pool;
use crate::model::Model;
use crate::nn::Cache;

/// Sequences that are decoded together: an iterator of pieces, each with the number of its sequence.
///
/// ```text
/// prompts -> prefill, one after the other -> a token of every living sequence in one pass [N, D]
///            add --^                          ^                 |-> sample each -> pieces
///                                             '-----------------'    remove, or it ends by itself
/// ```
/// On the CPU a step reads each weight once, whatever the number of sequences: a token of eight takes
/// less time than eight tokens of one. Each has its own prompt, options, draws, cache and
/// end, and its tokens are those that it has alone, except where two logits are as good as equal: the
/// sums of several rows are rounded in another order. Those that have ended leave the pass, and more
/// may be [`add`](Self::add)ed at any time.
///
/// Sequences have their steps one after the other, with the same result, on a GPU and where the
/// attention has something the CPU's own way does not know (ALiBi, learned distances, sinks,
/// latent vectors, chunks), and those of an encoder-decoder.
///
/// The pieces of one step come in the order of the sequences. Dropping the batch stops the work.
///
/// ```no_run
/// # fn main() -> emberform::Result<()> {
/// use emberform::{GenerateOptions, Model};
///
/// let model = Model::open("models/gemma3-270m-q4_k_m.gguf")?;
/// let options = GenerateOptions::default().max_tokens(32);
/// let mut batch = model.generate_all(&["The sky is", "Water boils at"], &options)?;
/// let late = batch.add("One, two,", &options.clone().temperature(0.7).seed(1))?;
/// while let Some((sequence, piece)) = batch.next() {
///     println!("{sequence}: {}", piece?.text);
/// }
/// assert!(batch.finish_reason(late).is_some());
/// # Ok(())
/// # }
/// ```
pub struct Batch {
    model: Model,
    rows: Vec<Member>,
    /// Pieces of the last step that were not given yet.
    ready: VecDeque<(usize, Result<Piece>)>,
    /// Sequences that were ever added.
    added: usize,
    cancel: CancelToken,
}

/// One of the sequences.
struct Member {
    number: usize,
    /// Let go of at the end, and its cache with it.
    session: Option<Session>,
    generation: Generation,
    cancel: CancelToken,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("model", &self.model)
            .field("added", &self.added)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl Batch {
    pub(crate) fn new(model: Model) -> Batch {
        Batch {
            model,
            rows: vec![],
            ready: VecDeque::new(),
            added: 0,
            cancel: CancelToken::default(),
        }
    }

    /// A batch of these prompts.
    pub(crate) fn of(model: &Model, prompts: &[&str], options: &GenerateOptions) -> Result<Batch> {
        let mut batch = model.batch()?;
        let tokenizer = model.need_tokenizer("generate_all")?;
        if prompts.is_empty() {
            return Err(Error::argument("prompts", "is empty; at least one is needed"));
        }
        for (i, prompt) in prompts.iter().enumerate() {
            let ids = tokenizer.encode(prompt, true)?.ids;
            batch.join_in(ids, options).map_err(|error| match error {
                Error::TooLong { tokens, window } => {
                    let problem = format!(
                        "holds at {i} a prompt of {tokens} tokens, which do not fit a window of \
                         {window}"
                    );
                    Error::argument("prompts", problem)
                }
                Error::Argument { argument: "prompt", problem } => {
                    Error::argument("prompts", format!("holds at {i} one that {problem}"))
                }
                other => other,
            })?;
        }
        Ok(batch)
    }

    /// Adds a text to continue, or a source to answer for an encoder-decoder; gives its number,
    /// counted from 0 over all that were ever added. It is read when the next piece is asked for.
    ///
    /// # Errors
    /// As [`Model::generate`]; the batch is as before then.
    pub fn add(&mut self, prompt: &str, options: &GenerateOptions) -> Result<usize> {
        let ids = self.model.need_tokenizer("add")?.encode(prompt, true)?.ids;
        self.join_in(ids, options)
    }

    /// As [`add`](Self::add), for ids.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`Error::Argument`] for no ids or one beyond the vocabulary.
    pub fn add_ids(&mut self, ids: &[u32], options: &GenerateOptions) -> Result<usize> {
        self.join_in(ids.to_vec(), options).map_err(|error| match error {
            // Said of a prompt; here it is ids.
            Error::Argument { argument: "prompt", problem } => Error::argument("ids", problem),
            other => other,
        })
    }

    fn join_in(&mut self, ids: Vec<u32>, options: &GenerateOptions) -> Result<usize> {
        let mut session = self.model.session()?;
        let cancel = self.cancel.part();
        session.listen_to(cancel.clone());
        let generation = session.open(ids, options)?;
        let number = self.added;
        self.added += 1;
        self.rows.push(Member { number, session: Some(session), generation, cancel });
        Ok(number)
    }

    /// Ends a sequence, if it has not ended, and forgets what is known of it, its pieces that were
    /// not taken included; whether there was one of this number. A batch that lives long remembers
    /// the end of each sequence until then, but not its cache.
    pub fn remove(&mut self, sequence: usize) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.number != sequence);
        self.ready.retain(|(number, _)| *number != sequence);
        self.rows.len() < before
    }

    /// Sequences that have not ended.
    pub fn running(&self) -> usize {
        self.rows.iter().filter(|row| row.session.is_some()).count()
    }

    /// How many tokens may have to be read before the next piece: none where one is ready, else those
    /// of the prompts that were not read yet, and one of each other running sequence.
    pub fn tokens_ahead(&self) -> usize {
        if !self.ready.is_empty() {
            return 0;
        }
        let running = self.rows.iter().filter(|row| row.session.is_some());
        running.map(|row| row.generation.unread().max(1)).sum()
    }

    /// The numbers of the sequences that were not removed, ended or not, in order.
    pub fn sequences(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.number).collect()
    }

    /// Why a sequence ended; `None` until its last piece was given, after an error, and where there
    /// is none of this number.
    pub fn finish_reason(&self, sequence: usize) -> Option<FinishReason> {
        let waits = self.ready.iter().any(|(number, _)| *number == sequence);
        self.row(sequence).filter(|_| !waits)?.generation.finish_reason()
    }

    /// Counts and times of a sequence; those of a step of several count for each of them. `None`
    /// where there is none of this number.
    pub fn stats(&self, sequence: usize) -> Option<Stats> {
        Some(self.row(sequence)?.generation.stats())
    }

    /// Bytes that keys and values of all sequences take.
    pub fn cache_bytes(&self) -> usize {
        self.rows.iter().filter_map(|row| row.session.as_ref()).map(Session::cache_bytes).sum()
    }

    /// What stops all sequences from another thread, later ones too.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// What stops one sequence from another thread, before the next step or in its prefill. `None`
    /// where there is none of this number.
    pub fn cancel_token_of(&self, sequence: usize) -> Option<CancelToken> {
        Some(self.row(sequence)?.cancel.clone())
    }

    fn row(&self, sequence: usize) -> Option<&Member> {
        self.rows.iter().find(|row| row.number == sequence)
    }

    /// All text that is still to come, of each sequence that was not removed, in the order of their
    /// numbers.
    ///
    /// # Errors
    /// The first thing that goes wrong with one of them; see [`Session::feed`]. A cancelled sequence
    /// gives what it has.
    pub fn texts(mut self) -> Result<Vec<String>> {
        let numbers = self.sequences();
        let mut texts = vec![String::new(); numbers.len()];
        for (number, piece) in &mut self {
            let piece = piece?;
            if let Ok(place) = numbers.binary_search(&number) {
                texts[place].push_str(&piece.text);
            }
        }
        Ok(texts)
    }

    /// Makes some pieces, or lets a sequence end.
    fn step(&mut self) {
        let Batch { model, rows, ready, cancel, .. } = self;
        let living = rows.iter_mut().filter(|row| row.session.is_some());
        // Those that are new first, so that they join the others soon.
        let (mut new, old): (Vec<_>, Vec<_>) = living.partition(|row| row.generation.is_new());
        if let Some(row) = new.first_mut() {
            row.step(ready);
            return;
        }
        let (mut together, mut alone): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|row| row.joins(model));
        if together.len() < 2 {
            alone.append(&mut together);
        }
        let first = ready.len();
        alone.into_iter().for_each(|row| row.step(ready));
        step_together(model, cancel, together, ready);
        ready.make_contiguous()[first..].sort_by_key(|(number, _)| *number);
    }
}

/// The next token of sequences in one pass.
fn step_together(
    model: &Model,
    cancel: &CancelToken,
    mut rows: Vec<&mut Member>,
    ready: &mut VecDeque<(usize, Result<Piece>)>,
) {
    let start = Instant::now();
    let mut fed: Vec<Fed<'_>> = rows.iter_mut().filter_map(|row| row.feed(ready)).collect();
    if fed.is_empty() {
        return;
    }
    let ids: Vec<u32> = fed.iter().map(|fed| fed.id).collect();
    let totals: Vec<usize> = fed.iter().map(|fed| fed.total).collect();
    let caches: Vec<&mut Cache> = fed.iter_mut().map(|fed| &mut fed.session.cache).collect();
    let found = join(model, caches, cancel, &ids, &totals);
    let found = found.and_then(|mut logits| {
        let each = logits.len() / fed.len();
        for fed in &mut fed {
            fed.session.ids.push(fed.id);
            // They are those of an earlier token; what chooses is given the new ones.
            fed.session.logits = Logits::default();
        }
        let mut work: Vec<_> = fed.iter_mut().zip(logits.chunks_exact_mut(each.max(1))).collect();
        // Some hundred thousand logits are looked at for each sequence.
        model.guarded(|| {
            pool::each(&mut work, |(fed, logits)| {
                fed.piece = Some(fed.generation.choose(fed.session, logits, start));
            });
            Ok(())
        })
    });
    let problem = found.err();
    for Fed { number, session, generation, piece, .. } in fed {
        let result = match (&problem, piece) {
            (None, Some(piece)) => piece.map(Some),
            (Some(error), _) => {
                // Some blocks have taken the token in and some have not.
                session.clear();
                Err(again(model, error))
            }
            (None, None) => Ok(None),
        };
        ready.extend(generation.give(session, result).map(|piece| (number, piece)));
    }
    rows.into_iter().for_each(|row| row.end(ready));
}

/// A sequence in a step of several.
struct Fed<'a> {
    number: usize,
    session: &'a mut Session,
    generation: &'a mut Generation,
    /// The token that it reads.
    id: u32,
    /// Its tokens with it.
    total: usize,
    /// What it gives.
    piece: Option<Result<Piece>>,
}

impl Member {
    /// Whether its next token can be one of several in a pass.
    fn joins(&self, model: &Model) -> bool {
        self.session.as_ref().is_some_and(|session| {
            let known = |caches| {
                let decoder = model.decoder()?;
                Some(decoder.transformer.joins(model.tensor_device(), caches))
            };
            let free = session.source.is_none() && self.generation.has_pending();
            free && known(std::iter::once(&session.cache)).unwrap_or(false)
        })
    }

    /// A step by itself.
    fn step(&mut self, ready: &mut VecDeque<(usize, Result<Piece>)>) {
        if let Some(session) = &mut self.session {
            let piece = self.generation.next(session);
            ready.extend(piece.map(|piece| (self.number, piece)));
        }
        self.end(ready);
    }

    /// Lets go of what is over, and gives the text that was held back.
    fn end(&mut self, ready: &mut VecDeque<(usize, Result<Piece>)>) {
        if self.generation.is_over()
            && let Some(mut session) = self.session.take()
        {
            let rest = self.generation.next(&mut session);
            ready.extend(rest.map(|piece| (self.number, piece)));
        }
    }

    /// Makes the next token ready to be read; `None` where there is none, and the sequence ends.
    fn feed(&mut self, ready: &mut VecDeque<(usize, Result<Piece>)>) -> Option<Fed<'_>> {
        let session = self.session.as_mut()?;
        let id = self.generation.take_pending()?;
        let total = match session.cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => session.check(&[id]).and_then(|()| session.rotate(1)),
        };
        match total {
            Ok(total) => {
                let (session, generation) = (self.session.as_mut()?, &mut self.generation);
                Some(Fed { number: self.number, session, generation, id, total, piece: None })
            }
            Err(error) => {
                let piece = self.generation.give(session, Err(error));
                ready.extend(piece.map(|piece| (self.number, piece)));
                self.end(ready);
                None
            }
        }
    }
}

/// The same error for another sequence of the pass.
fn again(model: &Model, error: &Error) -> Error {
    let problem = match error {
        Error::Cancelled => return Error::Cancelled,
        Error::Device { problem, .. } => problem.clone(),
        other => other.to_string(),
    };
    Error::Device { device: model.device().id(), problem }
}

impl Iterator for Batch {
    type Item = (usize, Result<Piece>);

    /// The next piece and the number of its sequence, or `None` when all sequences have ended, until
    /// more are added. After an error a sequence has no more pieces; the others go on.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.running() == 0 {
                return None;
            }
            self.step();
        }
    }
}
