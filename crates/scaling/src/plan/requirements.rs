//! The values of N, D and p that the runs must span for a law.

use crate::error::Error;
use crate::observation::{Observation, check_all, configurations, distinct};

/// Refuses runs that do not determine the forgetting law.
///
/// With several N, α comes from them, and one share besides 0 is enough for B. With one N both come from p, which needs
/// three shares. There must be one configuration more than coefficients.
pub(crate) fn require_forgetting(observations: &[Observation]) -> Result<(), Error> {
    check_all(observations)?;
    let sizes = distinct(observations, |one| one.model_size).len();
    let tokens = distinct(observations, |one| one.target_tokens).len();
    let shares = distinct(observations, |one| one.p);
    let (enough_shares, shares_text) = if sizes > 1 {
        (shares.len() >= 2, "two shares p")
    } else {
        (shares.len() >= 3, "three shares p (there is only one N)")
    };
    let some_injected = observations.iter().any(|one| one.share() > 0.0);
    let coefficients = 3 + usize::from(tokens > 1);
    let enough = configurations_len(observations) > coefficients;
    if enough_shares && some_injected && enough {
        return Ok(());
    }
    let expected =
        format!("at least {shares_text} and {} configurations (N, D, p)", coefficients + 1);
    Err(too_few("forgetting law", expected, observations))
}

/// Refuses runs that do not determine the target law: E and an exponent need three values of N or D,
/// or two of both.
pub(crate) fn require_target(observations: &[Observation]) -> Result<(), Error> {
    check_all(observations)?;
    let sizes = distinct(observations, |one| one.model_size).len();
    let tokens = distinct(observations, |one| one.target_tokens).len();
    let coefficients = 2 + usize::from(sizes > 1) + usize::from(tokens > 1);
    let spans = (sizes > 1 && tokens > 1) || sizes > 2 || tokens > 2;
    if spans && configurations_len(observations) > coefficients {
        return Ok(());
    }
    let expected = format!(
        "at least two N and two D (or three of one of them) and {} configurations (N, D, p)",
        coefficients + 1
    );
    Err(too_few("target law", expected, observations))
}

/// The error with the values that the observations have.
pub(crate) fn too_few(law: &'static str, expected: String, observations: &[Observation]) -> Error {
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let list = |of: fn(&Observation) -> f64| {
        let values = distinct(observations, of);
        let mut texts: Vec<String> = values.iter().take(8).map(|value| plain(*value)).collect();
        if values.len() > 8 {
            texts.push(format!("… {} in all", values.len()));
        }
        if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
    };
    Error::TooFewRows {
        law,
        expected,
        rows: count(observations.len()),
        configurations: count(configurations_len(observations)),
        got: format!(
            "N {}; D {}; p {}",
            list(|one| one.model_size),
            list(|one| one.target_tokens),
            list(|one| one.p)
        ),
    }
}

pub(crate) fn configurations_len(observations: &[Observation]) -> usize {
    configurations(observations).iter().max().map_or(0, |last| last + 1)
}

/// A number as people write it: 0.001, 3e6, 1.27e9.
fn plain(value: f64) -> String {
    if value != 0.0 && value.abs() >= 1e5 { format!("{value:e}") } else { value.to_string() }
}
