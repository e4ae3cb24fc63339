//! The observations of each domain from tables of runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mixdown_runs::{CommonRecipe, RunRow, RunsTable};
use mixdown_scaling::{Observation, Warning};

use crate::error::{Error, Hint};
use crate::sweep::bottom_is_reached;

/// Whether runs with different recipes are fitted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// All runs of a domain must have one recipe.
    OneRecipe,
    /// Recipes may differ.
    AllRecipes,
}

/// The runs of one domain.
#[derive(Debug)]
pub struct DomainRuns {
    /// The domain's name.
    pub name: String,
    /// The fields of the recipe that all its runs have in common, each with its value.
    pub recipe: Vec<(String, String)>,
    /// The observations that the laws are fitted to.
    pub observations: Vec<Observation>,
    /// Warnings about the recipes.
    pub warnings: Vec<Warning>,
    /// The target tokens of a batch, if all runs that record them agree.
    pub batch_tokens: Option<u64>,
    /// The tokens of a sequence, if all runs that record them agree.
    pub sequence_length: Option<u64>,
}

/// Reads tables of runs and groups the runs by domain; `only` keeps one domain.
///
/// # Errors
/// Tables that cannot be read, runs that are listed twice, recipes or tokenizers that differ.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../runs/tests/doc_row.in"));
/// use mixdown_experiments::{Pooling, read_domains};
/// use mixdown_runs::RunsTable;
///
/// let path = directory.path().join("runs.csv");
/// RunsTable::new(vec![row(0.0, 0, 3.9), row(0.01, 0, 3.2)])?.write(&path)?;
/// let domains = read_domains(&[path], None, Pooling::OneRecipe)?;
/// assert_eq!((domains[0].name.as_str(), domains[0].observations.len()), ("math", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_domains(
    paths: &[PathBuf],
    only: Option<&str>,
    pooling: Pooling,
) -> Result<Vec<DomainRuns>, Error> {
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
        return Err(Error::data(message, hint));
    }
    domains.into_iter().map(|(name, rows)| domain_runs(name, &rows, pooling)).collect()
}

/// Checks the rows of one domain and returns what the laws need.
///
/// # Errors
/// Runs that are listed twice, recipes or tokenizers that differ.
///
/// ```
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../runs/tests/doc_row.in"));
/// use mixdown_experiments::{Pooling, domain_runs};
///
/// let mut rows = [row(0.0, 0, 3.9), row(0.01, 0, 3.2)];
/// let runs = domain_runs("math".to_owned(), &rows, Pooling::OneRecipe)?;
/// assert_eq!(runs.observations.len(), 2);
/// rows[1].learning_rate = Some(1e-3);
/// assert!(domain_runs("math".to_owned(), &rows, Pooling::OneRecipe).is_err());
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
pub fn domain_runs(name: String, rows: &[RunRow], pooling: Pooling) -> Result<DomainRuns, Error> {
    check_copies(rows)?;
    let recipe = CommonRecipe::of(rows);
    if let Some((_, got)) = recipe.different.iter().find(|(field, _)| field == "tokenizer") {
        return Err(Error::data(
            format!(
                "domain {name:?}: expected one tokenizer, got {got}; losses per token of different \
                 tokenizers do not compare"
            ),
            "keep the runs of one tokenizer",
        ));
    }
    if pooling == Pooling::OneRecipe && !recipe.is_one() {
        let list = recipe.different.iter().map(|(field, got)| format!("{field} {got}"));
        return Err(Error::data(
            format!(
                "domain {name:?}: expected runs of one recipe, got different {}",
                list.collect::<Vec<_>>().join("; ")
            ),
            Hint::DifferentRecipes,
        ));
    }
    let common = |of: fn(&RunRow) -> Option<u64>| {
        let first = rows.iter().find_map(of);
        first.filter(|_| rows.iter().filter_map(of).all(|value| Some(value) == first))
    };
    Ok(DomainRuns {
        name,
        warnings: warnings(&recipe, rows),
        recipe: recipe.common,
        batch_tokens: common(|row| row.batch_tokens),
        sequence_length: common(|row| row.sequence_length),
        observations: rows.iter().map(observation).collect(),
    })
}

fn warnings(recipe: &CommonRecipe, rows: &[RunRow]) -> Vec<Warning> {
    let len = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let runs = len(rows.len());
    let late = rows.iter().filter(|row| !bottom_is_reached(row)).count();
    let late = (late > 0).then(|| Warning::BottomNotReached(len(late)));
    let pooled = recipe.different.iter().map(|(field, values)| Warning::PooledRecipes {
        field: field.clone(),
        values: values.clone(),
    });
    let unknown = recipe.unknown.iter().map(|(field, count)| Warning::UnknownRecipe {
        field: field.clone(),
        unknown: *count,
        runs,
    });
    pooled.chain(unknown).chain(late).collect()
}

/// Refuses one run under two names, which would count twice.
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
    Error::data(message, "remove one of the two")
}

/// Returns a run as an observation for the laws.
///
/// ```
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../runs/tests/doc_row.in"));
/// use mixdown_experiments::observation;
///
/// let observation = observation(&row(0.01, 0, 3.2));
/// assert_eq!((observation.p, observation.pretraining_loss), (0.01, 3.2));
/// ```
#[expect(clippy::cast_precision_loss, reason = "the laws take counts as real numbers")]
pub fn observation(row: &RunRow) -> Observation {
    // Target tokens seen: those of a batch without the injected share.
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
