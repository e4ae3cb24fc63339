//! The loss on fixed sequences of a corpus.

use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_mixer::Batch;
use mixdown_runs::EvalRecord;
use mixdown_shards::{Corpus, Split};

use crate::error::Error;
use crate::model::Model;

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
    /// Sequences computed at once; changes no result.
    pub batch_size: u64,
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
    model: &Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
) -> Result<EvalRecord, Error> {
    let record = measure(model, corpus, evaluation, stop)?;
    if record.loss.is_finite() {
        return Ok(record);
    }
    Err(Error::NonFiniteEvaluation { corpus: evaluation.name.clone(), got: record.loss })
}

/// As [`evaluate`], but a loss that is not finite is a result.
pub(crate) fn measure(
    model: &Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
) -> Result<EvalRecord, Error> {
    model.check_corpus(corpus)?;
    let sequences = windows(corpus, evaluation)?;
    let mut sums = Vec::new();
    let mut first = 0;
    while first < sequences {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { step: 0 });
        }
        let rows = evaluation.batch_size.max(1).min(sequences - first);
        let batch = read_windows(corpus, evaluation, first, rows)?;
        sums.extend(row_sums(&model.token_losses(&batch)?, &batch)?);
        first += rows;
    }
    if sums.iter().all(|row| row.targets == 0) {
        let expected = "a target that counts for the loss in the sequences measured";
        return Err(Error::bad_file(corpus.folder(), expected.to_owned(), "none"));
    }
    Ok(record(corpus, evaluation, &sums))
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
    Ok(Batch { tokens, loss_mask, rows, sequence_length: length, ..Batch::default() })
}

/// The loss of one sequence, in nats over all its targets that count.
struct RowSum {
    loss: f64,
    targets: u64,
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

/// The mean over all targets, and its standard error as that of a ratio of sums over sequences
/// (Cochran, Sampling Techniques, 1977, section 6.3); with as many targets in each it is that of the
/// mean of the sequences' means.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn record(corpus: &Corpus, evaluation: &Evaluation, sums: &[RowSum]) -> EvalRecord {
    let count = sums.len() as f64;
    let targets: u64 = sums.iter().map(|row| row.targets).sum();
    let loss = sums.iter().map(|row| row.loss).sum::<f64>() / targets as f64;
    let squares: f64 = sums.iter().map(|row| (row.loss - loss * row.targets as f64).powi(2)).sum();
    let deviation = if sums.len() > 1 { (squares * count / (count - 1.0)).sqrt() } else { 0.0 };
    let bytes = corpus.text_bytes(evaluation.split) as f64;
    let tokens_per_byte = corpus.tokens(evaluation.split) as f64 / bytes;
    let sequences = u64::try_from(sums.len()).unwrap_or(u64::MAX);
    EvalRecord {
        corpus: evaluation.name.clone(),
        loss,
        standard_error: deviation / targets as f64,
        bits_per_byte: loss / std::f64::consts::LN_2 * tokens_per_byte,
        tokens: targets,
        sequences,
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

    use super::{Evaluation, evaluate, read_windows};
    use crate::error::Error;
    use crate::model::Model;
    use crate::model_config::tests::tiny;
    use crate::test_corpus::{corpus, corpus_of_bytes, tokens};

    fn evaluation(sequences: u64, batch_size: u64) -> Evaluation {
        Evaluation {
            name: "c".to_owned(),
            split: Split::Holdout,
            sequence_length: 8,
            sequences,
            batch_size,
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
        let record = evaluate(&model(), &corpus, &evaluation(4, 2), &stop).unwrap();
        let batch = read_windows(&corpus, &evaluation(4, 2), 0, 4).unwrap();
        let losses = model().token_losses(&Batch { loss_mask: Vec::new(), ..batch }).unwrap();
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
        let record = evaluate(&model(), &corpus, &evaluation(5, 2), &never).unwrap();
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
                let losses = model().token_losses(&batch).unwrap();
                losses.iter().map(|&l| f64::from(l)).sum::<f64>() / 8.0
            })
            .collect();
        let mean = means.iter().sum::<f64>() / 5.0;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 4.0;
        assert!((record.loss - mean).abs() < 1e-9);
        assert!((record.standard_error - (variance / 5.0).sqrt()).abs() < 1e-9);
        // The test corpus has 3 bytes a token.
        assert!((record.bits_per_byte - mean / 2f64.ln() / 3.0).abs() < 1e-9);
        let other = evaluate(&model(), &corpus, &evaluation(5, 3), &never).unwrap();
        assert_eq!(record, other);
        let whole = evaluate(&model(), &corpus, &evaluation(99, 16), &never).unwrap();
        assert_eq!(whole.sequences, 7);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let short = corpus(&place.path().join("a"), 40, &tokens(30, 1), &tokens(8, 2));
        let large = corpus(&place.path().join("b"), 41, &tokens(30, 1), &tokens(60, 2));
        let never = AtomicBool::new(false);
        let error = evaluate(&model(), &short, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().contains("at least 9 tokens in holdout for one sequence, got 8"));
        let error = evaluate(&model(), &large, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().contains("a vocabulary of at most 40 (the model's), got 41"));
        let mut config = tiny();
        config.vocab_size = 41;
        let other = Model::new(&config, 1).unwrap();
        let error = evaluate(&other, &large, &evaluation(5, 2), &never).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }) && error.is_configuration());
        let silent =
            corpus_of_bytes(&place.path().join("c"), 40, &tokens(30, 1), &tokens(60, 2), 0);
        let error = evaluate(&model(), &silent, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().ends_with("expected text_bytes above 0 in holdout, got 0"));
        let mut huge = evaluation(u64::MAX, u64::MAX);
        huge.sequence_length = 1 << 31;
        assert!(read_windows(&short, &huge, 0, u64::MAX).unwrap_err().is_configuration());
        let stopped = evaluate(&model(), &short, &evaluation(5, 2), &AtomicBool::new(true));
        assert!(stopped.is_err());
    }
}
