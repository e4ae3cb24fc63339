//! The decoder on emulated kernels against the CPU's: the launches of this crate, the kernels' own text, no GPU.
//!
//! A C++ compiler makes a library of the kernels and tools/gpu/emulator; threads of a block take turns in the order that
//! a test says. Memory is not a number until it is written. With MIXDOWN_TEST_GPU=N in the environment the same tests
//! run on GPU number N.

#![expect(unsafe_code, reason = "the emulator is a shared library with C's interface")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::attention::AttentionGradients;
use super::decoder::{CudaDecoder, CudaPass, device_bytes};
use super::device::{Address, Device, Form, Launch, Product};
use super::driver::{Gpu, compile as compile_for};
use super::kernels::{Kernels, Shape};
use super::source::{definitions, kernels, names, program};
use crate::adamw::{AdamW, AdamWOptions};
use crate::decoder::tests::{parameters, rows};
use crate::decoder::{Decoder, Keep};
use crate::engine::{Engine, Resident};
use crate::error::Error;
use crate::kernels::attention::{Attended, Attention};
use crate::kernels::check::{close, numbers};
use crate::kernels::cross_entropy::IGNORED;
use crate::layout::{Layout, Sizes};
use crate::model::Model;
use crate::model_config::ModelConfig;
use crate::model_config::tests::all_kinds;
use crate::precision::Precision;
use crate::rows::Rows;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

type Emulate = unsafe extern "C" fn(
    *const c_char,
    u32,
    u32,
    u32,
    u32,
    u32,
    *mut *mut c_void,
    u32,
    u32,
) -> c_int;
type Multiply = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64, u32, u32, u32, u32);

/// A library of the kernels for one width of numbers and heads; it stays loaded.
#[derive(Clone, Copy)]
struct Library {
    emulate: Emulate,
    multiply: Multiply,
}

fn symbol(library: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: a name that ends, of a library that is loaded.
    let found = unsafe { dlsym(library, name.as_ptr()) };
    assert!(!found.is_null(), "{name:?}");
    found
}

fn compile(precision: Precision, head_width: usize) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let text = kernels(precision, head_width);
    std::fs::write(file("kernels.cu"), &text).unwrap();
    let list: String = names(&text).iter().map(|name| format!("KERNEL({name})\n")).collect();
    std::fs::write(file("names.h"), list).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let emulator = root.join("../../tools/gpu/emulator");
    let compiled = Command::new("c++")
        .args(["-std=c++17", "-O2", "-w", "-shared", "-fPIC", "-ffp-contract=off"])
        .args(definitions(precision, head_width))
        .arg(format!("-DKERNELS=\"{}\"", file("kernels.cu").display()))
        .arg(format!("-DNAMES=\"{}\"", file("names.h").display()))
        .arg(format!("-I{}", root.join("src/cuda/kernels").display()))
        .arg(emulator.join("emulator.cpp"))
        .arg("-o")
        .arg(file("kernels.so"))
        .output()
        .expect("a C++ compiler, named c++");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let path = CString::new(file("kernels.so").to_str().unwrap()).unwrap();
    // SAFETY: the library is the one just made, its functions have the types above.
    unsafe {
        let library = dlopen(path.as_ptr(), 2);
        assert!(!library.is_null(), "{:?}", CStr::from_ptr(dlerror()));
        Library {
            emulate: std::mem::transmute::<*mut c_void, Emulate>(symbol(library, c"emulate")),
            multiply: std::mem::transmute::<*mut c_void, Multiply>(symbol(
                library,
                c"emulate_product",
            )),
        }
    }
}

/// Compiled once a process.
fn library(precision: Precision, head_width: usize) -> Library {
    static LIBRARIES: Mutex<BTreeMap<(usize, usize), Library>> = Mutex::new(BTreeMap::new());
    let key = (precision.bytes(), head_width);
    *LIBRARIES.lock().unwrap().entry(key).or_insert_with(|| compile(precision, head_width))
}

