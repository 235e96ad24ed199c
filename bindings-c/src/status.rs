//! Status, errors, text, version
//!
//! What every other section speaks of.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use emberform::Code;

use crate::raw;

/// What a call came to. Below 100 is success, 100 and above is an error. Numbers are never reused;
/// those from 100 to 189 are the codes of the other languages too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ember_status {
    /// It worked.
    EMBER_OK = 0,
    /// Not an error: there is nothing more, the stream has ended.
    EMBER_DONE = 1,
    /// An argument is NULL, too short, out of range, no UTF-8, a handle that is freed or of another
    /// kind, or a handle that another thread is using.
    EMBER_ERROR_ARGUMENT = 100,
    /// A file could not be opened or read.
    EMBER_ERROR_IO = 101,
    /// The bytes of a file are not what its format says.
    EMBER_ERROR_FORMAT = 102,
    /// A key of the model's configuration is missing or makes no sense.
    EMBER_ERROR_CONFIG = 103,
    /// Something that this library does not know, such as a model's family.
    EMBER_ERROR_UNSUPPORTED = 104,
    /// Names or shapes of the weights do not fit the configuration.
    EMBER_ERROR_WEIGHTS = 105,
    /// The device is absent, lost or out of memory.
    EMBER_ERROR_DEVICE = 106,
    /// More tokens than the model's window holds.
    EMBER_ERROR_TOO_LONG = 107,
    /// The caller asked to stop.
    EMBER_ERROR_CANCELLED = 108,
    /// The model lacks a part that this call needs, such as a tokenizer.
    EMBER_ERROR_MISSING = 109,
    /// The model gave a number that is not finite.
    EMBER_ERROR_NOT_FINITE = 110,
    /// There is not enough memory for what this call was asked for.
    EMBER_ERROR_MEMORY = 111,
    /// A bug in this library: please report the message.
    EMBER_ERROR_PANIC = 199,
}

use ember_status::*;

/// What went wrong, in the caller's memory: nothing to free. A call that gets one always fills it,
/// with EMBER_OK or EMBER_DONE and an empty message where nothing went wrong.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_error {
    /// What the call returned.
    pub status: ember_status,
    /// One sentence in UTF-8, ended by a NUL: what, where, and what would have been right. A longer
    /// one is cut.
    pub message: [c_char; 508],
}

/// Borrowed text: UTF-8, `len` bytes, NOT ended by a NUL. How long it lives is said where it is
/// handed out. An empty text has length 0 and a pointer that is not NULL.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_text {
    /// The first byte.
    pub data: *const c_char,
    /// Bytes.
    pub len: usize,
}

impl ember_text {
    /// Borrows `text`; whoever hands it out keeps it alive.
    pub(crate) fn of(text: &str) -> ember_text {
        match text.len() {
            0 => ember_text { data: c"".as_ptr(), len: 0 },
            len => ember_text { data: text.as_ptr().cast(), len },
        }
    }
}

/// The version of the library that is running, such as `0.1.0`, ended by a NUL; compare it with
/// EMBER_VERSION, that of this header.
#[unsafe(no_mangle)]
pub extern "C" fn ember_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The number of the binary interface of the library that is running. A program that was compiled
/// with the same EMBER_ABI can use it.
#[unsafe(no_mangle)]
pub extern "C" fn ember_abi() -> u32 {
    ABI
}

/// Goes up when a program compiled before would no longer work: once a minor version until 1.0.
const ABI: u32 = 1;

/// Why a call ends early.
#[derive(Debug)]
pub(crate) struct Fault {
    pub status: ember_status,
    pub message: String,
}

/// The result of what stands behind an entry.
pub(crate) type Outcome<T = ()> = Result<T, Fault>;

/// A fault of the caller's, in the words of the core: the argument, and what is wrong with it.
pub(crate) fn argument(name: &str, problem: impl std::fmt::Display) -> Fault {
    Fault { status: EMBER_ERROR_ARGUMENT, message: format!("`{name}` {problem}") }
}

/// A fault for want of memory, in the words of the core.
pub(crate) fn out_of_memory(what: &'static str, bytes: u128) -> Fault {
    emberform::Error::Memory { what, bytes }.into()
}

impl From<emberform::Error> for Fault {
    fn from(error: emberform::Error) -> Fault {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Fault { status: error.code().into(), message }
    }
}

