//! A template as the parser leaves it.

use std::sync::Arc;

use super::value::Value;

/// Parts that run one after the other.
pub(super) type Block = Vec<Part>;

/// A part of a template.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Text as it stands.
    Text(String),
    /// `{{ value }}`
    Print(Expr),
    /// `{% if %}`, `{% elif %}` and `{% else %}`, which is an arm without a condition.
    If(Vec<(Option<Expr>, Block)>),
    /// `{% for %}`
    For(Box<For>),
    /// `{% set target = value %}`
    Set(Target, Expr),
    /// `{% set name | filter %}body{% endset %}`
    Capture(Target, Vec<Link>, Block),
    /// `{% filter name %}body{% endfilter %}`
    Filter(Vec<Link>, Block),
    /// `{% with a = 1 %}body{% endwith %}`; without variables also `{% generation %}`.
    With(Vec<(Target, Expr)>, Block),
    /// `{% macro name(parameters) %}`
    Macro(Arc<Macro>),
    /// `{% break %}`
    Break,
    /// `{% continue %}`
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) only: Option<Expr>,
    pub(super) body: Block,
    /// What runs when there is no item.
    pub(super) none: Block,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Block,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    /// `a, b`
    Names(Vec<Arc<str>>),
    /// `namespace.attribute`
    Attribute(Arc<str>, Arc<str>),
}

/// An expression. Chains are flat, so that its depth is that of its brackets.
#[derive(Debug)]
pub(super) enum Expr {
    Value(Value),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    /// `a ~ b ~ c`
    Concat(Vec<Expr>),
    /// `a + b - c`, operators of one rank from left to right.
    Arithmetic(Box<Expr>, Vec<(Operator, Expr)>),
    /// `a < b <= c`, each pair compared.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// `then if condition else otherwise`: condition, then, otherwise.
    If(Box<(Expr, Expr, Option<Expr>)>),
    /// `base.name[item](call) | filter is test`, from left to right.
    Chain(Box<Expr>, Vec<Link>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Floor,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

/// What follows a value.
#[derive(Debug)]
pub(super) enum Link {
    /// `.name`
    Attribute(Arc<str>),
    /// `[key]`
    Item(Expr),
    /// `[from:to:step]`
    Slice(Box<[Option<Expr>; 3]>),
    /// `(arguments)`
    Call(Arguments),
    /// `| name(arguments)`
    Filter(Arc<str>, Arguments),
    /// `is name(arguments)`; true for `is not`.
    Test(Arc<str>, Arguments, bool),
}

/// Arguments as they are written.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) plain: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    /// `*items`, which follow the plain ones.
    pub(super) items: Option<Expr>,
    /// `**entries`, which follow the named ones.
    pub(super) entries: Option<Expr>,
}
