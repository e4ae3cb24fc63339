//! Whole runs: what they leave, and that stopping and going on changes nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_runs::{EvalRecord, LossesRecord, MeanLoss, RunFolder, Summary, Unpaired, paired};
use mixdown_shards::Fingerprint;

use super::{Progress, RunName, Trainer};
use crate::adapter::AdapterGradients;
use crate::config::run_config::RunConfig;
use crate::config::run_file::AllowedChanges;
use crate::config::run_file::RunBase;
use crate::engine::Engine;
use crate::engine::kernels::check::on_threads;
use crate::engine::rows::Rows;
use crate::error::Error;
use crate::model::Model;
use crate::model::config::tests::tiny;
use crate::optim::trainable_state::tests::{LORA, place as base_and_corpora, text};
use crate::ranks::World;
use crate::test_corpus::{Document, corpus, corpus_of_documents, tokens};

pub(crate) const TEXT: &str = r#"
    [model]
    vocab_size = 40
    hidden_size = 8
    intermediate_size = 12
    layers = 2
    heads = 2
    seed = 3
    [mixture]
    sequence_length = 8
    batch_size = 4
    seed = 5
    [[mixture.source]]
    name = "target"
    corpus = "target"
    weight = "75%"
    max_tokens = 200
    [[mixture.source]]
    name = "pretraining"
    corpus = "general"
    weight = "25%"
    [train]
    steps = 12
    warmup_steps = 3
    learning_rate = 0.01
    checkpoint_every = 4
    [eval]
    every_steps = 3
    sequences = 6
    pretraining = "pretraining"
    [[eval.corpus]]
    name = "target"
    corpus = "target"
    [[eval.corpus]]
    name = "pretraining"
    corpus = "general"
"#;

pub(crate) fn world() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    corpus(&place.path().join("target"), 40, &tokens(400, 1), &tokens(490, 1)[400..]);
    corpus(&place.path().join("general"), 40, &tokens(500, 3), &tokens(580, 3)[500..]);
    place
}

pub(crate) fn open(place: &Path, text: &str, out: &str) -> Result<Trainer, Error> {
    open_as(place, (text, out), AllowedChanges::None, World::single())
}

/// As [`open`], as one of several processes, or with other stages.
pub(crate) fn open_as(
    place: &Path,
    (text, out): (&str, &str),
    changes: AllowedChanges,
    world: World,
) -> Result<Trainer, Error> {
    let name = RunName { run_id: "r".to_owned(), title: "run".to_owned() };
    let (config, never) = (RunConfig::parse(text)?, AtomicBool::new(false));
    Trainer::open(&config, base(place), &place.join(out), name, changes, world, &never)
}

/// Every tokenizer.json is that of the tests' corpora.
pub(crate) fn base(folder: &Path) -> RunBase<'_> {
    RunBase { folder, tokenizer: |_| Ok(Fingerprint::of(b"tokenizer")) }
}

pub(crate) fn run(place: &Path, text: &str, out: &str) -> Result<Summary, Error> {
    open(place, text, out)?.run(Observer::silent())
}

/// Runs until progress has been told `calls` times, then sets the stop flag.
pub(crate) fn run_until(
    place: &Path,
    text: &str,
    out: &str,
    calls: usize,
) -> Result<Summary, Error> {
    let stop = AtomicBool::new(false);
    let told = Mutex::new(0);
    let progress = |_: Progress| {
        let mut told = told.lock().unwrap();
        *told += 1;
        if *told == calls {
            stop.store(true, Ordering::Relaxed);
        }
    };
    open(place, text, out)?.run(Observer::new(&progress, &stop))
}

/// Weights, moments and best weights at the end, and all numbers that know no clock.
pub(crate) fn end(place: &Path, out: &str) -> (Vec<Vec<u8>>, Vec<String>, String) {
    let folder = RunFolder::open(&place.join(out)).unwrap();
    let last = folder.checkpoint(12);
    let adapter = "adapter/adapter_model.safetensors";
    let files = [
        last.join("model.safetensors"),
        last.join("optimizer.safetensors"),
        folder.best().join("model.safetensors"),
        last.join(adapter),
        folder.best().join(adapter),
        folder.losses(),
    ];
    let metrics = folder.read_metrics().unwrap().into_iter().map(|mut record| {
        (record.tokens_per_second, record.data_wait, record.mfu) = (None, None, None);
        serde_json::to_string(&record).unwrap()
    });
    let mut summary = folder.read_summary().unwrap();
    (summary.seconds, summary.tokens_per_second) = (0.0, 0.0);
    let files = files.iter().filter(|path| path.exists());
    let files = files.map(|path| std::fs::read(path).unwrap()).collect();
    (files, metrics.collect(), serde_json::to_string(&summary).unwrap())
}

