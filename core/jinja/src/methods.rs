//! The methods of texts, dicts and lists.

use super::functions::Given;
use super::lexer::is_space;
use super::value::{Map, Seq, Value, equal};
use super::{Budget, Outcome, Problem};

const OF_TEXT: [&str; 29] = [
    "capitalize",
    "count",
    "endswith",
    "find",
    "index",
    "isalnum",
    "isalpha",
    "isdigit",
    "islower",
    "isspace",
    "isupper",
    "join",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
];
const OF_DICT: [&str; 4] = ["get", "items", "keys", "values"];
const OF_LIST: [&str; 2] = ["count", "index"];

/// The methods that a value has.
fn known(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Text(_) => &OF_TEXT,
        Value::Dict(_) => &OF_DICT,
        Value::List(_) | Value::Tuple(_) => &OF_LIST,
        _ => &[],
    }
}

/// Whether a value has a method of this name.
pub(super) fn has(value: &Value, name: &str) -> bool {
    known(value).contains(&name)
}

/// `value.name(given)`
pub(super) fn call(value: &Value, given: Given, budget: &mut Budget) -> Outcome<Value> {
    let name = given.name.clone();
    if !has(value, &name) {
        let what = format!("the method `{name}` of {}", value.kind());
        return match known(value) {
            [] => Problem::wrong(format!("calls `{name}` of {}", value.kind())),
            known => Problem::unknown(what, known),
        };
    }
    match value {
        Value::Text(text) => of_text(text, &name, given, budget),
        Value::Dict(map) => of_dict(map, &name, given, budget),
        Value::List(seq) | Value::Tuple(seq) => of_list(seq, &name, given, budget),
        _ => Problem::wrong(format!("calls `{name}` of {}", value.kind())),
    }
}

fn of_dict(map: &Map, name: &str, given: Given, budget: &mut Budget) -> Outcome<Value> {
    if name == "get" {
        let [Some(key), default] = given.bind(["key", "default"])? else {
            return Problem::wrong("calls `get` without a key");
        };
        let found = map.get(&key, budget)?.cloned();
        return Ok(found.or(default).unwrap_or(Value::None));
    }
    given.nothing()?;
    match name {
        "keys" => budget.list(map.entries.iter().map(|(key, _)| key.clone()).collect()),
        "values" => budget.list(map.entries.iter().map(|(_, value)| value.clone()).collect()),
        _ => items(map, budget),
    }
}

/// The entries of a dict as pairs.
pub(super) fn items(map: &Map, budget: &mut Budget) -> Outcome<Value> {
    let mut pairs = Vec::new();
    for (key, value) in &map.entries {
        pairs.push(budget.tuple(vec![key.clone(), value.clone()])?);
    }
    budget.list(pairs)
}

fn of_list(seq: &Seq, name: &str, given: Given, budget: &mut Budget) -> Outcome<Value> {
    let [Some(wanted)] = given.bind(["value"])? else {
        return Problem::wrong(format!("calls `{name}` without a value"));
    };
    let mut count = 0;
    for (at, item) in seq.items.iter().enumerate() {
        if equal(item, &wanted, budget)? {
            if name == "index" {
                return Ok(Value::Whole(at as i64));
            }
            count += 1;
        }
    }
    match name {
        "index" => Problem::wrong("looks for the index of what is not in the list"),
        _ => Ok(Value::Whole(count)),
    }
}

