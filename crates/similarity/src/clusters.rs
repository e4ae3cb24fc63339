//! Clusters of similar sketches among many, in bounded memory.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use crate::index::{band_hash, rows};
use crate::shingles::Shingles;
use crate::sketch::{SLOTS, Sketch};

/// Sketches that are compared at a time when hashes are made.
const BLOCK: u32 = 4096;
/// Bands that are examined together; what they find is joined before the next ones. A fixed number, because what has
/// been joined already is not compared again.
const BANDS_AT_ONCE: usize = 4;
/// The number of different sketches of a group of equal hashes that each other one is compared with.
const LEADERS: usize = 16;
/// The most shingles of such a document that are kept while its group is compared.
const KEPT_SHINGLES: usize = 1 << 16;
/// About the bytes that a pair which is not similar takes in memory.
const PAIR_BYTES: u64 = 16;

/// Sketches of many documents, numbered from 0, which can be read in any order.
///
/// ```
/// use std::convert::Infallible;
///
/// use mixdown_similarity::{Shingles, Sketch, SketchStore};
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
///     fn shingles(&self, _: u32) -> Result<Shingles, Infallible> {
///         Ok(Shingles::of(""))
///     }
/// }
///
/// assert!(None.is_empty());
/// ```
pub trait SketchStore: Sync {
    /// Why a sketch or a text cannot be read.
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

    /// Returns the shingles of a document's text, for pairs whose sketches leave open whether they are similar.
    ///
    /// # Errors
    /// The text cannot be read.
    fn shingles(&self, number: u32) -> Result<Shingles, Self::Error>;
}

/// Documents joined with those that they are similar to, directly or by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// For each document a smaller one of its cluster, or itself if it is the first.
    before: Vec<u32>,
}

impl Clusters {
    /// Finds the clusters of documents with a similarity of at least `threshold`: pairs whose estimate is beyond it by
    /// [`Sketch::MARGIN`] are similar, and those within the margin are compared by their texts. The result is the same
    /// for every number of threads and every limit of memory.
    ///
    /// Memory: 4 bytes per document, about `memory_bytes` for hashes, and as much for pairs that their texts showed not
    /// to be similar. Time: 42 passes over the sketches at a threshold of one half, in each of which documents with
    /// equal hashes are compared with the first few of them.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use mixdown_similarity::{Clusters, Shingles, Sketch, SketchStore, Sketcher};
    ///
    /// struct Texts(Vec<&'static str>, Vec<Sketch>);
    ///
    /// impl SketchStore for Texts {
    ///     type Error = Infallible;
    ///     fn len(&self) -> u32 {
    ///         self.1.len() as u32
    ///     }
    ///     fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Infallible> {
    ///         sketches.clear();
    ///         sketches.extend(self.1.iter().skip(first as usize).take(count as usize));
    ///         Ok(())
    ///     }
    ///     fn shingles(&self, number: u32) -> Result<Shingles, Infallible> {
    ///         Ok(Shingles::of(self.0[number as usize]))
    ///     }
    /// }
    ///
    /// let mut sketcher = Sketcher::default();
    /// let texts = vec!["one text of five words", "quite another text than that one", "One text of five words!"];
    /// let sketches = texts.iter().map(|text| sketcher.sketch(text).unwrap()).collect();
    /// let texts = Texts(texts, sketches);
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
        let mut refuted = HashSet::new();
        let most = usize::try_from(memory_bytes / PAIR_BYTES).unwrap_or(usize::MAX);
        for bands in bands.chunks(BANDS_AT_ONCE) {
            let mut compared = Vec::new();
            for range in 0..ranges {
                let part = Part { store, threshold, rows, bands, range, ranges, refuted: &refuted };
                compared.extend(part.compared(&clusters, threads)?);
            }
            for Compared { links, refuted: pairs } in compared {
                links.into_iter().for_each(|(one, other)| clusters.join(one, other));
                // Which of them are kept makes no difference to the result.
                let room = most.saturating_sub(refuted.len());
                refuted.extend(pairs.into_iter().take(room));
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

/// Some bands of all sketches, within one range of their hashes.
struct Part<'s, S> {
    store: &'s S,
    threshold: f64,
    rows: usize,
    bands: &'s [usize],
    range: u32,
    ranges: u32,
    /// Pairs of leaders and documents that earlier bands found not to be similar. Where much is boilerplate, every band
    /// would read the same texts again.
    refuted: &'s HashSet<(u32, u32)>,
}

/// What a thread found.
#[derive(Default)]
struct Compared {
    /// Similar documents that are not yet in one cluster.
    links: Vec<(u32, u32)>,
    /// Pairs whose texts are not similar.
    refuted: Vec<(u32, u32)>,
}

/// A document of a group with which the others are compared.
struct Leader {
    number: u32,
    /// The first document of its cluster.
    first: u32,
    sketch: Sketch,
    /// The shingles of its text, once they were needed.
    shingles: Option<Shingles>,
}

/// The hashes of each band, each with the number of its document.
type Hashes = [Vec<u64>; BANDS_AT_ONCE];

impl<S: SketchStore> Part<'_, S> {
    /// Compares documents with equal hashes that are not yet in one cluster.
    fn compared(&self, clusters: &Clusters, threads: usize) -> Result<Vec<Compared>, S::Error> {
        let hashes = self.hashes(threads)?;
        let next = AtomicUsize::new(0);
        on_threads(threads.min(self.bands.len()), || {
            let mut compared = Compared::default();
            while let Some(band) = hashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut band = band.lock().unwrap_or_else(PoisonError::into_inner);
                band.sort_unstable();
                let hash = |entry: &u64| entry >> 32;
                for group in band.chunk_by(|one, other| hash(one) == hash(other)) {
                    if group.len() > 1 {
                        self.compare(group, clusters, &mut compared)?;
                    }
                }
            }
            Ok(compared)
        })
    }

