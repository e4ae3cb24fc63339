//! The training loop.

pub(crate) mod estimate;
pub(crate) mod inputs;
pub(crate) mod opened_run;
pub(crate) mod step;
pub(crate) mod summary;

pub(crate) mod records;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;

use mixdown_runs::{EvalRecord, MetricsRecord, RunFolder, RunLock, Summary, TensorBoard};
use mixdown_shards::Fingerprint;

use crate::adapter::AdapterFiles;
use crate::checkpoint::CheckpointWriter;
use crate::checkpoint::{self, CheckpointSnapshot, Improvement, RunState, SnapshotBuffers};
use crate::config::run_config::RunConfig;
use crate::config::run_file::RunBase;
use crate::config::run_file::{AllowedChanges, SettingsMatch};
use crate::error::Error;
use crate::generate::samples::{Samples, TextCodec};
use crate::model::Model;
use crate::optim::trainable_state::{TrainableState, WeightSet};
use crate::ranks::{ProcessGroup, World};
use crate::trainer::inputs::Inputs;
use crate::trainer::opened_run::OpenedRun;
use crate::trainer::records::{BestSoFar, Progress, RunName};
use crate::trainer::step::{Step, Stepper};

/// One run: model, optimizer, data and the folder that keeps them.
///
/// The results depend only on the settings and the data: not on the number of threads, nor on how often the run was
/// stopped and continued. The number of processes changes them by rounding. Of several processes ([`World`]) the first
/// writes the folder.
pub struct Trainer {
    name: RunName,
    config: RunConfig,
    folder: RunFolder,
    /// The lock that keeps other processes from writing into the folder.
    hold: Option<RunLock>,
    group: ProcessGroup,
    inputs: Inputs,
    data_fingerprint: Fingerprint,
    model: Model,
    trainable: TrainableState,
    adapter: Option<AdapterFiles>,
    state: RunState,
    stepper: Stepper,
    writer: CheckpointWriter,
    samples: Option<Samples>,
    tensorboard: TensorBoard,
    /// Whether the folder already has the summary of this run, which is then only returned.
    is_finished: bool,
}

