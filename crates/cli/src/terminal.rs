//! The terminal: arguments, help, output, progress and interruptions.

pub(crate) mod advice;
pub(crate) mod args;
pub(crate) mod command_line;
pub(crate) mod help;
pub(crate) mod interrupt;
pub(crate) mod output;
pub(crate) mod progress;
