//! Documents to a corpus: freeze the inputs, tokenize the parts, decide the holdout, write the
//! shards, and the manifest last.
//!
//! Estimate on two cores: tokenizing at some 80 MB/s a core is four fifths of the work; a byte of
//! text becomes about half a byte of ids, which are written, read and written again. Memory: the
//! ids of two parts (64 MiB of text each) and of three buckets (32 MiB), and the chunks under way.

use std::io::{ErrorKind, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;

use mixdown_documents::InputList;
use mixdown_shards::{
    Counts, Dtype, Fingerprint, InputRecord, Manifest, Split as Side, SplitRecord,
};
use serde::{Deserialize, Serialize};

use crate::bucket::Buckets;
use crate::capped_read::{MAX_CONFIG_BYTES, read_capped};
use crate::encode::Encoder;
use crate::end_of_text;
use crate::error::Error;
use crate::options::{Holdout, PrepareOptions};
use crate::order::Order;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::spill::Summary;
use crate::split::Split;
use crate::tokenize_stage::{Parts, TokenizeStage};
use crate::tokenizer::Tokenizer;
use crate::unit::{PART_BYTES, units};
use crate::work_file::{read_json, write_aside, write_json};
use crate::work_folder::WorkFolder;
use crate::write_stage::{SHARD_BYTES, Shards, WriteStage};

/// What [`prepare`] made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrepareReport {
    /// Documents to train on.
    pub train_documents: u64,
    /// Their tokens.
    pub train_tokens: u64,
    /// Documents held out.
    pub holdout_documents: u64,
    /// Their tokens.
    pub holdout_tokens: u64,
    /// UTF-8 bytes of all documents' text.
    pub text_bytes: u64,
    /// Bytes of the inputs on disk.
    pub input_bytes: u64,
    /// Files of the inputs.
    pub input_files: u64,
    /// Files of folders that were passed over as empty or not text.
    pub skipped_files: u64,
    /// Records and documents that were left out or stand out.
    pub counts: Counts,
    /// Shards of both sides.
    pub shards: u64,
    /// Parts that the inputs were cut into.
    pub parts: u64,
    /// Parts that an earlier, unfinished call had made already.
    pub resumed: u64,
    /// The corpus' data fingerprint.
    pub fingerprint: Fingerprint,
    /// The tokenizer's.
    pub tokenizer_fingerprint: Fingerprint,
}

/// Sizes that tests shrink. They decide bytes, so they are no options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) part_bytes: u64,
    pub(crate) bucket_bytes: u64,
    pub(crate) shard_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            part_bytes: PART_BYTES,
            bucket_bytes: Order::bucket_bytes(),
            shard_bytes: SHARD_BYTES,
        }
    }
}

/// Tokenizes the documents behind `inputs` into a corpus in `out`.
///
/// `out` must be absent, empty or hold what an unfinished call with the same inputs, tokenizer and
/// options left there; such a call is continued from its last part or shard. The corpus' bytes
/// depend on inputs, tokenizer and options alone: not on threads, interruptions or the clock.
/// Memory is bounded by the part and bucket sizes and the longest document, not by the inputs.
///
/// # Errors
/// Inputs or tokenizer cannot be read; more bad records than tolerated; no end-of-text token; a
/// holdout that leaves nothing on one side; `out` is taken, busy, a finished corpus or holds other
/// unfinished work; the disk refuses. [`Error::Interrupted`] once `stop` is set.
pub fn prepare(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    progress: &(dyn Fn(Progress) + Sync),
    stop: &AtomicBool,
) -> Result<PrepareReport, Error> {
    prepare_sized(inputs, tokenizer, out, options, progress, stop, Sizes::default())
}

pub(crate) fn prepare_sized(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    progress: &(dyn Fn(Progress) + Sync),
    stop: &AtomicBool,
    sizes: Sizes,
) -> Result<PrepareReport, Error> {
    options.holdout.check()?;
    let tokenizer = Tokenizer::load(tokenizer)?;
    let inputs = InputList::discover_with(inputs, &options.read)?;
    let plan = plan(&inputs, &tokenizer, options, sizes)?;
    let folder = WorkFolder::claim(out, &plan)?;
    let stage = TokenizeStage {
        encoder: Encoder {
            inputs: &inputs,
            tokenizer: &tokenizer,
            fast: tokenizer.fast(),
            read: &options.read,
            special_text: options.special_text,
            beginning_of_text: plan.beginning_of_text,
            end_of_text: plan.end_of_text,
            dtype: plan.dtype,
            order: plan.order,
        },
        units: units(&inputs, sizes.part_bytes),
        part_bytes: sizes.part_bytes,
        skip_bad: options.read.skip_bad,
        threads: threads(options.threads),
        folder: &folder,
        progress,
        stop,
    };
    let parts = stage.run()?;
    let shards = write_shards(&plan, &stage, &parts, options.holdout, sizes)?;
    let manifest = manifest(&plan, &inputs, options, &parts, shards);
    copy_tokenizer(&tokenizer, out)?;
    manifest.write(out)?;
    folder.remove()?;
    Ok(report(&manifest, &inputs, &parts))
}

