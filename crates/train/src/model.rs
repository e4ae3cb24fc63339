//! A model: its shape, its parameters in one flat buffer, and the files it came with.

pub(crate) mod config;
pub(crate) mod folder;
pub(crate) mod initial;
pub(crate) mod layout;
pub(crate) mod place;
pub(crate) mod shape;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device};
use mixdown_mixer::Batch;
use mixdown_shards::{Corpus, Manifest};

use crate::adapter::AdapterGradients;
use crate::config::compute::{ComputePath, DeviceChoice, PassOptions};
use crate::engine::decoder::{ActivationPolicy, Decoder};
use crate::engine::reference::Reference;
use crate::engine::rows::Rows;
use crate::engine::{CachedDecoding, Engine, NEVER};
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Layout;
use crate::model::place::ModelPlace;
use crate::model::shape::{ModelShape, TokenizerFingerprint};
use crate::weights::hugging_face::{Companions, tensors};
use crate::weights::sums;
use crate::weights::weights_file::{SHARD_BYTES, read_model, write_model};
use crate::weights::{CONFIG_FILE, write_json};

/// A decoder in f32 on the CPU.
///
/// Results do not depend on the number of threads, bit for bit.
pub struct Model {
    shape: ModelShape,
    parameters: Vec<f32>,
    companions: Companions,
    engine: Box<dyn Engine>,
    device: DeviceChoice,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("config", self.config()).finish_non_exhaustive()
    }
}

