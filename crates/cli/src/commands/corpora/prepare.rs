//! `mixdown prepare`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixdown_base::display::{escaped, plural};
use mixdown_base::observer::Observer;
use mixdown_documents::ReadOptions;
use mixdown_shards::Counts;
use mixdown_tokenize::{
    BeginningOfText, Deduplication, DiskEstimate, Holdout, NearDuplicates, PrepareOptions,
    PrepareProgress, PrepareReport, PrepareStage, Shuffle, SpecialText, Task, TaskReport,
    YieldingSide, finish, prepare, prepare_task,
};

use crate::commands::Context;
use crate::commands::corpora::labels_args::LabelsArgs;
use crate::commands::corpora::tokenizer::ReadArgs;
use crate::error::Error;
use crate::terminal::output::thousands;
use crate::terminal::progress::{Meter, Unit, megabytes, say, say_inputs, stage_name};

/// The default holdout.
const USUAL_HOLDOUT: Holdout = Holdout::Share(0.01);

/// The number of temporary bytes from which the space that the work needs is reported beforehand.
const MUCH_DISK_BYTES: u64 = 1 << 30;

/// Arguments of `prepare`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown prepare docs/ --tokenizer tokenizer.json --out corpora/docs --holdout 1%
  mixdown prepare part-*.jsonl.zst --tokenizer gpt2/ --out corpora/web --holdout '500k tokens'
  mixdown prepare code.parquet --tokenizer llama/ --out corpora/code --text-field content --holdout-by repo
  mixdown prepare crawl/ --tokenizer gpt2/ --out corpora/crawl --dedup near --without benchmark.jsonl
  zcat dump.gz | mixdown prepare - --tokenizer gpt2/ --out corpora/dump

  On many machines, in an array job (Slurm, Kubernetes, AWS Batch), and once at the end:
  mixdown prepare part-*.jsonl.zst --tokenizer gpt2/ --out corpora/web --task auto
  mixdown prepare part-*.jsonl.zst --tokenizer gpt2/ --out corpora/web --finish

  One text with many documents, separated by a marker or by line ends:
  mixdown prepare stories.txt --tokenizer gpt2/ --out corpora/stories --text-separator '<|endoftext|>'
  mixdown prepare lines.txt --tokenizer gpt2/ --out corpora/lines --text-separator '\\n'

Input formats (plain, zstd or gzip; detected from the first bytes and the name):
  JSON lines, JSON arrays and objects over several lines: one document per record
  CSV and TSV with a header: one document per row
  Parquet, Arrow IPC (file or stream): one document per row
  UTF-8 text, source code: one document per file, or per part between separators
Other data (archives, images, UTF-16, Git LFS pointers) is an error; in a folder it is left out and named.

