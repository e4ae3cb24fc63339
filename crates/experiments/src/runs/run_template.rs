//! The description of a run with all keys and a comment for each.

use std::fmt::Write;

use mixdown_train::RunConfig;
use toml::{Table, Value};

use crate::error::Error;

/// A key: its name, its comment, and the value that is shown in a comment if the run has none.
struct Key(&'static str, &'static str, &'static str);

/// A table, or each table of a list: its path, its comment, and its keys.
struct Section {
    path: &'static [&'static str],
    is_list: bool,
    comment: &'static str,
    keys: &'static [Key],
}

const HEAD: &str = "\
# A run of mixdown: mixdown train THIS.toml --out RUN
# Paths count from this file's folder. Counts may be written 50k, 50_000 or \"50k tokens\". A key behind a # has the value
# that is shown there, or is not set. A single value is changed by --set train.learning_rate=1e-4.
";

const SECTIONS: [Section; 9] = [
    Section {
        path: &["model"],
        is_list: false,
        comment: "The model: a folder to start from, or the sizes of a fresh one.",
        keys: &[
            Key(
                "init",
                "A Hugging Face model folder; without it, the sizes below.",
                "\"base/best\"",
            ),
            Key(
                "size",
                "A GPT-2-like model by its name: tiny, small, 41M, 109M, 334M, 665M, 1.27B.",
                "\"41M\"",
            ),
            Key("family", "llama or gpt2.", "\"llama\""),
            Key("vocab_size", "Entries of the vocabulary: the tokenizer's.", "2048"),
            Key("hidden_size", "Width.", "128"),
            Key("intermediate_size", "Width between the MLP's two projections.", "352"),
            Key("layers", "Decoder blocks.", "4"),
            Key("heads", "Attention heads.", "4"),
            Key("seed", "Seed of the fresh weights.", "0"),
        ],
    },
    Section {
        path: &["mixture"],
        is_list: false,
        comment: "The data.",
        keys: &[
            Key("sequence_length", "Tokens a sequence.", "128"),
            Key("batch_size", "Sequences a batch, over all ranks.", "16"),
            Key("seed", "Seed of the order.", "0"),
            Key(
                "window_offset",
                "epoch: every epoch cuts its sequences elsewhere; anywhere: over epochs every token is a target; fixed.",
                "\"epoch\"",
            ),
            Key(
                "shuffle_block",
                "Neighboring sequences that stay together, so that reads lie close to each other.",
                "1024",
            ),
            Key(
                "weight_unit",
                "What weights are shares of: sequences, or loss_tokens.",
                "\"sequences\"",
            ),
            Key("access", "map, or read where files may be truncated during the run.", "\"map\""),
        ],
    },
    Section {
        path: &["mixture", "source"],
        is_list: true,
        comment: "A source and its share; one table each.",
        keys: &[
            Key("name", "Its name, part of what orders its data.", "\"target\""),
            Key("corpus", "Its corpus, as 'mixdown prepare' wrote it.", "\"corpora/target\""),
            Key(
                "weight",
                "Its share: \"1%\", or a number relative to the other sources.",
                "\"99%\"",
            ),
            Key("max_tokens", "Use only the first tokens of it.", "\"50k tokens\""),
            Key("max_epochs", "Refuse a run that would repeat it more often.", "4"),
        ],
    },
    Section {
        path: &["mixture", "stage"],
        is_list: true,
        comment: "Other weights from some place on; one table each.",
        keys: &[
            Key(
                "start",
                "Where it begins: \"2000 steps\", \"1B tokens\", \"1 epoch of target\".",
                "\"2000 steps\"",
            ),
            Key(
                "weights",
                "The share of each source from there on.",
                "{ target = \"95%\", pretraining = \"5%\" }",
            ),
            Key(
                "to",
                "Instead: a ramp to these shares.",
                "{ target = \"95%\", pretraining = \"5%\" }",
            ),
            Key(
                "from",
                "The shares that a ramp begins at; those before it.",
                "{ target = \"99%\", pretraining = \"1%\" }",
            ),
            Key("over", "The length of a ramp.", "\"1000 steps\""),
        ],
    },
    Section {
        path: &["train"],
        is_list: false,
        comment: "How the model is trained.",
        keys: &[
            Key("steps", "Optimizer steps.", "200"),
            Key("learning_rate", "Peak learning rate of AdamW.", "1e-3"),
            Key("warmup_steps", "Steps in which the rate rises.", "0"),
            Key("schedule", "What follows: cosine, linear, constant or wsd.", "\"cosine\""),
            Key("decay_steps", "Steps of the fall of wsd; a fifth of all.", "40"),
            Key(
                "final_learning_rate_share",
                "Where the schedule ends, as a share of the peak.",
                "0.1",
            ),
            Key("weight_decay", "Decoupled weight decay of matrices.", "0.1"),
            Key("beta1", "Decay of the gradient's first moment.", "0.9"),
            Key("beta2", "Decay of its second moment.", "0.95"),
            Key("epsilon", "Added to the root of the second moment.", "1e-8"),
            Key("clip", "The largest gradient norm; inf for any.", "1.0"),
            Key(
                "micro_batch_size",
                "Rows of a batch that are computed at once; as many as have 1,024 tokens.",
                "8",
            ),
            Key(
                "recompute",
                "Compute each block again in the backward pass: less memory, more time.",
                "false",
            ),
            Key("path", "fast, or reference to check it with.", "\"fast\""),
            Key("device", "cpu, cuda or cuda:N.", "\"cpu\""),
            Key("precision", "Number format of matrix products: f32, or on a GPU bf16.", "\"f32\""),
            Key(
                "separate_documents",
                "Keep attention within documents; for packed rows it is.",
                "true",
            ),
            Key("keep_checkpoints", "Checkpoints that are kept beside best/.", "2"),
            Key("checkpoint_every", "Steps between two checkpoints.", "100"),
            Key(
                "patience",
                "End after this many evaluations without a lower loss of eval.select.",
                "3",
            ),
            Key(
                "freeze",
                "Tensors that stay as they are: patterns over their names.",
                "[\"model.embed_tokens.*\"]",
            ),
            Key(
                "ema",
                "Decay of a moving average of the weights, which is then evaluated and kept.",
                "0.999",
            ),
        ],
    },
    Section {
        path: &["train", "lora"],
        is_list: false,
        comment: "Adapters of low rank in place of all weights; needs model.init.",
        keys: &[
            Key("rank", "Rows of A and columns of B.", "8"),
            Key("alpha", "The adapter's weight is alpha / rank.", "16.0"),
            Key("targets", "\"all-linear\", or names of modules.", "[\"q_proj\", \"v_proj\"]"),
        ],
    },
    Section {
        path: &["eval"],
        is_list: false,
        comment: "What is measured on the way.",
        keys: &[
            Key("every_steps", "Steps between two evaluations.", "20"),
            Key("sequences", "Held-out sequences of each corpus.", "128"),
            Key(
                "select",
                "The evaluation whose loss chooses best/; also the name of the target's source.",
                "\"target\"",
            ),
            Key(
                "pretraining",
                "The evaluation that shows forgetting; also the name of that source.",
                "\"pretraining\"",
            ),
        ],
    },
    Section {
        path: &["eval", "samples"],
        is_list: false,
        comment: "Texts that the model generates at each evaluation.",
        keys: &[
            Key("prompts", "What they begin with.", "[\"Once\"]"),
            Key(
                "chat",
                "Whether prompts are a user's messages, rendered with the model's chat template.",
                "false",
            ),
            Key("system", "The system message of chats.", "\"Answer in one sentence.\""),
            Key("max_tokens", "New tokens of each, at most.", "64"),
            Key("temperature", "Sampling temperature; 0 is greedy.", "0.8"),
            Key("top_k", "Sample from the K most likely tokens.", "50"),
            Key(
                "top_p",
                "Sample from the most likely tokens that together have this probability.",
                "0.9",
            ),
            Key("seed", "Random seed.", "0"),
        ],
    },
    Section {
        path: &["eval", "corpus"],
        is_list: true,
        comment: "A corpus to measure; one table each.",
        keys: &[
            Key("name", "Its name in every record.", "\"target\""),
            Key("corpus", "Its folder.", "\"corpora/target\""),
            Key("split", "train or holdout.", "\"holdout\""),
        ],
    },
];

