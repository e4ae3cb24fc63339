//! Compares the decoder on a device with the CPU's: the kernel launches and the kernels' source run on an emulator
//! (emulator.rs).

use crate::config::compute::Precision;
use crate::engine::cuda::decoder::{CudaDecoder, CudaPass, device_bytes};
use crate::engine::cuda::device::emulator::device;
use crate::engine::cuda::device::{Address, Device, Launch, Product};
use crate::engine::decoder::tests::{parameters, rows};
use crate::engine::decoder::{ActivationPolicy, Decoder};
use crate::engine::kernels::check::close;
use crate::engine::kernels::cross_entropy::IGNORED;
use crate::engine::rows::Rows;
use crate::engine::{Engine, NEVER, Resident, Training};
use crate::error::Error;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::config::tests::all_kinds;
use crate::model::layout::Layout;
use crate::optim::adamw::{AdamW, AdamWOptions};
use crate::optim::trainable_state::TrainableSizes;
use crate::ranks::ProcessGroup;

pub(crate) fn decoder(
    config: &ModelConfig,
    pass: CudaPass,
    order: u32,
    parameters: &[f32],
) -> CudaDecoder {
    let layout = Layout::new(config).unwrap();
    let device = device(pass.precision, layout.sizes.head_width, order);
    CudaDecoder::new(config, &layout, pass, device, parameters).unwrap()
}

/// Returns losses and gradients, and checks that an evaluation of the same rows afterward gives the same losses.
fn run(
    config: &ModelConfig,
    pass: CudaPass,
    order: u32,
    parameters: &[f32],
    rows: &Rows,
) -> (Vec<f32>, Vec<f32>) {
    let mut decoder = decoder(config, pass, order, parameters);
    let losses = decoder.losses_and_gradients(&[], rows, 5.0, &mut [], &NEVER).unwrap();
    assert_eq!(
        decoder.losses(&[], rows, &NEVER).unwrap(),
        losses,
        "an evaluation gives other losses"
    );
    let mut gradients = vec![0.0; parameters.len()];
    decoder.read_gradients(&mut gradients).unwrap();
    (losses, gradients)
}

fn on_cpu(config: &ModelConfig, parameters: &[f32], rows: &Rows) -> (Vec<f64>, Vec<f64>) {
    let layout = Layout::new(config).unwrap();
    let wide: Vec<f64> = parameters.iter().map(|&value| f64::from(value)).collect();
    let mut gradients = vec![0.0; wide.len()];
    let mut decoder = Decoder::<f64>::new(config, &layout, ActivationPolicy::Keep, None);
    let losses = decoder.losses_and_gradients(&wide, rows, 5.0, &mut gradients, &NEVER).unwrap();
    (losses, gradients)
}

pub(crate) fn pass(
    precision: Precision,
    policy: ActivationPolicy,
    micro_batch: Option<usize>,
) -> CudaPass {
    CudaPass { precision, policy, micro_batch }
}

/// Rows with some targets that do not count; the second row has two documents.
fn difficult(length: usize) -> Rows {
    let mut rows = rows(2, length, 3);
    rows.targets[2] = IGNORED;
    rows.targets[length + 2] = IGNORED;
    let second = length / 2 + 1;
    for place in second..length {
        rows.starts[length + place] = u32::try_from(second).unwrap();
        rows.positions[length + place] = u32::try_from(place - second).unwrap();
    }
    rows
}

/// Models that are wider than a thread block and whose rows may be longer than a tile; some have queries that share
/// keys.
pub(crate) fn wide() -> Vec<ModelConfig> {
    let widen = |config: ModelConfig| ModelConfig {
        vocab_size: 301,
        hidden_size: 264,
        intermediate_size: 270,
        layers: 1,
        max_position_embeddings: 96,
        ..config
    };
    all_kinds().into_iter().map(widen).collect()
}

