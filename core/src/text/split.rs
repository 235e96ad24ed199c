//! Pre-tokenizer patterns: cutting a text into the words inside which byte pairs merge.
//!
//! Models publish their split as a regular expression. General engines are unsafe for it: the
//! patterns need a look-ahead (`\s+(?!\S)`), so a linear automaton refuses them, and a
//! backtracking engine gives up in the middle of a long run of spaces and silently returns other
//! pieces. What the patterns are made of is small, though: alternatives of character classes with
//! greedy repeats, an optional group of contractions, a look-ahead of one character. This file
//! compiles that language, and counts its steps so that no pattern and no text can make it hang.

use super::unicode::{self, Set, category};

/// Longest pattern that is read, in bytes.
const MAX_PATTERN: usize = 8 << 10;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 8;
/// Steps that may be spent per byte of text. The published patterns need fewer than 20.
const STEPS_PER_BYTE: u64 = 128;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    alternatives: Vec<Vec<Node>>,
}

/// What becomes of the matches and of the text between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Matches and gaps are words.
    Both,
    /// Matches are words, gaps are dropped.
    Matches,
    /// Gaps are words, matches are dropped.
    Gaps,
}

/// The stages of a split, each cutting the pieces of the stage before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Splitter {
    stages: Vec<(Pattern, Keep)>,
}

/// The text made the pattern run longer than any published pattern does.
#[derive(Debug)]
pub(crate) struct OutOfSteps;

#[derive(Debug, Clone)]
enum Node {
    Repeat { class: Class, min: u32, max: u32, possessive: bool },
    Group { alternatives: Vec<Vec<Node>>, optional: bool },
    Ahead { class: Class, negative: bool },
    End,
}

#[derive(Debug, Clone, Default)]
struct Class {
    ascii: u128,
    negative: bool,
    sets: Set,
    not_sets: Vec<Set>,
    space: bool,
    not_space: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn of(c: char) -> Class {
        let mut class = Class::default();
        class.ranges.push((c, c));
        class
    }

    fn slow(&self, c: char) -> bool {
        let set = category(c);
        let inside = self.sets & set != 0
            || self.not_sets.iter().any(|not| not & set == 0)
            || (self.space && c.is_whitespace())
            || (self.not_space && !c.is_whitespace())
            || self.ranges.iter().any(|&(low, high)| low <= c && c <= high);
        inside != self.negative
    }

    fn seal(mut self) -> Class {
        self.ascii = (0..128u8).filter(|&b| self.slow(b as char)).fold(0, |bits, b| bits | 1 << b);
        self
    }

    #[inline]
    fn holds(&self, c: char) -> bool {
        if c.is_ascii() { self.ascii >> (c as u32) & 1 != 0 } else { self.slow(c) }
    }
}

impl Pattern {
    /// Compiles `source`; the error says what is not supported, and where.
    pub(crate) fn parse(source: &str) -> Result<Pattern, String> {
        if source.len() > MAX_PATTERN {
            return Err(format!("is longer than {MAX_PATTERN} bytes"));
        }
        let mut parser = Parser { source, at: 0 };
        let alternatives = parser.alternatives(false, 0)?;
        if parser.at < source.len() {
            return Err(format!("has an unmatched `)` at byte {}", parser.at));
        }
        if alternatives.iter().any(|nodes| shortest(nodes) == 0) {
            return Err("can match nothing at all".into());
        }
        Ok(Pattern { alternatives })
    }

