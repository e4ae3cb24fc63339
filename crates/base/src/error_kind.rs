//! The kinds of errors: every library's error says which it is, so that exit codes and exceptions need to know no more.

use std::io;

/// What an error means for whoever asked for the work: what must change before another attempt succeeds.
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
    /// Returns the kind of a refusal of the operating system on a path that was given: a path at which nothing is
    /// belongs to the request, and every other reason to the machine.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Configuration,
            _ => Self::Other,
        }
    }
}
