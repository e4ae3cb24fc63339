//! Written corpora are read back, for every type and size.

use std::{fs, sync::Mutex};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, ByteProgress, Corpus, Fingerprint, ShardWriter, Split, overlap, verify,
};
use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use crate::support::{Shards, hash_of, run_verify, small_corpus, some_documents, write_corpus};

/// Vocabularies on both sides of the border between the dtypes, and documents of their ids.
fn corpora() -> impl Strategy<Value = (u32, Shards, Shards)> {
    let vocabulary = prop_oneof![Just(1_u32), Just(300), Just(65_536), Just(65_537), Just(1 << 31)];
    vocabulary.prop_flat_map(|vocab_size| {
        let document = prop::collection::vec(0..vocab_size, 1..30);
        let shard = prop::collection::vec(document, 1..8);
        let shards = prop::collection::vec(shard, 0..4);
        (Just(vocab_size), shards.clone(), shards)
    })
}

fn check_split(corpus: &Corpus, split: Split, shards: &Shards, cuts: &[(usize, usize)]) {
    let documents: Vec<&Vec<u32>> = shards.iter().flatten().collect();
    let stream: Vec<u32> = documents.iter().flat_map(|document| document.iter().copied()).collect();
    assert_eq!(corpus.tokens(split), stream.len() as u64);
    assert_eq!(corpus.documents(split), documents.len() as u64);
    assert_eq!(corpus.text_bytes(split), 3 * stream.len() as u64);
    let lengths: Vec<u32> = documents.iter().map(|ids| u32::try_from(ids.len()).unwrap()).collect();
    assert_eq!(corpus.document_lengths(split).unwrap(), lengths);
    let hashes: Vec<u64> = documents.iter().map(|ids| hash_of(ids)).collect();
    assert_eq!(corpus.document_hashes(split).unwrap(), hashes);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!(&corpus.document(split, n as u64).unwrap(), *document);
    }
    assert!(corpus.document(split, documents.len() as u64).is_err());
    for (start, len) in cuts {
        let start = start % (stream.len() + 1);
        let len = (len % 70).min(stream.len() - start);
        let mut window = vec![u32::MAX; len];
        corpus.read_tokens(split, start as u64, &mut window).unwrap();
        assert_eq!(window, stream[start..start + len]);
        let mut beyond = vec![0; stream.len() - start + 1];
        assert!(corpus.read_tokens(split, start as u64, &mut beyond).is_err());
    }
    assert!(corpus.read_tokens(split, u64::MAX, &mut [0]).is_err());
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    #[test]
    fn what_is_written_is_read(
        (vocab_size, train, holdout) in corpora(),
        cuts in prop::collection::vec((0..1000_usize, 0..1000_usize), 8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let manifest = write_corpus(folder.path(), u64::from(vocab_size), &train, &holdout);
        for access in [Access::Map, Access::Read] {
            let corpus = Corpus::open(folder.path(), access).unwrap();
            prop_assert_eq!(corpus.manifest(), &manifest);
            check_split(&corpus, Split::Train, &train, &cuts);
            check_split(&corpus, Split::Holdout, &holdout, &cuts);
        }
        prop_assert_eq!(run_verify(folder.path()).unwrap().damage, vec![]);
    }
}

