//! The holdout after the search for near-duplicates, compared with all pairs of texts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::observer::Observer;
use mixdown_documents::ReadOptions;
use mixdown_shards::{Access, Corpus, Split};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::error::Error;
use crate::prepare::options::{
    Deduplication, Holdout, NearDuplicates, PrepareOptions, Shuffle, YieldingSide,
};
use crate::prepare::prepare_tests::{TINY, contents, zstd};
use crate::prepare::{PrepareReport, finish_sized, prepare_sized, prepare_task_sized};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::tests::tiny_json;

/// Texts on disk.
struct Texts {
    folder: tempfile::TempDir,
    inputs: Vec<PathBuf>,
}

impl Texts {
    /// Writes records with a text and a group each, in two files of which one is compressed.
    fn new(records: &[(String, usize)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), tiny_json().to_string()).unwrap();
        let lines = |records: &[(String, usize)]| -> String {
            let line = |(text, group): &(String, usize)| {
                format!("{}\n", serde_json::json!({ "text": text, "group": group.to_string() }))
            };
            records.iter().map(line).collect()
        };
        let (first, second) = records.split_at(records.len().div_ceil(2));
        let mut inputs = vec![folder.path().join("a.jsonl")];
        fs::write(&inputs[0], lines(first)).unwrap();
        if !second.is_empty() {
            inputs.push(folder.path().join("b.jsonl.zst"));
            fs::write(&inputs[1], zstd(lines(second).as_bytes())).unwrap();
        }
        Self { folder, inputs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, out: &str, options: &PrepareOptions) -> Result<PrepareReport, Error> {
        let (tokenizer, out) = (self.path("tokenizer.json"), self.path(out));
        prepare_sized(&self.inputs, &tokenizer, &out, options, Observer::silent(), TINY)
    }

    fn texts(&self, out: &str, split: Split) -> Vec<String> {
        let corpus = Corpus::open(&self.path(out), Access::Read).unwrap();
        let tokenizer = Tokenizer::load(self.folder.path()).unwrap();
        let documents = corpus.manifest().split(split).documents;
        let text = |document| {
            let mut ids = corpus.document(split, document).unwrap();
            assert_eq!(ids.pop(), Some(261));
            tokenizer.decode(&ids).unwrap()
        };
        (0..documents).map(text).collect()
    }
}

fn word(random: &mut ChaCha8Rng) -> String {
    let letters = ["ta", "in", "the", "no", "hu", "is", "ra", "mo"];
    (0..4).map(|_| letters[(random.next_u32() % 8) as usize]).collect()
}

/// Families of texts that are copies of one with 0 to 30 % of the words replaced, among texts of their own; the group
/// of a text is its number.
fn families(count: u32, members: u32) -> Vec<(String, usize)> {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(count));
    let mut texts = Vec::new();
    for family in 0..count {
        let len = 30 + random.next_u32() % 150;
        let words: Vec<String> = (0..len).map(|_| word(&mut random)).collect();
        for member in 0..if family % 2 == 0 { members } else { 1 } {
            let changed = member * 3 % 31;
            let words = words.iter().map(|one| {
                if random.next_u32() % 100 < changed { word(&mut random) } else { one.clone() }
            });
            texts.push((words.collect::<Vec<_>>().join(" "), 0));
        }
    }
    for (number, (_, group)) in texts.iter_mut().enumerate() {
        *group = number;
    }
    texts
}

/// The runs of five words.
fn runs(text: &str) -> BTreeSet<String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.windows(words.len().clamp(1, 5)).map(|run| run.join(" ")).collect()
}

