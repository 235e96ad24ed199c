//! Tokenizers
//!
//! Text to token ids and back. Offsets count bytes of the text.

use std::ffi::c_char;
use std::sync::{Arc, Mutex};

use emberform::{DecodeStream, Encoding, Tokenizer};

use crate::device::at;
use crate::handle::{self, Object};
use crate::model::{Opened, ember_model, set_size};
use crate::raw;
use crate::status::{Fault, Outcome, argument, call, ember_error, ember_status, ember_text};

/// A tokenizer.
pub struct ember_tokenizer {
    _opaque: (),
}

/// The tokens of one text or of several.
pub struct ember_encodings {
    _opaque: (),
}

/// Where a token comes from: bytes `start` up to, not including, `end`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// The tokens of one text. Each array has `len` entries.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_encoding {
    /// Token ids.
    pub ids: *const u32,
    /// Which text of a pair a token is of: 0 or 1.
    pub type_ids: *const u32,
    /// Where in its text a token comes from; 0 to 0 for tokens that no text stands behind.
    pub offsets: *const ember_span,
    /// Whether a token was put there by the tokenizer rather than by the text.
    pub special: *const bool,
    /// Tokens.
    pub len: usize,
    /// Tokens of the text that were left out to keep to a limit.
    pub cut: usize,
}

struct Tokens {
    encoding: Encoding,
    offsets: Vec<ember_span>,
}

struct Encodings(Vec<Tokens>);

impl Object for Tokenizer {
    type C = ember_tokenizer;
    const NAME: &'static str = "ember_tokenizer";
    const ARGUMENT: &'static str = "tokenizer";
}

impl Object for Encodings {
    type C = ember_encodings;
    const NAME: &'static str = "ember_encodings";
    const ARGUMENT: &'static str = "encodings";
}

impl Encodings {
    fn new(encodings: Vec<Encoding>) -> Encodings {
        let with_offsets = |encoding: Encoding| Tokens {
            offsets: encoding
                .offsets
                .iter()
                .map(|&(start, end)| ember_span { start, end })
                .collect(),
            encoding,
        };
        Encodings(encodings.into_iter().map(with_offsets).collect())
    }
}

/// Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file; `path` ended by a NUL.
///
/// Errors: EMBER_ERROR_IO, EMBER_ERROR_FORMAT, EMBER_ERROR_UNSUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_open(
    path: *const c_char,
    tokenizer_out: *mut *mut ember_tokenizer,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let path = raw::string("path", path)?;
        let out = raw::out("tokenizer_out", tokenizer_out)?;
        handle::give(out, Tokenizer::open(path)?)
    })
}

/// The tokenizer by value, to be kept or sent to another process: the text of its `tokenizer.json`,
/// or a GGUF file without tensors. Writes its length in bytes to `len_out`, and the bytes to `out`
/// unless that is NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT when `out` is too short.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_to_bytes(
    tokenizer: *const ember_tokenizer,
    out: *mut u8,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        raw::give_slice(&tokenizer.to_bytes(), out, out_len, len_out)
    })
}

/// A tokenizer from what ember_tokenizer_to_bytes gave, or from the bytes of any file that
/// ember_tokenizer_open takes. The bytes are copied.
///
/// Errors: as ember_tokenizer_open; messages name the file `bytes`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_from_bytes(
    bytes: *const u8,
    len: usize,
    tokenizer_out: *mut *mut ember_tokenizer,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let given = raw::slice("bytes", bytes, len)?;
        let out = raw::out("tokenizer_out", tokenizer_out)?;
        let mut bytes = raw::reserved(len)?;
        bytes.extend_from_slice(given);
        handle::give(out, Tokenizer::from_bytes(bytes)?)
    })
}

/// The model's tokenizer, which stays usable when the model is freed.
///
/// Errors: EMBER_ERROR_MISSING when the model has none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_tokenizer(
    model: *const ember_model,
    tokenizer_out: *mut *mut ember_tokenizer,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let out = raw::out("tokenizer_out", tokenizer_out)?;
        let tokenizer = opened.model.tokenizer().ok_or_else(|| Fault {
            status: ember_status::EMBER_ERROR_MISSING,
            message: "the model's files have no tokenizer".to_string(),
        })?;
        handle::give(out, tokenizer.clone())
    })
}

/// Frees the tokenizer.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_free(tokenizer: *mut ember_tokenizer) {
    handle::free::<Tokenizer>(tokenizer)
}

