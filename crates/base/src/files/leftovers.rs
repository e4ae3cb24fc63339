//! Temporary files that killed writers left behind: how to recognize them, and which ones may be removed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::{ENDING, Error, UNIQUE_LEN, folder_of};

/// Returns the finished name for a temporary name of [`NewFile`](super::NewFile) or of an older version of this program
/// (`NAME.tmp`); `None` for any other name.
///
/// A person's file can have such a name too: it is a leftover only in folders that belong to this program.
///
/// ```
/// use mixdown_base::files::finished_name;
/// assert_eq!(finished_name("run.toml.x7Fq20ZkLm3aaB9c.tmp"), Some("run.toml"));
/// assert_eq!(finished_name("run.toml.tmp"), Some("run.toml"));
/// assert_eq!(finished_name("run.toml"), None);
/// ```
pub fn finished_name(temporary: &str) -> Option<&str> {
    unique_finished_name(temporary).or_else(|| temporary.strip_suffix(ENDING))
}

/// Like [`finished_name`], for unique temporary names only: `NAME.16 letters and digits.tmp`.
///
/// ```
/// use mixdown_base::files::unique_finished_name;
///
/// assert_eq!(unique_finished_name("run.toml.x7Fq20ZkLm3aaB9c.tmp"), Some("run.toml"));
/// assert_eq!(unique_finished_name("run.toml.tmp"), None);
/// ```
pub fn unique_finished_name(temporary: &str) -> Option<&str> {
    let (finished, unique) = temporary.strip_suffix(ENDING)?.rsplit_once('.')?;
    let is_unique =
        unique.len() == UNIQUE_LEN && unique.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_unique.then_some(finished)
}

/// Removes the temporary files that killed writers of the same file left beside `target`; files that a living process
/// holds stay. On a system without file locks, none is removed.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("fit.json");
/// let abandoned = folder.path().join("fit.json.x7Fq20ZkLm3aaB9c.tmp");
/// std::fs::write(&abandoned, "")?;
/// let living = files::NewFile::create(&path)?;
/// files::remove_abandoned(&path);
/// assert_eq!((abandoned.exists(), living.temporary_path().exists()), (cfg!(not(unix)), true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn remove_abandoned(target: &Path) {
    remove_abandoned_in(folder_of(target), |finished| {
        target.file_name() == Some(finished.as_ref())
    });
}

/// Like [`remove_abandoned`], for all files in `folder` whose finished name is `ours`.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let [ours, other] = ["fit.json", "mine.txt"]
///     .map(|name| folder.path().join(format!("{name}.x7Fq20ZkLm3aaB9c.tmp")));
/// std::fs::write(&ours, "")?;
/// std::fs::write(&other, "")?;
/// files::remove_abandoned_in(folder.path(), |name| name == "fit.json");
/// assert_eq!((ours.exists(), other.exists()), (cfg!(not(unix)), true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn remove_abandoned_in(folder: &Path, ours: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().and_then(unique_finished_name).is_some_and(&ours);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let opened = File::options().read(true).write(true).open(entry.path());
        if cfg!(unix) && opened.is_ok_and(|file| file.try_lock().is_ok()) {
            // The next call removes what cannot be removed now.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the files that killed writers of the files `names` left in `folder`.
///
/// The folder must have no other writer: a file that is being written looks like a leftover. Files with a name that a
/// person could have chosen (`NAME.tmp`) stay.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed or a leftover cannot be removed.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let leftover = folder.path().join("plan.json.x7Fq20ZkLm3aaB9c.tmp");
/// std::fs::write(&leftover, "")?;
/// files::remove_leftovers(folder.path(), &["plan.json"])?;
/// assert!(!leftover.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn remove_leftovers(folder: &Path, names: &[&str]) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let name: OsString = entry.map_err(Error::io("list", folder))?.file_name();
        let finished = name.to_str().and_then(unique_finished_name);
        if finished.is_some_and(|finished| names.contains(&finished)) {
            let path = folder.join(&name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove the leftover", &path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
