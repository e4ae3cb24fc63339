//! The laws themselves: their forms, what they predict, their terms.

pub(crate) mod forgetting_law;
pub(crate) mod form;
pub(crate) mod forms;
pub(crate) mod injection;
pub(crate) mod target_law;
