//! What a template may spend, so that it ends in bounded memory and time whatever it says. All
//! texts, lists and dicts are made here.

use std::sync::Arc;

use super::value::{Map, Seq, Value};
use super::{MAX_NESTING, Outcome, Problem};

/// Most steps: each part that runs, each item looked at, each 256 bytes of text read.
const MAX_STEPS: usize = 1_000_000;
/// Most bytes of all values ever made.
const MAX_BYTES: usize = 256 << 20;
/// Bytes that a value takes beside its text or items, what the allocator adds included.
const OVERHEAD: usize = 48;

/// What a template may spend when it is rendered, its variables included: steps, each of about
/// one microsecond at most, and bytes of all values that it ever makes. What is spent ends in an
/// error.
///
/// A budget bounds the memory at any one time to about three times its bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: Purse,
    bytes: Purse,
}

/// What is left, and what there was.
#[derive(Clone, Debug)]
struct Purse {
    left: usize,
    most: usize,
}

impl Purse {
    fn of(most: usize) -> Purse {
        Purse { left: most, most }
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

impl Budget {
    /// That of every chat template: a million steps and 256 MiB.
    pub fn new() -> Budget {
        Budget::of(MAX_STEPS, MAX_BYTES)
    }

    /// A budget of so many steps and bytes.
    pub fn of(steps: usize, bytes: usize) -> Budget {
        Budget { steps: Purse::of(steps), bytes: Purse::of(bytes) }
    }

    /// Takes steps.
    pub(super) fn steps(&mut self, steps: usize) -> Outcome<()> {
        match self.steps.left.checked_sub(steps) {
            Some(left) => {
                self.steps.left = left;
                Ok(())
            }
            None => Problem::wrong(format!("takes more than {} steps", self.steps.most)),
        }
    }

    /// Takes bytes, before they are allocated.
    pub(super) fn bytes(&mut self, bytes: usize) -> Outcome<()> {
        match self.bytes.left.checked_sub(bytes) {
            Some(left) => {
                self.bytes.left = left;
                Ok(())
            }
            None => Problem::wrong(format!("makes values of more than {} bytes", self.bytes.most)),
        }
    }

    /// Takes the steps of reading a text once.
    pub(super) fn scan(&mut self, text: &str) -> Outcome<()> {
        self.steps(text.len() / 256)
    }

    /// Takes the steps of making a text anew character by character.
    pub(super) fn rewrite(&mut self, text: &str) -> Outcome<()> {
        self.steps(text.len() / 32)
    }

    /// Joins `text` to `out`.
    pub(super) fn push(&mut self, out: &mut String, text: &str) -> Outcome<()> {
        self.bytes(text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// A text.
    pub(crate) fn text(&mut self, text: &str) -> Outcome<Value> {
        self.bytes(text.len() + OVERHEAD)?;
        Ok(Value::Text(Arc::from(text)))
    }

    /// A list.
    pub(crate) fn list(&mut self, items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::List(self.seq(items)?))
    }

    /// A tuple.
    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::Tuple(self.seq(items)?))
    }

    pub(super) fn seq(&mut self, items: Vec<Value>) -> Outcome<Arc<Seq>> {
        self.bytes(size_of::<Value>() * items.len() + OVERHEAD)?;
        let depth = depth(items.iter())?;
        Ok(Arc::new(Seq { items, depth }))
    }

    /// A dict; of two entries with one key the later one counts, in the place of the first.
    pub(crate) fn dict(&mut self, entries: Vec<(Value, Value)>) -> Outcome<Value> {
        self.bytes(2 * size_of::<Value>() * entries.len() + OVERHEAD)?;
        let depth = depth(entries.iter().flat_map(|(key, value)| [key, value]))?;
        let mut map = Map { entries: Vec::with_capacity(entries.len()), depth };
        for (key, value) in entries {
            if matches!(key, Value::List(_) | Value::Dict(_)) {
                return Problem::wrong(format!("uses {} as a key", key.kind()));
            }
            match map.find(&key, self)? {
                Some(at) => map.entries[at].1 = value,
                None => map.entries.push((key, value)),
            }
        }
        Ok(Value::Dict(Arc::new(map)))
    }
}

/// Depth of a value that holds these: bounded, because values are compared, written and dropped
/// by functions that call themselves.
fn depth<'v>(values: impl Iterator<Item = &'v Value>) -> Outcome<usize> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    match depth > MAX_NESTING {
        true => Problem::wrong(format!("makes values nested deeper than {MAX_NESTING}")),
        false => Ok(depth),
    }
}
