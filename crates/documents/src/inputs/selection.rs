//! Which files of a folder are read.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Which files of folders are read. Patterns are those of a .gitignore: without a slash they match
/// names at any depth, with one they match paths from the folder on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only files that one of these matches, or a folder around them; empty for all.
    pub include: Vec<String>,
    /// No files that one of these matches, nor folders.
    pub exclude: Vec<String>,
    /// Whether .gitignore and .ignore files count.
    pub ignore_rules: IgnoreRules,
}

/// Whether .gitignore and .ignore files in a folder keep files out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoreRules {
    /// They do. Those above the folder and those of the user's own git do not: what is read depends
    /// on the folder alone.
    #[default]
    Obey,
    /// They do not.
    Disregard,
}

/// A selection whose patterns have been read.
pub(crate) struct Filter {
    include: Option<Gitignore>,
    pub(crate) exclude: Gitignore,
    pub(crate) ignore_rules: IgnoreRules,
}

impl Filter {
    pub(crate) fn new(selection: &Selection) -> Result<Self, Error> {
        let Selection { include, exclude, ignore_rules } = selection;
        let include = if include.is_empty() { None } else { Some(patterns(include)?) };
        Ok(Self { include, exclude: patterns(exclude)?, ignore_rules: *ignore_rules })
    }

    /// Whether a file, by its path from the folder on, is included.
    pub(crate) fn includes(&self, name: &Path) -> bool {
        let included =
            |include: &Gitignore| include.matched_path_or_any_parents(name, false).is_ignore();
        self.include.as_ref().is_none_or(included)
    }
}

fn patterns(patterns: &[String]) -> Result<Gitignore, Error> {
    let mut builder = GitignoreBuilder::new("");
    let failed = |pattern: &str, error: ignore::Error| Error::Pattern {
        got: pattern.to_owned(),
        source: error.into(),
    };
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|error| failed(pattern, error))?;
    }
    builder.build().map_err(|error| failed(&patterns.join(" "), error))
}
