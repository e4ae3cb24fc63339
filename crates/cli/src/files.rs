//! Files that commands write, and what they ask of the system's cache of pages.

pub(crate) mod arrow_stream;
pub(crate) mod page_cache;
pub(crate) mod whole_file;
