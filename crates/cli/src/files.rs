//! Files that commands write, what they ask of the system's cache of pages, and how many may be open.

pub(crate) mod arrow_stream;
pub(crate) mod page_cache;
pub(crate) mod whole_file;

/// Raises the soft limit to the hard one: a mixture maps all shards of all its sources, and shells give 256 or 1,024.
/// Only the program does so, as a library's limits are its host's. A refusal leaves the limit as it is.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub fn raise_limit() {}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        super::raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
