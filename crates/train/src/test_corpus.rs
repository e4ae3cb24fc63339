//! Corpora for tests.

use std::path::Path;

use mixdown_shards::{
    Access, Corpus, DocumentBytes, Dtype, Fingerprint, Manifest, ShardWriter, Sketch, SplitRecord,
};

/// Ids below 40 with some structure to learn.
pub(crate) fn tokens(len: u32, seed: u32) -> Vec<u32> {
    (0..len).map(|i| (i * i % 7 * 5 + i * seed % 3 + seed) % 40).collect()
}

/// A corpus of one training and one held-out document, 3 bytes of text a token.
pub(crate) fn corpus(folder: &Path, vocab_size: u64, train: &[u32], holdout: &[u32]) -> Corpus {
    corpus_of_bytes(folder, vocab_size, train, holdout, 3)
}

/// Does what [`corpus`] does, with this number of bytes of text per token.
pub(crate) fn corpus_of_bytes(
    folder: &Path,
    vocab_size: u64,
    train: &[u32],
    holdout: &[u32],
    token_bytes: u64,
) -> Corpus {
    let [train, holdout] = [train, holdout].map(|tokens| vec![(tokens.to_vec(), None)]);
    corpus_of_documents(folder, vocab_size, &train, &holdout, token_bytes)
}

/// A document's ids, and which of them are targets if it is labeled.
pub(crate) type Document = (Vec<u32>, Option<Vec<u8>>);

/// Writes a corpus of these documents, with this number of bytes of text per token. Documents with the same beginning
/// are near-duplicates.
pub(crate) fn corpus_of_documents(
    folder: &Path,
    vocab_size: u64,
    train: &[Document],
    holdout: &[Document],
    token_bytes: u64,
) -> Corpus {
    let dtype = Dtype::for_vocab(vocab_size);
    let shard = |split: &str, documents: &[Document]| {
        let mut writer =
            ShardWriter::create(&folder.join(split), "shard-00000", dtype, vocab_size).unwrap();
        for (tokens, mask) in documents {
            let bytes = u64::try_from(tokens.len()).unwrap() * token_bytes;
            let hash =
                |tokens: &[u32]| tokens.iter().fold(7, |a, &b| a * 31 % 1_000_003 + u64::from(b));
            let width = usize::try_from(dtype.bytes()).unwrap();
            let ids = tokens.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width));
            let beginning = tokens.get(..32).unwrap_or(tokens);
            let document = DocumentBytes {
                ids: &ids.collect::<Vec<u8>>(),
                text_bytes: bytes,
                hash: hash(tokens),
                mask: mask.as_deref(),
                own_id: None,
                sketch: Some(Sketch::of_hash(hash(beginning))),
            };
            writer.push_bytes(&document).unwrap();
        }
        SplitRecord::new(vec![writer.finish().unwrap()])
    };
    let (train, holdout) = (shard("train", train), shard("holdout", holdout));
    let tokenizer_fingerprint = Fingerprint::of(b"tokenizer");
    let manifest = Manifest {
        end_of_text: 39,
        ..Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout)
    };
    manifest.write(folder).unwrap();
    let tokenizer = r#"{"added_tokens":[{"id":39,"content":"<|endoftext|>"}]}"#;
    std::fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    Corpus::open(folder, Access::Map).unwrap()
}
