//! `mix --emit arrow`, `mix --order --format arrow`, `mix --compare` and `bench`.

use std::io::{Cursor, Read};
use std::process::Stdio;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;

use crate::sandbox::Sandbox;

const MIXTURE: &str = "\
sequence_length = 16
batch_size = 12
seed = 7
[[source]]
name = \"target\"
corpus = \"corpora/target\"
weight = \"90%\"
[[source]]
name = \"general\"
corpus = \"corpora/general\"
weight = \"10%\"
[[stage]]
start = \"30 steps\"
weights = { target = \"1\", general = \"1\" }
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mix.toml", MIXTURE);
    sandbox
}

fn emitted(sandbox: &Sandbox, options: &str) -> Vec<RecordBatch> {
    let output = sandbox.run(&format!("mix mix.toml --emit arrow {options}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reader = StreamReader::try_new(Cursor::new(output.stdout), None).unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

fn tokens(batch: &RecordBatch) -> Vec<i32> {
    let lists = batch.column_by_name("tokens").unwrap().as_fixed_size_list();
    lists.values().as_primitive::<Int32Type>().values().to_vec()
}

fn slots(batch: &RecordBatch) -> Vec<u64> {
    let slots = batch.column_by_name("slot").unwrap().as_primitive::<UInt64Type>();
    slots.values().to_vec()
}

/// The state after a batch, as `--resume` takes it.
fn state(batch: &RecordBatch) -> String {
    let states = batch.column_by_name("state").unwrap().as_fixed_size_binary();
    states.value(0).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn batches_are_the_order_s_and_ranks_share_them_out() {
    let sandbox = sandbox();
    let whole = emitted(&sandbox, "--steps 50");
    assert_eq!(whole.len(), 50);
    let metadata = whole[0].schema_ref().metadata().clone();
    assert_eq!(metadata["mixdown.sources"], "[\"target\",\"general\"]");
    assert_eq!(metadata["mixdown.sequence_length"], "16");
    let order = sandbox.ok("mix mix.toml --order 0..600");
    let mut order =
        order.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    for batch in &whole {
        assert_eq!(tokens(batch).len(), 12 * 17);
        let sources = batch.column_by_name("source").unwrap().as_primitive::<UInt32Type>();
        for source in sources.values() {
            let planned = order.next().unwrap();
            assert_eq!(planned["source"], ["target", "general"][*source as usize]);
        }
    }
    let ranks: Vec<Vec<RecordBatch>> = (0..3)
        .map(|rank| {
            emitted(&sandbox, &format!("--steps 50 --rank {rank} --world-size 3 --threads 2"))
        })
        .collect();
    for (step, batch) in whole.iter().enumerate() {
        let mut parts: Vec<&RecordBatch> = ranks.iter().map(|rank| &rank[step]).collect();
        parts.sort_by_key(|part| slots(part)[0]);
        let joined: Vec<i32> = parts.iter().flat_map(|part| tokens(part)).collect();
        assert_eq!(joined, tokens(batch));
    }
}

/// Killed at some batch, by its reader's word for where it was, and gone on with by another number of
/// threads: the same bytes.
#[test]
fn a_killed_run_goes_on_byte_for_byte() {
    let sandbox = sandbox();
    let whole = emitted(&sandbox, "--steps 60");
    for taken in [1, 7, 29, 30, 31, 44, 59] {
        let mut command = sandbox.command("mix mix.toml --emit arrow --threads 3 --steps 60");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut reader = StreamReader::try_new(stdout, None).unwrap();
        let read: Vec<RecordBatch> =
            reader.by_ref().take(taken).map(|batch| batch.unwrap()).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read, whole[..taken]);
        let rest = emitted(&sandbox, &format!("--steps 60 --resume {}", state(&read[taken - 1])));
        assert_eq!(rest, whole[taken..], "killed after {taken} batches");
    }
}

#[test]
fn a_reader_that_goes_ends_the_run_quietly() {
    let sandbox = sandbox();
    let mut command = sandbox.command("mix mix.toml --emit arrow");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 1_000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn documents_begin_anew() {
    let sandbox = sandbox();
    let batch = &emitted(&sandbox, "--steps 1 --documents")[0];
    let numbers = |name: &str| -> Vec<i32> {
        let lists = batch.column_by_name(name).unwrap().as_fixed_size_list();
        lists.values().as_primitive::<Int32Type>().values().to_vec()
    };
    let (segments, positions) = (numbers("segment_ids"), numbers("position_ids"));
    assert_eq!((segments.len(), positions.len()), (12 * 16, 12 * 16));
    for (row, positions) in segments.chunks(16).zip(positions.chunks(16)) {
        assert_eq!((row[0], positions[0]), (0, 0));
        for (pair, position) in row.windows(2).zip(positions.windows(2)) {
            let anew = pair[1] == pair[0] + 1 && position[1] == 0;
            assert!(anew || (pair[1] == pair[0] && position[1] == position[0] + 1));
        }
    }
}

#[test]
fn a_state_of_another_run_is_refused() {
    let sandbox = sandbox();
    let batches = emitted(&sandbox, "--steps 40");
    sandbox.write("mix.toml", MIXTURE.replace("30 steps", "31 steps"));
    // Before the stage, and right where it began, the run may have another.
    emitted(&sandbox, &format!("--steps 40 --resume {}", state(&batches[29])));
    let refused = |state: &str, parts: &[&str]| {
        let message = sandbox.failure(&format!("mix mix.toml --emit arrow --resume {state}"));
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in: {message}");
        }
    };
    let differs = "differs: the weights (now 9:1);";
    refused(
        &state(&batches[30]),
        &["exit code 2", "slot 372", differs, "\"372 sequences\" or later"],
    );
    refused("0100", &["exit code 3", "expected 62 bytes, got 2 bytes"]);
    refused("nowhere.json", &["exit code 2", "124 hexadecimal digits or its JSON"]);
    // Sixty steps would be another number of sequences.
    let other_batch = MIXTURE.replace("batch_size = 12", "batch_size = 6");
    sandbox.write("mix.toml", &other_batch);
    refused(&state(&batches[3]), &["exit code 2", "slot 48", "counted in steps", "sequences"]);
    let said = other_batch.replace("30 steps", "360 sequences");
    sandbox.write("mix.toml", &said);
    emitted(&sandbox, &format!("--steps 60 --resume {}", state(&batches[3])));
    sandbox.write("mix.toml", said.replace("batch_size = 6", "batch_size = 5"));
    refused(&state(&batches[3]), &["exit code 2", "a multiple of batch_size 5, got slot 48"]);
}

#[test]
fn only_what_a_stage_can_change_is_said_to_be_changed_by_one() {
    let sandbox = sandbox();
    let state = state(&emitted(&sandbox, "--steps 4")[3]);
    for (from, to) in [("sequence_length = 16", "sequence_length = 32"), ("seed = 7", "seed = 8")] {
        sandbox.write("mix.toml", MIXTURE.replace(from, to));
        let message = sandbox.failure(&format!("mix mix.toml --emit arrow --resume {state}"));
        assert!(!message.contains("[[stage]]") && message.contains("begin a new run"), "{message}");
    }
    sandbox.write("mix.toml", MIXTURE.replace("90%", "80%").replace("\"10%", "\"20%"));
    let message = sandbox.failure(&format!("mix mix.toml --emit arrow --resume {state}"));
    assert!(message.contains("[[stage]]"), "{message}");
}

#[test]
fn a_finished_run_is_an_empty_stream_and_one_beyond_its_end_an_error() {
    let sandbox = sandbox();
    let batches = emitted(&sandbox, "--steps 8");
    assert_eq!(batches[0].schema_ref().metadata()["mixdown.steps"], "8");
    let end = state(&batches[7]);
    assert!(emitted(&sandbox, &format!("--steps 8 --resume {end}")).is_empty());
    let message = sandbox.failure(&format!("mix mix.toml --emit arrow --steps 7 --resume {end}"));
    assert!(message.contains("at most step 7") && message.contains("got step 8"), "{message}");
    assert!(message.contains("exit code 2"), "{message}");
}

/// Stopped by a signal while its reader is slow.
#[cfg(unix)]
#[test]
fn a_stopped_stream_is_never_read_to_an_end() {
    let sandbox = sandbox();
    for signal in ["INT", "TERM"] {
        let mut command = sandbox.command("mix mix.toml --emit arrow --steps 1000000");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut reader = StreamReader::try_new(child.stdout.take().unwrap(), None).unwrap();
        reader.next().unwrap().unwrap();
        let mut kill = std::process::Command::new("kill");
        kill.args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        let last = reader.by_ref().find(|batch| batch.is_err());
        assert!(last.is_some(), "{signal}: the stream reads as a whole one");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
    }
    let mut command = sandbox.command("mix mix.toml --order 0..100000000000");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    let mut kill = std::process::Command::new("kill");
    kill.args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.trim_end().rsplit('\n').next().unwrap().contains("\"error\""));
}

/// A batch that no machine holds, under every way of asking for it.
#[test]
fn a_batch_beyond_the_memory_is_an_error() {
    let sandbox = sandbox();
    sandbox.write(
        "mix.toml",
        MIXTURE
            .replace("batch_size = 12", "batch_size = 2147483648")
            .replace("sequence_length = 16", "sequence_length = 1000")
            .replace("30 steps", "30 sequences"),
    );
    let message = sandbox.failure("mix mix.toml --emit arrow --steps 1");
    assert!(
        message.contains("exit code 2") && message.contains("bytes of free memory"),
        "{message}"
    );
}

#[test]
fn a_plan_in_epochs_keeps_max_epochs_and_says_what_is_left_out() {
    let sandbox = sandbox();
    let limited = MIXTURE.replacen("weight = \"90%\"", "weight = \"90%\"\nmax_epochs = 1", 1);
    sandbox.write("mix.toml", limited);
    let plan = sandbox.json("mix mix.toml");
    let mut again = sandbox.command("mix mix.toml --json --steps");
    let again = again.arg("1 epoch of target").output().unwrap();
    assert_eq!(plan, serde_json::from_slice::<serde_json::Value>(&again.stdout).unwrap());
    assert!(plan["sources"][0]["epochs"].as_f64().unwrap() <= 1.0);
    let left_out = plan["left_out_sequences"].as_u64().unwrap();
    assert!(left_out < 12);
    assert!(left_out == 0 || sandbox.ok("mix mix.toml").contains("do not fill a step"));
    // Seen and left out are all of a source's targets, whatever the length of a sequence.
    let [short, long] = [16, 50].map(|length| {
        sandbox.write("mix.toml", MIXTURE.replace("= 16", &format!("= {length}")));
        let plan = sandbox.json("mix mix.toml --steps 6000");
        let [seen, left_out] = ["unique_tokens", "left_out_tokens"]
            .map(|field| plan["sources"][0][field].as_u64().unwrap());
        assert!(left_out < length && seen % length == 0, "{plan}");
        seen + left_out
    });
    assert_eq!(short, long);
}

#[test]
fn the_order_as_arrow_is_the_order_as_json() {
    let sandbox = sandbox();
    let output = sandbox.run("mix mix.toml --order 350..371 --format arrow");
    let mut reader = StreamReader::try_new(Cursor::new(output.stdout), None).unwrap();
    let rows = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    let names = rows.column_by_name("source").unwrap().as_string::<i32>();
    let lines = sandbox.ok("mix mix.toml --order 350..371");
    assert_eq!(rows.num_rows(), 21);
    for (row, line) in lines.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["source"], names.value(row));
        for field in ["slot", "sequence", "epoch", "start_token"] {
            let column = rows.column_by_name(field).unwrap().as_primitive::<UInt64Type>();
            assert_eq!(line[field], column.value(row), "{field}");
        }
    }
}

