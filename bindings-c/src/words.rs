//! Static word vectors
//!
//! A vector a word, whatever stands around it: word2vec, GloVe, fastText, and folders of model2vec.

use std::ffi::c_char;
use std::mem::offset_of;
use std::sync::Arc;

use emberform::{Neighbor, WordOptions, WordVectors};

use crate::embed::{Found, ember_neighbor};
use crate::handle::{self, Object};
use crate::model::{product, set_size, set_switch};
use crate::raw::{self, Options};
use crate::status::{Outcome, argument, call, ember_error, ember_status, ember_text};

/// Open word vectors, shared by all threads.
pub struct ember_words {
    _opaque: (),
}

/// What word vectors are.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_words_info {
    /// One line: format, name, words, width.
    pub description: ember_text,
    /// `word2vec binary`, `word2vec text`, `GloVe text`, `fastText binary` or `token`.
    pub format: ember_text,
    /// Words of the file, or tokens of the folder (V).
    pub count: usize,
    /// Numbers of a vector (D).
    pub width: usize,
    /// Whether a word that is not in the file gets a vector from its pieces.
    pub has_subwords: bool,
    /// The file or folder that was opened.
    pub path: ember_text,
}

/// What is chosen about embedding with word vectors.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_word_options {
    /// `sizeof(ember_word_options)`; EMBER_WORD_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// What becomes of words without a vector: `error`, `skip`, `zero` or `subwords`. NULL: by
    /// their pieces where the file has such, else skipped.
    pub unknown: *const c_char,
    /// Whether embeddings have length 1: 0, 1 or EMBER_UNSET, which is as the folder says.
    pub normalize: i32,
    /// 1 brings each word's vector to length 1 before the mean; 0 or EMBER_UNSET does not.
    pub unit_words: i32,
    /// 1 looks words up only as they stand; else also without punctuation and in lower case.
    pub exact: i32,
    /// Most tokens of a text, for folders.
    pub max_tokens: usize,
    /// Keep the first numbers of a vector only.
    pub dimensions: usize,
}

impl Options for ember_word_options {
    const FIRST: usize = offset_of!(Self, dimensions) + size_of::<usize>();
    fn defaults() -> Self {
        ember_word_options {
            struct_size: size_of::<Self>(),
            unknown: std::ptr::null(),
            normalize: -1,
            unit_words: -1,
            exact: -1,
            max_tokens: usize::MAX,
            dimensions: usize::MAX,
        }
    }
}

fn convert(given: ember_word_options) -> Outcome<WordOptions> {
    let mut options = WordOptions::default();
    options.unknown =
        raw::optional_string("unknown", given.unknown)?.map(str::parse).transpose()?;
    options.normalize = set_switch("normalize", given.normalize)?;
    options.unit_words = set_switch("unit_words", given.unit_words)?.unwrap_or(false);
    options.exact = set_switch("exact", given.exact)?.unwrap_or(false);
    options.max_tokens = set_size(given.max_tokens);
    options.dimensions = set_size(given.dimensions);
    Ok(options)
}

/// Word vectors with the words that a caller may borrow.
struct Opened {
    words: WordVectors,
    description: String,
    path: String,
}

impl Object for Opened {
    type C = ember_words;
    const NAME: &'static str = "ember_words";
    const ARGUMENT: &'static str = "words";
}

/// What is near, as C has it.
fn near(found: Vec<Neighbor>) -> impl Iterator<Item = (usize, f32)> {
    found.into_iter().map(|near| (near.index, near.cosine))
}

/// Opens word vectors, `path` ended by a NUL: a word2vec `.bin` or `.txt`, a fastText `.bin` or
/// `.vec`, GloVe text, any of them in gzip, or a folder of model2vec or of sentence-transformers'
/// StaticEmbedding. What a file is, is seen from its bytes. Leave it as it is while it is open.
///
/// Errors: EMBER_ERROR_IO when a file cannot be read; EMBER_ERROR_FORMAT when it is none of these or
/// broken; EMBER_ERROR_CONFIG and _UNSUPPORTED for what a folder's files say.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_open(
    path: *const c_char,
    words_out: *mut *mut ember_words,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let path = raw::string("path", path)?;
        let out = raw::out("words_out", words_out)?;
        let words = WordVectors::open(path)?;
        let path = words.path().to_string_lossy().into_owned();
        handle::give(out, Opened { description: words.to_string(), path, words })
    })
}

/// Frees the handle.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_free(words: *mut ember_words) {
    handle::free::<Opened>(words)
}

/// Numbers of a vector (D); 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_width(words: *const ember_words) -> usize {
    handle::ask(words, 0, |opened: Arc<Opened>| opened.words.width())
}

/// Says what the word vectors are; the texts live as long as `words`. `info_size` is
/// `sizeof(ember_words_info)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_describe(
    words: *const ember_words,
    info_out: *mut ember_words_info,
    info_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        raw::sized_out("info_out", info_out, info_size)?.set(ember_words_info {
            description: ember_text::of(&opened.description),
            format: ember_text::of(opened.words.format()),
            count: opened.words.len(),
            width: opened.words.width(),
            has_subwords: opened.words.has_subwords(),
            path: ember_text::of(&opened.path),
        });
        Ok(())
    })
}

/// Word number `index`, or token as its vocabulary writes it. Writes its length in bytes to
/// `len_out`, and the bytes, without a NUL, to `out` unless that is NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT for an index beyond the last word, or when `out` is too short.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_word(
    words: *const ember_words,
    index: usize,
    out: *mut c_char,
    out_len: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let count = opened.words.len();
        let word = opened.words.word(index);
        let word =
            word.ok_or_else(|| argument("index", format!("is {index}, not below {count}")))?;
        raw::give_text(&word, out, out_len, len_out)
    })
}

