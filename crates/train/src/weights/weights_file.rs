//! Weights in safetensors files: from the disk into one flat buffer of f32, and back.
//!
//! Both ways go in parts of a megabyte, so that a model is never in memory twice. Files are read by
//! pread and not mapped: one that is truncated meanwhile is then an error and not the end of the
//! process (SIGBUS), and the copy it costs is small beside the conversion.

mod convert;
mod header;
mod reader;
mod safetensors_file;
mod weights_folder;
mod writer;

pub(crate) use reader::read_flat;
pub(crate) use weights_folder::{SHARD_BYTES, has_own_head, read_model, write_model};
pub(crate) use writer::{write as write_tensors, write_flat};
