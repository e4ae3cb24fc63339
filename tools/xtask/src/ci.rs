//! The steps of continuous integration, in the order in which they fail fastest.

use std::process::Command;
use std::time::Instant;

use crate::{metadata, pages, python, tidy};

/// A step: its name, cargo's arguments, and environment variables to set.
type Step = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const STEPS: &[Step] = &[
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"], &[]),
    (
        "lints of the GPU path",
        &["clippy", "--workspace", "--features", "mixdown/cuda", "--", "--deny", "warnings"],
        &[],
    ),
    ("tests", &["test"], &[]),
    ("tests of the tools", &["test", "--package", "xtask", "--package", "mixdown-benches"], &[]),
    ("docs", &["doc", "--no-deps"], &[("RUSTDOCFLAGS", "--deny warnings")]),
    ("release build", &["build", "--release"], &[]),
    ("demo", &["run", "--release", "--", "demo", "--out", "target/ci-demo"], &[]),
];

/// The fuzz targets are a workspace of their own; building libFuzzer takes a C++ compiler.
const FUZZ: Step = (
    "fuzz targets",
    &["check", "--locked", "--manifest-path", "tools/fuzz/Cargo.toml", "--all-features"],
    &[("CARGO_TARGET_DIR", "target")],
);

/// Runs every step and stops at the first that fails; with `first`, begins at the step of that name.
pub fn run(first: Option<&str>) -> Result<(), String> {
    let folder = metadata::root().join("target/ci-demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let skipped = match first {
        None => 0,
        Some(first) => STEPS.iter().position(|(name, ..)| *name == first).ok_or_else(|| {
            let names: Vec<_> = STEPS.iter().map(|(name, ..)| *name).collect();
            format!("expected a step to begin at ({}), got {first}", names.join(", "))
        })?,
    };
    if first.is_none() {
        step(&("formatting", &["fmt", "--all", "--check"], &[]))?;
        tidy::run()?;
    }
    STEPS.iter().skip(skipped).try_for_each(step)?;
    match Command::new("c++").arg("--version").output() {
        Ok(found) if found.status.success() => step(&FUZZ)?,
        _ => println!("ci: {}: left out, for there is no c++", FUZZ.0),
    }
    pages::run(&python::run()?)?;
    match first {
        None => println!("ci: every step passed"),
        Some(first) => println!("ci: every step from {first} on passed"),
    }
    Ok(())
}

fn step((name, arguments, variables): &Step) -> Result<(), String> {
    println!("ci: {name}: cargo {}", arguments.join(" "));
    let start = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(*arguments)
        .envs(variables.iter().copied())
        .current_dir(metadata::root())
        .status()
        .map_err(|error| format!("{name}: {error}"))?;
    println!("ci: {name}: {status} after {:.0} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}
