//! Trains a small tokenizer on some text, prepares a corpus with it, and decodes a sentence.
//!
//!     cargo run -p mixdown-tokenize --example prepare_corpus -- OUT texts.jsonl

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::PathBuf;

use mixdown_base::observer::Observer;
use mixdown_tokenize::{
    PrepareOptions, ReadOptions, Tokenizer, TrainTokenizerOptions, prepare, train_tokenizer,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let out = arguments.next().ok_or("usage: prepare_corpus OUT INPUT..")?;
    let inputs: Vec<PathBuf> = arguments.collect();
    let path = out.join("tokenizer.json");
    let options = TrainTokenizerOptions { vocab_size: 512, read: ReadOptions::default() };
    train_tokenizer(&inputs, &path, &options, Observer::silent())?;

    let options = PrepareOptions { holdout: "5%".parse()?, ..PrepareOptions::default() };
    let report = prepare(&inputs, &path, &out.join("corpus"), &options, Observer::silent())?;
    println!("{} tokens to train on, {} held out", report.train_tokens, report.holdout_tokens);

    let tokenizer = Tokenizer::load(&path)?;
    let ids = tokenizer.encode("the river")?;
    println!("{ids:?} is {:?}", tokenizer.decode(&ids)?);
    Ok(())
}
