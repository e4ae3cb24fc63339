//! Files with one JSON value a line, which are appended to by a process that may be killed at any byte.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::sums::read_capped;
use crate::tables::fields::shorten;

/// The largest metrics file or table.
const LIMIT_BYTES: u64 = 1 << 30;

/// Returns every value with its line number; blank lines are skipped.
///
/// A last line without a newline is what a killed process leaves; it is kept if it parses and dropped otherwise.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
) -> Result<Vec<(u64, T)>, Error> {
    parse(path, &read_capped(path, LIMIT_BYTES)?, expected)
}

/// Like [`read`], for a text that was read from `path`.
pub(crate) fn parse<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    expected: &'static str,
) -> Result<Vec<(u64, T)>, Error> {
    let mut values = Vec::new();
    for (line, text) in (1_u64..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let terminated = text.last() == Some(&b'\n');
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice(text) {
            Ok(value) => values.push((line, value)),
            Err(_) if !terminated => {}
            Err(error) => {
                let got = shorten(&error.to_string());
                return Err(Error::Damaged { path: path.to_path_buf(), line, expected, got });
            }
        }
    }
    Ok(values)
}

/// Returns the lines of a file whose value `is_kept`, with a newline each, and whether those are the whole file.
///
/// # Errors
/// As [`read`].
pub(crate) fn kept<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
    is_kept: &dyn Fn(&T) -> bool,
) -> Result<(Vec<u8>, bool), Error> {
    let bytes = read_capped(path, LIMIT_BYTES)?;
    let values: Vec<(u64, T)> = parse(path, &bytes, expected)?;
    let mut lines = (1_u64..).zip(bytes.split_inclusive(|byte| *byte == b'\n'));
    let mut kept = Vec::new();
    for (number, _) in values.iter().filter(|(_, value)| is_kept(value)) {
        let line = lines.find(|(line, _)| line == number).map_or(&[][..], |(_, line)| line);
        kept.extend_from_slice(line);
        if line.last() != Some(&b'\n') {
            kept.push(b'\n');
        }
    }
    let is_whole = kept == bytes;
    Ok((kept, is_whole))
}

/// One value as a line with its newline.
pub(crate) fn to_line<T: Serialize>(
    path: &Path,
    value: &T,
    expected: &'static str,
) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(value).map_err(|error| Error::Damaged {
        path: path.to_path_buf(),
        line: 0,
        expected,
        got: error.to_string(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// Appends whole lines in one write, after removing an incomplete line left by a kill. The operating system then has
/// the lines, so they survive a kill of the process; [`sync`] flushes them to the disk.
pub(crate) fn append(path: &Path, lines: &[u8]) -> Result<(), Error> {
    let io = |source| Error::io(path, "append to it", source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(io)?;
    let (whole_bytes, tail) = unterminated_tail(&mut file).map_err(io)?;
    let mut contents = Vec::new();
    if !tail.is_empty() && serde_json::from_slice::<serde_json::Value>(&tail).is_ok() {
        contents.extend_from_slice(&tail);
        contents.push(b'\n');
    }
    contents.extend_from_slice(lines);
    file.set_len(whole_bytes).map_err(io)?;
    file.seek(SeekFrom::Start(whole_bytes)).map_err(io)?;
    file.write_all(&contents).map_err(io)
}

/// Flushes the contents of a file to the disk, if there is such a file.
pub(crate) fn sync(path: &Path) -> Result<(), Error> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|source| Error::io(path, "bring it to the disk", source)),
    }
}

/// Returns the offset after the last newline and the bytes after it. It is searched from the end, so that appending
/// does not read the whole file.
fn unterminated_tail(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    const BLOCK_BYTES: u64 = 4096;
    let mut start_bytes = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    while start_bytes > 0 {
        let end_bytes = start_bytes;
        start_bytes = end_bytes.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start_bytes))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(end_bytes - start_bytes).read_to_end(&mut block)?;
        let newline = block.iter().rposition(|byte| *byte == b'\n');
        let kept = newline.map_or(0, |newline| newline + 1);
        tail.splice(0..0, block.drain(kept..));
        if newline.is_some() {
            start_bytes += u64::try_from(kept).map_err(std::io::Error::other)?;
            break;
        }
    }
    Ok((start_bytes, tail))
}

#[cfg(test)]
mod tests {
    use super::{append, read};

    #[test]
    fn every_cut_of_the_last_line_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let whole = b"{\"a\":1}\n{\"a\":22}\n";
        for len in 0..=whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let before: Vec<(u64, serde_json::Value)> = read(&path, "a value").unwrap();
            append(&path, b"{\"a\":3}\n").unwrap();
            let after: Vec<(u64, serde_json::Value)> = read(&path, "a value").unwrap();
            assert_eq!(after.len(), before.len() + 1, "cut at byte {len}");
            assert_eq!(after[..before.len()], before[..], "cut at byte {len}");
        }
    }

    #[test]
    fn a_tail_longer_than_a_block_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let mut contents = b"[1]\n[".to_vec();
        contents.resize(10_000, b' ');
        std::fs::write(&path, contents).unwrap();
        append(&path, b"[2]\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"[1]\n[2]\n");
    }

    #[test]
    fn a_broken_line_inside_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, b"[1]\n[2\n[3]\n").unwrap();
        let error = read::<serde_json::Value>(&path, "a value").unwrap_err().to_string();
        assert!(error.contains("x.jsonl, line 2: expected a value, got EOF"), "{error}");
    }
}
