//! Errors as Python exceptions: the messages of the libraries, the classes of mixdown/errors.py.

use std::error::Error as StdError;
use std::io;

use mixdown_base::error_kind::ErrorKind;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// An error of a call: a class of mixdown/errors.py and a message.
#[derive(Debug)]
pub struct Failure {
    class: Class,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Configuration,
    Data,
    NotFound,
    System,
    Interrupted,
}

impl Failure {
    /// A wrong argument.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { class: Class::Configuration, message: message.into() }
    }

    /// A file that could not be read.
    pub fn io(path: &std::path::Path, error: &io::Error) -> Self {
        let class = match error.kind() {
            io::ErrorKind::NotFound => Class::NotFound,
            _ => Class::System,
        };
        Self { class, message: format!("{}: cannot read\n  cause: {error}", path.display()) }
    }

    /// The class follows from the error's kind, except for missing files, which have a separate class; `is_missing`
    /// marks them if the chain of causes does not show it.
    fn new(error: &(dyn StdError + 'static), kind: ErrorKind, is_missing: bool) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!("\n  cause: {error}"));
            cause = error.source();
        }
        let class = match kind {
            ErrorKind::Interrupted => Class::Interrupted,
            _ if is_missing || has_missing_cause(error) => Class::NotFound,
            ErrorKind::Configuration => Class::Configuration,
            ErrorKind::Data | ErrorKind::Numerical => Class::Data,
            ErrorKind::Other => Class::System,
        };
        Self { class, message }
    }
}

/// Whether a file or folder to read does not exist.
fn has_missing_cause(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let shards = error
            .downcast_ref::<mixdown_shards::Error>()
            .or_else(|| error.downcast_ref::<Box<mixdown_shards::Error>>().map(Box::as_ref));
        let io = error.downcast_ref::<io::Error>();
        if matches!(shards, Some(mixdown_shards::Error::NoManifest { .. }))
            || io.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<mixdown_shards::Error> for Failure {
    fn from(error: mixdown_shards::Error) -> Self {
        Self::new(&error, error.kind(), false)
    }
}

impl From<mixdown_mixer::Error> for Failure {
    fn from(error: mixdown_mixer::Error) -> Self {
        Self::new(&error, error.kind(), false)
    }
}

impl From<mixdown_tokenize::Error> for Failure {
    fn from(error: mixdown_tokenize::Error) -> Self {
        let is_missing = matches!(
            error,
            mixdown_tokenize::Error::NoTokenizer { .. }
                | mixdown_tokenize::Error::Documents(mixdown_documents::Error::Missing { .. })
        );
        Self::new(&error, error.kind(), is_missing)
    }
}

impl From<Failure> for PyErr {
    fn from(Failure { class, message }: Failure) -> Self {
        let name = match class {
            Class::Configuration => "ConfigurationError",
            Class::Data => "DataError",
            Class::NotFound => "NotFoundError",
            Class::System => "SystemFailure",
            Class::Interrupted => return PyKeyboardInterrupt::new_err(message),
        };
        Python::attach(|py| {
            let class = py.import("mixdown.errors").and_then(|errors| errors.getattr(name));
            match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
                Ok(class) => Self::from_type(class, message),
                Err(error) => error,
            }
        })
    }
}
