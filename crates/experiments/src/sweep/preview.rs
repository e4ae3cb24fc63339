//! The preview of a sweep: its runs and its cost, before any step is done.

use std::collections::BTreeMap;
use std::path::Path;

use mixdown_runs::{CommonRecipe, RunFolder, Summary};
use mixdown_train::{ModelChoice, ModelConfig, Preview, RunConfig, peak_flops, training_flops};
use serde::Serialize;

use super::cost::{RunCost, shape};
use super::plan::{BaseOrigin, BasePlan, RunPlan, SweepPlan, base_folder};
use super::settings::SweepConfig;
use crate::error::Error;
use crate::runs::models::run_base;

/// The runs and the cost of a sweep, before any step is done.
#[derive(Debug, Serialize)]
pub struct SweepPreview {
    /// The settings that all runs share, as fields of their rows.
    pub recipe: BTreeMap<String, String>,
    /// The fields in which runs differ, so that they cannot be fitted together.
    pub different: BTreeMap<String, String>,
    /// The base models that would be made.
    pub bases: Vec<PartPreview>,
    /// The runs that would be done.
    pub runs: Vec<PartPreview>,
    /// The number of runs that are done already.
    pub done: usize,
    /// The tokens trained on, at most.
    pub tokens: u64,
    /// The floating point operations, evaluations included, at most.
    pub flops: f64,
    /// The seconds, at most.
    pub seconds: f64,
    /// The seconds, if the runs end as early as the finished ones.
    pub expected_seconds: f64,
    /// The origin of the rate behind both numbers of seconds.
    pub rate: RateOrigin,
    /// The memory of the largest part.
    pub memory_bytes: u64,
    /// The largest number of bytes on disk: base models, and the files of runs that are kept or being written.
    pub disk_bytes: u64,
    /// The free bytes on the disk, if the system reports them.
    pub available_disk_bytes: Option<u64>,
}

/// One base model or run to do.
#[derive(Debug, Serialize)]
pub struct PartPreview {
    /// The name of the base model or the id of the run.
    pub name: String,
    /// The steps, at most.
    pub steps: u64,
    /// The largest cost of the part.
    #[serde(flatten)]
    pub cost: RunCost,
    /// The seconds, at most.
    pub seconds: f64,
}

/// The origin of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateOrigin {
    /// The caller gave the rate of the largest model.
    Given,
    /// The rate was measured on the finished part of the sweep.
    Measured,
    /// The rate is half of that of a large matrix product on this machine.
    Machine,
}

/// A rate in operations per second with its origin.
#[derive(Debug, Clone, Copy)]
pub struct ComputeRate {
    /// Operations per second.
    pub flops_per_second: f64,
    /// The origin of the rate.
    pub rate: RateOrigin,
    /// The cost of the finished runs.
    pub taken: FinishedCost,
}

/// The operations of finished runs, and the most that they could have taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishedCost {
    /// Up to where they ended.
    pub flops: f64,
    /// Up to their horizons.
    pub most: f64,
}

impl FinishedCost {
    /// Returns the share of its largest cost that a run takes; 1 if none is finished.
    pub fn share(self) -> f64 {
        if self.most > 0.0 { self.flops / self.most } else { 1.0 }
    }
}

impl ComputeRate {
    /// Returns the rate from `tokens_per_second` of the largest model, else from the finished part of the sweep in
    /// `out`, else from a measurement of this machine.
    ///
    /// # Errors
    /// A given base model without a readable config.json.
    pub fn new(
        plan: &SweepPlan,
        out: &Path,
        tokens_per_second: Option<f64>,
    ) -> Result<Self, Error> {
        let (measured, taken) = measured(plan, out);
        let speed = |flops_per_second, rate| Self { flops_per_second, rate, taken };
        let Some(given) = tokens_per_second else {
            return Ok(match measured {
                Some(measured) => speed(measured, RateOrigin::Measured),
                None => speed(0.5 * peak_flops(), RateOrigin::Machine),
            });
        };
        let per_token = plan
            .bases
            .iter()
            .zip(length(plan))
            .map(|(base, length)| Ok(training_flops(&shape(base)?, length, 1)));
        let per_token = per_token.collect::<Result<Vec<f64>, Error>>()?;
        Ok(speed(given * per_token.into_iter().fold(0.0, f64::max), RateOrigin::Given))
    }
}

/// The sequence length, for each base model.
fn length(plan: &SweepPlan) -> impl Iterator<Item = u64> {
    let length = plan.runs.first().map_or(1, |run| run.config.mixture.sequence_length);
    std::iter::repeat(length)
}

