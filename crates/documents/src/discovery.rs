//! From paths as they are given to the list of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::arrow_file::ArrowIndex;
use crate::decompress::{Compression, Decompressed};
use crate::error::Error;
use crate::folder::{files_below, has_pattern, matching, slashed};
use crate::format::{HEAD_BYTES, InputFormat, Origin, is_text, known_binary};
use crate::input_list::{InputFile, own_name};
use crate::layout::Layout;
use crate::parquet_file::read_blocks;
use crate::raw::{Raw, is_standard_input, missing_or_io};
use crate::selection::{Filter, Selection};
use crate::standard_input;
use crate::wanted::Wanted;

/// A list in the making.
pub(crate) struct Discovery {
    filter: Filter,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) files: Vec<InputFile>,
    pub(crate) skipped_files: u64,
}

impl Discovery {
    pub(crate) fn new(selection: &Selection, wanted: Vec<Wanted>) -> Result<Self, Error> {
        let filter = Filter::new(selection)?;
        Ok(Self { filter, wanted, files: Vec::new(), skipped_files: 0 })
    }

    /// Adds everything behind the paths and checks the whole.
    pub(crate) fn add_all(&mut self, paths: &[PathBuf]) -> Result<(), Error> {
        for path in paths {
            match list_path(path) {
                Some(list) => self.add_list(&list)?,
                None if is_standard_input(path) => self.add_standard_input()?,
                None => self.add_path(path)?,
            }
        }
        if self.files.is_empty() {
            return Err(Error::NoInput);
        }
        self.check()
    }

