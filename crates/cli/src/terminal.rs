//! What stands between a person and the commands: arguments, help, output, progress, interruptions.

pub(crate) mod advice;
pub(crate) mod args;
pub(crate) mod command_line;
pub(crate) mod help;
pub(crate) mod interrupt;
pub(crate) mod output;
pub(crate) mod progress;
