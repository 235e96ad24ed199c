//! How work on texts is run: its limits, what stops it, and who hears how far it is.

use std::sync::Arc;

use crate::cancel::CancelToken;

/// How work on texts is run, whatever it is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Most tokens of a text, or of a pair, special ones included; of a longer one the rest is cut, or
    /// read in windows where the task has them. Default: what the files say, as sentence-transformers
    /// and transformers read them, and never more than the model holds.
    pub max_tokens: Option<usize>,
    /// Most tokens of a batch, padding included; a longer text is a batch by itself.
    /// Default: 512 on a CPU; 2048 on a GPU, on one with memory of its own up to 16384, fewer the
    /// wider the model is.
    pub batch_tokens: Option<usize>,
    /// Stops the work from another thread.
    pub cancel: Option<CancelToken>,
    /// Told how many texts are done, and of how many, after each batch.
    pub progress: Option<Progress>,
}

impl RunOptions {
    /// Sets [`max_tokens`](Self#structfield.max_tokens).
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets [`batch_tokens`](Self#structfield.batch_tokens).
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.batch_tokens = Some(tokens);
        self
    }

    /// Sets [`cancel`](Self#structfield.cancel).
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Sets [`progress`](Self#structfield.progress).
    pub fn progress(mut self, call: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.progress = Some(Progress::new(call));
        self
    }
}

/// A call that hears of progress: parts done, and parts in all.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Progress {
    /// Wraps the call.
    pub fn new(call: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        Progress(Arc::new(call))
    }

    /// Tells that `done` parts of `all` are done.
    pub(crate) fn tell(&self, done: usize, all: usize) {
        (self.0)(done, all);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
