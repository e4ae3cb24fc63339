//! tokenizer.json of any content, and a short text.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mixdown_fuzz::panics;
use mixdown_tokenize::{BeginningOfText, Tokenizer};

const TEXT: &str = "The thing is <|endoftext|> 12 345,\n\té 漢字 \u{1f600}'s  don't\u{0}";

fuzz_target!(init: panics::keep_those_of_libraries(), |data: &[u8]| {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, data).expect("room for a file");
    panics::none_comes_out(|| {
        let Ok(tokenizer) = Tokenizer::load(&path) else { return };
        let _ = tokenizer.end_of_text();
        let _ = tokenizer.beginning_of_text(BeginningOfText::Auto);
        for text in [TEXT, ""] {
            let Ok(ids) = tokenizer.encode(text) else { continue };
            let known = ids.iter().all(|&id| u64::from(id) < tokenizer.vocab_size());
            assert!(known, "{ids:?} of {} ids", tokenizer.vocab_size());
            let _ = tokenizer.decode(&ids);
        }
    });
});