fn of_text(text: &str, name: &str, given: Given, budget: &mut Budget) -> Outcome<Value> {
    budget.scan(text)?;
    let all = |test: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(test));
    // Case is told by the letters that have one.
    let cased = |test: fn(char) -> bool| {
        let mut letters = text.chars().filter(|c| c.is_uppercase() || c.is_lowercase()).peekable();
        Value::Bool(letters.peek().is_some() && letters.all(test))
    };
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = given.bind(["chars"])?;
            let (left, right) = (name != "rstrip", name != "lstrip");
            let text = strip(text, chars.as_ref(), left, right, budget)?;
            budget.text(text)
        }
        "split" | "rsplit" => split(text, given, name == "rsplit", budget),
        "startswith" | "endswith" => {
            let [Some(affix)] = given.bind(["affix"])? else {
                return Problem::wrong(format!("calls `{name}` without a text"));
            };
            let mut matches = |affix: &Value| {
                let Some(affix) = affix.text() else {
                    return Problem::wrong(format!("calls `{name}` with {}", affix.kind()));
                };
                budget.steps(1)?;
                budget.scan(affix)?;
                Ok(match name {
                    "startswith" => text.starts_with(affix),
                    _ => text.ends_with(affix),
                })
            };
            match &affix {
                Value::Tuple(seq) => {
                    for affix in &seq.items {
                        if matches(affix)? {
                            return Ok(Value::Bool(true));
                        }
                    }
                    Ok(Value::Bool(false))
                }
                affix => Ok(Value::Bool(matches(affix)?)),
            }
        }
        "removeprefix" | "removesuffix" => {
            let affix = one_text(given, budget)?;
            let rest = match name {
                "removeprefix" => text.strip_prefix(&*affix),
                _ => text.strip_suffix(&*affix),
            };
            budget.text(rest.unwrap_or(text))
        }
        "replace" => {
            let [Some(old), Some(new), count] = given.bind(["old", "new", "count"])? else {
                return Problem::wrong("calls `replace` without two texts");
            };
            let (Some(old), Some(new)) = (old.text(), new.text()) else {
                return Problem::wrong("calls `replace` with what is no text");
            };
            replace(text, old, new, count.as_ref(), budget)
        }
        "find" | "rfind" | "index" | "count" => {
            let wanted = one_text(given, budget)?;
            if name == "count" {
                return Ok(Value::Whole(matches(text, &wanted, usize::MAX, budget)? as i64));
            }
            let at = match name {
                "rfind" => text.rfind(&*wanted),
                _ => text.find(&*wanted),
            };
            match at {
                Some(at) => Ok(Value::Whole(text[..at].chars().count() as i64)),
                None if name == "index" => Problem::wrong("looks for a text that is not there"),
                None => Ok(Value::Whole(-1)),
            }
        }
        "partition" | "rpartition" => {
            let between = one_text(given, budget)?;
            let cut = match name {
                "partition" => text.split_once(&*between),
                _ => text.rsplit_once(&*between),
            };
            let parts = match (cut, name) {
                (Some((before, after)), _) => [before, &between, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            let mut values = Vec::new();
            for part in parts {
                values.push(budget.text(part)?);
            }
            budget.tuple(values)
        }
        "join" => {
            let [Some(items)] = given.bind(["iterable"])? else {
                return Problem::wrong("calls `join` without a list");
            };
            let items = items.items(budget)?;
            let mut out = String::new();
            for (i, item) in items.items.iter().enumerate() {
                budget.steps(1)?;
                let Some(item) = item.text() else {
                    return Problem::wrong(format!("joins {} to a text", item.kind()));
                };
                if i > 0 {
                    budget.push(&mut out, text)?;
                }
                budget.push(&mut out, item)?;
            }
            budget.text(&out)
        }
        other => {
            if other != "splitlines" {
                given.nothing()?;
            } else {
                let [None | Some(Value::Bool(false))] = given.bind(["keepends"])? else {
                    return Problem::unknown(
                        "`splitlines` that keeps line ends",
                        &["splitlines()"],
                    );
                };
            }
            budget.rewrite(text)?;
            match other {
                "upper" => budget.text(&text.to_uppercase()),
                "lower" => budget.text(&text.to_lowercase()),
                "capitalize" => budget.text(&capitalize(text)),
                "title" => budget.text(&title(text)),
                "swapcase" => budget.text(&swapcase(text)),
                "splitlines" => list(lines(text), budget),
                "isdigit" => Ok(all(|c| c.is_ascii_digit())),
                "isalpha" => Ok(all(char::is_alphabetic)),
                "isalnum" => Ok(all(char::is_alphanumeric)),
                "isspace" => Ok(all(is_space)),
                "isupper" => Ok(cased(char::is_uppercase)),
                _ => Ok(cased(char::is_lowercase)),
            }
        }
    }
}

/// The one argument, which is a text and is read once.
fn one_text(given: Given, budget: &mut Budget) -> Outcome<std::sync::Arc<str>> {
    let name = given.name.clone();
    match given.bind(["text"])? {
        [Some(Value::Text(text))] => {
            budget.scan(&text)?;
            Ok(text)
        }
        _ => Problem::wrong(format!("calls `{name}` without a text")),
    }
}

