//! The chat templates of [emberform](https://docs.rs/emberform): a small interpreter for the part
//! of Jinja that published models' files use.
//!
//! ```text
//! source -> lexer -> tokens -> parser -> tree -> machine (+ variables) -> text
//!                                                   |-> filters, tests, methods, functions
//! ```
//! A template comes out of a file that anybody may have written, so every way to spend memory or
//! time is counted: see [`Budget`]. There is nothing in it to reach but the values that it is
//! given: no attribute of a type, no import, no file.
//!
//! # Examples
//! ```
//! use emberform_jinja::{Budget, Clock, Input, Template};
//!
//! let template = Template::parse("{% for name in names %}Hello, {{ name|title }}!{% endfor %}")?;
//! let names = Input::List(vec![Input::Text("ada"), Input::Text("grace")]);
//! let text = template.render(&[("names", names)], Budget::new(), Clock::now())?;
//! assert_eq!(text, "Hello, Ada!Hello, Grace!");
//! # Ok::<(), emberform_jinja::Error>(())
//! ```
//!
//! # Source
//! jinja2 3.1, set up as transformers does it: `trim_blocks`, `lstrip_blocks`, loop controls,
//! immutable lists and dicts.

mod budget;
mod filters;
mod functions;
mod input;
mod lexer;
mod machine;
mod methods;
mod parser;
mod tree;
mod value;
mod write;

pub use budget::Budget;
pub use functions::Clock;
pub use input::Input;

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
/// Longest name in a source, in bytes: each use of a name reads all of it.
const MAX_NAME: usize = 256;
/// Longest text of a problem, in bytes; templates name things as they like.
const MAX_PROBLEM: usize = 200;
/// Longest message of `raise_exception`, in bytes.
const MAX_RAISED: usize = 2000;
/// Most items of a `range()`, as in jinja2's sandbox.
const MAX_RANGE: i64 = 100_000;

/// Why a template failed, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct Error {
    /// The line of the source, from 1.
    pub line: usize,
    /// What is wrong there, in words that follow the line.
    pub problem: Problem,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is wrong, or was given what it cannot work with, or wanted too much.
    #[error("{0}")]
    Wrong(String),
    /// It uses what this interpreter does not have.
    #[error("uses {what}, which is not known; known: {known}")]
    Unknown {
        /// The thing that is not known.
        what: String,
        /// What there is instead.
        known: String,
    },
    /// It called `raise_exception` with this message.
    #[error("refuses: {0}")]
    Raised(String),
}

impl Problem {
    fn wrong<T>(problem: impl Into<String>) -> Outcome<T> {
        Err(Box::new(Problem::Wrong(cut(problem.into(), MAX_PROBLEM))))
    }

    fn unknown<T>(what: impl Into<String>, known: &[&str]) -> Outcome<T> {
        let what = cut(what.into(), MAX_PROBLEM);
        Err(Box::new(Problem::Unknown { what, known: known.join(", ") }))
    }

    fn raised<T>(message: String) -> Outcome<T> {
        Err(Box::new(Problem::Raised(cut(message, MAX_RAISED))))
    }
}

/// A text for people to read, of not much more than `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(" ...");
    }
    text
}

/// What each step gives back.
type Outcome<T> = Result<T, Box<Problem>>;

/// A template that was read and can be rendered any number of times, from any thread.
#[derive(Debug)]
pub struct Template {
    body: Block,
}

impl Template {
    /// Reads a source, of at most 8 MiB.
    ///
    /// # Errors
    /// [`Problem::Wrong`] for what is no template, or a larger or deeper one than any model's;
    /// [`Problem::Unknown`] for a tag that this interpreter does not have.
    pub fn parse(source: &str) -> Result<Template, Error> {
        if source.len() > MAX_SOURCE {
            let problem = format!("holds {} bytes, more than {MAX_SOURCE}", source.len());
            return Err(Error { line: 1, problem: Problem::Wrong(problem) });
        }
        let source = lexer::normalize(source);
        let body = parser::parse(&source)?;
        Ok(Template { body })
    }

    /// Fills the template in: a text of little more than 8 MiB at most. Of two variables of one
    /// name the later one counts.
    ///
    /// # Errors
    /// [`Problem::Wrong`] where jinja2 would raise an error too, and when the budget is spent;
    /// [`Problem::Unknown`] for a filter, test or method that this interpreter does not have;
    /// [`Problem::Raised`] when the template refuses what it was given.
    pub fn render(
        &self,
        variables: &[(&str, Input<'_>)],
        mut budget: Budget,
        clock: Clock,
    ) -> Result<String, Error> {
        let variables = input::values(variables, &mut budget)
            .map_err(|problem| Error { line: 1, problem: *problem })?;
        let mut machine = Machine::new(variables, budget, clock);
        machine.run(&self.body).map_err(|problem| machine.error(*problem))
    }
}