/// Memory on the host, kernels by the emulator, products by loops.
struct Emulator {
    library: Library,
    precision: Precision,
    order: u32,
    memory: BTreeMap<u64, Vec<u128>>,
}

impl Emulator {
    fn new(precision: Precision, head_width: usize, order: u32) -> Self {
        let library = library(precision, head_width);
        Self { library, precision, order, memory: BTreeMap::new() }
    }

    fn check(&self, at: Address, bytes: usize) {
        let (base, memory) = self.memory.range(..=at.0).next_back().expect("memory");
        let end = base + (memory.len() * 16) as u64;
        assert!(at.0 + bytes as u64 <= end, "{bytes} bytes at {} of {}", at.0 - base, end - base);
    }

    fn write<T>(&mut self, to: Address, from: &[T]) {
        self.check(to, size_of_val(from));
        // SAFETY: within one allocation, as was checked.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.0 as *mut T, from.len()) }
    }
}

impl Device for Emulator {
    fn allocate(&mut self, bytes: u64) -> Result<Address, Error> {
        let len = usize::try_from(bytes).unwrap().div_ceil(16).max(1);
        let memory = vec![u128::MAX; len];
        let address = memory.as_ptr() as u64;
        self.memory.insert(address, memory);
        Ok(Address(address))
    }

    fn free(&mut self, address: Address) -> Result<(), Error> {
        self.memory.remove(&address.0).unwrap();
        Ok(())
    }

    fn zero(&mut self, to: Address, bytes: u64) -> Result<(), Error> {
        self.write(to, &vec![0_u8; usize::try_from(bytes).unwrap()]);
        Ok(())
    }

    fn write_f32(&mut self, to: Address, from: &[f32]) -> Result<(), Error> {
        self.write(to, from);
        Ok(())
    }

    fn write_u32(&mut self, to: Address, from: &[u32]) -> Result<(), Error> {
        self.write(to, from);
        Ok(())
    }

    fn read_f32(&mut self, to: &mut [f32], from: Address) -> Result<(), Error> {
        self.check(from, size_of_val(to));
        // SAFETY: within one allocation, as was checked.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const f32, to.as_mut_ptr(), to.len()) }
        Ok(())
    }

    fn launch(&mut self, launch: Launch) -> Result<(), Error> {
        let name = CString::new(launch.kernel).unwrap();
        let mut values: Vec<u64> = launch.arguments.iter().map(|value| value.bits()).collect();
        let mut places: Vec<*mut c_void> =
            values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let [x, y, z] = launch.grid;
        let count = u32::try_from(places.len()).unwrap();
        let (threads, shared) = (launch.threads, launch.shared_bytes);
        // SAFETY: as for a GPU: the kernels keep within what they are given.
        let result = unsafe {
            let places = places.as_mut_ptr();
            (self.library.emulate)(
                name.as_ptr(),
                x,
                y,
                z,
                threads,
                shared,
                places,
                count,
                self.order,
            )
        };
        assert_eq!(
            result, 0,
            "{}: 1 is no such kernel, 2 another number of arguments",
            launch.kernel
        );
        Ok(())
    }

