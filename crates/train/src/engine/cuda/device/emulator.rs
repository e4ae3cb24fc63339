//! A device for tests, which runs the kernels' source on an emulator of threads, without a GPU.
//!
//! A C++ compiler builds a shared object from the kernels and tools/gpu/emulator; the threads of a thread block take
//! turns in the order that a test chooses. Memory is NaN until it is written. With MIXDOWN_TEST_GPU=N in the
//! environment, tests run on GPU number N instead.

#![expect(unsafe_code, reason = "the emulator is a shared object with C's interface")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use crate::config::compute::Precision;
use crate::engine::cuda::device::compile::{definitions, kernels, names};
use crate::engine::cuda::device::driver::Gpu;
use crate::engine::cuda::device::{Address, Device, Form, Launch, Product};
use crate::error::Error;
use crate::ranks::ProcessGroup;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(object: *mut c_void, name: *const c_char) -> *mut c_void;
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

/// The maximum shared memory of a launch on the smallest GPU (8.6): 99 KiB minus what kernels declare.
const MOST_SHARED_BYTES: u32 = 98 * 1024;
/// The maximum number of thread blocks along the second and third dimensions of a grid.
const MOST_BLOCKS: u32 = 65_535;

/// The compiled kernels for one precision and head width; the shared object stays loaded.
#[derive(Clone, Copy)]
struct KernelObject {
    emulate: Emulate,
    multiply: Multiply,
}

fn symbol(object: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a null byte, and the object is loaded.
    let found = unsafe { dlsym(object, name.as_ptr()) };
    assert!(!found.is_null(), "{name:?}");
    found
}

fn compile(precision: Precision, head_width: usize) -> KernelObject {
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
        .arg(format!("-I{}", root.join("src/engine/cuda/kernels").display()))
        .arg(emulator.join("emulator.cpp"))
        .arg("-o")
        .arg(file("kernels.so"))
        .output()
        .expect("a C++ compiler, named c++");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let path = CString::new(file("kernels.so").to_str().unwrap()).unwrap();
    // SAFETY: the object is the one just compiled, and its functions have the types above.
    unsafe {
        let object = dlopen(path.as_ptr(), 2);
        assert!(!object.is_null(), "{:?}", CStr::from_ptr(dlerror()));
        KernelObject {
            emulate: std::mem::transmute::<*mut c_void, Emulate>(symbol(object, c"emulate")),
            multiply: std::mem::transmute::<*mut c_void, Multiply>(symbol(
                object,
                c"emulate_product",
            )),
        }
    }
}

/// Returns the kernels for a precision and head width, which are compiled once per process.
fn object(precision: Precision, head_width: usize) -> KernelObject {
    static OBJECTS: Mutex<BTreeMap<(usize, usize), KernelObject>> = Mutex::new(BTreeMap::new());
    let key = (precision.bytes(), head_width);
    *OBJECTS.lock().unwrap().entry(key).or_insert_with(|| compile(precision, head_width))
}

/// A device with host memory, which runs kernels on the emulator and computes products with loops.
struct Emulator {
    object: KernelObject,
    precision: Precision,
    order: u32,
    memory: BTreeMap<u64, Vec<u128>>,
    group: ProcessGroup,
}

impl Emulator {
    fn new(precision: Precision, head_width: usize, order: u32) -> Self {
        let object = object(precision, head_width);
        Self { object, precision, order, memory: BTreeMap::new(), group: ProcessGroup::alone() }
    }

    fn check(&self, at: Address, bytes: usize) {
        let (base, memory) = self.memory.range(..=at.0).next_back().expect("memory");
        let end = base + (memory.len() * 16) as u64;
        assert!(at.0 + bytes as u64 <= end, "{bytes} bytes at {} of {}", at.0 - base, end - base);
    }

    fn write<T>(&mut self, to: Address, from: &[T]) {
        self.check(to, size_of_val(from));
        // SAFETY: the range is within one allocation, as was checked.
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
        // SAFETY: the range is within one allocation, as was checked.
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
        assert!(shared <= MOST_SHARED_BYTES && y <= MOST_BLOCKS && z <= MOST_BLOCKS, "{launch:?}");
        // SAFETY: as on a GPU, the kernels stay within the memory that they are given.
        let result = unsafe {
            let places = places.as_mut_ptr();
            (self.object.emulate)(
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
        let multiply = self.object.multiply;
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

    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error> {
        self.group = group.try_clone()?;
        Ok(())
    }

    fn sum(&mut self, at: Address, len: usize) -> Result<(), Error> {
        let mut numbers = vec![0.0; len];
        self.read_f32(&mut numbers, at)?;
        self.group.all_reduce(&mut numbers)?;
        self.write_f32(at, &numbers)
    }

    fn finish_sums(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }
}

/// An emulator, or the GPU that the environment names.
pub(crate) fn device(precision: Precision, head_width: usize, order: u32) -> Box<dyn Device> {
    match std::env::var("MIXDOWN_TEST_GPU") {
        Ok(number) => Box::new(Gpu::open(number.parse().unwrap(), precision, head_width).unwrap()),
        Err(_) => Box::new(Emulator::new(precision, head_width, order)),
    }
}
