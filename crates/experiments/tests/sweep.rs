//! A small sweep as a program does it: what its observer is told, how it stops and continues, and what its table gives.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_experiments::{
    Pooling, Sweep, SweepConfig, SweepEvent, SweepObserver, SweepPart, SweepStage,
    bottom_is_reached, fit_domains, planned_runs, read_domains,
};
use mixdown_scaling::FitOptions;
use mixdown_tokenize::{
    PrepareOptions, ReadOptions, TrainTokenizerOptions, prepare, train_tokenizer,
};

const SWEEP: &str = "
    pretraining = 'general'
    p = ['0', '10%']
    target_tokens = [600]
    train = { sequence_length = 16, batch_size = 4, epochs = 2, warmup_steps = 2 }
    eval = { sequences = 8 }
    domain = [{ name = 'code', corpus = 'target' }]
    model = [{ name = 'tiny', hidden_size = 16, layers = 1, heads = 2, tokens = 1_000 }]";

/// Two corpora with one tokenizer, and the description of a sweep beside them.
fn described(folder: &Path) -> SweepConfig {
    let texts = [("general", "the river follows stone"), ("target", "let value = other + ")];
    let files = texts.map(|(name, words)| {
        let path = folder.join(format!("{name}.jsonl"));
        let lines = (0..300).fold(String::new(), |mut lines, number| {
            writeln!(lines, "{{\"text\": \"{words} {number}; {words} {}\"}}", number * 7).unwrap();
            lines
        });
        fs::write(&path, lines).unwrap();
        path
    });
    let tokenizer = folder.join("tokenizer.json");
    let options = TrainTokenizerOptions { vocab_size: 300, read: ReadOptions::default() };
    train_tokenizer(&files, &tokenizer, &options, Observer::silent()).unwrap();
    for file in files {
        let options =
            PrepareOptions { holdout: "10%".parse().unwrap(), ..PrepareOptions::default() };
        prepare(
            std::slice::from_ref(&file),
            &tokenizer,
            &file.with_extension(""),
            &options,
            Observer::silent(),
        )
        .unwrap();
    }
    fs::write(folder.join("sweep.toml"), SWEEP).unwrap();
    SweepConfig::read(&folder.join("sweep.toml")).unwrap().checked().unwrap()
}

fn told(event: &SweepEvent<'_>) -> Option<String> {
    let name = |part: &SweepPart<'_>| match part {
        SweepPart::Base { name } => format!("base {name}"),
        SweepPart::Run { number, total, run_id } => format!("{number}/{total} {run_id}"),
    };
    match event {
        SweepEvent::Began => Some("began".to_owned()),
        SweepEvent::Announced { runs, planned, .. } => Some(format!("{runs} of {planned}")),
        SweepEvent::BaseMade { part, .. } => Some(format!("made {}", name(part))),
        SweepEvent::RunDone { part, .. } => Some(format!("done {}", name(part))),
        SweepEvent::Ended { done, failed } => Some(format!("ended {done} {failed}")),
        _ => None,
    }
}

#[test]
fn a_sweep_is_told_stops_continues_and_is_fitted() {
    let place = tempfile::tempdir().unwrap();
    let settings = described(place.path());
    let out = place.path().join("out");
    let sweep = Sweep { settings: &settings, out: &out, task: None };
    assert_eq!(sweep.preview(Some(1e6)).unwrap().runs.len(), 2);
    assert!(!out.exists(), "a preview writes nothing");

    let (stop, events) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let observer = |event: SweepEvent<'_>| {
        events.lock().unwrap().extend(told(&event));
        if matches!(event, SweepEvent::RunDone { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let error = sweep.run(SweepStage::Runs, SweepObserver::new(&observer, &stop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    stop.store(false, Ordering::Relaxed);
    let outcome = sweep.run(SweepStage::Runs, SweepObserver::new(&observer, &stop)).unwrap();
    assert_eq!((outcome.rows.len(), outcome.planned, outcome.failures.len()), (2, 2, 0));
    assert_eq!(
        events.into_inner().unwrap(),
        [
            "began",
            "2 of 2",
            "made base tiny",
            "done 1/2 code-tiny-600-0pct-seed0",
            "began",
            "1 of 2",
            "done 1/1 code-tiny-600-10pct-seed0",
            "ended 1 0",
        ]
    );

    let planned: Vec<String> =
        planned_runs(&out).unwrap().into_iter().map(|run| run.run_id).collect();
    assert!(outcome.rows.iter().map(|row| &row.run_id).eq(&planned));
    let domains = read_domains(&[out.join("runs.parquet")], None, Pooling::OneRecipe).unwrap();
    assert_eq!((domains[0].name.as_str(), domains[0].observations.len()), ("code", 2));
    assert_eq!(domains[0].warnings.is_empty(), outcome.rows.iter().all(bottom_is_reached));
    // Two runs are too few for a law.
    let error = fit_domains(&domains, &FitOptions::default(), None).unwrap_err();
    assert!(error.to_string().starts_with("domain \"code\": "), "{error}");
}
