//! The loss on fixed sequences of a corpus.

pub(crate) mod sequence_bytes;

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use mixdown_mixer::{Batch, Documents, Rank};
use mixdown_runs::{DocumentLoss, EvalRecord, LossChange, MeanLoss, SequenceLoss};
use mixdown_shards::{Corpus, Fingerprint, Split};

use crate::error::Error;
use crate::evaluate::sequence_bytes::gather;
use crate::model::Model;
use crate::ranks::ProcessGroup;

/// The settings of an evaluation: which sequences of one part of a corpus are measured.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The name of the result.
    pub name: String,
    /// The part of the corpus.
    pub split: Split,
    /// T: the number of targets of one sequence.
    pub sequence_length: u64,
    /// The largest number of sequences; a shorter part is measured as a whole.
    pub sequences: u64,
    /// The number of sequences that are computed at once; it changes results only by rounding.
    pub batch_size: u64,
    /// Whether attention stays within documents.
    pub attention: Attention,
    /// The sequences that count for the loss.
    pub part: EvaluationPart,
}

/// The range of attention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Attention {
    /// Attention reaches back to the beginning of the row.
    #[default]
    Row,
    /// Attention reaches back to the beginning of the document, where positions start at 0.
    Document,
}

/// The choice of sequences from which a loss is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EvaluationPart {
    /// All sequences.
    #[default]
    All,
    /// Every second sequence counts for the reported loss, and the others for the choice of the best step. If one of
    /// the halves has no target, all sequences count for both.
    Halves,
}

impl Attention {
    /// Returns the default for these corpora: attention stays within documents if one of the corpora has packed rows,
    /// because such a row is not one text.
    ///
    /// ```
    /// use mixdown_train::Attention;
    ///
    /// // Without a corpus of packed rows, attention goes back to the beginning of the row.
    /// assert_eq!(Attention::usual([]), Attention::Row);
    /// ```
    pub fn usual<'a>(corpora: impl IntoIterator<Item = &'a Corpus>) -> Self {
        match corpora.into_iter().any(|corpus| corpus.manifest().pack.is_some()) {
            true => Self::Document,
            false => Self::Row,
        }
    }
}

/// The mean loss of `model` over the first sequences of `corpus`, with its standard error, and in bits per
/// byte of text. Sequence i has the inputs from token i·T on.
///
/// Bits per byte use the tokens per byte of the whole part instead of the measured sequences, because a corpus may
/// record the length of its text only by part. The padding of packed rows is not text; the corpus counts it over both
/// parts, so each part gets its share by tokens.
///
/// The standard error treats documents as drawn independently, however they are cut into sequences ([`MeanLoss::of`]).
///
/// # Errors
/// A part packed for another length, without a target that counts, shorter than one sequence or without
/// a byte of text; ids or a tokenizer that are not the model's; a corpus that cannot be read; the stop
/// flag; a loss that is not finite.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_shards::{Access, Corpus, Split};
/// use mixdown_train::{Attention, Evaluation, EvaluationPart, FreshModel, Model, evaluate};
///
/// # use mixdown_shards::{Dtype, Fingerprint, Manifest, ShardWriter, SplitRecord};
/// # let place = tempfile::tempdir()?;
/// # let folder = place.path().join("math");
/// # let shard = |split: &str, len: u32, hash: u64| -> Result<_, mixdown_shards::Error> {
/// #     let mut writer = ShardWriter::create(&folder.join(split), "shard-00000", Dtype::U16, 40)?;
/// #     let tokens: Vec<u32> = (0..len).map(|id| id * id % 39).collect();
/// #     writer.push(&tokens, 3 * u64::from(len), hash, None)?;
/// #     Ok(SplitRecord::new(vec![writer.finish()?]))
/// # };
/// # let (train, holdout) = (shard("train", 200, 1)?, shard("holdout", 60, 2)?);
/// # let new = Manifest::new(Dtype::U16, 40, Fingerprint::of(b"tokenizer"), train, holdout);
/// # Manifest { end_of_text: 39, ..new }.write(&folder)?;
/// # let tokenizer = r#"{"added_tokens":[{"id":39,"content":"<|endoftext|>"}]}"#;
/// # std::fs::write(folder.join("tokenizer.json"), tokenizer)?;
/// let corpus = Corpus::open(&folder, Access::Map)?;
/// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
/// let mut model = Model::new(&shape.config(8), 3)?;
/// let evaluation = Evaluation {
///     name: "math".to_owned(),
///     split: Split::Holdout,
///     sequence_length: 8,
///     sequences: 4,
///     batch_size: 2,
///     attention: Attention::Row,
///     part: EvaluationPart::All,
/// };
/// let record = evaluate(&mut model, &corpus, &evaluation, &AtomicBool::new(false))?;
/// assert_eq!((record.sequences, record.tokens), (4, 32));
/// assert!((record.loss - 40_f64.ln()).abs() < 0.5);
/// # Ok(())
/// # }
/// ```
pub fn evaluate(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
) -> Result<EvalRecord, Error> {
    model.check_corpus(corpus)?;
    let rows = measure(model, corpus, evaluation, stop, &mut ProcessGroup::alone())?;
    let record = record(corpus, evaluation, &rows, None)?;
    if record.loss.is_finite() {
        return Ok(record);
    }
    Err(Error::NonFiniteEvaluation { corpus: evaluation.name.clone(), got: record.loss })
}

