//! Runs that the user's program does: it reads a run file and writes a row.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use mixdown_base::files::remove_abandoned;
use mixdown_runs::{RunRow, RunsTable};
use mixdown_shards::{Access, Corpus};
use mixdown_train::RunConfig;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::event::{SweepEvent, SweepObserver};
use super::plan::RunPlan;
use super::settings::SweepConfig;
use crate::error::Error;
use crate::runs::injection::Injection;
use mixdown_base::files::write;

/// The placeholder for the path of the run file in a command.
pub const PLACEHOLDER: &str = "{run}";

const RUN_FILE: &str = "run.json";
const ROW_FILE: &str = "row.json";
/// The bytes of standard error that the reason of a failure shows.
const TAIL_BYTES: u64 = 2_000;
/// The interval at which the end of the program is checked.
const PAUSE: Duration = Duration::from_millis(20);

/// The run file: everything that a program needs to do a run. Fields may be added.
#[derive(Serialize)]
struct RunFile<'a> {
    run_id: &'a str,
    domain: &'a str,
    target_tokens: u64,
    p: Injection,
    p_requested: f64,
    seed: u64,
    fingerprint: String,
    base_tokens: Option<u64>,
    folder: &'a Path,
    row: PathBuf,
    #[serde(flatten)]
    config: &'a RunConfig,
}

/// Does `run` in `folder` by way of the sweep's command, unless the row of an earlier call is there.
///
/// # Errors
/// A program that cannot be started or fails, with the end of its standard error; a row that is missing,
/// no row, or that of another run; an interruption, which the program is asked to follow.
pub fn row(
    settings: &SweepConfig,
    command: &str,
    run: &RunPlan,
    folder: &Path,
    base_tokens: Option<u64>,
    observer: SweepObserver<'_>,
) -> Result<RunRow, Error> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "make", error))?;
    let known = known(settings, run, base_tokens)?;
    let row = folder.join(ROW_FILE);
    // A row of a call that was killed before it recorded the row.
    if let Ok(row) = read(&row, &known) {
        return Ok(row);
    }
    remove(&row)?;
    let run_file = folder.join(RUN_FILE);
    remove_abandoned(&run_file);
    write(&run_file, &run_file_of(run, folder, base_tokens, &row)?)?;
    let status = execute(settings, command, &run_file, folder, observer)?;
    if !status.success() {
        remove(&row)?;
        if observer.is_stopped() {
            return Err(Error::Stopped { message: format!("{} was interrupted", run.run_id) });
        }
        let message = format!("command: {status}: {}", tail(&folder.join("stderr.log")));
        return Err(Error::Incomplete { message, numerical: false });
    }
    read(&row, &known)
}

fn run_file_of(
    run: &RunPlan,
    folder: &Path,
    base_tokens: Option<u64>,
    row: &Path,
) -> Result<Vec<u8>, Error> {
    let file = RunFile {
        run_id: &run.run_id,
        domain: &run.domain,
        target_tokens: run.target_tokens,
        p: run.inject,
        p_requested: run.inject.share(),
        seed: run.seed,
        fingerprint: run.fingerprint.to_string(),
        base_tokens,
        folder,
        row: row.to_owned(),
        config: &run.config,
    };
    serde_json::to_vec_pretty(&file).map_err(|error| Error::io(row, "describe", error.into()))
}

/// Returns the values of a row that the sweep knows: first those that a program may not change, then those that it may.
fn known(
    settings: &SweepConfig,
    run: &RunPlan,
    base_tokens: Option<u64>,
) -> Result<[Map<String, Value>; 2], Error> {
    let corpus = Corpus::open_lazily(&settings.pretraining, Access::Map)?;
    let (train, mixture) = (&run.config.train, &run.config.mixture);
    let own = json!({
        "run_id": run.run_id,
        "domain": run.domain,
        "target_tokens": run.target_tokens,
        "p_requested": run.inject.share(),
        "seed": run.seed,
        "fingerprint": run.fingerprint,
    });
    let recipe = json!({
        "learning_rate": train.learning_rate,
        "schedule": train.schedule,
        "horizon_steps": train.steps,
        "warmup_steps": train.warmup_steps,
        "batch_tokens": mixture.batch_size.saturating_mul(mixture.sequence_length),
        "sequence_length": mixture.sequence_length,
        "weight_decay": train.weight_decay,
        "tokenizer": corpus.tokenizer_fingerprint(),
        "base_tokens": base_tokens,
    });
    Ok([own, recipe].map(|value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }))
}

