//! The work of preparing, shared by every process that takes part.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use mixdown_base::files;
use mixdown_base::observer::Observer;
use mixdown_documents::{InputFile, InputList, Labeler, LongRecords, Place};
use mixdown_shards::{Dtype, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::encode::Encoder;
use crate::encode::label_stage::LabelStage;
use crate::error::Error;
use crate::near_duplicates::references::{ExcludedDocument, ReferenceRecord, References};
use crate::near_duplicates::repeated::Repeated;
use crate::near_duplicates::{SketchedDocuments, TextEnds};
use crate::plan::Plan;
use crate::plan::holdout::{HoldoutDecision, HoldoutLimit, HoldoutRules};
use crate::plan::input_unit::{end_of_documents, part_bytes, units};
use crate::plan::order::Order;
use crate::plan::placement::{Placement, Sides};
use crate::plan::task::Task;
use crate::prepare::Sizes;
use crate::prepare::options::{
    Deduplication, Holdout, NearDuplicates, PrepareOptions, Shuffle, YieldingSide,
};
use crate::prepare::progress::{PrepareProgress, PrepareStage, disk_estimate, say_inputs};
use crate::prepare::tokenize_stage::{FinishedParts, TokenizeStage};
use crate::prepare::work_folder::WorkFolder;
use crate::shards::in_order_writer::{InOrderPlan, WrittenRun};
use crate::shards::shard_run::{BucketRun, BucketRunRecord, ShardPlan, ShardTarget};
use crate::shards::write_stage::WriteStage;
use crate::spill::bucket::Buckets;
use crate::spill::work_file::{json_fingerprint, read_json, write_json};
use crate::spill::{Payload, Summary};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::model_template::role_tokens;

/// Everything that is the same for every process of the work.
pub(crate) struct Work<'o> {
    pub(crate) inputs: InputList,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) options: &'o PrepareOptions,
    pub(crate) plan: Plan,
    labels: Option<LabelStage>,
    pub(crate) references: References,
    shard_bytes: u64,
}

impl<'o> Work<'o> {
    pub(crate) fn new(
        inputs: &[PathBuf],
        tokenizer: &Path,
        options: &'o PrepareOptions,
        sizes: Sizes,
    ) -> Result<Self, Error> {
        options.check()?;
        let tokenizer = Tokenizer::load(tokenizer)?;
        let holdout_from = match options.holdout {
            Holdout::Input => Some(InputList::discover_with(inputs, &options.read)?.files().len()),
            _ => None,
        };
        let all: Vec<PathBuf> = inputs.iter().chain(&options.holdout_inputs).cloned().collect();
        let inputs = InputList::discover_with(&all, &options.read)?;
        let labels = options.read.labels.as_ref();
        let labels =
            labels.map(|fields| LabelStage::new(fields, &options.chat, &tokenizer)).transpose()?;
        let references = References::find(&options.without, &options.read)?;
        let mut plan = plan(&inputs, &tokenizer, options, sizes)?;
        plan.chat_template = labels.as_ref().and_then(|labels| labels.template);
        plan.holdout_from = holdout_from.and_then(|from| u32::try_from(from).ok());
        let work = Self {
            inputs,
            tokenizer,
            options,
            plan,
            labels,
            references,
            shard_bytes: sizes.shard_bytes,
        };
        match options.limit {
            None => Ok(work),
            Some(_) if work.reads_standard_input() => Err(Error::Option {
                option: "limit",
                expected: "files: of standard input take the first lines before (head -n N)",
                got: "-".to_owned(),
            }),
            Some(limit) => {
                let end = end_of_documents(&work.inputs, options, work.labeler(), limit)?;
                Ok(Self { plan: Plan { end, ..work.plan }, ..work })
            }
        }
    }

    fn labeler(&self) -> Option<&Labeler> {
        self.labels.as_ref().map(|labels| &labels.labeler)
    }

    pub(crate) fn reads_standard_input(&self) -> bool {
        self.inputs.files().iter().any(InputFile::is_standard_input)
    }