#[test]
fn a_stage_may_be_added_to_a_run_that_has_not_reached_it() {
    let staged = |start: u64| {
        let stage = format!(
            "[[mixture.stage]]\nstart = {start}\n\
             weights = {{ target = \"50%\", pretraining = \"50%\" }}\n[train]"
        );
        TEXT.replace("[train]", &stage)
    };
    let place = world();
    run(place.path(), &staged(8), "straight").unwrap();
    run_until(place.path(), TEXT, "changed", 6).unwrap_err();
    let refused = open(place.path(), &staged(8), "changed").map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("--allow-change"), "{refused}");
    let open_changed = |text: &str| {
        open_as(place.path(), (text, "changed"), AllowedChanges::Stages, World::single())
    };
    let past = open_changed(&staged(1)).map(|_| ()).unwrap_err();
    assert!(past.to_string().contains("what differs: the weights"), "{past}");
    let other = open_changed(&staged(8).replace("clip", "#").replace("steps = 12", "steps = 13"));
    assert!(other.map(|_| ()).unwrap_err().to_string().contains("train.steps"));
    let mut trainer = open_changed(&staged(8)).unwrap();
    trainer.run(Observer::silent()).unwrap();
    assert_eq!(end(place.path(), "changed").0, end(place.path(), "straight").0);
    assert_eq!(end(place.path(), "changed").1, end(place.path(), "straight").1);
    drop(trainer);
    // Its run.toml has the stage now.
    open(place.path(), &staged(8), "changed").unwrap();
}

#[test]
#[cfg(unix)]
fn a_folder_is_written_by_one_run_at_a_time() {
    let place = world();
    let first = open(place.path(), TEXT, "out").unwrap();
    let error = open(place.path(), TEXT, "out").map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("/out: expected a run that no other process"), "{error}");
    drop(first);
    run(place.path(), TEXT, "out").unwrap();
}