    fn product(&mut self, p: Product) -> Result<(), Error> {
        let [rows, inputs, outputs] =
            [p.rows, p.inputs, p.outputs].map(|v| u32::try_from(v).unwrap());
        let [wide, pitch] = [p.inputs, p.pitch].map(|v| v as u64);
        let real = self.precision.bytes();
        let bytes = |is_f32: bool| if is_f32 { 4 } else { real };
        self.check(p.x, p.rows * p.inputs * real);
        self.check(p.weight, p.outputs * p.inputs * bytes(p.form == Form::Weight));
        let len = (p.rows - 1) * p.pitch + p.outputs;
        self.check(p.y, len * bytes(p.form == Form::AddOutput));
        let multiply = self.library.multiply;
        // SAFETY: the three matrices lie within their allocations, as was checked.
        unsafe {
            match p.form {
                Form::Output | Form::AddOutput => {
                    let adds = u32::from(p.form == Form::AddOutput);
                    let (x, w, y) = (p.x.0, p.weight.0, p.y.0);
                    multiply(x, wide, 1, w, 1, wide, y, pitch, rows, outputs, inputs, adds);
                }
                Form::Input => {
                    let (x, w, y) = (p.x.0, p.weight.0, p.y.0);
                    multiply(y, pitch, 1, w, wide, 1, x, wide, rows, inputs, outputs, 0);
                }
                Form::Weight => {
                    let (x, w, y) = (p.x.0, p.weight.0, p.y.0);
                    multiply(y, 1, pitch, x, wide, 1, w, wide, outputs, inputs, rows, 1);
                }
            }
        }
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }
}

/// An emulator, or the GPU that the environment names.
fn device(precision: Precision, head_width: usize, order: u32) -> Box<dyn Device> {
    match std::env::var("MIXDOWN_TEST_GPU") {
        Ok(number) => Box::new(Gpu::open(number.parse().unwrap(), precision, head_width).unwrap()),
        Err(_) => Box::new(Emulator::new(precision, head_width, order)),
    }
}

fn decoder(config: &ModelConfig, pass: CudaPass, order: u32, parameters: &[f32]) -> CudaDecoder {
    let layout = Layout::new(config).unwrap();
    let device = device(pass.precision, layout.sizes.head_width, order);
    CudaDecoder::new(config, &layout, pass, device, parameters).unwrap()
}

/// Losses and gradients, after a first evaluation of other rows that leaves its traces in memory.
fn run(
    config: &ModelConfig,
    pass: CudaPass,
    order: u32,
    parameters: &[f32],
    rows: &Rows,
) -> (Vec<f32>, Vec<f32>) {
    let mut decoder = decoder(config, pass, order, parameters);
    let losses = decoder.losses_and_gradients(&[], rows, 5.0, &mut []).unwrap();
    assert_eq!(decoder.losses(&[], rows).unwrap(), losses, "an evaluation gives other losses");
    let mut gradients = vec![0.0; parameters.len()];
    decoder.read_gradients(&mut gradients).unwrap();
    (losses, gradients)
}

fn on_cpu(config: &ModelConfig, parameters: &[f32], rows: &Rows) -> (Vec<f64>, Vec<f64>) {
    let layout = Layout::new(config).unwrap();
    let wide: Vec<f64> = parameters.iter().map(|&value| f64::from(value)).collect();
    let mut gradients = vec![0.0; wide.len()];
    let mut decoder = Decoder::<f64>::new(config, &layout, Keep::All, None);
    let losses = decoder.losses_and_gradients(&wide, rows, 5.0, &mut gradients);
    (losses, gradients)
}

fn pass(precision: Precision, keep: Keep, micro_batch: Option<usize>) -> CudaPass {
    CudaPass { precision, keep, micro_batch }
}

/// Rows of which some targets do not count, and the second has two documents.
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

/// Wider than a block of threads, longer than a tile, heads of 40 queries that share keys.
fn wide() -> Vec<ModelConfig> {
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
        let whole = pass(Precision::F32, Keep::All, None);
        let got = run(&config, whole, 0, &parameters, &rows);
        close(&got.0, &expected.0, 1e-5, "losses");
        close(&got.1, &expected.1, 1e-4, &config.family.to_string());
        for order in [1, 7] {
            let again = run(&config, whole, order, &parameters, &rows);
            assert_eq!(again, got, "another order of threads");
        }
        let recomputed = pass(Precision::F32, Keep::Streams, None);
        assert_eq!(run(&config, recomputed, 0, &parameters, &rows), got, "recomputed");
        let parts = run(&config, pass(Precision::F32, Keep::All, Some(1)), 0, &parameters, &rows);
        close(&parts.1, &expected.1, 1e-4, "row by row");
    }
}

