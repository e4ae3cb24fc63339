//! Prints the evaluations of a run and how it ended.
//!
//!     cargo run -p mixdown-runs --example read_run -- try/run

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;

use mixdown_runs::RunFolder;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: read_run RUN")?;
    let folder = RunFolder::open(Path::new(&path))?;
    for record in folder.read_metrics()? {
        for eval in &record.evals {
            println!("step {:>6}: {} {:.4} nats per token", record.step, eval.corpus, eval.loss);
        }
    }
    // A run that was not measured on a pretraining corpus has no row.
    if let Some(row) = folder.read_summary()?.row {
        println!("best step {}: forgetting {:+.4}", row.best_step, row.forgetting());
    }
    Ok(())
}
