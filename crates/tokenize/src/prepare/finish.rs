//! The end of the work: when all shards exist, the manifest makes them a corpus.

use std::fs;
use std::path::Path;

use mixdown_base::files;
use mixdown_documents::{InputFile, Place};
use mixdown_shards::{
    ClusterRecord, ClustersRecord, Counts, InputRecord, Manifest, PackRecord, Split as Side,
    SplitRecord,
};
use serde_json::{Value, json};

use crate::error::Error;
use crate::near_duplicates::repeated::Repeated;
use crate::plan::input_unit::units;
use crate::plan::placement::Sides;
use crate::plan::{Plan, difference};
use crate::prepare::PrepareReport;
use crate::prepare::options::Deduplication;
use crate::prepare::work::{HoldoutFile, Holdouts, Work, count};
use crate::prepare::work_folder::{LEFT_OUT, MOVED, WorkFolder};
use crate::shards::shard_run::run_record;
use crate::spill::Summary;
use crate::tokenizer::Tokenizer;

/// The maximum number of files that a report names.
const NAMED_AT_MOST: usize = 100;

impl Work<'_> {
    /// Checks that all shards exist and writes the manifest.
    pub(crate) fn finish(
        &self,
        folder: WorkFolder,
        split: &HoldoutFile,
        resumed: u64,
    ) -> Result<PrepareReport, Error> {
        let out = folder.out().to_owned();
        let (mut train, mut holdout, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        let fingerprint = split.fingerprint(&folder)?;
        for number in 0..count(split.runs.len()) {
            match run_record(&folder, number, fingerprint)? {
                Some(record) => {
                    train.extend(record.train);
                    holdout.extend(record.holdout);
                }
                None => missing.push(number),
            }
        }
        if let Some(first) = missing.first() {
            let expected = format!("{} runs of shards", split.runs.len());
            let got = format!("all but {} (the first is run {first})", missing.len());
            return Err(Error::Unfinished { path: out, expected, got });
        }
        // Shards that an interrupted call wrote with another holdout are removed.
        folder.keep_shards(Side::Train, &train)?;
        folder.keep_shards(Side::Holdout, &holdout)?;
        let manifest = self.manifest(
            &split.total,
            split.sides,
            SplitRecord::new(train),
            SplitRecord::new(holdout),
        );
        let deduplicates = self.options.deduplication != Deduplication::None;
        let clusters = deduplicates.then(|| self.clusters(&split.repeated));
        let manifest = Manifest { clusters, ..manifest };
        copy_tokenizer(&self.tokenizer, &out)?;
        let sides = split.sides;
        for (documents, list, name) in [
            (sides.excluded_documents, folder.left_out(), LEFT_OUT),
            (sides.moved_documents, folder.moved(), MOVED),
        ] {
            if documents > 0 {
                let lines = fs::read(&list).map_err(Error::io("read", &list))?;
                files::write(&out.join(name), &lines)?;
            }
        }
        manifest.write_sealed(&out)?;
        folder.remove()?;
        Ok(self.report(&manifest, split.parts, resumed))
    }

    fn clusters(&self, repeated: &Repeated) -> ClustersRecord {
        let record = |&(documents, place): &(u64, Place)| ClusterRecord {
            documents,
            input: self.inputs.file(place.input).map(|file| file.name.clone()).unwrap_or_default(),
            offset: place.offset,
        };
        let largest = repeated.largest.iter().map(record).collect();
        ClustersRecord { clusters: repeated.clusters, largest }
    }

    /// Returns an error that lists the missing parts.
    pub(crate) fn unfinished_parts(&self, folder: &WorkFolder) -> Result<Error, Error> {
        let path = folder.out().to_owned();
        let Holdouts { expected, got } = self.holdouts(folder)?;
        if let Some(expected) = expected {
            return Ok(Error::PlanDiffers { path, field: "holdout".to_owned(), expected, got });
        }
        let there = folder.parts()?;
        let units = units(&self.inputs, self.plan.part_bytes, self.plan.end);
        let (mut known, mut streams, mut missing) = (0, 0_u64, None);
        for (unit, cuts) in (0_u64..).zip(&units) {
            let parts = match cuts.parts() {
                Some(parts) => parts,
                None => folder.unit_parts(unit)?.unwrap_or_else(|| {
                    streams += 1;
                    0
                }),
            };
            known += parts;
            let absent = || (0..parts).find(|&part| !there.contains(&(unit, part)));
            missing = missing.or_else(|| absent().map(|part| (cuts.first, part)));
        }
        let mut expected = format!("{known} parts and a split");
        if streams > 0 {
            expected.push_str(&format!(", and those of {streams} compressed files not yet read"));
        }
        let got = match missing.and_then(|(input, part)| Some((self.inputs.file(input)?, part))) {
            Some((InputFile { name, .. }, part)) => {
                format!(
                    "{} parts (the first that is missing is part {part} of {name})",
                    there.len()
                )
            }
            None => format!("{} parts and no split", there.len()),
        };
        Ok(Error::Unfinished { path, expected, got })
    }

    /// Returns the content of a finished corpus, if it has these inputs, tokenizer and options.
    pub(crate) fn check_finished(&self, out: &Path) -> Result<PrepareReport, Error> {
        let path = out.to_owned();
        if self.reads_standard_input() {
            // Earlier standard input cannot be compared with the current one.
            return Err(Error::AlreadyCorpus { path });
        }
        let manifest = Manifest::read(out)?;
        let own = self.manifest(
            &Summary::default(),
            Sides::default(),
            SplitRecord::default(),
            SplitRecord::default(),
        );
        match difference("", &settings(&manifest), &settings(&own)) {
            None => Ok(PrepareReport {
                already_done: true,
                modified_inputs: self.inputs_modified_after(&out.join(Manifest::FILE)),
                ..self.report(&manifest, 0, 0)
            }),
            Some((field, expected, got)) => {
                Err(Error::CorpusDiffers { path, field, expected, got })
            }
        }
    }

    /// Returns the names of inputs that are newer than a file, if the file system records times.
    fn inputs_modified_after(&self, file: &Path) -> Vec<String> {
        let modified = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        let Some(written) = modified(file) else { return Vec::new() };
        let is_newer = |input: &&InputFile| modified(&input.path).is_some_and(|at| at > written);
        self.inputs.files().iter().filter(is_newer).map(|input| input.name.clone()).collect()
    }

    fn manifest(
        &self,
        total: &Summary,
        sides: Sides,
        train: SplitRecord,
        holdout: SplitRecord,
    ) -> Manifest {
        let Plan { dtype, vocab_size, tokenizer_fingerprint, .. } = self.plan;
        let mut inputs: Vec<InputRecord> = self
            .inputs
            .files()
            .iter()
            .map(|file| InputRecord { path: file.name.clone(), bytes: file.bytes, documents: 0 })
            .collect();
        for &(input, documents) in &total.documents_by_input {
            let record = usize::try_from(input).ok().and_then(|input| inputs.get_mut(input));
            if let Some(record) = record {
                record.documents += documents;
            }
        }
        let pack = self.plan.pack.zip(self.plan.padding);
        let pack = pack
            .map(|(pack, padding)| PackRecord { sequence_length: pack.sequence_length, padding });
        // Padding: the ids in the shards that are not in the documents.
        let tokens = train.tokens.saturating_add(holdout.tokens);
        let padding_tokens = pack.map_or(0, |_| tokens.saturating_sub(sides.tokens()));
        Manifest {
            end_of_text: self.plan.end_of_text,
            beginning_of_text: self.plan.beginning_of_text,
            inputs,
            options: self.record(),
            counts: Counts {
                bad_records: total.bad_records,
                empty_documents: total.empty_documents,
                short_documents: total.short_documents,
                special_text_documents: total.special_text_documents,
                untargeted_documents: total.untargeted_documents,
                too_long_documents: total.too_long_documents,
                padding_tokens,
                moved_documents: sides.moved_documents,
                moved_tokens: sides.moved_tokens,
                excluded_documents: sides.excluded_documents,
                excluded_tokens: sides.excluded_tokens,
                repeated_documents: sides.repeated_documents,
                repeated_tokens: sides.repeated_tokens,
            },
            pack,
            ..Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout)
        }
    }

    /// Returns the options, and the chat template and the references that they selected.
    fn record(&self) -> Value {
        let mut record = self.options.record();
        if let (Some(template), Some(record)) = (self.plan.chat_template, record.as_object_mut()) {
            record.insert("chat_template".to_owned(), json!(template));
        }
        let without = &self.references.records;
        if let (false, Some(record)) = (without.is_empty(), record.as_object_mut()) {
            record.insert("without".to_owned(), json!(without));
        }
        record
    }

    fn report(&self, manifest: &Manifest, parts: u64, resumed: u64) -> PrepareReport {
        let (train, holdout) = (manifest.split(Side::Train), manifest.split(Side::Holdout));
        PrepareReport {
            train_documents: train.documents,
            train_tokens: train.tokens,
            holdout_documents: holdout.documents,
            holdout_tokens: holdout.tokens,
            text_bytes: train.text_bytes + holdout.text_bytes,
            input_bytes: self.inputs.total_bytes(),
            input_files: count(self.inputs.files().len()),
            skipped_files: self.inputs.skipped_files(),
            left_out: self.inputs.left_out().iter().take(NAMED_AT_MOST).cloned().collect(),
            counts: manifest.counts,
            shards: count(train.shards.len() + holdout.shards.len()),
            parts,
            resumed,
            already_done: false,
            modified_inputs: Vec::new(),
            fingerprint: manifest.fingerprint,
            tokenizer_fingerprint: manifest.tokenizer_fingerprint,
        }
    }
}

/// Returns the settings of a corpus as far as its manifest records them: for inputs, the names and lengths.
fn settings(manifest: &Manifest) -> Value {
    let inputs = manifest.inputs.iter();
    let inputs: Vec<_> =
        inputs.map(|input| json!({ "path": input.path, "bytes": input.bytes })).collect();
    json!({
        "inputs": inputs,
        "options": manifest.options,
        "tokenizer_fingerprint": manifest.tokenizer_fingerprint,
    })
}

/// Copies the tokenizer and the files beside it, so that the corpus can be decoded without others.
fn copy_tokenizer(tokenizer: &Tokenizer, out: &Path) -> Result<(), Error> {
    for (name, bytes) in tokenizer.files()? {
        files::write(&out.join(name), &bytes)?;
    }
    Ok(())
}
