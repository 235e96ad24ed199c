//! Values as text: as `{{ }}` prints them, as Python's `repr`, and as JSON.

use std::borrow::Cow;

use super::value::Value;
use super::{Budget, Outcome, Problem};

/// Joins a value to `out` as printing does it.
pub(super) fn print(value: &Value, out: &mut String, budget: &mut Budget) -> Outcome<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Text(text) => budget.push(out, text),
        other => repr(other, out, budget),
    }
}

/// A value as printing does it.
pub(super) fn string(value: &Value, budget: &mut Budget) -> Outcome<String> {
    let mut out = String::new();
    print(value, &mut out, budget)?;
    Ok(out)
}

fn repr(value: &Value, out: &mut String, budget: &mut Budget) -> Outcome<()> {
    budget.steps(1)?;
    match value {
        Value::Undefined(_) => budget.push(out, "Undefined"),
        Value::None => budget.push(out, "None"),
        Value::Bool(true) => budget.push(out, "True"),
        Value::Bool(false) => budget.push(out, "False"),
        Value::Whole(number) => budget.push(out, &number.to_string()),
        Value::Float(number) => budget.push(out, &float(*number)),
        Value::Text(text) => quoted(text, out, budget),
        Value::List(seq) => list("[", "]", &seq.items, out, budget, repr),
        Value::Tuple(seq) => {
            let end = if seq.items.len() == 1 { ",)" } else { ")" };
            list("(", end, &seq.items, out, budget, repr)
        }
        Value::Dict(map) => {
            list("{", "}", &map.entries, out, budget, |(key, value), out, budget| {
                repr(key, out, budget)?;
                budget.push(out, ": ")?;
                repr(value, out, budget)
            })
        }
        other => Problem::wrong(format!("prints {}", other.kind())),
    }
}

/// Items with `, ` between them.
fn list<T>(
    begin: &str,
    end: &str,
    items: &[T],
    out: &mut String,
    budget: &mut Budget,
    mut item: impl FnMut(&T, &mut String, &mut Budget) -> Outcome<()>,
) -> Outcome<()> {
    budget.push(out, begin)?;
    for (i, value) in items.iter().enumerate() {
        if i > 0 {
            budget.push(out, ", ")?;
        }
        item(value, out, budget)?;
    }
    budget.push(out, end)
}

/// A text as Python's `repr` has it.
fn quoted(text: &str, out: &mut String, budget: &mut Budget) -> Outcome<()> {
    // An escape takes up to ten bytes for one.
    budget.bytes(text.len())?;
    budget.rewrite(text)?;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let start = out.len();
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    budget.bytes(out.len() - start)
}

/// Python's `str.isprintable`, for the characters that texts hold: spaces but the plain one,
/// control and format characters are not.
fn is_printable(c: char) -> bool {
    let hidden = c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}');
    !hidden
}

/// A number as Python's `repr` has it: the shortest digits that give it back.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// How JSON is laid out.
pub(super) struct Json {
    /// What one level is indented by; without it all stands on one line.
    pub(super) indent: Option<String>,
    /// Between items, and between key and value.
    pub(super) separators: (String, String),
    pub(super) sort_keys: bool,
    /// Writes what is not ASCII as escapes.
    pub(super) ascii: bool,
}

impl Json {
    /// A value as Python's `json.dumps` has it.
    pub(super) fn dumps(&self, value: &Value, budget: &mut Budget) -> Outcome<String> {
        let mut out = String::new();
        self.value(value, 0, &mut out, budget)?;
        Ok(out)
    }

    fn value(
        &self,
        value: &Value,
        level: usize,
        out: &mut String,
        budget: &mut Budget,
    ) -> Outcome<()> {
        budget.steps(1)?;
        match value {
            Value::None => budget.push(out, "null"),
            Value::Bool(true) => budget.push(out, "true"),
            Value::Bool(false) => budget.push(out, "false"),
            Value::Whole(number) => budget.push(out, &number.to_string()),
            Value::Float(number) if number.is_nan() => budget.push(out, "NaN"),
            Value::Float(number) if number.is_infinite() => {
                budget.push(out, if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Value::Float(number) => budget.push(out, &float(*number)),
            Value::Text(text) => self.quoted(text, out, budget),
            Value::List(seq) | Value::Tuple(seq) => {
                self.group(["[", "]"], &seq.items, level, out, budget, |json, item, out, budget| {
                    json.value(item, level + 1, out, budget)
                })
            }
            Value::Dict(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for (key, value) in &map.entries {
                    entries.push((json_key(key)?, value));
                }
                if self.sort_keys {
                    budget.steps(entries.len())?;
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.group(["{", "}"], &entries, level, out, budget, |json, entry, out, budget| {
                    json.quoted(&entry.0, out, budget)?;
                    budget.push(out, &json.separators.1)?;
                    json.value(entry.1, level + 1, out, budget)
                })
            }
            other => Problem::wrong(format!("writes {} as JSON", other.kind())),
        }
    }

    fn group<T>(
        &self,
        [begin, end]: [&str; 2],
        items: &[T],
        level: usize,
        out: &mut String,
        budget: &mut Budget,
        item: impl Fn(&Self, &T, &mut String, &mut Budget) -> Outcome<()>,
    ) -> Outcome<()> {
        budget.push(out, begin)?;
        for (i, value) in items.iter().enumerate() {
            if i > 0 {
                budget.push(out, &self.separators.0)?;
            }
            self.line(level + 1, out, budget)?;
            item(self, value, out, budget)?;
        }
        if !items.is_empty() {
            self.line(level, out, budget)?;
        }
        budget.push(out, end)
    }

    fn line(&self, level: usize, out: &mut String, budget: &mut Budget) -> Outcome<()> {
        if let Some(indent) = &self.indent {
            budget.push(out, "\n")?;
            for _ in 0..level {
                budget.push(out, indent)?;
            }
        }
        Ok(())
    }

    fn quoted(&self, text: &str, out: &mut String, budget: &mut Budget) -> Outcome<()> {
        budget.bytes(text.len())?;
        budget.rewrite(text)?;
        let start = out.len();
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
        budget.bytes(out.len() - start)
    }
}

fn json_key(key: &Value) -> Outcome<Cow<'_, str>> {
    match key {
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        Value::Whole(number) => Ok(Cow::Owned(number.to_string())),
        Value::Float(number) => Ok(Cow::Owned(float(*number))),
        Value::Bool(value) => Ok(Cow::Owned(value.to_string())),
        Value::None => Ok(Cow::Borrowed("null")),
        other => Problem::wrong(format!("writes {} as a key of JSON", other.kind())),
    }
}
