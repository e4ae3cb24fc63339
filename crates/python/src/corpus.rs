//! An open corpus.

use std::path::PathBuf;
use std::sync::OnceLock;

use mixdown_shards::{Access, Corpus, Split};
use mixdown_tokenize::Tokenizer;
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::failure::Failure;

/// One split of a corpus.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct CorpusCore {
    corpus: Corpus,
    split: Split,
    tokenizer: OnceLock<Tokenizer>,
}

#[pymethods]
impl CorpusCore {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, split: &str) -> PyResult<Self> {
        let split = match split {
            "train" => Split::Train,
            "holdout" => Split::Holdout,
            other => {
                let message = format!("split: expected \"train\" or \"holdout\", got {other:?}");
                return Err(Failure::configuration(message).into());
            }
        };
        let corpus = py.detach(|| Corpus::open(&path, Access::Map)).map_err(Failure::from)?;
        Ok(Self { corpus, split, tokenizer: OnceLock::new() })
    }

    #[getter]
    fn documents(&self) -> u64 {
        self.corpus.documents(self.split)
    }

    #[getter]
    fn tokens(&self) -> u64 {
        self.corpus.tokens(self.split)
    }

    #[getter]
    fn text_bytes(&self) -> u64 {
        self.corpus.text_bytes(self.split)
    }

    #[getter]
    fn loss_tokens(&self) -> u64 {
        self.corpus.loss_tokens(self.split)
    }

    #[getter]
    fn is_labelled(&self) -> bool {
        self.corpus.is_labelled(self.split)
    }

    #[getter]
    fn vocab_size(&self) -> u64 {
        self.corpus.manifest().vocab_size
    }

    #[getter]
    fn end_of_text(&self) -> u32 {
        self.corpus.manifest().end_of_text
    }

    #[getter]
    fn fingerprint(&self) -> String {
        self.corpus.fingerprint().to_string()
    }

    /// NumPy's code of the ids' type.
    #[getter]
    fn dtype(&self) -> String {
        format!("<u{}", self.corpus.manifest().dtype.bytes())
    }

    /// For each shard its token file, the bytes before its first id, and its number of ids.
    fn files(&self) -> Vec<(PathBuf, u64, u64)> {
        let shards = &self.corpus.manifest().split(self.split).shards;
        let header = |adopted: &mixdown_shards::AdoptedRecord| adopted.header_bytes;
        let files = self.corpus.token_paths(self.split).zip(shards);
        files
            .map(|(path, shard)| (path, shard.adopted.as_ref().map_or(0, header), shard.tokens))
            .collect()
    }

    /// A document's first token in the split's stream, and the one after its last.
    fn document(&self, document: u64) -> PyResult<(u64, u64)> {
        let range = self.corpus.document_range(self.split, document).map_err(Failure::from)?;
        Ok((range.start, range.end))
    }

    /// A document's loss mask, uint8.
    fn loss_mask<'py>(&self, py: Python<'py>, document: u64) -> PyResult<Bound<'py, PyAny>> {
        let mask = self.corpus.document_mask(self.split, document).map_err(Failure::from)?;
        Ok(PyArray1::from_vec(py, mask).into_any())
    }

    /// The id that a document had in the input.
    fn document_id(&self, document: u64) -> PyResult<Option<String>> {
        Ok(self.corpus.document_own_id(self.split, document).map_err(Failure::from)?)
    }

    /// All documents' lengths, uint32.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let lengths = py.detach(|| self.corpus.document_lengths(self.split));
        Ok(PyArray1::from_vec(py, lengths.map_err(Failure::from)?).into_any())
    }

    /// The text of ids.
    fn decode(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<String> {
        let text = py.detach(|| {
            if self.tokenizer.get().is_none() {
                // Another thread may have loaded the same tokenizer first.
                let _ = self.tokenizer.set(Tokenizer::load(&self.corpus.tokenizer_path())?);
            }
            self.tokenizer.get().map_or(Ok(String::new()), |tokenizer| tokenizer.decode(&ids))
        });
        Ok(text.map_err(Failure::from)?)
    }
}
