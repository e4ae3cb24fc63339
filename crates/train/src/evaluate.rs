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
/// A part with a loss mask or packed rows, shorter than one sequence or without a byte of text; ids
/// or a tokenizer that are not the model's; a corpus that cannot be read; the stop flag; a loss that
/// is not finite.
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
    check_unlabelled(corpus, evaluation)?;
    let sequences = windows(corpus, evaluation)?;
    let mut means = Vec::new();
    let mut first = 0;
    while first < sequences {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { step: 0 });
        }
        let rows = evaluation.batch_size.max(1).min(sequences - first);
        let batch = read_windows(corpus, evaluation, first, rows)?;
        means.extend(row_means(&model.token_losses(&batch)?, evaluation.sequence_length)?);
        first += rows;
    }
    Ok(record(corpus, evaluation, &means))
}

/// The mean is over every token, so a loss mask or padding would be counted in.
fn check_unlabelled(corpus: &Corpus, evaluation: &Evaluation) -> Result<(), Error> {
    let got = match (corpus.manifest().pack, corpus.is_labelled(evaluation.split)) {
        (Some(_), _) => "packed rows",
        (None, true) => "a loss mask",
        (None, false) => return Ok(()),
    };
    let field = format!("corpus {}", corpus.folder().display());
    let expected = "one whose every token is a target, as evaluation knows no mask yet; prepare it \
                    from plain text, without --pack";
    Err(Error::setting(&field, expected, got))
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
    match tokens.saturating_sub(1) / length {
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
    let mut tokens = vec![0; len(rows.saturating_mul(length.saturating_add(1)))?];
    for (window, out) in (first..).zip(tokens.chunks_exact_mut(row)) {
        corpus.read_tokens(evaluation.split, window * length, out)?;
    }
    Ok(Batch { tokens, rows, sequence_length: length, ..Batch::default() })
}

#[expect(clippy::cast_precision_loss, reason = "a sequence is far shorter than 2^53 tokens")]
fn row_means(losses: &[f32], sequence_length: u64) -> Result<Vec<f64>, Error> {
    let mean =
        |row: &[f32]| row.iter().map(|&loss| f64::from(loss)).sum::<f64>() / sequence_length as f64;
    Ok(losses.chunks_exact(len(sequence_length)?).map(mean).collect())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn record(corpus: &Corpus, evaluation: &Evaluation, means: &[f64]) -> EvalRecord {
    let count = means.len() as f64;
    let loss = means.iter().sum::<f64>() / count;
    let squares: f64 = means.iter().map(|mean| (mean - loss) * (mean - loss)).sum();
    let deviation = if means.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    let bytes = corpus.text_bytes(evaluation.split) as f64;
    let tokens_per_byte = corpus.tokens(evaluation.split) as f64 / bytes;
    let sequences = u64::try_from(means.len()).unwrap_or(u64::MAX);
    EvalRecord {
        corpus: evaluation.name.clone(),
        loss,
        standard_error: deviation / count.sqrt(),
        bits_per_byte: loss / std::f64::consts::LN_2 * tokens_per_byte,
        tokens: sequences * evaluation.sequence_length,
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
    fn a_part_with_a_loss_mask_is_refused() {
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
        writer.push(&tokens(60, 2), 60, 1, Some(&[1; 60])).unwrap();
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
        let error = evaluate(&model(), &corpus, &evaluation(4, 2), &stop).unwrap_err().to_string();
        assert!(error.contains("got a loss mask") && error.contains("--pack"), "{error}");
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
