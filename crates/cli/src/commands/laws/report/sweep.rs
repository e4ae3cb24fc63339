//! The page of a sweep's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mixdown_base::display::short;
use mixdown_experiments::{DomainRuns, Pooling, SweepFolder, domain_runs, fit_domain, observation};
use mixdown_report::{BaseCurve, DomainPage, Laws, RunPage, ScalingReport};
use mixdown_runs::{EvalRecord, RunFolder, RunRow, sums};
use mixdown_scaling::FitOptions;

use crate::commands::laws::report::read_run;
use crate::error::Error;

/// The name that sweeps give to the corpus on which forgetting is measured.
const PRETRAINING: &str = "pretraining";

/// Whether a folder has the rows or the settings of a sweep.
pub fn is_sweep(path: &Path) -> bool {
    let has_rows =
        || SweepFolder::open(path, None).map_or(true, |folder| folder.rows().next().is_some());
    path.is_dir() && (path.join("sweep.toml").is_file() || has_rows())
}

/// Reads the rows, the run folders that are there and the base models' curves, and fits the laws.
///
/// # Errors
/// No finished run, or files that cannot be read.
pub fn read(path: &Path, title: String, draws: u32) -> Result<ScalingReport, Error> {
    let folder = SweepFolder::open(path, None)?;
    let mut by_domain: BTreeMap<String, Vec<RunRow>> = BTreeMap::new();
    for row in folder.rows() {
        by_domain.entry(row.domain.clone()).or_default().push(row.clone());
    }
    if by_domain.is_empty() {
        return Err(Error::Data {
            message: format!(
                "{}: expected the row of a finished run in runs.jsonl, got none",
                path.display()
            ),
            hint: "run `mixdown sweep` until at least one run is done".to_owned(),
        });
    }
    let mut notes = Vec::new();
    let failures: Vec<String> =
        folder.failures().map(|one| format!("{} ({})", one.run_id, one.reason)).collect();
    if !failures.is_empty() {
        notes.push(format!("Failed and left out: {}.", failures.join("; ")));
    }
    let mut domains = Vec::new();
    let mut without_folder = 0_usize;
    for (name, rows) in by_domain {
        let runs = read_runs(&folder, &rows)?;
        without_folder += rows.len() - runs.len();
        domains.push(domain_page(name, rows, runs, draws));
    }
    if without_folder > 0 {
        notes.push(format!(
            "Runs without a folder with summary.json, known by their rows only: {without_folder}. Their \
             curves of losses are left out."
        ));
    }
    notes.extend(pretraining_note(&domains));
    let bases = bases(path, &domains)?;
    Ok(ScalingReport {
        title,
        lead: String::new(),
        domains,
        bases,
        notes,
        settings: vec![("Intervals".to_owned(), format!("{draws} bootstrap draws, seed 0"))],
        documents: documents(path)?,
    })
}

/// The number of tokens that the base models were pretrained on, if it is known.
#[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
fn pretraining_note(domains: &[DomainPage]) -> Option<String> {
    let rows = domains.iter().flat_map(|domain| &domain.rows);
    let ratios = rows.filter_map(|row| Some(row.base_tokens? as f64 / row.model_size as f64));
    let (least, most) = ratios
        .fold((f64::INFINITY, 0.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
    least.is_finite().then(|| {
        format!(
            "The base models were pretrained on {} to {} tokens per parameter. The laws were reported for \
             models with 100 (Bethune et al. 2025).",
            short(least),
            short(most)
        )
    })
}

fn documents(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let settings = path.join("sweep.toml");
    if !settings.is_file() {
        // A table from another program has no settings beside it; settings that have a checksum must exist.
        sums::check_file(&settings)?;
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(&settings).map_err(|error| Error::io(&settings, "read", error))?;
    sums::check_bytes(&settings, text.as_bytes())?;
    Ok(vec![("sweep.toml".to_owned(), text)])
}

/// The finished runs among those with rows; a run that is being done again has no summary yet.
fn read_runs(folder: &SweepFolder, rows: &[RunRow]) -> Result<Vec<RunPage>, Error> {
    let folders = rows.iter().map(|row| folder.run_folder(&row.run_id));
    let mut pages = Vec::new();
    for path in folders {
        let summary = path.join("summary.json");
        if summary.is_file() {
            pages.push(read_run(&path)?);
        } else {
            // A summary with a checksum must exist.
            sums::check_file(&summary)?;
        }
    }
    Ok(pages)
}

fn domain_page(name: String, rows: Vec<RunRow>, runs: Vec<RunPage>, draws: u32) -> DomainPage {
    let (recipe, laws) = match domain_runs(name.clone(), &rows, Pooling::OneRecipe) {
        Ok(domain) => (domain.recipe.clone(), laws(&domain, draws)),
        Err(error) => (Vec::new(), Laws::Refused(error.to_string())),
    };
    DomainPage {
        name,
        recipe,
        observations: rows.iter().map(observation).collect(),
        laws,
        rows,
        runs,
    }
}

fn laws(domain: &DomainRuns, draws: u32) -> Laws {
    let options = FitOptions { draws, ..FitOptions::default() };
    match fit_domain(domain, &options, None) {
        Ok(one) => Laws::Fitted { fit: Box::new(one.fit), advice: None },
        Err(mixdown_experiments::Error::Scaling { source, .. }) => {
            Laws::Refused(source.to_string())
        }
        Err(error) => Laws::Refused(error.to_string()),
    }
}

/// The pretraining curve of every base model in `bases/` that wrote one, with the runs that began from it.
fn bases(path: &Path, domains: &[DomainPage]) -> Result<Vec<BaseCurve>, Error> {
    let place = path.join("bases");
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let io = |error| Error::io(&place, "list", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&place).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("run.toml").is_file() {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut bases = Vec::with_capacity(names.len());
    for name in &names {
        let metrics = RunFolder::open(&place.join(name))?.read_metrics()?;
        let points = metrics.iter().filter_map(|record| {
            Some((record.tokens, EvalRecord::find(&record.evals, PRETRAINING)?.loss))
        });
        let rows = domains.iter().flat_map(|domain| &domain.rows);
        let own = rows.filter(|row| base_of(row, &names) == Some(name));
        bases.push(BaseCurve {
            name: name.clone(),
            runs: own.map(|row| row.run_id.clone()).collect(),
            points: points.collect(),
        });
    }
    Ok(bases)
}

/// A run's id is its domain, the name of its base model, and the rest. The longest matching name is the right one,
/// because names may contain the separator.
fn base_of<'a>(row: &RunRow, names: &'a [String]) -> Option<&'a String> {
    let rest = row.run_id.strip_prefix(&row.domain)?.strip_prefix('-')?;
    let begins =
        |name: &&String| rest.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'));
    names.iter().filter(begins).max_by_key(|name| name.len())
}
