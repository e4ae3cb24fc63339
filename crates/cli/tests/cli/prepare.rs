//! `tokenizer train`, `prepare`, `inspect`, `verify`.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use insta::assert_snapshot;

use crate::sandbox::{Sandbox, code, prose, tree};

#[test]
fn the_same_bytes_for_any_thread_count() {
    let sandbox = Sandbox::with_corpora();
    let prepare = "prepare general.jsonl target.jsonl --tokenizer tokenizer.json --holdout 5%";
    sandbox.ok(&format!("{prepare} --threads 1 --out one"));
    sandbox.ok(&format!("{prepare} --threads 2 --out two"));
    assert_eq!(tree(&sandbox.path("one")), tree(&sandbox.path("two")));
}

#[test]
fn compression_does_not_change_the_corpus() {
    let sandbox = Sandbox::with_corpora();
    let text = code(60);
    let (first, second) = text.split_at(text[..text.len() / 2].rfind('\n').unwrap() + 1);
    sandbox.write("plain/a.jsonl", &text);
    let frames = [
        zstd::encode_all(first.as_bytes(), 3).unwrap(),
        zstd::encode_all(second.as_bytes(), 3).unwrap(),
    ];
    sandbox.write("zstd/a.jsonl.zst", frames.concat());
    sandbox.write("gzip/a.jsonl.gz", [gzip(first), gzip(second)].concat());
    let prepare = |input: &str| {
        let report = sandbox.json(&format!(
            "prepare {input} --tokenizer tokenizer.json --out c-{input} --holdout 5%"
        ));
        report["fingerprint"].as_str().unwrap().to_owned()
    };
    let plain = prepare("plain");
    assert_eq!(plain, prepare("zstd"));
    assert_eq!(plain, prepare("gzip"));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn documents_come_back_as_they_were() {
    let sandbox = Sandbox::new();
    sandbox.write("text/a.txt", "The first.\n");
    sandbox.write("text/b.md", "# The second\n\nläuft, 走る, <|endoftext|>\n");
    sandbox.write("general.jsonl", prose(50));
    sandbox.ok("tokenizer train general.jsonl text --vocab-size 300 --out tokenizer.json");
    let report =
        sandbox.json("prepare text --tokenizer tokenizer.json --out c --holdout 0 --no-shuffle");
    assert_eq!(report["train_documents"], 2);
    assert_eq!(report["counts"]["special_text_documents"], 1);
    let document = sandbox.json("inspect c --document 1");
    assert_eq!(document["text"], "# The second\n\nläuft, 走る, <|endoftext|>\n<|endoftext|>");
    assert_eq!(document["id"], serde_json::Value::Null);
    sandbox.write("named.jsonl", "{\"text\":\"one\",\"id\":\"first\"}\n");
    sandbox
        .ok("prepare named.jsonl --id-field id --tokenizer tokenizer.json --out named --holdout 0");
    let shown = sandbox.ok("inspect named --document 0");
    assert!(shown.starts_with("id: first\none"), "{shown}");
}

#[test]
fn inspect_and_verify_agree_with_the_report() {
    let sandbox = Sandbox::with_corpora();
    let inspected = sandbox.json("inspect corpora/general");
    let verified = sandbox.json("verify corpora/general");
    let tokens = |split: usize| inspected["splits"][split]["tokens"].as_u64().unwrap();
    assert_eq!(verified["tokens"].as_u64(), Some(tokens(0) + tokens(1)));
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0));
    assert!(tokens(0) > tokens(1) && tokens(1) > 0);
}

/// Kills without warning, later and later, until a run is quicker than its kill.
#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("long.jsonl", prose(30_000));
    let prepare = "prepare long.jsonl target.jsonl --tokenizer tokenizer.json --holdout 5% --out";
    sandbox.ok(&format!("{prepare} undisturbed"));
    for attempt in 0_u64.. {
        let mut child =
            sandbox.command(&format!("{prepare} killed")).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 + 20 * attempt));
        child.kill().unwrap();
        let ended = child.wait().unwrap().success();
        if sandbox.path("killed/manifest.json").exists() {
            if !ended {
                // Killed after the manifest: the next call says so and removes the work.
                let again = sandbox.ok(&format!("{prepare} killed"));
                assert!(again.contains("already done"), "{again}");
            }
            break;
        }
    }
    assert_eq!(tree(&sandbox.path("undisturbed")), tree(&sandbox.path("killed")));
}

