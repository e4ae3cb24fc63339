//! Trains a run from its description, as `mixdown train` does.
//!
//!     mixdown train --target corpora/math --pretraining corpora/general --inject 1% --print-config > run.toml
//!     cargo run --release -p mixdown-train --example train_run -- run.toml runs/math-1
//!
//! Given again, the same command continues from the last checkpoint of the folder. Fresh models only: a base model's
//! tokenizer is read by mixdown-tokenize, which this crate does not know (`run_base` of mixdown-experiments is the
//! reader for every run).

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use mixdown_base::observer::Observer;
use mixdown_train::{AllowedChanges, Progress, RunBase, RunConfig, RunName, Trainer, World};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(description), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: train_run RUN.toml OUT".into());
    };
    let config = RunConfig::parse(&fs::read_to_string(&description)?)?;
    let folder = Path::new(&description).parent().unwrap_or(Path::new(""));
    let tokenizer = |path: &Path| Err(format!("{}: expected a fresh model", path.display()));
    let name = RunName { run_id: "run".to_owned(), title: description.clone() };
    let stop = AtomicBool::new(false);
    let mut trainer = Trainer::open(
        &config,
        RunBase { folder, tokenizer },
        Path::new(&out),
        name,
        AllowedChanges::None,
        World::single(),
        &stop,
    )?;
    println!("from step {} of {}", trainer.step(), config.train.steps);
    let show = |progress: Progress| {
        for eval in progress.evals.into_iter().flatten() {
            println!("step {}: {} {:.4} nats per token", progress.step, eval.corpus, eval.loss);
        }
    };
    let summary = trainer.run(Observer::new(&show, &stop))?;
    println!("{} steps; the best model is in {out}/best", summary.steps);
    Ok(())
}