    /// Makes all missing parts and shards, in the order of the task.
    pub(crate) fn make(
        &self,
        folder: &WorkFolder,
        task: Option<Task>,
        observer: Observer<'_, PrepareProgress>,
    ) -> Result<Made, Error> {
        /// The number of attempts to make damaged parts again before it is an error.
        const ATTEMPTS: u32 = 3;
        if self.reads_standard_input() && !folder.parts()?.is_empty() {
            return Err(Error::Option {
                option: "input",
                expected: "files: work that read standard input cannot be continued, delete it",
                got: format!("- and {}", folder.out().display()),
            });
        }
        say_inputs(&self.inputs, observer);
        let (plan, work) = (&self.plan, folder.parts_folder());
        if let Some(estimate) = disk_estimate(&self.inputs, plan, work, folder.out())? {
            observer.tell(PrepareProgress {
                stage: PrepareStage::Disk(estimate),
                done: 0,
                total: 0,
            });
        }
        let mut stage = self.stage(folder, task, observer);
        if task.is_none() && self.split_before(folder)?.is_none() {
            // Shards may exist without a split: its file may have been deleted.
            folder.forget_runs()?;
            stage.in_order_plan = self.follow_plan(folder);
        }
        let mut attempt = 1;
        let mut resumed = None;
        loop {
            let parts = stage.run()?;
            // Shards from the first stage are not written again.
            stage.in_order_plan = None;
            let resumed = *resumed.get_or_insert(parts.resumed);
            match self.write(&stage, parts) {
                Ok((split, runs_made)) => return Ok(Made { split, resumed, runs_made }),
                Err(Error::DamagedWork { path, .. })
                    if attempt < ATTEMPTS && folder.is_part(&path) =>
                {
                    folder.forget(&path)?;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn stage<'w>(
        &'w self,
        folder: &'w WorkFolder,
        task: Option<Task>,
        observer: Observer<'w, PrepareProgress>,
    ) -> TokenizeStage<'w> {
        let (plan, options) = (&self.plan, self.options);
        TokenizeStage {
            encoder: Encoder {
                inputs: &self.inputs,
                tokenizer: &self.tokenizer,
                fast: self.tokenizer.fast(),
                read: &options.read,
                min_chars: options.min_chars,
                holdout_from: plan.holdout_from,
                special_text: options.special_text,
                beginning_of_text: plan.beginning_of_text,
                end_of_text: plan.end_of_text,
                dtype: plan.dtype,
                payload: plan.payload,
                order: plan.order,
                labels: self.labels.as_ref(),
                pack: plan.pack,
            },
            units: units(&self.inputs, plan.part_bytes, plan.end),
            part_bytes: plan.part_bytes,
            end: plan.end,
            skip_bad: options.read.skip_bad,
            task,
            threads: threads(options.threads),
            long_records: LongRecords::default(),
            in_order_plan: None,
            folder,
            observer,
        }
    }

    /// Returns the plan for writing shards while the parts are made: possible in the inputs' order, with a holdout that
    /// is known beforehand (so without a search for near-duplicates) and documents that are not packed into rows.
    fn follow_plan<'w>(&self, folder: &'w WorkFolder) -> Option<InOrderPlan<'w>> {
        let Plan { order, payload, dtype, vocab_size, .. } = self.plan;
        let limit = HoldoutLimit::known(self.options.holdout)?;
        let target = ShardTarget { folder, dtype, vocab_size };
        let searches = self.options.near_duplicates != NearDuplicates::Allowed
            && (self.options.holdout != Holdout::None
                || !self.references.is_empty()
                || self.options.deduplication != Deduplication::None);
        let in_order = order.shuffle == Shuffle::Keep && self.plan.rows().is_none() && !searches;
        let shard_bytes = self.shard_bytes;
        let placement = Placement { limit, ..Placement::default() };
        in_order.then_some(InOrderPlan { target, placement, shard_bytes, order, payload })
    }

    fn write(
        &self,
        stage: &TokenizeStage<'_>,
        parts: FinishedParts,
    ) -> Result<(HoldoutFile, u64), Error> {
        let TokenizeStage { folder, observer, threads, task, .. } = *stage;
        let Summary { documents, empty_documents, bad_records, .. } = parts.total;
        if documents == 0 {
            return Err(Error::no_documents(&self.inputs, empty_documents, bad_records));
        }
        let Plan { order, payload, vocab_size, .. } = self.plan;
        let buckets = Buckets { spills: parts.spills, order, payload };
        let split = self.split(folder, &buckets, parts.total, threads, task, observer)?;
        split.adopt(parts.written_runs, folder)?;
        let len = count(split.runs.len());
        let order = task.map_or_else(|| (0..len).collect(), |task| task.order(len));
        let placement = split.placement(folder)?;
        let stage = WriteStage {
            buckets: &buckets,
            placement: &placement,
            runs: &split.runs,
            order,
            split: split.fingerprint(folder)?,
            vocab_size,
            rows: self.plan.rows(),
            threads,
            folder,
            observer,
        };
        let runs_made = stage.run()?;
        Ok((split, runs_made))
    }

