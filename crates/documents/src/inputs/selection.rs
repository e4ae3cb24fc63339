//! The selection of files in folders.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The selection of files in folders. Patterns are those of a .gitignore: without a slash they match names at any
/// depth, with one they match paths relative to the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Patterns of which a file or a folder around it must match one; empty selects all.
    pub include: Vec<String>,
    /// Patterns whose matching files and folders are excluded.
    pub exclude: Vec<String>,
    /// Whether .gitignore and .ignore files apply.
    pub ignore_rules: IgnoreRules,
}

/// Whether .gitignore and .ignore files in a folder exclude files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoreRules {
    /// They apply. Those above the folder and those of the user's own git do not: the result depends only on the
    /// folder.
    #[default]
    Obey,
    /// They do not apply.
    Disregard,
}

/// A selection with parsed patterns.
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

    /// Returns whether a file, by its path relative to the folder, is included.
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
