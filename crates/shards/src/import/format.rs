//! Detection of the format of a token file.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    ImportOptions, boundaries,
    folder::{INDEX_MAP, is_index_map},
    llmc, megatron, npy,
};
use crate::Dtype;
use crate::Error;
use crate::files::positioned_file::PositionedFile;

/// A layout of token files that other programs write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Megatron's `.bin` with an `.idx` beside it.
    Megatron,
    /// A plain array of ids, as in nanoGPT.
    Raw,
    /// A plain array of ids named `.npy`, with the documents in a `.csv.gz`, as in OLMo and Dolma.
    Olmo,
    /// An array in NumPy's own file format.
    Npy,
    /// llm.c's `.bin` with a header of 1,024 bytes.
    Llmc,
    /// datatrove's `.ds`, with the documents in a `.ds.index`.
    Datatrove,
}

impl fmt::Display for TokenFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Megatron => "megatron",
            Self::Raw => "raw",
            Self::Olmo => "olmo",
            Self::Npy => "npy",
            Self::Llmc => "llmc",
            Self::Datatrove => "datatrove",
        })
    }
}

/// A token file whose header has been read.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub file_bytes: u64,
    pub header_bytes: u64,
    pub dtype: Dtype,
    pub tokens: u64,
    pub index: Index,
    pub mask: Option<PathBuf>,
}

impl Found {
    /// Returns the files that a corpus will use unchanged.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let index = match &self.index {
            Index::Megatron(path) => Some(path.as_path()),
            _ => None,
        };
        [Some(self.path.as_path()), index, self.mask.as_deref()].into_iter().flatten()
    }
}

/// The source of the document boundaries.
#[derive(Debug)]
pub(super) enum Index {
    /// Only the end-of-text ids.
    None,
    /// Megatron's `.idx`.
    Megatron(PathBuf),
    /// OLMo's `.csv.gz`.
    CsvGz(PathBuf),
    /// datatrove's `.ds.index`: the documents' ends.
    Ends(PathBuf),
}

/// Detects the format of the file at `path` and reads its header.
pub(super) fn find(path: &Path, options: &ImportOptions<'_>) -> Result<Found, Error> {
    let file = PositionedFile::open(path)?;
    let file_bytes = file.len_bytes()?;
    let format = match options.format {
        Some(format) => format,
        None => detect(path)?,
    };
    let plain = Found {
        path: path.to_owned(),
        file_bytes,
        header_bytes: 0,
        dtype: Dtype::U16,
        tokens: 0,
        index: Index::None,
        mask: None,
    };
    let found = match format {
        TokenFormat::Megatron => {
            let index = path.with_extension("idx");
            let dtype = megatron::read_dtype(&index)?;
            Found { index: Index::Megatron(index), ..array(plain, dtype)? }
        }
        TokenFormat::Raw => array(plain, raw_dtype(path, options)?)?,
        TokenFormat::Olmo => {
            let dtype = raw_dtype(path, options)?;
            let index = existing(path.with_extension("csv.gz")).map_or(Index::None, Index::CsvGz);
            let found = Found { index, ..array(plain, dtype)? };
            let mask = mask_of_olmo(path).and_then(existing);
            with_mask(found, mask)?
        }
        TokenFormat::Npy => {
            let (header_bytes, dtype, tokens) = npy::read_header(path, &file)?;
            let index = existing(path.with_extension("csv.gz")).map_or(Index::None, Index::CsvGz);
            Found { header_bytes, dtype, tokens, index, ..plain }
        }
        TokenFormat::Llmc => {
            let (dtype, tokens) = llmc::read_header(path, &file)?;
            Found { header_bytes: llmc::HEADER_BYTES, dtype, tokens, ..plain }
        }
        TokenFormat::Datatrove => datatrove(plain, options)?,
    };
    check_width(&found, options)?;
    Ok(found)
}

fn detect(path: &Path) -> Result<TokenFormat, Error> {
    let head = head(path, 8)?;
    let foreign = foreign_content(path)?.or(is_index_map(path).then_some(INDEX_MAP));
    if let Some(got) = foreign {
        let hint = "leave it out, or say which format it has to insist";
        return Err(Error::import(path, None, "a token file", got, hint));
    }
    let extension = path.extension().unwrap_or_default();
    Ok(if npy::begins_like(&head) {
        TokenFormat::Npy
    } else if extension == "ds" || existing(beside(path, ".index")).is_some() {
        TokenFormat::Datatrove
    } else if extension == "npy" {
        TokenFormat::Olmo
    } else if existing(path.with_extension("idx")).is_some() {
        TokenFormat::Megatron
    } else if llmc::begins_like(&head) {
        TokenFormat::Llmc
    } else {
        TokenFormat::Raw
    })
}

