//! Prints the contents of a corpus and the ids of its first document.
//!
//!     cargo run -p mixdown-shards --example read_corpus -- corpora/general

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;

use mixdown_shards::{Access, Corpus, Split};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: read_corpus CORPUS")?;
    let corpus = Corpus::open(Path::new(&folder), Access::Map)?;
    for split in [Split::Train, Split::Holdout] {
        println!("{split}: {} tokens, {} documents", corpus.tokens(split), corpus.documents(split));
    }
    println!("fingerprint {}", corpus.fingerprint());
    let first = corpus.document(Split::Train, 0)?;
    println!("first document: {:?} …", first.get(..8).unwrap_or(&first));
    Ok(())
}