/// The definition, without sketches.
fn jaccard(left: &BTreeSet<String>, right: &BTreeSet<String>) -> f64 {
    let both = left.intersection(right).count();
    let either = left.len() + right.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// The highest similarity of a held-out text to a training text.
fn highest(texts: &Texts, out: &str) -> f64 {
    let of = |split| texts.texts(out, split).iter().map(|text| runs(text)).collect::<Vec<_>>();
    let (train, holdout) = (of(Split::Train), of(Split::Holdout));
    let pairs = holdout.iter().flat_map(|held| train.iter().map(move |text| jaccard(held, text)));
    pairs.fold(0.0, f64::max)
}

fn share(share: f64, near_duplicates: NearDuplicates) -> PrepareOptions {
    PrepareOptions {
        holdout: Holdout::Share(share),
        near_duplicates,
        threads: 2,
        ..PrepareOptions::default()
    }
}

#[test]
fn no_held_out_document_has_a_near_duplicate_in_training_and_none_is_lost() {
    let texts = Texts::new(&families(80, 10));
    let all = texts.run("all", &share(0.2, NearDuplicates::Allowed)).unwrap();
    assert!(highest(&texts, "all") > 0.9);
    assert_eq!(all.counts.moved_documents, 0);
    for (threshold, name) in [(0.5, "half"), (0.75, "most"), (0.3, "third"), (1.0, "equal")] {
        let report = texts.run(name, &share(0.2, NearDuplicates::From(threshold))).unwrap();
        let found = highest(&texts, name);
        // Of pairs at the very threshold, a few in a thousand are missed.
        assert!(found < (threshold + 0.05).min(1.0), "{threshold}: {found}");
        let moved = report.counts.moved_documents;
        let list = fs::read_to_string(texts.path(name).join("moved.jsonl")).unwrap_or_default();
        assert_eq!(list.lines().count() as u64, moved, "{list}");
        assert_eq!(report.holdout_documents + moved, all.holdout_documents, "{threshold}");
        assert_eq!(report.train_documents, all.train_documents + moved, "{threshold}");
        assert_eq!(report.holdout_tokens + report.counts.moved_tokens, all.holdout_tokens);
        // Unrelated texts stay.
        assert!(report.holdout_documents >= 5, "{threshold}: {}", report.holdout_documents);
    }
}

#[test]
fn threads_tasks_and_the_order_change_no_byte() {
    let texts = Texts::new(&families(60, 8));
    for shuffle in [Shuffle::Global, Shuffle::Keep] {
        let options = PrepareOptions { shuffle, ..share(0.2, NearDuplicates::default()) };
        let name = |how: &str| format!("{shuffle:?}-{how}");
        let report = texts.run(&name("two"), &options).unwrap();
        assert!(report.counts.moved_documents > 3);
        assert!(highest(&texts, &name("two")) < 0.5);
        for threads in [1, 5] {
            let options = PrepareOptions { threads, ..options.clone() };
            texts.run(&name(&threads.to_string()), &options).unwrap();
        }
        let (tokenizer, out) = (texts.path("tokenizer.json"), texts.path(&name("tasks")));
        for task in ["1/3", "0/3", "2/3"] {
            let task = task.parse().unwrap();
            let silent = Observer::silent();
            prepare_task_sized(&texts.inputs, &tokenizer, &out, &options, task, silent, TINY)
                .unwrap();
        }
        let finished = finish_sized(&texts.inputs, &tokenizer, &out, &options, TINY).unwrap();
        assert_eq!(finished.counts, report.counts);
        let expected = contents(&texts.path(&name("two")));
        for how in ["1", "5", "tasks"] {
            assert!(contents(&texts.path(&name(how))) == expected, "{shuffle:?} {how}");
        }
        // A finished corpus is known, and another threshold is another corpus.
        assert!(texts.run(&name("two"), &options).unwrap().already_done);
        let other = share(0.2, NearDuplicates::From(0.6));
        let error = texts.run(&name("two"), &other).unwrap_err().to_string();
        assert!(error.contains("near_duplicates"), "{error}");
    }
}

/// A text that overlaps its neighbors: its similarity to the next one is 0.6, and to the one after that 0.33.
fn chain(number: usize) -> String {
    let word = |at: usize| format!("word{at}");
    (number * 25..number * 25 + 104).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_similar_to_a_moved_document_moves_too() {
    let records: Vec<(String, usize)> = (0..24).map(|number| (chain(number), number)).collect();
    assert!((jaccard(&runs(&chain(0)), &runs(&chain(1))) - 0.6).abs() < 1e-9);
    let train = Texts::new(&records[..1]);
    // Texts of their own keep the holdout from being empty.
    let held_out: Vec<(String, usize)> =
        records[1..].iter().cloned().chain(families(1, 1)).collect();
    let held_out = Texts::new(&held_out);
    let options = PrepareOptions {
        holdout: Holdout::Input,
        holdout_inputs: held_out.inputs.clone(),
        ..PrepareOptions::default()
    };
    let report = train.run("out", &options).unwrap();
    assert_eq!((report.holdout_documents, report.counts.moved_documents), (1, 23));
    assert_eq!(report.train_documents, 24);
}

#[test]
fn a_group_moves_together() {
    let mut records = families(40, 6);
    for (number, (_, group)) in records.iter_mut().enumerate() {
        *group = number / 3;
    }
    let texts = Texts::new(&records);
    let options = PrepareOptions {
        read: ReadOptions { group_field: Some("group".into()), ..ReadOptions::default() },
        ..share(0.4, NearDuplicates::From(0.6))
    };
    let report = texts.run("out", &options).unwrap();
    assert!(report.counts.moved_documents > 0);
    let group_of = |text: &String| records.iter().find(|(other, _)| other == text).unwrap().1;
    let groups = |split| texts.texts("out", split).iter().map(group_of).collect::<BTreeSet<_>>();
    assert!(groups(Split::Train).is_disjoint(&groups(Split::Holdout)));
    assert!(highest(&texts, "out") < 0.65);
}

#[test]
fn a_holdout_of_near_duplicates_alone_is_refused_with_what_other_thresholds_leave() {
    let words: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    // Similarities of about 0.9.
    let texts: Vec<(String, usize)> = (0..60)
        .map(|number| {
            let mut words = words.clone();
            (0..2).for_each(|other| words[number * 3 % 100 + 90 * other] = format!("x{number}"));
            (words.join(" "), number)
        })
        .collect();
    let texts = Texts::new(&texts);
    let error = texts.run("out", &share(0.2, NearDuplicates::From(0.4))).unwrap_err();
    let Error::HoldoutOfNearDuplicates { documents, left_at, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(left_at.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0.5, 0.6, 0.75, 0.9]);
    assert!(*documents > 3 && left_at[0].1 == 0 && left_at[3].1 > 0, "{error}");
    assert!(error.to_string().contains("other thresholds would leave 0 at 0.5"), "{error}");
    // The parts stay: another threshold goes on with them.
    assert!(texts.run("out", &share(0.2, NearDuplicates::From(0.95))).unwrap().resumed > 0);
}

#[test]
fn texts_without_words_and_short_ones_are_compared_as_a_whole() {
    let texts = ["", "--- ---", "...", "a b", "A, b!", "in the thin", "x y z w", "漢字", "漢 字"];
    let records: Vec<(String, usize)> =
        texts.iter().map(|text| (*text).to_owned()).zip(0..).collect();
    let train = Texts::new(&records);
    let options = |inputs: &[PathBuf]| PrepareOptions {
        holdout: Holdout::Input,
        holdout_inputs: inputs.to_vec(),
        ..PrepareOptions::default()
    };
    let own = ["---  ---", "a, b", "-- --", "漢字!", "x y z v", "the thin in"];
    let records: Vec<(String, usize)> =
        own.iter().map(|text| (*text).to_owned()).zip(0..).collect();
    let held_out = Texts::new(&records);
    let report = train.run("out", &options(&held_out.inputs)).unwrap();
    assert_eq!(report.counts.moved_documents, 3, "equal but for white space or marks");
    assert_eq!(report.holdout_documents, 3);
}

#[test]
fn a_corpus_has_sketches_unless_near_duplicates_are_allowed() {
    let texts = Texts::new(&families(10, 2));
    let none = PrepareOptions { holdout: Holdout::None, ..PrepareOptions::default() };
    texts.run("with", &none).unwrap();
    let off = PrepareOptions { near_duplicates: NearDuplicates::Allowed, ..none };
    texts.run("without", &off).unwrap();
    let sketches = |out: &str| {
        let has = |path: &Path| path.extension().is_some_and(|ending| ending == "sketches");
        let files = fs::read_dir(texts.path(out).join("train")).unwrap();
        files.filter(|file| has(&file.as_ref().unwrap().path())).count()
    };
    assert_eq!((sketches("with") > 0, sketches("without")), (true, 0));
}

/// Runs over texts of which some repeat texts of a benchmark, and returns the texts of training and what is listed.
fn without(texts: &Texts, out: &str, options: &PrepareOptions) -> (Vec<String>, Vec<Value>) {
    let report = texts.run(out, options).unwrap();
    let list = texts.path(out).join("left-out.jsonl");
    let lines = fs::read_to_string(list).unwrap_or_default();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(report.counts.excluded_documents, lines.len() as u64);
    assert!(texts.run(out, options).unwrap().already_done);
    (texts.texts(out, Split::Train), lines)
}

#[test]
fn training_goes_without_the_texts_of_a_benchmark_and_the_holdout_of_a_corpus() {
    let all = families(60, 6);
    let texts = Texts::new(&all);
    // One text of each of some families, of which the others are copies with edits.
    let benchmark: Vec<(String, usize)> = all.iter().step_by(14).cloned().collect();
    let benchmark = Texts::new(&benchmark);
    let known: Vec<BTreeSet<String>> = all.iter().step_by(14).map(|(text, _)| runs(text)).collect();
    let near = |text: &String| {
        let text = runs(text);
        known.iter().map(|other| jaccard(&text, other)).fold(0.0, f64::max)
    };
    let options = PrepareOptions {
        without: benchmark.inputs.clone(),
        ..share(0.2, NearDuplicates::default())
    };
    let (train, listed) = without(&texts, "files", &options);
    assert!(listed.len() > benchmark.inputs.len() && train.iter().all(|text| near(text) < 0.55));
    let line = listed.first().unwrap();
    assert!(line["like"]["from"].as_str().unwrap().starts_with("a.jsonl"), "{line}");
    assert!(line["similarity"].as_f64().unwrap() > 0.39 && line["input"] == "a.jsonl", "{line}");
    assert!(highest(&texts, "files") < 0.55);

    // The same texts as the holdout of a corpus, with sketches and without.
    let nothing = Texts::new(&families(1, 1));
    for (name, near_duplicates) in
        [("with", NearDuplicates::From(1.0)), ("plain", NearDuplicates::Allowed)]
    {
        let other = PrepareOptions {
            holdout: Holdout::Input,
            holdout_inputs: benchmark.inputs.clone(),
            near_duplicates,
            ..PrepareOptions::default()
        };
        nothing.run(name, &other).unwrap();
        let options = PrepareOptions { without: vec![nothing.path(name)], ..options.clone() };
        let (same, lines) = without(&texts, name, &options);
        assert_eq!((&same, lines.len()), (&train, listed.len()), "{name}");
        // Threads and tasks change nothing.
        let options = PrepareOptions { threads: 5, ..options };
        let again = format!("{name}-5");
        without(&texts, &again, &options);
        assert!(contents(&texts.path(name)) == contents(&texts.path(&again)));
    }
    // A corpus without sketches and without a tokenizer.
    fs::remove_file(nothing.path("plain/tokenizer.json")).unwrap();
    let options = PrepareOptions { without: vec![nothing.path("plain")], ..options };
    let error = texts.run("refused", &options).unwrap_err();
    assert!(error.to_string().contains("or a tokenizer to compute them from the text"), "{error}");
}

#[test]
fn training_yields_to_a_holdout_that_must_stay() {
    let all = families(60, 6);
    let texts = Texts::new(&all);
    let plain = texts.run("plain", &share(0.2, NearDuplicates::Allowed)).unwrap();
    let options =
        PrepareOptions { yields: YieldingSide::Training, ..share(0.2, NearDuplicates::default()) };
    let (train, listed) = without(&texts, "out", &options);
    assert!(!listed.is_empty() && listed.iter().all(|line| line["like"]["from"] == "holdout"));
    assert_eq!(train.len() as u64 + listed.len() as u64, plain.train_documents);
    assert_eq!(texts.texts("out", Split::Holdout).len() as u64, plain.holdout_documents);
    assert!(highest(&texts, "out") < 0.55);
    let off = PrepareOptions { near_duplicates: NearDuplicates::Allowed, ..options };
    assert!(texts.run("off", &off).unwrap_err().to_string().contains("near-duplicates"));
}

#[test]
fn deduplication_keeps_the_first_of_each_cluster_in_the_order_of_the_inputs() {
    let mut all = families(40, 6);
    // Copies, some with other white space, before and after the originals.
    for number in (0..all.len()).step_by(7) {
        let copy = (all[number].0.replace(' ', "  "), 0);
        all.insert(number / 2, copy.clone());
        all.push(copy);
    }
    let texts = Texts::new(&all);
    let run = |out: &str, deduplication, threads, shuffle| {
        let options =
            PrepareOptions { deduplication, threads, shuffle, ..PrepareOptions::default() };
        (texts.run(out, &options).unwrap(), options)
    };
    let words = |text: &String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();

    let (report, _) = run("exact", Deduplication::Exact, 2, Shuffle::Keep);
    let mut seen = BTreeSet::new();
    let firsts: Vec<&String> =
        all.iter().map(|(text, _)| text).filter(|text| seen.insert(words(text))).collect();
    assert_eq!(texts.texts("exact", Split::Train).iter().collect::<Vec<_>>(), firsts);
    let repeated = (all.len() - firsts.len()) as u64;
    assert_eq!(
        (report.train_documents, report.counts.repeated_documents),
        (firsts.len() as u64, repeated)
    );

    let (report, options) = run("near", Deduplication::Near, 2, Shuffle::Keep);
    let kept = texts.texts("near", Split::Train);
    assert_eq!(report.counts.repeated_documents + kept.len() as u64, all.len() as u64);
    // In the order of the inputs, and the first of what is similar.
    let places: Vec<usize> =
        kept.iter().map(|text| all.iter().position(|(other, _)| other == text).unwrap()).collect();
    assert!(places.is_sorted());
    let sets: Vec<BTreeSet<String>> = kept.iter().map(|text| runs(text)).collect();
    for (number, one) in sets.iter().enumerate() {
        assert!(sets[..number].iter().all(|other| jaccard(one, other) < 0.55));
    }
    for (place, (text, _)) in all.iter().enumerate().filter(|(place, _)| !places.contains(place)) {
        let earlier =
            all[..place].iter().any(|(other, _)| jaccard(&runs(text), &runs(other)) >= 0.5);
        assert!(earlier, "{place} has nothing similar before it");
    }
    let manifest = Corpus::open(&texts.path("near"), Access::Read).unwrap().manifest().clone();
    let clusters = manifest.clusters.unwrap();
    assert!(clusters.clusters >= 20 && clusters.largest.len() == 10);
    assert!(clusters.largest[0].documents >= clusters.largest[9].documents);
    assert!(texts.run("near", &options).unwrap().already_done);
    run("near-5", Deduplication::Near, 5, Shuffle::Keep);
    assert!(contents(&texts.path("near")) == contents(&texts.path("near-5")));

    // In a random order, and beside a holdout, the same documents stay.
    run("shuffled", Deduplication::Near, 3, Shuffle::Global);
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    assert_eq!(sorted(texts.texts("shuffled", Split::Train)), sorted(kept));
    let both = PrepareOptions {
        deduplication: Deduplication::Near,
        ..share(0.3, NearDuplicates::default())
    };
    let report = texts.run("both", &both).unwrap();
    assert!(report.counts.repeated_documents > 0 && report.holdout_documents > 0);
    assert!(highest(&texts, "both") < 0.55);
}

/// The token at the end of a document is no word of it: a short text with one would be less similar.
#[test]
fn short_texts_are_compared_without_the_token_that_ends_them() {
    let text = |number: usize, last: &str| {
        let words: Vec<String> = (0..11).map(|at| format!("w{number}x{at}")).collect();
        format!("{} {last}", words.join(" "))
    };
    // Seven of nine runs are in both; with one more word they would be seven of eleven.
    let similarity = jaccard(&runs(&text(0, "one")), &runs(&text(0, "two")));
    assert!((similarity - 7.0 / 9.0).abs() < 1e-12);
    let records = |last: &str| -> Vec<(String, usize)> {
        (0..40).map(|number| (text(number, last), number)).collect()
    };
    let (ones, twos) = (records("one"), records("two"));
    let (train, held_out) = (Texts::new(&ones), Texts::new(&twos));
    // A text of its own keeps the holdout from being empty.
    let other = Texts::new(&families(1, 1));
    for (yields, threshold) in [
        (YieldingSide::Holdout, 0.75),
        (YieldingSide::Training, 0.75),
        (YieldingSide::Holdout, 0.7),
    ] {
        let out = format!("{yields:?}-{threshold}");
        let options = PrepareOptions {
            holdout: Holdout::Input,
            holdout_inputs: held_out.inputs.iter().chain(&other.inputs).cloned().collect(),
            near_duplicates: NearDuplicates::From(threshold),
            yields,
            ..PrepareOptions::default()
        };
        let counts = train.run(&out, &options);
        if yields == YieldingSide::Training {
            // Nothing is left to train on.
            assert!(counts.unwrap_err().to_string().contains("leaves 0 documents"));
        } else {
            assert_eq!(counts.unwrap().counts.moved_documents, 40, "{threshold}");
        }
    }
    let options = PrepareOptions {
        without: held_out.inputs.clone(),
        near_duplicates: NearDuplicates::From(0.75),
        ..PrepareOptions::default()
    };
    let both: Vec<(String, usize)> = ones.into_iter().chain(families(1, 1)).collect();
    let report = Texts::new(&both).run("without", &options).unwrap();
    assert_eq!((report.counts.excluded_documents, report.train_documents), (40, 1));
    let all = Texts::new(&[both, twos].concat());
    let options = PrepareOptions {
        deduplication: Deduplication::Near,
        near_duplicates: NearDuplicates::From(0.75),
        ..PrepareOptions::default()
    };
    assert_eq!(all.run("dedup", &options).unwrap().counts.repeated_documents, 40);
}

#[test]
fn many_copies_in_the_holdout_take_linear_time_and_are_all_listed() {
    let (one, other) = (families(3, 1), families(2, 1));
    let copies: Vec<(String, usize)> = (0..1000).map(|_| one[0].clone()).collect();
    let (train, held_out) = (Texts::new(&one), Texts::new(&[copies, other].concat()));
    let options = PrepareOptions {
        holdout: Holdout::Input,
        holdout_inputs: held_out.inputs.clone(),
        ..PrepareOptions::default()
    };
    let report = train.run("out", &options).unwrap();
    assert_eq!((report.counts.moved_documents, report.holdout_documents), (1000, 2));
    let list = fs::read_to_string(train.path("out/moved.jsonl")).unwrap();
    assert_eq!(list.lines().count(), 1000);
}
