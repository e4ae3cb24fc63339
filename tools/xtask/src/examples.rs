//! Every exported function, and every exported type with methods, has an example in its docs.
//!
//! The check reads the sources as rustfmt lays them out: what lib.rs exports, where that is defined, and whether its
//! docs hold a block of code. A type's example may stand at the type or at one of its methods. Types without methods
//! are plain data, which the examples of functions show.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Adds an item without an example to `findings`, for each library crate below `crates`.
pub fn check(crates: &Path, findings: &mut Vec<String>) -> Result<(), String> {
    for crate_folder in folders(crates)? {
        let lib = crate_folder.join("src/lib.rs");
        // The Python package's API is in Python.
        if !lib.exists() || crate_folder.ends_with("python") {
            continue;
        }
        let mut sources = Vec::new();
        read_sources(&crate_folder.join("src"), &mut sources)?;
        let crate_name = crate_folder.file_name().unwrap_or_default().to_string_lossy();
        let missing = exported(&sources, "lib")
            .into_iter()
            .filter(|name| lacks_example(name, &sources))
            .map(|name| format!("{crate_name}: {name}: expected an example in its docs"));
        findings.extend(missing);
    }
    Ok(())
}

/// A source file without its tests: its name without the extension, and its lines.
pub type Source = (String, Vec<String>);

fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Adds all sources below a folder.
pub fn read_sources(folder: &Path, sources: &mut Vec<Source>) -> Result<(), String> {
    for path in folders(folder)? {
        if path.is_dir() {
            read_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // A module of tests stands at the end of its file.
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            sources.push((stem, text[..end].lines().map(str::to_owned).collect()));
        }
    }
    Ok(())
}

/// Names of functions and types that the module `file` exports, also by its public modules.
fn exported(sources: &[Source], file: &str) -> BTreeSet<String> {
    let lines = sources.iter().filter(|(stem, _)| stem == file).flat_map(|(_, lines)| lines);
    let text = lines.cloned().collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for statement in text.split(';') {
        let Some(start) = statement.rfind("\npub use ").or_else(|| statement.find("pub use "))
        else {
            continue;
        };
        let path = statement[start..].trim().trim_start_matches("pub use ").trim();
        // Items of another crate of ours are checked there.
        if path.starts_with("mixdown_") {
            continue;
        }
        let list = path.rsplit("::").next().unwrap_or(path).trim_matches(['{', '}', '\n', ' ']);
        let list = path.split_once('{').map_or(list, |(_, list)| list.trim_end_matches('}'));
        names.extend(list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned));
    }
    for line in text.lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|l| l.strip_suffix(';')) {
            names.extend(exported(sources, module));
        } else if file != "lib"
            && let Some((_, name)) = definition(line)
        {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The kind and name of what the line defines for other crates.
fn definition(line: &str) -> Option<(&str, &str)> {
    let rest =
        line.strip_prefix("pub ")?.trim_start_matches("const ").trim_start_matches("unsafe ");
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    ["fn", "struct", "enum", "trait"].contains(&kind).then_some((kind, name))
}

/// Whether an item is a function, a trait or a type with methods, and has no example.
fn lacks_example(name: &str, sources: &[Source]) -> bool {
    if name.ends_with("Error") {
        return false;
    }
    for (_, lines) in sources {
        for (index, line) in lines.iter().enumerate() {
            let Some((kind, _)) = definition(line).filter(|(_, found)| *found == name) else {
                continue;
            };
            if has_example(&lines[..index]) {
                return false;
            }
            let methods = sources.iter().flat_map(|(_, lines)| methods(name, lines));
            let examples: Vec<bool> = methods.collect();
            return match kind {
                "fn" | "trait" => true,
                _ => !examples.is_empty() && !examples.contains(&true),
            };
        }
    }
    false
}

/// For each public method of the type's own blocks: whether it has an example.
fn methods(name: &str, lines: &[String]) -> Vec<bool> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("impl") {
            let of = line.trim_end_matches(" {").rsplit(' ').next().unwrap_or_default();
            let of = of.split('<').next().unwrap_or_default();
            is_inside = of == name && !line.contains(" for ");
        } else if line.starts_with('}') {
            is_inside = false;
        } else if is_inside && line.starts_with("    pub ") && line.contains("fn ") {
            found.push(has_example(&lines[..index]));
        }
    }
    found
}

/// Whether the docs that end the lines hold a block of code.
fn has_example(lines: &[String]) -> bool {
    let docs = lines.iter().rev().map(|line| line.trim_start());
    docs.take_while(|line| {
        line.starts_with("///") || line.starts_with("#[") || line.starts_with(')')
    })
    .any(|line| line.starts_with("/// ```"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_types_with_methods_need_an_example() {
        let source = |stem: &str, text: &str| -> Source {
            (stem.to_owned(), text.lines().map(str::to_owned).collect())
        };
        let sources = [
            source(
                "lib",
                "mod a;\npub mod b;\npub use a::{Data, Known,\n    Unknown, known, unknown};",
            ),
            source(
                "a",
                "pub struct Data {\n}\npub struct Known;\nimpl Known {\n    /// ```\n    /// ```\n    pub fn new() {}\n}\n\
                 pub struct Unknown;\nimpl Unknown {\n    /// A method.\n    pub fn new() {}\n}\n\
                 /// ```\n/// ```\npub fn known() {}\n/// A function.\npub fn unknown() {}",
            ),
            source("b", "/// Another one.\npub fn other() {}\nfn private() {}"),
        ];
        let names = exported(&sources, "lib");
        let missing: Vec<_> = names.iter().filter(|name| lacks_example(name, &sources)).collect();
        assert_eq!(missing, ["Unknown", "other", "unknown"]);
        assert_eq!(names.len(), 6);
    }
}
