//! BLAKE3 sums of files, by which damaged files are found.
//!
//! The sums of a folder are in its `BLAKE3SUMS`, those of a single file `NAME` in `NAME.blake3` beside it. Both have
//! the format of `b3sum` with one line for each file, so that `b3sum --check` reads them as well. A folder or file that
//! another program wrote has no sums and is accepted as it is.
//!
//! While a file with a sum is replaced, its name appears twice, with the old and with the new sum, so that a kill at
//! any moment leaves a file with a matching sum.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use mixdown_base::files;

use crate::error::Error;

/// The name of the file with the sums of a folder.
pub const SUMS_FILE: &str = "BLAKE3SUMS";

/// The ending of the file with the sum of a single file, after the whole name of that file.
pub const SUM_ENDING: &str = ".blake3";

/// The number of bytes that are hashed at once, enough for all cores.
const PART_BYTES: usize = 4 << 20;

/// The largest file of sums.
const LIMIT_BYTES: u64 = 16 << 20;

/// A file that differs from its sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The recorded sum, or that the file exists.
    pub expected: String,
    /// What was found instead.
    pub got: String,
}

impl Fault {
    /// Returns the fault as an error whose message ends with `way_out`, the advice how to continue.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// use mixdown_runs::sums::{self, Unsummed};
    ///
    /// // The folder has no sums although it must have them.
    /// let faults = sums::faults(directory.path(), Unsummed::Damaged, &|_| true)?;
    /// let error = faults.into_iter().next().unwrap().into_error("remove the folder");
    /// assert!(error.to_string().contains("remove the folder"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_error(self, way_out: &str) -> Error {
        let Self { path, expected, got } = self;
        Error::Changed { path, expected, got, way_out: way_out.to_owned() }
    }

    fn new(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { path: path.to_owned(), expected: expected.into(), got: got.into() }
    }
}

/// The sums of a folder by the names of the files, with `/` between their parts; a file that was about to be replaced
/// has several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums(BTreeMap<String, Vec<String>>);

