//! What a fit hands out: everything that a command or a page shows, as plain records.

use serde::{Deserialize, Serialize};

use crate::fit::warning::Warning;
use crate::intervals::interval::{Coefficient, Estimate, Interval};
use crate::laws::forgetting_law::ForgettingLaw;
use crate::laws::target_law::TargetLaw;
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
    /// The target law; none where the runs do not determine it.
    pub target: Option<TargetFit>,
    /// Why there is no target law.
    pub target_refusal: Option<String>,
    /// Hold-outs of both laws.
    pub hold_outs: Vec<HoldOut>,
    /// Other laws on the same rows, the best first within each quantity.
    pub comparisons: Vec<Comparison>,
    /// What a reader must know before using the numbers.
    pub warnings: Vec<Warning>,
    /// How the intervals were made.
    pub method: Method,
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
pub struct Method {
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
    /// By what the draws' deviations are stretched (Student's t and degrees of freedom).
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
    /// By what the draws' deviations are stretched.
    pub stretch: f64,
}

/// How a search for the least objective ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Sum of the Huber losses of the log residuals.
    pub objective: f64,
    /// Where the Huber loss turns from square to linear, in log loss.
    pub huber_delta: f64,
    /// Largest component of the scaled gradient at the optimum: 0 at a perfect one.
    pub gradient_norm: f64,
    /// Starts polished.
    pub starts: u64,
    /// Starts that ended at the best optimum.
    pub agreeing_starts: u64,
    /// Objectives of the distinct optima that the starts ended at, the best first.
    pub optima: Vec<f64>,
    /// Root mean square of the log residuals: 0.003 is 0.3 %.
    pub root_mean_square: f64,
}

/// One observation beside the law.
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

/// Which loss a law is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Pretraining loss after finetuning.
    PretrainingLoss,
    /// Target loss.
    TargetLoss,
}

/// What was left out of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
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
    pub split: Split,
    /// Which loss.
    pub quantity: Quantity,
    /// Runs fitted on.
    pub fitted_rows: u64,
    /// The runs tested; empty where the rest was too little for the law.
    pub rows: Vec<HoldOutRow>,
    /// Why the law could not be fitted on the rest.
    pub refusal: Option<String>,
    /// The errors; none without rows.
    pub errors: Option<HoldOutErrors>,
}

/// Errors over the rows of a hold-out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HoldOutErrors {
    /// Mean of |predicted/measured − 1|.
    pub mean_relative_error: f64,
    /// The largest.
    pub worst_relative_error: f64,
    /// Mean of |predicted − measured| in nats per token.
    pub mean_absolute_error: f64,
    /// Share of rows within their 95 % interval (the law's uncertainty and the noise of one run).
    pub coverage: f64,
    /// Mean relative error of "nothing changes": the loss before finetuning, or the mean fitted
    /// target loss.
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

/// Another law on the same rows.
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

/// What the laws say about one finetuning.
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
    /// Pretraining loss after finetuning; none where the loss before is not known for this N.
    pub pretraining_loss: Option<Estimate>,
    /// Target loss.
    pub target_loss: Option<Estimate>,
}

/// The share that a forgetting budget asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareAdvice {
    /// N in parameters.
    pub model_size: f64,
    /// D in unique target tokens.
    pub target_tokens: f64,
    /// τ: forgetting allowed, in nats per token.
    pub budget: f64,
    /// p*, the least share that keeps the budget; none when every share below 1 exceeds it, and none
    /// when the runs do not identify it ([`ShareAdvice::status`] tells the two apart).
    pub p: Option<f64>,
    /// 95 % interval of p* by profile likelihood; an open upper end means that no share below 1 is
    /// sure to keep the budget.
    pub interval: Interval,
    /// Whether the profile of p* is steep enough to bound it on both sides.
    pub identified: bool,
    /// Total tokens by target tokens, 1/(1 − p*).
    pub price: Option<f64>,
    /// What the laws expect at p* (where there is one), then at 0, 0.1, 0.5, 1 and 5 %.
    pub predictions: Vec<Prediction>,
    /// What a reader must know.
    pub warnings: Vec<Warning>,
}

/// What advice amounts to: whether a reader may take p* for a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceStatus {
    /// p* is identified, within ten times the runs.
    Identified,
    /// No share below 1 keeps the budget, and the runs are sure of it.
    NoShare,
    /// The law answers, but more than ten times beyond the runs: a guess, and no finding.
    Extrapolated,
    /// The runs do not bound p*.
    NotIdentified,
}

/// The fit of one domain, as a file of fits keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainFit {
    /// Name of the target domain.
    pub domain: String,
    /// What all its runs have in common (`learning_rate` → `0.001`, …), in order.
    pub recipe: Vec<(String, String)>,
    /// The laws.
    pub fit: ScalingFit,
    /// Advice, where it was asked for.
    pub advice: Option<ShareAdvice>,
}

/// A domain whose runs give no law.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Name of the target domain.
    pub domain: String,
    /// Why there is no law.
    pub reason: String,
}

/// A file of fits (`mixdown fit --out`), one a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitRecord {
    /// [`Self::FORMAT`].
    pub format: String,
    /// [`Self::VERSION`].
    pub version: u32,
    /// One fit a domain, sorted by name.
    pub domains: Vec<DomainFit>,
    /// Domains of the same runs without a law, sorted by name.
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

impl FitRecord {
    /// What `format` says.
    pub const FORMAT: &'static str = "mixdown-fit";
    /// What `version` says.
    pub const VERSION: u32 = 1;

    /// A record of these fits.
    pub fn new(domains: Vec<DomainFit>, refused: Vec<Refusal>) -> Self {
        Self { format: Self::FORMAT.to_owned(), version: Self::VERSION, domains, refused }
    }
}
