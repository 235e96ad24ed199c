//! Errors of the core as Python exceptions: one table, one `match`.
//!
//! Where Python has a class for a kind, that class is raised (`ValueError`, `MemoryError`, `OSError` and
//! those under it); all others stand under `emberform.Error`. Each carries `.code`.

use std::io::ErrorKind;

use emberform::{Code, Error};
use pyo3::exceptions::{PyException, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// What goes wrong with a handle that was closed, in the numbers of the core: a wrong argument.
const CLOSED: Code = Code::Argument;

/// A class under `emberform.Error`: name, number, whether it is a `ValueError` too, and what it
/// says of itself.
type Row = (&'static str, Code, bool, &'static str);

const CLASSES: &[Row] = &[
    ("FormatError", Code::Format, false, "A file's bytes are not what its format says."),
    (
        "ConfigError",
        Code::Config,
        false,
        "`config.json` or the GGUF metadata lacks a key, or its value makes no sense.",
    ),
    (
        "UnsupportedError",
        Code::Unsupported,
        false,
        "A family, format or name that is not known; the message lists those that are.",
    ),
    (
        "WeightsError",
        Code::Weights,
        false,
        "Names, shapes or formats of the weights do not fit the model; each list has all of them, \
         in the names of the file.",
    ),
    ("DeviceError", Code::Device, false, "The device is absent, lost, or out of memory."),
    ("TooLongError", Code::TooLong, true, "The tokens do not fit the model's window."),
    ("CancelledError", Code::Cancelled, false, "The work was cancelled."),
    (
        "MissingError",
        Code::Missing,
        false,
        "The model lacks a part that the call needs, such as a tokenizer.",
    ),
    ("NotFiniteError", Code::NotFinite, false, "The model gave a number that is not finite."),
    ("ClosedError", CLOSED, true, "The model was closed."),
];

/// The attributes of `WeightsError`, with their types for the stubs.
const REPORT: [(&str, &str); 4] = [
    ("missing", "list[tuple[str, str | None]]"),
    ("unused", "list[str]"),
    ("misshapen", "list[tuple[str, list[int], list[int]]]"),
    ("unreadable", "list[tuple[str, str]]"),
];

/// Makes a class of exceptions.
fn class<'py>(
    name: &str,
    bases: Bound<'py, PyTuple>,
    doc: &str,
    code: Option<Code>,
) -> PyResult<Bound<'py, PyType>> {
    let py = bases.py();
    let (dict, annotations) = (PyDict::new(py), PyDict::new(py));
    dict.set_item("__module__", "emberform")?;
    dict.set_item("__doc__", doc)?;
    match code {
        None => {
            annotations.set_item("code", "int")?;
            annotations.set_item("sequence", "int | None")?;
            dict.set_item("sequence", py.None())?;
        }
        Some(code) => dict.set_item("code", code as u32)?,
    }
    if name == "WeightsError" {
        REPORT.iter().try_for_each(|(name, kind)| annotations.set_item(name, kind))?;
    }
    dict.set_item("__annotations__", annotations)?;
    Ok(py.get_type::<PyType>().call1((name, bases, dict))?.cast_into::<PyType>()?)
}

/// The classes by name, `Error` first.
fn classes(py: Python<'_>) -> PyResult<&[(&'static str, Py<PyType>)]> {
    static MADE: PyOnceLock<Vec<(&'static str, Py<PyType>)>> = PyOnceLock::new();
    let made = MADE.get_or_try_init(py, || {
        let doc = "What every error of emberform that Python has no class for is.\n\n\
                   `code` is the number of its kind, the same in Rust and C. `sequence` is the\n\
                   number of the sequence of a `Batch` that it happened to, else None.";
        let base = class("Error", (py.get_type::<PyException>(),).into_pyobject(py)?, doc, None)?;
        let mut made = vec![("Error", base.clone().unbind())];
        for (name, code, value, doc) in CLASSES {
            let bases = match value {
                true => (base.clone(), py.get_type::<PyValueError>()).into_pyobject(py)?,
                false => (base.clone(),).into_pyobject(py)?,
            };
            made.push((name, class(name, bases, doc, Some(*code))?.unbind()));
        }
        PyResult::Ok(made)
    })?;
    Ok(made)
}

/// Puts the classes into the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, class) in classes(module.py())? {
        module.add(*name, class)?;
    }
    Ok(())
}

/// An instance of one of our classes.
fn instance<'py>(py: Python<'py>, name: &str, text: String) -> PyResult<Bound<'py, PyAny>> {
    let class = classes(py)?.iter().find(|(of, _)| *of == name).map(|(_, class)| class.bind(py));
    match class {
        Some(class) => class.call1((text,)),
        None => py.get_type::<PyException>().call1((text,)),
    }
}

/// The exception for an error of the core.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    exception(py, &error).map_or_else(|failed| failed, PyErr::from_value)
}

/// The exception for an error of one sequence of a batch, which carries its number.
pub fn raise_of(py: Python<'_>, error: Error, sequence: usize) -> PyErr {
    let raised = raise(py, error);
    match raised.value(py).setattr("sequence", sequence) {
        Ok(()) => raised,
        Err(failed) => failed,
    }
}

/// The system's number for an error of the core: its own checks have none, but a kind. The two
/// numbers are the same on all systems.
fn number(error: &std::io::Error) -> Option<i32> {
    error.raw_os_error().or(match error.kind() {
        ErrorKind::NotFound => Some(2),
        ErrorKind::PermissionDenied => Some(13),
        _ => None,
    })
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let text = error.to_string();
    let value = match error {
        Error::Argument { .. } => py.get_type::<PyValueError>().call1((text,))?,
        Error::Memory { .. } => py.get_type::<PyMemoryError>().call1((text,))?,
        // Called with a number, `OSError` makes a `FileNotFoundError` and so on by itself.
        Error::Io { path, source } | Error::Write { path, source } => match number(source) {
            Some(number) => {
                let said = py.import("os")?.call_method1("strerror", (number,))?;
                py.get_type::<PyOSError>().call1((number, said, path.as_os_str()))?
            }
            None => py.get_type::<PyOSError>().call1((format!("{text}: {source}"),))?,
        },
        other => {
            let code = other.code();
            let row = CLASSES.iter().find(|(_, of, ..)| *of == code);
            instance(py, row.map_or("Error", |row| row.0), text)?
        }
    };
    value.setattr("code", error.code() as u32)?;
    if let Error::Weights(report) = error {
        value.setattr("missing", &report.missing)?;
        value.setattr("unused", &report.unused)?;
        value.setattr("misshapen", &report.misshapen)?;
        value.setattr("unreadable", &report.unreadable)?;
    }
    Ok(value)
}

/// The `ValueError` of a wrong argument, as the core words it.
pub fn argument(py: Python<'_>, argument: &'static str, problem: impl Into<String>) -> PyErr {
    raise(py, Error::Argument { argument, problem: problem.into() })
}

/// The `ClosedError` of a model that was closed.
pub fn closed(py: Python<'_>) -> PyErr {
    let text = "the model was closed; open it again".to_string();
    instance(py, "ClosedError", text).map_or_else(|failed| failed, PyErr::from_value)
}
