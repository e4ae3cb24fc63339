//! The estimate of a run's operations, memory and disk space, computed before it starts.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

#[cfg(feature = "cuda")]
use crate::config::compute::DeviceChoice;
use crate::config::compute::{ComputePath, PassOptions};
use crate::config::run_config::RunConfig;
use crate::config::run_file::{RunBase, resolved};
use crate::engine::decoder::pass_bytes;
use crate::engine::kernels::matrix::{Existing, Matrix, product};
use crate::engine::resident;
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::shape::ModelShape;
use crate::optim::schedule::Schedule;
use crate::optim::trainable_state::TrainableSizes;
use crate::trainer::inputs::Inputs;

/// The bytes that a run will need, by use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Parameters in f32.
    pub parameters_bytes: u64,
    /// Gradients of the trained parameters in f32.
    pub gradients_bytes: u64,
    /// AdamW's two moments in f32.
    pub moments_bytes: u64,
    /// The average of the trained parameters in f32; 0 without an average.
    pub average_bytes: u64,
    /// An adapter in f32 and the original matrices that it changes; 0 without an adapter.
    pub adapter_bytes: u64,
    /// The copy of the changing state from which a checkpoint is written.
    pub snapshot_bytes: u64,
    /// Activations, scratch buffers and logits of the rows that are computed at once.
    pub pass_bytes: u64,
    /// The sum of the above; with a GPU, without the gradients and the pass, which are on the device.
    pub memory_bytes: u64,
    /// The bytes that a GPU needs, if the run uses one: parameters, gradients, moments and the pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// The free memory, if the system reports it.
    pub available_memory_bytes: Option<u64>,
    /// Checkpoints with their moments, one more than are kept, and best/, in bytes of disk.
    pub disk_bytes: u64,
    /// The free space on the disk of the run's folder, if the system reports it.
    pub available_disk_bytes: Option<u64>,
}

impl Estimate {
    /// Returns the bytes for training `trainable` of a model with `batch_size` rows of `length` tokens per batch and
    /// `keep_checkpoints` checkpoints beside best/ under `out`.
    pub(crate) fn new(
        shape: &ModelShape,
        trainable: TrainableSizes,
        [length, batch_size]: [u64; 2],
        options: PassOptions,
        keep_checkpoints: u64,
        out: &Path,
    ) -> Self {
        let bytes = |numbers: u64| numbers.saturating_mul(4);
        let parameters_bytes = bytes(shape.config.parameters());
        let tracked_bytes = bytes(trainable.tracked);
        let moments_bytes = 2 * tracked_bytes;
        let average_bytes = bytes(trainable.average);
        let is_adapter = trainable.is_adapter();
        // The engine that only checks the other goes by way of all gradients.
        let whole = is_adapter && options.path == ComputePath::Reference;
        let gradients_bytes = tracked_bytes + if whole { parameters_bytes } else { 0 };
        let adapter_bytes = if is_adapter { tracked_bytes + bytes(trainable.base) } else { 0 };
        // What a checkpoint has beside weights, or an adapter for PEFT in their place.
        let rest_bytes = moments_bytes + average_bytes + if is_adapter { tracked_bytes } else { 0 };
        let kept_bytes = if is_adapter { tracked_bytes } else { parameters_bytes };
        let snapshot_bytes =
            parameters_bytes + rest_bytes + if is_adapter { tracked_bytes } else { 0 };
        let (pass_bytes, device_bytes) = passes(shape, trainable, [length, batch_size], options);
        let of_pass = if device_bytes.is_some() { 0 } else { gradients_bytes + pass_bytes };
        let memory_bytes = [of_pass, moments_bytes, average_bytes, adapter_bytes, snapshot_bytes]
            .into_iter()
            .fold(parameters_bytes, u64::saturating_add);
        // A checkpoint replaces one only when it is whole; best/ may be of a checkpoint gone by.
        let checkpoints =
            keep_checkpoints.saturating_add(1).saturating_mul(kept_bytes + rest_bytes);
        let best_bytes = parameters_bytes + if is_adapter { tracked_bytes } else { 0 };
        Self {
            parameters_bytes,
            gradients_bytes,
            moments_bytes,
            average_bytes,
            adapter_bytes,
            snapshot_bytes,
            pass_bytes,
            memory_bytes,
            device_bytes,
            available_memory_bytes: available_memory(),
            disk_bytes: checkpoints.saturating_add(2 * best_bytes),
            available_disk_bytes: fs4::available_space(existing(out)).ok(),
        }
    }

    /// Checks the estimate before the run allocates anything; `taken_disk` bytes of the disk are already the run's.
    ///
    /// # Errors
    /// The run needs more memory or more disk space than is free.
    pub(crate) fn check(&self, out: &Path, taken_disk: u64) -> Result<(), Error> {
        let needed = self.memory_bytes;
        if let Some(got) = self.available_memory_bytes.filter(|&got| needed > got) {
            return Err(Error::Memory { expected: needed, got, pass: self.pass_bytes });
        }
        let needed = self.disk_bytes.saturating_sub(taken_disk);
        match self.available_disk_bytes.filter(|&got| needed > got) {
            Some(got) => Err(Error::Disk { path: out.to_owned(), expected: needed, got }),
            None => Ok(()),
        }
    }
}

