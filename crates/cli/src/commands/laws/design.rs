//! `mixdown design`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use mixdown_base::display::{plural, short};
use mixdown_base::error_kind::ErrorKind;
use mixdown_base::quantity::to_f64;
use mixdown_experiments::{ExpectedLaw, Injection, read_fit, simulation_of_fit};
use mixdown_scaling::{
    FinetuningPlan, ForgettingLaw, GridPlan, GridReport, Simulation, full_grid, plan_grid,
};
use serde::Serialize;

use crate::commands::Context;
use crate::commands::laws::fit::text::{interval, share, share_interval};
use crate::error::Error;
use crate::terminal::output::table;

/// The shares that the next run may have.
const SHARES: [f64; 5] = [0.0, 0.001, 0.005, 0.01, 0.05];
/// The number of next runs that are shown.
const SHOWN: usize = 5;

/// Arguments of `design`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  what 18 runs on small models would tell about a large one:
    mixdown design --budget 0.05 --model-size 1.27B --target-tokens 30M
  another grid, with two seeds, and the coefficients of a fit:
    mixdown design --budget 0.05 --model-size 1.27B --target-tokens 30M --from fit.json \\
      --grid-model-sizes 41M,334M,665M --grid-target-tokens 1M,10M,30M --grid-shares 0,0.5%,5% --seeds 2")]
pub struct DesignArgs {
    /// Forgetting budget in nats per token.
    #[arg(long, help_heading = "Planned run", value_name = "NATS")]
    budget: f64,
    /// Parameters of the planned model.
    #[arg(long, help_heading = "Planned run", value_name = "N")]
    model_size: NonZeroU64,
    /// Unique target tokens of the planned run.
    #[arg(long, help_heading = "Planned run", value_name = "D")]
    target_tokens: NonZeroU64,
    /// Model sizes of the grid.
    #[arg(
        long,
        help_heading = "Grid",
        value_delimiter = ',',
        default_value = "41M,109M,334M",
        value_name = "N,.."
    )]
    grid_model_sizes: Vec<NonZeroU64>,
    /// Target tokens of the grid.
    #[arg(
        long,
        help_heading = "Grid",
        value_delimiter = ',',
        default_value = "300K,1M,3M",
        value_name = "D,.."
    )]
    grid_target_tokens: Vec<NonZeroU64>,
    /// Shares of the grid.
    #[arg(
        long,
        help_heading = "Grid",
        value_delimiter = ',',
        default_value = "0,1%",
        value_name = "SHARE,.."
    )]
    grid_shares: Vec<Injection>,
    /// Runs per configuration.
    #[arg(long, value_name = "N", help_heading = "Grid", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    seeds: u16,
    /// Take the coefficients and the noise from this fit (`mixdown fit --out`).
    #[arg(long, help_heading = "Expected law", value_name = "FIT.json", conflicts_with_all = ["forgetting", "b", "alpha", "beta"])]
    from: Option<PathBuf>,
    /// Domain of that fit, if it has several.
    #[arg(long, value_name = "NAME", help_heading = "Expected law", requires = "from")]
    domain: Option<String>,
    /// Expected forgetting at p = 0 with the planned model and data [default: three times the budget]
    #[arg(long, help_heading = "Expected law", value_name = "NATS")]
    forgetting: Option<f64>,
    /// Expected efficiency B of pretraining data: about 800 for target data near to it, 10,000 for target data far
    /// from it.
    #[arg(long, help_heading = "Expected law", default_value_t = 3000.0)]
    b: f64,
    /// Expected exponent α of the model size.
    #[arg(long, help_heading = "Expected law", default_value_t = 0.5)]
    alpha: f64,
    /// Expected exponent β of the target tokens.
    #[arg(long, help_heading = "Expected law", default_value_t = 0.3)]
    beta: f64,
    /// Standard deviation of a measured loss, as a share of the loss [default: that of the fit, or 0.3%]
    #[arg(long, help_heading = "Expected law", value_name = "SHARE")]
    noise: Option<Injection>,
    /// Number of grids to simulate.
    #[arg(long, value_name = "N", help_heading = "Simulation", default_value_t = 400)]
    simulations: u32,
    /// Random seed of the noise.
    #[arg(long, value_name = "N", help_heading = "Simulation", default_value_t = 0)]
    seed: u64,
}

#[derive(Serialize)]
struct View<'a> {
    runs: usize,
    forgetting: ForgettingLaw,
    noise: f64,
    #[serde(flatten)]
    report: &'a GridReport,
    warnings: Vec<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// A grid that cannot determine the law, a fit that cannot be read.
