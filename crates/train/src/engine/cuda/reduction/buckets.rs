//! Which gradients may be summed over the ranks while the backward pass goes on.
//!
//! The pass goes from the end of the flat buffer to its beginning, so what is final is always all from some place on.

use std::ops::Range;

/// Numbers that are summed at once, at least: 32 MiB. Less wastes the links between GPUs on latency, more leaves
/// little to be done beside the last sum (PyTorch's DistributedDataParallel takes 25 MiB).
pub(crate) const BUCKET: usize = 8 << 20;

/// What is left to be summed of one backward pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// All from here on has been handed out.
    end: usize,
    least: usize,
}

impl Buckets {
    /// Of a buffer of `len` numbers, in buckets of at least `least`.
    pub(crate) fn new(len: usize, least: usize) -> Self {
        Self { end: len, least }
    }

    /// What to sum now that all from `start` on is final: nothing where it is little, unless it is the last.
    pub(crate) fn ready(&mut self, start: usize) -> Option<Range<usize>> {
        let enough = self.end.saturating_sub(start) >= self.least || start == 0;
        let bucket = start..self.end;
        (enough && !bucket.is_empty()).then(|| {
            self.end = start;
            bucket
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Buckets;

    #[test]
    fn every_number_is_in_one_bucket() {
        let mut buckets = Buckets::new(100, 30);
        let handed_out: Vec<_> = [90, 75, 70, 65, 20, 0].map(|start| buckets.ready(start)).into();
        assert_eq!(handed_out, [None, None, Some(70..100), None, Some(20..70), Some(0..20)]);
        assert_eq!(buckets.ready(0), None);
        assert_eq!(Buckets::new(100, 1000).ready(0), Some(0..100));
    }
}
