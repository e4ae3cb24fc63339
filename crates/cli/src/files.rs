//! Files that commands write, the page cache, and the limit of open files.

pub(crate) mod arrow_stream;
pub(crate) mod page_cache;
pub(crate) mod whole_file;

/// Raises the soft limit to the hard one: a mixture maps all shards of all its sources, and shells give 256 or 1,024.
/// Only the program does so, because a library must not change the limits of its host. If the system refuses, the
/// limit stays the same.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Other systems have no such limit.
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