    /// Returns the hashes in the range. All bands are hashed in one pass: reading takes longer than hashing.
    fn hashes(&self, threads: usize) -> Result<[Mutex<Vec<u64>>; BANDS_AT_ONCE], S::Error> {
        let blocks = self.store.len().div_ceil(BLOCK);
        let next = AtomicU32::new(0);
        let all: [Mutex<Vec<u64>>; BANDS_AT_ONCE] = Default::default();
        let next_block =
            || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&block| block < blocks);
        on_threads(threads, || {
            let (mut own, mut sketches) = (Hashes::default(), Vec::new());
            while let Some(block) = next_block() {
                self.store.read(block * BLOCK, BLOCK, &mut sketches)?;
                self.add_hashes(block * BLOCK, &sketches, &mut own);
                for (all, own) in all.iter().zip(&mut own) {
                    all.lock().unwrap_or_else(PoisonError::into_inner).append(own);
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn add_hashes(&self, first: u32, sketches: &[Sketch], hashes: &mut Hashes) {
        for (number, sketch) in (first..).zip(sketches) {
            for (&band, hashes) in self.bands.iter().zip(hashes.iter_mut()) {
                let hash = band_hash(sketch, self.rows, band);
                if (u64::from(hash) * u64::from(self.ranges)) >> 32 == u64::from(self.range) {
                    hashes.push(u64::from(hash) << 32 | u64::from(number));
                }
            }
        }
    }

    fn compare(
        &self,
        group: &[u64],
        clusters: &Clusters,
        compared: &mut Compared,
    ) -> Result<(), S::Error> {
        let mut leaders: Vec<Leader> = Vec::new();
        let mut read = Vec::new();
        for &entry in group {
            let number = u32::try_from(entry & u64::from(u32::MAX)).unwrap_or(u32::MAX);
            let first = clusters.first(number);
            if leaders.iter().any(|leader| leader.first == first) {
                continue;
            }
            self.store.read(number, 1, &mut read)?;
            let Some(&sketch) = read.first() else { continue };
            let own = Leader { number, first, sketch, shingles: None };
            if !self.joins(own.number, &sketch, &mut leaders, compared)? && leaders.len() < LEADERS
            {
                leaders.push(own);
            }
        }
        Ok(())
    }

    /// Links a document with the first leader that it is similar to; returns whether there is one.
    fn joins(
        &self,
        number: u32,
        sketch: &Sketch,
        leaders: &mut [Leader],
        compared: &mut Compared,
    ) -> Result<bool, S::Error> {
        let mut own = None;
        for leader in leaders {
            let pair = (leader.number, number);
            let estimate = sketch.jaccard(&leader.sketch);
            let mut is_similar = estimate >= self.threshold + Sketch::MARGIN;
            let is_doubtful = !is_similar && estimate >= self.threshold - Sketch::MARGIN;
            if is_doubtful && !self.refuted.contains(&pair) {
                let own = match &own {
                    Some(own) => own,
                    None => own.insert(self.store.shingles(number)?),
                };
                let shingles = match leader.shingles.take() {
                    Some(shingles) => shingles,
                    None => self.store.shingles(leader.number)?,
                };
                is_similar = shingles.jaccard(own) >= self.threshold;
                leader.shingles = Some(shingles).filter(|kept| kept.len() <= KEPT_SHINGLES);
                if !is_similar {
                    compared.refuted.push(pair);
                }
            }
            if is_similar {
                compared.links.push(pair);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Does some work on several threads, one of them the caller's, and returns what each of them made.
fn on_threads<T: Send, E: Send>(
    threads: usize,
    work: impl Fn() -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            // If the system refuses a thread, the others do its work.
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, &work).ok())
            .collect();
        let own = work();
        let others = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    })
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

        fn shingles(&self, number: u32) -> Result<Shingles, Infallible> {
            Ok(Shingles::of(&self.texts[number as usize]))
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
    fn an_error_and_a_panic_of_any_thread_are_passed_on() {
        struct Broken(Vec<Sketch>, fn() -> Result<(), u8>);
        impl SketchStore for Broken {
            type Error = u8;
            fn len(&self) -> u32 {
                u32::try_from(self.0.len()).unwrap()
            }
            fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), u8> {
                if first > 2 * BLOCK {
                    self.1()?;
                }
                sketches.clear();
                sketches.extend(self.0.iter().skip(first as usize).take(count as usize));
                Ok(())
            }
            fn shingles(&self, _: u32) -> Result<Shingles, u8> {
                Ok(Shingles::of(""))
            }
        }
        let sketches: Vec<_> = (0..30_000).map(Sketch::of_hash).collect();
        for threads in 1..4 {
            let broken = Broken(sketches.clone(), || Err(7));
            assert_eq!(Clusters::find(&broken, 0.5, threads, 1 << 20), Err(7));
            let broken = Broken(sketches.clone(), || panic!("a bug of the store"));
            let found = std::panic::catch_unwind(|| Clusters::find(&broken, 0.5, threads, 1 << 20));
            assert!(found.is_err());
        }
    }

    /// Texts that share so much boilerplate that sketches do not tell whether they are similar: their texts are read a
    /// few times each, not once for each band and leader.
    #[test]
    fn doubtful_texts_are_read_a_few_times() {
        struct Counting(Texts, AtomicUsize);
        impl SketchStore for Counting {
            type Error = Infallible;
            fn len(&self) -> u32 {
                self.0.len()
            }
            fn read(&self, first: u32, count: u32, to: &mut Vec<Sketch>) -> Result<(), Infallible> {
                self.0.read(first, count, to)
            }
            fn shingles(&self, number: u32) -> Result<Shingles, Infallible> {
                self.1.fetch_add(1, Ordering::Relaxed);
                self.0.shingles(number)
            }
        }
        let text = |number: usize| {
            let own: Vec<_> = (0..65).map(|at| format!("own{number}x{at}")).collect();
            let boilerplate: Vec<_> = (0..100).map(|at| format!("common{at}")).collect();
            format!("{} {}", boilerplate.join(" "), own.join(" "))
        };
        let texts = Texts::new((0..500).map(text).collect());
        assert!((0.41..0.49).contains(&texts.similarity(3, 4)), "{}", texts.similarity(3, 4));
        let counting = Counting(texts, AtomicUsize::new(0));
        let Ok(found) = Clusters::find(&counting, 0.5, 2, 1 << 24);
        assert!((0..500).all(|number| found.first(number) == number));
        let reads = counting.1.into_inner();
        assert!((500..500 * 40).contains(&reads), "{reads}");
    }

    #[test]
    fn many_copies_take_linear_time() {
        let sketches = vec![Sketch::of_hash(7); 200_000];
        let texts = Texts { texts: Vec::new(), sketches };
        let Ok(found) = Clusters::find(&texts, 0.75, 2, 1 << 24);
        assert!((0..200_000).all(|number| found.first(number) == 0));
    }
}
