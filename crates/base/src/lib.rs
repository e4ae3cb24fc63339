//! Small things that every crate of mixdown needs, each written once: files that are absent or whole
//! ([`files`]), quantities as people write them ([`quantity`]), and numbers as people read them ([`display`]).
//!
//! A leaf: it uses no other crate of ours.

pub mod display;
pub mod files;
pub mod quantity;
mod scan;
