//! The parser of statements.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::syntax::ast::{Expr, ExprKind, FilterCall, ForDef, MacroDef, Stmt, StmtKind, Target};
use crate::syntax::lexer::{Token, TokenKind, tokens};

/// The deepest accepted nesting of blocks and brackets.
const MAX_DEPTH: u32 = 100;

/// Returns the statements of a template and its number of generation blocks.
pub(crate) fn parse(source: &str) -> Result<(Vec<Stmt>, usize)> {
    let tokens = tokens(source)?;
    let last_line = tokens.last().map_or(1, |token| token.line);
    let mut parser = Parser {
        tokens,
        at: 0,
        last_line,
        depth: 0,
        generation_blocks: 0,
        loops: 0,
        macros: Vec::new(),
        loop_names: 0,
    };
    let (body, _) = parser.block(&[])?;
    Ok((body, parser.generation_blocks))
}

/// Special names that a macro's body uses.
#[derive(Debug, Default)]
struct SpecialNames {
    caller: bool,
    varargs: bool,
    kwargs: bool,
}

pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    last_line: u32,
    depth: u32,
    generation_blocks: usize,
    /// The number of enclosing for blocks in the same macro.
    loops: u32,
    macros: Vec<SpecialNames>,
    /// The number of uses of `loop` so far.
    loop_names: usize,
}

