//! An overview of a corpus.

use std::path::PathBuf;

use mixdown_base::display::{escaped, plural};
use mixdown_shards::{
    ClusterRecord, ClustersRecord, Corpus, Counts, DuplicateReport, Split, duplicates,
};
use mixdown_tokenize::Tokenizer;
use serde::Serialize;

use crate::commands::Context;
use crate::commands::corpora::prepare::special_cases;
use crate::error::Error;
use crate::terminal::output::{percent, table, thousands};

/// The number of tokens in which ids are counted without --full.
pub(super) const SAMPLE_TOKENS: u64 = 1 << 24;
/// The most documents that are searched for equal texts without --full: 1 GiB of memory.
pub(super) const MAX_DOCUMENTS: u64 = 1 << 26;
/// The number of characters that are shown of a sample.
const SAMPLE_CHARS: usize = 160;

/// How much of a corpus is read and shown.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub top: usize,
    pub samples: u64,
    pub sample_tokens: u64,
    pub max_documents: u64,
}

#[derive(Serialize)]
struct CorpusView {
    path: PathBuf,
    format_version: u32,
    dtype: String,
    vocab_size: u64,
    end_of_text: u32,
    fingerprint: String,
    tokenizer_fingerprint: String,
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    clusters: Option<ClustersRecord>,
    splits: Vec<SplitView>,
}

#[derive(Serialize)]
struct SplitView {
    split: &'static str,
    shards: usize,
    documents: u64,
    tokens: u64,
    loss_tokens: Option<u64>,
    text_bytes: u64,
    bytes_per_token: f64,
    shortest: u32,
    median: u32,
    longest: u32,
    lengths: Vec<LengthRow>,
    counted_tokens: u64,
    frequent: Vec<FrequentId>,
    /// None if there are no hashes, or too many documents without --full.
    duplicates: Option<DuplicateReport>,
    samples: Vec<Sample>,
}

/// Documents of `from` to `to` tokens.
#[derive(Serialize)]
struct LengthRow {
    from: u64,
    to: u64,
    documents: u64,
    tokens: u64,
}

#[derive(Serialize)]
struct FrequentId {
    id: u32,
    text: Option<String>,
    count: u64,
    share: f64,
}

#[derive(Serialize)]
struct Sample {
    document: u64,
    text: String,
}

