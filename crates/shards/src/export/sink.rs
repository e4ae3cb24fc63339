//! The files of an export while they are written.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{Dtype, Error};

/// A file that is written front to back and brought to the disk.
pub(super) struct Sink {
    file: BufWriter<File>,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Sink {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let file = File::create(path).map_err(Error::io("create", path))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { file, path: path.to_owned(), buffer: Vec::new() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    pub(super) fn write_ids(&mut self, dtype: Dtype, ids: &[u32]) -> Result<(), Error> {
        self.buffer.clear();
        ids.iter().for_each(|id| dtype.encode(*id, &mut self.buffer));
        self.file.write_all(&self.buffer).map_err(Error::io("write", &self.path))
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let file = self.file.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(Error::io("write", &self.path))?;
        file.sync_all().map_err(Error::io("flush", &self.path))
    }
}
