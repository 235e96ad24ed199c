//! Runs a tree: variables in scopes, macros, loops, and the value of each expression.

use std::collections::HashMap;
use std::sync::Arc;

use super::functions::{Clock, Function, Given, range};
use super::tree::{Arguments, Block, Expr, For, Kind, Link, Macro, Part, Target};
use super::value::{Loop, Value, arithmetic, compare, item, slice};
use super::write::{print, string};
use super::{Budget, Error, MAX_OUTPUT, MAX_RUNNING, Outcome, Problem, filters, methods};

/// What follows a part: the next one, or an end of a loop's turn.
enum Flow {
    Next,
    Break,
    Continue,
}

/// What a macro's call counts for in nesting, since it takes more stack than other parts.
const DEPTH_OF_CALL: usize = 4;

/// Variables by their names.
pub(super) type Scope = HashMap<Arc<str>, Value>;

/// A macro with the variables that stood around it, those of the whole template left out.
struct Defined {
    code: Arc<Macro>,
    around: Scope,
}

pub(super) struct Machine {
    pub(super) budget: Budget,
    clock: Clock,
    /// The variables of the template, then those of each loop, macro and so on that runs.
    scopes: Vec<Scope>,
    /// The first scope after the template's that the running macro sees.
    base: usize,
    namespaces: Vec<Scope>,
    macros: Vec<Arc<Defined>>,
    /// Parts that run within each other.
    depth: usize,
    line: usize,
}

impl Machine {
    pub(super) fn new(variables: Scope, budget: Budget, clock: Clock) -> Machine {
        Machine {
            budget,
            clock,
            scopes: vec![variables],
            base: 1,
            namespaces: vec![],
            macros: vec![],
            depth: 0,
            line: 1,
        }
    }

    /// The text that a template makes.
    pub(super) fn run(&mut self, body: &Block) -> Outcome<String> {
        let mut out = String::new();
        self.block(body, &mut out)?;
        Ok(out)
    }

