//! `mixdown import`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    ByteProgress, Dtype, ImportFile, ImportOptions, ImportReport, SampleShare, Split, TokenFormat,
    import, token_files,
};
use mixdown_tokenize::{BeginningOfText, Tokenizer};
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::thousands;
use crate::terminal::progress::{Meter, Unit, say};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
The files stay in place, unchanged. `import` adds a manifest.json, a copy of the tokenizer and a folder .mixdown with
what the files lack: checksums, text hashes and, if there is no Megatron index, an index of the documents.

Formats, detected from content and name: Megatron (.bin with .idx), raw arrays of 16- or 32-bit ids
(nanoGPT's train.bin and val.bin), OLMo and Dolma (.npy without NumPy's header, .csv.gz beside it),
NumPy's .npy, llm.c (.bin with its header), datatrove (.ds with .ds.index and .ds.loss).
labels_mask_X.npy beside X.npy is its loss mask. In a folder, everything else is left out and named: index maps
of Megatron and GPT-NeoX, other arrays beside Megatron's pairs, model weights.

Repeating the command finds that everything is done. Other settings are refused, and the message names the first
difference.

Examples:
  mixdown import nanogpt/data/openwebtext --tokenizer gpt2/
  mixdown import tokens/part-*.npy --tokenizer tokenizer.json --dtype uint32
  mixdown import megatron/web_text_document.bin --tokenizer llama/ --sample-sums")]
pub struct ImportArgs {
    /// Token files, or folders with .bin, .npy and .ds files.
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// Tokenizer that made the ids: a tokenizer.json, or a model folder that contains one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Folder that becomes the corpus and contains all the files [default: the innermost such folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Files of the validation split [default: those with val, valid, validation or holdout as a word of their names,
    /// or in a folder of that name below PATH]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    holdout: Vec<PathBuf>,
    /// File format [default: detected]
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Number type of the ids in arrays without a header [default: the one that the vocabulary needs]
    #[arg(long, value_enum)]
    dtype: Option<DtypeName>,
    /// Token that ends documents (or begins them, if it is the first id), if the tokenizer does not name it.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// Token that may begin documents: auto (the one that the tokenizer's post-processor adds), none, or an id.
    #[arg(long, default_value = "auto", value_name = "auto|none|ID")]
    bos: BeginningOfText,
    /// Compute the checksums of only a share of the 1 MiB blocks, and no text hashes: for terabytes. `verify` then
    /// reports what it could not check.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "1%")]
    sample_sums: Option<SampleShare>,
}

/// A format's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// .bin and .idx.
    Megatron,
    /// An array of ids without a header.
    Raw,
    /// .npy without header and .csv.gz.
    Olmo,
    /// .npy with NumPy's header.
    Npy,
    /// .bin with a header of 1,024 bytes.
    Llmc,
    /// .ds and .ds.index.
    Datatrove,
}

impl From<FormatName> for TokenFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Megatron => Self::Megatron,
            FormatName::Raw => Self::Raw,
            FormatName::Olmo => Self::Olmo,
            FormatName::Npy => Self::Npy,
            FormatName::Llmc => Self::Llmc,
            FormatName::Datatrove => Self::Datatrove,
        }
    }
}

/// A dtype's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DtypeName {
    /// 2 bytes per id.
    Uint16,
    /// 4 bytes per id.
    Uint32,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::Uint16 => Self::U16,
            DtypeName::Uint32 => Self::I32,
        }
    }
}

#[derive(Serialize)]
struct ImportView {
    path: PathBuf,
    dtype: String,
    vocab_size: u64,
    end_of_text: u32,
    beginning_of_text: Option<u32>,
    train_files: usize,
    train_documents: u64,
    train_tokens: u64,
    holdout_files: usize,
    holdout_documents: u64,
    holdout_tokens: u64,
    empty_documents: u64,
    sampled_sums: bool,
    /// Files without an index in which the end-of-text token does not occur.
    without_end: Vec<String>,
    already_done: bool,
    fingerprint: String,
}

