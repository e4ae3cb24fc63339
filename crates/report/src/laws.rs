//! The page of a sweep or a fit.

pub(crate) mod base;
pub(crate) mod check;
pub(crate) mod forgetting;
pub(crate) mod headline;
pub(crate) mod lost;
pub(crate) mod page;
pub(crate) mod tables;
pub(crate) mod target;