#[test]
fn a_run_leaves_a_whole_folder() {
    let place = world();
    let summary = run(place.path(), TEXT, "out").unwrap();
    assert_eq!((summary.steps, summary.before.len(), summary.shares.len()), (12, 2, 2));
    assert!(summary.best[0].loss < summary.before[0].loss);
    assert_eq!(summary.shares[0].sequences, 36);
    assert_eq!(summary.model_parameters, tiny().parameters());
    let row = summary.row.unwrap();
    assert_eq!(
        (row.p_requested, row.target_tokens, row.best_step),
        // Of 200 tokens one is only an input: 24 sequences of 8 targets.
        (0.25, 192, summary.best_step)
    );
    assert_eq!((row.domain.as_str(), row.evaluation_tokens), ("target", 24));
    assert_eq!(row.target_loss.to_bits(), summary.best[0].loss.to_bits());
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    let metrics = folder.read_metrics().unwrap();
    let steps: Vec<u64> = metrics.iter().map(|record| record.step).collect();
    assert_eq!(steps, (0..=12).collect::<Vec<_>>());
    let evaluated: Vec<u64> =
        metrics.iter().filter(|r| !r.evals.is_empty()).map(|r| r.step).collect();
    assert_eq!(evaluated, [0, 3, 6, 9, 12]);
    // The losses of the sources add up to that of the batch.
    for record in &metrics[1..] {
        let sum: f64 = record.sources.iter().map(|s| s.loss * s.tokens as f64).sum();
        let tokens: u64 = record.sources.iter().map(|s| s.tokens).sum();
        assert_eq!((record.sources.len(), tokens), (2, 32));
        assert!((sum / 32.0 - record.train_loss.unwrap()).abs() < 1e-12);
        assert!(record.mfu.unwrap() > 0.0 && record.data_wait.unwrap() < 1.0);
    }
    // Changes are those to the sequences before the first step.
    let change = summary.best[1].change.unwrap();
    assert!((change.mean - (summary.best[1].loss - summary.before[1].loss)).abs() < 1e-12);
    assert!(summary.best[0].selection_loss.is_some() && summary.best[1].selection_loss.is_none());
    let mut kept: Vec<String> = std::fs::read_dir(folder.checkpoints())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["step-12", "step-9"]);
    let best = Model::load(&folder.best()).unwrap();
    assert!(!folder.best().join("state.json").exists());
    assert_eq!(best.config().eos_token_id, Some(39));
    let tokenizer = std::fs::read_to_string(folder.best().join("tokenizer_config.json")).unwrap();
    assert!(tokenizer.contains(r#""eos_token": "<|endoftext|>""#), "{tokenizer}");
    // A finished run only gives its summary.
    assert_eq!(run(place.path(), TEXT, "out").unwrap(), folder.read_summary().unwrap());
}

#[test]
fn losses_by_sequence_are_those_of_the_best_step() {
    let place = world();
    let summary = run(place.path(), TEXT, "out").unwrap();
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    let losses = folder.read_losses(&summary).unwrap().unwrap();
    assert_eq!(losses.best_step, summary.best_step);
    for (own, best) in losses.corpora.iter().zip(&summary.best) {
        let sequences = u64::try_from(own.sequences.len()).unwrap();
        assert_eq!((own.corpus.as_str(), sequences), (best.corpus.as_str(), best.sequences));
        let mean = MeanLoss::of(&own.sequences);
        assert_eq!(
            (mean.mean.to_bits(), mean.standard_error),
            (best.loss.to_bits(), best.standard_error)
        );
    }
    // Another seed has the same sequences and another model, other held-out text has none of them.
    let again = run(place.path(), &TEXT.replace("seed = 5", "seed = 6"), "again").unwrap();
    let again = RunFolder::open(&place.path().join("again")).unwrap().read_losses(&again).unwrap();
    let pair = |name: &str, other: &LossesRecord| paired(losses.find(name), other.find(name));
    let difference = pair("target", again.as_ref().unwrap()).unwrap();
    assert!(difference.sequences == 3 && difference.mean.abs() > 0.0);
    std::fs::remove_dir_all(place.path().join("general")).unwrap();
    corpus(&place.path().join("general"), 40, &tokens(500, 3), &tokens(570, 4)[490..]);
    let moved = run(place.path(), TEXT, "moved").unwrap();
    let moved = RunFolder::open(&place.path().join("moved")).unwrap().read_losses(&moved).unwrap();
    let moved = moved.unwrap();
    assert_eq!(pair("pretraining", &moved), Err(Unpaired::OtherSequences));
    assert!(pair("target", &moved).is_ok());
}

/// A source whose documents have targets in their second half only, longer than a sequence.
#[test]
fn a_step_without_a_target_has_no_loss() {
    let place = world();
    let document =
        |seed: u32| -> Document { (tokens(80, seed), Some([vec![0; 40], vec![1; 40]].concat())) };
    let documents: Vec<Document> = (0..4).map(document).collect();
    corpus_of_documents(&place.path().join("labeled"), 40, &documents, &[document(9)], 3);
    let text = TEXT.replacen("corpus = \"target\"", "corpus = \"labeled\"", 1);
    let text = text.replace("batch_size = 4", "batch_size = 1").replace("75%", "100%");
    let (start, end) =
        (text.find("[[mixture.source]]\n    name = \"pre").unwrap(), text.find("[train]").unwrap());
    let text = format!("{}{}", &text[..start], &text[end..]).replace("max_tokens = 200", "");
    let summary = run(place.path(), &text, "out").unwrap();
    let metrics = RunFolder::open(&place.path().join("out")).unwrap().read_metrics().unwrap();
    let idle = metrics[1..].iter().filter(|one| one.train_loss.is_none());
    let idle: Vec<_> = idle.map(|one| (one.sources.len(), one.gradient_norm)).collect();
    assert!((1..12).contains(&idle.len()), "{idle:?}");
    assert!(idle.iter().all(|one| *one == (0, Some(0.0))), "{idle:?}");
    assert_eq!(summary.steps_without_targets, u64::try_from(idle.len()).unwrap());
    assert!(metrics.iter().filter_map(|one| one.train_loss).all(|loss| loss > 0.5));
    // A run that is stopped and goes on counts the same.
    run_until(place.path(), &text, "stopped", 9).unwrap_err();
    let stopped = run(place.path(), &text, "stopped").unwrap();
    assert_eq!(stopped.steps_without_targets, summary.steps_without_targets);
}

#[test]
#[cfg(unix)]
fn a_run_whose_folder_is_taken_away_is_an_error() {
    let place = world();
    let (out, elsewhere) = (place.path().join("out"), place.path().join("elsewhere"));
    for calls in 1..=14 {
        let told = Mutex::new(0);
        let progress = |_: Progress| {
            let mut told = told.lock().unwrap();
            *told += 1;
            if *told == calls {
                std::fs::rename(&out, &elsewhere).unwrap();
                // Another folder of the same name is not the run's.
                if calls % 2 == 0 {
                    std::fs::create_dir(&out).unwrap();
                }
            }
        };
        let mut trainer = open(place.path(), TEXT, "out").unwrap();
        let error = trainer.run(Observer::new(&progress, &AtomicBool::new(false))).unwrap_err();
        let words = "out: expected the run's folder to stay until the run ends";
        assert!(error.to_string().contains(words), "{calls}: {error}");
        assert!(!out.join("summary.json").exists(), "{calls}");
        drop(trainer);
        std::fs::remove_dir_all(&elsewhere).unwrap();
        let _ = std::fs::remove_dir_all(&out);
    }
    run(place.path(), TEXT, "out").unwrap();
}

#[test]
fn a_run_does_not_go_on_over_lines_that_are_gone() {
    let place = world();
    run_until(place.path(), TEXT, "out", 14).unwrap_err();
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    let lines = std::fs::read_to_string(folder.metrics()).unwrap();
    let kept: String = lines.split_inclusive('\n').take(4).collect();
    std::fs::write(folder.metrics(), kept).unwrap();
    let step = open(place.path(), TEXT, "out").unwrap().step();
    let error = run(place.path(), TEXT, "out").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let expected = format!("metrics.jsonl: expected the lines of every step up to {step}");
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(error.to_string().contains(&format!("none of steps 4 to {step}; bring")), "{error}");
    std::fs::write(folder.metrics(), lines).unwrap();
    run(place.path(), TEXT, "out").unwrap();
    run(place.path(), TEXT, "straight").unwrap();
    assert_eq!(self::end(place.path(), "out"), self::end(place.path(), "straight"));
}

/// An engine whose caller sets the stop flag after the first micro-batch of one of its passes.
struct StopsWithin {
    inner: Box<dyn Engine>,
    /// Whole passes before that one.
    passes: u32,
    stop: Arc<AtomicBool>,
}

impl StopsWithin {
    /// The first row of the pass that is stopped.
    fn first_row(&mut self, rows: &Rows) -> Option<Rows> {
        let is_it = self.passes == 0;
        self.passes = self.passes.checked_sub(1).unwrap_or(u32::MAX);
        let part = rows.micro_batches(1).next().filter(|_| is_it)?;
        let (tokens, targets) = (part.tokens.to_vec(), part.targets.to_vec());
        let (positions, starts) = (part.positions.to_vec(), part.starts.to_vec());
        Some(Rows { rows: 1, length: rows.length, tokens, targets, positions, starts })
    }
}

impl Engine for StopsWithin {
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        if let Some(first) = self.first_row(rows) {
            self.inner.losses_and_gradients(parameters, &first, divisor, gradients, stop)?;
            self.stop.store(true, Ordering::Relaxed);
        }
        self.inner.losses_and_gradients(parameters, rows, divisor, gradients, stop)
    }

    fn losses_and_adapter_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        adapter: AdapterGradients<f32>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        if let Some(first) = self.first_row(rows) {
            let adapter = AdapterGradients { gradients: &mut *adapter.gradients, ..adapter };
            self.inner.losses_and_adapter_gradients(parameters, &first, divisor, adapter, stop)?;
            self.stop.store(true, Ordering::Relaxed);
        }
        self.inner.losses_and_adapter_gradients(parameters, rows, divisor, adapter, stop)
    }

    fn losses(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        self.inner.losses(parameters, rows, stop)
    }
}