/// The number of `word`, exactly as the file has it. `len` counts bytes or is EMBER_NUL.
///
/// Errors: EMBER_ERROR_ARGUMENT when the file has it not.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_index(
    words: *const ember_words,
    word: *const c_char,
    len: usize,
    index_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let word = raw::text("word", word, len)?;
        let out = raw::out("index_out", index_out)?;
        let index = opened.words.index(word);
        let problem = || argument("word", format!("is `{word}`, which is not there"));
        out.set(index.ok_or_else(problem)?);
        Ok(())
    })
}

/// The vector of one word exactly as it stands, or of its pieces where the file has such. Writes
/// [width] floats to `out`; `out_len` counts floats. `len` counts bytes or is EMBER_NUL.
///
/// Errors: EMBER_ERROR_ARGUMENT for a word without a vector, or when `out` is too short.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_vector(
    words: *const ember_words,
    word: *const c_char,
    len: usize,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let word = raw::text("word", word, len)?;
        let out = raw::buffer("out", out, out_len, opened.words.width())?;
        out.fill(&opened.words.vector(word)?)
    })
}

/// Embeds `count` texts, each ended by a NUL: the mean of the vectors of their words. Writes
/// [count, width] floats to `out`, width = ember_words_width(words); `out_len` counts floats. A text
/// without a known word gives zeros.
///
/// Errors: EMBER_ERROR_ARGUMENT when `out` is too short or a text is NULL or no UTF-8;
/// EMBER_ERROR_NOT_FINITE when the file's numbers are broken.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_embed(
    words: *const ember_words,
    texts: *const *const c_char,
    count: usize,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, std::ptr::null(), count)?;
        let needed = product("embeddings", &[count, opened.words.width()])?;
        let out = raw::buffer("out", out, out_len, needed)?;
        out.fill(opened.words.embed(&texts)?.as_slice())
    })
}

/// Embeds `count` texts as `options` say, which may be NULL. Text i is `lengths[i]` bytes long;
/// `lengths` may be NULL when each is ended by a NUL. Writes [count, width] floats to `out`, where
/// width is ember_words_width(words) unless `dimensions` makes it less. `cut_out` gets how many
/// words or tokens of each text were left out, `count` numbers; it may be NULL.
///
/// Errors: as ember_words_embed; EMBER_ERROR_ARGUMENT for an option out of range and for an unknown
/// word under `error`; EMBER_ERROR_MISSING for `subwords` in a file without pieces.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_embed_with(
    words: *const ember_words,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_word_options,
    out: *mut f32,
    out_len: usize,
    cut_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let options = convert(raw::options(options)?)?;
        // More dimensions than there are is an error of the core.
        let width = options.dimensions.unwrap_or(usize::MAX).min(opened.words.width());
        let out = raw::buffer("out", out, out_len, product("embeddings", &[count, width])?)?;
        let cut_out = raw::optional_buffer("cut_out", cut_out, count)?;
        let embeddings = opened.words.embed_with(&texts, &options)?;
        out.fill(embeddings.as_slice())?;
        cut_out.map_or(Ok(()), |cut_out| cut_out.fill(embeddings.cut()))
    })
}

/// The words nearest to `word` by cosine, itself left out, best first: at most `count` go to `out`
/// and their number to `len_out`. `len` counts bytes or is EMBER_NUL.
///
/// Errors: EMBER_ERROR_ARGUMENT for a word without a vector; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_nearest(
    words: *const ember_words,
    word: *const c_char,
    len: usize,
    out: *mut ember_neighbor,
    count: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let word = raw::text("word", word, len)?;
        let found = Found::new(out, count, len_out)?;
        found.set(near(opened.words.nearest(word, count)?))
    })
}

/// The words nearest to a vector of `width` floats, as ember_words_nearest.
///
/// Errors: EMBER_ERROR_ARGUMENT for another width; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_nearest_to(
    words: *const ember_words,
    vector: *const f32,
    width: usize,
    out: *mut ember_neighbor,
    count: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let vector = raw::slice("vector", vector, width)?;
        let found = Found::new(out, count, len_out)?;
        found.set(near(opened.words.nearest_to(vector, count)?))
    })
}

/// The words nearest to `a - b + c`, these three left out, as ember_words_nearest: `a` is to `b` as
/// what is to `c`? Each is ended by a NUL.
///
/// Errors: as ember_words_nearest.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_analogy(
    words: *const ember_words,
    a: *const c_char,
    b: *const c_char,
    c: *const c_char,
    out: *mut ember_neighbor,
    count: usize,
    len_out: *mut usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let (a, b, c) = (raw::string("a", a)?, raw::string("b", b)?, raw::string("c", c)?);
        let found = Found::new(out, count, len_out)?;
        found.set(near(opened.words.analogy(a, b, c, count)?))
    })
}

/// The cosine of the angle between two words, each ended by a NUL, from -1 to 1; 0 when a vector is
/// all zeros.
///
/// Errors: as ember_words_nearest.
#[unsafe(no_mangle)]
pub extern "C" fn ember_words_similarity(
    words: *const ember_words,
    a: *const c_char,
    b: *const c_char,
    cosine_out: *mut f32,
    error: *mut ember_error,
) -> ember_status {
    handle::with(words, error, |opened: Arc<Opened>| {
        let (a, b) = (raw::string("a", a)?, raw::string("b", b)?);
        let out = raw::out("cosine_out", cosine_out)?;
        out.set(opened.words.similarity(a, b)?);
        Ok(())
    })
}
