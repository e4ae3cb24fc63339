//! An index of sketches, which finds the similar ones.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::sketch::{SLOTS, Sketch};

/// Sketches that can be asked for those similar to another one.
///
/// Slots are grouped into bands of r; two sketches that agree in a whole band are candidates, and their estimated
/// similarity decides. r is the largest number that misses a pair at the threshold with at most half a percent, by
/// the chance 1 − (1 − Jʳ)^(128 / r) that a pair of similarity J is a candidate (Leskovec, Rajaraman, Ullman, *Mining
/// of Massive Datasets*, section 3.4).
///
/// Sketches can be removed while other threads search, so that texts which were found need not be found again.
///
/// It takes some 700 bytes per sketch at a threshold of one half.
#[derive(Debug)]
pub struct SketchIndex {
    sketches: Vec<Sketch>,
    rows: usize,
    /// The hash of a band and the number of its sketch, sorted.
    postings: Vec<(u32, u32)>,
    /// The first posting of each group of hashes with the same first bits, and the end of the last one.
    groups: Vec<usize>,
    group_shift: u32,
    /// For the first posting of each hash, how many of its sketches are not removed.
    left: Vec<AtomicU32>,
    removed: Vec<AtomicBool>,
    /// A bit for each hash that occurs, by its first bits: most questions end here.
    known: Vec<u64>,
    known_shift: u32,
}

/// Missed pairs at the threshold, at most.
const MISSED: f64 = 0.005;

