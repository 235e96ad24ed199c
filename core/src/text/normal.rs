//! Normalization, what a vocabulary does to a text before it is cut, with the way back to the
//! bytes of the original: canonical composition, SentencePiece's spaces and character map.
//!
//! Most text comes through unchanged and is then borrowed. Where it changes, only the places
//! that changed are recorded, not a pair of offsets for every byte.

use std::borrow::Cow;

use tokenizers::NormalizedString;

use super::unicode::{MARK, category};

/// The longest replacement of one character, in bytes. Unicode's own have at most 33.
const MAX_REPLACEMENT: usize = 64;

/// A text after normalization, and where its bytes came from.
pub(crate) struct Text<'a> {
    text: Cow<'a, str>,
    runs: Vec<Run>,
}

/// From byte `at` of the normalized text on, up to the next run.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: usize,
    origin: usize,
    /// Byte for byte, or one replacement as a whole.
    copied: bool,
}

impl<'a> Text<'a> {
    /// A text that stays as it is.
    pub(crate) fn plain(text: &'a str) -> Text<'a> {
        Text { text: Cow::Borrowed(text), runs: Vec::new() }
    }

    /// The normalized text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes of the original behind the normalized bytes `start..end`.
    pub(crate) fn origin(&self, start: usize, end: usize) -> (usize, usize) {
        if self.runs.is_empty() {
            return (start, end);
        }
        let after = |at: usize| self.runs.partition_point(|run| run.at <= at);
        let first = match self.runs.get(after(start).wrapping_sub(1)) {
            Some(run) if run.copied => run.origin + (start - run.at),
            Some(run) => run.origin,
            None => start,
        };
        let next = after(end.saturating_sub(1).max(start));
        let last = match (self.runs.get(next.wrapping_sub(1)), self.runs.get(next)) {
            (Some(run), _) if run.copied => run.origin + (end - run.at),
            (_, Some(run)) => run.origin,
            _ => end,
        };
        (first, last.max(first))
    }
}

/// Collects a normalized text from pieces of the source, in order.
struct Builder<'a> {
    source: &'a str,
    out: String,
    runs: Vec<Run>,
    /// How far the source is unchanged, as long as `runs` is empty.
    same: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a str) -> Builder<'a> {
        Builder { source, out: String::new(), runs: Vec::new(), same: 0 }
    }

    fn copy(&mut self, start: usize, end: usize) {
        if self.runs.is_empty() {
            self.same = end;
            return;
        }
        if self.runs.last().is_none_or(|run| !run.copied) {
            self.run(start, true);
        }
        self.out.push_str(&self.source[start..end]);
    }

    /// Puts `text` in place of what starts at byte `origin` of the source.
    fn replace(&mut self, origin: usize, text: &str) {
        if self.runs.is_empty() {
            self.out.reserve(self.source.len());
            self.out.push_str(&self.source[..self.same]);
            self.runs.push(Run { at: 0, origin: 0, copied: true });
        }
        self.run(origin, false);
        self.out.push_str(text);
    }

    fn run(&mut self, origin: usize, copied: bool) {
        let run = Run { at: self.out.len(), origin, copied };
        match self.runs.last_mut() {
            // What was replaced by nothing leaves no run behind.
            Some(last) if last.at == run.at => *last = run,
            _ => self.runs.push(run),
        }
    }

    /// Drops spaces from the end.
    fn trim_end(&mut self) {
        if self.runs.is_empty() {
            self.same = self.source[..self.same].trim_end_matches(' ').len();
            return;
        }
        let len = self.out.trim_end_matches(' ').len();
        self.out.truncate(len);
        while self.runs.last().is_some_and(|run| run.at > len) {
            self.runs.pop();
        }
    }

    fn finish(mut self) -> Text<'a> {
        if self.runs.is_empty() {
            return Text::plain(&self.source[..self.same]);
        }
        // Closes a replacement at the very end.
        if self.runs.last().is_some_and(|run| !run.copied && run.at < self.out.len()) {
            let end = Run { at: self.out.len(), origin: self.source.len(), copied: true };
            self.runs.push(end);
        }
        Text { text: Cow::Owned(self.out), runs: self.runs }
    }
}

/// `text` with a space before it, if it does not start with one.
pub(crate) fn spaced(text: &str) -> Text<'_> {
    let mut builder = Builder::new(text);
    if !text.starts_with(' ') {
        builder.replace(0, " ");
    }
    builder.copy_some(0, text.len());
    builder.finish()
}

