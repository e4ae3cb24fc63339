//! The document boundaries in OLMo's `.csv.gz` and in datatrove's `.ds.index`.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::{
    document_table::{DocumentTable, TableBuilder},
    format::Found,
};
use crate::Dtype;
use crate::Error;
use crate::files::positioned_file::PositionedFile;

/// Bytes that are decompressed at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads `start,end,…` lines: each document begins where the previous one ends. Ids after the last document (OLMo-core
/// leaves out text without an end-of-text id) form one more.
pub(super) fn read_csv_gz(path: &Path, found: &Found) -> Result<DocumentTable, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut csv = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut lines = BoundaryLines::new(path, found);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let len = csv.read(&mut buffer).map_err(|source| match source.kind() {
            std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::UnexpectedEof => {
                lines.wrong("gzip data that is whole", &format!("{source}"))
            }
            _ => Error::io("read", path)(source),
        })?;
        for byte in buffer.get(..len).unwrap_or_default() {
            lines.push(*byte)?;
        }
        if len == 0 {
            return lines.finish();
        }
    }
}

/// A reader of the first two numbers of each line; the rest is skipped, and no line is stored, however long.
struct BoundaryLines<'a> {
    path: &'a Path,
    found: &'a Found,
    builder: TableBuilder<'a>,
    line: u64,
    numbers: [Option<u64>; 2],
    field: usize,
    is_quoted: bool,
}

impl<'a> BoundaryLines<'a> {
    fn new(path: &'a Path, found: &'a Found) -> Self {
        let builder = TableBuilder::new(found);
        Self { path, found, builder, line: 1, numbers: [None; 2], field: 0, is_quoted: false }
    }

    fn push(&mut self, byte: u8) -> Result<(), Error> {
        match (byte, self.numbers.get_mut(self.field)) {
            (b'\n', _) if !self.is_quoted => return self.end_line(),
            (b',', _) if !self.is_quoted => self.field = self.field.saturating_add(1),
            (b'\r', _) => {}
            (b'0'..=b'9', Some(number)) => {
                let digit = u64::from(byte - b'0');
                let longer = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
                match longer {
                    Some(longer) => *number = Some(longer),
                    None => return Err(self.wrong("numbers of 64 bits", "a longer one")),
                }
            }
            (_, Some(_)) => {
                let got = format!("{:?}", char::from(byte));
                return Err(self.wrong("a line that begins with two numbers, start and end", &got));
            }
            (b'"', None) => self.is_quoted = !self.is_quoted,
            (_, None) => {}
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Error> {
        match self.numbers {
            [Some(start), Some(end)] => self.document(start, end)?,
            [None, None] if self.field == 0 => {}
            _ => return Err(self.wrong("a line that begins with two numbers", "fewer")),
        }
        self.line += 1;
        (self.numbers, self.field) = ([None; 2], 0);
        Ok(())
    }

    fn document(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let tokens = self.found.tokens;
        if start != self.builder.start() {
            let expected = format!(
                "a document that begins at {}, where the last one ends",
                self.builder.start()
            );
            return Err(self.wrong(&expected, &start.to_string()));
        }
        if end < start || end > tokens {
            let expected =
                format!("an end of {start} to {tokens}, the ids of {}", self.found.path.display());
            return Err(self.wrong(&expected, &end.to_string()));
        }
        self.builder.end_at(end)
    }

    fn finish(mut self) -> Result<DocumentTable, Error> {
        if self.is_quoted {
            return Err(self.wrong("a closing quotation mark", "the end of the file"));
        }
        self.end_line()?;
        if self.builder.start() < self.found.tokens {
            self.builder.end_at(self.found.tokens)?;
        }
        Ok(self.builder.finish())
    }

    fn wrong(&self, expected: &str, got: &str) -> Error {
        let expected = format!("in line {} {expected}", self.line);
        Error::import(self.path, None, expected, got, HINT)
    }
}

const HINT: &str = "restore the file that was written with the ids, or move it away and name \
                    the id that ends a document";

/// Reads the documents' ends in ids, 8 bytes each.
pub(super) fn read_ends(path: &Path, found: &Found) -> Result<DocumentTable, Error> {
    let (file, documents) = open_ends(path)?;
    let mut builder = TableBuilder::new(found);
    let mut bytes = Vec::new();
    for first in (0..documents).step_by(8192) {
        file.read_into(8 * first, 8 * (documents - first).min(8192), &mut bytes)?;
        for (n, end) in bytes.as_chunks().0.iter().enumerate() {
            let end = u64::from_le_bytes(*end);
            if end < builder.start() || end > found.tokens {
                let expected = format!(
                    "an end of {} to {}, the ids of {}",
                    builder.start(),
                    found.tokens,
                    found.path.display()
                );
                let at = Some(8 * (first + n as u64));
                return Err(Error::import(path, at, expected, end.to_string(), HINT));
            }
            builder.end_at(end)?;
        }
    }
    if builder.start() != found.tokens {
        let expected =
            format!("a last end of {}, the ids of {}", found.tokens, found.path.display());
        let at = Some(8 * documents.saturating_sub(1));
        return Err(Error::import(path, at, expected, builder.start().to_string(), HINT));
    }
    Ok(builder.finish())
}

/// Returns the dtype for which the last end matches the token file.
pub(super) fn dtype_of_ends(path: &Path, bin: &Path, bin_bytes: u64) -> Result<Dtype, Error> {
    let (file, documents) = open_ends(path)?;
    let mut bytes = [0; 8];
    let at = 8 * documents.saturating_sub(1);
    file.read(at, &mut bytes)?;
    let tokens = u64::from_le_bytes(bytes);
    let fits = |dtype: &Dtype| tokens > 0 && tokens.checked_mul(dtype.bytes()) == Some(bin_bytes);
    [Dtype::U16, Dtype::I32].into_iter().find(fits).ok_or_else(|| {
        let expected = format!(
            "a last end of {} or {} ids, the {bin_bytes} bytes of {}",
            bin_bytes / 2,
            bin_bytes / 4,
            bin.display()
        );
        Error::import(path, Some(at), expected, tokens.to_string(), HINT)
    })
}

fn open_ends(path: &Path) -> Result<(PositionedFile, u64), Error> {
    let file = PositionedFile::open(path)?;
    let bytes = file.len_bytes()?;
    if bytes == 0 || !bytes.is_multiple_of(8) {
        let expected = "8 bytes for the end of each document, at least one";
        return Err(Error::import(path, None, expected, format!("{bytes} bytes"), HINT));
    }
    Ok((file, bytes / 8))
}
