//! The pages of `mixdown report` in headless Chromium (tools/checks/check_pages.py): of the demo's runs, of a fit and
//! of a small sweep on the demo's corpora. Screenshots are left in target/ci-pages.

use std::path::{Path, PathBuf};

use crate::metadata;
use crate::python::step;

/// Where pages, sweep and screenshots go.
const FOLDER: &str = "target/ci-pages";
/// Runs of a real sweep, for the fit.
const ROWS: &str = "benches/results/2026-12-01-xeon-2-cores/sweep/runs.jsonl";
/// Names under which a system has Chromium.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// 12 runs of a model that learns next to nothing, in seconds: what is looked at is the page.
const SWEEP: &str = r#"
pretraining = "../ci-demo/corpora/pretraining"
p = ["0", "1%", "10%"]
target_tokens = [2_000, 4_000]
[train]
sequence_length = 32
batch_size = 4
epochs = 3
patience = 2
learning_rate = 3e-3
warmup_steps = 2
[eval]
sequences = 16
[[domain]]
name = "code"
corpus = "../ci-demo/corpora/target"
[[model]]
name = "16"
hidden_size = 16
layers = 1
heads = 2
tokens = 20_000
[[model]]
name = "32"
hidden_size = 32
layers = 1
heads = 2
tokens = 20_000
"#;

/// Makes the pages and looks at them; says so where there is no Chromium to be had.
pub fn run(python: &Path) -> Result<(), String> {
    let Some(chromium) = chromium() else {
        println!("ci: pages: left out, for there is no Chromium and no apt-get that has it");
        return Ok(());
    };
    let folder = metadata::root().join(FOLDER);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let settings = folder.join("sweep.toml");
    std::fs::write(&settings, SWEEP).map_err(|error| format!("{}: {error}", settings.display()))?;
    let mixdown = metadata::root().join("target/release/mixdown");
    let [sweep, fit] = [format!("{FOLDER}/sweep"), format!("{FOLDER}/fit.json")];
    step("small sweep", &mixdown, &["sweep", &format!("{FOLDER}/sweep.toml"), "--out", &sweep])?;
    step("page of the sweep", &mixdown, &["report", &sweep, "--draws", "200"])?;
    let plan = ["--budget", "0.5", "--model-size", "3M", "--target-tokens", "300k"];
    step("fit", &mixdown, &[&["fit", ROWS, "--draws", "200", "--out", &fit][..], &plan].concat())?;
    step("page of the fit", &mixdown, &["report", &fit])?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "playwright>=1.50,<2"];
    step("Playwright", python, &pip)?;
    let chromium = chromium.to_string_lossy();
    let script = ["tools/checks/check_pages.py", chromium.as_ref(), FOLDER].map(str::to_owned);
    let pages = [
        "target/ci-demo/report.html".to_owned(),
        format!("{sweep}/report.html"),
        format!("{FOLDER}/fit.html"),
    ];
    let arguments: Vec<&str> = script.iter().chain(&pages).map(String::as_str).collect();
    step("pages in Chromium", python, &arguments)
}

fn chromium() -> Option<PathBuf> {
    if let Some(found) = find() {
        return Some(found);
    }
    let apt = Path::new("apt-get");
    step("Debian's lists", apt, &["update", "--quiet"]).ok()?;
    step("Debian's Chromium", apt, &["install", "--quiet", "--yes", "chromium"]).ok()?;
    find()
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates =
        NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|file| file.is_file())
}
