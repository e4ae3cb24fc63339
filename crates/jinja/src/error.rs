//! Errors of a template, and of the values that it receives.

/// An error of a template, with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{}{got}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Error {
    /// The template's line, counted from 1, if it is known.
    pub line: Option<u64>,
    /// A description of the error.
    pub got: String,
}

impl Error {
    /// Makes an error whose line the evaluated node fills in later.
    ///
    /// ```
    /// assert_eq!(mixdown_jinja::Error::new("no such name").to_string(), "no such name");
    /// ```
    pub fn new(got: impl Into<String>) -> Self {
        Self { line: None, got: got.into() }
    }

    pub(crate) fn at(line: u32, got: impl Into<String>) -> Self {
        Self { line: Some(u64::from(line)), got: got.into() }
    }

    /// Adds the line, unless an inner node has already named its own.
    pub(crate) fn or_line(mut self, line: u32) -> Self {
        self.line.get_or_insert(u64::from(line));
        self
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

pub(crate) fn fail<T>(got: impl Into<String>) -> Result<T> {
    Err(Error::new(got))
}
