//! Evaluation of expressions.

use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Result, fail};
use crate::run::call::{Arguments, Callable, Global, hashable};
use crate::run::interpreter::Interpreter;
use crate::run::operators::{
    add, attribute, binary, compare, contains, item, negative, positive, slice,
};
use crate::run::scope::Scope;
use crate::syntax::ast::{Args, Comparison, Const, Expr, ExprKind};
use crate::values::number::Arithmetic;
use crate::values::python_text::str_of;
use crate::values::text::{Origin, Text, TextBuilder};
use crate::values::value::{Dict, Value};

impl Interpreter {
    /// Returns the value of an expression.
    pub(crate) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        let value = match &expr.kind {
            ExprKind::Const(constant) => Ok(constant_value(constant)),
            ExprKind::Name(name) => {
                let found = scope.get(name);
                let global = || {
                    Global::named(name).map(|own| Value::Callable(Rc::new(Callable::Global(own))))
                };
                Ok(found.or_else(global).unwrap_or_else(|| Value::undefined(name)))
            }
            _ => self.deeper(|own| own.eval_inner(expr, scope)),
        };
        value.map_err(|error| error.or_line(expr.line))
    }

    fn eval_inner(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.charge(1)?;
        match &expr.kind {
            ExprKind::Attribute(of, name) => {
                let of = self.eval(of, scope)?;
                attribute(&of, name)
            }
            ExprKind::Item(of, key) => {
                let of = self.eval(of, scope)?;
                let key = self.eval(key, scope)?;
                item(&of, &key)
            }
            ExprKind::Call(callee, args) => {
                let callee = self.eval(callee, scope)?;
                let arguments = self.arguments(args, scope)?;
                self.call(&callee, arguments)
            }
            ExprKind::Filter(of, filter) => {
                let of = self.eval(of, scope)?;
                let arguments = self.arguments(&filter.args, scope)?;
                self.filter(&filter.name, &of, arguments)
            }
            ExprKind::Test(of, name, args) => {
                let of = self.eval(of, scope)?;
                let arguments = self.arguments(args, scope)?;
                self.test(name, &of, arguments).map(Value::Bool)
            }
            ExprKind::Not(of) => Ok(Value::Bool(!self.eval(of, scope)?.is_true())),
            ExprKind::And(left, right) => {
                let left = self.eval(left, scope)?;
                if left.is_true() { self.eval(right, scope) } else { Ok(left) }
            }
            ExprKind::Or(left, right) => {
                let left = self.eval(left, scope)?;
                if left.is_true() { Ok(left) } else { self.eval(right, scope) }
            }
            ExprKind::Conditional { test, then, otherwise } => {
                match (self.eval(test, scope)?.is_true(), otherwise) {
                    (true, _) => self.eval(then, scope),
                    (false, Some(otherwise)) => self.eval(otherwise, scope),
                    (false, None) => Ok(Value::undefined("the inline if-expression without else")),
                }
            }
            ExprKind::Compare(first, others) => self.eval_comparison(first, others, scope),
            _ => {
                let value = self.eval_new(expr, scope)?;
                self.counted(value)
            }
        }
    }

    /// Evaluates expressions that make new values.
    fn eval_new(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match &expr.kind {
            ExprKind::List(items) => Ok(Value::list(self.eval_all(items, scope)?)),
            ExprKind::Tuple(items) => Ok(Value::tuple(self.eval_all(items, scope)?)),
            ExprKind::Dict(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    let key = hashable(&self.eval(key, scope)?)?;
                    dict.insert(key, self.eval(value, scope)?);
                }
                Ok(Value::Dict(dict.into()))
            }
            ExprKind::Slice(of, parts) => {
                let of = self.eval(of, scope)?;
                let mut bounds = [None, None, None];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    *bound = part.as_ref().map(|part| self.eval(part, scope)).transpose()?;
                }
                slice(&of, bounds)
            }
            ExprKind::Negative(of) => negative(&self.eval(of, scope)?),
            ExprKind::Positive(of) => positive(&self.eval(of, scope)?),
            ExprKind::Binary(operator, left, right) => {
                let left = self.eval(left, scope)?;
                let right = self.eval(right, scope)?;
                match (operator, &left) {
                    (Arithmetic::Add, _) => add(&left, &right),
                    (Arithmetic::Rem, Value::Str(format)) => {
                        crate::strings::printf::percent(format, &right).map(Value::Str)
                    }
                    _ => binary(*operator, &left, &right),
                }
            }
            ExprKind::Concat(parts) => {
                let mut out = TextBuilder::default();
                for part in parts {
                    let part = self.eval(part, scope)?;
                    out.push(&str_of(&part)?);
                }
                out.finish().map(Value::Str)
            }
            _ => fail("an expression that is not known"),
        }
    }

    fn eval_all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    fn eval_comparison(
        &mut self,
        first: &Expr,
        others: &[(Comparison, Expr)],
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let mut left = self.eval(first, scope)?;
        for (comparison, right) in others {
            let right = self.eval(right, scope)?;
            let holds = match comparison {
                Comparison::In => contains(&right, &left)?,
                Comparison::NotIn => !contains(&right, &left)?,
                _ => compare(*comparison, &left, &right)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// Evaluates a call's arguments.
    pub(crate) fn arguments(&mut self, args: &Args, scope: &Rc<Scope>) -> Result<Arguments> {
        let mut positional = self.eval_all(&args.positional, scope)?;
        if let Some(rest) = &args.rest {
            positional.extend(self.eval(rest, scope)?.items()?.iter().cloned());
        }
        let mut named = Vec::with_capacity(args.named.len());
        for (name, value) in &args.named {
            named.push((Arc::clone(name), self.eval(value, scope)?));
        }
        if let Some(rest) = &args.rest_named {
            let rest = self.eval(rest, scope)?;
            let Value::Dict(entries) = &rest else {
                return fail(format!(
                    "argument after ** must be a mapping, not {}",
                    rest.type_name()
                ));
            };
            for (key, value) in entries.entries() {
                let Some(key) = key.as_str() else { return fail("keywords must be strings") };
                named.push((key.into(), value.clone()));
            }
        }
        Ok(Arguments { positional, named })
    }
}

fn constant_value(constant: &Const) -> Value {
    match constant {
        Const::None => Value::None,
        Const::Bool(truth) => Value::Bool(*truth),
        Const::Int(number) => Value::Int(*number),
        Const::Float(number) => Value::Float(*number),
        Const::Str(text) => Value::Str(Text::shared(Arc::clone(text), Origin::default())),
    }
}
