//! NVIDIA's libraries, found when a run starts, and whether they fit the driver.

#![expect(unsafe_code, reason = "asking for a library loads it, asking for its version calls it")]

use cudarc::{cublas, driver, nvrtc};

use crate::error::Error;

fn missing(name: &str, package: &str) -> Error {
    let expected = format!(
        "{name} of NVIDIA's {package} on the loader's path (LD_LIBRARY_PATH; PyTorch's wheels bring NVRTC and cuBLAS \
         under nvidia/), or \"cpu\""
    );
    Error::setting("train.device", expected, "no such library")
}

/// The libraries that a run needs.
pub(crate) fn check_libraries() -> Result<(), Error> {
    // SAFETY: these load shared libraries, whose initialisers are NVIDIA's. A missing one is told here, as the
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

/// Whether the driver takes what these libraries make: those of a later major version need a later driver.
///
/// # Errors
/// Libraries that are too new.
pub(crate) fn check_versions() -> Result<(), Error> {
    let (mut driver, mut major, mut minor) = (0, 0, 0);
    // SAFETY: each call writes numbers.
    let told = unsafe {
        driver::sys::cuDriverGetVersion(&raw mut driver).result().is_ok()
            && nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor).result().is_ok()
    };
    // 12080 is 12.8.
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
