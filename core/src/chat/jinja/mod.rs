//! A small interpreter for chat templates: the part of Jinja that published models' files use.
//!
//! ```text
//! source -> lexer -> tokens -> parser -> tree -> machine (+ variables) -> text
//!                                                   |-> filters, tests, methods, functions
//! ```
//! A template comes out of a file that anybody may have written, so every way to spend memory or
//! time is counted: see [`Budget`]. There is nothing in it to reach but the values that it is
//! given: no attribute of a type, no import, no file.
//!
//! # Source
//! jinja2 3.1, set up as transformers does it: `trim_blocks`, `lstrip_blocks`, loop controls,
//! immutable lists and dicts.

mod budget;
mod filters;
mod functions;
mod lexer;
mod machine;
mod methods;
mod parser;
mod tree;
mod value;
mod write;

pub(crate) use budget::Budget;
pub(crate) use functions::Clock;
pub(crate) use value::Value;

use machine::Machine;
use tree::Block;

/// Longest source of a template, in bytes. The longest published ones are near 40 kB.
const MAX_SOURCE: usize = 8 << 20;
/// Longest text that a template may make, in bytes.
const MAX_OUTPUT: usize = 8 << 20;
/// Most parts of a tree, which bounds its memory.
const MAX_PARTS: usize = 500_000;
/// Deepest nesting of a source, and of values in values.
const MAX_NESTING: usize = 64;
/// Deepest nesting of running parts, macros in macros included; a stack of 256 KB holds it.
const MAX_RUNNING: usize = 160;
/// Most items of a `range()`, as in jinja2's sandbox.
const MAX_RANGE: i64 = 100_000;

/// Why a template failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is wrong, or was given what it cannot work with, or wanted too much.
    Wrong(String),
    /// It uses what this interpreter does not have.
    Unknown {
        /// The thing that is not known.
        what: String,
        /// What there is instead.
        known: String,
    },
    /// It called `raise_exception` with this message.
    Raised(String),
}

impl Problem {
    fn wrong<T>(problem: impl Into<String>) -> Outcome<T> {
        Err(Box::new(Problem::Wrong(problem.into())))
    }

    fn unknown<T>(what: impl Into<String>, known: &[&str]) -> Outcome<T> {
        Err(Box::new(Problem::Unknown { what: what.into(), known: known.join(", ") }))
    }
}

/// What each step gives back.
type Outcome<T> = Result<T, Box<Problem>>;

/// A [`Problem`] and its line in the source, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) problem: Problem,
}

/// A template that was read and can be rendered any number of times, from any thread.
#[derive(Debug)]
pub(crate) struct Template {
    body: Block,
}

impl Template {
    /// Reads a source.
    pub(crate) fn parse(source: &str) -> Result<Template, Fault> {
        if source.len() > MAX_SOURCE {
            let problem = format!("holds {} bytes, more than {MAX_SOURCE}", source.len());
            return Err(Fault { line: 1, problem: Problem::Wrong(problem) });
        }
        let source = lexer::normalize(source);
        let body = parser::parse(&source)?;
        Ok(Template { body })
    }

    /// Fills the template in. `budget` is what the variables were made with: they count.
    pub(crate) fn render(
        &self,
        variables: Vec<(String, Value)>,
        budget: Budget,
        clock: Clock,
    ) -> Result<String, Fault> {
        let mut machine = Machine::new(variables, budget, clock);
        machine.run(&self.body).map_err(|problem| machine.fault(*problem))
    }
}
