//! `mixdown inspect`.

mod contents;
mod document;
mod overlap;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mixdown_shards::{Access, Corpus, Split};

use crate::commands::Context;
use crate::error::Error;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --document and --overlap, `inspect` shows documents, tokens and bytes per token; lengths; the most frequent ids,
counted in at most 16 Mi tokens spread evenly over the split, or in all of them with --full; decoded beginnings of
documents spread evenly over the split; documents with equal texts, by the hashes in the corpus; and what
`prepare` counted in the text.

--overlap compares the held-out documents (or the split that --split names) with the training split of another corpus.
It counts equal texts, by their hashes; near-duplicates, by sketches of the texts, of which it shows some; and documents
that share a run of 13 units. Near-duplicates are pairs with an estimated similarity of 0.61 or more, which almost
surely share half of their runs of five words. With one tokenizer the units are tokens; with two, the words of the
decoded texts (letters and digits in lower case, without what is between them). Documents with fewer than 13 units share
none. The comparison takes at most 500 MiB of memory, and one pass over the other corpus for every 16 million units of
this one.

Examples:
  mixdown inspect corpora/general
  mixdown inspect corpora/general --document 12 --split holdout
  mixdown inspect corpora/math --overlap corpora/general")]
pub struct InspectArgs {
    /// Corpus folder.
    corpus: PathBuf,
    /// Show the text of document N, counted from 0 in the corpus' order.
    #[arg(long, value_name = "N", conflicts_with = "overlap")]
    document: Option<u64>,
    /// Split that --document counts in or --overlap compares [default: train for --document; for --overlap holdout,
    /// or train if nothing is held out]
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Look for this corpus' documents in the training split of another corpus.
    #[arg(long, value_name = "CORPUS")]
    overlap: Option<PathBuf>,
    /// Units that --overlap compares [default: tokens if both corpora have one tokenizer, else words]
    #[arg(long, value_enum, requires = "overlap")]
    units: Option<UnitName>,
    /// Number of the most frequent ids to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Number of documents of each split whose beginning is shown.
    #[arg(long, value_name = "N", default_value_t = 2)]
    samples: u64,
    /// Count all ids and all equal texts, however large the corpus is.
    #[arg(long)]
    full: bool,
}

/// A split of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// Documents to train on.
    Train,
    /// Held-out documents.
    Holdout,
}

/// The units of a shared passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnitName {
    /// Token ids.
    Tokens,
    /// Words of the decoded text.
    Words,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Holdout => Self::Holdout,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A folder that is not a corpus, a document that does not exist, damage, an interruption.
pub fn run(arguments: InspectArgs, context: Context) -> Result<(), Error> {
    let corpus = Corpus::open(&arguments.corpus, Access::Map)?;
    if let Some(number) = arguments.document {
        let split = arguments.split.unwrap_or(SplitName::Train).into();
        return document::show(&corpus, split, number, context);
    }
    if let Some(other) = &arguments.overlap {
        let split = match arguments.split {
            Some(split) => split.into(),
            None if corpus.documents(Split::Holdout) > 0 => Split::Holdout,
            None => Split::Train,
        };
        return overlap::show(&corpus, split, other, arguments.units, context);
    }
    let limits = contents::Limits {
        top: arguments.top,
        samples: arguments.samples,
        sample_tokens: if arguments.full { u64::MAX } else { contents::SAMPLE_TOKENS },
        max_documents: if arguments.full { u64::MAX } else { contents::MAX_DOCUMENTS },
    };
    contents::show(&corpus, limits, context)
}