fn datatrove(plain: Found, options: &ImportOptions<'_>) -> Result<Found, Error> {
    let index = existing(beside(&plain.path, ".index"));
    let dtype = match (options.dtype, &index) {
        (Some(dtype), _) => dtype,
        (None, Some(index)) => boundaries::dtype_of_ends(index, &plain.path, plain.file_bytes)?,
        (None, None) => raw_dtype(&plain.path, options)?,
    };
    let mask = existing(beside(&plain.path, ".loss"));
    let found = with_mask(array(plain, dtype)?, mask)?;
    Ok(Found { index: index.map_or(Index::None, Index::Ends), ..found })
}

/// Returns the mask of one of OLMo's arrays: `labels_mask_X.npy` for `X.npy` and for `token_ids_X.npy`, as in
/// OLMo-core's own examples.
pub(super) fn mask_of_olmo(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str().filter(|name| name.ends_with(".npy"))?;
    Some(path.with_file_name(label_mask_name(name)))
}

/// Returns the name of the mask of one of OLMo's arrays.
pub(crate) fn label_mask_name(name: &str) -> String {
    format!("labels_mask_{}", name.strip_prefix("token_ids_").unwrap_or(name))
}

/// Adds a mask, which must have one byte per id.
fn with_mask(found: Found, mask: Option<PathBuf>) -> Result<Found, Error> {
    if let Some(mask) = &mask {
        let got_bytes = PositionedFile::open(mask)?.len_bytes()?;
        if got_bytes != found.tokens {
            let expected =
                format!("a byte for each of {} ids of {}", found.tokens, found.path.display());
            let hint = "restore the file that was written with it, or move it away";
            return Err(Error::import(mask, None, expected, format!("{got_bytes} bytes"), hint));
        }
    }
    Ok(Found { mask, ..found })
}

/// Identifies a file that does not begin like a token file: many programs use the ending `.bin`.
pub(super) fn foreign_content(path: &Path) -> Result<Option<&'static str>, Error> {
    /// Magic numbers of llm.c's checkpoints and of the states that its tests compare against.
    const LLMC_WEIGHTS: [u32; 2] = [20_240_326, 20_240_327];
    let head = head(path, 8)?;
    let number = head.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    Ok(match () {
        () if head.starts_with(b"PK\x03\x04") => Some("a ZIP archive, such as weights of PyTorch"),
        () if head.starts_with(b"GGUF") => Some("a model in the GGUF format"),
        () if number.is_some_and(|number| LLMC_WEIGHTS.contains(&number)) => {
            Some("weights of llm.c")
        }
        () => None,
    })
}

fn head(path: &Path, bytes: u64) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(bytes).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(head)
}

/// Completes an array without a header.
fn array(plain: Found, dtype: Dtype) -> Result<Found, Error> {
    let file_bytes = plain.file_bytes;
    if file_bytes == 0 || !file_bytes.is_multiple_of(dtype.bytes()) {
        let expected = format!("a whole number of ids of {} bytes, at least one", dtype.bytes());
        let hint = "give the right --dtype or --format, or fetch the file again";
        return Err(Error::import(
            &plain.path,
            None,
            expected,
            format!("{file_bytes} bytes"),
            hint,
        ));
    }
    Ok(Found { dtype, tokens: file_bytes / dtype.bytes(), ..plain })
}

/// Returns the dtype of an array that does not record it: the given one, otherwise the one that the vocabulary
/// requires, unless the beginning of the file looks like the other one.
fn raw_dtype(path: &Path, options: &ImportOptions<'_>) -> Result<Dtype, Error> {
    if let Some(dtype) = options.dtype {
        return Ok(dtype);
    }
    let dtype = Dtype::for_vocab(options.vocab_size);
    let head = head(path, 4096)?;
    let ids: &[[u8; 4]] = head.as_chunks().0;
    // 16-bit ids of which every second one is 0 are 32-bit ids of a small vocabulary.
    let looks_wide =
        ids.len() > 1 && ids.iter().all(|[.., high, higher]| (*high, *higher) == (0, 0));
    if dtype == Dtype::U16 && looks_wide {
        let hint = "say what the file has: --dtype uint32, or --dtype uint16 to insist";
        let got = "numbers of which each second one is 0, as in 32-bit ids";
        return Err(Error::import(
            path,
            Some(2),
            "16-bit ids, as the vocabulary fits them",
            got,
            hint,
        ));
    }
    Ok(dtype)
}

/// Refuses 16-bit ids with a vocabulary above 65,536: higher ids would have been cut.
fn check_width(found: &Found, options: &ImportOptions<'_>) -> Result<(), Error> {
    let limit = found.dtype.max_vocab_size();
    if options.vocab_size <= limit {
        return Ok(());
    }
    let expected =
        format!("ids wide enough for the tokenizer's vocabulary of {}", options.vocab_size);
    let got = format!("{} ids, which end at {}", found.dtype, limit - 1);
    let hint = "give the tokenizer that made the file, or the right --dtype";
    Err(Error::import(&found.path, None, expected, got, hint))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
