//! Small things that every crate of mixdown needs, each written once: files that are absent or whole
//! ([`files`]), quantities as people write them ([`quantity`]), numbers as people read them ([`display`]), and panics
//! of libraries as values ([`panics`]).
//!
//! A leaf: it uses no other crate of ours.

pub mod display;
pub mod files;
pub mod panics;
pub mod quantity;
mod scan;
