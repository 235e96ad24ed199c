//! What a caller chooses for a beam search, and what holds for one.

use std::str::FromStr;

use crate::cancel::CancelToken;
use crate::error::{Error, Result};

/// When a search ends before the length does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EarlyStopping {
    /// As soon as there are as many ended rows as beams.
    Full,
    /// When the best row that goes on, at its present length, is worse than all ended ones.
    #[default]
    Likely,
    /// When it would be worse at any length: the exact search, where a length penalty above 0
    /// favours long rows.
    Never,
}

impl FromStr for EarlyStopping {
    type Err = Error;

    /// Reads `full`, `likely` and `never`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "full" => EarlyStopping::Full,
            "likely" => EarlyStopping::Likely,
            "never" => EarlyStopping::Never,
            _ => {
                let problem = format!("is `{name}`, not one of full, likely, never");
                return Err(Error::argument("early_stopping", problem));
            }
        })
    }
}

/// What a caller chooses for a beam search. What is not set comes from the model's files, then from
/// the library.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BeamOptions {
    /// Rows that are followed at once, 1 to 1024; 1 always takes the likeliest token. Default: the
    /// file's `num_beams`, else 4.
    pub beams: Option<usize>,
    /// Power of a row's length that the sum of its log-probabilities is divided by, finite: above 0
    /// favours long rows, below 0 short ones. Default: the file's, else 1.
    pub length_penalty: Option<f32>,
    /// When to stop. Default: the file's, else [`EarlyStopping::Likely`].
    pub early_stopping: Option<EarlyStopping>,
    /// Rows that are given back, 1 to `beams`. Default: 1.
    pub sequences: Option<usize>,
    /// Stops the work from another thread, in place of the session's own token.
    pub cancel: Option<CancelToken>,
}

impl BeamOptions {
    /// Sets [`beams`](Self#structfield.beams).
    pub fn beams(mut self, beams: usize) -> Self {
        self.beams = Some(beams);
        self
    }

    /// Sets [`length_penalty`](Self#structfield.length_penalty).
    pub fn length_penalty(mut self, power: f32) -> Self {
        self.length_penalty = Some(power);
        self
    }

    /// Sets [`early_stopping`](Self#structfield.early_stopping).
    pub fn early_stopping(mut self, when: EarlyStopping) -> Self {
        self.early_stopping = Some(when);
        self
    }

    /// Sets [`sequences`](Self#structfield.sequences).
    pub fn sequences(mut self, rows: usize) -> Self {
        self.sequences = Some(rows);
        self
    }

    /// Sets [`cancel`](Self#structfield.cancel).
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Fills in what is not set.
    pub(super) fn resolve(&self, file: &BeamOptions) -> Result<Search> {
        let beams = self.beams.or(file.beams).unwrap_or(4);
        if !(1..=1024).contains(&beams) {
            return Err(Error::argument("beams", format!("is {beams}, not from 1 to 1024")));
        }
        let sequences = self.sequences.unwrap_or(1);
        if !(1..=beams).contains(&sequences) {
            let problem = format!("is {sequences}, not from 1 to the {beams} beams");
            return Err(Error::argument("sequences", problem));
        }
        let power = self.length_penalty.or(file.length_penalty).unwrap_or(1.0);
        if !power.is_finite() {
            return Err(Error::argument("length_penalty", format!("is {power}, not a number")));
        }
        let early = self.early_stopping.or(file.early_stopping).unwrap_or_default();
        Ok(Search { beams, sequences, power, early })
    }
}

/// What holds for one search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub beams: usize,
    pub sequences: usize,
    pub power: f32,
    pub early: EarlyStopping,
}
