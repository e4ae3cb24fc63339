//! An NVIDIA GPU as a device: libcuda, NVRTC and cuBLAS are loaded when the run starts.
//!
//! Everything runs on the null stream, so work is done in order.

#![expect(unsafe_code, reason = "the driver's interface is C's; asking for a library loads it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublas::{self, result as blas};
use cudarc::driver::{CudaContext, CudaFunction, DriverError, result, sys};
use cudarc::nvrtc::Ptx;
use cudarc::{driver, nvrtc};

use crate::config::compute::Precision;
use crate::engine::cuda::device::compile::{compile, names, program};
use crate::engine::cuda::device::staging::Staging;
use crate::engine::cuda::device::{Address, Device, Form, Launch, Product};
use crate::engine::cuda::reduction::Reduction;
use crate::error::Error;
use crate::ranks::ProcessGroup;

/// The minimum compute capability, the first with bf16 on tensor cores.
const LEAST_CAPABILITY: (i32, i32) = (8, 0);
/// The bytes of shared memory that a launch may request without a raised limit: 48 KiB minus what a kernel declares,
/// which is at most 768 bytes if a launch requests additional bytes. Raising the limit too early does no harm.
const PLAIN_SHARED_BYTES: u32 = 47 * 1024;
/// cuBLAS's scratch memory, 32 MiB. It is set explicitly, so that cuBLAS's choices do not depend on the free memory.
const WORKSPACE_BYTES: usize = 32 << 20;

/// One GPU with the kernels of a model.
pub(crate) struct Gpu {
    // The fields are dropped in this order, so that the context outlives everything that uses it.
    reduction: Option<Reduction>,
    staging: Staging,
    blas: Blas,
    kernels: BTreeMap<String, Kernel>,
    context: Arc<CudaContext>,
    precision: Precision,
    /// The allocations that are not freed yet.
    memory: BTreeSet<Address>,
}

struct Kernel {
    function: CudaFunction,
    raw: sys::CUfunction,
    /// The number of bytes of shared memory that a launch may request, as raised so far.
    allowed: u32,
}

struct Blas {
    handle: cublas::sys::cublasHandle_t,
    workspace: sys::CUdeviceptr,
}

// SAFETY: a handle and a function may be used from any thread that has made their context current, one at a time; every
// method takes `&mut self` and begins with `bind`. Without this impl, a model could not move to another thread.
unsafe impl Send for Gpu {}

pub(crate) fn device_error(action: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Error::Device { action, got: "out of memory".to_owned() }
        }
        _ => Error::Device { action, got: error.to_string() },
    }
}

impl Gpu {
    /// Opens GPU number `ordinal` with the kernels for heads of `head_width`.
    ///
    /// # Errors
    /// The driver, the device or a library is missing, or the device is too old; each error says what to do.
    pub(crate) fn open(
        ordinal: usize,
        precision: Precision,
        head_width: usize,
    ) -> Result<Self, Error> {
        check_libraries()?;
        let count = CudaContext::device_count().map_err(|error| {
            let expected =
                "a GPU that the driver shows (nvidia-smi, CUDA_VISIBLE_DEVICES), or \"cpu\"";
            Error::setting("train.device", expected, error)
        })?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            let expected = format!(
                "one of {count} GPUs that the driver shows (CUDA_VISIBLE_DEVICES), or \"cpu\""
            );
            return Err(Error::setting("train.device", expected, format!("cuda:{ordinal}")));
        }
        check_versions()?;
        let context = CudaContext::new(ordinal).map_err(device_error("be opened"))?;
        let capability = context.compute_capability().map_err(device_error("tell its kind"))?;
        if capability < LEAST_CAPABILITY {
            let got = format!(
                "{} of capability {}.{}",
                context.name().unwrap_or_default(),
                capability.0,
                capability.1
            );
            let expected = "a GPU of compute capability 8.0 or later (Ampere), or \"cpu\"";
            return Err(Error::setting("train.device", expected, got));
        }
        let code = Ptx::from_binary(compile(capability, precision, head_width)?);
        let module = context.load_module(code).map_err(device_error("load its kernels"))?;
        let mut kernels = BTreeMap::new();
        for name in names(&program(precision, head_width)) {
            let function = module.load_function(&name).map_err(device_error("load a kernel"))?;
            let raw = function.cu_function();
            kernels.insert(name, Kernel { function, raw, allowed: PLAIN_SHARED_BYTES });
        }
        Ok(Self {
            reduction: None,
            staging: Staging::new()?,
            blas: Blas::new()?,
            context,
            kernels,
            precision,
            memory: BTreeSet::new(),
        })
    }

    /// Waits for all work.
    fn wait(&mut self) -> Result<(), Error> {
        match &mut self.reduction {
            Some(reduction) => reduction.wait()?,
            None => result::ctx::synchronize().map_err(device_error("work"))?,
        }
        self.staging.reuse();
        Ok(())
    }

    fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(device_error("be made current"))
    }
}

