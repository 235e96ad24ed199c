//! [`Tokenizer`]: the front of step one, TEXT -> TOKENS, and of its way back.
//!
//! ```text
//! text -> cut out added tokens -> normalize -> cut into words -> model -> frame ([CLS] .. [SEP])
//!         Added                   normal.rs    split.rs         merge.rs, unigram.rs, wordpiece.rs
//! ```
//!
//! The shapes that published models have run on compact models of our own; any other
//! `tokenizer.json` that passes the checks of `guard.rs` runs on the `tokenizers` crate.

use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::merge::{Bpe, Scratch};
use super::normal::{self, Text};
use super::parts::{Added, Engine, Inner, Kind, Own, Slot, Spelling, TokenModel, Trim, guarded};
use super::pieces::Pieces;
use super::spelling;
use super::split::{OutOfSteps, Splitter};
use super::stream::DecodeStream;
use super::unicode::{MARK, category};
use crate::error::{Error, Result};
use crate::reserve::reserved;

/// The longest text that is encoded in one call, in bytes.
const MAX_TEXT: usize = 1 << 30;

/// How many bytes the library may read to look left of added tokens.
const MAX_EDGE_WORK: usize = 1 << 30;

/// Turns text into token ids and back.
///
/// Cloning is cheap: clones share one vocabulary. All methods take `&self`, work from any number
/// of threads at once and take no locks.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    /// The `tokenizer.json`, or the head of the GGUF file: mapped, so that it takes no memory
    /// until somebody asks for it.
    source: Bytes,
}

/// The tokens of one text or of a pair of texts. All vectors have one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Which part of a pair a token is of: 0 or 1.
    pub type_ids: Vec<u32>,
    /// Where a token comes from: `start..end` in bytes of its text, on character boundaries.
    /// Bytes of one character may be spread over several tokens, which then all have the place of
    /// the whole character. `(0, 0)` for tokens that no text stands behind.
    pub offsets: Vec<(usize, usize)>,
    /// Whether a token was put there by the tokenizer rather than by the text.
    pub special: Vec<bool>,
    /// How many tokens of the text were left out to keep to a limit.
    pub cut: usize,
}

impl Encoding {
    /// No tokens yet, and room for `tokens`.
    fn with_room(tokens: usize) -> Result<Self> {
        Ok(Encoding {
            ids: reserved("tokens", &[tokens])?,
            type_ids: reserved("tokens", &[tokens])?,
            offsets: reserved("tokens", &[tokens])?,
            special: reserved("tokens", &[tokens])?,
            cut: 0,
        })
    }

    fn push(&mut self, id: u32, kind: u32, span: (usize, usize), special: bool) {
        self.ids.push(id);
        self.type_ids.push(kind);
        self.offsets.push(span);
        self.special.push(special);
    }

    /// [`offsets`](Self::offsets) counted in characters of `text`, as most languages count.
    pub fn char_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        self.char_offsets_pair(text, "")
    }

    /// [`char_offsets`](Self::char_offsets) of a pair; tokens of the second text have its places.
    pub fn char_offsets_pair(&self, a: &str, b: &str) -> Vec<(usize, usize)> {
        if a.is_ascii() && b.is_ascii() {
            return self.offsets.clone();
        }
        // The character that begins at each byte, or the one before.
        let table = |text: &str| {
            let mut counts = vec![0; text.len() + 1];
            let mut count = 0;
            for (at, byte) in text.bytes().enumerate() {
                counts[at] = count;
                // Bytes that go on with a character do not count.
                count += usize::from(!(0x80..0xc0).contains(&byte));
            }
            counts[text.len()] = count;
            counts
        };
        let tables = [table(a), table(b)];
        let convert = |(&(from, to), &kind): (&(usize, usize), &u32)| {
            let table = &tables[usize::from(kind == 1 && !b.is_empty())];
            let at = |byte: usize| table.get(byte).copied().unwrap_or(0);
            (at(from), at(to))
        };
        self.offsets.iter().zip(&self.type_ids).map(convert).collect()
    }

    /// Leaves out what exceeds `room` tokens after the first `start`.
    fn limit(&mut self, start: usize, room: usize) {
        let len = start.saturating_add(room).min(self.ids.len());
        self.cut += self.ids.len() - len;
        self.ids.truncate(len);
        self.type_ids.truncate(len);
        self.offsets.truncate(len);
        self.special.truncate(len);
    }
}

