//! The mixture for an advised share, with its cost.

use std::path::{Path, PathBuf};

use mixdown_scaling::{AdviceStatus, ShareAdvice};
use serde::Serialize;

use crate::fits::tables::DomainRuns;

/// The sequence length if the runs do not have one.
const SEQUENCE_LENGTH: u64 = 1024;
const BATCH_SIZE: u64 = 64;

/// A finetuning that keeps the budget: shares, tokens and steps of one pass over the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// p* in percent, rounded up to three digits.
    pub inject_percent: String,
    /// The tokens of one pass over the target, pretraining data included: D/(1 − p).
    pub total_tokens: f64,
    /// The steps of that pass.
    pub steps: f64,
    /// The steps of a pass without pretraining data.
    pub steps_without: f64,
    #[serde(skip)]
    target_percent: String,
    #[serde(skip)]
    sequence_length: u64,
    #[serde(skip)]
    batch_size: u64,
    #[serde(skip)]
    target_tokens: f64,
    #[serde(skip)]
    corpora: [PathBuf; 2],
    /// What a reader of the mixture must know, one line each.
    #[serde(skip)]
    cautions: Vec<String>,
}

impl Delivery {
    /// Returns the delivery of p*; `None` if there is no p* or the runs do not identify it. `target` and `pretraining`
    /// are the corpora of the mixture.
    ///
    /// ```
    /// # let domain = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_domain.in"));
    /// use std::path::Path;
    ///
    /// use mixdown_experiments::{Delivery, fit_domain};
    /// use mixdown_scaling::{FinetuningPlan, FitOptions};
    ///
    /// let plan = FinetuningPlan {
    ///     model_size: 334e6,
    ///     target_tokens: 3e6,
    ///     budget: 0.2,
    ///     pretraining_loss_before: None,
    /// };
    /// let options = FitOptions { draws: 0, ..FitOptions::default() };
    /// let advice = fit_domain(&domain, &options, Some(&plan))?.advice.expect("there is a plan");
    /// let (target, pretraining) = (Path::new("corpora/math"), Path::new("corpora/general"));
    /// let delivery = Delivery::new(&domain, &advice, target, pretraining).expect("p* is identified");
    /// assert!(delivery.total_tokens > 3e6, "the target once, and pretraining data");
    /// assert!(delivery.toml().contains("batch_size = 8"), "8,192 tokens of a batch");
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "tokens of a batch, for an estimate of steps")]
    pub fn new(
        domain: &DomainRuns,
        advice: &ShareAdvice,
        target: &Path,
        pretraining: &Path,
    ) -> Option<Self> {
        if advice.status() == AdviceStatus::NotIdentified {
            return None;
        }
        let (inject_percent, target_percent) = shares(advice.p?)?;
        let sequence_length = domain.sequence_length.unwrap_or(SEQUENCE_LENGTH);
        let batch_size =
            domain.batch_tokens.map_or(BATCH_SIZE, |tokens| (tokens / sequence_length).max(1));
        let total_tokens = advice.target_tokens * advice.price?;
        let batch_tokens = (sequence_length * batch_size) as f64;
        Some(Self {
            inject_percent,
            target_percent,
            total_tokens,
            steps: (total_tokens / batch_tokens).ceil(),
            steps_without: (advice.target_tokens / batch_tokens).ceil(),
            sequence_length,
            batch_size,
            target_tokens: advice.target_tokens,
            corpora: [target.to_owned(), pretraining.to_owned()],
            cautions: cautions(domain, advice),
        })
    }

    /// Writes the mixture as TOML.
    pub fn toml(&self) -> String {
        let [target, pretraining] = &self.corpora;
        let mut text: String =
            self.cautions.iter().map(|caution| format!("# {caution}\n")).collect();
        text.push_str(&format!(
            "sequence_length = {}\nbatch_size = {}\nseed = 0\n\n\
             [[source]]\nname = \"target\"\ncorpus = {:?}\nweight = \"{}%\"\nmax_tokens = {:.0}\n",
            self.sequence_length,
            self.batch_size,
            target.display().to_string(),
            self.target_percent,
            self.target_tokens,
        ));
        if self.inject_percent != "0" {
            text.push_str(&format!(
                "\n[[source]]\nname = \"pretraining\"\ncorpus = {:?}\nweight = \"{}%\"\n",
                pretraining.display().to_string(),
                self.inject_percent
            ));
        }
        text
    }
}

/// Returns the reasons why the mixture is not a finding, and the parts of it that are a guess.
fn cautions(domain: &DomainRuns, advice: &ShareAdvice) -> Vec<String> {
    let mut cautions = Vec::new();
    if advice.status() == AdviceStatus::Extrapolated {
        cautions.push(
            "caution: this share is an extrapolation of more than ten times beyond the runs, and no finding"
                .to_owned(),
        );
    }
    let warnings = advice.warnings.iter();
    cautions.extend(warnings.map(|warning| format!("caution: {warning}")));
    let guesses = [
        ("sequence_length", domain.sequence_length.is_none()),
        ("batch_size", domain.batch_tokens.is_none()),
    ];
    for (field, _) in guesses.into_iter().filter(|(_, is_guess)| *is_guess) {
        cautions.push(format!("{field} is a guess: the runs do not say one for all"));
    }
    cautions
}

/// Returns p, rounded up to three digits, and the rest of 100, as exact decimals in percent; `None` if nothing is left.
fn shares(p: f64) -> Option<(String, String)> {
    if p <= 0.0 {
        return Some(("0".to_owned(), "100".to_owned()));
    }
    // Three digits of the leading one's size, at least 0.0001 %.
    let leading = (p * 100.0).log10().floor();
    let decimals = (2.0 - leading).clamp(0.0, 4.0);
    let unit = 10_f64.powf(decimals);
    // An excess that is only rounding does not count as one more unit.
    let units = (p * 100.0 * unit - 1e-6).ceil().max(1.0);
    let rest = 100.0 * unit - units;
    let places = if decimals >= 4.0 {
        4
    } else if decimals >= 3.0 {
        3
    } else if decimals >= 2.0 {
        2
    } else {
        1
    };
    let text = |units: f64| {
        let text = format!("{:.places$}", units / unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    (rest > 0.0).then(|| (text(units), text(rest)))
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_add_up_to_a_hundred_and_round_up() {
        for (p, inject, rest) in [
            (0.0, "0", "100"),
            (0.01, "1", "99"),
            (0.012_341, "1.24", "98.76"),
            (0.000_567_8, "0.0568", "99.9432"),
            (1e-9, "0.0001", "99.9999"),
            (0.25, "25", "75"),
        ] {
            assert_eq!(shares(p), Some((inject.to_owned(), rest.to_owned())), "{p}");
        }
        assert_eq!(shares(0.999_999), None);
    }
}
