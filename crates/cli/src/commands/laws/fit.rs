//! `mixdown fit`.

pub mod text;
mod view;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_base::quantity::to_f64;
use mixdown_experiments::{Delivery, DomainRuns, Pooling, fit_domains, read_domains};
use mixdown_scaling::{AdviceStatus, DomainFit, FinetuningPlan, FitOptions};

use crate::commands::Context;
use crate::error::Error;
use crate::files::{make_ready, write_whole};

/// Arguments of `fit`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  the laws of forgetting and of the target loss, with intervals and hold-outs:
    mixdown fit runs.parquet
  how much pretraining data keeps forgetting within 0.02 nats per token:
    mixdown fit runs.csv --budget 0.02 --model-size 1.27B --target-tokens 30M
  the same as a file for `mixdown design`, and the mixture to train with:
    mixdown fit runs.csv --domain math --budget 0.02 --model-size 1.27B --target-tokens 30M \\
      --out fit.json --mixture-out mix.toml

Every table (.parquet, .csv, .jsonl) has the columns run_id, domain, model_size, non_embedding_parameters,
target_tokens, p_requested, p_realised, best_step, target_loss, pretraining_loss, pretraining_loss_before,
evaluation_tokens, seed, fingerprint; other columns are optional. Each domain is fitted separately.")]
pub struct FitArgs {
    /// Tables of runs: Parquet, CSV or JSON lines.
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<PathBuf>,
    /// Domain to fit [default: all].
    #[arg(long, value_name = "NAME", help_heading = "Runs")]
    domain: Option<String>,
    /// Forgetting budget in nats per token; `fit` then finds the least share of pretraining data that keeps it.
    #[arg(long, help_heading = "Planned run", value_name = "NATS", requires_all = ["model_size", "target_tokens"])]
    budget: Option<f64>,
    /// Parameters of the planned model.
    #[arg(long, help_heading = "Planned run", value_name = "N", requires = "budget")]
    model_size: Option<NonZeroU64>,
    /// Unique target tokens of the planned run.
    #[arg(long, help_heading = "Planned run", value_name = "D", requires = "budget")]
    target_tokens: Option<NonZeroU64>,
    /// Pretraining loss of the planned model before finetuning, in nats per token [default: that of the runs with
    /// this model size]
    #[arg(long, help_heading = "Planned run", value_name = "NATS", requires = "budget")]
    pretraining_loss_before: Option<f64>,
    /// Bootstrap draws for the intervals.
    #[arg(long, value_name = "N", help_heading = "Fit", default_value_t = 1000)]
    draws: u32,
    /// Random seed of the draws.
    #[arg(long, value_name = "N", help_heading = "Fit", default_value_t = 0)]
    seed: u64,
    /// Residual from which the Huber loss is linear, in log loss [default: 1.345 times the residuals' scale, at least
    /// 0.001]
    #[arg(long, help_heading = "Fit", value_name = "DELTA")]
    huber_delta: Option<f64>,
    /// Fit runs of different recipes (learning rate, schedule, batch, method, …) together.
    #[arg(long, help_heading = "Runs")]
    pool_recipes: bool,
    /// Write the fits as JSON, for `mixdown report` and `mixdown design --from`.
    #[arg(long, value_name = "FIT.json")]
    out: Option<PathBuf>,
    /// Write the mixture that keeps the budget, in TOML.
    #[arg(
        long,
        help_heading = "Mixture of the planned run",
        value_name = "MIX.toml",
        requires = "budget"
    )]
    mixture_out: Option<PathBuf>,
    /// Target corpus in that mixture.
    #[arg(
        long,
        help_heading = "Mixture of the planned run",
        value_name = "CORPUS",
        default_value = "corpora/target"
    )]
    target: PathBuf,
    /// Pretraining corpus in that mixture.
    #[arg(
        long,
        help_heading = "Mixture of the planned run",
        value_name = "CORPUS",
        default_value = "corpora/pretraining"
    )]
    pretraining: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// Tables that cannot be read or pooled, too few runs for a law, a fit that does not converge.
pub fn run(arguments: FitArgs, context: Context) -> Result<(), Error> {
    let pooling = if arguments.pool_recipes { Pooling::AllRecipes } else { Pooling::OneRecipe };
    let domains = read_domains(&arguments.runs, arguments.domain.as_deref(), pooling)?;
    let options = FitOptions {
        draws: arguments.draws,
        seed: arguments.seed,
        huber_delta: arguments.huber_delta,
    };
    let plan = plan(&arguments);
    let outputs = [&arguments.out, &arguments.mixture_out];
    outputs.into_iter().flatten().try_for_each(|path| make_ready(path))?;
    let record = fit_domains(&domains, &options, plan.as_ref())?;
    let deliveries: Vec<Option<Delivery>> =
        record.domains.iter().map(|fit| arguments.delivery(fit, &domains)).collect();
    if let Some(path) = &arguments.out {
        let json =
            serde_json::to_vec(&record).map_err(|error| Error::io(path, "write", error.into()))?;
        write_whole(path, &json)?;
    }
    if let Some(path) = &arguments.mixture_out {
        write_mixture(path, &record.domains, &deliveries)?;
    }
    let view = view::of(&record, &deliveries);
    context.output.print(&view, |_| text::of(&record, &deliveries))
}

fn plan(arguments: &FitArgs) -> Option<FinetuningPlan> {
    Some(FinetuningPlan {
        budget: arguments.budget?,
        model_size: to_f64(arguments.model_size?.get()),
        target_tokens: to_f64(arguments.target_tokens?.get()),
        pretraining_loss_before: arguments.pretraining_loss_before,
    })
}

impl FitArgs {
    /// The mixture that the advice of a fit asks for.
    fn delivery(&self, fit: &DomainFit, domains: &[DomainRuns]) -> Option<Delivery> {
        let domain = domains.iter().find(|domain| domain.name == fit.domain)?;
        Delivery::new(domain, fit.advice.as_ref()?, &self.target, &self.pretraining)
    }
}

fn write_mixture(
    path: &Path,
    fits: &[DomainFit],
    deliveries: &[Option<Delivery>],
) -> Result<(), Error> {
    let mut advice = fits.iter().filter_map(|fit| fit.advice.as_ref());
    let open = advice.find(|one| one.status() == AdviceStatus::NotIdentified);
    match deliveries {
        [Some(delivery)] => write_whole(path, delivery.toml().as_bytes()),
        [None] if open.is_some() => Err(Error::Data {
            message: format!(
                "the runs do not identify p* (95 % interval {}), so there is no mixture",
                open.map_or_else(String::new, |one| text::share_interval(one.interval))
            ),
            hint: "add runs that bound it: `mixdown fit RUNS --out FIT.json`, then `mixdown design --from \
                   FIT.json` names them"
                .to_owned(),
        }),
        [None] => Err(Error::Data {
            message:
                "no share of pretraining data below 100 % keeps the budget, so there is no mixture"
                    .to_owned(),
            hint: "allow more forgetting, or take a larger model or less target data".to_owned(),
        }),
        several => Err(Error::usage(
            format!("--mixture-out takes one domain, got {}", several.len()),
            "choose one with --domain",
        )),
    }
}