/// A disk that was full at the write of an event leaves half of it.
#[test]
fn a_run_that_continues_mends_its_event_files() {
    let place = world();
    run_until(place.path(), TEXT, "out", 8).unwrap_err();
    let events = RunFolder::open(&place.path().join("out")).unwrap().tensorboard();
    let path = std::fs::read_dir(events).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..30]].concat()).unwrap();
    run(place.path(), TEXT, "out").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// Steps and evaluations may take hours: the stop flag is seen within them, and what is not finished is dropped.
#[test]
fn a_stop_within_a_step_drops_the_step() {
    let place = base_and_corpora(&tiny());
    for (number, more) in ["", "ema = 0.8", LORA].into_iter().enumerate() {
        let text = text(more);
        let (whole, out) = (format!("whole-{number}"), format!("out-{number}"));
        run(place.path(), &text, &whole).unwrap();
        let expected = end(place.path(), &whole);
        for goes_on_as_it_is in [true, false] {
            let _ = std::fs::remove_dir_all(place.path().join(&out));
            let stop = Arc::new(AtomicBool::new(false));
            let mut trainer = open(place.path(), &text, &out).unwrap();
            let flag = Arc::clone(&stop);
            trainer
                .model
                .wrap_engine(|inner| Box::new(StopsWithin { inner, passes: 4, stop: flag }));
            let error = trainer.run(Observer::new(&|_| {}, &stop)).unwrap_err();
            assert!(matches!(error, Error::Interrupted { step: 4 }), "{error}");
            assert!(trainer.folder.checkpoint(4).exists() && trainer.step() == 4);
            assert!(trainer.stepper.gradients().iter().all(|&gradient| gradient == 0.0));
            if goes_on_as_it_is {
                trainer.run(Observer::silent()).unwrap();
            } else {
                drop(trainer);
                run(place.path(), &text, &out).unwrap();
            }
            assert_eq!(end(place.path(), &out), expected, "{more} {goes_on_as_it_is}");
        }
    }
}

