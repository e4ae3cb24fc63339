//! Several tasks on one corpus, options that leave documents out, and other kinds of holdouts.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_documents::ReadOptions;
use mixdown_shards::{Split, verify};

use crate::error::Error;
use crate::plan::task::Task;
use crate::prepare::options::{Holdout, PrepareOptions, Shuffle};
use crate::prepare::prepare_tests::{Setting, TINY, contents, documents, lines, options};
use crate::prepare::{TaskReport, finish_sized, prepare_task_sized};

/// Runs a task that stops after a number of progress reports.
fn task(
    setting: &Setting,
    out: &str,
    options: &PrepareOptions,
    task: &str,
    reports: u64,
) -> Result<TaskReport, Error> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let progress = |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= reports {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let task: Task = task.parse().unwrap();
    let (inputs, out) = (&setting.inputs, setting.path(out));
    let tokenizer = setting.path("tokenizer.json");
    prepare_task_sized(
        inputs,
        &tokenizer,
        &out,
        options,
        task,
        Observer::new(&progress, &stop),
        TINY,
    )
}

fn finish(
    setting: &Setting,
    out: &str,
    options: &PrepareOptions,
) -> Result<crate::PrepareReport, Error> {
    let tokenizer = setting.path("tokenizer.json");
    finish_sized(&setting.inputs, &tokenizer, &setting.path(out), options, TINY)
}

#[test]
fn finishing_again_removes_the_work_of_a_call_that_was_killed_behind_its_manifest() {
    let setting = Setting::new();
    let tokenizer = setting.path("tokenizer.json");
    let task = "0/1".parse().unwrap();
    let out = setting.path("out");
    let inputs = &setting.inputs;
    prepare_task_sized(inputs, &tokenizer, &out, &options(), task, Observer::silent(), TINY)
        .unwrap();
    let work = contents(&out.join(".work"));
    finish(&setting, "out", &options()).unwrap();
    let corpus = contents(&out);
    std::fs::create_dir(out.join(".work")).unwrap();
    for (name, bytes) in &work {
        std::fs::write(out.join(".work").join(name), bytes).unwrap();
    }
    assert!(finish(&setting, "out", &options()).unwrap().already_done);
    assert!(!out.join(".work").exists() && contents(&out) == corpus);
}

