//! Beam search: the likeliest rows of tokens, some at a time, instead of the likeliest token.
//!
//! ```text
//! rows [R] -> one pass of all -> log-probabilities [R, V] + the row's sum -> the best of all R V
//!   ^                                                                          |
//!   '-- cache rows follow their parents <-- R that go on <---------------------+--> those that end
//! ```
//!
//! Source: arXiv:1211.3711 for the search; the lengths, ends and order of transformers'
//! `_beam_search`, which its users compare with.

use super::beam_options::{BeamOptions, EarlyStopping, Search};
use super::options::{GenerateOptions, Resolved};
use super::pass::pass;
use super::sampler::Sampler;
use super::session::Session;
use crate::error::{Error, Result};
use crate::reserve::reserved;

/// A row that beam search found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Beam {
    /// The tokens after the prompt, with the one that ended the row.
    pub ids: Vec<u32>,
    /// Their text, without special tokens; empty without a tokenizer.
    pub text: String,
    /// The sum of the tokens' log-probabilities, divided by their number to the power of the length
    /// penalty.
    pub score: f32,
}

/// Far below every sum of log-probabilities, and still a number.
const NOTHING: f32 = -1e9;

/// A row on its way: tokens and their sum.
#[derive(Clone)]
struct Hypothesis {
    ids: Vec<u32>,
    score: f32,
}

/// A token that could continue a row.
#[derive(Clone, Copy)]
struct Candidate {
    score: f32,
    row: usize,
    id: u32,
}

impl Session {
    /// The likeliest continuations from where the sequence stands, which is left there, best first.
    ///
    /// A model that samples by its files does not here. When blocks with a sliding window have let
    /// go of what they held, the session is empty after.
    ///
    /// # Errors
    /// [`Error::Argument`] for an option out of range, for a temperature above 0 or stop strings,
    /// which a search has not, or before any token was fed; as [`feed`](Self::feed) for what goes
    /// wrong on the way, after which the session is empty.
    pub fn beams(&mut self, options: &GenerateOptions, beams: &BeamOptions) -> Result<Vec<Beam>> {
        if options.temperature.is_some_and(|temperature| temperature > 0.0) {
            return Err(Error::argument("temperature", "is above 0; beam search draws nothing"));
        }
        if !options.stop.is_empty() {
            return Err(Error::argument("stop", "ends no beam; use `stop_ids`"));
        }
        self.check_started()?;
        let how = beams.resolve(&self.model.defaults().beams)?;
        let resolved = self.resolve(options)?;
        self.withdraw();
        let own = beams.cancel.clone().map(|token| self.listen_to(token));
        let found = search(self, &resolved, how);
        if let Some(own) = own {
            self.listen_to(own);
        }
        found
    }
}

/// Searches from where the session stands, and leaves it there.
fn search(session: &mut Session, options: &Resolved, how: Search) -> Result<Vec<Beam>> {
    let given = session.ids.len();
    let room = session.model.spec().window.saturating_sub(given).max(1);
    let most = options.max_tokens.unwrap_or(room).min(room);
    if most == 0 {
        return Ok(vec![]);
    }
    let result = rows(session, options, how, most);
    session.cache.reorder(&[0]);
    // What a sliding window let go of does not come back.
    if result.is_err() || !session.cache.truncate(given) {
        session.clear();
    }
    let tokenizer = session.model.tokenizer();
    let beam = |row: Hypothesis| {
        let text = tokenizer.map_or(Ok(String::new()), |all| all.decode(&row.ids, true))?;
        Ok(Beam { ids: row.ids, text, score: row.score })
    };
    result?.into_iter().take(how.sequences).map(beam).collect()
}

