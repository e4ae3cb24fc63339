//! Warnings of a fit: what limits it without making it impossible.

use std::fmt;

use mixdown_base::display::{percent, plural, short, thousands};
use serde::{Deserialize, Serialize};

/// Something that a reader of a fit must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// All runs have the same N: the law says nothing about other sizes.
    OneModelSize(f64),
    /// All runs have the same D.
    OneTargetSize(f64),
    /// Fewer configurations than the 18 (three N, three D, two p) that predict well.
    FewConfigurations(u64),
    /// The search ended at the edge of a coefficient's range.
    AtBound(String),
    /// A coefficient's interval is open.
    NotIdentified(String),
    /// p* is above the largest share that was run.
    ShareBeyondGrid {
        /// p*.
        p: f64,
        /// The largest share run.
        largest: f64,
    },
    /// N of the advice is outside the sizes that were run, by this factor.
    ModelSizeBeyondGrid(f64),
    /// D of the advice is outside the amounts that were run, by this factor.
    TargetTokensBeyondGrid(f64),
    /// This many runs ended below the pretraining loss that they began with, which the law cannot predict.
    NegativeForgetting(u64),
    /// Starts of the search ended at other optima with nearly the same objective.
    SeveralOptima(u64),
    /// Runs of different recipes are fitted together.
    PooledRecipes {
        /// Column of the table of runs.
        field: String,
        /// The values found.
        values: String,
    },
    /// This many runs had their least target loss at the last step: the minimum that the laws describe may come later.
    BottomNotReached(u64),
    /// Some runs do not record a setting of their recipe; it is assumed to be that of the others.
    UnknownRecipe {
        /// Column of the table of runs.
        field: String,
        /// Runs that do not record it.
        unknown: u64,
        /// All runs.
        runs: u64,
    },
    /// A share of the bootstrap draws did not converge and was left out.
    FailedDraws(f64),
    /// Another law predicts held-out runs better than the one that is reported.
    BetterLaw {
        /// Name of that law.
        model: String,
        /// Its mean relative error on the held-out runs.
        error: f64,
        /// The mean relative error of the reported law.
        reported_error: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneModelSize(size) => write!(
                formatter,
                "all runs have {} parameters: the law holds for that size only",
                short(*size)
            ),
            Self::OneTargetSize(tokens) => write!(
                formatter,
                "all runs have {} target tokens: the law holds for that amount only",
                short(*tokens)
            ),
            Self::FewConfigurations(got) => write!(
                formatter,
                "{} (N, D, p): 18 or more (three N, three D, p = 0 and 1 %) predict better",
                plural(*got, "configuration")
            ),
            Self::NegativeForgetting(count) => write!(
                formatter,
                "{} ended below the pretraining loss that the finetuning began with; the law \
                 cannot go below it",
                plural(*count, "run")
            ),
            Self::PooledRecipes { field, values } => write!(
                formatter,
                "runs of different {field} are fitted together: {values}; the recipe affects forgetting as well"
            ),
            Self::BottomNotReached(count) => write!(
                formatter,
                "{} had the least target loss at the very last step: the minimum that the laws describe may \
                 come later",
                plural(*count, "run")
            ),
            Self::UnknownRecipe { field, unknown, runs } => write!(
                formatter,
                "{field} is unknown for {unknown} of {}: it is assumed to be that of the others",
                plural(*runs, "run")
            ),
            law => law.fmt_of_law(formatter),
        }
    }
}

impl Warning {
    /// Writes the warnings about a law or advice, as opposed to those about the runs.
    fn fmt_of_law(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtBound(name) => write!(
                formatter,
                "{name} ended at the edge of its range: the runs do not determine it"
            ),
            Self::NotIdentified(name) => {
                write!(formatter, "{name} is not identified: its interval is open")
            }
            Self::ShareBeyondGrid { p, largest } => write!(
                formatter,
                "p* = {} is above the largest share that was run ({})",
                percent(*p),
                percent(*largest)
            ),
            Self::ModelSizeBeyondGrid(factor) => {
                write!(
                    formatter,
                    "the model size is outside the runs by a factor of {}",
                    factor_text(*factor)
                )
            }
            Self::TargetTokensBeyondGrid(factor) => {
                write!(
                    formatter,
                    "the target tokens are outside the runs by a factor of {}",
                    factor_text(*factor)
                )
            }
            Self::SeveralOptima(count) => write!(
                formatter,
                "{count} distinct optima are nearly equally good: the coefficients are not unique"
            ),
            Self::FailedDraws(share) => write!(
                formatter,
                "{} of the bootstrap draws did not converge and were left out",
                percent(*share)
            ),
            Self::BetterLaw { model, error, reported_error } => write!(
                formatter,
                "{model} predicts held-out runs better: {} against {}",
                percent(*error),
                percent(*reported_error)
            ),
            // The warnings about the runs, which `fmt` writes.
            _ => Ok(()),
        }
    }
}

/// A factor between values: `3.8`, `1,002`.
fn factor_text(factor: f64) -> String {
    if factor < 999.5 {
        return significant(factor);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 999, and a larger one than 64 bits hold is shown as the largest"
    )]
    let whole = factor.round() as u64;
    thousands(whole)
}

/// Formats a number with three digits and without trailing zeros.
fn significant(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