    /// The end of the match that starts at byte `at`.
    fn match_at(
        &self,
        text: &str,
        at: usize,
        steps: &mut u64,
    ) -> Result<Option<usize>, OutOfSteps> {
        let mut run = Run { text, steps };
        for nodes in &self.alternatives {
            if let Some(end) = run.nodes(nodes, None, at)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

impl Splitter {
    /// A split into one piece: the whole text.
    pub(crate) fn whole() -> Splitter {
        Splitter::default()
    }

    /// Adds a stage.
    pub(crate) fn push(&mut self, pattern: Pattern, keep: Keep) {
        self.stages.push((pattern, keep));
    }

    /// Calls `word` with the byte range of each word of `text`, in order.
    pub(crate) fn words(
        &self,
        text: &str,
        word: &mut dyn FnMut(usize, usize),
    ) -> Result<(), OutOfSteps> {
        let mut steps = (text.len() as u64 + 64).saturating_mul(STEPS_PER_BYTE);
        self.stage(text, 0, 0, &mut steps, word)
    }

    /// Stages `from..` on `text`, which starts at byte `base` of the whole.
    fn stage(
        &self,
        text: &str,
        base: usize,
        from: usize,
        steps: &mut u64,
        word: &mut dyn FnMut(usize, usize),
    ) -> Result<(), OutOfSteps> {
        if text.is_empty() {
            return Ok(());
        }
        let Some((pattern, keep)) = self.stages.get(from) else {
            word(base, base + text.len());
            return Ok(());
        };
        let (mut at, mut gap) = (0, 0);
        while at < text.len() {
            match pattern.match_at(text, at, steps)? {
                Some(end) => {
                    if gap < at && *keep != Keep::Matches {
                        self.stage(&text[gap..at], base + gap, from + 1, steps, word)?;
                    }
                    if *keep != Keep::Gaps {
                        self.stage(&text[at..end], base + at, from + 1, steps, word)?;
                    }
                    at = end;
                    gap = end;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if gap < text.len() && *keep != Keep::Matches {
            self.stage(&text[gap..], base + gap, from + 1, steps, word)?;
        }
        Ok(())
    }
}

/// What follows a group, as a list on the stack.
struct Rest<'a> {
    nodes: &'a [Node],
    next: Option<&'a Rest<'a>>,
}

struct Run<'t, 's> {
    text: &'t str,
    steps: &'s mut u64,
}

impl Run<'_, '_> {
    fn spend(&mut self) -> Result<(), OutOfSteps> {
        *self.steps = self.steps.checked_sub(1).ok_or(OutOfSteps)?;
        Ok(())
    }

    /// Backtracking match; it recurses once per node of the pattern, never per character.
    fn nodes(
        &mut self,
        nodes: &[Node],
        rest: Option<&Rest<'_>>,
        mut at: usize,
    ) -> Result<Option<usize>, OutOfSteps> {
        let Some((node, after)) = nodes.split_first() else {
            return match rest {
                Some(rest) => self.nodes(rest.nodes, rest.next, at),
                None => Ok(Some(at)),
            };
        };
        self.spend()?;
        match node {
            Node::Repeat { class, min, max, possessive } => {
                let mut count = 0;
                for c in self.text[at..].chars() {
                    if count == *max || !class.holds(c) {
                        break;
                    }
                    count += 1;
                    at += c.len_utf8();
                }
                *self.steps = self.steps.checked_sub(count as u64).ok_or(OutOfSteps)?;
                if count < *min {
                    return Ok(None);
                }
                if after.is_empty() && rest.is_none() {
                    return Ok(Some(at));
                }
                loop {
                    if let Some(end) = self.nodes(after, rest, at)? {
                        return Ok(Some(end));
                    }
                    if count == *min || *possessive {
                        return Ok(None);
                    }
                    self.spend()?;
                    count -= 1;
                    at -= self.text[..at].chars().next_back().map_or(1, char::len_utf8);
                }
            }
            Node::Group { alternatives, optional } => {
                let then = Rest { nodes: after, next: rest };
                for nodes in alternatives {
                    if let Some(end) = self.nodes(nodes, Some(&then), at)? {
                        return Ok(Some(end));
                    }
                }
                if *optional { self.nodes(after, rest, at) } else { Ok(None) }
            }
            Node::Ahead { class, negative } => {
                let next = self.text[at..].chars().next();
                if next.is_some_and(|c| class.holds(c)) == *negative {
                    return Ok(None);
                }
                self.nodes(after, rest, at)
            }
            Node::End if at == self.text.len() => self.nodes(after, rest, at),
            Node::End => Ok(None),
        }
    }
}

/// The fewest characters that `nodes` can match.
fn shortest(nodes: &[Node]) -> u32 {
    nodes
        .iter()
        .map(|node| match node {
            Node::Repeat { min, .. } => *min,
            Node::Group { optional: true, .. } => 0,
            Node::Group { alternatives, .. } => {
                alternatives.iter().map(|nodes| shortest(nodes)).min().unwrap_or(0)
            }
            Node::Ahead { .. } | Node::End => 0,
        })
        .fold(0, u32::saturating_add)
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.source[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("has {what} at byte {}, which is not supported", self.at))
    }

    fn alternatives(&mut self, fold: bool, depth: usize) -> Result<Vec<Vec<Node>>, String> {
        if depth > MAX_DEPTH {
            return self.unsupported("deeply nested groups");
        }
        let mut all = vec![Vec::new()];
        while let Some(c) = self.peek() {
            match c {
                ')' => break,
                '|' => {
                    self.at += 1;
                    all.push(Vec::new());
                }
                _ => {
                    let node = self.node(fold, depth)?;
                    if let Some(nodes) = all.last_mut() {
                        nodes.push(node);
                    }
                }
            }
        }
        Ok(all)
    }

    fn node(&mut self, fold: bool, depth: usize) -> Result<Node, String> {
        if self.eat("(?!") {
            return self.ahead(true);
        }
        if self.eat("(?=") {
            return self.ahead(false);
        }
        if self.eat("$") {
            return Ok(Node::End);
        }
        if self.peek() == Some('(') {
            let fold = if self.eat("(?i:") {
                true
            } else if self.eat("(?:") {
                fold
            } else {
                self.at += 1;
                if self.peek() == Some('?') {
                    return self.unsupported("a group of another kind");
                }
                fold
            };
            let alternatives = self.alternatives(fold, depth + 1)?;
            if !self.eat(")") {
                return Err("has an unmatched `(`".into());
            }
            let (min, max, possessive) = self.quantifier()?;
            if max != 1 || possessive {
                return self.unsupported("a repeated group");
            }
            return Ok(Node::Group { alternatives, optional: min == 0 });
        }
        let class = self.atom(fold)?;
        let (min, max, possessive) = self.quantifier()?;
        Ok(Node::Repeat { class, min, max, possessive })
    }

    fn ahead(&mut self, negative: bool) -> Result<Node, String> {
        let class = self.atom(false)?;
        if !self.eat(")") {
            return self.unsupported("a look-ahead of more than one character");
        }
        Ok(Node::Ahead { class, negative })
    }

    fn quantifier(&mut self) -> Result<(u32, u32, bool), String> {
        let (min, max) = if self.eat("?") {
            (0, 1)
        } else if self.eat("*") {
            (0, u32::MAX)
        } else if self.eat("+") {
            (1, u32::MAX)
        } else if self.eat("{") {
            let close = self.source[self.at..].find('}').ok_or("has an unmatched `{`")?;
            let inside = &self.source[self.at..self.at + close];
            self.at += close + 1;
            let number = |text: &str| {
                text.parse::<u32>()
                    .ok()
                    .filter(|&n| n <= 1000)
                    .ok_or_else(|| format!("has the repeat `{{{inside}}}`; at most 1000 is right"))
            };
            let (min, max) = match inside.split_once(',') {
                None => (number(inside)?, number(inside)?),
                Some((min, "")) => (number(min)?, u32::MAX),
                Some((min, max)) => (number(min)?, number(max)?),
            };
            if max == 0 || min > max {
                return Err(format!("has the empty repeat `{{{inside}}}`"));
            }
            (min, max)
        } else {
            return Ok((1, 1, false));
        };
        if self.peek() == Some('?') {
            return self.unsupported("a lazy repeat");
        }
        Ok((min, max, self.eat("+")))
    }

    fn atom(&mut self, fold: bool) -> Result<Class, String> {
        let mut class = match self.next() {
            None => return self.unsupported("a missing character"),
            Some('[') => return self.class(fold),
            Some('\\') => {
                let mut class = Class::default();
                self.escape(&mut class)?;
                class
            }
            Some(c @ ('.' | '^' | '*' | '+' | '?' | '{' | ')' | '|')) => {
                self.at -= 1;
                return self.unsupported(&format!("`{c}`"));
            }
            Some(c) => Class::of(c),
        };
        if fold {
            both_cases(&mut class);
        }
        Ok(class.seal())
    }

    /// After a backslash: adds to `class`, and returns the character if it was a single one.
    fn escape(&mut self, class: &mut Class) -> Result<Option<char>, String> {
        let c = self.next().ok_or("ends in a backslash")?;
        let single = match c {
            'r' => '\r',
            'n' => '\n',
            't' => '\t',
            'f' => '\u{c}',
            'v' => '\u{b}',
            's' => {
                class.space = true;
                return Ok(None);
            }
            'S' => {
                class.not_space = true;
                return Ok(None);
            }
            'd' => {
                class.sets |= unicode::DIGIT;
                return Ok(None);
            }
            'D' => {
                class.not_sets.push(unicode::DIGIT);
                return Ok(None);
            }
            'x' if self.eat("{") => {
                let close = self.source[self.at..].find('}').ok_or("has an unmatched `{`")?;
                let code = &self.source[self.at..self.at + close];
                self.at += close + 1;
                let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
                c.ok_or_else(|| format!("has `\\x{{{code}}}`, which is no character"))?
            }
            'p' | 'P' => {
                let name = if self.eat("{") {
                    let close = self.source[self.at..].find('}').ok_or("has an unmatched `{`")?;
                    let name = &self.source[self.at..self.at + close];
                    self.at += close + 1;
                    name
                } else {
                    let start = self.at;
                    self.next().ok_or("ends in `\\p`")?;
                    &self.source[start..self.at]
                };
                let set = match name {
                    "L" | "Letter" => unicode::LETTER,
                    "Lu" => unicode::UPPER,
                    "Ll" => unicode::LOWER,
                    "Lt" => unicode::TITLE,
                    "Lm" => unicode::MODIFIER,
                    "Lo" => unicode::OTHER_LETTER,
                    "M" => unicode::MARK,
                    "N" => unicode::NUMBER,
                    "Nd" => unicode::DIGIT,
                    "P" => unicode::PUNCTUATION,
                    "S" => unicode::SYMBOL,
                    name => {
                        return Err(format!("has the property `{name}`, which is not supported"));
                    }
                };
                if c == 'p' {
                    class.sets |= set;
                } else {
                    class.not_sets.push(set);
                }
                return Ok(None);
            }
            c if c.is_ascii_alphanumeric() => {
                return Err(format!("has `\\{c}`, which is not supported"));
            }
            c => c,
        };
        class.ranges.push((single, single));
        Ok(Some(single))
    }

    /// After `[`.
    fn class(&mut self, fold: bool) -> Result<Class, String> {
        let mut class = Class { negative: self.eat("^"), ..Class::default() };
        let mut first = true;
        loop {
            let low = match self.next() {
                None => return Err("has an unmatched `[`".into()),
                Some(']') if !first => break,
                Some(']' | '[') => return self.unsupported("a bracket inside a class"),
                Some('&') if self.peek() == Some('&') => {
                    return self.unsupported("an intersection");
                }
                Some('\\') => self.escape(&mut class)?,
                Some(c) => {
                    class.ranges.push((c, c));
                    Some(c)
                }
            };
            first = false;
            let ranged = self.source[self.at..].starts_with('-')
                && !self.source[self.at..].starts_with("-]");
            if let (Some(low), true) = (low, ranged) {
                self.at += 1;
                let high = match self.next() {
                    Some('\\') => {
                        let mut other = Class::default();
                        self.escape(&mut other)?
                    }
                    Some(c @ ('[' | ']')) => return Err(format!("has a range up to `{c}`")),
                    high => high,
                };
                match high {
                    Some(high) if low <= high => {
                        class.ranges.pop();
                        class.ranges.push((low, high));
                    }
                    _ => return self.unsupported("a range that runs backwards"),
                }
            }
        }
        if fold {
            both_cases(&mut class);
        }
        Ok(class.seal())
    }
}

/// Adds the other case of every single character, and the two letters outside ASCII that fold
/// to ASCII ones.
fn both_cases(class: &mut Class) {
    for (low, high) in class.ranges.clone() {
        if low != high {
            continue;
        }
        for other in low.to_lowercase().chain(low.to_uppercase()) {
            class.ranges.push((other, other));
        }
        match low {
            's' | 'S' => class.ranges.push(('ſ', 'ſ')),
            'k' | 'K' => class.ranges.push(('\u{212a}', '\u{212a}')),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(patterns: &[&str], text: &str) -> Vec<String> {
        let mut splitter = Splitter::whole();
        for pattern in patterns {
            splitter.push(Pattern::parse(pattern).unwrap(), Keep::Both);
        }
        let mut out = Vec::new();
        splitter.words(text, &mut |start, end| out.push(text[start..end].to_string())).unwrap();
        out
    }

    const GPT2: &str =
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    #[test]
    fn splits_as_the_published_patterns_do() {
        assert_eq!(
            words(&[GPT2], "I'll  say\n\n hi!! 123x "),
            ["I", "'ll", " ", " say", "\n\n", " hi", "!!", " 123", "x", " "]
        );
        let folded = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+|.?";
        assert!(Pattern::parse(folded).is_err());
        let folded = &folded[..folded.len() - 3];
        assert_eq!(
            words(&[folded], "It'S a\t12345 \n x"),
            ["It", "'S", " a", "\t", "123", "45", " \n", " x"]
        );
        let cased = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t)?|\s+";
        assert_eq!(words(&[cased], "fooBar's ABC ÀÉx"), ["foo", "Bar's", " ABC", " ÀÉx"]);
        assert_eq!(words(&[r"\p{N}", GPT2], "a 12b"), ["a", " ", "1", "2", "b"]);
    }

    #[test]
    fn every_byte_is_in_exactly_one_word() {
        let text = "  x\u{301}y — 中文 ١٢٣ 'Re\t\r\n\u{85}\u{a0} 😀😀a";
        assert_eq!(words(&[GPT2], text).concat(), text);
    }

    #[test]
    fn what_is_outside_the_language_is_refused() {
        for (pattern, says) in [
            (r"(a)\1", "`\\1`"),
            (r"(?<=a)b", "group of another kind"),
            (r"(a+)+b", "repeated group"),
            (r"a*?b", "lazy"),
            (r"a*", "nothing at all"),
            (r"", "nothing at all"),
            (r"a|", "nothing at all"),
            (r"(?!ab)c", "more than one character"),
            (r"[a", "unmatched `[`"),
            (r"(a", "unmatched `(`"),
            (r"a)", "unmatched `)`"),
            (r"a{5", "unmatched `{`"),
            (r"a{2000}", "at most 1000"),
            (r"[z-a]", "backwards"),
            (r"\x{d800}", "no character"),
            (r"\p{Han}", "`Han`"),
            (r"[[a]b]", "bracket"),
            (r"a.b", "`.`"),
            (r"\", "backslash"),
        ] {
            let problem = Pattern::parse(pattern).unwrap_err();
            assert!(problem.contains(says), "{pattern}: {problem}");
        }
    }

    #[test]
    fn a_slow_pattern_stops_instead_of_hanging() {
        let mut splitter = Splitter::whole();
        splitter.push(Pattern::parse(r"a*a*a*a*a*b").unwrap(), Keep::Both);
        assert!(splitter.words(&"a".repeat(10_000), &mut |_, _| {}).is_err());
        let mut splitter = Splitter::whole();
        splitter.push(Pattern::parse(GPT2).unwrap(), Keep::Both);
        for text in [" ", "\n", "a", "'", "\u{301}", "A "] {
            assert!(splitter.words(&text.repeat(200_000), &mut |_, _| {}).is_ok(), "{text:?}");
        }
    }
}