/// Returns the loss of each sequence of a corpus that fits the model; a loss may be infinite or NaN. The batches are
/// shared among the ranks, and each rank gets all losses.
pub(crate) fn measure(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
    group: &mut ProcessGroup,
) -> Result<Vec<SequenceLoss>, Error> {
    let sequences = windows(corpus, evaluation)?;
    let own = measure_own(model, corpus, evaluation, stop, (sequences, group.rank()));
    let own = group.agree_on_stop(own)?;
    let mut all: Vec<_> = gather(group, &own)?.into_iter().map(Vec::into_iter).collect();
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

/// Returns the loss of each sequence of this rank's batches.
fn measure_own(
    model: &mut Model,
    corpus: &Corpus,
    evaluation: &Evaluation,
    stop: &AtomicBool,
    (sequences, rank): (u64, Rank),
) -> Result<Vec<SequenceLoss>, Error> {
    let (first, step) = (rank.rank(), rank.world_size());
    let places = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let starts = document_starts(corpus, evaluation, sequences)?;
    let stride = stride(corpus, evaluation)?;
    let mut sums = Vec::new();
    for rows in batches(evaluation, sequences).skip(places(first)).step_by(places(step)) {
        Error::check_stop(stop, "the evaluation")?;
        let batch = read_windows(corpus, evaluation, rows.start, rows.end - rows.start)?;
        let losses = model.losses_until(&batch, stop)?;
        let length = len(batch.sequence_length)?;
        let mut masks = batch.loss_mask.chunks_exact(length);
        for (window, row) in rows.zip(losses.chunks_exact(length)) {
            sums.push(sequence_loss(row, masks.next(), window * stride + 1, &starts)?);
        }
    }
    Ok(sums)
}

/// Returns the sequences of each batch.
fn batches(evaluation: &Evaluation, sequences: u64) -> impl Iterator<Item = Range<u64>> {
    let size = evaluation.batch_size.max(1);
    (0..sequences.div_ceil(size)).map(move |batch| {
        let first = batch * size;
        first..first + size.min(sequences - first)
    })
}

/// Returns the number of tokens from one sequence to the next: T, or T + 1 for a packed row.
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

/// Returns the number of sequences, at most the requested number.
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

/// Returns the positions within their documents of the inputs from token `start` on.
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

/// Returns the first tokens of documents within the tokens of the sequences, in order.
fn document_starts(
    corpus: &Corpus,
    evaluation: &Evaluation,
    sequences: u64,
) -> Result<Vec<u64>, Error> {
    let stride = stride(corpus, evaluation)?;
    let end = sequences.saturating_mul(stride).saturating_add(1);
    let mut starts = Vec::new();
    let tokens = 0..end.min(corpus.tokens(evaluation.split));
    corpus.each_document_start(evaluation.split, tokens, |token| starts.push(token))?;
    Ok(starts)
}

/// Returns the losses of a row of targets, as a whole and by document. The first target is token `first_target`.
fn sequence_loss(
    losses: &[f32],
    mask: Option<&[u8]>,
    first_target: u64,
    starts: &[u64],
) -> Result<SequenceLoss, Error> {
    let sum = |losses: &[f32]| losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
    let targets = |places: Range<usize>| match mask {
        None => places.len() as u64,
        Some(mask) => mask[places].iter().map(|&counts| u64::from(counts)).sum(),
    };
    let mut documents = Vec::new();
    let mut from = 0;
    while from < losses.len() {
        let token = first_target + from as u64;
        let next = starts.partition_point(|&start| start <= token);
        let to = match starts.get(next) {
            Some(start) => len(start - first_target)?.min(losses.len()),
            None => losses.len(),
        };
        if targets(from..to) > 0 {
            let document = next.saturating_sub(1) as u64;
            let (loss, targets) = (sum(&losses[from..to]), targets(from..to));
            documents.push(DocumentLoss { document, loss, targets });
        }
        from = to;
    }
    Ok(SequenceLoss { loss: sum(losses), targets: targets(0..losses.len()), documents })
}

/// The sequences of the reported loss, and those of the choice of the best step.
pub(crate) fn halves(part: EvaluationPart, sums: &[SequenceLoss]) -> [Vec<SequenceLoss>; 2] {
    let every_second = |parity: usize| -> Vec<SequenceLoss> {
        sums.iter().skip(parity).step_by(2).cloned().collect()
    };
    match step_of(part, sums) {
        2 => [every_second(0), every_second(1)],
        _ => [sums.to_vec(), sums.to_vec()],
    }
}

/// The distance from one reported sequence to the next.
fn step_of(part: EvaluationPart, sums: &[SequenceLoss]) -> usize {
    let counts = |parity: usize| sums.iter().skip(parity).step_by(2).any(|one| one.targets > 0);
    if part == EvaluationPart::Halves && counts(0) && counts(1) { 2 } else { 1 }
}

/// Returns the record of sequences measured now and, if they were measured then, before the first step.
pub(crate) fn record(
    corpus: &Corpus,
    evaluation: &Evaluation,
    sums: &[SequenceLoss],
    before: Option<&[SequenceLoss]>,
) -> Result<EvalRecord, Error> {
    let [own, chosen] = halves(evaluation.part, sums);
    let mean = MeanLoss::of(&own);
    let change = before.map(|before| {
        let [before, _] = halves(evaluation.part, before);
        let expected = "the sequences that were measured before the first step";
        let change = MeanLoss::of_differences(&own, &before)
            .map_err(|error| Error::bad_file(corpus.folder(), expected, error))?;
        Ok::<_, Error>(LossChange { mean: change.mean, standard_error: change.standard_error })
    });
    Ok(EvalRecord {
        corpus: evaluation.name.clone(),
        loss: mean.mean,
        standard_error: mean.standard_error,
        bits_per_byte: mean.mean / std::f64::consts::LN_2
            * tokens_per_byte(corpus, evaluation.split),
        tokens: own.iter().map(|one| one.targets).sum(),
        sequences: mean.sequences,
        documents: mean.documents,
        error_unit: mean.unit,
        selection_loss: (evaluation.part == EvaluationPart::Halves)
            .then(|| MeanLoss::of(&chosen).mean),
        change: change.transpose()?,
    })
}

/// Returns the tokens of text per byte of a part, without padding.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn tokens_per_byte(corpus: &Corpus, split: Split) -> f64 {
    let all: u64 = Split::ALL.iter().map(|split| corpus.tokens(*split)).sum();
    let text = 1.0 - corpus.manifest().counts.padding_tokens as f64 / all.max(1) as f64;
    corpus.tokens(split) as f64 * text / corpus.text_bytes(split) as f64
}