/// Prints an overview.
pub(super) fn show(corpus: &Corpus, limits: Limits, context: Context) -> Result<(), Error> {
    // Without its tokenizer a corpus still has numbers.
    let tokenizer = match corpus.tokenizer_path().is_file() {
        true => Some(Tokenizer::load(&corpus.tokenizer_path())?),
        false => None,
    };
    let manifest = corpus.manifest();
    let split = |split| split_view(corpus, split, tokenizer.as_ref(), limits);
    let view = CorpusView {
        path: corpus.folder().to_owned(),
        format_version: manifest.version,
        dtype: manifest.dtype.to_string(),
        vocab_size: manifest.vocab_size,
        end_of_text: manifest.end_of_text,
        fingerprint: corpus.fingerprint().to_string(),
        tokenizer_fingerprint: corpus.tokenizer_fingerprint().to_string(),
        counts: manifest.counts,
        clusters: manifest.clusters.clone(),
        splits: vec![split(Split::Train)?, split(Split::Holdout)?],
    };
    context.output.print(&view, describe)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn split_view(
    corpus: &Corpus,
    split: Split,
    tokenizer: Option<&Tokenizer>,
    limits: Limits,
) -> Result<SplitView, Error> {
    let record = corpus.manifest().split(split);
    let mut lengths = corpus.document_lengths(split)?;
    let histogram = histogram(&lengths);
    lengths.sort_unstable();
    let counted_tokens = record.tokens.min(limits.sample_tokens);
    let looks_for_duplicates =
        corpus.has_document_hashes(split) && record.documents <= limits.max_documents;
    Ok(SplitView {
        split: split.folder(),
        shards: record.shards.len(),
        documents: record.documents,
        tokens: record.tokens,
        loss_tokens: corpus.is_labelled(split).then(|| corpus.loss_tokens(split)),
        text_bytes: record.text_bytes,
        bytes_per_token: record.text_bytes as f64 / (record.tokens as f64).max(1.0),
        shortest: lengths.first().copied().unwrap_or(0),
        median: lengths.get(lengths.len() / 2).copied().unwrap_or(0),
        longest: lengths.last().copied().unwrap_or(0),
        lengths: histogram,
        counted_tokens,
        frequent: frequent(corpus, split, counted_tokens, tokenizer, limits.top)?,
        duplicates: if looks_for_duplicates { Some(duplicates(corpus, split)?) } else { None },
        samples: samples(corpus, split, tokenizer, limits.samples)?,
    })
}

/// Lengths by powers of two, from the first that occurs to the last.
fn histogram(lengths: &[u32]) -> Vec<LengthRow> {
    let mut rows: Vec<LengthRow> = (0..32)
        .map(|power| LengthRow { from: 1 << power, to: (2 << power) - 1, documents: 0, tokens: 0 })
        .collect();
    for length in lengths {
        let power = usize::try_from(length.max(&1).ilog2()).unwrap_or(0);
        if let Some(row) = rows.get_mut(power) {
            row.documents += 1;
            row.tokens += u64::from(*length);
        }
    }
    let first = rows.iter().position(|row| row.documents > 0);
    let last = rows.iter().rposition(|row| row.documents > 0);
    match (first, last) {
        (Some(first), Some(last)) => rows.drain(first..=last).collect(),
        _ => Vec::new(),
    }
}

/// The number of windows in which the counted tokens are read.
const WINDOWS: u64 = 256;

/// The most frequent ids in `counted` tokens, which are spread evenly if they are not all.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn frequent(
    corpus: &Corpus,
    split: Split,
    counted: u64,
    tokenizer: Option<&Tokenizer>,
    top: usize,
) -> Result<Vec<FrequentId>, Error> {
    let mut counts = vec![0_u64; usize::try_from(corpus.manifest().vocab_size).unwrap_or(0)];
    let tokens = corpus.tokens(split);
    let mut ids = Vec::new();
    let step = counted.div_ceil(WINDOWS).clamp(1, 1 << 20);
    let windows = counted.div_ceil(step);
    for window in 0..windows {
        // The windows are spread evenly, without gaps if everything is counted.
        let start = u128::from(window) * u128::from(tokens) / u128::from(windows);
        let start =
            if counted == tokens { window * step } else { u64::try_from(start).unwrap_or(0) };
        let len = step.min(counted - window * step).min(tokens - start);
        ids.resize(usize::try_from(len).unwrap_or(0), 0);
        corpus.read_tokens(split, start, &mut ids)?;
        for id in &ids {
            if let Some(count) = usize::try_from(*id).ok().and_then(|id| counts.get_mut(id)) {
                *count += 1;
            }
        }
    }
    let mut frequent: Vec<(u64, u32)> =
        counts.into_iter().zip(0_u32..).filter(|(count, _)| *count > 0).collect();
    frequent.sort_unstable_by_key(|(count, id)| (u64::MAX - count, *id));
    frequent.truncate(top);
    let row = |(count, id): (u64, u32)| {
        let text = tokenizer.map(|tokenizer| tokenizer.decode(&[id])).transpose()?;
        Ok(FrequentId { id, text, count, share: count as f64 / (counted as f64).max(1.0) })
    };
    frequent.into_iter().map(row).collect()
}

/// The beginnings of documents spread evenly over the split.
fn samples(
    corpus: &Corpus,
    split: Split,
    tokenizer: Option<&Tokenizer>,
    samples: u64,
) -> Result<Vec<Sample>, Error> {
    let Some(tokenizer) = tokenizer else { return Ok(Vec::new()) };
    let documents = corpus.documents(split);
    let samples = samples.min(documents);
    let sample = |n: u64| {
        let document = u128::from(n) * u128::from(documents) / u128::from(samples.max(1));
        let document = u64::try_from(document).unwrap_or(0);
        Ok(Sample { document, text: beginning(corpus, split, document, tokenizer)? })
    };
    (0..samples).map(sample).collect()
}

