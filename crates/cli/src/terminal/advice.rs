//! Tips for commands and options that have another name here.

use std::ffi::OsString;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Names of commands in other programs, and the command that does it here.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["finetune", "fine-tune", "fine_tune", "sft", "fit-model", "run", "resume", "continue"],
        "'mixdown train' finetunes a model: mixdown train --init MODEL --target CORPUS --pretraining CORPUS --out RUN",
    ),
    (
        &["pretrain", "pre-train", "pretraining"],
        "'mixdown train' without --target pretrains: mixdown train --pretraining CORPUS --out RUN",
    ),
    (
        &["init", "new", "start", "quickstart", "setup", "tutorial", "example", "examples"],
        "'mixdown demo' shows the whole method on text from this machine; 'mixdown train --print-config' writes a \
         run's description to start from",
    ),
    (
        &["config", "configure", "template"],
        "'mixdown train --print-config' writes a run's description",
    ),
    (
        &["tokenize", "tokenise", "encode", "preprocess", "process", "ingest", "build"],
        "'mixdown prepare' tokenizes documents into a corpus; 'mixdown tokenizer train' trains a tokenizer",
    ),
    (&["tokeniser", "bpe", "train-tokenizer"], "'mixdown tokenizer train' trains a tokenizer"),
    (
        &["evaluate", "evaluation", "perplexity", "ppl", "test", "score", "benchmark-model"],
        "'mixdown eval' measures a checkpoint's loss on held-out text",
    ),
    (
        &["chat", "infer", "inference", "complete", "predict", "prompt", "sample"],
        "'mixdown generate' generates text from a checkpoint",
    ),
    (
        &["blend", "mixture", "interleave", "order"],
        "'mixdown mix MIX.toml' shows what a mixture will deliver",
    ),
    (
        &["benchmark", "speed", "profile"],
        "'mixdown bench MIX.toml' measures how fast a mixture delivers batches",
    ),
    (
        &["check", "validate", "fsck", "checksum"],
        "'mixdown verify CORPUS' checks every byte of a corpus",
    ),
    (
        &["info", "show", "stats", "describe", "view", "cat", "head", "ls", "list"],
        "'mixdown inspect CORPUS' shows what a corpus contains, 'mixdown watch FOLDER' shows the runs in a folder",
    ),
    (&["plot", "page", "html", "dashboard"], "'mixdown report RUNS' writes one HTML page"),
    (
        &["monitor", "tail", "status", "top", "follow"],
        "'mixdown watch RUNS' shows runs while they train",
    ),
    (
        &["grid", "search", "tune", "ablate", "experiment"],
        "'mixdown sweep SWEEP.toml' trains a grid of runs",
    ),
    (
        &["law", "laws", "scaling", "regress"],
        "'mixdown fit RUNS' fits scaling laws to a table of runs",
    ),
    (
        &["plan", "power", "simulate"],
        "'mixdown design' predicts how well a planned sweep would pin down p*",
    ),
    (
        &["convert", "load", "adopt"],
        "'mixdown import' adopts other programs' token files, 'mixdown export' writes them",
    ),
    (
        &["completion", "complete-shell"],
        "'mixdown completions SHELL' prints a shell's completion script",
    ),
];

/// Names of options in other programs, and the option that does it here, if the command has it.
const FLAGS: &[(&[&str], &str)] = &[
    (&["lr", "rate", "learning_rate", "peak-lr"], "learning-rate"),
    (
        &["epochs", "num-epochs", "max-steps", "iters", "iterations", "length", "num-train-epochs"],
        "steps",
    ),
    (&["bs", "batch", "per-device-train-batch-size"], "batch-size"),
    (
        &[
            "seq-len",
            "seq-length",
            "seqlen",
            "context",
            "context-length",
            "block-size",
            "max-length",
            "max-seq-length",
        ],
        "sequence-length",
    ),
    (&["model", "base", "checkpoint", "from", "pretrained", "model-name-or-path"], "init"),
    (&["output", "output-dir", "outdir", "out-dir", "dest", "save"], "out"),
    (&["vocab", "vocabulary", "vocab_size"], "vocab-size"),
    (&["replay", "p", "share", "ratio", "mix", "mix-ratio"], "inject"),
    (&["rank", "lora", "lora-r", "lora_r"], "lora-rank"),
    (&["cuda", "gpu", "accelerator"], "device"),
    (&["dtype", "bf16", "fp16"], "precision"),
    (&["text-column", "text-key", "column", "field", "key"], "text-field"),
    (&["val", "validation", "val-split", "test-size", "holdout-share"], "holdout"),
    (&["max-new-tokens", "num-tokens", "length"], "max-tokens"),
    (&["temp"], "temperature"),
    (&["workers", "num-workers", "jobs", "num-proc"], "threads"),
    (&["data", "dataset", "train", "finetune"], "target"),
    (&["override", "overrides"], "set"),
];

