//! Documents grouped into tasks for several threads.

/// Tokens per task, unless a document is longer.
const RUN_TOKENS: u64 = 1 << 19;

/// Consecutive documents of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DocumentRun {
    pub first_document: usize,
    pub documents: usize,
    /// The first token of the first document, in the shard.
    pub start_token: u64,
}

/// Groups documents of these lengths into runs of about the same number of tokens.
pub(crate) fn runs(lengths: impl Iterator<Item = u32>) -> Vec<DocumentRun> {
    let mut runs: Vec<DocumentRun> = Vec::new();
    let (mut start_token, mut run_tokens) = (0, RUN_TOKENS);
    for (document, length) in lengths.enumerate() {
        match runs.last_mut() {
            Some(run) if run_tokens < RUN_TOKENS => run.documents += 1,
            _ => {
                run_tokens = 0;
                runs.push(DocumentRun { first_document: document, documents: 1, start_token });
            }
        }
        run_tokens += u64::from(length);
        start_token += u64::from(length);
    }
    runs
}

/// Returns the ids of a document between its beginning and its end.
pub(crate) fn trimmed(ids: &[u32], beginning: Option<u32>, end_of_text: u32) -> &[u32] {
    let ids = match ids.split_first() {
        Some((first, rest)) if Some(*first) == beginning => rest,
        _ => ids,
    };
    match ids.split_last() {
        Some((last, rest)) if *last == end_of_text => rest,
        _ => ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_every_document_once() {
        let lengths: Vec<u32> = (0..500).map(|n| 1 + n * n % 7919).collect();
        let runs = runs(lengths.iter().copied());
        assert!(runs.len() > 2);
        let (mut document, mut token) = (0, 0);
        for run in runs {
            assert_eq!((run.first_document, run.start_token), (document, token));
            let inside = &lengths[document..document + run.documents];
            token += inside.iter().map(|length| u64::from(*length)).sum::<u64>();
            document += run.documents;
        }
        assert_eq!(document, lengths.len());
    }

    #[test]
    fn beginning_and_end_are_no_text() {
        assert_eq!(trimmed(&[1, 5, 2], Some(1), 2), [5]);
        assert_eq!(trimmed(&[1, 5, 2], None, 2), [1, 5]);
        assert_eq!(trimmed(&[2, 5], Some(2), 2), [5]);
        assert!(trimmed(&[2], Some(2), 2).is_empty());
        assert!(trimmed(&[2, 2], Some(2), 2).is_empty());
    }
}
