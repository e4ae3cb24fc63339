//! `mixdown verify` of a corpus, and the option by which other commands do the same first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, ByteProgress, Corpus, Damage, DocumentsChecked, Manifest, Sketch, Split, VerifyReport,
    verify, verify_document_ends,
};
use mixdown_tokenize::Tokenizer;

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::progress::{Meter, Unit, say};

/// The option of commands that read corpora.
#[derive(Debug, Clone, Copy, Args)]
pub struct VerifyCorporaArgs {
    /// First check every byte of the corpora against their checksums, as `mixdown verify` does.
    #[arg(long)]
    verify: bool,
}

/// Checks a corpus and prints what was found.
///
/// # Errors
/// A folder that is not a corpus, or any damage.
pub fn run(folder: &Path, context: Context) -> Result<(), Error> {
    let report = report(folder, context)?;
    context.output.print(&report, describe)?;
    if report.damage.is_empty() {
        return Ok(());
    }
    let places = plural(u64::try_from(report.damage.len()).unwrap_or(u64::MAX), "place");
    Err(damaged(format!("{}: damaged in {places}", folder.display())))
}

/// Checks all bytes of these corpora where the option asks for it.
///
/// # Errors
/// A folder that is not a corpus; the first damage, by file and place.
pub fn check_corpora<'a>(
    option: VerifyCorporaArgs,
    corpora: impl IntoIterator<Item = &'a Path>,
    base: &Path,
    context: Context,
) -> Result<(), Error> {
    if !option.verify {
        return Ok(());
    }
    let whole = |path: &Path| base.join(path);
    let corpora: BTreeSet<PathBuf> = corpora.into_iter().map(whole).collect();
    for folder in corpora {
        let report = report(&folder, context)?;
        if let Some(first) = report.damage.first() {
            let more = match report.damage.len() {
                1 => String::new(),
                places => format!("; {places} places in all, which `mixdown verify` names"),
            };
            return Err(damaged(format!("{}{more}", place(first))));
        }
    }
    Ok(())
}

/// Warns if near-duplicates of held-out documents of one corpus in the training part of another one cannot be found,
/// because a corpus has no sketches.
pub fn warn_of_missing_sketches<'a>(
    label: &str,
    corpora: impl IntoIterator<Item = &'a Path>,
    base: &Path,
) {
    let whole = |path: &Path| base.join(path);
    let folders: BTreeSet<PathBuf> = corpora.into_iter().map(whole).collect();
    // A corpus that cannot be opened is reported by whoever reads it.
    let corpora: Vec<Corpus> = folders
        .iter()
        .filter_map(|folder| Corpus::open_lazily(folder, Access::Read).ok())
        .collect();
    let fingerprints: BTreeSet<[u8; 32]> =
        corpora.iter().map(|corpus| *corpus.fingerprint().as_bytes()).collect();
    let has_holdout = corpora.iter().any(|corpus| corpus.documents(Split::Holdout) > 0);
    if fingerprints.len() < 2 || !has_holdout {
        return;
    }
    let lacks = |corpus: &&Corpus| Split::ALL.iter().any(|&split| !corpus.has_sketches(split));
    let names: Vec<String> =
        corpora.iter().filter(lacks).map(|corpus| corpus.folder().display().to_string()).collect();
    if !names.is_empty() {
        say(&format!(
            "{label}: warning: no sketches of texts in {} (imported, prepared by an older version, or with \
             --near-duplicates off): near-duplicates of held-out documents in another corpus are not detected",
            names.join(", ")
        ));
    }
}

fn report(folder: &Path, context: Context) -> Result<VerifyReport, Error> {
    let meter = Meter::new("verify", Unit::Bytes);
    let progress = |at: ByteProgress| meter.set(at.done_bytes, at.total_bytes, "");
    let mut report = verify(folder, Observer::new(&progress, context.stop))?;
    meter.finish("read");
    let damage = damage_of_manifest(&report, folder, context.stop)?;
    report.damage.extend(damage);
    Ok(report)
}

fn damaged(message: String) -> Error {
    let hint = "restore the named files from a copy, or prepare the corpus again".to_owned();
    Error::Data { message, hint }
}

/// Checks the manifest against the tokenizer (its fingerprint and its number of ids), and whether documents begin and
/// end as the manifest says.
fn damage_of_manifest(
    report: &VerifyReport,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Vec<Damage>, Error> {
    // A manifest that cannot be opened is in the report already.
    let Ok(corpus) = Corpus::open(folder, Access::Read) else { return Ok(Vec::new()) };
    let mut damage = Vec::new();
    let is_sound = |path: &Path| report.damage.iter().all(|damage| damage.path != path);
    let path = corpus.tokenizer_path();
    if path.is_file() && is_sound(&path) {
        let tokenizer = Tokenizer::load(&path)?;
        let (expected, got) = (corpus.tokenizer_fingerprint(), tokenizer.fingerprint());
        damage.extend((expected != got).then(|| Damage {
            path,
            offset_bytes: None,
            expected: format!("the corpus' tokenizer {expected}"),
            got: got.to_string(),
        }));
        let (expected, got) = (tokenizer.vocab_size(), corpus.manifest().vocab_size);
        damage.extend((expected != got).then(|| Damage {
            path: folder.join(Manifest::FILE),
            offset_bytes: None,
            expected: format!("the tokenizer's vocab_size {expected}"),
            got: got.to_string(),
        }));
    }
    if report.damage.is_empty() {
        // A seal reveals a change of the manifest, unless it was sealed again.
        let which = match report.is_sealed {
            true => DocumentsChecked::Some,
            false => DocumentsChecked::All,
        };
        damage.extend(verify_document_ends(&corpus, which, stop)?);
    }
    Ok(damage)
}

fn describe(report: &VerifyReport) -> String {
    let mut text = format!(
        "{}, {}, {}, {} checked: {}",
        plural(report.shards, "shard"),
        plural(report.documents, "document"),
        plural(report.tokens, "token"),
        plural(report.bytes, "byte"),
        if report.damage.is_empty() { "no damage" } else { "DAMAGED" }
    );
    if report.bytes_without_sum > 0 {
        text.push_str(&format!(
            "\nwithout a checksum (imported with --sample-sums), so only the range of the ids was checked: {}",
            plural(report.bytes_without_sum, "byte")
        ));
    }
    if report.foreign_sketch_shards > 0 {
        text.push_str(&format!(
            "\nsketches of another version than {} (near-duplicates in them cannot be found; prepare the corpus again): \
             {}",
            Sketch::VERSION,
            plural(report.foreign_sketch_shards, "shard")
        ));
    }
    if !report.is_sealed {
        text.push_str(
            "\nthe manifest has no seal (an older version wrote it): a change of its counts, inputs or options is \
             not detected",
        );
    }
    for damage in &report.damage {
        text.push_str(&format!("\n  {}", place(damage)));
    }
    text
}

fn place(damage: &Damage) -> String {
    let at = damage.offset_bytes.map_or_else(String::new, |offset| format!(" at byte {offset}"));
    format!("{}{at}: expected {}, got {}", damage.path.display(), damage.expected, damage.got)
}