    fn add_path(&mut self, path: &Path) -> Result<(), Error> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_pattern(path) => {
                self.add_pattern(path)
            }
            metadata => {
                let metadata = metadata.map_err(|source| missing_or_io(path, source))?;
                self.add_existing(path, &metadata, own_name(path))
            }
        }
    }

    fn add_existing(
        &mut self,
        path: &Path,
        metadata: &fs::Metadata,
        name: String,
    ) -> Result<(), Error> {
        if metadata.is_dir() {
            self.add_folder(path)
        } else if metadata.is_file() {
            self.add_file(path, name)
        } else {
            Err(Error::NotAFile { path: path.to_owned() })
        }
    }

    fn add_pattern(&mut self, pattern: &Path) -> Result<(), Error> {
        let found = matching(pattern)?;
        if found.is_empty() {
            return Err(Error::NoMatch { path: pattern.to_owned() });
        }
        let fixed = |part: &Component<'_>| !has_pattern(Path::new(part.as_os_str()));
        let base: PathBuf = pattern.components().take_while(fixed).collect();
        for path in found {
            let metadata = fs::metadata(&path).map_err(|source| missing_or_io(&path, source))?;
            let name = slashed(path.strip_prefix(&base).unwrap_or(&path));
            self.add_existing(&path, &metadata, name)?;
        }
        Ok(())
    }

    /// Files and folders that a list names, one a line.
    fn add_list(&mut self, list: &Path) -> Result<(), Error> {
        let mut bytes = Vec::new();
        Raw::open(list)?.read_to_end(&mut bytes).map_err(|source| Error::io(list, source))?;
        let not_a_list = |_| Error::NotAList { path: list.to_owned() };
        let lines = String::from_utf8(bytes).map_err(not_a_list)?;
        for line in lines.lines().map(str::trim_ascii_end).filter(|line| !line.is_empty()) {
            let path = Path::new(line);
            let metadata = fs::metadata(path).map_err(|source| missing_or_io(path, source))?;
            // Even a file of that name: standard input is not listed.
            let path = if is_standard_input(path) { Path::new("./-") } else { path };
            self.add_existing(path, &metadata, listed_name(path))?;
        }
        Ok(())
    }

    fn add_standard_input(&mut self) -> Result<(), Error> {
        let path = Path::new(standard_input::NAME);
        let raw = standard_input::peek().map_err(|source| Error::io(path, source))?;
        let compression = Compression::detect(&raw);
        let mut head = Vec::new();
        let mut reader = Decompressed::new(path, Raw::of_bytes(raw), compression, 0)?;
        match reader.read_onto(&mut head, HEAD_BYTES) {
            // What was looked at ends somewhere; damage shows when the whole is read.
            Ok(_) | Err(Error::Truncated { .. } | Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let format = InputFormat::detect(standard_input::NAME, &head, Origin::Given);
        let refused = |got: &str| Error::StandardInput {
            expected: "JSON lines or UTF-8 text, plain, zstd or gzip",
            got: got.to_owned(),
        };
        match known_binary(&head) {
            Some(got) => return Err(refused(got)),
            None if format.is_columnar() => return Err(refused(&format!("{format} data"))),
            None if head.is_empty() => return Err(refused("nothing")),
            None => {}
        }
        let probe = Probe { bytes: 0, compression, head };
        self.push(path, standard_input::NAME.to_owned(), &probe, format)
    }

    fn add_file(&mut self, path: &Path, name: String) -> Result<(), Error> {
        let probe = Probe::of(path)?;
        if probe.head.is_empty() {
            return Err(Error::EmptyFile { path: path.to_owned() });
        }
        if let Some(got) = known_binary(&probe.head) {
            return Err(Error::Unsupported { path: path.to_owned(), got });
        }
        let format = InputFormat::detect(&name, &probe.head, Origin::Given);
        self.push(path, name, &probe, format)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let (before, skipped_before) = (self.files.len(), self.skipped_files);
        for (path, name) in files_below(folder, &self.filter)? {
            let probe = Probe::of(&path)?;
            let format = InputFormat::detect(&name, &probe.head, Origin::Folder);
            let readable = format.is_columnar()
                || InputFormat::promised(&name).is_some()
                || (known_binary(&probe.head).is_none() && is_text(&probe.head));
            if readable && !probe.head.is_empty() {
                self.push(&path, name, &probe, format)?;
            } else {
                self.skipped_files += 1;
            }
        }
        if self.files.len() == before {
            let skipped_files = self.skipped_files - skipped_before;
            return Err(Error::EmptyFolder { path: folder.to_owned(), skipped_files });
        }
        Ok(())
    }

    fn push(
        &mut self,
        path: &Path,
        name: String,
        probe: &Probe,
        format: InputFormat,
    ) -> Result<(), Error> {
        let &Probe { bytes, compression, .. } = probe;
        let path = path.to_owned();
        if format.is_columnar() && compression != Compression::None {
            return Err(Error::Unsupported { path, got: "columnar data, compressed as a whole" });
        }
        let layout = match format {
            InputFormat::Parquet => Layout::Parquet(read_blocks(&path, bytes, &self.wanted)?),
            InputFormat::ArrowFile | InputFormat::ArrowStream => {
                Layout::Arrow(Arc::new(ArrowIndex::read(&path, format, bytes, &self.wanted)?))
            }
            InputFormat::JsonLines | InputFormat::Text => match InputFormat::promised(&name) {
                Some(expected) => {
                    let start = probe.head.get(..8).unwrap_or(&probe.head);
                    let got = start.escape_ascii().to_string();
                    return Err(Error::WrongMagic { path, expected, got });
                }
                None => Layout::Stream,
            },
        };
        self.files.push(InputFile { path, name, bytes, format, compression, layout });
        Ok(())
    }

    /// Every file once, and not more than a place can number.
    fn check(&self) -> Result<(), Error> {
        let got = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        let expected = u64::from(u32::MAX);
        if got > expected {
            return Err(Error::TooManyFiles { expected, got });
        }
        let mut seen = BTreeMap::new();
        for file in &self.files {
            let real = match file.is_standard_input() {
                true => Ok(file.path.clone()),
                false => fs::canonicalize(&file.path),
            };
            let real = real.map_err(|source| missing_or_io(&file.path, source))?;
            if let Some(first) = seen.insert(real, &file.path) {
                return Err(Error::GivenTwice { path: file.path.clone(), first: first.clone() });
            }
        }
        Ok(())
    }
}

/// The list that `@FILE` names.
fn list_path(path: &Path) -> Option<PathBuf> {
    path.to_str()?.strip_prefix('@').map(PathBuf::from)
}

/// The name of a listed file: its path where that leads down from here, so that equal file names
/// stay apart, else the last part of it.
fn listed_name(path: &Path) -> String {
    let bare = path.strip_prefix(".").unwrap_or(path);
    let leads_down = bare.components().all(|part| matches!(part, Component::Normal(_)));
    if leads_down { slashed(bare) } else { own_name(path) }
}

/// What a file's first bytes tell.
struct Probe {
    bytes: u64,
    compression: Compression,
    /// The first decompressed bytes.
    head: Vec<u8>,
}

impl Probe {
    fn of(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| missing_or_io(path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io(path, source))?.len();
        let mut head = Vec::new();
        file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|source| Error::io(path, source))?;
        let compression = Compression::detect(&head);
        if compression != Compression::None {
            head.clear();
            Decompressed::new(path, Raw::open(path)?, compression, 0)?
                .read_onto(&mut head, HEAD_BYTES)?;
        }
        Ok(Self { bytes, compression, head })
    }
}