#[test]
fn wide_models_and_long_rows_are_as_on_the_cpu() {
    for config in wide() {
        let model = Model::new(&config, 3).unwrap();
        let rows = difficult(70);
        let expected = on_cpu(&config, model.parameters(), &rows);
        let got = run(&config, pass(Precision::F32, Keep::All, None), 0, model.parameters(), &rows);
        close(&got.0, &expected.0, 1e-5, "losses");
        close(&got.1, &expected.1, 1e-4, &config.family.to_string());
    }
}

/// The measure of bf16 is its own rounding: 8 bits, of numbers of which none outweighs the rest.
#[test]
fn bf16_is_what_the_cpu_computes_but_for_rounding() {
    for config in all_kinds().into_iter().chain(wide()) {
        let model = Model::new(&config, 3).unwrap();
        let rows = difficult(if config.layers == 1 { 70 } else { 9 });
        let expected = on_cpu(&config, model.parameters(), &rows);
        let whole = pass(Precision::Bf16, Keep::All, None);
        let got = run(&config, whole, 0, model.parameters(), &rows);
        close(&got.0, &expected.0, 3e-3, "losses");
        close(&got.1, &expected.1, 2e-2, &config.family.to_string());
        assert_eq!(
            run(&config, whole, 5, model.parameters(), &rows),
            got,
            "another order of threads"
        );
        let recomputed = pass(Precision::Bf16, Keep::Streams, None);
        assert_eq!(run(&config, recomputed, 0, model.parameters(), &rows), got, "recomputed");
    }
}

fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    u16::try_from((bits + 0x7fff + (bits >> 16 & 1)) >> 16).unwrap()
}

/// Numbers that are the same in bf16, as f64 and packed.
fn exact(len: usize, seed: u64) -> (Vec<f64>, Vec<u32>) {
    let mut bits: Vec<u16> = numbers::<f32>(len, seed).into_iter().map(rounded).collect();
    let wide = bits.iter().map(|&bits| f64::from(f32::from_bits(u32::from(bits) << 16))).collect();
    bits.resize(len.next_multiple_of(2), 0);
    let pack = |pair: &[u16]| u32::from(pair[0]) | u32::from(pair[1]) << 16;
    (wide, bits.chunks_exact(2).map(pack).collect())
}

fn unpack(packed: &[f32], len: usize) -> Vec<f32> {
    let halves =
        packed.iter().flat_map(|pair| [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000]);
    halves.map(f32::from_bits).take(len).collect()
}

struct Heads {
    heads: usize,
    key_value_heads: usize,
    width: usize,
    length: usize,
    window: usize,
}

