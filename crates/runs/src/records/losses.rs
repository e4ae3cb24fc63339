//! The losses of an evaluation sequence by sequence, with their means, standard errors and paired differences.
//!
//! A run stores those of its chosen checkpoint in `losses.json` ([`LossesRecord`]), so that two runs that were measured
//! on the same sequences can be compared pair by pair: sequences differ far more from each other than one sequence
//! differs between two models, and that part cancels.

use std::collections::BTreeMap;

use mixdown_base::student::two_sided_95;
use serde::{Deserialize, Serialize};

use crate::records::{ErrorUnit, EvalRecord};

const FORMAT: &str = "mixdown-losses";
const VERSION: u32 = 1;
/// The largest relative difference between a mean of the file and that of the summary, which sum the same numbers.
const LARGEST_DIFFERENCE: f64 = 1e-9;

/// The losses of one sequence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SequenceLoss {
    /// The sum over the targets that count, in nats.
    pub loss: f64,
    /// Targets that count.
    pub targets: u64,
    /// The same sum for each document that has targets in the sequence, in order; empty if documents are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentLoss>,
}

/// The part of a sequence that lies in one document; in JSON `[document, loss, targets]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, f64, u64)", into = "(u64, f64, u64)")]
pub struct DocumentLoss {
    /// The document, counted from 0 through the part of the corpus.
    pub document: u64,
    /// The sum over the targets that count, in nats.
    pub loss: f64,
    /// Targets that count.
    pub targets: u64,
}

/// A mean over all targets of some sequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanLoss {
    /// The mean in nats per token, or the mean difference if the sequences are differences.
    pub mean: f64,
    /// The standard error of the mean; `None` if only one sequence has targets.
    pub standard_error: Option<f64>,
    /// The unit that the standard error assumes to be independent.
    pub unit: Option<ErrorUnit>,
    /// The number of these units with targets.
    pub units: u64,
    /// The number of sequences.
    pub sequences: u64,
    /// The number of documents with a target; `None` if documents are not known.
    pub documents: Option<u64>,
}

/// The contents of `losses.json`: the losses of a run's chosen checkpoint on every reported sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossesRecord {
    format: String,
    version: u32,
    /// The step of the chosen checkpoint.
    pub best_step: u64,
    /// The corpora, in the order of the run's settings.
    pub corpora: Vec<CorpusLosses>,
}

/// The losses on one corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorpusLosses {
    /// Name of the corpus in the run's settings.
    pub corpus: String,
    /// A hash of what was measured: the ids of each sequence, which of them count, and how far attention reaches back.
    pub measured: String,
    /// The sequences.
    pub sequences: Vec<SequenceLoss>,
}

/// Why two runs cannot be compared sequence by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// One of the runs has no losses by sequence.
    #[error("one of the runs has no losses.json, as runs of earlier versions of mixdown do not")]
    NotKept,
    /// The two runs were measured on different sequences or in different ways.
    #[error("the two runs were not measured on the same held-out sequences")]
    OtherSequences,
}

impl From<(u64, f64, u64)> for DocumentLoss {
    fn from((document, loss, targets): (u64, f64, u64)) -> Self {
        Self { document, loss, targets }
    }
}

impl From<DocumentLoss> for (u64, f64, u64) {
    fn from(part: DocumentLoss) -> Self {
        (part.document, part.loss, part.targets)
    }
}

impl MeanLoss {
    /// Computes the mean of the sequences and its standard error.
    ///
    /// Sequences that share a document are alike, so the error assumes that documents are drawn independently, each
    /// with all of its targets, if at least two documents have targets. For a single document it assumes independent
    /// sequences and says nothing about other documents. It is the error of a ratio of sums (Cochran, Sampling
    /// Techniques, 1977, section 6.3): units with more targets have more weight.
    ///
    /// ```
    /// use mixdown_runs::{MeanLoss, SequenceLoss};
    ///
    /// let sequence = |loss, targets| SequenceLoss { loss, targets, ..SequenceLoss::default() };
    /// let mean = MeanLoss::of(&[sequence(6.0, 2), sequence(12.0, 4)]);
    /// assert_eq!((mean.mean, mean.units), (3.0, 2));
    /// assert!(mean.is_clear(), "both sequences lose 3 nats per token");
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn of(sequences: &[SequenceLoss]) -> Self {
        let targets = sequences.iter().map(|one| one.targets).sum::<u64>() as f64;
        let mean = sequences.iter().map(|one| one.loss).sum::<f64>() / targets;
        let documents = by_document(sequences);
        let own: Vec<(f64, u64)> = sequences.iter().map(|one| (one.loss, one.targets)).collect();
        let units = match &documents {
            Some(documents) if documents.len() > 1 => (ErrorUnit::Documents, documents),
            _ => (ErrorUnit::Sequences, &own),
        };
        let counted = units.1.iter().filter(|unit| unit.1 > 0).count();
        let squares: f64 = units.1.iter().map(|unit| (unit.0 - mean * unit.1 as f64).powi(2)).sum();
        let error = (counted > 1).then(|| {
            let count = counted as f64;
            (squares * count / (count - 1.0)).sqrt() / targets
        });
        Self {
            mean,
            standard_error: error,
            unit: error.map(|_| units.0),
            units: u64::try_from(counted).unwrap_or(u64::MAX),
            sequences: u64::try_from(sequences.len()).unwrap_or(u64::MAX),
            documents: documents.map(|all| u64::try_from(all.len()).unwrap_or(u64::MAX)),
        }
    }

