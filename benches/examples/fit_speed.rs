//! How long a fit of 125 runs with 1,000 bootstrap draws takes, hold-outs and comparisons included.
//!
//! `cargo run --release -p mixdown-benches --example fit_speed`

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::time::Instant;

use mixdown_scaling::{
    Error, FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid,
};

fn main() -> Result<(), Error> {
    let grid = full_grid(
        &[41e6, 109e6, 334e6, 665e6, 1.27e9],
        &[3e5, 1e6, 3e6, 1e7, 3e7],
        &[0.0, 0.001, 0.005, 0.01, 0.05],
    );
    let simulation = Simulation {
        forgetting: ForgettingLaw { ln_a: 3.15, b: 1500.0, alpha: 0.45, beta: 0.3 },
        target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
        noise: 0.003,
    };
    for draws in [0, 1000] {
        let mut seconds: Vec<f64> = Vec::new();
        for seed in 0..7 {
            let runs = simulation.runs(&grid, seed);
            let start = Instant::now();
            let fit = fit_scaling(&runs, &FitOptions { draws, seed, huber_delta: None })?;
            seconds.push(start.elapsed().as_secs_f64());
            println!(
                "{draws} draws: {:.3} s, {} failed draws",
                seconds[seconds.len() - 1],
                fit.method.failed_draws
            );
        }
        seconds.sort_by(f64::total_cmp);
        println!(
            "{draws} draws: best {:.3} s, median {:.3} s of {} fits",
            seconds[0],
            seconds[3],
            seconds.len()
        );
    }
    Ok(())
}
