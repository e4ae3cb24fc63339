//! A scratch folder in which the binary runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder that goes away with the test.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, making its folders.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file as text.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A command in this folder, its words split at spaces.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixdown"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command.
    pub fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "mixdown {words}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json` that must succeed.
    pub fn json(&self, words: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&format!("{words} --json"))).unwrap()
    }

    /// Runs a command that must fail; its exit code and standard error, the folder's name taken out.
    pub fn failure(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "mixdown {words} succeeded");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let folder = self.folder.path().canonicalize().unwrap();
        let stderr = without_fingerprints(&stderr.replace(&format!("{}/", folder.display()), ""));
        format!("exit code {}\n{stderr}", output.status.code().unwrap())
    }

    /// Starts a command, asks it to stop (SIGTERM) once a file has so many bytes, and says what it left on
    /// standard error; empty where the command was quicker than the signal.
    #[cfg(unix)]
    pub fn terminated(&self, words: &str, file: &str, bytes: u64) -> String {
        let mut child =
            self.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (file, patience) = (self.path(file), Instant::now());
        let written = || fs::metadata(&file).map_or(0, |file| file.len());
        while written() < bytes && child.try_wait().unwrap().is_none() {
            assert!(patience.elapsed() < Duration::from_secs(300), "nothing within five minutes");
            std::thread::sleep(Duration::from_millis(2));
        }
        Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(130) => stderr,
            Some(0) => String::new(),
            other => panic!("exit code {other:?}: {stderr}"),
        }
    }

    /// Runs a command to its end, killed with SIGKILL again and again, each time a little later; how often.
    #[cfg(unix)]
    pub fn killed_again_and_again(&self, words: &str, first_ms: u64) -> u64 {
        let (mut kills, mut delay_ms) = (0, first_ms);
        loop {
            let mut child = self.command(words).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay_ms));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "mixdown {words}, after {kills} kills");
                assert!(kills > 2, "mixdown {words}: {kills} kills");
                return kills;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            // Different from kill to kill; longer, so that the work gets on at last.
            delay_ms += (first_ms + 1) / 3 + first_ms * (kills % 5) / 2;
        }
    }

    /// Two corpora from one tokenizer, made from sentences of two kinds.
    pub fn with_corpora() -> Self {
        let sandbox = Self::new();
        sandbox.write("general.jsonl", prose(400));
        sandbox.write("target.jsonl", code(400));
        sandbox
            .ok("tokenizer train general.jsonl target.jsonl --vocab-size 400 --out tokenizer.json");
        sandbox.ok(
            "prepare general.jsonl --tokenizer tokenizer.json --out corpora/general --holdout 10%",
        );
        sandbox.ok(
            "prepare target.jsonl --tokenizer tokenizer.json --out corpora/target --holdout 10%",
        );
        sandbox
    }
}

/// Runs of 64 hex digits become `[fingerprint]`.
fn without_fingerprints(text: &str) -> String {
    let is_fingerprint =
        |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words =
        text.split(' ').map(|word| if is_fingerprint(word) { "[fingerprint]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// JSON lines of English-like sentences, different in every document.
pub fn prose(documents: u64) -> String {
    let words = ["the river", "a quiet town", "her letter", "winter", "the old road", "music"];
    let verbs = ["follows", "remembers", "crosses", "waits for", "answers"];
    lines(documents, |pick| format!("{} {} {}. ", words[pick(6)], verbs[pick(5)], words[pick(6)]))
}

/// JSON lines of code-like statements, different in every document.
pub fn code(documents: u64) -> String {
    let names = ["count", "index", "total", "left", "right", "value"];
    let operators = ["+", "-", "*", "<<", "%"];
    lines(documents, |pick| {
        format!(
            "let {} = {} {} {};\n",
            names[pick(6)],
            names[pick(6)],
            operators[pick(5)],
            pick(100)
        )
    })
}

fn lines(documents: u64, sentence: impl Fn(&mut dyn FnMut(usize) -> usize) -> String) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut pick = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).unwrap() % below
    };
    let mut text = String::new();
    for _ in 0..documents {
        let body: String = (0..8 + pick(12)).map(|_| sentence(&mut pick)).collect();
        text.push_str(&serde_json::json!({ "text": body }).to_string());
        text.push('\n');
    }
    text
}

/// All files below a folder with their bytes, sorted by name.
pub fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
