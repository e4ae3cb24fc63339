//! Discovery: from the given paths to the list of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::bytes::byte_reader::USUAL_RECORD_BYTES;
use crate::bytes::chunk::as_u64;
use crate::bytes::decompress::{Compression, Decompressed};
use crate::bytes::pieces::PieceRule;
use crate::error::Error;
use crate::inputs::detect::{Extent, Kind, Refusal, TextFields, detect};
use crate::inputs::folder::{Found, files_below, has_pattern, is_corpus, matching, slashed};
use crate::inputs::format::{HEAD_BYTES, InputFormat};
use crate::inputs::input_list::{InputFile, Remark, own_name, summary};
use crate::inputs::layout::Layout;
use crate::inputs::selection::Filter;
use crate::inputs::standard_input;
use crate::json::raw::{Raw, is_standard_input, missing_or_io};
use crate::reading::document::{ReadOptions, Unreadable};
use crate::reading::record::quoted_names;
use crate::reading::wanted::Wanted;
use crate::tables::arrow_file::ArrowIndex;
use crate::tables::parquet_file::read_blocks;

/// Bytes that are enough to detect the compression.
const MAGIC_BYTES: u64 = 8;

/// The size of a longer head, read when [`HEAD_BYTES`] do not show whether JSON is a record: no configuration is
/// longer.
const LONG_HEAD_BYTES: u64 = 16 << 20;

/// A list under construction.
pub(crate) struct Discovery {
    filter: Filter,
    fields: TextFields,
    separator: Option<String>,
    unreadable: Unreadable,
    max_record_bytes: u64,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) files: Vec<InputFile>,
    pub(crate) left_out: Vec<Remark>,
    pub(crate) read_as_text: Vec<Remark>,
}

impl Discovery {
    pub(crate) fn new(options: &ReadOptions, wanted: Vec<Wanted>) -> Result<Self, Error> {
        if options.text_separator.as_ref().is_some_and(String::is_empty) {
            return Err(Error::EmptySeparator);
        }
        Ok(Self {
            filter: Filter::new(&options.selection)?,
            fields: TextFields::of(options),
            separator: options.text_separator.clone(),
            unreadable: options.unreadable,
            max_record_bytes: options.max_record_bytes.unwrap_or(USUAL_RECORD_BYTES),
            wanted,
            files: Vec::new(),
            left_out: Vec::new(),
            read_as_text: Vec::new(),
        })
    }

    /// Adds every file that the paths name, and checks the result.
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

