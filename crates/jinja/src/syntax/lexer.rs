//! The lexer, from a template's source to tokens, with the white space control of `trim_blocks` and `lstrip_blocks`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::syntax::escapes::unescape;
use crate::values::python_text::is_space;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// Text between tags.
    Text(Arc<str>),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(Arc<str>),
    Str(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) line: u32,
    pub(crate) kind: TokenKind,
}

/// The operators; each comes before its own prefixes.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// Returns the tokens of a source. Line ends of all kinds count as `\n`, and one at the end is dropped.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>> {
    let unified = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = unified.strip_suffix('\n').unwrap_or(&unified);
    let mut lexer = Lexer { source, at: 0, line: 1, line_starting: true, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    /// Whether the last tag also consumed the line end.
    line_starting: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, len: usize) {
        let passed = self.rest().get(..len).unwrap_or_default();
        let lines = passed.bytes().filter(|&byte| byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at += len;
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn fail<T>(&self, got: impl Into<String>) -> Result<T> {
        Err(Error::at(self.line, got))
    }

    fn run(&mut self) -> Result<()> {
        while !self.rest().is_empty() {
            let rest = self.rest();
            let Some(at) = next_tag(rest) else {
                self.push(TokenKind::Text(rest.into()));
                return Ok(());
            };
            let (text, tag) = rest.split_at(at);
            self.text_before(text, tag);
            if tag.starts_with("{#") {
                self.comment()?;
            } else if tag.starts_with("{{") {
                self.tag(2 + sign_of(tag).len(), TokenKind::VariableBegin, "}}")?;
            } else if let Some(len) = raw_begin(tag) {
                self.advance(len);
                self.raw()?;
            } else {
                self.tag(2 + sign_of(tag).len(), TokenKind::BlockBegin, "%}")?;
            }
        }
        Ok(())
    }

    /// Emits the text before a tag, without the white space that the tag removes.
    fn text_before(&mut self, text: &str, tag: &str) {
        let kept = match sign_of(tag) {
            "-" => text.trim_end_matches(is_space),
            "" if !tag.starts_with("{{") => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let blank = text.get(line..).is_some_and(|line| line.chars().all(is_space));
                if blank && (line > 0 || self.line_starting) {
                    text.get(..line).unwrap_or_default()
                } else {
                    text
                }
            }
            _ => text,
        };
        if !kept.is_empty() {
            self.push(TokenKind::Text(kept.into()));
        }
        self.advance(text.len());
    }

    /// Consumes the end of a tag with the white space that its closing brackets and their sign remove.
    fn end_of_tag(&mut self, close: &str, signed: bool) {
        let sign = if signed { self.rest().get(..1).unwrap_or_default() } else { "" };
        let mut len = sign.len() + close.len();
        let behind = self.rest().get(len..).unwrap_or_default();
        match sign {
            "-" => len += behind.len() - behind.trim_start_matches(is_space).len(),
            "" if close != "}}" && behind.starts_with('\n') => len += 1,
            _ => {}
        }
        self.line_starting = self.rest().get(..len).is_some_and(|tag| tag.ends_with('\n'));
        self.advance(len);
    }

    fn comment(&mut self) -> Result<()> {
        let begin = 2 + sign_of(self.rest()).len();
        let inside = self.rest().get(begin..).unwrap_or_default();
        let Some(len) = inside.find("#}") else { return self.fail("a comment without its end #}") };
        let signed = inside.get(..len).is_some_and(|inside| inside.ends_with(['-', '+']));
        self.advance(begin + len - usize::from(signed));
        self.end_of_tag("#}", signed);
        Ok(())
    }

    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(at) = rest.get(from..).and_then(|rest| rest.find("{%")) {
            let (text, tag) = rest.split_at(from + at);
            if let Some(len) = word_behind(tag, "endraw") {
                let end = tag.get(len..).unwrap_or_default();
                let signed = end.starts_with("-%}") || end.starts_with("+%}");
                if signed || end.starts_with("%}") {
                    self.text_before(text, tag);
                    self.advance(len);
                    self.end_of_tag("%}", signed);
                    return Ok(());
                }
            }
            from += at + 2;
        }
        self.fail("a raw block without its {% endraw %}")
    }

    /// Reads a tag with an expression, up to its closing brackets outside of all others.
    fn tag(&mut self, begin: usize, kind: TokenKind, close: &str) -> Result<()> {
        self.push(kind);
        self.advance(begin);
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(is_space).len());
            let rest = self.rest();
            if rest.is_empty() {
                return self.fail(format!("a tag without its end {close}"));
            }
            if open.is_empty() {
                let signed = rest.strip_prefix('-').or_else(|| {
                    // Only blocks accept the plus sign.
                    rest.strip_prefix('+').filter(|_| close == "%}")
                });
                let signed = signed.is_some_and(|rest| rest.starts_with(close));
                if signed || rest.starts_with(close) {
                    let end =
                        if close == "}}" { TokenKind::VariableEnd } else { TokenKind::BlockEnd };
                    self.push(end);
                    self.end_of_tag(close, signed);
                    return Ok(());
                }
            }
            let (kind, len) = self.token(rest)?;
            match &kind {
                TokenKind::Operator(bracket @ ("(" | "[" | "{")) => open.push(bracket),
                TokenKind::Operator(bracket @ (")" | "]" | "}")) => {
                    let expected = match open.pop() {
                        Some("(") => ")",
                        Some("[") => "]",
                        Some(_) => "}",
                        None => return self.fail(format!("unexpected '{bracket}'")),
                    };
                    if expected != *bracket {
                        return self.fail(format!("unexpected '{bracket}', expected '{expected}'"));
                    }
                }
                _ => {}
            }
            self.push(kind);
            self.advance(len);
        }
    }

    fn token(&self, rest: &str) -> Result<(TokenKind, usize)> {
        let behind_dot =
            matches!(self.tokens.last(), Some(Token { kind: TokenKind::Operator("."), .. }));
        let first = rest.chars().next().unwrap_or_default();
        if first.is_ascii_digit() {
            return number(rest, behind_dot)
                .map_or_else(|| self.fail("a number that is too large"), Ok);
        }
        if first == '_' || first.is_alphanumeric() {
            let len = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
            return Ok((TokenKind::Name(rest.get(..len).unwrap_or_default().into()), len));
        }
        if first == '"' || first == '\'' {
            return self.string(rest, first);
        }
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
        let found = operator.map(|operator| (TokenKind::Operator(operator), operator.len()));
        found.map_or_else(|| self.fail(format!("unexpected character {first:?}")), Ok)
    }

    fn string(&self, rest: &str, quote: char) -> Result<(TokenKind, usize)> {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    let text = unescape(rest.get(1..at).unwrap_or_default());
                    let text = text.map_err(|got| Error::at(self.line, got))?;
                    return Ok((TokenKind::Str(text), at + 1));
                }
                _ => {}
            }
        }
        self.fail("a string without its end")
    }
}