/// Writes the description of a run with comments: every key that the run has, and the others after a `#`.
///
/// # Errors
/// A run that TOML cannot represent, such as one with a number beyond 64 signed bits.
///
/// ```
/// use mixdown_experiments::{parse_description, render_run};
/// use mixdown_train::RunConfig;
///
/// let text = "[model]
///      init = 'base/best'
///      [mixture]
///      sequence_length = 8
///      batch_size = 2
///      seed = 5
///      [[mixture.source]]
///      name = 'target'
///      corpus = 'math'
///      weight = '100%'
///      [train]
///      steps = 3
///      [eval]
///      every_steps = 2
///      sequences = 4
///      [[eval.corpus]]
///      name = 'target'
///      corpus = 'math'";
/// let run: RunConfig = parse_description("run.toml".as_ref(), text)?;
/// let rendered = render_run(&run)?;
/// assert_eq!(parse_description::<RunConfig>("run.toml".as_ref(), &rendered)?, run);
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
pub fn render_run(config: &RunConfig) -> Result<String, Error> {
    let refused = |error: toml::ser::Error| Error::configuration(format!("the run: {error}"), "");
    let table = Table::try_from(config).map_err(refused)?;
    let mut text = HEAD.to_owned();
    for section in &SECTIONS {
        write_section(&mut text, section, &table);
    }
    Ok(text)
}

