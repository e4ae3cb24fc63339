//! `demo`, on the user's own text and with few steps.

use crate::sandbox::{Sandbox, code, prose};

const DEMO: &str = "demo --pretraining general.jsonl --target target.jsonl --vocab-size 400 --target-tokens 10000 \
                    --pretraining-steps 12 --finetuning-steps 12";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("general.jsonl", prose(800));
    sandbox.write("target.jsonl", code(800));
    sandbox
}

#[test]
fn the_whole_story_with_a_page_and_a_second_call_that_repeats_nothing() {
    let sandbox = sandbox();
    let outcome = sandbox.json(&format!("{DEMO} --inject 0,5%"));
    let runs = outcome["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1]["p_requested"], 0.05);
    for run in runs {
        let value = |key: &str| run[key].as_f64().unwrap();
        let forgetting = value("pretraining_loss") - value("pretraining_loss_before");
        assert!((forgetting - value("forgetting")).abs() < 1e-12);
        assert!(value("best_step") <= 12.0);
    }
    let value = |of: &str| runs[1][of].as_f64().unwrap() - runs[0][of].as_f64().unwrap();
    for (difference, loss) in
        [("target_difference", "target_loss"), ("forgetting_difference", "forgetting")]
    {
        assert_eq!(runs[0][difference], serde_json::Value::Null);
        let difference = &runs[1][difference];
        assert!((difference["mean"].as_f64().unwrap() - value(loss)).abs() < 1e-9, "{loss}");
        assert!(
            difference["standard_error"].as_f64().unwrap() > 0.0
                && difference["sequences"].is_u64()
        );
    }
    let page = sandbox.read("mixdown-demo/report.html");
    assert!(page.contains("5%") || page.contains("5 %"));
    let again = sandbox.run(&format!("{DEMO} --inject 0,5% --json"));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&again.stdout).unwrap(), outcome);
    assert!(!String::from_utf8(again.stderr).unwrap().contains("prepare"), "prepared twice");
    let other = sandbox.failure(&format!("{DEMO} --inject 0,1%"));
    assert!(other.starts_with("exit code 2") && other.contains("other settings"), "{other}");
}

#[test]
fn no_registry_has_a_way_out() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.command("demo").env("CARGO_HOME", sandbox.path("nowhere")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--pretraining FILES.. --target FILES.."), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_stopped_demo_goes_on_to_the_same_end() {
    let sandbox = sandbox();
    let undisturbed = sandbox.json(&format!("{DEMO} --inject 5% --out undisturbed"));
    let demo = format!("{DEMO} --inject 5% --out stopped");
    let stderr = sandbox.terminated(&demo, "stopped/runs/base/metrics.jsonl", 200);
    assert!(stderr.is_empty() || stderr.contains("the same command again"), "{stderr}");
    assert_eq!(undisturbed["runs"], sandbox.json(&demo)["runs"]);
}
