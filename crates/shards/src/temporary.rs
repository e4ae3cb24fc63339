//! Names of files that are not finished yet.

use std::{
    ffi::OsString,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

const ENDING: &str = ".tmp";

/// A name beside `path` that no other call on any machine gives: `NAME.16 hexadecimal digits.tmp`.
///
/// Two processes that write the same file at once so never write into each other's, and need no
/// lock. The digits reach no finished file.
pub fn temporary_path(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    // Keyed from the system's randomness; the process id for systems whose threads share keys.
    let unique = RandomState::new().hash_one((process::id(), call));
    let mut name = OsString::from(path);
    name.push(format!(".{unique:016x}{ENDING}"));
    PathBuf::from(name)
}

/// The finished name of a file name that [`temporary_path`] (or an older version, without the
/// digits) gave; `None` for any other name.
pub fn finished_name(temporary: &str) -> Option<&str> {
    let name = temporary.strip_suffix(ENDING)?;
    let is_unique =
        |digits: &str| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('.') {
        Some((finished, digits)) if is_unique(digits) => Some(finished),
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_lead_back() {
        let path = Path::new("train/shard-00000.bin");
        let names = [temporary_path(path), temporary_path(path)];
        assert_ne!(names[0], names[1]);
        for name in &names {
            let name = name.file_name().and_then(|name| name.to_str()).unwrap();
            assert_eq!(finished_name(name), Some("shard-00000.bin"));
        }
        assert_eq!(finished_name("plan.json.tmp"), Some("plan.json"));
        assert_eq!(finished_name("plan.json"), None);
    }
}