impl Blas {
    fn new() -> Result<Self, Error> {
        let failed = |error: cublas::result::CublasError| Error::Device {
            action: "open cuBLAS",
            got: error.to_string(),
        };
        let handle = blas::create_handle().map_err(failed)?;
        // SAFETY: the memory is freed in `drop`, after the handle that uses it.
        let workspace =
            unsafe { result::malloc_sync(WORKSPACE_BYTES) }.map_err(device_error("take memory"))?;
        // SAFETY: the handle is new, and the memory has this many bytes.
        let set = unsafe {
            cublas::sys::cublasSetWorkspace_v2(handle, pointer(Address(workspace)), WORKSPACE_BYTES)
        };
        set.result().map_err(failed)?;
        Ok(Self { handle, workspace })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: this value owns both; errors at the end of a process help nobody.
        unsafe {
            let _ = blas::destroy_handle(self.handle);
            let _ = result::free_sync(self.workspace);
        }
    }
}

fn pointer(address: Address) -> *mut c_void {
    address.0 as *mut c_void
}

/// Converts a side of a product to the type that cuBLAS expects.
fn side(value: usize) -> Result<i32, Error> {
    i32::try_from(value)
        .map_err(|_| Error::Device { action: "multiply", got: format!("a side of {value}") })
}

