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

/// Writes the list.
pub fn write() -> Result<(), String> {
    let path = list_path();
    fs::write(&path, list()?).map_err(|error| format!("{}: {error}", path.display()))
}

/// Adds a finding where the committed list is not what cargo says now.
pub fn check(findings: &mut Vec<String>) -> Result<(), String> {
    let path = list_path();
    let committed =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if committed != list()? {
        findings.push(format!("{}: stale, run `cargo xtask demo-packages`", path.display()));
    }
    Ok(())
}

fn list_path() -> PathBuf {
    metadata::root().join("crates/cli/src/demo/packages.txt")
}

fn list() -> Result<String, String> {
    let mut common: Option<BTreeSet<String>> = None;
    for platform in PLATFORMS {
        let packages = packages_on(platform)?;
        common = Some(match common {
            Some(earlier) => earlier.intersection(&packages).cloned().collect(),
            None => packages,
        });
    }
    let mut lines: Vec<String> = common.unwrap_or_default().into_iter().collect();
    lines.push(String::new());
    Ok(lines.join("\n"))
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
