//! Lists the runs that a sweep's description asks for.
//!
//!     cargo run -p mixdown-experiments --example plan_sweep -- sweep.toml

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;

use mixdown_experiments::SweepConfig;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: plan_sweep SWEEP.toml")?;
    let runs = SweepConfig::read(Path::new(&path))?.checked()?.planned_runs()?;
    for run in &runs {
        println!(
            "{}: D = {}, p = {}, seed {}",
            run.run_id, run.target_tokens, run.inject, run.seed
        );
    }
    println!("{} runs", runs.len());
    Ok(())
}
