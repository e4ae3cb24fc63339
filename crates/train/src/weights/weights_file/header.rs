//! The header of a safetensors file that is written.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::Error;
use crate::weights::hugging_face::FileTensor;

/// Bytes of the number that says how long the header is.
pub(super) const LEN_BYTES: usize = 8;
/// The header's end lies at a multiple of so many bytes, for readers that map the file.
const ALIGNMENT_BYTES: usize = 8;

/// The first bytes of a file of these tensors in f32, one after the other.
pub(super) fn bytes<'a>(
    path: &Path,
    tensors: impl Iterator<Item = &'a FileTensor>,
) -> Result<Vec<u8>, Error> {
    let mut infos = Vec::new();
    let mut start = 0;
    for tensor in tensors {
        let data_offsets = (start, start + tensor.range.len() * size_of::<f32>());
        start = data_offsets.1;
        let info = TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets };
        infos.push((tensor.name.clone(), info));
    }
    // transformers refuses files without this entry.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let refused = |error: &dyn ToString| {
        Error::bad_file(path, "tensors that can be written", error.to_string())
    };
    let metadata = Metadata::new(Some(format), infos).map_err(|error| refused(&error))?;
    let mut text = serde_json::to_vec(&metadata).map_err(|error| refused(&error))?;
    text.resize(text.len().next_multiple_of(ALIGNMENT_BYTES), b' ');
    let len_bytes = u64::try_from(text.len()).map_err(|error| refused(&error))?;
    Ok([&len_bytes.to_le_bytes(), text.as_slice()].concat())
}