pub fn run(arguments: DesignArgs, context: Context) -> Result<(), Error> {
    let plan = FinetuningPlan {
        model_size: to_f64(arguments.model_size.get()),
        target_tokens: to_f64(arguments.target_tokens.get()),
        budget: arguments.budget,
        pretraining_loss_before: None,
    };
    let (simulation, mut warnings) = simulation(&arguments, &plan)?;
    let sizes: Vec<f64> =
        arguments.grid_model_sizes.iter().map(|size| to_f64(size.get())).collect();
    let tokens: Vec<f64> =
        arguments.grid_target_tokens.iter().map(|one| to_f64(one.get())).collect();
    let shares: Vec<f64> = arguments.grid_shares.iter().map(|share| share.share()).collect();
    let grid = GridPlan {
        runs: full_grid(&sizes, &tokens, &shares).repeat(usize::from(arguments.seeds)),
        candidates: full_grid(&sizes, &tokens, &SHARES),
        simulation,
        plan,
        simulations: arguments.simulations,
        seed: arguments.seed,
    };
    let report = plan_grid(&grid).map_err(|source| match source.kind() {
        ErrorKind::Numerical => Error::Scaling { domain: "the planned grid".to_owned(), source },
        _ => Error::usage(
            format!("the planned grid: {source}"),
            "plan more sizes, target tokens or shares",
        ),
    })?;
    warnings.extend(report.warnings.iter().map(ToString::to_string));
    let view = View {
        runs: grid.runs.len(),
        forgetting: simulation.forgetting,
        noise: simulation.noise,
        report: &report,
        warnings,
    };
    context.output.print(&view, |view| text(view, &plan))
}

/// The law and the noise to simulate from, with warnings about them.
fn simulation(
    arguments: &DesignArgs,
    plan: &FinetuningPlan,
) -> Result<(Simulation, Vec<String>), Error> {
    let noise = arguments.noise.map(Injection::share);
    if let Some(path) = &arguments.from {
        let record = read_fit(path)?;
        let wanted = |name: &str| arguments.domain.as_deref().is_none_or(|domain| domain == name);
        let found: Vec<_> = record.domains.iter().filter(|one| wanted(&one.domain)).collect();
        let [only] = found.as_slice() else {
            let names: Vec<&str> = record.domains.iter().map(|one| one.domain.as_str()).collect();
            return Err(Error::usage(
                format!("{}: expected one domain, got {}", path.display(), found.len()),
                format!("choose one with --domain: {}", names.join(", ")),
            ));
        };
        let (simulation, warning) = simulation_of_fit(only, noise);
        return Ok((simulation, warning.into_iter().collect()));
    }
    let expected = ExpectedLaw {
        forgetting: arguments.forgetting.unwrap_or(3.0 * arguments.budget),
        b: arguments.b,
        alpha: arguments.alpha,
        beta: arguments.beta,
    };
    Ok((expected.simulation(plan, noise)?, Vec::new()))
}

fn text(view: &View<'_>, plan: &FinetuningPlan) -> String {
    let report = view.report;
    let law = &view.forgetting;
    let or_none = |p: Option<f64>| p.map_or_else(|| "none below 100 %".to_owned(), share);
    let rows: Vec<Vec<String>> = report
        .candidates
        .iter()
        .take(SHOWN)
        .map(|one| {
            vec![
                short(one.model_size),
                short(one.target_tokens),
                share(one.p),
                format!("{:.3}", one.width_factor),
            ]
        })
        .collect();
    let warnings: Vec<String> =
        view.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    let gap = if warnings.is_empty() { "" } else { "\n\n" };
    let warnings = format!("{gap}{}", warnings.join("\n"));
    format!(
        "{}, simulated {} times from B = {}, α = {}, β = {}, noise {:.2} % of the loss ({} fitted)\n\n\
         to forget at most {} nats per token with N = {}, D = {}:\n\
         p* of these coefficients   {}\n\
         p* expected of the fit     median {}, 95 % interval {}\n\
         forgetting at p = 0        predicted within factors {}\n\n\
         the next runs that narrow the interval of that forgetting the most (its width, now 1)\n{}{warnings}",
        plural(u64::try_from(view.runs).unwrap_or(u64::MAX), "run"),
        report.simulations,
        round(law.b),
        round(law.alpha),
        round(law.beta),
        view.noise * 100.0,
        report.fitted,
        plan.budget,
        short(plan.model_size),
        short(plan.target_tokens),
        or_none(report.true_p),
        or_none(report.share.median),
        share_interval(report.share.interval),
        interval(report.forgetting_ratio),
        table(&["N", "D", "p", "width"], &rows),
    )
}

fn round(value: f64) -> String {
    crate::commands::laws::fit::text::digits(value)
}
