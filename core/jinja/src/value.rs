//! What a template computes with: Python's values, as far as templates see them.

use std::cmp::Ordering;
use std::sync::Arc;

use super::functions::Function;
use super::tree::{Comparison, Operator};
use super::{Budget, Outcome, Problem};

/// A value. Cheap to clone; nothing in it changes, and nothing holds itself.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// What has no value; the name is for messages.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Whole(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<Seq>),
    Tuple(Arc<Seq>),
    Dict(Arc<Map>),
    /// The number of a namespace, which the machine holds: it alone changes.
    Namespace(usize),
    /// The number of a macro, which the machine holds.
    Macro(usize),
    Function(Function),
    /// `loop` of a loop.
    Loop(Arc<Loop>),
}

#[derive(Debug)]
pub(crate) struct Seq {
    pub(super) items: Vec<Value>,
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(crate) struct Map {
    pub(super) entries: Vec<(Value, Value)>,
    pub(super) depth: usize,
}

/// One turn of a loop.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(super) items: Arc<Seq>,
    pub(super) index: usize,
}

impl Map {
    /// The place of a key.
    pub(super) fn find(&self, key: &Value, budget: &mut Budget) -> Outcome<Option<usize>> {
        for (at, (known, _)) in self.entries.iter().enumerate() {
            if equal(known, key, budget)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    pub(super) fn get(&self, key: &Value, budget: &mut Budget) -> Outcome<Option<&Value>> {
        Ok(self.find(key, budget)?.map(|at| &self.entries[at].1))
    }

    /// The value of a key that is a text.
    pub(super) fn at(&self, key: &str) -> Option<&Value> {
        let found = |(known, _): &&(Value, Value)| matches!(known, Value::Text(k) if **k == *key);
        self.entries.iter().find(found).map(|(_, value)| value)
    }
}

impl Value {
    /// No value of this name.
    pub(super) fn undefined(name: &str) -> Value {
        Value::Undefined(Arc::from(name))
    }

    /// How deep values stand in it.
    pub(super) fn depth(&self) -> usize {
        match self {
            Value::List(seq) | Value::Tuple(seq) => seq.depth,
            Value::Dict(map) => map.depth,
            Value::Loop(turn) => turn.items.depth + 1,
            _ => 0,
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Value::Undefined(name) => return format!("`{name}`, which is undefined"),
            Value::None => "none",
            Value::Bool(_) => "a boolean",
            Value::Whole(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dict",
            Value::Namespace(_) => "a namespace",
            Value::Macro(_) => "a macro",
            Value::Function(_) => "a function",
            Value::Loop(_) => "a loop",
        }
        .to_string()
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Whole(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(seq) | Value::Tuple(seq) => !seq.items.is_empty(),
            Value::Dict(map) => !map.entries.is_empty(),
            _ => true,
        }
    }

    /// A whole number; booleans count as 0 and 1, as in Python.
    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Value::Whole(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            other => other.whole().map(|value| value as f64),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Number of characters, items or entries.
    pub(super) fn len(&self, budget: &mut Budget) -> Outcome<usize> {
        match self {
            Value::Text(text) => {
                budget.scan(text)?;
                Ok(text.chars().count())
            }
            Value::List(seq) | Value::Tuple(seq) => Ok(seq.items.len()),
            Value::Dict(map) => Ok(map.entries.len()),
            Value::Undefined(_) => Ok(0),
            Value::Loop(turn) => Ok(turn.items.items.len()),
            other => Problem::wrong(format!("asks for the length of {}", other.kind())),
        }
    }

    /// What a loop over it goes through: items, keys, characters.
    pub(super) fn items(&self, budget: &mut Budget) -> Outcome<Arc<Seq>> {
        match self {
            Value::List(seq) | Value::Tuple(seq) => {
                budget.steps(seq.items.len() / 16)?;
                Ok(seq.clone())
            }
            Value::Dict(map) => {
                budget.seq(map.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Undefined(_) => budget.seq(vec![]),
            Value::Text(text) => {
                let mut items = Vec::new();
                let mut buffer = [0; 4];
                for c in text.chars() {
                    items.push(budget.text(c.encode_utf8(&mut buffer))?);
                }
                budget.seq(items)
            }
            other => Problem::wrong(format!("goes through {}", other.kind())),
        }
    }
}

/// Python's `==`.
pub(super) fn equal(a: &Value, b: &Value, budget: &mut Budget) -> Outcome<bool> {
    budget.steps(1)?;
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Text(a), Value::Text(b)) => {
            if a.len() == b.len() {
                budget.scan(a)?;
            }
            a == b
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !equal(a, b, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.entries.len() != b.entries.len() {
                return Ok(false);
            }
            for (key, value) in &a.entries {
                match b.get(key, budget)? {
                    Some(other) if equal(value, other, budget)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Namespace(a), Value::Namespace(b)) | (Value::Macro(a), Value::Macro(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => match (a.whole(), b.whole()) {
            (Some(a), Some(b)) => a == b,
            _ => matches!((a.number(), b.number()), (Some(a), Some(b)) if a == b),
        },
    })
}

/// Python's order; values of two kinds have none.
pub(super) fn order(a: &Value, b: &Value, budget: &mut Budget) -> Outcome<Option<Ordering>> {
    budget.steps(1)?;
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            budget.scan(a)?;
            return Ok(Some(a.cmp(b)));
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            for (x, y) in x.items.iter().zip(&y.items) {
                if !equal(x, y, budget)? {
                    return order(x, y, budget);
                }
            }
            return Ok(Some(x.items.len().cmp(&y.items.len())));
        }
        _ => {}
    }
    match (a.whole(), b.whole(), a.number(), b.number()) {
        (Some(a), Some(b), ..) => Ok(Some(a.cmp(&b))),
        (_, _, Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
        _ => Problem::wrong(format!("compares {} with {}", a.kind(), b.kind())),
    }
}

pub(super) fn compare(by: Comparison, a: &Value, b: &Value, budget: &mut Budget) -> Outcome<bool> {
    Ok(match by {
        Comparison::Equal => equal(a, b, budget)?,
        Comparison::Unequal => !equal(a, b, budget)?,
        Comparison::In => contains(b, a, budget)?,
        Comparison::NotIn => !contains(b, a, budget)?,
        Comparison::Less => order(a, b, budget)? == Some(Ordering::Less),
        Comparison::Greater => order(a, b, budget)? == Some(Ordering::Greater),
        Comparison::LessEqual => order(a, b, budget)?.is_some_and(Ordering::is_le),
        Comparison::GreaterEqual => order(a, b, budget)?.is_some_and(Ordering::is_ge),
    })
}

/// Python's `item in whole`.
fn contains(whole: &Value, item: &Value, budget: &mut Budget) -> Outcome<bool> {
    match (whole, item) {
        (Value::Text(text), Value::Text(part)) => {
            budget.scan(text)?;
            Ok(text.contains(&**part))
        }
        (Value::List(seq) | Value::Tuple(seq), item) => {
            for other in &seq.items {
                if equal(other, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Dict(map), key) => Ok(map.find(key, budget)?.is_some()),
        (Value::Undefined(_), _) => Ok(false),
        _ => Problem::wrong(format!("looks for {} in {}", item.kind(), whole.kind())),
    }
}

/// `value[key]`; what is not there is undefined.
pub(super) fn item(value: &Value, key: &Value, budget: &mut Budget) -> Outcome<Value> {
    let missing = |key: &Value| match key {
        Value::Text(name) => Value::Undefined(name.clone()),
        _ => Value::undefined("an item"),
    };
    let place = |len: usize| {
        let index = key.whole()?;
        let index = if index < 0 { index.checked_add(len as i64)? } else { index };
        usize::try_from(index).ok().filter(|index| *index < len)
    };
    match value {
        Value::Undefined(_) => Problem::wrong(format!("takes an item of {}", value.kind())),
        Value::List(seq) | Value::Tuple(seq) => {
            Ok(place(seq.items.len()).map_or_else(|| missing(key), |at| seq.items[at].clone()))
        }
        Value::Dict(map) => Ok(map.get(key, budget)?.cloned().unwrap_or_else(|| missing(key))),
        Value::Text(text) => {
            budget.scan(text)?;
            match place(text.chars().count()).and_then(|at| text.chars().nth(at)) {
                Some(c) => budget.text(c.encode_utf8(&mut [0; 4])),
                None => Ok(missing(key)),
            }
        }
        _ => Ok(missing(key)),
    }
}

/// `value[from:to:step]`
pub(super) fn slice(
    value: &Value,
    bounds: &[Option<Value>; 3],
    budget: &mut Budget,
) -> Outcome<Value> {
    let bound = |at: usize| match &bounds[at] {
        None | Some(Value::None) => Ok(None),
        Some(bound) => match bound.whole() {
            Some(bound) => Ok(Some(bound)),
            None => Problem::wrong(format!("cuts at {}", bound.kind())),
        },
    };
    let (from, to, step) = (bound(0)?, bound(1)?, bound(2)?.unwrap_or(1));
    if step == 0 {
        return Problem::wrong("cuts in steps of 0");
    }
    let len = match value {
        Value::Text(_) | Value::List(_) | Value::Tuple(_) => value.len(budget)? as i64,
        other => return Problem::wrong(format!("cuts {}", other.kind())),
    };
    // Python's rules: bounds count from the end if negative, and are then cut to the value.
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let cut = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(len) } else { bound };
        bound.clamp(low, high)
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (at, to) = (from.map_or(first, cut), to.map_or(last, cut));
    let (distance, stride) = (if step > 0 { to - at } else { at - to }, step.unsigned_abs());
    let count = match u64::try_from(distance) {
        Ok(distance @ 1..) => ((distance - 1) / stride + 1) as usize,
        _ => 0,
    };
    budget.steps(count / 64)?;
    let stride = usize::try_from(stride).unwrap_or(usize::MAX);
    let places = (0..count as i64).map(|i| (at + i * step) as usize);
    match value {
        Value::Text(text) if step == 1 => {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let start = ends.nth(at as usize).unwrap_or(text.len());
            let end = match count {
                0 => start,
                count => ends.nth(count - 1).unwrap_or(text.len()),
            };
            budget.text(&text[start..end])
        }
        Value::Text(text) if step > 0 => {
            let chars = text.chars().skip(at as usize).step_by(stride);
            budget.text(&chars.take(count).collect::<String>())
        }
        Value::Text(text) => {
            let chars = text.chars().rev().skip((len - 1 - at) as usize).step_by(stride);
            budget.text(&chars.take(count).collect::<String>())
        }
        Value::Tuple(seq) => budget.tuple(places.map(|at| seq.items[at].clone()).collect()),
        Value::List(seq) => budget.list(places.map(|at| seq.items[at].clone()).collect()),
        other => Problem::wrong(format!("cuts {}", other.kind())),
    }
}

/// `a operator b`
pub(super) fn arithmetic(
    operator: Operator,
    a: &Value,
    b: &Value,
    budget: &mut Budget,
) -> Outcome<Value> {
    match (operator, a, b) {
        (Operator::Add, Value::Text(x), Value::Text(y)) => {
            budget.bytes(x.len() + y.len())?;
            return budget.text(&[&**x, &**y].concat());
        }
        (Operator::Add, Value::List(x), Value::List(y)) => {
            budget.steps((x.items.len() + y.items.len()) / 64)?;
            return budget.list(x.items.iter().chain(&y.items).cloned().collect());
        }
        (Operator::Add, Value::Tuple(x), Value::Tuple(y)) => {
            budget.steps((x.items.len() + y.items.len()) / 64)?;
            return budget.tuple(x.items.iter().chain(&y.items).cloned().collect());
        }
        (Operator::Multiply, Value::Text(_) | Value::List(_) | Value::Tuple(_), times)
        | (Operator::Multiply, times, Value::Text(_) | Value::List(_) | Value::Tuple(_))
            if times.whole().is_some() =>
        {
            let times = usize::try_from(times.whole().unwrap_or(0)).unwrap_or(0);
            return repeat(if a.whole().is_some() { b } else { a }, times, budget);
        }
        (Operator::Remainder, Value::Text(_), _) => {
            return Problem::unknown("formatting with `%`", &["~", "+", "join"]);
        }
        _ => {}
    }
    let large = || Problem::wrong("computes a number of more than 64 bits");
    let zero = || Problem::wrong("divides by zero");
    if let (Some(x), Some(y)) = (a.whole(), b.whole()) {
        let result = match operator {
            Operator::Add => x.checked_add(y),
            Operator::Subtract => x.checked_sub(y),
            Operator::Multiply => x.checked_mul(y),
            Operator::Divide if y == 0 => return zero(),
            Operator::Divide => return Ok(Value::Float(x as f64 / y as f64)),
            Operator::Floor | Operator::Remainder if y == 0 => return zero(),
            Operator::Floor => x.checked_div(y).map(|whole| {
                let down = x.wrapping_rem(y) != 0 && (x < 0) != (y < 0);
                whole - i64::from(down)
            }),
            Operator::Remainder => Some(match x.wrapping_rem(y) {
                rest if rest != 0 && (rest < 0) != (y < 0) => rest + y,
                rest => rest,
            }),
            Operator::Power if y < 0 && x == 0 => return zero(),
            Operator::Power if y < 0 => return Ok(Value::Float((x as f64).powf(y as f64))),
            Operator::Power => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        };
        return match result {
            Some(result) => Ok(Value::Whole(result)),
            None => large(),
        };
    }
    let (Some(x), Some(y)) = (a.number(), b.number()) else {
        return Problem::wrong(format!("computes with {} and {}", a.kind(), b.kind()));
    };
    let floor = |x: f64, y: f64| (x / y).floor();
    Ok(Value::Float(match operator {
        Operator::Add => x + y,
        Operator::Subtract => x - y,
        Operator::Multiply => x * y,
        Operator::Divide | Operator::Floor | Operator::Remainder if y == 0.0 => return zero(),
        Operator::Divide => x / y,
        Operator::Floor => floor(x, y),
        Operator::Remainder => x - y * floor(x, y),
        Operator::Power => x.powf(y),
    }))
}

fn repeat(value: &Value, times: usize, budget: &mut Budget) -> Outcome<Value> {
    let (len, each) = match value {
        Value::Text(text) => (text.len(), 1),
        Value::List(seq) | Value::Tuple(seq) => (seq.items.len(), size_of::<Value>()),
        _ => (0, 1),
    };
    budget.bytes(len.saturating_mul(times).saturating_mul(each))?;
    let times = if len == 0 { 0 } else { times };
    match value {
        Value::Text(text) => budget.text(&text.repeat(times)),
        Value::List(seq) => {
            budget.list(seq.items.iter().cycle().take(len * times).cloned().collect())
        }
        Value::Tuple(seq) => {
            budget.tuple(seq.items.iter().cycle().take(len * times).cloned().collect())
        }
        other => Problem::wrong(format!("repeats {}", other.kind())),
    }
}