/// A hash of the sequences that report: their ids, which targets count, and where attention starts again. Losses with
/// the same hash are of the same sequences, whatever corpora hold them.
pub(crate) fn measured(
    corpus: &Corpus,
    evaluation: &Evaluation,
    sums: &[SequenceLoss],
) -> Result<Fingerprint, Error> {
    let mut hashes = Vec::new();
    for window in (0..sums.len() as u64).step_by(step_of(evaluation.part, sums)) {
        let batch = read_windows(corpus, evaluation, window, 1)?;
        let mut bytes: Vec<u8> = batch.tokens.iter().flat_map(|id| id.to_le_bytes()).collect();
        match batch.loss_mask.as_slice() {
            [] => bytes.resize(bytes.len() + len(evaluation.sequence_length)?, 1),
            mask => bytes.extend(mask),
        }
        let documents = batch.documents.iter().flat_map(|documents| &documents.position_ids);
        bytes.extend(documents.flat_map(|place| place.to_le_bytes()));
        hashes.extend(Fingerprint::of(&bytes).as_bytes());
    }
    Ok(Fingerprint::of(&hashes))
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

    use mixdown_base::error_kind::ErrorKind;
    use mixdown_mixer::Batch;
    use mixdown_runs::{ErrorUnit, MeanLoss};
    use mixdown_shards::{Corpus, Split};

    use super::{
        Attention, Evaluation, EvaluationPart, evaluate, measure, measured, read_windows, record,
        tokens_per_byte,
    };
    use crate::error::Error;
    use crate::model::Model;
    use crate::model::config::tests::tiny;
    use crate::ranks::ProcessGroup;
    use crate::test_corpus::{corpus, corpus_of_bytes, corpus_of_documents, tokens};

    fn evaluation(sequences: u64, batch_size: u64) -> Evaluation {
        Evaluation {
            name: "c".to_owned(),
            split: Split::Holdout,
            sequence_length: 8,
            sequences,
            batch_size,
            attention: Attention::Row,
            part: EvaluationPart::All,
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
        let mask: Vec<u8> = (0..60).map(|token| u8::from(token % 3 == 0)).collect();
        let holdout = [(tokens(60, 2), Some(mask))];
        let corpus = corpus_of_documents(place.path(), 40, &[(tokens(30, 1), None)], &holdout, 3);
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
        assert!((record.standard_error.unwrap() - (variance / 5.0).sqrt()).abs() < 1e-6);
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
        assert!(
            matches!(error, Error::Tokenizer { .. }) && error.kind() == ErrorKind::Configuration
        );
        let silent =
            corpus_of_bytes(&place.path().join("c"), 40, &tokens(30, 1), &tokens(60, 2), 0);
        let error = evaluate(&mut model(), &silent, &evaluation(5, 2), &never).unwrap_err();
        assert!(error.to_string().ends_with("expected text_bytes above 0 in holdout, got 0"));
        let mut huge = evaluation(u64::MAX, u64::MAX);
        huge.sequence_length = 1 << 31;
        assert_eq!(
            read_windows(&short, &huge, 0, u64::MAX).unwrap_err().kind(),
            ErrorKind::Configuration
        );
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
            measure(&mut model, &corpus, &evaluation, &never, &mut ProcessGroup::alone()).unwrap()
        };
        let (before, now) = (measure(1), measure(2));
        let halved = Evaluation { part: EvaluationPart::Halves, ..evaluation.clone() };
        let halves = record(&corpus, &halved, &now, Some(&before)).unwrap();
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
        let same = record(&corpus, &halved, &now, Some(&now)).unwrap().change.unwrap();
        assert_eq!((same.mean.abs(), same.standard_error.map(f64::abs)), (0.0, Some(0.0)));
        // One sequence alone reports and chooses, and has no error.
        let alone = record(&corpus, &halved, &now[..1], None).unwrap();
        assert!(alone.chose_itself() && !halves.chose_itself());
        assert_eq!((alone.standard_error, alone.error_unit, alone.sequences), (None, None, 1));
        assert!(record(&corpus, &halved, &now, Some(&before[..3])).is_err());
    }

    #[test]
    fn losses_are_summed_by_document_wherever_sequences_cut_them() {
        let place = tempfile::tempdir().unwrap();
        // Documents of 5, 14 and 11 tokens in windows of 8 targets, of which the first is token 1.
        let holdout = [(tokens(5, 1), None), (tokens(14, 2), None), (tokens(11, 3), None)];
        let corpus = corpus_of_documents(place.path(), 40, &[(tokens(30, 1), None)], &holdout, 3);
        let (evaluation, never) = (evaluation(3, 2), AtomicBool::new(false));
        let sums = measure(&mut model(), &corpus, &evaluation, &never, &mut ProcessGroup::alone())
            .unwrap();
        let parts: Vec<Vec<(u64, u64)>> = sums
            .iter()
            .map(|one| one.documents.iter().map(|part| (part.document, part.targets)).collect())
            .collect();
        assert_eq!(parts, [vec![(0, 4), (1, 4)], vec![(1, 8)], vec![(1, 2), (2, 6)]]);
        for one in &sums {
            let sum: f64 = one.documents.iter().map(|part| part.loss).sum();
            assert!((sum - one.loss).abs() < 1e-9);
        }
        let record = record(&corpus, &evaluation, &sums, None).unwrap();
        let counts = (record.sequences, record.documents, record.error_unit);
        assert_eq!(counts, (3, Some(3), Some(ErrorUnit::Documents)));
        assert_eq!(record.standard_error, MeanLoss::of(&sums).standard_error);
    }

    #[test]
    fn equal_sequences_have_one_hash_whatever_corpus_holds_them() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, train: u32, holdout: u32, mask: Option<Vec<u8>>| {
            let (train, holdout) = (tokens(30, train), tokens(60, holdout));
            corpus_of_documents(
                &place.path().join(name),
                40,
                &[(train, None)],
                &[(holdout, mask)],
                3,
            )
        };
        let never = AtomicBool::new(false);
        let hash = |corpus: &Corpus, evaluation: &Evaluation| {
            let sums =
                measure(&mut model(), corpus, evaluation, &never, &mut ProcessGroup::alone())
                    .unwrap();
            measured(corpus, evaluation, &sums).unwrap()
        };
        let usual = evaluation(4, 2);
        let first = make("a", 1, 2, None);
        let expected = hash(&first, &usual);
        assert_eq!(hash(&make("b", 3, 2, None), &usual), expected, "another training part");
        assert_eq!(hash(&make("c", 1, 2, Some(vec![1; 60])), &usual), expected, "all are targets");
        assert_eq!(hash(&first, &evaluation(4, 3)), expected, "another batch");
        let mut mask = vec![1; 60];
        mask[9] = 0;
        for (what, other) in [
            ("other text", hash(&make("d", 1, 3, None), &usual)),
            ("other targets", hash(&make("e", 1, 2, Some(mask)), &usual)),
            ("fewer sequences", hash(&first, &evaluation(3, 2))),
            ("half", hash(&first, &Evaluation { part: EvaluationPart::Halves, ..usual.clone() })),
            ("attention", hash(&first, &Evaluation { attention: Attention::Document, ..usual })),
        ] {
            assert_ne!(other, expected, "{what}");
        }
    }

    #[test]
    fn padding_is_no_text() {
        let place = tempfile::tempdir().unwrap();
        let plain = corpus(&place.path().join("a"), 40, &tokens(30, 1), &tokens(60, 2));
        assert!((tokens_per_byte(&plain, Split::Holdout) - 1.0 / 3.0).abs() < 1e-12);
        let folder = place.path().join("a");
        let mut manifest = mixdown_shards::Manifest::read(&folder).unwrap();
        manifest.counts.padding_tokens = 18;
        manifest.write(&folder).unwrap();
        let padded = Corpus::open(&folder, mixdown_shards::Access::Map).unwrap();
        // A fifth of the 90 tokens is padding.
        assert!((tokens_per_byte(&padded, Split::Holdout) - 0.8 / 3.0).abs() < 1e-12);
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