/// Runs the command to its end in a new process group.
fn execute(
    settings: &SweepConfig,
    command: &str,
    run_file: &Path,
    folder: &Path,
    observer: SweepObserver<'_>,
) -> Result<ExitStatus, Error> {
    let log = |name: &str| {
        let path = folder.join(name);
        File::create(&path).map_err(|error| Error::io(&path, "create", error))
    };
    let text = command.replace(PLACEHOLDER, &quoted(run_file));
    let mut shell = shell(&text);
    shell
        .current_dir(&settings.folder)
        .stdin(Stdio::null())
        .stdout(log("stdout.log")?)
        .stderr(log("stderr.log")?);
    let failed = |error| Error::io(Path::new(command), "run", error);
    let mut child = shell.spawn().map_err(failed)?;
    observer.tell(SweepEvent::ProgramBegan { id: child.id() });
    let mut is_asked = false;
    let status = loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(failed(error)),
        }
        if observer.is_stopped() && !is_asked {
            is_asked = true;
            ask_to_end(child.id());
        }
        std::thread::sleep(PAUSE);
    };
    observer.tell(SweepEvent::ProgramEnded);
    status
}

/// Asks all processes of the program's group to save their state and end (SIGTERM).
#[cfg(unix)]
fn ask_to_end(program: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};

    if let Some(group) = i32::try_from(program).ok().and_then(Pid::from_raw) {
        // The program may have ended already.
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// Does nothing, because on other systems the console has told the program already.
#[cfg(not(unix))]
fn ask_to_end(_program: u32) {}

#[cfg(unix)]
fn shell(text: &str) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new("sh");
    command.args(["-c", text]).process_group(0);
    command
}

#[cfg(not(unix))]
fn shell(text: &str) -> Command {
    let mut command = Command::new("cmd");
    command.args(["/C", text]);
    command
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    if cfg!(unix) {
        format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
    } else {
        format!("\"{}\"", path.display())
    }
}

/// The row that a program left, with what the sweep knows.
fn read(path: &Path, [own, recipe]: &[Map<String, Value>; 2]) -> Result<RunRow, Error> {
    let bad = |got: String| {
        let numerical = got.contains("NaN") || got.contains("Infinity");
        let message = format!("{}: expected a row as one JSON object, got {got}", path.display());
        Error::Incomplete { message, numerical }
    };
    if !path.exists() {
        return Err(bad("no such file".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?;
    // Python's json writes NaN and infinities, which JSON does not have.
    let no_number = ["NaN", "Infinity"].into_iter().find(|word| text.contains(word));
    let mut row: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        bad(no_number.map_or_else(|| error.to_string(), |word| format!("{word} in it")))
    })?;
    for (column, expected) in own {
        match row.insert(column.clone(), expected.clone()) {
            Some(got) if !same(&got, expected) => {
                return Err(bad(format!("{column} = {got} in the place of {expected}")));
            }
            _ => {}
        }
    }
    for (column, value) in recipe {
        let _ = row.entry(column.clone()).or_insert_with(|| value.clone());
    }
    let row = serde_json::from_value(Value::Object(row)).map_err(|error| bad(error.to_string()))?;
    let table = RunsTable::new(vec![row]);
    let table =
        table.map_err(|error| bad(error.to_string().trim_start_matches(": ").to_owned()))?;
    table.rows().first().cloned().ok_or_else(|| bad("none".to_owned()))
}

/// Returns whether two values are equal; a number may be an integer or a float.
fn same(got: &Value, expected: &Value) -> bool {
    match (got.as_f64(), expected.as_f64()) {
        (Some(got), Some(expected)) => (got - expected).abs() <= 1e-12 * expected.abs(),
        _ => got == expected,
    }
}

/// The end of what a program wrote to standard error, in one line.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(length_bytes.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "nothing on standard error".to_owned() } else { lines.join(" | ") }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(path, "remove", error))
        }
        _ => Ok(()),
    }
}
