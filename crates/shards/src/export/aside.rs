//! The temporary folder of an export.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use mixdown_base::files::{sync_folder, unique_finished_name};
use mixdown_base::folder_lock::{FolderLock, Sharing};

use super::record::{ExportRecord, RECORD_FILE, Settings};
use crate::Error;
use crate::files::confined::is_harmless;

/// The folder `OUT.exporting`, which is renamed at the end, and removed if it is not.
///
/// The process that writes it holds a lock on it. The folder belongs to an export if it is empty or contains a record:
/// the record is written first, by rename, and leftovers of a killed export are removed before their record. So a kill
/// at any moment leaves a folder that the same command recognizes.
pub(super) struct Aside {
    folder: PathBuf,
    lock: FolderLock,
}

impl Aside {
    pub(super) fn create(out: &Path, settings: &Settings) -> Result<Self, Error> {
        let name = out.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_harmless(name, 200) {
            let expected = "an output folder that has a name";
            let hint = "give a folder that does not exist yet";
            return Err(Error::request(out, expected, out.display().to_string(), hint));
        }
        if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        let mut name = OsString::from(out);
        name.push(".exporting");
        let folder = PathBuf::from(name);
        let lock = Self::lock(&folder)?;
        clear(&folder)?;
        let aside = Self { folder, lock };
        ExportRecord::begun(settings).write(&aside.folder)?;
        Ok(aside)
    }

    /// Creates the folder if it is missing and locks it. The locked folder is the one at the path now, not one that
    /// another process has just renamed or removed.
    fn lock(folder: &Path) -> Result<FolderLock, Error> {
        loop {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", folder)(error));
                }
                _ => {}
            }
            if !fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
                return Err(taken(folder));
            }
            let lock = match FolderLock::take(folder, Sharing::Alone, Duration::ZERO) {
                Ok(lock) => lock.ok_or_else(|| Error::Busy { path: folder.to_owned() })?,
                // The folder vanished after the check: the next round creates another one.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", folder)(error)),
            };
            if lock.is_of(folder) {
                return Ok(lock);
            }
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn finish(self, out: &Path, record: &ExportRecord) -> Result<(), Error> {
        record.write(&self.folder)?;
        if !self.lock.is_of(&self.folder) {
            return Err(Error::Busy { path: self.folder.clone() });
        }
        fs::rename(&self.folder, out).map_err(Error::io("rename the finished export to", out))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(sync_folder(parent.unwrap_or(Path::new(".")))?)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After `finish` the folder is renamed; after an error its disk space is freed, and the next export clears what
        // remains.
        if self.lock.is_of(&self.folder) && clear(&self.folder).is_ok() {
            let _record = fs::remove_file(self.folder.join(RECORD_FILE));
            let _folder = fs::remove_dir(&self.folder);
        }
    }
}

/// Removes the content of an export's folder except for its record.
fn clear(folder: &Path) -> Result<(), Error> {
    let list = || -> std::io::Result<Vec<fs::DirEntry>> { fs::read_dir(folder)?.collect() };
    let entries = list().map_err(Error::io("list", folder))?;
    let is_record = |entry: &fs::DirEntry| entry.file_name() == RECORD_FILE;
    let is_begun_record = |entry: &fs::DirEntry| {
        entry.file_name().to_str().and_then(unique_finished_name) == Some(RECORD_FILE)
    };
    if !entries.iter().any(is_record) && !entries.iter().all(is_begun_record) {
        return Err(taken(folder));
    }
    for entry in entries.iter().filter(|entry| !is_record(entry)) {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

fn taken(folder: &Path) -> Error {
    let hint = "move it away: the export is written there first";
    Error::request(folder, "nothing of this name", "something", hint)
}
