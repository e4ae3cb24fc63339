//! The execution of a sweep: base models when a run first needs them, then the runs with one row each.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_runs::{RunFolder, RunRow, Summary};
use mixdown_train::{AllowedChanges, Progress, RunConfig, RunName, Trainer, World};

use super::command;
use super::cost::{RunCost, shape};
use super::event::{SweepEvent, SweepObserver, SweepPart, TimeLeft};
use super::folder::{Failure, SweepFolder, remove};
use super::plan::{BaseOrigin, BasePlan, RunPlan, SweepPlan, base_folder};
use super::preview::{ComputeRate, FinishedCost, operations};
use super::settings::SweepConfig;
use super::{is_made, is_own, missing, pending};
use crate::error::Error;
use crate::runs::models::run_base;

/// A sweep that is being executed.
pub struct Execution<'a> {
    settings: &'a SweepConfig,
    plan: &'a SweepPlan,
    folder: &'a mut SweepFolder,
    observer: SweepObserver<'a>,
    work: Work,
    /// The reasons why base models could not be made, by their indices.
    lost: BTreeMap<usize, (String, bool)>,
}

/// The finished and the remaining work of this call in operations.
#[derive(Default)]
struct Work {
    done: f64,
    /// Base models to make.
    bases: f64,
    /// Runs to do, up to their horizons.
    runs: f64,
    taken: FinishedCost,
}

impl Work {
    /// Records that a run is done that could have taken `most`.
    fn end_run(&mut self, flops: f64, most: f64) {
        self.done += flops;
        self.taken.flops += flops;
        self.taken.most += most;
    }

    /// Returns the expected work of this call if runs end as early as the finished ones; `begun` is more than expected
    /// if a run continues for longer.
    fn total(&self, begun: f64) -> f64 {
        self.done + (self.bases + self.taken.share() * self.runs).max(begun)
    }
}

impl<'a> Execution<'a> {
    /// Returns an execution in which nothing is done yet.
    pub fn new(
        settings: &'a SweepConfig,
        plan: &'a SweepPlan,
        folder: &'a mut SweepFolder,
        observer: SweepObserver<'a>,
    ) -> Self {
        observer.tell(SweepEvent::Began);
        let (work, lost) = (Work::default(), BTreeMap::new());
        Self { settings, plan, folder, observer, work, lost }
    }

