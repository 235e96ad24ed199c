//! Byte pair encoding: from characters or bytes, the best adjacent pair merges, again and again.
//!
//! "Best" is the lowest rank in a list of merges (GPT-2, arXiv:1508.07909) or the highest score
//! of the merged piece (SentencePiece, arXiv:1808.06226); of equals the leftmost. A short word is
//! scanned for each merge. A long one, which an input without spaces makes as long as the text,
//! goes through queues by priority, so that the time grows with n log n and never with n squared.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use super::pieces::{Pieces, hash};

/// No token.
pub(crate) const NONE: u32 = u32::MAX;
/// Words of up to this many symbols are scanned; longer ones are queued.
const SHORT: usize = 48;

/// The merges of a vocabulary, by rank.
pub(crate) struct Ranks {
    /// `(left, right, merged)` by rank.
    merges: Vec<(u32, u32, u32)>,
    /// Ranks by pair: open addressing, at most half full, `NONE` is empty.
    table: Vec<u32>,
    seed: u64,
}

impl Ranks {
    /// Room for `count` merges.
    pub(crate) fn with_capacity(count: usize) -> Ranks {
        use std::hash::{BuildHasher, RandomState};
        Ranks {
            merges: Vec::with_capacity(count),
            table: vec![NONE; count.saturating_mul(2).next_power_of_two().max(16)],
            seed: RandomState::new().hash_one(0u64),
        }
    }

    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.table.len() - 1;
        let pair = (u64::from(left) << 32 | u64::from(right)).to_le_bytes();
        let mut slot = hash(self.seed, &pair) as usize & mask;
        loop {
            match self.merges.get(self.table[slot] as usize) {
                Some(&(l, r, _)) if (l, r) != (left, right) => slot = (slot + 1) & mask,
                _ => return slot,
            }
        }
    }

    /// Adds the next merge. A pair that is listed twice has its later rank, as in the reference.
    /// At most the count given to `with_capacity` may be added.
    pub(crate) fn push(&mut self, left: u32, right: u32, merged: u32) {
        let slot = self.slot(left, right);
        self.table[slot] = self.merges.len() as u32;
        self.merges.push((left, right, merged));
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let rank = self.table[self.slot(left, right)];
        self.merges.get(rank as usize).map(|&(_, _, merged)| (rank, merged))
    }
}

/// What decides which pair merges first.
pub(crate) enum Order {
    /// The place in the list of merges.
    Ranks(Ranks),
    /// The score of the merged piece, by token, as [`score_key`].
    Scores(Vec<u32>),
}

/// A number that is lower for a higher score.
pub(crate) fn score_key(score: f32) -> u32 {
    // Adding zero makes -0 and 0 one score.
    let bits = (score + 0.0).to_bits();
    !(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits })
}

/// Pairs of characters that stand side by side in some piece. Between two characters that never
/// do, no merge can happen, so that a text may be cut there and each part merged alone.
pub(crate) struct Cuts {
    /// A Bloom filter of one hash: a false yes costs time, never a token.
    bits: Vec<u64>,
    mask: usize,
}