/// Token ids are below this; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_len(tokenizer: *const ember_tokenizer) -> usize {
    handle::ask(tokenizer, 0, |tokenizer: Arc<Tokenizer>| tokenizer.len())
}

/// The tokens of a text, as an ember_encodings with one entry. `len` counts bytes or is EMBER_NUL.
/// With `special` the tokens around a text come too, such as `[CLS]` and `[SEP]`; control tokens
/// that are spelled out in the text are found in both cases.
///
/// Errors: EMBER_ERROR_ARGUMENT for a text over 1 GiB or one that the tokenizer cannot deal with.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_encode(
    tokenizer: *const ember_tokenizer,
    text: *const c_char,
    len: usize,
    special: bool,
    encodings_out: *mut *mut ember_encodings,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let text = raw::text("text", text, len)?;
        let out = raw::out("encodings_out", encodings_out)?;
        handle::give(out, Encodings::new(vec![tokenizer.encode(text, special)?]))
    })
}

/// The tokens of two texts that belong together, as one entry.
///
/// Errors: as ember_tokenizer_encode.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_encode_pair(
    tokenizer: *const ember_tokenizer,
    a: *const c_char,
    a_len: usize,
    b: *const c_char,
    b_len: usize,
    special: bool,
    encodings_out: *mut *mut ember_encodings,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let (a, b) = (raw::text("a", a, a_len)?, raw::text("b", b, b_len)?);
        let out = raw::out("encodings_out", encodings_out)?;
        handle::give(out, Encodings::new(vec![tokenizer.encode_pair(a, b, special)?]))
    })
}

/// The tokens of many texts, on all cores, one entry each; `lengths` may be NULL when each is ended
/// by a NUL. Each has at most `limit` tokens, or all with EMBER_UNSET.
///
/// Errors: as ember_tokenizer_encode, and EMBER_ERROR_ARGUMENT for a limit without room for the
/// tokens around a text.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_encode_batch(
    tokenizer: *const ember_tokenizer,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    special: bool,
    limit: usize,
    encodings_out: *mut *mut ember_encodings,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let out = raw::out("encodings_out", encodings_out)?;
        let encodings = tokenizer.encode_batch(&texts, special, set_size(limit))?;
        handle::give(out, Encodings::new(encodings))
    })
}

/// The tokens of a text in windows of at most `limit` tokens, one entry each; each begins with the
/// last `stride` tokens of text of the one before.
///
/// Errors: as ember_tokenizer_encode_batch, and EMBER_ERROR_ARGUMENT for a stride that leaves no
/// room for a new token.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_encode_windows(
    tokenizer: *const ember_tokenizer,
    text: *const c_char,
    len: usize,
    special: bool,
    limit: usize,
    stride: usize,
    encodings_out: *mut *mut ember_encodings,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let text = raw::text("text", text, len)?;
        let out = raw::out("encodings_out", encodings_out)?;
        handle::give(out, Encodings::new(tokenizer.encode_windows(text, special, limit, stride)?))
    })
}

/// How many entries there are; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_encodings_count(encodings: *const ember_encodings) -> usize {
    handle::ask(encodings, 0, |encodings: Arc<Encodings>| encodings.0.len())
}

/// Entry number `index`; its arrays live as long as `encodings`. `encoding_size` is
/// `sizeof(ember_encoding)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_encodings_get(
    encodings: *const ember_encodings,
    index: usize,
    encoding_out: *mut ember_encoding,
    encoding_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(encodings, error, |encodings: Arc<Encodings>| {
        let out = raw::sized_out("encoding_out", encoding_out, encoding_size)?;
        let Tokens { encoding, offsets } = at("index", &encodings.0, index)?;
        out.set(ember_encoding {
            ids: encoding.ids.as_ptr(),
            type_ids: encoding.type_ids.as_ptr(),
            offsets: offsets.as_ptr(),
            special: encoding.special.as_ptr(),
            len: encoding.ids.len(),
            cut: encoding.cut,
        });
        Ok(())
    })
}

/// Frees the tokens.
#[unsafe(no_mangle)]
pub extern "C" fn ember_encodings_free(encodings: *mut ember_encodings) {
    handle::free::<Encodings>(encodings)
}

/// How many tokens ember_tokenizer_encode gives.
///
/// Errors: as ember_tokenizer_encode.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_count(
    tokenizer: *const ember_tokenizer,
    text: *const c_char,
    len: usize,
    special: bool,
    count_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let text = raw::text("text", text, len)?;
        let out = raw::out("count_out", count_out)?;
        out.set(tokenizer.count(text, special)?);
        Ok(())
    })
}

