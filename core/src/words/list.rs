//! Words and their numbers: a list that is looked up both ways.

use std::hash::{BuildHasher, RandomState};

/// An empty place of the table, and the one number that no word has.
const EMPTY: u32 = u32::MAX;

/// Distinct words in order, each with its number.
///
/// All words stand in one string, so that millions of them cost little more than their letters.
/// The hash has keys of its own in every list: a file cannot be made so that its words collide.
pub(super) struct WordList {
    text: String,
    /// Where each word ends in `text`.
    ends: Vec<usize>,
    /// Numbers of words by their hash, with open addressing; at most half full.
    table: Vec<u32>,
    hasher: RandomState,
}

impl WordList {
    pub(super) fn new() -> WordList {
        WordList {
            text: String::new(),
            ends: Vec::new(),
            table: vec![EMPTY; 16],
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Word `i`; `None` beyond the last.
    pub(super) fn word(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }

    /// The number of `word`.
    pub(super) fn find(&self, word: &str) -> Option<usize> {
        match self.table[self.place(word)] {
            EMPTY => None,
            i => Some(i as usize),
        }
    }

    /// Adds a word; `false` when it is there already, or when there are too many.
    pub(super) fn push(&mut self, word: &str) -> bool {
        let place = self.place(word);
        if self.table[place] != EMPTY || self.len() >= EMPTY as usize {
            return false;
        }
        self.table[place] = self.len() as u32;
        self.text.push_str(word);
        self.ends.push(self.text.len());
        if self.len() * 2 > self.table.len() {
            self.table = vec![EMPTY; self.table.len() * 2];
            for i in 0..self.len() {
                let place = self.word(i).map_or(0, |word| self.place(word));
                self.table[place] = i as u32;
            }
        }
        true
    }

    /// Where in the table `word` stands, or the empty place where it would.
    fn place(&self, word: &str) -> usize {
        let mask = self.table.len() - 1;
        let mut place = self.hasher.hash_one(word) as usize & mask;
        loop {
            let i = self.table[place];
            if i == EMPTY || self.word(i as usize) == Some(word) {
                return place;
            }
            place = (place + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_under_its_number_and_no_other_is() {
        let mut list = WordList::new();
        let words: Vec<String> = (0..5000).map(|i| format!("w{}", i * 7919 % 5000)).collect();
        for word in &words {
            assert!(list.push(word));
        }
        assert!(!list.push("w17"), "a word twice");
        assert!(list.push(""), "the empty word is one");
        for (i, word) in words.iter().enumerate() {
            assert_eq!((list.find(word), list.word(i)), (Some(i), Some(word.as_str())));
        }
        assert_eq!((list.find(""), list.word(5000)), (Some(5000), Some("")));
        assert_eq!((list.find("w5000"), list.word(5001), list.len()), (None, None, 5001));
    }
}
