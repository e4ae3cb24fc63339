//! The text of the kernels.

use crate::config::precision::Precision;

/// What stands for the hardware, then numbers and sums; an emulator has its own of the first.
const DEVICE: &str = include_str!("../kernels/device.cuh");
const COMMON: &str = include_str!("../kernels/common.cuh");

/// In order: attention on tensor cores uses what the plain one declares.
const KERNELS: [&str; 6] = [
    include_str!("../kernels/elementwise.cu"),
    include_str!("../kernels/norm.cu"),
    include_str!("../kernels/pointwise.cu"),
    include_str!("../kernels/optimizer.cu"),
    include_str!("../kernels/attention_plain.cu"),
    include_str!("../kernels/attention_tensor.cu"),
];

/// The widest head that attention on tensor cores takes: registers hold two sums of 16 rows a warp.
pub(crate) const WIDEST_TILE_HEAD: usize = 128;

/// All kernels of a model, without what they take from the hardware.
pub(crate) fn kernels(precision: Precision, head_width: usize) -> String {
    // Tensor cores take no f32.
    let is_plain = precision == Precision::F32 || head_width > WIDEST_TILE_HEAD;
    let count = if is_plain { KERNELS.len() - 1 } else { KERNELS.len() };
    KERNELS[..count].concat()
}

/// One text that NVRTC compiles.
pub(crate) fn program(precision: Precision, head_width: usize) -> String {
    [DEVICE, COMMON, &kernels(precision, head_width)].concat()
}

/// The macros of a model's kernels.
pub(crate) fn definitions(precision: Precision, head_width: usize) -> [String; 2] {
    let real = match precision {
        Precision::F32 => "float",
        Precision::Bf16 => "bf16",
    };
    [format!("-DREAL={real}"), format!("-DHEAD_WIDTH={head_width}")]
}

/// The names of the kernels in a text.
pub(crate) fn names(text: &str) -> Vec<String> {
    let declared = text.split("extern \"C\" __global__ void ").skip(1);
    let name = |rest: &str| {
        let bounds = rest.strip_prefix("__launch_bounds__(");
        let rest = bounds.and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
        rest.split('(').next().unwrap_or_default().to_owned()
    };
    declared.map(name).collect()
}
