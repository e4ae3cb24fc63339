//! Small runs for the tests of this crate.

use mixdown_runs::{
    CorpusLosses, DocumentLoss, ErrorUnit, EvalRecord, LossesRecord, MetricsRecord, RunRow,
    SequenceLoss, ShareRecord, Summary,
};

use crate::runs::{Report, RunPage};

pub(crate) const BEFORE: f64 = 3.7;

pub(crate) fn report(runs: Vec<RunPage>) -> Report {
    Report {
        title: "Title".to_owned(),
        lead: "Lead.".to_owned(),
        runs,
        notes: vec!["Note.".to_owned()],
        settings: vec![("Tokenizer".to_owned(), "2 048 ids".to_owned())],
    }
}

pub(crate) fn eval(corpus: &str, loss: f64) -> EvalRecord {
    EvalRecord {
        corpus: corpus.to_owned(),
        loss,
        standard_error: Some(0.01),
        bits_per_byte: loss / 2.0,
        tokens: 1024,
        sequences: 8,
        documents: Some(8),
        error_unit: Some(ErrorUnit::Documents),
        ..EvalRecord::default()
    }
}

/// A run whose pretraining loss rose by `forgetting` nats at the chosen step 20 of 40.
pub(crate) fn finetuned(p: f64, forgetting: f64) -> RunPage {
    let evals =
        |target: f64, rise: f64| vec![eval("target", target), eval("pretraining", BEFORE + rise)];
    let (before, best, last) =
        (evals(5.0, 0.0), evals(3.1, forgetting), evals(3.2, forgetting * 1.1));
    let summary = Summary {
        run_id: format!("run-{p}"),
        title: format!("Finetuned at {p}"),
        best_step: 20,
        steps: 40,
        steps_without_targets: 0,
        before: before.clone(),
        best: best.clone(),
        last: last.clone(),
        shares: vec![share("target", 1.0 - p), share("pretraining", p)],
        row: Some(row(p, forgetting)),
        model_parameters: 1_000_000,
        tokens_per_second: 5000.0,
        seconds: 16.0,
    };
    RunPage {
        losses: Some(losses(&summary, 0.0)),
        summary,
        metrics: metrics(&[(0, before), (20, best), (40, last)]),
        settings_toml: "sequence_length = 128\n".to_owned(),
    }
}

/// Losses of eight documents whose means are those of the summary: half of the documents lose `noise` more than their
/// own, the others as much less.
pub(crate) fn losses(summary: &Summary, noise: f64) -> LossesRecord {
    let sequence = |loss: f64, document: u64| {
        let own = [0.3, -0.3, 0.1, -0.1][usize::try_from(document % 4).unwrap()];
        let sign = if document < 4 { 1.0 } else { -1.0 };
        let loss = (loss + own + sign * noise) * 128.0;
        let documents = vec![DocumentLoss { document, loss, targets: 128 }];
        SequenceLoss { loss, targets: 128, documents }
    };
    let corpora = summary.best.iter().map(|eval| CorpusLosses {
        corpus: eval.corpus.clone(),
        measured: "ab".repeat(32),
        sequences: (0..8).map(|document| sequence(eval.loss, document)).collect(),
    });
    LossesRecord::new(summary.best_step, corpora.collect())
}

/// A pretraining run.
pub(crate) fn base() -> RunPage {
    let (before, last) = (vec![eval("pretraining", 7.6)], vec![eval("pretraining", BEFORE)]);
    let summary = Summary {
        run_id: "base".to_owned(),
        title: "Pretraining".to_owned(),
        best_step: 40,
        steps: 40,
        steps_without_targets: 0,
        before: before.clone(),
        best: last.clone(),
        last: last.clone(),
        shares: Vec::new(),
        row: None,
        model_parameters: 1_000_000,
        tokens_per_second: 5000.0,
        seconds: 16.0,
    };
    RunPage {
        losses: Some(losses(&summary, 0.0)),
        summary,
        metrics: metrics(&[(0, before), (40, last)]),
        settings_toml: "steps = 40\n".to_owned(),
    }
}

fn metrics(evals: &[(u64, Vec<EvalRecord>)]) -> Vec<MetricsRecord> {
    let record = |step: u64| MetricsRecord {
        step,
        train_loss: (step > 0).then_some(4.0),
        learning_rate: 1e-3,
        gradient_norm: Some(1.0),
        tokens: step * 128,
        tokens_per_second: None,
        evals: evals
            .iter()
            .find(|(at, _)| *at == step)
            .map_or_else(Vec::new, |found| found.1.clone()),
        ..MetricsRecord::default()
    };
    (0..=40).map(record).collect()
}

fn share(source: &str, share: f64) -> ShareRecord {
    ShareRecord {
        source: source.to_owned(),
        requested: share,
        realised: share,
        sequences: 100,
        tokens: 12_800,
        unique_tokens: 6_400,
        epochs: 2.0,
    }
}

fn row(p: f64, forgetting: f64) -> RunRow {
    RunRow {
        run_id: format!("run-{p}"),
        domain: "code".to_owned(),
        model_size: 1_000_000,
        non_embedding_parameters: 700_000,
        target_tokens: 50_000,
        p_requested: p,
        p_realised: p,
        best_step: 20,
        target_loss: 3.1,
        pretraining_loss: BEFORE + forgetting,
        pretraining_loss_before: BEFORE,
        evaluation_tokens: 1024,
        seed: 7,
        fingerprint: "ab".repeat(32),
        learning_rate: None,
        schedule: None,
        horizon_steps: None,
        warmup_steps: None,
        batch_tokens: None,
        sequence_length: None,
        weight_decay: None,
        optimizer: None,
        method: None,
        tokenizer: None,
        base_tokens: None,
    }
}

pub(crate) const MARKUP: &str = "</script><script>alert(1)</script><!-- <b onclick='x'>";

/// The page without plotly.js, which has every tag somewhere in its strings.
pub(crate) fn without_library(html: &str) -> String {
    let library = crate::parts::plot::script().into_string();
    assert!(html.contains(&library));
    html.replace(&library, "")
}

pub(crate) fn count(html: &str, text: &str) -> usize {
    html.matches(text).count()
}

/// What page.js reads.
pub(crate) fn figures(html: &str) -> Vec<serde_json::Value> {
    let pieces = html.split("data-figure>").skip(1);
    let json = pieces.map(|piece| piece.split("</script>").next().unwrap());
    json.map(|json| serde_json::from_str(json).unwrap()).collect()
}

/// Every string of a figure, keys left out.
pub(crate) fn strings<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| strings(value, found));
        }
        serde_json::Value::Object(entries) => {
            entries.values().for_each(|value| strings(value, found));
        }
        _ => {}
    }
}

pub(crate) fn mark_up(page: &mut RunPage) {
    let summary = &mut page.summary;
    for text in [&mut summary.title, &mut summary.run_id, &mut page.settings_toml] {
        text.push_str(MARKUP);
    }
    if let Some(row) = &mut summary.row {
        row.run_id.push_str(MARKUP);
        row.domain.push_str(MARKUP);
        row.fingerprint.push_str(MARKUP);
    }
    for share in &mut summary.shares {
        share.source.push_str(MARKUP);
    }
    let recorded = page.metrics.iter_mut().flat_map(|record| &mut record.evals);
    let evals = summary.before.iter_mut().chain(&mut summary.best).chain(&mut summary.last);
    for eval in evals.chain(recorded) {
        eval.corpus.push_str(MARKUP);
    }
}
