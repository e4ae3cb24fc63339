//! The overlap of a corpus with the training split of another.

use std::path::{Path, PathBuf};

use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, ByteProgress, ContaminationReport, Corpus, GRAM_UNITS, NEAR_DUPLICATE, NearPair, Side,
    Split, contamination, near_overlap_of, overlap_of, units_of_ids,
};
use mixdown_tokenize::Tokenizer;
use serde::Serialize;

use super::UnitName;
use super::contents::beginning;
use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::percent;
use crate::terminal::progress::{Meter, Unit};

#[derive(Serialize)]
struct OverlapView {
    path: PathBuf,
    split: &'static str,
    other: PathBuf,
    documents: u64,
    /// Documents whose text is also in the other's training split; none if hashes are missing.
    equal_texts: Option<u64>,
    /// None if sketches are missing.
    near_duplicates: Option<NearView>,
    units: &'static str,
    gram_units: usize,
    short_documents: u64,
    shared_documents: u64,
    shared_share: f64,
    examples: Vec<u64>,
}

/// Documents with an estimated similarity of at least `least` to a training document of the other corpus.
#[derive(Serialize)]
struct NearView {
    least: f64,
    documents: u64,
    share: f64,
    examples: Vec<NearExample>,
}

/// A pair of similar documents, with the beginnings of their texts if the corpora have their tokenizers.
#[derive(Serialize)]
struct NearExample {
    #[serde(flatten)]
    pair: NearPair,
    text: Option<String>,
    train_text: Option<String>,
}

