//! The loss on fixed sequences of a corpus.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_mixer::{Batch, Documents, Rank};
use mixdown_runs::{EvalRecord, LossChange};
use mixdown_shards::{Corpus, Split};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Model;
use crate::ranks::Team;

/// What is measured: the first windows of one part of a corpus.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The name the result carries.
    pub name: String,
    /// The part of the corpus.
    pub split: Split,
    /// T: targets of one sequence.
    pub sequence_length: u64,
    /// Sequences, at most: a shorter part is measured as a whole.
    pub sequences: u64,
    /// Sequences computed at once; changes results by rounding alone.
    pub batch_size: u64,
    /// Whether attention stays within documents.
    pub attention: Attention,
}

/// How far attention goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Attention {
    /// To the beginning of the row.
    #[default]
    Row,
    /// To the beginning of the document, where positions start at 0.
    Document,
}

/// Which sequences make a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All.
    All,
    /// Every second one reports, and the others choose the best step; one alone does both.
    Halves,
}

/// The mean loss of `model` over the first sequences of `corpus`, with its standard error over
/// sequences, and in bits per byte of text. Sequence i has the inputs from token i·T on.
///
/// Bits per byte take the tokens per byte of the whole part, not those of the sequences measured:
/// where a corpus keeps its text's length by part alone, that is what can be known.
///
/// The standard error is that of the sequences as if drawn independently; neighbours of one
/// document are alike, so it is rather too small.
///
/// # Errors
/// A part packed for another length, without a target that counts, shorter than one sequence or without
/// a byte of text; ids or a tokenizer that are not the model's; a corpus that cannot be read; the stop
/// flag; a loss that is not finite.
pub fn evaluate(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
) -> Result<EvalRecord, Error> {
    model.check_corpus(corpus)?;
    let rows = measure(model, corpus, evaluation, stop, &mut Team::alone())?;
    let record = record(corpus, evaluation, Part::All, &rows, None);
    if record.loss.is_finite() {
        return Ok(record);
    }
    Err(Error::NonFiniteEvaluation { corpus: evaluation.name.clone(), got: record.loss })
}

/// The loss of each sequence of a corpus that fits the model; one that is not finite is a result. The ranks take turns
/// at batches, and each gets all of them.
pub(crate) fn measure(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
    team: &mut Team,
) -> Result<Vec<RowSum>, Error> {
    let sequences = windows(corpus, evaluation)?;
    let own = measure_own(model, corpus, evaluation, stop, (sequences, team.rank()));
    let own = team.agree(own)?;
    let all = gather_rows(team, &own)?;
    let mut all: Vec<_> = all.iter().map(|rows| rows.iter().copied()).collect();
    let mut sums = Vec::new();
    for (turn, rows) in batches(evaluation, sequences).enumerate() {
        let place = turn % all.len();
        let rows = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        sums.extend(all[place].by_ref().take(rows));
    }
    let empty = |parity: usize| sums.iter().skip(parity).step_by(2).all(|row| row.targets == 0);
    if empty(0) && empty(1) {
        let expected = "a target that counts for the loss in the sequences measured";
        return Err(Error::bad_file(corpus.folder(), expected.to_owned(), "none"));
    }
    Ok(sums)
}

/// The loss of each sequence of this rank's batches.
fn measure_own(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
    (sequences, rank): (u64, Rank),
) -> Result<Vec<RowSum>, Error> {
    let (first, step) = (rank.rank(), rank.world_size());
    let places = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let mut sums = Vec::new();
    for rows in batches(evaluation, sequences).skip(places(first)).step_by(places(step)) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { step: 0 });
        }
        let batch = read_windows(corpus, evaluation, rows.start, rows.end - rows.start)?;
        sums.extend(row_sums(&model.losses(&batch)?, &batch)?);
    }
    Ok(sums)
}

/// The sequences of each batch.
fn batches(evaluation: &Evaluation, sequences: u64) -> impl Iterator<Item = Range<u64>> {
    let size = evaluation.batch_size.max(1);
    (0..sequences.div_ceil(size)).map(move |batch| {
        let first = batch * size;
        first..first + size.min(sequences - first)
    })
}