#[test]
fn roots_are_what_b3sum_prints() {
    let folder = tempfile::tempdir().unwrap();
    let mib = 1_u64 << 20;
    let sizes = [2, 4, mib - 2, mib, mib + 2, 2 * mib - 2, 2 * mib, 2 * mib + 2, 3 * mib + 4];
    for bin_bytes in sizes {
        for vocab_size in [65_536, 65_537] {
            let dtype = mixdown_shards::Dtype::for_vocab(vocab_size);
            if bin_bytes % dtype.bytes() != 0 {
                continue;
            }
            let ids: Vec<u32> = (0..bin_bytes / dtype.bytes())
                .map(|n| u32::try_from(n % 65_521).unwrap())
                .collect();
            let mut writer = ShardWriter::create(folder.path(), "s", dtype, vocab_size).unwrap();
            // The parts have odd lengths, so that documents cross blocks.
            ids.chunks(99_991).for_each(|part| writer.push(part, 1, 2, None).unwrap());
            let record = writer.finish().unwrap();
            assert_eq!(record.bin_bytes, bin_bytes);
            for (extension, root) in [
                ("bin", record.bin_root),
                ("idx", record.idx_root),
                ("sums", record.sums_root),
                ("hashes", record.hashes_root),
            ] {
                let bytes = fs::read(folder.path().join(format!("s.{extension}"))).unwrap();
                assert_eq!(root, Fingerprint::of(&bytes), "{extension} of {bin_bytes}");
            }
            let sums = fs::metadata(folder.path().join("s.sums")).unwrap().len();
            assert_eq!(sums, 32 * bin_bytes.div_ceil(mib));
        }
    }
}

#[test]
fn long_windows_are_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let document: Vec<u32> = (0..30_000).map(|n| n * 7 % 1000).collect();
    write_corpus(folder.path(), 1000, &vec![vec![document.clone()]; 2], &vec![]);
    for access in [Access::Map, Access::Read] {
        let corpus = Corpus::open(folder.path(), access).unwrap();
        let mut all = vec![0; 59_999];
        corpus.read_tokens(Split::Train, 1, &mut all).unwrap();
        assert_eq!(all, [&document[1..], &document].concat());
    }
}

#[test]
fn many_threads_open_a_shard_at_once() {
    let (folder, _) = small_corpus(1000);
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    let read = || {
        let mut ids = vec![0; usize::try_from(corpus.tokens(Split::Train)).unwrap()];
        corpus.read_tokens(Split::Train, 0, &mut ids).unwrap();
        ids
    };
    let expected = read();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn overlap_counts_holdout_documents() {
    let shared = vec![vec![1, 2], vec![3]];
    let own = vec![vec![4], vec![5, 6], vec![7]];
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let holdout = vec![[shared.clone(), own.clone(), vec![vec![3]]].concat()];
    write_corpus(a.path(), 10, &vec![vec![vec![9]]], &holdout);
    let train = vec![own[..1].iter().map(|_| vec![8]).collect(), shared.clone(), shared];
    write_corpus(b.path(), 100_000, &train, &vec![]);
    let open = |folder: &tempfile::TempDir| Corpus::open(folder.path(), Access::Map).unwrap();
    // [1, 2], [3] and the second [3].
    assert_eq!(overlap(&open(&a), &open(&b)).unwrap(), 3);
    assert_eq!(overlap(&open(&a), &open(&a)).unwrap(), 0);
    assert_eq!(overlap(&open(&b), &open(&a)).unwrap(), 0);
}

#[test]
fn verify_counts_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![vec![7; 1_000_000]; 2];
    let manifest =
        write_corpus(folder.path(), 70_000, &vec![large, some_documents(1, 5, 9)], &vec![]);
    let steps = Mutex::new(Vec::new());
    let progress = |progress: ByteProgress| steps.lock().unwrap().push(progress);
    let report = verify(folder.path(), Observer::new(&progress, &false.into())).unwrap();
    let mut bytes = 0;
    for entry in fs::read_dir(folder.path().join("train")).unwrap() {
        bytes += entry.unwrap().metadata().unwrap().len();
    }
    assert_eq!((report.shards, report.documents), (2, 7));
    assert_eq!((report.tokens, report.bytes), (manifest.train.tokens, bytes));
    assert_eq!(report.damage, []);
    let steps = steps.into_inner().unwrap();
    assert!(steps.iter().all(|step| step.total_bytes == bytes && step.done_bytes <= bytes));
    assert!(steps.iter().any(|step| step.done_bytes == bytes));
}

#[test]
fn verify_stops() {
    let (folder, _) = small_corpus(1000);
    let error = verify(folder.path(), Observer::new(&|_| {}, &true.into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}