/// The text of `count` ids; with `skip_special` without control tokens. Bytes that are no UTF-8
/// become U+FFFD. Writes its length in bytes to `len_out`, and the bytes, without a NUL, to `out`
/// unless that is NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is no token, or when `out` is too short.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_decode(
    tokenizer: *const ember_tokenizer,
    ids: *const u32,
    count: usize,
    skip_special: bool,
    out: *mut c_char,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let ids = raw::slice("ids", ids, count)?;
        raw::give_text(&tokenizer.decode(ids, skip_special)?, out, out_len, len_out)
    })
}

/// The string of a token as the vocabulary writes it; where it goes is as in
/// ember_tokenizer_decode.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is no token, or when `out` is too short.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_token(
    tokenizer: *const ember_tokenizer,
    id: u32,
    out: *mut c_char,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let none = || argument("id", format!("is {id}, which is no token"));
        let token = tokenizer.token(id).ok_or_else(none)?;
        raw::give_text(&token, out, out_len, len_out)
    })
}

/// The id of a token, written as ember_tokenizer_token writes it. `len` counts bytes or is
/// EMBER_NUL.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such token.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_id(
    tokenizer: *const ember_tokenizer,
    token: *const c_char,
    len: usize,
    id_out: *mut u32,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let token = raw::text("token", token, len)?;
        let out = raw::out("id_out", id_out)?;
        let id = tokenizer.id(token);
        out.set(id.ok_or_else(|| argument("token", format!("is `{token}`, which is none")))?);
        Ok(())
    })
}

/// Whether a token is a control token, which `skip_special` leaves out; false for an id or a handle
/// that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_is_special(tokenizer: *const ember_tokenizer, id: u32) -> bool {
    handle::ask(tokenizer, false, |tokenizer: Arc<Tokenizer>| tokenizer.is_special(id))
}

/// Text out of tokens that come one by one.
pub struct ember_decode_stream {
    _opaque: (),
}

/// A stream with the text that a caller may borrow.
struct Decoder(Mutex<(DecodeStream, String)>);

impl Object for Decoder {
    type C = ember_decode_stream;
    const NAME: &'static str = "ember_decode_stream";
    const ARGUMENT: &'static str = "stream";
}

/// Makes a stream that decodes ids one by one; with `skip_special` without control tokens. It keeps
/// the tokenizer alive.
#[unsafe(no_mangle)]
pub extern "C" fn ember_tokenizer_stream(
    tokenizer: *const ember_tokenizer,
    skip_special: bool,
    stream_out: *mut *mut ember_decode_stream,
    error: *mut ember_error,
) -> ember_status {
    handle::with(tokenizer, error, |tokenizer: Arc<Tokenizer>| {
        let out = raw::out("stream_out", stream_out)?;
        handle::give(out, Decoder(Mutex::new((tokenizer.stream(skip_special), String::new()))))
    })
}

/// The text that one more id completes: whole characters, empty while one is not complete. It lives
/// until the next call with this stream.
///
/// Errors: EMBER_ERROR_ARGUMENT for an id that is no token; the stream is as before then.
#[unsafe(no_mangle)]
pub extern "C" fn ember_decode_stream_push(
    stream: *mut ember_decode_stream,
    id: u32,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    lend(stream, text_out, error, |stream| Ok(stream.push(id)?))
}

/// The text that is left when no further id comes: U+FFFD for a character that is not complete. It
/// lives until the next call with this stream, which begins anew.
#[unsafe(no_mangle)]
pub extern "C" fn ember_decode_stream_finish(
    stream: *mut ember_decode_stream,
    text_out: *mut ember_text,
    error: *mut ember_error,
) -> ember_status {
    lend(stream, text_out, error, |stream| Ok(stream.finish()))
}

fn lend(
    stream: *mut ember_decode_stream,
    text_out: *mut ember_text,
    error: *mut ember_error,
    step: impl FnOnce(&mut DecodeStream) -> Outcome<Option<String>>,
) -> ember_status {
    handle::with(stream, error, |decoder: Arc<Decoder>| {
        let mut state = handle::lock(Decoder::ARGUMENT, &decoder.0)?;
        let out = raw::out("text_out", text_out)?;
        state.1 = step(&mut state.0)?.unwrap_or_default();
        out.set(ember_text::of(&state.1));
        Ok(())
    })
}

/// Frees the stream.
#[unsafe(no_mangle)]
pub extern "C" fn ember_decode_stream_free(stream: *mut ember_decode_stream) {
    handle::free::<Decoder>(stream)
}