/// Returns the bytes of a pass, and the total that a GPU needs if the run uses one.
#[cfg_attr(
    not(feature = "cuda"),
    expect(unused_variables, reason = "on the CPU what is trained is counted by its caller")
)]
fn passes(
    shape: &ModelShape,
    trainable: TrainableSizes,
    rows: [u64; 2],
    options: PassOptions,
) -> (u64, Option<u64>) {
    match options.device {
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(_) => {
            let [resident, pass] = on_device(shape, trainable, rows, options);
            (pass, Some(resident.saturating_add(pass)))
        }
        _ => (pass_bytes(&shape.config, &shape.layout, rows, options), None),
    }
}

#[cfg(feature = "cuda")]
fn on_device(
    shape: &ModelShape,
    trainable: TrainableSizes,
    rows: [u64; 2],
    options: PassOptions,
) -> [u64; 2] {
    let side = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let (precision, policy) = (options.precision, options.activation_policy());
    let micro_batch = options.micro_batch_size.map(side);
    let pass = crate::engine::cuda::CudaPass { precision, policy, micro_batch };
    crate::engine::cuda::device_bytes(&shape.config, &shape.layout, trainable, rows.map(side), pass)
}

/// Returns the folder, or the nearest existing one above it.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Returns the memory that is free without swapping, at most what the limits of the process's control group leave;
/// `None` where the system does not say it.
///
/// The group's page cache counts as free, because the kernel takes it back before a limit is hit: after a large corpus
/// was read, the bytes that a group uses are nearly its limit.
fn available_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let free_bytes = Some(system.available_memory()).filter(|&free_bytes| free_bytes > 0)?;
    let limits = get_current_pid().ok().and_then(|own| {
        let (only, nothing) = (ProcessesToUpdate::Some(&[own]), ProcessRefreshKind::nothing());
        system.refresh_processes_specifics(only, false, nothing);
        system.process(own)?.cgroup_limits()
    });
    let left = limits.map(|limits| limits.total_memory.saturating_sub(limits.rss));
    Some(left.map_or(free_bytes, |left_bytes| free_bytes.min(left_bytes)))
}

/// The plan of a run: its size, steps, operations, time, memory and disk space.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The number of the model's parameters.
    pub parameters: u64,
    /// The number of trained parameters, which may be those of an adapter.
    pub trainable_parameters: u64,
    /// The number of optimizer steps.
    pub steps: u64,
    /// The target tokens of one step.
    pub batch_tokens: u64,
    /// The tokens of one sequence.
    pub sequence_length: u64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The number of steps of the warm-up.
    pub warmup_steps: u64,
    /// The schedule after the warm-up.
    pub schedule: Schedule,
    /// The floating-point operations of the whole run, without evaluations.
    pub flops: f64,
    /// The time of these operations at half the rate of a large matrix product, which is measured now.
    pub seconds: f64,
    /// The bytes of memory and disk.
    pub estimate: Estimate,
}

impl Preview {
    /// Computes the plan of a run of `config` into `out`. Nothing is written, and no weights are read or drawn.
    ///
    /// # Errors
    /// Those of [`Trainer::open`](crate::Trainer::open), except for a folder of another run and for too little memory
    /// or disk space.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::path::Path;
    ///
    /// use mixdown_train::{Preview, RunBase, RunConfig};
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
    /// let preview = Preview::new(&config, base, &place.path().join("run"))?;
    /// assert_eq!((preview.steps, preview.batch_tokens), (3, 16));
    /// assert!(preview.estimate.memory_bytes > 4 * preview.parameters);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: &RunConfig, base: RunBase, out: &Path) -> Result<Self, Error> {
        config.check()?;
        let mut config = resolved(config, base.folder)?;
        let inputs = Inputs::open(&config)?;
        let shape = inputs.shape(&config, base.tokenizer)?;
        config.train.complete(&config.model, shape.config.parameters());
        let (steps, length) = (config.train.steps, config.mixture.sequence_length);
        let batch_tokens = config.mixture.batch_size.saturating_mul(length);
        let trainable = TrainableSizes::new(&shape, &config)?;
        let flops = if trainable.is_adapter() { adapter_flops } else { training_flops };
        let flops = flops(&shape.config, length, steps.saturating_mul(batch_tokens));
        Ok(Self {
            parameters: shape.config.parameters(),
            trainable_parameters: trainable.trainable,
            steps,
            batch_tokens,
            sequence_length: length,
            learning_rate: config.train.rate().peak,
            warmup_steps: config.train.warmup_steps,
            schedule: config.train.schedule,
            flops,
            seconds: flops / (0.5 * resident::peak_flops(&shape, config.train.pass())?),
            estimate: estimate(&config, &shape, out)?,
        })
    }
}