/// Canonical composition, NFC (Unicode Standard Annex 15).
pub(crate) fn compose(text: &str) -> Text<'_> {
    if text.is_ascii() {
        return Text::plain(text);
    }
    let mut builder = Builder::new(text);
    // `stable` is where the last character starts that nothing after it can change by itself.
    let (mut done, mut stable) = (0, 0);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !changes(c) {
            stable = at;
            continue;
        }
        if !joins(c) {
            stable = at;
        }
        let (mut last, mut repeats) = (c, 0usize);
        while let Some((_, c)) = chars.next_if(|&(_, c)| joins(c)) {
            repeats = if c == last { repeats + 1 } else { 0 };
            last = c;
        }
        let end = chars.peek().map_or(text.len(), |&(at, _)| at);
        // Of a mark that ends the run and repeats, only the first few can compose.
        let tail = repeats.saturating_sub(8) * last.len_utf8();
        let tail = if tail > 0 && lasts(last) { tail } else { 0 };
        let part = &text[stable..end - tail];
        let mut composed = NormalizedString::from(part);
        composed.nfc();
        if composed.get() != part {
            builder.copy_some(done, stable);
            builder.replace(stable, composed.get());
            done = end - tail;
        }
        stable = end;
    }
    builder.copy_some(done, text.len());
    builder.finish()
}

/// Whether `c` may compose with, or move before, what stands in front of it.
fn joins(c: char) -> bool {
    c >= '\u{300}' && (matches!(c, '\u{1160}'..='\u{11ff}') || category(c) & MARK != 0)
}

/// Whether repeats of `c` stay as they are.
fn lasts(c: char) -> bool {
    let text = String::from_iter([c; 4]);
    let mut composed = NormalizedString::from(text.as_str());
    composed.nfc();
    composed.get() == text
}

/// Whether composition may touch `c` or what stands before it: a superset of the characters
/// whose quick check is not "yes" or whose combining class is not zero.
fn changes(c: char) -> bool {
    if c < '\u{300}' {
        return false;
    }
    category(c) & MARK != 0
        || matches!(c,
            '\u{340}'..='\u{344}' | '\u{374}' | '\u{37e}' | '\u{387}'
            | '\u{958}'..='\u{95f}' | '\u{9dc}'..='\u{9df}' | '\u{a33}'..='\u{a36}'
            | '\u{a59}'..='\u{a5e}' | '\u{b5c}' | '\u{b5d}' | '\u{f43}'..='\u{f69}'
            | '\u{1100}'..='\u{11ff}'
            | '\u{1f00}'..='\u{1fff}'
            | '\u{2000}' | '\u{2001}' | '\u{2126}' | '\u{212a}' | '\u{212b}'
            | '\u{2329}' | '\u{232a}' | '\u{2adc}'
            | '\u{f900}'..='\u{faff}' | '\u{fb1d}'..='\u{fb4f}'
            | '\u{1d15e}'..='\u{1d1c0}' | '\u{2f800}'..='\u{2fa1f}')
}

/// When a space goes before a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// Never.
    #[default]
    None,
    /// Always.
    Always,
    /// If the text does not start with one.
    Missing,
    /// If the text does not start with one and is the start of the whole input.
    MissingFirst,
}

/// How SentencePiece prepares a text. Pieces are kept with a space where the file writes `▁`, so
/// that most text needs no change at all.
#[derive(Default)]
pub(crate) struct Spaces {
    /// Whether a space goes before the text ("dummy prefix").
    pub prefix: Prefix,
    /// Spaces at the ends are dropped, and runs of them become one.
    pub collapse: bool,
    /// Replacements of characters, compiled by the trainer.
    pub charsmap: Option<Charsmap>,
}

