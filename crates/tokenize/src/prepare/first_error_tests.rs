//! The error of a call depends on the inputs and not on timing, and what the call leaves behind does not block a
//! corrected call.

use std::fs;

use mixdown_base::observer::Observer;
use mixdown_documents::{InputFormat, ReadOptions, Unreadable};

use crate::error::Error;
use crate::prepare::options::{Holdout, PrepareOptions};
use crate::prepare::prepare_task_sized;
use crate::prepare::prepare_tests::{Setting, TINY, contents, lines, options};

/// The error of a call, tried many times and with several numbers of threads.
fn always_the_same(setting: &Setting, options: &PrepareOptions) -> Error {
    let mut first: Option<Error> = None;
    for attempt in 0..24 {
        let options = PrepareOptions { threads: [1, 2, 5][attempt % 3], ..options.clone() };
        let error = setting.run("out", &options).unwrap_err();
        let _none_if_nothing_was_made = fs::remove_dir_all(setting.path("out"));
        if let Some(first) = &first {
            assert_eq!(error.to_string(), first.to_string(), "attempt {attempt}");
        }
        first.get_or_insert(error);
    }
    first.unwrap()
}

#[test]
fn a_truncated_file_is_always_called_truncated() {
    let mut setting = Setting::new();
    let whole = zstd::stream::encode_all(lines(0..3000).as_bytes(), 1).unwrap();
    fs::write(setting.path("cut.jsonl.zst"), &whole[..whole.len() - 3]).unwrap();
    setting.inputs = vec![setting.path("cut.jsonl.zst")];
    let error = always_the_same(&setting, &options());
    assert!(error.to_string().contains("the file is truncated"), "{error}");
}

/// Of several bad records in several files the first one counts, and with some tolerated the first one too many,
/// whichever thread finds which when.
#[test]
fn the_first_bad_record_of_the_inputs_counts() {
    let mut setting = Setting::new();
    let with_bad = |range: std::ops::Range<usize>, every: usize| {
        let bad = |(index, line): (usize, &str)| match index % every {
            0 => format!("bad {index}\n"),
            _ => format!("{line}\n"),
        };
        lines(range).lines().enumerate().skip(1).map(bad).collect::<String>()
    };
    fs::write(setting.path("a.jsonl"), with_bad(0..900, 200)).unwrap();
    fs::write(
        setting.path("b.jsonl.zst"),
        zstd::stream::encode_all(with_bad(0..900, 7).as_bytes(), 1).unwrap(),
    )
    .unwrap();
    fs::write(setting.path("c.jsonl"), "bad from the first line on\n".repeat(300)).unwrap();
    setting.inputs = ["a.jsonl", "b.jsonl.zst", "c.jsonl"].map(|name| setting.path(name)).to_vec();
    for (skip_bad, words) in [
        (0, "a.jsonl: line 200, byte"),
        (3, "a.jsonl: line 800, byte"),
        (4, "b.jsonl.zst: line 7, byte 0"),
        (9, "got \"bad 42\""),
    ] {
        let read = ReadOptions { skip_bad, ..ReadOptions::default() };
        let error = always_the_same(&setting, &PrepareOptions { read, ..options() });
        let words = words.replace("byte 0", "byte");
        assert!(error.to_string().contains(&words), "{skip_bad}: {error}");
        let counts = format!("bad records so far {}, tolerated {skip_bad}", skip_bad + 1);
        assert!(error.to_string().contains(&counts), "{error}");
    }
}

/// A wrong field name is an error before any part is finished, so a call with the right one can follow.
#[test]
fn work_without_a_finished_part_gives_way() {
    let setting = Setting::new();
    let wrong = |field: &str| PrepareOptions {
        read: ReadOptions { text_field: Some(field.to_owned()), ..ReadOptions::default() },
        ..options()
    };
    let inputs = [setting.path("plain.jsonl")];
    let run = |options: &PrepareOptions| {
        let (tokenizer, out) = (setting.path("tokenizer.json"), setting.path("out"));
        crate::prepare::prepare_sized(&inputs, &tokenizer, &out, options, Observer::silent(), TINY)
    };
    let error = run(&wrong("body")).unwrap_err().to_string();
    assert!(error.contains("\"body\" is missing, the record has \"meta\", \"text\""), "{error}");
    let scratch = PrepareOptions { work_dir: Some(setting.path("scratch")), ..wrong("content") };
    assert!(run(&scratch).unwrap_err().to_string().contains("\"content\" is missing"));
    // The same holds for a task.
    let (tokenizer, out) = (setting.path("tokenizer.json"), setting.path("out"));
    let task = prepare_task_sized(
        &inputs,
        &tokenizer,
        &out,
        &wrong("title"),
        "0/2".parse().unwrap(),
        Observer::silent(),
        TINY,
    );
    assert!(task.unwrap_err().to_string().contains("\"title\" is missing"));
    run(&options()).unwrap();
    assert_eq!(fs::read_dir(setting.path("scratch")).unwrap().count(), 0);
}

/// Formats that must be read from the beginning give the same corpus for any threads and sizes.
#[test]
fn files_that_are_read_from_their_beginning_are_cut_into_parts() {
    let mut setting = Setting::new();
    let records: Vec<serde_json::Value> =
        lines(0..600).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let array = serde_json::to_string_pretty(&records).unwrap();
    fs::write(setting.path("array.json"), &array).unwrap();
    fs::write(
        setting.path("packed.json.zst"),
        zstd::stream::encode_all(array.as_bytes(), 1).unwrap(),
    )
    .unwrap();
    let cell = |record: &serde_json::Value| {
        format!("\"{}\"\n", record["text"].as_str().unwrap().replace('"', "\"\""))
    };
    fs::write(
        setting.path("table.csv"),
        format!("text\n{}", records.iter().map(cell).collect::<String>()),
    )
    .unwrap();
    fs::write(setting.path("lines.txt"), "the thin thing\n".repeat(900)).unwrap();
    setting.inputs = ["array.json", "packed.json.zst", "table.csv", "lines.txt"]
        .map(|name| setting.path(name))
        .to_vec();
    let read = ReadOptions {
        text_separator: Some("\n".to_owned()),
        unreadable: Unreadable::LeaveOut,
        ..ReadOptions::default()
    };
    let list = mixdown_documents::InputList::discover_with(&setting.inputs, &read).unwrap();
    assert!(list.files().iter().take(2).all(|file| file.format == InputFormat::Json));
    let options = PrepareOptions { read, holdout: Holdout::Share(0.1), threads: 1, ..options() };
    let report = setting.run("one", &options).unwrap();
    assert!(report.parts > 20, "{}", report.parts);
    let texts = records.iter().filter(|record| record["text"] != "").count();
    let expected = u64::try_from(3 * texts + 900).unwrap();
    assert_eq!(report.train_documents + report.holdout_documents, expected);
    setting.run("three", &PrepareOptions { threads: 3, ..options.clone() }).unwrap();
    assert!(contents(&setting.path("one")) == contents(&setting.path("three")));
    for index in (0..2).rev() {
        let task = format!("{index}/2").parse().unwrap();
        let (tokenizer, out) = (setting.path("tokenizer.json"), setting.path("tasks"));
        prepare_task_sized(
            &setting.inputs,
            &tokenizer,
            &out,
            &options,
            task,
            Observer::silent(),
            TINY,
        )
        .unwrap();
    }
    let (tokenizer, out) = (setting.path("tokenizer.json"), setting.path("tasks"));
    crate::prepare::finish_sized(&setting.inputs, &tokenizer, &out, &options, TINY).unwrap();
    assert!(contents(&setting.path("one")) == contents(&out));
}
