//! When text ends: the reasons, and stop strings found across the borders of streamed pieces.
//!
//! Sits between the streaming decoder and the caller: pieces of text go in, text that is sure to
//! be shown comes out.
//!
//! ```text
//! stop string  "</s>"
//! pieces in    "a<"    "/"    "b</"    "s>c"
//! text out     "a"     ""     "</b"    (match: nothing, and nothing after it)
//! held         "<"     "</"   "</"
//! ```

use std::fmt;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// As many tokens as were asked for.
    Length,
    /// An end-of-text token of the model, or a stop id of the caller.
    Stop,
    /// A stop string of the caller.
    StopString,
    /// The model's window is full.
    Window,
    /// The caller cancelled.
    Cancelled,
}

impl FinishReason {
    /// The reason in one word, the same in every language: `length`, `stop`, `stop_string`,
    /// `window` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Length => "length",
            FinishReason::Stop => "stop",
            FinishReason::StopString => "stop_string",
            FinishReason::Window => "window",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a piece of text did to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No stop string so far; the text is sure and may be shown. It is empty while all of it may
    /// still be the start of a stop string.
    Go(String),
    /// A stop string is complete: the stream is over.
    Found {
        /// What stands before the stop string and was not released yet.
        text: String,
        /// Which stop string, counted from 0 in the order given.
        index: usize,
    },
}

/// Looks for stop strings in text that comes in pieces.
///
/// The stream ends at the first byte that completes any stop string; of several that this byte
/// completes, the longest wins. So the result depends on the text alone and not on how it was
/// cut, the released text never holds a stop string, and nothing is held back longer than
/// needed: at most the longest stop string less one byte.
///
/// The cost is linear in the text for each stop string, whatever they hold.
///
/// # Source
/// Knuth, Morris, Pratt: Fast Pattern Matching in Strings, SIAM J. Comput. 6(2), 1977.
#[derive(Clone, Debug)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// The end of the text that may be the start of a stop string.
    held: String,
    /// The stop string that ended the stream.
    found: Option<usize>,
}

/// One stop string and how much of it the text's end matches.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `fallback[n]` is the longest proper prefix of `bytes` that also ends its first `n + 1`
    /// bytes.
    fallback: Vec<usize>,
    /// Bytes matched so far, always fewer than all.
    matched: usize,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut pattern = Pattern {
            bytes: text.as_bytes().to_vec(),
            fallback: Vec::with_capacity(text.len()),
            matched: 0,
        };
        // The table is what the search itself finds when it runs over the pattern's own tail.
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            if at > 0 {
                pattern.step(byte);
            }
            pattern.fallback.push(pattern.matched);
        }
        pattern.matched = 0;
        pattern
    }

    /// Takes one byte of text; true when it completes the pattern.
    fn step(&mut self, byte: u8) -> bool {
        while self.bytes.get(self.matched) != Some(&byte) {
            let Some(shorter) = self.matched.checked_sub(1) else {
                return false;
            };
            self.matched = self.fallback.get(shorter).copied().unwrap_or(0);
        }
        self.matched += 1;
        self.matched == self.bytes.len()
    }
}

impl StopStrings {
    /// Watches for `strings`; with none, every piece is released as it comes. Empty strings,
    /// which the options refuse, never match.
    pub fn new(strings: &[String]) -> Self {
        StopStrings {
            patterns: strings.iter().map(|text| Pattern::new(text)).collect(),
            held: String::new(),
            found: None,
        }
    }