impl Spaces {
    /// Normalizes `text`, which may be the `start` of the whole input, as `normalizer.cc` of
    /// SentencePiece does.
    pub(crate) fn apply<'a>(&self, text: &'a str, start: bool) -> Text<'a> {
        let mut builder = Builder::new(text);
        let prefix = match self.prefix {
            Prefix::None => false,
            Prefix::Always => true,
            Prefix::Missing => !text.starts_with([' ', '▁']),
            Prefix::MissingFirst => start && !text.starts_with([' ', '▁']),
        };
        if self.charsmap.is_none() && !self.collapse {
            if text.is_empty() {
                return builder.finish();
            }
            if prefix {
                builder.replace(0, " ");
            }
            let mut done = 0;
            for (at, mark) in text.match_indices('▁') {
                builder.copy_some(done, at);
                builder.replace(at, " ");
                done = at + mark.len();
            }
            builder.copy_some(done, text.len());
            return builder.finish();
        }
        let step = |at: usize| match &self.charsmap {
            Some(map) => map.step(&text[at..]),
            None => None,
        };
        let mut at = 0;
        let first = |at: usize| text[at..].chars().next().map_or(0, char::len_utf8);
        if self.collapse {
            loop {
                match step(at) {
                    Some((" ", len)) => at += len,
                    None if text[at..].starts_with(' ') => at += 1,
                    _ => break,
                }
                builder.replace(at, "");
            }
        }
        if at == text.len() {
            return Text::plain("");
        }
        if prefix {
            builder.replace(at, " ");
        }
        let mut spaced = self.collapse;
        while at < text.len() {
            let (piece, len) = match step(at) {
                Some((piece, len)) => (Some(piece), len),
                None => (None, first(at)),
            };
            let source = &text[at..at + len];
            let mut shown = piece.unwrap_or(source);
            if spaced {
                shown = shown.trim_start_matches(' ');
            }
            if shown == source && shown != "▁" {
                builder.copy(at, at + len);
            } else if shown.contains('▁') {
                builder.replace(at, &shown.replace('▁', " "));
            } else {
                builder.replace(at, shown);
            }
            if !shown.is_empty() {
                spaced = self.collapse && shown.ends_with(' ');
            }
            at += len;
        }
        if self.collapse {
            builder.trim_end();
        }
        builder.finish()
    }
}

impl Builder<'_> {
    fn copy_some(&mut self, start: usize, end: usize) {
        if start < end {
            self.copy(start, end);
        }
    }
}

/// SentencePiece's compiled character map: a double array over bytes whose values are places in
/// a list of replacements that end in a zero byte.
pub(crate) struct Charsmap {
    units: Vec<u32>,
    strings: String,
}

impl Charsmap {
    /// Reads `size of the array, array, replacements`; the error says what is wrong.
    pub(crate) fn parse(blob: &[u8]) -> Result<Charsmap, String> {
        let (size, rest) = blob.split_first_chunk::<4>().ok_or("is shorter than its header")?;
        let size = u32::from_le_bytes(*size) as usize;
        if size > rest.len() || !size.is_multiple_of(4) || size == 0 {
            return Err(format!(
                "has an array of {size} bytes; a multiple of 4 up to {} would be right",
                rest.len()
            ));
        }
        let (array, strings) = rest.split_at(size);
        let units = array.as_chunks::<4>().0.iter().map(|&unit| u32::from_le_bytes(unit)).collect();
        let strings = std::str::from_utf8(strings)
            .map_err(|_| "has replacements that are not UTF-8")?
            .to_string();
        if strings.split('\0').any(|text| text.len() > MAX_REPLACEMENT) {
            return Err(format!("has a replacement of more than {MAX_REPLACEMENT} bytes"));
        }
        Ok(Charsmap { units, strings })
    }

    /// Checks that no text can lead out of the arrays, for a reader that does not look.
    pub(crate) fn check(&self) -> Result<(), String> {
        let len = self.units.len() as u32;
        let mut seen = vec![false; self.units.len()];
        let mut open: Vec<u32> = self.units.first().map(|&unit| jump(unit)).into_iter().collect();
        while let Some(node) = open.pop() {
            for byte in 1..=255 {
                let at = node ^ byte;
                let Some(&unit) = self.units.get(at as usize) else {
                    return Err(format!("has a node at {at}, outside {len} units"));
                };
                if unit & (1 << 31 | 0xff) != byte
                    || std::mem::replace(&mut seen[at as usize], true)
                {
                    continue;
                }
                let next = at ^ jump(unit);
                if unit >> 8 & 1 == 1 {
                    let value = self.units.get(next as usize).map(|unit| unit & !(1 << 31));
                    if value.is_none_or(|value| !self.strings.is_char_boundary(value as usize)) {
                        return Err("has a value that is no place in its replacements".into());
                    }
                }
                open.push(next);
            }
        }
        Ok(())
    }

    /// The replacement of the longest prefix of `text` that has one, and the prefix's length.
    /// A map whose indices lead out of its arrays replaces nothing there.
    fn step(&self, text: &str) -> Option<(&str, usize)> {
        let mut node = jump(*self.units.first()?);
        let mut best = None;
        for (at, byte) in text.bytes().enumerate() {
            node ^= u32::from(byte);
            let Some(&unit) = self.units.get(node as usize) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            node ^= jump(unit);
            if unit >> 8 & 1 == 1 {
                let value = self.units.get(node as usize).map(|unit| unit & !(1 << 31));
                best = value.map(|value| (value as usize, at + 1));
            }
        }
        let (value, len) = best.filter(|&(_, len)| text.is_char_boundary(len))?;
        let tail = self.strings.get(value..)?;
        Some((&tail[..tail.find('\0').unwrap_or(tail.len())], len))
    }
}

