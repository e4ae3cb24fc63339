//! Work that runs ahead on its own thread, a few items at most.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// What a thread makes before it is asked for.
pub(crate) struct ReadAhead<T> {
    items: Receiver<T>,
}

impl<T: Send + 'static> ReadAhead<T> {
    /// Starts a thread that calls `make` until it gives `None`, at most `depth` items ahead. The
    /// thread ends with its last item or when this is dropped.
    pub(crate) fn start(
        depth: usize,
        mut make: impl FnMut() -> Option<T> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, items) = sync_channel(depth);
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            while let Some(item) = make() {
                if sender.send(item).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { items })
    }

    /// The next item; `None` after the last.
    pub(crate) fn next(&mut self) -> Option<T> {
        self.items.recv().ok()
    }
}
