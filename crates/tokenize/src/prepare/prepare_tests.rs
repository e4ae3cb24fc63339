//! The whole of `prepare` compared with a naive model, over threads, sizes, interruptions and bad input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_documents::{DocumentReader, InputList, ReadOptions};
use mixdown_shards::{Access, Corpus, Split, verify};

use crate::encode::text_hash::text_hash;
use crate::error::Error;
use crate::plan::order::Order;
use crate::prepare::options::{Holdout, NearDuplicates, PrepareOptions, Shuffle};
use crate::prepare::{PrepareReport, Sizes, prepare_sized};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::tests::tiny_json;

/// Sizes so small that a few thousand documents make many parts, buckets and shards.
pub(crate) const TINY: Sizes = Sizes { part_bytes: 5000, bucket_bytes: 9000, shard_bytes: 40_000 };

pub(crate) struct Setting {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) inputs: Vec<PathBuf>,
}

impl Setting {
    /// Lines, plain and compressed, and a folder of texts; some are empty, some repeated, and one has a special token's
    /// text.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setting = |name: &str| folder.path().join(name);
        fs::write(setting("tokenizer.json"), tiny_json().to_string()).unwrap();
        fs::write(setting("plain.jsonl"), lines(0..400)).unwrap();
        fs::write(setting("packed.jsonl.zst"), zstd(lines(300..900).as_bytes())).unwrap();
        fs::write(setting("more.jsonl"), zstd(lines(900..950).as_bytes())).unwrap();
        fs::create_dir_all(setting("texts/deep")).unwrap();
        for index in 0..40 {
            let name = format!("texts/{}{index}.txt", ["", "deep/"][index % 2]);
            fs::write(setting(&name), text(5000 + index)).unwrap();
        }
        fs::write(setting("texts/long.txt"), text(7).repeat(300)).unwrap();
        let inputs =
            ["plain.jsonl", "packed.jsonl.zst", "texts", "more.jsonl"].map(setting).to_vec();
        Self { folder, inputs }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, out: &str, options: &PrepareOptions) -> Result<PrepareReport, Error> {
        self.run_sized(out, options, TINY)
    }

    fn run_sized(
        &self,
        out: &str,
        options: &PrepareOptions,
        sizes: Sizes,
    ) -> Result<PrepareReport, Error> {
        let tokenizer = self.path("tokenizer.json");
        prepare_sized(&self.inputs, &tokenizer, &self.path(out), options, Observer::silent(), sizes)
    }

    pub(crate) fn corpus(&self, out: &str) -> Corpus {
        Corpus::open(&self.path(out), Access::Read).unwrap()
    }

    /// The expected result: every document's ids in the order of keys, train and holdout.
    fn model(&self, options: &PrepareOptions) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        let list = InputList::discover(&self.inputs).unwrap();
        let tokenizer = Tokenizer::load(self.folder.path()).unwrap();
        let order = Order::new(options.shuffle, options.seed, &list, 1 << 40);
        let mut documents = Vec::new();
        for document in DocumentReader::new(&list, &options.read) {
            let document = document.unwrap();
            if document.text.is_empty() {
                continue;
            }
            let mut ids = tokenizer.encode(&document.text).unwrap();
            ids.push(261);
            let hash = text_hash(&document.text, &mut Vec::new());
            documents.push((order.key(document.place), hash, ids));
        }
        documents.sort();
        let held_out = |hash: u64| match options.holdout {
            Holdout::Share(share) => (hash as f64) < share * 2_f64.powi(64),
            _ => false,
        };
        let ids_of = |side: bool| {
            let of_side = documents.iter().filter(|(_, hash, _)| held_out(*hash) == side);
            of_side.map(|(_, _, ids)| ids.clone()).collect()
        };
        (ids_of(false), ids_of(true))
    }
}

pub(crate) fn text(index: usize) -> String {
    let words = ["the", "thin", "in", "é", "\n", "漢字", "then", "a", "thing,", "7"];
    let count = index * index % 37;
    (0..count).map(|word| words[(word * 7 + index) % 10]).collect::<Vec<_>>().join(" ")
}

pub(crate) fn lines(range: std::ops::Range<usize>) -> String {
    range
        .map(|index| {
            let text = if index == 17 { "a <|endoftext|> b".to_owned() } else { text(index) };
            format!("{}\n", serde_json::json!({ "meta": {"n": index}, "text": text }))
        })
        .collect()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// Returns every file below a folder with its bytes.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found
                    .insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    found
}

pub(crate) fn documents(corpus: &Corpus, split: Split) -> Vec<Vec<u32>> {
    (0..corpus.documents(split)).map(|index| corpus.document(split, index).unwrap()).collect()
}

