//! Clusters of similar sketches among many, in bounded memory.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::index::{band_hash, rows};
use crate::sketch::{SLOTS, Sketch};

/// Sketches that are compared at a time when hashes are made.
const BLOCK: u32 = 4096;
/// Bands that are examined together; what they find is joined before the next ones. A fixed number, because what has
/// been joined already is not compared again.
const BANDS_AT_ONCE: usize = 4;
/// The number of different sketches of a group of equal hashes that each other one is compared with.
const LEADERS: usize = 16;

/// Sketches of many documents, numbered from 0, which can be read in any order.
///
/// ```
/// use std::convert::Infallible;
///
/// use mixdown_similarity::{Sketch, SketchStore};
///
/// struct None;
///
/// impl SketchStore for None {
///     type Error = Infallible;
///     fn len(&self) -> u32 {
///         0
///     }
///     fn read(&self, _: u32, _: u32, sketches: &mut Vec<Sketch>) -> Result<(), Infallible> {
///         sketches.clear();
///         Ok(())
///     }
///     fn is_similar(&self, _: u32, _: u32) -> Result<bool, Infallible> {
///         Ok(false)
///     }
/// }
///
/// assert!(None.is_empty());
/// ```
pub trait SketchStore: Sync {
    /// Why a sketch cannot be read, or a pair not be compared.
    type Error: Send;

    /// Returns the number of sketches.
    fn len(&self) -> u32;

    /// Returns whether there are no sketches.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces `sketches` by those of the numbers from `first` on, at most `count`.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Self::Error>;

    /// Returns whether two documents are similar, of which the sketches leave it open.
    ///
    /// # Errors
    /// They cannot be read.
    fn is_similar(&self, one: u32, other: u32) -> Result<bool, Self::Error>;
}

/// Documents joined with those that they are similar to, directly or by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// For each document a smaller one of its cluster, or itself if it is the first.
    before: Vec<u32>,
}

