//! `mixdown verify`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use mixdown_base::display::plural;
use mixdown_shards::{
    Access, Corpus, Damage, Manifest, Progress, VerifyReport, verify, verify_document_ends,
};
use mixdown_tokenize::Tokenizer;

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::progress::{Meter, Unit};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mixdown verify corpora/general")]
pub struct VerifyArgs {
    /// The corpus folder.
    corpus: PathBuf,
}

/// Runs the subcommand; damage is an error after the report is printed.
///
/// # Errors
/// A folder that is no corpus, or any damage.
pub fn run(arguments: VerifyArgs, context: Context) -> Result<(), Error> {
    let meter = Meter::new("verify", Unit::Bytes);
    let progress = |at: Progress| meter.set(at.done_bytes, at.total_bytes, "");
    let mut report = verify(&arguments.corpus, &progress, context.stop)?;
    meter.finish("read");
    let damage = damage_of_manifest(&report, &arguments.corpus, context.stop)?;
    report.damage.extend(damage);
    context.output.print(&report, describe)?;
    if report.damage.is_empty() {
        return Ok(());
    }
    Err(Error::Data {
        message: format!(
            "{}: damaged in {}",
            arguments.corpus.display(),
            plural(u64::try_from(report.damage.len()).unwrap_or(u64::MAX), "place")
        ),
        hint: "restore the named files from a copy, or prepare the corpus again".to_owned(),
    })
}

/// What a tokenizer tells of the manifest: which one made the ids, and how many there are; and of a manifest without a
/// seal, whether documents begin and end as it says.
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
    if !report.is_sealed && report.damage.is_empty() {
        damage.extend(verify_document_ends(&corpus, stop)?);
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
            "\nwithout a sum (imported with --sample-sums), so that only the range of ids was checked: {}",
            plural(report.bytes_without_sum, "byte")
        ));
    }
    if !report.is_sealed {
        text.push_str(
            "\nthe manifest has no seal (an older version wrote it): a change of its counts, inputs or options is \
             not seen",
        );
    }
    for damage in &report.damage {
        let place =
            damage.offset_bytes.map_or_else(String::new, |offset| format!(" at byte {offset}"));
        text.push_str(&format!(
            "\n  {}{place}: expected {}, got {}",
            damage.path.display(),
            damage.expected,
            damage.got
        ));
    }
    text
}
