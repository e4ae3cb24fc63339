//! Named tensors of f32 in a safetensors file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, View};
use safetensors::{SafeTensors, serialize};

use crate::error::Error;
use crate::files::{read_capped, write_synced};

/// No weights file is larger: it is read as a whole.
pub(crate) const LARGEST_WEIGHTS_BYTES: u64 = 1 << 36;

/// Numbers with their name and shape.
pub(crate) struct NamedNumbers {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl View for &NamedNumbers {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// Writes tensors to a file that nobody reads yet, and brings it to the disk.
pub(crate) fn write(path: &Path, tensors: &[NamedNumbers]) -> Result<(), Error> {
    // transformers refuses files without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let bytes = serialize(views, Some(metadata))
        .map_err(|error| Error::bad_file(path, "tensors that can be written", error))?;
    write_synced(path, &bytes)
}

/// Reads the tensors `expected` (name and shape), in their order.
///
/// Refuses a file that lacks one or has others, with all names, and a tensor of another shape.
pub(crate) fn read(path: &Path, expected: &[(String, Vec<usize>)]) -> Result<Vec<Vec<f32>>, Error> {
    let bytes = read_capped(path, LARGEST_WEIGHTS_BYTES)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| Error::bad_file(path, "a safetensors file", error))?;
    let mut present: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
    let mut found = Vec::with_capacity(expected.len());
    let mut missing = Vec::new();
    for (name, shape) in expected {
        match present.remove(name) {
            Some(view) => found.push(numbers(path, name, shape, &view)?),
            None => missing.push(name.clone()),
        }
    }
    if missing.is_empty() && present.is_empty() {
        return Ok(found);
    }
    let unexpected = present.into_keys().collect();
    Err(Error::Tensors { path: path.to_owned(), missing, unexpected })
}

fn numbers(path: &Path, name: &str, shape: &[usize], view: &TensorView) -> Result<Vec<f32>, Error> {
    if view.shape() != shape {
        let expected = format!("{name} of shape {shape:?}");
        return Err(Error::bad_file(path, expected, format!("{:?}", view.shape())));
    }
    match view.dtype() {
        Dtype::F32 => {
            Ok(view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        }
        Dtype::BF16 => Ok(view
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16))
            .collect()),
        other => {
            let expected = format!("{name} as F32 or BF16");
            Err(Error::bad_file(path, expected, format!("{other:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NamedNumbers, read, write};

    fn named(name: &str, values: &[f32]) -> NamedNumbers {
        NamedNumbers { name: name.to_owned(), shape: vec![values.len()], values: values.to_vec() }
    }

    #[test]
    fn bits_come_back_and_differences_are_listed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("w");
        write(&path, &[named("b", &[1.5, -0.0]), named("a", &[f32::MIN_POSITIVE])]).unwrap();
        let want = |names: &[(&str, usize)]| -> Vec<(String, Vec<usize>)> {
            names.iter().map(|(name, len)| ((*name).to_owned(), vec![*len])).collect()
        };
        let back = read(&path, &want(&[("a", 1), ("b", 2)])).unwrap();
        assert_eq!(back[1][1].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(back, [vec![f32::MIN_POSITIVE], vec![1.5, -0.0]]);
        let error = read(&path, &want(&[("a", 1), ("c", 1)])).unwrap_err().to_string();
        assert!(error.ends_with("missing tensors: c; unexpected tensors: b"), "{error}");
        let error = read(&path, &want(&[("a", 1), ("b", 3)])).unwrap_err().to_string();
        assert!(error.ends_with("expected b of shape [3], got [2]"), "{error}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("w");
        write(&path, &[named("a", &[1.0; 9])]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = read(&path, &[("a".to_owned(), vec![9])]).unwrap_err();
            assert!(!error.is_configuration() && !error.is_io(), "{error}");
        }
    }
}