/// Returns the mean rate over the sweep's finished parts in operations per second, and the cost of its finished runs.
fn measured(plan: &SweepPlan, out: &Path) -> (Option<f64>, FinishedCost) {
    let (mut flops, mut seconds, mut taken) = (0.0, 0.0, FinishedCost::default());
    let read = |folder: &Path| RunFolder::open(folder).and_then(|folder| folder.read_summary());
    for base in &plan.bases {
        let BaseOrigin::Pretrained(config) = &base.origin else { continue };
        if let (Ok(summary), Ok(model)) = (read(&base_folder(out, &base.name)), shape(base)) {
            flops += operations(&summary, config, &model);
            seconds += summary.seconds;
        }
    }
    for run in &plan.runs {
        let base = &plan.bases[run.base];
        let summary = read(&out.join("runs").join(&run.run_id));
        if let (Ok(summary), Ok(model)) = (summary, shape(base)) {
            taken.flops += operations(&summary, &run.config, &model);
            taken.most += RunCost::new(&run.config, &model).flops;
            seconds += summary.seconds;
        }
    }
    flops += taken.flops;
    ((seconds > 0.0).then(|| flops / seconds), taken)
}

/// Returns the operations of a finished run.
pub fn operations(summary: &Summary, config: &RunConfig, model: &ModelConfig) -> f64 {
    let mut done = config.clone();
    done.train.steps = summary.steps;
    RunCost::new(&done, model).flops
}

impl SweepPreview {
    /// Estimates the cost of the runs `pending` of `plan` in the folder `out`.
    ///
    /// # Errors
    /// Corpora or given models that cannot be opened or do not fit each other.
    pub(crate) fn new(
        settings: &SweepConfig,
        plan: &SweepPlan,
        (missing, pending): (&[&BasePlan], &[&RunPlan]),
        speed: ComputeRate,
        out: &Path,
    ) -> Result<Self, Error> {
        let part = |name: &str, steps: u64, cost: RunCost| PartPreview {
            name: name.to_owned(),
            steps,
            seconds: cost.flops / speed.flops_per_second.max(1.0),
            cost,
        };
        let mut bases = Vec::new();
        for base in missing {
            let BaseOrigin::Pretrained(config) = &base.origin else { continue };
            bases.push(part(&base.name, config.train.steps, RunCost::of_base(base)?));
        }
        let mut runs = Vec::new();
        for run in pending {
            let cost = RunCost::of_run(run, &plan.bases[run.base])?;
            runs.push(part(&run.run_id, run.config.train.steps, cost));
        }
        let total =
            bases.iter().chain(&runs).fold(RunCost::default(), |sum, part| sum.and(part.cost));
        let seconds = |parts: &[PartPreview]| parts.iter().map(|part| part.seconds).sum::<f64>();
        let needs = Needs::new(settings, plan, pending, out)?;
        let recipe = CommonRecipe::of(plan.runs.iter().map(RunPlan::recipe));
        Ok(Self {
            recipe: recipe.common.into_iter().collect(),
            different: recipe.different.into_iter().collect(),
            done: plan.runs.len() - pending.len(),
            tokens: total.tokens,
            flops: total.flops,
            seconds: seconds(&bases) + seconds(&runs),
            expected_seconds: seconds(&bases) + speed.taken.share() * seconds(&runs),
            rate: speed.rate,
            bases,
            runs,
            memory_bytes: needs.memory_bytes,
            disk_bytes: needs.disk_bytes,
            available_disk_bytes: needs.available_disk_bytes,
        })
    }
}

/// Bytes of memory and disk.
#[derive(Default)]
struct Needs {
    memory_bytes: u64,
    disk_bytes: u64,
    available_disk_bytes: Option<u64>,
}

impl Needs {
    fn new(
        settings: &SweepConfig,
        plan: &SweepPlan,
        pending: &[&RunPlan],
        out: &Path,
    ) -> Result<Self, Error> {
        let mut needs = Self::default();
        let (mut kept, mut largest) = (0_u64, 0);
        for (place, base) in plan.bases.iter().enumerate() {
            let own = pending.iter().filter(|run| run.base == place);
            let own = own.max_by_key(|run| run.config.train.steps);
            let Some(run) = own else { continue };
            let count = pending.iter().filter(|run| run.base == place).count();
            for (config, is_base) in configs(base, run) {
                let estimate = Preview::new(&config, run_base(Path::new("")), out)?.estimate;
                needs.memory_bytes = needs.memory_bytes.max(estimate.memory_bytes);
                needs.available_disk_bytes = estimate.available_disk_bytes;
                largest = largest.max(estimate.disk_bytes);
                if is_base {
                    kept = kept.saturating_add(estimate.parameters_bytes);
                } else if settings.keep_weights {
                    let count = u64::try_from(count).unwrap_or(u64::MAX);
                    kept = kept.saturating_add(estimate.disk_bytes.saturating_mul(count));
                }
            }
        }
        needs.disk_bytes = kept.saturating_add(largest);
        Ok(needs)
    }
}

/// Returns the pretraining of a base model, if there is one, and a run from it; a model that does not exist yet counts
/// as one with fresh weights.
fn configs(base: &BasePlan, run: &RunPlan) -> Vec<(RunConfig, bool)> {
    let mut finetuning = run.config.clone();
    match &base.origin {
        BaseOrigin::Given(..) => vec![(finetuning, false)],
        BaseOrigin::Pretrained(config) => {
            if let ModelChoice::Fresh(fresh) = config.model {
                finetuning.model = ModelChoice::Fresh(fresh);
            }
            vec![((**config).clone(), true), (finetuning, false)]
        }
    }
}
