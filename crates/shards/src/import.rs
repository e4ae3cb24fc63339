//! Adoption of other programs' token files in place (docs/format.md, section 11).

mod before;
mod boundaries;
mod document_table;
mod folder;
mod format;
pub(crate) mod llmc;
mod megatron;
mod npy;
mod sample;
mod scan;
mod texts;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use mixdown_base::files;
use mixdown_base::folder_lock::{FolderLock, Sharing};
use mixdown_base::observer::Observer;

use crate::AdoptedRecord;
use crate::ByteProgress;
use crate::Counts;
use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::InputRecord;
use crate::Manifest;
use crate::MaskRecord;
use crate::ShardRecord;
use crate::Split;
use crate::SplitRecord;
use crate::corpus::shard::file_path;
use crate::corpus::token_file::bad_byte;
use crate::error::quoted;
use crate::files::pending_file::{HashedFile, PendingFile, name_all};
use crate::files::positioned_file::PositionedFile;
use crate::format::adopted::{PATH_RULE, check_links_of_path, is_plain_path, sidecar_folder};
use crate::format::block_sums::merged_root;
use crate::format::index::write_index;
use crate::format::seal::COMPANIONS;
use crate::verify::Meter;

use document_table::DocumentTable;
pub use folder::{TokenFiles, token_files};
use format::Found;
pub use format::TokenFormat;
pub(crate) use format::label_mask_name;
pub use sample::SampleShare;

/// A function from a document's ids, without beginning and end, to the UTF-8 bytes of its text and the text's hash.
pub type TextOf<'a> =
    dyn Fn(&[u32]) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> + Sync + 'a;

/// A token file to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFile {
    /// Its path, below the corpus folder.
    pub path: PathBuf,
    /// Its split.
    pub split: Split,
}

/// The facts about token files that the files themselves do not contain.
pub struct ImportOptions<'a> {
    /// The fingerprint of the tokenizer that made the ids.
    pub tokenizer_fingerprint: Fingerprint,
    /// The vocabulary size: every id must be smaller.
    pub vocab_size: u64,
    /// The id between documents.
    pub end_of_text: u32,
    /// The id that may begin documents; recorded if the first one begins with it.
    pub beginning_of_text: Option<u32>,
    /// The files' format; detected if none is given.
    pub format: Option<TokenFormat>,
    /// The integer type of ids in arrays that do not record it; chosen by the vocabulary if none is given.
    pub dtype: Option<Dtype>,
    /// If set, only a sample of blocks gets sums, and there are no text hashes.
    pub sample_sums: Option<SampleShare>,
    /// Names and bytes of the tokenizer's files that the corpus keeps: `tokenizer.json` and the files beside it.
    pub companions: &'a [(&'static str, Vec<u8>)],
    /// The decoder of a document; not called with `sample_sums`.
    pub text_of: &'a TextOf<'a>,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct ImportReport {
    /// The manifest of the corpus.
    pub manifest: Manifest,
    /// Token files without an index that do not contain the end-of-text id, so that each is one document: another id
    /// may end their documents. Empty if an earlier import made the corpus.
    pub without_end: Vec<String>,
    /// Whether an earlier import with the same settings had already made the corpus.
    pub already_done: bool,
}

