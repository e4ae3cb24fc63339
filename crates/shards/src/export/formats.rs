//! The layouts of the token files for other programs.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use super::{ExportFormat, ExportOptions, ExportedFile};
use crate::Corpus;
use crate::Dtype;
use crate::Error;
use crate::Split;
use crate::corpus::shard::Shard;
use crate::files::pending_file::name_all;
use crate::format::index::write_index;
use crate::import::{label_mask_name, llmc};
use crate::verify::Meter;

/// Ids that are read at a time.
const STEP_TOKENS: usize = 1 << 18;

/// The settings that all files share.
pub(super) struct FileExport<'a> {
    pub corpus: &'a Corpus,
    pub folder: &'a Path,
    pub dtype: Dtype,
    pub meter: Meter<'a>,
}

impl FileExport<'_> {
    /// Writes one split.
    pub(super) fn write(
        &self,
        split: Split,
        options: &ExportOptions,
    ) -> Result<Vec<ExportedFile>, Error> {
        match options.format {
            ExportFormat::Nanogpt => self.write_nanogpt(split),
            ExportFormat::Llmc => self.write_llmc(split, options.shard_tokens),
            ExportFormat::Olmo => self.each_shard(split, Self::write_olmo),
            ExportFormat::Datatrove => self.each_shard(split, Self::write_datatrove),
            ExportFormat::Megatron => self.each_shard(split, Self::write_megatron),
        }
    }

    fn write_nanogpt(&self, split: Split) -> Result<Vec<ExportedFile>, Error> {
        let path = format!("{}.bin", short_name(split));
        let tokens = self.corpus.tokens(split);
        let mut sink = Sink::create(&self.folder.join(&path))?;
        self.copy_ids(split, 0, tokens, &mut sink)?;
        sink.finish()?;
        Ok(vec![ExportedFile { path, tokens }])
    }

    /// llm.c's own scripts put the end-of-text id before each document; if this corpus' documents end with it, the last
    /// one of the stream moves to its front, which gives the same stream as a whole.
    fn write_llmc(&self, split: Split, shard_tokens: u64) -> Result<Vec<ExportedFile>, Error> {
        const MAX_TOKENS: u64 = (1 << 31) - 1;
        let shard_tokens = shard_tokens.clamp(1, MAX_TOKENS);
        let tokens = self.corpus.tokens(split);
        let moved = self.moved_end(split)?;
        let mut files = Vec::new();
        for (number, start) in
            (0..).zip((0..tokens.div_ceil(shard_tokens)).map(|n| n * shard_tokens))
        {
            let len = shard_tokens.min(tokens - start);
            let path = format!("{}_{number:06}.bin", short_name(split));
            let mut sink = Sink::create(&self.folder.join(&path))?;
            sink.write(&llmc::header(self.dtype, len))?;
            // Every id after the moved one is one place later than in the corpus.
            let (start, len) = match moved {
                Some(end_of_text) if start == 0 => {
                    sink.write_ids(self.dtype, &[end_of_text])?;
                    (0, len - 1)
                }
                Some(_) => (start - 1, len),
                None => (start, len),
            };
            self.copy_ids(split, start, len, &mut sink)?;
            sink.finish()?;
            let tokens = shard_tokens.min(tokens - files.len() as u64 * shard_tokens);
            files.push(ExportedFile { path, tokens });
        }
        Ok(files)
    }

    /// Returns the end-of-text id if it ends the stream and documents have no beginning id.
    fn moved_end(&self, split: Split) -> Result<Option<u32>, Error> {
        let manifest = self.corpus.manifest();
        let mut last = [0];
        self.corpus.read_tokens(split, self.corpus.tokens(split).saturating_sub(1), &mut last)?;
        let ends = last == [manifest.end_of_text] && manifest.beginning_of_text.is_none();
        Ok(ends.then_some(manifest.end_of_text))
    }

    fn each_shard(
        &self,
        split: Split,
        write: fn(&Self, Split, &str, &Shard, u64) -> Result<String, Error>,
    ) -> Result<Vec<ExportedFile>, Error> {
        let mut start = 0;
        let mut files = Vec::new();
        for (number, shard) in self.corpus.shards(split).iter().enumerate() {
            let path = write(self, split, &format!("{number:05}"), shard, start)?;
            let tokens = shard.record().tokens;
            files.push(ExportedFile { path, tokens });
            start += tokens;
        }
        Ok(files)
    }

    /// Writes `start,end,id,src,loc` per document, as Dolma does; if there are labels, also an array of booleans, as
    /// the `label_mask_paths` of OLMo-core expect.
    fn write_olmo(
        &self,
        split: Split,
        number: &str,
        shard: &Shard,
        start: u64,
    ) -> Result<String, Error> {
        let path = format!("{split}-{number}.npy");
        self.write_array(&path, split, shard, start)?;
        let name = format!("{split}-{number}.csv.gz");
        let csv_path = self.folder.join(name);
        let mut sink = Sink::create(&csv_path)?;
        let mut csv = GzBuilder::new().write(Vec::new(), Compression::default());
        let source = format!("{split}/{}", shard.record().file);
        let mut first = 0;
        for (document, length) in lengths(shard)?.into_iter().enumerate() {
            let end = first + u64::from(length);
            let line = format!("{first},{end},{document},{source},{document}\n");
            std::io::Write::write_all(&mut csv, line.as_bytes())
                .map_err(Error::io("write", &csv_path))?;
            sink.write(&std::mem::take(csv.get_mut()))?;
            first = end;
        }
        sink.write(&csv.finish().map_err(Error::io("write", &csv_path))?)?;
        sink.finish()?;
        if self.corpus.is_labelled(split) {
            let name = label_mask_name(&path);
            self.write_mask(&name, split, start, shard.record().tokens)?;
        }
        Ok(path)
    }

    fn write_datatrove(
        &self,
        split: Split,
        number: &str,
        shard: &Shard,
        start: u64,
    ) -> Result<String, Error> {
        let path = format!("{split}/{number}.ds");
        self.write_array(&path, split, shard, start)?;
        let mut index = Sink::create(&self.folder.join(format!("{path}.index")))?;
        let mut end = 0;
        for length in lengths(shard)? {
            end += u64::from(length);
            index.write(&u64::to_le_bytes(end))?;
        }
        index.finish()?;
        if self.corpus.is_labelled(split) {
            self.write_mask(&format!("{path}.loss"), split, start, shard.record().tokens)?;
        }
        let mut metadata = Sink::create(&self.folder.join(format!("{path}.metadata")))?;
        let (id_bytes, tokens) = (self.dtype.bytes(), shard.record().tokens);
        metadata
            .write(format!("tokenizer.json|{id_bytes}\n{tokens}\n{}", metric(tokens)).as_bytes())?;
        metadata.finish()?;
        Ok(path)
    }

    fn write_mask(&self, name: &str, split: Split, start: u64, tokens: u64) -> Result<(), Error> {
        let mut sink = Sink::create(&self.folder.join(name))?;
        let mut mask = Vec::new();
        for (from, len) in steps(start, tokens) {
            mask.resize(len, 0);
            self.corpus.read_mask(split, from, &mut mask)?;
            sink.write(&mask)?;
        }
        sink.finish()
    }

    fn write_megatron(
        &self,
        split: Split,
        number: &str,
        shard: &Shard,
        start: u64,
    ) -> Result<String, Error> {
        let path = format!("{split}-{number}.bin");
        self.write_array(&path, split, shard, start)?;
        // The format bounds this: an index cannot hold a longer document.
        let lengths: Vec<i32> = lengths(shard)?
            .into_iter()
            .map(|length| i32::try_from(length).unwrap_or(i32::MAX))
            .collect();
        let index = self.folder.join(format!("{split}-{number}.idx"));
        let (index, _root) = write_index(&index, self.dtype, &lengths)?;
        name_all(vec![index], self.folder)?;
        Ok(path)
    }

    /// Writes only the ids of one shard.
    fn write_array(
        &self,
        path: &str,
        split: Split,
        shard: &Shard,
        start: u64,
    ) -> Result<(), Error> {
        let mut sink = Sink::create(&self.folder.join(path))?;
        self.copy_ids(split, start, shard.record().tokens, &mut sink)?;
        sink.finish()
    }

    fn copy_ids(
        &self,
        split: Split,
        start: u64,
        tokens: u64,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        let mut ids = Vec::new();
        for (from, len) in steps(start, tokens) {
            ids.resize(len, 0);
            self.corpus.read_tokens(split, from, &mut ids)?;
            sink.write_ids(self.dtype, &ids)?;
            self.meter.add(len as u64 * self.corpus.manifest().dtype.bytes())?;
        }
        Ok(())
    }
}

