//! Work of the core with the interpreter released, and Ctrl-C heard meanwhile.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use emberform::{CancelToken, Result, RunOptions};
use pyo3::prelude::*;

use crate::error::raise;
use crate::model::Model;
use crate::numpy::{Count, Given};
use crate::progress::{Progress, Watch};

/// How often Ctrl-C is looked for while long work is done.
const TICK: Duration = Duration::from_millis(20);

/// Multiplications (parameters times tokens) from which work is long. Below it, the slowest
/// processors take some 50 ms, and Ctrl-C can wait.
const LONG: usize = 500_000_000;

/// Whether a pass over so many tokens is long work for a model of so many parameters.
pub fn is_long(parameters: usize, tokens: usize) -> bool {
    parameters.saturating_mul(tokens) > LONG
}

/// Does `work` with the interpreter released.
///
/// Python runs signal handlers only on its main thread, and only when that asks for them. So long
/// work is done on a thread of its own, while this one asks now and then; when a handler raises,
/// `cancel` stops the work. Short work is done right here, since a thread costs more than it.
pub fn run<T: Send>(
    py: Python<'_>,
    long: bool,
    cancel: &CancelToken,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    if !long {
        return py.detach(work).map_err(|error| raise(py, error));
    }
    let found = thread::scope(|scope| {
        // Nothing is ever sent: the end of the work drops the sender, also when it panics.
        let (working, mut ended) = sync_channel::<()>(0);
        let worker = thread::Builder::new().name("emberform".to_string());
        let worker = worker.spawn_scoped(scope, move || {
            let _working = working;
            work()
        })?;
        let mut interrupted = None;
        while let Err(RecvTimeoutError::Timeout) = {
            let ended = &mut ended;
            py.detach(move || ended.recv_timeout(TICK))
        } {
            if interrupted.is_none()
                && let Err(raised) = py.check_signals()
            {
                cancel.cancel();
                interrupted = Some(raised);
            }
        }
        let found = py.detach(move || worker.join()).unwrap_or_else(|panic| resume_unwind(panic));
        interrupted.map_or(Ok(found), Err)
    });
    found?.map_err(|error| raise(py, error))
}

/// Work on texts: how it is run, and what watches it.
pub struct Job {
    pub options: RunOptions,
    cancel: CancelToken,
    watch: Arc<Watch>,
}

impl Job {
    pub fn new(
        py: Python<'_>,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Job> {
        let cancel = CancelToken::new();
        let mut options = RunOptions::default().cancel(cancel.clone());
        options.max_tokens = max_tokens.given(py, "max_tokens")?;
        options.batch_tokens = batch_tokens.given(py, "batch_tokens")?;
        let watch = Arc::new(Watch::new(progress.unwrap_or(Progress::Nobody), cancel.clone()));
        if watch.is_wanted() {
            let watch = watch.clone();
            options = options.progress(move |done, all| watch.tell(done, all));
        }
        Ok(Job { options, cancel, watch })
    }

    /// Does the work on texts of so many bytes.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        model: &Model,
        bytes: usize,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> PyResult<T> {
        let found = run(py, is_long(model.size, bytes), &self.cancel, work);
        self.watch.finish(py)?;
        found
    }
}
