//! Cancel tokens
//!
//! A token stops a long embedding or forward pass from another thread. Streams, sessions and batches
//! need none: they have a cancel function of their own.

use std::sync::Arc;

use crate::handle::{self, Object};
use crate::raw;
use crate::status::{Outcome, call, ember_error, ember_status};

/// Stops work that was given this token.
pub struct ember_cancel_token {
    _opaque: (),
}

/// The object behind a token.
struct Token(emberform::CancelToken);

impl Object for Token {
    type C = ember_cancel_token;
    const NAME: &'static str = "ember_cancel_token";
    const ARGUMENT: &'static str = "token";
}

/// The core's token of options that may have one.
pub(crate) fn optional(
    name: &str,
    token: *const ember_cancel_token,
) -> Outcome<Option<emberform::CancelToken>> {
    match token.is_null() {
        true => Ok(None),
        false => Ok(Some(handle::get::<Token>(name, token)?.0.clone())),
    }
}

/// Makes a token that nothing has been asked of.
#[unsafe(no_mangle)]
pub extern "C" fn ember_cancel_token_new(
    token_out: *mut *mut ember_cancel_token,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let out = raw::out("token_out", token_out)?;
        handle::give(out, Token(emberform::CancelToken::new()))
    })
}

/// Asks the work to stop; it ends with EMBER_ERROR_CANCELLED. A token stays cancelled. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn ember_cancel_token_cancel(token: *const ember_cancel_token) {
    handle::ask(token, (), |token: Arc<Token>| token.0.cancel())
}

/// Frees the token; work that has it goes on.
#[unsafe(no_mangle)]
pub extern "C" fn ember_cancel_token_free(token: *mut ember_cancel_token) {
    handle::free::<Token>(token)
}
