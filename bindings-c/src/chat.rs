//! Chat
//!
//! A conversation with a model: messages through the chat template of its files, and replies as
//! streams. Special tokens that are spelled out in a message count as such, as in every chat
//! template: keep them out of texts that are not to be trusted.

use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, MutexGuard};

use emberform::{CancelToken, Chat, Message, Variable};

use crate::generate::{self, Source, ember_generate_options, ember_stream};
use crate::handle::{self, Object};
use crate::model::{Opened, ember_model};
use crate::raw;
use crate::status::{
    Fault, Outcome, argument, ember_error, ember_status, ember_status::*, ember_text,
};

/// A conversation: its messages, and the cache of what the model has read of it, so that a turn reads
/// only what is new.
pub struct ember_chat {
    _opaque: (),
}

/// A message of a conversation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_message {
    /// Who says it: `system`, `user`, `assistant`, `tool` or another name that the model's template
    /// knows; ended by a NUL.
    pub role: *const c_char,
    /// What is said.
    pub content: *const c_char,
    /// Bytes of `content`, or EMBER_NUL for "up to the NUL".
    pub content_len: usize,
}

/// What a variable is.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum ember_variable_kind {
    /// True or false: `number` is 1 or 0.
    EMBER_VARIABLE_BOOL = 1,
    /// A whole number: `number`.
    EMBER_VARIABLE_NUMBER = 2,
    /// A text: `text`.
    EMBER_VARIABLE_TEXT = 3,
}

use ember_variable_kind::*;

/// A variable of a chat template, such as `enable_thinking`. Which there are, the template says: see
/// ember_model_chat_template.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_variable {
    /// Its name, ended by a NUL.
    pub name: *const c_char,
    /// What it is, an ember_variable_kind.
    pub kind: u32,
    /// Its value, unless it is a text.
    pub number: i64,
    /// Its value if it is a text, ended by a NUL.
    pub text: *const c_char,
}

/// The object behind a chat; streams share it.
pub(crate) struct Conversation {
    talk: Mutex<Talk>,
    /// Beside the lock, so that a running call can be cancelled.
    cancel: CancelToken,
}

/// A chat with what a caller may borrow from it.
pub(crate) struct Talk {
    pub chat: Chat,
    /// The role of the message that was asked for last.
    role: CString,
}

impl Object for Conversation {
    type C = ember_chat;
    const NAME: &'static str = "ember_chat";
    const ARGUMENT: &'static str = "chat";
}

impl Conversation {
    pub(crate) fn lock(&self) -> Outcome<MutexGuard<'_, Talk>> {
        handle::lock(Self::ARGUMENT, &self.talk)
    }
}

fn message(name: &str, given: &ember_message) -> Outcome<Message> {
    let role = raw::string(&format!("{name}.role"), given.role)?;
    let content = raw::text(&format!("{name}.content"), given.content, given.content_len)?;
    Ok(Message::new(role.parse()?, content))
}

fn messages(given: *const ember_message, count: usize) -> Outcome<Vec<Message>> {
    let given = raw::slice("messages", given, count)?;
    given.iter().enumerate().map(|(i, given)| message(&format!("messages[{i}]"), given)).collect()
}

fn variable(name: &str, given: &ember_variable) -> Outcome<(String, Variable)> {
    const BOOL: u32 = EMBER_VARIABLE_BOOL as u32;
    const NUMBER: u32 = EMBER_VARIABLE_NUMBER as u32;
    const TEXT: u32 = EMBER_VARIABLE_TEXT as u32;
    let value = match (given.kind, given.number) {
        (BOOL, 0 | 1) => Variable::Bool(given.number == 1),
        (BOOL, number) => {
            let problem = format!("is {number}; true is 1 and false is 0");
            return Err(argument(&format!("{name}.number"), problem));
        }
        (NUMBER, number) => Variable::Number(number),
        (TEXT, _) => raw::string(&format!("{name}.text"), given.text)?.into(),
        (kind, _) => {
            return Err(argument(&format!("{name}.kind"), format!("is {kind}, not 1 to 3")));
        }
    };
    Ok((raw::string(&format!("{name}.name"), given.name)?.to_string(), value))
}