/// Tokens from one sequence to the next: T, or the T + 1 of a packed row.
fn stride(corpus: &Corpus, evaluation: &Evaluation) -> Result<u64, Error> {
    let length = evaluation.sequence_length;
    match corpus.manifest().pack {
        None => Ok(length),
        Some(pack) if pack.sequence_length == length => Ok(length.saturating_add(1)),
        Some(pack) => {
            let field = format!("the sequence length for corpus {}", corpus.folder().display());
            let expected = format!("{}, as its rows are packed for that", pack.sequence_length);
            Err(Error::setting(&field, expected, length))
        }
    }
}

/// How many sequences there are, at most as many as asked for.
fn windows(corpus: &Corpus, evaluation: &Evaluation) -> Result<u64, Error> {
    let tokens = corpus.tokens(evaluation.split);
    let length = evaluation.sequence_length;
    if length == 0 || evaluation.sequences == 0 {
        return Err(Error::setting("eval", "at least one sequence of one token", 0));
    }
    if tokens > 0 && corpus.text_bytes(evaluation.split) == 0 {
        let expected = format!("text_bytes above 0 in {}", evaluation.split.folder());
        return Err(Error::bad_file(corpus.folder(), expected, 0));
    }
    let stride = stride(corpus, evaluation)?;
    // A window ends with the first token of the next; a row stands alone.
    match tokens.saturating_sub(1 - (stride - length)) / stride {
        0 => Err(Error::TooShort {
            path: corpus.folder().to_owned(),
            split: evaluation.split.folder(),
            expected: length.saturating_add(1),
            got: tokens,
        }),
        present => Ok(present.min(evaluation.sequences)),
    }
}

fn read_windows(
    corpus: &Corpus,
    evaluation: &Evaluation,
    first: u64,
    rows: u64,
) -> Result<Batch, Error> {
    let length = evaluation.sequence_length;
    let row = len(length)? + 1;
    let stride = stride(corpus, evaluation)?;
    let mut tokens = vec![0; len(rows.saturating_mul(length.saturating_add(1)))?];
    for (window, out) in (first..).zip(tokens.chunks_exact_mut(row)) {
        corpus.read_tokens(evaluation.split, window * stride, out)?;
    }
    let mut loss_mask = Vec::new();
    if corpus.is_labelled(evaluation.split) {
        loss_mask.resize(tokens.len() - len(rows)?, 0);
        for (window, out) in (first..).zip(loss_mask.chunks_exact_mut(row - 1)) {
            corpus.read_mask(evaluation.split, window * stride + 1, out)?;
        }
    }
    let documents = match evaluation.attention {
        Attention::Row => None,
        Attention::Document => {
            let mut position_ids = Vec::with_capacity(tokens.len());
            for window in first..first + rows {
                let start = window * stride;
                push_positions(corpus, evaluation, start, &mut position_ids)?;
            }
            Some(Documents { position_ids, ..Documents::default() })
        }
    };
    Ok(Batch { tokens, loss_mask, rows, sequence_length: length, documents, ..Batch::default() })
}

/// The places in their documents of the inputs from token `start` on.
fn push_positions(
    corpus: &Corpus,
    evaluation: &Evaluation,
    start: u64,
    positions: &mut Vec<u32>,
) -> Result<(), Error> {
    let end = start + evaluation.sequence_length;
    let mut push = |from: u64, to: u64| {
        positions.extend((0..to - from).map(|place| u32::try_from(place).unwrap_or(u32::MAX)));
    };
    let mut from = start;
    corpus.each_document_start(evaluation.split, start + 1..end, |token| {
        push(from, token);
        from = token;
    })?;
    push(from, end);
    Ok(())
}

/// The loss of one sequence, in nats over all its targets that count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowSum {
    pub(crate) loss: f64,
    pub(crate) targets: u64,
}

