//! The parser of arguments, filters and tests.

use crate::error::Result;
use crate::syntax::ast::{Args, Expr, ExprKind, FilterCall};
use crate::syntax::lexer::TokenKind;
use crate::syntax::parser::Parser;

impl Parser {
    pub(crate) fn args(&mut self) -> Result<Args> {
        self.expect_operator("(")?;
        let (mut args, mut any) = (Args::default(), false);
        while !self.skip_operator(")") {
            if any {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            any = true;
            if self.skip_operator("*") {
                args.rest = Some(Box::new(self.expression(true)?));
            } else if self.skip_operator("**") {
                args.rest_named = Some(Box::new(self.expression(true)?));
            } else if matches!(self.peek(0), Some(TokenKind::Name(_))) && self.is_operator(1, "=") {
                let name = self.name()?;
                self.next();
                args.named.push((name, self.expression(true)?));
            } else if args.named.is_empty() && args.rest_named.is_none() {
                args.positional.push(self.expression(true)?);
            } else {
                return self.fail("an argument without a name behind one with a name");
            }
        }
        Ok(args)
    }

    /// Parses the filters, tests and calls after an expression.
    pub(crate) fn filter_expression(&mut self, mut expr: Expr) -> Result<Expr> {
        let mut len = 0;
        loop {
            let line = self.link(&mut len)?;
            let kind = if self.skip_operator("|") {
                ExprKind::Filter(Box::new(expr), self.filter()?)
            } else if self.skip_name("is") {
                self.test(expr)?
            } else if self.is_operator(0, "(") {
                ExprKind::Call(Box::new(expr), self.args()?)
            } else {
                return Ok(expr);
            };
            expr = Expr { line, kind };
        }
    }

    pub(crate) fn filter(&mut self) -> Result<FilterCall> {
        let line = self.line();
        let name = self.name()?;
        let args = if self.is_operator(0, "(") { self.args()? } else { Args::default() };
        Ok(FilterCall { name, args, line })
    }

    fn test(&mut self, of: Expr) -> Result<ExprKind> {
        let line = self.line();
        let negated = self.skip_name("not");
        let name = self.name()?;
        let mut args = Args::default();
        if self.is_operator(0, "(") {
            args = self.args()?;
        } else if self.at_test_argument() {
            if self.is_name(0, "is") {
                return self.fail("tests cannot be chained with 'is'");
            }
            let argument = self.primary()?;
            args.positional.push(self.postfix(argument)?);
        }
        let kind = ExprKind::Test(Box::new(of), name, args);
        Ok(if negated { ExprKind::Not(Box::new(Expr { line, kind })) } else { kind })
    }

    fn at_test_argument(&self) -> bool {
        match self.peek(0) {
            Some(TokenKind::Name(name)) => !matches!(&**name, "else" | "or" | "and"),
            Some(TokenKind::Str(_) | TokenKind::Int(_) | TokenKind::Float(_)) => true,
            Some(TokenKind::Operator(bracket)) => matches!(*bracket, "[" | "{"),
            _ => false,
        }
    }
}
