//! Python's operations on strings.

pub(crate) mod filters;
pub(crate) mod methods;
pub(crate) mod printf;
pub(crate) mod search;
pub(crate) mod str_format;