    /// Computes the mean difference of the same sequences under two models.
    ///
    /// # Errors
    /// [`Unpaired::OtherSequences`] if the sequences or documents are not the same.
    pub fn of_differences(left: &[SequenceLoss], right: &[SequenceLoss]) -> Result<Self, Unpaired> {
        if left.len() != right.len() {
            return Err(Unpaired::OtherSequences);
        }
        let pairs = left.iter().zip(right);
        let differences: Result<Vec<_>, _> = pairs.map(|(a, b)| a.difference(b)).collect();
        Ok(Self::of(&differences?))
    }

    /// Returns whether 0 is outside the 95 % interval of the mean by Student's distribution, because few documents say
    /// little about their spread. Without a standard error the answer is no.
    pub fn is_clear(&self) -> bool {
        let quantile = two_sided_95(self.units.saturating_sub(1));
        self.standard_error.is_some_and(|error| self.mean.abs() > quantile * error)
    }
}

impl SequenceLoss {
    fn difference(&self, other: &Self) -> Result<Self, Unpaired> {
        let less = |document: (&DocumentLoss, &DocumentLoss)| DocumentLoss {
            loss: document.0.loss - document.1.loss,
            ..*document.0
        };
        let same = |document: (&DocumentLoss, &DocumentLoss)| {
            (document.0.document, document.0.targets) == (document.1.document, document.1.targets)
        };
        // An evaluation of an earlier version has no documents.
        let known = !(self.documents.is_empty() || other.documents.is_empty());
        let pairs = || self.documents.iter().zip(&other.documents);
        let matches = self.documents.len() == other.documents.len() && pairs().all(same);
        if self.targets != other.targets || (known && !matches) {
            return Err(Unpaired::OtherSequences);
        }
        let documents = if known { pairs().map(less).collect() } else { Vec::new() };
        Ok(Self { loss: self.loss - other.loss, targets: self.targets, documents })
    }
}

/// Sums loss and targets by document, of those with a target; `None` if documents are not known.
fn by_document(sequences: &[SequenceLoss]) -> Option<Vec<(f64, u64)>> {
    let mut documents: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
    for sequence in sequences.iter().filter(|sequence| sequence.targets > 0) {
        if sequence.documents.is_empty() {
            return None;
        }
        for part in sequence.documents.iter().filter(|part| part.targets > 0) {
            let sum = documents.entry(part.document).or_default();
            sum.0 += part.loss;
            sum.1 = sum.1.saturating_add(part.targets);
        }
    }
    Some(documents.into_values().collect())
}

