//! Rolling hashes of n-grams of tokens or words.

/// The length of a run that counts as shared: 13 units, as in contamination studies since GPT-3.
pub const GRAM_UNITS: usize = 13;

/// The multiplier of the rolling polynomial hash: odd, without structure.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// `BASE` to the power of `GRAM_UNITS`, the factor of the unit that leaves the window.
const OLDEST: u64 = {
    let (mut power, mut n) = (1_u64, 0);
    while n < GRAM_UNITS {
        power = power.wrapping_mul(BASE);
        n += 1;
    }
    power
};

/// Appends one unit per id.
///
/// # Errors
/// None: the result has the type of all functions that make units.
///
/// ```
/// let mut units = Vec::new();
/// mixdown_shards::units_of_ids(&[7, 8, 7], &mut units).unwrap();
/// assert_eq!((units.len(), units[0]), (3, units[2]));
/// ```
pub fn units_of_ids(
    ids: &[u32],
    units: &mut Vec<u64>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    units.extend(ids.iter().map(|id| mixed(u64::from(*id) + 1)));
    Ok(())
}

/// Maps a number to 64 well-mixed bits, one to one (the finisher of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Calls `look` with the hash of each run of [`GRAM_UNITS`] units, at one multiplication per unit.
pub(super) fn each_gram(units: &[u64], mut look: impl FnMut(u64)) {
    let mut hash = 0_u64;
    let fallen = std::iter::repeat_n(0, GRAM_UNITS).chain(units.iter().copied());
    for (n, (unit, fallen)) in units.iter().zip(fallen).enumerate() {
        hash =
            hash.wrapping_mul(BASE).wrapping_add(*unit).wrapping_sub(fallen.wrapping_mul(OLDEST));
        if n + 1 >= GRAM_UNITS {
            look(mixed(hash));
        }
    }
}

/// Grams with the documents that contain them: a bit filter, then a sorted list with an index on the grams' first bits,
/// so that an absent gram costs one access.
pub(super) struct GramTable {
    grams: Vec<(u64, u32)>,
    starts: Vec<u32>,
    filter: Vec<u64>,
    index_bits: u32,
    filter_bits: u32,
}

impl GramTable {
    /// Builds the table from fewer than 2³² grams.
    pub(super) fn new(mut grams: Vec<(u64, u32)>) -> Self {
        grams.sort_unstable();
        grams.dedup();
        let index_bits = grams.len().max(2).ilog2();
        let filter_bits = index_bits + 4;
        let mut starts = Vec::with_capacity((1 << index_bits) + 1);
        let mut filter = vec![0_u64; 1 << (filter_bits.saturating_sub(6))];
        let mut end = 0_u32;
        let mut rest = grams.iter().peekable();
        for bucket in 0..1_u64 << index_bits {
            starts.push(end);
            while rest.next_if(|(gram, _)| gram >> (64 - index_bits) == bucket).is_some() {
                end += 1;
            }
        }
        starts.push(end);
        for (gram, _) in &grams {
            let (word, bit) = place(*gram, filter_bits);
            if let Some(word) = filter.get_mut(word) {
                *word |= bit;
            }
        }
        Self { grams, starts, filter, index_bits, filter_bits }
    }

    /// Returns the documents that contain the gram.
    pub(super) fn documents(&self, gram: u64) -> impl Iterator<Item = u32> {
        let (word, bit) = place(gram, self.filter_bits);
        let may_be_there = self.filter.get(word).is_some_and(|word| word & bit != 0);
        let bucket = if may_be_there { self.bucket(gram) } else { &[] };
        bucket.iter().filter(move |(other, _)| *other == gram).map(|(_, document)| *document)
    }

    fn bucket(&self, gram: u64) -> &[(u64, u32)] {
        let number = usize::try_from(gram >> (64 - self.index_bits)).unwrap_or(usize::MAX);
        let start =
            |number: usize| self.starts.get(number).and_then(|start| usize::try_from(*start).ok());
        match (start(number), start(number.saturating_add(1))) {
            (Some(start), Some(end)) => self.grams.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// Returns the word and the bit of a gram in the filter, from its last bits, as the first ones are the index.
fn place(gram: u64, filter_bits: u32) -> (usize, u64) {
    let number = gram & ((1 << filter_bits) - 1);
    (usize::try_from(number >> 6).unwrap_or(usize::MAX), 1 << (number & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gram_depends_on_its_units_alone() {
        let mut units = Vec::new();
        units_of_ids(&[5; 40], &mut units).unwrap();
        let mut grams = Vec::new();
        each_gram(&units, |gram| grams.push(gram));
        assert_eq!(grams.len(), 40 - GRAM_UNITS + 1);
        assert!(grams.iter().all(|gram| *gram == grams[0]));
        for len in 0..GRAM_UNITS {
            each_gram(&units[..len], |_| panic!("a run of {len} is no gram"));
        }
    }

    #[test]
    fn the_table_knows_its_grams_and_no_others() {
        for count in [0_u64, 1, 2, 3, 1000] {
            let grams: Vec<(u64, u32)> =
                (0..count).map(|n| (mixed(n / 2), u32::try_from(n).unwrap())).collect();
            let table = GramTable::new(grams.clone());
            for n in 0..count + 500 {
                let found: Vec<u32> = table.documents(mixed(n)).collect();
                let expected: Vec<u32> = grams
                    .iter()
                    .filter(|(gram, _)| *gram == mixed(n))
                    .map(|(_, document)| *document)
                    .collect();
                assert_eq!(found, expected);
            }
        }
    }
}