    /// Takes the next piece of text and says what may be shown.
    ///
    /// After [`Stop::Found`] every piece is dropped and the same stop string is reported again.
    pub fn push(&mut self, piece: &str) -> Stop {
        if let Some(index) = self.found {
            return Stop::Found { text: String::new(), index };
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (at, &byte) in piece.as_bytes().iter().enumerate() {
            // (length, index) of the longest stop string that this byte completes.
            let mut longest: Option<(usize, usize)> = None;
            for (index, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.bytes.is_empty() || !pattern.step(byte) {
                    continue;
                }
                let length = pattern.bytes.len();
                if longest.is_none_or(|(most, _)| length > most) {
                    longest = Some((length, index));
                }
            }
            if let Some((length, index)) = longest {
                self.found = Some(index);
                let mut text = std::mem::take(&mut self.held);
                // The stop string starts with a character's first byte, so this is a border.
                text.truncate((before + at + 1).saturating_sub(length));
                return Stop::Found { text, index };
            }
        }
        let hold = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        // What is held starts with the start of a stop string: a border between characters, too.
        let held = self.held.split_off(self.held.len().saturating_sub(hold));
        Stop::Go(std::mem::replace(&mut self.held, held))
    }

    /// Ends the stream and releases what was held back; empty after [`Stop::Found`].
    ///
    /// The object is then as new.
    pub fn finish(&mut self) -> String {
        self.found = None;
        for pattern in &mut self.patterns {
            pattern.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(strings: &[&str]) -> StopStrings {
        StopStrings::new(&strings.iter().map(|text| text.to_string()).collect::<Vec<_>>())
    }

    /// Released text and the stop string found, for pieces.
    fn run(strings: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut stops = stops(strings);
        let mut text = String::new();
        for piece in pieces {
            match stops.push(piece) {
                Stop::Go(sure) => text += &sure,
                Stop::Found { text: sure, index } => return (text + &sure, Some(index)),
            }
        }
        (text + &stops.finish(), None)
    }

    /// The definition, letter by letter: the first end, then the longest.
    fn naive(strings: &[&str], text: &str) -> (String, Option<usize>) {
        for end in 0..=text.len() {
            let found = strings.iter().enumerate().filter(|(_, stop)| {
                !stop.is_empty() && text.as_bytes()[..end].ends_with(stop.as_bytes())
            });
            let longest = found.max_by_key(|(index, stop)| (stop.len(), usize::MAX - index));
            if let Some((index, stop)) = longest {
                return (text[..end - stop.len()].to_string(), Some(index));
            }
        }
        (text.to_string(), None)
    }

    #[test]
    fn table() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, Option<usize>);
        let cases: &[Case] = &[
            (&[], &["a", "b"], "ab", None),
            (&["</s>"], &["a<", "/", "b</", "s>c"], "a</b", Some(0)),
            (&["\n\n"], &["one\n", "two\n", "\nthree"], "one\ntwo", Some(0)),
            (&["stop"], &["stop"], "", Some(0)),
            (&["stop"], &["sto"], "sto", None),
            (&["aab"], &["aaab"], "a", Some(0)),
            (&["abab", "b"], &["a", "b"], "a", Some(1)),
            (&["b", "ab"], &["xab"], "x", Some(1)),
            (&["ab", "ab"], &["ab"], "", Some(0)),
            (&["a", "ab"], &["ab"], "", Some(0)),
            (&["né"], &["un n", "é!"], "un ", Some(0)),
            (&["\u{1f525}x"], &["\u{1f525}", "\u{1f525}x"], "\u{1f525}", Some(0)),
            (&["", "b"], &["a", "b"], "a", Some(1)),
        ];
        for (strings, pieces, text, found) in cases {
            assert_eq!(run(strings, pieces), (text.to_string(), *found), "{strings:?} {pieces:?}");
        }
    }

    #[test]
    fn what_is_sure_is_released_at_once() {
        let mut stops = stops(&["</s>", "<|end|>"]);
        assert_eq!(stops.push("hello <"), Stop::Go("hello ".into()));
        assert_eq!(stops.push("|en"), Stop::Go(String::new()));
        assert_eq!(stops.push("try"), Stop::Go("<|entry".into()));
        assert_eq!(stops.push("</s>x"), Stop::Found { text: String::new(), index: 0 });
        assert_eq!(stops.push("more"), Stop::Found { text: String::new(), index: 0 });
        assert_eq!(stops.finish(), "");
        assert_eq!(stops.push("again"), Stop::Go("again".into()));
    }

    #[test]
    fn any_cut_gives_what_the_definition_says() {
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let letters = ["a", "b", "é", "\u{1f525}", "\u{1f526}"];
        let (mut found, mut missed) = (0, 0);
        for _ in 0..20_000 {
            let mut word = |longest: usize, kinds: usize| {
                let length = draw(longest + 1);
                (0..length).map(|_| letters[draw(kinds)]).collect::<String>()
            };
            let text = word(24, 5);
            let stops: Vec<String> = (0..3).map(|_| word(5, 5)).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let mut cut = 1 + draw(rest.len().min(9));
                while !rest.is_char_boundary(cut) {
                    cut += 1;
                }
                pieces.push(&rest[..cut]);
                rest = &rest[cut..];
            }
            let result = run(&stops, &pieces);
            assert_eq!(result, naive(&stops, &text), "{stops:?} {pieces:?}");
            if result.1.is_some() { found += 1 } else { missed += 1 }
        }
        assert!(found > 2_000 && missed > 2_000, "{found} found, {missed} missed");
    }

    #[test]
    fn linear_in_hostile_text() {
        let stop = format!("{}b", "a".repeat(200_000));
        let mut stops = stops(&[&stop]);
        assert_eq!(stops.push(&"a".repeat(199_999)), Stop::Go(String::new()));
        assert_eq!(stops.push(&"a".repeat(1_000_001)), Stop::Go("a".repeat(1_000_000)));
        assert_eq!(stops.push("b"), Stop::Found { text: String::new(), index: 0 });
    }
}
