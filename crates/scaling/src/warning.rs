//! What limits a fit without forbidding it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a reader of a fit must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// All runs have one N: the law says nothing about other sizes.
    OneModelSize(f64),
    /// All runs have one D.
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
    /// So many runs ended below the pretraining loss they began with, which the law cannot say.
    NegativeForgetting(u64),
    /// Starts of the search ended at other optima with nearly the same objective.
    SeveralOptima(u64),
    /// A share of the bootstrap draws did not converge and was left out.
    FailedDraws(f64),
    /// Another law predicts held-out runs better than the one that is reported.
    BetterLaw {
        /// Name of that law.
        model: String,
        /// Its mean relative error on the held-out runs.
        error: f64,
        /// The reported law's.
        reported_error: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneModelSize(size) => write!(
                formatter,
                "all runs have {size:.4e} parameters: the law holds for that size only"
            ),
            Self::OneTargetSize(tokens) => write!(
                formatter,
                "all runs have {tokens:.4e} target tokens: the law holds for that amount only"
            ),
            Self::FewConfigurations(got) => write!(
                formatter,
                "{got} configurations (N, D, p): 18 or more (three N, three D, p = 0 and 1 %) \
                 predict better"
            ),
            Self::AtBound(name) => write!(
                formatter,
                "{name} ended at the edge of its range: the runs do not determine it"
            ),
            Self::NotIdentified(name) => {
                write!(formatter, "{name} is not identified: its interval is open")
            }
            Self::ShareBeyondGrid { p, largest } => write!(
                formatter,
                "p* = {:.3} % is above the largest share that was run ({:.3} %)",
                p * 100.0,
                largest * 100.0
            ),
            Self::ModelSizeBeyondGrid(factor) => {
                write!(formatter, "the model size is outside the runs by a factor of {factor:.3}")
            }
            Self::TargetTokensBeyondGrid(factor) => {
                write!(
                    formatter,
                    "the target tokens are outside the runs by a factor of {factor:.3}"
                )
            }
            Self::NegativeForgetting(count) => write!(
                formatter,
                "{count} runs ended below the pretraining loss that they began with; the law \
                 cannot go below it"
            ),
            Self::SeveralOptima(count) => write!(
                formatter,
                "{count} distinct optima are nearly equally good: the coefficients are not unique"
            ),
            Self::FailedDraws(share) => write!(
                formatter,
                "{:.1} % of the bootstrap draws did not converge and were left out",
                share * 100.0
            ),
            Self::BetterLaw { model, error, reported_error } => write!(
                formatter,
                "{model} predicts held-out runs better: {:.2} % against {:.2} %",
                error * 100.0,
                reported_error * 100.0
            ),
        }
    }
}
