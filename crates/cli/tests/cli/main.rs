//! The command line as a user meets it: one file a subcommand, standard output, standard error and exit
//! code as snapshots.

mod bad_input;
mod demo;
mod mix;
mod prepare;
mod sandbox;
mod story;