/// Makes `folder` a corpus of the token files in it, without copying or changing them: writes the missing files to
/// `.mixdown`, then the tokenizer's files, and the manifest last. Reads every file once for sums, ids and documents
/// and, without `sample_sums`, once more for the texts. A folder that is already such a corpus, with the same settings,
/// is left unchanged ([`ImportReport::already_done`]).
///
/// Memory: 12 bytes per document and 32 bytes per MiB of the current file.
///
/// # Errors
/// The folder has another manifest, or one with other settings; another process imports into it; a file has an unknown
/// format, contradicts its own header or index, lies outside the folder, or has an id beyond the vocabulary; another
/// tokenizer's files are in the folder; the disk refuses; the observer stopped the work.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_shards::{Fingerprint, ImportFile, ImportOptions, Split, import};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// // Id 499 ends each of the two documents.
/// std::fs::write(folder.join("train.bin"), [11, 0, 243, 1, 13, 0, 243, 1]).unwrap();
/// let options = ImportOptions {
///     tokenizer_fingerprint: Fingerprint::of(b"tokenizer"),
///     vocab_size: 500,
///     end_of_text: 499,
///     beginning_of_text: None,
///     format: None,
///     dtype: None,
///     sample_sums: None,
///     companions: &[("tokenizer.json", b"{}".to_vec())],
///     text_of: &|ids| Ok((ids.len() as u64, ids.iter().map(|&id| u64::from(id)).sum())),
/// };
/// let file = ImportFile { path: folder.join("train.bin"), split: Split::Train };
/// let report = import(folder, &[file], &options, Observer::silent())?;
/// assert_eq!((report.manifest.train.documents, report.manifest.train.tokens), (2, 4));
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn import(
    folder: &Path,
    files: &[ImportFile],
    options: &ImportOptions<'_>,
    observer: Observer<'_, ByteProgress>,
) -> Result<ImportReport, Error> {
    let mut found = Vec::new();
    for file in files {
        found.push((file.split, relative(folder, &file.path)?, format::find(&file.path, options)?));
    }
    for (_, _, found) in &found {
        for path in found.paths() {
            check_links_of_path(folder, path)?;
        }
    }
    let Some((_, _, first)) = found.first() else {
        return Err(Error::request(folder, "token files", "none", "name at least one"));
    };
    let dtype = first.dtype;
    check_one_dtype(&found)?;
    let beginning = document_table::beginning(first, options)?;
    let _lock = FolderLock::take(folder, Sharing::Alone, Duration::ZERO)
        .map_err(Error::io("open", folder))?
        .ok_or_else(|| Error::Busy { path: folder.to_owned() })?;
    if let Some(manifest) = before::finished(folder, &found, beginning, options)? {
        return Ok(ImportReport { manifest, without_end: Vec::new(), already_done: true });
    }
    remove_leftovers(folder)?;
    write_companions(folder, options)?;
    let passes = if options.sample_sums.is_some() { 1 } else { 2 };
    let total_bytes = found.iter().map(|(_, _, found)| found.file_bytes).sum::<u64>() * passes;
    let meter = Meter::new(total_bytes, observer);
    let job = FileImport { folder, options, beginning, meter };
    let mut shards = [Vec::new(), Vec::new()];
    let (mut inputs, mut counts) = (Vec::new(), Counts::default());
    let mut without_end = Vec::new();
    for (split, name, found) in &found {
        let [train, holdout] = &mut shards;
        let shards = if *split == Split::Train { train } else { holdout };
        let adopted = job.adopt(*split, shards.len(), name, found)?;
        counts.empty_documents += adopted.empty_documents;
        without_end.extend((!adopted.has_end).then(|| name.clone()));
        inputs.push(InputRecord {
            path: name.clone(),
            bytes: found.file_bytes,
            documents: adopted.record.documents,
        });
        shards.push(adopted.record);
    }
    let [train, holdout] = shards.map(SplitRecord::new);
    let manifest = manifest(job.options, dtype, beginning, train, holdout);
    let manifest = Manifest { inputs, counts, ..manifest };
    manifest.write_sealed(folder)?;
    Ok(ImportReport { manifest, without_end, already_done: false })
}

