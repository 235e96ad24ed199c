//! Tokens -> tree, by recursive descent with a bounded depth.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lexer::{Lexer, Token, unescape};
use super::tree::{
    Arguments, Block, Comparison, Expr, For, Kind, Link, Macro, Operator, Part, Target,
};
use super::value::Value;
use super::{Error, MAX_NESTING, MAX_PARTS, Outcome, Problem};

/// The tags that there are.
const TAGS: [&str; 10] =
    ["if", "for", "set", "macro", "generation", "with", "filter", "raw", "break", "continue"];

/// Reads a normalized source.
pub(super) fn parse(source: &str) -> Result<Block, Error> {
    let mut parser =
        Parser { lexer: Lexer::new(source), ahead: VecDeque::new(), depth: 0, parts: 0 };
    let result = parser.block(&[]).and_then(|(body, _)| match parser.next()? {
        Token::End => Ok(body),
        _ => Problem::wrong("goes on after its end"),
    });
    let line = parser.ahead.front().map_or(parser.lexer.line(), |(_, line)| *line);
    result.map_err(|problem| Error { line, problem: *problem })
}

/// How tightly an operator binds; the later, the tighter. Unlike in Python, a sign binds tighter
/// than a power.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Or,
    And,
    Not,
    Compare,
    Sum,
    Concat,
    Product,
    Power,
    Value,
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    /// Tokens that were looked at and not taken, with their lines.
    ahead: VecDeque<(Token<'s>, usize)>,
    depth: usize,
    parts: usize,
}