impl Model {
    /// Makes a fresh model: normal weights with standard deviation 0.02 from ChaCha, the projections onto the residual
    /// stream scaled by 1/√(2·layers), the weights of norms one, and biases zero.
    ///
    /// # Errors
    /// The shape is invalid or has more than 2^34 parameters; there is not enough memory for the weights.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mixdown_mixer::Batch;
    /// use mixdown_train::{FreshModel, Model};
    ///
    /// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
    /// let mut model = Model::new(&shape.config(8), 3)?;
    /// let batch =
    ///     Batch { tokens: vec![1, 2, 3, 4, 5], rows: 1, sequence_length: 4, ..Batch::default() };
    /// // A fresh model knows nothing: its loss is about ln 40.
    /// let losses = model.losses(&batch)?;
    /// assert!(losses.iter().all(|loss| (loss - 40_f32.ln()).abs() < 0.5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: &ModelConfig, seed: u64) -> Result<Self, Error> {
        Self::fresh(ModelShape::fresh(config)?, seed)
    }

    /// Makes a fresh model of a checked shape.
    pub(crate) fn fresh(shape: ModelShape, seed: u64) -> Result<Self, Error> {
        let parameters = initial::parameters(&shape.config, &shape.layout, seed)?;
        Ok(Self::of(shape, parameters, Companions::default()))
    }

    /// Opens a Hugging Face folder: config.json and model.safetensors or its shards, in f32, f16 or
    /// bf16, and the tokenizer and templates that go with them. Of a run's folder it opens best/
    /// ([`ModelPlace`] tells which folder that is).
    ///
    /// # Errors
    /// A missing file; an architecture other than those of [`Family`](crate::Family); missing or
    /// unexpected tensors, listed; a tensor of another shape; a damaged file.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mixdown_train::{FreshModel, Model};
    ///
    /// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
    /// let model = Model::new(&shape.config(8), 3)?;
    /// let folder = tempfile::tempdir()?;
    /// model.save(folder.path())?;
    /// assert_eq!(Model::load(folder.path())?.parameters(), model.parameters());
    /// # Ok(())
    /// # }
    /// ```
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let folder = &ModelPlace::find(Path::new(""), folder)?.folder;
        Self::load_shape(folder, ModelShape::read(folder)?)
    }

    /// Loads the weights and files of a folder whose shape was read, and checks them against its sums, if it has any.
    pub(crate) fn load_shape(folder: &Path, shape: ModelShape) -> Result<Self, Error> {
        let way_out = "take another copy of it or, where the change is meant, copy the folder to another place without \
                       BLAKE3SUMS";
        sums::check(folder, way_out)?;
        Self::load_unchecked(folder, shape)
    }

    /// Does what [`load_shape`](Self::load_shape) does, for a folder whose sums were checked.
    pub(crate) fn load_unchecked(folder: &Path, shape: ModelShape) -> Result<Self, Error> {
        let tensors = tensors(&shape.config, &shape.layout);
        let parameters = read_model(folder, &shape.config, &tensors, shape.layout.len)?;
        Ok(Self::of(shape, parameters, Companions::read(folder)?))
    }

    fn of(shape: ModelShape, parameters: Vec<f32>, companions: Companions) -> Self {
        let engine =
            Box::new(Decoder::new(&shape.config, &shape.layout, ActivationPolicy::Keep, None));
        Self { shape, parameters, companions, engine, device: DeviceChoice::Cpu }
    }

    /// Takes the tokenizer of `folder`'s own tokenizer.json, where it has one, for the model's, whatever config.json
    /// says: tokens may have been added since. Corpora of another tokenizer are then refused.
    ///
    /// # Errors
    /// A tokenizer.json that cannot be read.
    pub fn take_tokenizer(
        &mut self,
        folder: &Path,
        fingerprint: TokenizerFingerprint,
    ) -> Result<(), Error> {
        self.shape.take_tokenizer(folder, fingerprint)
    }

    /// Sets the way that passes are computed.
    ///
    /// # Errors
    /// Returns an error for a micro-batch of no rows, and for a device that this build or this machine does not have or
    /// that has too little memory.
    pub fn set_pass(&mut self, options: PassOptions) -> Result<(), Error> {
        options.check()?;
        let rows = options.micro_batch_size.and_then(|rows| usize::try_from(rows).ok());
        self.engine = match (options.device, options.path) {
            #[cfg(feature = "cuda")]
            (DeviceChoice::Cuda(number), _) => self.on_gpu(number, options, rows)?,
            (_, ComputePath::Fast) => Box::new(Decoder::new(
                self.config(),
                self.layout(),
                options.activation_policy(),
                rows,
            )),
            (_, ComputePath::Reference) => {
                Box::new(Reference::new(self.config(), &Device::Cpu, DType::F32)?)
            }
        };
        self.device = options.device;
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(
        &self,
        number: u32,
        options: PassOptions,
        micro_batch: Option<usize>,
    ) -> Result<Box<dyn Engine>, Error> {
        use crate::engine::cuda::{CudaDecoder, CudaPass, open};

        let (precision, policy) = (options.precision, options.activation_policy());
        let pass = CudaPass { precision, policy, micro_batch };
        let ordinal = usize::try_from(number).unwrap_or(usize::MAX);
        let gpu = open(ordinal, precision, self.layout().sizes.head_width)?;
        Ok(Box::new(CudaDecoder::new(self.config(), self.layout(), pass, gpu, &self.parameters)?))
    }

    /// Lets a test replace the model's engine.
    #[cfg(test)]
    pub(crate) fn wrap_engine(&mut self, wrap: impl FnOnce(Box<dyn Engine>) -> Box<dyn Engine>) {
        let nothing = Reference::new(self.config(), &Device::Cpu, DType::F32).unwrap();
        let engine = std::mem::replace(&mut self.engine, Box::new(nothing));
        self.engine = wrap(engine);
    }

    /// Returns whether parameters, gradients and moments are on a device; the host's copies are then out of date.
    pub(crate) fn is_resident(&self) -> bool {
        self.device != DeviceChoice::Cpu
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn parameters_and_engine(&mut self) -> (&mut [f32], &mut dyn Engine) {
        (&mut self.parameters, self.engine.as_mut())
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn engine_mut(&mut self) -> &mut dyn Engine {
        self.engine.as_mut()
    }

    /// Writes config.json, the weights in f32 (in shards of 5 GB) and the files the model came with
    /// into an existing folder, synced to the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        self.snapshot().save(folder, &self.parameters)
    }

    /// Returns a copy without the parameters, for the thread that writes it.
    pub(crate) fn snapshot(&self) -> ModelSnapshot {
        ModelSnapshot { shape: self.shape.clone(), companions: self.companions.clone() }
    }

    /// Returns the model's architecture and sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.shape.config
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.shape.layout
    }

    /// Returns the shape: everything but the weights.
    pub(crate) fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Returns the bytes of a file that came with the model.
    pub(crate) fn companion(&self, name: &str) -> Option<&[u8]> {
        self.companions.get(name)
    }

    /// Returns the files that came with the model.
    pub(crate) fn companions_mut(&mut self) -> &mut Companions {
        &mut self.companions
    }

    /// Returns all trainable parameters: the embedding, the blocks, the last norm and the output projection.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut Vec<f32> {
        &mut self.parameters
    }

    /// Records the corpus that the model is trained on: config.json will name its tokenizer and the ids that begin and
    /// end its texts.
    pub(crate) fn note_corpus(&mut self, manifest: &Manifest) {
        let config = &mut self.shape.config;
        config.bos_token_id = manifest.beginning_of_text.map(u64::from);
        config.eos_token_id = Some(u64::from(manifest.end_of_text));
        config.tokenizer_fingerprint = Some(manifest.tokenizer_fingerprint);
    }

    /// Refuses a corpus whose ids are not those of this model's tokenizer.
    pub(crate) fn check_corpus(&self, corpus: &Corpus) -> Result<(), Error> {
        self.shape.check_corpus(corpus)
    }

    /// Returns a zero gradient for every parameter; an empty buffer if the gradients are on a device.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn zero_gradients(&self) -> Result<Vec<f32>, Error> {
        initial::zeros(if self.is_resident() { 0 } else { self.parameters.len() })
    }

    /// Returns the cross-entropy of every target of `batch` in nats, \[rows · T\], or 0 for a target that does not
    /// count, and adds the gradients of their sum divided by `target_tokens` to `gradients`.
    ///
    /// With the number of targets of the batch, that is the gradient of the mean. With the number of a larger batch,
    /// the gradients of its parts add up to that of the whole.
    ///
    /// # Errors
    /// The batch is empty or its buffers do not have its sizes; a sequence is longer than the model's limit; an id is
    /// outside the vocabulary; `target_tokens` is 0; the gradients have the length of another model.
    pub fn losses_and_gradients(
        &mut self,
        batch: &Batch,
        target_tokens: u64,
        gradients: &mut [f32],
    ) -> Result<Vec<f32>, Error> {
        self.losses_and_gradients_until(batch, target_tokens, gradients, &NEVER)
    }

    /// Does the same until the stop flag is set; then it returns [`Error::Stopped`] before the next micro-batch, and
    /// `gradients` contains those of some rows.
    pub(crate) fn losses_and_gradients_until(
        &mut self,
        batch: &Batch,
        target_tokens: u64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        let divisor = divisor(target_tokens)?;
        if !self.is_resident() && gradients.len() != self.parameters.len() {
            let expected = format!("{} numbers", self.parameters.len());
            return Err(Error::setting("gradients", expected, gradients.len()));
        }
        let rows = Rows::new(batch, self.config())?;
        self.engine.losses_and_gradients(&self.parameters, &rows, divisor, gradients, stop)
    }

    /// Does the same with the gradients of an adapter that is merged into the parameters.
    pub(crate) fn losses_and_adapter_gradients(
        &mut self,
        batch: &Batch,
        target_tokens: u64,
        adapter: AdapterGradients<f32>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        let rows = Rows::new(batch, self.config())?;
        let divisor = divisor(target_tokens)?;
        self.engine.losses_and_adapter_gradients(&self.parameters, &rows, divisor, adapter, stop)
    }

    /// Makes the workspace for `sequences` sequences that grow token by token to `capacity` positions each.
    pub(crate) fn cached(
        &mut self,
        sequences: usize,
        capacity: usize,
    ) -> Result<Box<dyn CachedDecoding + '_>, Error> {
        let Self { engine, shape, parameters, .. } = self;
        engine.cached((&shape.config, &shape.layout), parameters, sequences, capacity)
    }

    /// Returns the cross-entropy of every target of `batch` in nats, \[rows · T\], or 0 for a target that does not
    /// count.
    ///
    /// # Errors
    /// As [`losses_and_gradients`](Self::losses_and_gradients).
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<f32>, Error> {
        self.losses_until(batch, &NEVER)
    }

    /// Does the same until the stop flag is set; then it returns [`Error::Stopped`] before the next micro-batch.
    pub(crate) fn losses_until(
        &mut self,
        batch: &Batch,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        let rows = Rows::new(batch, self.config())?;
        self.engine.losses(&self.parameters, &rows, stop)
    }
}

