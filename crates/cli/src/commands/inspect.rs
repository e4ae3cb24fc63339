//! `mixdown inspect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mixdown_shards::{Access, Corpus, Split};
use mixdown_tokenize::Tokenizer;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::output::{table, thousands};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown inspect corpora/general
  mixdown inspect corpora/general --document 12 --split holdout")]
pub struct InspectArgs {
    /// The corpus folder.
    corpus: PathBuf,
    /// Show this document (counted from 0 in the corpus' order), decoded.
    #[arg(long, value_name = "N")]
    document: Option<u64>,
    /// The part that --document counts in.
    #[arg(long, value_enum, default_value_t = SplitName::Train)]
    split: SplitName,
}

/// A part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// What is trained on.
    Train,
    /// What is measured on.
    Holdout,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Holdout => Self::Holdout,
        }
    }
}

#[derive(Serialize)]
struct CorpusView {
    path: PathBuf,
    dtype: String,
    vocab_size: u64,
    end_of_text: u32,
    fingerprint: String,
    tokenizer_fingerprint: String,
    splits: Vec<SplitView>,
}

#[derive(Serialize)]
struct SplitView {
    split: &'static str,
    shards: usize,
    documents: u64,
    tokens: u64,
    text_bytes: u64,
    bytes_per_token: f64,
    shortest: u32,
    median: u32,
    longest: u32,
}

#[derive(Serialize)]
struct DocumentView {
    document: u64,
    tokens: usize,
    text: String,
}

/// Runs the subcommand.
///
/// # Errors
/// A folder that is no corpus, or a document that it does not have.
pub fn run(arguments: InspectArgs, context: Context) -> Result<(), Error> {
    let corpus = Corpus::open(&arguments.corpus, Access::Map)?;
    if let Some(document) = arguments.document {
        let ids = corpus.document(arguments.split.into(), document)?;
        let text = Tokenizer::load(&corpus.tokenizer_path())?.decode(&ids)?;
        let view = DocumentView { document, tokens: ids.len(), text };
        return context.output.print(&view, |view| view.text.clone());
    }
    context.output.print(&corpus_view(&corpus)?, describe)
}

fn corpus_view(corpus: &Corpus) -> Result<CorpusView, Error> {
    let manifest = corpus.manifest();
    Ok(CorpusView {
        path: corpus.folder().to_owned(),
        dtype: manifest.dtype.to_string(),
        vocab_size: manifest.vocab_size,
        end_of_text: manifest.end_of_text,
        fingerprint: corpus.fingerprint().to_string(),
        tokenizer_fingerprint: corpus.tokenizer_fingerprint().to_string(),
        splits: vec![split_view(corpus, Split::Train)?, split_view(corpus, Split::Holdout)?],
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn split_view(corpus: &Corpus, split: Split) -> Result<SplitView, Error> {
    let manifest = corpus.manifest();
    let record = if split == Split::Train { &manifest.train } else { &manifest.holdout };
    let mut lengths = corpus.document_lengths(split)?;
    lengths.sort_unstable();
    Ok(SplitView {
        split: split.folder(),
        shards: record.shards.len(),
        documents: record.documents,
        tokens: record.tokens,
        text_bytes: record.text_bytes,
        bytes_per_token: record.text_bytes as f64 / (record.tokens as f64).max(1.0),
        shortest: lengths.first().copied().unwrap_or(0),
        median: lengths.get(lengths.len() / 2).copied().unwrap_or(0),
        longest: lengths.last().copied().unwrap_or(0),
    })
}

fn describe(view: &CorpusView) -> String {
    let rows: Vec<Vec<String>> = view.splits.iter().map(split_row).collect();
    let header = [
        "split",
        "shards",
        "documents",
        "tokens",
        "text bytes",
        "bytes/token",
        "shortest",
        "median",
        "longest",
    ];
    format!(
        "{}: {} ids below {}, end of text {}\n{}\ndocument lengths in tokens\ndata      {}\ntokenizer {}",
        view.path.display(),
        view.dtype,
        thousands(view.vocab_size),
        view.end_of_text,
        table(&header, &rows),
        view.fingerprint,
        view.tokenizer_fingerprint
    )
}

fn split_row(view: &SplitView) -> Vec<String> {
    vec![
        view.split.to_owned(),
        view.shards.to_string(),
        thousands(view.documents),
        thousands(view.tokens),
        thousands(view.text_bytes),
        format!("{:.2}", view.bytes_per_token),
        thousands(view.shortest.into()),
        thousands(view.median.into()),
        thousands(view.longest.into()),
    ]
}
