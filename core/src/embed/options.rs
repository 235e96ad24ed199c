//! What a caller chooses about embedding.

use super::pooling::Pooling;
use crate::cancel::CancelToken;
use crate::run::RunOptions;

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
    /// Keep the first numbers of a vector only (Matryoshka, arXiv:2205.13147). Default: all.
    pub dimensions: Option<usize>,
    /// How it is run: tokens of a text and of a batch, what stops it, and who hears of it.
    pub run: RunOptions,
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

    /// Sets [`max_tokens`](RunOptions#structfield.max_tokens) of `run`.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.run.max_tokens = Some(tokens);
        self
    }

    /// Sets [`dimensions`](Self::dimensions).
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets [`batch_tokens`](RunOptions#structfield.batch_tokens) of `run`.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.run.batch_tokens = Some(tokens);
        self
    }

    /// Sets [`cancel`](RunOptions#structfield.cancel) of `run`.
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.run.cancel = Some(token);
        self
    }

    /// Sets [`progress`](RunOptions#structfield.progress) of `run`.
    pub fn progress(mut self, call: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.run = self.run.progress(call);
        self
    }

    /// Sets [`run`](Self#structfield.run), in place of what was set before.
    pub fn run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }
}