/// Prints how many documents of `split` are, or share passages with, training documents of `other`.
pub(super) fn show(
    corpus: &Corpus,
    split: Split,
    other: &Path,
    units: Option<UnitName>,
    context: Context,
) -> Result<(), Error> {
    let other = Corpus::open(other, Access::Map)?;
    let is_same_tokenizer = corpus.tokenizer_fingerprint() == other.tokenizer_fingerprint();
    let units = match units {
        Some(UnitName::Tokens) if !is_same_tokenizer => {
            let message = format!(
                "{} and {} have different tokenizers: their tokens cannot be compared",
                corpus.folder().display(),
                other.folder().display()
            );
            return Err(Error::usage(message, "compare words: leave out --units tokens"));
        }
        Some(units) => units,
        None if is_same_tokenizer => UnitName::Tokens,
        None => UnitName::Words,
    };
    let has_hashes = corpus.has_document_hashes(split) && other.has_document_hashes(Split::Train);
    let equal_texts = if has_hashes { Some(overlap_of(corpus, split, &other)?) } else { None };
    let near_duplicates = near_duplicates(corpus, split, &other)?;
    let meter = Meter::new("overlap", Unit::Tokens);
    let progress = |at: ByteProgress| meter.set(at.done_bytes, at.total_bytes, "");
    let report = compare(corpus, split, &other, units, Observer::new(&progress, context.stop))?;
    meter.finish("compared");
    let view = view(corpus, split, &other, units, equal_texts, near_duplicates, report);
    context.output.print(&view, describe)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn near_duplicates(
    corpus: &Corpus,
    split: Split,
    other: &Corpus,
) -> Result<Option<NearView>, Error> {
    let Some(near) = near_overlap_of(corpus, split, other, NEAR_DUPLICATE)? else {
        return Ok(None);
    };
    // Imported corpora may lack the file.
    let tokenizer = |corpus: &Corpus| Tokenizer::load(&corpus.tokenizer_path()).ok();
    let (here, there) = match near.examples.is_empty() {
        true => (None, None),
        false => (tokenizer(corpus), tokenizer(other)),
    };
    let example = |pair: NearPair| {
        let text = |tokenizer: &Tokenizer| beginning(corpus, split, pair.document, tokenizer);
        let train_text =
            |tokenizer: &Tokenizer| beginning(other, Split::Train, pair.train_document, tokenizer);
        let text = here.as_ref().map(text).transpose()?;
        Ok(NearExample { pair, text, train_text: there.as_ref().map(train_text).transpose()? })
    };
    let examples = near.examples.into_iter().map(example).collect::<Result<_, Error>>()?;
    let share = near.documents as f64 / (corpus.documents(split) as f64).max(1.0);
    Ok(Some(NearView { least: NEAR_DUPLICATE, documents: near.documents, share, examples }))
}

fn compare(
    corpus: &Corpus,
    split: Split,
    other: &Corpus,
    units: UnitName,
    observer: Observer<'_, ByteProgress>,
) -> Result<ContaminationReport, Error> {
    if units == UnitName::Tokens {
        let here = Side { corpus, split, units_of: &units_of_ids };
        let there = Side { corpus: other, split: Split::Train, units_of: &units_of_ids };
        return Ok(contamination(here, there, observer)?);
    }
    let here_tokenizer = Tokenizer::load(&corpus.tokenizer_path())?;
    let there_tokenizer = Tokenizer::load(&other.tokenizer_path())?;
    let here_words =
        |ids: &[u32], words: &mut Vec<u64>| here_tokenizer.words(ids, words).map_err(Into::into);
    let there_words =
        |ids: &[u32], words: &mut Vec<u64>| there_tokenizer.words(ids, words).map_err(Into::into);
    let here = Side { corpus, split, units_of: &here_words };
    let there = Side { corpus: other, split: Split::Train, units_of: &there_words };
    Ok(contamination(here, there, observer)?)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn view(
    corpus: &Corpus,
    split: Split,
    other: &Corpus,
    units: UnitName,
    equal_texts: Option<u64>,
    near_duplicates: Option<NearView>,
    report: ContaminationReport,
) -> OverlapView {
    OverlapView {
        path: corpus.folder().to_owned(),
        split: split.folder(),
        other: other.folder().to_owned(),
        documents: report.documents,
        equal_texts,
        near_duplicates,
        units: if units == UnitName::Tokens { "tokens" } else { "words" },
        gram_units: GRAM_UNITS,
        short_documents: report.short_documents,
        shared_documents: report.shared_documents,
        shared_share: report.shared_documents as f64 / (report.documents as f64).max(1.0),
        examples: report.examples,
    }
}

fn describe(view: &OverlapView) -> String {
    let equal = match view.equal_texts {
        Some(equal) => format!("with an equal text there: {}", plural(equal, "document")),
        None => "equal texts unknown: one of the two has no text hashes (--sample-sums)".to_owned(),
    };
    let mut text = format!(
        "{} ({}) in the training split of {}: {}\n{equal}\n{}\nwith a run of {} {} in common: {} ({})",
        view.path.display(),
        view.split,
        view.other.display(),
        plural(view.documents, "document"),
        describe_near(view.near_duplicates.as_ref()),
        view.gram_units,
        view.units,
        plural(view.shared_documents, "document"),
        percent(view.shared_share),
    );
    if !view.examples.is_empty() {
        let numbers: Vec<String> = view.examples.iter().map(u64::to_string).collect();
        text.push_str(&format!(", the first: {}", numbers.join(", ")));
    }
    if view.short_documents > 0 {
        text.push_str(&format!(
            "\nshorter than such a run: {}",
            plural(view.short_documents, "document")
        ));
    }
    text
}

fn describe_near(near: Option<&NearView>) -> String {
    let Some(near) = near else {
        return "near-duplicates unknown: one of the two has no sketches of its texts (imported, prepared by an older \
                version, or with --near-duplicates off)"
            .to_owned();
    };
    let mut text = format!(
        "with a near-duplicate there (an estimated similarity of {:.2} or more): {} ({})",
        near.least,
        plural(near.documents, "document"),
        percent(near.share),
    );
    for NearExample { pair, text: here, train_text } in &near.examples {
        text.push_str(&format!(
            "\n  document {}, similarity {:.2} to training document {}",
            pair.document, pair.estimate, pair.train_document
        ));
        for beginning in [here, train_text].into_iter().flatten() {
            text.push_str(&format!("\n    {beginning:?}"));
        }
    }
    text
}