#[test]
fn a_comparison_counts_what_is_repeated() {
    let sandbox = sandbox();
    let same = sandbox.json("mix mix.toml --steps 20 --compare mix.toml --other-steps 10");
    let sum = |report: &serde_json::Value, field: &str| -> u64 {
        let sources = report["sources"].as_array().unwrap();
        sources.iter().map(|source| source[field].as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&same, "sequences"), 240);
    assert!(sum(&same, "repeated_sequences") >= 120);
    assert_eq!(same["first_repeat_slot"], 0);
    sandbox.write("other.toml", MIXTURE.replace("corpora/target", "corpora/general"));
    let other = sandbox.json("mix mix.toml --steps 20 --compare other.toml");
    assert_eq!(other["sources"][0]["repeated_tokens"], 0);
    assert!(sandbox.ok("mix mix.toml --steps 20 --compare other.toml").contains("repeated"));
}

#[test]
fn a_plan_shows_stages_repeats_and_first_slots() {
    let sandbox = sandbox();
    let plan = sandbox.json("mix mix.toml --steps 60");
    assert_eq!(plan["stages"].as_array().unwrap().len(), 2);
    assert_eq!(plan["stages"][1]["start_slot"], 360);
    assert_eq!(plan["stages"][1]["sources"][1]["realised"], 0.5);
    assert_eq!(plan["first_slots"].as_array().unwrap().len(), 6);
    assert!(!plan["first_slots"][0]["text"].as_str().unwrap().is_empty());
    let long = sandbox.json("mix mix.toml --steps 6000");
    let repeats = long["sources"][0]["repeats_from_slot"].as_u64().unwrap();
    assert!(repeats > 0 && long["sources"][0]["epochs"].as_f64().unwrap() > 1.0);
    let text = sandbox.ok("mix mix.toml --steps 60");
    assert!(text.contains("stage 1, slots 360 to 720") && text.contains("first slots"), "{text}");
    for (length, steps) in [("1kB", 0), ("5000 tokens", 27), ("1 epoch of general", 0)] {
        let output = sandbox.command("mix mix.toml --json --steps").arg(length).output().unwrap();
        match length {
            "1kB" => assert!(String::from_utf8_lossy(&output.stderr).contains("\"1B tokens\"")),
            _ => {
                let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(steps == 0 || plan["steps"] == steps);
            }
        }
    }
}

#[test]
fn bench_reports_rates_and_latencies() {
    let sandbox = sandbox();
    let report = sandbox.json("bench mix.toml --seconds 0.05 --threads 2 --cold");
    for speed in [&report["fill"], &report["loader"], &report["cold"]["loader"]] {
        let rate = speed["tokens_per_second"].as_f64().unwrap();
        let (p50, p99) = (&speed["batch_seconds_p50"], &speed["batch_seconds_p99"]);
        assert!(rate > 0.0 && p50.as_f64().unwrap() <= p99.as_f64().unwrap());
    }
    assert!(sandbox.ok("bench mix.toml --seconds 0.02").contains("gather limit, 1 thread"));
    assert!(sandbox.failure("bench mix.toml --seconds 0").contains("expected seconds above 0"));
    // Files that are read are held against copying what was read.
    sandbox.write("read.toml", format!("access = \"read\"\n{MIXTURE}"));
    let report = sandbox.json("bench read.toml --seconds 0.02");
    assert!(report["gather_limit_tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(report["loader"]["tokens_per_second"].as_f64().unwrap() > 0.0);
}
