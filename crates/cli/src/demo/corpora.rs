//! The demo's text, tokenizer and two corpora.

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_documents::ReadOptions;
use mixdown_tokenize::{
    Holdout, PrepareOptions, PrepareProgress, PrepareStage, TrainTokenizerOptions, prepare,
    train_tokenizer,
};
use serde::Serialize;

use super::DemoSettings;
use super::registry_text::{self, TextDocument};
use crate::commands::Context;
use crate::commands::corpora::prepare::describe;
use crate::error::Error;
use crate::files::write_whole;
use crate::terminal::progress::{Meter, Unit, say, say_inputs, stage_name};

/// Share of each corpus' documents that is held out.
const HOLDOUT_SHARE: f64 = 0.05;

/// Folders relative to the demo's, as the runs' settings name them.
#[derive(Debug)]
pub struct Corpora {
    /// The pretraining corpus.
    pub pretraining: PathBuf,
    /// The target corpus.
    pub target: PathBuf,
}

/// Makes the text, the tokenizer and the corpora that do not exist.
///
/// # Errors
/// No text, bad text, a full disk, an interruption.
pub fn make(settings: &DemoSettings, out: &Path, context: Context) -> Result<Corpora, Error> {
    let (pretraining, target) = inputs(settings, out)?;
    let tokenizer = tokenizer(settings, out, [&pretraining, &target], context)?;
    let corpora =
        Corpora { pretraining: "corpora/pretraining".into(), target: "corpora/target".into() };
    prepare_one(settings, &pretraining, &tokenizer, &out.join(&corpora.pretraining), context)?;
    prepare_one(settings, &target, &tokenizer, &out.join(&corpora.target), context)?;
    Ok(corpora)
}

fn inputs(settings: &DemoSettings, out: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    if !settings.pretraining.is_empty() {
        return Ok((settings.pretraining.clone(), settings.target.clone()));
    }
    let folder = out.join("text");
    let (pretraining, target) = (folder.join("pretraining.jsonl"), folder.join("target.jsonl"));
    if !(pretraining.exists() && target.exists()) {
        let text = registry_text::gather()?;
        fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, "make", error))?;
        say(&format!(
            "text: {:.1} MB of prose, {:.1} MB of Rust code from cargo's registry",
            megabytes(&text.pretraining),
            megabytes(&text.target)
        ));
        write_json_lines(&pretraining, &text.pretraining)?;
        write_json_lines(&target, &text.target)?;
    }
    Ok((vec![pretraining], vec![target]))
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn megabytes(documents: &[TextDocument]) -> f64 {
    documents.iter().map(|document| document.text.len()).sum::<usize>() as f64 / 1e6
}

#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    text: &'a str,
}

fn write_json_lines(path: &Path, documents: &[TextDocument]) -> Result<(), Error> {
    let mut bytes = Vec::new();
    for TextDocument { source, text } in documents {
        serde_json::to_writer(&mut bytes, &Line { source, text })
            .map_err(|error| Error::io(path, "write", error.into()))?;
        bytes.push(b'\n');
    }
    write_whole(path, &bytes)
}

fn tokenizer(
    settings: &DemoSettings,
    out: &Path,
    inputs: [&[PathBuf]; 2],
    context: Context,
) -> Result<PathBuf, Error> {
    let path = out.join("tokenizer.json");
    if path.exists() {
        return Ok(path);
    }
    let meter = Meter::new("train tokenizer", Unit::Bytes);
    let progress = |at: PrepareProgress| match at.stage {
        PrepareStage::Inputs(remarks) => say_inputs("train tokenizer", &remarks),
        stage => meter.set(at.done, at.total, stage_name(&stage)),
    };
    let options =
        TrainTokenizerOptions { vocab_size: settings.vocab_size, read: ReadOptions::default() };
    let report =
        train_tokenizer(&inputs.concat(), &path, &options, Observer::new(&progress, context.stop))?;
    meter.finish(&plural(report.vocab_size, "entry"));
    Ok(path)
}

fn prepare_one(
    settings: &DemoSettings,
    inputs: &[PathBuf],
    tokenizer: &Path,
    corpus: &Path,
    context: Context,
) -> Result<(), Error> {
    // A call that stopped after the manifest leaves temporary files, which the next call removes.
    if corpus.join("manifest.json").exists() && !corpus.join(".work").exists() {
        return Ok(());
    }
    let name = corpus.file_name().unwrap_or_default().to_string_lossy();
    let meter = Meter::new(format!("prepare {name}"), Unit::Bytes);
    let progress = |at: PrepareProgress| match at.stage {
        PrepareStage::Inputs(remarks) => say_inputs(&format!("prepare {name}"), &remarks),
        stage => meter.set(at.done, at.total, stage_name(&stage)),
    };
    let options = PrepareOptions {
        holdout: Holdout::Share(HOLDOUT_SHARE),
        seed: settings.seed,
        ..PrepareOptions::default()
    };
    let report =
        prepare(inputs, tokenizer, corpus, &options, Observer::new(&progress, context.stop))?;
    meter.finish(&describe(&report));
    Ok(())
}
