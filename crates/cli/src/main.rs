//! mixdown: finetune a language model on a target domain without forgetting.

mod args;
mod arrow_stream;
mod commands;
mod configuration;
mod count;
mod demo;
mod error;
mod injection;
mod interrupt;
mod models;
mod output;
mod page_cache;
mod processes;
mod progress;
mod recipe;
mod sweep;
mod text;
mod watch;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

// Training allocates and frees buffers of megabytes at every step; the system's allocator hands them
// back to the kernel each time (46 % of the samples of a profile), mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let report = error.report();
            if !report.is_empty() {
                progress::say(&report);
            }
            error.exit_code()
        }
    }
}