/// clap's error with a tip that names the intended command or option, and without misleading tips.
pub fn improved(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = context(&error, ContextKind::InvalidSubcommand);
            if let Some(advice) = typed.and_then(|typed| of_command(&typed)) {
                error.remove(ContextKind::SuggestedSubcommand);
                tip(&mut error, advice);
            }
        }
        ErrorKind::UnknownArgument => {
            // "To pass it as a value, use '-- …'" is never what was meant here.
            error.remove(ContextKind::Suggested);
            let typed = context(&error, ContextKind::InvalidArg).unwrap_or_default();
            let typed = typed.trim_start_matches('-').to_lowercase();
            if let Some(flag) = of_flag(&typed, chosen(command, arguments)) {
                error.remove(ContextKind::SuggestedArg);
                tip(&mut error, &format!("it is called '--{flag}' here"));
                let usage = chosen(command, arguments).clone().render_usage();
                error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
            } else if let Some(near) = context(&error, ContextKind::SuggestedArg)
                && !is_near(&typed, near.trim_start_matches('-'))
            {
                error.remove(ContextKind::SuggestedArg);
            }
        }
        _ => {}
    }
    error
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn tip(error: &mut clap::Error, text: &str) {
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![StyledStr::from(text.to_owned())]),
    );
}

/// The tip for a word that is not a command.
fn of_command(typed: &str) -> Option<&'static str> {
    let typed = typed.to_lowercase();
    COMMANDS.iter().find(|(words, _)| words.contains(&typed.as_str())).map(|(_, advice)| *advice)
}

/// The option that a command has for one that it does not have.
fn of_flag(typed: &str, command: &Command) -> Option<&'static str> {
    let name = typed.split('=').next().unwrap_or_default().replace('_', "-");
    let has =
        |flag: &str| command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    let meant =
        FLAGS.iter().filter(|(words, _)| words.contains(&name.as_str())).map(|(_, flag)| *flag);
    meant.into_iter().find(|flag| has(flag))
}

/// The subcommand that the arguments name.
fn chosen<'c>(command: &'c Command, arguments: &[OsString]) -> &'c Command {
    let mut chosen = command;
    for word in arguments
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .filter(|word| !word.starts_with('-'))
    {
        match chosen.find_subcommand(word) {
            Some(subcommand) => chosen = subcommand,
            None => break,
        }
    }
    chosen
}

/// Whether one is probably a misspelling of the other: `lr` and `layers` share only letters.
fn is_near(typed: &str, known: &str) -> bool {
    let typed = typed.split('=').next().unwrap_or_default();
    known.starts_with(typed) && typed.len() >= 3
        || strsim::normalized_damerau_levenshtein(typed, known) >= 0.6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::command_line::parse;

    fn refused(words: &str) -> String {
        let arguments: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        parse(&arguments).unwrap_err().render().to_string()
    }

    #[test]
    fn words_of_the_field_lead_to_the_command_that_does_it() {
        for (typed, command) in [
            ("finetune", "'mixdown train'"),
            ("Fine-Tune", "'mixdown train'"),
            ("init", "'mixdown demo'"),
            ("tokenise", "'mixdown prepare'"),
            ("evaluate", "'mixdown eval'"),
            ("perplexity", "'mixdown eval'"),
            ("chat", "'mixdown generate'"),
            ("trian", "'train'"),
            ("tokeniser", "'mixdown tokenizer train'"),
        ] {
            let text = refused(&format!("mixdown {typed}"));
            assert!(text.contains("tip:") && text.contains(command), "{typed}: {text}");
        }
        assert!(!refused("mixdown zzzz").contains("tip:"));
    }

    #[test]
    fn no_advice_names_a_command_that_is_not_there() {
        let command = crate::terminal::command_line::command(80);
        for (words, advice) in COMMANDS {
            assert!(advice.contains("'mixdown "), "{advice}");
            for named in advice.split("'mixdown ").skip(1) {
                let name = named.split([' ', '\'']).next().unwrap();
                assert!(command.find_subcommand(name).is_some(), "{name}: {advice}");
            }
            assert!(words.iter().all(|word| command.find_subcommand(word).is_none()), "{words:?}");
        }
    }

    #[test]
    fn flags_of_other_programs_lead_to_those_of_this_one() {
        let lr = refused("mixdown train --pretraining a --out b --lr 1e-4");
        assert!(
            lr.contains("'--learning-rate'") && !lr.contains("--layers") && !lr.contains("-- --lr"),
            "{lr}"
        );
        assert!(refused("mixdown train --seq_len 8").contains("'--sequence-length'"));
        assert!(refused("mixdown train --learning-rat 8").contains("'--learning-rate'"));
        // `generate` has no --inject.
        assert!(!refused("mixdown generate a --replay 1%").contains("inject"));
    }
}