impl Device for Gpu {
    fn allocate(&mut self, bytes: u64) -> Result<Address, Error> {
        self.bind()?;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        // SAFETY: the address is only handed to kernels and copies of this device.
        let memory = unsafe { result::malloc_sync(len) };
        match memory {
            Ok(address) => {
                self.memory.insert(Address(address));
                Ok(Address(address))
            }
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let free = self.free_bytes()?.unwrap_or_default();
                Err(Error::DeviceMemory { expected: bytes, got: free, pass: bytes })
            }
            Err(error) => Err(device_error("take memory")(error)),
        }
    }

    fn free(&mut self, address: Address) -> Result<(), Error> {
        self.bind()?;
        self.memory.remove(&address);
        // SAFETY: the address came from `allocate`; freeing waits for work that uses it.
        unsafe { result::free_sync(address.0) }.map_err(device_error("free memory"))
    }

    fn zero(&mut self, to: Address, bytes: u64) -> Result<(), Error> {
        self.bind()?;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: callers give addresses within their allocations.
        unsafe { result::memset_d8_async(to.0, 0, len, std::ptr::null_mut()) }
            .map_err(device_error("clear memory"))
    }

    fn write_f32(&mut self, to: Address, from: &[f32]) -> Result<(), Error> {
        self.bind()?;
        // SAFETY: as for `zero`; the copy has left the slice when this returns.
        unsafe { result::memcpy_htod_sync(to.0, from) }.map_err(device_error("take numbers"))
    }

    fn write_u32(&mut self, to: Address, from: &[u32]) -> Result<(), Error> {
        self.bind()?;
        if from.is_empty() || self.staging.copy(to, from)? {
            return Ok(());
        }
        self.wait()?;
        if self.staging.copy(to, from)? {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { result::memcpy_htod_sync(to.0, from) }.map_err(device_error("take ids"))
    }

    fn read_f32(&mut self, to: &mut [f32], from: Address) -> Result<(), Error> {
        self.bind()?;
        self.wait()?;
        // SAFETY: as above; the copy is done when this returns.
        unsafe { result::memcpy_dtoh_sync(to, from.0) }.map_err(device_error("give numbers"))
    }

    fn launch(&mut self, launch: Launch) -> Result<(), Error> {
        self.bind()?;
        let unknown = || Error::Device { action: "run a kernel", got: launch.kernel.to_owned() };
        let kernel = self.kernels.get_mut(launch.kernel).ok_or_else(unknown)?;
        if launch.shared_bytes > kernel.allowed {
            let attribute =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(launch.shared_bytes).unwrap_or(i32::MAX);
            kernel
                .function
                .set_attribute(attribute, bytes)
                .map_err(device_error("give a kernel shared memory"))?;
            kernel.allowed = launch.shared_bytes;
        }
        let mut values: Vec<u64> =
            launch.arguments.iter().map(|argument| argument.bits()).collect();
        let mut places: Vec<*mut c_void> =
            values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let [x, y, z] = launch.grid;
        // SAFETY: kernels.rs gives each kernel what it declares, which the emulator checks in count and the tests in
        // effect; values are read before the call returns, each from the first bytes of its 8 (little-endian).
        let started = unsafe {
            let (threads, stream) = ((launch.threads, 1, 1), std::ptr::null_mut());
            result::launch_kernel(
                kernel.raw,
                (x, y, z),
                threads,
                launch.shared_bytes,
                stream,
                &mut places,
            )
        };
        started.map_err(device_error("run a kernel"))
    }

    fn product(&mut self, product: Product) -> Result<(), Error> {
        self.bind()?;
        let Product { form, x, weight, y, .. } = product;
        let (rows, inputs) = (side(product.rows)?, side(product.inputs)?);
        let (outputs, pitch) = (side(product.outputs)?, side(product.pitch)?);
        let (plain, turned) = (
            cublas::sys::cublasOperation_t::CUBLAS_OP_N,
            cublas::sys::cublasOperation_t::CUBLAS_OP_T,
        );
        // cuBLAS reads a row-major matrix as the transposed column-major one, so it is asked for the transposed result.
        let (ops, [m, n, k], [a, b, c], [lda, ldb, ldc]) = match form {
            Form::Output | Form::AddOutput => {
                ((turned, plain), [outputs, rows, inputs], [weight, x, y], [inputs, inputs, pitch])
            }
            Form::Input => {
                ((plain, plain), [inputs, rows, outputs], [weight, y, x], [inputs, pitch, inputs])
            }
            Form::Weight => {
                ((plain, turned), [inputs, outputs, rows], [x, y, weight], [inputs, pitch, inputs])
            }
        };
        let is_f32 = self.precision == Precision::F32;
        let single = cublas::sys::cudaDataType::CUDA_R_32F;
        let real = if is_f32 { single } else { cublas::sys::cudaDataType::CUDA_R_16BF };
        let adds = matches!(form, Form::AddOutput | Form::Weight);
        let (alpha, beta) = (1.0_f32, if adds { 1.0_f32 } else { 0.0 });
        let result_type = if adds { single } else { real };
        // TF32 is not used, because its mantissa has only 10 bits.
        let compute = cublas::sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        // SAFETY: the three matrices lie within what the decoder allocated, in the shapes that `Product` says.
        let done = unsafe {
            blas::gemm_ex(
                self.blas.handle,
                ops.0,
                ops.1,
                m,
                n,
                k,
                std::ptr::from_ref(&alpha).cast(),
                pointer(a),
                real,
                lda,
                pointer(b),
                real,
                ldb,
                std::ptr::from_ref(&beta).cast(),
                pointer(c),
                result_type,
                ldc,
                compute,
                cublas::sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(|error| Error::Device { action: "multiply", got: error.to_string() })
    }

    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error> {
        self.bind()?;
        self.reduction = Some(Reduction::new(group)?);
        Ok(())
    }

    fn sum(&mut self, at: Address, len: usize) -> Result<(), Error> {
        self.bind()?;
        self.reduction.as_mut().map_or(Ok(()), |reduction| reduction.sum(at, len))
    }

    fn finish_sums(&mut self) -> Result<(), Error> {
        self.bind()?;
        self.reduction.as_ref().map_or(Ok(()), Reduction::finish)
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        let (free, _) = self.context.mem_get_info().map_err(device_error("tell its memory"))?;
        Ok(Some(free as u64))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // The context must be current to free device memory, and it outlives this value, because cuBLAS keeps it.
        drop(self.bind());
        // Sums are aborted first, because those that no other rank answers would never end.
        self.reduction = None;
        for address in std::mem::take(&mut self.memory) {
            drop(self.free(address));
        }
    }
}

fn missing(name: &str, package: &str) -> Error {
    let expected = format!(
        "{name} of NVIDIA's {package} on the loader's path (LD_LIBRARY_PATH; PyTorch's wheels bring NVRTC and cuBLAS \
         under nvidia/), or \"cpu\""
    );
    Error::setting("train.device", expected, "no such library")
}

/// Checks that the libraries that a run needs can be loaded.
pub(crate) fn check_libraries() -> Result<(), Error> {
    // SAFETY: these load shared libraries, whose initializers are NVIDIA's. A missing one is reported here, because the
    // bindings would otherwise panic at the first call.
    let [driver, nvrtc, blas] = unsafe {
        [
            driver::sys::is_culib_present(),
            nvrtc::sys::is_culib_present(),
            cublas::sys::is_culib_present(),
        ]
    };
    match [driver, nvrtc, blas] {
        [false, ..] => Err(missing("libcuda", "driver")),
        [_, false, _] => Err(missing("libnvrtc", "CUDA toolkit")),
        [_, _, false] => Err(missing("libcublas", "CUDA toolkit")),
        _ => Ok(()),
    }
}

/// Checks that the driver supports the code of these libraries: a later major version needs a later driver.
///
/// # Errors
/// The libraries are too new.
pub(crate) fn check_versions() -> Result<(), Error> {
    let (mut driver, mut major, mut minor) = (0, 0, 0);
    // SAFETY: each call only writes the numbers.
    let told = unsafe {
        driver::sys::cuDriverGetVersion(&raw mut driver).result().is_ok()
            && nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor).result().is_ok()
    };
    // The driver reports version 12.8 as 12080.
    let (own, rest) = (driver / 1000, driver % 1000 / 10);
    if !told || major <= own {
        return Ok(());
    }
    let expected = format!(
        "NVRTC and cuBLAS of CUDA {own} on the loader's path (LD_LIBRARY_PATH; the driver is of {own}.{rest}), a newer \
         driver, or \"cpu\""
    );
    Err(Error::setting("train.device", expected, format!("those of CUDA {major}.{minor}")))
}
