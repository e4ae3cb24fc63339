//! Evaluation of statements and expressions to text.

pub(crate) mod call;
pub(crate) mod conditions;
pub(crate) mod eval;
pub(crate) mod filters;
pub(crate) mod interpreter;
pub(crate) mod item_filters;
pub(crate) mod macros;
pub(crate) mod methods;
pub(crate) mod operators;
pub(crate) mod scope;