#[test]
fn stopping_anywhere_and_going_on_changes_no_bit() {
    let place = world();
    on_threads(1, || run(place.path(), TEXT, "whole")).unwrap();
    let expected = end(place.path(), "whole");
    // Told after the first evaluation, every step and every further evaluation: 17 times.
    for calls in [1, 2, 4, 5, 9, 16] {
        let out = format!("stopped-{calls}");
        let error = run_until(place.path(), TEXT, &out, calls).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        on_threads(2, || run(place.path(), TEXT, &out)).unwrap();
        assert_eq!(end(place.path(), &out), expected, "stopped after {calls} calls");
    }
    // Stopped again and again.
    while let Err(error) = run_until(place.path(), TEXT, "often", 2) {
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    }
    assert_eq!(end(place.path(), "often"), expected);
}

#[test]
fn a_stop_before_the_first_step_leaves_a_run_to_go_on_with() {
    let place = world();
    let stopped = open(place.path(), TEXT, "out")
        .unwrap()
        .run(Observer::new(&|_| {}, &AtomicBool::new(true)));
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    run(place.path(), TEXT, "out").unwrap();
}

#[test]
fn other_settings_are_refused_by_name() {
    let place = world();
    run(place.path(), TEXT, "out").unwrap();
    let error = |text: &str| open(place.path(), text, "out").map(|_| ()).unwrap_err();
    let other = error(&TEXT.replace("steps = 12", "steps = 13"));
    assert_eq!(other.kind(), ErrorKind::Configuration);
    assert!(
        other.to_string().contains("train.steps: expected 12 (the run in this folder), got 13")
    );
    let other = error(&TEXT.replace("75%", "60%").replace("25%", "40%"));
    assert!(other.to_string().contains("mixture.source.1.weight: expected \"75%\""), "{other}");
    std::fs::remove_dir_all(place.path().join("general")).unwrap();
    corpus(&place.path().join("general"), 40, &tokens(501, 3), &tokens(80, 4));
    let other = error(TEXT).to_string();
    assert!(other.contains("fingerprints.eval pretraining: expected"), "{other}");
}

#[test]
fn a_run_without_pretraining_data_has_p_zero() {
    let place = world();
    let source = TEXT.find("    [[mixture.source]]\n    name = \"pretraining\"").unwrap();
    let train = TEXT.find("    [train]").unwrap();
    let text = format!("{}{}", &TEXT[..source], &TEXT[train..]).replace("75%", "100%");
    let summary = run(place.path(), &text, "out").unwrap();
    let row = summary.row.unwrap();
    assert_eq!((row.p_requested, row.p_realised), (0.0, 0.0));
    assert!(row.pretraining_loss_before > 3.0);
    let text = text.replace("pretraining = \"pretraining\"", "");
    assert_eq!(run(place.path(), &text, "plain").unwrap().row, None);
}

