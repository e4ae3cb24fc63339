//! Entries of folders, file and line lengths, the list of `unsafe` code, allowed arrows between crates, fences around
//! heavy dependencies, and the demo's package list. Every finding is reported before the task fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::demo_packages;
use crate::examples;
use crate::metadata::{self, Dependencies};

const PRODUCTION_LINES_AT_MOST: usize = 600;
const COLUMNS_AT_MOST: usize = 120;
/// Entries of a folder of sources. A module's file and its folder count once.
const ENTRIES_AT_MOST: usize = 15;

/// Which of our crates each crate may use (docs/architecture.md draws the same arrows).
const ARROWS: &[(&str, &[&str])] = &[
    ("mixdown-base", &[]),
    ("mixdown-similarity", &[]),
    ("mixdown-shards", &["mixdown-base", "mixdown-similarity"]),
    ("mixdown-jinja", &[]),
    ("mixdown-documents", &["mixdown-base", "mixdown-jinja"]),
    ("mixdown-runs", &["mixdown-base"]),
    ("mixdown-scaling", &["mixdown-base"]),
    (
        "mixdown-tokenize",
        &["mixdown-base", "mixdown-documents", "mixdown-shards", "mixdown-similarity"],
    ),
    ("mixdown-mixer", &["mixdown-base", "mixdown-shards"]),
    ("mixdown-train", &["mixdown-base", "mixdown-mixer", "mixdown-shards", "mixdown-runs"]),
    ("mixdown-report", &["mixdown-base", "mixdown-runs", "mixdown-scaling"]),
    (
        "mixdown-experiments",
        &[
            "mixdown-base",
            "mixdown-documents",
            "mixdown-mixer",
            "mixdown-runs",
            "mixdown-scaling",
            "mixdown-shards",
            "mixdown-tokenize",
            "mixdown-train",
        ],
    ),
    ("mixdown-watch", &["mixdown-base", "mixdown-mixer", "mixdown-runs"]),
    (
        "mixdown",
        &[
            "mixdown-base",
            "mixdown-documents",
            "mixdown-experiments",
            "mixdown-mixer",
            "mixdown-report",
            "mixdown-runs",
            "mixdown-scaling",
            "mixdown-shards",
            "mixdown-tokenize",
            "mixdown-train",
            "mixdown-watch",
        ],
    ),
    (
        "mixdown-python",
        &[
            "mixdown-base",
            "mixdown-documents",
            "mixdown-mixer",
            "mixdown-shards",
            "mixdown-tokenize",
        ],
    ),
    (
        "mixdown-benches",
        &[
            "mixdown-base",
            "mixdown-documents",
            "mixdown-experiments",
            "mixdown-mixer",
            "mixdown-scaling",
            "mixdown-shards",
            "mixdown-similarity",
            "mixdown-train",
            "mixdown-watch",
        ],
    ),
    ("xtask", &[]),
];

/// Dependencies (by name or prefix) that only the named crates may use directly.
const FENCES: &[(&str, &[&str])] = &[
    ("arrow", &["mixdown-documents", "mixdown-runs", "mixdown"]),
    ("parquet", &["mixdown-documents", "mixdown-runs", "mixdown"]),
    ("candle", &["mixdown-train"]),
    ("cudarc", &["mixdown-train"]),
    ("anstream", &["mixdown"]),
    ("clap", &["mixdown"]),
    ("indicatif", &["mixdown"]),
    ("ratatui", &["mixdown-watch"]),
    ("memmap2", &["mixdown-shards"]),
    ("tokenizers", &["mixdown-tokenize"]),
    ("zstd", &["mixdown-documents", "mixdown-report"]),
    ("flate2", &["mixdown-documents", "mixdown-shards"]),
    ("pyo3", &["mixdown-python"]),
    ("numpy", &["mixdown-python"]),
];

/// Runs every check.
pub fn run() -> Result<(), String> {
    let mut findings = Vec::new();
    let root = metadata::root();
    for folder in ["crates", "tools", "benches"] {
        check_folder(&root.join(folder), &root, &mut findings)?;
    }
    check_unsafe(&root, &mut findings)?;
    examples::check(&root.join("crates"), &mut findings)?;
    check_arrows(&metadata::dependencies()?, &mut findings);
    demo_packages::check(&mut findings)?;
    if findings.is_empty() {
        println!("tidy: nothing found");
        return Ok(());
    }
    Err(format!("tidy found {}:\n  {}", findings.len(), findings.join("\n  ")))
}

fn check_folder(folder: &Path, root: &Path, findings: &mut Vec<String>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    check_entries(folder, &paths, root, findings);
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            check_folder(&path, root, findings)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check_source(&path, root, findings)?;
        }
    }
    Ok(())
}

