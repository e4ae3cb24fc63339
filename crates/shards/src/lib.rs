//! The corpus on disk: memory-mapped token files, index, sums and manifest.
//!
//! A corpus is a folder with a [`Manifest`] and, for each [`Split`], shards of raw token ids that Megatron and other
//! trainers that memory-map ids can read directly. docs/format.md is the exact layout.
//!
//! [`ShardWriter`] writes a shard in one pass, [`Manifest::write`] completes the folder,
//! [`Corpus`] reads it, [`verify`] checks every byte, [`overlap`] and [`near_overlap_of`] compare two corpora.
//!
//! Nothing on disk is trusted: the manifest's records and the files' real sizes limit every number in a file, and each
//! mismatch is an [`Error`] that names both sides.
//!
//! ```
//! use mixdown_shards::{Access, Corpus, Counts, Dtype, Fingerprint, Manifest, ShardWriter};
//! use mixdown_shards::{Split, SplitRecord};
//!
//! # fn main() -> Result<(), mixdown_shards::Error> {
//! # let temporary = tempfile::tempdir().unwrap();
//! # let folder = temporary.path();
//! let dtype = Dtype::for_vocab(500);
//! let mut writer = ShardWriter::create(&folder.join("train"), "shard-00000", dtype, 500)?;
//! writer.push(&[11, 12, 499], 9, 0xfeed, None)?;
//! let train = SplitRecord::new(vec![writer.finish()?]);
//! let holdout = SplitRecord::new(Vec::new());
//! let tokenizer_fingerprint = Fingerprint::of(b"its canonical content");
//! let new = Manifest::new(dtype, 500, tokenizer_fingerprint, train, holdout);
//! let manifest = Manifest { end_of_text: 499, ..new };
//! manifest.write(folder)?;
//!
//! let corpus = Corpus::open(folder, Access::Map)?;
//! let mut window = [0; 2];
//! corpus.read_tokens(Split::Train, 1, &mut window)?;
//! assert_eq!(window, [12, 499]);
//! # Ok(())
//! # }
//! ```
#![deny(clippy::indexing_slicing)]

mod compare;
mod corpus;
mod error;
mod export;
mod files;
mod format;
mod import;
#[cfg(test)]
mod test_corpus;
mod verify;

pub use compare::contamination::{
    ContaminationReport, GRAM_UNITS, Side, UnitsOf, contamination, units_of_ids,
};
pub use compare::near_overlap::{
    NEAR_DUPLICATE, NearHoldoutTable, NearOverlap, NearPair, Unread, near_overlap_of,
};
pub use compare::overlap::{DuplicateReport, HoldoutTable, duplicates, overlap, overlap_of};
pub use corpus::Corpus;
pub use corpus::gather_limit::gather_limit;
pub use corpus::shard_writer::{DocumentBytes, ShardWriter};
pub use corpus::token_file::{Access, TokenFile, Window};
pub use error::Error;
pub use export::{ExportFormat, ExportOptions, ExportReport, ExportedFile, LostMask, export};
pub use files::positioned_file::PositionedFile;
pub use format::adopted::AdoptedRecord;
pub use format::dtype::{Dtype, TokenInt};
pub use format::fingerprint::Fingerprint;
pub use format::manifest::Manifest;
pub use format::records::{
    ClusterRecord, ClustersRecord, Counts, FileRecord, InputRecord, MaskRecord, PackRecord,
    ShardRecord, SketchRecord, Split, SplitRecord,
};
pub use import::{
    ImportFile, ImportOptions, ImportReport, SampleShare, TextOf, TokenFiles, TokenFormat, import,
    token_files,
};
pub use mixdown_similarity::Sketch;
pub use verify::ends::{DocumentsChecked, verify_document_ends};
pub use verify::{ByteProgress, Damage, VerifyReport, verify};
