//! Model folders on disk: safetensors, Hugging Face's names, small files, their sums.

pub(crate) mod files;
pub(crate) mod hugging_face;
pub(crate) mod sums;
pub(crate) mod weights_file;
