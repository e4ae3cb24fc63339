//! The reasons why a record of a run could not be written or read.

use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;

/// Everything that can go wrong with a run folder or a runs table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[error("{}: cannot {doing}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The folder is used by something other than a run.
    #[error(
        "{}: expected an empty folder or a run's folder (with run.toml), got one that holds {got}; \
         choose another --out or move its contents away",
        path.display()
    )]
    NotARunFolder {
        /// The folder.
        path: PathBuf,
        /// Name of the first entry that does not belong to a run.
        got: String,
    },
    /// Another process is writing the run.
    #[error(
        "{}: expected a run that no other process trains, got one that another process holds; wait for that one to \
         end, or choose another --out",
        path.display()
    )]
    Locked {
        /// The run's folder.
        path: PathBuf,
    },
    /// A line or a whole file is not the expected record.
    #[error("{}, line {line}: expected {expected}, got {got}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What belongs there.
        expected: &'static str,
        /// What the parser found.
        got: String,
    },
    /// A file differs from its recorded sum.
    #[error(
        "{}: expected {expected}, got {got}: the file was damaged, or changed since it was written; {way_out}",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its sum, or that it is there.
        expected: String,
        /// What is there.
        got: String,
        /// How to go on.
        way_out: String,
    },
    /// Lines that a run wrote before its checkpoint are missing.
    #[error(
        "{}: expected the lines of every step up to {checkpoint}, that of the checkpoint the run would go on from, \
         got none of {}; bring them back from a copy, or remove the checkpoints of step {first} and later \
         (checkpoints/step-N) to train those steps again",
        path.display(), steps(*first, *last)
    )]
    MissingLines {
        /// The file.
        path: PathBuf,
        /// The step of the checkpoint.
        checkpoint: u64,
        /// The first step without a line.
        first: u64,
        /// The last one of that gap.
        last: u64,
    },
    /// A file is larger than any real one.
    #[error(
        "{}: expected at most {limit_bytes} bytes, got {got}; this is not a file of a run",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The cap.
        limit_bytes: u64,
        /// The file's length in bytes.
        got: u64,
    },
    /// A table is not a Parquet file or is damaged.
    #[error(
        "{}: expected a Parquet table of numbers and texts, got {got}; write it again",
        path.display()
    )]
    DamagedParquet {
        /// The table.
        path: PathBuf,
        /// What the reader found.
        got: String,
    },
    /// The folder of a run was removed while the run was writing it.
    #[error(
        "{}: expected the run's folder to stay until the run ends, got removed or renamed; put it back, or name another \
         --out, and give the command again",
        path.display()
    )]
    Gone {
        /// Where the folder was.
        path: PathBuf,
    },
    /// The name of a table does not have the extension of a known format.
    #[error("{}: expected a table named *.parquet, *.csv or *.jsonl, got {got}", path.display())]
    UnknownTableFormat {
        /// The table.
        path: PathBuf,
        /// The extension found.
        got: String,
    },
    /// A table lacks a column that every row needs.
    #[error(
        "{}, row {row}: expected a column {column:?}, got only {got}; rename the column or add it",
        path.display()
    )]
    MissingColumn {
        /// The table.
        path: PathBuf,
        /// Row, counted from 1 without the header (0: the header itself).
        row: u64,
        /// The missing column.
        column: &'static str,
        /// The columns found.
        got: String,
    },
    /// A cell has a value that its column cannot have.
    #[error("{}, row {row}, column {column:?}: expected {expected}, got {got}", path.display())]
    BadValue {
        /// The table.
        path: PathBuf,
        /// Row, counted from 1 without the header.
        row: u64,
        /// The column.
        column: &'static str,
        /// What the column takes.
        expected: &'static str,
        /// What the cell holds.
        got: String,
    },
    /// Two rows have the same run id.
    #[error(
        "{}, row {row}: expected every run_id once, got {run_id:?}, which row {first_row} has \
         already; remove one of the two",
        path.display()
    )]
    DuplicateRun {
        /// The table (empty for a table in memory).
        path: PathBuf,
        /// The second row, counted from 1.
        row: u64,
        /// The first row with that id.
        first_row: u64,
        /// The id.
        run_id: String,
    },
    /// A number to be recorded is NaN or infinite.
    #[error("{}: expected a finite {field}, got {got}", path.display())]
    NotFinite {
        /// The file it was meant for.
        path: PathBuf,
        /// Name of the number.
        field: &'static str,
        /// Its value.
        got: f64,
    },
}

/// `step 4` or `steps 4 to 10`.
fn steps(first: u64, last: u64) -> String {
    if first == last { format!("step {first}") } else { format!("steps {first} to {last}") }
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), doing, source }
    }

    /// Returns the kind: whether the request, the records, the machine or a number is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::NotARunFolder { .. } | Self::Locked { .. } | Self::UnknownTableFormat { .. } => {
                ErrorKind::Configuration
            }
            Self::NotFinite { .. } => ErrorKind::Numerical,
            _ => ErrorKind::Data,
        }
    }
}
