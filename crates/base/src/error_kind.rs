//! The kinds of errors: every library's error names its kind, which is all that exit codes and exceptions need.

use std::io;

/// The meaning of an error for the caller: what must change before another attempt succeeds.
///
/// ```
/// use std::io;
///
/// use mixdown_base::error_kind::ErrorKind;
///
/// let absent = io::Error::from(io::ErrorKind::NotFound);
/// assert_eq!(ErrorKind::of_io(&absent), ErrorKind::Configuration);
/// let full = io::Error::from(io::ErrorKind::StorageFull);
/// assert_eq!(ErrorKind::of_io(&full), ErrorKind::Other);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is at fault: an option, a setting or a path, rather than the data behind it.
    Configuration,
    /// The data are at fault: they are damaged, or they do not fit together.
    Data,
    /// Numbers left the finite range, or a search over good numbers found no end.
    Numerical,
    /// The work was stopped on request.
    Interrupted,
    /// Something else is at fault: the machine refused a read or a write, or another process was lost.
    Other,
}

impl ErrorKind {
    /// Returns the kind of an operating system error on a given path: a missing path is a fault of the request, every
    /// other reason a fault of the machine.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Configuration,
            _ => Self::Other,
        }
    }
}
