//! The parser, from a template's source to statements and expressions.

pub(crate) mod ast;
pub(crate) mod calls;
pub(crate) mod escapes;
pub(crate) mod expressions;
pub(crate) mod lexer;
pub(crate) mod parser;