    /// A problem with the line where it arose.
    pub(super) fn error(&self, problem: Problem) -> Error {
        Error { line: self.line, problem }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= MAX_RUNNING {
            return Problem::wrong(format!("runs parts nested deeper than {MAX_RUNNING}"));
        }
        self.depth += 1;
        self.budget.steps(1)?;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Runs `inner` with variables of its own.
    fn scoped<T>(
        &mut self,
        scope: Scope,
        inner: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        self.scopes.push(scope);
        let result = inner(self);
        self.scopes.pop();
        result
    }

    fn block(&mut self, parts: &[Part], out: &mut String) -> Outcome<Flow> {
        self.deeper(|machine| {
            for part in parts {
                machine.line = part.line;
                machine.budget.steps(1)?;
                match machine.part(&part.kind, out)? {
                    Flow::Next => {}
                    flow => return Ok(flow),
                }
                if out.len() > MAX_OUTPUT {
                    return Problem::wrong(format!("makes a text of more than {MAX_OUTPUT} bytes"));
                }
            }
            Ok(Flow::Next)
        })
    }

    fn part(&mut self, kind: &Kind, out: &mut String) -> Outcome<Flow> {
        match kind {
            Kind::Text(text) => self.budget.push(out, text)?,
            Kind::Print(value) => {
                let value = self.value(value)?;
                print(&value, out, &mut self.budget)?;
            }
            Kind::If(arms) => {
                for (condition, body) in arms {
                    let runs = match condition {
                        Some(condition) => self.value(condition)?.is_true(),
                        None => true,
                    };
                    if runs {
                        return self.block(body, out);
                    }
                }
            }
            Kind::For(code) => return self.for_loop(code, out),
            Kind::Set(target, value) => {
                let value = self.value(value)?;
                self.assign(target, value)?;
            }
            Kind::Capture(target, links, body) => {
                let value = self.captured(body, links)?;
                self.assign(target, value)?;
            }
            Kind::Filter(links, body) => {
                let value = self.captured(body, links)?;
                print(&value, out, &mut self.budget)?;
            }
            Kind::With(variables, body) => return self.with(variables, body, out),
            Kind::Macro(code) => self.define(code)?,
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    #[inline(never)]
    fn with(
        &mut self,
        variables: &[(Target, Expr)],
        body: &Block,
        out: &mut String,
    ) -> Outcome<Flow> {
        let mut values = Vec::new();
        for (target, value) in variables {
            values.push((target, self.value(value)?));
        }
        self.scoped(Scope::new(), |machine| {
            for (target, value) in values {
                machine.assign(target, value)?;
            }
            machine.block(body, out)
        })
    }

    /// The text of a body through filters.
    #[inline(never)]
    fn captured(&mut self, body: &Block, links: &[Link]) -> Outcome<Value> {
        let mut text = String::new();
        self.scoped(Scope::new(), |machine| machine.block(body, &mut text))?;
        let value = self.budget.text(&text)?;
        self.links(value, links)
    }

    #[inline(never)]
    fn define(&mut self, code: &Arc<Macro>) -> Outcome<()> {
        let mut around = Scope::new();
        for scope in &self.scopes[self.base..] {
            self.budget.bytes(scope.len() * 2 * size_of::<Value>())?;
            self.budget.steps(scope.len())?;
            around.extend(scope.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self.budget.bytes(size_of::<Defined>())?;
        self.macros.push(Arc::new(Defined { code: code.clone(), around }));
        self.set(&code.name, Value::Macro(self.macros.len() - 1));
        Ok(())
    }

    #[inline(never)]
    fn for_loop(&mut self, code: &For, out: &mut String) -> Outcome<Flow> {
        let items = self.value(&code.items)?;
        let mut items = items.items(&mut self.budget)?;
        if let Some(only) = &code.only {
            let mut kept = Vec::new();
            for item in &items.items {
                let wanted = self.scoped(Scope::new(), |machine| {
                    machine.assign(&code.target, item.clone())?;
                    Ok(machine.value(only)?.is_true())
                })?;
                if wanted {
                    kept.push(item.clone());
                }
            }
            items = self.budget.seq(kept)?;
        }
        if items.items.is_empty() {
            return self.block(&code.none, out);
        }
        for index in 0..items.items.len() {
            let turn = Loop { items: items.clone(), index };
            self.budget.bytes(size_of::<Loop>())?;
            let scope = Scope::from([(Arc::from("loop"), Value::Loop(Arc::new(turn)))]);
            let flow = self.scoped(scope, |machine| {
                machine.assign(&code.target, items.items[index].clone())?;
                machine.block(&code.body, out)
            })?;
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let inner = self.scopes[self.base..].iter().rev();
        inner.chain(&self.scopes[..1]).find_map(|scope| scope.get(name))
    }

    fn set(&mut self, name: &Arc<str>, value: Value) {
        let at = if self.scopes.len() > self.base { self.scopes.len() - 1 } else { 0 };
        self.scopes[at].insert(name.clone(), value);
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        self.budget.bytes(2 * size_of::<Value>())?;
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Names(names) => {
                let items = value.items(&mut self.budget)?;
                if items.items.len() != names.len() {
                    let (found, wanted) = (items.items.len(), names.len());
                    return Problem::wrong(format!("unpacks {found} values into {wanted} names"));
                }
                self.budget.bytes(2 * size_of::<Value>() * names.len())?;
                self.budget.steps(names.len())?;
                for (name, value) in names.iter().zip(&items.items) {
                    self.set(name, value.clone());
                }
            }
            Target::Attribute(name, attribute) => match self.find(name) {
                Some(Value::Namespace(at)) => {
                    let at = *at;
                    self.namespaces[at].insert(attribute.clone(), value);
                }
                _ => return Problem::wrong(format!("sets `{name}.{attribute}`, no namespace's")),
            },
        }
        Ok(())
    }

    /// The value of an expression.
    fn value(&mut self, expr: &Expr) -> Outcome<Value> {
        match expr {
            Expr::Value(value) => {
                self.budget.steps(1)?;
                Ok(value.clone())
            }
            Expr::Name(name) => {
                // Each scope is asked, and each reads the name.
                let scopes = self.scopes.len() - self.base + 1;
                self.budget.steps(1 + scopes * (32 + name.len()) / 512)?;
                Ok(match (self.find(name), Function::find(name)) {
                    (Some(value), _) => value.clone(),
                    (None, Some(function)) => Value::Function(function),
                    (None, None) => Value::Undefined(name.clone()),
                })
            }
            Expr::Chain(base, links) => self.deeper(|machine| {
                let base = machine.value(base)?;
                machine.links(base, links)
            }),
            other => self.deeper(|machine| machine.compound(other)),
        }
    }

    #[inline(never)]
    fn compound(&mut self, expr: &Expr) -> Outcome<Value> {
        match expr {
            Expr::List(items) => {
                let items = self.values(items)?;
                self.budget.list(items)
            }
            Expr::Tuple(items) => {
                let items = self.values(items)?;
                self.budget.tuple(items)
            }
            Expr::Dict(entries) => {
                let mut values = Vec::new();
                for (key, value) in entries {
                    values.push((self.value(key)?, self.value(value)?));
                }
                self.budget.dict(values)
            }
            Expr::Not(inner) => Ok(Value::Bool(!self.value(inner)?.is_true())),
            Expr::Negative(inner) => match self.value(inner)? {
                Value::Float(number) => Ok(Value::Float(-number)),
                other => match other.whole().map(i64::checked_neg) {
                    Some(Some(number)) => Ok(Value::Whole(number)),
                    _ => Problem::wrong(format!("negates {}", other.kind())),
                },
            },
            Expr::Positive(inner) => match self.value(inner)? {
                value @ Value::Float(_) => Ok(value),
                other => match other.whole() {
                    Some(number) => Ok(Value::Whole(number)),
                    None => Problem::wrong(format!("makes a number of {}", other.kind())),
                },
            },
            Expr::Or(items) => self.first(items, true),
            Expr::And(items) => self.first(items, false),
            Expr::Concat(items) => {
                let mut text = String::new();
                for item in items {
                    let value = self.value(item)?;
                    print(&value, &mut text, &mut self.budget)?;
                }
                self.budget.text(&text)
            }
            Expr::Arithmetic(first, others) => {
                let mut result = self.value(first)?;
                for (operator, other) in others {
                    let other = self.value(other)?;
                    result = arithmetic(*operator, &result, &other, &mut self.budget)?;
                }
                Ok(result)
            }
            Expr::Compare(first, others) => {
                let mut left = self.value(first)?;
                for (by, other) in others {
                    let right = self.value(other)?;
                    if !compare(*by, &left, &right, &mut self.budget)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                if self.value(condition)?.is_true() {
                    return self.value(then);
                }
                match otherwise {
                    Some(otherwise) => self.value(otherwise),
                    None => Ok(Value::undefined("an `if` without an `else`")),
                }
            }
            Expr::Value(_) | Expr::Name(_) | Expr::Chain(..) => self.value(expr),
        }
    }

    /// The first value that is true, or is not; else the last.
    fn first(&mut self, items: &[Expr], wanted: bool) -> Outcome<Value> {
        let mut last = Value::None;
        for item in items {
            last = self.value(item)?;
            if last.is_true() == wanted {
                break;
            }
        }
        Ok(last)
    }

    fn values(&mut self, items: &[Expr]) -> Outcome<Vec<Value>> {
        items.iter().map(|item| self.value(item)).collect()
    }

    /// What becomes of a value by what follows it.
    fn links(&mut self, base: Value, links: &[Link]) -> Outcome<Value> {
        let mut value = base;
        let mut links = links.iter().peekable();
        while let Some(link) = links.next() {
            self.budget.steps(1)?;
            value = match link {
                Link::Attribute(name) => match links.peek() {
                    Some(Link::Call(arguments)) if methods::has(&value, name) || calls(&value) => {
                        links.next();
                        self.method(&value, name, arguments)?
                    }
                    _ => self.attribute(&value, name)?,
                },
                Link::Item(key) => {
                    let key = self.value(key)?;
                    match (&value, &key) {
                        (Value::Loop(_) | Value::Namespace(_), Value::Text(name)) => {
                            self.attribute(&value, name)?
                        }
                        _ => item(&value, &key, &mut self.budget)?,
                    }
                }
                Link::Slice(bounds) => {
                    let mut values = [const { None }; 3];
                    for (value, bound) in values.iter_mut().zip(bounds.iter()) {
                        *value = bound.as_ref().map(|bound| self.value(bound)).transpose()?;
                    }
                    slice(&value, &values, &mut self.budget)?
                }
                Link::Call(arguments) => self.call(&value, arguments)?,
                Link::Filter(name, arguments) => {
                    let given = self.given(name, arguments)?;
                    filters::filter(self, value, given)?
                }
                Link::Test(name, arguments, negated) => {
                    let given = self.given(name, arguments)?;
                    let result = filters::test(self, &value, given)?;
                    Value::Bool(result != *negated)
                }
            };
        }
        Ok(value)
    }

    fn given(&mut self, name: &Arc<str>, arguments: &Arguments) -> Outcome<Given> {
        let mut plain = self.values(&arguments.plain)?;
        if let Some(items) = &arguments.items {
            let items = self.value(items)?.items(&mut self.budget)?;
            self.budget.bytes(size_of::<Value>() * items.items.len())?;
            plain.extend(items.items.iter().cloned());
        }
        let mut named = Vec::new();
        for (name, value) in &arguments.named {
            named.push((name.clone(), self.value(value)?));
        }
        if let Some(entries) = &arguments.entries {
            let entries = self.value(entries)?;
            for (key, value) in self.entries(&[entries])? {
                match key {
                    Value::Text(name) => named.push((name, value)),
                    other => return Problem::wrong(format!("names an argument {}", other.kind())),
                }
            }
        }
        Ok(Given { name: name.clone(), plain, named })
    }

    /// `value.name`
    pub(super) fn attribute(&mut self, value: &Value, name: &Arc<str>) -> Outcome<Value> {
        self.budget.scan(name)?;
        if name.starts_with("__") {
            return Problem::wrong(format!(
                "takes the attribute `{name}`, which is not for templates"
            ));
        }
        let found = match value {
            Value::Undefined(_) => {
                return Problem::wrong(format!("takes `{name}` of {}", value.kind()));
            }
            _ if methods::has(value, name) => Some(Value::Function(Function::Method)),
            Value::Dict(map) => {
                self.budget.steps(map.entries.len() / 16)?;
                map.at(name).cloned()
            }
            Value::Namespace(at) => self.namespaces[*at].get(name).cloned(),
            Value::Loop(turn) => loop_attribute(turn, name),
            Value::Macro(at) if &**name == "name" => {
                Some(Value::Text(self.macros[*at].code.name.clone()))
            }
            _ => None,
        };
        Ok(found.unwrap_or_else(|| Value::Undefined(name.clone())))
    }

    #[inline(never)]
    fn method(&mut self, value: &Value, name: &Arc<str>, arguments: &Arguments) -> Outcome<Value> {
        let given = self.given(name, arguments)?;
        let Value::Loop(turn) = value else {
            return methods::call(value, given, &mut self.budget);
        };
        match (&**name, given.plain.as_slice()) {
            ("cycle", [_, ..]) => Ok(given.plain[turn.index % given.plain.len()].clone()),
            _ => Problem::unknown(format!("`loop.{name}()`"), &["loop.cycle()"]),
        }
    }

    /// A filter that another filter calls, which is one level deeper.
    pub(super) fn filter_one(&mut self, value: Value, given: Given) -> Outcome<Value> {
        self.deeper(|machine| filters::filter(machine, value, given))
    }

    #[inline(never)]
    fn call(&mut self, value: &Value, arguments: &Arguments) -> Outcome<Value> {
        match value {
            Value::Macro(at) => {
                let defined = self.macros[*at].clone();
                let given = self.given(&defined.code.name, arguments)?;
                self.call_macro(&defined, given)
            }
            Value::Function(function) => {
                let given = self.given(&Arc::from("function"), arguments)?;
                self.call_function(*function, given)
            }
            other => Problem::wrong(format!("calls {}", other.kind())),
        }
    }

    #[inline(never)]
    fn call_macro(&mut self, defined: &Defined, given: Given) -> Outcome<Value> {
        let Macro { name, parameters, body } = &*defined.code;
        if given.plain.len() > parameters.len() {
            let (count, most) = (given.plain.len(), parameters.len());
            return Problem::wrong(format!("gives `{name}` {count} arguments, not {most}"));
        }
        let mut scope = Scope::new();
        for ((parameter, _), value) in parameters.iter().zip(given.plain) {
            scope.insert(parameter.clone(), value);
        }
        for (named, value) in given.named {
            self.budget.steps(1 + parameters.len() / 16)?;
            let known = parameters.iter().any(|(parameter, _)| *parameter == named);
            if !known || scope.contains_key(&named) {
                return Problem::wrong(format!("gives `{name}` a `{named}` that it does not take"));
            }
            scope.insert(named, value);
        }
        let size = 2 * size_of::<Value>() * (defined.around.len() + parameters.len());
        self.budget.bytes(size)?;
        self.budget.steps(defined.around.len() + parameters.len())?;
        let (base, line) = (self.base, self.line);
        self.depth += DEPTH_OF_CALL;
        self.base = self.scopes.len();
        let mut text = String::new();
        self.scoped(defined.around.clone(), |machine| {
            machine.scoped(scope, |machine| {
                for (parameter, default) in parameters {
                    let last = machine.scopes.len() - 1;
                    if machine.scopes[last].contains_key(parameter) {
                        continue;
                    }
                    let value = match default {
                        Some(default) => machine.value(default)?,
                        None => Value::Undefined(parameter.clone()),
                    };
                    machine.set(parameter, value);
                }
                machine.block(body, &mut text)
            })
        })?;
        self.depth -= DEPTH_OF_CALL;
        (self.base, self.line) = (base, line);
        self.budget.text(&text)
    }

    #[inline(never)]
    fn call_function(&mut self, function: Function, given: Given) -> Outcome<Value> {
        match function {
            Function::Range => range(given, &mut self.budget),
            Function::Dict => {
                let mut entries = self.entries(&given.plain)?;
                for (name, value) in given.named {
                    entries.push((Value::Text(name), value));
                }
                self.budget.dict(entries)
            }
            Function::Namespace => {
                let mut scope = Scope::new();
                for (key, value) in self.entries(&given.plain)? {
                    if let Value::Text(key) = key {
                        self.budget.scan(&key)?;
                        scope.insert(key, value);
                    }
                }
                for (name, value) in given.named {
                    self.budget.scan(&name)?;
                    scope.insert(name, value);
                }
                self.budget.bytes(2 * size_of::<Value>() * (scope.len() + 1))?;
                self.namespaces.push(scope);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            Function::RaiseException => {
                let [message] = given.bind(["message"])?;
                let message = string(&message.unwrap_or(Value::None), &mut self.budget)?;
                Problem::raised(message)
            }
            Function::StrftimeNow => {
                let [Some(Value::Text(format))] = given.bind(["format"])? else {
                    return Problem::wrong("calls `strftime_now` without a format");
                };
                let text = self.clock.format(&format, &mut self.budget)?;
                self.budget.text(&text)
            }
            Function::Method => Problem::wrong("calls a method that stands apart from its value"),
        }
    }

    /// The entries of the one dict that `dict` and `namespace` take.
    fn entries(&mut self, plain: &[Value]) -> Outcome<Vec<(Value, Value)>> {
        match plain {
            [] => Ok(vec![]),
            [Value::Dict(map)] => {
                self.budget.bytes(2 * size_of::<Value>() * map.entries.len())?;
                Ok(map.entries.clone())
            }
            _ => Problem::wrong("takes what is no dict for one"),
        }
    }
}

/// Values whose missing methods are errors of their own rather than calls of nothing.
fn calls(value: &Value) -> bool {
    matches!(value, Value::Loop(_) | Value::Text(_) | Value::List(_) | Value::Tuple(_))
}

fn loop_attribute(turn: &Loop, name: &str) -> Option<Value> {
    let (index, count) = (turn.index, turn.items.items.len());
    let near = |at: Option<usize>| {
        let item = at.and_then(|at| turn.items.items.get(at));
        item.cloned().unwrap_or_else(|| Value::undefined(name))
    };
    Some(match name {
        "index" => Value::Whole(index as i64 + 1),
        "index0" => Value::Whole(index as i64),
        "revindex" => Value::Whole((count - index) as i64),
        "revindex0" => Value::Whole((count - index) as i64 - 1),
        "first" => Value::Bool(index == 0),
        "last" => Value::Bool(index + 1 == count),
        "length" => Value::Whole(count as i64),
        // Only loops that call themselves are deeper, and those are not known.
        "depth" => Value::Whole(1),
        "depth0" => Value::Whole(0),
        "previtem" => near(index.checked_sub(1)),
        "nextitem" => near(index.checked_add(1)),
        _ => return None,
    })
}
