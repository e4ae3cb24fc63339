//! The results of a fit as plain records: everything that a command or a page shows.

use serde::{Deserialize, Serialize};

use crate::fit::warning::Warning;
use crate::intervals::{Coefficient, Estimate, Interval};
use crate::laws::ForgettingLaw;
use crate::laws::TargetLaw;
use crate::observation::Observation;

/// The laws fitted to the runs of one domain and recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingFit {
    /// The observations by N, D, p and their other numbers; every `observation` below is an index in it.
    pub observations: Vec<Observation>,
    /// Distinct N, D and p, rising.
    pub grid: Grid,
    /// The forgetting law.
    pub forgetting: ForgettingFit,
    /// The target law; `None` if the runs do not determine it.
    pub target: Option<TargetFit>,
    /// Why there is no target law.
    pub target_refusal: Option<String>,
    /// Hold-outs of both laws.
    pub hold_outs: Vec<HoldOut>,
    /// Other laws fitted to the same rows, the best first within each quantity.
    pub comparisons: Vec<Comparison>,
    /// What a reader must know before using the numbers.
    pub warnings: Vec<Warning>,
    /// How the intervals were made.
    pub method: IntervalMethod,
}

/// The distinct values of the runs and how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Distinct N in parameters.
    pub model_sizes: Vec<f64>,
    /// Distinct D in tokens.
    pub target_tokens: Vec<f64>,
    /// Distinct shares asked for.
    pub shares: Vec<f64>,
    /// Distinct (N, D, p).
    pub configurations: u64,
    /// Runs.
    pub rows: u64,
}

/// How the intervals were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalMethod {
    /// Bootstrap draws asked for.
    pub draws: u64,
    /// Draws whose fit failed to converge and that were left out, both laws together.
    pub failed_draws: u64,
    /// Seed of the draws.
    pub seed: u64,
    /// Nominal coverage, 0.95.
    pub level: f64,
}

/// The forgetting law with its intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgettingFit {
    /// The best law.
    pub law: ForgettingLaw,
    /// `A`, `B`, `alpha`, `beta` with bootstrap intervals.
    pub coefficients: Vec<Coefficient>,
    /// Correlation of α and ln B over the draws: they are determined jointly, not one by one.
    pub correlation_alpha_ln_b: Option<f64>,
    /// Whether α and B are determined: no coefficient at a bound, no open interval.
    pub identified: bool,
    /// How the search ended.
    pub convergence: Convergence,
    /// Measured and predicted pretraining loss of every observation.
    pub residuals: Vec<Residual>,
    /// Bootstrap draws of the law, for bands.
    pub draws: Vec<ForgettingLaw>,
    /// The factor by which the deviations of the draws are stretched (Student's t and degrees of freedom).
    pub stretch: f64,
}

/// The target law with its intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetFit {
    /// The best law.
    pub law: TargetLaw,
    /// `A`, `E`, `alpha`, `beta` with bootstrap intervals.
    pub coefficients: Vec<Coefficient>,
    /// How the search ended.
    pub convergence: Convergence,
    /// Measured and predicted target loss of every observation.
    pub residuals: Vec<Residual>,
    /// Bootstrap draws of the law, for bands.
    pub draws: Vec<TargetLaw>,
    /// The factor by which the deviations of the draws are stretched.
    pub stretch: f64,
}

/// How well the search for the least objective converged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Sum of the Huber losses of the log residuals.
    pub objective: f64,
    /// Where the Huber loss turns from square to linear, in log loss.
    pub huber_delta: f64,
    /// Largest component of the scaled gradient at the optimum: 0 at a perfect one.
    pub gradient_norm: f64,
    /// Starting points that were tried.
    pub starts: u64,
    /// Starting points that ended at the best optimum.
    pub agreeing_starts: u64,
    /// Objectives of the distinct optima that the starts ended at, the best first.
    pub optima: Vec<f64>,
    /// Root mean square of the log residuals: 0.003 is 0.3 %.
    pub root_mean_square: f64,
}

/// One measured loss and the loss that the law predicts for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// Index of the observation.
    pub observation: u64,
    /// Index of its configuration.
    pub configuration: u64,
    /// Measured loss in nats per token.
    pub measured: f64,
    /// Loss by the law.
    pub predicted: f64,
    /// ln measured − ln predicted.
    pub log_residual: f64,
}

/// The loss that a law predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Pretraining loss after finetuning.
    PretrainingLoss,
    /// Target loss.
    TargetLoss,
}

/// The runs that were left out of a fit to test it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldOutSplit {
    /// The runs of the largest N.
    LargestModel,
    /// The runs of the largest D.
    LargestTarget,
    /// Fitted on smaller N and smaller D, tested on the largest of both.
    LargestBoth,
    /// The runs of one N, in parameters.
    OneModelSize(f64),
}

/// A law fitted without some runs and tested on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldOut {
    /// What was left out.
    pub split: HoldOutSplit,
    /// Which loss.
    pub quantity: Quantity,
    /// Runs fitted on.
    pub fitted_rows: u64,
    /// The tested runs; empty if the other runs were too few for the law.
    pub rows: Vec<HoldOutRow>,
    /// Why the law could not be fitted to the other runs.
    pub refusal: Option<String>,
    /// The errors; `None` without rows.
    pub errors: Option<HoldOutErrors>,
}

