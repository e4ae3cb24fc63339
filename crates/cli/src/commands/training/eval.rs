//! `mixdown eval`.

mod run_settings;

use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_runs::EvalRecord;
use mixdown_shards::{Access, Corpus, Split};
use mixdown_train::{Attention, Evaluation, EvaluationPart, evaluate};

use self::run_settings::RunSettings;
use crate::commands::Context;
use crate::commands::corpora::inspect::SplitName;
use crate::commands::corpora::verify::{VerifyCorporaArgs, check_corpora};
use crate::error::Error;
use crate::runs::evaluations::eval_table;
use crate::runs::load_model;
use crate::terminal::args::ComputeArgs;
use crate::terminal::progress::{Meter, Unit, say};

const SEQUENCE_LENGTH: u64 = 128;
const SEQUENCES: u64 = 256;
const BATCH_SIZE: u64 = 16;

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  mixdown eval runs/math/best --corpus corpora/math --corpus corpora/general

A run's checkpoint is measured as the run measured it (run.toml in its folder), so the numbers equal those of its
summary.json. If an option changes that, a message on standard error says so.")]
pub struct EvalArgs {
    /// Model folder in Hugging Face's format, such as a run's best/; a run's folder means its best/.
    checkpoint: PathBuf,
    /// Corpus to measure on; may be repeated.
    #[arg(long, required = true)]
    corpus: Vec<PathBuf>,
    /// Split to measure on [default: the run's, or holdout]
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Tokens per sequence [default: that of packed rows, the run's, or 128]
    #[arg(long, value_name = "T")]
    sequence_length: Option<u64>,
    /// Sequences per corpus, the first ones of the split [default: the run's, or 256]
    #[arg(long, value_name = "N")]
    sequences: Option<u64>,
    /// Keep attention within documents; `=false` lets it cross them [default: as in the run, or only for packed rows]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    separate_documents: Option<bool>,
    /// Sequences computed at once [default: the run's, or 16]
    #[arg(long, value_name = "B")]
    batch_size: Option<u64>,
    #[command(flatten)]
    verify: VerifyCorporaArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A checkpoint that cannot be loaded, a corpus of another tokenizer or one that is too short.
pub fn run(arguments: EvalArgs, context: Context) -> Result<(), Error> {
    let corpora = arguments.corpus.iter().map(PathBuf::as_path);
    check_corpora(arguments.verify, corpora, Path::new(""), context)?;
    let settings = RunSettings::of(&arguments.checkpoint)?;
    let (_, mut model) = load_model(&arguments.checkpoint)?;
    model.set_pass(arguments.compute.pass())?;
    if let Some(settings) = &settings {
        say(&arguments.beside(settings));
    }
    let meter = Meter::new("eval", Unit::Steps);
    let mut records: Vec<EvalRecord> = Vec::new();
    for (index, path) in arguments.corpus.iter().enumerate() {
        meter.set(index as u64, arguments.corpus.len() as u64, &path.display().to_string());
        let corpus = Corpus::open(path, Access::Map)?;
        let evaluation =
            arguments.evaluation(path.display().to_string(), &corpus, settings.as_ref());
        meter.line(&described(&evaluation));
        records.push(evaluate(&mut model, &corpus, &evaluation, context.stop)?);
    }
    meter.finish("done");
    // An array, also for one record: programs that read it are older than the rule that `--json` prints one object.
    context.output.print(&records, |records| eval_table(records))
}

impl EvalArgs {
    /// The evaluation of `corpus`: each setting is that of the options, else that of the run, else the default.
    fn evaluation(
        &self,
        name: String,
        corpus: &Corpus,
        settings: Option<&RunSettings>,
    ) -> Evaluation {
        let config = settings.map(|settings| &settings.config);
        let own = settings.and_then(|settings| settings.evaluation(corpus));
        let rows = corpus.manifest().pack.map(|pack| pack.sequence_length);
        let of_run = config.map(|config| config.mixture.sequence_length);
        // Rows that were packed have one length.
        let length = self.sequence_length.or(rows).or(of_run).unwrap_or(SEQUENCE_LENGTH);
        let sequences = config.map(|config| config.eval.sequences);
        let sequences = self.sequences.or(sequences).unwrap_or(SEQUENCES);
        let split = self.split.map(Split::from);
        let split = split.or(own.map(|eval| eval.split)).unwrap_or(Split::Holdout);
        let attention = match (self.separate_documents, settings) {
            (Some(true), _) => Attention::Document,
            (Some(false), _) => Attention::Row,
            (None, Some(settings)) => settings.attention(corpus),
            (None, None) => Attention::usual([corpus]),
        };
        let part = config.zip(own).filter(|(config, eval)| {
            let asked = (length, sequences, split);
            asked == (config.mixture.sequence_length, config.eval.sequences, eval.split)
        });
        let batch_size = config.map(|config| config.mixture.batch_size);
        Evaluation {
            name,
            split,
            sequence_length: length,
            sequences,
            batch_size: self.batch_size.or(batch_size).unwrap_or(BATCH_SIZE),
            attention,
            part: part.map_or(EvaluationPart::All, |(config, eval)| config.eval.part(&eval.name)),
        }
    }

    /// Names the run whose settings are used, and every difference that may change the numbers.
    fn beside(&self, settings: &RunSettings) -> String {
        let (path, config) = (settings.path.display(), &settings.config);
        let number = |name: &str, asked: Option<u64>, own: u64| {
            let asked = asked.filter(|asked| *asked != own)?;
            Some(format!("{name} {asked} instead of {own}"))
        };
        let is_separate = |attention| attention == Attention::Document;
        let own = settings.attention.map(is_separate);
        let attention = self.separate_documents.filter(|asked| own != Some(*asked));
        let compute = (config.train.device, config.train.precision);
        let others: Vec<String> = [
            number("sequence length", self.sequence_length, config.mixture.sequence_length),
            number("sequences", self.sequences, config.eval.sequences),
            attention.map(|asked| match asked {
                true => "attention within documents".to_owned(),
                false => "attention across documents".to_owned(),
            }),
            (compute != (self.compute.device, self.compute.precision))
                .then(|| "another device or precision (which differ by rounding)".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut text = format!("eval: using the evaluation settings of {path}");
        if !others.is_empty() {
            text.push_str(&format!(
                ", except for {}: losses may differ from the run's",
                others.join(", ")
            ));
        }
        if settings.attention.is_none() && self.separate_documents.is_none() {
            text.push_str(
                "; whether its attention stayed within documents is unknown, because a source's corpus has moved",
            );
        }
        text
    }
}

/// Describes an evaluation in one line.
fn described(evaluation: &Evaluation) -> String {
    let Evaluation { name, split, sequence_length, sequences, .. } = evaluation;
    let attention = match evaluation.attention {
        Attention::Document => "within documents",
        Attention::Row => "to the beginning of the sequence",
    };
    let part = match evaluation.part {
        EvaluationPart::All => "",
        EvaluationPart::Halves => "; every second one is reported, the others chose the best step",
    };
    format!(
        "eval {}: {}, {sequence_length} tokens per sequence, attention {attention}, at most the first {sequences} \
         sequences{part}",
        mixdown_base::display::escaped(name),
        split.folder()
    )
}