impl SketchIndex {
    /// Indexes `sketches` for similarities of at least `threshold`, which is above 0 and at most 1.
    ///
    /// ```
    /// use mixdown_similarity::{SketchIndex, Sketcher};
    ///
    /// let mut sketcher = Sketcher::default();
    /// let texts = ["one text of a few words", "and another one with some other words"];
    /// let sketches = texts.iter().map(|text| sketcher.sketch(text).unwrap()).collect();
    /// let index = SketchIndex::new(sketches, 0.5);
    /// let mut found = Vec::new();
    /// index.similar(&sketcher.sketch("One text of a few words!").unwrap(), 0.5, &mut found);
    /// assert_eq!(found, [(0, 1.0)]);
    /// ```
    pub fn new(sketches: Vec<Sketch>, threshold: f64) -> Self {
        let rows = rows(threshold);
        let bands = SLOTS / rows;
        let mut postings = Vec::with_capacity(sketches.len() * bands);
        for (number, sketch) in (0_u32..).zip(&sketches) {
            postings.extend(band_hashes(sketch, rows).map(|hash| (hash, number)));
        }
        postings.sort_unstable();
        // Sixteen bits per posting: one question in sixteen finds a bit of another hash.
        let bits = (postings.len() * 16).next_power_of_two().clamp(64, 1 << 32);
        let known_shift = 32 - bits.trailing_zeros();
        let mut known = vec![0; bits / 64];
        for &(hash, _) in &postings {
            let bit = u64::from(hash) >> known_shift;
            known[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        // Some four postings per group: they lie in one or two lines of the cache.
        let group_bits = (postings.len() / 4).next_power_of_two().trailing_zeros();
        let group_shift = 32 - group_bits.clamp(1, 31);
        let mut groups = Vec::with_capacity((1 << (32 - group_shift)) + 1);
        for (place, &(hash, _)) in postings.iter().enumerate() {
            groups.resize((hash >> group_shift) as usize + 1, place);
        }
        groups.resize((1 << (32 - group_shift)) + 1, postings.len());
        let mut left = Vec::with_capacity(postings.len());
        for same in postings.chunk_by(|one, other| one.0 == other.0) {
            left.push(AtomicU32::new(u32::try_from(same.len()).unwrap_or(u32::MAX)));
            left.extend((1..same.len()).map(|_| AtomicU32::new(0)));
        }
        let removed = sketches.iter().map(|_| AtomicBool::new(false)).collect();
        Self { sketches, rows, postings, groups, group_shift, left, removed, known, known_shift }
    }

    /// Sets `found` to the numbers and estimates of the indexed sketches whose estimated similarity to `sketch` is at
    /// least `least`, by number.
    ///
    /// A `least` below the index' threshold returns what is found of such pairs, which is not all.
    pub fn similar(&self, sketch: &Sketch, least: f64, found: &mut Vec<(u32, f64)>) {
        found.clear();
        // No branch depends on a bit, so that many of them are on their way from memory at once.
        let (mut known, mut len) = ([0; SLOTS], 0);
        for hash in band_hashes(sketch, self.rows) {
            let bit = u64::from(hash) >> self.known_shift;
            known[len] = hash;
            len += (self.known[(bit / 64) as usize] >> (bit % 64) & 1) as usize;
        }
        for &hash in &known[..len] {
            let first = self.first_posting(hash);
            // Usually everything in a large group of copies is removed.
            if self.left.get(first).is_none_or(|left| left.load(Ordering::Relaxed) == 0) {
                continue;
            }
            let same = self.postings[first..].iter().take_while(|&&(other, _)| other == hash);
            found.extend(same.map(|&(_, number)| (number, 0.0)));
            if found.len() > self.sketches.len() / 4 + 64 {
                return self.similar_of_all(sketch, least, found);
            }
        }
        found.sort_unstable_by_key(|&(number, _)| number);
        found.dedup_by_key(|&mut (number, _)| number);
        found.retain_mut(|(number, similarity)| {
            let number = *number as usize;
            if self.removed[number].load(Ordering::Relaxed) {
                return false;
            }
            *similarity = self.sketches[number].jaccard(sketch);
            *similarity >= least
        });
    }

    /// Does what [`similar`](Self::similar) does, with a look at every sketch: where much has a band in common without
    /// being similar, such as boilerplate, that is faster than to collect and sort the candidates of all bands.
    fn similar_of_all(&self, sketch: &Sketch, least: f64, found: &mut Vec<(u32, f64)>) {
        found.clear();
        for ((number, other), removed) in (0_u32..).zip(&self.sketches).zip(&self.removed) {
            let estimate = other.jaccard(sketch);
            if estimate >= least && !removed.load(Ordering::Relaxed) {
                // Only then, for the result must not depend on the number of candidates.
                let bands = band_hashes(other, self.rows).zip(band_hashes(sketch, self.rows));
                if bands.into_iter().any(|(one, two)| one == two) {
                    found.push((number, estimate));
                }
            }
        }
    }

    /// Removes a sketch: searches that begin afterward do not find it.
    ///
    /// ```
    /// use mixdown_similarity::{Sketch, SketchIndex};
    ///
    /// let index = SketchIndex::new(vec![Sketch::of_hash(7)], 0.5);
    /// let mut found = Vec::new();
    /// index.similar(&Sketch::of_hash(7), 0.5, &mut found);
    /// assert_eq!(found.len(), 1);
    /// index.remove(0);
    /// index.similar(&Sketch::of_hash(7), 0.5, &mut found);
    /// assert_eq!(found.len(), 0);
    /// ```
    pub fn remove(&self, number: u32) {
        let idx = number as usize;
        let (Some(removed), Some(sketch)) = (self.removed.get(idx), self.sketches.get(idx)) else {
            return;
        };
        if removed.swap(true, Ordering::Relaxed) {
            return;
        }
        for hash in band_hashes(sketch, self.rows) {
            if let Some(left) = self.left.get(self.first_posting(hash)) {
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Brings a removed sketch back: searches that begin afterward find it again.
    ///
    /// ```
    /// use mixdown_similarity::{Sketch, SketchIndex};
    ///
    /// let index = SketchIndex::new(vec![Sketch::of_hash(7)], 0.5);
    /// index.remove(0);
    /// index.restore(0);
    /// let mut found = Vec::new();
    /// index.similar(&Sketch::of_hash(7), 0.5, &mut found);
    /// assert_eq!(found.len(), 1);
    /// ```
    pub fn restore(&self, number: u32) {
        let idx = number as usize;
        let (Some(removed), Some(sketch)) = (self.removed.get(idx), self.sketches.get(idx)) else {
            return;
        };
        if removed.swap(false, Ordering::Relaxed) {
            for hash in band_hashes(sketch, self.rows) {
                if let Some(left) = self.left.get(self.first_posting(hash)) {
                    left.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Returns whether a sketch was removed.
    pub fn is_removed(&self, number: u32) -> bool {
        self.removed.get(number as usize).is_some_and(|removed| removed.load(Ordering::Relaxed))
    }

    fn first_posting(&self, hash: u32) -> usize {
        let group = (hash >> self.group_shift) as usize;
        let (first, end) = (self.groups[group], self.groups[group + 1]);
        first + self.postings[first..end].partition_point(|&(other, _)| other < hash)
    }
}

/// Slots of a band.
pub(crate) fn rows(threshold: f64) -> usize {
    let missed = |rows: usize| {
        let rows = rows as f64;
        (1.0 - threshold.powf(rows)).powf((SLOTS as f64 / rows).floor())
    };
    (1..=16).rev().find(|&rows| missed(rows) <= MISSED).unwrap_or(1)
}

/// Hashes one band of at most sixteen slots.
#[inline(always)]
pub(crate) fn band_hash(sketch: &Sketch, rows: usize, band: usize) -> u32 {
    hash_band(&padded(sketch), masks(rows), band * rows, band)
}

/// Hashes the bands of at most sixteen slots.
#[inline(always)]
fn band_hashes(sketch: &Sketch, rows: usize) -> impl Iterator<Item = u32> {
    let (padded, masks) = (padded(sketch), masks(rows));
    (0..=SLOTS - rows)
        .step_by(rows)
        .enumerate()
        .map(move |(band, at)| hash_band(&padded, masks, at, band))
}

/// Sixteen bytes can be read from the beginning of each band.
#[inline(always)]
fn padded(sketch: &Sketch) -> [u8; SLOTS + 16] {
    let mut padded = [0; SLOTS + 16];
    padded[..SLOTS].copy_from_slice(sketch.as_bytes());
    padded
}

/// The bits of a band in two numbers of eight slots.
#[inline(always)]
fn masks(rows: usize) -> [u64; 2] {
    let mask = |slots: usize| (0..slots).fold(0, |mask, _| mask << 8 | 0xff_u64);
    [mask(rows.min(8)), mask(rows.saturating_sub(8))]
}

#[inline(always)]
fn hash_band(padded: &[u8; SLOTS + 16], masks: [u64; 2], at: usize, band: usize) -> u32 {
    let [low, high] = [at, at + 8].map(|at| {
        let eight = padded[at..].first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(eight)
    });
    let [low_mask, high_mask] = masks;
    let low = (low & low_mask ^ (band as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let both = (low ^ low >> 32 ^ high & high_mask).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (both >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_miss_few_pairs_at_the_threshold() {
        assert_eq!([0.3, 0.5, 0.75, 0.9, 1.0].map(rows), [2, 3, 5, 9, 16]);
    }

    #[test]
    fn much_boilerplate_gives_the_same_result() {
        // Each has 70 % of the bytes of the first one: pairs are about 0.46 similar.
        let template = *Sketch::of_hash(1).as_bytes();
        let sketch = |number: u64| {
            let own = (0..).flat_map(|part| *Sketch::of_hash((number << 8) + part).as_bytes());
            let mut chance =
                (0..).flat_map(|part| *Sketch::of_hash((number << 8) + part + 7).as_bytes());
            let mut bytes = template;
            bytes.iter_mut().zip(own).for_each(|(byte, own)| {
                if chance.next().is_some_and(|chance| chance > 178) {
                    *byte = own;
                }
            });
            Sketch::from_bytes(bytes)
        };
        let sketches: Vec<Sketch> = (1000..3000).map(sketch).collect();
        let index = SketchIndex::new(sketches.clone(), 0.5);
        (0..100).for_each(|number| index.remove(number));
        let mut sum = 0;
        for probe in &sketches[..50] {
            let (mut found, mut of_all) = (Vec::new(), Vec::new());
            index.similar(probe, 0.5, &mut found);
            index.similar_of_all(probe, 0.5, &mut of_all);
            let naive = sketches.iter().skip(100).filter(|other| {
                let mut bands =
                    other.as_bytes().chunks_exact(3).zip(probe.as_bytes().chunks_exact(3));
                other.jaccard(probe) >= 0.5 && bands.any(|(one, two)| one == two)
            });
            sum += found.len();
            assert_eq!(found, of_all);
            assert_eq!(found.len(), naive.count());
        }
        assert!(sum > 2000, "{sum}");
    }
}
