//! The filters (`value | name`) and tests (`value is name`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::functions::Given;
use super::lexer::is_space;
use super::machine::Machine;
use super::tree::Comparison;
use super::value::{Value, compare, equal, item, order};
use super::write::{Json, string};
use super::{Budget, Outcome, Problem, methods};

const FILTERS: [&str; 35] = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

const TESTS: [&str; 27] = [
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
];

/// `value | name(given)`
#[inline(never)]
pub(super) fn filter(machine: &mut Machine, value: Value, given: Given) -> Outcome<Value> {
    let name = given.name.clone();
    let budget = &mut machine.budget;
    match &*name {
        "default" | "d" => {
            let [default, boolean] = given.bind(["default_value", "boolean"])?;
            let boolean = boolean.is_some_and(|boolean| boolean.is_true());
            let missing = matches!(value, Value::Undefined(_)) || (boolean && !value.is_true());
            match missing {
                true => Ok(default.unwrap_or(Value::Text(Arc::from("")))),
                false => Ok(value),
            }
        }
        "length" | "count" => {
            given.nothing()?;
            Ok(Value::Whole(value.len(budget)? as i64))
        }
        "string" | "safe" => {
            given.nothing()?;
            let text = string(&value, budget)?;
            budget.text(&text)
        }
        "upper" => given.nothing().and_then(|()| text(value, budget, |text| text.to_uppercase())),
        "lower" => given.nothing().and_then(|()| text(value, budget, |text| text.to_lowercase())),
        "capitalize" => {
            given.nothing()?;
            text(value, budget, |text| methods::capitalize(&text))
        }
        "title" => given.nothing().and_then(|()| text(value, budget, |text| title(&text))),
        "trim" => {
            let [chars] = given.bind(["chars"])?;
            let text = string(&value, budget)?;
            let text = methods::strip(&text, chars.as_ref(), true, true, budget)?;
            budget.text(text)
        }
        "replace" => {
            let [Some(old), Some(new), count] = given.bind(["old", "new", "count"])? else {
                return Problem::wrong("replaces without two texts");
            };
            let (old, new) = (string(&old, budget)?, string(&new, budget)?);
            let text = string(&value, budget)?;
            methods::replace(&text, &old, &new, count.as_ref(), budget)
        }
        "indent" => indent(&value, given, budget),
        "tojson" => tojson(&value, given, budget),
        "int" => {
            let [default] = given.bind(["default"])?;
            Ok(whole(&value, budget)?.unwrap_or(default.unwrap_or(Value::Whole(0))))
        }
        "float" => {
            let [default] = given.bind(["default"])?;
            let number = match &value {
                Value::Text(text) => parse_float(text, budget)?,
                other => other.number(),
            };
            Ok(number.map_or(default.unwrap_or(Value::Float(0.0)), Value::Float))
        }
        "round" => round(&value, given),
        "abs" => {
            given.nothing()?;
            match (value.whole().map(i64::checked_abs), value.number()) {
                (Some(Some(number)), _) => Ok(Value::Whole(number)),
                (None, Some(number)) => Ok(Value::Float(number.abs())),
                _ => Problem::wrong(format!("takes `abs` of {}", value.kind())),
            }
        }
        "items" => {
            given.nothing()?;
            match &value {
                Value::Dict(map) => methods::items(map, budget),
                Value::Undefined(_) => budget.list(vec![]),
                other => Problem::wrong(format!("takes the entries of {}", other.kind())),
            }
        }
        "list" => {
            given.nothing()?;
            Ok(Value::List(value.items(budget)?))
        }
        "first" | "last" => {
            given.nothing()?;
            let items = value.items(budget)?;
            let found = if &*name == "first" { items.items.first() } else { items.items.last() };
            Ok(found.cloned().unwrap_or_else(|| Value::undefined("an item of an empty list")))
        }
        "reverse" => {
            given.nothing()?;
            match &value {
                Value::Text(text) => {
                    budget.rewrite(text)?;
                    budget.text(&text.chars().rev().collect::<String>())
                }
                other => {
                    let items = other.items(budget)?;
                    budget.list(items.items.iter().rev().cloned().collect())
                }
            }
        }
        "join" => join(machine, &value, given),
        "dictsort" => dictsort(&value, given, budget),
        "map" | "select" | "reject" | "selectattr" | "rejectattr" | "sort" | "unique" | "min"
        | "max" | "sum" => over_items(machine, &value, given),
        _ => Problem::unknown(format!("the filter `{name}`"), &FILTERS),
    }
}

