//! The core's log lines go to Python's `logging`, as the logger `emberform`.

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

struct Bridge;

/// The numbers of `logging` for the levels that the core uses.
fn number(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}

impl Log for Bridge {
    /// Our own lines only: those of the libraries below are many, and in their words.
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.target().starts_with("emberform") && of.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // None while the interpreter goes down. What a handler raises is for nobody here.
        Python::try_attach(|py| {
            let pass_on = || {
                let logger = py.import("logging")?.call_method1("getLogger", ("emberform",))?;
                let text = record.args().to_string();
                logger.call_method1("log", (number(record.level()), "%s", text))
            };
            if let Err(raised) = pass_on() {
                raised.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// Sends log lines to `logging`, unless the program around Python has a logger of its own.
pub fn install() {
    if log::set_logger(&Bridge).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
