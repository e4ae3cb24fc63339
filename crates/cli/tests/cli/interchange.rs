//! `import`, `export`, `inspect --overlap`.

use std::fs;

use insta::assert_snapshot;

use crate::sandbox::{Sandbox, prose};

/// A corpus in `corpora/general`, exported to `theirs`.
fn exported(format: &str) -> Sandbox {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("export corpora/general --to {format} --out theirs"));
    sandbox
}

#[test]
fn every_format_comes_back_as_the_same_stream() {
    let sandbox = Sandbox::with_corpora();
    let before = sandbox.json("inspect corpora/general");
    for format in ["nanogpt", "olmo", "datatrove", "megatron"] {
        sandbox.ok(&format!("export corpora/general --to {format} --out {format}"));
        let report = sandbox.json(&format!("import {format} --tokenizer tokenizer.json"));
        // Ids, documents, texts and their hashes: all of it is in the fingerprint.
        assert_eq!(report["fingerprint"], before["fingerprint"], "{format}");
        let verified = sandbox.json(&format!("verify {format}"));
        assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{format}");
        let mixture = format!(
            "sequence_length = 16\nbatch_size = 4\n\
             [[source]]\nname = \"target\"\ncorpus = \"corpora/target\"\nweight = \"99%\"\n\
             [[source]]\nname = \"general\"\ncorpus = \"{format}\"\nweight = \"1%\"\n"
        );
        sandbox.write("mix.toml", mixture.replace(format, "corpora/general"));
        let expected = sandbox.ok("mix mix.toml --order 0..200");
        sandbox.write("mix.toml", mixture);
        assert_eq!(sandbox.ok("mix mix.toml --order 0..200"), expected, "{format}");
    }
    let text =
        |corpus: &str| sandbox.json(&format!("inspect {corpus} --document 7"))["text"].clone();
    assert_eq!(text("olmo"), text("corpora/general"));
}

#[test]
fn llmc_puts_the_end_of_text_first() {
    let sandbox = exported("llmc");
    let report = sandbox.json("import theirs --tokenizer tokenizer.json");
    assert_eq!(report["beginning_of_text"], report["end_of_text"]);
    let before = sandbox.json("inspect corpora/general");
    assert_eq!(report["train_tokens"], before["splits"][0]["tokens"]);
    assert_eq!(report["train_documents"], before["splits"][0]["documents"]);
    let text = |corpus: &str| {
        let document = sandbox.json(&format!("inspect {corpus} --document 3"));
        document["text"].as_str().unwrap().replace("<|endoftext|>", "")
    };
    assert_eq!(text("theirs"), text("corpora/general"));
}