A stopped run continues where it stopped when the same command is given again. A finished run only prints its report.")]
pub struct PrepareArgs {
    /// Files, folders, 'patterns*' or @LISTS of JSON lines, JSON, CSV, TSV or text (plain, zstd, gzip), Parquet or
    /// Arrow; - for standard input.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// Tokenizer: a tokenizer.json, or a model folder that contains one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Corpus folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Documents held out for validation: a share (1%), a number of tokens ('500k tokens'), or 0 [default: 1%].
    #[arg(long, value_name = "SHARE|TOKENS", help_heading = "Holdout")]
    holdout: Option<Holdout>,
    /// Keep documents with the same value of this field (a repository, a URL, a conversation) in the same split.
    #[arg(long, help_heading = "Holdout", value_name = "FIELD")]
    holdout_by: Option<String>,
    /// File or folder whose documents are the holdout; all inputs are then for training. May be repeated.
    #[arg(long, help_heading = "Holdout", value_name = "PATH", conflicts_with_all = ["holdout", "holdout_by"])]
    holdout_input: Vec<PathBuf>,
    /// Similarity from which a held-out document is a near-duplicate of a training document and moves to training: the
    /// Jaccard similarity of their sets of five consecutive words. With off, near-duplicates stay in the holdout.
    #[arg(long, help_heading = "Holdout", value_name = "SIMILARITY|off", default_value_t = NearDuplicates::default())]
    near_duplicates: NearDuplicates,
    /// Side that gives up near-duplicates: the holdout, from which they move to training, or training, which leaves
    /// them out.
    #[arg(
        long,
        help_heading = "Holdout",
        value_name = "holdout|training",
        default_value = "holdout"
    )]
    yields: Yields,
    /// Leave documents out of training that repeat an earlier one in the order of the inputs: exact for equal texts up
    /// to white space, near for near-duplicates as well.
    #[arg(long, value_name = "none|exact|near", default_value = "none")]
    dedup: Dedup,
    /// Leave documents out of training that are near-duplicates of the held-out documents of this corpus, or of the
    /// texts in this file or folder (a benchmark); left-out.jsonl in the corpus lists them. May be repeated.
    #[arg(long, help_heading = "Holdout", value_name = "CORPUS|PATH")]
    without: Vec<PathBuf>,
    /// Read only the first N documents of the inputs.
    #[arg(long, value_name = "N", conflicts_with_all = ["task", "holdout_input"])]
    limit: Option<u64>,
    /// Leave out documents with fewer than N characters, and count them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_chars: u64,
    /// Random seed of the document order.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Keep the documents in input order.
    #[arg(long)]
    no_shuffle: bool,
    /// Worker threads; 0 uses every core that the process may use (affinity, cgroup). The output is the same for any
    /// number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u32,
    /// Token before each document: auto (the one that the tokenizer's configuration or post-processor adds), none, or
    /// an id.
    #[arg(long, default_value = "auto", value_name = "auto|none|ID")]
    bos: BeginningOfText,
    /// End-of-text token, if the tokenizer does not name it.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// Encode special tokens that are written in the text (a literal <|endoftext|>) as special tokens, not as plain
    /// text.
    #[arg(long)]
    parse_special: bool,
    /// Folder for the large temporary files [default: .work in the corpus folder].
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Run as task I of N (0/4 … 3/4) of an array job, or auto to read I and N from the scheduler. A task does its
    /// share, then whatever other tasks have not done; a later task completes the rest.
    #[arg(
        long,
        help_heading = "Many machines",
        value_name = "I/N|auto",
        conflicts_with = "finish"
    )]
    task: Option<String>,
    /// Number of tasks for --task auto, if the scheduler does not give it (Kubernetes, AWS Batch).
    #[arg(long, help_heading = "Many machines", value_name = "N", requires = "task")]
    tasks: Option<u64>,
    /// Write the manifest when all tasks are done; if they are not, name what is missing.
    #[arg(long, help_heading = "Many machines")]
    finish: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    labels: LabelsArgs,
}

/// The side that gives up near-duplicates.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Yields {
    Holdout,
    Training,
}

/// The documents that are left out because they repeat an earlier one.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dedup {
    None,
    Exact,
    Near,
}

impl PrepareArgs {
    fn options(&self) -> PrepareOptions {
        let usual = if self.holdout_input.is_empty() { USUAL_HOLDOUT } else { Holdout::Input };
        let read = ReadOptions {
            group_field: self.holdout_by.clone(),
            labels: self.labels.fields(),
            ..ReadOptions::from(self.read.clone())
        };
        PrepareOptions {
            read,
            holdout: self.holdout.unwrap_or(usual),
            holdout_inputs: self.holdout_input.clone(),
            near_duplicates: self.near_duplicates,
            yields: match self.yields {
                Yields::Holdout => YieldingSide::Holdout,
                Yields::Training => YieldingSide::Training,
            },
            deduplication: match self.dedup {
                Dedup::None => Deduplication::None,
                Dedup::Exact => Deduplication::Exact,
                Dedup::Near => Deduplication::Near,
            },
            without: self.without.clone(),
            limit: self.limit,
            min_chars: self.min_chars,
            work_dir: self.work_dir.clone(),
            seed: self.seed,
            shuffle: if self.no_shuffle { Shuffle::Keep } else { Shuffle::Global },
            threads: self.threads,
            beginning_of_text: self.bos,
            special_text: if self.parse_special { SpecialText::Parse } else { SpecialText::Plain },
            end_of_text: self.end_of_text.clone(),
            chat: self.labels.chat(),
            pack: self.labels.pack(),
        }
    }