#[test]
fn f32_is_what_the_cpu_computes_in_any_order_of_threads() {
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        let parameters = parameters::<f32>(&layout);
        let rows = difficult(7);
        let expected = on_cpu(&config, &parameters, &rows);
        let whole = pass(Precision::F32, ActivationPolicy::Keep, None);
        let got = run(&config, whole, 0, &parameters, &rows);
        close(&got.0, &expected.0, 1e-5, "losses");
        close(&got.1, &expected.1, 1e-4, &config.family.to_string());
        for order in [1, 7] {
            let again = run(&config, whole, order, &parameters, &rows);
            assert_eq!(again, got, "another order of threads");
        }
        let recomputed = pass(Precision::F32, ActivationPolicy::Checkpoint, None);
        assert_eq!(run(&config, recomputed, 0, &parameters, &rows), got, "recomputed");
        let parts = run(
            &config,
            pass(Precision::F32, ActivationPolicy::Keep, Some(1)),
            0,
            &parameters,
            &rows,
        );
        close(&parts.1, &expected.1, 1e-4, "row by row");
    }
}

#[test]
fn wide_models_and_long_rows_are_as_on_the_cpu() {
    for config in wide() {
        let model = Model::new(&config, 3).unwrap();
        let rows = difficult(70);
        let expected = on_cpu(&config, model.parameters(), &rows);
        let got = run(
            &config,
            pass(Precision::F32, ActivationPolicy::Keep, None),
            0,
            model.parameters(),
            &rows,
        );
        close(&got.0, &expected.0, 1e-5, "losses");
        close(&got.1, &expected.1, 1e-4, &config.family.to_string());
    }
}

/// The tolerances are those of bf16's rounding to 8 bits, in sums in which no number outweighs the rest.
#[test]
fn bf16_is_what_the_cpu_computes_but_for_rounding() {
    for config in all_kinds().into_iter().chain(wide()) {
        let model = Model::new(&config, 3).unwrap();
        let rows = difficult(if config.layers == 1 { 70 } else { 9 });
        let expected = on_cpu(&config, model.parameters(), &rows);
        let whole = pass(Precision::Bf16, ActivationPolicy::Keep, None);
        let got = run(&config, whole, 0, model.parameters(), &rows);
        close(&got.0, &expected.0, 3e-3, "losses");
        close(&got.1, &expected.1, 2e-2, &config.family.to_string());
        assert_eq!(
            run(&config, whole, 5, model.parameters(), &rows),
            got,
            "another order of threads"
        );
        let recomputed = pass(Precision::Bf16, ActivationPolicy::Checkpoint, None);
        assert_eq!(run(&config, recomputed, 0, model.parameters(), &rows), got, "recomputed");
    }
}

#[test]
fn steps_are_those_of_the_cpu_and_numbers_come_back() {
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 0.5 };
    let rows = difficult(7);
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        let mut model = Model::new(&config, 3).unwrap();
        let mut optimizer = AdamW::new(&model, options).unwrap();
        let mut there = AdamW::new(&model, options).unwrap();
        let whole = pass(Precision::F32, ActivationPolicy::Keep, None);
        let mut device = decoder(&config, whole, 0, model.parameters());
        let mut cpu = Decoder::<f32>::new(&config, &layout, ActivationPolicy::Keep, None);
        let mut gradients = vec![0.0; layout.len];
        for rate in [1e-2, 3e-3, 1e-3] {
            cpu.losses_and_gradients(model.parameters(), &rows, 5.0, &mut gradients, &NEVER)
                .unwrap();
            let expected = optimizer.step(&mut model, &mut gradients, rate).unwrap();
            device.losses_and_gradients(&[], &rows, 5.0, &mut [], &NEVER).unwrap();
            let norm = there.step_on_device(&mut device, rate).unwrap();
            assert!((norm - expected).abs() < 1e-4 * expected, "{norm} {expected}");
        }
        let mut numbers = [vec![0.0; layout.len], vec![0.0; layout.len], vec![0.0; layout.len]];
        let [parameters, first, second] = &mut numbers;
        device.read([parameters, first, second], None).unwrap();
        let wide = |list: &[f32]| list.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let [first, second] = optimizer.moments();
        // Adam's first steps are as long for a gradient of rounding errors as for any other, so parameters whose
        // gradient is zero except for rounding (the biases of keys) may differ.
        let close_enough = |a: &[f32], b: &[f32]| {
            let far = a.iter().zip(b).filter(|(a, b)| (**a - **b).abs() > 2e-4).count();
            far * 20 <= a.len()
        };
        assert!(close_enough(&numbers[0], model.parameters()), "{}", config.family);
        close(&numbers[1], &wide(first), 1e-3, "first moments");
        close(&numbers[2], &wide(second), 1e-3, "second moments");
        // Another decoder that receives the same numbers has the same losses, bit for bit.
        let losses = device.losses(&[], &rows, &NEVER).unwrap();
        let mut other = decoder(&config, whole, 0, &vec![0.0; layout.len]);
        let numbers = [&numbers[0][..], &numbers[1], &numbers[2]];
        other.train(Training { numbers, average: None, adapter: None }).unwrap();
        assert_eq!(other.losses(&[], &rows, &NEVER).unwrap(), losses);
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let config = &all_kinds()[0];
    let mut model = Model::new(config, 3).unwrap();
    model.parameters_mut()[0] = f32::NAN;
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let mut optimizer = AdamW::new(&model, options).unwrap();
    let mut device =
        decoder(config, pass(Precision::F32, ActivationPolicy::Keep, None), 0, model.parameters());
    let mut rows = difficult(7);
    rows.tokens.fill(0);
    device.losses_and_gradients(&[], &rows, 5.0, &mut [], &NEVER).unwrap();
    assert!(optimizer.step_on_device(&mut device, 1e-2).unwrap().is_nan());
    assert_eq!(optimizer.steps(), 0);
    let mut gradients = vec![1.0; model.parameters().len()];
    device.read_gradients(&mut gradients).unwrap();
    assert!(gradients.iter().all(|&gradient| gradient == 0.0));
}