/// Returns the bytes for training a model of this shape with the settings of `config`.
///
/// # Errors
/// The model lacks a target, or a pattern matches nothing.
pub(crate) fn estimate(
    config: &RunConfig,
    shape: &ModelShape,
    out: &Path,
) -> Result<Estimate, Error> {
    let rows = [config.mixture.sequence_length, config.mixture.batch_size];
    let trainable = TrainableSizes::new(shape, config)?;
    let (pass, keep_checkpoints) = (config.train.pass(), config.train.keep_checkpoints);
    Ok(Estimate::new(shape, trainable, rows, pass, keep_checkpoints, out))
}

/// Returns the floating-point operations of training on `tokens` tokens: `6 N + 12 L H Q T` each. N is the number of
/// parameters in matrix products (all but an embedding table); the second term is attention, with L layers of H heads
/// of width Q over T positions (Chowdhery et al., PaLM, 2022, appendix B).
///
/// ```
/// use mixdown_train::{FreshModel, training_flops};
///
/// let config = FreshModel::of_size("tiny", 500, 0).unwrap().config(128);
/// let flops = training_flops(&config, 128, 1_000);
/// assert!(flops > 6.0 * config.non_embedding_parameters() as f64 * 1_000.0);
/// ```
pub fn training_flops(config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    flops(6.0, config, length, tokens)
}

/// Returns the operations of training an adapter: without the gradients of matrices, `4 N` instead of `6 N`. The
/// products of the adapter itself are left out, which are a few percent at rank 8.
pub(crate) fn adapter_flops(config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    flops(4.0, config, length, tokens)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn flops(factor: f64, config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    let projection = config.vocab_size.saturating_mul(config.hidden_size);
    let multiplied = config.non_embedding_parameters().saturating_add(projection) as f64;
    let attended = (config.heads.saturating_mul(config.head_width)) as f64;
    (factor * multiplied + 12.0 * config.layers as f64 * attended * length as f64) * tokens as f64
}

/// Measures the operations per second of a large f32 matrix product on all threads: the best of a few, about 50 ms.
///
/// ```
/// assert!(mixdown_train::peak_flops() > 0.0);
/// ```
pub fn peak_flops() -> f64 {
    const SIDE: usize = 768;
    let (lhs, rhs) = (vec![0.5; SIDE * SIDE], vec![0.25; SIDE * SIDE]);
    let mut out = vec![0.0; SIDE * SIDE];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let (lhs, rhs) = (Matrix::new(&lhs, SIDE, SIDE), Matrix::new(&rhs, SIDE, SIDE));
        product::<f32>(&mut out, Existing::Replace, lhs, rhs);
        best = best.min(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let operations = 2.0 * (SIDE * SIDE * SIDE) as f64;
    operations / best.max(1e-9)
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::{Estimate, available_memory};
    use crate::config::compute::{PassOptions, Recompute};
    use crate::error::Error;
    use crate::model::config::tests::tiny;
    use crate::model::shape::ModelShape;
    use crate::optim::trainable_state::TrainableSizes;

    fn estimate(options: PassOptions) -> Estimate {
        let shape = ModelShape::fresh(&tiny()).unwrap();
        let tracked = shape.config.parameters();
        let trainable = TrainableSizes { tracked, trainable: tracked, ..TrainableSizes::default() };
        Estimate::new(&shape, trainable, [32, 64], options, 2, std::env::temp_dir().as_path())
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let estimate = estimate(PassOptions::default());
        let out = "out".as_ref();
        estimate.check(out, 0).unwrap();
        // Nothing is there when the check is made.
        let needed = estimate.memory_bytes;
        let memory = |free| Estimate { available_memory_bytes: free, ..estimate.clone() };
        memory(Some(needed)).check(out, 0).unwrap();
        memory(None).check(out, 0).unwrap();
        let error = memory(Some(needed - 1)).check(out, 0).unwrap_err();
        assert!(matches!(error, Error::Memory { expected, got, .. } if expected == got + 1));
        assert!(
            error.kind() == ErrorKind::Configuration
                && error.to_string().contains("micro_batch_size")
        );
        let disk = |free| Estimate { available_disk_bytes: free, ..estimate.clone() };
        let needed = estimate.disk_bytes;
        let error = disk(Some(needed - 1)).check(out, 0).unwrap_err();
        assert!(matches!(error, Error::Disk { expected, got, .. } if expected == got + 1));
        // The checkpoints of a run that continues are already on the disk.
        disk(Some(needed - 1)).check(out, 1).unwrap();
    }

    #[test]
    fn fewer_rows_and_recomputing_take_less() {
        let pass = |micro_batch_size, recompute| {
            estimate(PassOptions { micro_batch_size, recompute, ..PassOptions::default() })
                .pass_bytes
        };
        let [all, one] = [None, Some(1)].map(|rows| pass(rows, Recompute::Nothing));
        assert!(one < all / 8 && pass(None, Recompute::Blocks) < all);
        if cfg!(target_os = "linux") {
            assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
