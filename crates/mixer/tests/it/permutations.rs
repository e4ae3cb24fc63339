//! Permutations: they are bijections, and by chi-square as uniform as a Fisher-Yates shuffle.

use mixdown_mixer::{LONGEST_PERMUTATION, Permutation};

use crate::random::Random;

#[test]
fn every_length_is_a_bijection_with_its_inverse() {
    let mut random = Random(1);
    for len in (1..200).chain([255, 256, 257, 1_000, 4_096, 65_535, 65_536, 65_537]) {
        let permutation = Permutation::new(len, &random.key()).unwrap();
        let mut seen = vec![false; usize::try_from(len).unwrap()];
        for item in 0..len {
            let place = permutation.apply(item);
            assert_eq!(permutation.invert(place), item);
            assert!(!std::mem::replace(&mut seen[usize::try_from(place).unwrap()], true));
        }
    }
}

#[test]
fn long_permutations_invert() {
    let mut random = Random(2);
    for len in [LONGEST_PERMUTATION, LONGEST_PERMUTATION - 1, (1 << 62) + 1, 1 << 33, 3 << 40] {
        let permutation = Permutation::new(len, &random.key()).unwrap();
        for _ in 0..200 {
            let item = random.below(len);
            assert!(permutation.apply(item) < len);
            assert_eq!(permutation.invert(permutation.apply(item)), item);
        }
    }
    assert!(Permutation::new(0, &[0; 32]).is_err());
    assert!(Permutation::new(LONGEST_PERMUTATION + 1, &[0; 32]).is_err());
}

/// The number of standard deviations of chi-square above its mean, by Wilson and Hilferty.
fn excess(chi_square: f64, degrees: usize) -> f64 {
    let degrees = degrees as f64;
    let scale = 2.0 / (9.0 * degrees);
    ((chi_square / degrees).cbrt() - (1.0 - scale)) / scale.sqrt()
}

fn assert_even(what: &str, observed: &[u64], degrees: usize) {
    assert_even_scaled(what, observed, degrees, 1.0);
}

fn assert_even_scaled(what: &str, observed: &[u64], degrees: usize, factor: f64) {
    let expected = observed.iter().sum::<u64>() as f64 / observed.len() as f64;
    let terms = observed.iter().map(|&count| (count as f64 - expected).powi(2) / expected);
    assert_within(what, terms.sum::<f64>() * factor, degrees);
}

/// Checks counts whose expectations are in the proportion of `weights`; cells of weight zero are left out.
fn assert_in_proportion(what: &str, observed: &[u64], weights: &[u64]) {
    let scale =
        observed.iter().sum::<u64>() as f64 / weights.iter().map(|&w| w as f64).sum::<f64>();
    let cells = observed.iter().zip(weights).filter(|(_, weight)| **weight > 0);
    let terms = cells.map(|(&count, &weight)| {
        let expected = weight as f64 * scale;
        (count as f64 - expected).powi(2) / expected
    });
    let degrees = weights.iter().filter(|weight| **weight > 0).count() - 1;
    assert_within(what, terms.sum(), degrees);
}

#[expect(clippy::print_stdout, reason = "the figures, when asked for")]
fn assert_within(what: &str, chi_square: f64, degrees: usize) {
    let excess = excess(chi_square, degrees);
    if std::env::var_os("MIXDOWN_PRINT").is_some() {
        println!("{what}: {excess:+.2} standard deviations over {degrees} degrees of freedom");
    }
    assert!(excess < 4.5, "{what}: {excess} standard deviations too uneven");
    assert!(excess > -4.5, "{what}: {excess}, too even to be random");
}

/// The rank of a permutation among all of its length (Lehmer code).
fn number_of(places: &[u64]) -> usize {
    let smaller_after = |i: usize| places[i + 1..].iter().filter(|&&p| p < places[i]).count();
    (0..places.len()).fold(0, |number, i| number * (places.len() - i) + smaller_after(i))
}

fn whole_permutations(len: u64, keys_per_permutation: u64) {
    let mut random = Random(3 + (len << 8));
    let permutations: u64 = (1..=len).product();
    let mut counts = vec![0; usize::try_from(permutations).unwrap()];
    for _ in 0..permutations * keys_per_permutation {
        let permutation = Permutation::new(len, &random.key()).unwrap();
        let places: Vec<u64> = (0..len).map(|item| permutation.apply(item)).collect();
        counts[number_of(&places)] += 1;
    }
    assert_even(&format!("all permutations of {len}"), &counts, counts.len() - 1);
}

