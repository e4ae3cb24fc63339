//! A finished run in one record.

use std::collections::BTreeMap;

use mixdown_mixer::SourceShare;
use mixdown_runs::{EvalRecord, RunRow, ShareRecord, Summary};
use mixdown_shards::Fingerprint;

use crate::checkpoint::RunState;
use crate::config::run_config::{RunConfig, TrainConfig};
use crate::config::run_file::OF_BASE;
use crate::model::config::ModelConfig;
use crate::trainer::inputs::Inputs;
use crate::trainer::records::RunName;

/// Returns a hash of the fingerprints of everything that a run reads, in the order of their names. The architecture of
/// the base is left out, because tables of runs have hashes that are older than its fingerprint.
pub(crate) fn data_fingerprint(fingerprints: &BTreeMap<String, Fingerprint>) -> Fingerprint {
    let [_, architecture] = OF_BASE;
    let mut bytes = Vec::new();
    for (name, fingerprint) in fingerprints.iter().filter(|(name, _)| *name != architecture) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(fingerprint.as_bytes());
    }
    Fingerprint::of(&bytes)
}

/// The data of a summary.
pub(crate) struct FinishedRun<'a> {
    pub(crate) name: &'a RunName,
    pub(crate) config: &'a RunConfig,
    pub(crate) inputs: &'a Inputs,
    pub(crate) model: &'a ModelConfig,
    pub(crate) state: &'a RunState,
    pub(crate) data_fingerprint: Fingerprint,
}

impl FinishedRun<'_> {
    /// Returns the summary; shares are those of the whole run.
    pub(crate) fn summary(&self) -> Summary {
        let best = self.state.best.as_ref();
        Summary {
            run_id: self.name.run_id.clone(),
            title: self.name.title.clone(),
            best_step: best.map_or(0, |best| best.step),
            steps: self.state.step,
            steps_without_targets: self.state.steps_without_targets,
            before: self.state.before.clone(),
            best: best.map_or_else(Vec::new, |best| best.evals.clone()),
            last: self.state.last.clone(),
            shares: self.shares(self.state.step).into_iter().map(share_record).collect(),
            row: self.row(),
            model_parameters: self.model.parameters(),
            tokens_per_second: self.tokens_per_second(),
            seconds: self.state.seconds,
        }
    }

    fn shares(&self, step: u64) -> Vec<SourceShare> {
        self.inputs.mixer.shares(step.saturating_mul(self.inputs.mixer.batch_size()))
    }

    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    fn tokens_per_second(&self) -> f64 {
        let batch = self.inputs.mixer.batch_size() * self.inputs.mixer.sequence_length();
        self.state.step.saturating_mul(batch) as f64 / self.state.training_seconds.max(1e-9)
    }

    /// Returns the row for the scaling laws, if the run has a target source and measures both losses.
    ///
    /// All values are those at the best step: the losses, and `p_realised`, the share of pretraining sequences
    /// delivered until then (the requested share if the best step is 0). Without a source of pretraining data p is 0.
    /// `target_tokens` is the number of targets that the run can draw: those of the complete sequences of an epoch.
    fn row(&self) -> Option<RunRow> {
        let (eval, train) = (&self.config.eval, &self.config.train);
        let pretraining = eval.pretraining.as_ref()?;
        let best = self.state.best.as_ref()?;
        let sources = self.inputs.mixer.mixture().sources();
        let target = sources.iter().position(|source| source.name == eval.select)?;
        let target = self.inputs.mixer.mixture().sequences(u32::try_from(target).ok()?)?;
        let shares = self.shares(best.step);
        let share = shares.iter().find(|share| share.name == *pretraining);
        let realised = |share: &SourceShare| match best.step {
            0 => share.requested,
            _ => share.realised,
        };
        let target_eval = EvalRecord::find(&best.evals, &eval.select)?;
        let batch = self.inputs.mixer.batch_size() * self.inputs.mixer.sequence_length();
        Some(RunRow {
            run_id: self.name.run_id.clone(),
            domain: eval.select.clone(),
            model_size: self.model.parameters(),
            non_embedding_parameters: self.model.non_embedding_parameters(),
            target_tokens: target.saturating_mul(self.inputs.mixer.sequence_length()),
            p_requested: share.map_or(0.0, |share| share.requested),
            p_realised: share.map_or(0.0, realised),
            best_step: best.step,
            target_loss: target_eval.loss,
            pretraining_loss: EvalRecord::find(&best.evals, pretraining)?.loss,
            pretraining_loss_before: EvalRecord::find(&self.state.before, pretraining)?.loss,
            evaluation_tokens: target_eval.tokens,
            seed: self.config.mixture.seed,
            fingerprint: self.data_fingerprint.to_string(),
            learning_rate: train.learning_rate,
            schedule: Some(train.schedule.name().to_owned()),
            horizon_steps: Some(train.steps),
            warmup_steps: Some(train.warmup_steps),
            batch_tokens: Some(batch),
            sequence_length: Some(self.inputs.mixer.sequence_length()),
            weight_decay: Some(train.weight_decay),
            optimizer: Some(optimizer(train)),
            method: Some(method(train).to_owned()),
            tokenizer: self.model.tokenizer_fingerprint.map(|fingerprint| fingerprint.to_string()),
            base_tokens: None,
        })
    }
}

/// Returns the name of the optimizer, with the decay of the average if an average is evaluated.
fn optimizer(train: &TrainConfig) -> String {
    train.ema.map_or_else(|| "adamw".to_owned(), |decay| format!("adamw, ema {decay}"))
}

/// Returns the name of the training method.
fn method(train: &TrainConfig) -> &'static str {
    match (&train.lora, train.freeze.is_empty()) {
        (Some(_), _) => "lora",
        (None, true) => "full",
        (None, false) => "partial",
    }
}

fn share_record(share: SourceShare) -> ShareRecord {
    ShareRecord {
        source: share.name,
        requested: share.requested,
        realised: share.realised,
        sequences: share.sequences,
        tokens: share.tokens,
        unique_tokens: share.unique_tokens,
        epochs: share.epochs,
    }
}