impl Parser {
    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.at).map_or(self.last_line, |token| token.line)
    }

    pub(crate) fn fail<T>(&self, got: impl Into<String>) -> Result<T> {
        Err(Error::at(self.line(), got))
    }

    /// Fails with the token that is here instead of the expected one.
    pub(crate) fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let got = match self.peek(0) {
            None => "the end of the template".to_owned(),
            Some(TokenKind::Text(_)) => "text".to_owned(),
            Some(TokenKind::VariableBegin) => "'{{'".to_owned(),
            Some(TokenKind::VariableEnd) => "'}}'".to_owned(),
            Some(TokenKind::BlockBegin) => "'{%'".to_owned(),
            Some(TokenKind::BlockEnd) => "'%}'".to_owned(),
            Some(TokenKind::Name(name)) => format!("'{name}'"),
            Some(TokenKind::Str(text)) => format!("the string {text:?}"),
            Some(TokenKind::Int(number)) => format!("'{number}'"),
            Some(TokenKind::Float(number)) => format!("'{number}'"),
            Some(TokenKind::Operator(operator)) => format!("'{operator}'"),
        };
        self.fail(format!("expected {expected}, got {got}"))
    }

    pub(crate) fn peek(&self, ahead: usize) -> Option<&TokenKind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    pub(crate) fn next(&mut self) -> Option<TokenKind> {
        let token = self.tokens.get(self.at)?.kind.clone();
        self.at += 1;
        Some(token)
    }

    pub(crate) fn is_operator(&self, ahead: usize, operator: &str) -> bool {
        matches!(self.peek(ahead), Some(TokenKind::Operator(own)) if *own == operator)
    }

    pub(crate) fn is_name(&self, ahead: usize, name: &str) -> bool {
        matches!(self.peek(ahead), Some(TokenKind::Name(own)) if **own == *name)
    }

    pub(crate) fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(0, operator);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(0, name);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_operator(&mut self, operator: &str) -> Result<()> {
        if self.skip_operator(operator) {
            Ok(())
        } else {
            self.unexpected(&format!("'{operator}'"))
        }
    }

    pub(crate) fn name(&mut self) -> Result<Arc<str>> {
        let Some(TokenKind::Name(name)) = self.peek(0) else { return self.unexpected("a name") };
        let name = Arc::clone(name);
        self.at += 1;
        Ok(name)
    }

    /// Runs `parse` one level deeper, if the limit of the depth allows it.
    pub(crate) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self
                .fail(format!("more than {MAX_DEPTH} blocks or brackets within each other"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Records that a name is read.
    pub(crate) fn note_name(&mut self, name: &str) {
        if name == "loop" {
            self.loop_names += 1;
        }
        if let Some(names) = self.macros.last_mut() {
            names.caller |= name == "caller";
            names.varargs |= name == "varargs";
            names.kwargs |= name == "kwargs";
        }
    }

    /// Parses statements up to a block tag with one of these names, and returns the name; the tag's end is not
    /// consumed.
    fn block(&mut self, ends: &[&str]) -> Result<(Vec<Stmt>, Arc<str>)> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.peek(0) {
                None if ends.is_empty() => return Ok((body, "".into())),
                None => {
                    let ends = ends.join(" or ");
                    return self.fail(format!("expected {ends}, got the end of the template"));
                }
                Some(TokenKind::Text(text)) => {
                    let kind = StmtKind::Text(Arc::clone(text));
                    self.at += 1;
                    body.push(Stmt { line, kind });
                }
                Some(TokenKind::VariableBegin) => {
                    self.at += 1;
                    let kind = StmtKind::Output(self.tuple(true, None)?);
                    if self.next() != Some(TokenKind::VariableEnd) {
                        self.at -= 1;
                        return self.unexpected("'}}'");
                    }
                    body.push(Stmt { line, kind });
                }
                Some(_) => {
                    self.at += 1;
                    let name = self.name()?;
                    if ends.contains(&&*name) {
                        return Ok((body, name));
                    }
                    let kind = self.nested(|parser| parser.statement(&name))?;
                    body.push(Stmt { line, kind });
                }
            }
        }
    }

    fn end_of_tag(&mut self) -> Result<()> {
        if self.peek(0) != Some(&TokenKind::BlockEnd) {
            return self.unexpected("'%}'");
        }
        self.at += 1;
        Ok(())
    }

    /// Parses the rest of a tag, then the block after it up to its end tag.
    fn body(&mut self, end: &str) -> Result<Vec<Stmt>> {
        self.end_of_tag()?;
        let (body, _) = self.block(&[end])?;
        self.end_of_tag()?;
        Ok(body)
    }

    fn statement(&mut self, name: &str) -> Result<StmtKind> {
        match name {
            "for" => self.for_block(),
            "if" => self.if_block(),
            "set" => self.set(),
            "macro" => {
                let (name, parameters) = (self.name()?, self.parameters()?);
                Ok(StmtKind::Macro(self.macro_block(name, parameters, "endmacro")?))
            }
            "call" => self.call_block(),
            "filter" => {
                let filters = self.filters()?;
                Ok(StmtKind::Filter(filters, self.body("endfilter")?))
            }
            "with" => self.with_block(),
            "generation" => {
                self.generation_blocks += 1;
                Ok(StmtKind::Generation(self.apart(|parser| parser.body("endgeneration"))?))
            }
            "break" | "continue" if self.loops == 0 => {
                self.fail(format!("'{name}' outside of a for block"))
            }
            "break" => self.end_of_tag().map(|()| StmtKind::Break),
            "continue" => self.end_of_tag().map(|()| StmtKind::Continue),
            other => self.fail(format!("unknown tag '{other}'")),
        }
    }

    /// Parses a block that `break` cannot leave.
    fn apart<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let loops = std::mem::take(&mut self.loops);
        let parsed = parse(self);
        self.loops = loops;
        parsed
    }

    fn for_block(&mut self) -> Result<StmtKind> {
        let target = self.target(Some("in"), false)?;
        if !self.skip_name("in") {
            return self.unexpected("'in'");
        }
        let items = self.tuple(false, Some("recursive"))?;
        let test = if self.skip_name("if") { Some(self.expression(true)?) } else { None };
        let recursive = self.skip_name("recursive");
        self.end_of_tag()?;
        let (names, loops) = (self.loop_names, self.loops);
        self.loops += 1;
        let parsed = self.block(&["endfor", "else"]);
        self.loops = loops;
        let (body, end) = parsed?;
        let uses_loop = recursive || self.loop_names > names;
        let otherwise = if &*end == "else" { self.body("endfor")? } else { Vec::new() };
        if &*end == "endfor" {
            self.end_of_tag()?;
        }
        let def = ForDef { target, items, test, body, otherwise, recursive, uses_loop };
        Ok(StmtKind::For(Arc::new(def)))
    }

    fn if_block(&mut self) -> Result<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, None)?;
            self.end_of_tag()?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((test, body));
            if &*end == "elif" {
                continue;
            }
            let otherwise = if &*end == "else" { self.body("endif")? } else { Vec::new() };
            if &*end == "endif" {
                self.end_of_tag()?;
            }
            return Ok(StmtKind::If(branches, otherwise));
        }
    }

    fn set(&mut self) -> Result<StmtKind> {
        let target = self.target(None, true)?;
        if self.skip_operator("=") {
            let value = self.tuple(true, None)?;
            self.end_of_tag()?;
            return Ok(StmtKind::Set(target, value));
        }
        let filters = if self.skip_operator("|") { self.filters()? } else { Vec::new() };
        let body = self.apart(|parser| parser.body("endset"))?;
        Ok(StmtKind::SetBlock(target, filters, body))
    }

    /// Parses filters with their arguments, after the first bar.
    fn filters(&mut self) -> Result<Vec<FilterCall>> {
        let mut filters = vec![self.filter()?];
        while self.skip_operator("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn with_block(&mut self) -> Result<StmtKind> {
        let mut assignments = Vec::new();
        while self.peek(0) != Some(&TokenKind::BlockEnd) {
            if !assignments.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(None, false)?;
            self.expect_operator("=")?;
            assignments.push((target, self.expression(true)?));
        }
        Ok(StmtKind::With(assignments, self.body("endwith")?))
    }

    /// Parses the parameters between a macro's parentheses.
    fn parameters(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        let mut parameters: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        self.expect_operator("(")?;
        while !self.skip_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.name()?;
            let default = if self.skip_operator("=") { Some(self.expression(true)?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, last)| last.is_some()) {
                return self.fail("a parameter without default behind one that has it");
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    /// Parses a macro with the body that follows.
    fn macro_block(
        &mut self,
        name: Arc<str>,
        parameters: Vec<(Arc<str>, Option<Expr>)>,
        end: &str,
    ) -> Result<Arc<MacroDef>> {
        self.macros.push(SpecialNames::default());
        let body = self.apart(|parser| parser.body(end));
        let SpecialNames { caller, varargs, kwargs } = self.macros.pop().unwrap_or_default();
        Ok(Arc::new(MacroDef { name, parameters, body: body?, caller, varargs, kwargs }))
    }

    fn call_block(&mut self) -> Result<StmtKind> {
        let parameters = if self.is_operator(0, "(") { self.parameters()? } else { Vec::new() };
        let line = self.line();
        let call = self.expression(true)?;
        if !matches!(call, Expr { kind: ExprKind::Call(..), .. }) {
            return Err(Error::at(line, "expected a call behind 'call'"));
        }
        let block = self.macro_block("caller".into(), parameters, "endcall")?;
        Ok(StmtKind::Call(block, call))
    }

    /// Parses the target of an assignment, up to `end`.
    fn target(&mut self, end: Option<&str>, attribute: bool) -> Result<Target> {
        if attribute && self.is_operator(1, ".") {
            let name = self.name()?;
            self.expect_operator(".")?;
            let attribute = self.name()?;
            self.note_name(&name);
            return Ok(Target::Attribute(name, attribute));
        }
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if self.skip_operator("(") {
                targets.push(self.nested(|parser| parser.target(None, false))?);
                self.expect_operator(")")?;
            } else {
                let name = self.name()?;
                if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
                    return self.fail(format!("cannot assign to '{name}'"));
                }
                targets.push(Target::Name(name));
            }
            if !self.skip_operator(",") {
                break;
            }
            tuple = true;
            let ended = end.is_some_and(|end| self.is_name(0, end));
            if ended || self.is_operator(0, "=") || self.is_operator(0, ")") {
                break;
            }
        }
        match targets.pop() {
            Some(target) if targets.is_empty() && !tuple => Ok(target),
            Some(target) => {
                targets.push(target);
                Ok(Target::Tuple(targets))
            }
            None => self.unexpected("a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_syntax_is_named_with_its_line() {
        for (source, expected) in [
            ("a\n{% if x %}\n{% endfor %}", "line 3: unknown tag 'endfor'"),
            ("{% if x %}", "line 1: expected elif or else or endif, got the end of the template"),
            ("\n{% foo %}", "line 2: unknown tag 'foo'"),
            ("{% break %}", "line 1: 'break' outside of a for block"),
            ("{{ a b }}", "line 1: expected '}}', got 'b'"),
            ("{{ }}", "line 1: expected an expression, got '}}'"),
            ("{% set none = 1 %}", "line 1: cannot assign to 'none'"),
            ("{% for x of y %}", "line 1: expected 'in', got 'of'"),
            ("{{ x is a is b }}", "line 1: tests cannot be chained with 'is'"),
            ("{% call x %}{% endcall %}", "line 1: expected a call behind 'call'"),
        ] {
            assert_eq!(parse(source).unwrap_err().to_string(), expected, "{source}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500));
        assert!(parse(&deep).unwrap_err().to_string().contains("100 blocks"));
        let deep = "{{ ".to_owned() + &"-".repeat(500) + "1 }}";
        assert!(parse(&deep).unwrap_err().to_string().contains("100 blocks"));
        let deep = "{{ ".to_owned() + &"not ".repeat(500) + "1 }}";
        assert!(parse(&deep).unwrap_err().to_string().contains("100 blocks"));
    }
}