impl Sums {
    /// Reads a file of sums; `None` if there is no such file, and the fault if it is damaged.
    pub(crate) fn read(path: &Path) -> Result<Option<Result<Self, Fault>>, Error> {
        let bytes = match files::read_capped(path, LIMIT_BYTES) {
            Err(files::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            bytes => bytes
                .map_err(|error| Error::io(path, "read the sums in it", error.into_parts().2))?,
        };
        Ok(Some(parsed(&bytes).map_err(|line| {
            let expected = "whole lines of a BLAKE3 sum, two blanks and a file's name";
            Fault::new(path, expected, crate::tables::fields::shorten(&line))
        })))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(crate) fn add(&mut self, name: &str, sum: String) {
        let sums = self.0.entry(name.to_owned()).or_default();
        if !sums.contains(&sum) {
            sums.push(sum);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let lines = self
            .0
            .iter()
            .flat_map(|(name, sums)| sums.iter().map(move |sum| format!("{sum}  {name}\n")));
        write_by_rename(path, lines.collect::<String>().as_bytes())
    }

    /// Returns the fault of the file at `path`, whose sum has the name `name`, if there is one.
    pub(crate) fn fault(&self, path: &Path, name: &str) -> Result<Option<Fault>, Error> {
        let Some(expected) = self.0.get(name) else { return Ok(None) };
        if !path.is_file() {
            return Ok(Some(Fault::new(path, said(expected), "no file")));
        }
        let got = sum(path)?;
        let is_right = expected.contains(&got);
        Ok((!is_right).then(|| Fault::new(path, said(expected), got)))
    }
}

/// Parses a file of sums; the error is the first line that is not a sum.
fn parsed(bytes: &[u8]) -> Result<Sums, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        return Err(text.lines().last().map_or_else(|| "no line".to_owned(), str::to_owned));
    }
    let mut sums = Sums::default();
    for line in text.lines() {
        let parts = line.split_once("  ");
        let (sum, name) = parts.filter(|(sum, name)| is_sum(sum) && is_within(name)).ok_or(line)?;
        sums.add(name, sum.to_owned());
    }
    Ok(sums)
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns whether a name leads to a file within the folder.
fn is_within(name: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    !name.is_empty() && Path::new(name).components().all(plain)
}

fn said(expected: &[String]) -> String {
    format!("BLAKE3 sum {}, as {SUMS_FILE} says", expected.join(" or "))
}

/// Writes the sums of all files of a folder and its subfolders, which nobody reads yet.
///
/// ```
/// use mixdown_runs::sums;
///
/// let directory = tempfile::tempdir()?;
/// std::fs::write(directory.path().join("weights"), b"0123")?;
/// sums::write(directory.path())?;
/// assert!(directory.path().join(sums::SUMS_FILE).exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`].
pub fn write(folder: &Path) -> Result<(), Error> {
    let mut sums = Sums::default();
    for name in names(folder)? {
        sums.add(&name, sum(&folder.join(&name))?);
    }
    sums.write(&folder.join(SUMS_FILE))
}

/// Writes for a folder the sums of its files that are links to files of `from`, which has sums.
///
/// # Errors
/// [`Error::Io`]; [`Error::Changed`] if those sums are damaged.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_runs::sums::{self, Unsummed};
///
/// let [from, to] = ["checkpoint", "best"].map(|name| directory.path().join(name));
/// for folder in [&from, &to] {
///     std::fs::create_dir(folder)?;
///     std::fs::write(folder.join("weights"), b"0123")?;
/// }
/// sums::write(&from)?;
/// sums::write_linked(&from, &to)?;
/// assert!(sums::faults(&to, Unsummed::Damaged, &|_| true)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_linked(from: &Path, folder: &Path) -> Result<(), Error> {
    let Some(sums) = Sums::read(&from.join(SUMS_FILE))? else { return write(folder) };
    let mut sums = sums.map_err(|fault| fault.into_error("remove the checkpoint"))?;
    sums.0.retain(|name, _| folder.join(name).is_file());
    sums.write(&folder.join(SUMS_FILE))
}

/// How a folder without sums is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsummed {
    /// Another program wrote the folder, which has no faults.
    Foreign,
    /// The sums were removed, which is a fault.
    Damaged,
}

/// Finds all files of a folder that differ from its sums, and those that were added later and that are read according
/// to `is_read`.
///
/// # Errors
/// [`Error::Io`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_runs::sums::{self, Unsummed};
///
/// std::fs::write(directory.path().join("weights"), b"0123")?;
/// sums::write(directory.path())?;
/// std::fs::write(directory.path().join("weights"), b"0124")?;
/// let faults = sums::faults(directory.path(), Unsummed::Damaged, &|_| true)?;
/// assert!(faults[0].path.ends_with("weights"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn faults(
    folder: &Path,
    unsummed: Unsummed,
    is_read: &dyn Fn(&str) -> bool,
) -> Result<Vec<Fault>, Error> {
    let path = folder.join(SUMS_FILE);
    let sums = match Sums::read(&path)? {
        Some(Ok(sums)) => sums,
        Some(Err(fault)) => return Ok(vec![fault]),
        None if unsummed == Unsummed::Foreign => return Ok(Vec::new()),
        None => return Ok(vec![Fault::new(&path, "the sums of the folder's files", "no file")]),
    };
    let mut faults = Vec::new();
    for name in sums.names() {
        faults.extend(sums.fault(&folder.join(name), name)?);
    }
    let later = names(folder)?.into_iter().filter(|name| !sums.has(name) && is_read(name));
    faults.extend(later.map(|name| {
        let expected = format!("no file, or its sum in {SUMS_FILE}");
        Fault::new(&folder.join(name), expected, "a file without a sum: it came later")
    }));
    Ok(faults)
}

