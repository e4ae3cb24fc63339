//! Interrupted calls that continue give the same bytes, whatever was left or damaged.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;

use crate::error::Error;
use crate::prepare::options::{Holdout, PrepareOptions, Shuffle};
use crate::prepare::prepare_sized;
use crate::prepare::prepare_tests::{Setting, TINY, contents, lines, options};

/// The call stops after some progress reports, then after twice as many, … until it is done.
#[test]
fn an_interrupted_call_goes_on_to_the_same_bytes() {
    let setting = Setting::new();
    for (stride, shuffle) in [(4, Shuffle::Global), (23, Shuffle::Keep), (60, Shuffle::Global)] {
        let options = PrepareOptions { shuffle, ..options() };
        let whole_out = format!("whole-{stride}");
        let whole = setting.run(&whole_out, &options).unwrap();
        let expected = contents(&setting.path(&whole_out));
        let out = setting.path(&format!("stopped-{stride}"));
        let (mut calls, mut resumed) = (0, 0);
        let report = loop {
            calls += 1;
            assert!(calls < 500, "no progress from call to call");
            let (stop, reports) = (AtomicBool::new(false), AtomicU64::new(0));
            let progress = |_| {
                if reports.fetch_add(1, Ordering::Relaxed) >= stride * calls {
                    stop.store(true, Ordering::Relaxed);
                }
            };
            let tokenizer = setting.path("tokenizer.json");
            let threads = 1 + u32::try_from(calls % 3).unwrap();
            let options = PrepareOptions { threads, ..options.clone() };
            match prepare_sized(
                &setting.inputs,
                &tokenizer,
                &out,
                &options,
                Observer::new(&progress, &stop),
                TINY,
            ) {
                Ok(report) => break report,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            }
            resumed += 1;
            assert!(!out.join("manifest.json").exists());
        };
        assert!(resumed > 0, "stride {stride} never stopped it");
        assert!(contents(&out) == expected, "stride {stride} differs");
        assert_eq!(report.fingerprint, whole.fingerprint);
        assert_eq!(report.counts, whole.counts);
        assert!(report.resumed > 0);
    }
}

/// Stops the call once the shards of about half the tokens are written.
fn begin(setting: &Setting, out: &str) -> PathBuf {
    let (stop, out) = (AtomicBool::new(false), setting.path(out));
    let stop_late = |progress: crate::PrepareProgress| {
        let late =
            progress.stage == crate::PrepareStage::Writing && progress.done * 2 > progress.total;
        stop.fetch_or(late, Ordering::Relaxed);
    };
    let tokenizer = setting.path("tokenizer.json");
    let begun = prepare_sized(
        &setting.inputs,
        &tokenizer,
        &out,
        &options(),
        Observer::new(&stop_late, &stop),
        TINY,
    );
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(out.join(".work/run-000000.json").exists());
    out
}

/// After a power cut, parts that were not flushed may be half a file, missing, or have other bytes.
#[test]
fn damaged_parts_are_made_again() {
    let setting = Setting::new();
    setting.run("whole", &options()).unwrap();
    let expected = contents(&setting.path("whole"));
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.clear(),
        |bytes| bytes[0] ^= 1,
        |bytes| {
            let middle = bytes.len() / 4;
            bytes[middle] ^= 1;
        },
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        for name in ["part-000000-000001", "part-000001-000002", "part-000002-000000"] {
            let name_out = format!("{name}-{index}");
            let out = begin(&setting, &name_out);
            let part = out.join(".work").join(name);
            let mut bytes = fs::read(&part).unwrap();
            damage(&mut bytes);
            fs::write(&part, bytes).unwrap();
            let report = setting.run(&name_out, &options()).unwrap();
            assert!(report.resumed > 0 && report.resumed <= report.parts, "{report:?}");
            assert!(contents(&out) == expected, "{name} {index} differs");
        }
    }
    // Damaged records of runs and of a stream's number of parts count as missing.
    let out = begin(&setting, "records");
    for name in ["run-000000.json", "unit-000001.json", "split.json"] {
        fs::write(out.join(".work").join(name), "{\"sp").unwrap();
    }
    setting.run("records", &options()).unwrap();
    assert!(contents(&out) == expected);
}

/// The runs of the old split must not outlive the file that records it.
#[test]
fn another_holdout_starts_the_shards_anew_without_the_old_splits_file() {
    let setting = Setting::new();
    let out = begin(&setting, "out");
    fs::remove_file(out.join(".work/split.json")).unwrap();
    let other = PrepareOptions { holdout: Holdout::Share(0.3), ..options() };
    setting.run("out", &other).unwrap();
    setting.run("fresh", &other).unwrap();
    assert!(contents(&out) == contents(&setting.path("fresh")));
}

