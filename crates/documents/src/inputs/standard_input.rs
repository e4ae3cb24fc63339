//! Standard input as a file that is read once.
//!
//! There is one in a process, so what was looked at to tell its format is kept here until it is
//! read.

use std::io::{self, Read, Stdin, stdin};
use std::sync::{Mutex, PoisonError};

/// What stands for standard input among paths.
pub(crate) const NAME: &str = "-";

/// Bytes that its format is told from: a whole block of zstd at least.
const HEAD_BYTES: u64 = 256 << 10;

static STATE: Mutex<StdinState> =
    Mutex::new(StdinState { head: Vec::new(), peeked: false, opened: false });

struct StdinState {
    head: Vec<u8>,
    peeked: bool,
    opened: bool,
}

/// The first bytes, which stay to be read.
pub(crate) fn peek() -> io::Result<Vec<u8>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if !state.peeked {
        stdin().lock().take(HEAD_BYTES).read_to_end(&mut state.head)?;
        state.peeked = true;
    }
    Ok(state.head.clone())
}

/// All of it; `None` the second time.
pub(crate) fn open() -> Option<io::Chain<io::Cursor<Vec<u8>>, Stdin>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut state.opened, true) {
        return None;
    }
    Some(io::Cursor::new(std::mem::take(&mut state.head)).chain(stdin()))
}