/// Refuses the contents of the file at `path` if a sum beside it, in `NAME.blake3` or in the folder's `BLAKE3SUMS`, is
/// different.
///
/// # Errors
/// [`Error::Changed`], [`Error::Io`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_runs::sums;
///
/// let path = directory.path().join("table.csv");
/// sums::write_summed(&path, b"run_id\n")?;
/// sums::check_bytes(&path, b"run_id\n")?;
/// assert!(sums::check_bytes(&path, b"run-id\n").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let Some((sums, name)) = beside(path)? else { return Ok(()) };
    let got = blake3::hash(bytes).to_hex().to_string();
    match sums.0.get(&name).filter(|expected| !expected.contains(&got)) {
        None => Ok(()),
        Some(expected) => Err(Fault::new(path, said(expected), got).into_error(&way_out(path))),
    }
}

/// Like [`check_bytes`], for a file that has not been read yet.
///
/// # Errors
/// As [`check_bytes`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_runs::sums;
///
/// let path = directory.path().join("table.csv");
/// sums::write_summed(&path, b"run_id\n")?;
/// std::fs::write(&path, b"run-id\n")?;
/// assert!(sums::check_file(&path).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_file(path: &Path) -> Result<(), Error> {
    let Some((sums, name)) = beside(path)? else { return Ok(()) };
    match sums.fault(path, &name)? {
        None => Ok(()),
        Some(fault) => Err(fault.into_error(&way_out(path))),
    }
}

/// Writes a file by rename with its sum in `NAME.blake3` beside it, or nothing if both are the same already.
///
/// ```
/// use mixdown_runs::{Error, sums};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("table.csv");
/// sums::write_summed(&path, b"run_id\n")?;
/// sums::check_file(&path)?;
/// assert!(matches!(sums::check_bytes(&path, b"run-id\n"), Err(Error::Changed { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`].
pub fn write_summed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return write_by_rename(path, bytes);
    };
    let mut sums = Sums::default();
    sums.add(name, blake3::hash(bytes).to_hex().to_string());
    let is_same = Sums::read(&sum_file(path))? == Some(Ok(sums.clone()));
    if is_same && path.is_file() && sums.fault(path, name)?.is_none() {
        return Ok(());
    }
    replace(&sum_file(path), Sums::default(), (path, name), bytes)
}

/// Finds every file in `folder` that differs from the sum in its `NAME.blake3`, and every one that lacks a sum although
/// `must_have_one` requires it.
///
/// # Errors
/// [`Error::Io`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_runs::sums;
///
/// sums::write_summed(&directory.path().join("one.csv"), b"run_id\n")?;
/// std::fs::write(directory.path().join("two.csv"), b"run_id\n")?;
/// let faults = sums::faults_of_files(directory.path(), &|name| name.ends_with(".csv"))?;
/// assert_eq!(faults.len(), 1, "two.csv has no sum");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn faults_of_files(
    folder: &Path,
    must_have_one: &dyn Fn(&str) -> bool,
) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for name in plain_names(folder)? {
        let path = folder.join(&name);
        if let Some(finished) = name.strip_suffix(SUM_ENDING) {
            match Sums::read(&path)? {
                Some(Ok(sums)) if sums.has(finished) => {
                    faults.extend(sums.fault(&folder.join(finished), finished)?);
                }
                Some(Ok(_)) | None => {
                    faults.push(Fault::new(&path, format!("the sum of {finished}"), "none"));
                }
                Some(Err(fault)) => faults.push(fault),
            }
        } else if must_have_one(&name) && !sum_file(&path).is_file() {
            let expected = format!("the sum of {name}");
            faults.push(Fault::new(&sum_file(&path), expected, "no file"));
        }
    }
    Ok(faults)
}

/// Writes a file whose sum is in the file of sums at `place`, together with the other sums in `sums`.
pub(crate) fn replace(
    place: &Path,
    mut sums: Sums,
    (path, name): (&Path, &str),
    bytes: &[u8],
) -> Result<(), Error> {
    let new = blake3::hash(bytes).to_hex().to_string();
    sums.remove(name);
    let after = {
        let mut after = sums.clone();
        after.add(name, new.clone());
        after
    };
    if path.is_file() {
        sums.add(name, sum(path)?);
        sums.add(name, new);
        sums.write(place)?;
    } else {
        after.write(place)?;
        return write_by_rename(path, bytes);
    }
    write_by_rename(path, bytes)?;
    after.write(place)
}

