//! Arrow IPC on standard output.

use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};

use crate::error::Error;
use crate::terminal::output::begin_stream;

/// The bytes before the length of every message.
const CONTINUATION: &[u8] = &[0xff; 4];

/// The length of the header of a message that never follows; not 0, which would end the stream.
const UNREADABLE_LEN: i32 = 1 << 16;

/// One Arrow IPC stream on standard output.
pub struct ArrowStream {
    writer: StreamWriter<BufWriter<StdoutLock<'static>>>,
}

impl ArrowStream {
    /// Begins the stream.
    ///
    /// # Errors
    /// Standard output is a terminal, or cannot be written.
    pub fn new(schema: &Schema) -> Result<Self, Error> {
        let stdout = std::io::stdout().lock();
        if stdout.is_terminal() {
            let message = "Arrow IPC: expected a file or a program to write to, got a terminal";
            return Err(Error::usage(message.to_owned(), "redirect it: … > batches.arrows"));
        }
        begin_stream();
        let writer = StreamWriter::try_new(BufWriter::new(stdout), schema);
        Ok(Self { writer: writer.map_err(|error| unwritable(&error))? })
    }

    /// Writes one record batch and flushes it; breaks if the reader has closed the pipe.
    ///
    /// # Errors
    /// Standard output cannot be written for another reason.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<ControlFlow<()>, Error> {
        let written = self.writer.write(rows).and_then(|()| Ok(self.writer.get_mut().flush()?));
        match written {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if is_broken_pipe(&error) => Ok(ControlFlow::Break(())),
            Err(error) => Err(unwritable(&error)),
        }
    }

    /// Ends an incomplete stream so that no reader takes it for a complete one: with the length of a message that
    /// never follows. Without it, readers take the end of the bytes for the end of the stream.
    pub fn abandon(mut self) {
        let announced = [CONTINUATION, &UNREADABLE_LEN.to_le_bytes()].concat();
        let stdout = self.writer.get_mut();
        // The stream has already failed, and that error is the one to report.
        let _ = stdout.write_all(&announced).and_then(|()| stdout.flush());
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<(), Error> {
        let written = self.writer.finish().and_then(|()| Ok(self.writer.get_mut().flush()?));
        match written {
            Err(error) if !is_broken_pipe(&error) => Err(unwritable(&error)),
            _ => Ok(()),
        }
    }
}

fn is_broken_pipe(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IoError(_, error) if error.kind() == ErrorKind::BrokenPipe)
}

/// The error for what Arrow could not write.
pub fn unwritable(error: &ArrowError) -> Error {
    let path = std::path::Path::new("standard output");
    Error::io(path, "write", std::io::Error::other(error.to_string()))
}
