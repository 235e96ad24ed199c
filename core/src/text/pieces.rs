//! A vocabulary's strings in little memory: one byte buffer, offsets, one hash table of ids.
//!
//! A map with an owned string per token costs about 100 bytes a token and most of the time it
//! takes to open a model; this costs the bytes themselves plus 12, whatever the vocabulary.

use std::hash::{BuildHasher, RandomState};

/// The most tokens a vocabulary may have: ids share a word of the table with a tag.
pub(crate) const MAX_TOKENS: usize = (1 << ID_BITS) - 1;
/// The longest token, in bytes.
pub(crate) const MAX_TOKEN: usize = 64 << 10;

const ID_BITS: u32 = 22;
const EMPTY: u32 = u32::MAX;

/// Strings by id, and ids by string.
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// `ends[i]..ends[i + 1]` are the bytes of token i.
    ends: Vec<u32>,
    /// `tag << ID_BITS | id`, or `EMPTY`; linear probing, at most half full.
    table: Vec<u32>,
    seed: u64,
    longest: usize,
}

impl Pieces {
    /// Room for `count` tokens of `bytes` bytes in all.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Pieces {
        let slots = count.min(MAX_TOKENS).saturating_mul(2).next_power_of_two().max(16);
        let mut ends = Vec::with_capacity(count + 1);
        ends.push(0);
        Pieces {
            bytes: Vec::with_capacity(bytes),
            ends,
            table: vec![EMPTY; slots],
            // Random, so that no file can be made whose tokens all fall into one place.
            seed: RandomState::new().hash_one(0u64),
            longest: 0,
        }
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// The bytes of token `id`.
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let start = *self.ends.get(id as usize)? as usize;
        let end = *self.ends.get(id as usize + 1)? as usize;
        self.bytes.get(start..end)
    }

    /// Appends the next token without making it findable. The caller has checked the sizes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Makes token `id` findable; the error is the id that has the same bytes.
    pub(crate) fn index(&mut self, id: u32) -> Result<(), u32> {
        let (start, end) = (self.ends[id as usize] as usize, self.ends[id as usize + 1] as usize);
        let hash = hash(self.seed, &self.bytes[start..end]);
        let mask = self.table.len() - 1;
        let (mut slot, tag) = place(hash, mask);
        loop {
            let entry = self.table[slot];
            if entry == EMPTY {
                self.table[slot] = tag << ID_BITS | id;
                self.longest = self.longest.max(end - start);
                return Ok(());
            }
            let other = entry & MAX_TOKENS as u32;
            if entry >> ID_BITS == tag && self.get(other) == Some(&self.bytes[start..end]) {
                return Err(other);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The id of the token with these bytes.
    #[inline]
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > self.longest {
            return None;
        }
        let mask = self.table.len() - 1;
        let (mut slot, tag) = place(hash(self.seed, bytes), mask);
        loop {
            let entry = self.table[slot];
            if entry == EMPTY {
                return None;
            }
            let id = entry & MAX_TOKENS as u32;
            if entry >> ID_BITS == tag && self.get(id) == Some(bytes) {
                return Some(id);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// The slot from the low bits of the hash, the tag from the high ones. A tag is never all ones,
/// so that no entry looks empty.
#[inline]
fn place(hash: u64, mask: usize) -> (usize, u32) {
    (hash as usize & mask, ((hash >> 54) as u32).min((1 << (32 - ID_BITS)) - 2))
}

/// A folded multiply over words of eight bytes.
#[inline]
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(word));
    }
    fold(state)
}

#[inline]
fn fold(word: u64) -> u64 {
    let wide = u128::from(word ^ 0x2545_f491_4f6c_dd1d) * 0xd6e8_feb8_6659_fd93_u128;
    (wide >> 64) as u64 ^ wide as u64
}

/// A byte trie in three flat arrays: the longest of many strings at a place of a text.
pub(crate) struct Trie {
    /// The byte that leads to each node; nodes are in breadth-first order.
    labels: Vec<u8>,
    /// The children of node i are nodes `first[i]..first[i + 1]`, sorted by label.
    first: Vec<u32>,
    /// The id of the string that ends at each node, or `EMPTY`.
    values: Vec<u32>,
    /// The children of the root, by byte; 0 is none.
    root: [u32; 256],
}

impl Trie {
    /// A trie of `entries`, which are `(string, id)`. Of equal strings the first one counts.
    pub(crate) fn new(mut entries: Vec<(&[u8], u32)>) -> Trie {
        entries.retain(|(bytes, _)| !bytes.is_empty());
        entries.sort_by_key(|&(bytes, _)| bytes);
        let mut trie =
            Trie { labels: vec![0], first: Vec::new(), values: vec![EMPTY], root: [0; 256] };
        // Each node stands for the entries in a range that share a prefix of `depth` bytes.
        let mut level = vec![(0, entries.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for &(low, high) in &level {
                trie.first.push(trie.labels.len() as u32);
                let mut at = low;
                while at < high {
                    let Some(&label) = entries[at].0.get(depth) else {
                        at += 1;
                        continue;
                    };
                    let end = at
                        + entries[at..high]
                            .partition_point(|(bytes, _)| bytes.get(depth) <= Some(&label));
                    let value = (entries[at].0.len() == depth + 1).then_some(entries[at].1);
                    if depth == 0 {
                        trie.root[label as usize] = trie.labels.len() as u32;
                    }
                    trie.labels.push(label);
                    trie.values.push(value.unwrap_or(EMPTY));
                    below.push((at, end));
                    at = end;
                }
            }
            level = below;
            depth += 1;
        }
        trie.first.push(trie.labels.len() as u32);
        trie
    }

    /// Whether it holds no string.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.len() == 1
    }

    /// The node that `label` leads to from `node`; the root is node 0.
    #[inline]
    pub(crate) fn step(&self, node: u32, label: u8) -> Option<u32> {
        if node == 0 {
            let child = self.root[label as usize];
            return (child != 0).then_some(child);
        }
        let first = *self.first.get(node as usize)?;
        let end = *self.first.get(node as usize + 1)?;
        let children = self.labels.get(first as usize..end as usize)?;
        if children.len() <= 8 {
            let at = children.iter().position(|&other| other == label)?;
            Some(first + at as u32)
        } else {
            children.binary_search(&label).ok().map(|at| first + at as u32)
        }
    }

    /// The id of the string that ends at `node`.
    #[inline]
    pub(crate) fn value(&self, node: u32) -> Option<u32> {
        self.values.get(node as usize).copied().filter(|&id| id != EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let words: Vec<String> = (0..5000).map(|i| format!("w{}", i * 7919)).collect();
        let mut pieces = Pieces::with_capacity(words.len(), 0);
        for (id, word) in words.iter().enumerate() {
            pieces.push(word.as_bytes());
            pieces.index(id as u32).unwrap();
        }
        for (id, word) in words.iter().enumerate() {
            assert_eq!(pieces.find(word.as_bytes()), Some(id as u32));
            assert_eq!(pieces.get(id as u32), Some(word.as_bytes()));
        }
        assert_eq!(pieces.find(b"w1"), None);
        assert_eq!(pieces.find(b""), None);
        assert_eq!(pieces.get(5000), None);
        pieces.push(b"w0");
        assert_eq!(pieces.index(5000), Err(0));
    }

    #[test]
    fn a_trie_holds_its_strings() {
        let words: Vec<String> = (0..600).map(|i| format!("{:b}{}", i, i % 7)).collect();
        let trie = Trie::new(words.iter().zip(0..).map(|(w, i)| (w.as_bytes(), i)).collect());
        for word in &words {
            let mut node = 0;
            for byte in word.bytes() {
                node = trie.step(node, byte).unwrap();
            }
            let id = trie.value(node).unwrap() as usize;
            assert_eq!(&words[id], word);
        }
        assert!(trie.step(0, b'x').is_none());
        assert!(Trie::new(Vec::new()).is_empty());
        assert!(Trie::new(vec![(b"", 1)]).is_empty());
    }
}