    /// Returns the split that was decided earlier, or decides it now.
    fn split(
        &self,
        folder: &WorkFolder,
        buckets: &Buckets,
        total: Summary,
        threads: usize,
        task: Option<Task>,
        observer: Observer<'_, PrepareProgress>,
    ) -> Result<HoldoutFile, Error> {
        if let Some(before) = self.split_before(folder)? {
            return Ok(before);
        }
        let Holdouts { expected, got } = self.holdouts(folder)?;
        if let (Some(expected), Some(_)) = (expected, task) {
            let (path, field) = (folder.out().to_owned(), "holdout".to_owned());
            return Err(Error::PlanDiffers { path, field, expected, got });
        }
        let (options, references) = (self.options, &self.references);
        let rules = HoldoutRules { options, references, folder };
        let tokenizer = &self.tokenizer;
        let Plan { beginning_of_text, end_of_text, .. } = self.plan;
        let ends = TextEnds { beginning: beginning_of_text, end: end_of_text };
        let documents = SketchedDocuments { buckets, tokenizer, ends, threads, observer };
        let decided = HoldoutDecision::decide(&rules, documents)?;
        self.write_left_out(folder, &decided.excluded)?;
        self.write_moved(folder, &decided.moved_places)?;
        let exceptions = decided.placement.write(&folder.exceptions())?;
        let split = HoldoutFile {
            holdout: got,
            shard_bytes: self.shard_bytes,
            limit: decided.placement.limit,
            exceptions,
            sides: decided.total,
            repeated: decided.repeated,
            parts: count(buckets.spills.len()),
            total,
            runs: ShardPlan::of(&decided.buckets, self.plan.payload.id_bytes, self.shard_bytes),
        };
        write_json(&folder.split(), &split)?;
        Ok(split)
    }

    /// Lists the documents that are left out as near-duplicates of other texts, one line of JSON each.
    fn write_left_out(
        &self,
        folder: &WorkFolder,
        excluded: &[ExcludedDocument],
    ) -> Result<(), Error> {
        let path = folder.left_out();
        let mut by_place: Vec<&ExcludedDocument> = excluded.iter().collect();
        by_place.sort_by_key(|one| one.place);
        let mut lines = Vec::new();
        for one in by_place {
            let input = self.inputs.file(one.place.input).map(|file| file.name.as_str());
            let reference = one.reference.and_then(|at| self.references.records.get(at));
            let like = reference.map_or("holdout", |record| record.name.as_str());
            let line = serde_json::json!({
                "input": input,
                "offset": one.place.offset,
                "like": { "from": like, "document": one.text },
                "similarity": (one.similarity * 100.0).round() / 100.0,
            });
            lines.extend(line.to_string().bytes().chain([b'\n']));
        }
        Ok(files::write(&path, &lines)?)
    }

    /// Lists the held-out documents that moved to training, one line of JSON each.
    fn write_moved(&self, folder: &WorkFolder, places: &[Place]) -> Result<(), Error> {
        let line = |place: &Place| {
            let input = self.inputs.file(place.input).map(|file| file.name.as_str());
            format!("{}\n", serde_json::json!({ "input": input, "offset": place.offset }))
        };
        let lines: String = places.iter().map(line).collect();
        Ok(files::write(&folder.moved(), lines.as_bytes())?)
    }

