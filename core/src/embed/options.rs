//! What a caller chooses about embedding.

use std::sync::Arc;

use super::pooling::Pooling;
use crate::cancel::CancelToken;

/// What a caller chooses about embedding. The default is what the model's folder says.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// Whether vectors have length 1. Default: as the folder says.
    pub normalize: Option<bool>,
    /// Text put before each text. Default: that of `prompt_name`.
    pub prompt: Option<String>,
    /// Name of one of the folder's prompts. Default: the folder's default, if it has one.
    pub prompt_name: Option<String>,
    /// How tokens become a vector. Default: as the folder says; else the mean for an encoder and
    /// the last token for a decoder.
    pub pooling: Option<Pooling>,
    /// Most tokens of a text, special ones included; the rest is cut. Default: as
    /// sentence-transformers would.
    pub max_tokens: Option<usize>,
    /// Keep the first numbers of a vector only (Matryoshka, arXiv:2205.13147). Default: all.
    pub dimensions: Option<usize>,
    /// Most tokens of a batch, padding included; a longer text is a batch by itself.
    /// Default: 512 on a CPU; 2048 on a GPU, on one with memory of its own up to 16384, fewer the
    /// wider the model is.
    pub batch_tokens: Option<usize>,
    /// Stops the work from another thread.
    pub cancel: Option<CancelToken>,
    /// Told how many texts are done, and of how many, after each batch.
    pub progress: Option<Progress>,
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

impl EmbedOptions {
    /// Sets [`normalize`](Self::normalize).
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// Sets [`prompt`](Self::prompt).
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets [`prompt_name`](Self::prompt_name).
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Sets [`pooling`](Self::pooling).
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = Some(pooling);
        self
    }

    /// Sets [`max_tokens`](Self::max_tokens).
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets [`dimensions`](Self::dimensions).
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets [`batch_tokens`](Self::batch_tokens).
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