pub(crate) fn options() -> PrepareOptions {
    PrepareOptions {
        holdout: Holdout::Share(0.1),
        near_duplicates: NearDuplicates::Allowed,
        seed: 5,
        threads: 2,
        ..PrepareOptions::default()
    }
}

#[test]
fn the_corpus_is_the_naive_models_for_any_threads_and_sizes() {
    let setting = Setting::new();
    for shuffle in [Shuffle::Global, Shuffle::Keep] {
        let options = PrepareOptions { shuffle, ..options() };
        let (train, holdout) = setting.model(&options);
        assert!(holdout.len() > 20 && train.len() > 800);
        let mut first = None;
        for threads in [1, 2, 3] {
            let out = format!("{shuffle:?}-{threads}");
            let report = setting.run(&out, &PrepareOptions { threads, ..options.clone() }).unwrap();
            assert!(report.parts > 15 && report.shards > 3, "{report:?}");
            assert_eq!(report.counts.special_text_documents, 1);
            assert!(report.counts.empty_documents > 0);
            let corpus = setting.corpus(&out);
            assert_eq!(documents(&corpus, Split::Train), train);
            assert_eq!(documents(&corpus, Split::Holdout), holdout);
            let bytes = contents(corpus.folder());
            assert!(bytes.keys().all(|path| !path.starts_with(".work")));
            assert!(first.get_or_insert(bytes.clone()) == &bytes, "{threads} threads differ");
            let checked = verify(corpus.folder(), Observer::silent()).unwrap();
            assert!(checked.damage.is_empty(), "{:?}", checked.damage);
        }
        let sizes = [
            Sizes { part_bytes: 333, bucket_bytes: 100_000, shard_bytes: 1 << 30 },
            Sizes::default(),
        ];
        for (index, sizes) in sizes.into_iter().enumerate() {
            let out = format!("{shuffle:?}-size-{index}");
            setting.run_sized(&out, &options, sizes).unwrap();
            let corpus = setting.corpus(&out);
            assert_eq!(documents(&corpus, Split::Train), train);
            assert_eq!(documents(&corpus, Split::Holdout), holdout);
        }
    }
}

#[test]
fn only_the_same_work_is_continued() {
    let setting = Setting::new();
    let (stop, tokenizer, out) =
        (AtomicBool::new(false), setting.path("tokenizer.json"), setting.path("out"));
    let stop_late = |progress: crate::PrepareProgress| {
        if progress.stage == crate::PrepareStage::Writing {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let begun = prepare_sized(
        &setting.inputs,
        &tokenizer,
        &out,
        &options(),
        Observer::new(&stop_late, &stop),
        TINY,
    );
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Interrupted);

    let message = |options: &PrepareOptions| {
        let error = setting.run("out", options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        error.to_string()
    };
    let text = message(&PrepareOptions { seed: 6, ..options() });
    assert!(text.contains("differs in order.seed (then 5, now 6)"), "{text}");
    let text = message(&PrepareOptions { end_of_text: Some("[X]".to_owned()), ..options() });
    assert!(text.contains("differs in end_of_text (then 261, now 262)"), "{text}");
    let text = message(&PrepareOptions {
        read: ReadOptions { text_field: Some("body".to_owned()), ..ReadOptions::default() },
        ..options()
    });
    assert!(text.contains("without the field \"body\""), "{text}");

    // Another holdout keeps the parts and writes the shards again.
    let other = PrepareOptions { holdout: Holdout::Share(0.3), threads: 3, ..options() };
    let report = setting.run("out", &other).unwrap();
    assert_eq!(report.resumed, report.parts);
    setting.run("fresh", &other).unwrap();
    assert!(contents(&out) == contents(&setting.path("fresh")));

    let again = setting.run("out", &other).unwrap();
    assert!(again.already_done && again.fingerprint == report.fingerprint);
    assert!(contents(&out) == contents(&setting.path("fresh")));
    assert!(again.modified_inputs.is_empty());
    let input = std::fs::File::options().append(true).open(setting.path("plain.jsonl")).unwrap();
    input.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9)).unwrap();
    assert_eq!(setting.run("out", &other).unwrap().modified_inputs, ["plain.jsonl"]);
    let text = message(&PrepareOptions { min_chars: 3, ..other });
    assert!(
        text.contains("already a corpus, which differs in options.min_chars (then null, now 3)")
    );
}

#[test]
fn nothing_of_others_is_overwritten() {
    let setting = Setting::new();
    fs::create_dir_all(setting.path("taken/sub")).unwrap();
    fs::write(setting.path("taken/mine.txt"), "mine").unwrap();
    fs::create_dir(setting.path("empty")).unwrap();
    let error = setting.run("taken", &options()).unwrap_err();
    assert!(error.to_string().contains("holds mine.txt, expected a folder that is empty"));
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let error = setting.run("tokenizer.json", &options()).unwrap_err();
    assert!(matches!(error, Error::OutputTaken { .. }), "{error}");
    assert_eq!(contents(&setting.path("taken")).len(), 1);
    setting.run("empty", &options()).unwrap();
}

