//! The packages whose sources the demo reads: those that the binary needs on every platform, so that
//! every machine that has just built mixdown holds the same text.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::metadata;

const PLATFORMS: &[&str] = &[
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
];

/// Writes the list of all packages that the binary needs today.
pub fn write() -> Result<(), String> {
    let path = list_path();
    let lines: Vec<_> = needed()?.into_iter().chain([String::new()]).collect();
    fs::write(&path, lines.join("\n")).map_err(|error| format!("{}: {error}", path.display()))
}

/// Adds a finding for packages of the committed list that the binary does not need any more. A new package does not
/// belong to the list until it is written again: it would change the demo's text, and with it every number of the demo.
pub fn check(findings: &mut Vec<String>) -> Result<(), String> {
    let path = list_path();
    let committed =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let needed = needed()?;
    let gone: Vec<_> = committed.lines().filter(|line| !needed.contains(*line)).collect();
    if !gone.is_empty() {
        findings.push(format!(
            "{}: {} not needed any more, run `cargo xtask demo-packages` and renew the demo's numbers in README.md \
             and docs/results.md",
            path.display(),
            gone.join(", ")
        ));
    }
    Ok(())
}

fn list_path() -> PathBuf {
    metadata::root().join("crates/cli/src/demo/packages.txt")
}

fn needed() -> Result<BTreeSet<String>, String> {
    let mut common: Option<BTreeSet<String>> = None;
    for platform in PLATFORMS {
        let packages = packages_on(platform)?;
        common = Some(match common {
            Some(earlier) => earlier.intersection(&packages).cloned().collect(),
            None => packages,
        });
    }
    Ok(common.unwrap_or_default())
}

/// Names of the form `name-version`, as cargo names the folders of its registry.
fn packages_on(platform: &str) -> Result<BTreeSet<String>, String> {
    let arguments = [
        "tree",
        "--locked",
        "--package",
        "mixdown",
        "--target",
        platform,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let tree = metadata::cargo(&arguments)?;
    Ok(tree.lines().filter_map(folder_name).collect())
}

fn folder_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    (!name.starts_with("mixdown")).then(|| format!("{name}-{}", version.trim_start_matches('v')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_tree_becomes_a_folder_name() {
        assert_eq!(folder_name("serde v1.0.229"), Some("serde-1.0.229".into()));
        assert_eq!(
            folder_name("clap_derive v4.6.9 (proc-macro)"),
            Some("clap_derive-4.6.9".into())
        );
        assert_eq!(folder_name("mixdown-runs v0.1.0 (/x)"), None);
    }
}
