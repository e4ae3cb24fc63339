//! The messages between the processes of a run: a kind, a length and that number of bytes, over a local socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// The longest message, which has the losses of a million sequences. Sums may be longer, because both sides know their
/// length.
const LONGEST_BYTES: u32 = 16 << 20;
const HEADER_BYTES: usize = 5;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The data that the other side waits for.
    Data(Vec<u8>),
    /// The process of this rank has ended, with the reason.
    Gone(u32, String),
}

const DATA: u8 = 0;
const GONE: u8 = 1;

/// Sends `bytes`, for which the other side waits.
pub(super) fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    send_kind(stream, DATA, bytes)
}

/// Reports that rank `rank` has ended.
pub(super) fn send_gone(stream: &mut TcpStream, rank: u32, why: &str) -> io::Result<()> {
    send_kind(stream, GONE, &[&rank.to_le_bytes()[..], why.as_bytes()].concat())
}

fn send_kind(stream: &mut TcpStream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let too_long = || io::Error::other("a message of more than 4 GiB");
    let len = u32::try_from(bytes.len()).map_err(|_| too_long())?;
    let mut header = [0; HEADER_BYTES];
    header[0] = kind;
    header[1..].copy_from_slice(&len.to_le_bytes());
    stream.write_all(&header)?;
    stream.write_all(bytes)
}

/// Waits for the next message, of any length up to a limit.
pub(super) fn receive(stream: &mut TcpStream) -> io::Result<Frame> {
    let (kind, len) = receive_header(stream)?;
    if len > LONGEST_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    stream.read_exact(&mut bytes)?;
    frame(kind, bytes)
}

/// Waits for a message of `into`'s length, or the news that a process has ended.
pub(super) fn receive_into(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<Option<Frame>> {
    let (kind, len) = receive_header(stream)?;
    let is_expected = usize::try_from(len).is_ok_and(|len| len == into.len());
    if kind == DATA && is_expected {
        stream.read_exact(into)?;
        return Ok(None);
    }
    if kind == DATA || len > LONGEST_BYTES {
        let got = format!("expected a message of {} bytes, got {len}", into.len());
        return Err(io::Error::new(ErrorKind::InvalidData, got));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    stream.read_exact(&mut bytes)?;
    frame(kind, bytes).map(Some)
}

fn receive_header(stream: &mut TcpStream) -> io::Result<(u8, u32)> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let [kind, len @ ..] = header;
    Ok((kind, u32::from_le_bytes(len)))
}

fn frame(kind: u8, bytes: Vec<u8>) -> io::Result<Frame> {
    match (kind, bytes.split_first_chunk()) {
        (DATA, _) => Ok(Frame::Data(bytes)),
        (GONE, Some((rank, why))) => {
            Ok(Frame::Gone(u32::from_le_bytes(*rank), String::from_utf8_lossy(why).into_owned()))
        }
        _ => Err(io::Error::new(ErrorKind::InvalidData, "a message of no known kind")),
    }
}

/// Returns whether the other side is connected and has not reported an end. It consumes no message.
#[cfg(feature = "cuda")]
pub(super) fn is_there(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let mut first = [0];
    let seen = stream.peek(&mut first);
    stream.set_nonblocking(false)?;
    match seen {
        Ok(1) => Ok(first[0] == DATA),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
