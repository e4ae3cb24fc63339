//! The check that documents begin and end as the manifest says, which detects changed fields of a manifest without a
//! seal.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Corpus;
use crate::Damage;
use crate::Error;
use crate::Split;
use crate::corpus::shard::Shard;

/// Ids that are searched at a time.
const STEP_TOKENS: usize = 1 << 16;
/// Documents between two checks of the stop flag.
const STEP_DOCUMENTS: usize = 1 << 12;

/// The documents to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentsChecked {
    /// All.
    All,
    /// A few thousand of each shard, evenly spaced.
    Some,
}

/// Documents per shard for [`DocumentsChecked::Some`].
const SOME_DOCUMENTS: usize = 1 << 12;

/// Compares the first and last ids of all documents with `beginning_of_text` and `end_of_text` of the manifest. With
/// labels, documents may be cut off, so the end-of-text id only has to occur; adopted files are not checked, because
/// their own index may define where documents end. In a manifest without a seal, no other check covers these fields.
///
/// # Errors
/// A file cannot be read or is damaged; `stop` was set.
///
/// ```
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_shards::{DocumentsChecked, verify_document_ends};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// let never = AtomicBool::new(false);
/// assert!(verify_document_ends(&corpus, DocumentsChecked::All, &never)?.is_empty());
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn verify_document_ends(
    corpus: &Corpus,
    which: DocumentsChecked,
    stop: &AtomicBool,
) -> Result<Vec<Damage>, Error> {
    let mut damage = Vec::new();
    for split in Split::ALL {
        let mut start_token = 0;
        for shard in corpus.shards(split) {
            let tokens = start_token..start_token + shard.record().tokens;
            start_token = tokens.end;
            let place = ShardPlace { corpus, split, shard, start_token: tokens.start };
            if shard.record().adopted.is_some() {
                continue;
            }
            damage.extend(match corpus.is_labelled(split) {
                true => place.check_occurrence(stop)?,
                false => place.check_ends(which, stop)?,
            });
        }
    }
    Ok(damage)
}

struct ShardPlace<'a> {
    corpus: &'a Corpus,
    split: Split,
    shard: &'a Shard,
    /// The shard's first token in the stream.
    start_token: u64,
}

/// Documents that do not begin or end as required.
#[derive(Default)]
struct Wrong {
    documents: u64,
    first: Option<(u64, u32)>,
}

impl Wrong {
    fn count(&mut self, at: u64, got: u32) {
        self.documents += 1;
        self.first.get_or_insert((at, got));
    }
}

impl ShardPlace<'_> {
    fn check_ends(&self, which: DocumentsChecked, stop: &AtomicBool) -> Result<Vec<Damage>, Error> {
        let manifest = self.corpus.manifest();
        let mut lengths = Vec::new();
        self.shard.index()?.append_lengths(&mut lengths)?;
        let (mut begins, mut ends) = (Wrong::default(), Wrong::default());
        let mut next = 0;
        let every = match which {
            DocumentsChecked::All => 1,
            DocumentsChecked::Some => lengths.len().div_ceil(SOME_DOCUMENTS).max(1),
        };
        for (number, length) in lengths.iter().enumerate() {
            check_stop(number, stop)?;
            let start = next;
            next += u64::from(*length);
            if !number.is_multiple_of(every) {
                continue;
            }
            let last = next - 1;
            let id = self.id(last)?;
            if id != manifest.end_of_text {
                ends.count(last, id);
            }
            if let Some(beginning) = manifest.beginning_of_text {
                let id = self.id(start)?;
                if id != beginning {
                    begins.count(start, id);
                }
            }
        }
        let documents = lengths.len().div_ceil(every);
        let damage = |wrong: Wrong, what: String| {
            let (at, got) = wrong.first?;
            let got = format!("{got}, and {} of {documents} documents without it", wrong.documents);
            Some(self.damage(Some(at), what, got))
        };
        let end = format!("a document's end with end_of_text {}", manifest.end_of_text);
        let begin = manifest.beginning_of_text.unwrap_or_default();
        let begin = format!("a document's begin with beginning_of_text {begin}");
        Ok(damage(ends, end).into_iter().chain(damage(begins, begin)).collect())
    }

    fn check_occurrence(&self, stop: &AtomicBool) -> Result<Vec<Damage>, Error> {
        let end_of_text = self.corpus.manifest().end_of_text;
        let tokens = self.shard.record().tokens;
        let mut ids = Vec::new();
        for start in (0..tokens).step_by(STEP_TOKENS) {
            check_stop(0, stop)?;
            let left = usize::try_from(tokens - start).unwrap_or(usize::MAX);
            ids.resize(left.min(STEP_TOKENS), 0);
            self.corpus.read_tokens(self.split, self.start_token + start, &mut ids)?;
            if ids.contains(&end_of_text) {
                return Ok(Vec::new());
            }
        }
        let expected = format!("end_of_text {end_of_text} of the manifest somewhere");
        Ok(vec![self.damage(None, expected, format!("{tokens} other ids"))])
    }

    fn id(&self, token: u64) -> Result<u32, Error> {
        let mut id = [0];
        self.corpus.read_tokens(self.split, self.start_token + token, &mut id)?;
        let [id] = id;
        Ok(id)
    }

    fn damage(&self, token: Option<u64>, expected: String, got: String) -> Damage {
        let offset_bytes = token.map(|token| token * self.shard.dtype().bytes());
        Damage { path: self.shard.path("bin"), offset_bytes, expected, got }
    }
}

fn check_stop(number: usize, stop: &AtomicBool) -> Result<(), Error> {
    let is_stopped = number.is_multiple_of(STEP_DOCUMENTS) && stop.load(Ordering::Relaxed);
    if is_stopped { Err(Error::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use crate::{Access, Manifest, test_corpus};

    #[test]
    fn a_changed_end_or_begin_of_documents_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        test_corpus::write(folder.path(), &[vec![5, 1, 0], vec![5, 0]], &[vec![5, 2, 3, 0]]);
        let damage_with = |end_of_text, beginning_of_text| {
            let manifest = Manifest::read(folder.path()).unwrap();
            Manifest { end_of_text, beginning_of_text, ..manifest }.write(folder.path()).unwrap();
            let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
            let [all, some] = [DocumentsChecked::All, DocumentsChecked::Some].map(|which| {
                verify_document_ends(&corpus, which, &AtomicBool::new(false)).unwrap()
            });
            assert_eq!(all, some, "so few are all");
            let damage = all;
            damage.into_iter().map(|damage| (damage.offset_bytes, damage.got)).collect::<Vec<_>>()
        };
        assert_eq!(damage_with(0, Some(5)), []);
        assert_eq!(damage_with(0, None), []);
        let wrong_end = damage_with(3, None);
        assert_eq!(wrong_end[0], (Some(4), "0, and 2 of 2 documents without it".to_owned()));
        assert_eq!(wrong_end[1], (Some(6), "0, and 1 of 1 documents without it".to_owned()));
        let wrong_begin = damage_with(0, Some(1));
        assert_eq!(wrong_begin[0], (Some(0), "5, and 2 of 2 documents without it".to_owned()));
        let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
        let stopped = verify_document_ends(&corpus, DocumentsChecked::Some, &AtomicBool::new(true));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
