//! The syntax tree of a parsed template.

use std::sync::Arc;

use crate::values::number::Arithmetic;

/// A constant. Templates are shared between threads, so this is not a [`Value`](crate::Value).
#[derive(Debug, Clone)]
pub(crate) enum Const {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) line: u32,
    pub(crate) kind: ExprKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ExprKind {
    Const(Const),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `a.b`
    Attribute(Box<Expr>, Arc<str>),
    /// `a[b]`
    Item(Box<Expr>, Box<Expr>),
    /// `a[start:stop:step]`
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, FilterCall),
    Test(Box<Expr>, Arc<str>, Args),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Arithmetic, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// `then if test else otherwise`
    Conditional {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

/// The arguments of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Arc<str>, Expr)>,
    /// `*items`
    pub(crate) rest: Option<Box<Expr>>,
    /// `**entries`
    pub(crate) rest_named: Option<Box<Expr>>,
}

#[derive(Debug, Clone)]
pub(crate) struct FilterCall {
    pub(crate) name: Arc<str>,
    pub(crate) args: Args,
    pub(crate) line: u32,
}

/// The target of an assignment.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Self>),
    /// `namespace.attribute`
    Attribute(Arc<str>, Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) struct Stmt {
    pub(crate) line: u32,
    pub(crate) kind: StmtKind,
}

#[derive(Debug, Clone)]
pub(crate) enum StmtKind {
    /// Literal text.
    Text(Arc<str>),
    Output(Expr),
    /// The branches with their conditions, then the else branch.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For(Arc<ForDef>),
    Set(Target, Expr),
    SetBlock(Target, Vec<FilterCall>, Vec<Stmt>),
    Macro(Arc<MacroDef>),
    /// A call with the block as its `caller`.
    Call(Arc<MacroDef>, Expr),
    Filter(Vec<FilterCall>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Generation(Vec<Stmt>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct ForDef {
    pub(crate) target: Target,
    pub(crate) items: Expr,
    pub(crate) test: Option<Expr>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) otherwise: Vec<Stmt>,
    pub(crate) recursive: bool,
    /// Whether the body names `loop`: only then are all items collected before the first is used.
    pub(crate) uses_loop: bool,
}

#[derive(Debug)]
pub(crate) struct MacroDef {
    pub(crate) name: Arc<str>,
    pub(crate) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(crate) body: Vec<Stmt>,
    /// The special names that the body uses.
    pub(crate) caller: bool,
    pub(crate) varargs: bool,
    pub(crate) kwargs: bool,
}
