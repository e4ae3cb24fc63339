//! Where the first documents of the inputs end.

use mixdown_documents::{Document, DocumentReader, InputList, Labeler, Place};

use crate::encode::has_fewer_chars;
use crate::error::Error;
use crate::prepare::options::PrepareOptions;

/// The place before which the first `limit` documents begin; `None` where there are fewer.
///
/// Reads that far before the work begins, on one thread: so the parts, which are made on many, know
/// their end. Documents that are left out do not count.
pub(crate) fn end_of(
    inputs: &InputList,
    options: &PrepareOptions,
    labeler: Option<&Labeler>,
    limit: u64,
) -> Result<Option<Place>, Error> {
    let mut left = limit;
    for document in DocumentReader::new(inputs, &options.read).with_labeler(labeler) {
        let document = document?;
        if document.text.is_empty()
            || has_fewer_chars(&document.text, options.min_chars)
            || has_no_target(&document)
        {
            continue;
        }
        left -= 1;
        if left == 0 {
            let Place { input, offset } = document.place;
            return Ok(Some(Place { input, offset: offset + 1 }));
        }
    }
    Ok(None)
}

fn has_no_target(document: &Document) -> bool {
    document.labels.as_ref().is_some_and(|labels| labels.targets.is_empty())
}
