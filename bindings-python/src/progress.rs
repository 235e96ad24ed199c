//! Progress of long work: a callback of the caller's, or a bar of tqdm.

use std::sync::{Mutex, PoisonError};

use emberform::CancelToken;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use pyo3::{type_hint_identifier, type_hint_subscript, type_hint_union};

/// Who hears of progress, if anybody does.
pub enum Progress {
    Nobody,
    /// `callback(done, all)`
    Callback(Py<PyAny>),
    /// A bar of `tqdm.auto.tqdm`.
    Bar(Py<PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Progress {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(
        type_hint_identifier!("builtins", "bool"),
        type_hint_subscript!(
            type_hint_identifier!("collections.abc", "Callable"),
            PyStaticExpr::List {
                elts: &[
                    type_hint_identifier!("builtins", "int"),
                    type_hint_identifier!("builtins", "int")
                ]
            },
            type_hint_identifier!("builtins", "object")
        )
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(asked) = given.cast::<PyBool>() {
            return Ok(match asked.is_true() {
                false => Progress::Nobody,
                true => Progress::Bar(given.py().import("tqdm.auto")?.getattr("tqdm")?.unbind()),
            });
        }
        match given.is_callable() {
            true => Ok(Progress::Callback(given.to_owned().unbind())),
            false => {
                let kind = given.get_type().name()?;
                let problem = format!("{kind} is neither a bool nor a callable");
                Err(pyo3::exceptions::PyTypeError::new_err(problem))
            }
        }
    }
}

/// A [`Progress`] at work: told by any thread, and what its callback raised.
pub struct Watch {
    progress: Progress,
    cancel: CancelToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Watch {
    pub fn new(progress: Progress, cancel: CancelToken) -> Self {
        Watch { progress, cancel, state: Mutex::default() }
    }

    /// Whether anybody wants to hear.
    pub fn is_wanted(&self) -> bool {
        !matches!(self.progress, Progress::Nobody)
    }

    /// Passes on that `done` parts of `all` are done. What the callback raises stops the work.
    pub fn tell(&self, done: usize, all: usize) {
        // No interpreter to tell: it is going down.
        Python::try_attach(|py| {
            if let Err(raised) = self.pass_on(py, done, all) {
                self.cancel.cancel();
                self.with(|state| state.raised = Some(raised));
            }
        });
    }

    fn pass_on(&self, py: Python<'_>, done: usize, all: usize) -> PyResult<()> {
        match &self.progress {
            Progress::Nobody => {}
            Progress::Callback(call) => drop(call.call1(py, (done, all))?),
            Progress::Bar(tqdm) => {
                let known = self.with(|state| state.bar.as_ref().map(|bar| bar.clone_ref(py)));
                let bar = match known {
                    Some(bar) => bar,
                    None => {
                        let options = PyDict::new(py);
                        options.set_item("total", all)?;
                        let bar = tqdm.call(py, (), Some(&options))?;
                        self.with(|state| state.bar = Some(bar.clone_ref(py)));
                        bar
                    }
                };
                let shown: usize = bar.getattr(py, "n")?.extract(py)?;
                bar.call_method1(py, "update", (done.saturating_sub(shown),))?;
            }
        }
        Ok(())
    }

    /// Ends the bar; gives what the callback raised.
    pub fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let State { bar, raised } = self.with(std::mem::take);
        if let Some(bar) = bar {
            bar.call_method0(py, "close")?;
        }
        raised.map_or(Ok(()), Err)
    }

    /// Never held while Python runs, which could wait for a thread that waits for this.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