/// Returns where the first tag begins.
fn next_tag(text: &str) -> Option<usize> {
    let tag = |at: &usize| text.get(at + 1..).is_some_and(|rest| rest.starts_with(['%', '{', '#']));
    text.match_indices('{').map(|(at, _)| at).find(tag)
}

/// Returns the sign of white space control after a tag's opening brackets.
fn sign_of(tag: &str) -> &str {
    tag.get(2..3).filter(|sign| matches!(*sign, "-" | "+")).unwrap_or_default()
}

/// Returns the length of a block tag's beginning, up to and including `word`; `None` if another word is there.
fn word_behind(tag: &str, word: &str) -> Option<usize> {
    let inside = tag.get(2 + sign_of(tag).len()..)?;
    let behind = inside.trim_start_matches(is_space).strip_prefix(word)?;
    Some(tag.len() - behind.trim_start_matches(is_space).len())
}

/// Returns the length of `{% raw %}` with the white space that it removes.
fn raw_begin(tag: &str) -> Option<usize> {
    let len = word_behind(tag, "raw")?;
    let end = tag.get(len..)?;
    if let Some(behind) = end.strip_prefix("-%}") {
        return Some(tag.len() - behind.trim_start_matches(is_space).len());
    }
    end.starts_with("%}").then_some(len + 2)
}

