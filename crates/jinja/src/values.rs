//! Values with Python's semantics: texts, numbers, lists, JSON.

pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod python_text;
pub(crate) mod text;
pub(crate) mod tojson;
pub(crate) mod value;