/// The first characters of a document.
pub(super) fn beginning(
    corpus: &Corpus,
    split: Split,
    document: u64,
    tokenizer: &Tokenizer,
) -> Result<String, Error> {
    let mut ids = corpus.document(split, document)?;
    ids.truncate(4 * SAMPLE_CHARS);
    Ok(tokenizer.decode(&ids)?.chars().take(SAMPLE_CHARS).collect())
}

fn describe(view: &CorpusView) -> String {
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
    let rows: Vec<Vec<String>> = view.splits.iter().map(split_row).collect();
    let mut text = format!(
        "{}: {} ids below {}, end of text {}\n{}\ndocument lengths in tokens\ndata      {}\ntokenizer {}",
        view.path.display(),
        view.dtype,
        thousands(view.vocab_size),
        view.end_of_text,
        table(&header, &rows),
        view.fingerprint,
        view.tokenizer_fingerprint
    );
    for (count, what) in special_cases(&view.counts) {
        text.push_str(&format!("\n{what}: {}", thousands(count)));
    }
    if let Some(clusters) = &view.clusters {
        text.push_str(&describe_clusters(clusters));
    }
    for split in view.splits.iter().filter(|split| split.documents > 0) {
        text.push_str(&describe_split(split));
    }
    text
}

fn describe_clusters(record: &ClustersRecord) -> String {
    let mut text = format!("\n{} of repeated documents", plural(record.clusters, "cluster"));
    if !record.largest.is_empty() {
        text.push_str(", the largest of them:");
    }
    for ClusterRecord { documents, input, offset } in &record.largest {
        let (documents, input) = (thousands(*documents), escaped(input));
        text.push_str(&format!("\n  {documents} documents, the first one in {input} at {offset}"));
    }
    text
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

fn describe_split(view: &SplitView) -> String {
    let mut text = format!("\n\n{}", view.split);
    if let Some(loss_tokens) = view.loss_tokens {
        text.push_str(&format!(": loss targets: {}", plural(loss_tokens, "token")));
    }
    text.push('\n');
    text.push_str(&describe_lengths(&view.lengths));
    if !view.frequent.is_empty() {
        let of = if view.counted_tokens == view.tokens { "" } else { " (a sample)" };
        let share = format!("of {}{of}", plural(view.counted_tokens, "token"));
        let rows: Vec<Vec<String>> = view.frequent.iter().map(frequent_row).collect();
        text.push_str(&format!("\n{}", table(&["frequent", "id", "count", &share], &rows)));
    }
    text.push_str(&describe_duplicates(view));
    for sample in &view.samples {
        text.push_str(&format!("\ndocument {}: {:?}", sample.document, sample.text));
    }
    text
}

fn frequent_row(id: &FrequentId) -> Vec<String> {
    let text = id.text.as_ref().map_or_else(String::new, |text| format!("{text:?}"));
    vec![text, id.id.to_string(), thousands(id.count), percent(id.share)]
}

/// Draws a bar of at most 32 characters per row.
fn describe_lengths(lengths: &[LengthRow]) -> String {
    const BAR: u64 = 32;
    let largest = lengths.iter().map(|row| row.documents).max().unwrap_or(1).max(1);
    let row = |row: &LengthRow| {
        let signs = (row.documents.saturating_mul(BAR)).div_ceil(largest);
        let bar = "█".repeat(usize::try_from(signs).unwrap_or(0));
        vec![
            format!("{} to {}", thousands(row.from), thousands(row.to)),
            thousands(row.documents),
            thousands(row.tokens),
            format!("{bar:<32}"),
        ]
    };
    let rows: Vec<Vec<String>> = lengths.iter().map(row).collect();
    table(&["length", "documents", "tokens", ""], &rows)
}

fn describe_duplicates(view: &SplitView) -> String {
    let Some(report) = &view.duplicates else {
        return "\nequal texts: not searched (no text hashes, or too many documents without --full)"
            .to_owned();
    };
    if report.texts == 0 {
        return "\nequal texts: none".to_owned();
    }
    let often = report.most_frequent.iter();
    let often: Vec<String> = often
        .map(|(count, document)| format!("{} times that of document {document}", thousands(*count)))
        .collect();
    format!(
        "\nequal texts: {} more than once, {} repeated: {}",
        plural(report.texts, "text"),
        plural(report.surplus_documents, "document"),
        often.join(", ")
    )
}
