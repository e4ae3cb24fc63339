//! Prints the length and the beginning of every document in some files or folders.
//!
//!     cargo run -p mixdown-documents --example read_documents -- corpus.jsonl.zst notes/

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::PathBuf;

use mixdown_documents::{DocumentReader, InputList, ReadOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let options = ReadOptions::default();
    // The list is fixed first, in an order that depends only on names.
    let inputs = InputList::discover_with(&paths, &options)?;
    for document in DocumentReader::new(&inputs, &options) {
        let text = document?.text;
        let beginning: String = text.chars().take(60).collect();
        println!("{:>8} bytes  {beginning:?}", text.len());
    }
    Ok(())
}