/// The text of a value, changed.
fn text(value: Value, budget: &mut Budget, change: impl Fn(String) -> String) -> Outcome<Value> {
    let text = string(&value, budget)?;
    budget.rewrite(&text)?;
    budget.text(&change(text))
}

/// Each word with a first letter in upper case; words begin after white space, `-` and brackets.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for c in text.chars() {
        match first {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        first = is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out
}

fn indent(value: &Value, given: Given, budget: &mut Budget) -> Outcome<Value> {
    let [width, first, blank] = given.bind(["width", "first", "blank"])?;
    let on = |choice: Option<Value>| choice.is_some_and(|choice| choice.is_true());
    let (first, blank) = (on(first), on(blank));
    let by = spaces(width.as_ref().unwrap_or(&Value::Whole(4)), budget)?;
    let text = string(value, budget)?;
    budget.scan(&text)?;
    // A line is added, so that a line end at the end is kept.
    let last = (text.is_empty() || ends_line(&text)).then_some("");
    let mut out = String::new();
    for (i, line) in methods::lines(&text).chain(last).enumerate() {
        budget.steps(usize::from(i % 16 == 0))?;
        if i > 0 {
            budget.push(&mut out, "\n")?;
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            budget.push(&mut out, &by)?;
        }
        budget.push(&mut out, line)?;
    }
    budget.text(&out)
}

fn ends_line(text: &str) -> bool {
    text.ends_with(['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}'])
        || text.ends_with(['\u{2028}', '\u{2029}'])
}

/// What a width, or a text, indents by.
fn spaces(width: &Value, budget: &mut Budget) -> Outcome<String> {
    match (width, width.whole()) {
        (Value::Text(text), _) => {
            budget.bytes(text.len())?;
            Ok(text.to_string())
        }
        (_, Some(width)) => {
            let width = usize::try_from(width).unwrap_or(0);
            budget.bytes(width)?;
            Ok(" ".repeat(width))
        }
        _ => Problem::wrong(format!("indents by {}", width.kind())),
    }
}

