//! Tokens of one sequence that are chosen on its GPU, a step ahead of the host.
//!
//! ```text
//! device:  step k  choose k |  step k+1  choose k+1 |  step k+2 ...
//! host:                     '- token k: text, stops  '- token k+1
//! ```
//!
//! A step takes its token from where the last choice was put, so that it is ordered before the host
//! has read that token. The session holds the tokens that the host knows; the cache is one ahead of
//! them meanwhile, and goes back by one where the sequence goes on otherwise or ends.

use std::sync::OnceLock;

use burn::tensor::{Int, Tensor};

use super::logits::{Ahead, Logits, PendingStep};
use super::pass::{states, tensor};
use super::sampler::{Choice, Sampler};
use super::session::Session;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::{Cache, Chosen, Outcome, Run};

/// Orders a step with the token, whose place is the cache's next, and the choice after it; `None` for
/// the choice where the host has to make it.
fn order(
    model: &Model,
    cache: &mut Cache,
    cancel: &CancelToken,
    ids: Tensor<2, Int>,
    sampler: &mut Sampler,
    number: usize,
) -> Result<(Tensor<3>, Option<Chosen>)> {
    let decoder = model.need_decoder("feed")?;
    let run = Run::after(cache, [1, 1]);
    let logits = decoder.logits(states(decoder, cancel, ids, run)?);
    let chosen = Chosen::of(&logits, sampler.draw_ahead(number).as_ref());
    Ok((logits, chosen))
}

impl Session {
    /// As [`feed`](Self::feed) for one token, and chooses the next where the logits are; `None` where
    /// the host has to, from [`logits`](Self::logits).
    ///
    /// With `more` the step after is ordered before this one is waited for.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`Error::NotFinite`], with the token fed.
    pub(super) fn follow(
        &mut self,
        id: u32,
        sampler: &mut Sampler,
        more: bool,
    ) -> Result<Option<Choice>> {
        let step = self.ahead.take_if(|ahead| ahead.id == Some(id)).map(|ahead| ahead.step);
        let PendingStep { logits, chosen } = match step {
            Some(step) => step,
            None => {
                self.withdraw();
                self.check(&[id])?;
                self.rotate(1)?;
                let Session { model, cache, cancel, .. } = self;
                let ordered = model.guarded(|| {
                    order(model, cache, cancel, tensor(model, &[id], [1, 1]), sampler, 0)
                });
                let (logits, chosen) = self.whole(ordered)?;
                PendingStep { logits, chosen }
            }
        };
        self.fed(id, logits);
        let Some(chosen) = chosen else { return Ok(None) };
        let length = self.ids.len() + 1;
        let spec = self.model.spec();
        let fits = length <= spec.window && !spec.turns(self.rotated, length);
        if more && fits && self.cache.is_stepped() {
            let Session { model, cache, .. } = self;
            let (go_on, ids) = (CancelToken::new(), chosen.ids.clone());
            let ordered = model.guarded(|| order(model, cache, &go_on, ids, sampler, 1));
            let (logits, chosen) = self.whole(ordered)?;
            self.ahead = Some(Ahead { id: None, step: PendingStep { logits, chosen } });
        }
        let model = &self.model;
        let failed = |problem| Error::Device { device: model.device().id(), problem };
        let found = model.guarded(|| chosen.read().map_err(failed));
        match self.whole(found)? {
            Outcome::Token(id, logprob) => {
                sampler.drawn_ahead();
                if let Some(ahead) = &mut self.ahead {
                    ahead.id = Some(id);
                }
                Ok(Some(Choice { id, logprob, top: vec![] }))
            }
            Outcome::NotFinite => {
                self.withdraw();
                Err(Error::NotFinite { what: "logits" })
            }
            Outcome::Undecided => {
                self.withdraw();
                Ok(None)
            }
        }
    }

    /// Takes in the token whose step is under way, if it is this one.
    pub(super) fn confirm(&mut self, id: u32) -> bool {
        let ahead = self.ahead.take_if(|ahead| ahead.id == Some(id));
        let known = ahead.is_some();
        if let Some(ahead) = ahead {
            self.fed(id, ahead.step.logits);
        }
        known
    }

    /// Takes back the step that is under way.
    pub(super) fn withdraw(&mut self) {
        if self.ahead.take().is_some() && !self.cache.withdraw() {
            self.clear();
        }
    }

    /// Takes in a token that the cache holds already.
    fn fed(&mut self, id: u32, logits: Tensor<3>) {
        self.ids.push(id);
        self.rotated = self.ids.len();
        self.logits = Logits { here: OnceLock::new(), there: Some(logits) };
    }
}
