//! BLAKE3 sums of files, so that a damaged file does not pass for the one that was written.
//!
//! A folder's sums stand in its `BLAKE3SUMS`, those of a single file `NAME` in `NAME.blake3` beside it, both in the
//! form of `b3sum`, a line a file, which `b3sum --check` reads as well. A folder or a file that others wrote has none
//! and is taken as it is.
//!
//! While a file that has a sum is replaced its name stands there twice, with the sum of what is there and with that
//! of what comes, so that a kill at any moment leaves a file with a right sum.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use mixdown_base::files;

use crate::error::Error;
use crate::files::write_by_rename;

/// The file of a folder's sums.
pub const SUMS_FILE: &str = "BLAKE3SUMS";

/// How the file of a single file's sum ends, behind the file's whole name.
pub const SUM_ENDING: &str = ".blake3";

/// Bytes that are hashed at once: enough for all cores.
const PART_BYTES: usize = 4 << 20;

/// No file of sums is larger.
const LIMIT_BYTES: u64 = 16 << 20;

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Its sum, or that it is there.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl Fault {
    /// The fault as an error, which ends with how to go on.
    pub fn into_error(self, way_out: &str) -> Error {
        let Self { path, expected, got } = self;
        Error::Changed { path, expected, got, way_out: way_out.to_owned() }
    }

    fn new(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { path: path.to_owned(), expected: expected.into(), got: got.into() }
    }
}

/// The sums of a folder by the files' names, with `/` between their parts; several of a file that was about to be
/// replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums(BTreeMap<String, Vec<String>>);

impl Sums {
    /// Reads a file of sums; none where there is no such file, and what is wrong with it where it is damaged.
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

    /// What is wrong with the file at `path`, whose sum stands under `name`, if it has one.
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

/// The sums that a file of them holds, or the first line that is none.
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

/// Whether a name leads to a file within the folder.
fn is_within(name: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    !name.is_empty() && Path::new(name).components().all(plain)
}

fn said(expected: &[String]) -> String {
    format!("BLAKE3 sum {}, as {SUMS_FILE} says", expected.join(" or "))
}

/// Writes the sums of all files of a folder that nobody reads yet, of its subfolders as well.
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

/// Gives a folder the sums of those of its files that are links to files of `from`, which has sums.
///
/// # Errors
/// [`Error::Io`]; [`Error::Changed`] where those sums are damaged.
pub fn write_linked(from: &Path, folder: &Path) -> Result<(), Error> {
    let Some(sums) = Sums::read(&from.join(SUMS_FILE))? else { return write(folder) };
    let mut sums = sums.map_err(|fault| fault.into_error("remove the checkpoint"))?;
    sums.0.retain(|name, _| folder.join(name).is_file());
    sums.write(&folder.join(SUMS_FILE))
}

/// What a folder without sums is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsummed {
    /// One that others wrote.
    Foreign,
    /// One whose sums were removed.
    Damaged,
}

/// All files of a folder that are not as its sums say, and those that came later although `is_read` says that they
/// are read.
///
/// # Errors
/// [`Error::Io`].
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

/// Refuses the contents of the file at `path` where a sum of it stands beside it and is another one: in `NAME.blake3`
/// or in the folder's `BLAKE3SUMS`.
///
/// # Errors
/// [`Error::Changed`], [`Error::Io`].
pub fn check_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let Some((sums, name)) = beside(path)? else { return Ok(()) };
    let got = blake3::hash(bytes).to_hex().to_string();
    match sums.0.get(&name).filter(|expected| !expected.contains(&got)) {
        None => Ok(()),
        Some(expected) => Err(Fault::new(path, said(expected), got).into_error(&way_out(path))),
    }
}

/// As [`check_bytes`], of a file that is not read yet.
///
/// # Errors
/// As [`check_bytes`].
pub fn check_file(path: &Path) -> Result<(), Error> {
    let Some((sums, name)) = beside(path)? else { return Ok(()) };
    match sums.fault(path, &name)? {
        None => Ok(()),
        Some(fault) => Err(fault.into_error(&way_out(path))),
    }
}

/// Writes a file by rename, with its sum in `NAME.blake3` beside it; nothing where both are the same already.
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

/// Every file in `folder` that is not as the sum in its `NAME.blake3` says, and every one that `must_have_one` asks
/// for a sum and that has none.
///
/// # Errors
/// [`Error::Io`].
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

/// Writes the file of a name whose sum stands in the file of sums at `place`, beside others that `sums` has.
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

/// The sums that stand beside a file, where they have one of it, and its name in them.
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
            "bring it back from a copy or, where the change is meant, remove {name}{SUM_ENDING} beside it"
        ),
        false => {
            "bring it back from a copy or, where the change is meant, copy it to another place"
                .to_owned()
        }
    }
}

fn sum_file(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(SUM_ENDING);
    name.into()
}

/// The names of all files of a folder but its sums, in order, with `/` between their parts.
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

/// The names of the files that lie in a folder itself, in order.
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

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