#[test]
fn two_processes_do_not_share_an_output() {
    let setting = Setting::new();
    fs::create_dir_all(setting.path("out/.work")).unwrap();
    let lock = fs::File::create(setting.path("out/.work/lock")).unwrap();
    lock.lock().unwrap();
    let error = setting.run("out", &options()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(lock);
    setting.run("out", &options()).unwrap();
}

/// The documents' places, and so their order, are the same for every compression of a file.
#[test]
fn compression_changes_nothing() {
    let mut setting = Setting::new();
    let bytes = lines(0..600).into_bytes();
    let mut fingerprints = Vec::new();
    let frames = bytes.chunks(1000).flat_map(zstd).collect();
    for (name, packed) in
        [("a.jsonl", bytes.clone()), ("b.jsonl.zst", zstd(&bytes)), ("c.jsonl.zst", frames)]
    {
        fs::write(setting.path(name), packed).unwrap();
        setting.inputs = vec![setting.path(name)];
        let sizes = Sizes { bucket_bytes: 1 << 30, shard_bytes: 1 << 30, ..TINY };
        let report = setting.run_sized(&format!("out-{name}"), &options(), sizes).unwrap();
        fingerprints.push(report.fingerprint);
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1);
}

#[test]
fn bad_records_are_refused_in_the_inputs_order_and_counted() {
    let mut setting = Setting::new();
    let mut body = String::new();
    for index in 0..600 {
        body.push_str(match index {
            150 => "broken\n",
            400 => "{\"other\": 1}\n",
            _ => "{\"text\": \"the thing in the thing\"}\n",
        });
    }
    fs::write(setting.path("bad.jsonl"), body).unwrap();
    setting.inputs = vec![setting.path("bad.jsonl")];
    let with = |skip_bad, threads| PrepareOptions {
        read: ReadOptions { skip_bad, ..ReadOptions::default() },
        holdout: Holdout::None,
        threads,
        ..options()
    };
    let refused = |error: Error| {
        let text = error.to_string();
        assert!(text.contains("line 151") || text.contains("line 401"), "{text}");
    };
    refused(setting.run("out3", &with(0, 3)).unwrap_err());
    refused(setting.run("out3", &with(1, 3)).unwrap_err());
    assert_eq!(setting.run("out3", &with(2, 3)).unwrap().counts.bad_records, 2);
    {
        let (out, threads) = ("out1", 1);
        let error = setting.run(out, &with(0, threads)).unwrap_err().to_string();
        assert!(
            error.contains("bad.jsonl: line 151, byte 5250: expected a JSON object"),
            "{error}"
        );
        let error = setting.run(out, &with(1, threads)).unwrap_err().to_string();
        assert!(error.contains("line 401, byte 13972: the field \"text\" is missing"), "{error}");
        assert!(error.contains("bad records so far 2, tolerated 1"), "{error}");
        let error = setting.run(out, &with(0, threads)).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration
                && error.to_string().contains("0 (1 were passed over)")
        );
    }
    // The parts before the bad record remain, and tolerance may grow from call to call.
    let report = setting.run("out1", &with(2, 2)).unwrap();
    assert!(report.resumed > 0);
    assert_eq!(report.counts.bad_records, 2);
    assert_eq!(report.train_documents, 598);
}

/// A model takes about fifty times as much memory as the bytes that it gets at once, so these are limited to an eighth
/// of a record.
#[test]
fn a_word_has_a_limit() {
    let mut setting = Setting::new();
    let name = "words.jsonl";
    setting.inputs = vec![setting.path(name)];
    let with = |max_record_bytes| PrepareOptions {
        read: ReadOptions { max_record_bytes: Some(max_record_bytes), ..ReadOptions::default() },
        holdout: Holdout::None,
        ..options()
    };
    let words = ["the thing ".repeat(40), "the".repeat(500)];
    for (text, expected) in words.iter().zip([true, false]) {
        fs::write(setting.path(name), format!("{{\"text\": \"{text}\"}}\n")).unwrap();
        let (out, told) = (format!("{expected}"), setting.run(&format!("{expected}"), &with(4000)));
        match told {
            Ok(_) => assert!(expected, "{out}"),
            Err(Error::Encode { source, .. }) => {
                let words = "bytes that the tokenizer takes at once, expected at most 500";
                assert!(!expected && source.to_string().contains(words), "{source}");
            }
            Err(other) => panic!("{other}"),
        }
        setting.run(&out, &with(40_000)).unwrap();
    }
}