/// Reads a number at the beginning; after a dot only its digits, as `a.0.1` is two items.
fn number(rest: &str, behind_dot: bool) -> Option<(TokenKind, usize)> {
    let digits = |text: &str, is_digit: fn(char) -> bool| {
        let len = text.find(|c: char| !is_digit(c) && c != '_').unwrap_or(text.len());
        let digits = text.get(..len).unwrap_or_default();
        digits.trim_end_matches('_').len()
    };
    let decimal: fn(char) -> bool = |c| c.is_ascii_digit();
    for (prefix, radix) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        let is_prefix = rest.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if let (true, Some(behind)) = (is_prefix, rest.get(2..)) {
            let len = digits(behind, |c| c.is_ascii_hexdigit());
            let text = behind.get(..len)?.replace('_', "");
            return Some((TokenKind::Int(i128::from_str_radix(&text, radix).ok()?), 2 + len));
        }
    }
    let whole = digits(rest, decimal);
    let mut len = whole;
    if !behind_dot {
        let fraction = rest.get(len..)?.strip_prefix('.').map_or(0, |rest| digits(rest, decimal));
        len += if fraction > 0 { fraction + 1 } else { 0 };
        if let Some(exponent) = rest.get(len..)?.strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let power = digits(unsigned, decimal);
            len += if power > 0 { 1 + exponent.len() - unsigned.len() + power } else { 0 };
        }
    }
    let text = rest.get(..len)?.replace('_', "");
    let kind = if len > whole {
        TokenKind::Float(text.parse().ok()?)
    } else {
        TokenKind::Int(text.parse().ok()?)
    };
    Some((kind, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let text = |token: Token| match token.kind {
            TokenKind::Text(text) => Some(text.to_string()),
            _ => None,
        };
        tokens(source).unwrap().into_iter().filter_map(text).collect()
    }

    #[test]
    fn white_space_goes_as_jinja_takes_it() {
        for (source, expected) in [
            ("a\n  {% x %}\nb\n", &["a\n", "b"][..]),
            ("a  {% x %}\n\nb", &["a  ", "\nb"]),
            ("  {% x %}  {% y %}", &["  "]),
            ("a \n {%- x -%} \n b", &["a", "b"]),
            ("  {%+ x +%}\nb", &["  ", "\nb"]),
            ("a\n  {{ x }}\nb", &["a\n  ", "\nb"]),
            ("a\n  {{- x -}}\nb", &["a", "b"]),
            ("a\n  {# {% y %} #}\nb", &["a\n", "b"]),
            ("a {#- x -#} b", &["a", "b"]),
            ("a\r\n{% x %}\r\nb\rc\r\n", &["a\n", "b\nc"]),
            (" {% raw %} {% x %}\n {%- endraw %}\nb", &[" {% x %}", "b"]),
            ("{% raw -%}\n a{% endraw %}", &["a"]),
            ("{", &["{"]),
        ] {
            assert_eq!(texts(source), expected, "{source:?}");
        }
    }

    #[test]
    fn expressions_are_cut_into_tokens() {
        let source = "{{ {'a': {\"b\\n\": 1}}[x.0.1] ** 1.5e-3 // 0x1F-1_000 }}";
        let kinds: Vec<_> = tokens(source).unwrap().into_iter().map(|token| token.kind).collect();
        let op = TokenKind::Operator;
        let expected = [
            TokenKind::VariableBegin,
            op("{"),
            TokenKind::Str("a".to_owned()),
            op(":"),
            op("{"),
            TokenKind::Str("b\n".to_owned()),
            op(":"),
            TokenKind::Int(1),
            op("}"),
            op("}"),
            op("["),
            TokenKind::Name("x".into()),
            op("."),
            TokenKind::Int(0),
            op("."),
            TokenKind::Int(1),
            op("]"),
            op("**"),
            TokenKind::Float(0.0015),
            op("//"),
            TokenKind::Int(31),
            op("-"),
            TokenKind::Int(1000),
            TokenKind::VariableEnd,
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_is_no_tag_is_named_with_its_line() {
        for (source, expected) in [
            ("a\n{# x", "line 2: a comment without its end #}"),
            ("\n\n{{ 'a }}", "line 3: a string without its end"),
            ("{% raw %}\n", "line 1: a raw block without its {% endraw %}"),
            ("{{ (a] }}", "line 1: unexpected ']', expected ')'"),
            ("{{ ) }}", "line 1: unexpected ')'"),
            ("{{ a ? b }}", "line 1: unexpected character '?'"),
            ("{{ a", "line 1: a tag without its end }}"),
        ] {
            assert_eq!(tokens(source).unwrap_err().to_string(), expected);
        }
    }
}