impl Cuts {
    /// Reads the pairs off `tokens`.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a [u8]>, count: usize) -> Cuts {
        let size = count.saturating_mul(8).next_power_of_two().clamp(1 << 10, 1 << 23);
        let mut cuts = Cuts { bits: vec![0; size / 64], mask: size - 1 };
        for token in tokens.filter_map(|bytes| std::str::from_utf8(bytes).ok()) {
            for (a, b) in token.chars().zip(token.chars().skip(1)) {
                let bit = cuts.bit(a, b);
                cuts.bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        cuts
    }

    #[inline]
    fn bit(&self, a: char, b: char) -> usize {
        let pair = u64::from(a as u32) << 32 | u64::from(b as u32);
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & self.mask
    }

    #[inline]
    fn together(&self, a: char, b: char) -> bool {
        let bit = self.bit(a, b);
        self.bits[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// Calls `part` with the byte range of each part of `text`, in order.
    pub(crate) fn parts(&self, text: &str, part: &mut dyn FnMut(usize, usize)) {
        let (mut start, mut before) = (0, None);
        for (at, c) in text.char_indices() {
            if before.is_some_and(|before| !self.together(before, c)) {
                part(start, at);
                start = at;
            }
            before = Some(c);
        }
        if start < text.len() {
            part(start, text.len());
        }
    }
}

/// A model of byte pair encoding.
pub(crate) struct Bpe {
    /// What decides the order of merges.
    pub order: Order,
    /// Symbols are bytes rather than characters.
    pub byte_level: bool,
    /// Tokens of single bytes: the alphabet of a byte-level model, else what an unknown character
    /// falls back to. `NONE` where there is none.
    pub bytes: Box<[u32; 256]>,
    /// Tokens of single ASCII characters.
    pub ascii: Box<[u32; 128]>,
    /// A word that is a token is not merged ("ignore merges").
    pub whole_words: bool,
    /// The token of what has no token.
    pub unknown: Option<u32>,
    /// Neighbouring unknowns become one token.
    pub fuse_unknown: bool,
    /// Tokens that merges pass through but that are never the result.
    pub unused: HashSet<u32>,
    /// Where a text may be cut; `None` if words come cut.
    pub cuts: Option<Cuts>,
}

/// Buffers that are used again from word to word.
#[derive(Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    /// For each unused token, the length of the left part it was last merged from.
    halves: HashMap<u32, u32>,
}

#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    id: u32,
    /// Priority of the pair with the next symbol and the token it makes; `NONE` if it makes none.
    key: u32,
    merged: u32,
}

impl Bpe {
    /// Encodes `text` and calls `emit(id, start, end)`, with bytes of `text`.
    pub(crate) fn encode(
        &self,
        pieces: &Pieces,
        text: &str,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(u32, usize, usize),
    ) {
        let mut fused = Fused { bpe: self, pieces, open: None, emit };
        match &self.cuts {
            None => self.word(pieces, text, 0, scratch, &mut fused),
            Some(cuts) => cuts.parts(text, &mut |start, end| {
                self.word(pieces, &text[start..end], start, scratch, &mut fused);
            }),
        }
        fused.close();
    }

    fn word(
        &self,
        pieces: &Pieces,
        word: &str,
        base: usize,
        scratch: &mut Scratch,
        out: &mut Fused<'_>,
    ) {
        if self.whole_words
            && let Some(id) = pieces.find(word.as_bytes())
        {
            return out.token(id, base, base + word.len());
        }
        let Scratch { symbols, halves } = scratch;
        symbols.clear();
        let mut symbol = |start: usize, len: usize, id: u32| {
            let (start, len) = (start as u32, len as u32);
            symbols.push(Symbol { start, len, id, key: NONE, merged: NONE });
            symbols.len() <= SHORT
        };
        let short = if self.byte_level {
            word.bytes().enumerate().all(|(at, byte)| symbol(at, 1, self.bytes[byte as usize]))
        } else {
            word.char_indices()
                .all(|(at, c)| symbol(at, c.len_utf8(), self.single(pieces, word, at, c)))
        };
        if short {
            self.short(pieces, word.as_bytes(), symbols, halves);
            for symbol in symbols {
                let (start, end) = (symbol.start as usize, (symbol.start + symbol.len) as usize);
                out.symbol(symbol.id, word.as_bytes(), start, end, base, halves);
            }
        } else {
            self.long(pieces, word, halves, out, base);
        }
    }

    #[inline]
    fn single(&self, pieces: &Pieces, word: &str, at: usize, c: char) -> u32 {
        match self.ascii.get(c as usize) {
            Some(&id) => id,
            None => pieces.find(&word.as_bytes()[at..at + c.len_utf8()]).unwrap_or(NONE),
        }
    }

    /// The priority of merging two symbols that end and start at `middle`, and the token.
    #[inline]
    fn pair(
        &self,
        pieces: &Pieces,
        word: &[u8],
        (left, right): (u32, u32),
        (start, middle, end): (usize, usize, usize),
        halves: &mut HashMap<u32, u32>,
    ) -> Option<(u32, u32)> {
        match &self.order {
            Order::Ranks(ranks) if left != NONE && right != NONE => ranks.get(left, right),
            Order::Ranks(_) => None,
            Order::Scores(keys) => {
                let id = pieces.find(word.get(start..end)?)?;
                if !self.unused.is_empty() && self.unused.contains(&id) {
                    halves.insert(id, (middle - start) as u32);
                }
                keys.get(id as usize).map(|&key| (key, id))
            }
        }
    }