/// Returns the sums beside a file that include it, and its name in them.
fn beside(path: &Path) -> Result<Option<(Sums, String)>, Error> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    for place in [sum_file(path), path.with_file_name(SUMS_FILE)] {
        match Sums::read(&place)? {
            Some(Ok(sums)) if sums.has(name) => return Ok(Some((sums, name.to_owned()))),
            Some(Err(fault)) => return Err(fault.into_error(&way_out(path))),
            _ => {}
        }
    }
    Ok(None)
}

fn way_out(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match sum_file(path).is_file() {
        true => format!(
            "restore it from a copy or, if the change is intended, remove {name}{SUM_ENDING} beside it"
        ),
        false => "restore it from a copy or, if the change is intended, copy it to another place"
            .to_owned(),
    }
}

fn sum_file(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(SUM_ENDING);
    name.into()
}

/// Adds the names of all files of a folder except its sums, in order, with `/` between their parts.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    add_names(folder, "", &mut names)?;
    names.sort();
    Ok(names)
}

fn add_names(folder: &Path, before: &str, names: &mut Vec<String>) -> Result<(), Error> {
    let io = |source| Error::io(folder, "list the folder", source);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = format!("{before}{name}");
        if path.is_dir() {
            add_names(&path, &format!("{name}/"), names)?;
        } else if name != SUMS_FILE {
            names.push(name);
        }
    }
    Ok(())
}

/// Returns the names of the files directly in a folder, in order.
fn plain_names(folder: &Path) -> Result<Vec<String>, Error> {
    let io = |source| Error::io(folder, "list the folder", source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// The BLAKE3 sum of a file, on all cores.
pub(crate) fn sum(path: &Path) -> Result<String, Error> {
    sum_of_first(path, u64::MAX)
}

/// The BLAKE3 sum of the first `limit_bytes` of a file, on all cores.
pub(crate) fn sum_of_first(path: &Path, limit_bytes: u64) -> Result<String, Error> {
    let io = |source| Error::io(path, "read it", source);
    let mut file = File::open(path).map_err(io)?.take(limit_bytes);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    let part_bytes = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    loop {
        bytes.clear();
        if file.by_ref().take(part_bytes).read_to_end(&mut bytes).map_err(io)? == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update_rayon(&bytes);
    }
}

/// Reads a whole file. A file above `limit_bytes` is refused before anything is allocated, and so is one that differs
/// from the sum beside it.
pub(crate) fn read_capped(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let bytes = files::read_capped(path, limit_bytes).map_err(|error| match error {
        files::Error::TooLarge { path, limit_bytes, got_bytes } => {
            Error::TooLarge { path, limit_bytes, got: got_bytes }
        }
        other => Error::io(path, "read it", other.into_parts().2),
    })?;
    check_bytes(path, &bytes)?;
    Ok(bytes)
}

/// Like [`read_capped`], for text.
pub(crate) fn read_text_capped(path: &Path, limit_bytes: u64) -> Result<String, Error> {
    String::from_utf8(read_capped(path, limit_bytes)?).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let newlines = before.filter(|byte| **byte == b'\n').count();
        Error::Damaged {
            path: path.to_path_buf(),
            line: u64::try_from(newlines).map_or(u64::MAX, |count| count.saturating_add(1)),
            expected: "UTF-8 text",
            got: error.utf8_error().to_string(),
        }
    })
}

/// Writes beside the target, flushes and renames, so that a reader sees the old file or the whole new one.
pub(crate) fn write_by_rename(path: &Path, contents: &[u8]) -> Result<(), Error> {
    files::write(path, contents).map_err(|error| Error::io(path, "write it", error.into_parts().2))
}

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
