//! TOKENS -> TEXT, one token at a time: pieces that together are exactly the text of all tokens,
//! and never half a character.
//!
//! Whole texts are decoded by the same machine, so that the two cannot differ. It holds back at
//! most the start of one character, and for two kinds of vocabulary one token.

use std::sync::Arc;

use super::parts::{Engine, Inner, Kind, Rule, guarded};
use super::spelling;
use crate::error::{Error, Result};

/// What a token contributes, before the rule is applied.
pub(crate) enum Part<'a> {
    /// A string as it stands, such as a control token.
    Literal(&'a [u8]),
    /// A piece of the model.
    Piece(&'a [u8]),
    /// One byte of a character that the vocabulary lacks.
    Byte(u8),
}

/// The state between two tokens.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    /// Bytes that may be the start of a character.
    bytes: Vec<u8>,
    /// Whether a token has been seen.
    started: bool,
    /// Whether text has been given out.
    spoken: bool,
    /// A word's end that is a space only if another token follows.
    pending: bool,
}

impl State {
    /// Takes in one token and appends to `out` what is certain.
    pub(crate) fn push(&mut self, rule: &Rule, part: Part<'_>, out: &mut String) {
        let first = !self.started;
        self.started = true;
        match (rule, part) {
            (Rule::Bytes, Part::Literal(bytes) | Part::Piece(bytes)) => {
                self.bytes.extend_from_slice(bytes);
                self.flow(false, out);
            }
            (Rule::Bytes, Part::Byte(byte)) => {
                self.bytes.push(byte);
                self.flow(false, out);
            }
            (_, Part::Byte(byte)) => {
                self.bytes.push(byte);
                self.flow(true, out);
                self.strip(rule, out);
            }
            (Rule::Spaces { .. }, Part::Literal(bytes) | Part::Piece(bytes)) => {
                self.settle(true, out);
                out.push_str(&String::from_utf8_lossy(bytes).replace('▁', " "));
                self.strip(rule, out);
            }
            (rule, Part::Literal(bytes) | Part::Piece(bytes)) => {
                self.settle(true, out);
                let text = String::from_utf8_lossy(bytes);
                match rule {
                    Rule::Marks { mark, strip } if first && *strip => {
                        out.extend(text.chars().filter(|c| c != mark));
                    }
                    Rule::Marks { mark, .. } => {
                        out.extend(text.chars().map(|c| if c == *mark { ' ' } else { c }));
                    }
                    Rule::Words { prefix, clean } => {
                        let word = match text.strip_prefix(prefix.as_str()) {
                            _ if first => text.to_string(),
                            Some(rest) => rest.to_string(),
                            None => format!(" {text}"),
                        };
                        if *clean {
                            out.push_str(&tokenizers::decoders::wordpiece::cleanup(&word));
                        } else {
                            out.push_str(&word);
                        }
                    }
                    Rule::Ends { suffix } => {
                        if std::mem::take(&mut self.pending) {
                            out.push(' ');
                        }
                        // The library replaces every occurrence; all but one at the end are
                        // spaces for certain.
                        let body = text.strip_suffix(suffix.as_str());
                        self.pending = body.is_some();
                        out.push_str(&body.unwrap_or(&text).replace(suffix.as_str(), " "));
                    }
                    _ => {
                        if !first {
                            out.push(' ');
                        }
                        out.push_str(&text);
                    }
                }
            }
        }
    }

    /// Appends what was held back, as nothing follows.
    pub(crate) fn finish(&mut self, rule: &Rule, out: &mut String) {
        self.settle(*rule != Rule::Bytes, out);
        self.strip(rule, out);
        *self = State::default();
    }

    /// Drops the space that encoding put before the text, once.
    fn strip(&mut self, rule: &Rule, out: &mut String) {
        if self.spoken || out.is_empty() {
            return;
        }
        self.spoken = true;
        if matches!(rule, Rule::Spaces { strip: true }) && out.starts_with(' ') {
            out.remove(0);
        }
    }

    /// Moves whole characters from the bytes to `out`, and keeps what may become one. A byte that
    /// cannot is one U+FFFD if `each`, else it and what was valid before it are one.
    fn flow(&mut self, each: bool, out: &mut String) {
        let mut rest = self.bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(len) = error.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = rest.get(if each { 1 } else { len }..).unwrap_or_default();
                }
            }
        }
        let kept = rest.len();
        self.bytes.drain(..self.bytes.len() - kept);
    }

    /// Gives up on the bytes that are held back.
    fn settle(&mut self, each: bool, out: &mut String) {
        if self.bytes.is_empty() {
            return;
        }
        for _ in 0..if each { self.bytes.len() } else { 1 } {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        self.bytes.clear();
    }
}

impl Inner {
    pub(crate) fn rule(&self) -> &Rule {
        &self.rule
    }

