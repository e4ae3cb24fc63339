//! `mixdown inspect`.

mod contents;
mod document;
mod shared;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mixdown_shards::{Access, Corpus, Split};

use crate::commands::Context;
use crate::error::Error;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --document and --overlap: documents, tokens and bytes a token; lengths; the most frequent ids,
counted in at most 16 Mi tokens spread evenly over the part, or in all of them with --full; decoded
beginnings of documents spread evenly; documents of the same text, by the hashes that the corpus keeps
(near duplicates are not found); what `prepare` met in the text.

--overlap compares the held-out documents (or the part that --split names) with the training part of
another corpus: the number of equal texts, by their hashes, and of documents that share a run of 13
units. With one tokenizer the units are tokens; with two, the words of the decoded texts: letters and
digits, in lower case, whatever stands between them. Documents of fewer units share none. At most
500 MiB of memory, a pass over the other corpus for each 16 million units of this one.

Examples:
  mixdown inspect corpora/general
  mixdown inspect corpora/general --document 12 --split holdout
  mixdown inspect corpora/math --overlap corpora/general")]
pub struct InspectArgs {
    /// The corpus folder.
    corpus: PathBuf,
    /// Show this document (counted from 0 in the corpus' order), decoded.
    #[arg(long, value_name = "N", conflicts_with = "overlap")]
    document: Option<u64>,
    /// The part that --document counts in or --overlap compares. [default: train for --document;
    /// holdout for --overlap, or train where nothing is held out]
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Look for this corpus' documents in the training part of another.
    #[arg(long, value_name = "CORPUS")]
    overlap: Option<PathBuf>,
    /// What --overlap compares: tokens if both corpora have one tokenizer, else words.
    #[arg(long, value_enum, requires = "overlap")]
    units: Option<UnitName>,
    /// How many of the most frequent ids to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// How many documents of each part to show the beginning of.
    #[arg(long, value_name = "N", default_value_t = 2)]
    samples: u64,
    /// Count all ids and all equal texts, however many there are.
    #[arg(long)]
    full: bool,
}

/// A part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// What is trained on.
    Train,
    /// What is measured on.
    Holdout,
}

/// What a shared passage is made of.
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
/// A folder that is no corpus, a document that it does not have, damage, an interruption.
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
        return shared::show(&corpus, split, other, arguments.units, context);
    }
    let depth = contents::Depth {
        top: arguments.top,
        samples: arguments.samples,
        sample_tokens: if arguments.full { u64::MAX } else { contents::SAMPLE_TOKENS },
        max_documents: if arguments.full { u64::MAX } else { contents::MAX_DOCUMENTS },
    };
    contents::show(&corpus, depth, context)
}
