//! Tests of the driver's errors without a GPU, and of compiling the kernels if NVRTC is available.

#![expect(unsafe_code, reason = "asking whether a shared object is there loads it")]

use mixdown_base::error_kind::ErrorKind;

use crate::config::compute::Precision;
use crate::engine::cuda::device::compile::compile;
use crate::engine::cuda::device::compile::{names, program};
use crate::engine::cuda::device::driver::Gpu;

#[test]
fn without_a_gpu_the_error_says_what_to_do() {
    let Err(error) = Gpu::open(0, Precision::F32, 64) else { return };
    assert!(
        error.kind() == ErrorKind::Configuration && error.to_string().contains("\"cpu\""),
        "{error}"
    );
}

/// Compiles the kernels for several GPUs if NVRTC, which needs no GPU, is on the loader's path.
#[test]
fn kernels_compile_where_there_is_a_compiler_for_them() {
    // SAFETY: the call loads the library, as a run does.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return;
    }
    for (precision, head_width) in
        [(Precision::F32, 64), (Precision::Bf16, 128), (Precision::Bf16, 256)]
    {
        for capability in [(8, 0), (9, 0), (10, 0)] {
            let code = compile(capability, precision, head_width).unwrap();
            for name in names(&program(precision, head_width)) {
                let section = format!(".text.{name}\0");
                let mut places = code.windows(section.len());
                assert!(places.any(|place| place == section.as_bytes()), "{name}");
            }
        }
    }
    let error = compile((99, 0), Precision::F32, 64).unwrap_err().to_string();
    assert!(error.contains("does not know compute capability 99.0"), "{error}");
}
