//! Hugging Face model folders: config.json, the names and shapes of the tensors, and the small
//! files beside them. weights_file.rs reads and writes the numbers.

mod config;
mod families;
mod fields;
mod folder;
mod json;
mod rotary;
mod tensors;
#[cfg(test)]
pub(crate) mod test_models;

pub(crate) use folder::{Companions, is_companion};
pub(crate) use tensors::{
    Arrangement, FileTensor, canonical_name, embedding_name, head_name, is_superfluous, tensors,
};