/// Attention and its gradients on tensor cores against the CPU's in f64, of the same numbers.
fn check_attention(case: Heads, order: u32) {
    let Heads { heads, key_value_heads, width, length, window } = case;
    let (batch, stride) = (2, (heads + 2 * key_value_heads) * width);
    let (tokens, attended) = (batch * length, heads * width);
    let mut starts = vec![0_u32; tokens];
    starts[length / 3..length].fill(u32::try_from(length / 3).unwrap());
    let (qkv, packed) = exact(tokens * stride, 1);
    let (gradient, packed_gradient) = exact(tokens * attended, 2);
    let attention = Attention { length, heads, key_value_heads, width, starts: &starts, window };
    let (mut scratch, mut expected) = (vec![0.0; qkv.len()], vec![0.0; tokens * attended]);
    let (mut log_sums, mut dqkv) = (vec![0.0; tokens * heads], vec![0.0; qkv.len()]);
    attention.forward(&qkv, &mut scratch, &mut log_sums, &mut expected);
    let saved = Attended { qkv: &qkv, result: &expected, log_sums: &log_sums };
    attention.backward(saved, &gradient, &mut scratch, &mut dqkv);

    let sizes = Sizes {
        heads,
        key_value_heads,
        head_width: width,
        ..Layout::new(&all_kinds()[0]).unwrap().sizes
    };
    let mut device = device(Precision::Bf16, width, order);
    let mut place = |bytes: usize| device.allocate(bytes as u64).unwrap();
    let [at_qkv, at_dqkv] = [place(2 * qkv.len()), place(2 * qkv.len())];
    let [result, dresult] = [place(2 * expected.len()), place(2 * expected.len())];
    let [sums, delta, at_starts] =
        [place(4 * tokens * heads), place(4 * tokens * heads), place(4 * tokens)];
    device.write_u32(at_qkv, &packed).unwrap();
    device.write_u32(dresult, &packed_gradient).unwrap();
    device.write_u32(at_starts, &starts).unwrap();
    let window = u32::try_from(window).unwrap_or(u32::MAX);
    let mut kernels = Kernels { device, precision: Precision::Bf16, sizes, epsilon: 0.0, window };
    let shape = Shape { rows: batch, length, starts: at_starts, positions: Address::NULL };
    kernels.attention_forward(result, sums, at_qkv, shape).unwrap();
    let at = AttentionGradients {
        qkv: at_qkv,
        attended: result,
        log_sums: sums,
        dattended: dresult,
        delta,
        dqkv: at_dqkv,
    };
    kernels.attention_backward(at, shape).unwrap();
    let what = format!(
        "{heads} heads of {width}, {key_value_heads} of keys, {length} long, window {window}"
    );
    let mut read = |from: Address, len: usize| {
        let mut to = vec![0.0; len.div_ceil(2)];
        kernels.device.read_f32(&mut to, from).unwrap();
        unpack(&to, len)
    };
    close(&read(result, expected.len()), &expected, 6e-3, &what);
    close(&read(at_dqkv, dqkv.len()), &dqkv, 1e-2, &what);
    let mut got = vec![0.0; log_sums.len()];
    kernels.device.read_f32(&mut got, sums).unwrap();
    close(&got, &log_sums, 1e-4, &what);
}

#[test]
fn attention_on_tensor_cores_is_attention() {
    let case = |heads, key_value_heads, width, length, window| Heads {
        heads,
        key_value_heads,
        width,
        length,
        window,
    };
    for order in [0, 1, 9] {
        check_attention(case(2, 1, 64, 150, usize::MAX), order);
        check_attention(case(2, 2, 128, 130, 70), order);
    }
    check_attention(case(3, 1, 80, 65, 64), 0);
    check_attention(case(2, 2, 64, 64, 1), 0);
    check_attention(case(1, 1, 16, 1, usize::MAX), 0);
    check_attention(case(4, 2, 6, 200, 100), 0);
}