/// The places of each item; the places of the next neighbor seen from an item; pairs of places.
fn pair_statistics(len: u64, keys: u64) {
    let n = usize::try_from(len).unwrap();
    let mut random = Random(4 + len);
    let mut places_of_items = vec![0; n * n];
    let mut distances = vec![0; n - 1];
    let mut pairs = vec![0; n * n];
    for _ in 0..keys {
        let permutation = Permutation::new(len, &random.key()).unwrap();
        let places: Vec<u64> = (0..len).map(|item| permutation.apply(item)).collect();
        for (item, &place) in places.iter().enumerate() {
            places_of_items[item * n + usize::try_from(place).unwrap()] += 1;
        }
        // One pair per permutation: several pairs of one permutation are not independent.
        let item = usize::try_from(random.below(len - 1)).unwrap();
        let (one, next) = (places[item], places[item + 1]);
        distances[usize::try_from((next + len - one) % len - 1).unwrap()] += 1;
        pairs[usize::try_from(one * len + next).unwrap()] += 1;
    }
    // Each permutation fills every row and column of this table once, so its chi-square is n/(n - 1) times one with (n
    // - 1)² degrees of freedom.
    let what = format!("places, {len} items");
    let factor = (len - 1) as f64 / len as f64;
    assert_even_scaled(&what, &places_of_items, (n - 1) * (n - 1), factor);
    assert_even(&format!("neighbor distances, {len} items"), &distances, n - 2);
    let unequal: Vec<u64> =
        (0..n * n).filter(|cell| cell / n != cell % n).map(|cell| pairs[cell]).collect();
    assert_even(&format!("neighbor pairs, {len} items"), &unequal, unequal.len() - 1);
}

#[test]
fn small_permutations_are_all_equally_likely() {
    for len in 2..=6 {
        whole_permutations(len, 20);
    }
}

#[test]
fn places_and_neighbors_are_spread_evenly() {
    for (len, keys) in [(5, 4_000), (12, 4_000), (33, 12_000)] {
        pair_statistics(len, keys);
    }
}

/// `MIXDOWN_PRINT=1 cargo test --release -p mixdown-mixer --test it long_statistics -- --ignored --nocapture`
#[test]
#[ignore = "three minutes in release; prints figures with MIXDOWN_PRINT"]
fn long_statistics() {
    for (len, keys) in [(2, 2_000), (3, 2_000), (4, 2_000), (5, 2_000), (6, 2_000), (7, 1_000)] {
        whole_permutations(len, keys);
    }
    for (len, keys) in [
        (4, 4_000_000),
        (7, 3_000_000),
        (8, 3_000_000),
        (9, 2_000_000),
        (16, 1_000_000),
        (17, 1_000_000),
        (100, 500_000),
        (257, 500_000),
    ] {
        pair_statistics(len, keys);
    }
    for len in [
        1_000,
        1_023,
        1_024,
        4_099,
        30_000,
        65_535,
        65_536,
        1_000_000,
        1_000_000_000,
        1 << 40,
        LONGEST_PERMUTATION,
    ] {
        buckets(len, 4_000_000);
    }
}

/// Counts where the neighbors of one long permutation after another go, by 64 × 64 buckets.
fn buckets(len: u64, items: u64) {
    let mut random = Random(len);
    let bucket = |place: u64| usize::try_from(u128::from(place) * 64 / u128::from(len)).unwrap();
    let mut pairs = vec![0; 64 * 64];
    let mut distances = vec![0; 64];
    let batch = 20;
    for _ in 0..items / batch {
        let permutation = Permutation::new(len, &random.key()).unwrap();
        let start = random.below(len - 2 * batch);
        for item in (start..).step_by(2).take(usize::try_from(batch).unwrap()) {
            let (one, next) = (permutation.apply(item), permutation.apply(item + 1));
            pairs[bucket(one) * 64 + bucket(next)] += 1;
            let distance = if next >= one { next - one } else { len - one + next };
            distances[bucket(distance)] += 1;
        }
    }
    // Places in bucket b; of pairs in one bucket, no place pairs with itself, and no distance is 0. For long
    // permutations a fraction of 2⁻²⁰ represents all of them.
    let shift = (u64::BITS - len.leading_zeros()).saturating_sub(32);
    let start = |b: u64| u64::try_from((u128::from(len) * u128::from(b)).div_ceil(64)).unwrap();
    let places: Vec<u64> = (0..64).map(|b| (start(b + 1) - start(b)) >> shift).collect();
    let itself = u64::from(shift == 0);
    let pair = |i: usize, j: usize| places[i] * (places[j] - if i == j { itself } else { 0 });
    let weights: Vec<u64> = (0..64 * 64).map(|cell| pair(cell / 64, cell % 64)).collect();
    assert_in_proportion(&format!("bucket pairs, {len} items"), &pairs, &weights);
    let weights: Vec<u64> = (0..64).map(|b| places[b] - if b == 0 { itself } else { 0 }).collect();
    assert_in_proportion(&format!("bucket distances, {len} items"), &distances, &weights);
}

#[test]
fn long_permutations_spread_neighbors_evenly() {
    for len in [65_536, 1_000_000_000, LONGEST_PERMUTATION] {
        buckets(len, 60_000);
    }
}
