//! WordPiece as BERT uses it (arXiv:1810.04805): words from spaces and punctuation, cleaned,
//! lower-cased and stripped of accents, then the longest known piece from the left, and again.

use std::sync::OnceLock;

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::pieces::Pieces;

/// The most characters of a word that a file may ask to be searched for pieces.
pub(crate) const MAX_WORD: usize = 1000;

/// A WordPiece model. Pieces inside a word are kept with their prefix, as in `##ing`.
pub(crate) struct WordPiece {
    /// The token of a word that is too long or has an unknown part.
    pub unknown: u32,
    /// Longer words, in characters, are unknown.
    pub max_chars: usize,
    /// What marks a piece inside a word.
    pub prefix: String,
    /// What becomes of each character.
    pub letters: Letters,
}

impl WordPiece {
    /// Encodes `text` and calls `emit(id, start, end)`, with bytes of `text`.
    pub(crate) fn encode(
        &self,
        pieces: &Pieces,
        text: &str,
        emit: &mut dyn FnMut(u32, usize, usize),
    ) {
        let mut word = Word::default();
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            for &(letter, kind) in self.letters.get(c) {
                match kind {
                    Kind::Letter => word.push(letter, at, end, self.max_chars),
                    Kind::Space => self.word(pieces, &mut word, emit),
                    Kind::Mark => {
                        self.word(pieces, &mut word, emit);
                        word.push(letter, at, end, self.max_chars);
                        self.word(pieces, &mut word, emit);
                    }
                }
            }
        }
        self.word(pieces, &mut word, emit);
    }

    fn word(&self, pieces: &Pieces, word: &mut Word, emit: &mut dyn FnMut(u32, usize, usize)) {
        if word.count == 0 {
            return;
        }
        let (first, last) = (word.first, word.last);
        let mut found = Vec::new();
        if word.count > self.max_chars || !self.search(pieces, word, &mut found) {
            emit(self.unknown, first, last);
        } else {
            found.into_iter().for_each(|(id, start, end)| emit(id, start, end));
        }
        word.clear();
    }

    fn search(
        &self,
        pieces: &Pieces,
        word: &mut Word,
        found: &mut Vec<(u32, usize, usize)>,
    ) -> bool {
        let mut buffer = String::with_capacity(self.prefix.len() + word.text.len());
        let mut at = 0;
        while at < word.spans.len() {
            let start = word.spans[at].0;
            buffer.clear();
            if at > 0 {
                buffer.push_str(&self.prefix);
            }
            let lead = buffer.len();
            buffer.push_str(&word.text[start..]);
            let hit = (at + 1..=word.spans.len()).rev().find_map(|to| {
                let end = word.spans.get(to).map_or(word.text.len(), |span| span.0);
                let piece = buffer.as_bytes().get(..lead + end - start)?;
                pieces.find(piece).map(|id| (id, to))
            });
            let Some((id, to)) = hit else { return false };
            found.push((id, word.spans[at].1, word.spans[to - 1].2));
            at = to;
        }
        true
    }
}

/// The characters of a word so far.
#[derive(Default)]
struct Word {
    text: String,
    /// Where each character is in `text`, and where it came from.
    spans: Vec<(usize, usize, usize)>,
    count: usize,
    first: usize,
    last: usize,
}

impl Word {
    fn push(&mut self, c: char, start: usize, end: usize, max: usize) {
        if self.count == 0 {
            self.first = start;
        }
        self.last = end;
        self.count += 1;
        // A word that is too long is not looked at.
        if self.count <= max {
            self.spans.push((self.text.len(), start, end));
            self.text.push(c);
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.count = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Letter,
    Space,
    /// Punctuation, which is a word of its own.
    Mark,
}

/// What the normalizer and the pre-tokenizer make of each character.
///
/// Both look at one character at a time (decomposition included, as the marks that it would
/// reorder are dropped), so that the library's own answer is kept in a table, filled in blocks of
/// 256 characters as they are met.
pub(crate) struct Letters {
    normalizer: BertNormalizer,
    blocks: Box<[OnceLock<Block>]>,
}

type Block = Box<[Box<[(char, Kind)]>]>;

const BLOCK: usize = 256;

impl Letters {
    /// A table for one setting of BERT's normalizer.
    pub(crate) fn new(normalizer: BertNormalizer) -> Letters {
        let count = (char::MAX as usize + 1) / BLOCK;
        Letters { normalizer, blocks: (0..count).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    fn get(&self, c: char) -> &[(char, Kind)] {
        let block = self.blocks[c as usize / BLOCK].get_or_init(|| {
            let first = (c as usize / BLOCK * BLOCK) as u32;
            (first..first + BLOCK as u32)
                .map(|code| char::from_u32(code).map_or_else(Box::default, |c| self.ask(c)))
                .collect()
        });
        &block[c as usize % BLOCK]
    }

    fn ask(&self, c: char) -> Box<[(char, Kind)]> {
        let mut text = NormalizedString::from(c.to_string());
        if self.normalizer.normalize(&mut text).is_err() {
            return Box::default();
        }
        text.get().chars().map(|c| (c, kind(c))).collect()
    }
}

/// How BERT's pre-tokenizer treats `c`, seen between two letters.
fn kind(c: char) -> Kind {
    if c.is_alphanumeric() {
        return Kind::Letter;
    }
    let mut text = PreTokenizedString::from(format!("a{c}a"));
    if BertPreTokenizer.pre_tokenize(&mut text).is_err() {
        return Kind::Letter;
    }
    match text.get_splits(OffsetReferential::Normalized, OffsetType::Byte).len() {
        0 | 1 => Kind::Letter,
        2 => Kind::Space,
        _ => Kind::Mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_become_what_bert_makes_of_them() {
        let letters = Letters::new(BertNormalizer::default());
        let of = |c| letters.get(c).to_vec();
        assert_eq!(of('É'), [('e', Kind::Letter)]);
        assert_eq!(of(','), [(',', Kind::Mark)]);
        assert_eq!(of('\n'), [(' ', Kind::Space)]);
        assert_eq!(of('\0'), []);
        assert_eq!(of('\u{301}'), []);
        assert_eq!(of('中'), [(' ', Kind::Space), ('中', Kind::Letter), (' ', Kind::Space)]);
        assert_eq!(of('İ'), [('i', Kind::Letter)]);
    }
}