impl Clusters {
    /// Finds the clusters of documents with a similarity of at least `threshold`: pairs whose estimate is beyond it by
    /// [`Sketch::MARGIN`] are similar, and those within the margin are compared by the store. The result is the same
    /// for every number of threads and every limit of memory.
    ///
    /// Memory: 4 bytes per document, and about `memory_bytes` for hashes. Time: 42 passes over the sketches at a
    /// threshold of one half, in each of which documents with equal hashes are compared with the first few of them.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use mixdown_similarity::{Clusters, Sketch, SketchStore, Sketcher};
    ///
    /// struct Texts(Vec<Sketch>);
    ///
    /// impl SketchStore for Texts {
    ///     type Error = Infallible;
    ///     fn len(&self) -> u32 {
    ///         self.0.len() as u32
    ///     }
    ///     fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Infallible> {
    ///         sketches.clear();
    ///         sketches.extend(self.0.iter().skip(first as usize).take(count as usize));
    ///         Ok(())
    ///     }
    ///     fn is_similar(&self, _: u32, _: u32) -> Result<bool, Infallible> {
    ///         Ok(true)
    ///     }
    /// }
    ///
    /// let mut sketcher = Sketcher::default();
    /// let texts = ["one text of five words", "quite another text than that one", "One text of five words!"];
    /// let texts = Texts(texts.iter().map(|text| sketcher.sketch(text).unwrap()).collect());
    /// let clusters = Clusters::find(&texts, 0.5, 2, 1 << 20)?;
    /// assert_eq!((0..3).map(|number| clusters.first(number)).collect::<Vec<_>>(), [0, 1, 0]);
    /// # Ok::<(), Infallible>(())
    /// ```
    pub fn find<S: SketchStore>(
        store: &S,
        threshold: f64,
        threads: usize,
        memory_bytes: u64,
    ) -> Result<Self, S::Error> {
        let mut clusters = Self { before: (0..store.len()).collect() };
        let rows = rows(threshold);
        let bands: Vec<usize> = (0..SLOTS / rows).collect();
        let bytes = u64::from(store.len()) * 8 * BANDS_AT_ONCE as u64;
        // Groups of equal hashes are within one range of hashes.
        let ranges = u32::try_from(bytes.div_ceil(memory_bytes.max(1))).unwrap_or(u32::MAX).max(1);
        for bands in bands.chunks(BANDS_AT_ONCE) {
            let links: Mutex<Vec<(u32, u32)>> = Mutex::default();
            for range in 0..ranges {
                let next = AtomicUsize::new(0);
                let work = || {
                    while let Some(&band) = bands.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let one = Band { store, threshold, rows, band, range, ranges };
                        let found = one.links(&clusters)?;
                        links.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                    }
                    Ok(())
                };
                thread::scope(|scope| {
                    let others: Vec<_> = (1..threads.min(bands.len()))
                        // If the system refuses a thread, the others do its work.
                        .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                        .collect();
                    let own = work();
                    // A thread that panics has reported it; its scope panics too.
                    let others = others.into_iter().filter_map(|other| other.join().ok());
                    others.fold(own, Result::and)
                })?;
            }
            for (one, other) in links.into_inner().unwrap_or_else(PoisonError::into_inner) {
                clusters.join(one, other);
            }
        }
        Ok(clusters)
    }

    /// Returns the first document of a document's cluster, which may be itself.
    pub fn first(&self, number: u32) -> u32 {
        let mut first = number;
        while let Some(&before) = self.before.get(first as usize)
            && before != first
        {
            first = before;
        }
        first
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.first_shortened(one), self.first_shortened(other));
        let (first, later) = (one.min(other), one.max(other));
        if let Some(before) = self.before.get_mut(later as usize) {
            *before = first;
        }
    }

    /// Returns the first document of a cluster, and halves the way to it.
    fn first_shortened(&mut self, number: u32) -> u32 {
        let mut at = number as usize;
        while let Some(&before) = self.before.get(at)
            && before as usize != at
        {
            let Some(&above) = self.before.get(before as usize) else { break };
            self.before[at] = above;
            at = above as usize;
        }
        u32::try_from(at).unwrap_or(number)
    }
}

/// One band of all sketches, within one range of its hashes.
struct Band<'s, S> {
    store: &'s S,
    threshold: f64,
    rows: usize,
    band: usize,
    range: u32,
    ranges: u32,
}

