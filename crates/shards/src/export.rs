//! Writes the token files of other programs.

mod formats;
mod sink;

use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::Serialize;

use crate::{
    Corpus, Dtype, Error, Progress, Split, confined::is_harmless, pending_file::sync_folder,
    verify::Meter,
};

/// Whose token files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// nanoGPT: one array of 16-bit ids a split, `train.bin` and `val.bin`.
    Nanogpt,
    /// llm.c: arrays with a header, cut at a number of tokens.
    Llmc,
    /// OLMo and Dolma: `.npy` arrays without header, documents in `.csv.gz`.
    Olmo,
    /// datatrove: `.ds` arrays, documents in `.ds.index`, targets in `.ds.loss`.
    Datatrove,
    /// Megatron: `.bin` with `.idx`, one sequence a document.
    Megatron,
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nanogpt => "nanogpt",
            Self::Llmc => "llmc",
            Self::Olmo => "olmo",
            Self::Datatrove => "datatrove",
            Self::Megatron => "megatron",
        })
    }
}

/// What to write.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Whose files.
    pub format: ExportFormat,
    /// Which parts; those without documents are passed over.
    pub splits: Vec<Split>,
    /// Tokens of a file of llm.c: 1 to 2³¹ − 1. The others keep the corpus' shards.
    pub shard_tokens: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// The token files, below the output folder, in order.
    pub files: Vec<ExportedFile>,
    /// How ids are stored in them.
    pub dtype: Dtype,
}

/// One token file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// Its name below the output folder, `/` between parts.
    pub path: String,
    /// Its ids.
    pub tokens: u64,
}

/// Writes `corpus` in another program's layout into `out`, which must not exist. All is written
/// into `OUT.exporting` beside it and renamed at the end, so that `out` is always whole; what a
/// stopped export has left there is replaced.
///
/// Memory: a few MiB, and 4 bytes a document of the shard at hand.
///
/// # Errors
/// `out` exists; the vocabulary does not fit the format's ids; the corpus is damaged; the disk
/// refuses; `stop` was set.
pub fn export(
    corpus: &Corpus,
    out: &Path,
    options: &ExportOptions,
    progress: &(dyn Fn(Progress) + Sync),
    stop: &AtomicBool,
) -> Result<ExportReport, Error> {
    check_width(corpus, options.format)?;
    let aside = Aside::create(out)?;
    let tokens = options.splits.iter().map(|split| corpus.tokens(*split));
    let total_bytes = tokens.sum::<u64>() * corpus.manifest().dtype.bytes();
    let meter = Meter::new(total_bytes, progress, stop);
    let dtype = dtype_of(corpus, options.format);
    let job = formats::Job { corpus, folder: &aside.folder, dtype, meter };
    let mut files = Vec::new();
    for split in options.splits.iter().filter(|split| corpus.documents(**split) > 0) {
        files.extend(job.write(*split, options)?);
    }
    copy_tokenizer(corpus, &aside.folder)?;
    aside.finish(out)?;
    Ok(ExportReport { files, dtype })
}

/// Megatron's index names the dtype; the others choose it by the vocabulary, as mixdown does.
fn dtype_of(corpus: &Corpus, format: ExportFormat) -> Dtype {
    match format {
        ExportFormat::Megatron => corpus.manifest().dtype,
        _ => Dtype::for_vocab(corpus.manifest().vocab_size),
    }
}

fn check_width(corpus: &Corpus, format: ExportFormat) -> Result<(), Error> {
    let (got, limit) = (corpus.manifest().vocab_size, Dtype::U16.max_vocab_size());
    if format != ExportFormat::Nanogpt || got <= limit {
        return Ok(());
    }
    let expected = format!("a vocabulary of at most {limit} for nanoGPT's 16-bit ids");
    let hint = "export to olmo, which is as plain an array but has 32-bit ids, or to llmc";
    Err(Error::request(corpus.folder(), expected, got.to_string(), hint))
}

fn copy_tokenizer(corpus: &Corpus, folder: &Path) -> Result<(), Error> {
    let path = corpus.tokenizer_path();
    if !path.is_file() {
        return Ok(());
    }
    fs::copy(&path, folder.join("tokenizer.json")).map_err(Error::io("copy", &path))?;
    Ok(())
}

/// The folder that is renamed at the end, and removed if it is not.
struct Aside {
    folder: PathBuf,
}

/// Says that a folder beside an output is ours, so that it may be replaced.
const MARK: &str = ".mixdown-export";

impl Aside {
    fn create(out: &Path) -> Result<Self, Error> {
        let hint = "give a folder that does not exist yet";
        let name = out.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_harmless(name, 200) {
            let expected = "an output folder with a name of its own";
            return Err(Error::request(out, expected, out.display().to_string(), hint));
        }
        if fs::symlink_metadata(out).is_ok() {
            return Err(Error::request(out, "no output folder yet", "one", hint));
        }
        let mut name = OsString::from(out);
        name.push(".exporting");
        let folder = PathBuf::from(name);
        if fs::symlink_metadata(&folder).is_ok() {
            if !folder.join(MARK).is_file() {
                let hint = "move it away: the export is written there first";
                return Err(Error::request(&folder, "nothing of this name", "something", hint));
            }
            fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let mark = folder.join(MARK);
        fs::write(&mark, []).map_err(Error::io("write", &mark))?;
        Ok(Self { folder })
    }

    fn finish(self, out: &Path) -> Result<(), Error> {
        let mark = self.folder.join(MARK);
        fs::remove_file(&mark).map_err(Error::io("remove", &mark))?;
        sync_folder(&self.folder)?;
        fs::rename(&self.folder, out).map_err(Error::io("rename the finished export to", out))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Gone after `finish`; after an error it is room on the disk, and the next export clears it.
        fs::remove_dir_all(&self.folder).ok();
    }
}
