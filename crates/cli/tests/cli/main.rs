//! The command line as a user meets it: one file a subcommand, standard output, standard error and exit
//! code as snapshots.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bad_input;
mod batches;
mod demo;
mod eval;
mod fit;
mod generate;
mod interchange;
mod json;
mod labels;
mod mix;
mod prepare;
#[cfg(unix)]
mod processes;
mod report;
mod sandbox;
mod shell;
mod story;
mod sweep;
mod train;
mod verify;
mod watch;