    /// Returns the split in the folder, if it has this holdout and these sizes.
    pub(crate) fn split_before(&self, folder: &WorkFolder) -> Result<Option<HoldoutFile>, Error> {
        let holdout = self.asked_holdout();
        let Some(split) = self.split_there(folder)? else { return Ok(None) };
        if split.holdout != holdout || split.shard_bytes != self.shard_bytes {
            return Ok(None);
        }
        match split.placement(folder) {
            Ok(_) => Ok(Some(split)),
            // It is decided again.
            Err(Error::DamagedWork { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the holdout and the rule of near-duplicates as one text, which identifies a split.
    fn asked_holdout(&self) -> String {
        let PrepareOptions { holdout, near_duplicates, yields, deduplication, .. } = *self.options;
        let mut asked = holdout.to_string();
        let NearDuplicates::From(threshold) = near_duplicates else { return asked };
        if holdout != Holdout::None {
            asked.push_str(&format!(", near-duplicates from {threshold}"));
            if yields == YieldingSide::Training {
                asked.push_str(" leave training");
            }
        }
        match deduplication {
            Deduplication::None => {}
            Deduplication::Exact => asked.push_str(", without equal texts"),
            Deduplication::Near => {
                asked.push_str(&format!(", without near-duplicates from {threshold} in training"));
            }
        }
        for ReferenceRecord { name, fingerprint } in &self.references.records {
            asked.push_str(&format!(", without {name} ({fingerprint})"));
        }
        asked
    }

    fn split_there(&self, folder: &WorkFolder) -> Result<Option<HoldoutFile>, Error> {
        match read_json(&folder.split()) {
            Ok(split) => Ok(split),
            Err(Error::DamagedWork { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the holdout of the split in the folder, and the one that is requested now.
    pub(crate) fn holdouts(&self, folder: &WorkFolder) -> Result<Holdouts, Error> {
        let expected = self.split_there(folder)?.map(|split| split.holdout);
        Ok(Holdouts { expected, got: self.asked_holdout() })
    }
}
/// The results of the work before the manifest.
pub(crate) struct Made {
    pub(crate) split: HoldoutFile,
    pub(crate) resumed: u64,
    pub(crate) runs_made: u64,
}

/// The holdout as decided by a call; another holdout writes the shards again from the same parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HoldoutFile {
    holdout: String,
    shard_bytes: u64,
    limit: HoldoutLimit,
    /// The hash of the file with the exceptions of the placement.
    exceptions: Fingerprint,
    pub(crate) sides: Sides,
    pub(crate) repeated: Repeated,
    pub(crate) parts: u64,
    pub(crate) total: Summary,
    pub(crate) runs: Vec<BucketRun>,
}

impl HoldoutFile {
    /// Reads which documents are on which side.
    fn placement(&self, folder: &WorkFolder) -> Result<Placement, Error> {
        Placement::read(&folder.exceptions(), self.limit, self.exceptions)
    }

    /// Returns its hash, which the records of finished runs contain.
    ///
    /// # Errors
    /// Those of [`json_fingerprint`].
    pub(crate) fn fingerprint(&self, folder: &WorkFolder) -> Result<Fingerprint, Error> {
        json_fingerprint(folder.out(), self)
    }

    /// Records as finished the runs whose shards were written before the split was known, if the split has the same
    /// runs.
    fn adopt(&self, written_runs: Vec<WrittenRun>, folder: &WorkFolder) -> Result<(), Error> {
        let split = self.fingerprint(folder)?;
        for (number, (run, written_runs)) in (0_u64..).zip(self.runs.iter().zip(written_runs)) {
            let WrittenRun { run: own, train, holdout } = written_runs;
            if own == *run {
                let record = BucketRunRecord { split, train, holdout };
                write_json(&folder.run(number), &record)?;
            }
        }
        Ok(())
    }
}

/// Two holdouts that may differ.
pub(crate) struct Holdouts {
    pub(crate) expected: Option<String>,
    pub(crate) got: String,
}

/// The part size if the documents keep their order: a part is then a bucket.
const KEPT_PART_BYTES: u64 = 16 << 20;

fn plan(
    inputs: &InputList,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    sizes: Sizes,
) -> Result<Plan, Error> {
    let dtype = Dtype::for_vocab(tokenizer.vocab_size());
    let end_of_text = tokenizer.end_of_text_named(options.end_of_text.as_deref())?;
    let most = match options.shuffle {
        Shuffle::Keep => KEPT_PART_BYTES.min(sizes.part_bytes),
        Shuffle::Global => sizes.part_bytes,
    };
    Ok(Plan {
        format: Plan::FORMAT.to_owned(),
        version: Plan::VERSION,
        inputs: Plan::inputs_of(inputs)?,
        holdout_from: None,
        end: None,
        text_field: options.read.text_field().to_owned(),
        text_separator: options.read.text_separator.clone(),
        id_field: options.read.id_field.clone(),
        holdout_by: options.read.group_field.clone(),
        min_chars: options.min_chars,
        labels: options.read.labels.clone(),
        chat_template: None,
        pack: options.pack,
        padding: options.pack.map(|_| padding(tokenizer, end_of_text)).transpose()?,
        order: Order::new(options.shuffle, options.seed, inputs, sizes.bucket_bytes),
        special_text: options.special_text,
        beginning_of_text: tokenizer.beginning_of_text(options.beginning_of_text)?,
        end_of_text,
        tokenizer_fingerprint: tokenizer.fingerprint(),
        vocab_size: tokenizer.vocab_size(),
        dtype,
        payload: Payload {
            id_bytes: dtype.bytes(),
            masks: options.read.labels.is_some() || options.pack.is_some(),
            own_ids: options.read.id_field.is_some(),
            sketches: options.near_duplicates != NearDuplicates::Allowed,
        },
        part_bytes: part_bytes(inputs, most),
        work_dir: options.work_dir.clone(),
    })
}

/// Returns the padding id of rows: the tokenizer's own one, or the end-of-text.
fn padding(tokenizer: &Tokenizer, end_of_text: u32) -> Result<u32, Error> {
    let own = role_tokens(tokenizer)?.remove("pad_token");
    Ok(own.and_then(|token| tokenizer.token_id(&token)).unwrap_or(end_of_text))
}

/// Returns the requested number of threads, or as many as the process may use: its affinity and, on Linux, the quota of
/// its control group count.
fn threads(asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(asked) if asked > 0 => asked,
        _ => available_parallelism().map_or(1, NonZero::get),
    }
}

pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
