//! The documents of an adopted file.

use std::path::PathBuf;

use super::{
    ImportOptions, boundaries,
    format::{Found, Index},
    megatron,
};
use crate::Access;
use crate::Error;
use crate::TokenFile;
use crate::corpus::token_file::TokenLayout;

/// The documents of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DocumentTable {
    /// Their lengths in ids, each at least 1; their sum is the number of ids in the file.
    pub lengths: Vec<i32>,
    /// Documents without ids, which are left out.
    pub empty_documents: u64,
    /// An existing index that can be used as it is.
    pub in_place: Option<PathBuf>,
}

/// Returns the table of the file's own index, if it has one.
pub(super) fn read(found: &Found) -> Result<Option<DocumentTable>, Error> {
    match &found.index {
        Index::None => Ok(None),
        Index::Megatron(path) => megatron::read(path, found).map(Some),
        Index::CsvGz(path) => boundaries::read_csv_gz(path, found).map(Some),
        Index::Ends(path) => boundaries::read_ends(path, found).map(Some),
    }
}

/// Returns the id that begins documents: the end-of-text id or the tokenizer's beginning-of-text id, if it is the first
/// id of the first file.
pub(super) fn beginning(first: &Found, options: &ImportOptions<'_>) -> Result<Option<u32>, Error> {
    let layout =
        TokenLayout { header_bytes: first.header_bytes, dtype: first.dtype, tokens: first.tokens };
    // The scan checks the vocabulary and suggests the right fix.
    let file = TokenFile::open_with(&first.path, layout, u64::MAX, Access::Read)?;
    let mut id = [0];
    file.read(0, &mut id)?;
    let [id] = id;
    let begins = [Some(options.end_of_text), options.beginning_of_text];
    Ok(begins.into_iter().flatten().find(|begin| *begin == id))
}

/// Makes the table from the positions of the end-of-text id: each begins a document if documents begin with it,
/// otherwise it ends one. Remaining ids form a document.
pub(super) fn of_marks(
    found: &Found,
    marks: &[u64],
    beginning: Option<u32>,
    options: &ImportOptions<'_>,
) -> Result<DocumentTable, Error> {
    let after = u64::from(beginning != Some(options.end_of_text));
    let mut builder = TableBuilder::new(found);
    for mark in marks {
        builder.end_at(mark + after)?;
    }
    builder.end_at(found.tokens)?;
    // Both ends of the file may be marks: they enclose no document.
    Ok(DocumentTable { empty_documents: 0, ..builder.finish() })
}

/// A builder of a table from the documents' ends.
pub(super) struct TableBuilder<'a> {
    found: &'a Found,
    start: u64,
    table: DocumentTable,
}

impl<'a> TableBuilder<'a> {
    pub(super) fn new(found: &'a Found) -> Self {
        let table = DocumentTable { lengths: Vec::new(), empty_documents: 0, in_place: None };
        Self { found, start: 0, table }
    }

    /// Returns where the next document begins.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Ends a document before token `end`, which must not be before its start.
    pub(super) fn end_at(&mut self, end: u64) -> Result<(), Error> {
        let length = end.saturating_sub(self.start);
        if length == 0 {
            self.table.empty_documents += 1;
            return Ok(());
        }
        let length = i32::try_from(length).map_err(|_| {
            let number = self.table.lengths.len();
            let expected = format!("document {number} of at most {} ids", i32::MAX);
            let hint = "check the end-of-text id: it was not found in that many ids";
            let at = Some(self.found.header_bytes + self.start * self.found.dtype.bytes());
            Error::import(&self.found.path, at, expected, format!("{length} ids"), hint)
        })?;
        self.table.lengths.push(length);
        self.start = end;
        Ok(())
    }

    pub(super) fn finish(self) -> DocumentTable {
        self.table
    }
}
