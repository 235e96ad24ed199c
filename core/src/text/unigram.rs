//! The unigram model of SentencePiece (arXiv:1804.10959): of all ways to cut a text into pieces,
//! the one whose scores have the highest sum.

use std::collections::HashSet;

use super::merge::{Cuts, NONE};
use super::pieces::Trie;

/// What an unknown character costs below the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;
/// The longest piece, in bytes: what a search from each byte of a text may cost.
pub(crate) const MAX_PIECE: usize = 1024;

/// A unigram model.
pub(crate) struct Unigram {
    /// The pieces that can stand in a text.
    pub trie: Trie,
    /// Scores by token.
    pub scores: Vec<f32>,
    /// Pieces that are known but never used.
    pub unused: HashSet<u32>,
    /// The token of what no piece covers.
    pub unknown: u32,
    /// The lowest score of a normal piece.
    pub worst: f32,
    /// Tokens of single bytes, if unknown characters fall back to them.
    pub bytes: Option<Box<[u32; 256]>>,
    /// Where a text may be cut.
    pub cuts: Cuts,
}

#[derive(Clone, Copy)]
struct Best {
    score: f32,
    start: u32,
    id: u32,
}

impl Unigram {
    /// Encodes `text` and calls `emit(id, start, end)`, with bytes of `text`.
    pub(crate) fn encode(&self, text: &str, emit: &mut dyn FnMut(u32, usize, usize)) {
        let mut best = Vec::new();
        // Sums run on across the parts, so that they round as over the whole text.
        let mut sum = 0.0;
        let mut open: Option<(usize, usize)> = None;
        let mut tokens = Vec::new();
        let close = |open: &mut Option<(usize, usize)>, emit: &mut dyn FnMut(u32, usize, usize)| {
            if let Some((start, end)) = open.take() {
                emit(self.unknown, start, end);
            }
        };
        self.cuts.parts(text, &mut |base, end| {
            sum = self.path(&text[base..end], sum, &mut best, &mut tokens);
            for &(id, start, end) in tokens.iter().rev() {
                let (start, end) = (base + start, base + end);
                if id != self.unknown {
                    close(&mut open, emit);
                    emit(id, start, end);
                    continue;
                }
                if let Some(bytes) = &self.bytes {
                    let shown = &text[start..end];
                    for byte in if shown == " " { "▁" } else { shown }.bytes() {
                        emit(bytes[byte as usize], start, end);
                    }
                    continue;
                }
                match &mut open {
                    Some((_, last)) if *last == start => *last = end,
                    _ => {
                        close(&mut open, emit);
                        open = Some((start, end));
                    }
                }
            }
        });
        close(&mut open, emit);
    }

    /// The best path through `text`, last token first, as `EncodeOptimized` of SentencePiece
    /// finds it: in single precision, and of equal sums the one that is found first. Takes the
    /// score of what came before and returns it with that of the path.
    fn path(
        &self,
        text: &str,
        before: f32,
        best: &mut Vec<Best>,
        tokens: &mut Vec<(u32, usize, usize)>,
    ) -> f32 {
        let bytes = text.as_bytes();
        best.clear();
        best.resize(bytes.len() + 1, Best { score: before, start: NONE, id: NONE });
        let better = |best: &mut Best, score: f32, start: usize, id: u32| {
            if best.start == NONE || score > best.score {
                *best = Best { score, start: start as u32, id };
            }
        };
        for (start, c) in text.char_indices() {
            let here = best[start].score;
            let (mut node, mut single) = (0, false);
            for (at, &byte) in bytes.iter().enumerate().skip(start) {
                let Some(next) = self.trie.step(node, byte) else { break };
                node = next;
                let Some(id) = self.trie.value(node).filter(|id| !self.unused.contains(id)) else {
                    continue;
                };
                let score = self.scores.get(id as usize).copied().unwrap_or(self.worst);
                better(&mut best[at + 1], here + score, start, id);
                single |= at + 1 - start == c.len_utf8();
            }
            if !single {
                let end = start + c.len_utf8();
                better(&mut best[end], here + (self.worst - UNKNOWN_PENALTY), start, self.unknown);
            }
        }
        tokens.clear();
        let mut end = bytes.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            let start = (start as usize).min(end - 1);
            tokens.push((id, start, end));
            end = start;
        }
        best[bytes.len()].score
    }
}
