//! From tables of runs to the observations of each domain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mixdown_runs::{RunRow, RunsTable};
use mixdown_scaling::Observation;

use crate::error::Error;

/// Whether runs of different recipes are fitted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// They must have one.
    OneRecipe,
    /// They may differ.
    AllRecipes,
}

/// The runs of one domain.
#[derive(Debug)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// What all its runs have in common.
    pub recipe: Vec<(String, String)>,
    /// The runs.
    pub observations: Vec<Observation>,
    /// Target tokens of a batch, where all runs agree.
    pub batch_tokens: Option<u64>,
    /// Tokens of a sequence, where all runs agree.
    pub sequence_length: Option<u64>,
}

/// Reads the tables and parts the runs by domain.
///
/// # Errors
/// Tables that cannot be read, runs that stand there twice, recipes or tokenizers that differ.
pub fn read_domains(
    paths: &[PathBuf],
    only: Option<&str>,
    pooling: Pooling,
) -> Result<Vec<Domain>, Error> {
    let mut domains: BTreeMap<String, Vec<RunRow>> = BTreeMap::new();
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    for path in paths {
        for row in RunsTable::read(path)?.rows() {
            if let Some(first) = seen.insert(row.run_id.clone(), path) {
                return Err(duplicate(&row.run_id, &row.run_id, first, path));
            }
            domains.entry(row.domain.clone()).or_default().push(row.clone());
        }
    }
    let known: Vec<String> = domains.keys().cloned().collect();
    if let Some(only) = only {
        domains.retain(|name, _| name == only);
    }
    if domains.is_empty() {
        let message = match only {
            Some(only) if !known.is_empty() => format!("no run of the domain {only:?}"),
            _ => format!("{}: no runs", join(paths.iter().map(|path| path.display().to_string()))),
        };
        let hint = if known.is_empty() {
            "a table needs one row a run".to_owned()
        } else {
            format!("the domains are {}", join(known.iter().map(|name| format!("{name:?}"))))
        };
        return Err(Error::Data { message, hint });
    }
    domains.into_iter().map(|(name, rows)| domain(name, &rows, pooling)).collect()
}

/// The runs of one domain.
///
/// # Errors
/// Runs that stand there twice, recipes or tokenizers that differ.
pub fn domain(name: String, rows: &[RunRow], pooling: Pooling) -> Result<Domain, Error> {
    check_copies(rows)?;
    let (recipe, differences) = recipe(rows);
    if let Some((_, got)) = differences.iter().find(|(field, _)| field == "tokenizer") {
        return Err(Error::Data {
            message: format!(
                "domain {name:?}: expected one tokenizer, got {got}; losses per token of different \
                 tokenizers do not compare"
            ),
            hint: "keep the runs of one tokenizer".to_owned(),
        });
    }
    if pooling == Pooling::OneRecipe && !differences.is_empty() {
        let list = differences.iter().map(|(field, got)| format!("{field} {got}"));
        return Err(Error::Data {
            message: format!(
                "domain {name:?}: expected runs of one recipe, got different {}",
                list.collect::<Vec<_>>().join("; ")
            ),
            hint: "the recipe moves forgetting as well: keep the runs of one, or fit all together \
                   with --pool-recipes"
                .to_owned(),
        });
    }
    let common = |of: fn(&RunRow) -> Option<u64>| {
        let first = rows.first().and_then(of);
        first.filter(|_| rows.iter().all(|row| of(row) == first))
    };
    Ok(Domain {
        name,
        recipe,
        batch_tokens: common(|row| row.batch_tokens),
        sequence_length: common(|row| row.sequence_length),
        observations: rows.iter().map(observation).collect(),
    })
}

/// Fields by value, and those that differ with the values found.
type Fields = Vec<(String, String)>;

/// What the runs have in common, and what differs.
fn recipe(rows: &[RunRow]) -> (Fields, Fields) {
    let (mut common, mut different) = (Vec::new(), Vec::new());
    for (field, of) in RECIPE {
        let mut values: Vec<String> =
            rows.iter().map(|row| of(row).unwrap_or_else(|| "unknown".to_owned())).collect();
        values.sort();
        values.dedup();
        match values.as_slice() {
            [] => {}
            [only] if only == "unknown" => {}
            [only] => common.push((field.to_owned(), only.clone())),
            several => different.push((field.to_owned(), join(several.iter().cloned()))),
        }
    }
    (common, different)
}

/// A field of the recipe as text.
type Field = (&'static str, fn(&RunRow) -> Option<String>);

/// Columns in which runs that are fitted together agree. The horizon counts only where the learning rate
/// depends on it before the bottom of the loss.
const RECIPE: [Field; 10] = [
    ("learning_rate", |row| row.learning_rate.map(|rate| rate.to_string())),
    ("schedule", |row| row.schedule.clone()),
    ("horizon_steps", |row| {
        let flat = matches!(row.schedule.as_deref(), Some("constant" | "wsd"));
        row.horizon_steps.filter(|_| !flat).map(|steps| steps.to_string())
    }),
    ("warmup_steps", |row| row.warmup_steps.map(|steps| steps.to_string())),
    ("batch_tokens", |row| row.batch_tokens.map(|tokens| tokens.to_string())),
    ("sequence_length", |row| row.sequence_length.map(|tokens| tokens.to_string())),
    ("weight_decay", |row| row.weight_decay.map(|decay| decay.to_string())),
    ("optimizer", |row| row.optimizer.clone()),
    ("method", |row| row.method.clone()),
    ("tokenizer", |row| row.tokenizer.as_ref().map(|name| name.chars().take(12).collect())),
];

/// One run under two names would count twice.
fn check_copies(rows: &[RunRow]) -> Result<(), Error> {
    let mut seen: BTreeMap<String, &RunRow> = BTreeMap::new();
    for row in rows {
        let key = format!(
            "{} {} {} {} {} {} {}",
            row.model_size,
            row.target_tokens,
            row.p_requested,
            row.seed,
            row.target_loss,
            row.pretraining_loss,
            row.fingerprint
        );
        if let Some(first) = seen.insert(key, row) {
            return Err(duplicate(&first.run_id, &row.run_id, Path::new(""), Path::new("")));
        }
    }
    Ok(())
}

fn duplicate(first_id: &str, second_id: &str, first: &Path, second: &Path) -> Error {
    let message = if first_id == second_id {
        format!(
            "{}: expected every run_id once, got {first_id:?}, which {} has already",
            second.display(),
            first.display()
        )
    } else {
        format!(
            "runs {first_id:?} and {second_id:?}: expected different runs, got the same model, data, \
             seed and losses"
        )
    };
    Error::Data { message, hint: "remove one of the two".to_owned() }
}

/// A run as the laws see it.
#[expect(clippy::cast_precision_loss, reason = "the laws take counts as real numbers")]
pub fn observation(row: &RunRow) -> Observation {
    // Target tokens seen: a batch's, less the share that was injected.
    let seen = row.batch_tokens.map(|tokens| {
        let delivered = (row.best_step.saturating_mul(tokens)) as f64;
        (delivered * (1.0 - row.p_realised)).max(1.0)
    });
    Observation {
        name: row.run_id.clone(),
        model_size: row.model_size as f64,
        target_tokens: row.target_tokens as f64,
        p: row.p_requested,
        p_realised: Some(row.p_realised),
        target_loss: row.target_loss,
        pretraining_loss: row.pretraining_loss,
        pretraining_loss_before: row.pretraining_loss_before,
        target_tokens_seen: seen,
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let shown: Vec<&str> = items.iter().take(8).map(String::as_str).collect();
    let rest = items.len() - shown.len();
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}