#[test]
fn patience_ends_a_run_early() {
    let place = world();
    let text = TEXT.replace("learning_rate = 0.01", "learning_rate = 1e-30\npatience = 2");
    let summary = run(place.path(), &text, "out").unwrap();
    assert_eq!((summary.steps, summary.best_step), (6, 0));
    assert_eq!(run(place.path(), &text, "out").unwrap(), summary);
}

#[test]
fn a_diverging_run_is_numerical_and_keeps_its_checkpoint() {
    let place = world();
    let mut text = TEXT.replace("learning_rate = 0.01", "learning_rate = 1e30\nclip = inf");
    text = text.replace("checkpoint_every = 4", "checkpoint_every = 1");
    let error = run(place.path(), &text, "out").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Numerical, "{error}");
    assert!(matches!(error, Error::NonFiniteLoss { step: 2..=12, .. }), "{error}");
    let out = place.path().join("out");
    assert!(out.join("best/model.safetensors").exists());
    let folder = RunFolder::open(&out).unwrap();
    assert!(folder.checkpoint(1).join("optimizer.safetensors").exists());
    assert!(open(place.path(), &text, "out").unwrap().step() > 0);
    let kept = error.to_string();
    assert!(kept.contains("; the checkpoint of step "), "{kept}");
}

#[test]
fn a_run_toml_repeats_its_run_from_where_it_lies() {
    let place = world();
    run(place.path(), TEXT, "out").unwrap();
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    let mut table: toml::Table = folder.read_run_toml().unwrap().parse().unwrap();
    for key in ["run_id", "title", "fingerprints"] {
        table.remove(key).unwrap();
    }
    let config = RunConfig::parse(&table.to_string()).unwrap();
    let name = RunName { run_id: "r".to_owned(), title: "run".to_owned() };
    let again = place.path().join("again");
    let again = Trainer::open(
        &config,
        base(folder.path()),
        &again,
        name,
        AllowedChanges::None,
        World::single(),
        &AtomicBool::new(false),
    );
    again.unwrap().run(Observer::silent()).unwrap();
    assert_eq!(end(place.path(), "again"), end(place.path(), "out"));
}

#[test]
fn a_model_folder_goes_on_where_it_was_left() {
    let place = world();
    let first = run(place.path(), TEXT, "first").unwrap();
    let model = TEXT.find("[model]").unwrap();
    let mixture = TEXT.find("[mixture]").unwrap();
    let text = format!("{}[model]\ninit = \"first/best\"\n{}", &TEXT[..model], &TEXT[mixture..]);
    let second = run(place.path(), &text, "second").unwrap();
    let losses = |evals: &[EvalRecord]| evals.iter().map(|eval| eval.loss).collect::<Vec<_>>();
    assert_eq!(losses(&second.before), losses(&first.best));
    let longer = text.replace("sequence_length = 8", "sequence_length = 9");
    let error = open(place.path(), &longer, "third").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("mixture.sequence_length: expected at most 8"), "{error}");
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let place = world();
    let error = |text: &str| open(place.path(), text, "out").map(|_| ()).unwrap_err();
    // The texts have ids above 20.
    let small = error(&TEXT.replace("vocab_size = 40", "vocab_size = 20"));
    for words in ["ids below 20 (the model's vocab_size), got 2", "of a tokenizer of 40 entries"] {
        assert!(small.to_string().contains(words), "{small}");
    }
    // The held-out document of one corpus is the training document of the other.
    corpus(&place.path().join("leak"), 40, &tokens(500, 3), &tokens(400, 1));
    let eval = TEXT.rfind("corpus = \"general\"").unwrap();
    let leaking = format!("{}corpus = \"leak\"", &TEXT[..eval]);
    let leak = error(&leaking);
    assert!(
        matches!(leak, Error::Overlap { got: 1, .. }) && leak.kind() == ErrorKind::Configuration,
        "{leak}"
    );
    // A document with the same beginning.
    corpus(&place.path().join("near"), 40, &tokens(500, 3), &tokens(399, 1));
    let near = error(&leaking.replace("\"leak\"", "\"near\""));
    assert!(matches!(near, Error::NearOverlap { got: 1, .. }), "{near}");
    assert_eq!(near.kind(), ErrorKind::Configuration);
    assert!(!place.path().join("out").exists());
}
