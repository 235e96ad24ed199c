//! What a template is given from outside.

use std::sync::Arc;

use super::machine::Scope;
use super::value::Value;
use super::{Budget, MAX_NESTING, Outcome, Problem};

/// A value that a template is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// Python's `None`.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// Values in their order.
    List(Vec<Input<'a>>),
    /// Values by their names, in this order. Of two of one name the later one counts.
    Dict(Vec<(&'a str, Input<'a>)>),
}

/// The variables as the machine has them, charged to the budget.
pub(super) fn values(variables: &[(&str, Input<'_>)], budget: &mut Budget) -> Outcome<Scope> {
    let mut scope = Scope::new();
    for (name, input) in variables {
        budget.bytes(2 * size_of::<Value>() + name.len())?;
        scope.insert(Arc::from(*name), value(input, 0, budget)?);
    }
    Ok(scope)
}

/// `depth` is the number of values around this one.
fn value(input: &Input<'_>, depth: usize, budget: &mut Budget) -> Outcome<Value> {
    if depth > MAX_NESTING {
        return Problem::wrong(format!("is given values nested deeper than {MAX_NESTING}"));
    }
    Ok(match input {
        Input::None => Value::None,
        Input::Bool(value) => Value::Bool(*value),
        Input::Whole(value) => Value::Whole(*value),
        Input::Float(value) => Value::Float(*value),
        Input::Text(text) => budget.text(text)?,
        Input::List(items) => {
            let mut values = Vec::new();
            for item in items {
                values.push(value(item, depth + 1, budget)?);
            }
            budget.list(values)?
        }
        Input::Dict(entries) => {
            let mut values = Vec::new();
            for (key, entry) in entries {
                values.push((budget.text(key)?, value(entry, depth + 1, budget)?));
            }
            budget.dict(values)?
        }
    })
}
