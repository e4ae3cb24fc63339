//! `prepare`, with its progress and Ctrl-C.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mixdown_base::observer::Observer;
use mixdown_base::quantity::field;
use mixdown_documents::{IgnoreRules, LabelFields, ReadOptions, Selection, TrainOn, Unreadable};
use mixdown_tokenize::{
    ChatOptions, Deduplication, Holdout, PackOptions, PrepareOptions, PrepareProgress,
    PrepareStage, Shuffle, SpecialText, TooLong, YieldingSide,
};
use pyo3::prelude::*;
use serde::Deserialize;

use crate::failure::Failure;

/// The time between two checks of signals and progress.
const INTERVAL: Duration = Duration::from_millis(100);

/// The options of prepare.py, by the names of the command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    holdout: Option<String>,
    holdout_by: Option<String>,
    holdout_input: Vec<PathBuf>,
    #[serde(default, deserialize_with = "field::optional_count")]
    limit: Option<u64>,
    #[serde(deserialize_with = "field::count")]
    min_chars: u64,
    #[serde(deserialize_with = "field::count")]
    seed: u64,
    shuffle: bool,
    #[serde(deserialize_with = "field::count")]
    threads: u32,
    near_duplicates: String,
    yields: YieldingSide,
    dedup: Deduplication,
    without: Vec<PathBuf>,
    bos: String,
    end_of_text: Option<String>,
    parse_special: bool,
    work_dir: Option<PathBuf>,
    text_field: Option<String>,
    text_separator: Option<String>,
    skip_unreadable: bool,
    id_field: Option<String>,
    #[serde(deserialize_with = "field::count")]
    skip_bad: u64,
    include: Vec<String>,
    exclude: Vec<String>,
    ignore_rules: bool,
    messages_field: Option<String>,
    tools_field: Option<String>,
    chat_template: Option<PathBuf>,
    template_date: Option<String>,
    train_on: TrainOn,
    prompt_field: Option<String>,
    completion_field: Option<String>,
    #[serde(default, deserialize_with = "field::optional_tokens")]
    pack: Option<u64>,
    too_long: TooLong,
}

impl Options {
    fn resolve(self) -> Result<PrepareOptions, Failure> {
        let holdout = match (&self.holdout, self.holdout_input.is_empty()) {
            (Some(holdout), _) => holdout.parse()?,
            (None, true) => Holdout::Share(0.01),
            (None, false) => Holdout::Input,
        };
        let date = self.template_date.as_ref().map(|date| date.parse());
        let date = date
            .transpose()
            .map_err(|error: String| Failure::configuration(format!("template_date: {error}")))?;
        let pack = self
            .pack
            .map(|sequence_length| PackOptions { sequence_length, too_long: self.too_long });
        let labels = self.labels()?;
        let ignore_rules =
            if self.ignore_rules { IgnoreRules::Obey } else { IgnoreRules::Disregard };
        Ok(PrepareOptions {
            read: ReadOptions {
                text_field: self.text_field,
                text_separator: self.text_separator,
                unreadable: if self.skip_unreadable {
                    Unreadable::LeaveOut
                } else {
                    Unreadable::Refuse
                },
                id_field: self.id_field,
                group_field: self.holdout_by,
                skip_bad: self.skip_bad,
                max_record_bytes: None,
                selection: Selection { include: self.include, exclude: self.exclude, ignore_rules },
                labels,
            },
            holdout,
            holdout_inputs: self.holdout_input,
            near_duplicates: self.near_duplicates.parse()?,
            yields: self.yields,
            deduplication: self.dedup,
            without: self.without,
            limit: self.limit,
            min_chars: self.min_chars,
            work_dir: self.work_dir,
            seed: self.seed,
            shuffle: if self.shuffle { Shuffle::Global } else { Shuffle::Keep },
            threads: self.threads,
            beginning_of_text: self.bos.parse()?,
            special_text: if self.parse_special { SpecialText::Parse } else { SpecialText::Plain },
            end_of_text: self.end_of_text,
            chat: ChatOptions { template: self.chat_template, date },
            pack,
        })
    }

    fn labels(&self) -> Result<Option<LabelFields>, Failure> {
        let (messages, tools) = (self.messages_field.clone(), self.tools_field.clone());
        match (messages, self.prompt_field.clone(), self.completion_field.clone()) {
            (None, None, None) => Ok(None),
            (Some(messages), None, None) => {
                Ok(Some(LabelFields::Chat { messages, tools, train_on: self.train_on }))
            }
            (None, Some(prompt), Some(completion)) => {
                Ok(Some(LabelFields::Completion { prompt, completion }))
            }
            _ => Err(Failure::configuration(
                "labels: expected messages_field alone, or prompt_field and completion_field",
            )),
        }
    }
}

/// Prepares a corpus and returns the report as JSON. `progress`, if there is one, is called several times per second
/// with the stage's name, the bytes done and the total bytes.
#[pyfunction]
pub fn prepare(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    tokenizer: PathBuf,
    out: PathBuf,
    options: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options: Options = serde_json::from_str(options)
        .map_err(|error| Failure::configuration(format!("prepare: {error}")))?;
    let options = options.resolve()?;
    let (stop, latest) = (AtomicBool::new(false), Mutex::new(None::<PrepareProgress>));
    let note = |at: PrepareProgress| {
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    };
    let observer = Observer::new(&note, &stop);
    let (report, raised) = thread::scope(|scope| {
        let work = scope
            .spawn(|| mixdown_tokenize::prepare(&inputs, &tokenizer, &out, &options, observer));
        let mut raised = None;
        while !work.is_finished() {
            py.detach(|| thread::sleep(INTERVAL));
            let reported = report_progress(py, progress.as_ref(), &latest);
            if let Err(error) = py.check_signals().and(reported) {
                // The work stops at its next safe point; the first exception is the one to raise.
                stop.store(true, Ordering::SeqCst);
                raised.get_or_insert(error);
            }
        }
        (py.detach(|| work.join()), raised)
    });
    if let Some(error) = raised {
        return Err(error);
    }
    let report = report.map_err(|_| Failure::configuration("prepare: a thread panicked"))?;
    let report = report.map_err(Failure::from)?;
    Ok(serde_json::to_string(&report).map_err(|error| Failure::configuration(error.to_string()))?)
}

/// Calls `progress` with the latest state.
fn report_progress(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    latest: &Mutex<Option<PrepareProgress>>,
) -> PyResult<()> {
    let at = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(progress), Some(at)) = (progress, at) else { return Ok(()) };
    let stage = match at.stage {
        PrepareStage::Tokenizing => "tokenizing",
        PrepareStage::Comparing => "comparing",
        PrepareStage::Writing => "writing",
        _ => return Ok(()),
    };
    progress.call1(py, (stage, at.done, at.total)).map(|_| ())
}
