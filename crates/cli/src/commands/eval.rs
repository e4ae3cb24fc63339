//! `mixdown eval`.

use std::path::PathBuf;

use clap::Args;
use mixdown_runs::EvalRecord;
use mixdown_shards::{Access, Corpus};
use mixdown_train::{Attention, Evaluation, evaluate};

use crate::commands::Context;
use crate::commands::compute_args::ComputeArgs;
use crate::commands::inspect::SplitName;
use crate::error::Error;
use crate::models::load_model;
use crate::output::{table, thousands};
use crate::progress::{Meter, Unit};

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  mixdown eval runs/math/best --corpus corpora/math --corpus corpora/general")]
pub struct EvalArgs {
    /// A Hugging Face model folder, such as a run's best/; of a run's folder its best/ is taken.
    checkpoint: PathBuf,
    /// A corpus to measure on; may be given several times.
    #[arg(long, required = true)]
    corpus: Vec<PathBuf>,
    /// The part to measure on.
    #[arg(long, value_enum, default_value_t = SplitName::Holdout)]
    split: SplitName,
    /// Tokens a sequence.
    #[arg(long, default_value_t = 128)]
    sequence_length: u64,
    /// Sequences a corpus, the first ones of the split.
    #[arg(long, default_value_t = 256)]
    sequences: u64,
    /// Keep attention within documents, as for a model trained so.
    #[arg(long)]
    separate_documents: bool,
    /// Sequences computed at once.
    #[arg(long, default_value_t = 16)]
    batch_size: u64,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A checkpoint that cannot be loaded, a corpus of another tokenizer or one that is too short.
pub fn run(arguments: EvalArgs, context: Context) -> Result<(), Error> {
    let (_, mut model) = load_model(&arguments.checkpoint)?;
    model.set_pass(arguments.compute.pass())?;
    let meter = Meter::new("eval", Unit::Steps);
    let mut records: Vec<EvalRecord> = Vec::new();
    for (index, path) in arguments.corpus.iter().enumerate() {
        meter.set(index as u64, arguments.corpus.len() as u64, &path.display().to_string());
        let corpus = Corpus::open(path, Access::Map)?;
        let evaluation = Evaluation {
            name: path.display().to_string(),
            split: arguments.split.into(),
            sequence_length: arguments.sequence_length,
            sequences: arguments.sequences,
            batch_size: arguments.batch_size,
            attention: if arguments.separate_documents {
                Attention::Document
            } else {
                Attention::Row
            },
        };
        records.push(evaluate(&mut model, &corpus, &evaluation, context.stop)?);
    }
    meter.finish("done");
    context.output.print(&records, |records| eval_table(records))
}

/// Losses as a table.
pub fn eval_table(records: &[EvalRecord]) -> String {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                record.corpus.clone(),
                format!("{:.4} ± {:.4}", record.loss, record.standard_error),
                format!("{:.4}", record.bits_per_byte),
                thousands(record.tokens),
                thousands(record.sequences),
            ]
        })
        .collect();
    table(&["corpus", "loss (nats/token)", "bits/byte", "tokens", "sequences"], &rows)
}