impl LossesRecord {
    /// Returns the record of the losses at `best_step`.
    ///
    /// ```
    /// use mixdown_runs::{CorpusLosses, LossesRecord};
    ///
    /// let losses = CorpusLosses { corpus: "math".to_owned(), measured: "ab".to_owned(), sequences: Vec::new() };
    /// let record = LossesRecord::new(40, vec![losses]);
    /// assert!(record.find("math").is_some() && record.find("web").is_none());
    /// ```
    pub fn new(best_step: u64, corpora: Vec<CorpusLosses>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, best_step, corpora }
    }

    /// Returns the losses on the corpus with that name, if there are any.
    pub fn find(&self, corpus: &str) -> Option<&CorpusLosses> {
        self.corpora.iter().find(|one| one.corpus == corpus)
    }

    /// Returns what is wrong with a file for a run that was `best` at `best_step`, as (expected, got).
    pub(crate) fn fault(&self, best_step: u64, best: &[EvalRecord]) -> Option<(String, String)> {
        if (self.format.as_str(), self.version) != (FORMAT, VERSION) {
            let got = format!("{:?}, version {}", self.format, self.version);
            return Some((format!("format {FORMAT:?}, version {VERSION}"), got));
        }
        if self.best_step != best_step {
            let expected = format!("the losses of step {best_step}, the best one in summary.json");
            return Some((expected, format!("those of step {}", self.best_step)));
        }
        best.iter().find_map(|eval| {
            let got = self.find(&eval.corpus).map(|one| MeanLoss::of(&one.sequences).mean);
            let differs = |got: f64| (got - eval.loss).abs() > LARGEST_DIFFERENCE * eval.loss.abs();
            if got.is_some_and(|got| !differs(got)) {
                return None;
            }
            let expected =
                format!("a mean of {} on {}, as in summary.json", eval.loss, eval.corpus);
            Some((expected, got.map_or_else(|| "none".to_owned(), |got| got.to_string())))
        })
    }
}

/// Computes how much larger the loss of the `left` run is than that of the `right` one, on the same sequences of one
/// corpus.
///
/// # Errors
/// [`Unpaired`], the reason why the two cannot be compared.
///
/// ```
/// use mixdown_runs::{CorpusLosses, SequenceLoss, paired};
///
/// let losses = |all: &[f64]| CorpusLosses {
///     corpus: "target".to_owned(),
///     measured: "ab".to_owned(),
///     sequences: all.iter().map(|&loss| SequenceLoss { loss, targets: 1, ..SequenceLoss::default() }).collect(),
/// };
/// let difference = paired(Some(&losses(&[3.1, 5.1])), Some(&losses(&[3.0, 5.0])))?;
/// assert!((difference.mean - 0.1).abs() < 1e-12);
/// assert!(difference.standard_error.is_some_and(|error| error < 1e-12), "the two sequences agree");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn paired(
    left: Option<&CorpusLosses>,
    right: Option<&CorpusLosses>,
) -> Result<MeanLoss, Unpaired> {
    let (left, right) = left.zip(right).ok_or(Unpaired::NotKept)?;
    if left.measured != right.measured {
        return Err(Unpaired::OtherSequences);
    }
    MeanLoss::of_differences(&left.sequences, &right.sequences)
}

#[cfg(test)]
mod tests {
    use super::{
        CorpusLosses, DocumentLoss, LossesRecord, MeanLoss, SequenceLoss, Unpaired, paired,
    };
    use crate::records::{ErrorUnit, EvalRecord};

    fn sequence(parts: &[(u64, f64, u64)]) -> SequenceLoss {
        SequenceLoss {
            loss: parts.iter().map(|part| part.1).sum(),
            targets: parts.iter().map(|part| part.2).sum(),
            documents: parts.iter().map(|part| DocumentLoss::from(*part)).collect(),
        }
    }

    /// The error of means of units of equal size, by the textbook.
    fn error(means: &[f64]) -> f64 {
        let count = f64::from(u32::try_from(means.len()).unwrap());
        let mean = means.iter().sum::<f64>() / count;
        let variance = means.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (variance / count).sqrt()
    }

    #[test]
    fn a_document_that_is_cut_into_sequences_is_one_unit() {
        // Two documents of four sequences each: eight sequences that know two things.
        let losses = [3.0, 3.1, 2.9, 3.0, 5.0, 5.1, 4.9, 5.0];
        let all: Vec<_> =
            (0..).zip(losses).map(|(k, loss)| sequence(&[(k / 4, loss * 10.0, 10)])).collect();
        let mean = MeanLoss::of(&all);
        assert!((mean.mean - 4.0).abs() < 1e-12);
        assert!((mean.standard_error.unwrap() - error(&[3.0, 5.0])).abs() < 1e-12);
        let counts = (mean.unit, mean.sequences, mean.documents);
        assert_eq!(counts, (Some(ErrorUnit::Documents), 8, Some(2)));
        // Many short documents in a sequence are many units.
        let short: Vec<_> =
            (0..2).map(|row| sequence(&[(row * 2, 10.0, 5), (row * 2 + 1, 20.0, 5)])).collect();
        let mean = MeanLoss::of(&short);
        assert!((mean.standard_error.unwrap() - error(&[2.0, 4.0, 2.0, 4.0])).abs() < 1e-12);
    }