    pub(crate) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Absent)
    }

    /// Whether `id` is a token.
    pub(crate) fn check(&self, id: u32) -> Result<()> {
        if self.kind(id) != Kind::Absent {
            return Ok(());
        }
        Err(Error::argument(
            "ids",
            format!("holds {id}, which is no token of a vocabulary of {}", self.kinds.len()),
        ))
    }

    /// Decodes one token.
    pub(crate) fn decode_one(
        &self,
        id: u32,
        skip_special: bool,
        state: &mut State,
        out: &mut String,
    ) -> Result<()> {
        self.check(id)?;
        if skip_special && self.special.contains(&id) {
            return Ok(());
        }
        let bytes = self.pieces.get(id).unwrap_or_default();
        let part = match self.kind(id) {
            Kind::Byte => match spelling::byte(bytes) {
                Some(byte) => Part::Byte(byte),
                None => Part::Piece(bytes),
            },
            Kind::Literal => Part::Literal(bytes),
            _ => Part::Piece(bytes),
        };
        state.push(&self.rule, part, out);
        Ok(())
    }

    /// Decodes all tokens.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let (Engine::Library { library, .. }, Rule::Whole) = (&self.engine, &self.rule) {
            ids.iter().try_for_each(|&id| self.check(id))?;
            return guarded("ids", || library.decode(ids, skip_special));
        }
        let mut out = String::with_capacity(ids.len().saturating_mul(4));
        let mut state = State::default();
        let mut piece = String::new();
        for &id in ids {
            piece.clear();
            self.decode_one(id, skip_special, &mut state, &mut piece)?;
            out.push_str(&piece);
        }
        piece.clear();
        state.finish(&self.rule, &mut piece);
        out.push_str(&piece);
        Ok(out)
    }
}

/// Turns tokens into text as they come. See [`Tokenizer::stream`](super::Tokenizer::stream).
#[derive(Clone)]
pub struct DecodeStream {
    inner: Arc<Inner>,
    skip_special: bool,
    state: State,
    /// Tokens kept for a decoder that must see them all.
    ids: Vec<u32>,
}

impl DecodeStream {
    pub(crate) fn new(inner: Arc<Inner>, skip_special: bool) -> DecodeStream {
        DecodeStream { inner, skip_special, state: State::default(), ids: Vec::new() }
    }

    /// Takes the next token and returns the text that has become certain, if any.
    ///
    /// The pieces of all calls and of [`finish`](Self::finish), joined, are the text that
    /// [`Tokenizer::decode`](super::Tokenizer::decode) gives for all tokens. The cost of a call
    /// does not depend on how many came before. (For the few `tokenizer.json` files whose decoder
    /// must see all tokens, all text comes from `finish`.)
    ///
    /// # Errors
    /// [`Argument`](crate::error::Error::Argument) if `id` is not in the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        let mut out = String::new();
        if self.inner.rule() == &Rule::Whole {
            self.inner.check(id)?;
            self.ids.push(id);
        } else {
            self.inner.decode_one(id, self.skip_special, &mut self.state, &mut out)?;
        }
        Ok((!out.is_empty()).then_some(out))
    }

    /// Returns what was held back, with U+FFFD for half a character, and starts anew.
    pub fn finish(&mut self) -> Option<String> {
        let mut out = String::new();
        if self.inner.rule() == &Rule::Whole {
            let ids = std::mem::take(&mut self.ids);
            out = self.inner.decode(&ids, self.skip_special).unwrap_or_default();
        } else {
            self.state.finish(self.inner.rule(), &mut out);
        }
        (!out.is_empty()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &Rule, parts: &[&[u8]]) -> String {
        let (mut state, mut out) = (State::default(), String::new());
        for part in parts {
            let mut piece = String::new();
            let part = match part {
                [byte] if matches!(rule, Rule::Spaces { .. }) => Part::Byte(*byte),
                bytes => Part::Piece(bytes),
            };
            state.push(rule, part, &mut piece);
            out.push_str(&piece);
        }
        let mut piece = String::new();
        state.finish(rule, &mut piece);
        out + &piece
    }

    #[test]
    fn bytes_are_read_as_the_standard_library_reads_them() {
        let mut state = 3u32;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                    let pick = state >> 24;
                    [0xe4, 0xbd, 0xa0, 0xf0, 0x9f, 0x98, 0x80, b'a', 0xff, 0xc3, 0xed, 0xc0]
                        [pick as usize % 12]
                })
                .collect();
            let split: Vec<&[u8]> = bytes.chunks(1 + state as usize % 3).collect();
            assert_eq!(run(&Rule::Bytes, &split), String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn rules() {
        let spaces = Rule::Spaces { strip: true };
        assert_eq!(run(&spaces, &[b" a ", b"\xe4", b"\xbd", b"\xa0", b" bc"]), "a 你 bc");
        assert_eq!(run(&spaces, &[b"\x20", b"ab"]), "ab");
        assert_eq!(run(&spaces, &[b"\xe4", b"\xbd", b"ab"]), "\u{fffd}\u{fffd}ab");
        assert_eq!(run(&spaces, &[b"ab", b"\xe4", b"\xbd"]), "ab\u{fffd}\u{fffd}");
        assert_eq!(run(&Rule::Spaces { strip: false }, &[b" a"]), " a");
        let words = Rule::Words { prefix: "##".into(), clean: true };
        assert_eq!(run(&words, &[b"un", b"##do", b"it", b"."]), "undo it.");
        let marks = Rule::Marks { mark: '▁', strip: true };
        assert_eq!(run(&marks, &["▁a".as_bytes(), "▁b".as_bytes(), b"cd"]), "a bcd");
        let ends = Rule::Ends { suffix: "</w>".into() };
        assert_eq!(run(&ends, &[b"a</w>", b"bc", b"d</w>"]), "a bcd");
        assert_eq!(run(&Rule::Joined, &[b"aa", b"bb"]), "aa bb");
    }
}