#[test]
fn steps_are_those_of_the_cpu_and_numbers_come_back() {
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 0.5 };
    let rows = difficult(7);
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        let mut model = Model::new(&config, 3).unwrap();
        let mut optimiser = AdamW::new(&model, options).unwrap();
        let mut there = AdamW::new(&model, options).unwrap();
        let whole = pass(Precision::F32, Keep::All, None);
        let mut device = decoder(&config, whole, 0, model.parameters());
        let mut cpu = Decoder::<f32>::new(&config, &layout, Keep::All, None);
        let mut gradients = vec![0.0; layout.len];
        for rate in [1e-2, 3e-3, 1e-3] {
            cpu.losses_and_gradients(model.parameters(), &rows, 5.0, &mut gradients);
            let expected = optimiser.step(&mut model, &mut gradients, rate).unwrap();
            device.losses_and_gradients(&[], &rows, 5.0, &mut []).unwrap();
            let norm = there.step_on_device(&mut device, rate).unwrap();
            assert!((norm - expected).abs() < 1e-4 * expected, "{norm} {expected}");
        }
        let mut numbers = [vec![0.0; layout.len], vec![0.0; layout.len], vec![0.0; layout.len]];
        let [parameters, first, second] = &mut numbers;
        device.read([parameters, first, second]).unwrap();
        let wide = |list: &[f32]| list.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let [first, second] = optimiser.moments();
        // Adam's first steps are as long for a gradient of rounding errors as for any other: parameters of which
        // the gradient is zero but for rounding (the biases of keys) may go elsewhere.
        let close_enough = |a: &[f32], b: &[f32]| {
            let far = a.iter().zip(b).filter(|(a, b)| (**a - **b).abs() > 2e-4).count();
            far * 20 <= a.len()
        };
        assert!(close_enough(&numbers[0], model.parameters()), "{}", config.family);
        close(&numbers[1], &wide(first), 1e-3, "first moments");
        close(&numbers[2], &wide(second), 1e-3, "second moments");
        // What was read goes on elsewhere with the same bits.
        let losses = device.losses(&[], &rows).unwrap();
        let mut other = decoder(&config, whole, 0, &vec![0.0; layout.len]);
        other.write([&numbers[0], &numbers[1], &numbers[2]]).unwrap();
        assert_eq!(other.losses(&[], &rows).unwrap(), losses);
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let config = &all_kinds()[0];
    let mut model = Model::new(config, 3).unwrap();
    model.parameters_mut()[0] = f32::NAN;
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let mut optimiser = AdamW::new(&model, options).unwrap();
    let mut device = decoder(config, pass(Precision::F32, Keep::All, None), 0, model.parameters());
    let mut rows = difficult(7);
    rows.tokens.fill(0);
    device.losses_and_gradients(&[], &rows, 5.0, &mut []).unwrap();
    assert!(optimiser.step_on_device(&mut device, 1e-2).unwrap().is_nan());
    assert_eq!(optimiser.steps(), 0);
    let mut gradients = vec![1.0; model.parameters().len()];
    device.read_gradients(&mut gradients).unwrap();
    assert!(gradients.iter().all(|&gradient| gradient == 0.0));
}

#[test]
fn without_a_gpu_the_error_says_what_to_do() {
    let Err(error) = Gpu::open(0, Precision::F32, 64) else { return };
    assert!(error.is_configuration() && error.to_string().contains("\"cpu\""), "{error}");
}

/// NVRTC needs no GPU: where it is on the loader's path it compiles for several.
#[test]
fn kernels_compile_where_there_is_a_compiler_for_them() {
    // SAFETY: loads the library, as a run does.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return;
    }
    for (precision, head_width) in
        [(Precision::F32, 64), (Precision::Bf16, 128), (Precision::Bf16, 256)]
    {
        for capability in [(8, 0), (9, 0)] {
            let ptx = compile_for(capability, precision, head_width).unwrap().to_src();
            for name in names(&program(precision, head_width)) {
                assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
            }
        }
    }
}

#[test]
fn a_pass_takes_what_is_estimated() {
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            let pass = pass(precision, Keep::All, None);
            let inner = device(precision, layout.sizes.head_width, 0);
            let device = Box::new(Counted { inner, bytes: 0 });
            let parameters = vec![0.5; layout.len];
            let mut decoder =
                CudaDecoder::new(&config, &layout, pass, device, &parameters).unwrap();
            let rows = rows(2, 16, 1);
            decoder.losses_and_gradients(&[], &rows, 5.0, &mut []).unwrap();
            let [resident, room] = device_bytes(&config, &layout, [16, 2], pass);
            // Angles are not in it: some KB.
            let taken = decoder.kernels.device.free_bytes().unwrap().unwrap();
            assert!(
                taken >= resident + room && taken - resident - room < 4096,
                "{taken} {resident} {room}"
            );
        }
    }
}

/// A device that tells as free what it has given.
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

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        Ok(Some(self.bytes))
    }
}
