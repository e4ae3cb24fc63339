//! `mixdown train` on several processes: one result, one voice, and an end together.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

const RUN: &str = "train --pretraining corpora/general --sequence-length 16 --batch-size 4 --eval-every 5 --eval-sequences 4";

fn losses(summary: &serde_json::Value) -> Vec<f64> {
    ["before", "best", "last"].map(|when| summary[when][0]["loss"].as_f64().unwrap()).into()
}

fn check_close(a: &serde_json::Value, b: &serde_json::Value) {
    let pairs = losses(a).into_iter().zip(losses(b));
    pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
}

/// Waits until a run has done some steps.
fn wait_for_steps(sandbox: &Sandbox, out: &str, child: &mut Child) {
    let (metrics, start) = (sandbox.path(&format!("{out}/metrics.jsonl")), Instant::now());
    let bytes = || fs::metadata(&metrics).map_or(0, |file| file.len());
    let before = bytes();
    while bytes() < before + 4096 {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120));
        sleep(Duration::from_millis(5));
    }
}

fn signal(process: &str, signal: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

/// A run too long for its test, with checkpoints at every evaluation.
fn start(sandbox: &Sandbox, out: &str, processes: u32) -> Child {
    let words = format!("{RUN} --steps 100000 --out {out} --processes {processes}");
    let mut command = sandbox.command(&words);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Exit code and standard error, within two minutes.
fn end(mut child: Child) -> (Option<i32>, String) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "the processes do not end");
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn any_number_of_processes_trains_the_same_model() {
    let sandbox = Sandbox::with_corpora();
    let alone = sandbox.json(&format!("{RUN} --steps 12 --out alone"));
    for count in [2, 4] {
        let words = format!("{RUN} --steps 12 --out run-{count} --processes {count}");
        check_close(&alone, &sandbox.json(&words));
        assert!(!sandbox.path(&format!("run-{count}/ranks.txt")).exists());
    }
    // torchrun's and Slurm's variables do the same, and one rank is told to go alone.
    for (out, rank, size, local) in [
        ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ] {
        let start = |number: &str| {
            let mut command = sandbox.command(&format!("{RUN} --steps 12 --out {out} --json"));
            command.env(rank, number).env(size, "2").env(local, number);
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        let ranks = [start("1"), start("0")].map(|child| child.wait_with_output().unwrap());
        assert!(ranks.iter().all(|rank| rank.status.success()));
        assert!(ranks[0].stdout.is_empty(), "only the first rank speaks");
        check_close(&alone, &serde_json::from_slice(&ranks[1].stdout).unwrap());
    }
    let mut single = sandbox.command(&format!("{RUN} --steps 12 --out single --processes 1"));
    assert!(single.env("RANK", "0").env("WORLD_SIZE", "2").output().unwrap().status.success());
}

#[test]
fn what_cannot_be_shared_out_is_said_once() {
    let sandbox = Sandbox::with_corpora();
    let refused = sandbox.failure(&format!("{RUN} --steps 4 --out run --processes 3"));
    insta::assert_snapshot!(refused, @r"
    exit code 2
    error: mixture.batch_size: expected a multiple of 3, the number of processes, got 4
    ");
    if !cfg!(feature = "cuda") {
        let refused = sandbox.failure(&format!("{RUN} --steps 4 --out run --gpus 2"));
        insta::assert_snapshot!(refused, @r#"
        exit code 2
        error: train.device: expected "cpu", or a mixdown built with --features cuda (docs/guide/gpu.md), got cuda
        "#);
    }
    assert!(!sandbox.path("run").exists());
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
fn children(process: u32) -> Vec<String> {
    let path = format!("/proc/{process}/task/{process}/children");
    fs::read_to_string(path).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Whether a process has not ended; one that nobody asks for its exit code keeps its number as a zombie.
#[cfg(target_os = "linux")]
fn is_running(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[cfg(target_os = "linux")]
#[test]
fn a_stop_is_one_of_all_and_fewer_go_on() {
    let sandbox = Sandbox::with_corpora();
    let mut launcher = start(&sandbox, "run", 2);
    wait_for_steps(&sandbox, "run", &mut launcher);
    signal(&launcher.id().to_string(), "-TERM");
    let (code, said) = end(launcher);
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(said.matches("the same command goes on from there").count(), 1, "{said}");
    // The last words of a rank that its batch system stops are those of all.
    let mut launcher = start(&sandbox, "run", 4);
    wait_for_steps(&sandbox, "run", &mut launcher);
    signal(&children(launcher.id())[2], "-TERM");
    assert_eq!(end(launcher).0, Some(130));
}

#[cfg(target_os = "linux")]
#[test]
fn a_rank_that_is_killed_ends_the_others_with_its_name() {
    let sandbox = Sandbox::with_corpora();
    for victim in [1, 0] {
        let mut launcher = start(&sandbox, "run", 2);
        wait_for_steps(&sandbox, "run", &mut launcher);
        sleep(Duration::from_millis(300));
        signal(&children(launcher.id())[victim], "-KILL");
        let (code, said) = end(launcher);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("rank {victim} has ended: signal: 9")), "{said}");
        assert!(said.contains(&format!("rank {victim} is lost: its process has ended")), "{said}");
    }
    // One that is killed before it has met the others is not waited for.
    let mut launcher = start(&sandbox, "run", 2);
    while children(launcher.id()).len() < 2 {
        assert!(launcher.try_wait().unwrap().is_none());
    }
    signal(&children(launcher.id())[0], "-KILL");
    let (code, said) = end(launcher);
    assert!(code == Some(1) && said.contains("rank 0 has ended: signal: 9"), "{code:?} {said}");
    // What is left is whole.
    let mut again = start(&sandbox, "run", 2);
    wait_for_steps(&sandbox, "run", &mut again);
    // The processes do not outlive the one that started them, and leave a checkpoint.
    let ranks = children(again.id());
    again.kill().unwrap();
    again.wait().unwrap();
    let start = Instant::now();
    while ranks.iter().any(|rank| is_running(rank)) {
        assert!(start.elapsed() < Duration::from_secs(120), "{ranks:?} go on");
        sleep(Duration::from_millis(5));
    }
}
