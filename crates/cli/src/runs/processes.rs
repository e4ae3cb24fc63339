//! The processes of one run: `mixdown train --processes N` starts them, waits for them and ends with them.
//!
//! Each process is this program again, with its rank in the environment. Its standard input is a pipe from the
//! launcher: when the pipe closes, because the user asks to stop or because the launcher ended, the process stops at
//! its next safe point, and all others with it.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, stdin};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, sleep, spawn};
use std::time::{Duration, Instant};

use mixdown_base::error_kind::ErrorKind;
use mixdown_train::World;

use crate::error::Error;
use crate::terminal::interrupt::{self, end_together_with, kill_program};

const RANK: &str = "MIXDOWN_RANK";
const WORLD_SIZE: &str = "MIXDOWN_WORLD_SIZE";
/// The id of this start, which distinguishes its processes from those of a killed start that still run.
const LAUNCH: &str = "MIXDOWN_LAUNCH";
/// The number of threads of a process that computes on the CPU, as rayon reads it.
const THREADS: &str = "RAYON_NUM_THREADS";
/// The time between two checks of the processes.
const PAUSE: Duration = Duration::from_millis(20);
/// The time in which a rank notices at its next exchange that another one has ended; a rank that does not hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The rank of this process: among `count` processes if the command line gives their number, else as torchrun or
/// Slurm say. None if the `count` processes have not been started.
///
/// # Errors
/// A launcher's variables that make no sense.
pub fn world(count: Option<u32>) -> Result<Option<World>, Error> {
    let variable = |name: &str| std::env::var(name).ok();
    if variable(RANK).is_some() {
        stop_with_launcher();
    } else if let Some(count) = count {
        return Ok((count <= 1).then(World::single));
    }
    Ok(Some(World::from_environment(variable)?))
}

/// Stops this process when the launcher ends or asks for it. On Linux, a process whose launcher was killed is killed at
/// once: it would hold the run's folder until its step is done, and the same command given again would find the folder
/// taken.
fn stop_with_launcher() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    spawn(|| {
        // The launcher sends nothing: the read returns when the pipe closes.
        let _ = stdin().read(&mut [0]);
        interrupt::stop();
    });
}

/// Starts `count` processes with this one's own arguments and waits for them.
///
/// # Errors
/// A program that cannot be started; the first process that did not succeed, with its exit code.
pub fn launch(count: u32, stop: &AtomicBool) -> Result<(), Error> {
    let launch = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let mut ranks = Vec::new();
    for rank in 0..count {
        let mut child =
            start(&launch, rank, count, ranks.first().map(|first: &Rank| first.child.id()))?;
        let pipe = child.stdin.take();
        if rank == 0 {
            end_together_with(child.id());
        }
        ranks.push(Rank { child, pipe, status: None });
    }
    let ended = wait(&mut ranks, stop);
    end_together_with(0);
    ended
}

struct Rank {
    child: Child,
    /// Closing it asks the process to stop.
    pipe: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

fn failed(error: std::io::Error) -> Error {
    Error::io("mixdown".as_ref(), "start a process of", error)
}

/// All processes are one process group, which the first one leads, so that Ctrl-C reaches only the launcher.
fn start(launch: &str, rank: u32, count: u32, group: Option<u32>) -> Result<Child, Error> {
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).stdin(Stdio::piped());
    command.env(RANK, rank.to_string()).env(WORLD_SIZE, count.to_string()).env(LAUNCH, launch);
    if std::env::var_os(THREADS).is_none() {
        let cores = available_parallelism().map_or(1, usize::from);
        let share = cores / usize::try_from(count).unwrap_or(usize::MAX);
        command.env(THREADS, share.max(1).to_string());
    }
    if rank > 0 {
        command.stdout(Stdio::null());
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;

        command.process_group(group.and_then(|group| i32::try_from(group).ok()).unwrap_or(0));
    }
    command.spawn().map_err(failed)
}

fn wait(ranks: &mut [Rank], stop: &AtomicBool) -> Result<(), Error> {
    let mut cause: Option<(usize, ExitStatus)> = None;
    let mut since = None;
    while ranks.iter().any(|rank| rank.status.is_none()) {
        for (number, rank) in ranks.iter_mut().enumerate().filter(|(_, rank)| rank.status.is_none())
        {
            rank.status = rank.child.try_wait().map_err(failed)?;
            if let Some(status) = rank.status.filter(|status| !status.success())
                && cause.is_none_or(|(_, before)| is_cause(before, status))
            {
                cause = Some((number, status));
            }
        }
        // The others end by themselves if they train; one may still wait for its first exchange with the failed one.
        if stop.load(Ordering::Relaxed) || cause.is_some() {
            ranks.iter_mut().for_each(|rank| rank.pipe = None);
        }
        if cause.is_some() && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            kill_program();
            return Err(hung(ranks));
        }
        sleep(PAUSE);
    }
    cause.map_or(Ok(()), |(rank, status)| Err(ended(rank, status)))
}

/// A killed process is the cause of another one's error, in whatever order the two are noticed.
fn is_cause(before: ExitStatus, status: ExitStatus) -> bool {
    before.code().is_some() && status.code().is_none()
}

fn hung(ranks: &[Rank]) -> Error {
    let hung = ranks.iter().enumerate().filter(|(_, rank)| rank.status.is_none());
    let numbers: Vec<String> = hung.map(|(number, _)| number.to_string()).collect();
    let message = format!(
        "ranks {} were killed: they did not end within {PATIENCE:?} after another rank",
        numbers.join(", ")
    );
    Error::Rank { message, code: 1 }
}

fn ended(rank: usize, status: ExitStatus) -> Error {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // The process has printed its error.
        Some(code) => Error::Rank { message: String::new(), code },
        None => Error::Rank { message: format!("rank {rank} has ended: {status}"), code: 1 },
    }
}

/// The report of rank `world` about an error; empty if all ranks have the error, because the first one prints it.
pub fn of_rank(error: Error, world: World) -> Error {
    let is_shared = matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Numerical);
    let message = match is_shared {
        true => String::new(),
        false => format!("rank {}: {}", world.rank().rank(), error.report()),
    };
    Error::Rank { message, code: error.code() }
}
