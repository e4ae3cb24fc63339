//! Shards written during the first stage have the same bytes as those written at the end.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;

use crate::error::Error;
use crate::prepare::options::{Holdout, PrepareOptions, Shuffle};
use crate::prepare::prepare_tests::{Setting, TINY, contents, options};
use crate::prepare::work::Work;
use crate::prepare::work_folder::{Hold, WorkFolder};
use crate::prepare::{finish_sized, prepare_sized, prepare_task_sized};

fn kept() -> PrepareOptions {
    PrepareOptions { shuffle: Shuffle::Keep, ..options() }
}

/// Stops the call after a number of progress reports.
fn begin(setting: &Setting, out: &str, options: &PrepareOptions, reports: u64) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let progress = |_| {
        let stops = count.fetch_add(1, Ordering::Relaxed) >= reports;
        stop.fetch_or(stops, Ordering::Relaxed);
    };
    let (tokenizer, out) = (setting.path("tokenizer.json"), setting.path(out));
    let begun = prepare_sized(
        &setting.inputs,
        &tokenizer,
        &out,
        options,
        Observer::new(&progress, &stop),
        TINY,
    );
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Interrupted);
}

/// Returns the number of runs that are left to the second stage.
fn runs_made(setting: &Setting, out: &str, options: &PrepareOptions) -> u64 {
    let (inputs, tokenizer) = (&setting.inputs, setting.path("tokenizer.json"));
    let work = Work::new(inputs, &tokenizer, options, TINY).unwrap();
    let folder = WorkFolder::claim(&setting.path(out), &work.plan, Hold::Alone).unwrap();
    let made = work.make(&folder, None, Observer::silent()).unwrap();
    assert!(made.split.runs.len() > 3, "{}", made.split.runs.len());
    let runs_made = made.runs_made;
    work.finish(folder, &made.split, made.resumed).unwrap();
    runs_made
}

#[test]
fn all_runs_are_written_on_the_way_where_they_can_be() {
    let setting = Setting::new();
    for holdout in [Holdout::None, Holdout::Share(0.1), Holdout::Tokens(2000)] {
        for threads in [1, 3] {
            let options = PrepareOptions { holdout, threads, ..kept() };
            let out = format!("{holdout}-{threads}");
            let left = runs_made(&setting, &out, &options);
            assert_eq!(left == 0, holdout != Holdout::Tokens(2000), "{out}: {left}");
        }
    }
    let shuffled = PrepareOptions { shuffle: Shuffle::Global, ..kept() };
    assert!(runs_made(&setting, "shuffled", &shuffled) > 3);
    // The same holds for an interrupted call, whose parts come from disk.
    begin(&setting, "ended", &kept(), 30);
    assert_eq!(runs_made(&setting, "ended", &kept()), 0);
    assert!(contents(&setting.path("ended")) == contents(&setting.path("0.1-1")));
}

#[test]
fn a_part_that_was_damaged_is_made_again() {
    let setting = Setting::new();
    setting.run("whole", &kept()).unwrap();
    let expected = contents(&setting.path("whole"));
    for name in ["part-000000-000000", "part-000000-000001"] {
        begin(&setting, name, &PrepareOptions { threads: 1, ..kept() }, 40);
        let part = setting.path(name).join(".work").join(name);
        let mut bytes = fs::read(&part).unwrap();
        // The damage is in the rows: the footer is complete, so the writer finds it.
        bytes[10] ^= 1;
        fs::write(&part, bytes).unwrap();
        assert!(setting.run(name, &kept()).unwrap().resumed > 0);
        assert!(contents(&setting.path(name)) == expected, "{name}");
    }
}

/// Tasks continue with another holdout, with fewer shards on one side.
#[test]
fn shards_of_an_ended_call_do_not_stay_behind() {
    let setting = Setting::new();
    let many = PrepareOptions { holdout: Holdout::None, ..kept() };
    let few = PrepareOptions { holdout: Holdout::Share(0.9), ..kept() };
    begin(&setting, "out", &many, 60);
    let last = setting.path("out/train/shard-00001.bin");
    // A separate thread writes the shards, and it may be behind.
    for _ in 0..20 {
        if !last.exists() {
            begin(&setting, "out", &many, 2);
        }
    }
    assert!(last.exists());
    let (inputs, tokenizer) = (&setting.inputs, setting.path("tokenizer.json"));
    let out = setting.path("out");
    let task = "0/1".parse().unwrap();
    prepare_task_sized(inputs, &tokenizer, &out, &few, task, Observer::silent(), TINY).unwrap();
    fs::write(setting.path("out/train/shard-99999.bin"), "left").unwrap();
    finish_sized(inputs, &tokenizer, &out, &few, TINY).unwrap();
    setting.run("fresh", &few).unwrap();
    assert!(contents(&out) == contents(&setting.path("fresh")));
}

/// A full disk ends a call that writes during the first stage, as it ends any other.
#[test]
fn a_shard_that_cannot_be_written_is_an_error() {
    let setting = Setting::new();
    let out = setting.path("out");
    begin(&setting, "out", &kept(), 4);
    fs::remove_dir_all(out.join("train")).ok();
    fs::write(out.join("train"), "a file where the folder should be").unwrap();
    let error = setting.run("out", &kept()).unwrap_err();
    assert!(error.kind() == ErrorKind::Other && error.to_string().contains("train"), "{error}");
    assert!(!matches!(error, Error::DamagedWork { .. }));
    fs::remove_file(out.join("train")).unwrap();
    setting.run("out", &kept()).unwrap();
    setting.run("whole", &kept()).unwrap();
    assert!(contents(&out) == contents(&setting.path("whole")));
}
