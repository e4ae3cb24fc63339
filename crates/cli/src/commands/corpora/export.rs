//! `mixdown export`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_base::quantity;
use mixdown_shards::{
    Access, ByteProgress, Corpus, ExportFormat, ExportOptions, ExportReport, LostMask, Split,
    export,
};

use crate::commands::Context;
use crate::commands::corpora::inspect::SplitName;
use crate::error::Error;
use crate::terminal::output::{table, thousands};
use crate::terminal::progress::{Meter, Unit, say};

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Files in --out, beside tokenizer.json:
  nanogpt    train.bin and val.bin: 16-bit ids without a header
  llmc       train_000000.bin …: llm.c's header, then ids. Its scripts put the end-of-text token
             before each document; if documents end with it, the last one moves to the front
  olmo       train-00000.npy …: ids without a header; .csv.gz with start,end,id,src,loc per document,
             and with labels labels_mask_train-00000.npy …, for label_mask_paths
  datatrove  train/00000.ds …: ids, .ds.index, .ds.metadata, and with labels .ds.loss
  megatron   train-00000.bin …: ids and .idx, one sequence per document

Only olmo and datatrove can record which tokens are loss targets. For the other formats a corpus with labels or packed
rows is refused, unless --drop-mask makes every token a target.

Repeating the command finds that everything is done. Other settings need another folder.

Examples:
  mixdown export corpora/general --to olmo --out olmo/general
  mixdown export corpora/general --to llmc --split train --out llmc/general")]
pub struct ExportArgs {
    /// Corpus folder.
    corpus: PathBuf,
    /// Format to write.
    #[arg(long, value_name = "FORMAT", value_enum)]
    to: FormatName,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Split to write [default: both]
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Tokens per file of llm.c; the other formats keep the corpus' shards.
    #[arg(long, value_name = "N", default_value = "100M")]
    shard_tokens: ShardTokens,
    /// Write the ids without their loss mask if the format cannot hold it; prompts and padding then become targets.
    #[arg(long)]
    drop_mask: bool,
}

/// A format's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One array per split.
    Nanogpt,
    /// Arrays with a header.
    Llmc,
    /// .npy without header and .csv.gz.
    Olmo,
    /// .ds and .ds.index.
    Datatrove,
    /// .bin and .idx.
    Megatron,
}

impl From<FormatName> for ExportFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Nanogpt => Self::Nanogpt,
            FormatName::Llmc => Self::Llmc,
            FormatName::Olmo => Self::Olmo,
            FormatName::Datatrove => Self::Datatrove,
            FormatName::Megatron => Self::Megatron,
        }
    }
}

/// Tokens of a file of llm.c, whose header counts them in 31 bits.
#[derive(Debug, Clone, Copy)]
struct ShardTokens(u64);

impl FromStr for ShardTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens = quantity::positive_tokens(text).map_err(|error| error.to_string())?;
        match tokens {
            1..=LARGEST_SHARD => Ok(Self(tokens)),
            _ => Err(format!("expected at most {LARGEST_SHARD} tokens, got {text:?}")),
        }
    }
}

const LARGEST_SHARD: u64 = (1 << 31) - 1;

/// Runs the subcommand.
///
/// # Errors
/// A folder that is not a corpus, an output of something else or of other settings, a vocabulary or a mask that the
/// format cannot hold, damage, a full disk, an interruption.
pub fn run(arguments: ExportArgs, context: Context) -> Result<(), Error> {
    let corpus = Corpus::open(&arguments.corpus, Access::Map)?;
    let splits = arguments.split.map_or(Split::ALL.to_vec(), |split| vec![split.into()]);
    let options = ExportOptions {
        format: arguments.to.into(),
        splits,
        shard_tokens: arguments.shard_tokens.0,
        lost_mask: if arguments.drop_mask { LostMask::Drop } else { LostMask::Refuse },
    };
    let meter = Meter::new("export", Unit::Bytes);
    let progress = |at: ByteProgress| meter.set(at.done_bytes, at.total_bytes, "");
    let exported =
        export(&corpus, &arguments.out, &options, Observer::new(&progress, context.stop));
    let report = exported.map_err(|error| match error {
        mixdown_shards::Error::MaskLost { .. } => {
            Error::usage(error.to_string(), "add --drop-mask to export it all the same")
        }
        other => other.into(),
    })?;
    meter.finish(if report.already_done { "already done" } else { "done" });
    if report.unmasked_tokens > 0 {
        say(&format!(
            "warning: {} tokens are not loss targets in {}, and these files cannot record that: training on them \
             trains on these tokens as well",
            thousands(report.unmasked_tokens),
            arguments.corpus.display()
        ));
    }
    context.output.print(&report, |report| {
        format!("{}: {} ids\n{}", arguments.out.display(), report.dtype, describe(report))
    })
}

fn describe(report: &ExportReport) -> String {
    const FILES: usize = 20;
    let files = report.files.iter().take(FILES);
    let rows: Vec<Vec<String>> =
        files.map(|file| vec![file.path.clone(), thousands(file.tokens)]).collect();
    let mut text = table(&["file", "tokens"], &rows);
    if report.files.len() > FILES {
        text.push_str(&format!("\n… {} in all", plural(report.files.len() as u64, "file")));
    }
    text
}