/// The sums of each rank.
pub(crate) fn gather_rows(team: &mut Team, own: &[RowSum]) -> Result<Vec<Vec<RowSum>>, Error> {
    let all = team.gather(own.iter().copied().flat_map(RowSum::to_bytes).collect())?;
    let rows =
        |bytes: &Vec<u8>| bytes.as_chunks().0.iter().copied().map(RowSum::from_bytes).collect();
    Ok(all.iter().map(rows).collect())
}

impl RowSum {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.loss.to_le_bytes());
        bytes[8..].copy_from_slice(&self.targets.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let (halves, _) = bytes.as_chunks();
        Self { loss: f64::from_le_bytes(halves[0]), targets: u64::from_le_bytes(halves[1]) }
    }
}

fn row_sums(losses: &[f32], batch: &Batch) -> Result<Vec<RowSum>, Error> {
    let row_len = len(batch.sequence_length)?;
    let mut masks = batch.loss_mask.chunks_exact(row_len);
    let sum = |row: &[f32]| {
        let loss = row.iter().map(|&loss| f64::from(loss)).sum();
        let targets = match masks.next() {
            None => batch.sequence_length,
            Some(mask) => mask.iter().map(|&counts| u64::from(counts)).sum(),
        };
        RowSum { loss, targets }
    };
    Ok(losses.chunks_exact(row_len).map(sum).collect())
}

/// A mean over all targets, and its standard error as that of a ratio of sums over sequences
/// (Cochran, Sampling Techniques, 1977, section 6.3); with as many targets in each it is that of the
/// mean of the sequences' means.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn mean(sums: &[RowSum]) -> LossChange {
    let count = sums.len() as f64;
    let targets = sums.iter().map(|row| row.targets).sum::<u64>() as f64;
    let mean = sums.iter().map(|row| row.loss).sum::<f64>() / targets;
    let squares: f64 = sums.iter().map(|row| (row.loss - mean * row.targets as f64).powi(2)).sum();
    let deviation = if sums.len() > 1 { (squares * count / (count - 1.0)).sqrt() } else { 0.0 };
    LossChange { mean, standard_error: deviation / targets }
}

/// The record of sequences measured now and, where they were, before the first step.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn record(
    corpus: &Corpus,
    evaluation: &Evaluation,
    part: Part,
    sums: &[RowSum],
    before: Option<&[RowSum]>,
) -> EvalRecord {
    let every_second = |parity: usize, sums: &[RowSum]| -> Vec<RowSum> {
        sums.iter().skip(parity).step_by(2).copied().collect()
    };
    let counts = |sums: &[RowSum]| sums.iter().any(|row| row.targets > 0);
    let halves = [every_second(0, sums), every_second(1, sums)];
    let halved = part == Part::Halves && halves.iter().all(|half| counts(half));
    let reported = |sums: &[RowSum]| if halved { every_second(0, sums) } else { sums.to_vec() };
    let chosen = if halved { &halves[1] } else { sums };
    let own = reported(sums);
    let LossChange { mean: loss, standard_error } = mean(&own);
    let change = before.map(|before| {
        let pairs = own.iter().zip(reported(before));
        let differences: Vec<RowSum> = pairs
            .map(|(now, before)| RowSum { loss: now.loss - before.loss, targets: now.targets })
            .collect();
        mean(&differences)
    });
    let bytes = corpus.text_bytes(evaluation.split) as f64;
    let tokens_per_byte = corpus.tokens(evaluation.split) as f64 / bytes;
    EvalRecord {
        corpus: evaluation.name.clone(),
        loss,
        standard_error,
        bits_per_byte: loss / std::f64::consts::LN_2 * tokens_per_byte,
        tokens: own.iter().map(|row| row.targets).sum(),
        sequences: u64::try_from(own.len()).unwrap_or(u64::MAX),
        selection_loss: (part == Part::Halves).then(|| mean(chosen).mean),
        change,
    }
}

