//! `mixdown import`.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixdown_base::display::plural;
use mixdown_shards::{
    Dtype, ImportFile, ImportOptions, Manifest, Progress, SampleShare, Split, TokenFormat, import,
};
use mixdown_tokenize::{BeginningOfText, Tokenizer};
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::output::thousands;
use crate::progress::{Meter, Unit};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
The files stay where they are and as they are. Beside them come a manifest.json, a copy of the
tokenizer and a folder .mixdown with what the files lack: sums, text hashes and, where no Megatron
index is there, an index of the documents.

Formats, found by content and name: Megatron (.bin with .idx), raw arrays of 16- or 32-bit ids
(nanoGPT's train.bin and val.bin), OLMo and Dolma (.npy without NumPy's header, .csv.gz beside it),
NumPy's own .npy, llm.c (.bin with its header), datatrove (.ds with .ds.index and .ds.loss).

Examples:
  mixdown import nanogpt/data/openwebtext --tokenizer gpt2/
  mixdown import tokens/part-*.npy --tokenizer tokenizer.json --dtype uint32
  mixdown import megatron/web_text_document.bin --tokenizer llama/ --sample-sums")]
pub struct ImportArgs {
    /// Token files, or folders of .bin, .npy and .ds files.
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// The tokenizer that made the ids: a tokenizer.json, or a model folder that holds one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// The folder that becomes the corpus; it holds all the files. The nearest such one by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Files of the validation part; by default those with val, valid, validation or holdout as a
    /// word of their names, or in a folder of that name below PATH.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    holdout: Vec<PathBuf>,
    /// File format [default: detected].
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// How arrays without a header store ids; by default what the vocabulary needs.
    #[arg(long, value_enum)]
    dtype: Option<DtypeName>,
    /// The token that ends documents (or begins them, if it is the first id), where the tokenizer
    /// does not name it.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// Token that may begin documents: auto (what the tokenizer's post-processor adds), none, an id.
    #[arg(long, default_value = "auto", value_name = "auto|none|ID")]
    bos: BeginningOfText,
    /// Take the sums of a share of the 1 MiB blocks only, and no text hashes: for terabytes.
    /// `verify` then says what it could not check.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "1%")]
    sample_sums: Option<SampleShare>,
}

/// A format's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// .bin and .idx.
    Megatron,
    /// An array of ids and nothing else.
    Raw,
    /// .npy without header and .csv.gz.
    Olmo,
    /// NumPy's own .npy.
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
    /// 2 bytes an id.
    Uint16,
    /// 4 bytes an id.
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
    fingerprint: String,
}

/// Runs the subcommand.
///
/// # Errors
/// Files that are none of the known formats or contradict themselves, a tokenizer that is not
/// theirs, a folder that is a corpus already, an interruption.
pub fn run(arguments: ImportArgs, context: Context) -> Result<(), Error> {
    let files = files(&arguments)?;
    let folder = folder(&arguments, &files)?;
    let tokenizer = Tokenizer::load(&arguments.tokenizer)?;
    if !folder.join(Manifest::FILE).exists() {
        copy_tokenizer(&tokenizer, &folder)?;
    }
    let options = ImportOptions {
        tokenizer_fingerprint: tokenizer.fingerprint(),
        vocab_size: tokenizer.vocab_size(),
        end_of_text: tokenizer.end_of_text_named(arguments.end_of_text.as_deref())?,
        beginning_of_text: tokenizer.beginning_of_text(arguments.bos)?,
        format: arguments.format.map(Into::into),
        dtype: arguments.dtype.map(Into::into),
        sample_sums: arguments.sample_sums,
        text_of: &|ids| tokenizer.size_and_hash(ids).map_err(Into::into),
    };
    let meter = Meter::new("import", Unit::Bytes);
    let progress = |at: Progress| meter.set(at.done_bytes, at.total_bytes, "");
    let manifest = import(&folder, &files, &options, &progress, context.stop)?;
    meter.finish("done");
    let path = if arguments.out.is_some() { arguments.out.unwrap_or_default() } else { folder };
    context.output.print(&view(path, &manifest, arguments.sample_sums), describe)
}

/// The token files in order, each by the real path of its folder.
fn files(arguments: &ImportArgs) -> Result<Vec<ImportFile>, Error> {
    let mut files = Vec::new();
    for path in &arguments.path {
        let given = real_folder(path)?;
        for path in expand(path)? {
            // A folder's own name says nothing about its files.
            let below = path.strip_prefix(&given).unwrap_or(&path);
            let is_named = arguments.holdout.is_empty() && is_named_holdout(below);
            let split = if is_named { Split::Holdout } else { Split::Train };
            files.push(ImportFile { path, split });
        }
    }
    for path in &arguments.holdout {
        for path in expand(path)? {
            files.retain(|file| file.path != path);
            files.push(ImportFile { path, split: Split::Holdout });
        }
    }
    Ok(files)
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if path.is_dir() {
        let mut found = Vec::new();
        token_files(path, &mut found)?;
        if found.is_empty() {
            let message =
                format!("{}: expected .bin, .npy or .ds files, found none", path.display());
            return Err(Error::usage(message, "name the token files themselves"));
        }
        return Ok(found);
    }
    // Megatron names a pair by its path without ending; the .idx stands for its .bin.
    let path = match path.extension() {
        Some(extension) if extension == "idx" => path.with_extension("bin"),
        _ if !path.exists() && with_ending(".idx").is_file() => with_ending(".bin"),
        _ => path.to_owned(),
    };
    real_folder(&path).map(|path| vec![path])
}

/// The files of a folder and its subfolders by name, hidden ones left out.
fn token_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(|source| Error::io(folder, "list", source))?;
    paths.sort();
    for path in paths {
        let is_hidden =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            token_files(&path, found)?;
        } else if ["bin", "npy", "ds"].contains(&extension) {
            found.push(real_folder(&path)?);
        }
    }
    Ok(())
}

/// The path with links resolved in its folder, not in its last part.
fn real_folder(path: &Path) -> Result<PathBuf, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).map_err(|source| Error::io(path, "find", source))?;
    Ok(real.join(path.file_name().unwrap_or_default()))
}

/// Whether a word of the file's name, or its folder in the given one, says that it is for validation.
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

/// Copies tokenizer.json and what says more about it, unless they are there already.
fn copy_tokenizer(tokenizer: &Tokenizer, folder: &Path) -> Result<(), Error> {
    let from_folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    let configurations = ["tokenizer_config.json", "special_tokens_map.json"];
    let mut copies = vec![(tokenizer.path().to_owned(), folder.join("tokenizer.json"))];
    copies.extend(configurations.map(|name| (from_folder.join(name), folder.join(name))));
    for (from, to) in copies {
        let bytes = match fs::read(&from) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(&from, "read", error)),
        };
        match fs::read(&to) {
            Ok(there) if there == bytes => {}
            Ok(_) => {
                let message = format!(
                    "{}: expected no file or the same as {}, found another",
                    to.display(),
                    from.display()
                );
                return Err(Error::usage(
                    message,
                    "give the tokenizer that made the ids, or move the other away",
                ));
            }
            Err(_) => fs::write(&to, bytes).map_err(|source| Error::io(&to, "write", source))?,
        }
    }
    Ok(())
}

fn view(path: PathBuf, manifest: &Manifest, sample: Option<SampleShare>) -> ImportView {
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
        text.push_str("\nsums of a sample of blocks only, no text hashes: ");
        text.push_str("damage between them and overlap with other corpora cannot be seen");
    }
    text
}