    /// Adds the files and folders that a list names, one per line.
    fn add_list(&mut self, list: &Path) -> Result<(), Error> {
        let mut bytes = Vec::new();
        Raw::open(list)?.read_to_end(&mut bytes).map_err(|source| Error::io(list, source))?;
        let not_a_list = |_| Error::NotAList { path: list.to_owned() };
        let lines = String::from_utf8(bytes).map_err(not_a_list)?;
        for line in lines.lines().map(str::trim_ascii_end).filter(|line| !line.is_empty()) {
            let path = Path::new(line);
            let metadata = fs::metadata(path).map_err(|source| missing_or_io(path, source))?;
            // In a list, `-` is a file of that name: standard input cannot be listed.
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
            // The head can end anywhere; reading the whole file reveals damage.
            Ok(_) | Err(Error::Truncated { .. } | Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let refused = |got: String| Error::StandardInput {
            expected: "JSON lines, JSON or UTF-8 text, plain, zstd or gzip",
            got,
        };
        if head.is_empty() {
            return Err(refused("nothing".to_owned()));
        }
        let probe = Probe { bytes: 0, compression, head, extent: Extent::Most };
        let kind = detect(standard_input::NAME, &probe.head, probe.extent, &self.fields);
        match kind {
            Kind::Of(format) if format.is_columnar() => Err(refused(format!("{format} data"))),
            Kind::Refused(Refusal::Foreign(got)) => Err(refused(got.to_owned())),
            Kind::Refused(refusal) => Err(refusal.error(path)),
            kind => self.push(path, standard_input::NAME.to_owned(), &probe, kind),
        }
    }

    fn add_file(&mut self, path: &Path, name: String) -> Result<(), Error> {
        match self.consider(path, name)? {
            None => Ok(()),
            Some(Unread::Empty) => Err(Error::EmptyFile { path: path.to_owned() }),
            Some(Unread::Refused(refusal)) => Err(refusal.error(path)),
        }
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        if is_corpus(folder) {
            let (path, got) = (folder.to_owned(), "a mixdown corpus");
            return Err(Error::Unsupported { path, got });
        }
        let (before, left_out_before) = (self.files.len(), self.left_out.len());
        for found in files_below(folder, &self.filter)? {
            let (name, unread) = match found {
                Found::LeftOut(name, reason) => (name, Ok(Some(reason.to_owned()))),
                Found::Unreadable(name, error) => (name, Err(error)),
                Found::File(path, name) => {
                    let unread = self.consider(&path, name.clone());
                    let reason = |unread: Option<Unread>| unread.map(|unread| unread.reason());
                    (name, unread.map(reason))
                }
            };
            let reason = match unread {
                Ok(None) => continue,
                Ok(Some(reason)) => reason,
                // The data are missing rather than unsupported: nobody stores such a file on purpose.
                Err(error) if self.unreadable == Unreadable::LeaveOut => error.to_string(),
                Err(source) => {
                    let (path, source) = (folder.to_owned(), Box::new(source));
                    return Err(Error::InFolder { path, source });
                }
            };
            self.left_out.push(Remark { name, reason });
        }
        if self.files.len() == before {
            let left_out = self.left_out.get(left_out_before..).unwrap_or_default();
            let skipped_files = as_u64(left_out.len());
            let reasons = summary(left_out);
            return Err(Error::EmptyFolder { path: folder.to_owned(), skipped_files, reasons });
        }
        Ok(())
    }

    /// Adds a file, or returns why it is not read.
    fn consider(&mut self, path: &Path, name: String) -> Result<Option<Unread>, Error> {
        let mut probe = Probe::of(path, HEAD_BYTES)?;
        if probe.head.is_empty() {
            return Ok(Some(Unread::Empty));
        }
        let mut kind = detect(&name, &probe.head, probe.extent, &self.fields);
        if kind == Kind::Unclear {
            probe = Probe::of(path, LONG_HEAD_BYTES)?;
            kind = detect(&name, &probe.head, probe.extent, &self.fields);
        }
        if let Kind::Refused(refusal) = kind {
            return match refusal {
                Refusal::Pointer => Err(refusal.error(path)),
                refusal => Ok(Some(Unread::Refused(refusal))),
            };
        }
        self.push(path, name, &probe, kind).map(|()| None)
    }

    fn push(&mut self, path: &Path, name: String, probe: &Probe, kind: Kind) -> Result<(), Error> {
        let &Probe { bytes, compression, .. } = probe;
        let path = path.to_owned();
        let (format, rule) = match kind {
            Kind::Table { format, delimiter, columns } => {
                let keys = self.wanted.iter().find(|wanted| !columns.contains(&wanted.field));
                if let Some(key) = keys {
                    let (expected, got) = (key.field.clone(), quoted_names(&columns));
                    return Err(Error::NoColumn { path, expected, got });
                }
                (format, Some(PieceRule::Rows { delimiter, columns }))
            }
            Kind::Of(InputFormat::Json) => (InputFormat::Json, Some(PieceRule::Json)),
            Kind::JsonText => {
                let reason = "JSON without such a field, read as one text".to_owned();
                self.read_as_text.push(Remark { name: name.clone(), reason });
                (InputFormat::Text, None)
            }
            Kind::Of(format) => (format, None),
            Kind::Refused(_) | Kind::Unclear => (InputFormat::Text, None),
        };
        let separator = self.separator.as_ref().filter(|_| format == InputFormat::Text);
        let rule = rule.or_else(|| separator.map(|text| PieceRule::Separator(text.clone())));
        if format.is_columnar() && compression != Compression::None {
            return Err(Error::Unsupported { path, got: "columnar data, compressed as a whole" });
        }
        let layout = match format {
            InputFormat::Parquet => Layout::Parquet(read_blocks(&path, bytes, &self.wanted)?),
            InputFormat::ArrowFile | InputFormat::ArrowStream => {
                Layout::Arrow(Arc::new(ArrowIndex::read(&path, format, bytes, &self.wanted)?))
            }
            _ => match InputFormat::promised(&name) {
                Some(expected) => {
                    let start = probe.head.get(..8).unwrap_or(&probe.head);
                    let got = start.escape_ascii().to_string();
                    return Err(Error::WrongMagic { path, expected, got });
                }
                None => rule.map_or(Layout::Stream, |rule| Layout::Pieces(Arc::new(rule))),
            },
        };
        let max_record_bytes = self.max_record_bytes;
        let file = InputFile { path, name, bytes, format, compression, max_record_bytes, layout };
        self.files.push(file);
        Ok(())
    }

    /// Checks that every file occurs once, and that there are not more than a place can number.
    fn check(&self) -> Result<(), Error> {
        let got = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        let expected = u64::from(u32::MAX);
        if got > expected {
            return Err(Error::TooManyFiles { expected, got });
        }
        if self.separator.is_some()
            && self.files.iter().all(|file| file.format != InputFormat::Text)
        {
            return Err(Error::NothingToSeparate);
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

/// Returns the path of the list that `@FILE` names.
fn list_path(path: &Path) -> Option<PathBuf> {
    path.to_str()?.strip_prefix('@').map(PathBuf::from)
}

/// Returns the name of a listed file: its path if that leads down from the current folder, so that equal file names
/// stay distinct, otherwise its last part.
fn listed_name(path: &Path) -> String {
    let bare = path.strip_prefix(".").unwrap_or(path);
    let leads_down = bare.components().all(|part| matches!(part, Component::Normal(_)));
    if leads_down { slashed(bare) } else { own_name(path) }
}

/// The reason why a file is not read, other than an error.
enum Unread {
    Empty,
    Refused(Refusal),
}

impl Unread {
    fn reason(&self) -> String {
        match self {
            Self::Empty => "empty".to_owned(),
            Self::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// The information from a file's first bytes.
struct Probe {
    bytes: u64,
    compression: Compression,
    /// The first decompressed bytes.
    head: Vec<u8>,
    extent: Extent,
}

impl Probe {
    fn of(path: &Path, len: u64) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(|source| missing_or_io(path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io(path, source))?.len();
        let mut head = Vec::new();
        let mut read = |head: &mut Vec<u8>, len| {
            (&mut file).take(len).read_to_end(head).map_err(|source| Error::io(path, source))
        };
        read(&mut head, MAGIC_BYTES)?;
        let compression = Compression::detect(&head);
        if compression == Compression::None {
            read(&mut head, len.saturating_sub(MAGIC_BYTES))?;
        } else {
            head.clear();
            Decompressed::new(path, Raw::open(path)?, compression, 0)?.read_onto(&mut head, len)?;
        }
        let extent = match as_u64(head.len()) {
            got if got < len => Extent::Whole,
            _ if len < LONG_HEAD_BYTES => Extent::Head,
            _ => Extent::Most,
        };
        Ok(Self { bytes, compression, head, extent })
    }
}
