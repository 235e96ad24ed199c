//! Source -> tokens, one at a time: text between tags, and what stands in the tags.

use std::borrow::Cow;

use super::{MAX_NAME, Outcome, Problem};

/// A token; its text is a piece of the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// Text between tags, with the white space around tags already taken off.
    Text(&'s str),
    /// `{{`
    PrintBegin,
    /// `}}`
    PrintEnd,
    /// `{%`
    TagBegin,
    /// `%}`
    TagEnd,
    Name(&'s str),
    /// What stands between the quotes, escapes as they are.
    Quoted(&'s str),
    Whole(i64),
    Float(f64),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Operators and brackets, longer ones before their beginnings.
const SIGNS: [&str; 23] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":",
];
const MORE_SIGNS: [&str; 2] = ["|", ","];

/// Where the lexer stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Print,
    Tag,
}

/// Line ends as jinja2 makes them: all are `\n`, and one at the end is left out.
pub(super) fn normalize(source: &str) -> Cow<'_, str> {
    let source = match source.contains('\r') {
        true => Cow::Owned(source.replace("\r\n", "\n").replace('\r', "\n")),
        false => Cow::Borrowed(source),
    };
    match source {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.ends_with('\n') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

/// White space as Python's `str.isspace` has it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// Lines before `at`, from 1.
    line: usize,
    place: Place,
    /// Open brackets of a tag: within them `}}` and `%}` end nothing.
    brackets: usize,
    /// Whether what was read last ended a line.
    line_begins: bool,
    /// A token that follows the text that was given out.
    next: Option<Token<'s>>,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Lexer<'s> {
        let place = Place::Text;
        Lexer { source, at: 0, line: 1, place, brackets: 0, line_begins: true, next: None }
    }

    /// The line of what was read last.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn next(&mut self) -> Outcome<Token<'s>> {
        if let Some(token) = self.next.take() {
            return Ok(token);
        }
        match self.place {
            Place::Text => self.text(),
            Place::Print | Place::Tag => self.inner(),
        }
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// Goes over the next bytes.
    fn skip(&mut self, bytes: usize) {
        let read = &self.source[self.at..self.at + bytes];
        self.line += read.bytes().filter(|byte| *byte == b'\n').count();
        if let Some(last) = read.bytes().last() {
            self.line_begins = last == b'\n';
        }
        self.at += bytes;
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Text up to the next tag; comments and raw parts are done with on the way.
    fn text(&mut self) -> Outcome<Token<'s>> {
        loop {
            let rest = self.rest();
            let Some(length) = tag_begin(rest) else {
                self.skip(rest.len());
                self.next = Some(Token::End);
                return Ok(Token::Text(rest));
            };
            let (open, after) = (&rest[length..length + 2], &rest[length + 2..]);
            let sign = after.chars().next().filter(|c| matches!(c, '-' | '+'));
            let text = self.trimmed(&rest[..length], sign, open != "{{");
            self.skip(length + 2 + sign.map_or(0, char::len_utf8));
            match open {
                "{{" => (self.place, self.next) = (Place::Print, Some(Token::PrintBegin)),
                "{#" => self.comment()?,
                _ => match raw_begin(self.rest()) {
                    Some((bytes, trim)) => {
                        self.skip(bytes);
                        if trim {
                            self.skip_spaces();
                        }
                        let raw = self.raw()?;
                        self.next = (!raw.is_empty()).then_some(Token::Text(raw));
                    }
                    None => (self.place, self.next) = (Place::Tag, Some(Token::TagBegin)),
                },
            }
            if !text.is_empty() {
                return Ok(Token::Text(text));
            }
            if let Some(token) = self.next.take() {
                return Ok(token);
            }
        }
    }

    /// Text before a tag: `-` takes all white space off its end, and a tag that is first in its
    /// line takes what indents it, unless `+` says no.
    fn trimmed(&self, text: &'s str, sign: Option<char>, tag: bool) -> &'s str {
        match sign {
            Some('-') => return text.trim_end_matches(is_space),
            Some(_) => return text,
            None if !tag => return text,
            None => {}
        }
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        match (line > 0 || self.line_begins) && text[line..].chars().all(is_space) {
            true => &text[..line],
            false => text,
        }
    }

    /// What follows the `%}` or `#}` of a tag: `-` before it takes all white space, and else one
    /// line end goes, unless `+` says no.
    fn after_tag(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_spaces(),
            Some(_) => {}
            None if self.rest().starts_with('\n') => self.skip(1),
            None => {}
        }
    }

    fn comment(&mut self) -> Outcome<()> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else {
            return Problem::wrong("has a comment without an end");
        };
        let sign = rest[..end].chars().last().filter(|c| matches!(c, '-' | '+'));
        self.skip(end + 2);
        self.after_tag(sign);
        Ok(())
    }

    /// The text up to `{% endraw %}`.
    fn raw(&mut self) -> Outcome<&'s str> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(at) = rest[from..].find("{%").map(|at| from + at) {
            let inner = &rest[at + 2..];
            let sign = inner.chars().next().filter(|c| matches!(c, '-' | '+'));
            let inner = &inner[sign.map_or(0, char::len_utf8)..];
            let name = inner.trim_start_matches(is_space);
            if let Some(end) = name.strip_prefix("endraw") {
                let end = end.trim_start_matches(is_space);
                let close = end.chars().next().filter(|c| matches!(c, '-' | '+'));
                let end = &end[close.map_or(0, char::len_utf8)..];
                if let Some(end) = end.strip_prefix("%}") {
                    let text = self.trimmed(&rest[..at], sign, true);
                    self.skip(rest.len() - end.len());
                    self.after_tag(close);
                    return Ok(text);
                }
            }
            from = at + 2;
        }
        Problem::wrong("has a `raw` without an `endraw`")
    }

    /// A token of a tag.
    fn inner(&mut self) -> Outcome<Token<'s>> {
        self.skip_spaces();
        let rest = self.rest();
        let Some(c) = rest.chars().next() else {
            return match self.place {
                Place::Print => Problem::wrong("has a `{{` without its `}}`"),
                _ => Problem::wrong("has a `{%` without its `%}`"),
            };
        };
        if self.brackets == 0
            && let Some(token) = self.tag_end(rest)
        {
            return Ok(token);
        }
        if c.is_ascii_digit() {
            return self.number(rest);
        }
        if c == '_' || c.is_alphanumeric() {
            let other = |c: char| c != '_' && !c.is_alphanumeric();
            let name = &rest[..rest.find(other).unwrap_or(rest.len())];
            if name.len() > MAX_NAME {
                return Problem::wrong(format!("has a name of more than {MAX_NAME} bytes"));
            }
            self.skip(name.len());
            return Ok(Token::Name(name));
        }
        if matches!(c, '\'' | '"') {
            return self.quoted(rest, c);
        }
        let Some(sign) = SIGNS.iter().chain(&MORE_SIGNS).find(|sign| rest.starts_with(**sign))
        else {
            return Problem::wrong(format!("has `{}` in a tag", c.escape_debug()));
        };
        match *sign {
            "(" | "[" | "{" => self.brackets += 1,
            ")" | "]" | "}" => match self.brackets.checked_sub(1) {
                Some(left) => self.brackets = left,
                None => return Problem::wrong(format!("has a `{sign}` that closes nothing")),
            },
            _ => {}
        }
        self.skip(sign.len());
        Ok(Token::Sign(sign))
    }

    fn tag_end(&mut self, rest: &'s str) -> Option<Token<'s>> {
        let print = self.place == Place::Print;
        let end = if print { "}}" } else { "%}" };
        let sign = rest.chars().next().filter(|c| *c == '-' || (*c == '+' && !print));
        let inner = &rest[sign.map_or(0, char::len_utf8)..];
        if !inner.starts_with(end) {
            return None;
        }
        self.skip(rest.len() - inner.len() + 2);
        self.place = Place::Text;
        if !print {
            self.after_tag(sign);
            return Some(Token::TagEnd);
        }
        if sign.is_some() {
            self.skip_spaces();
        }
        Some(Token::PrintEnd)
    }

    fn number(&mut self, rest: &'s str) -> Outcome<Token<'s>> {
        let digits = |text: &str| text.find(|c| c != '_' && !char::is_ascii_digit(&c));
        let digits = |text: &str| digits(text).unwrap_or(text.len());
        let mut length = digits(rest);
        let mut float = false;
        if let Some(fraction) = rest[length..].strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            (float, length) = (true, length + 1 + digits(fraction));
        }
        if let Some(exponent) = rest[length..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            if exponent[sign..].starts_with(|c: char| c.is_ascii_digit()) {
                (float, length) = (true, length + 1 + sign + digits(&exponent[sign..]));
            }
        }
        let text = rest[..length].replace('_', "");
        self.skip(length);
        let token = match float {
            true => text.parse().ok().map(Token::Float),
            false => text.parse().ok().map(Token::Whole),
        };
        match token {
            Some(token) => Ok(token),
            None => Problem::wrong("has a number of more than 64 bits"),
        }
    }

    fn quoted(&mut self, rest: &'s str, quote: char) -> Outcome<Token<'s>> {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.skip(at + 1);
                    return Ok(Token::Quoted(&rest[1..at]));
                }
                _ => {}
            }
        }
        Problem::wrong("has a text without its closing quote")
    }
}