/// How far a unit's children are, as an exclusive or.
fn jump(unit: u32) -> u32 {
    (unit >> 10) << ((unit & (1 << 9)) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_is_that_of_the_whole_text() {
        let texts = [
            "plain",
            "cafe\u{301} cafe\u{301}",
            "한국어 \u{1112}\u{1161}\u{11ab} x",
            "a\u{323}\u{307}b\u{307}\u{323} \u{212b}\u{2126}ｱ",
            "\u{301}\u{301}x\u{fb1d}\u{f900}क\u{93c}",
            "ö o\u{308}\u{300} ǖ",
            "\u{958}\u{f43}\u{b5c}x",
            "ae\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}b",
            "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{323}",
            "\u{1fbe}\u{1f00}\u{345}\u{1100}\u{1161}\u{11a8}\u{11a8}\u{1100}\u{3b1}\u{342}",
        ];
        for text in texts {
            let mut whole = NormalizedString::from(text);
            whole.nfc();
            let ours = compose(text);
            assert_eq!(ours.as_str(), whole.get());
            // Every place leads back to whole characters of the source.
            let mut last = 0;
            for (at, c) in ours.as_str().char_indices() {
                let (start, end) = ours.origin(at, at + c.len_utf8());
                assert!(start >= last && end > start, "{text:?} {at}");
                assert!(text.get(start..end).is_some());
                last = start;
            }
        }
        let text = compose("cafe\u{301}s");
        assert_eq!(text.origin(3, 5), (3, 6));
        assert_eq!(text.origin(5, 6), (6, 7));
        assert_eq!(text.origin(0, 2), (0, 2));
    }

    #[test]
    fn what_composition_changes_is_known() {
        for c in (0..=0x10ffff).filter_map(char::from_u32) {
            let mut text = NormalizedString::from(c.to_string());
            text.nfc();
            assert!(changes(c) || text.get().chars().eq([c]), "{c:?}");
        }
    }

    #[test]
    fn spaces_as_sentencepiece_makes_them() {
        let plain = Spaces { prefix: Prefix::Always, ..Spaces::default() };
        assert_eq!(plain.apply("a▁b ", true).as_str(), " a b ");
        assert_eq!(plain.apply("", true).as_str(), "");
        let missing = Spaces { prefix: Prefix::MissingFirst, ..Spaces::default() };
        assert_eq!(missing.apply("a", true).as_str(), " a");
        assert_eq!(missing.apply("a", false).as_str(), "a");
        assert_eq!(missing.apply("▁a", true).as_str(), " a");
        assert_eq!(plain.apply("ab", true).origin(0, 2), (0, 1));
        assert_eq!(plain.apply("a▁b", true).origin(2, 4), (1, 5));
        let collapse = Spaces { prefix: Prefix::Always, collapse: true, charsmap: None };
        let text = collapse.apply("  a   b  ", true);
        assert_eq!(text.as_str(), " a b");
        assert_eq!(text.origin(3, 4), (6, 7));
        assert_eq!(text.origin(1, 2), (2, 3));
        assert_eq!(collapse.apply("   ", true).as_str(), "");
        let bare = Spaces { collapse: true, ..Spaces::default() };
        assert_eq!(bare.apply(" a ", true).as_str(), "a");
    }

    #[test]
    fn a_hostile_character_map_is_refused_or_harmless() {
        for (blob, says) in [
            (&b""[..], "header"),
            (b"\xff\xff\xff\xff", "array"),
            (b"\x03\0\0\0abc", "array"),
            (b"\0\0\0\0abc", "array"),
            (b"\x04\0\0\0\0\0\0\0\xff", "UTF-8"),
            (&[&[4, 0, 0, 0, 0, 0, 0, 0][..], &[b'a'; 65]].concat(), "more than 64"),
        ] {
            assert!(Charsmap::parse(blob).err().unwrap().contains(says));
        }
        // Every unit points far away.
        let mut blob = 64u32.to_le_bytes().to_vec();
        blob.extend([0xff; 64]);
        let map = Charsmap::parse(&blob).unwrap();
        assert_eq!(map.step("abc"), None);
    }
}