/// An array of tasks, of which the scheduler runs two, and the call that completes it.
#[test]
fn tasks_make_the_same_corpus() {
    let sandbox = Sandbox::with_corpora();
    let prepare =
        "prepare general.jsonl target.jsonl --tokenizer tokenizer.json --holdout 5% --out";
    sandbox.ok(&format!("{prepare} plain"));
    assert_snapshot!(sandbox.failure(&format!("{prepare} tasks --finish")), @r#"
    exit code 2
    error: tasks is not complete: expected 1 parts and a split, got 0 parts (the first that is missing is part 0 of general.jsonl): run more tasks (--task I/N, any of them), or the same command without --finish to do the rest here
    "#);
    let mut auto = sandbox.command(&format!("{prepare} tasks --task auto"));
    auto.env("SLURM_ARRAY_TASK_ID", "7").env("SLURM_ARRAY_TASK_MIN", "3");
    auto.env("SLURM_ARRAY_TASK_COUNT", "2").env("SLURM_ARRAY_TASK_STEP", "1");
    assert!(auto.output().unwrap().status.success());
    let report = sandbox.json(&format!("{prepare} tasks --task 2/4"));
    assert_eq!((report["runs"].as_u64(), report["runs_made"].as_u64()), (Some(1), Some(0)));
    assert!(!sandbox.path("tasks/manifest.json").exists());
    sandbox.ok(&format!("{prepare} tasks --finish"));
    sandbox.ok(&format!("{prepare} tasks --finish"));
    assert_eq!(tree(&sandbox.path("plain")), tree(&sandbox.path("tasks")));
    let report = sandbox.json(&format!("{prepare} tasks --task 0/4"));
    assert_eq!(report["finished"], true);
}

#[test]
fn tasks_without_a_scheduler_or_with_a_limit() {
    let sandbox = Sandbox::with_corpora();
    let prepare = "prepare general.jsonl --tokenizer tokenizer.json --out c";
    assert_snapshot!(sandbox.failure(&format!("{prepare} --task auto")), @r#"
    exit code 2
    error: task: expected auto inside an array job (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or AWS_BATCH_JOB_ARRAY_INDEX is set), else I/N, got "auto"
      hint: --tasks N gives the number of tasks
    "#);
    assert_snapshot!(sandbox.failure(&format!("{prepare} --task 4/4")), @r#"
    exit code 2
    error: task: expected I/N with 0 <= I < N, like 0/4, or auto, got "4/4"
    "#);
    assert_snapshot!(sandbox.failure(&format!("{prepare} --task 0/4 --limit 3")), @r#"
    exit code 2
    error: the argument '--task <I/N|auto>' cannot be used with '--limit <N>'

    Usage: mixdown prepare --tokenizer <TOKENIZER> --out <DIR> --task <I/N|auto> <INPUT>...

    For more information, try '--help'.
    "#);
    assert_snapshot!(sandbox.failure(&format!("{prepare} --limit 3 --holdout 99.99%")), @r#"
    exit code 2
    error: a holdout of 0.9999 leaves 0 documents (0 tokens) to train on and 3 documents (224 tokens) to validate with, expected at least one of each: choose another holdout, or 0 for none
    "#);
}

#[test]
fn a_limit_short_documents_and_files_as_the_holdout() {
    let sandbox = Sandbox::with_corpora();
    let report = sandbox
        .json("prepare general.jsonl --tokenizer tokenizer.json --out few --limit 20 --holdout 0");
    assert_eq!(report["train_documents"], 20);
    sandbox.write("short.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"äöü\"}\n");
    let report = sandbox.json(
        "prepare short.jsonl --tokenizer tokenizer.json --out long --min-chars 3 --holdout 0",
    );
    assert_eq!(
        (report["train_documents"].as_u64(), &report["counts"]["short_documents"]),
        (Some(1), &1.into())
    );
    let report = sandbox.json(
        "prepare general.jsonl --tokenizer tokenizer.json --out other --holdout-input short.jsonl",
    );
    assert_eq!(report["holdout_documents"], 2);
}

/// A wrong name of the field says which there are and does not lock the folder.
#[test]
fn another_field_after_a_wrong_one() {
    let sandbox = Sandbox::with_corpora();
    sandbox
        .write("named.jsonl", "{\"id\": 1, \"body\": \"one\"}\n{\"id\": 2, \"body\": \"two\"}\n");
    let prepare = "prepare named.jsonl --tokenizer tokenizer.json --out named --holdout 0";
    let wrong = sandbox.failure(&format!("{prepare} --text-field content"));
    assert!(wrong.contains("\"content\" is missing, the record has \"id\", \"body\""), "{wrong}");
    let wrong = sandbox.failure(&format!("{prepare} --text-field contents --task 0/1"));
    assert!(wrong.contains("\"contents\" is missing"), "{wrong}");
    let report = sandbox.json(&format!("{prepare} --text-field body"));
    assert_eq!(report["train_documents"], 2);
}

/// What a folder's files are not read is said where people look.
#[test]
fn files_that_are_left_out_are_named() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mixed/a.txt", "some words");
    sandbox.write("mixed/b.png", b"\x89PNG\r\n\x1a\n\0".as_slice());
    sandbox.write("mixed/package.json", "{\n  \"name\": \"x\"\n}\n");
    sandbox.write("mixed/c.csv", "id,text\n1,three\n2,four\n");
    let mut prepare =
        sandbox.command("prepare mixed --tokenizer tokenizer.json --out mixed-corpus --holdout 0");
    let output = prepare.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("files of folders left out: 1: b.png (a PNG image)"), "{said}");
    assert!(said.contains("each read as one text: 1: package.json"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("tokens in 4 documents"));
}

#[test]
fn a_separator_parts_a_text() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("stories.txt", "One.\n<|endoftext|>\nTwo.\n<|endoftext|>\nThree.\n");
    let prepare = "prepare stories.txt --tokenizer tokenizer.json --holdout 0 --no-shuffle";
    let separated = format!("{prepare} --text-separator <|endoftext|> --out stories");
    assert_eq!(sandbox.json(&separated)["train_documents"], 3);
    assert_eq!(sandbox.json("inspect stories --document 1")["text"], "Two.<|endoftext|>");
    let lines = format!("{prepare} --text-separator \\n --out lines");
    assert_eq!(sandbox.json(&lines)["train_documents"], 5);
    let wrong = sandbox.failure(&format!("{prepare} --text-separator \\x --out wrong"));
    assert!(wrong.contains("after a backslash"), "{wrong}");
}

#[test]
fn a_tokenizer_that_is_trained_is_not_trained_again() {
    let sandbox = Sandbox::new();
    sandbox.write("general.jsonl", prose(50));
    let train = "tokenizer train general.jsonl --out tokenizer.json --vocab-size";
    let made = sandbox.ok(&format!("{train} 300"));
    assert_eq!(sandbox.ok(&format!("{train} 300")), made.replace(": ", ": already done: "));
    let other = sandbox.failure(&format!("{train} 301"));
    assert!(other.contains("differs in vocab_size (then 300, now 301)"), "{other}");
}

/// Notes of different words, and the first of them again with edits, as lines of JSON.
fn notes(range: std::ops::Range<usize>, edited: &str) -> String {
    let word = |note: usize, at: usize| format!("word{}", (note * 7919 + at * at * 31) % 5003);
    range
        .map(|note| {
            let words = (0..60).map(|at| word(note, at)).collect::<Vec<_>>().join(" ");
            format!("{}\n", serde_json::json!({ "text": format!("{edited}{words}") }))
        })
        .collect()
}

#[test]
fn near_duplicates_are_kept_out_of_the_holdout_and_out_of_training_where_asked() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.jsonl", notes(0..80, "") + &notes(0..20, "Copyright by somebody else. "));
    sandbox.write("benchmark.jsonl", notes(5..8, "A question: "));
    sandbox.ok("tokenizer train notes.jsonl --vocab-size 300 --out tokenizer.json");
    let prepare = "prepare notes.jsonl --tokenizer tokenizer.json --holdout 30%";
    let off = sandbox.json(&format!("{prepare} --near-duplicates off --out off"));
    let on = sandbox.json(&format!("{prepare} --out on"));
    let count = |report: &serde_json::Value, name: &str| report[name].as_u64().unwrap();
    let moved = on["counts"]["moved_documents"].as_u64().unwrap();
    assert!(moved > 0, "{on}");
    assert_eq!(count(&off, "holdout_documents"), count(&on, "holdout_documents") + moved);
    let text = sandbox.ok("inspect on");
    assert!(text.contains(&format!("moved from the holdout to training: {moved}")), "{text}");

    let dedup =
        sandbox.ok(&format!("{prepare} --dedup near --without benchmark.jsonl --out clean"));
    assert!(dedup.contains("near-duplicates left out of training: "), "{dedup}");
    assert!(dedup.contains("repeated documents left out of training: "), "{dedup}");
    let text = sandbox.ok("inspect clean");
    assert!(text.contains("2 documents, the first one in notes.jsonl at "), "{text}");
    let list = std::fs::read_to_string(sandbox.path("clean/left-out.jsonl")).unwrap();
    assert!(list.lines().all(|line| line.contains(r#""from":"benchmark.jsonl""#)), "{list}");
    sandbox.ok("verify clean");

    // A given holdout is told of, and may stay.
    let given = "prepare notes.jsonl --tokenizer tokenizer.json --holdout-input benchmark.jsonl";
    sandbox.write("benchmark.jsonl", notes(5..8, "A question: ") + &notes(200..203, ""));
    let output = sandbox.run(&format!("{given} --out given"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("3 of the given 6 held-out documents were moved to training"), "{told}");
    assert_eq!(sandbox.read("given/moved.jsonl").lines().count(), 3);
    let report = sandbox.json(&format!("{given} --yields training --out kept"));
    assert_eq!(report["holdout_documents"], 6);
    assert_eq!(report["counts"]["excluded_documents"], 6, "three notes, each twice");

    for (arguments, words) in [
        ("--near-duplicates 1.5", "a similarity above 0 and at most 1 like 0.5, or off"),
        ("--near-duplicates 0", "a similarity above 0 and at most 1"),
        ("--near-duplicates off --dedup exact", "near-duplicates"),
        ("--without missing.jsonl", "missing.jsonl"),
    ] {
        let error = sandbox.failure(&format!("{prepare} {arguments} --out bad"));
        assert!(error.contains(words), "{arguments}: {error}");
    }
}
