//! How far the work is.

use std::sync::Arc;

use mixdown_base::observer::Observer;
use mixdown_documents::{InputList, Remark};

/// A report of progress; `done` of `total` bytes of the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done: of the inputs on disk while reading or tokenizing, of ids while writing.
    pub done: u64,
    /// Bytes in all; 0 where nobody knows.
    pub total: u64,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Said once, before the work, where there is something to say of the inputs.
    Inputs(Arc<InputRemarks>),
    /// Said once, before the work: what the disks will have to hold.
    Disk(DiskEstimate),
    /// Text is read to train a tokenizer on.
    Reading,
    /// A tokenizer is trained; this stage reports only its beginning and its end.
    Training,
    /// Inputs become parts.
    Tokenizing,
    /// Parts become shards.
    Writing,
}

/// Files of the inputs that are not read, or not as their names suggest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRemarks {
    /// Files of folders that are not read, and why.
    pub left_out: Vec<Remark>,
    /// JSON files that are read as whole texts, as they hold no records with the field of the text.
    pub read_as_text: Vec<Remark>,
}

/// Says what there is to say of the inputs.
pub(crate) fn say_inputs(inputs: &InputList, observer: Observer<'_, Progress>) {
    let remarks = InputRemarks {
        left_out: inputs.left_out().to_vec(),
        read_as_text: inputs.read_as_text().to_vec(),
    };
    if !remarks.left_out.is_empty() || !remarks.read_as_text.is_empty() {
        observer.tell(Progress { stage: Stage::Inputs(Arc::new(remarks)), done: 0, total: 0 });
    }
}

/// What the unfinished work and the corpus will take of their disks, by a rule of thumb, and what is
/// free there. Where both lie on one disk, they add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskEstimate {
    /// Bytes of the unfinished work, which go when the corpus is finished.
    pub work_bytes: u64,
    /// Bytes free where it lies.
    pub work_free_bytes: u64,
    /// Bytes of the corpus.
    pub corpus_bytes: u64,
    /// Bytes free where it lies.
    pub corpus_free_bytes: u64,
    /// Whether both lie on the same disk.
    pub one_disk: bool,
}

impl DiskEstimate {
    /// Whether it looks as if a disk could fill up.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let both = self.work_bytes.saturating_add(self.corpus_bytes);
        if self.one_disk {
            return both > self.corpus_free_bytes;
        }
        self.work_bytes > self.work_free_bytes || self.corpus_bytes > self.corpus_free_bytes
    }
}
