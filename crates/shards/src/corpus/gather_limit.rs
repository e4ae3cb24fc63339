//! A measurement of the highest possible speed of gathering batches on this machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Corpus;
use crate::Dtype;
use crate::Error;
use crate::Split;
use crate::corpus::token_file::TokenFile;

/// Rows of a batch, which stays in the cache.
const ROWS: usize = 64;

/// Measures the limit of this machine for gathering batches: the tokens per second of copying random windows of `T + 1`
/// ids from the largest token file of a split, as 32-bit ids, on one thread, without planning, checks or draws. If all
/// files are shorter, the windows are as long as the largest one. The result is the best of fetching 0, 4, 8 and 16
/// windows ahead, each for a quarter of `time`; in a file that is not mapped, windows are read for all of `time`.
///
/// # Errors
/// The split has no shard; the file cannot be opened or read.
///
/// ```
/// use std::time::Duration;
///
/// use mixdown_shards::{Split, gather_limit};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// let tokens_per_second = gather_limit(&corpus, Split::Train, 4, Duration::from_millis(1))?;
/// assert!(tokens_per_second > 0.0);
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn gather_limit(
    corpus: &Corpus,
    split: Split,
    sequence_length: u64,
    time: Duration,
) -> Result<f64, Error> {
    let shards = corpus.shards(split).iter();
    let none = || Error::OutOfRange {
        path: corpus.folder().to_owned(),
        expected: format!("at least one token file in {split}"),
        got: "none".to_owned(),
    };
    let largest = shards.max_by_key(|shard| shard.record().tokens).ok_or_else(none)?;
    let file = largest.token_file()?;
    // A window has one token more than it has targets; a file of one token is read as it is.
    let length = sequence_length.min(largest.record().tokens.saturating_sub(1)).max(1);
    let windows = (largest.record().tokens.saturating_sub(1) / length).max(1);
    if file.bytes_of(0, 1).is_none() {
        return read_rate(file, length.min(largest.record().tokens), windows, time);
    }
    // One pass over the file first, or the first series would wait for the disk.
    for window in 0..windows {
        file.prefetch(window * length, 1);
        black_box(file.bytes_of(window * length, 1).and_then(<[u8]>::first));
    }
    let rates =
        [0, 4, 8, 16].map(|ahead| rate(file, largest.dtype(), length, windows, ahead, time / 4));
    Ok(rates.into_iter().fold(0.0, f64::max))
}

/// Reads random windows one after another.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn read_rate(
    file: &TokenFile,
    window_tokens: u64,
    windows: u64,
    time: Duration,
) -> Result<f64, Error> {
    let mut window = vec![0_u32; usize::try_from(window_tokens).unwrap_or(usize::MAX)];
    let mut draw = draws(windows);
    let (begin, mut reads) = (Instant::now(), 0_u64);
    while begin.elapsed() < time || reads == 0 {
        file.read(draw() * window_tokens, &mut window)?;
        black_box(&mut window);
        reads += 1;
    }
    Ok((reads * window_tokens) as f64 / begin.elapsed().as_secs_f64())
}

/// Returns pseudorandom numbers below `windows`.
fn draws(windows: u64) -> impl FnMut() -> u64 {
    let mut state = 77_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The upper half of the product is uniform over the windows.
        u64::try_from((u128::from(state) * u128::from(windows)) >> 64).unwrap_or(0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(
    file: &TokenFile,
    dtype: Dtype,
    sequence_length: u64,
    windows: u64,
    ahead: usize,
    time: Duration,
) -> f64 {
    let row_tokens = sequence_length + 1;
    let row_len = usize::try_from(row_tokens).unwrap_or(usize::MAX);
    let mut out = vec![0_u32; ROWS.saturating_mul(row_len)];
    let mut draw = draws(windows);
    let mut draw = || draw() * sequence_length;
    let mut starts: Vec<u64> = (0..ROWS + ahead).map(|_| draw()).collect();
    let (begin, mut rows) = (Instant::now(), 0_u64);
    while begin.elapsed() < time {
        for _ in 0..8 {
            for (row, pair) in out.chunks_exact_mut(row_len).zip(starts.windows(ahead + 1)) {
                let [start, .., later] = *pair else {
                    widen(
                        file.bytes_of(pair.first().copied().unwrap_or(0), row_tokens),
                        dtype,
                        row,
                    );
                    continue;
                };
                file.prefetch(later, row_tokens);
                widen(file.bytes_of(start, row_tokens), dtype, row);
            }
            black_box(&mut out);
            starts.drain(..ROWS);
            starts.extend(std::iter::repeat_with(&mut draw).take(ROWS));
            rows += ROWS as u64;
        }
    }
    (rows * sequence_length) as f64 / begin.elapsed().as_secs_f64()
}

fn widen(bytes: Option<&[u8]>, dtype: Dtype, out: &mut [u32]) {
    let bytes = bytes.unwrap_or_default();
    match dtype {
        Dtype::U16 => {
            for (out, id) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = u32::from(u16::from_le_bytes(*id));
            }
        }
        Dtype::I32 => {
            for (out, id) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = u32::from_le_bytes(*id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;

    #[test]
    fn every_corpus_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        crate::test_corpus::write(folder.path(), &[vec![1, 2, 3], vec![4, 5]], &[]);
        for access in [Access::Map, Access::Read] {
            let corpus = Corpus::open(folder.path(), access).unwrap();
            // Windows may be longer than all files.
            for length in [1, 2, 4, 5, 1 << 30] {
                let limit =
                    gather_limit(&corpus, Split::Train, length, Duration::from_millis(1)).unwrap();
                assert!(limit > 0.0 && limit.is_finite(), "{access} {length}");
            }
            let none = gather_limit(&corpus, Split::Holdout, 2, Duration::from_millis(1));
            assert!(none.unwrap_err().to_string().contains("at least one token file in holdout"));
        }
    }
}
