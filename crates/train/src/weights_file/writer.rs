//! Buffers of f32 into a safetensors file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::convert::encode;
use super::header;
use crate::error::Error;
use crate::hugging_face::{Arrangement, FileTensor};

/// Numbers that are written at once.
const PART_LEN: usize = 1 << 18;

/// Writes one-dimensional tensors, each a whole buffer, to a file that nobody reads yet, and brings
/// it to the disk.
pub(crate) fn write_flat(path: &Path, parts: &[(&str, &[f32])]) -> Result<(), Error> {
    let tensors: Vec<FileTensor> =
        parts.iter().map(|(name, values)| FileTensor::flat(name, values.len())).collect();
    let values = parts.iter().map(|(_, values)| *values);
    let parts: Vec<_> = tensors.iter().zip(values).collect();
    write(path, &parts)
}

/// Writes tensors, each with its own part of the flat buffer, to a file that nobody reads yet, and
/// brings it to the disk.
pub(super) fn write(path: &Path, parts: &[(&FileTensor, &[f32])]) -> Result<(), Error> {
    let refused = || Error::io(path, "write");
    let header = header::bytes(path, parts.iter().map(|(tensor, _)| *tensor))?;
    let mut file = File::create(path).map_err(Error::io(path, "create"))?;
    file.write_all(&header).map_err(refused())?;
    let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
    for (tensor, values) in parts {
        let part_len = PART_LEN.next_multiple_of(tensor.part_len());
        for first in (0..values.len()).step_by(part_len) {
            let end = values.len().min(first + part_len);
            if tensor.arrangement == Arrangement::Plain {
                encode(&values[first..end], &mut bytes);
            } else {
                numbers.resize(end - first, 0.0);
                tensor.copy_out(first, values, &mut numbers);
                encode(&numbers, &mut bytes);
            }
            file.write_all(&bytes).map_err(refused())?;
        }
    }
    file.sync_all().map_err(refused())
}
