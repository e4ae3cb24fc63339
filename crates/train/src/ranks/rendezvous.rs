//! The rendezvous of the processes of a run: rank 0 writes its address into the run's folder.
//!
//! That needs no port to be chosen, works with every launcher, and brings together only those that share the
//! folder. A random token tells a file that a killed run left from one that counts. The processes of a run that was
//! killed may live on for a while: the file names the start that it belongs to, so that they do not join the next one,
//! and the first process writes it again should they replace or remove it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mixdown_base::files::NewFile;
use mixdown_shards::Fingerprint;

use super::World;
use super::frame::{Frame, receive, send, send_gone};
use crate::error::Error;

/// The pause between two checks for the file or for a new connection.
const PAUSE: Duration = Duration::from_millis(20);
/// The time limit of a greeting; a peer that does not greet in time is not a process of this run.
const GREETING: Duration = Duration::from_secs(5);
/// The first bytes of a greeting, with the version of the protocol.
const WORDS: &[u8] = b"mixdown ranks 1\n";

/// The patience of a rank that waits for others: a time limit and the stop flag.
#[derive(Clone, Copy)]
pub(super) struct WaitLimit<'a> {
    pub(super) limit: Duration,
    pub(super) stop: &'a AtomicBool,
}

impl WaitLimit<'_> {
    /// # Errors
    /// Rank `missing` has not done `what` in time, or the stop flag is set.
    fn check(
        &self,
        since: Instant,
        missing: u32,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        Error::check_stop(self.stop, "waiting for the other processes")?;
        match since.elapsed() > self.limit {
            true => Err(lost(missing, format!("it did not {} within {:?}", what(), self.limit))),
            false => Ok(()),
        }
    }
}

/// Creates the folder of `file`, waits for all other ranks, greets them, and returns their sockets in order of rank.
pub(super) fn accept_ranks(
    file: &Path,
    world: World,
    wait_limit: WaitLimit,
) -> Result<Vec<TcpStream>, Error> {
    let listen = || -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) =
        listen().map_err(Error::io(file, "listen for the other processes of"))?;
    let token = token();
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "make the folder"))?;
    }
    let notice = Notice { file, line: format!("{address} {token} {}\n", world.launch()) };
    let met = accept_waiting(&listener, &notice, &token, world, wait_limit);
    notice.remove();
    met
}

/// The file in the run's folder that holds the address of rank 0.
struct Notice<'a> {
    file: &'a Path,
    line: String,
}

impl Notice<'_> {
    fn is_there(&self) -> bool {
        fs::read_to_string(self.file).is_ok_and(|line| line == self.line)
    }

    /// Writes the file if it does not exist. Only its owner can read the token, so nobody else can join.
    fn keep(&self) -> Result<(), Error> {
        if self.is_there() {
            return Ok(());
        }
        let mut file = NewFile::create_private(self.file)?;
        file.write_all(self.line.as_bytes()).map_err(Error::io(self.file, "write"))?;
        Ok(file.commit()?)
    }

    /// Removes the file, unless it belongs to another start. No process answers at the address of a file that stays.
    fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(self.file);
        }
    }
}

fn accept_waiting(
    listener: &TcpListener,
    notice: &Notice,
    token: &str,
    world: World,
    wait_limit: WaitLimit,
) -> Result<Vec<TcpStream>, Error> {
    let start = Instant::now();
    let mut met: Vec<Option<TcpStream>> = (1..world.world_size()).map(|_| None).collect();
    while let Some(missing) = met.iter().position(Option::is_none) {
        notice.keep()?;
        match listener.accept() {
            Ok((stream, _)) => accept(stream, token, world.world_size(), &mut met)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(PAUSE),
            Err(error) => return Err(lost(0, error)),
        }
        let missing = u32::try_from(missing + 1).unwrap_or(u32::MAX);
        wait_limit.check(start, missing, || "come".to_owned())?;
    }
    Ok(met.into_iter().flatten().collect())
}

/// Greets a peer: a stranger is disconnected, and a rank of another world is an error.
fn accept(
    mut stream: TcpStream,
    token: &str,
    world_size: u32,
    met: &mut [Option<TcpStream>],
) -> Result<(), Error> {
    let prepared = stream.set_nonblocking(false).and_then(|()| prepare(&stream));
    let Ok(Frame::Data(greeting)) = prepared.and_then(|()| receive(&mut stream)) else {
        return Ok(());
    };
    let expected = greeting_of(token, 0, world_size);
    let (expected, known) = (&expected[size_of::<u32>()..], WORDS.len() + token.len());
    let Some((own, shared)) = greeting.split_first_chunk() else { return Ok(()) };
    if shared.get(..known) != expected.get(..known) {
        return Ok(());
    }
    let own = u32::from_le_bytes(*own);
    if shared != expected {
        let got = "it has another world size than rank 0".to_owned();
        // The other one sees the socket close, should this not arrive.
        let _ = send_gone(&mut stream, 0, &format!("rank {own} was refused: {got}"));
        return Err(lost(own, got));
    }
    let place = usize::try_from(own).ok().and_then(|own| met.get_mut(own.checked_sub(1)?));
    match place {
        Some(place) if place.is_none() => {
            send(&mut stream, WORDS).map_err(|error| lost(own, error))?;
            *place = Some(stream);
            Ok(())
        }
        _ => Err(lost(own, "two processes have its number")),
    }
}

/// Finds rank 0 by its file and greets it.
pub(super) fn connect(
    file: &Path,
    world: World,
    wait_limit: WaitLimit,
) -> Result<TcpStream, Error> {
    let start = Instant::now();
    loop {
        if let Some((address, token)) = read(file, world.launch())
            && let Ok(mut stream) = TcpStream::connect(address)
        {
            let greeting = greeting_of(&token, world.rank().rank(), world.world_size());
            let greeted = prepare(&stream).and_then(|()| send(&mut stream, &greeting));
            match greeted.and_then(|()| receive(&mut stream)) {
                Ok(Frame::Data(words)) if words == WORDS => return Ok(stream),
                Ok(Frame::Gone(rank, why)) => return Err(lost(rank, why)),
                // Somebody else at the address of a run that was killed, or the first rank at its end.
                Ok(Frame::Data(_)) | Err(_) => {}
            }
        }
        wait_limit.check(start, 0, || format!("write {}", file.display()))?;
        sleep(PAUSE);
    }
}

/// Returns the address and the token of a file that belongs to the start `launch`.
fn read(file: &Path, launch: Fingerprint) -> Option<(SocketAddr, String)> {
    let text = fs::read_to_string(file).ok()?;
    let (address, rest) = text.trim_end().split_once(' ')?;
    let (token, of) = rest.split_once(' ')?;
    (of == launch.to_string()).then_some((address.parse().ok()?, token.to_owned()))
}

/// Configures a socket: small messages are sent at once, and a greeting has a time limit.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING))
}

/// Encodes a greeting: the rank first, then the values that all ranks must share.
fn greeting_of(token: &str, rank: u32, world_size: u32) -> Vec<u8> {
    let (rank, world_size) = (rank.to_le_bytes(), world_size.to_le_bytes());
    [&rank[..], WORDS, token.as_bytes(), &world_size].concat()
}

/// Returns 128 random bits; the standard library's hasher is seeded by the system.
fn token() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

fn lost(rank: u32, got: impl ToString) -> Error {
    Error::RankLost { rank, got: got.to_string() }
}
