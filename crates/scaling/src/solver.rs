//! The minimum of a robust loss: starts, a linear inner solution, a search and its polish.

pub(crate) mod candidates;
pub(crate) mod linear;
pub(crate) mod objective;
pub(crate) mod polish;
pub(crate) mod profile;
pub(crate) mod scale;
pub(crate) mod search;
pub(crate) mod solution;
pub(crate) mod starts;