/// A model without its parameters.
pub(crate) struct ModelSnapshot {
    shape: ModelShape,
    companions: Companions,
}

impl ModelSnapshot {
    /// As [`Model::save`].
    pub(crate) fn save(&self, folder: &Path, parameters: &[f32]) -> Result<(), Error> {
        let ModelShape { config, layout } = &self.shape;
        write_json(&folder.join(CONFIG_FILE), &config.to_json())?;
        self.companions.write(folder)?;
        write_model(folder, &tensors(config, layout), parameters, SHARD_BYTES)
    }
}

/// The divisor of sums of losses.
#[expect(clippy::cast_precision_loss, reason = "a batch is far shorter than 2^53 tokens")]
fn divisor(target_tokens: u64) -> Result<f64, Error> {
    match target_tokens {
        0 => Err(Error::setting("target_tokens", "at least 1", target_tokens)),
        tokens => Ok(tokens as f64),
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;
    use mixdown_mixer::Batch;

    use super::Model;
    use crate::config::compute::{ComputePath, DeviceChoice, PassOptions, Precision};
    use crate::engine::kernels::check::on_threads;
    use crate::model::config::ModelConfig;
    use crate::model::config::tests::{all_kinds, tiny};

    fn batch(rows: u64, length: u64, seed: u64) -> Batch {
        let tokens = (0..rows * (length + 1)).map(|i| u32::try_from((i * i + seed) % 40).unwrap());
        Batch { tokens: tokens.collect(), rows, sequence_length: length, ..Batch::default() }
    }

    /// Returns the losses, and the gradients of their sum divided by `targets`.
    fn run(model: &mut Model, batch: &Batch, targets: u64) -> (Vec<f32>, Vec<f32>) {
        let mut gradients = model.zero_gradients().unwrap();
        let losses = model.losses_and_gradients(batch, targets, &mut gradients).unwrap();
        (losses, gradients)
    }

    fn worst(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn what_this_build_or_the_cpu_cannot_compute_is_refused() {
        let message = |options: PassOptions| {
            let mut model = Model::new(&tiny(), 1).unwrap();
            let error = model.set_pass(options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            error.to_string()
        };
        let narrow = PassOptions { precision: Precision::Bf16, ..PassOptions::default() };
        let expected = "train.precision: expected \"f32\", or train.device = \"cuda\", got bf16";
        assert_eq!(message(narrow), expected);
        let there = PassOptions { device: DeviceChoice::Cuda(1), ..PassOptions::default() };
        if cfg!(feature = "cuda") {
            let reference = PassOptions { path: ComputePath::Reference, ..there };
            let expected =
                "train.path: expected \"fast\", or train.device = \"cpu\", got reference";
            assert_eq!(message(reference), expected);
        } else {
            let expected = "train.device: expected \"cpu\", or a mixdown built with --features \
                            cuda (docs/guide/gpu.md), got cuda:1";
            assert_eq!(message(there), expected);
        }
    }

    #[test]
    fn gradients_of_parts_add_up_to_that_of_the_batch_whatever_counts() {
        for config in all_kinds() {
            let mut model = Model::new(&config, 1).unwrap();
            let mask: Vec<u8> = (0..24).map(|i| u8::from(i % 5 > 1 || i > 20)).collect();
            let whole = Batch { loss_mask: mask.clone(), ..batch(4, 6, 2) };
            let targets = whole.loss_targets();
            let (losses, all) = run(&mut model, &whole, targets);
            let part = |rows: std::ops::Range<usize>| Batch {
                tokens: whole.tokens[rows.start * 7..rows.end * 7].to_vec(),
                loss_mask: mask[rows.start * 6..rows.end * 6].to_vec(),
                rows: rows.len() as u64,
                ..whole.clone()
            };
            let (first, one) = run(&mut model, &part(0..1), targets);
            let (second, three) = run(&mut model, &part(1..4), targets);
            assert!(worst(&losses, &[first, second].concat()) < 1e-6);
            let sum: Vec<f32> = one.iter().zip(&three).map(|(a, b)| a + b).collect();
            assert!(worst(&all, &sum) < 1e-6, "{}", config.family);
            // The same by rows computed at once.
            let options = PassOptions { micro_batch_size: Some(1), ..PassOptions::default() };
            model.set_pass(options).unwrap();
            assert!(worst(&all, &run(&mut model, &whole, targets).1) < 1e-6);
        }
    }

    #[test]
    fn only_targets_that_count_have_a_loss() {
        let mut model = Model::new(&tiny(), 1).unwrap();
        let whole = batch(2, 6, 2);
        // All of the first row and none of the second is the first row alone.
        let masked = Batch { loss_mask: [[1; 6], [0; 6]].concat(), ..whole.clone() };
        let alone = Batch { tokens: whole.tokens[..7].to_vec(), rows: 1, ..whole };
        let (masked, alone) = (run(&mut model, &masked, 6), run(&mut model, &alone, 6));
        assert!(worst(&masked.0[..6], &alone.0) < 1e-6 && masked.0[6..] == [0.0; 6]);
        assert!(worst(&masked.1, &alone.1) < 1e-6);
        let short = Batch { loss_mask: vec![1; 5], ..batch(2, 6, 2) };
        assert!(model.losses(&short).is_err());
    }

    #[test]
    fn the_thread_count_changes_no_bit() {
        // Wide enough for several blocks of a product.
        let config = ModelConfig { hidden_size: 192, intermediate_size: 400, ..tiny() };
        let run = || run(&mut Model::new(&config, 1).unwrap(), &batch(40, 31, 1), 155);
        let one = on_threads(1, run);
        for threads in [2, 3, 5] {
            assert_eq!(on_threads(threads, run), one);
        }
    }

    #[test]
    fn a_saved_model_comes_back_bit_for_bit() {
        for config in all_kinds() {
            let place = tempfile::tempdir().unwrap();
            let model = Model::new(&config, 5).unwrap();
            model.save(place.path()).unwrap();
            let back = Model::load(place.path()).unwrap();
            let extra = back.config().extra.clone();
            assert_eq!(back.config(), &ModelConfig { extra, ..config });
            assert_eq!(back.parameters(), model.parameters());
        }
    }

    #[test]
    fn batches_the_model_cannot_take_are_refused() {
        let mut model = Model::new(&tiny(), 5).unwrap();
        let error = model.losses(&batch(1, 33, 0)).unwrap_err().to_string();
        assert!(error.contains("expected 1 to 32 (the model's max_position_embeddings), got 33"));
        let mut bad = batch(1, 4, 0);
        bad.tokens[4] = 40;
        let error = model.losses(&bad).unwrap_err().to_string();
        assert!(error.contains("expected ids below 40 (the model's vocab_size), got 40"));
        let empty = Batch { tokens: Vec::new(), rows: 0, ..batch(1, 4, 0) };
        let ragged = Batch { rows: 2, ..batch(3, 4, 0) };
        for batch in [empty, ragged] {
            assert_eq!(model.losses(&batch).unwrap_err().kind(), ErrorKind::Configuration);
        }
        let mut gradients = model.zero_gradients().unwrap();
        let mut refused = |targets: u64, gradients: &mut [f32]| {
            let refused = model.losses_and_gradients(&batch(1, 4, 0), targets, gradients);
            refused.unwrap_err().kind() == ErrorKind::Configuration
        };
        assert!(refused(0, &mut gradients) && refused(4, &mut gradients[1..]));
        assert_eq!(Model::load("/nowhere".as_ref()).unwrap_err().kind(), ErrorKind::Configuration);
        let config = ModelConfig { layers: 1 << 40, ..tiny() };
        let error = Model::new(&config, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("model.layers: expected a number from 1 to 4096, got"),
            "{error}"
        );
    }
}