/// Runs the subcommand.
///
/// # Errors
/// Files of no known format or with a contradiction, a tokenizer that did not make the ids, a folder that is already
/// a corpus, an interruption.
pub fn run(arguments: ImportArgs, context: Context) -> Result<(), Error> {
    let files = files(&arguments)?;
    let folder = folder(&arguments, &files)?;
    let tokenizer = Tokenizer::load(&arguments.tokenizer)?;
    let companions = tokenizer.files()?;
    let options = ImportOptions {
        tokenizer_fingerprint: tokenizer.fingerprint(),
        vocab_size: tokenizer.vocab_size(),
        end_of_text: tokenizer.end_of_text_named(arguments.end_of_text.as_deref())?,
        beginning_of_text: tokenizer.beginning_of_text(arguments.bos)?,
        format: arguments.format.map(Into::into),
        dtype: arguments.dtype.map(Into::into),
        sample_sums: arguments.sample_sums,
        companions: &companions,
        text_of: &|ids| tokenizer.size_and_hash(ids).map_err(Into::into),
    };
    let meter = Meter::new("import", Unit::Bytes);
    let progress = |at: ByteProgress| meter.set(at.done_bytes, at.total_bytes, "");
    let report = import(&folder, &files, &options, Observer::new(&progress, context.stop))?;
    meter.finish(if report.already_done { "already done" } else { "done" });
    let path = arguments.out.unwrap_or(folder);
    warn_of_missing_end(&report, &tokenizer)?;
    context.output.print(&view(path, report, arguments.sample_sums), describe)
}

/// Warns of files in which the end of a document is not marked.
fn warn_of_missing_end(report: &ImportReport, tokenizer: &Tokenizer) -> Result<(), Error> {
    const NAMED: usize = 3;
    if report.without_end.is_empty() {
        return Ok(());
    }
    let id = report.manifest.end_of_text;
    let names: Vec<&str> = report.without_end.iter().take(NAMED).map(String::as_str).collect();
    let more = report.without_end.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    say(&format!(
        "warning: the end-of-text token {:?} (id {id}) does not occur in {}{more}, so each of them is one document; \
         if another token ends their documents, remove the manifest.json and import again with --end-of-text TOKEN",
        tokenizer.decode(&[id])?,
        names.join(", ")
    ));
    Ok(())
}

/// The token files in order, each by the real path of its folder.
fn files(arguments: &ImportArgs) -> Result<Vec<ImportFile>, Error> {
    let mut files = Vec::new();
    for path in &arguments.path {
        let given = real_folder(path)?;
        for path in expand(path, arguments.format)? {
            // A folder's own name says nothing about its files.
            let below = path.strip_prefix(&given).unwrap_or(&path);
            let is_named = arguments.holdout.is_empty() && is_named_holdout(below);
            let split = if is_named { Split::Holdout } else { Split::Train };
            files.push(ImportFile { path, split });
        }
    }
    for path in &arguments.holdout {
        for path in expand(path, arguments.format)? {
            files.retain(|file| file.path != path);
            files.push(ImportFile { path, split: Split::Holdout });
        }
    }
    Ok(files)
}

fn expand(path: &Path, format: Option<FormatName>) -> Result<Vec<PathBuf>, Error> {
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if path.is_dir() {
        return folder_files(path, format);
    }
    // Megatron names a pair by its path without ending; the .idx stands for its .bin.
    let path = match path.extension() {
        Some(extension) if extension == "idx" => path.with_extension("bin"),
        _ if !path.exists() && with_ending(".idx").is_file() => with_ending(".bin"),
        _ => path.to_owned(),
    };
    real_folder(&path).map(|path| vec![path])
}