impl From<Code> for ember_status {
    fn from(code: Code) -> ember_status {
        match code {
            Code::Argument => EMBER_ERROR_ARGUMENT,
            Code::Io => EMBER_ERROR_IO,
            Code::Format => EMBER_ERROR_FORMAT,
            Code::Config => EMBER_ERROR_CONFIG,
            Code::Unsupported => EMBER_ERROR_UNSUPPORTED,
            Code::Weights => EMBER_ERROR_WEIGHTS,
            Code::Device => EMBER_ERROR_DEVICE,
            Code::TooLong => EMBER_ERROR_TOO_LONG,
            Code::Cancelled => EMBER_ERROR_CANCELLED,
            Code::Missing => EMBER_ERROR_MISSING,
            Code::NotFinite => EMBER_ERROR_NOT_FINITE,
            Code::Memory => EMBER_ERROR_MEMORY,
            // A code that this binding does not know yet: `tests/c/run.sh` finds it first.
            _ => EMBER_ERROR_PANIC,
        }
    }
}

impl From<()> for ember_status {
    fn from(_: ()) -> ember_status {
        EMBER_OK
    }
}

/// The border of every fallible entry: runs `body`, stops panics, writes `error`.
pub(crate) fn call<S: Into<ember_status>>(
    error: *mut ember_error,
    body: impl FnOnce() -> Outcome<S>,
) -> ember_status {
    quiet_panics();
    let fault = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => Fault { status: status.into(), message: String::new() },
        Ok(Err(fault)) => fault,
        Err(payload) => {
            let said = match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
                (Some(text), _) => text.as_str(),
                (None, Some(text)) => text,
                (None, None) => "it did not say why",
            };
            let message = format!("a bug in emberform, please report it: {said}");
            // What cannot be told what to do when it is dropped is not dropped.
            std::mem::forget(payload);
            Fault { status: EMBER_ERROR_PANIC, message }
        }
    };
    raw::write_error(error, fault.status, &fault.message);
    fault.status
}

/// The border of an entry that cannot say what went wrong: `otherwise` then.
pub(crate) fn answer<T>(otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    quiet_panics();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(_)) | Err(_) => otherwise,
    }
}

/// Panics become statuses, so nothing is printed about them: what would be goes to the log. This
/// library has a standard library, and so a hook, of its own.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| ::log::error!("{info}")));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: &ember_error) -> String {
        let bytes: Vec<u8> =
            error.message.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
        String::from_utf8(bytes).unwrap()
    }

    fn blank() -> ember_error {
        ember_error { status: EMBER_ERROR_IO, message: [1; 508] }
    }

    #[test]
    fn a_panic_is_a_status_and_a_sentence() {
        let mut error = blank();
        let status = call(&mut error, || -> Outcome { panic!("index {} of 3", 7) });
        assert_eq!((status, error.status), (EMBER_ERROR_PANIC, EMBER_ERROR_PANIC));
        assert!(message(&error).ends_with("index 7 of 3"), "{}", message(&error));

        struct Odd;
        let status = call(&mut error, || -> Outcome { std::panic::panic_any(Odd) });
        assert_eq!(status, EMBER_ERROR_PANIC);
        assert_eq!(answer(7, || panic!()), 7);
        assert_eq!(answer(7, || Ok(8)), 8);
    }

    #[test]
    fn success_clears_the_error_and_null_is_no_error_struct() {
        let mut error = blank();
        assert_eq!(call(&mut error, || Ok(())), EMBER_OK);
        assert_eq!((error.status, message(&error)), (EMBER_OK, String::new()));
        assert_eq!(call(&mut error, || Ok(EMBER_DONE)), EMBER_DONE);
        assert_eq!(error.status, EMBER_DONE);
        let status = call(std::ptr::null_mut(), || -> Outcome { Err(argument("x", "is 3")) });
        assert_eq!(status, EMBER_ERROR_ARGUMENT);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut error = blank();
        // 2 bytes each, so that the limit falls into a character.
        let long = format!("x{}", "é".repeat(400));
        let fault = Fault { status: EMBER_ERROR_IO, message: long.clone() };
        assert_eq!(call(&mut error, || -> Outcome { Err(fault) }), EMBER_ERROR_IO);
        let cut = message(&error);
        assert_eq!(cut.len(), 507);
        assert!(long.starts_with(&cut));
    }

    #[test]
    fn causes_are_part_of_the_message() {
        let error = emberform::Model::open("no/such/folder").unwrap_err();
        let fault = Fault::from(error);
        assert_eq!(fault.status, EMBER_ERROR_IO);
        assert!(fault.message.contains("no/such/folder"), "{}", fault.message);
        assert!(fault.message.contains(": "), "{}", fault.message);
    }
}