    fn task(&self) -> Result<Option<Task>, Error> {
        let task = match self.task.as_deref() {
            None => return Ok(None),
            Some("auto") => Task::from_environment(|name| std::env::var(name).ok(), self.tasks),
            Some(task) => task.parse(),
        };
        Ok(Some(task?))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Bad input, an output folder that holds something else, a full disk, or an interruption.
pub fn run(arguments: PrepareArgs, context: Context) -> Result<(), Error> {
    let options = arguments.options();
    let PrepareArgs { input, tokenizer, out, .. } = &arguments;
    let say_corpus = |report: &PrepareReport| {
        let done = if report.already_done { "already done: " } else { "" };
        format!("{}: {done}{}", out.display(), describe(report))
    };
    if arguments.finish {
        let report = finish(input, tokenizer, out, &options)?;
        say_modified(&report, out);
        return context.output.print(&report, say_corpus);
    }
    let task = arguments.task()?;
    let meter = Meter::new("prepare", Unit::Bytes);
    let progress = |at: PrepareProgress| match at.stage {
        PrepareStage::Disk(estimate) => say_disk(&estimate),
        PrepareStage::Inputs(remarks) => say_inputs("prepare", &remarks),
        stage => meter.set(at.done, at.total, stage_name(&stage)),
    };
    if let Some(task) = task {
        let report = prepare_task(
            input,
            tokenizer,
            out,
            &options,
            task,
            Observer::new(&progress, context.stop),
        )?;
        meter.finish("done");
        return context.output.print(&report, |report| describe_task(task, report));
    }
    let report = prepare(input, tokenizer, out, &options, Observer::new(&progress, context.stop))?;
    meter.finish("done");
    say_modified(&report, out);
    if !arguments.holdout_input.is_empty() {
        say_moved(&report, out);
    }
    context.output.print(&report, say_corpus)
}

/// Warns of inputs that may have changed since the corpus was finished.
fn say_modified(report: &PrepareReport, out: &Path) {
    let Some(first) = report.modified_inputs.first() else { return };
    let more = match report.modified_inputs.len() {
        1 => String::new(),
        count => format!(" and {} more", thousands(u64::try_from(count - 1).unwrap_or(u64::MAX))),
    };
    say(&format!(
        "prepare: warning: {}{more}: modified after {} was written, with the same length: if the content has \
         changed, prepare it in a new folder",
        escaped(first),
        escaped(&out.display().to_string())
    ));
}

/// Names the documents of a given holdout that are not held out, and the way to keep them.
fn say_moved(report: &PrepareReport, out: &Path) {
    let moved = report.counts.moved_documents;
    if moved > 0 {
        say(&format!(
            "prepare: warning: {} of the given {} were moved to training, where they have near-duplicates: {} lists \
             them; --yields training keeps them and leaves the training documents out instead",
            thousands(moved),
            plural(moved + report.holdout_documents, "held-out document"),
            escaped(&out.join("moved.jsonl").display().to_string())
        ));
    }
}

/// Reports the disk space that the work needs, if that is much or more than is free.
fn say_disk(estimate: &DiskEstimate) {
    let DiskEstimate { work_bytes, work_free_bytes, corpus_bytes, corpus_free_bytes, one_disk } =
        *estimate;
    if !estimate.is_tight() && work_bytes < MUCH_DISK_BYTES {
        return;
    }
    let warning = if estimate.is_tight() { "warning: the disk may fill up: " } else { "" };
    let (work, corpus) = (megabytes(work_bytes), megabytes(corpus_bytes));
    let free = if one_disk {
        format!("of {} free", megabytes(corpus_free_bytes))
    } else {
        format!("of {} and {} free", megabytes(work_free_bytes), megabytes(corpus_free_bytes))
    };
    say(&format!(
        "prepare: {warning}takes about {work} for the unfinished work and {corpus} for the corpus, {free}"
    ));
}

fn describe_task(task: Task, report: &TaskReport) -> String {
    if report.finished {
        return format!("task {task}: already done: the corpus is finished");
    }
    let nothing_to_do = report.resumed == report.parts && report.runs_made == 0;
    let done = if nothing_to_do { "already done: " } else { "" };
    format!(
        "task {task}: {done}all {} and {} of shards exist, {} of them made by this task: complete the corpus with \
         --finish in place of --task",
        plural(report.parts, "part"),
        plural(report.runs, "run"),
        thousands(report.runs_made)
    )
}

/// Describes a finished corpus in one sentence.
pub fn describe(report: &PrepareReport) -> String {
    let mut text = format!(
        "{} in {}, {} in {}",
        plural(report.train_tokens, "token"),
        plural(report.train_documents, "document"),
        plural(report.holdout_tokens, "token"),
        plural(report.holdout_documents, "held-out document")
    );
    for (count, what) in special_cases(&report.counts) {
        text.push_str(&format!(", {what}: {}", thousands(count)));
    }
    text
}

/// Returns the special cases that occurred, with their numbers.
pub fn special_cases(counts: &Counts) -> Vec<(u64, &'static str)> {
    let all = [
        (counts.bad_records, "bad records skipped"),
        (counts.empty_documents, "empty documents skipped"),
        (counts.short_documents, "short documents left out"),
        (counts.special_text_documents, "documents with the text of a special token"),
        (counts.untargeted_documents, "documents without a loss target left out"),
        (counts.too_long_documents, "documents longer than a row"),
        (counts.padding_tokens, "tokens of padding"),
        (counts.moved_documents, "near-duplicates moved from the holdout to training"),
        (counts.excluded_documents, "near-duplicates left out of training"),
        (counts.repeated_documents, "repeated documents left out of training"),
    ];
    all.into_iter().filter(|&(count, _)| count > 0).collect()
}
