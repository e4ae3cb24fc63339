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
    checksums of a sample of blocks only, no text hashes: damage elsewhere and overlap with other corpora cannot be \
    detected
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
    error: theirs/train.bin: expected a file below the corpus folder corpora/target, got one outside; token files are not copied, so they must lie in the corpus folder: choose one that holds all of them, and no links to folders outside of it
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
    error: theirs/tokenizer.json: expected no file, or the same as the tokenizer's, got another one; give the tokenizer that made the ids, or move the other away
    ");
    fs::remove_file(sandbox.path("theirs/tokenizer.json")).unwrap();
    sandbox.ok(import);
    let again = sandbox.run(import);
    assert!(again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("import: already done"));
    assert_snapshot!(sandbox.failure(&format!("{import} --sample-sums")), @"
    exit code 2
    error: theirs/manifest.json: expected sums of all blocks as it was written before, got 1%; choose another folder, or remove what is there
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
    let again = sandbox.run("export corpora/general --to olmo --out theirs");
    assert!(again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("export: already done"));
    assert_snapshot!(sandbox.failure("export corpora/general --to megatron --out theirs"), @"
    exit code 2
    error: theirs: expected format olmo as it was written before, got megatron; choose another folder, or remove what is there
    ");
    assert_snapshot!(sandbox.failure("export corpora/general --to olmo --out corpora"), @"
    exit code 2
    error: corpora: expected no output folder yet, or an earlier export, got something else; give a folder that does not exist yet
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
fn labels_are_not_lost_without_a_word() {
    let sandbox = Sandbox::with_corpora();
    let pairs: String = (0..40)
        .map(|n| format!("{{\"q\": \"what is {n}?\", \"a\": \"the number {n}\"}}\n"))
        .collect();
    sandbox.write("pairs.jsonl", pairs);
    let prepare = "prepare pairs.jsonl --tokenizer tokenizer.json --prompt-field q --completion-field a --holdout 0";
    sandbox.ok(&format!("{prepare} --out plain"));
    sandbox.ok(&format!("{prepare} --pack 64 --out packed"));
    for corpus in ["plain", "packed"] {
        let (_, targets, tokens) = targets_of(&sandbox, corpus);
        for format in ["nanogpt", "llmc", "megatron"] {
            let export = format!("export {corpus} --to {format} --out {corpus}-{format}");
            let failure = sandbox.failure(&export);
            let expected = format!("got {} of {tokens} tokens that are none", tokens - targets);
            assert!(failure.contains(&expected) && failure.contains("--drop-mask"), "{failure}");
            assert_eq!(failure.contains("the padding of rows among them"), corpus == "packed");
            assert!(!sandbox.path(&format!("{corpus}-{format}")).exists());
            let report = sandbox.json(&format!("{export} --drop-mask"));
            assert_eq!(report["unmasked_tokens"], tokens - targets);
        }
        // These formats keep the mask, and it comes back.
        for format in ["olmo", "datatrove"] {
            let out = format!("{corpus}-{format}");
            let report = sandbox.json(&format!("export {corpus} --to {format} --out {out}"));
            assert_eq!(report["unmasked_tokens"], 0);
            sandbox.ok(&format!("import {out} --tokenizer tokenizer.json --out {out}"));
            assert_eq!(targets_of(&sandbox, &out), targets_of(&sandbox, corpus));
        }
    }
}

/// Documents, loss targets and tokens of a corpus' training part.
fn targets_of(sandbox: &Sandbox, corpus: &str) -> (u64, u64, u64) {
    let view = sandbox.json(&format!("inspect {corpus}"));
    let number = |name: &str| view["splits"][0][name].as_u64().unwrap();
    (number("documents"), number("loss_tokens"), number("tokens"))
}

#[test]
fn the_token_that_ends_a_text_travels() {
    let sandbox = Sandbox::with_corpora();
    // A tokenizer whose configuration names another token than the usual one.
    let tokenizer = sandbox.read("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    let mut stop = json["added_tokens"][0].clone();
    (stop["id"], stop["content"]) = (400.into(), "<stop>".into());
    json["added_tokens"].as_array_mut().unwrap().push(stop);
    sandbox.write("chat/tokenizer.json", json.to_string());
    sandbox.write("chat/tokenizer_config.json", "{\"eos_token\": \"<stop>\"}");
    sandbox.ok("prepare general.jsonl --tokenizer chat --out c --holdout 0");
    for format in ["nanogpt", "llmc"] {
        sandbox.ok(&format!("export c --to {format} --out {format}"));
        let import = format!("import {format} --tokenizer {format}/tokenizer.json");
        let report = sandbox.json(&import);
        assert_eq!(
            (&report["end_of_text"], &report["train_documents"]),
            (&400.into(), &400.into())
        );
        // An id that never occurs ends nothing, and that is said.
        fs::remove_file(sandbox.path(&format!("{format}/manifest.json"))).unwrap();
        let output = sandbox.run(&format!("{import} --end-of-text <|endoftext|>"));
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && words.contains("does not occur in train"), "{words}");
    }
}

#[test]
fn what_lies_beside_token_files_is_left_out_and_named() {
    let sandbox = exported("megatron");
    let map = "theirs/train-00000_train_indexmap_9ns_16sl_1s_doc_idx.npy";
    sandbox.write(map, b"\x93NUMPY map");
    sandbox.write("theirs/pytorch_model.bin", b"PK\x03\x04 weights");
    for format in ["", " --format megatron"] {
        let _gone = fs::remove_file(sandbox.path("theirs/manifest.json"));
        let output =
            sandbox.run(&format!("import theirs --tokenizer tokenizer.json --json{format}"));
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words}");
        assert!(words.contains("pytorch_model.bin ("), "{words}");
        assert_eq!(words.contains("doc_idx.npy (an index map"), format.is_empty(), "{words}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["train_files"], &report["holdout_files"]), (&1.into(), &1.into()));
    }
    let failure = sandbox.failure(&format!("import {map} --tokenizer tokenizer.json"));
    assert!(failure.contains("expected a token file, got an index map"), "{failure}");
}

/// As a disk without room: a limit of the size of files.
#[cfg(unix)]
#[test]
fn an_import_that_found_no_room_goes_on() {
    let sandbox = exported("nanogpt");
    fs::remove_file(sandbox.path("theirs/tokenizer.json")).unwrap();
    fs::remove_file(sandbox.path("theirs/tokenizer_config.json")).unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 2; exec {} import theirs --tokenizer tokenizer.json",
        env!("CARGO_BIN_EXE_mixdown")
    );
    let folder = sandbox.path("");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!sandbox.path("theirs/tokenizer.json").exists());
    sandbox.ok("import theirs --tokenizer tokenizer.json");
    assert_eq!(sandbox.read("theirs/tokenizer.json"), sandbox.read("tokenizer.json"));
}

/// More shards than the process may have files, read with and without a map.
#[cfg(unix)]
#[test]
fn a_corpus_of_many_shards_needs_few_descriptors() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok("export corpora/general --to llmc --shard-tokens 200 --split train --out many");
    let report = sandbox.json("import many --tokenizer tokenizer.json");
    assert!(report["train_files"].as_u64() > Some(100), "{report}");
    for access in ["read", "map"] {
        let mixture = format!(
            "sequence_length = 16\nbatch_size = 4\naccess = \"{access}\"\n\
             [[source]]\nname = \"many\"\ncorpus = \"many\"\nweight = 1\n"
        );
        sandbox.write(&format!("{access}.toml"), mixture);
        let script = format!(
            "ulimit -n 48; exec {} mix {access}.toml --emit arrow --steps 400",
            env!("CARGO_BIN_EXE_mixdown")
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(sandbox.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// As the cache of the Hugging Face Hub has them: files that are links into a folder of blobs.
#[cfg(unix)]
#[test]
fn a_corpus_of_links_is_verified_mixed_and_imported() {
    use std::os::unix::fs::symlink;

    let sandbox = exported("nanogpt");
    fs::create_dir(sandbox.path("blobs")).unwrap();
    let mut folders = vec![sandbox.path("corpora/general"), sandbox.path("theirs")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let blob = sandbox.path(&format!("blobs/{count}"));
            count += 1;
            fs::rename(&path, &blob).unwrap();
            symlink(&blob, &path).unwrap();
        }
    }
    sandbox.ok("verify corpora/general");
    sandbox.ok("import theirs --tokenizer tokenizer.json");
    sandbox.ok("verify theirs");
    for corpus in ["theirs", "corpora/general"] {
        let mixture = format!(
            "sequence_length = 16\nbatch_size = 4\n\
             [[source]]\nname = \"a\"\ncorpus = \"{corpus}\"\nweight = 1\n"
        );
        sandbox.write("mix.toml", mixture);
        sandbox.ok("mix mix.toml --order 0..20");
    }
}

/// `verify` promises every byte: of the manifest and of the tokenizer's files as well.
#[test]
fn verify_sees_a_changed_manifest() {
    let sandbox = Sandbox::with_corpora();
    let sound = sandbox.read("corpora/general/manifest.json");
    let mut json: serde_json::Value = serde_json::from_str(&sound).unwrap();
    let end_of_text = json["end_of_text"].as_u64().unwrap();
    for (field, value) in [("end_of_text", end_of_text + 1), ("vocab_size", 401)] {
        let mut changed = json.clone();
        changed[field] = value.into();
        sandbox.write("corpora/general/manifest.json", changed.to_string());
        assert!(sandbox.failure("verify corpora/general").starts_with("exit code 3"), "{field}");
        // As an older version wrote it, without a seal.
        changed.as_object_mut().unwrap().remove("seal");
        sandbox.write("corpora/general/manifest.json", changed.to_string());
        let failure = sandbox.failure("verify corpora/general");
        assert!(failure.starts_with("exit code 3") && failure.contains("damaged"), "{failure}");
    }
    json.as_object_mut().unwrap().remove("seal");
    sandbox.write("corpora/general/manifest.json", json.to_string());
    assert!(sandbox.ok("verify corpora/general").contains("the manifest has no seal"));
    sandbox.write("corpora/general/manifest.json", sound);
    sandbox.ok("verify corpora/general");
    sandbox.write("corpora/general/tokenizer_config.json", "{}");
    let output = sandbox.run("verify corpora/general");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stdout).unwrap().contains("tokenizer_config.json"));
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
     "<|endoftext|>"     0       5         15.6 %
     "t"                84       3         9.38 %
     " "               221       3         9.38 %
    equal texts: 1 text more than once, 2 documents repeated: 3 times that of document 0
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