#[test]
fn people_read_what_was_done() {
    let sandbox = exported("nanogpt");
    let report = sandbox.ok("import theirs --tokenizer tokenizer.json --out theirs --sample-sums");
    assert_snapshot!(report.trim_end(), @"
    theirs: uint16 ids, 30,552 tokens in 352 documents (files: 1), 4,106 held-out tokens in 48 documents (files: 1)
    sums of a sample of blocks only, no text hashes: damage between them and overlap with other corpora cannot be seen
    ");
    assert_snapshot!(sandbox.ok("verify theirs").trim_end(), @"
    2 shards, 400 documents, 34,658 tokens, 77,464 bytes checked: no damage
    ");
    fs::remove_file(sandbox.path("theirs/manifest.json")).unwrap();
    // Files may be named one by one, and the validation part by hand.
    let report =
        sandbox.json("import theirs/val.bin --holdout theirs/train.bin --tokenizer tokenizer.json");
    assert_eq!(
        (report["train_files"].as_u64(), report["holdout_files"].as_u64()),
        (Some(1), Some(1))
    );
    assert!(report["holdout_tokens"].as_u64() > report["train_tokens"].as_u64());
}

#[test]
fn what_cannot_be_imported() {
    let sandbox = exported("nanogpt");
    let import = "import theirs --tokenizer tokenizer.json";
    sandbox.write("empty/readme.txt", "x");
    assert_snapshot!(sandbox.failure("import empty --tokenizer tokenizer.json"), @"
    exit code 2
    error: empty: expected .bin, .npy or .ds files, found none
      hint: name the token files themselves
    ");
    assert_snapshot!(sandbox.failure("import none.bin --tokenizer tokenizer.json"), @"
    exit code 2
    error: none.bin: cannot open
      cause: No such file or directory (os error 2)
    ");
    assert_snapshot!(sandbox.failure(&format!("{import} --out corpora/target")), @"
    exit code 2
    error: corpora/target/manifest.json: expected no manifest yet, got one; remove it to import again, or give another folder with --out
    ");
    assert_snapshot!(sandbox.failure(&format!("{import} --end-of-text <none>")), @r#"
    exit code 2
    error: tokenizer tokenizer.json has no token "<none>" to be the end of text, expected one of its 400 tokens: choose another
    "#);
    assert_snapshot!(sandbox.failure(&format!("{import} --sample-sums=2")), @r#"
    exit code 2
    error: invalid value '2' for '--sample-sums[=<SHARE>]': expected a share of the blocks such as 1% or 0.01%, up to 100%, got "2"

    For more information, try '--help'.
    "#);
    let sound = fs::read(sandbox.path("theirs/train.bin")).unwrap();
    let mut bytes = sound.clone();
    bytes[100..102].copy_from_slice(&[0xff, 0xff]);
    sandbox.write("theirs/train.bin", &bytes);
    assert_snapshot!(sandbox.failure(import), @"
    exit code 3
    error: theirs/train.bin: byte 100: expected ids of uint16 below the tokenizer's vocabulary of 400, got 65535; give the tokenizer that made the file, or the right --dtype or --format
    ");
    sandbox.write("theirs/train.bin", &sound[..sound.len() - 1]);
    assert_snapshot!(sandbox.failure(import), @"
    exit code 3
    error: theirs/train.bin: expected a whole number of ids of 2 bytes, at least one, got 61103 bytes; give the right --dtype or --format, or fetch the file again
    ");
    sandbox.write("theirs/train.bin", &sound);
    sandbox.write("theirs/tokenizer.json", "{}");
    assert_snapshot!(sandbox.failure(import), @"
    exit code 2
    error: theirs/tokenizer.json: expected no file or the same as tokenizer.json, found another
      hint: give the tokenizer that made the ids, or move the other away
    ");
    fs::remove_file(sandbox.path("theirs/tokenizer.json")).unwrap();
    sandbox.ok(import);
    assert_snapshot!(sandbox.failure(import), @"
    exit code 2
    error: theirs/manifest.json: expected no manifest yet, got one; remove it to import again, or give another folder with --out
    ");
    // Somebody has written on: sizes no longer agree.
    sandbox.write("theirs/train.bin", [&sound[..], &[0, 0]].concat());
    let failure = sandbox.failure("inspect theirs");
    assert!(
        failure.starts_with("exit code 3") && failure.contains("theirs/train.bin"),
        "{failure}"
    );
}

#[test]
fn what_cannot_be_exported() {
    let sandbox = exported("olmo");
    assert_snapshot!(sandbox.failure("export corpora/general --to olmo --out theirs"), @"
    exit code 2
    error: theirs: expected no output folder yet, got one; give a folder that does not exist yet
    ");
    assert_snapshot!(sandbox.failure("export corpora/none --to olmo --out elsewhere"), @"
    exit code 2
    error: corpora/none: expected a corpus folder with a manifest.json, got none; give the folder that `mixdown prepare` wrote, or run it again until it ends
    ");
    fs::write(sandbox.path("corpora/general/train/shard-00000.bin"), [0xff; 2]).unwrap();
    let failure = sandbox.failure("export corpora/general --to olmo --out elsewhere");
    assert!(failure.starts_with("exit code 3"), "{failure}");
    assert!(!sandbox.path("elsewhere").exists());
}

#[test]
fn shared_passages_are_found_with_one_tokenizer_and_with_two() {
    let sandbox = Sandbox::with_corpora();
    // Half of the documents of `mixed` hold a document of general.jsonl in their middle.
    let mut mixed = String::new();
    for (number, line) in prose(400).lines().take(40).enumerate() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = record["text"].as_str().unwrap();
        let text = match number % 2 {
            0 => format!("Something else {number}. {text} And more."),
            _ => format!("{number} has nothing in common with any of them."),
        };
        mixed.push_str(&serde_json::json!({ "text": text }).to_string());
        mixed.push('\n');
    }
    sandbox.write("mixed.jsonl", mixed);
    sandbox.ok("tokenizer train mixed.jsonl --vocab-size 300 --out other.json");
    sandbox.ok("prepare mixed.jsonl --tokenizer tokenizer.json --out same --holdout 0");
    sandbox.ok("prepare mixed.jsonl --tokenizer other.json --out two --holdout 0");
    sandbox.ok("prepare general.jsonl --tokenizer tokenizer.json --out all --holdout 0");
    let same = sandbox.json("inspect same --overlap all");
    assert_eq!((&same["units"], &same["split"]), (&"tokens".into(), &"train".into()));
    assert_eq!(
        (same["documents"].as_u64(), same["shared_documents"].as_u64()),
        (Some(40), Some(20))
    );
    assert_eq!(same["equal_texts"], 0);
    let two = sandbox.json("inspect two --overlap all");
    assert_eq!((&two["units"], two["shared_documents"].as_u64()), (&"words".into(), Some(20)));
    let own = sandbox.json("inspect all --split train --overlap all");
    assert_eq!(
        (own["equal_texts"].as_u64(), own["shared_documents"].as_u64()),
        (Some(400), Some(400))
    );
    assert_snapshot!(sandbox.failure("inspect two --overlap all --units tokens"), @"
    exit code 2
    error: two and all have different tokenizers: their tokens cannot be compared
      hint: compare words: leave out --units tokens
    ");
}

#[test]
fn inspect_shows_lengths_ids_duplicates_and_samples() {
    let sandbox = Sandbox::new();
    let lines = ["one two", "three", "one  two", "four <|endoftext|>", "one two "];
    let lines: String =
        lines.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
    sandbox.write("lines.jsonl", lines);
    sandbox.write("words.txt", "one two three four ".repeat(20));
    sandbox.ok("tokenizer train words.txt --vocab-size 300 --out tokenizer.json");
    sandbox.ok("prepare lines.jsonl --tokenizer tokenizer.json --out c --holdout 0 --no-shuffle");
    assert_snapshot!(without_hashes(&sandbox.ok("inspect c --top 3")), @r#"
    c: uint16 ids below 271, end of text 0
     split     shards   documents   tokens   text bytes   bytes/token   shortest   median   longest
    ────────────────────────────────────────────────────────────────────────────────────────────────
     train          1           5       32           46          1.44          3        4        17
     holdout        0           0        0            0          0.00          0        0         0
    document lengths in tokens
    documents with the text of a special token: 1

    train
     length     documents   tokens
    ──────────────────────────────────────────────────────────────────
     2 to 3             1        3   ███████████
     4 to 7             3       12   ████████████████████████████████
     8 to 15            0        0
     16 to 31           1       17   ███████████
     frequent           id   count   of 32 tokens
    ──────────────────────────────────────────────
     "<|endoftext|>"     0       5       15.625 %
     "t"                84       3        9.375 %
     " "               221       3        9.375 %
    equal texts: 1 text more than once, 2 documents too many: 3 times that of document 0
    document 0: "one two<|endoftext|>"
    document 2: "one  two<|endoftext|>"
    "#);
    let view = sandbox.json("inspect c --full");
    assert_eq!(view["counts"]["special_text_documents"], 1);
    let duplicates = &view["splits"][0]["duplicates"];
    assert_eq!(duplicates["surplus_documents"], 2);
}

/// The text without its fingerprints and trailing blanks.
fn without_hashes(text: &str) -> String {
    let lines =
        text.lines().filter(|line| !line.starts_with("data ") && !line.starts_with("tokenizer "));
    lines.map(str::trim_end).collect::<Vec<_>>().join("\n")
}
