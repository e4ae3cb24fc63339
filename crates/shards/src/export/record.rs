//! An export's record of itself: repeating the same command finds it done, and another command is refused.

use std::{fs, io, path::Path};

use mixdown_base::files;
use serde::{Deserialize, Serialize};

use super::{ExportFormat, ExportOptions, ExportReport, LostMask};
use crate::{Corpus, Error, import::llmc};

/// The record's file. In an unfinished folder it shows that the folder belongs to an export.
pub(super) const RECORD_FILE: &str = ".mixdown-export";
/// The size of a record of about 100,000 files, an upper limit.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// The content of [`RECORD_FILE`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExportRecord {
    settings: Settings,
    /// `None` while the export is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<ExportReport>,
}

impl ExportRecord {
    pub(super) fn begun(settings: &Settings) -> Self {
        Self { settings: settings.clone(), report: None }
    }

    pub(super) fn finished(settings: Settings, report: &ExportReport) -> Self {
        Self { settings, report: Some(report.clone()) }
    }

    /// Writes the record into an export's folder.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(RECORD_FILE);
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        Ok(files::write(&path, &json)?)
    }
}

/// All settings that determine the bytes of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    format: String,
    /// The corpus' data fingerprint.
    corpus: String,
    end_of_text: u32,
    splits: Vec<String>,
    /// Set only for llm.c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_tokens: Option<u64>,
    /// "kept", even if there is no mask, or "dropped".
    mask: String,
}

impl Settings {
    pub(super) fn of(corpus: &Corpus, options: &ExportOptions) -> Self {
        let is_dropped = !options.format.holds_mask() && options.lost_mask == LostMask::Drop;
        Self {
            format: options.format.to_string(),
            corpus: corpus.fingerprint().to_string(),
            end_of_text: corpus.manifest().end_of_text,
            splits: options.splits.iter().map(ToString::to_string).collect(),
            shard_tokens: (options.format == ExportFormat::Llmc).then_some(options.shard_tokens),
            mask: if is_dropped { "dropped" } else { "kept" }.to_owned(),
        }
    }

    /// Returns the first setting that differs from an earlier export: its name, the earlier value and the current one.
    fn difference(&self, before: &Self) -> Option<(&'static str, String, String)> {
        let list = |settings: &Self| {
            [
                ("format", settings.format.clone()),
                ("corpus", settings.corpus.clone()),
                ("end_of_text", settings.end_of_text.to_string()),
                ("splits", settings.splits.join(" and ")),
                ("shard_tokens", settings.shard_tokens.unwrap_or_default().to_string()),
                ("mask", settings.mask.clone()),
            ]
        };
        let pairs = list(before).into_iter().zip(list(self));
        pairs
            .map(|((name, before), (_, now))| (name, before, now))
            .find(|(_, before, now)| before != now)
    }
}

/// Returns the result of an earlier export of the same settings to `out`; none if `out` does not exist.
///
/// # Errors
/// `out` is something else or an export with other settings; one of its files has another size now.
pub(super) fn finished(out: &Path, settings: &Settings) -> Result<Option<ExportReport>, Error> {
    if fs::symlink_metadata(out).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let hint = "give a folder that does not exist yet";
    let other =
        |got: &str| Error::request(out, "no output folder yet, or an earlier export", got, hint);
    let path = out.join(RECORD_FILE);
    let bytes = match files::read_capped(&path, MAX_RECORD_BYTES) {
        Ok(bytes) => bytes,
        Err(files::Error::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Err(other("something else"));
        }
        Err(error) => return Err(error.into()),
    };
    let record: Option<ExportRecord> = serde_json::from_slice(&bytes).ok();
    let Some(ExportRecord { settings: before, report: Some(report) }) = record else {
        return Err(other(&format!("one with a damaged {RECORD_FILE}")));
    };
    if let Some((setting, expected, got)) = settings.difference(&before) {
        let (path, setting) = (out.to_owned(), setting.to_owned());
        return Err(Error::Differs { path, setting, expected, got });
    }
    check_files(out, &before, &report)?;
    Ok(Some(ExportReport { already_done: true, ..report }))
}

/// Checks that the token files still exist: a folder from which somebody removed files is not done.
fn check_files(out: &Path, settings: &Settings, report: &ExportReport) -> Result<(), Error> {
    let header_bytes =
        if settings.format == ExportFormat::Llmc.to_string() { llmc::HEADER_BYTES } else { 0 };
    for file in &report.files {
        let path = out.join(&file.path);
        let expected =
            file.tokens.saturating_mul(report.dtype.bytes()).saturating_add(header_bytes);
        let got = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() == expected => continue,
            Ok(metadata) if metadata.is_file() => format!("{} bytes", metadata.len()),
            Ok(_) => "something that is no file".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "no file".to_owned(),
            Err(error) => return Err(Error::io("look at", &path)(error)),
        };
        let hint = "remove the folder to export again";
        let expected = format!("the exported file of {expected} bytes");
        return Err(Error::request(&path, expected, got, hint));
    }
    Ok(())
}
