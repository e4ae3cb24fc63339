//! What a mixture delivers, and how fast.

pub mod bench;
pub mod mix;
