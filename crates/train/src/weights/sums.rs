//! BLAKE3 sums of the files of a checkpoint or of best/, so that a damaged file is not trained or generated with.
//!
//! They stand in a file of `b3sum`'s form, a line a file, which `b3sum --check` reads as well. A folder that others
//! wrote has none and is taken as it is.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use mixdown_shards::Fingerprint;

use crate::error::Error;
use crate::weights::files::{LARGEST_JSON_BYTES, read_capped, write_synced};

/// The file of the sums.
pub(crate) const SUMS_FILE: &str = "BLAKE3SUMS";

/// Bytes that are hashed at once: enough for all cores.
const PART_BYTES: usize = 4 << 20;

/// Writes the sums of all files of a folder that nobody reads yet, of its subfolders as well.
pub(crate) fn write(folder: &Path) -> Result<(), Error> {
    let mut names = Vec::new();
    add_names(folder, "", &mut names)?;
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("{}  {name}\n", sum(&folder.join(&name))?));
    }
    write_synced(&folder.join(SUMS_FILE), text.as_bytes())
}

/// Gives a folder the sums of those of its files that are links to files of `from`, which has sums.
pub(crate) fn write_linked(from: &Path, folder: &Path) -> Result<(), Error> {
    let path = from.join(SUMS_FILE);
    if !path.exists() {
        return write(folder);
    }
    let text = read_text(&path)?;
    let linked = text
        .lines()
        .filter(|line| line.split_once("  ").is_some_and(|(_, name)| folder.join(name).is_file()));
    let text: String = linked.flat_map(|line| [line, "\n"]).collect();
    write_synced(&folder.join(SUMS_FILE), text.as_bytes())
}

/// Refuses a file of the folder that is not as it was written. `way_out` ends the message.
pub(crate) fn check(folder: &Path, way_out: &str) -> Result<(), Error> {
    let path = folder.join(SUMS_FILE);
    if !path.exists() {
        return Ok(());
    }
    for line in read_text(&path)?.lines() {
        let Some((expected, name)) = line.split_once("  ").filter(|(_, name)| is_within(name))
        else {
            return Err(damaged(&path, "lines of a sum and a file's name", line, way_out));
        };
        let file = folder.join(name);
        if !file.is_file() {
            return Err(damaged(
                &file,
                &format!("a file of BLAKE3 sum {expected}"),
                "none",
                way_out,
            ));
        }
        let got = sum(&file)?.to_string();
        if got != expected {
            let expected = format!("BLAKE3 sum {expected}, as {SUMS_FILE} says");
            return Err(damaged(&file, &expected, &got, way_out));
        }
    }
    Ok(())
}

fn damaged(path: &Path, expected: &str, got: &str, way_out: &str) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
        way_out: way_out.to_owned(),
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = read_capped(path, LARGEST_JSON_BYTES)?;
    String::from_utf8(bytes).map_err(|error| Error::bad_file(path, "text", error))
}

/// Whether a name leads to a file within the folder.
fn is_within(name: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    !name.is_empty() && Path::new(name).components().all(plain)
}

/// The names of all files but the sums, with `/` between their parts.
fn add_names(folder: &Path, before: &str, names: &mut Vec<String>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let entry = entry.map_err(Error::io(folder, "list"))?;
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

/// The BLAKE3 sum of a file, on all cores.
fn sum(path: &Path) -> Result<Fingerprint, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    loop {
        bytes.clear();
        let part = file.by_ref().take(limit).read_to_end(&mut bytes);
        if part.map_err(Error::io(path, "read"))? == 0 {
            return Ok(Fingerprint::from_bytes(*hasher.finalize().as_bytes()));
        }
        hasher.update_rayon(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{SUMS_FILE, check, write, write_linked};
    use crate::weights::files::write_synced;

    fn folder() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("more")).unwrap();
        for (name, len) in [("a", 5_000_000), ("more/b", 3), ("c", 0)] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[1]).collect();
            write_synced(&place.path().join(name), &bytes).unwrap();
        }
        write(place.path()).unwrap();
        place
    }

    #[test]
    fn any_bit_of_any_file_counts() {
        let place = folder();
        check(place.path(), "").unwrap();
        for (name, byte) in [("a", 0), ("a", 4_999_999), ("more/b", 1)] {
            let path = place.path().join(name);
            let whole = fs::read(&path).unwrap();
            let mut flipped = whole.clone();
            flipped[byte] ^= 0x20;
            fs::write(&path, &flipped).unwrap();
            let error = check(place.path(), "take another").unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: expected BLAKE3 sum ")), "{error}");
            assert!(error.ends_with("take another"), "{error}");
            fs::write(&path, &whole[1..]).unwrap();
            assert!(check(place.path(), "").is_err());
            fs::remove_file(&path).unwrap();
            assert!(check(place.path(), "").unwrap_err().to_string().contains("got none"));
            fs::write(&path, whole).unwrap();
        }
        check(place.path(), "").unwrap();
        // What is added is not ours to judge.
        fs::write(place.path().join("NOTES"), "mine").unwrap();
        check(place.path(), "").unwrap();
    }

    #[test]
    fn the_sums_are_those_of_b3sum_and_damage_to_them_is_told() {
        let place = folder();
        let path = place.path().join(SUMS_FILE);
        let text = fs::read_to_string(&path).unwrap();
        // That of no bytes, from the specification.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262  c\n";
        assert!(text.contains(empty), "{text}");
        for (from, to) in [("  c", " c"), ("  c", "  ../c"), ("  c", "  /c"), ("af13", "af12")] {
            fs::write(&path, text.replace(from, to)).unwrap();
            assert!(check(place.path(), "").is_err(), "{to}");
        }
        // A folder without sums is taken as it is.
        fs::remove_file(&path).unwrap();
        check(place.path(), "").unwrap();
    }

    #[test]
    fn links_keep_the_sums_of_what_they_are_links_to() {
        let (from, to) = (folder(), tempfile::tempdir().unwrap());
        fs::hard_link(from.path().join("c"), to.path().join("c")).unwrap();
        write_linked(from.path(), to.path()).unwrap();
        check(to.path(), "").unwrap();
        assert_eq!(fs::read_to_string(to.path().join(SUMS_FILE)).unwrap().lines().count(), 1);
        fs::remove_file(from.path().join(SUMS_FILE)).unwrap();
        fs::hard_link(from.path().join("a"), to.path().join("a")).unwrap();
        write_linked(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join(SUMS_FILE)).unwrap().lines().count(), 2);
    }
}
