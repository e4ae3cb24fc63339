//! The laws of the runs in tables, and the record of the fits.

pub(crate) mod expected;
pub(crate) mod mixture;
pub(crate) mod tables;

use std::path::Path;

use mixdown_base::error_kind::ErrorKind;
use mixdown_scaling::{
    DomainFit, FinetuningPlan, FitOptions, FitRecord, RefusedDomain, fit_scaling,
};

use self::tables::DomainRuns;
use crate::error::{Error, Hint};

/// Fits the laws to the runs of each domain, and adds advice if there is a plan. Domains whose runs do not determine a
/// law, or whose search failed, are recorded with the reason.
///
/// ```no_run
/// use std::path::Path;
///
/// use mixdown_experiments::{Delivery, Pooling, fit_domains, read_domains};
/// use mixdown_scaling::{FitOptions, FinetuningPlan};
///
/// let domains = read_domains(&["runs.parquet".into()], Some("math"), Pooling::OneRecipe)?;
/// let plan = FinetuningPlan {
///     model_size: 1.27e9,
///     target_tokens: 30e6,
///     budget: 0.02,
///     pretraining_loss_before: None,
/// };
/// let record = fit_domains(&domains, &FitOptions::default(), Some(&plan))?;
/// let corpora = [Path::new("corpora/math"), Path::new("corpora/general")];
/// for (domain, fit) in domains.iter().zip(&record.domains) {
///     let advice = fit.advice.as_ref();
///     let delivery = advice.and_then(|it| Delivery::new(domain, it, corpora[0], corpora[1]));
///     println!("{}", delivery.map_or_else(String::new, |delivery| delivery.toml()));
/// }
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
///
/// # Errors
/// Invalid options; no domain has a law.
pub fn fit_domains(
    domains: &[DomainRuns],
    options: &FitOptions,
    plan: Option<&FinetuningPlan>,
) -> Result<FitRecord, Error> {
    let (mut fits, mut refused) = (Vec::new(), Vec::new());
    for domain in domains {
        match fit_domain(domain, options, plan) {
            Ok(fit) => fits.push(fit),
            Err(error) => refused.push(error),
        }
    }
    let recorded = |error| match error {
        Error::Scaling { source, domain }
            if !fits.is_empty() && source.kind() != ErrorKind::Configuration =>
        {
            Ok(RefusedDomain { domain, reason: source.to_string() })
        }
        other => Err(other),
    };
    let refused = refused.into_iter().map(recorded).collect::<Result<Vec<_>, Error>>()?;
    Ok(FitRecord::new(fits, refused))
}

/// Fits the laws to the runs of one domain, and adds advice if there is a plan.
///
/// # Errors
/// Too few runs for a law, a fit that does not converge.
///
/// ```
/// # let domain = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_domain.in"));
/// use mixdown_experiments::fit_domain;
/// use mixdown_scaling::FitOptions;
///
/// let fit = fit_domain(&domain, &FitOptions { draws: 0, ..FitOptions::default() }, None)?;
/// assert_eq!((fit.domain.as_str(), fit.advice), ("math", None));
/// assert!((fit.fit.forgetting.law.alpha - 0.45).abs() < 0.05, "the law that the runs were simulated from");
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
pub fn fit_domain(
    domain: &DomainRuns,
    options: &FitOptions,
    plan: Option<&FinetuningPlan>,
) -> Result<DomainFit, Error> {
    let in_domain = |source| Error::Scaling { domain: domain.name.clone(), source };
    let mut fit = fit_scaling(&domain.observations, options).map_err(in_domain)?;
    fit.warnings.extend(domain.warnings.iter().cloned());
    let advice = plan.map(|plan| fit.advise(plan)).transpose().map_err(in_domain)?;
    Ok(DomainFit { domain: domain.name.clone(), recipe: domain.recipe.clone(), fit, advice })
}

/// Reads a record of fits from its JSON file.
///
/// # Errors
/// A missing file, or one that is not a fit or has another version.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let domain = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_domain.in"));
/// use mixdown_experiments::{fit_domains, read_fit};
/// use mixdown_scaling::FitOptions;
///
/// let record = fit_domains(&[domain], &FitOptions { draws: 0, ..FitOptions::default() }, None)?;
/// let path = directory.path().join("fit.json");
/// std::fs::write(&path, serde_json::to_vec(&record)?)?;
/// assert_eq!(read_fit(&path)?.domains[0].domain, "math");
/// assert!(read_fit(directory.path().join("none.json").as_path()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_fit(path: &Path) -> Result<FitRecord, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
    let no_fit = |got: String| {
        let hint = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv" | "jsonl" | "parquet") => Hint::TableInsteadOfFit(path.to_owned()),
            _ => Hint::NoFit,
        };
        Error::data(format!("{}: expected a fit, got {got}", path.display()), hint)
    };
    let record: FitRecord =
        serde_json::from_slice(&bytes).map_err(|error| no_fit(error.to_string()))?;
    if record.format != FitRecord::FORMAT || record.version != FitRecord::VERSION {
        return Err(no_fit(format!("{} version {}", record.format, record.version)));
    }
    Ok(record)
}
