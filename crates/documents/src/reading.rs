//! The steps from bytes to documents.

pub(crate) mod document;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod wanted;
