//! The writer of f32 buffers to a safetensors file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use mixdown_base::files::NewFile;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::convert::encode;
use crate::error::Error;
use crate::weights::hugging_face::{Arrangement, FileTensor};

/// The values that are written at once.
const PART_LEN: usize = 1 << 18;
/// The number of parts after which a sync begins: with a single sync at the end, the disk would be idle while values
/// are encoded.
const PARTS_TO_SYNC: usize = 32;

/// Writes one-dimensional tensors, each a whole buffer, to a whole file, and syncs it to the disk.
pub(crate) fn write_flat(path: &Path, parts: &[(&str, &[f32])]) -> Result<(), Error> {
    let tensors: Vec<FileTensor> =
        parts.iter().map(|(name, values)| FileTensor::flat(name, values.len())).collect();
    let values = parts.iter().map(|(_, values)| *values);
    let parts: Vec<_> = tensors.iter().zip(values).collect();
    write(path, &parts)
}

/// Writes tensors, each with its part of the flat buffer, to a whole file, and syncs it to the disk.
pub(crate) fn write(path: &Path, parts: &[(&FileTensor, &[f32])]) -> Result<(), Error> {
    let refused = || Error::io(path, "write");
    let header = header_bytes(path, parts.iter().map(|(tensor, _)| *tensor))?;
    let mut file = NewFile::create(path)?;
    let synced = file.file().try_clone().map_err(refused())?;
    // One sync waits while another is at work; a third would bring nothing.
    let (begin, asked) = sync_channel(1);
    let written = thread::scope(|scope| {
        let syncing = scope.spawn(move || sync(&synced, &asked));
        let written = file.write_all(&header).and_then(|()| write_parts(&mut file, parts, &begin));
        drop(begin);
        let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(synced)
    });
    written.map_err(refused())?;
    Ok(file.commit()?)
}

/// Syncs the file whenever it is asked to. The system reports an error of the disk only once, and this thread keeps it.
fn sync(file: &File, asked: &Receiver<()>) -> io::Result<()> {
    asked.iter().try_for_each(|()| file.sync_data())
}

fn write_parts(
    file: &mut NewFile,
    parts: &[(&FileTensor, &[f32])],
    begin_sync: &SyncSender<()>,
) -> io::Result<()> {
    let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
    let mut count = 0;
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
            file.write_all(&bytes)?;
            count += 1;
            if count % PARTS_TO_SYNC == 0 {
                // Full: a sync is about to begin anyhow. Closed: it failed, and tells so at the end.
                let _ = begin_sync.try_send(());
            }
        }
    }
    Ok(())
}

/// The bytes of the header's length.
pub(super) const LEN_BYTES: usize = 8;
/// The alignment of the header's end in bytes, for readers that map the file.
const ALIGNMENT_BYTES: usize = 8;

/// Returns the length and the header of a file of these tensors in f32, in order.
fn header_bytes<'a>(
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