impl Trim {
    /// The place of a token whose bytes are `piece`, without its spaces.
    fn apply(self, piece: &[u8], first: bool, (from, to): (usize, usize)) -> (usize, usize) {
        let space = |byte: &&u8| **byte == b' ';
        let mut before = piece.iter().take_while(space).count();
        let after = piece.iter().rev().take_while(space).count();
        if self.prefix && (first || from == 0) {
            before = before.saturating_sub(1);
        }
        let from = (from + before).min(to);
        // As the library does it: a token of spaces alone ends where it begins.
        let to = if to >= after { (to - after).max(from) } else { to };
        (from, to)
    }
}

impl Added {
    /// The longest added token at byte `at`, and its end.
    #[inline]
    fn longest(&self, text: &[u8], at: usize) -> Option<(u32, usize)> {
        let (mut node, mut here, mut best) = (0, at, None);
        while let Some(&byte) = text.get(here) {
            let mark = self.marks && byte == 0xe2 && text[here..].starts_with("▁".as_bytes());
            let (byte, len) = if mark { (b' ', "▁".len()) } else { (byte, 1) };
            match self.trie.step(node, byte) {
                Some(next) => node = next,
                None => break,
            }
            here += len;
            if let Some(id) = self.trie.value(node) {
                best = Some((id, here));
            }
        }
        best
    }

    /// Calls `part` with each part of `text`: a range, and its id if it is an added token.
    fn parts(
        &self,
        text: &str,
        part: &mut dyn FnMut(Option<u32>, usize, usize) -> Result<()>,
    ) -> Result<()> {
        let bytes = text.as_bytes();
        let (mut done, mut at) = (0, 0);
        while at < bytes.len() && !self.trie.is_empty() {
            let Some((id, end)) = self.longest(bytes, at) else {
                at += 1;
                continue;
            };
            let (mut from, mut to) = (at, end);
            if let Some(edges) = self.edges.get(&id) {
                let word = |c: char| c.is_alphanumeric() || c == '_' || category(c) & MARK != 0;
                if edges.alone
                    && (text[..at].chars().next_back().is_some_and(word)
                        || text[end..].chars().next().is_some_and(word))
                {
                    at = end;
                    continue;
                }
                if edges.left {
                    from = done + text[done..at].trim_end().len();
                }
                if edges.right {
                    to = bytes.len() - text[end..].trim_start().len();
                }
            }
            if done < from {
                part(None, done, from)?;
            }
            part(Some(id), from, to)?;
            done = to;
            at = to;
        }
        if done < bytes.len() {
            part(None, done, bytes.len())?;
        }
        Ok(())
    }

    /// The added token that is exactly `text`.
    fn find(&self, text: &str) -> Option<u32> {
        self.longest(text.as_bytes(), 0).filter(|&(_, end)| end == text.len()).map(|(id, _)| id)
    }
}

impl Own {
    /// Appends the tokens of `text`, without frame.
    fn encode(&self, pieces: &Pieces, text: &str, kind: u32, out: &mut Encoding) -> Result<()> {
        let mut scratch = Scratch::default();
        let before = out.ids.len();
        self.added.parts(text, &mut |id, start, end| {
            if let Some(id) = id {
                out.push(id, kind, (start, end), false);
                return Ok(());
            }
            let part = &text[start..end];
            self.model(pieces, part, start == 0, &mut scratch, &mut |id, from, to| {
                let place = (start + floor(part, from), start + ceil(part, to));
                let place = match (self.trim, &self.model) {
                    (Some(trim), TokenModel::Bytes { .. }) => {
                        let first = out.ids.len() == before;
                        trim.apply(pieces.get(id).unwrap_or_default(), first, place)
                    }
                    _ => place,
                };
                out.push(id, kind, place, false);
            })
            .map_err(|OutOfSteps| {
                Error::argument(
                    "text",
                    "takes the split pattern of this tokenizer too long; shorter words would be \
                     right",
                )
            })
        })
    }

