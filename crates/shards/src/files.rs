//! Files: written completely or not at all, read at a position, confined to the corpus' folder.

pub(crate) mod confined;
pub(crate) mod parallel;
pub(crate) mod pending_file;
pub(crate) mod positioned_file;