fn tojson(value: &Value, given: Given, budget: &mut Budget) -> Outcome<Value> {
    // transformers has this filter in place of jinja2's, with these arguments.
    let [ascii, indent, separators, sort_keys] =
        given.bind(["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(width) => Some(spaces(&width, budget)?),
    };
    let separators = match separators {
        None | Some(Value::None) if indent.is_some() => (",".to_string(), ": ".to_string()),
        None | Some(Value::None) => (", ".to_string(), ": ".to_string()),
        Some(pair) => match pair.items(budget)?.items.as_slice() {
            [Value::Text(a), Value::Text(b)] => {
                budget.bytes(a.len() + b.len())?;
                (a.to_string(), b.to_string())
            }
            _ => return Problem::wrong("gives `tojson` separators that are no pair of texts"),
        },
    };
    let on = |choice: Option<Value>| choice.is_some_and(|choice| choice.is_true());
    let json = Json { indent, separators, sort_keys: on(sort_keys), ascii: on(ascii) };
    let text = json.dumps(value, budget)?;
    budget.text(&text)
}

/// A whole number, or that in a text.
fn whole(value: &Value, budget: &mut Budget) -> Outcome<Option<Value>> {
    let cut = |number: f64| (number.abs() < 9e18).then_some(number as i64);
    Ok(match value {
        Value::Text(text) => {
            budget.scan(text)?;
            let digits = text.trim_matches(is_space).replace('_', "");
            match digits.parse().ok() {
                Some(number) => Some(number),
                None => parse_float(text, budget)?.and_then(cut),
            }
        }
        Value::Float(number) => cut(*number),
        other => other.whole(),
    }
    .map(Value::Whole))
}

fn parse_float(text: &str, budget: &mut Budget) -> Outcome<Option<f64>> {
    budget.scan(text)?;
    Ok(text.trim_matches(is_space).replace('_', "").parse().ok())
}

fn round(value: &Value, given: Given) -> Outcome<Value> {
    let [precision, method] = given.bind(["precision", "method"])?;
    let precision = precision.as_ref().map_or(Some(0), Value::whole);
    let (Some(number), Some(precision @ 0..=15)) = (value.number(), precision) else {
        return Problem::wrong(format!("rounds {} to other than 0 to 15 digits", value.kind()));
    };
    let scale = 10f64.powi(precision as i32);
    match method.as_ref().and_then(Value::text).unwrap_or("common") {
        "common" if value.whole().is_some() => Ok(value.clone()),
        // Formatting rounds the exact value half to even, as Python does.
        "common" => {
            let digits = format!("{number:.*}", precision as usize);
            Ok(Value::Float(digits.parse().unwrap_or(number)))
        }
        "ceil" => Ok(Value::Float((number * scale).ceil() / scale)),
        "floor" => Ok(Value::Float((number * scale).floor() / scale)),
        other => Problem::wrong(format!("rounds by `{other}`, not `common`, `ceil` or `floor`")),
    }
}

/// The value that a path of names and numbers leads to.
fn at_path(machine: &mut Machine, value: &Value, path: &Value) -> Outcome<Value> {
    let Some(text) = path.text() else {
        return item(value, path, &mut machine.budget);
    };
    // Its names are copied.
    machine.budget.bytes(text.len())?;
    machine.budget.scan(text)?;
    let mut value = value.clone();
    for name in text.split('.') {
        machine.budget.steps(1)?;
        value = match name.parse::<i64>() {
            Ok(index) => item(&value, &Value::Whole(index), &mut machine.budget)?,
            Err(_) => {
                let found = match &value {
                    Value::Dict(map) => {
                        machine.budget.steps(map.entries.len() / 16)?;
                        map.at(name).cloned()
                    }
                    _ => None,
                };
                match found {
                    Some(found) => found,
                    None => machine.attribute(&value, &Arc::from(name))?,
                }
            }
        };
    }
    Ok(value)
}

fn join(machine: &mut Machine, value: &Value, given: Given) -> Outcome<Value> {
    let [between, attribute] = given.bind(["d", "attribute"])?;
    let between = match between {
        Some(between) => string(&between, &mut machine.budget)?,
        None => String::new(),
    };
    let items = value.items(&mut machine.budget)?;
    let mut out = String::new();
    for (i, item) in items.items.iter().enumerate() {
        machine.budget.steps(1)?;
        if i > 0 {
            machine.budget.push(&mut out, &between)?;
        }
        let item = match &attribute {
            Some(path) => &at_path(machine, item, path)?,
            None => item,
        };
        super::write::print(item, &mut out, &mut machine.budget)?;
    }
    machine.budget.text(&out)
}

/// What two values are compared by where case does not count.
fn folded(value: Value, budget: &mut Budget) -> Outcome<Value> {
    match &value {
        Value::Text(text) => {
            budget.rewrite(text)?;
            budget.text(&text.to_lowercase())
        }
        _ => Ok(value),
    }
}

/// The places of the keys in their order; keys of two kinds have none. A merge sort of our own:
/// an order may fail half way, and numbers that are none have no place in it.
fn sorted(keys: &[Value], reverse: bool, budget: &mut Budget) -> Outcome<Vec<usize>> {
    budget.bytes(2 * size_of::<usize>() * keys.len())?;
    let after = if reverse { Ordering::Less } else { Ordering::Greater };
    let mut places: Vec<usize> = (0..keys.len()).collect();
    let mut merged = Vec::with_capacity(keys.len());
    let mut width = 1;
    while width < keys.len() {
        for run in places.chunks(2 * width) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let ([a, others @ ..], [b, more @ ..]) = (left, right) {
                // Of two that are equal the earlier one stays the earlier one.
                if order(&keys[*a], &keys[*b], budget)? == Some(after) {
                    merged.push(*b);
                    right = more;
                } else {
                    merged.push(*a);
                    left = others;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut places, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(places)
}

fn dictsort(value: &Value, given: Given, budget: &mut Budget) -> Outcome<Value> {
    let [case, by, reverse] = given.bind(["case_sensitive", "by", "reverse"])?;
    let on = |choice: Option<Value>| choice.is_some_and(|choice| choice.is_true());
    let (case, reverse) = (on(case), on(reverse));
    let by_value = match by.as_ref().map(|by| by.text()) {
        None | Some(Some("key")) => false,
        Some(Some("value")) => true,
        Some(_) => return Problem::wrong("sorts a dict by other than `key` or `value`"),
    };
    let Value::Dict(map) = value else {
        return Problem::wrong(format!("sorts the entries of {}", value.kind()));
    };
    let mut keys = Vec::new();
    for (key, value) in &map.entries {
        let key = if by_value { value } else { key }.clone();
        keys.push(if case { key } else { folded(key, budget)? });
    }
    let mut pairs = Vec::new();
    for at in sorted(&keys, reverse, budget)? {
        let (key, value) = &map.entries[at];
        pairs.push(budget.tuple(vec![key.clone(), value.clone()])?);
    }
    budget.list(pairs)
}

/// Filters that look at each item of a list.
#[inline(never)]
fn over_items(machine: &mut Machine, value: &Value, given: Given) -> Outcome<Value> {
    let items = value.items(&mut machine.budget)?;
    match &*given.name.clone() {
        "map" => {
            let mut results = Vec::new();
            let mut named = given.named.into_iter();
            match (given.plain.as_slice(), named.next()) {
                ([], Some((name, path))) if &*name == "attribute" => {
                    let default = match (named.next(), named.next()) {
                        (None, _) => None,
                        (Some((name, value)), None) if &*name == "default" => Some(value),
                        _ => return Problem::wrong("gives `map` more than it takes"),
                    };
                    for item in &items.items {
                        let found = at_path(machine, item, &path)?;
                        results.push(match (&found, &default) {
                            (Value::Undefined(_), Some(default)) => default.clone(),
                            _ => found,
                        });
                    }
                }
                ([Value::Text(name), rest @ ..], first) => {
                    let named: Vec<_> = first.into_iter().chain(named).collect();
                    for item in &items.items {
                        let given = Given {
                            name: name.clone(),
                            plain: rest.to_vec(),
                            named: named.clone(),
                        };
                        results.push(machine.filter_one(item.clone(), given)?);
                    }
                }
                _ => return Problem::wrong("gives `map` neither an attribute nor a filter"),
            }
            machine.budget.list(results)
        }
        "select" | "reject" | "selectattr" | "rejectattr" => {
            let wanted = given.name.starts_with("select");
            let mut plain = given.plain.as_slice();
            let mut path = None;
            if given.name.ends_with("attr") {
                let [first, rest @ ..] = plain else {
                    return Problem::wrong(format!("gives `{}` no attribute", given.name));
                };
                (path, plain) = (Some(first), rest);
            }
            let mut kept = Vec::new();
            for item in &items.items {
                machine.budget.steps(1)?;
                let looked = match path {
                    Some(path) => at_path(machine, item, path)?,
                    None => item.clone(),
                };
                let holds = match plain {
                    [] => looked.is_true(),
                    [Value::Text(name), rest @ ..] => {
                        let given =
                            Given { name: name.clone(), plain: rest.to_vec(), named: vec![] };
                        test(machine, &looked, given)?
                    }
                    [other, ..] => {
                        return Problem::wrong(format!("takes {} for a test", other.kind()));
                    }
                };
                if holds == wanted {
                    kept.push(item.clone());
                }
            }
            machine.budget.list(kept)
        }
        "sum" => {
            let [path, start] = given.bind(["attribute", "start"])?;
            let mut sum = start.unwrap_or(Value::Whole(0));
            for item in &items.items {
                let item = match &path {
                    None | Some(Value::None) => item.clone(),
                    Some(path) => at_path(machine, item, path)?,
                };
                let add = super::tree::Operator::Add;
                sum = super::value::arithmetic(add, &sum, &item, &mut machine.budget)?;
            }
            Ok(sum)
        }
        name => {
            let [reverse, case, path] = match name {
                "sort" => given.bind(["reverse", "case_sensitive", "attribute"])?,
                _ => {
                    let [case, path] = given.bind(["case_sensitive", "attribute"])?;
                    [None, case, path]
                }
            };
            let on = |choice: Option<Value>| choice.is_some_and(|choice| choice.is_true());
            let (reverse, case) = (on(reverse), on(case));
            let mut keys = Vec::new();
            for item in &items.items {
                let key = match &path {
                    None | Some(Value::None) => item.clone(),
                    Some(path) => at_path(machine, item, path)?,
                };
                keys.push(if case { key } else { folded(key, &mut machine.budget)? });
            }
            let budget = &mut machine.budget;
            let item = |at: usize| items.items[at].clone();
            match name {
                "sort" => {
                    let places = sorted(&keys, reverse, budget)?;
                    budget.list(places.into_iter().map(item).collect())
                }
                "unique" => {
                    let mut kept: Vec<usize> = Vec::new();
                    'items: for at in 0..keys.len() {
                        for known in &kept {
                            if equal(&keys[*known], &keys[at], budget)? {
                                continue 'items;
                            }
                        }
                        kept.push(at);
                    }
                    budget.list(kept.into_iter().map(item).collect())
                }
                _ => {
                    let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
                    let mut best = None;
                    for at in 0..keys.len() {
                        let better = match best {
                            Some(best) => order(&keys[at], &keys[best], budget)? == Some(wanted),
                            None => true,
                        };
                        if better {
                            best = Some(at);
                        }
                    }
                    Ok(best.map_or_else(|| Value::undefined("an item of an empty list"), item))
                }
            }
        }
    }
}

/// `value is name(given)`
#[inline(never)]
pub(super) fn test(machine: &mut Machine, value: &Value, given: Given) -> Outcome<bool> {
    let name = given.name.clone();
    let budget = &mut machine.budget;
    let comparison = match &*name {
        "eq" | "equalto" | "==" => Some(Comparison::Equal),
        "ne" | "!=" => Some(Comparison::Unequal),
        "lt" | "lessthan" | "<" => Some(Comparison::Less),
        "le" | "<=" => Some(Comparison::LessEqual),
        "gt" | "greaterthan" | ">" => Some(Comparison::Greater),
        "ge" | ">=" => Some(Comparison::GreaterEqual),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let [Some(other)] = given.bind(["other"])? else {
            return Problem::wrong(format!("tests `{name}` without a value"));
        };
        return compare(comparison, value, &other, budget);
    }
    if &*name == "divisibleby" {
        return match (value.whole(), given.bind(["num"])?) {
            (Some(number), [Some(by)]) if by.whole().is_some_and(|by| by != 0) => {
                Ok(number.wrapping_rem(by.whole().unwrap_or(1)) == 0)
            }
            _ => Problem::wrong("tests `divisibleby` without two numbers"),
        };
    }
    given.nothing()?;
    let undefined = matches!(value, Value::Undefined(_));
    let remainder = |value: &Value| match value.whole() {
        Some(number) => Ok(number.rem_euclid(2)),
        None => Problem::wrong(format!("tests whether {} is `{name}`", value.kind())),
    };
    let mut cased = |test: fn(char) -> bool| -> Outcome<bool> {
        let text = value.text().unwrap_or_default();
        budget.rewrite(text)?;
        let mut letters = text.chars().filter(|c| c.is_uppercase() || c.is_lowercase()).peekable();
        Ok(letters.peek().is_some() && letters.all(test))
    };
    Ok(match &*name {
        "defined" => !undefined,
        "undefined" => undefined,
        "none" => matches!(value, Value::None),
        "string" => matches!(value, Value::Text(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "iterable" | "sequence" => {
            undefined
                || matches!(
                    value,
                    Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_)
                )
        }
        "number" => matches!(value, Value::Bool(_) | Value::Whole(_) | Value::Float(_)),
        "integer" => matches!(value, Value::Whole(_)),
        "float" => matches!(value, Value::Float(_)),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "callable" => undefined || matches!(value, Value::Macro(_) | Value::Function(_)),
        "odd" => remainder(value)? == 1,
        "even" => remainder(value)? == 0,
        "lower" => cased(char::is_lowercase)?,
        "upper" => cased(char::is_uppercase)?,
        _ => return Problem::unknown(format!("the test `{name}`"), &TESTS),
    })
}