impl<S: SketchStore> Band<'_, S> {
    /// Returns pairs of similar documents with equal hashes that are not yet in one cluster.
    fn links(&self, clusters: &Clusters) -> Result<Vec<(u32, u32)>, S::Error> {
        let hashes = self.hashes()?;
        let mut links = Vec::new();
        let hash = |entry: &u64| entry >> 32;
        for group in hashes.chunk_by(|one, other| hash(one) == hash(other)) {
            if group.len() > 1 {
                self.compare(group, clusters, &mut links)?;
            }
        }
        Ok(links)
    }

    /// Returns the hashes in the range, each with the number of its document, sorted.
    fn hashes(&self) -> Result<Vec<u64>, S::Error> {
        let (mut hashes, mut sketches) = (Vec::new(), Vec::new());
        for first in (0..self.store.len()).step_by(BLOCK as usize) {
            self.store.read(first, BLOCK, &mut sketches)?;
            for (number, sketch) in (first..).zip(&sketches) {
                let hash = band_hash(sketch, self.rows, self.band);
                if (u64::from(hash) * u64::from(self.ranges)) >> 32 == u64::from(self.range) {
                    hashes.push(u64::from(hash) << 32 | u64::from(number));
                }
            }
        }
        hashes.sort_unstable();
        Ok(hashes)
    }

    fn compare(
        &self,
        group: &[u64],
        clusters: &Clusters,
        links: &mut Vec<(u32, u32)>,
    ) -> Result<(), S::Error> {
        let mut leaders: Vec<(u32, u32, Sketch)> = Vec::new();
        let mut read = Vec::new();
        for &entry in group {
            let number = u32::try_from(entry & u64::from(u32::MAX)).unwrap_or(u32::MAX);
            let first = clusters.first(number);
            if leaders.iter().any(|&(_, other, _)| other == first) {
                continue;
            }
            self.store.read(number, 1, &mut read)?;
            let Some(&sketch) = read.first() else { continue };
            let mut is_joined = false;
            for &(leader, _, other) in &leaders {
                let estimate = sketch.jaccard(&other);
                is_joined = estimate >= self.threshold + Sketch::MARGIN
                    || estimate >= self.threshold - Sketch::MARGIN
                        && self.store.is_similar(leader, number)?;
                if is_joined {
                    links.push((leader, number));
                    break;
                }
            }
            if !is_joined && leaders.len() < LEADERS {
                leaders.push((number, first, sketch));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{Shingles, Sketcher};

    struct Texts {
        texts: Vec<String>,
        sketches: Vec<Sketch>,
    }

    impl Texts {
        fn new(texts: Vec<String>) -> Self {
            let mut sketcher = Sketcher::default();
            let sketches = texts.iter().map(|text| sketcher.sketch(text).unwrap()).collect();
            Self { texts, sketches }
        }

        fn similarity(&self, one: usize, other: usize) -> f64 {
            Shingles::of(&self.texts[one]).jaccard(&Shingles::of(&self.texts[other]))
        }
    }

    impl SketchStore for Texts {
        type Error = Infallible;

        fn len(&self) -> u32 {
            u32::try_from(self.sketches.len()).unwrap()
        }

        fn read(
            &self,
            first: u32,
            count: u32,
            sketches: &mut Vec<Sketch>,
        ) -> Result<(), Infallible> {
            sketches.clear();
            sketches.extend(self.sketches.iter().skip(first as usize).take(count as usize));
            Ok(())
        }

        fn is_similar(&self, one: u32, other: u32) -> Result<bool, Infallible> {
            Ok(self.similarity(one as usize, other as usize) >= 0.5)
        }
    }

    /// Copies of some texts, in each of which a word in `every` is another one.
    fn copies() -> Vec<String> {
        let mut texts = Vec::new();
        for family in 0..30_usize {
            for (copy, every) in [1000, 40, 15, 9, 6].into_iter().enumerate() {
                let word = |at: usize| match (at + family) % every {
                    0 => format!("c{family}x{copy}x{at}"),
                    _ => format!("w{family}x{at}"),
                };
                texts.push((0..80 + family * 10).map(word).collect::<Vec<_>>().join(" "));
            }
        }
        texts
    }

    #[test]
    fn clusters_are_those_of_all_pairs_for_any_threads_and_memory() {
        let texts = Texts::new(copies());
        let mut expected = Clusters { before: (0..texts.len()).collect() };
        for one in 0..texts.texts.len() {
            for other in (0..one).filter(|&other| texts.similarity(one, other) >= 0.5) {
                expected.join(u32::try_from(one).unwrap(), u32::try_from(other).unwrap());
            }
        }
        let firsts =
            |clusters: &Clusters| -> Vec<u32> { (0..150).map(|at| clusters.first(at)).collect() };
        let expected = firsts(&expected);
        let joined = expected.iter().zip(0..).filter(|&(&first, number)| first != number).count();
        assert!((30..150).contains(&joined), "{joined}");
        for (threads, memory) in [(1, 1 << 30), (2, 500), (3, 1700), (7, 100_000)] {
            let Ok(found) = Clusters::find(&texts, 0.5, threads, memory);
            assert_eq!(firsts(&found), expected, "{threads} {memory}");
        }
    }

    #[test]
    fn many_copies_take_linear_time() {
        let sketches = vec![Sketch::of_hash(7); 200_000];
        let texts = Texts { texts: Vec::new(), sketches };
        let Ok(found) = Clusters::find(&texts, 0.75, 2, 1 << 24);
        assert!((0..200_000).all(|number| found.first(number) == 0));
    }
}
