//! The processes of one run: `mixdown train --processes N` starts them, waits for them and ends with them.
//!
//! Each is this program again, with its rank in the environment. The pipe to its standard input is the thread by
//! which it hangs: where that ends, be it that the user asks to stop or that the first process was killed, it stops at
//! its next safe place, and with it all others.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, stdin};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, sleep, spawn};
use std::time::{Duration, Instant};

use mixdown_base::error_kind::ErrorKind;
use mixdown_train::World;

use crate::error::Error;
use crate::terminal::interrupt::{self, Ending, end_program, follow};

const RANK: &str = "MIXDOWN_RANK";
const WORLD_SIZE: &str = "MIXDOWN_WORLD_SIZE";
/// What tells the processes of this start from those of one that was killed and that still run.
const LAUNCH: &str = "MIXDOWN_LAUNCH";
/// Threads of a process that computes on the CPU, as rayon reads it.
const THREADS: &str = "RAYON_NUM_THREADS";
/// Between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(20);
/// A rank sees at its next exchange that another has ended; one that does not hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which process this is: rank of `count` where the command line says how many there are, else as torchrun or Slurm
/// say. Nothing where `count` processes are still to be started.
///
/// # Errors
/// A launcher's variables that make no sense.
pub fn world(count: Option<u32>) -> Result<Option<World>, Error> {
    let variable = |name: &str| std::env::var(name).ok();
    if variable(RANK).is_some() {
        hang_on();
    } else if let Some(count) = count {
        return Ok((count <= 1).then(World::single));
    }
    Ok(Some(World::from_environment(variable)?))
}

/// Stops this process where the one that started it ends or asks for it. Where the system can, a process whose starter
/// was killed is killed at once: it would hold the run's folder until its step is done, and the same command given
/// again would find the folder taken.
fn hang_on() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    spawn(|| {
        // Nothing is sent: an end or an error is what was waited for.
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
        let thread = child.stdin.take();
        if rank == 0 {
            follow(child.id());
        }
        ranks.push(Rank { child, thread, status: None });
    }
    let ended = wait(&mut ranks, stop);
    follow(0);
    ended
}

struct Rank {
    child: Child,
    thread: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

fn failed(error: std::io::Error) -> Error {
    Error::io("mixdown".as_ref(), "start a process of", error)
}

/// All processes are one group, whose first one it is named after: Ctrl-C reaches this process alone.
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
        // The others end by themselves where they train; one may still wait to meet the one that failed.
        if stop.load(Ordering::Relaxed) || cause.is_some() {
            ranks.iter_mut().for_each(|rank| rank.thread = None);
        }
        if cause.is_some() && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            end_program(Ending::Forced);
            return Err(hung(ranks));
        }
        sleep(PAUSE);
    }
    cause.map_or(Ok(()), |(rank, status)| Err(ended(rank, status)))
}

/// One that was killed is why another ended with an error, in whatever order both are seen.
fn is_cause(before: ExitStatus, status: ExitStatus) -> bool {
    before.code().is_some() && status.code().is_none()
}

fn hung(ranks: &[Rank]) -> Error {
    let hung = ranks.iter().enumerate().filter(|(_, rank)| rank.status.is_none());
    let numbers: Vec<String> = hung.map(|(number, _)| number.to_string()).collect();
    let message = format!(
        "ranks {} were killed: they did not end within {PATIENCE:?} after another had",
        numbers.join(", ")
    );
    Error::Rank { message, code: 1 }
}

fn ended(rank: usize, status: ExitStatus) -> Error {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // It has said why itself.
        Some(code) => Error::Rank { message: String::new(), code },
        None => Error::Rank { message: format!("rank {rank} has ended: {status}"), code: 1 },
    }
}

/// What rank `world` says of an error: nothing of one that all have, as the first says it.
pub fn of_rank(error: Error, world: World) -> Error {
    let is_shared = matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Numerical);
    let message = match is_shared {
        true => String::new(),
        false => format!("rank {}: {}", world.rank().rank(), error.report()),
    };
    Error::Rank { message, code: error.code() }
}
