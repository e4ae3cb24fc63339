//! How often the 95 % intervals hold the truth, and how far predictions are from it: simulated grids, fitted
//! as a user would.
//!
//! `cargo run --release -p mixdown-benches --example coverage [SIMULATIONS] [DESIGNS] [DELTA]`, where DESIGNS
//! is part of the name of the designs to run and DELTA Huber's constant (1 is least squares).

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::time::Instant;

use mixdown_scaling::{
    Error, FinetuningPlan, FitOptions, ForgettingLaw, HoldOut, Interval, Quantity, ScalingFit,
    Simulation, TargetLaw, fit_scaling, full_grid,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const SIZES: [f64; 5] = [41e6, 109e6, 334e6, 665e6, 1.27e9];
const TOKENS: [f64; 5] = [3e5, 1e6, 3e6, 1e7, 3e7];
const SHARES: [f64; 5] = [0.0, 0.001, 0.005, 0.01, 0.05];
const NOISE: f64 = 0.003;
const DRAWS: u32 = 200;
/// The finetuning that everything is predicted for has so many target tokens.
const PLANNED_TOKENS: f64 = 3e7;
/// The share that the budget is made for.
const PLANNED_SHARE: f64 = 0.003;
const COLUMNS: [&str; 13] = [
    "A", "B", "alpha", "beta", "band p=0", "band 1%", "F p=0", "F 1%", "p*", "E", "t.alpha",
    "t.beta", "L_ft",
];
const HEAD: &str = "\
share of simulations whose 95 % interval holds the truth, in per cent
  A to beta   coefficients of the forgetting law, bootstrap
  band        forgetting at D = 30M and p = 0 or 1 %, bootstrap
  F, p*       forgetting there and p*, profile likelihood
  E to L_ft   the target law: coefficients by bootstrap, the loss by profile likelihood
  held out    pretraining losses of the left-out largest N, largest D and both that lie in their
              intervals, and their mean relative error
error of the predicted L_pt at D = 30M, p = 0: median, 95th percentile, worst of the first 14, worst";

struct Design {
    name: &'static str,
    grid: Vec<(f64, f64, f64)>,
    /// The model size that everything is predicted for.
    size: f64,
}

fn designs() -> Vec<Design> {
    let small = full_grid(&SIZES[..3], &TOKENS[..3], &[0.0, 0.01]);
    let wide = full_grid(&[41e6, 334e6, 1.27e9], &[3e5, 3e6, 3e7], &[0.0, 0.01]);
    let eight = full_grid(&[41e6, 334e6], &[3e5, 3e6], &[0.0, 0.01]);
    let long = full_grid(&SIZES[..3], &[3e5, 3e6, 3e7], &[0.0, 0.01]);
    let one = full_grid(&[334e6], &[3e5, 3e6, 3e7], &SHARES);
    let design = |name, grid, size| Design { name, grid, size };
    vec![
        design("18 runs, 3N 3D 2p, to 334M/3M", small, 1.27e9),
        design("18 runs, 3N 3D 2p, to 334M/30M", long, 1.27e9),
        design("18 runs, 3N 3D 2p, to 1.27B/30M", wide.clone(), 1.27e9),
        design("36 runs, the same, two seeds", wide.repeat(2), 1.27e9),
        design("8 runs, 2N 2D 2p, to 334M/3M", eight, 1.27e9),
        design("15 runs, 1N 3D 5p, for 334M", one, 334e6),
        design("125 runs, 5N 5D 5p", full_grid(&SIZES, &TOKENS, &SHARES), 1.27e9),
    ]
}

fn main() -> Result<(), Error> {
    let simulations = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    let wanted = std::env::args().nth(2).unwrap_or_default();
    println!("{simulations} simulations, noise of ln loss {NOISE}, {DRAWS} bootstrap draws");
    println!("{HEAD}");
    for (b, alpha, beta, at_reference) in [(1500.0, 0.45, 0.3, 0.3), (1e4, 0.7, 0.5, 0.1)] {
        println!(
            "\nB = {b}, alpha = {alpha}, beta = {beta}, forgetting {at_reference} at 334M/3M/0"
        );
        println!("{:32}{}  held out", "", COLUMNS.map(|name| format!("{name:>9}")).concat());
        let law = ForgettingLaw { ln_a: 0.0, b, alpha, beta };
        let ln_a = f64::ln(at_reference) - law.ln_forgetting(334e6, 3e6, 0.0);
        let simulation = Simulation {
            forgetting: ForgettingLaw { ln_a, ..law },
            target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
            noise: NOISE,
        };
        for design in designs().iter().filter(|design| design.name.contains(&wanted)) {
            report(design, &simulation, simulations)?;
        }
    }
    Ok(())
}

/// What one simulated grid says.
struct Outcome {
    /// By column: whether the interval holds the truth; none where there is no interval of that kind.
    hits: [Option<bool>; COLUMNS.len()],
    /// Relative error of the predicted pretraining loss.
    error: f64,
    /// Held-out rows: in their interval, sum of relative errors, number.
    held_out: (f64, f64, f64),
}

fn report(design: &Design, simulation: &Simulation, simulations: u64) -> Result<(), Error> {
    let start = Instant::now();
    let one = |seed: u64| outcome(design, simulation, seed);
    let outcomes: Vec<Outcome> =
        (0..simulations).into_par_iter().map(one).collect::<Result<_, Error>>()?;
    let seconds = start.elapsed().as_secs_f64();
    let mut cells = String::new();
    for column in 0..COLUMNS.len() {
        let hits: Vec<bool> = outcomes.iter().filter_map(|one| one.hits[column]).collect();
        let held = hits.iter().filter(|hit| **hit).count() as f64;
        cells.push_str(&match hits.len() {
            0 => format!("{:>9}", "-"),
            count => format!("{:9.1}", 100.0 * held / count as f64),
        });
    }
    let sum = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>();
    let rows = sum(|one| one.held_out.2);
    let mut errors: Vec<f64> = outcomes.iter().map(|one| 100.0 * one.error).collect();
    let of_fourteen = errors.iter().take(14).copied().fold(0.0, f64::max);
    errors.sort_by(f64::total_cmp);
    let at = |share: usize| errors[(errors.len() - 1) * share / 100];
    println!(
        "{:32}{cells}  {:.1} %, error {:.2} %   ({seconds:.0} s)",
        design.name,
        100.0 * sum(|one| one.held_out.0) / rows,
        100.0 * sum(|one| one.held_out.1) / rows,
    );
    println!(
        "{:32}  predicted L_pt: {:.2} %, {:.2} %, {of_fourteen:.2} %, {:.2} %",
        "",
        at(50),
        at(95),
        at(100),
    );
    Ok(())
}

fn outcome(design: &Design, simulation: &Simulation, seed: u64) -> Result<Outcome, Error> {
    let (law, target, size) = (simulation.forgetting, simulation.target, design.size);
    let huber_delta = std::env::args().nth(3).and_then(|text| text.parse().ok());
    let options = FitOptions { draws: DRAWS, seed, huber_delta };
    let fit = fit_scaling(&simulation.runs(&design.grid, seed), &options)?;
    let budget = law.forgetting(size, PLANNED_TOKENS, PLANNED_SHARE);
    let plan = FinetuningPlan {
        model_size: size,
        target_tokens: PLANNED_TOKENS,
        budget,
        pretraining_loss_before: None,
    };
    let advice = fit.advise(&plan)?;
    let mut hits = [None; COLUMNS.len()];
    let mut score = |column: usize, interval: Interval, truth: f64| {
        hits[column] = Some(interval.contains(truth));
    };
    let truths = [law.ln_a.exp(), law.b, law.alpha, law.beta];
    for (column, (one, truth)) in fit.forgetting.coefficients.iter().zip(truths).enumerate() {
        score(column, one.interval, truth);
    }
    for (column, p) in [(4, 0.0), (5, 0.01)] {
        let truth = law.forgetting(size, PLANNED_TOKENS, p);
        score(column, fit.forgetting.forgetting(size, PLANNED_TOKENS, p).interval, truth);
        let told = advice.predictions.iter().find(|one| (one.p - p).abs() < 1e-12);
        score(column + 2, told.map_or(Interval::OPEN, |one| one.forgetting.interval), truth);
    }
    score(8, advice.interval, PLANNED_SHARE);
    if let Some(found) = fit.target.as_ref().filter(|_| fit.grid.model_sizes.len() > 1) {
        let truths = [target.e, target.alpha, target.beta];
        for (column, (one, truth)) in found.coefficients.iter().skip(1).zip(truths).enumerate() {
            score(9 + column, one.interval, truth);
        }
        let told = advice.predictions.first().and_then(|one| one.target_loss);
        let interval = told.map_or(Interval::OPEN, |one| one.interval);
        score(12, interval, target.loss(size, PLANNED_TOKENS));
    }
    Ok(Outcome { hits, error: error(&fit, simulation, size), held_out: held_out(&fit) })
}

/// Relative error of the pretraining loss predicted at p = 0.
fn error(fit: &ScalingFit, simulation: &Simulation, size: f64) -> f64 {
    let exact = Simulation { noise: 0.0, ..*simulation };
    let truth = exact.runs(&[(size, PLANNED_TOKENS, 0.0)], 0);
    let truth = truth.first().map_or(f64::NAN, |run| run.pretraining_loss);
    let of = |law: &ForgettingLaw| law.forgetting(size, PLANNED_TOKENS, 0.0);
    ((of(&fit.forgetting.law) - of(&simulation.forgetting)) / truth).abs()
}

fn held_out(fit: &ScalingFit) -> (f64, f64, f64) {
    let pretraining = |one: &&HoldOut| one.quantity == Quantity::PretrainingLoss;
    let tested = fit.hold_outs.iter().filter(pretraining).take(3);
    tested.flat_map(|one| &one.rows).fold((0.0, 0.0, 0.0), |(inside, error, rows), row| {
        let inside = inside + f64::from(u8::from(row.interval.contains(row.measured)));
        (inside, error + (row.predicted / row.measured - 1.0).abs(), rows + 1.0)
    })
}