pub(crate) fn plan(
    inputs: &InputList,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    sizes: Sizes,
) -> Result<Plan, Error> {
    Ok(Plan {
        format: Plan::FORMAT.to_owned(),
        version: Plan::VERSION,
        inputs: Plan::inputs_of(inputs)?,
        text_field: options.read.text_field.clone(),
        order: Order::new(options.shuffle, options.seed, inputs, sizes.bucket_bytes),
        special_text: options.special_text,
        beginning_of_text: tokenizer.beginning_of_text(options.beginning_of_text)?,
        end_of_text: tokenizer.end_of_text_named(options.end_of_text.as_deref())?,
        tokenizer_fingerprint: tokenizer.fingerprint(),
        vocab_size: tokenizer.vocab_size(),
        dtype: Dtype::for_vocab(tokenizer.vocab_size()),
        part_bytes: sizes.part_bytes,
    })
}

/// As many threads as were asked for, or as the machine offers.
fn threads(asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(asked) if asked > 0 => asked,
        _ => available_parallelism().map_or(1, NonZero::get),
    }
}

/// The split as a call decided it; another holdout writes the shards anew from the same parts.
#[derive(Serialize, Deserialize)]
struct SplitFile {
    holdout: String,
    shard_bytes: u64,
    split: Split,
}

fn write_shards(
    plan: &Plan,
    stage: &TokenizeStage<'_>,
    parts: &Parts,
    holdout: Holdout,
    sizes: Sizes,
) -> Result<Shards, Error> {
    let TokenizeStage { folder, progress, stop, .. } = *stage;
    let inputs = stage.encoder.inputs;
    let Summary { documents, empty_documents, bad_records, .. } = parts.total;
    if documents == 0 {
        return Err(Error::no_documents(inputs, empty_documents, bad_records));
    }
    let paths = parts.parts.iter().map(|&(unit, part)| folder.part(unit, part)).collect();
    let buckets = Buckets { parts: paths, order: plan.order, dtype: plan.dtype };
    let split = Split::decide(holdout, |visit| buckets.visit_rows(visit))?;
    let before: Option<SplitFile> = read_json(&folder.split())?;
    let same =
        |before: &SplitFile| before.split == split && before.shard_bytes == sizes.shard_bytes;
    match before {
        Some(before) if same(&before) => {}
        // No split is no proof that there are no shards: its file may have been deleted.
        _ => {
            folder.forget_runs()?;
            let (holdout, shard_bytes) = (holdout.to_string(), sizes.shard_bytes);
            write_json(&folder.split(), &SplitFile { holdout, shard_bytes, split })?;
        }
    }
    let (vocab_size, shard_bytes) = (plan.vocab_size, sizes.shard_bytes);
    WriteStage { buckets, split, vocab_size, shard_bytes, folder, progress, stop }.run()
}

fn manifest(
    plan: &Plan,
    inputs: &InputList,
    options: &PrepareOptions,
    parts: &Parts,
    shards: Shards,
) -> Manifest {
    let Plan { dtype, tokenizer_fingerprint, .. } = *plan;
    let Shards { train, holdout } = shards;
    let mut records: Vec<InputRecord> = inputs
        .files()
        .iter()
        .map(|file| InputRecord { path: file.name.clone(), bytes: file.bytes, documents: 0 })
        .collect();
    for &(input, documents) in &parts.total.documents_by_input {
        let record = usize::try_from(input).ok().and_then(|input| records.get_mut(input));
        if let Some(record) = record {
            record.documents += documents;
        }
    }
    Manifest {
        format: Manifest::FORMAT.to_owned(),
        version: Manifest::VERSION,
        dtype,
        vocab_size: plan.vocab_size,
        end_of_text: plan.end_of_text,
        beginning_of_text: plan.beginning_of_text,
        pack: None,
        tokenizer_fingerprint,
        fingerprint: Manifest::data_fingerprint(dtype, tokenizer_fingerprint, &train, &holdout),
        train: SplitRecord::new(train),
        holdout: SplitRecord::new(holdout),
        inputs: records,
        options: options.record(),
        counts: Counts {
            bad_records: parts.total.bad_records,
            empty_documents: parts.total.empty_documents,
            special_text_documents: parts.total.special_text_documents,
            ..Counts::default()
        },
    }
}

/// The tokenizer as it was loaded, and the files beside it where there are any: the corpus decodes
/// itself.
fn copy_tokenizer(tokenizer: &Tokenizer, out: &Path) -> Result<(), Error> {
    let folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    for name in end_of_text::FILES {
        let from = folder.join(name);
        match read_capped(&from, MAX_CONFIG_BYTES) {
            Ok(bytes) => write_aside(&out.join(name), |file| file.write_all(&bytes))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("read", &from)(source)),
        }
    }
    let text = tokenizer.text().as_bytes();
    write_aside(&out.join("tokenizer.json"), |file| file.write_all(text))
}

fn report(manifest: &Manifest, inputs: &InputList, parts: &Parts) -> PrepareReport {
    let (train, holdout) = (manifest.split(Side::Train), manifest.split(Side::Holdout));
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    PrepareReport {
        train_documents: train.documents,
        train_tokens: train.tokens,
        holdout_documents: holdout.documents,
        holdout_tokens: holdout.tokens,
        text_bytes: train.text_bytes + holdout.text_bytes,
        input_bytes: inputs.total_bytes(),
        input_files: count(inputs.files().len()),
        skipped_files: inputs.skipped_files(),
        counts: manifest.counts,
        shards: count(train.shards.len() + holdout.shards.len()),
        parts: count(parts.parts.len()),
        resumed: parts.resumed,
        fingerprint: manifest.fingerprint,
        tokenizer_fingerprint: manifest.tokenizer_fingerprint,
    }
}