    fn short(
        &self,
        pieces: &Pieces,
        word: &[u8],
        symbols: &mut Vec<Symbol>,
        halves: &mut HashMap<u32, u32>,
    ) {
        let mut weigh = |symbols: &mut Vec<Symbol>, at: usize| {
            let next = symbols.get(at + 1).copied();
            let Some(symbol) = symbols.get_mut(at) else { return };
            let pair = next.and_then(|next| {
                let spans =
                    (symbol.start as usize, next.start as usize, (next.start + next.len) as usize);
                self.pair(pieces, word, (symbol.id, next.id), spans, halves)
            });
            (symbol.key, symbol.merged) = pair.unwrap_or((NONE, NONE));
        };
        for at in 0..symbols.len() {
            weigh(symbols, at);
        }
        loop {
            let mut best = (NONE, 0);
            for (at, symbol) in symbols.iter().enumerate() {
                if symbol.key < best.0 {
                    best = (symbol.key, at);
                }
            }
            let at = best.1;
            let Some(symbol) = symbols.get(at).copied().filter(|s| s.merged != NONE) else {
                return;
            };
            let right = symbols.remove(at + 1);
            symbols[at] = Symbol { len: symbol.len + right.len, id: symbol.merged, ..symbol };
            weigh(symbols, at);
            if at > 0 {
                weigh(symbols, at - 1);
            }
        }
    }

    /// Merges a long word. A symbol lives at the byte it starts at: its token in `ids`, its length
    /// in `lens` at its first and at its last byte, so that both neighbours are found from there.
    fn long(
        &self,
        pieces: &Pieces,
        word: &str,
        halves: &mut HashMap<u32, u32>,
        out: &mut Fused<'_>,
        base: usize,
    ) {
        // Not the start of a symbol.
        const DEAD: u32 = NONE - 1;
        let bytes = word.as_bytes();
        let mut ids = vec![DEAD; bytes.len()];
        let mut lens = vec![0u32; bytes.len()];
        let mut place = |start: usize, len: usize, id: u32| {
            ids[start] = id;
            lens[start] = len as u32;
            lens[start + len - 1] = len as u32;
        };
        if self.byte_level {
            word.bytes().enumerate().for_each(|(at, b)| place(at, 1, self.bytes[b as usize]));
        } else {
            word.char_indices()
                .for_each(|(at, c)| place(at, c.len_utf8(), self.single(pieces, word, at, c)));
        }

        let mut queues = Queues::default();
        let mut at = 0;
        loop {
            let next = at + lens[at] as usize;
            if next >= bytes.len() {
                break;
            }
            let spans = (at, next, next + lens[next] as usize);
            if let Some((key, _)) = self.pair(pieces, bytes, (ids[at], ids[next]), spans, halves) {
                queues.push(key, at as u32);
            }
            at = next;
        }
        while let Some((key, at)) = queues.pop() {
            let at = at as usize;
            let middle = at + lens[at] as usize;
            if ids[at] == DEAD || middle >= bytes.len() {
                continue;
            }
            let end = middle + lens[middle] as usize;
            let spans = (at, middle, end);
            let merged = match self.pair(pieces, bytes, (ids[at], ids[middle]), spans, halves) {
                Some((now, merged)) if now == key => merged,
                _ => continue,
            };
            ids[middle] = DEAD;
            ids[at] = merged;
            lens[at] = (end - at) as u32;
            lens[end - 1] = (end - at) as u32;
            if at > 0 {
                let before = at - lens[at - 1] as usize;
                let spans = (before, at, end);
                let pair = self.pair(pieces, bytes, (ids[before], merged), spans, halves);
                if let Some((key, _)) = pair {
                    queues.push(key, before as u32);
                }
            }
            if end < bytes.len() {
                let spans = (at, end, end + lens[end] as usize);
                if let Some((key, _)) = self.pair(pieces, bytes, (merged, ids[end]), spans, halves)
                {
                    queues.push(key, at as u32);
                }
            }
        }
        drop(queues);
        let mut at = 0;
        while at < bytes.len() {
            let end = at + lens[at] as usize;
            out.symbol(ids[at], bytes, at, end, base, halves);
            at = end;
        }
    }
}

/// Places by priority. Almost all arrive in rising order, which makes a queue a plain list; the
/// others go to a heap beside it.
#[derive(Default)]
struct Queues {
    queues: BTreeMap<u32, Queue>,
}

#[derive(Default)]
struct Queue {
    rising: Vec<u32>,
    next: usize,
    others: BinaryHeap<Reverse<u32>>,
}

impl Queues {
    fn push(&mut self, key: u32, at: u32) {
        let queue = self.queues.entry(key).or_default();
        if queue.next == queue.rising.len() {
            queue.rising.clear();
            queue.next = 0;
        }
        if queue.rising.last().is_none_or(|&last| last <= at) {
            queue.rising.push(at);
        } else {
            queue.others.push(Reverse(at));
        }
    }