    fn model(
        &self,
        pieces: &Pieces,
        part: &str,
        start: bool,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(u32, usize, usize),
    ) -> std::result::Result<(), OutOfSteps> {
        let mut words = |text: &Text<'_>, splitter: &Splitter, bpe: &Bpe| {
            splitter.words(text.as_str(), &mut |base, end| {
                let word = &text.as_str()[base..end];
                bpe.encode(pieces, word, scratch, &mut |id, from, to| {
                    let (from, to) = text.origin(base + from, base + to);
                    emit(id, from, to);
                });
            })
        };
        match &self.model {
            TokenModel::Bytes { compose, prefix, splitter, bpe } => {
                let text = match (compose, prefix) {
                    (true, _) => normal::compose(part),
                    (_, true) => normal::spaced(part),
                    _ => Text::plain(part),
                };
                words(&text, splitter, bpe)
            }
            TokenModel::Characters { spaces, splitter, bpe } => {
                words(&spaces.apply(part, start), splitter, bpe)
            }
            TokenModel::Unigram { spaces, unigram } => {
                let text = spaces.apply(part, start);
                unigram.encode(text.as_str(), &mut |id, from, to| {
                    let (from, to) = text.origin(from, to);
                    emit(id, from, to);
                });
                Ok(())
            }
            TokenModel::Words(words) => {
                words.encode(pieces, part, emit);
                Ok(())
            }
        }
    }
}

/// The character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().take(4).find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The character boundary at or after `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..).take(4).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

impl Inner {
    /// Encodes one text or a pair, with at most `limit` tokens.
    fn encode(
        &self,
        first: &str,
        second: Option<&str>,
        special: bool,
        limit: usize,
    ) -> Result<Encoding> {
        for text in [Some(first), second].into_iter().flatten() {
            if text.len() > MAX_TEXT {
                return Err(Error::argument(
                    "text",
                    format!("has {} bytes; at most {MAX_TEXT} would be right", text.len()),
                ));
            }
        }
        let mut out = Encoding::default();
        match &self.engine {
            Engine::Own(own) => {
                let slots = match second {
                    None => &own.frame.single,
                    Some(_) => &own.frame.pair,
                };
                let token = |slot: &&Slot| matches!(slot, Slot::Token(..));
                let frame = if special { slots.iter().filter(token).count() } else { 0 };
                let room = room(limit, frame)?;
                for slot in slots {
                    match *slot {
                        Slot::Token(..) if !special => {}
                        Slot::Token(id, kind) => out.push(id, kind, (0, 0), true),
                        Slot::First(kind) => {
                            let start = out.ids.len();
                            own.encode(&self.pieces, first, kind, &mut out)?;
                            out.limit(start, room);
                        }
                        Slot::Second(kind) => {
                            own.encode(&self.pieces, second.unwrap_or(""), kind, &mut out)?;
                        }
                    }
                }
            }
            Engine::Library { library, edged } => {
                // For each such token the crate reads all that comes before it.
                let finds = |text: &str| -> usize {
                    edged.iter().map(|token| text.matches(token.as_str()).count()).sum()
                };
                for text in [Some(first), second].into_iter().flatten() {
                    let count = finds(text);
                    if count.saturating_mul(text.len()) > MAX_EDGE_WORK {
                        return Err(Error::argument(
                            "text",
                            format!("holds {count} mask tokens, too many for its length"),
                        ));
                    }
                }
                let found = guarded("text", || match second {
                    None => library.encode(first, special),
                    Some(second) => library.encode((first, second), special),
                })?;
                let mask = found.get_special_tokens_mask();
                let frame = mask.iter().filter(|&&mask| mask != 0).count();
                let mut room = room(limit, frame)?;
                for (at, &id) in found.get_ids().iter().enumerate() {
                    let special = mask.get(at).is_some_and(|&mask| mask != 0);
                    if !special && room == 0 {
                        out.cut += 1;
                        continue;
                    }
                    room -= usize::from(!special);
                    let kind = found.get_type_ids().get(at).copied().unwrap_or(0);
                    let (from, to) = found.get_offsets().get(at).copied().unwrap_or((0, 0));
                    let text = match found.token_to_sequence(at) {
                        Some(1) => second.unwrap_or(""),
                        _ => first,
                    };
                    // The crate's places may lie past the text if a file plays with suffixes.
                    let to = ceil(text, to);
                    let span = (floor(text, from.min(to)), to);
                    out.push(id, kind, span, special);
                }
            }
        }
        Ok(out)
    }
}

