//! Whole runs of several processes, here threads: their numbers, and what becomes of them when one ends.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::observer::Observer;
use mixdown_runs::{RunFolder, Summary};

use super::tests::{TEXT, end, open_as, run, world};
use super::{Progress, Trainer};
use crate::config::run_file::AllowedChanges;
use crate::error::Error;
use crate::ranks::World;
use crate::ranks::tests::on_ranks;

fn open(place: &Path, text: &str, out: &str, world: World) -> Result<Trainer, Error> {
    open_as(place, (text, out), AllowedChanges::None, world)
}

/// Runs on `count` ranks, of which one ends when it has been told of step `at`.
fn run_on(
    place: &Path,
    (text, out): (&str, &str),
    count: u32,
    end: impl Fn(World, Progress, &AtomicBool) + Sync,
) -> Vec<Result<Summary, Error>> {
    on_ranks(count, |world| {
        let stop = AtomicBool::new(false);
        let mut trainer = open(place, text, out, world)?;
        trainer.run(Observer::new(&|at| end(world, at, &stop), &stop))
    })
}

/// Training losses of all steps, and evaluation losses with their changes.
fn losses(place: &Path, out: &str) -> Vec<f64> {
    let records = RunFolder::open(&place.join(out)).unwrap().read_metrics().unwrap();
    let of = |record: &mixdown_runs::MetricsRecord| -> Vec<f64> {
        let evals = record.evals.iter();
        let evals = evals.flat_map(|eval| [Some(eval.loss), eval.change.map(|change| change.mean)]);
        let sources = record.sources.iter().map(|source| Some(source.loss));
        [record.train_loss].into_iter().chain(evals).chain(sources).flatten().collect()
    };
    records.iter().flat_map(of).collect()
}

fn check_close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 2e-5, "{worst}");
}

#[test]
fn any_number_of_ranks_gives_the_same_losses() {
    let place = world();
    let place = place.path();
    let lora = TEXT.replace("[eval]", "ema = 0.9\n[train.lora]\nrank = 2\n[eval]");
    let init = run(place, TEXT, "base").map(|_| place.join("base/best")).unwrap();
    let fresh = TEXT.find("[mixture]").unwrap();
    let lora = format!("[model]\ninit = {init:?}\n{}", &lora[fresh..]);
    for (kind, text) in [("all", TEXT), ("lora", &lora)] {
        run(place, text, kind).unwrap();
        let alone = losses(place, kind);
        assert!(alone.len() > 40, "{}", alone.len());
        for count in [2, 4] {
            let out = format!("{kind}-{count}");
            let ended = run_on(place, (text, &out), count, |_, _, _| {});
            assert!(ended.iter().all(Result::is_ok), "{ended:?}");
            check_close(&alone, &losses(place, &out));
            let best = |summary: &Summary| summary.best_step;
            let steps: Vec<u64> = ended.iter().flatten().map(best).collect();
            assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
        }
        // The same number of ranks gives the same bits.
        run_on(place, (text, &format!("{kind}-again")), 2, |_, _, _| {});
        assert_eq!(end(place, &format!("{kind}-2")), end(place, &format!("{kind}-again")));
    }
}

#[test]
fn one_rank_that_is_stopped_stops_all_and_another_number_goes_on() {
    let place = world();
    let place = place.path();
    run(place, TEXT, "alone").unwrap();
    // In a step, and in the evaluation that is due after one.
    for (out, at) in [("early", 1), ("later", 6)] {
        let stop_second = |world: World, told: Progress, stop: &AtomicBool| {
            if world.rank().rank() == 1 && told.step == at {
                stop.store(true, Ordering::Relaxed);
            }
        };
        for result in run_on(place, (TEXT, out), 2, stop_second) {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Interrupted { step } if step == at), "{error}");
        }
        let ended = run_on(place, (TEXT, out), 4, |_, _, _| {});
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        check_close(&losses(place, "alone"), &losses(place, out));
    }
    run(place, TEXT, "early").unwrap();
}

#[test]
fn a_rank_that_dies_ends_all_and_the_last_checkpoint_holds() {
    let place = world();
    let place = place.path();
    run(place, TEXT, "alone").unwrap();
    let seen = Mutex::new(Vec::new());
    on_ranks(2, |world| {
        let stop = AtomicBool::new(false);
        let mut trainer = open(place, TEXT, "died", world).unwrap();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let progress = |told: Progress| {
                if world.rank().rank() == 1 && told.step == 6 {
                    std::panic::resume_unwind(Box::new("killed"));
                }
            };
            trainer.run(Observer::new(&progress, &stop))
        }));
        if let Ok(result) = died {
            seen.lock().unwrap().push(result.unwrap_err().to_string());
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("rank 1 is lost: its process has ended"), "{seen:?}");
    let checkpoint = RunFolder::open(&place.join("died")).unwrap().checkpoint(4);
    assert!(checkpoint.join("state.json").exists());
    let ended = run_on(place, (TEXT, "died"), 2, |_, _, _| {});
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    check_close(&losses(place, "alone"), &losses(place, "died"));
}

#[test]
fn a_rank_that_cannot_begin_says_why_to_all() {
    let place = world();
    let place = place.path();
    // Of the second rank the rate or the shares are others.
    let rates = TEXT.replace("learning_rate = 0.01", "learning_rate = 0.02");
    let shares = TEXT.replace("75%", "70%").replace("25%", "30%");
    for (out, other) in [("rates", rates), ("shares", shares)] {
        let seen = on_ranks(2, |world| {
            let text = if world.is_main_process() { TEXT } else { &other };
            open(place, text, out, world).map(|_| ()).unwrap_err().to_string()
        });
        assert!(seen.iter().all(|text| text.contains("it has other settings")), "{seen:?}");
    }
    // One has no such corpus, the first or another.
    let missing = TEXT.replacen("corpus = \"", "corpus = \"no-", 1);
    for lost in [0, 1] {
        let seen = on_ranks(2, |world| {
            let text = if world.rank().rank() == lost { &missing } else { TEXT };
            open(place, text, "missing", world).map(|_| ()).unwrap_err().to_string()
        });
        let [own, told] = if lost == 0 { [0, 1] } else { [1, 0] }.map(|rank| &seen[rank]);
        assert!(own.contains("no-"), "{own}");
        assert!(told.starts_with(&format!("rank {lost} is lost: {own}")), "{told}");
        assert!(!place.join("missing").exists());
    }
    let odd = World::new(0, 3).unwrap();
    let error = open(place, TEXT, "odd", odd).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().starts_with("mixture.batch_size: expected a multiple of 3"),
        "{error}"
    );
    assert!(!place.join("odd").exists());
}
