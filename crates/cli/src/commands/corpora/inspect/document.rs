//! One document, decoded.

use mixdown_base::display::escaped;
use mixdown_shards::{Corpus, Split};
use mixdown_tokenize::Tokenizer;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;

#[derive(Serialize)]
struct DocumentView {
    document: u64,
    /// The id that it had in the input, if the corpus keeps ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    tokens: usize,
    /// The number of its tokens that are loss targets, if the split has labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_tokens: Option<usize>,
    text: String,
    /// The text in runs of targets and of other tokens, if the split has labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunView>>,
}

#[derive(Serialize)]
struct RunView {
    is_target: bool,
    text: String,
}

/// Prints document `number`; if there are labels, targets are in brackets ⟦ ⟧.
pub(super) fn show(
    corpus: &Corpus,
    split: Split,
    number: u64,
    context: Context,
) -> Result<(), Error> {
    let ids = corpus.document(split, number)?;
    let tokenizer = Tokenizer::load(&corpus.tokenizer_path())?;
    let text = tokenizer.decode(&ids)?;
    let mut view = DocumentView {
        document: number,
        id: corpus.document_own_id(split, number)?,
        tokens: ids.len(),
        loss_tokens: None,
        text,
        runs: None,
    };
    if corpus.is_labelled(split) {
        let mask = corpus.document_mask(split, number)?;
        view.loss_tokens = Some(mask.iter().filter(|byte| **byte == 1).count());
        view.runs = Some(runs(&tokenizer, &ids, &mask)?);
    }
    context.output.print(&view, |view| {
        // An id is printed on one line; the text keeps its lines.
        let id = view.id.as_ref().map(|id| format!("id: {}\n", escaped(id)));
        let text = match &view.runs {
            None => view.text.clone(),
            Some(runs) => runs.iter().map(marked).collect(),
        };
        id.unwrap_or_default() + &text
    })
}

fn marked(run: &RunView) -> String {
    if run.is_target { format!("⟦{}⟧", run.text) } else { run.text.clone() }
}

fn runs(tokenizer: &Tokenizer, ids: &[u32], mask: &[u8]) -> Result<Vec<RunView>, Error> {
    let mut runs = Vec::new();
    let mut rest = ids;
    for equal in mask.chunk_by(|a, b| a == b) {
        let (run, later) = rest.split_at(equal.len().min(rest.len()));
        let text = tokenizer.decode(run)?;
        runs.push(RunView { is_target: equal.first() == Some(&1), text });
        rest = later;
    }
    Ok(runs)
}
