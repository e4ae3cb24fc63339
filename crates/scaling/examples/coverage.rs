//! How often the 95 % intervals hold the truth: simulated grids, fitted as a user would.
//!
//! `cargo run --release -p mixdown-scaling --example coverage [SIMULATIONS]`

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::time::Instant;

use mixdown_scaling::{
    Error, FitOptions, ForgettingLaw, Interval, Plan, Quantity, Simulation, TargetLaw, fit_scaling,
    full_grid,
};

const SIZES: [f64; 5] = [41e6, 109e6, 334e6, 665e6, 1.27e9];
const TOKENS: [f64; 5] = [3e5, 1e6, 3e6, 1e7, 3e7];
const SHARES: [f64; 5] = [0.0, 0.001, 0.005, 0.01, 0.05];
const NOISE: f64 = 0.003;
const COLUMNS: [&str; 13] = [
    "A", "B", "alpha", "beta", "band p=0", "band 1%", "F p=0", "F 1%", "p*", "E", "t.alpha",
    "t.beta", "L_ft",
];

fn main() -> Result<(), Error> {
    let simulations = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_u32);
    let wide = [41e6, 334e6, 1.27e9];
    let eighteen = full_grid(&wide, &[3e5, 3e6, 3e7], &[0.0, 0.01]);
    let designs = [
        ("125 runs, 5N x 5D x 5p", full_grid(&SIZES, &TOKENS, &SHARES), 1.27e9),
        (
            "18 runs, 3N x 3D x 2p, small",
            full_grid(&SIZES[..3], &TOKENS[..3], &[0.0, 0.01]),
            1.27e9,
        ),
        ("18 runs, 3N x 3D x 2p, wide", eighteen.clone(), 1.27e9),
        ("the same with two seeds", eighteen.repeat(2), 1.27e9),
        ("8 runs, 2N x 2D x 2p", full_grid(&[41e6, 334e6], &[3e5, 3e6], &[0.0, 0.01]), 1.27e9),
        ("15 runs, 1N x 3D x 5p", full_grid(&[334e6], &[3e5, 3e6, 3e7], &SHARES), 334e6),
    ];
    println!(
        "share of {simulations} simulations whose 95 % interval holds the truth, in per cent;"
    );
    println!(
        "noise of ln loss {NOISE}; A to beta: bootstrap of the forgetting law; band: its bands of"
    );
    println!("forgetting at D = 30M; F, p*: profile likelihood there; E to L_ft: the target law;");
    println!("held out: pretraining losses of the left-out largest N, largest D and both in their");
    println!("intervals, and their mean relative error");
    for (b, alpha, beta, at_reference) in [(1500.0, 0.45, 0.3, 0.3), (1e4, 0.7, 0.5, 0.1)] {
        println!(
            "\nB = {b}, alpha = {alpha}, beta = {beta}, forgetting {at_reference} at 334M/3M/0"
        );
        println!("{:30}{}  held out", "", COLUMNS.map(|name| format!("{name:>9}")).concat());
        let law = ForgettingLaw { ln_a: 0.0, b, alpha, beta };
        let ln_a = f64::ln(at_reference) - law.ln_forgetting(334e6, 3e6, 0.0);
        let simulation = Simulation {
            forgetting: ForgettingLaw { ln_a, ..law },
            target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
            noise: NOISE,
        };
        for (name, grid, size) in &designs {
            report(name, grid, *size, &simulation, simulations)?;
        }
    }
    Ok(())
}

fn report(
    name: &str,
    grid: &[(f64, f64, f64)],
    size: f64,
    simulation: &Simulation,
    simulations: u32,
) -> Result<(), Error> {
    let (law, target) = (simulation.forgetting, simulation.target);
    let budget = law.forgetting(size, 3e7, 0.003);
    let mut hits = [(0.0, 0.0); COLUMNS.len()];
    let mut held_out = (0.0, 0.0, 0.0);
    let start = Instant::now();
    for seed in 0..u64::from(simulations) {
        let options = FitOptions { draws: 400, seed, huber_delta: None };
        let fit = fit_scaling(&simulation.runs(grid, seed), &options)?;
        let plan =
            Plan { model_size: size, target_tokens: 3e7, budget, pretraining_loss_before: None };
        let advice = fit.advise(&plan)?;
        let mut score = |column: usize, interval: Interval, truth: f64| {
            hits[column].0 += f64::from(u8::from(interval.contains(truth)));
            hits[column].1 += 1.0;
        };
        let truths = [law.ln_a.exp(), law.b, law.alpha, law.beta];
        for (column, (one, truth)) in fit.forgetting.coefficients.iter().zip(truths).enumerate() {
            score(column, one.interval, truth);
        }
        for (column, p) in [(4, 0.0), (5, 0.01)] {
            let truth = law.forgetting(size, 3e7, p);
            score(column, fit.forgetting.forgetting(size, 3e7, p).interval, truth);
            let told = advice.predictions.iter().find(|one| (one.p - p).abs() < 1e-12);
            score(column + 2, told.map_or(Interval::OPEN, |one| one.forgetting.interval), truth);
        }
        score(8, advice.interval, 0.003);
        if let Some(found) = fit.target.as_ref().filter(|_| fit.grid.model_sizes.len() > 1) {
            let truths = [target.e, target.alpha, target.beta];
            for (column, (one, truth)) in found.coefficients.iter().skip(1).zip(truths).enumerate()
            {
                score(9 + column, one.interval, truth);
            }
            let told = advice.predictions.first().and_then(|one| one.target_loss);
            score(12, told.map_or(Interval::OPEN, |one| one.interval), target.loss(size, 3e7));
        }
        let pretraining =
            |one: &&mixdown_scaling::HoldOut| one.quantity == Quantity::PretrainingLoss;
        for one in fit.hold_outs.iter().filter(pretraining).take(3) {
            for row in &one.rows {
                held_out.0 += f64::from(u8::from(row.interval.contains(row.measured)));
                held_out.1 += (row.predicted / row.measured - 1.0).abs();
                held_out.2 += 1.0;
            }
        }
    }
    let cells = hits.map(|(hits, count)| match count {
        0.0 => format!("{:>9}", "-"),
        count => format!("{:9.1}", 100.0 * hits / count),
    });
    let (inside, error, rows) = held_out;
    println!(
        "{name:30}{}  {:.1} %, error {:.2} %   ({:.0} ms a fit)",
        cells.concat(),
        100.0 * inside / rows,
        100.0 * error / rows,
        start.elapsed().as_secs_f64() * 1e3 / f64::from(simulations),
    );
    Ok(())
}
