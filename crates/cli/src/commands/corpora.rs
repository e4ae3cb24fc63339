//! Corpora and tokenizers: made, adopted, written for others, looked at, checked.

pub mod export;
pub mod import;
pub mod inspect;
pub mod labels_args;
pub mod prepare;
pub mod tokenizer;
pub mod verify;
