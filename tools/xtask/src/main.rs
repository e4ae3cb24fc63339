//! The project's own chores: `cargo xtask tidy`, `cargo xtask ci`, `cargo xtask demo-packages`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod ci;
mod demo_packages;
mod examples;
mod metadata;
mod pages;
mod python;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "ci" => ci::run(std::env::args().nth(2).as_deref()),
        "tidy" => tidy::run(),
        "demo-packages" => demo_packages::write(),
        other => Err(format!(
            "unknown task {other:?}\nusage: cargo xtask ci [FIRST_STEP] | tidy | demo-packages"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
