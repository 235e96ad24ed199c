//! What a tokenizer is made of: the parts that reading a file fills in, and that encoding and
//! decoding walk through.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::merge::Bpe;
use super::normal::Spaces;
use super::pieces::{Pieces, Trie};
use super::split::Splitter;
use super::unigram::Unigram;
use super::wordpiece::WordPiece;
use crate::error::{Error, Result};

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nothing: a hole in the vocabulary.
    Absent,
    /// A piece of the model.
    Piece,
    /// A string that is cut out of the text as it stands.
    Literal,
    /// A single byte.
    Byte,
}

/// How the pieces of the model are written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As they are.
    Plain,
    /// Bytes as printable characters, as GPT-2 does.
    Bytes,
    /// Spaces as `▁`.
    Marks,
}

/// Everything a tokenizer is; shared by clones and streams.
pub(crate) struct Inner {
    /// The string of every id.
    pub pieces: Pieces,
    /// The kind of every id.
    pub kinds: Vec<Kind>,
    /// How pieces are written.
    pub spelling: Spelling,
    /// Ids that `skip_special` leaves out.
    pub special: HashSet<u32>,
    /// How tokens join to a text.
    pub rule: Rule,
    /// What encodes.
    pub engine: Engine,
}

/// How the strings of a vocabulary join to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Bytes, read as UTF-8; what is not becomes U+FFFD, as in `String::from_utf8_lossy`.
    Bytes,
    /// SentencePiece: text, and single bytes where the vocabulary had no piece. A byte that is
    /// part of no character becomes U+FFFD.
    Spaces {
        /// The space at the very start is the one that encoding put there.
        strip: bool,
    },
    /// A mark stands for a space; in the first token it stands for nothing if `strip`.
    Marks {
        /// The mark.
        mark: char,
        /// Whether encoding put one before the text.
        strip: bool,
    },
    /// WordPiece: words are joined by spaces, pieces inside a word by nothing.
    Words {
        /// What marks a piece inside a word.
        prefix: String,
        /// Undo the spaces before English punctuation and contractions, token by token.
        clean: bool,
    },
    /// A suffix ends a word and stands for a space, except in the last token.
    Ends {
        /// The suffix.
        suffix: String,
    },
    /// Tokens are joined by spaces.
    Joined,
    /// The library's decoder, which must see all tokens at once.
    Whole,
}

/// What encodes.
pub(crate) enum Engine {
    /// A compact model.
    Own(Box<Own>),
    /// The `tokenizers` crate.
    Library {
        library: Box<tokenizers::Tokenizer>,
        /// Added tokens that look at what is left of them.
        edged: Vec<String>,
    },
}

/// A compact model and what is around it.
pub(crate) struct Own {
    pub added: Added,
    pub model: TokenModel,
    pub frame: Frame,
    /// Whether places of byte-level tokens leave out the spaces at their ends.
    pub trim: Option<Trim>,
}

/// How places leave out spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trim {
    /// One space before the text's first token is none of the text's, and so none of the place's.
    pub prefix: bool,
}

/// The compact models.
pub(crate) enum TokenModel {
    /// Byte-level byte pair encoding.
    Bytes {
        /// Compose the text first (NFC).
        compose: bool,
        /// Put a space before a text that does not start with one.
        prefix: bool,
        splitter: Splitter,
        bpe: Box<Bpe>,
    },
    /// Byte pair encoding of characters, as in SentencePiece.
    Characters { spaces: Spaces, splitter: Splitter, bpe: Box<Bpe> },
    /// Unigram pieces.
    Unigram { spaces: Spaces, unigram: Box<Unigram> },
    /// WordPiece.
    Words(Box<WordPiece>),
}

/// Which tokens stand around one text or a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub single: Vec<Slot>,
    pub pair: Vec<Slot>,
}

/// A place in a frame, with the type id of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Token(u32, u32),
    First(u32),
    Second(u32),
}

impl Frame {
    /// `before a after`, and for a pair `before a after between b after`, with type ids 0 and
    /// `second` for the parts.
    pub(crate) fn new(before: &[u32], after: &[u32], between: &[u32], second: u32) -> Frame {
        let tokens = |ids: &[u32], kind| ids.iter().map(move |&id| Slot::Token(id, kind)).collect();
        let single: Vec<Slot> =
            [tokens(before, 0), vec![Slot::First(0)], tokens(after, 0)].concat();
        let mut pair = single.clone();
        pair.extend::<Vec<Slot>>(tokens(between, second));
        pair.push(Slot::Second(second));
        pair.extend::<Vec<Slot>>(tokens(after, second));
        Frame { single, pair }
    }
}

/// Strings that are cut out of a text before the model sees it.
pub(crate) struct Added {
    pub trie: Trie,
    /// Tokens that take neighbouring white space with them, or stand alone.
    pub edges: HashMap<u32, Edges>,
    /// `▁` in a text counts as a space.
    pub marks: bool,
}

/// What an added token asks of its neighbours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    pub left: bool,
    pub right: bool,
    pub alone: bool,
}

/// Runs a call of the library; what it cannot do is an error about `argument`, and so is a panic.
pub(crate) fn guarded<T>(
    argument: &'static str,
    call: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T> {
    let problem = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it failed".into(),
    };
    Err(Error::argument(argument, format!("is beyond what this tokenizer can do: {problem}")))
}
