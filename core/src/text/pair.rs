//! Pairs of texts within a limit: cut, or in windows; and the words that tokens are parts of.

use std::ops::Range;

use rayon::prelude::*;

use super::parts::{Engine, TokenModel};
use super::tokenizer::{Encoding, Tokenizer};
use crate::error::{Error, Result};

/// Which text of a pair is cut on the right to keep to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The first.
    First,
    /// The longer, until both are as long; then both.
    Longest,
}

/// The tokens of a pair: which are whose.
struct Parts {
    whole: Encoding,
    first: Range<usize>,
    second: Range<usize>,
}

impl Parts {
    /// The pair with these of its tokens of text, and all that are around them.
    fn with(&self, first: Range<usize>, second: Range<usize>) -> Encoding {
        let text = |i: &usize| self.first.contains(i) || self.second.contains(i);
        let kept = |i: &usize| !text(i) || first.contains(i) || second.contains(i);
        let mut out = Encoding::default();
        for i in (0..self.whole.ids.len()).filter(kept) {
            out.ids.push(self.whole.ids[i]);
            out.type_ids.push(self.whole.type_ids[i]);
            out.offsets.push(self.whole.offsets[i]);
            out.special.push(self.whole.special[i]);
        }
        out
    }
}

impl Tokenizer {
    fn parts(&self, a: &str, b: &str) -> Result<Parts> {
        let whole = self.encode_pair(a, b, true)?;
        let (first, second) = (self.count(a, false)?, self.count(b, false)?);
        let text: Vec<usize> = (0..whole.ids.len()).filter(|i| !whole.special[*i]).collect();
        if text.len() != first + second {
            let problem = "joins this pair to other tokens than those of its two texts";
            return Err(Error::argument("text", problem));
        }
        let run = |places: &[usize]| match (places.first(), places.last()) {
            (Some(first), Some(last)) => *first..last + 1,
            _ => 0..0,
        };
        Ok(Parts { first: run(&text[..first]), second: run(&text[first..]), whole })
    }

    /// The tokens of pairs, at most `limit` each, those around the texts included.
    pub(crate) fn encode_pairs(
        &self,
        pairs: &[(&str, &str)],
        limit: usize,
        cut: Cut,
    ) -> Result<Vec<Encoding>> {
        let encode = |(a, b): &(&str, &str)| {
            let parts = self.parts(a, b)?;
            if parts.whole.ids.len() <= limit {
                return Ok(parts.whole);
            }
            let (a, b) = (parts.first.len(), parts.second.len());
            let room = limit.checked_sub(parts.whole.ids.len() - a - b).ok_or_else(|| {
                Error::argument("max_tokens", format!("is {limit}, which leaves no room for text"))
            })?;
            let (first, second) = match cut {
                Cut::First => {
                    let left = room.checked_sub(b).ok_or_else(|| {
                        let problem = format!("is {limit}, too few for the second text alone");
                        Error::argument("max_tokens", problem)
                    })?;
                    (left, b)
                }
                // As the `tokenizers` crate shares the room out.
                Cut::Longest => {
                    let (short, long) = (a.min(b), a.max(b));
                    let rest = if short > room { short } else { short.max(room - short) };
                    let (short, long) = match short + rest.min(long) > room {
                        true => (room / 2, room / 2 + room % 2),
                        false => (short, rest),
                    };
                    if a > b { (long, short) } else { (short, long) }
                }
            };
            let kept = |part: &Range<usize>, len: usize| part.start..part.end.min(part.start + len);
            let (first, second) = (kept(&parts.first, first), kept(&parts.second, second));
            let cut = a + b - first.len() - second.len();
            Ok(Encoding { cut, ..parts.with(first, second) })
        };
        match pairs.len() < 2 || crate::device::forked() {
            true => pairs.iter().map(encode).collect(),
            false => pairs.par_iter().map(encode).collect(),
        }
    }