impl<'s> Parser<'s> {
    /// The token `n` after the next.
    fn look(&mut self, n: usize) -> Outcome<Token<'s>> {
        while self.ahead.len() <= n {
            let token = self.lexer.next()?;
            self.ahead.push_back((token, self.lexer.line()));
        }
        Ok(self.ahead[n].0)
    }

    fn peek(&mut self) -> Outcome<Token<'s>> {
        self.look(0)
    }

    fn next(&mut self) -> Outcome<Token<'s>> {
        let token = self.peek()?;
        // The end stays, so that it can be met again.
        if token != Token::End {
            self.ahead.pop_front();
        }
        Ok(token)
    }

    /// The line of the next token.
    fn line(&mut self) -> Outcome<usize> {
        self.peek()?;
        Ok(self.ahead[0].1)
    }

    /// Takes the next token if it is this.
    fn skip(&mut self, token: Token<'_>) -> Outcome<bool> {
        let found = self.peek()? == token;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn skip_sign(&mut self, sign: &'static str) -> Outcome<bool> {
        self.skip(Token::Sign(sign))
    }

    fn skip_name(&mut self, name: &str) -> Outcome<bool> {
        self.skip(Token::Name(name))
    }

    fn expect(&mut self, token: Token<'_>) -> Outcome<()> {
        match self.next()? {
            found if found == token => Ok(()),
            found => self.unexpected(found, &spell(token)),
        }
    }

    fn unexpected<T>(&self, found: Token<'_>, wanted: &str) -> Outcome<T> {
        Problem::wrong(format!("has {} where {wanted} belongs", spell(found)))
    }

    fn name(&mut self, wanted: &str) -> Outcome<&'s str> {
        match self.next()? {
            Token::Name(name) => Ok(name),
            found => self.unexpected(found, wanted),
        }
    }

    /// Counts a part of the tree.
    fn count(&mut self) -> Outcome<()> {
        self.parts += 1;
        match self.parts > MAX_PARTS {
            true => Problem::wrong(format!("has more than {MAX_PARTS} parts")),
            false => Ok(()),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth == MAX_NESTING {
            return Problem::wrong(format!("is nested deeper than {MAX_NESTING}"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Parts up to a tag of one of these names, which is taken; or to the end if there are none.
    fn block(&mut self, ends: &[&'static str]) -> Outcome<(Block, &'static str)> {
        self.deeper(|parser| {
            let mut block = Vec::new();
            loop {
                parser.count()?;
                let line = parser.line()?;
                let kind = match parser.peek()? {
                    Token::Text(text) => {
                        parser.next()?;
                        if text.is_empty() {
                            continue;
                        }
                        Kind::Text(text.to_string())
                    }
                    Token::PrintBegin => {
                        parser.next()?;
                        let value = parser.tuple()?;
                        parser.expect(Token::PrintEnd)?;
                        Kind::Print(value)
                    }
                    Token::TagBegin => {
                        parser.next()?;
                        let name = parser.name("the name of a tag")?;
                        if let Some(end) = ends.iter().find(|end| **end == name) {
                            return Ok((block, *end));
                        }
                        parser.tag(name)?
                    }
                    Token::End if ends.is_empty() => return Ok((block, "")),
                    Token::End => {
                        return Problem::wrong(format!("lacks `{}`", ends.join("` or `")));
                    }
                    found => return parser.unexpected(found, "text or a tag"),
                };
                block.push(Part { line, kind });
            }
        })
    }

    /// A block up to its end tag and the end of that.
    fn body(&mut self, end: &'static str) -> Outcome<Block> {
        let (body, _) = self.block(&[end])?;
        self.expect(Token::TagEnd)?;
        Ok(body)
    }

    fn tag(&mut self, name: &str) -> Outcome<Kind> {
        match name {
            "if" => self.if_tag(),
            "for" => self.for_tag(),
            "set" => self.set_tag(),
            "macro" => self.macro_tag(),
            "with" => self.with_tag(),
            "filter" => {
                let mut links = vec![self.filter()?];
                while self.skip_sign("|")? {
                    links.push(self.filter()?);
                }
                self.expect(Token::TagEnd)?;
                Ok(Kind::Filter(links, self.body("endfilter")?))
            }
            "generation" => {
                self.expect(Token::TagEnd)?;
                Ok(Kind::With(vec![], self.body("endgeneration")?))
            }
            "break" => self.expect(Token::TagEnd).map(|()| Kind::Break),
            "continue" => self.expect(Token::TagEnd).map(|()| Kind::Continue),
            end if end.starts_with("end") || matches!(end, "else" | "elif") => {
                Problem::wrong(format!("has `{end}` without its beginning"))
            }
            other => Problem::unknown(format!("the tag `{other}`"), &TAGS),
        }
    }

    fn if_tag(&mut self) -> Outcome<Kind> {
        let mut arms = Vec::new();
        let mut condition = Some(self.expression()?);
        loop {
            self.expect(Token::TagEnd)?;
            let ends: &[_] =
                if condition.is_some() { &["elif", "else", "endif"] } else { &["endif"] };
            let (body, end) = self.block(ends)?;
            arms.push((condition, body));
            condition = match end {
                "elif" => Some(self.expression()?),
                "else" => None,
                _ => break,
            };
        }
        self.expect(Token::TagEnd)?;
        Ok(Kind::If(arms))
    }

    fn for_tag(&mut self) -> Outcome<Kind> {
        let target = self.target()?;
        self.expect(Token::Name("in"))?;
        // Not a whole expression: an `if` here belongs to the loop.
        let first = self.operators(Rank::Or)?;
        let items = self.rest_of_tuple(first, |parser| parser.operators(Rank::Or))?;
        let only = match self.skip_name("if")? {
            true => Some(self.expression()?),
            false => None,
        };
        if self.peek()? == Token::Name("recursive") {
            return Problem::unknown("a `recursive` loop", &["loops", "macros"]);
        }
        self.expect(Token::TagEnd)?;
        let (body, end) = self.block(&["else", "endfor"])?;
        self.expect(Token::TagEnd)?;
        let none = if end == "else" { self.body("endfor")? } else { vec![] };
        Ok(Kind::For(Box::new(For { target, items, only, body, none })))
    }

    fn set_tag(&mut self) -> Outcome<Kind> {
        let target = self.target()?;
        if self.skip_sign("=")? {
            let value = self.tuple()?;
            self.expect(Token::TagEnd)?;
            return Ok(Kind::Set(target, value));
        }
        let mut links = Vec::new();
        while self.skip_sign("|")? {
            links.push(self.filter()?);
        }
        self.expect(Token::TagEnd)?;
        Ok(Kind::Capture(target, links, self.body("endset")?))
    }

    fn with_tag(&mut self) -> Outcome<Kind> {
        let mut variables = Vec::new();
        while self.peek()? != Token::TagEnd {
            if !variables.is_empty() {
                self.expect(Token::Sign(","))?;
            }
            let target = self.target()?;
            self.expect(Token::Sign("="))?;
            variables.push((target, self.expression()?));
        }
        self.expect(Token::TagEnd)?;
        Ok(Kind::With(variables, self.body("endwith")?))
    }

    fn macro_tag(&mut self) -> Outcome<Kind> {
        let name = Arc::from(self.name("the name of a macro")?);
        self.expect(Token::Sign("("))?;
        let mut parameters = Vec::new();
        while !self.skip_sign(")")? {
            if !parameters.is_empty() {
                self.expect(Token::Sign(","))?;
                if self.skip_sign(")")? {
                    break;
                }
            }
            let parameter = Arc::from(self.name("the name of a parameter")?);
            let default = if self.skip_sign("=")? { Some(self.expression()?) } else { None };
            self.count()?;
            parameters.push((parameter, default));
        }
        self.expect(Token::TagEnd)?;
        let body = self.body("endmacro")?;
        Ok(Kind::Macro(Arc::new(Macro { name, parameters, body })))
    }

    fn target(&mut self) -> Outcome<Target> {
        let bracket = self.skip_sign("(")?;
        let first: Arc<str> = Arc::from(self.name("a name")?);
        if !bracket && self.skip_sign(".")? {
            return Ok(Target::Attribute(first, Arc::from(self.name("an attribute")?)));
        }
        let mut names = vec![first];
        let mut several = false;
        while self.skip_sign(",")? {
            several = true;
            let Token::Name(name) = self.peek()? else { break };
            self.next()?;
            self.count()?;
            names.push(Arc::from(name));
        }
        if bracket {
            self.expect(Token::Sign(")"))?;
        }
        if names.iter().any(|name| matches!(&**name, "true" | "false" | "none" | "loop")) {
            return Problem::wrong("assigns to a name that is taken");
        }
        match (several, names.pop()) {
            (false, Some(name)) => Ok(Target::Name(name)),
            (_, last) => {
                names.extend(last);
                Ok(Target::Names(names))
            }
        }
    }

    /// An expression, or several with commas between them, which are a tuple.
    fn tuple(&mut self) -> Outcome<Expr> {
        let first = self.expression()?;
        self.rest_of_tuple(first, Self::expression)
    }

    fn rest_of_tuple(
        &mut self,
        first: Expr,
        item: impl Fn(&mut Self) -> Outcome<Expr>,
    ) -> Outcome<Expr> {
        if self.peek()? != Token::Sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign(",")? {
            if matches!(self.peek()?, Token::Sign(")") | Token::TagEnd | Token::PrintEnd) {
                break;
            }
            items.push(item(self)?);
        }
        Ok(Expr::Tuple(items))
    }

    fn expression(&mut self) -> Outcome<Expr> {
        self.deeper(|parser| {
            let then = parser.operators(Rank::Or)?;
            if !parser.skip_name("if")? {
                return Ok(then);
            }
            let condition = parser.operators(Rank::Or)?;
            let otherwise = match parser.skip_name("else")? {
                true => Some(parser.expression()?),
                false => None,
            };
            Ok(Expr::If(Box::new((condition, then, otherwise))))
        })
    }

    /// Operators of `rank` and above, by precedence climbing: a call for each operator, not for
    /// each rank, so that brackets in brackets need little stack.
    fn operators(&mut self, rank: Rank) -> Outcome<Expr> {
        let mut left = match rank <= Rank::Not && self.skip_name("not")? {
            true => self.deeper(|parser| Ok(Expr::Not(Box::new(parser.operators(Rank::Not)?))))?,
            false => self.unary(true)?,
        };
        while let Some(found) = self.rank()?
            && found >= rank
        {
            left = self.chained(left, found)?;
        }
        Ok(left)
    }

    /// The rank of the operator that comes next.
    fn rank(&mut self) -> Outcome<Option<Rank>> {
        Ok(Some(match self.peek()? {
            Token::Name("or") => Rank::Or,
            Token::Name("and") => Rank::And,
            Token::Name("in") | Token::Sign("==" | "!=" | "<" | "<=" | ">" | ">=") => Rank::Compare,
            Token::Name("not") if self.look(1)? == Token::Name("in") => Rank::Compare,
            Token::Sign("+" | "-") => Rank::Sum,
            Token::Sign("~") => Rank::Concat,
            Token::Sign("*" | "/" | "//" | "%") => Rank::Product,
            Token::Sign("**") => Rank::Power,
            _ => return Ok(None),
        }))
    }

    /// All operators of one rank that follow `first`.
    #[inline(never)]
    fn chained(&mut self, first: Expr, rank: Rank) -> Outcome<Expr> {
        match rank {
            Rank::Or => Ok(Expr::Or(self.joined(first, Token::Name("or"), Rank::And)?)),
            Rank::And => Ok(Expr::And(self.joined(first, Token::Name("and"), Rank::Not)?)),
            Rank::Concat => {
                Ok(Expr::Concat(self.joined(first, Token::Sign("~"), Rank::Product)?))
            }
            Rank::Not | Rank::Compare => {
                let mut others = Vec::new();
                while let Some(comparison) = self.comparison()? {
                    others.push((comparison, self.operators(Rank::Sum)?));
                }
                Ok(Expr::Compare(Box::new(first), others))
            }
            Rank::Sum => self.arithmetic(first, Rank::Sum, Rank::Concat),
            Rank::Product => self.arithmetic(first, Rank::Product, Rank::Power),
            Rank::Power => self.arithmetic(first, Rank::Power, Rank::Value),
            Rank::Value => Ok(first),
        }
    }

    fn joined(&mut self, first: Expr, operator: Token<'_>, item: Rank) -> Outcome<Vec<Expr>> {
        let mut items = vec![first];
        while self.skip(operator)? {
            items.push(self.operators(item)?);
        }
        Ok(items)
    }

    fn comparison(&mut self) -> Outcome<Option<Comparison>> {
        let comparison = match self.peek()? {
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::Unequal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterEqual,
            Token::Name("in") => Comparison::In,
            Token::Name("not") if self.look(1)? == Token::Name("in") => {
                self.next()?;
                Comparison::NotIn
            }
            _ => return Ok(None),
        };
        self.next()?;
        Ok(Some(comparison))
    }

    fn arithmetic(&mut self, first: Expr, rank: Rank, item: Rank) -> Outcome<Expr> {
        let mut others = Vec::new();
        while self.rank()? == Some(rank) {
            let operator = match self.next()? {
                Token::Sign("+") => Operator::Add,
                Token::Sign("-") => Operator::Subtract,
                Token::Sign("*") => Operator::Multiply,
                Token::Sign("/") => Operator::Divide,
                Token::Sign("//") => Operator::Floor,
                Token::Sign("%") => Operator::Remainder,
                _ => Operator::Power,
            };
            others.push((operator, self.operators(item)?));
        }
        Ok(Expr::Arithmetic(Box::new(first), others))
    }

    /// A value with its sign; filters and tests belong to both together.
    fn unary(&mut self, filters: bool) -> Outcome<Expr> {
        self.count()?;
        let wrap = match self.peek()? {
            Token::Sign("-") => Expr::Negative,
            Token::Sign("+") => Expr::Positive,
            _ => {
                let base = self.primary()?;
                return self.chain(base, true, filters);
            }
        };
        self.next()?;
        let base = self.deeper(|parser| Ok(wrap(Box::new(parser.unary(false)?))))?;
        self.chain(base, true, filters)
    }

    /// What follows a value.
    fn chain(&mut self, base: Expr, calls: bool, filters: bool) -> Outcome<Expr> {
        let mut links = Vec::new();
        loop {
            let link = match self.peek()? {
                Token::Sign(".") => {
                    self.next()?;
                    match self.next()? {
                        Token::Name(name) => Link::Attribute(Arc::from(name)),
                        Token::Whole(index) => Link::Item(Expr::Value(Value::Whole(index))),
                        found => return self.unexpected(found, "an attribute"),
                    }
                }
                Token::Sign("[") => {
                    self.next()?;
                    self.subscript()?
                }
                Token::Sign("(") if calls => Link::Call(self.arguments()?),
                Token::Sign("|") if filters => {
                    self.next()?;
                    self.filter()?
                }
                Token::Name("is") if filters => {
                    self.next()?;
                    self.test()?
                }
                _ => break,
            };
            self.count()?;
            links.push(link);
        }
        match links.is_empty() {
            true => Ok(base),
            false => Ok(Expr::Chain(Box::new(base), links)),
        }
    }

    fn subscript(&mut self) -> Outcome<Link> {
        let mut bounds = [const { None }; 3];
        let mut colons = 0;
        while !self.skip_sign("]")? {
            if self.skip_sign(":")? {
                colons += 1;
                if colons > 2 {
                    return Problem::wrong("has a slice with more than three parts");
                }
            } else if bounds[colons].is_none() {
                bounds[colons] = Some(self.expression()?);
            } else {
                return Problem::wrong("has two keys in one pair of brackets");
            }
        }
        match (colons, bounds) {
            (0, [Some(key), ..]) => Ok(Link::Item(key)),
            (0, _) => Problem::wrong("has brackets without a key"),
            (_, bounds) => Ok(Link::Slice(Box::new(bounds))),
        }
    }

    fn arguments(&mut self) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        let mut first = true;
        self.expect(Token::Sign("("))?;
        while !self.skip_sign(")")? {
            if !std::mem::take(&mut first) {
                self.expect(Token::Sign(","))?;
                if self.skip_sign(")")? {
                    break;
                }
            }
            if arguments.items.is_none() && self.skip_sign("*")? {
                arguments.items = Some(self.expression()?);
            } else if arguments.entries.is_none() && self.skip_sign("**")? {
                arguments.entries = Some(self.expression()?);
            } else if let Token::Name(name) = self.peek()?
                && self.look(1)? == Token::Sign("=")
            {
                self.next()?;
                self.next()?;
                let value = self.expression()?;
                arguments.named.push((Arc::from(name), value));
            } else if arguments.named.is_empty() && arguments.items.is_none() {
                arguments.plain.push(self.expression()?);
            } else {
                return Problem::wrong("has a plain argument after a named one");
            }
        }
        Ok(arguments)
    }

    fn filter(&mut self) -> Outcome<Link> {
        let name = Arc::from(self.name("the name of a filter")?);
        let arguments = match self.peek()? {
            Token::Sign("(") => self.arguments()?,
            _ => Arguments::default(),
        };
        Ok(Link::Filter(name, arguments))
    }

    fn test(&mut self) -> Outcome<Link> {
        let negated = self.skip_name("not")?;
        let name = Arc::from(self.name("the name of a test")?);
        let mut arguments = Arguments::default();
        match self.peek()? {
            Token::Sign("(") => arguments = self.arguments()?,
            Token::Name("else" | "or" | "and" | "if" | "is") => {}
            Token::Name(_)
            | Token::Quoted(_)
            | Token::Whole(_)
            | Token::Float(_)
            | Token::Sign("[" | "{") => {
                // One argument may stand without brackets.
                let argument = self.deeper(|parser| {
                    let base = parser.primary()?;
                    parser.chain(base, true, false)
                })?;
                arguments.plain.push(argument);
            }
            _ => {}
        }
        Ok(Link::Test(name, arguments, negated))
    }

    fn primary(&mut self) -> Outcome<Expr> {
        match self.next()? {
            Token::Name("true" | "True") => Ok(Expr::Value(Value::Bool(true))),
            Token::Name("false" | "False") => Ok(Expr::Value(Value::Bool(false))),
            Token::Name("none" | "None") => Ok(Expr::Value(Value::None)),
            Token::Name(name) => Ok(Expr::Name(Arc::from(name))),
            Token::Whole(number) => Ok(Expr::Value(Value::Whole(number))),
            Token::Float(number) => Ok(Expr::Value(Value::Float(number))),
            Token::Quoted(text) => {
                let mut text = unescape(text)?;
                while let Token::Quoted(more) = self.peek()? {
                    self.next()?;
                    text.push_str(&unescape(more)?);
                }
                Ok(Expr::Value(Value::Text(Arc::from(text))))
            }
            Token::Sign("(") => {
                if self.skip_sign(")")? {
                    return Ok(Expr::Tuple(vec![]));
                }
                let inner = self.tuple()?;
                self.expect(Token::Sign(")"))?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.dict(),
            found => self.unexpected(found, "a value"),
        }
    }

    #[inline(never)]
    fn list(&mut self) -> Outcome<Expr> {
        let mut items = Vec::new();
        self.items("]", |parser| {
            items.push(parser.expression()?);
            Ok(())
        })?;
        Ok(Expr::List(items))
    }

    #[inline(never)]
    fn dict(&mut self) -> Outcome<Expr> {
        let mut entries = Vec::new();
        self.items("}", |parser| {
            let key = parser.expression()?;
            parser.expect(Token::Sign(":"))?;
            entries.push((key, parser.expression()?));
            Ok(())
        })?;
        Ok(Expr::Dict(entries))
    }

    /// Items with commas between them, up to `end`.
    fn items(
        &mut self,
        end: &'static str,
        mut item: impl FnMut(&mut Self) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut first = true;
        while !self.skip_sign(end)? {
            if !std::mem::take(&mut first) {
                self.expect(Token::Sign(","))?;
                if self.skip_sign(end)? {
                    break;
                }
            }
            item(self)?;
        }
        Ok(())
    }
}

/// A token for messages, cut to a length that can be read.
fn spell(token: Token<'_>) -> String {
    let cut = |text: &str| text.chars().take(40).collect::<String>();
    match token {
        Token::Text(_) => "text".to_string(),
        Token::PrintBegin => "`{{`".to_string(),
        Token::PrintEnd => "`}}`".to_string(),
        Token::TagBegin => "`{%`".to_string(),
        Token::TagEnd => "`%}`".to_string(),
        Token::Name(name) => format!("`{}`", cut(name)),
        Token::Quoted(text) => format!("`'{}'`", cut(text)),
        Token::Whole(number) => format!("`{number}`"),
        Token::Float(number) => format!("`{number}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".to_string(),
    }
}