#[test]
fn tasks_at_once_make_the_plain_calls_bytes() {
    let setting = Setting::new();
    for shuffle in [Shuffle::Global, Shuffle::Keep] {
        let options = PrepareOptions { shuffle, ..options() };
        let plain = format!("plain-{shuffle:?}");
        setting.run(&plain, &options).unwrap();
        let expected = contents(&setting.path(&plain));
        for count in [1, 2, 5] {
            let out = format!("tasks-{shuffle:?}-{count}");
            let made: u64 = thread::scope(|scope| {
                let tasks: Vec<_> = (0..count)
                    .map(|index| {
                        let (setting, out, options) = (&setting, &out, &options);
                        let name = format!("{index}/{count}");
                        scope.spawn(move || task(setting, out, options, &name, u64::MAX).unwrap())
                    })
                    .collect();
                tasks.into_iter().map(|task| task.join().unwrap().runs_made).sum()
            });
            assert!(made >= 4, "{made}");
            assert!(!setting.path(&out).join("manifest.json").exists());
            let report = finish(&setting, &out, &options).unwrap();
            assert!(contents(&setting.path(&out)) == expected, "{shuffle:?} {count}");
            // Finishing again works, and so does a task that comes late.
            assert_eq!(finish(&setting, &out, &options).unwrap().fingerprint, report.fingerprint);
            assert!(task(&setting, &out, &options, "0/9", u64::MAX).unwrap().finished);
            assert!(contents(&setting.path(&out)) == expected);
            let other = PrepareOptions { seed: 9, ..options.clone() };
            let error = finish(&setting, &out, &other).unwrap_err();
            let words = "differs in options.seed (then 5, now 9)";
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

/// Tasks that begin at the same moment do not lock each other out.
#[test]
fn tasks_that_begin_at_once_do_not_shut_each_other_out() {
    let setting = Setting::new();
    for round in 0..8 {
        let out = format!("out{round}");
        thread::scope(|scope| {
            for index in 0..8 {
                let (setting, out) = (&setting, &out);
                scope.spawn(move || {
                    let stopped = task(setting, out, &options(), &format!("{index}/8"), 2);
                    assert!(
                        stopped
                            .as_ref()
                            .err()
                            .is_none_or(|error| error.kind() == ErrorKind::Interrupted),
                        "{stopped:?}"
                    );
                });
            }
        });
    }
}

/// Tasks end early, others start, and at last one of them does the rest.
#[test]
fn any_later_set_of_tasks_completes_the_rest() {
    let setting = Setting::new();
    setting.run("plain", &options()).unwrap();
    let expected = contents(&setting.path("plain"));
    let error = finish(&setting, "out", &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(
        error.to_string().contains("the first that is missing is part 0 of plain.jsonl"),
        "{error}"
    );
    let mut stopped = 0;
    for round in 1..40 {
        for name in ["0/4", "3/4", "1/4", "5/7"] {
            if let Err(error) = task(&setting, "out", &options(), name, round * 4) {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                stopped += 1;
            }
        }
        let there = fs::read_dir(setting.path("out/.work")).unwrap();
        let temporary = there.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp")
        });
        assert_eq!(temporary.count(), 0);
    }
    assert!(stopped > 3);
    task(&setting, "out", &options(), "2/4", u64::MAX).unwrap();
    // A lost run is reported, and any task makes it again.
    fs::remove_file(setting.path("out/.work/run-000001.json")).unwrap();
    let error = finish(&setting, "out", &options()).unwrap_err();
    assert!(error.to_string().contains("all but 1 (the first is run 1)"), "{error}");
    let other = PrepareOptions { holdout: Holdout::Share(0.3), ..options() };
    for error in [
        task(&setting, "out", &other, "0/1", u64::MAX).unwrap_err(),
        finish(&setting, "out", &other).unwrap_err(),
    ] {
        assert!(error.to_string().contains("differs in holdout (then 0.1, now 0.3)"), "{error}");
    }
    assert_eq!(task(&setting, "out", &options(), "0/1", u64::MAX).unwrap().runs_made, 1);
    finish(&setting, "out", &options()).unwrap();
    assert!(contents(&setting.path("out")) == expected);
}

#[test]
fn a_plain_call_goes_on_where_tasks_stopped_and_waits_for_none() {
    let setting = Setting::new();
    setting.run("plain", &options()).unwrap();
    let _stopped = task(&setting, "out", &options(), "1/2", 9);
    let lock = fs::File::open(setting.path("out/.work/lock")).unwrap();
    lock.try_lock_shared().unwrap();
    assert!(matches!(setting.run("out", &options()).unwrap_err(), Error::Busy { .. }));
    // The other task does its half beside it.
    task(&setting, "out", &options(), "0/2", u64::MAX).unwrap();
    drop(lock);
    assert!(setting.run("out", &options()).unwrap().resumed > 0);
    assert!(contents(&setting.path("out")) == contents(&setting.path("plain")));
}

#[test]
fn parts_may_lie_elsewhere() {
    let setting = Setting::new();
    setting.run("plain", &options()).unwrap();
    let work_dir = Some(setting.path("scratch"));
    let elsewhere = PrepareOptions { work_dir, ..options() };
    // The first of two tasks does its half.
    task(&setting, "out", &elsewhere, "0/2", u64::MAX).unwrap();
    let folders: Vec<_> = fs::read_dir(setting.path("scratch")).unwrap().collect();
    assert_eq!(folders.len(), 1);
    let folder = folders[0].as_ref().unwrap().path();
    assert!(folder.file_name().unwrap().to_string_lossy().starts_with("out-"));
    assert!(folder.join("part-000000-000000").exists());
    assert!(!setting.path("out/.work/part-000000-000000").exists());
    let error = setting.run("out", &options()).unwrap_err();
    assert!(error.to_string().contains("differs in work_dir"), "{error}");
    setting.run("out", &elsewhere).unwrap();
    assert_eq!(fs::read_dir(setting.path("scratch")).unwrap().count(), 0);
    assert!(contents(&setting.path("out")) == contents(&setting.path("plain")));
}

#[test]
fn a_limit_takes_the_first_documents() {
    let setting = Setting::new();
    let keep = PrepareOptions { shuffle: Shuffle::Keep, holdout: Holdout::None, ..options() };
    setting.run("all", &keep).unwrap();
    let all = documents(&setting.corpus("all"), Split::Train);
    for limit in [1, 2, 150, 385, 386, 700, 940, 5000] {
        let out = format!("first-{limit}");
        setting.run(&out, &PrepareOptions { limit: Some(limit), ..keep.clone() }).unwrap();
        let first = documents(&setting.corpus(&out), Split::Train);
        assert_eq!(first, all[..all.len().min(usize::try_from(limit).unwrap())], "{limit}");
    }
    let shuffled = PrepareOptions { limit: Some(300), shuffle: Shuffle::Global, ..keep.clone() };
    setting.run("shuffled", &shuffled).unwrap();
    let first: BTreeSet<_> = all[..300].iter().collect();
    let found = documents(&setting.corpus("shuffled"), Split::Train);
    assert_eq!(found.len(), 300);
    assert_eq!(found.iter().collect::<BTreeSet<_>>(), first);
    let limited = PrepareOptions { limit: Some(3), ..keep };
    let error = task(&setting, "task", &limited, "0/2", u64::MAX).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Configuration && error.to_string().starts_with("limit: "),
        "{error}"
    );
}

#[test]
fn short_documents_are_left_out_and_counted() {
    let setting = Setting::new();
    let all = setting.run("all", &options()).unwrap();
    let longer = setting.run("long", &PrepareOptions { min_chars: 40, ..options() }).unwrap();
    let left = |report: &crate::PrepareReport| report.train_documents + report.holdout_documents;
    assert!(longer.counts.short_documents > 50, "{longer:?}");
    assert_eq!(left(&all), left(&longer) + longer.counts.short_documents);
    assert_eq!(all.counts.empty_documents, longer.counts.empty_documents);
}

#[test]
fn a_group_stays_on_one_side() {
    let mut setting = Setting::new();
    let body: String = (0..600)
        .map(|index| {
            let record = serde_json::json!({
                "text": format!("the thing {index}"), "id": index, "meta": {"repo": index % 40},
            });
            format!("{record}\n")
        })
        .collect();
    fs::write(setting.path("groups.jsonl"), body).unwrap();
    setting.inputs = vec![setting.path("groups.jsonl")];
    let read = ReadOptions {
        group_field: Some("meta.repo".to_owned()),
        id_field: Some("id".to_owned()),
        ..ReadOptions::default()
    };
    let by_group = PrepareOptions { read, holdout: Holdout::Share(0.2), ..options() };
    setting.run("groups", &by_group).unwrap();
    let corpus = setting.corpus("groups");
    let mut sides = Vec::new();
    for split in Split::ALL {
        let folder = setting.path("groups").join(split.folder());
        let (mut groups, mut ids) = (BTreeSet::new(), 0);
        for shard in &corpus.manifest().split(split).shards {
            let text = fs::read_to_string(folder.join(format!("{}.ids", shard.file))).unwrap();
            assert_eq!(u64::try_from(text.lines().count()).unwrap(), shard.documents);
            for line in text.lines() {
                let id: String = serde_json::from_str(line).unwrap();
                groups.insert(id.parse::<u64>().unwrap() % 40);
                ids += 1;
            }
        }
        assert_eq!(ids % 15, 0, "a group is parted");
        sides.push(groups);
    }
    assert!(sides[0].is_disjoint(&sides[1]) && sides[1].len() > 2, "{sides:?}");
    let checked = verify(corpus.folder(), Observer::silent()).unwrap();
    assert!(checked.damage.is_empty(), "{:?}", checked.damage);
}

#[test]
fn other_files_are_the_holdout() {
    let setting = Setting::new();
    fs::write(setting.path("held.jsonl"), lines(2000..2100)).unwrap();
    let held = PrepareOptions {
        holdout: Holdout::Input,
        holdout_inputs: vec![setting.path("held.jsonl")],
        shuffle: Shuffle::Keep,
        ..options()
    };
    setting.run("out", &held).unwrap();
    let alone = |inputs, out: &str| {
        let setting = Setting { inputs, folder: tempfile::tempdir().unwrap() };
        let tokenizer = fs::read(held.holdout_inputs[0].with_file_name("tokenizer.json")).unwrap();
        fs::write(setting.path("tokenizer.json"), tokenizer).unwrap();
        let options =
            PrepareOptions { holdout_inputs: vec![], holdout: Holdout::None, ..held.clone() };
        setting.run(out, &options).unwrap();
        documents(&setting.corpus(out), Split::Train)
    };
    let corpus = setting.corpus("out");
    assert_eq!(documents(&corpus, Split::Train), alone(setting.inputs.clone(), "train"));
    assert_eq!(documents(&corpus, Split::Holdout), alone(held.holdout_inputs.clone(), "held"));
    for wrong in [
        PrepareOptions { holdout_inputs: vec![], ..held.clone() },
        PrepareOptions { holdout: Holdout::Share(0.1), ..held.clone() },
        PrepareOptions { limit: Some(5), ..held.clone() },
    ] {
        assert_eq!(setting.run("wrong", &wrong).unwrap_err().kind(), ErrorKind::Configuration);
    }
}
