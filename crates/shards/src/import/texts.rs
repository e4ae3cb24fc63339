//! One pass over the documents: the bytes and hashes of their texts.

use super::{ImportOptions, document_table::DocumentTable, format::Found};
use crate::Access;
use crate::Error;
use crate::TokenFile;
use crate::corpus::document_runs::{DocumentRun, runs, trimmed};
use crate::corpus::token_file::TokenLayout;
use crate::files::parallel;
use crate::verify::Meter;

/// The result of the pass.
pub(super) struct Texts {
    pub bytes: u64,
    pub hashes: Vec<u64>,
}

/// Decodes every document in parallel.
pub(super) fn texts(
    found: &Found,
    table: &DocumentTable,
    beginning: Option<u32>,
    options: &ImportOptions<'_>,
    meter: &Meter<'_>,
) -> Result<Texts, Error> {
    let layout =
        TokenLayout { header_bytes: found.header_bytes, dtype: found.dtype, tokens: found.tokens };
    let file = TokenFile::open_with(&found.path, layout, options.vocab_size, Access::Read)?;
    let runs = runs(table.lengths.iter().map(|length| length.unsigned_abs()));
    let work = |n: u64| match usize::try_from(n).ok().and_then(|n| runs.get(n)) {
        Some(run) => texts_of_run(run, &file, found, table, beginning, options, meter),
        None => Ok(Texts { bytes: 0, hashes: Vec::new() }),
    };
    let parts = parallel::map(runs.len() as u64, parallel::available_threads(), work)?;
    meter.add(found.header_bytes)?;
    let mut texts = Texts { bytes: 0, hashes: Vec::new() };
    for part in parts {
        texts.bytes += part.bytes;
        texts.hashes.extend(part.hashes);
    }
    Ok(texts)
}

fn texts_of_run(
    run: &DocumentRun,
    file: &TokenFile,
    found: &Found,
    table: &DocumentTable,
    beginning: Option<u32>,
    options: &ImportOptions<'_>,
    meter: &Meter<'_>,
) -> Result<Texts, Error> {
    let mut texts = Texts { bytes: 0, hashes: Vec::with_capacity(run.documents) };
    let mut ids = Vec::new();
    let mut start_token = run.start_token;
    let lengths = table.lengths.iter().enumerate().skip(run.first_document).take(run.documents);
    for (document, length) in lengths {
        ids.resize(usize::try_from(*length).unwrap_or(0), 0);
        file.read(start_token, &mut ids)?;
        start_token += ids.len() as u64;
        let text = trimmed(&ids, beginning, options.end_of_text);
        let (bytes, hash) = (options.text_of)(text).map_err(|source| Error::Text {
            path: found.path.clone(),
            document: document as u64,
            source,
        })?;
        texts.bytes += bytes;
        texts.hashes.push(hash);
        meter.add(ids.len() as u64 * found.dtype.bytes())?;
    }
    Ok(texts)
}