/// Python's `strip`: white space, or the characters that are named.
pub(super) fn strip<'t>(
    text: &'t str,
    chars: Option<&Value>,
    left: bool,
    right: bool,
    budget: &mut Budget,
) -> Outcome<&'t str> {
    let chars = match chars {
        None | Some(Value::None) => None,
        Some(Value::Text(chars)) => Some(&**chars),
        Some(other) => return Problem::wrong(format!("strips {}", other.kind())),
    };
    // Each character of the text is looked for among those that are named.
    budget.steps(text.len().saturating_mul(1 + chars.map_or(0, str::len)) / 32)?;
    let strips = |c: char| chars.map_or(is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(strips) } else { text };
    Ok(if right { text.trim_end_matches(strips) } else { text })
}

/// How often `part` stands in `text`, up to `most`.
fn matches(text: &str, part: &str, most: usize, budget: &mut Budget) -> Outcome<usize> {
    budget.scan(text)?;
    budget.scan(part)?;
    let count = text.matches(part).take(most).count();
    budget.steps(count / 16)?;
    Ok(count)
}

/// Python's `replace`, a count below 0 being all.
pub(super) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: Option<&Value>,
    budget: &mut Budget,
) -> Outcome<Value> {
    let most = match count {
        None | Some(Value::None) => usize::MAX,
        Some(count) => match count.whole() {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            None => return Problem::wrong(format!("replaces {} times", count.kind())),
        },
    };
    let times = matches(text, old, most, budget)?;
    budget.bytes(text.len().saturating_add(times.saturating_mul(new.len())))?;
    budget.text(&text.replacen(old, new, most))
}

fn list<'t>(parts: impl Iterator<Item = &'t str>, budget: &mut Budget) -> Outcome<Value> {
    let mut values = Vec::new();
    for part in parts {
        budget.steps(1)?;
        values.push(budget.text(part)?);
    }
    budget.list(values)
}

/// Python's `split` and `rsplit`.
fn split<'t>(text: &'t str, given: Given, from_end: bool, budget: &mut Budget) -> Outcome<Value> {
    let [between, most] = given.bind(["sep", "maxsplit"])?;
    let most = most.as_ref().and_then(Value::whole).unwrap_or(-1);
    let most = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts = Vec::new();
    match between.unwrap_or(Value::None) {
        Value::None => {
            // Runs of white space count as one, and those at the ends as none; what is left when
            // `maxsplit` is reached keeps the white space on its far side.
            let near = |rest: &'t str| match from_end {
                true => rest.trim_end_matches(is_space),
                false => rest.trim_start_matches(is_space),
            };
            let mut rest = near(text);
            while !rest.is_empty() {
                budget.steps(1)?;
                budget.bytes(size_of::<&str>())?;
                let cut = match from_end {
                    _ if parts.len() + 1 == most => None,
                    true => rest
                        .char_indices()
                        .rfind(|(_, c)| is_space(*c))
                        .map(|(at, c)| (&rest[at + c.len_utf8()..], &rest[..at])),
                    false => rest.find(is_space).map(|at| (&rest[..at], &rest[at..])),
                };
                let (part, others) = cut.unwrap_or((rest, ""));
                parts.push(part);
                rest = near(others);
            }
        }
        Value::Text(between) if between.is_empty() => {
            return Problem::wrong("splits at an empty text");
        }
        Value::Text(between) if from_end => {
            budget.scan(&between)?;
            for part in text.rsplitn(most, &*between) {
                budget.bytes(size_of::<&str>())?;
                parts.push(part);
            }
        }
        Value::Text(between) => {
            budget.scan(&between)?;
            return list(text.splitn(most, &*between), budget);
        }
        other => return Problem::wrong(format!("splits at {}", other.kind())),
    }
    if from_end {
        parts.reverse();
    }
    list(parts.into_iter(), budget)
}

/// Python's `splitlines`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find(ends) else {
            return Some(std::mem::take(&mut rest));
        };
        let line = &rest[..at];
        let end = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        rest = &rest[at + end..];
        Some(line)
    })
}

/// The first character in upper case, the others in lower case.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

/// Each letter after what is none in upper case, the others in lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_uppercase() || c.is_lowercase();
    }
    out
}

fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
    }
    out
}
