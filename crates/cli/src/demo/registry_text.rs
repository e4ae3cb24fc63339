//! Real text that exists on every machine that has built mixdown: the sources of its dependencies in cargo's
//! registry. Their prose (Markdown, doc comments) is the pretraining corpus, their Rust code without comments is the
//! target.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Folder names of the packages that mixdown needs on every platform, one per line; written by `cargo xtask
/// demo-packages`.
const PACKAGES: &str = include_str!("packages.txt");

/// The most prose of one package, so that no package dominates a corpus.
const PROSE_BYTES_PER_PACKAGE: usize = 48 * 1024;
const CODE_BYTES_PER_PACKAGE: usize = 24 * 1024;
/// Longer files are skipped: they are tables or generated code.
const FILE_BYTES_AT_MOST: u64 = 256 * 1024;
const DOCUMENT_BYTES_AT_LEAST: usize = 200;

/// One document and where it came from (`package/path`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextDocument {
    /// `package-version/path/in/it`.
    pub source: String,
    /// The text, UTF-8.
    pub text: String,
}

/// Both corpora of the demo.
#[derive(Debug, Default)]
pub struct RegistryText {
    /// Prose: Markdown files and doc comments, code blocks taken out.
    pub pretraining: Vec<TextDocument>,
    /// Rust code, comments taken out.
    pub target: Vec<TextDocument>,
}

/// Gathers the demo's text in a fixed order.
///
/// # Errors
/// A missing registry, or one without a package of the list.
pub fn gather() -> Result<RegistryText, Error> {
    let registries = registries()?;
    let mut gathered = RegistryText::default();
    for package in PACKAGES.lines() {
        let folder =
            registries.iter().map(|registry| registry.join(package)).find(|path| path.is_dir());
        let Some(folder) = folder else {
            return Err(no_registry(format!("the package {package} is not in cargo's registry")));
        };
        gather_package(package, &folder, &mut gathered)?;
    }
    Ok(gathered)
}

fn no_registry(reason: String) -> Error {
    Error::usage(
        format!("the demo's text is not on this machine: {reason}"),
        "run `cargo fetch` in a clone of mixdown, or bring your own text: \
         mixdown demo --pretraining FILES.. --target FILES..",
    )
}

/// The folders `$CARGO_HOME/registry/src/*`, sorted.
fn registries() -> Result<Vec<PathBuf>, Error> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .ok_or_else(|| no_registry("neither CARGO_HOME nor a home folder is set".to_owned()))?;
    let folder = cargo_home.join("registry").join("src");
    let registries = sorted_entries(&folder)
        .map_err(|error| no_registry(format!("{}: {error}", folder.display())))?;
    if registries.is_empty() {
        return Err(no_registry(format!("{} is empty", folder.display())));
    }
    Ok(registries)
}

fn sorted_entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn gather_package(package: &str, folder: &Path, gathered: &mut RegistryText) -> Result<(), Error> {
    let mut files = Vec::new();
    list_files(folder, &mut files)?;
    // Markdown first: if a package reaches its limit, doc comments are left out.
    files.sort_by_key(|path| (!has_extension(path, "md"), path.clone()));
    let (mut prose_bytes, mut code_bytes) = (0, 0);
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let source = format!("{package}/{name}");
        let prose = if has_extension(&path, "md") {
            without_code_blocks(text.lines())
        } else {
            let code = code_only(&text);
            take(&mut gathered.target, &source, code, &mut code_bytes, CODE_BYTES_PER_PACKAGE);
            without_code_blocks(doc_comments(&text))
        };
        take(&mut gathered.pretraining, &source, prose, &mut prose_bytes, PROSE_BYTES_PER_PACKAGE);
    }
    Ok(())
}

fn take(
    list: &mut Vec<TextDocument>,
    source: &str,
    text: String,
    taken_bytes: &mut usize,
    at_most: usize,
) {
    if text.len() < DOCUMENT_BYTES_AT_LEAST || *taken_bytes + text.len() > at_most {
        return;
    }
    *taken_bytes += text.len();
    list.push(TextDocument { source: source.to_owned(), text });
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for path in sorted_entries(folder).map_err(|error| Error::io(folder, "read", error))? {
        let metadata =
            fs::symlink_metadata(&path).map_err(|error| Error::io(&path, "read", error))?;
        if metadata.is_dir() {
            list_files(&path, files)?;
        } else if metadata.is_file()
            && metadata.len() <= FILE_BYTES_AT_MOST
            && (has_extension(&path, "md") || has_extension(&path, "rs"))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Lines outside ``` fences, blank runs squeezed to one.
fn without_code_blocks<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let (mut text, mut fenced) = (String::new(), false);
    for line in lines {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced
            && !(line.trim().is_empty() && (text.is_empty() || text.ends_with("\n\n")))
        {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// The text of `///` and `//!` comments.
fn doc_comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
        Some(comment.strip_prefix(' ').unwrap_or(comment))
    })
}

/// Code without lines that are only comment or blank.
fn code_only(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines().filter(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//")
    }) {
        code.push_str(line.trim_end());
        code.push('\n');
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_and_code_part() {
        let source = "//! A crate.\n\n/// Adds.\n/// ```\n/// add(1, 2);\n/// ```\n\
                      pub fn add() {} // sum\n    // note\n";
        assert_eq!(without_code_blocks(doc_comments(source)), "A crate.\nAdds.\n");
        assert_eq!(code_only(source), "pub fn add() {} // sum\n");
    }

    #[test]
    fn the_list_is_sorted_and_names_versions() {
        let packages: Vec<&str> = PACKAGES.lines().collect();
        assert!(packages.len() > 100 && packages.is_sorted());
        assert!(packages.iter().any(|name| name.starts_with("candle-core-")));
    }
}
