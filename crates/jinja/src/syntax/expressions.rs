//! The parser of expressions, with Jinja2's operator precedence.

use crate::error::Result;
use crate::syntax::ast::{Comparison, Const, Expr, ExprKind};
use crate::syntax::lexer::TokenKind;
use crate::syntax::parser::Parser;
use crate::values::number::Arithmetic;

/// The longest accepted chain of operators of one kind.
const MAX_CHAIN: u32 = 200;

impl Parser {
    /// Parses one expression, or several between commas as a tuple, up to the name `end`.
    pub(crate) fn tuple(&mut self, conditional: bool, end: Option<&str>) -> Result<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut tuple = false;
        loop {
            if !items.is_empty() && self.at_tuple_end(end) {
                break;
            }
            items.push(self.expression(conditional)?);
            if !self.skip_operator(",") {
                break;
            }
            tuple = true;
        }
        match items.pop() {
            Some(item) if items.is_empty() && !tuple => Ok(item),
            last => {
                items.extend(last);
                Ok(Expr { line, kind: ExprKind::Tuple(items) })
            }
        }
    }

    fn at_tuple_end(&self, end: Option<&str>) -> bool {
        matches!(self.peek(0), None | Some(TokenKind::VariableEnd | TokenKind::BlockEnd))
            || self.is_operator(0, ")")
            || end.is_some_and(|end| self.is_name(0, end))
    }

    /// Parses an expression; a trailing condition (`a if b else c`) only if `conditional` is set.
    pub(crate) fn expression(&mut self, conditional: bool) -> Result<Expr> {
        self.nested(|parser| {
            let mut expr = parser.or()?;
            let mut len = 0;
            while conditional && parser.is_name(0, "if") {
                let line = parser.link(&mut len)?;
                parser.next();
                let test = Box::new(parser.or()?);
                let otherwise = if parser.skip_name("else") {
                    Some(Box::new(parser.expression(true)?))
                } else {
                    None
                };
                let kind = ExprKind::Conditional { test, then: Box::new(expr), otherwise };
                expr = Expr { line, kind };
            }
            Ok(expr)
        })
    }

    /// Returns the line of one more operator; each one nests the expression a level deeper.
    pub(crate) fn link(&self, len: &mut u32) -> Result<u32> {
        *len += 1;
        if *len > MAX_CHAIN {
            return self.fail(format!("more than {MAX_CHAIN} operators behind each other"));
        }
        Ok(self.line())
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        let mut len = 0;
        while self.is_name(0, "or") {
            let line = self.link(&mut len)?;
            self.next();
            left = Expr { line, kind: ExprKind::Or(Box::new(left), Box::new(self.and()?)) };
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        let mut len = 0;
        while self.is_name(0, "and") {
            let line = self.link(&mut len)?;
            self.next();
            left = Expr { line, kind: ExprKind::And(Box::new(left), Box::new(self.not()?)) };
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        let line = self.line();
        if !self.skip_name("not") {
            return self.comparison();
        }
        let inner = self.nested(Self::not)?;
        Ok(Expr { line, kind: ExprKind::Not(Box::new(inner)) })
    }

    fn comparison(&mut self) -> Result<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison_sign() {
            others.push((comparison, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        Ok(Expr { line, kind: ExprKind::Compare(Box::new(first), others) })
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessEqual),
            (">=", Comparison::GreaterEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in signs {
            if self.skip_operator(sign) {
                return Some(comparison);
            }
        }
        if self.skip_name("in") {
            return Some(Comparison::In);
        }
        if self.is_name(0, "not") && self.is_name(1, "in") {
            self.next();
            self.next();
            return Some(Comparison::NotIn);
        }
        None
    }

    /// Parses left-associative operators of one precedence.
    fn binary(
        &mut self,
        signs: &[(&str, Arithmetic)],
        operand: fn(&mut Self) -> Result<Expr>,
    ) -> Result<Expr> {
        let mut left = operand(self)?;
        let mut len = 0;
        loop {
            let line = self.link(&mut len)?;
            let found = signs.iter().find(|(sign, _)| self.is_operator(0, sign));
            let Some(&(_, operator)) = found else { return Ok(left) };
            self.next();
            let right = Box::new(operand(self)?);
            left = Expr { line, kind: ExprKind::Binary(operator, Box::new(left), right) };
        }
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", Arithmetic::Add), ("-", Arithmetic::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let line = self.line();
        let first = self.product()?;
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                Ok(Expr { line, kind: ExprKind::Concat(parts) })
            }
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let signs = [
            ("*", Arithmetic::Mul),
            ("/", Arithmetic::Div),
            ("//", Arithmetic::FloorDiv),
            ("%", Arithmetic::Rem),
        ];
        self.binary(&signs, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", Arithmetic::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, filters: bool) -> Result<Expr> {
        let line = self.line();
        let mut expr = if self.skip_operator("-") {
            let inner = Box::new(self.nested(|parser| parser.unary(false))?);
            Expr { line, kind: ExprKind::Negative(inner) }
        } else if self.skip_operator("+") {
            let inner = Box::new(self.nested(|parser| parser.unary(false))?);
            Expr { line, kind: ExprKind::Positive(inner) }
        } else {
            self.primary()?
        };
        expr = self.postfix(expr)?;
        if filters { self.filter_expression(expr) } else { Ok(expr) }
    }

    pub(crate) fn primary(&mut self) -> Result<Expr> {
        let line = self.line();
        let kind = match self.peek(0).cloned() {
            Some(TokenKind::Name(name)) => {
                self.next();
                match &*name {
                    "true" | "True" => ExprKind::Const(Const::Bool(true)),
                    "false" | "False" => ExprKind::Const(Const::Bool(false)),
                    "none" | "None" => ExprKind::Const(Const::None),
                    _ => {
                        self.note_name(&name);
                        ExprKind::Name(name)
                    }
                }
            }
            Some(TokenKind::Str(mut text)) => {
                self.next();
                while let Some(TokenKind::Str(more)) = self.peek(0) {
                    text.push_str(more);
                    self.next();
                }
                ExprKind::Const(Const::Str(text.into()))
            }
            Some(TokenKind::Int(number)) => {
                self.next();
                ExprKind::Const(Const::Int(number))
            }
            Some(TokenKind::Float(number)) => {
                self.next();
                ExprKind::Const(Const::Float(number))
            }
            Some(TokenKind::Operator("(")) => {
                self.next();
                if self.skip_operator(")") {
                    ExprKind::Tuple(Vec::new())
                } else {
                    let inner = self.tuple(true, None)?;
                    self.expect_operator(")")?;
                    return Ok(inner);
                }
            }
            Some(TokenKind::Operator("[")) => {
                self.next();
                ExprKind::List(self.list()?)
            }
            Some(TokenKind::Operator("{")) => {
                self.next();
                ExprKind::Dict(self.dict()?)
            }
            _ => return self.unexpected("an expression"),
        };
        Ok(Expr { line, kind })
    }

    fn list(&mut self) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.skip_operator("]") {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator("]") {
                    break;
                }
            }
            items.push(self.expression(true)?);
        }
        Ok(items)
    }

    fn dict(&mut self) -> Result<Vec<(Expr, Expr)>> {
        let mut entries = Vec::new();
        while !self.skip_operator("}") {
            if !entries.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator("}") {
                    break;
                }
            }
            let key = self.expression(true)?;
            self.expect_operator(":")?;
            entries.push((key, self.expression(true)?));
        }
        Ok(entries)
    }

    /// Parses the attributes, items and calls after an expression.
    pub(crate) fn postfix(&mut self, mut expr: Expr) -> Result<Expr> {
        let mut len = 0;
        loop {
            let line = self.link(&mut len)?;
            let kind = if self.skip_operator(".") {
                self.attribute(expr)?
            } else if self.skip_operator("[") {
                self.item(expr)?
            } else if self.is_operator(0, "(") {
                ExprKind::Call(Box::new(expr), self.args()?)
            } else {
                return Ok(expr);
            };
            expr = Expr { line, kind };
        }
    }

    fn attribute(&mut self, of: Expr) -> Result<ExprKind> {
        if let Some(&TokenKind::Int(number)) = self.peek(0) {
            let line = self.line();
            self.next();
            let place = Expr { line, kind: ExprKind::Const(Const::Int(number)) };
            return Ok(ExprKind::Item(Box::new(of), Box::new(place)));
        }
        Ok(ExprKind::Attribute(Box::new(of), self.name()?))
    }

    fn item(&mut self, of: Expr) -> Result<ExprKind> {
        let first = if self.is_operator(0, ":") { None } else { Some(self.expression(true)?) };
        if !self.is_operator(0, ":") {
            let Some(first) = first else { return self.unexpected("an item") };
            if self.is_operator(0, ",") {
                return self.fail("an item of several parts; expected one");
            }
            self.expect_operator("]")?;
            return Ok(ExprKind::Item(Box::new(of), Box::new(first)));
        }
        let mut parts = [first.map(Box::new), None, None];
        for part in parts.iter_mut().skip(1) {
            if !self.skip_operator(":") {
                break;
            }
            if !self.is_operator(0, ":") && !self.is_operator(0, "]") {
                *part = Some(Box::new(self.expression(true)?));
            }
        }
        self.expect_operator("]")?;
        Ok(ExprKind::Slice(Box::new(of), parts))
    }
}