#[test]
fn a_pass_takes_what_is_estimated() {
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            let pass = pass(precision, ActivationPolicy::Keep, None);
            let inner = device(precision, layout.sizes.head_width, 0);
            let device = Box::new(Counted { inner, bytes: 0 });
            let parameters = vec![0.5; layout.len];
            let mut decoder =
                CudaDecoder::new(&config, &layout, pass, device, &parameters).unwrap();
            let rows = rows(2, 16, 1);
            decoder.losses_and_gradients(&[], &rows, 5.0, &mut [], &NEVER).unwrap();
            let tracked = layout.len as u64;
            let trainable = TrainableSizes { tracked, ..TrainableSizes::default() };
            let [resident, workspace] = device_bytes(&config, &layout, trainable, [16, 2], pass);
            // The estimate does not contain the angles, which are some KB.
            let taken = decoder.kernels.device.free_bytes().unwrap().unwrap();
            assert!(
                taken >= resident + workspace && taken - resident - workspace < 4096,
                "{taken} {resident} {workspace}"
            );
        }
    }
}

/// A device that reports the bytes it has allocated as its free memory.
struct Counted {
    inner: Box<dyn Device>,
    bytes: u64,
}

impl Device for Counted {
    fn allocate(&mut self, bytes: u64) -> Result<Address, Error> {
        self.bytes += bytes;
        self.inner.allocate(bytes)
    }

    fn free(&mut self, address: Address) -> Result<(), Error> {
        self.inner.free(address)
    }

    fn zero(&mut self, to: Address, bytes: u64) -> Result<(), Error> {
        self.inner.zero(to, bytes)
    }

    fn write_f32(&mut self, to: Address, from: &[f32]) -> Result<(), Error> {
        self.inner.write_f32(to, from)
    }

    fn write_u32(&mut self, to: Address, from: &[u32]) -> Result<(), Error> {
        self.inner.write_u32(to, from)
    }

    fn read_f32(&mut self, to: &mut [f32], from: Address) -> Result<(), Error> {
        self.inner.read_f32(to, from)
    }

    fn launch(&mut self, launch: Launch) -> Result<(), Error> {
        self.inner.launch(launch)
    }

    fn product(&mut self, product: Product) -> Result<(), Error> {
        self.inner.product(product)
    }

    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error> {
        self.inner.join(group)
    }

    fn sum(&mut self, at: Address, len: usize) -> Result<(), Error> {
        self.inner.sum(at, len)
    }

    fn finish_sums(&mut self) -> Result<(), Error> {
        self.inner.finish_sums()
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        Ok(Some(self.bytes))
    }
}
