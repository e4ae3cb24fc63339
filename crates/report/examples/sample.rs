//! Renders a simulated set of runs, to look at the page: `cargo run --example sample -- OUT.html
//! [base|five|markup]`.

use std::error::Error;
use std::path::PathBuf;

use mixdown_report::{Report, RunPage, write};
use mixdown_runs::{EvalRecord, MetricsRecord, RunRow, ShareRecord, Summary};

const STEPS: u32 = 300;
const EVERY: u32 = 20;
const BATCH_TOKENS: u64 = 2048;
const TARGET_TOKENS: u64 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: sample OUT.html [base|five|markup]")?);
    let shares: &[f64] = match arguments.next().as_deref() {
        Some("base") => &[],
        Some("five") => &[0.0, 0.001, 0.005, 0.01, 0.05, 0.2],
        _ => &[0.0, 0.01, 0.05],
    };
    let mut runs: Vec<RunPage> = vec![pretraining()];
    runs.extend(shares.iter().map(|p| finetuning(*p)));
    let markup = std::env::args().nth(2).as_deref() == Some("markup");
    if markup {
        runs.iter_mut().for_each(mark_up);
    }
    write(&report(runs), &path)?;
    Ok(())
}

fn report(runs: Vec<RunPage>) -> Report {
    Report {
        title: "Rust code for a model of prose".to_owned(),
        lead: "A model of 0.9 M parameters was pretrained on the prose of Rust packages and then \
               finetuned on 50 000 tokens of Rust code, with different shares of its pretraining \
               text mixed back in. Simulated numbers, to look at the page."
            .to_owned(),
        runs,
        notes: vec![
            "The target’s 50 000 unique tokens repeat about twelve times, so that its held-out loss \
             turns up again: every run is read at the bottom of that curve."
                .to_owned(),
        ],
        settings: vec![
            ("mixdown".to_owned(), "0.1.0".to_owned()),
            ("Tokenizer".to_owned(), "byte-level BPE, 2 048 ids".to_owned()),
            ("Pretraining corpus".to_owned(), "1 204 documents, 1 310 720 tokens".to_owned()),
            ("Target corpus".to_owned(), "402 documents, 655 360 tokens".to_owned()),
        ],
    }
}

/// Noise in ±1 that depends on its argument alone.
fn noise(at: f64) -> f64 {
    ((at * 12.9898).sin() * 43_758.547).fract()
}

fn eval(corpus: &str, loss: f64) -> EvalRecord {
    EvalRecord {
        corpus: corpus.to_owned(),
        loss,
        standard_error: Some(0.013),
        bits_per_byte: loss / 2.1,
        tokens: 32_768,
        sequences: 256,
        ..EvalRecord::default()
    }
}

fn losses(p: f64, step: f64) -> Vec<EvalRecord> {
    let fall = 1.55 * (1.0 - (-step / 22.0).exp());
    let rise = 0.42 * (step / 300.0).powf(1.7);
    let target = 4.95 - fall + rise - 0.02 * p + 0.006 * noise(step + p);
    let forgotten = 1.15 * (1.0 + 310.0 * p).powf(-0.42) * (1.0 - (-step / 70.0).exp());
    let pretraining = 3.71 + forgotten + 0.004 * noise(step * 3.0 + p);
    vec![
        eval("target", if step > 0.0 { target } else { 4.95 }),
        eval("pretraining", if step > 0.0 { pretraining } else { 3.71 }),
    ]
}

fn metrics(
    steps: u32,
    train_loss: impl Fn(f64) -> f64,
    evals: impl Fn(f64) -> Vec<EvalRecord>,
) -> Vec<MetricsRecord> {
    let record = |step: u32| {
        let at = f64::from(step);
        MetricsRecord {
            step: u64::from(step),
            train_loss: (step > 0).then(|| train_loss(at) + 0.09 * noise(at * 7.0)),
            learning_rate: 1e-3,
            gradient_norm: Some(0.8),
            tokens: u64::from(step) * BATCH_TOKENS,
            tokens_per_second: Some(5_400.0),
            evals: if step.is_multiple_of(EVERY) { evals(at) } else { Vec::new() },
            ..MetricsRecord::default()
        }
    };
    (0..=steps).map(record).collect()
}

fn best(records: &[MetricsRecord]) -> (u64, Vec<EvalRecord>) {
    let mut best: (u64, Vec<EvalRecord>) = (0, Vec::new());
    for record in records.iter().filter(|record| !record.evals.is_empty()) {
        let loss = |evals: &[EvalRecord]| evals.first().map_or(f64::INFINITY, |eval| eval.loss);
        if loss(&record.evals) < loss(&best.1) {
            best = (record.step, record.evals.clone());
        }
    }
    best
}