fn len(count: u64) -> Result<usize, Error> {
    usize::try_from(count).ok().filter(|count| *count < 1 << 31).ok_or_else(|| {
        let expected = "batches of less than 2^31 tokens: lower batch_size or sequence_length";
        Error::setting("eval", expected, count)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use mixdown_shards::Split;

    use mixdown_mixer::Batch;

    use super::{Attention, Evaluation, Part, evaluate, measure, read_windows, record};
    use crate::error::Error;
    use crate::model::Model;
    use crate::model_config::tests::tiny;
    use crate::ranks::Team;
    use crate::test_corpus::{corpus, corpus_of_bytes, tokens};

    fn evaluation(sequences: u64, batch_size: u64) -> Evaluation {
        Evaluation {
            name: "c".to_owned(),
            split: Split::Holdout,
            sequence_length: 8,
            sequences,
            batch_size,
            attention: Attention::Row,
        }
    }

    fn model() -> Model {
        let mut config = tiny();
        config.tokenizer_fingerprint = None;
        Model::new(&config, 1).unwrap()
    }

    #[test]
    fn only_targets_that_count_are_measured() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        drop(corpus(folder, 40, &tokens(30, 1), &tokens(60, 2)));
        let mut manifest = mixdown_shards::Manifest::read(folder).unwrap();
        let mut writer = mixdown_shards::ShardWriter::create(
            &folder.join("holdout"),
            "shard-00000",
            manifest.dtype,
            manifest.vocab_size,
        )
        .unwrap();
        let mask: Vec<u8> = (0..60).map(|token| u8::from(token % 3 == 0)).collect();
        writer.push(&tokens(60, 2), 60, 1, Some(&mask)).unwrap();
        manifest.holdout = mixdown_shards::SplitRecord::new(vec![writer.finish().unwrap()]);
        manifest.fingerprint = mixdown_shards::Manifest::data_fingerprint(
            manifest.dtype,
            manifest.tokenizer_fingerprint,
            &manifest.train.shards,
            &manifest.holdout.shards,
        );
        manifest.write(folder).unwrap();
        let corpus = mixdown_shards::Corpus::open(folder, mixdown_shards::Access::Map).unwrap();
        let stop = AtomicBool::new(false);
        let record = evaluate(&mut model(), &corpus, &evaluation(4, 2), &stop).unwrap();
        let batch = read_windows(&corpus, &evaluation(4, 2), 0, 4).unwrap();
        let losses = model().losses(&Batch { loss_mask: Vec::new(), ..batch }).unwrap();
        // Target t of the windows is token t + 1.
        let counted: Vec<f64> =
            (1..).zip(losses).filter(|(t, _)| t % 3 == 0).map(|(_, l)| f64::from(l)).collect();
        assert_eq!(record.tokens, 10);
        assert!((record.loss - counted.iter().sum::<f64>() / 10.0).abs() < 1e-6);
    }

    #[test]
    fn the_record_is_that_of_the_first_windows() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(place.path(), 40, &tokens(30, 1), &tokens(60, 2));
        let never = AtomicBool::new(false);
        let record = evaluate(&mut model(), &corpus, &evaluation(5, 2), &never).unwrap();
        assert_eq!((record.sequences, record.tokens), (5, 40));
        let all = tokens(60, 2);
        let means: Vec<f64> = (0..5)
            .map(|i| {
                let batch = mixdown_mixer::Batch {
                    tokens: all[i * 8..i * 8 + 9].to_vec(),
                    rows: 1,
                    sequence_length: 8,
                    ..Default::default()
                };
                let losses = model().losses(&batch).unwrap();
                losses.iter().map(|&l| f64::from(l)).sum::<f64>() / 8.0
            })
            .collect();
        let mean = means.iter().sum::<f64>() / 5.0;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 4.0;
        assert!((record.loss - mean).abs() < 1e-6);
        assert!((record.standard_error - (variance / 5.0).sqrt()).abs() < 1e-6);
        // The test corpus has 3 bytes a token.
        assert!((record.bits_per_byte - mean / 2f64.ln() / 3.0).abs() < 1e-6);
        let other = evaluate(&mut model(), &corpus, &evaluation(5, 3), &never).unwrap();
        assert!((record.loss - other.loss).abs() < 1e-6);
        let whole = evaluate(&mut model(), &corpus, &evaluation(99, 16), &never).unwrap();
        assert_eq!(whole.sequences, 7);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let short = corpus(&place.path().join("a"), 40, &tokens(30, 1), &tokens(8, 2));
        let mut highest = tokens(60, 2);
        highest[59] = 40;
        let large = corpus(&place.path().join("b"), 41, &tokens(30, 1), &highest);
        let never = AtomicBool::new(false);
        let error = evaluate(&mut model(), &short, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().contains("at least 9 tokens in holdout for one sequence, got 8"));
        let error = evaluate(&mut model(), &large, &evaluation(5, 2), &never).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("ids below 40 (the model's vocab_size), got 40, of a tokenizer of 41")
        );
        let mut config = tiny();
        config.vocab_size = 41;
        let mut other = Model::new(&config, 1).unwrap();
        let error = evaluate(&mut other, &large, &evaluation(5, 2), &never).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }) && error.is_configuration());
        let silent =
            corpus_of_bytes(&place.path().join("c"), 40, &tokens(30, 1), &tokens(60, 2), 0);
        let error = evaluate(&mut model(), &silent, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().ends_with("expected text_bytes above 0 in holdout, got 0"));
        let mut huge = evaluation(u64::MAX, u64::MAX);
        huge.sequence_length = 1 << 31;
        assert!(read_windows(&short, &huge, 0, u64::MAX).unwrap_err().is_configuration());
        let stopped = evaluate(&mut model(), &short, &evaluation(5, 2), &AtomicBool::new(true));
        assert!(stopped.is_err());
    }

    #[test]
    fn halves_report_and_choose_and_changes_are_paired() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(place.path(), 40, &tokens(30, 1), &tokens(60, 2));
        let (evaluation, never) = (evaluation(7, 3), AtomicBool::new(false));
        let measure = |seed: u64| {
            let mut config = tiny();
            config.tokenizer_fingerprint = None;
            let mut model = Model::new(&config, seed).unwrap();
            measure(&mut model, &corpus, &evaluation, &never, &mut Team::alone()).unwrap()
        };
        let (before, now) = (measure(1), measure(2));
        let halves = record(&corpus, &evaluation, Part::Halves, &now, Some(&before));
        let mean = |rows: &[usize], of: &dyn Fn(usize) -> f64| {
            rows.iter().map(|&row| of(row) / 8.0).sum::<f64>() / rows.len() as f64
        };
        assert_eq!((halves.sequences, halves.tokens), (4, 32));
        assert!((halves.loss - mean(&[0, 2, 4, 6], &|row| now[row].loss)).abs() < 1e-12);
        let chosen = halves.selection_loss.unwrap();
        assert!((chosen - mean(&[1, 3, 5], &|row| now[row].loss)).abs() < 1e-12);
        let change = halves.change.unwrap();
        let paired = mean(&[0, 2, 4, 6], &|row| now[row].loss - before[row].loss);
        assert!((change.mean - paired).abs() < 1e-12);
        let same = record(&corpus, &evaluation, Part::Halves, &now, Some(&now)).change.unwrap();
        assert_eq!((same.mean.abs(), same.standard_error.abs()), (0.0, 0.0));
        // One sequence alone reports and chooses.
        let alone = record(&corpus, &evaluation, Part::Halves, &now[..1], None);
        assert_eq!(alone.selection_loss, Some(alone.loss));
    }

    #[test]
    fn documents_are_kept_apart_where_asked_for() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(place.path(), 40, &tokens(30, 1), &tokens(60, 2));
        let apart = Evaluation { attention: Attention::Document, ..evaluation(3, 2) };
        let batch = read_windows(&corpus, &apart, 1, 2).unwrap();
        // One document only: places count from the beginning of the row.
        let expected: Vec<u32> = [(0..8).collect::<Vec<_>>(), (0..8).collect()].concat();
        assert_eq!(batch.documents.unwrap().position_ids, expected);
    }
}