fn variables(given: *const ember_variable, count: usize) -> Outcome<Vec<(String, Variable)>> {
    let given = raw::slice("variables", given, count)?;
    given.iter().enumerate().map(|(i, given)| variable(&format!("variables[{i}]"), given)).collect()
}

/// The chat template of the model's files, as they have it. The text lives as long as `model`.
///
/// Errors: EMBER_ERROR_MISSING when they have none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_chat_template(
    model: *const ember_model,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("text_out", text_out)?;
        let template = opened.model.chat_template().ok_or_else(|| Fault {
            status: EMBER_ERROR_MISSING,
            message: "the model's files have no chat template".to_string(),
        })?;
        out.set(ember_text::of(template));
        Ok(())
    })
}

/// The text that the chat template makes of `count` messages, up to where the model answers. It
/// holds its special tokens as text: encode it without further ones. `variable_count` variables may
/// be given to the template. Writes the text's length in bytes to `len_out`, and the bytes, without
/// a NUL, to `out` unless that is NULL.
///
/// Errors: EMBER_ERROR_MISSING without a template; EMBER_ERROR_ARGUMENT for messages that the
/// template refuses, or when `out` is too short; EMBER_ERROR_FORMAT and _UNSUPPORTED when the
/// template is not what it should be.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_chat_prompt(
    model: *const ember_model,
    messages: *const ember_message,
    count: usize,
    variables: *const ember_variable,
    variable_count: usize,
    out: *mut c_char,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let messages = self::messages(messages, count)?;
        let variables = self::variables(variables, variable_count)?;
        let prompt = opened.model.chat_prompt_with(&messages, &variables)?;
        raw::give_text(&prompt, out, out_len, len_out)
    })
}

/// Answers `count` messages; `options` may be NULL. For a conversation of several turns, an
/// ember_chat keeps what was read.
///
/// Errors: as ember_model_chat_prompt and ember_model_generate.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_generate_chat(
    model: *const ember_model,
    messages: *const ember_message,
    count: usize,
    variables: *const ember_variable,
    variable_count: usize,
    options: *const ember_generate_options,
    stream_out: *mut *mut ember_stream,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let messages = self::messages(messages, count)?;
        let variables = self::variables(variables, variable_count)?;
        let options = generate::convert(options)?;
        let out = raw::out("stream_out", stream_out)?;
        let stream = opened.model.generate_chat_with(&messages, &variables, &options)?;
        let cancel = stream.cancel_token();
        generate::give(out, Source::Own(Box::new(stream)), cancel)
    })
}

/// Begins a conversation, which keeps the model alive.
///
/// Errors: EMBER_ERROR_MISSING for an encoder, or without a tokenizer or a chat template;
/// EMBER_ERROR_FORMAT and _UNSUPPORTED when the template is not what it should be.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_chat(
    model: *const ember_model,
    chat_out: *mut *mut ember_chat,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("chat_out", chat_out)?;
        let chat = opened.model.chat()?;
        let cancel = chat.cancel_token();
        let talk = Talk { chat, role: CString::default() };
        handle::give(out, Conversation { talk: Mutex::new(talk), cancel })
    })
}

/// Frees the conversation; a reply that is being made goes on.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_free(chat: *mut ember_chat) {
    handle::free::<Conversation>(chat)
}

/// Sets the message that stands before all others and says how to answer; an earlier one gives way
/// to it. `len` counts bytes or is EMBER_NUL.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_system(
    chat: *mut ember_chat,
    text: *const c_char,
    len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        let text = raw::text("text", text, len)?;
        conversation.lock()?.chat.system(text);
        Ok(())
    })
}

