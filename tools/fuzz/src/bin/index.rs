//! An index of any content, of its own size and of any.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mixdown_fuzz::{Scratch, read_all};

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_with(|| Scratch::new("train/shard-00000.idx"));
        scratch.overlay(data);
        read_all(scratch.folder());
        scratch.replace(data);
        read_all(scratch.folder());
    });
});
