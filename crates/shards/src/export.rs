//! An exporter to the token files of other programs.

mod aside;
mod formats;
mod record;

use std::{fmt, path::Path};

use mixdown_base::files;
use mixdown_base::observer::Observer;
use serde::{Deserialize, Serialize};

use crate::ByteProgress;
use crate::Corpus;
use crate::Dtype;
use crate::Error;
use crate::Split;
use crate::format::seal::COMPANIONS;
use crate::verify::Meter;

use aside::Aside;
use record::{ExportRecord, Settings};

/// The program whose token files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// nanoGPT: one array of 16-bit ids per split, `train.bin` and `val.bin`.
    Nanogpt,
    /// llm.c: arrays with a header, split at a number of tokens.
    Llmc,
    /// OLMo and Dolma: `.npy` arrays without a header, documents in `.csv.gz`, targets in `labels_mask_….npy`.
    Olmo,
    /// datatrove: `.ds` arrays, documents in `.ds.index`, targets in `.ds.loss`.
    Datatrove,
    /// Megatron: `.bin` with `.idx`, one sequence per document.
    Megatron,
}

impl ExportFormat {
    /// Whether the format's files can hold a loss mask.
    ///
    /// ```
    /// use mixdown_shards::ExportFormat;
    ///
    /// assert!(ExportFormat::Olmo.holds_mask() && !ExportFormat::Nanogpt.holds_mask());
    /// ```
    pub fn holds_mask(self) -> bool {
        matches!(self, Self::Olmo | Self::Datatrove)
    }
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

/// The treatment of a loss mask that the format's files cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostMask {
    /// The export is refused.
    #[default]
    Refuse,
    /// The ids are written without it: every token becomes a loss target, including prompts and padding.
    Drop,
}

/// The options of an export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The file format.
    pub format: ExportFormat,
    /// The splits to write; those without documents are skipped.
    pub splits: Vec<Split>,
    /// Tokens per file of llm.c: 1 to 2³¹ − 1. The other formats keep the corpus' shards.
    pub shard_tokens: u64,
    /// The treatment of a mask that the files cannot hold.
    pub lost_mask: LostMask,
}

/// The result of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    /// The token files, below the output folder, in order.
    pub files: Vec<ExportedFile>,
    /// The integer type of the ids in them.
    pub dtype: Dtype,
    /// Tokens that are not loss targets in the corpus and whose mask was not written.
    pub unmasked_tokens: u64,
    /// Whether an earlier export with the same settings had already written everything.
    #[serde(default)]
    pub already_done: bool,
}

/// One token file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Its path in the output folder, with `/` between parts.
    pub path: String,
    /// The number of its ids.
    pub tokens: u64,
}

/// Writes `corpus` to `out` in another program's layout. All files are written to `OUT.exporting` beside it, which is
/// renamed at the end, so that `out` is always complete; leftovers of a killed export are replaced. If an export with
/// the same settings has already written `out`, it is left unchanged ([`ExportReport::already_done`]).
///
/// Memory: a few MiB, and 4 bytes per document of the current shard.
///
/// # Errors
/// `out` holds something else, or an export with other settings; another process writes it; the vocabulary does not fit
/// the format's ids, or the format cannot hold the corpus' loss mask; the corpus is damaged; the disk refuses; the
/// observer stopped the work.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_shards::{ExportFormat, ExportOptions, LostMask, Split, export};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// # let out = folder.path().join("nanogpt");
/// let options = ExportOptions {
///     format: ExportFormat::Nanogpt,
///     splits: vec![Split::Train],
///     shard_tokens: 100_000_000,
///     lost_mask: LostMask::Refuse,
/// };
/// let report = export(&corpus, &out, &options, Observer::silent())?;
/// assert_eq!((report.files[0].path.as_str(), report.files[0].tokens), ("train.bin", 5));
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn export(
    corpus: &Corpus,
    out: &Path,
    options: &ExportOptions,
    observer: Observer<'_, ByteProgress>,
) -> Result<ExportReport, Error> {
    check_width(corpus, options.format)?;
    let unmasked_tokens = unmasked_tokens(corpus, options)?;
    let settings = Settings::of(corpus, options);
    if let Some(report) = record::finished(out, &settings)? {
        return Ok(report);
    }
    let aside = Aside::create(out, &settings)?;
    // Another process may have finished while this one waited for the folder's lock.
    if let Some(report) = record::finished(out, &settings)? {
        return Ok(report);
    }
    let tokens = options.splits.iter().map(|split| corpus.tokens(*split));
    let total_bytes = tokens.sum::<u64>() * corpus.manifest().dtype.bytes();
    let meter = Meter::new(total_bytes, observer);
    let dtype = dtype_of(corpus, options.format);
    let job = formats::FileExport { corpus, folder: aside.folder(), dtype, meter };
    let mut files = Vec::new();
    for split in options.splits.iter().filter(|split| corpus.documents(**split) > 0) {
        files.extend(job.write(*split, options)?);
    }
    copy_tokenizer(corpus, aside.folder())?;
    let report = ExportReport { files, dtype, unmasked_tokens, already_done: false };
    aside.finish(out, &ExportRecord::finished(settings, &report))?;
    Ok(report)
}

/// Returns the dtype of the files: Megatron's index names it; the other formats choose it by the vocabulary, as mixdown
/// does.
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

/// Returns the number of tokens that the mask excludes from the targets, if it cannot be written; 0 if it can.
fn unmasked_tokens(corpus: &Corpus, options: &ExportOptions) -> Result<u64, Error> {
    let sum = |count: &dyn Fn(Split) -> u64| options.splits.iter().map(|split| count(*split)).sum();
    let tokens: u64 = sum(&|split| corpus.tokens(split));
    let others = tokens.saturating_sub(sum(&|split| corpus.loss_tokens(split)));
    if options.format.holds_mask() || others == 0 {
        return Ok(0);
    }
    if options.lost_mask == LostMask::Drop {
        return Ok(others);
    }
    let padding =
        if corpus.manifest().pack.is_some() { ", the padding of rows among them" } else { "" };
    Err(Error::MaskLost {
        path: corpus.folder().to_owned(),
        format: options.format,
        got: format!("{others} of {tokens} tokens that are none{padding}"),
    })
}

/// Copies the files that decode the ids; tokenizer_config.json says which token ends a text.
fn copy_tokenizer(corpus: &Corpus, folder: &Path) -> Result<(), Error> {
    /// All companion files of a corpus are smaller than this.
    const MAX_BYTES: u64 = 256 << 20;
    for name in COMPANIONS {
        let path = corpus.folder().join(name);
        match files::read_capped(&path, MAX_BYTES) {
            Ok(bytes) => files::write(&folder.join(name), &bytes)?,
            Err(files::Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
