//! Log
//!
//! The library is silent until it is given a function.

use std::ffi::c_void;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::status::{argument, call, ember_error, ember_status, ember_text};

/// How grave a message is.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum ember_log_level {
    /// Something failed.
    EMBER_LOG_ERROR = 1,
    /// Something that the caller should know.
    EMBER_LOG_WARN = 2,
    /// What the library does, such as which device it chose and why.
    EMBER_LOG_INFO = 3,
    /// For its developers.
    EMBER_LOG_DEBUG = 4,
}

use ember_log_level::*;

/// Takes a message, which lives until the function returns. It is called on any thread, also on
/// several at once; it must not throw, and must not call this library.
pub type ember_log_function =
    Option<extern "C" fn(user: *mut c_void, level: ember_log_level, message: ember_text)>;

struct Sink {
    function: extern "C" fn(*mut c_void, ember_log_level, ember_text),
    /// An address of the caller's, which is not followed here.
    user: usize,
}

static SINK: OnceLock<Sink> = OnceLock::new();

struct Forward;

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Layers below tell at length what they do; only their troubles matter here.
        metadata.target().starts_with("emberform") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        let Some(sink) = SINK.get().filter(|_| self.enabled(record.metadata())) else {
            return;
        };
        let level = match record.level() {
            Level::Error => EMBER_LOG_ERROR,
            Level::Warn => EMBER_LOG_WARN,
            Level::Info => EMBER_LOG_INFO,
            Level::Debug | Level::Trace => EMBER_LOG_DEBUG,
        };
        let message = record.args().to_string();
        let user = std::ptr::with_exposed_provenance_mut(sink.user);
        (sink.function)(user, level, ember_text::of(&message));
    }

    fn flush(&self) {}
}

/// Sets the function that gets messages up to `level` (an ember_log_level), once in the life of the
/// process. `user` is handed on to it.
///
/// Errors: EMBER_ERROR_ARGUMENT when it was set before, for NULL and for an unknown level.
#[unsafe(no_mangle)]
pub extern "C" fn ember_log_set(
    function: ember_log_function,
    user: *mut c_void,
    level: u32,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let function = function.ok_or_else(|| argument("function", "is NULL"))?;
        let filter = match level {
            1 => LevelFilter::Error,
            2 => LevelFilter::Warn,
            3 => LevelFilter::Info,
            4 => LevelFilter::Debug,
            _ => return Err(argument("level", format!("is {level}, not 1 to 4"))),
        };
        let sink = Sink { function, user: user.expose_provenance() };
        if SINK.set(sink).is_err() || log::set_logger(&Forward).is_err() {
            return Err(argument("function", "was set before; it can be set once"));
        }
        log::set_max_level(filter);
        Ok(())
    })
}