fn write_section(text: &mut String, section: &Section, table: &Table) {
    let name = section.path.join(".");
    let (open, close) = if section.is_list { ("[[", "]]") } else { ("[", "]") };
    let found = section
        .path
        .iter()
        .try_fold(Value::Table(table.clone()), |value, key| value.get(key).cloned());
    let tables: Vec<Table> = match found {
        Some(Value::Table(table)) => vec![table],
        Some(Value::Array(list)) => {
            list.into_iter().filter_map(|one| one.try_into().ok()).collect()
        }
        _ => Vec::new(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n# {}", section.comment);
    if tables.is_empty() {
        let _ = writeln!(text, "# {open}{name}{close}");
        section.keys.iter().for_each(|key| write_key(text, key, None));
    }
    for (place, table) in tables.iter().enumerate() {
        let _ = writeln!(text, "{}{open}{name}{close}", if place > 0 { "\n" } else { "" });
        for key in section.keys {
            let value = table.get(key.0);
            // The possible keys of a list of tables are written once.
            if value.is_some() || place == 0 {
                write_key(text, key, value);
            }
        }
        let is_own = |name: &str| {
            section.keys.iter().any(|key| key.0 == name) || is_section(section.path, name)
        };
        for (name, value) in table.iter().filter(|(name, _)| !is_own(name)) {
            let _ = writeln!(text, "{name} = {value}");
        }
    }
}

/// Returns whether a key of a table is written as a separate table.
fn is_section(path: &[&str], name: &str) -> bool {
    SECTIONS.iter().any(|section| section.path.split_last() == Some((&name, path)))
}

fn write_key(text: &mut String, Key(name, comment, usual): &Key, value: Option<&Value>) {
    let setting = match value {
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name} = {usual}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{setting:<42} # {comment}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUN: &str = "
        model.init = 'base'
        mixture = { sequence_length = 8, batch_size = 4, source = [
            { name = 'target', corpus = 'a', weight = '99%', max_tokens = '50k' },
            { name = 'general', corpus = 'b', weight = '1%' } ] }
        train = { steps = 10, clip = inf, lora = { rank = 4 } }
        eval = { every_steps = 5, sequences = 3, corpus = [{ name = 'target', corpus = 'a' }] }";

    #[test]
    fn what_is_written_reads_back_as_the_same_run() {
        let config = RunConfig::parse(RUN).unwrap();
        let text = render_run(&config).unwrap();
        assert_eq!(RunConfig::parse(&text).unwrap(), config, "{text}");
        assert!(text.contains("\n# ema = 0.999") && text.contains("\nclip = inf"), "{text}");
    }

    /// The keys that a table of a run can have, as serde names them where one is unknown.
    fn known(path: &[&str], is_list: bool) -> BTreeSet<String> {
        let mut table: Table = RUN.parse().unwrap();
        let (last, before) = path.split_last().unwrap();
        let mut place = &mut table;
        for key in before {
            place = place.get_mut(*key).unwrap().as_table_mut().unwrap();
        }
        let probe = Value::Table(Table::from_iter([("zzz".to_owned(), Value::Integer(0))]));
        let probe = if is_list { Value::Array(vec![probe]) } else { probe };
        place.insert((*last).to_owned(), probe);
        let error = RunConfig::parse(&table.to_string()).unwrap_err().to_string();
        let names = error.split('`').skip(1).step_by(2).map(str::to_owned);
        names.filter(|name| name != "zzz").collect()
    }

    #[test]
    fn every_key_that_a_run_can_have_is_there_and_no_other() {
        for section in &SECTIONS {
            let subsections = SECTIONS.iter().filter(|one| {
                one.path.split_last().is_some_and(|(_, before)| before == section.path)
            });
            let listed = section.keys.iter().map(|key| key.0.to_owned());
            let listed =
                listed.chain(subsections.filter_map(|one| Some((*one.path.last()?).to_owned())));
            let listed: BTreeSet<String> = listed.collect();
            assert_eq!(listed, known(section.path, section.is_list), "{:?}", section.path);
        }
    }

    #[test]
    fn every_value_behind_a_comment_is_one_that_its_key_takes() {
        let fresh = "model = { vocab_size = 9, hidden_size = 8, layers = 1, heads = 1 }";
        let run = RUN.replace("model.init = 'base'", fresh).replace(", lora = { rank = 4 }", "");
        let text = render_run(&RunConfig::parse(&run).unwrap()).unwrap();
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with("# ") && line.contains(" = "))
        {
            let [key, ..] = line[2..].split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            // Of two ways to give a model only one stands.
            if ["init", "size", "decay_steps"].contains(&key) || line.contains("THIS.toml") {
                continue;
            }
            let section = text
                .lines()
                .take(number)
                .filter(|line| line.trim_start_matches("# ").starts_with('['))
                .last()
                .unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines[number] = line[2..].to_owned();
            if section.starts_with("# ") {
                continue;
            }
            RunConfig::parse(&lines.join("\n")).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