fn rows(
    session: &mut Session,
    options: &Resolved,
    how: Search,
    most: usize,
) -> Result<Vec<Hypothesis>> {
    let given = session.ids.clone();
    let (n, vocab) = (how.beams, options.vocab);
    let ends = options.ends();
    // Enough that beams go on when all of the best ones end.
    let keep = if n == 1 { 1 } else { (1 + ends.len()).max(2) * n };
    let mut sampler = Sampler::new(options, options.seed);
    // Only the first of the rows, which are all alike, is looked at.
    let score = |row: usize| if row == 0 { 0.0 } else { NOTHING };
    let mut running: Vec<Hypothesis> =
        (0..n).map(|row| Hypothesis { ids: vec![], score: score(row) }).collect();
    let mut ended: Vec<(Hypothesis, bool)> =
        vec![(Hypothesis { ids: vec![], score: NOTHING }, false); n];
    let mut hopeful = true;
    let mut logits = session.logits.read(&session.model)?.to_vec();
    let mut scores: Vec<f32> = reserved("scores", &[vocab])?;
    loop {
        let made = running[0].ids.len();
        let mut steps: Vec<Candidate> = Vec::new();
        for (i, row) in running.iter().enumerate() {
            let from = if logits.len() == vocab { 0 } else { i };
            scores.clear();
            scores.extend_from_slice(&logits[from * vocab..(from + 1) * vocab]);
            // Penalties are for the log-probabilities of several beams, and for the logits of one,
            // which is what a stream makes: so it is in the reference.
            if n > 1 {
                log_softmax(&mut scores)?;
            }
            sampler.penalize(&mut scores, &given, &row.ids);
            options.rules.apply(&mut scores, &given, &row.ids);
            if n == 1 {
                log_softmax(&mut scores)?;
            }
            let step =
                |(id, score): (u32, &f32)| Candidate { score: score + row.score, row: i, id };
            let mut best: Vec<Candidate> = (0u32..).zip(&scores).map(step).collect();
            top(&mut best, keep);
            steps.extend(best);
        }
        top(&mut steps, keep);
        let ends = |step: &Candidate| made + 1 >= most || ends.contains(&step.id);
        let longer = |step: &Candidate, score: f32| {
            let mut ids = running[step.row].ids.clone();
            ids.push(step.id);
            Hypothesis { ids, score }
        };
        // What goes on.
        let mut on: Vec<Candidate> = steps.clone();
        for step in on.iter_mut().filter(|step| ends(step)) {
            step.score += NOTHING;
        }
        on.sort_by(|a, b| b.score.total_cmp(&a.score));
        on.truncate(n);
        // What ends: one of the best, and no further one where that cannot help.
        let full = how.early == EarlyStopping::Full && ended.iter().all(|(_, done)| *done);
        let length = ((made + 1) as f64).powf(f64::from(how.power)) as f32;
        for (i, step) in steps.iter().enumerate() {
            let done = i < n && ends(step);
            let mut score = step.score / length;
            for no in [full, !hopeful, !done] {
                score += if no { NOTHING } else { 0.0 };
            }
            ended.push((longer(step, score), done));
        }
        ended.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
        ended.truncate(n);
        let all_end = steps.iter().all(ends);
        let parents: Vec<usize> = on.iter().map(|step| step.row).collect();
        running = on.iter().map(|step| longer(step, step.score)).collect();

        let reach = match how.early {
            EarlyStopping::Never if how.power > 0.0 => most,
            _ => made + 1,
        };
        let best = running[0].score / (reach as f64).powf(f64::from(how.power)) as f32;
        let worst = ended.iter().map(|(row, _)| row.score).fold(f32::INFINITY, f32::min);
        hopeful &= ended.iter().any(|(_, done)| best > if *done { worst } else { NOTHING });
        let full = how.early == EarlyStopping::Full && ended.iter().all(|(_, done)| *done);
        if !hopeful || full || all_end {
            break;
        }
        let total = given.len() + running[0].ids.len();
        if session.model.spec().turns(session.rotated, total) {
            return Err(Error::Unsupported {
                what: format!("beam search across {total} tokens, where rotations change"),
                known: "a search that stays on one side of it".to_string(),
            });
        }
        let first = logits.len() == vocab && n > 1;
        session.cache.reorder(&if first { vec![0; n] } else { parents });
        let next: Vec<u32> = running.iter().filter_map(|row| row.ids.last()).copied().collect();
        logits = pass(
            &session.model,
            &mut session.cache,
            session.source.as_ref(),
            &session.cancel,
            (&next, n),
            true,
            total,
        )?;
    }
    Ok(ended.into_iter().filter(|(_, done)| *done).map(|(row, _)| row).collect())
}

/// The best `count`, best first; of equals the earlier row and the lower id.
fn top(steps: &mut Vec<Candidate>, count: usize) {
    let order = |a: &Candidate, b: &Candidate| {
        b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)).then(a.id.cmp(&b.id))
    };
    if count < steps.len() {
        steps.select_nth_unstable_by(count, order);
        steps.truncate(count);
    }
    steps.sort_unstable_by(order);
}

/// Logits to log-probabilities, in place.
fn log_softmax(scores: &mut [f32]) -> Result<()> {
    let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !peak.is_finite() || scores.iter().any(|score| score.is_nan()) {
        return Err(Error::NotFinite { what: "logits" });
    }
    let sum: f64 = scores.iter().map(|score| f64::from((score - peak).exp())).sum();
    let mass = sum.ln() as f32;
    scores.iter_mut().for_each(|score| *score = *score - peak - mass);
    Ok(())
}