    /// The leftmost place of the lowest key.
    fn pop(&mut self) -> Option<(u32, u32)> {
        loop {
            let mut entry = self.queues.first_entry()?;
            let key = *entry.key();
            let queue = entry.get_mut();
            let rising = queue.rising.get(queue.next).copied();
            let other = queue.others.peek().map(|&Reverse(at)| at);
            return match (rising, other) {
                (Some(at), other) if other.is_none_or(|other| at <= other) => {
                    queue.next += 1;
                    Some((key, at))
                }
                (_, Some(at)) => {
                    queue.others.pop();
                    Some((key, at))
                }
                _ => {
                    entry.remove();
                    continue;
                }
            };
        }
    }
}

/// Turns symbols into tokens: splits unused ones, falls back to bytes, fuses unknowns.
struct Fused<'a> {
    bpe: &'a Bpe,
    pieces: &'a Pieces,
    open: Option<(usize, usize)>,
    emit: &'a mut dyn FnMut(u32, usize, usize),
}

impl Fused<'_> {
    fn token(&mut self, id: u32, start: usize, end: usize) {
        self.close();
        (self.emit)(id, start, end);
    }

    fn close(&mut self) {
        if let (Some((start, end)), Some(id)) = (self.open.take(), self.bpe.unknown) {
            (self.emit)(id, start, end);
        }
    }

    fn symbol(
        &mut self,
        id: u32,
        word: &[u8],
        start: usize,
        end: usize,
        base: usize,
        halves: &HashMap<u32, u32>,
    ) {
        if self.bpe.unused.is_empty() || !self.bpe.unused.contains(&id) {
            return self.resolved(id, word, start, end, base);
        }
        let mut parts = vec![(id, start, end)];
        while let Some((id, start, end)) = parts.pop() {
            let half = halves.get(&id).map(|&half| start + half as usize);
            match half.filter(|&half| self.bpe.unused.contains(&id) && start < half && half < end) {
                Some(half) => {
                    let find = |from: usize, to: usize| {
                        (self.pieces.find(&word[from..to]).unwrap_or(NONE), from, to)
                    };
                    parts.push(find(half, end));
                    parts.push(find(start, half));
                }
                // One that was never merged has no parts, and counts as unknown.
                None if self.bpe.unused.contains(&id) => {
                    self.resolved(NONE, word, start, end, base);
                }
                None => self.resolved(id, word, start, end, base),
            }
        }
    }

    fn resolved(&mut self, id: u32, word: &[u8], start: usize, end: usize, base: usize) {
        if id != NONE {
            return self.token(id, base + start, base + end);
        }
        let bytes = word.get(start..end).unwrap_or_default();
        if !self.bpe.byte_level {
            // Spaces stand for the mark that the vocabulary writes them with.
            let spelled = if bytes == b" " { "▁".as_bytes() } else { bytes };
            let ids = spelled.iter().map(|&byte| self.bpe.bytes[byte as usize]);
            if ids.clone().all(|id| id != NONE) {
                ids.for_each(|id| self.token(id, base + start, base + end));
                return;
            }
        }
        if self.bpe.unknown.is_none() {
            return;
        }
        match &mut self.open {
            Some((_, open)) if self.bpe.fuse_unknown && *open == base + start => *open = base + end,
            _ => {
                self.close();
                self.open = Some((base + start, base + end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(pieces_and_scores: &[(&str, f32)]) -> (Pieces, Bpe) {
        let mut pieces = Pieces::with_capacity(pieces_and_scores.len(), 0);
        let mut ascii = Box::new([NONE; 128]);
        for (id, (piece, _)) in pieces_and_scores.iter().enumerate() {
            pieces.push(piece.as_bytes());
            pieces.index(id as u32).unwrap();
            if let [byte] = piece.as_bytes() {
                ascii[*byte as usize] = id as u32;
            }
        }
        let bpe = Bpe {
            order: Order::Scores(pieces_and_scores.iter().map(|&(_, s)| score_key(s)).collect()),
            byte_level: false,
            bytes: Box::new([NONE; 256]),
            ascii,
            whole_words: false,
            unknown: Some(0),
            fuse_unknown: true,
            unused: HashSet::new(),
            cuts: None,
        };
        (pieces, bpe)
    }

    fn encode(pieces: &Pieces, bpe: &Bpe, text: &str) -> Vec<(u32, usize, usize)> {
        let mut out = Vec::new();
        bpe.encode(pieces, text, &mut Scratch::default(), &mut |id, start, end| {
            out.push((id, start, end))
        });
        out
    }

    #[test]
    fn keys_order_like_scores_backwards() {
        let scores = [f32::INFINITY, 3.0, 0.5, 0.0, -0.5, -3.0, -1e30];
        assert!(scores.windows(2).all(|w| score_key(w[0]) < score_key(w[1])));
        assert_eq!(score_key(0.0), score_key(-0.0));
    }

    #[test]
    fn merges_best_first_and_leftmost_of_equals() {
        let (pieces, bpe) = scored(&[
            ("?", 0.0),
            ("a", 0.0),
            ("b", 0.0),
            ("aa", -1.0),
            ("ab", -2.0),
            ("aab", -3.0),
        ]);
        assert_eq!(encode(&pieces, &bpe, "aab"), [(5, 0, 3)]);
        assert_eq!(encode(&pieces, &bpe, "aaab"), [(3, 0, 2), (4, 2, 4)]);
        assert_eq!(encode(&pieces, &bpe, "axyb"), [(1, 0, 1), (0, 1, 3), (2, 3, 4)]);
    }

    #[test]
    fn unused_pieces_are_taken_apart_again() {
        let (pieces, mut bpe) =
            scored(&[("?", 0.0), ("a", 0.0), ("b", 0.0), ("ab", -1.0), ("abb", -2.0)]);
        bpe.unused.insert(4);
        assert_eq!(encode(&pieces, &bpe, "abb"), [(3, 0, 2), (2, 2, 3)]);
        bpe.unused.insert(3);
        assert_eq!(encode(&pieces, &bpe, "abb"), [(1, 0, 1), (2, 1, 2), (2, 2, 3)]);
    }

    /// Long and short words go different ways and must agree: random words over a small alphabet
    /// with random scores, where the long way is forced by a prefix that merges with nothing.
    #[test]
    fn the_two_ways_agree() {
        let mut state = 1u64;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        for _ in 0..200 {
            let mut words = vec!["?".to_string(), "a".into(), "b".into(), "c".into(), "-".into()];
            for _ in 0..30 {
                let len = 2 + random(4);
                let word: String = (0..len).map(|_| ['a', 'b', 'c'][random(3) as usize]).collect();
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            let table: Vec<(&str, f32)> =
                words.iter().map(|w| (w.as_str(), -(random(12) as f32))).collect();
            let (pieces, bpe) = scored(&table);
            let text: String = (0..40).map(|_| ['a', 'b', 'c'][random(3) as usize]).collect();
            let short = encode(&pieces, &bpe, &text);
            let prefix = "-".repeat(SHORT + 1);
            let long = encode(&pieces, &bpe, &format!("{prefix}{text}"));
            let long: Vec<u32> = long[prefix.len()..].iter().map(|t| t.0).collect();
            assert_eq!(short.iter().map(|t| t.0).collect::<Vec<_>>(), long);
        }
    }

    #[test]
    fn a_long_run_takes_time_like_n_log_n() {
        let (pieces, bpe) = scored(&[("?", 0.0), ("a", 0.0), ("aa", -1.0), ("aaaa", -2.0)]);
        let tokens = encode(&pieces, &bpe, &"a".repeat(400_003));
        assert_eq!(tokens.len(), 100_002);
        assert_eq!(&tokens[100_000..], &[(2, 400_000, 400_002), (1, 400_002, 400_003)]);
    }
}
