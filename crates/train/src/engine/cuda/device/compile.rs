//! Kernels compiled by NVRTC for the GPU that is there.
//!
//! To machine code and not to PTX, which a driver compiles further: PTX of an NVRTC that is newer than the driver, as
//! PyTorch's wheels may bring, is refused by it, machine code of the same major version runs.

#![expect(unsafe_code, reason = "NVRTC's interface is C's")]

use std::ffi::CString;

use cudarc::nvrtc::result as calls;
use cudarc::nvrtc::sys::{self, nvrtcResult};

use crate::config::precision::Precision;
use crate::engine::cuda::device::source::{definitions, program};
use crate::error::Error;

/// A program of NVRTC, given back at its end.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program` and given back once.
        let _ = unsafe { calls::destroy_program(self.0) };
    }
}

fn failed(got: impl ToString) -> Error {
    Error::Device { action: "compile its kernels", got: got.to_string() }
}

/// The machine code of the kernels for a compute capability.
///
/// # Errors
/// A capability that this NVRTC does not know.
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
    // SAFETY: the program is there until it is dropped.
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
    // SAFETY: the program is there; NVRTC writes so many bytes as it said before.
    unsafe {
        check(sys::nvrtcGetCUBINSize(program.0, &raw mut len))?;
        let mut code = vec![0_u8; len];
        check(sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()))?;
        Ok(code)
    }
}