/// How many tokens of text fit beside `frame` others.
fn room(limit: usize, frame: usize) -> Result<usize> {
    limit.checked_sub(frame).ok_or_else(|| {
        Error::argument(
            "limit",
            format!("is {limit}, less than the {frame} special tokens around a text"),
        )
    })
}

impl Tokenizer {
    pub(crate) fn new(inner: Inner, source: Bytes) -> Tokenizer {
        Tokenizer { inner: Arc::new(inner), source }
    }

    /// The tokenizer by value, to be kept or sent to another process: the text of its
    /// `tokenizer.json`, or a GGUF file with the metadata and no tensors.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.source.to_vec();
        if bytes.starts_with(b"GGUF")
            && let Some(count) = bytes.get_mut(8..16)
        {
            count.fill(0);
        }
        bytes
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The tokens of `text`; with `special` those around it too, such as `[CLS]` and `[SEP]`.
    /// Control tokens that are written out in the text are found in both cases.
    ///
    /// # Errors
    /// [`Argument`](Error::Argument) if the text is longer than 1 GiB, or the tokenizer cannot
    /// deal with it.
    pub fn encode(&self, text: &str, special: bool) -> Result<Encoding> {
        self.inner.encode(text, None, special, usize::MAX)
    }

    /// The tokens of two texts that belong together, such as a question and a passage.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_pair(&self, a: &str, b: &str, special: bool) -> Result<Encoding> {
        self.inner.encode(a, Some(b), special, usize::MAX)
    }

    /// The tokens of `text`, at most `limit` in all: the text is cut on the right, the tokens
    /// around it stay. [`Encoding::cut`] says how many were left out.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Argument`](Error::Argument) if `limit` has no room for
    /// the tokens around a text.
    pub fn encode_limited(&self, text: &str, special: bool, limit: usize) -> Result<Encoding> {
        self.inner.encode(text, None, special, limit)
    }

    /// The tokens of many texts, in order, on all cores; `limit` as in
    /// [`encode_limited`](Self::encode_limited).
    ///
    /// # Errors
    /// As [`encode_limited`](Self::encode_limited).
    pub fn encode_batch(
        &self,
        texts: &[&str],
        special: bool,
        limit: Option<usize>,
    ) -> Result<Vec<Encoding>> {
        let limit = limit.unwrap_or(usize::MAX);
        let encode = |text: &&str| self.inner.encode(text, None, special, limit);
        match texts.len() < 2 || crate::device::forked() {
            true => texts.iter().map(encode).collect(),
            false => texts.par_iter().map(encode).collect(),
        }
    }

    /// The tokens of `text` in windows of at most `limit` tokens each, those around a text
    /// included; each window begins with the last `stride` tokens of text of the one before. A text
    /// that fits is one window. `cut` of every window is 0.
    ///
    /// # Errors
    /// As [`encode_limited`](Self::encode_limited), and [`Argument`](Error::Argument) if `stride`
    /// leaves no room for a new token, [`Memory`](Error::Memory) if the windows are more than fit.
    ///
    /// # Source
    /// Truncation with a stride as in Hugging Face tokenizers (`return_overflowing_tokens`).
    pub fn encode_windows(
        &self,
        text: &str,
        special: bool,
        limit: usize,
        stride: usize,
    ) -> Result<Vec<Encoding>> {
        let whole = self.encode(text, special)?;
        // The frame: special tokens without a place in the text, before it and after it.
        let placed = |i: &usize| !whole.special[*i];
        let first = (0..whole.ids.len()).find(placed).unwrap_or(whole.ids.len());
        let last = (0..whole.ids.len()).rfind(placed).map_or(first, |last| last + 1);
        let frame = whole.ids.len() - (last - first);
        let room = room(limit, frame)?;
        if stride >= room {
            let problem = format!("is {stride}; a window holds {room} tokens of text");
            return Err(Error::argument("stride", problem));
        }
        // Windows that share much are many: a small text can ask for all memory.
        let count = 1 + (last - first).saturating_sub(room).div_ceil(room - stride);
        let each = size_of::<Encoding>() + (frame + room) * (2 * 4 + 16 + 1);
        drop(reserved::<u8>("windows", &[count, each])?);
        let mut windows = reserved("windows", &[count])?;
        let mut start = first;
        loop {
            let end = last.min(start + room);
            let mut window = Encoding::with_room(frame + end - start)?;
            for i in (0..first).chain(start..end).chain(last..whole.ids.len()) {
                window.push(whole.ids[i], whole.type_ids[i], whole.offsets[i], whole.special[i]);
            }
            windows.push(window);
            if end >= last {
                return Ok(windows);
            }
            start = end - stride;
        }
    }

    /// The text of `ids`; with `skip_special` without control tokens. Bytes that are no UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    /// [`Argument`](Error::Argument) if an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special)
    }

    /// How many tokens [`encode`](Self::encode) gives.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn count(&self, text: &str, special: bool) -> Result<usize> {
        Ok(self.encode(text, special)?.ids.len())
    }

    /// The number of ids, counting holes: every id is below it.
    pub fn len(&self) -> usize {
        self.inner.kinds.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.inner.kinds.is_empty()
    }

    /// The string of a token as the vocabulary writes it, such as `Ġthe` or `▁the`.
    pub fn token(&self, id: u32) -> Option<String> {
        let kind = self.inner.kind(id);
        if kind == Kind::Absent {
            return None;
        }
        let bytes = self.inner.pieces.get(id)?;
        Some(match (kind, self.inner.spelling) {
            (Kind::Piece, Spelling::Bytes) => spelling::to_printable(bytes),
            (Kind::Piece, Spelling::Marks) => String::from_utf8_lossy(bytes).replace(' ', "▁"),
            _ => String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    /// The id of a token, written as [`token`](Self::token) writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        let inner = &*self.inner;
        match &inner.engine {
            Engine::Library { library, .. } => library.token_to_id(token),
            Engine::Own(own) => own.added.find(token).or_else(|| match inner.spelling {
                Spelling::Plain => inner.pieces.find(token.as_bytes()),
                Spelling::Bytes => inner.pieces.find(&spelling::from_printable(token)?),
                Spelling::Marks => {
                    inner.pieces.find(token.replace('▁', " ").as_bytes()).or_else(|| {
                        spelling::byte(token.as_bytes()).and_then(|byte| own.model.byte(byte))
                    })
                }
            }),
        }
    }

    /// Whether `skip_special` leaves this token out.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.special.contains(&id)
    }

    /// Decodes tokens as they come, without ever giving half a character.
    pub fn stream(&self, skip_special: bool) -> DecodeStream {
        DecodeStream::new(self.inner.clone(), skip_special)
    }
}

impl TokenModel {
    /// The token of a single byte.
    fn byte(&self, byte: u8) -> Option<u32> {
        let bytes = match self {
            TokenModel::Characters { bpe, .. } => Some(&bpe.bytes),
            TokenModel::Unigram { unigram, .. } => unigram.bytes.as_ref(),
            _ => None,
        };
        bytes.map(|bytes| bytes[byte as usize]).filter(|&id| id != super::merge::NONE)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.len()).finish_non_exhaustive()
    }
}
