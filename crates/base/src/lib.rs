//! Small things that every crate of mixdown needs, each written once: files that are absent or whole ([`files`]), locks
//! of folders ([`folder_lock`]), quantities as people write them ([`quantity`]), numbers as people read them
//! ([`display`]), panics of libraries as values ([`panics`]), the kinds of errors ([`error_kind`]), the callers of long
//! work ([`observer`]), and quantiles of Student's t ([`student`]).
//!
//! This crate is a leaf: it uses no other mixdown crate.

pub mod display;
pub mod error_kind;
pub mod files;
pub mod folder_lock;
pub mod observer;
pub mod panics;
pub mod quantity;
mod scan;
pub mod student;
