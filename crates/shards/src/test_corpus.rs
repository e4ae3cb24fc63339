//! A small corpus for unit tests.

use std::path::Path;

use crate::{DocumentBytes, Dtype, Fingerprint, Manifest, ShardWriter, Sketch, Split, SplitRecord};

/// Writes documents without beginning and end; id 0 ends a text and occurs in none of them.
pub(crate) fn write(folder: &Path, train: &[Vec<u32>], holdout: &[Vec<u32>]) {
    let (dtype, vocab_size) = (Dtype::U16, 1000);
    let [train, holdout] =
        [(Split::Train, train), (Split::Holdout, holdout)].map(|(split, documents)| {
            if documents.is_empty() {
                return SplitRecord::new(Vec::new());
            }
            let folder = folder.join(split.folder());
            let mut writer =
                ShardWriter::create(&folder, "shard-00000", dtype, vocab_size).unwrap();
            for ids in documents {
                let hash = ids.iter().map(|id| u64::from(*id)).sum();
                writer.push(ids, 1, hash, None).unwrap();
            }
            SplitRecord::new(vec![writer.finish().unwrap()])
        });
    let tokenizer_fingerprint = Fingerprint::of(b"tokenizer");
    let manifest = Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout);
    manifest.write(folder).unwrap();
}

/// Writes shards of documents of one id with these sketches.
pub(crate) fn write_sketched(folder: &Path, train: &[Vec<Sketch>], holdout: &[Vec<Sketch>]) {
    let (dtype, vocab_size) = (Dtype::U16, 1000);
    let [train, holdout] =
        [(Split::Train, train), (Split::Holdout, holdout)].map(|(split, shards)| {
            let folder = folder.join(split.folder());
            let shards = shards.iter().enumerate().map(|(number, sketches)| {
                let name = format!("shard-{number:05}");
                let mut writer = ShardWriter::create(&folder, &name, dtype, vocab_size).unwrap();
                for (hash, &sketch) in (0..).zip(sketches) {
                    let (ids, sketch) = (&[1, 0], Some(sketch));
                    let document = DocumentBytes {
                        ids,
                        text_bytes: 1,
                        hash,
                        mask: None,
                        own_id: None,
                        sketch,
                    };
                    writer.push_bytes(&document).unwrap();
                }
                writer.finish().unwrap()
            });
            SplitRecord::new(shards.collect())
        });
    let tokenizer_fingerprint = Fingerprint::of(b"tokenizer");
    let manifest = Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout);
    manifest.write(folder).unwrap();
}
