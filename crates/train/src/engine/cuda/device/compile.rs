//! The kernels, which NVRTC compiles for the GPU of the run.
//!
//! They are compiled to machine code and not to PTX, which the driver would have to compile: a driver refuses the PTX
//! of a newer NVRTC, which PyTorch's wheels may contain, but runs machine code of the same major version.

#![expect(unsafe_code, reason = "NVRTC's interface is C's")]

use std::ffi::CString;

use cudarc::nvrtc::result as calls;
use cudarc::nvrtc::sys::{self, nvrtcResult};

use crate::config::compute::Precision;
use crate::error::Error;

/// A program of NVRTC, which is destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was made by `create_program` and is destroyed only once.
        let _ = unsafe { calls::destroy_program(self.0) };
    }
}

fn failed(got: impl ToString) -> Error {
    Error::Device { action: "compile its kernels", got: got.to_string() }
}

/// Returns the machine code of the kernels for a compute capability.
///
/// # Errors
/// This NVRTC does not know the capability.
pub(crate) fn compile(
    (major, minor): (i32, i32),
    precision: Precision,
    head_width: usize,
) -> Result<Vec<u8>, Error> {
    let mut options = definitions(precision, head_width).to_vec();
    options.push(format!("--gpu-architecture=sm_{major}{minor}"));
    options.push("--std=c++17".to_owned());
    let text = CString::new(program(precision, head_width)).map_err(failed)?;
    let named = calls::create_program(&text, Some(c"mixdown.cu"));
    let program = Program(named.map_err(|error| failed(format!("{:?}", error.0)))?);
    // SAFETY: the program exists until it is dropped.
    let compiled = unsafe { calls::compile_program(program.0, &options) };
    match compiled {
        Ok(()) => machine_code(&program),
        Err(error) if error.0 == nvrtcResult::NVRTC_ERROR_INVALID_OPTION => {
            let got = format!(
                "this NVRTC does not know compute capability {major}.{minor}: a newer one does"
            );
            Err(failed(got))
        }
        // SAFETY: as above.
        Err(error) => Err(failed(match unsafe { calls::get_program_log(program.0) } {
            Ok(log) => log.into_iter().map(|byte| char::from(byte.to_le_bytes()[0])).collect(),
            Err(_) => format!("{:?}", error.0),
        })),
    }
}

fn machine_code(program: &Program) -> Result<Vec<u8>, Error> {
    let check =
        |result: nvrtcResult| result.result().map_err(|error| failed(format!("{:?}", error.0)));
    let mut len = 0;
    // SAFETY: the program exists; NVRTC writes the number of bytes that it reported before.
    unsafe {
        check(sys::nvrtcGetCUBINSize(program.0, &raw mut len))?;
        let mut code = vec![0_u8; len];
        check(sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()))?;
        Ok(code)
    }
}

/// The hardware's functions, for which the emulator has replacements.
const DEVICE: &str = include_str!("../kernels/device.cuh");
const COMMON: &str = include_str!("../kernels/common.cuh");

/// The sources of the kernels, in order: attention on tensor cores uses declarations of the plain attention.
const KERNELS: [&str; 6] = [
    include_str!("../kernels/elementwise.cu"),
    include_str!("../kernels/norm.cu"),
    include_str!("../kernels/pointwise.cu"),
    include_str!("../kernels/optimizer.cu"),
    include_str!("../kernels/attention_plain.cu"),
    include_str!("../kernels/attention_tensor.cu"),
];

/// The maximum head width of attention on tensor cores: registers hold two sums of 16 rows per warp.
pub(crate) const WIDEST_TILE_HEAD: usize = 128;

/// Returns all kernels of a model, without the hardware's functions.
pub(crate) fn kernels(precision: Precision, head_width: usize) -> String {
    // Tensor cores do not compute in f32.
    let is_plain = precision == Precision::F32 || head_width > WIDEST_TILE_HEAD;
    let count = if is_plain { KERNELS.len() - 1 } else { KERNELS.len() };
    KERNELS[..count].concat()
}

/// Returns the source that NVRTC compiles.
pub(crate) fn program(precision: Precision, head_width: usize) -> String {
    [DEVICE, COMMON, &kernels(precision, head_width)].concat()
}

/// Returns the macros of a model's kernels.
pub(crate) fn definitions(precision: Precision, head_width: usize) -> [String; 2] {
    let real = match precision {
        Precision::F32 => "float",
        Precision::Bf16 => "bf16",
    };
    [format!("-DREAL={real}"), format!("-DHEAD_WIDTH={head_width}")]
}

/// Returns the names of the kernels in a source.
pub(crate) fn names(text: &str) -> Vec<String> {
    let declared = text.split("extern \"C\" __global__ void ").skip(1);
    let name = |rest: &str| {
        let bounds = rest.strip_prefix("__launch_bounds__(");
        let rest = bounds.and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
        rest.split('(').next().unwrap_or_default().to_owned()
    };
    declared.map(name).collect()
}