/// Removes the leftovers of killed imports; no other process imports into the folder now.
fn remove_leftovers(folder: &Path) -> Result<(), Error> {
    files::remove_leftovers(folder, &[&[Manifest::FILE][..], &COMPANIONS].concat())?;
    for split in Split::ALL {
        let sidecars = sidecar_folder(folder, split);
        let Ok(entries) = fs::read_dir(&sidecars) else { continue };
        for entry in entries {
            let path = entry.map_err(Error::io("list", &sidecars))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let finished = name.and_then(files::unique_finished_name);
            if finished.is_some_and(|name| name.starts_with("shard-")) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// Writes the tokenizer's files, unless they already exist.
fn write_companions(folder: &Path, options: &ImportOptions<'_>) -> Result<(), Error> {
    /// All companion files of a corpus are smaller than this.
    const MAX_BYTES: u64 = 256 << 20;
    let mut missing = Vec::new();
    for (name, bytes) in options.companions {
        let path = folder.join(name);
        match files::read_capped(&path, MAX_BYTES) {
            Ok(there) if there == *bytes => {}
            Ok(_) => {
                let expected = "no file, or the same as the tokenizer's";
                let hint = "give the tokenizer that made the ids, or move the other away";
                return Err(Error::request(&path, expected, "another one", hint));
            }
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                missing.push((path, bytes));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(missing.into_iter().try_for_each(|(path, bytes)| files::write(&path, bytes))?)
}

/// Returns the file's path relative to the corpus folder, with `/` between parts.
fn relative(folder: &Path, path: &Path) -> Result<String, Error> {
    let hint = "token files are not copied, so they must lie in the corpus folder: choose one that \
                holds all of them, and no links to folders outside of it";
    let below = path.strip_prefix(folder).map_err(|_| {
        let expected = format!("a file below the corpus folder {}", folder.display());
        Error::request(path, expected, "one outside", hint)
    })?;
    let parts: Option<Vec<&str>> =
        below.components().map(|part| part.as_os_str().to_str()).collect();
    let name = parts.map(|parts| parts.join("/")).unwrap_or_default();
    if is_plain_path(&name) {
        return Ok(name);
    }
    let got = quoted(&below.to_string_lossy());
    Err(Error::request(path, PATH_RULE, got, "rename it"))
}

fn check_one_dtype(found: &[(Split, String, Found)]) -> Result<(), Error> {
    let Some((_, first_name, first)) = found.first() else { return Ok(()) };
    match found.iter().find(|(_, _, other)| other.dtype != first.dtype) {
        None => Ok(()),
        Some((_, _, other)) => {
            let expected = format!("{} ids as in {}", first.dtype, quoted(first_name));
            let hint = "a corpus has ids of one width: import them into two corpora";
            Err(Error::request(&other.path, expected, other.dtype.to_string(), hint))
        }
    }
}

fn manifest(
    options: &ImportOptions<'_>,
    dtype: Dtype,
    beginning: Option<u32>,
    train: SplitRecord,
    holdout: SplitRecord,
) -> Manifest {
    let sample_sums = options.sample_sums.map(|share| share.to_string());
    let ImportOptions { vocab_size, tokenizer_fingerprint, .. } = *options;
    Manifest {
        version: Manifest::ADOPTED_VERSION,
        end_of_text: options.end_of_text,
        beginning_of_text: beginning,
        options: serde_json::json!({ "import": { "sample_sums": sample_sums } }),
        ..Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout)
    }
}

/// One adopted file.
struct Adopted {
    record: ShardRecord,
    empty_documents: u64,
    /// Whether the ends of its documents are known.
    has_end: bool,
}

/// The settings that all files share.
struct FileImport<'a> {
    folder: &'a Path,
    options: &'a ImportOptions<'a>,
    beginning: Option<u32>,
    meter: Meter<'a>,
}

impl FileImport<'_> {
    /// Writes the sidecars of one file.
    fn adopt(
        &self,
        split: Split,
        number: usize,
        name: &str,
        found: &Found,
    ) -> Result<Adopted, Error> {
        let sidecars = sidecar_folder(self.folder, split);
        fs::create_dir_all(&sidecars).map_err(Error::io("create", &sidecars))?;
        let file = format!("shard-{number:05}");
        let table = document_table::read(found)?;
        let has_index = table.is_some();
        let scanned = scan::scan(found, table.is_none(), self.options, &self.meter)?;
        let table = match table {
            Some(table) => table,
            None => document_table::of_marks(found, &scanned.marks, self.beginning, self.options)?,
        };
        let (sums, sums_root) =
            write_all(&file_path(&sidecars, &file, "sums"), scanned.sums.as_flattened())?;
        let (idx, idx_root) = self.index(&file_path(&sidecars, &file, "idx"), found, &table)?;
        let texts = match self.options.sample_sums {
            Some(_) => None,
            None => Some(texts::texts(found, &table, self.beginning, self.options, &self.meter)?),
        };
        let hashes: Vec<u8> = texts
            .iter()
            .flat_map(|texts| &texts.hashes)
            .flat_map(|hash| hash.to_le_bytes())
            .collect();
        let (hashes, hashes_root) = write_all(&file_path(&sidecars, &file, "hashes"), &hashes)?;
        let pending = [Some(sums), idx, texts.is_some().then_some(hashes)];
        name_all(pending.into_iter().flatten().collect(), &sidecars)?;
        let is_sampled = self.options.sample_sums.is_some();
        let bin_root = if is_sampled { sums_root } else { merged_root(&scanned.sums) };
        let record = ShardRecord {
            file,
            documents: table.lengths.len() as u64,
            tokens: found.tokens,
            text_bytes: texts.as_ref().map_or(0, |texts| texts.bytes),
            bin_bytes: found.file_bytes,
            bin_root,
            idx_root,
            sums_root,
            hashes_root,
            mask: found.mask.as_ref().map(|path| mask_record(path, found.tokens)).transpose()?,
            ids: None,
            sketches: None,
            adopted: Some(AdoptedRecord {
                path: name.to_owned(),
                header_bytes: found.header_bytes,
                idx: table.in_place.as_ref().map(|path| relative(self.folder, path)).transpose()?,
                mask: found.mask.as_ref().map(|path| relative(self.folder, path)).transpose()?,
                hashes: texts.is_some(),
                sampled_blocks: is_sampled.then_some(scanned.summed_blocks),
            }),
        };
        let has_end = has_index || !scanned.marks.is_empty();
        Ok(Adopted { record, empty_documents: table.empty_documents, has_end })
    }

    /// Writes the index, unless one exists already, and returns it for its final name, with its hash.
    fn index(
        &self,
        path: &Path,
        found: &Found,
        table: &DocumentTable,
    ) -> Result<(Option<PendingFile>, Fingerprint), Error> {
        match &table.in_place {
            Some(path) => Ok((None, hash_file(path)?)),
            None => write_index(path, found.dtype, &table.lengths)
                .map(|(pending, root)| (Some(pending), root)),
        }
    }
}

fn write_all(path: &Path, bytes: &[u8]) -> Result<(PendingFile, Fingerprint), Error> {
    let mut file = HashedFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

fn hash_file(path: &Path) -> Result<Fingerprint, Error> {
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(path).map_err(Error::io("open", path))?;
    hasher.update_reader(file).map_err(Error::io("read", path))?;
    Ok(hasher.finalize().into())
}

/// Checks and hashes an existing mask.
fn mask_record(path: &Path, tokens: u64) -> Result<MaskRecord, Error> {
    let file = PositionedFile::open(path)?;
    let (mut hasher, mut loss_tokens) = (blake3::Hasher::new(), 0);
    let mut bytes = Vec::new();
    let step = crate::format::block_sums::BLOCK_BYTES;
    for offset_bytes in (0..tokens.div_ceil(step)).map(|n| n * step) {
        file.read_into(offset_bytes, step.min(tokens - offset_bytes), &mut bytes)?;
        if let Some(error) = bad_byte(path, offset_bytes, &bytes) {
            return Err(error);
        }
        hasher.update(&bytes);
        loss_tokens += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    Ok(MaskRecord { root: hasher.finalize().into(), loss_tokens })
}