/// Another file with the same name and length: the work begins with one and continues with the other.
#[test]
fn an_input_that_was_exchanged_is_noticed() {
    let setting = Setting::new();
    for last in [false, true] {
        begin(&setting, "out");
        let path = setting.path("plain.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        let at =
            if last { bytes.len() - 4 } else { bytes.iter().position(|&b| b == b't').unwrap() };
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = setting.run("out", &options()).unwrap_err();
        assert!(error.to_string().contains("differs in inputs[0].ends"), "{error}");
        fs::remove_dir_all(setting.path("out")).unwrap();
        fs::write(&path, lines(0..400)).unwrap();
    }
}

/// Another program's `.work`, `manifest.json`, `train/` and `holdout/` stay unchanged.
#[test]
fn a_damaged_plan_is_named_with_the_way_out() {
    let setting = Setting::new();
    let out = begin(&setting, "begun");
    let plan = out.join(".work/plan.json");
    let whole = fs::read(&plan).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"\xff{"] {
        fs::write(&plan, damaged).unwrap();
        let error = setting.run("begun", &options()).unwrap_err();
        assert!(matches!(error, Error::DamagedPlan { .. }), "{error}");
        let words = error.to_string();
        assert!(
            words.contains(".work/plan.json: expected the plan of unfinished work, got "),
            "{words}"
        );
        assert!(words.contains("delete ") && error.kind() != ErrorKind::Configuration, "{words}");
    }
    fs::write(&plan, whole).unwrap();
    setting.run("begun", &options()).unwrap();
}

#[test]
#[cfg(unix)]
fn an_output_that_cannot_be_looked_at_is_told_as_the_system_does() {
    let setting = Setting::new();
    std::os::unix::fs::symlink("loop", setting.path("loop")).unwrap();
    for name in ["loop".to_owned(), "n".repeat(256)] {
        let reason = fs::metadata(setting.path(&name).join("manifest.json")).unwrap_err();
        let error = setting.run(&name, &options()).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source, Some(reason.to_string()), "{error}");
    }
}

#[test]
fn folders_of_the_same_names_are_not_taken_for_ours() {
    let setting = Setting::new();
    let plan = "{\"format\": \"another program's\"}";
    let cases: [&[(&str, &str)]; 4] = [
        &[(".work/notes", "mine")],
        &[(".work/plan.json", plan), (".work/part-000000-000000", "mine")],
        &[(".work/lock", ""), ("train/photo.jpg", "mine")],
        &[("manifest.json", "{\"name\": \"mine\"}"), (".work/notes", "mine")],
    ];
    for (index, files) in cases.into_iter().enumerate() {
        let out = setting.path(&format!("out{index}"));
        for (name, text) in files {
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let before = contents(&out);
        let error = setting.run(&format!("out{index}"), &options()).unwrap_err();
        assert!(matches!(error, Error::OutputTaken { .. }), "{index}: {error}");
        assert!(contents(&out) == before, "{index}");
    }
    // It was put there while our work was unfinished, and another holdout begins again.
    let out = begin(&setting, "ours");
    fs::write(out.join("train/photo.jpg"), "mine").unwrap();
    fs::remove_file(out.join(".work/split.json")).unwrap();
    setting.run("ours", &options()).unwrap();
    assert_eq!(fs::read(out.join("train/photo.jpg")).unwrap(), b"mine");
    // A finished corpus loses only what a killed call left.
    fs::create_dir(out.join(".work")).unwrap();
    fs::write(out.join(".work/notes"), "mine").unwrap();
    assert!(setting.run("ours", &options()).unwrap().already_done);
    assert!(out.join(".work/notes").exists());
    fs::write(out.join(".work/plan.json"), "{\"format\": \"mixdown-prepare-plan\"}").unwrap();
    let lock = fs::File::create(out.join(".work/lock")).unwrap();
    lock.lock().unwrap();
    assert!(setting.run("ours", &options()).unwrap().already_done && out.join(".work").exists());
    drop(lock);
    for _ in 0..2 {
        assert!(setting.run("ours", &options()).unwrap().already_done);
        assert!(!out.join(".work").exists());
        // Leftovers of a second call that came while the first one finished.
        fs::create_dir(out.join(".work")).unwrap();
        fs::write(out.join(".work/lock"), "").unwrap();
    }
}
