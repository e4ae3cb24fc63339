//! Simulates the runs of a small grid, fits both laws to them, and asks how much pretraining data a larger model needs.
//!
//!     cargo run --release -p mixdown-scaling --example fit_law

#![expect(clippy::print_stdout, reason = "an example's result")]

use mixdown_scaling::{
    Error, FinetuningPlan, FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid,
};

fn main() -> Result<(), Error> {
    let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    let runs = Simulation { forgetting, target, noise: 0.003 }.runs(&grid, 7);

    let fit = fit_scaling(&runs, &FitOptions { draws: 200, ..FitOptions::default() })?;
    println!("B = {:.0} (true: 1500)", fit.forgetting.law.b);
    let plan = FinetuningPlan {
        model_size: 334e6,
        target_tokens: 3e6,
        budget: 0.05,
        pretraining_loss_before: None,
    };
    match fit.advise(&plan)?.p {
        Some(p) => println!("p that keeps forgetting within 0.05 nats: {p:?}"),
        None => println!("the runs do not bound p"),
    }
    Ok(())
}
