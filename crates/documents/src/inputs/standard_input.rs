//! Standard input as a file that can be read once.
//!
//! A process has one standard input, so the bytes that detect its format are kept here until they are read.

use std::io::{self, Read, Stdin, stdin};
use std::sync::{Mutex, PoisonError};

/// The path that means standard input.
pub(crate) const NAME: &str = "-";

/// Bytes from which its format is detected: at least one whole zstd block.
const HEAD_BYTES: u64 = 256 << 10;

static STATE: Mutex<StdinState> =
    Mutex::new(StdinState { head: Vec::new(), peeked: false, opened: false });

struct StdinState {
    head: Vec<u8>,
    peeked: bool,
    opened: bool,
}

/// Returns the first bytes, which remain to be read.
pub(crate) fn peek() -> io::Result<Vec<u8>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if !state.peeked {
        stdin().lock().take(HEAD_BYTES).read_to_end(&mut state.head)?;
        state.peeked = true;
    }
    Ok(state.head.clone())
}

/// Returns the whole input; `None` the second time.
pub(crate) fn open() -> Option<io::Chain<io::Cursor<Vec<u8>>, Stdin>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut state.opened, true) {
        return None;
    }
    Some(io::Cursor::new(std::mem::take(&mut state.head)).chain(stdin()))
}