fn check_entries(folder: &Path, paths: &[PathBuf], root: &Path, findings: &mut Vec<String>) {
    let is_hidden = |path: &&PathBuf| path.file_name().is_some_and(|name| name == "target");
    let names: BTreeSet<_> =
        paths.iter().filter(|path| !is_hidden(path)).map(|path| path.with_extension("")).collect();
    let name = folder.strip_prefix(root).unwrap_or(folder);
    // Raw results and cases of tests are lists, which nobody looks for a concept in.
    if names.len() > ENTRIES_AT_MOST && name.starts_with("crates") && !is_test(folder) {
        findings.push(format!(
            "{}: {} entries, at most {ENTRIES_AT_MOST}: make folders by concept",
            name.display(),
            names.len()
        ));
    }
}

fn check_source(path: &Path, root: &Path, findings: &mut Vec<String>) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.strip_prefix(root).unwrap_or(path).display();
    if !text.starts_with("//!") && !text.starts_with("#!") {
        findings
            .push(format!("{name}: expected a first line that says what the file is about (//!)"));
    }
    if is_test(path) {
        return Ok(());
    }
    for (index, line) in text.lines().enumerate() {
        let is_serialized = ["json::to_", "toml::to_"].iter().any(|name| line.contains(name));
        if is_serialized && line.contains(".unwrap_or_default()") {
            findings.push(format!(
                "{name}:{}: a value that cannot be serialized becomes an empty one",
                index + 1
            ));
        }
    }
    let production = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    if production > PRODUCTION_LINES_AT_MOST {
        findings.push(format!(
            "{name}: {production} production lines, at most {PRODUCTION_LINES_AT_MOST}: split by concept"
        ));
    }
    // Cases of tests are as long as they are.
    for (index, line) in text.lines().take(production).enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_AT_MOST && !is_message(line) {
            findings.push(format!(
                "{name}:{}: {columns} columns, at most {COLUMNS_AT_MOST}",
                index + 1
            ));
        }
    }
    Ok(())
}

/// Files of tests alone, whose snapshots and cases are as long as they are.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.ends_with("_tests")
        || stem == "tests"
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// A message is read as one line, so it stands as one.
fn is_message(line: &str) -> bool {
    line.trim_start().starts_with(['"', '#'])
}

/// The list of files with `unsafe` code stands in docs/architecture.md, so that it can be audited.
fn check_unsafe(root: &Path, findings: &mut Vec<String>) -> Result<(), String> {
    let page = root.join("docs/architecture.md");
    let listed =
        fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let mut sources = Vec::new();
    examples::read_sources(&root.join("crates"), &mut sources)?;
    for (stem, lines) in sources {
        let starts = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        let code = |line: &String| {
            !line.trim_start().starts_with("//") && starts.iter().any(|start| line.contains(start))
        };
        if lines.iter().any(code) && !listed.contains(&format!("{stem}.rs")) {
            findings.push(format!("{stem}.rs: `unsafe` that docs/architecture.md does not list"));
        }
    }
    Ok(())
}

fn check_arrows(dependencies: &Dependencies, findings: &mut Vec<String>) {
    for (package, list) in dependencies {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            findings.push(format!("{package}: not in tidy's table of arrows"));
            continue;
        };
        for (dependency, kind) in list {
            let ours = dependency.starts_with("mixdown");
            if ours && !allowed.contains(&dependency.as_str()) {
                findings.push(format!("{package} -> {dependency}: arrow not allowed"));
            }
            if *kind == "normal" {
                check_fence(package, dependency, findings);
            }
        }
    }
}

fn check_fence(package: &str, dependency: &str, findings: &mut Vec<String>) {
    for (fenced, allowed) in FENCES {
        let inside = dependency == *fenced || dependency.starts_with(&format!("{fenced}-"));
        if inside && !allowed.contains(&package) {
            findings.push(format!("{package} uses {dependency}: only {} may", allowed.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_of(package: &str, dependency: &str, kind: &'static str) -> Vec<String> {
        let list = Dependencies::from([(package.to_owned(), vec![(dependency.to_owned(), kind)])]);
        let mut findings = Vec::new();
        check_arrows(&list, &mut findings);
        findings
    }

    #[test]
    fn a_forbidden_arrow_is_found() {
        assert_eq!(findings_of("mixdown-shards", "mixdown-mixer", "normal").len(), 1);
        assert_eq!(findings_of("mixdown-mixer", "mixdown-shards", "normal").len(), 0);
    }

    #[test]
    fn a_fence_holds_for_normal_dependencies_only() {
        assert_eq!(findings_of("mixdown-mixer", "candle-core", "normal").len(), 1);
        assert_eq!(findings_of("mixdown-train", "candle-core", "normal").len(), 0);
        assert_eq!(findings_of("mixdown", "zstd", "dev").len(), 0);
    }

    #[test]
    fn an_unknown_package_is_found() {
        assert_eq!(findings_of("mixdown-common", "serde", "normal").len(), 1);
    }
}