/// Errors over the rows of a hold-out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HoldOutErrors {
    /// Mean of |predicted/measured − 1|.
    pub mean_relative_error: f64,
    /// The largest of |predicted/measured − 1|.
    pub worst_relative_error: f64,
    /// Mean of |predicted − measured| in nats per token.
    pub mean_absolute_error: f64,
    /// Share of rows within their 95 % interval (the law's uncertainty and the noise of one run).
    pub coverage: f64,
    /// Mean relative error of the prediction that nothing changes: the loss before finetuning, or the mean target loss
    /// of the fitted runs.
    pub naive_relative_error: f64,
}

/// One run that the fit did not see.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HoldOutRow {
    /// Index of the observation.
    pub observation: u64,
    /// Measured loss in nats per token.
    pub measured: f64,
    /// Predicted loss.
    pub predicted: f64,
    /// 95 % interval of one new run.
    pub interval: Interval,
}

/// Another law fitted to the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Which loss.
    pub quantity: Quantity,
    /// Name of the law.
    pub model: String,
    /// Its formula.
    pub formula: String,
    /// Coefficients in plain units, without intervals.
    pub coefficients: Vec<Coefficient>,
    /// Akaike's criterion for small samples on the log residuals; less is better.
    pub aicc: Option<f64>,
    /// Mean relative error over the rows of the hold-outs that all compared laws can be fitted for.
    pub hold_out_error: Option<f64>,
    /// Root mean square of the log residuals on all rows.
    pub root_mean_square: Option<f64>,
    /// Why it was not fitted.
    pub refusal: Option<String>,
}

/// What the laws predict for one finetuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// N in parameters.
    pub model_size: f64,
    /// D in unique target tokens.
    pub target_tokens: f64,
    /// Share of pretraining data.
    pub p: f64,
    /// Forgetting in nats per token.
    pub forgetting: Estimate,
    /// Pretraining loss after finetuning; `None` if the loss before finetuning is not known for this N.
    pub pretraining_loss: Option<Estimate>,
    /// Target loss.
    pub target_loss: Option<Estimate>,
}

/// The share that a forgetting budget needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareAdvice {
    /// N in parameters.
    pub model_size: f64,
    /// D in unique target tokens.
    pub target_tokens: f64,
    /// τ: forgetting allowed, in nats per token.
    pub budget: f64,
    /// p*, the least share that keeps the budget; `None` if the forgetting exceeds the budget at every share below 1 or
    /// if the runs do not identify p* ([`ShareAdvice::status`] distinguishes the two).
    pub p: Option<f64>,
    /// 95 % interval of p* by profile likelihood; an open upper end means that no share below 1 is certain to keep the
    /// budget.
    pub interval: Interval,
    /// Whether the profile of p* is steep enough to bound it on both sides.
    pub identified: bool,
    /// Total tokens divided by target tokens, 1/(1 − p*).
    pub price: Option<f64>,
    /// What the laws predict at p* (if there is one), then at 0, 0.1, 0.5, 1 and 5 %.
    pub predictions: Vec<Prediction>,
    /// What a reader must know.
    pub warnings: Vec<Warning>,
}

/// Whether a reader may take p* for a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceStatus {
    /// p* is identified, and N, D and p* lie within ten times the runs.
    Identified,
    /// No share below 1 keeps the budget; the interval of p* excludes all of them.
    NoShare,
    /// N, D or p* lies more than ten times beyond the runs: the answer is a guess.
    Extrapolated,
    /// The runs do not bound p*.
    NotIdentified,
}

/// The fit of one domain in a file of fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainFit {
    /// Name of the target domain.
    pub domain: String,
    /// The settings that all its runs share (`learning_rate` → `0.001`, …), in order.
    pub recipe: Vec<(String, String)>,
    /// The laws.
    pub fit: ScalingFit,
    /// Advice, if it was asked for.
    pub advice: Option<ShareAdvice>,
}

/// A domain to whose runs no law can be fitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDomain {
    /// Name of the target domain.
    pub domain: String,
    /// Why there is no law.
    pub reason: String,
}

/// A file of fits, with one fit for each domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitRecord {
    /// The name of the format, [`Self::FORMAT`].
    pub format: String,
    /// The version of the format, [`Self::VERSION`].
    pub version: u32,
    /// One fit for each domain, sorted by name.
    pub domains: Vec<DomainFit>,
    /// Domains of the same runs without a law, sorted by name.
    #[serde(default)]
    pub refused: Vec<RefusedDomain>,
}

impl FitRecord {
    /// The value of `format`.
    pub const FORMAT: &'static str = "mixdown-fit";
    /// The value of `version`.
    pub const VERSION: u32 = 1;

    /// Returns a record of these fits.
    ///
    /// ```
    /// use mixdown_scaling::FitRecord;
    ///
    /// let record = FitRecord::new(Vec::new(), Vec::new());
    /// assert_eq!(record.format, "mixdown-fit");
    /// ```
    pub fn new(domains: Vec<DomainFit>, refused: Vec<RefusedDomain>) -> Self {
        Self { format: Self::FORMAT.to_owned(), version: Self::VERSION, domains, refused }
    }
}
