//! `mixdown verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_base::display::plural;
use mixdown_shards::{Access, Corpus, Damage, Progress, VerifyReport, verify};
use mixdown_tokenize::Tokenizer;

use crate::commands::Context;
use crate::error::Error;
use crate::progress::{Meter, Unit};

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
    report.damage.extend(tokenizer_damage(&arguments.corpus)?);
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

/// A tokenizer.json that is not the one the corpus was made with.
fn tokenizer_damage(folder: &Path) -> Result<Option<Damage>, Error> {
    // A manifest that cannot be opened is in the report already.
    let Ok(corpus) = Corpus::open(folder, Access::Read) else { return Ok(None) };
    let path = corpus.tokenizer_path();
    if !path.is_file() {
        return Ok(None);
    }
    let found = Tokenizer::load(&path)?.fingerprint();
    let expected = corpus.tokenizer_fingerprint();
    Ok((found != expected).then(|| Damage {
        path,
        offset_bytes: None,
        expected: format!("the corpus' tokenizer {expected}"),
        got: found.to_string(),
    }))
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