/// The token files of a folder; other files with the same ending are named on standard error.
fn folder_files(folder: &Path, format: Option<FormatName>) -> Result<Vec<PathBuf>, Error> {
    const NAMED: usize = 3;
    let found = token_files(folder, format.map(Into::into))?;
    let named = found.left_out.iter().take(NAMED).map(|(path, reason)| {
        format!("{} ({reason})", path.file_name().unwrap_or_default().to_string_lossy())
    });
    if let (Some(first), count) = (found.left_out.first(), found.left_out.len()) {
        let more = count.saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named: Vec<String> = named.collect();
        let (there, words) = (first.0.parent().unwrap_or(folder), named.join(", "));
        say(&format!(
            "left out, because they are not token files: {words}{more}, in {}",
            there.display()
        ));
    }
    if found.files.is_empty() {
        let kinds = match format {
            None => ".bin, .npy or .ds files".to_owned(),
            Some(format) => format!("token files of {}", TokenFormat::from(format)),
        };
        let message = format!("{}: expected {kinds}, found none", folder.display());
        return Err(Error::usage(message, "name the token files themselves"));
    }
    Ok(found.files)
}

/// The path with links resolved in its folder, not in its last part.
fn real_folder(path: &Path) -> Result<PathBuf, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).map_err(|source| Error::io(path, "find", source))?;
    Ok(real.join(path.file_name().unwrap_or_default()))
}

/// Whether a word of the file's name, or a folder between it and the given one, marks it as validation data.
fn is_named_holdout(below: &Path) -> bool {
    const NAMES: [&str; 4] = ["val", "valid", "validation", "holdout"];
    let name = below.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let folder = below.parent().unwrap_or(Path::new(""));
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    let in_named_folder = !below.is_absolute()
        && folder.iter().any(|part| NAMES.iter().any(|name| part == OsStr::new(name)));
    words.any(|word| NAMES.contains(&word)) || in_named_folder
}

/// The folder as given, else the nearest one that holds all files.
fn folder(arguments: &ImportArgs, files: &[ImportFile]) -> Result<PathBuf, Error> {
    if let Some(out) = &arguments.out {
        return fs::canonicalize(out).map_err(|source| Error::io(out, "find", source));
    }
    let mut folders = files.iter().filter_map(|file| file.path.parent());
    let mut common = folders.next().unwrap_or(Path::new("")).to_owned();
    for folder in folders {
        while !folder.starts_with(&common) && common.pop() {}
    }
    Ok(common)
}

fn view(path: PathBuf, report: ImportReport, sample: Option<SampleShare>) -> ImportView {
    let manifest = report.manifest;
    let (train, holdout) = (&manifest.train, &manifest.holdout);
    ImportView {
        path,
        dtype: manifest.dtype.to_string(),
        vocab_size: manifest.vocab_size,
        end_of_text: manifest.end_of_text,
        beginning_of_text: manifest.beginning_of_text,
        train_files: train.shards.len(),
        train_documents: train.documents,
        train_tokens: train.tokens,
        holdout_files: holdout.shards.len(),
        holdout_documents: holdout.documents,
        holdout_tokens: holdout.tokens,
        empty_documents: manifest.counts.empty_documents,
        sampled_sums: sample.is_some(),
        without_end: report.without_end,
        already_done: report.already_done,
        fingerprint: manifest.fingerprint.to_string(),
    }
}

fn describe(view: &ImportView) -> String {
    let mut text = format!(
        "{}: {} ids, {} in {} (files: {}), {} in {} (files: {})",
        view.path.display(),
        view.dtype,
        plural(view.train_tokens, "token"),
        plural(view.train_documents, "document"),
        view.train_files,
        plural(view.holdout_tokens, "held-out token"),
        plural(view.holdout_documents, "document"),
        view.holdout_files,
    );
    if view.empty_documents > 0 {
        text.push_str(&format!(", empty documents left out: {}", thousands(view.empty_documents)));
    }
    if view.sampled_sums {
        text.push_str("\nchecksums of a sample of blocks only, no text hashes: ");
        text.push_str("damage elsewhere and overlap with other corpora cannot be detected");
    }
    text
}