/// Returns pieces of at most [`STEP_TOKENS`] tokens, from `start` on.
fn steps(start: u64, tokens: u64) -> impl Iterator<Item = (u64, usize)> {
    let step = STEP_TOKENS as u64;
    (0..tokens.div_ceil(step)).map(move |n| {
        let len = step.min(tokens - n * step);
        (start + n * step, usize::try_from(len).unwrap_or(STEP_TOKENS))
    })
}

fn lengths(shard: &Shard) -> Result<Vec<u32>, Error> {
    let mut lengths = Vec::new();
    shard.index()?.append_lengths(&mut lengths)?;
    Ok(lengths)
}

/// Returns the split's name in nanoGPT and llm.c.
fn short_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Holdout => "val",
    }
}

/// Returns a number of tokens with three digits, as in datatrove's metadata: `1.23 MT`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn metric(tokens: u64) -> String {
    let mut value = tokens as f64;
    for prefix in ["", "k", "M", "G", "T"] {
        if value < 1000.0 {
            let digits = match value {
                value if value < 10.0 => 2,
                value if value < 100.0 => 1,
                _ => 0,
            };
            return format!("{value:.digits$} {prefix}T");
        }
        value /= 1000.0;
    }
    format!("{value:.0} PT")
}

/// A file that is written front to back and flushed to disk.
pub(super) struct Sink {
    file: BufWriter<File>,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Sink {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let file = File::create(path).map_err(Error::io("create", path))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { file, path: path.to_owned(), buffer: Vec::new() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    pub(super) fn write_ids(&mut self, dtype: Dtype, ids: &[u32]) -> Result<(), Error> {
        self.buffer.clear();
        ids.iter().for_each(|id| dtype.encode(*id, &mut self.buffer));
        self.file.write_all(&self.buffer).map_err(Error::io("write", &self.path))
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let file = self.file.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(Error::io("write", &self.path))?;
        file.sync_all().map_err(Error::io("flush", &self.path))
    }
}