    /// Makes the base models that runs without a row need; each of several tasks makes its share.
    ///
    /// # Errors
    /// An interruption, base models that could not be made.
    pub fn make_bases(mut self) -> Result<(), Error> {
        self.remove_leftovers()?;
        let undone = self.plan.runs.iter().map(|run| Ok((run, self.folder.is_done(run)?)));
        let undone = undone.collect::<Result<Vec<_>, Error>>()?;
        let mut own = Vec::new();
        for (place, base) in self.plan.bases.iter().enumerate() {
            let is_needed = undone.iter().any(|(run, is_done)| run.base == place && !is_done);
            if is_needed && is_own(place, self.folder) && !is_made(self.folder.path(), base) {
                self.work.bases += RunCost::of_base(base)?.flops;
                own.push((place, base));
            }
        }
        if own.is_empty() {
            self.observer.tell(SweepEvent::BasesWereMade);
        }
        for (place, base) in own {
            match self.make_base(place, base) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let part = SweepPart::Base { name: &base.name };
                    self.observer.tell(SweepEvent::BaseFailed { part, error });
                }
                Ok(_) => {}
            }
        }
        let reasons: Vec<&str> = self.lost.values().map(|(reason, _)| reason.as_str()).collect();
        if reasons.is_empty() {
            return Ok(());
        }
        let numerical = self.lost.values().any(|(_, numerical)| *numerical);
        Err(Error::Incomplete { message: reasons.join("; "), numerical })
    }

    /// Does all runs of this process that have no row yet.
    ///
    /// # Errors
    /// An interruption; a folder that cannot be read or written. A run that fails is not an error.
    pub fn run(mut self) -> Result<(), Error> {
        let mut pending = pending(self.plan, self.folder)?;
        self.remove_leftovers()?;
        self.count(&pending)?;
        let total = pending.len();
        if total > 0 {
            self.announce(total)?;
        }
        let (mut done, mut failed, started) = (0, 0, Instant::now());
        while let Some(run) = self.next(&mut pending) {
            if self.observer.is_stopped() {
                return Err(Error::Stopped { message: format!("stopped before {}", run.run_id) });
            }
            let number = done + failed + 1;
            let part = SweepPart::Run { number, total, run_id: &run.run_id };
            let result = self.row(run, part);
            self.work.runs -= RunCost::of_run(run, self.base(run))?.flops;
            let left = self.left(pending.len(), started.elapsed().as_secs_f64());
            match result {
                Ok(row) => {
                    self.observer.tell(SweepEvent::RunDone { part, row: &row, left });
                    self.folder.push(row)?;
                    if !self.settings.keep_weights {
                        self.folder.remove_weights(&run.run_id)?;
                    }
                    done += 1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let failure = failure(run, &error);
                    self.observer.tell(SweepEvent::RunFailed { part, error, left });
                    self.folder.push_failure(failure)?;
                    failed += 1;
                }
            }
        }
        self.observer.tell(SweepEvent::Ended { done, failed });
        self.folder.finish(&self.plan.runs)
    }

    /// Removes the leftovers of killed processes in finished runs and base models.
    fn remove_leftovers(&self) -> Result<(), Error> {
        for base in &self.plan.bases {
            let is_given = matches!(base.origin, BaseOrigin::Given(..));
            if is_given || !is_made(self.folder.path(), base) {
                continue;
            }
            let folder = base_folder(self.folder.path(), &base.name);
            let own = self.own_folder(base, &folder);
            if own != folder {
                remove(&own)?;
            }
            if !self.settings.keep_weights {
                remove(&folder.join("checkpoints"))?;
            }
        }
        if self.settings.keep_weights {
            return Ok(());
        }
        for (place, run) in self.plan.runs.iter().enumerate() {
            if is_own(place, self.folder) && self.folder.row(&run.run_id).is_some() {
                self.folder.remove_weights(&run.run_id)?;
            }
        }
        Ok(())
    }

    fn announce(&mut self, total: usize) -> Result<(), Error> {
        let speed = ComputeRate::new(self.plan, self.folder.path(), None)?;
        self.work.taken = speed.taken;
        let flops = self.work.bases + self.work.runs;
        self.observer.tell(SweepEvent::Announced {
            runs: total,
            planned: self.plan.runs.len(),
            flops,
            seconds: flops / speed.flops_per_second.max(1.0),
            rate: speed.rate,
        });
        Ok(())
    }

    fn count(&mut self, pending: &[&RunPlan]) -> Result<(), Error> {
        for base in missing(self.plan, self.folder, pending) {
            self.work.bases += RunCost::of_base(base)?.flops;
        }
        for run in pending {
            self.work.runs += RunCost::of_run(run, self.base(run))?.flops;
        }
        Ok(())
    }

    /// Estimates how long the remaining runs take at the rate of this call, if they end as early as the finished ones;
    /// `None` if none is left or nothing is done yet.
    fn left(&self, runs: usize, seconds: f64) -> Option<TimeLeft> {
        if runs == 0 || self.work.done <= 0.0 {
            return None;
        }
        let left = (self.work.total(0.0) - self.work.done) / self.work.done * seconds;
        Some(TimeLeft { runs, seconds: left })
    }

    fn base(&self, run: &RunPlan) -> &'a BasePlan {
        &self.plan.bases[run.base]
    }

    /// Takes the next run. A single process follows the order of the plan. One of several tasks first takes runs whose
    /// base model exists, then those of the base model that this task would make, which differs from that of its
    /// neighbors.
    fn next(&self, pending: &mut Vec<&'a RunPlan>) -> Option<&'a RunPlan> {
        let place = match self.folder.task() {
            None => 0,
            Some(task) => {
                let bases = self.plan.bases.len();
                let first = usize::try_from(task.index()).unwrap_or(0);
                let rank = |run: &RunPlan| {
                    let is_missing = !is_made(self.folder.path(), self.base(run));
                    (is_missing, (run.base + bases - first % bases) % bases)
                };
                pending.iter().enumerate().min_by_key(|(place, run)| (rank(run), *place))?.0
            }
        };
        (place < pending.len()).then(|| pending.remove(place))
    }

    fn row(&mut self, run: &'a RunPlan, part: SweepPart<'_>) -> Result<RunRow, Error> {
        let base = self.base(run);
        let base_tokens = self.make_base(run.base, base)?;
        let folder = self.folder.run_folder(&run.run_id);
        if let Some(command) = &self.settings.command {
            self.observer.tell(SweepEvent::Working {
                part,
                done_flops: self.work.done,
                total_flops: self.work.total(0.0),
                progress: None,
            });
            let row =
                command::row(self.settings, command, run, &folder, base_tokens, self.observer)?;
            let flops = RunCost::of_run(run, base)?.flops;
            self.work.end_run(flops, flops);
            return Ok(row);
        }
        let name = RunName { run_id: run.run_id.clone(), title: run.run_id.clone() };
        let flops = RunCost::of_run(run, base)?.flops;
        let summary = self.train(&run.config, &folder, name, part, flops)?;
        let done = operations(&summary, &run.config, &shape(base)?);
        self.work.end_run(done, flops);
        let row = summary.row.ok_or_else(|| {
            Error::data(
                format!("{}: expected a row in summary.json, got none", folder.display()),
                "remove the run's folder",
            )
        })?;
        Ok(RunRow {
            domain: run.domain.clone(),
            fingerprint: run.fingerprint.to_string(),
            base_tokens,
            ..row
        })
    }

    /// Makes a base model if it does not exist yet and returns the tokens that it has seen.
    fn make_base(&mut self, place: usize, base: &BasePlan) -> Result<Option<u64>, Error> {
        let config = match &base.origin {
            BaseOrigin::Given(_, tokens) => return Ok(*tokens),
            BaseOrigin::Pretrained(config) => config,
        };
        if let Some((message, numerical)) = self.lost.get(&place) {
            return Err(Error::Incomplete { message: message.clone(), numerical: *numerical });
        }
        let folder = base_folder(self.folder.path(), &base.name);
        if !is_made(self.folder.path(), base) {
            if let Err(error) = self.pretrain(base, config, &folder) {
                if error.kind() != ErrorKind::Interrupted {
                    let message = format!("base model {}: {}", base.name, reason(&error));
                    self.lost.insert(place, (message, error.kind() == ErrorKind::Numerical));
                }
                return Err(error);
            }
            let flops = RunCost::of_base(base)?.flops;
            self.work.done += flops;
            self.work.bases -= flops;
        }
        let summary = RunFolder::open(&folder)?.read_summary()?;
        let batch = config.mixture.batch_size.saturating_mul(config.mixture.sequence_length);
        Ok(Some(summary.best_step.saturating_mul(batch)))
    }

    /// Pretrains in `folder`; one of several tasks pretrains in a separate folder, which is renamed to `folder` at the
    /// end. If two tasks make the same model, the first one stays, because both have the same bytes.
    fn pretrain(&self, base: &BasePlan, config: &RunConfig, folder: &Path) -> Result<(), Error> {
        let own = self.own_folder(base, folder);
        if folder.join("summary.json").exists() {
            // Finished, but its weights are gone, so there is nothing to continue from.
            remove(folder)?;
        }
        let name = RunName { run_id: base.name.clone(), title: format!("base {}", base.name) };
        let part = SweepPart::Base { name: &base.name };
        let summary = self.train(config, &own, name, part, RunCost::of_base(base)?.flops)?;
        self.observer.tell(SweepEvent::BaseMade { part, summary: &summary });
        if !self.settings.keep_weights {
            remove(&RunFolder::open(&own)?.checkpoints())?;
        }
        if own != folder {
            self.rename_into_place(base, &own, folder)?;
        }
        Ok(())
    }

    /// Returns the folder in which this process makes a base model that is in `folder` at the end.
    fn own_folder(&self, base: &BasePlan, folder: &Path) -> PathBuf {
        let Some(task) = self.folder.task() else { return folder.to_owned() };
        let name = format!("{}.task-{}-of-{}", base.name, task.index(), task.count());
        folder.with_file_name(name)
    }

    /// Renames a base model of a task to its final folder, or removes it if another task was first.
    fn rename_into_place(&self, base: &BasePlan, own: &Path, folder: &Path) -> Result<(), Error> {
        let renamed = fs::rename(own, folder);
        if !is_made(self.folder.path(), base) {
            return renamed.map_err(|error| Error::io(folder, "rename to", error));
        }
        remove(own)
    }

    fn train(
        &self,
        config: &RunConfig,
        folder: &Path,
        name: RunName,
        part: SweepPart<'_>,
        flops: f64,
    ) -> Result<Summary, Error> {
        let mut trainer = Trainer::open(
            config,
            run_base(Path::new("")),
            folder,
            name,
            AllowedChanges::None,
            World::single(),
            self.observer.stop(),
        )?;
        let progress = |at: Progress| {
            let begun = fraction(at.step, at.steps) * flops;
            self.observer.tell(SweepEvent::Working {
                part,
                done_flops: self.work.done + begun,
                total_flops: self.work.total(begun),
                progress: Some(&at),
            });
        };
        Ok(trainer.run(Observer::new(&progress, self.observer.stop()))?)
    }
}

fn failure(run: &RunPlan, error: &Error) -> Failure {
    let (run_id, reason) = (run.run_id.clone(), reason(error));
    Failure { run_id, reason, numerical: error.kind() == ErrorKind::Numerical }
}

/// Formats an error with its causes in one line.
fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{FinishedCost, Work};

    #[test]
    fn what_is_left_is_expected_from_what_was_taken() {
        let mut work = Work { bases: 10.0, runs: 100.0, ..Work::default() };
        assert!((work.total(0.0) - 110.0).abs() < 1e-9, "nothing is known yet");
        work.end_run(20.0, 50.0);
        work.runs -= 50.0;
        work.bases -= 10.0;
        work.done += 10.0;
        // 30 are done; of the 50 that are left 40 % are expected.
        assert!((work.total(0.0) - 50.0).abs() < 1e-9);
        assert!((work.total(35.0) - 65.0).abs() < 1e-9, "a run that goes on for longer");
        assert!((FinishedCost::default().share() - 1.0).abs() < 1e-9);
    }
}
