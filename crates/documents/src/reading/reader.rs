//! A reader of documents in order, for callers that need no parts.

use std::vec::IntoIter;

use crate::bytes::chunk_reader::ChunkReader;
use crate::chat::labeler::Labeler;
use crate::error::Error;
use crate::inputs::input_list::InputList;
use crate::reading::document::{BadRecord, Document, ReadOptions};

/// All documents of an [`InputList`], in order; bad records are counted and skipped as far as the options allow. After
/// an error the reader ends.
pub struct DocumentReader<'l> {
    list: &'l InputList,
    options: &'l ReadOptions,
    labeler: Option<&'l Labeler>,
    next_input: u32,
    open: Option<ChunkReader<'l>>,
    decoded: IntoIter<Result<Document, BadRecord>>,
    bad_records: u64,
    consumed_bytes: u64,
    failed: bool,
}

impl<'l> DocumentReader<'l> {
    /// Makes a reader that starts at the first document.
    ///
    /// ```
    /// use mixdown_documents::{DocumentReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let options = ReadOptions::default();
    /// let texts: Vec<String> = DocumentReader::new(&inputs, &options)
    ///     .map(|document| document.map(|document| document.text))
    ///     .collect::<Result<_, _>>()?;
    /// assert_eq!(texts, ["one", "two"]);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn new(list: &'l InputList, options: &'l ReadOptions) -> Self {
        Self {
            list,
            options,
            labeler: None,
            next_input: 0,
            open: None,
            decoded: Vec::new().into_iter(),
            bad_records: 0,
            consumed_bytes: 0,
            failed: false,
        }
    }

    /// Makes the reader read labeled records; the options must contain the labeler's fields.
    ///
    /// ```
    /// use mixdown_documents::{DocumentReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let options = ReadOptions::default();
    /// assert_eq!(DocumentReader::new(&inputs, &options).with_labeler(None).count(), 2);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn with_labeler(self, labeler: Option<&'l Labeler>) -> Self {
        Self { labeler, ..self }
    }

    /// Returns the number of bad records skipped so far.
    ///
    /// ```
    /// use mixdown_documents::{DocumentReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let options = ReadOptions { skip_bad: 1, ..ReadOptions::default() };
    /// let mut reader = DocumentReader::new(&inputs, &options);
    /// assert_eq!(reader.by_ref().count(), 1);
    /// assert_eq!(reader.bad_records(), 1);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn bad_records(&self) -> u64 {
        self.bad_records
    }

    /// Returns the bytes on disk read so far, out of [`InputList::total_bytes`].
    ///
    /// ```
    /// use mixdown_documents::{DocumentReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let options = ReadOptions::default();
    /// let mut reader = DocumentReader::new(&inputs, &options);
    /// assert_eq!(reader.by_ref().count(), 2);
    /// assert_eq!(reader.consumed_bytes(), inputs.total_bytes());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes
    }

    fn advance(&mut self) -> Result<Option<Document>, Error> {
        loop {
            match self.decoded.next() {
                Some(Ok(document)) => return Ok(Some(document)),
                Some(Err(bad)) => self.count_bad(&bad)?,
                None if self.decode_chunk()? => {}
                None => return Ok(None),
            }
        }
    }

    fn count_bad(&mut self, bad: &BadRecord) -> Result<(), Error> {
        self.bad_records += 1;
        if self.bad_records > self.options.skip_bad {
            let allowed = self.options.skip_bad;
            return Err(self.list.bad_record_error(bad, self.bad_records, allowed));
        }
        Ok(())
    }

    /// Decodes the next chunk of this file or the next one; false at the end of the last file.
    fn decode_chunk(&mut self) -> Result<bool, Error> {
        loop {
            if let Some(reader) = &mut self.open
                && let Some(chunk) = reader.next_before(u64::MAX)?
            {
                self.consumed_bytes += chunk.consumed_bytes;
                let records: Vec<_> = chunk.labeled_records(self.options, self.labeler).collect();
                self.decoded = records.into_iter();
                return Ok(true);
            }
            if self.list.file(self.next_input).is_none() {
                return Ok(false);
            }
            self.open = Some(ChunkReader::open(self.list, self.next_input, 0)?);
            self.next_input += 1;
        }
    }
}

impl Iterator for DocumentReader<'_> {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.advance().transpose();
        self.failed = matches!(result, Some(Err(_)));
        result
    }
}
