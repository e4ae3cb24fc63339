//! The Python package: built as `pip install ./crates/python` builds it, linted and tested in a virtual
//! environment of its own. Tests of frameworks run where their libraries are installed for the system's Python.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::metadata;

/// What the tests need beside the package, and the spelling checker (_typos.toml), which comes as a Python package too.
const TOOLS: &[&str] = &["pytest>=8", "ruff>=0.15,<0.16", "typos==1.52.0"];

/// Makes the environment, installs the package into it, and tests it; its interpreter.
pub fn run() -> Result<PathBuf, String> {
    let environment = metadata::root().join("target/ci-python");
    if !python(&environment).exists() {
        create(&environment)?;
    }
    let python = python(&environment);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    // The programs must be in the environment even if the system's Python has them.
    step("Python tools", &python, &[&pip[..], &["--ignore-installed"], TOOLS].concat())?;
    let typos = python.with_file_name(format!("typos{}", std::env::consts::EXE_SUFFIX));
    step("spelling", &typos, &["--format", "brief"])?;
    step("Python package", &python, &[&pip[..], &["./crates/python"]].concat())?;
    step("Python formatting", &python, &["-m", "ruff", "format", "--check", "crates/python"])?;
    step("Python lints", &python, &["-m", "ruff", "check", "crates/python"])?;
    step("Python tests", &python, &["-m", "pytest", "--quiet", "crates/python/tests"])?;
    Ok(python)
}

fn python(environment: &Path) -> PathBuf {
    if cfg!(windows) {
        environment.join("Scripts/python.exe")
    } else {
        environment.join("bin/python")
    }
}

/// Makes a virtual environment that sees the system's packages; Debian's Python lacks what that takes until
/// its package is installed.
fn create(environment: &Path) -> Result<(), String> {
    let path = environment.to_string_lossy();
    let arguments = ["-m", "venv", "--clear", "--system-site-packages", path.as_ref()];
    let program = Path::new(if cfg!(windows) { "python" } else { "python3" });
    if step("Python environment", program, &arguments).is_ok() {
        return Ok(());
    }
    let apt = Path::new("apt-get");
    step("Debian's lists", apt, &["update", "--quiet"])?;
    step("Debian's Python", apt, &["install", "--quiet", "--yes", "python3-venv", "python3-pip"])?;
    step("Python environment", program, &arguments)
}

/// Runs a program from the repository's root.
pub fn step(name: &str, program: &Path, arguments: &[&str]) -> Result<(), String> {
    println!("ci: {name}: {} {}", program.display(), arguments.join(" "));
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(metadata::root())
        .status()
        .map_err(|error| format!("{name}: {}: {error}", program.display()))?;
    println!("ci: {name}: {status} after {:.0} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}
