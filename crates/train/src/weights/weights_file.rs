//! Weights in safetensors files: from the disk into one flat buffer of f32, and back.
//!
//! Files are read and written in parts of a megabyte, so that a model is never in memory twice. They are read by pread
//! and not mapped: a file that is truncated meanwhile is then an error and does not kill the process (SIGBUS), and the
//! copy costs little beside the conversion.

mod convert;
mod safetensors_file;
mod weights_folder;
mod writer;

use std::mem;
use std::path::Path;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
pub(crate) use weights_folder::{SHARD_BYTES, has_own_head, read_model, write_model};
pub(crate) use writer::{write as write_tensors, write_flat};

use self::convert::{decode, width_bytes};
use self::safetensors_file::SafetensorsFile;
use crate::error::Error;
use crate::weights::hugging_face::{Arrangement, FileTensor};

/// The values that are read at once: a megabyte, which stays in a core's cache until it is converted.
const PART_LEN: usize = 1 << 18;
/// The values of one parallel task; a large embedding is several tasks.
const TASK_LEN: usize = 1 << 22;

/// A tensor of a file and its destination, which is as long as the tensor.
struct Wanted<'a> {
    file: &'a SafetensorsFile,
    info: &'a TensorInfo,
    tensor: &'a FileTensor,
    out: &'a mut [f32],
}

/// Reads the one-dimensional tensors `parts`, by their names, into their buffers.
///
/// A file that lacks a tensor or has others is refused with all names, as is a tensor of another length.
pub(crate) fn read_flat(path: &Path, parts: &mut [(&str, &mut [f32])]) -> Result<(), Error> {
    let file = SafetensorsFile::open(path)?;
    let tensors: Vec<FileTensor> =
        parts.iter().map(|(name, values)| FileTensor::flat(name, values.len())).collect();
    let is_missing = |tensor: &&FileTensor| file.info(&tensor.name).is_none();
    let missing: Vec<_> = tensors.iter().filter(is_missing).map(|t| t.name.clone()).collect();
    let mut unexpected = file.names();
    unexpected.retain(|name| tensors.iter().all(|tensor| tensor.name != *name));
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(Error::Tensors { path: path.to_owned(), missing, unexpected });
    }
    let outs = parts.iter_mut().map(|(_, values)| &mut **values);
    let wanted = tensors.iter().zip(outs).filter_map(|(tensor, out)| {
        Some(Wanted { file: &file, info: file.info(&tensor.name)?, tensor, out })
    });
    read_all(wanted.collect())
}

/// Returns whether two tensors of files have the same shape and values, whatever their types.
fn same_numbers(
    one: (&SafetensorsFile, &str),
    other: (&SafetensorsFile, &str),
) -> Result<bool, Error> {
    let (Some(first), Some(second)) = (one.0.info(one.1), other.0.info(other.1)) else {
        return Ok(false);
    };
    let widths = (width_bytes(first.dtype), width_bytes(second.dtype));
    let (Some(first_width), Some(second_width)) = widths else { return Ok(false) };
    if first.shape != second.shape {
        return Ok(false);
    }
    let len: usize = first.shape.iter().product();
    let mut bytes = Vec::new();
    let mut numbers = [Vec::new(), Vec::new()];
    for start in (0..len).step_by(PART_LEN) {
        let part_len = PART_LEN.min(len - start);
        let parts = [(one.0, first, first_width), (other.0, second, second_width)];
        for ((file, info, width_bytes), numbers) in parts.into_iter().zip(&mut numbers) {
            bytes.resize(part_len * width_bytes, 0);
            file.read(info.data_offsets.0 + start * width_bytes, &mut bytes)?;
            numbers.resize(part_len, 0.0);
            decode(info.dtype, &bytes, numbers);
        }
        if numbers[0].iter().ne(&numbers[1]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fills all the buffers.
fn read_all(wanted: Vec<Wanted>) -> Result<(), Error> {
    let mut tasks = Vec::new();
    for wanted in wanted {
        add_tasks(&mut tasks, wanted)?;
    }
    tasks.into_par_iter().try_for_each_init(Scratch::default, |scratch, task| task.run(scratch))
}

/// A part of a tensor that is read on one core.
struct Task<'a> {
    file: &'a SafetensorsFile,
    dtype: Dtype,
    width_bytes: usize,
    /// The offset of its first byte among the file's values.
    offset_bytes: usize,
    tensor: &'a FileTensor,
    out: &'a mut [f32],
}

/// The buffers that are used again.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

/// Refuses a tensor of another shape than the model's.
fn check_shape(
    file: &SafetensorsFile,
    info: &TensorInfo,
    tensor: &FileTensor,
) -> Result<(), Error> {
    if info.shape == tensor.shape {
        return Ok(());
    }
    let expected = format!("{} of shape {:?}", tensor.name, tensor.shape);
    Err(Error::bad_file(file.path(), expected, format!("{:?}", info.shape)))
}

/// Checks a tensor's type and shape and cuts it into tasks.
fn add_tasks<'a>(tasks: &mut Vec<Task<'a>>, wanted: Wanted<'a>) -> Result<(), Error> {
    let Wanted { file, info, tensor, mut out } = wanted;
    let name = &tensor.name;
    check_shape(file, info, tensor)?;
    let dtype = info.dtype;
    let Some(width_bytes) = width_bytes(dtype) else {
        let expected = format!("{name} as F32, F16 or BF16");
        return Err(Error::bad_file(file.path(), expected, dtype));
    };
    let mut offset_bytes = info.data_offsets.0;
    // Another arrangement scatters each part over the whole tensor.
    let is_plain = tensor.arrangement == Arrangement::Plain;
    while !out.is_empty() {
        let len = if is_plain { out.len().min(TASK_LEN) } else { out.len() };
        let (first, rest) = mem::take(&mut out).split_at_mut(len);
        out = rest;
        tasks.push(Task { file, dtype, width_bytes, offset_bytes, tensor, out: first });
        offset_bytes += len * width_bytes;
    }
    Ok(())
}

impl Task<'_> {
    fn run(self, scratch: &mut Scratch) -> Result<(), Error> {
        let part_len = PART_LEN.next_multiple_of(self.tensor.part_len());
        let mut first = 0;
        while first < self.out.len() {
            let len = part_len.min(self.out.len() - first);
            scratch.bytes.resize(len * self.width_bytes, 0);
            self.file.read(self.offset_bytes + first * self.width_bytes, &mut scratch.bytes)?;
            if self.tensor.arrangement == Arrangement::Plain {
                decode(self.dtype, &scratch.bytes, &mut self.out[first..first + len]);
            } else {
                scratch.numbers.resize(len, 0.0);
                decode(self.dtype, &scratch.bytes, &mut scratch.numbers);
                self.tensor.copy_in(first, &scratch.numbers, self.out);
            }
            first += len;
        }
        Ok(())
    }
}