/// Adds a message without asking for a reply, such as one of an earlier conversation.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_push(
    chat: *mut ember_chat,
    message: *const ember_message,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        for given in raw::slice("message", message, 1)? {
            let message = self::message("message", given)?;
            conversation.lock()?.chat.push(message);
        }
        Ok(())
    })
}

/// Sets a variable of the model's template for all that follows.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_set(
    chat: *mut ember_chat,
    variable: *const ember_variable,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        for given in raw::slice("variable", variable, 1)? {
            let (name, value) = self::variable("variable", given)?;
            conversation.lock()?.chat.set(name, value);
        }
        Ok(())
    })
}

/// Says something as the user: `len` bytes, or up to the NUL with EMBER_NUL. `options` may be NULL.
/// The reply comes as a stream, which keeps the conversation alive; its first ember_stream_next
/// reads what is new to the model. One reply at a time: the next ember_chat_say or ember_chat_push
/// ends it, as does freeing its stream, and what was read of it until then joins the messages.
///
/// Errors: EMBER_ERROR_TOO_LONG when the conversation leaves no room in the window;
/// EMBER_ERROR_ARGUMENT for an option out of range or messages that the template refuses;
/// EMBER_ERROR_FORMAT and _UNSUPPORTED when the template is not what it should be. The messages are
/// as before then, also when the stream fails later.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_say(
    chat: *mut ember_chat,
    text: *const c_char,
    len: usize,
    options: *const ember_generate_options,
    stream_out: *mut *mut ember_stream,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        let text = raw::text("text", text, len)?;
        let options = generate::convert(options)?;
        let out = raw::out("stream_out", stream_out)?;
        let generation = conversation.lock()?.chat.start(text, &options)?;
        let cancel = conversation.cancel.clone();
        generate::give(out, Source::Chat(conversation, Box::new(generation)), cancel)
    })
}

/// Message number `index`; EMBER_DONE after the last. A reply is among them once it has ended. The
/// texts live until the next call with this chat or a stream of it. `message_size` is
/// `sizeof(ember_message)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_message(
    chat: *mut ember_chat,
    index: usize,
    message_out: *mut ember_message,
    message_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        let mut talk = conversation.lock()?;
        let out = raw::sized_out("message_out", message_out, message_size)?;
        let Some(message) = talk.chat.messages().get(index) else {
            return Ok(EMBER_DONE);
        };
        // A role came in ended by its first NUL, so that it holds none.
        let role = CString::new(message.role.as_str()).unwrap_or_default();
        let content = ember_text::of(&message.content);
        talk.role = role;
        out.set(ember_message {
            role: talk.role.as_ptr(),
            content: content.data,
            content_len: content.len,
        });
        Ok(EMBER_OK)
    })
}

/// The text that the model would be asked to go on from now: the messages through the template.
/// Where it goes is as in ember_model_chat_prompt.
///
/// Errors: as ember_model_chat_prompt.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_prompt(
    chat: *mut ember_chat,
    out: *mut c_char,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        let prompt = conversation.lock()?.chat.prompt()?;
        raw::give_text(&prompt, out, out_len, len_out)
    })
}

/// The tokens that the model has read, whose keys and values are cached; where they go is as in
/// ember_session_logits.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_ids(
    chat: *mut ember_chat,
    out: *mut u32,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(chat, error, |conversation: Arc<Conversation>| {
        raw::give_slice(conversation.lock()?.chat.ids(), out, out_len, len_out)
    })
}

/// Stops the reply that is being made; it then ends as `cancelled`. May be called from any thread at
/// any time. The next reply begins unhindered.
#[unsafe(no_mangle)]
pub extern "C" fn ember_chat_cancel(chat: *const ember_chat) {
    handle::ask(chat, (), |conversation: Arc<Conversation>| conversation.cancel.cancel())
}