impl Trainer {
    /// Opens a run in the folder `out`: a new run, or one that continues from its last checkpoint. Relative paths of
    /// the description are taken from `base`. `world` says which of the run's processes this one is; it waits for the
    /// others until `stop` is set. A run may continue with another number of processes.
    ///
    /// # Errors
    /// Returns an error if the settings are invalid, if the corpora or the model cannot be opened or do not fit each
    /// other, or if the folder holds something else. If the folder holds a run whose settings or data differ in more
    /// than `changes` allows, the error names the first difference.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::path::Path;
    /// use std::sync::atomic::AtomicBool;
    ///
    /// use mixdown_base::observer::Observer;
    /// use mixdown_train::{AllowedChanges, RunBase, RunConfig, RunName, Trainer, World};
    ///
    /// # use mixdown_shards::{Dtype, Fingerprint, Manifest, ShardWriter, SplitRecord};
    /// # let place = tempfile::tempdir()?;
    /// # let folder = place.path().join("math");
    /// # let shard = |split: &str, len: u32, hash: u64| -> Result<_, mixdown_shards::Error> {
    /// #     let mut writer = ShardWriter::create(&folder.join(split), "shard-00000", Dtype::U16, 40)?;
    /// #     let tokens: Vec<u32> = (0..len).map(|id| id * id % 39).collect();
    /// #     writer.push(&tokens, 3 * u64::from(len), hash, None)?;
    /// #     Ok(SplitRecord::new(vec![writer.finish()?]))
    /// # };
    /// # let (train, holdout) = (shard("train", 200, 1)?, shard("holdout", 60, 2)?);
    /// # let new = Manifest::new(Dtype::U16, 40, Fingerprint::of(b"tokenizer"), train, holdout);
    /// # Manifest { end_of_text: 39, ..new }.write(&folder)?;
    /// # let tokenizer = r#"{"added_tokens":[{"id":39,"content":"<|endoftext|>"}]}"#;
    /// # std::fs::write(folder.join("tokenizer.json"), tokenizer)?;
    /// let config = RunConfig::parse(
    ///     r#"
    ///     [model]
    ///     vocab_size = 40
    ///     hidden_size = 8
    ///     intermediate_size = 12
    ///     layers = 1
    ///     heads = 2
    ///     [mixture]
    ///     sequence_length = 8
    ///     batch_size = 2
    ///     seed = 5
    ///     [[mixture.source]]
    ///     name = "target"
    ///     corpus = "math"
    ///     weight = "100%"
    ///     [train]
    ///     steps = 3
    ///     [eval]
    ///     every_steps = 2
    ///     sequences = 4
    ///     [[eval.corpus]]
    ///     name = "target"
    ///     corpus = "math"
    ///     "#,
    /// )?;
    /// let tokenizer = |_: &Path| Ok(Fingerprint::of(b"tokenizer"));
    /// let base = RunBase { folder: place.path(), tokenizer };
    /// let name = RunName { run_id: "math-1".to_owned(), title: "math".to_owned() };
    /// let (out, never) = (place.path().join("run"), AtomicBool::new(false));
    /// let (changes, world) = (AllowedChanges::None, World::single());
    /// let mut trainer = Trainer::open(&config, base, &out, name, changes, world, &never)?;
    /// let summary = trainer.run(Observer::silent())?;
    /// assert_eq!(summary.steps, 3);
    /// assert!(out.join("best/model.safetensors").exists());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(
        config: &RunConfig,
        base: RunBase,
        out: &Path,
        name: RunName,
        changes: AllowedChanges,
        world: World,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        world.check(config)?;
        let is_new = !out.exists();
        // First of all, so that a rank which cannot begin is named to the others.
        let mut group = ProcessGroup::rendezvous(world, out, stop)?;
        let mut failure_channel = group.try_clone()?;
        let begun = OpenedRun::new(config, base, out, name, changes, group).and_then(Self::begin);
        if let Err(error) = &begun {
            failure_channel.announce_failure(error);
            if is_new && world.is_main_process() {
                // Ranks meet in it; an empty one is not left.
                let _ = fs::remove_dir(out);
            }
        }
        begun
    }

    fn begin(opened: OpenedRun) -> Result<Self, Error> {
        let OpenedRun { config, inputs, mut model, run_file, folder, mut group, .. } = opened;
        let settings = run_file.fingerprint();
        let mut trainable = TrainableState::new(&model, &config)?;
        let adapter = trainable.adapter().map(|layout| AdapterFiles::new(layout, &model, &config));
        let is_same = group.is_main_process() && opened.settings_match == SettingsMatch::Same;
        let is_finished = group.any(is_same && folder.summary().exists())?;
        let going_on = match is_finished {
            // Its checkpoints may have been removed to free the disk.
            true => None,
            false => checkpoint::resume(&folder, settings, &mut model, &mut trainable)?,
        };
        if let Some(state) = &going_on {
            inputs.mixer.resume(&state.mixer)?;
        }
        let mut state = going_on.unwrap_or_else(|| RunState::new(inputs.mixer.state(0), settings));
        if is_finished {
            state.step = folder.read_summary()?.steps;
        }
        // No checkpoint is written or removed before all have read theirs.
        group.barrier()?;
        if opened.settings_match == SettingsMatch::Changed {
            run_file.write(&folder)?;
        }
        // The memory that NCCL takes is no longer free.
        model.join(&mut group)?;
        model.move_to_device(&trainable, &opened.estimate)?;
        let trainer = Self {
            data_fingerprint: opened.data_fingerprint,
            stepper: Stepper::new(&mut model, &trainable, &inputs, &config, &group)?,
            writer: CheckpointWriter::default(),
            samples: None,
            tensorboard: TensorBoard::new(&folder),
            adapter: adapter.transpose()?,
            name: opened.name,
            config,
            folder,
            hold: opened.hold,
            group,
            inputs,
            model,
            trainable,
            state,
            is_finished,
        };
        if !is_finished {
            trainer.repair_best()?;
        }
        Ok(trainer)
    }

    /// Writes best/ again if the checkpoint from which the run continues is the best one: the process may have been
    /// killed between writing the two.
    fn repair_best(&self) -> Result<(), Error> {
        if !self.group.is_main_process() || !self.state.is_best() {
            return Ok(());
        }
        let mut snapshot = self.snapshot()?;
        if self.adapter.is_some() {
            snapshot.buffers.fill(&self.trainable, &self.model, true);
        }
        snapshot.write_best()
    }

    /// Sets the codec that turns the prompts of `[eval.samples]` into ids and the generated ids into text.
    ///
    /// # Errors
    /// Returns an error if a prompt cannot be encoded or has more ids than the model has positions.
    pub fn set_text_codec(&mut self, codec: Box<dyn TextCodec>) -> Result<(), Error> {
        if let Some(config) = &self.config.eval.samples {
            self.samples = Some(Samples::new(config, codec, &self.model)?);
        }
        Ok(())
    }

    /// Returns whether the run was finished already, so that [`Trainer::run`] only returns its summary.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Returns the number of optimizer steps done.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// Returns the model with its current weights; if the run was finished before, with the weights of its start.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Trains to the end and writes summary.json. A run that has its summary returns it, whatever else of its folder
    /// was removed since. Each process of a run calls this; a stop of one stops all.
    ///
    /// # Errors
    /// Returns [`Error::Interrupted`] if the observer stopped the run: an unfinished step or evaluation is dropped, a
    /// checkpoint is written, and the same call continues from it. Returns [`Error::NonFiniteLoss`] if the training
    /// diverged; the last checkpoint is kept. Returns an error if the disk refuses a write.
    pub fn run(&mut self, observer: Observer<'_, Progress>) -> Result<Summary, Error> {
        if self.is_finished {
            return Ok(self.folder.read_summary()?);
        }
        let ended = self.run_steps(observer).and_then(|()| self.end());
        // If the folder is gone, that is the cause of any other error.
        let ended = self.check_folder().and(ended);
        self.is_finished = ended.is_ok();
        if let Err(error) = &ended {
            self.group.announce_failure(error);
        }
        ended
    }

    /// Checks that the run's folder is still the one that was locked, so that a run is never split between two folders.
    fn check_folder(&self) -> Result<(), Error> {
        Ok(self.hold.as_ref().map_or(Ok(()), |hold| hold.check(&self.folder))?)
    }

    fn run_steps(&mut self, observer: Observer<'_, Progress>) -> Result<(), Error> {
        self.truncate_records()?;
        if self.state.step == 0 && self.state.before.is_empty() {
            self.state.pending = Some(self.record(None));
        }
        loop {
            if let Err(error) = self.finish_step(observer) {
                return Err(self.end_with(error));
            }
            if self.at_end() {
                return Ok(());
            }
            if self.group.any(observer.is_stopped())? {
                return Err(self.end_with(Error::Interrupted { step: self.state.step }));
            }
            if let Err(error) = self.train_step(observer.stop()) {
                return Err(self.end_with(error));
            }
            observer.tell(self.progress(None));
        }
    }

    fn end(&mut self) -> Result<Summary, Error> {
        self.write_checkpoint()?;
        self.writer.finish()?;
        let summary = self.summary();
        if self.group.is_main_process() {
            self.write_losses()?;
            self.folder.write_summary(&summary)?;
        }
        Ok(summary)
    }

    fn at_end(&self) -> bool {
        let patience = self.config.train.patience;
        let patient = patience.is_none_or(|limit| self.state.evaluations_without_gain < limit);
        self.state.step >= self.config.train.steps || !patient
    }

    /// An interruption leaves a checkpoint; every other error leaves the last one.
    fn end_with(&mut self, error: Error) -> Error {
        if error.kind() != ErrorKind::Interrupted {
            return error;
        }
        match self.write_checkpoint().and_then(|()| self.writer.finish()) {
            Ok(()) => Error::Interrupted { step: self.state.step },
            Err(error) => error,
        }
    }

    /// Does one optimizer step, whose record is then pending. A step that is stopped changes nothing.
    fn train_step(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        let step = self.state.step;
        let rate = self.config.train.rate().at(step);
        let (model, trainable, group) = (&mut self.model, &mut self.trainable, &mut self.group);
        let done = self.stepper.step(model, trainable, &self.inputs, group, (step, rate), stop)?;
        if let Some(loss) = done.loss {
            self.finite(step + 1, "training loss", loss)?;
        }
        self.finite(step + 1, "gradient norm", done.gradient_norm)?;
        self.state.step += 1;
        self.state.steps_without_targets += u64::from(done.loss.is_none());
        let slot = self.state.step.saturating_mul(self.inputs.mixer.batch_size());
        self.state.mixer = self.inputs.mixer.state(slot);
        self.state.training_seconds += done.seconds;
        self.state.seconds += done.seconds;
        self.state.pending = Some(self.record(Some(done)));
        Ok(())
    }

    /// Returns the record of a step, or of the state before the first one.
    fn record(&self, done: Option<Step>) -> MetricsRecord {
        let step = self.state.step;
        self.stepper.record(step, self.config.train.rate().at(step.saturating_sub(1)), done)
    }

    /// Evaluates if an evaluation is due, writes the line of the finished step, and writes a checkpoint if one is due.
    fn finish_step(&mut self, observer: Observer<'_, Progress>) -> Result<(), Error> {
        let Some(mut record) = self.state.pending.clone() else {
            return Ok(());
        };
        let (step, steps) = (self.state.step, self.config.train.steps);
        let mut due = step > 0 && step.is_multiple_of(self.config.train.checkpoint_every);
        if step.is_multiple_of(self.config.eval.every_steps) || step >= steps {
            let start = Instant::now();
            self.trainable.swap_in(WeightSet::Evaluated, &mut self.model)?;
            let stop = observer.stop();
            let seen = self.evaluate(stop).and_then(|evals| Ok((evals, self.sample(stop)?)));
            self.trainable.swap_in(WeightSet::Current, &mut self.model)?;
            // An interruption leaves the state as it was, also one among the samples.
            let (measured, samples) = seen?;
            record.evals.clone_from(&measured.evals);
            // best/ is made from a checkpoint's files.
            due |=
                self.state.record_evaluation(measured, self.inputs.select) == Improvement::NewBest;
            self.state.seconds += start.elapsed().as_secs_f64();
            if !samples.is_empty() {
                // Only the first rank has some.
                self.folder.append_samples(&samples)?;
                self.tensorboard.write_samples(&samples)?;
            }
            observer.tell(Progress { samples, ..self.progress(Some(record.evals.clone())) });
        }
        if self.group.is_main_process() {
            self.check_folder()?;
            self.folder.append_metrics(&record)?;
            self.tensorboard.write_metrics(&record)?;
        }
        self.state.pending = None;
        if due && step < steps {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    /// Begins to write a checkpoint, with best/ if this step is the best one.
    fn write_checkpoint(&mut self) -> Result<(), Error> {
        if !self.group.is_main_process() {
            return Ok(());
        }
        self.trainable.read_from_device(&mut self.model)?;
        let snapshot = self.snapshot()?;
        self.writer.start(snapshot, &self.trainable, &self.model)
    }

    /// Returns the state of the run without weights and moments.
    fn snapshot(&self) -> Result<CheckpointSnapshot, Error> {
        Ok(CheckpointSnapshot {
            folder: self.folder.clone(),
            model: self.model.snapshot(),
            adapter: self.adapter.clone(),
            state: self.state.clone(),
            records: self.folder.record_lengths()?,
            buffers: SnapshotBuffers::default(),
            keep_checkpoints: usize::try_from(self.config.train.keep_checkpoints)
                .unwrap_or(usize::MAX),
        })
    }

    fn finite(&mut self, step: u64, what: &str, got: f64) -> Result<(), Error> {
        if got.is_finite() {
            return Ok(());
        }
        // The one that is being written counts.
        self.writer.finish()?;
        let checkpoint = checkpoint::latest_step(&self.folder)?;
        Err(Error::NonFiniteLoss { step, what: what.to_owned(), got, checkpoint })
    }

    fn progress(&self, evals: Option<Vec<EvalRecord>>) -> Progress {
        Progress {
            step: self.state.step,
            steps: self.config.train.steps,
            tokens_per_second: self.stepper.tokens_per_second(),
            train_loss: self.state.pending.as_ref().and_then(|record| record.train_loss),
            evals,
            best: self.state.best.as_ref().map(|best| BestSoFar {
                step: best.step,
                select: self.config.eval.select.clone(),
                evals: best.evals.clone(),
            }),
            samples: Vec::new(),
        }
    }

    fn summary(&self) -> Summary {
        summary::FinishedRun {
            name: &self.name,
            config: &self.config,
            inputs: &self.inputs,
            model: self.model.config(),
            state: &self.state,
            data_fingerprint: self.data_fingerprint,
        }
        .summary()
    }
}

#[cfg(test)]
#[path = "trainer/trainer_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "trainer/identity_tests.rs"]
mod identity_tests;

#[cfg(test)]
#[path = "trainer/trainer_ranks_tests.rs"]
mod ranks_tests;
