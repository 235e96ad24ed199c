//! The Python package `emberform`: what is exported, and nothing else.
//!
//! A method converts its arguments, calls the core, and converts the result. What needs more than
//! that belongs into the core, where Rust and C have it too.
#![deny(unsafe_code)]
// Python's calls have keyword arguments: one Rust argument each.
#![allow(clippy::too_many_arguments)]

mod batch;
mod chat;
mod choice;
mod embeddings;
mod error;
mod generate;
mod info;
mod log;
mod model;
mod numpy;
mod output;
mod progress;
mod run;
mod task;
mod tokenizer;
mod words;

use std::collections::BTreeMap;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

/// How this build was made: its version, whether it is optimised, and what it was built for.
#[pyfunction]
fn build_info() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("version", env!("CARGO_PKG_VERSION")),
        ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
    ])
}

/// Transformers inside your program: embed and generate text on any vendor's GPU or on the CPU.
#[pymodule(gil_used = false)]
mod _emberform {
    use super::*;

    #[pymodule_export]
    use super::build_info;
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::chat::Chat;
    #[pymodule_export]
    use crate::embeddings::Embeddings;
    #[pymodule_export]
    use crate::generate::{Beam, Piece, Session, Stats, Stream, Token};
    #[pymodule_export]
    use crate::info::{DeviceInfo, Memory, Spec, Step, Task, TensorInfo, Verification};
    #[pymodule_export]
    use crate::model::{Model, devices, open};
    #[pymodule_export]
    use crate::output::Output;
    #[pymodule_export]
    use crate::task::{Answer, Class, Classes, Entity, Fill, Ranked, Sparse, TokenVectors};
    #[pymodule_export]
    use crate::tokenizer::{DecodeStream, Encoding, Tokenizer};
    #[pymodule_export]
    use crate::words::{Neighbor, WordVectors, open_words};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::error::add(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::log::install();
        if cfg!(debug_assertions) {
            let text = c"emberform was built without optimisation and is very slow";
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), text, 1)?;
        }
        Ok(())
    }
}
