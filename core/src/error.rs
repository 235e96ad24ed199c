//! What can go wrong, as one typed enum with one number per kind.
//!
//! A message says what, where, and what would have been right: lower case, no full stop, values
//! in backticks. The cause is in [`std::error::Error::source`], not in the text.

use std::path::{Path, PathBuf};

use crate::report::LoadReport;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are not what the format says.
    #[error("`{}` is not valid {format}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that was expected, such as `GGUF`, `safetensors`, `JSON`.
        format: &'static str,
        /// What is wrong, where, and what would be right.
        problem: String,
    },
    /// `config.json` or the GGUF metadata lacks a key, or its value makes no sense.
    #[error("config key `{key}` {problem}")]
    Config {
        /// The key, in the words of `config.json`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No family of this name, or a feature of it is not implemented.
    #[error("{what} is not known; known: {known}")]
    Unsupported {
        /// The thing that is not known.
        what: String,
        /// What there is instead.
        known: String,
    },
    /// Names or shapes of the weights do not fit the spec.
    #[error("weights do not fit: {0}")]
    Weights(Box<LoadReport>),
    /// An argument of this call is out of range.
    #[error("`{argument}` {problem}")]
    Argument {
        /// The argument's name.
        argument: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The model lacks a part that this call needs, such as a tokenizer.
    #[error("{call} needs {what}")]
    Missing {
        /// The call that was made.
        call: &'static str,
        /// What it needs and where it would come from.
        what: String,
    },
    /// The prompt does not fit the model's window.
    #[error("{tokens} tokens do not fit a window of {window}")]
    TooLong {
        /// Tokens that were to be held.
        tokens: usize,
        /// Tokens that the model can hold.
        window: usize,
    },
    /// The device is absent, lost, or out of memory.
    #[error("device `{device}`: {problem}")]
    Device {
        /// The device, as asked for or as found.
        device: String,
        /// What happened.
        problem: String,
    },
    /// The model gave a number that is not finite, so that nothing after it means anything.
    #[error("{what} holds a value that is not finite")]
    NotFinite {
        /// The tensor, such as `logits`.
        what: &'static str,
    },
    /// There is not enough memory for what this call was asked for.
    #[error("no memory for {bytes} bytes of {what}")]
    Memory {
        /// What they were for, such as `logits`.
        what: &'static str,
        /// Bytes that were asked for at once.
        bytes: u128,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The number of an error's kind: the status of the C interface and `.code` in Python.
///
/// Numbers are never used again for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Code {
    /// [`Error::Argument`]
    Argument = 100,
    /// [`Error::Io`] and [`Error::Write`]
    Io = 101,
    /// [`Error::Format`]
    Format = 102,
    /// [`Error::Config`]
    Config = 103,
    /// [`Error::Unsupported`]
    Unsupported = 104,
    /// [`Error::Weights`]
    Weights = 105,
    /// [`Error::Device`]
    Device = 106,
    /// [`Error::TooLong`]
    TooLong = 107,
    /// [`Error::Cancelled`]
    Cancelled = 108,
    /// [`Error::Missing`]
    Missing = 109,
    /// [`Error::NotFinite`]
    NotFinite = 110,
    /// [`Error::Memory`]
    Memory = 111,
}

impl Error {
    /// The number of this error's kind.
    pub fn code(&self) -> Code {
        match self {
            Error::Io { .. } | Error::Write { .. } => Code::Io,
            Error::Format { .. } => Code::Format,
            Error::Config { .. } => Code::Config,
            Error::Unsupported { .. } => Code::Unsupported,
            Error::Weights(_) => Code::Weights,
            Error::Argument { .. } => Code::Argument,
            Error::Missing { .. } => Code::Missing,
            Error::TooLong { .. } => Code::TooLong,
            Error::Device { .. } => Code::Device,
            Error::NotFinite { .. } => Code::NotFinite,
            Error::Memory { .. } => Code::Memory,
            Error::Cancelled => Code::Cancelled,
        }
    }

    /// An [`Error::Io`] about `path`, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_path_buf(), source }
    }

    /// An [`Error::Write`] about `path`, for `map_err`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Write { path: path.to_path_buf(), source }
    }

    /// An [`Error::Format`] about `path`.
    pub(crate) fn format(path: &Path, format: &'static str, problem: impl Into<String>) -> Error {
        Error::Format { path: path.to_path_buf(), format, problem: problem.into() }
    }

    /// An [`Error::Config`] about `key`.
    pub(crate) fn config(key: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Config { key: key.into(), problem: problem.into() }
    }

    /// An [`Error::Argument`] about `argument`.
    pub(crate) fn argument(argument: &'static str, problem: impl Into<String>) -> Error {
        Error::Argument { argument, problem: problem.into() }
    }
}