    /// The tokens of a pair in windows over the second text, each with the whole first: at most
    /// `limit` tokens, the last `stride` of the second text's shared with the window before. With
    /// each window the places of the second text's tokens in it.
    pub(crate) fn encode_pair_windows(
        &self,
        a: &str,
        b: &str,
        limit: usize,
        stride: usize,
    ) -> Result<Vec<(Encoding, Range<usize>)>> {
        let parts = self.parts(a, b)?;
        if parts.second.is_empty() {
            return Err(Error::argument("passage", "makes no token"));
        }
        let around = parts.whole.ids.len() - parts.second.len();
        let room = limit.checked_sub(around).filter(|room| *room > 0).ok_or_else(|| {
            let problem = format!("takes {around} tokens of a window of {limit}");
            Error::argument("question", problem)
        })?;
        if room < parts.second.len() && stride >= room {
            let problem = format!("is {stride}; a window holds {room} tokens of the passage");
            return Err(Error::argument("stride", problem));
        }
        let (mut windows, mut start) = (Vec::new(), parts.second.start);
        loop {
            let end = parts.second.end.min(start + room);
            let place = parts.second.start..parts.second.start + (end - start);
            windows.push((parts.with(parts.first.clone(), start..end), place));
            if end == parts.second.end {
                return Ok(windows);
            }
            start = end - stride;
        }
    }

    /// What tokens that go on with a word are written with, as `##` in `##ing`; `None` for
    /// tokenizers that do not mark them.
    pub(crate) fn inside_mark(&self) -> Option<String> {
        let mark = match &self.inner().engine {
            Engine::Own(own) => match &own.model {
                TokenModel::Words(words) => Some(words.prefix.clone()),
                _ => None,
            },
            Engine::Library { library, .. } => match library.get_model() {
                tokenizers::ModelWrapper::WordPiece(words) => {
                    Some(words.continuing_subword_prefix.clone())
                }
                tokenizers::ModelWrapper::BPE(bpe) => bpe.continuing_subword_prefix.clone(),
                _ => None,
            },
        };
        mark.filter(|mark| !mark.is_empty())
    }
}

/// Where words begin and end among the tokens of a tokenizer.
pub(crate) enum Words {
    /// At tokens without this mark.
    Marked(Tokenizer, String),
    /// Where letters, digits and other characters meet, and at white space: byte-level tokenizers.
    Classes(Tokenizer),
    /// At white space: those with a mark for it.
    Spaces,
}

impl Words {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Words {
        if let Some(mark) = tokenizer.inside_mark() {
            return Words::Marked(tokenizer.clone(), mark);
        }
        match &tokenizer.inner().engine {
            Engine::Own(own) => match own.model {
                TokenModel::Bytes { .. } => Words::Classes(tokenizer.clone()),
                _ => Words::Spaces,
            },
            Engine::Library { library, .. } => match library.get_model() {
                tokenizers::ModelWrapper::BPE(_) => Words::Classes(tokenizer.clone()),
                _ => Words::Spaces,
            },
        }
    }

    /// The part of the text, in bytes, from the first word of a run of tokens to its last; `tokens`
    /// are those of the text.
    pub(crate) fn around(
        &self,
        encoding: &Encoding,
        text: &str,
        tokens: &Range<usize>,
        mut first: usize,
        mut last: usize,
    ) -> (usize, usize) {
        while first > tokens.start && !self.begins(encoding, text, first) {
            first -= 1;
        }
        while last + 1 < tokens.end && !self.begins(encoding, text, last + 1) {
            last += 1;
        }
        (encoding.offsets[first].0, encoding.offsets[last].1)
    }

    /// Whether a token is the first of a word.
    fn begins(&self, encoding: &Encoding, text: &str, i: usize) -> bool {
        if let Words::Marked(tokenizer, mark) = self {
            let written = tokenizer.token(encoding.ids[i]).unwrap_or_default();
            return !written.starts_with(mark.as_str());
        }
        let (start, _) = encoding.offsets[i];
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let here = text.get(start..).and_then(|rest| rest.chars().next());
        let (Some(before), Some(here)) = (before, here) else { return true };
        match self {
            // A word's space is its first piece's.
            Words::Spaces => here.is_whitespace(),
            Words::Classes(tokenizer) => {
                let written = tokenizer.token(encoding.ids[i]).unwrap_or_default();
                let spaced = written.starts_with('Ġ');
                // After a space that is a token by itself, the word has begun.
                spaced || before != ' ' && class(before) != class(here)
            }
            Words::Marked(..) => true,
        }
    }
}

/// Letters, digits, others: what byte-level tokenizers keep apart.
fn class(c: char) -> u8 {
    match c {
        _ if c.is_alphabetic() => 0,
        _ if c.is_numeric() => 1,
        _ => 2,
    }
}