fn finetuning(p: f64) -> RunPage {
    let metrics = metrics(
        STEPS,
        |step| 4.9 - 2.3 * (1.0 - (-step / 60.0).exp()) + 1.2 * p,
        |step| losses(p, step),
    );
    let (best_step, best) = best(&metrics);
    let percent = p * 100.0;
    let loss = |at: usize| best.get(at).map_or(0.0, |eval| eval.loss);
    let row = RunRow {
        run_id: format!("finetune-{percent}"),
        domain: "rust".to_owned(),
        model_size: 912_384,
        non_embedding_parameters: 650_240,
        target_tokens: TARGET_TOKENS,
        p_requested: p,
        p_realised: (p * 4800.0).round() / 4800.0,
        best_step,
        target_loss: loss(0),
        pretraining_loss: loss(1),
        pretraining_loss_before: 3.71,
        evaluation_tokens: 32_768,
        seed: 7,
        fingerprint: "3f0a9c7e51d2b8644aa0c1d97e6f52b03f0a9c7e51d2b8644aa0c1d97e6f52b0".to_owned(),
        learning_rate: Some(1e-3),
        schedule: Some("cosine".to_owned()),
        horizon_steps: Some(u64::from(STEPS)),
        warmup_steps: Some(20),
        batch_tokens: Some(BATCH_TOKENS),
        sequence_length: Some(128),
        weight_decay: Some(0.1),
        optimizer: Some("adamw".to_owned()),
        method: Some("full".to_owned()),
        tokenizer: None,
        base_tokens: None,
    };
    let settings_toml = format!(
        "[mixture]\nsequence_length = 128\nbatch_size = 16\nseed = 7\n\n[[mixture.source]]\nname = \
         \"target\"\ncorpus = \"corpora/target\"\nweight = \"{}%\"\nmax_tokens = 50000\n\n\
         [[mixture.source]]\nname = \"pretraining\"\ncorpus = \"corpora/pretraining\"\nweight = \
         \"{percent}%\"\n\n[train]\nsteps = 300\nlearning_rate = 1e-3\n",
        100.0 - percent
    );
    let summary = Summary {
        run_id: row.run_id.clone(),
        title: format!("Finetuned, p = {percent} %"),
        best_step,
        steps: u64::from(STEPS),
        steps_without_targets: 0,
        before: losses(p, 0.0),
        best,
        last: losses(p, f64::from(STEPS)),
        shares: shares(p),
        row: Some(row),
        model_parameters: 912_384,
        tokens_per_second: 5_412.0,
        seconds: 121.0,
    };
    RunPage { summary, metrics, losses: None, settings_toml }
}

fn shares(p: f64) -> Vec<ShareRecord> {
    let record = |source: &str, share: f64, unique_tokens: u64| {
        let sequences = (share * 4800.0).round();
        ShareRecord {
            source: source.to_owned(),
            requested: share,
            realised: sequences / 4800.0,
            sequences: format!("{sequences}").parse().unwrap_or(0),
            tokens: format!("{}", sequences * 128.0).parse().unwrap_or(0),
            unique_tokens,
            epochs: sequences * 128.0 / if source == "target" { 49_920.0 } else { 1_310_592.0 },
        }
    };
    let pretraining = format!("{}", (p * 4800.0).round() * 128.0).parse().unwrap_or(0);
    let mut records = vec![record("target", 1.0 - p, 49_920)];
    if p > 0.0 {
        records.push(record("pretraining", p, pretraining));
    }
    records
}

fn pretraining() -> RunPage {
    let curve = |step: f64| 3.68 + 3.95 * (-step / 110.0).exp() + 0.3 * (-step / 500.0).exp();
    let metrics = metrics(600, curve, |step| vec![eval("pretraining", curve(step) + 0.05)]);
    let (best_step, best) = best(&metrics);
    let summary = Summary {
        run_id: "pretrain".to_owned(),
        title: "Pretraining".to_owned(),
        best_step,
        steps: 600,
        steps_without_targets: 0,
        before: vec![eval("pretraining", curve(0.0) + 0.05)],
        last: best.clone(),
        best,
        shares: Vec::new(),
        row: None,
        model_parameters: 912_384,
        tokens_per_second: 5_633.0,
        seconds: 221.0,
    };
    let settings_toml = "[train]\nsteps = 600\n".to_owned();
    RunPage { summary, metrics, losses: None, settings_toml }
}

/// Markup wherever a text comes from outside, to see that the page shows it and obeys none of it.
fn mark_up(page: &mut RunPage) {
    const MARKUP: &str = "</script><script>alert(1)</script><!-- <b>bold</b> &amp; %{x}";
    page.summary.title.push_str(MARKUP);
    page.summary.run_id.push_str(MARKUP);
    page.settings_toml.push_str(MARKUP);
    for share in &mut page.summary.shares {
        share.source.push_str(MARKUP);
    }
    let summary = &mut page.summary;
    let recorded = page.metrics.iter_mut().flat_map(|record| &mut record.evals);
    for eval in
        summary.before.iter_mut().chain(&mut summary.best).chain(&mut summary.last).chain(recorded)
    {
        eval.corpus.push_str(MARKUP);
    }
}