/// Where the first `{{`, `{%` or `{#` stands.
fn tag_begin(text: &str) -> Option<usize> {
    let pairs = text.as_bytes().windows(2);
    pairs.into_iter().position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The length of `raw %}` and whether white space after it goes, where it stands.
fn raw_begin(text: &str) -> Option<(usize, bool)> {
    let inner = text.trim_start_matches(is_space).strip_prefix("raw")?;
    let inner = inner.trim_start_matches(is_space);
    let trim = inner.starts_with('-');
    let rest = inner.strip_prefix('-').unwrap_or(inner).strip_prefix("%}")?;
    Some((text.len() - rest.len(), trim))
}

/// A quoted text with its escapes resolved, as Python's `unicode-escape` codec does it.
pub(super) fn unescape(text: &str) -> Outcome<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let Some(c) = chars.next() else { break };
        rest = chars.as_str();
        let hex = |length: usize, rest: &mut &str| -> Outcome<char> {
            let digits = rest.get(..length).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
            let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            match code.and_then(char::from_u32) {
                Some(c) => {
                    *rest = &rest[length..];
                    Ok(c)
                }
                None => Problem::wrong(format!("has an escape `\\{c}` without a character")),
            }
        };
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            'x' => out.push(hex(2, &mut rest)?),
            'u' => out.push(hex(4, &mut rest)?),
            'U' => out.push(hex(8, &mut rest)?),
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let digits = rest[..more].bytes().map(|b| u32::from(b - b'0'));
                let code = digits.fold(c as u32 - '0' as u32, |code, digit| code * 8 + digit);
                out.push(char::from_u32(code).unwrap_or('\0'));
                rest = &rest[more..];
            }
            'N' => return Problem::unknown("the escape `\\N`", &["\\x", "\\u", "\\U"]),
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}