    #[test]
    fn one_document_has_the_error_of_its_sequences_and_one_sequence_none() {
        let all: Vec<_> =
            [3.0, 4.0, 8.0].iter().map(|loss| sequence(&[(7, loss * 4.0, 4)])).collect();
        let mean = MeanLoss::of(&all);
        assert_eq!((mean.unit, mean.documents), (Some(ErrorUnit::Sequences), Some(1)));
        assert!((mean.standard_error.unwrap() - error(&[3.0, 4.0, 8.0])).abs() < 1e-12);
        // A sequence without a target adds nothing.
        let alone = [all[0].clone(), sequence(&[(8, 0.0, 0)])];
        let mean = MeanLoss::of(&alone);
        assert_eq!((mean.mean, mean.standard_error, mean.unit), (3.0, None, None));
        assert!(!mean.is_clear());
        let unknown: Vec<_> =
            all.iter().map(|one| SequenceLoss { documents: Vec::new(), ..one.clone() }).collect();
        assert_eq!(MeanLoss::of(&unknown).documents, None);
        assert_eq!(MeanLoss::of(&unknown).standard_error, MeanLoss::of(&all).standard_error);
    }

    #[test]
    fn pairs_cancel_what_sequences_have_in_common() {
        let losses = |added: &[f64]| CorpusLosses {
            corpus: "target".to_owned(),
            measured: "ab".to_owned(),
            sequences: (0..)
                .zip([3.0, 4.0, 5.0, 6.0].iter().zip(added))
                .map(|(k, (loss, added))| sequence(&[(k, loss + added, 1)]))
                .collect(),
        };
        let (left, right) = (losses(&[0.1, 0.2, 0.1, 0.2]), losses(&[0.0; 4]));
        let difference = paired(Some(&left), Some(&right)).unwrap();
        assert!((difference.mean - 0.15).abs() < 1e-12 && difference.is_clear());
        let own = MeanLoss::of(&left.sequences).standard_error.unwrap();
        assert!(difference.standard_error.unwrap() < own / 10.0);
        let other = CorpusLosses { measured: "cd".to_owned(), ..right.clone() };
        assert_eq!(paired(Some(&left), Some(&other)), Err(Unpaired::OtherSequences));
        assert_eq!(paired(Some(&left), None), Err(Unpaired::NotKept));
        let short = CorpusLosses { sequences: right.sequences[..3].to_vec(), ..right.clone() };
        assert_eq!(paired(Some(&left), Some(&short)), Err(Unpaired::OtherSequences));
        let mut moved = right;
        moved.sequences[1].documents[0].document = 9;
        assert_eq!(paired(Some(&left), Some(&moved)), Err(Unpaired::OtherSequences));
    }

    #[test]
    fn few_units_make_little_clear() {
        let losses = |count: u64| -> Vec<SequenceLoss> {
            (0..count).map(|k| sequence(&[(k, if k % 2 == 0 { 0.1 } else { 0.2 }, 1)])).collect()
        };
        // Three standard errors of two documents are chance; of twelve documents they are not.
        let (two, twelve) = (MeanLoss::of(&losses(2)), MeanLoss::of(&losses(12)));
        assert!((two.mean / two.standard_error.unwrap() - 3.0).abs() < 1e-9 && !two.is_clear());
        assert!(twelve.is_clear() && twelve.units == 12);
    }

    #[test]
    fn a_file_of_another_checkpoint_is_told() {
        let sequences = vec![sequence(&[(0, 6.0, 2)]), sequence(&[(1, 10.0, 2)])];
        let corpus =
            CorpusLosses { corpus: "target".to_owned(), measured: String::new(), sequences };
        let record = LossesRecord::new(20, vec![corpus]);
        let best = |loss: f64| {
            vec![EvalRecord { corpus: "target".to_owned(), loss, ..EvalRecord::default() }]
        };
        assert_eq!(record.fault(20, &best(4.0)), None);
        assert!(record.fault(10, &best(4.0)).unwrap().0.contains("step 10"));
        assert!(record.fault(20, &best(4.1)).unwrap().0.contains("a mean of 4.1 on target"));
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("\"documents\":[[0,6.0,2]]"), "{text}");
        assert_eq!(serde_json::from_str::<LossesRecord>(&text).unwrap(), record);
        let newer =
            serde_json::from_str::<LossesRecord>(&text.replace("\"version\":1", "\"version\":2"));
        assert!(newer.unwrap().fault(20, &best(4.0)).unwrap().1.contains("version 2"));
    }
}
