//! What a grid of runs says, in a sentence or two for each domain.

use mixdown_scaling::{Observation, ShareAdvice, forgetting_removed};

use crate::grouping::{Groups, same};
use crate::headline::Headline;
use crate::law_tables::share_interval;
use crate::scaling_page::{DomainPage, Laws};
use crate::text::{fixed, percent, percent_fixed, percent_rounded, short};

/// The sentences of all domains; those of the first stand out.
pub(crate) fn of(domains: &[DomainPage]) -> Headline {
    let mut sentences = domains.iter().flat_map(|domain| {
        let named = |text: String| format!("{}: {text}", domain.name);
        let (first, second) = sentences(domain);
        std::iter::once(named(first)).chain(second.map(named))
    });
    let main = sentences.next().unwrap_or_default();
    Headline { main, others: sentences.collect() }
}

fn sentences(domain: &DomainPage) -> (String, Option<String>) {
    let measured = measured(&domain.observations);
    match &domain.laws {
        Laws::Fitted { advice: Some(advice), .. } => (advised(advice), Some(measured)),
        Laws::Fitted { fit, advice: None } if fit.forgetting.identified => (measured, None),
        Laws::Fitted { .. } => {
            let law = "the law of forgetting is not identified by these runs: at least one of its \
                       coefficients has an open interval.";
            (measured, Some(law.to_owned()))
        }
        Laws::Refused(reason) if domain.observations.is_empty() => {
            (format!("the laws are not identified: {reason}."), None)
        }
        Laws::Refused(reason) => {
            (measured, Some(format!("the laws are not identified by these runs: {reason}.")))
        }
    }
}

fn advised(advice: &ShareAdvice) -> String {
    let place = format!(
        "{} nats per token at N = {} and D = {}",
        advice.budget,
        short(advice.model_size),
        short(advice.target_tokens)
    );
    let interval = share_interval(advice.interval);
    let caution = if advice.identified { "" } else { " These runs do not identify it." };
    match advice.p {
        Some(p) => format!(
            "p* = {} is the least share of pretraining data that keeps forgetting within {place} ({interval}).{caution}",
            percent_rounded(p, 3)
        ),
        None => format!(
            "by the law no share of pretraining data below 100\u{a0}% keeps forgetting within {place} \
             ({interval}).{caution}"
        ),
    }
}

/// What the share nearest to 1 % did at the largest N and, of those runs, the largest D.
fn measured(observations: &[Observation]) -> String {
    let groups = Groups::of(observations);
    let mut places = groups
        .sizes
        .iter()
        .rev()
        .flat_map(|size| groups.tokens.iter().rev().map(move |tokens| (*size, *tokens)));
    let found = places.find_map(|(size, tokens)| {
        let here =
            |one: &&Observation| same(one.model_size, size) && same(one.target_tokens, tokens);
        let runs: Vec<&Observation> = observations.iter().filter(here).collect();
        let distance = |p: f64| (p / 0.01).ln().abs();
        let injected = runs.iter().map(|one| one.p).filter(|p| *p > 0.0);
        let p = injected.min_by(|left, right| distance(*left).total_cmp(&distance(*right)))?;
        let (from, to) = (mean(&runs, 0.0)?, mean(&runs, p)?);
        Some(sentence((size, tokens, p), from, to, &groups))
    });
    found.unwrap_or_else(|| {
        "no model size and amount of data has runs both at p = 0 and above.".to_owned()
    })
}

/// Mean forgetting and target loss of the runs of one p.
fn mean(runs: &[&Observation], p: f64) -> Option<(f64, f64)> {
    let same_share: Vec<&&Observation> = runs.iter().filter(|one| same(one.p + 0.0, p)).collect();
    let count = same_share.len() as f64;
    let sum = |of: fn(&Observation) -> f64| same_share.iter().map(|one| of(one)).sum::<f64>();
    (!same_share.is_empty())
        .then(|| (sum(Observation::forgetting) / count, sum(|one| one.target_loss) / count))
}

fn sentence(
    (size, tokens, p): (f64, f64, f64),
    from: (f64, f64),
    to: (f64, f64),
    groups: &Groups,
) -> String {
    let removed = match forgetting_removed(from.0, to.0) {
        Some(removed) if removed > 0.0 => format!("{} removed", percent_fixed(removed, 0)),
        Some(_) => "nothing removed".to_owned(),
        None => "nothing was forgotten at p = 0".to_owned(),
    };
    format!(
        "measured at {} and {}, forgetting is {} nats at p = 0 and {} at p = {} ({removed}); the target loss \
         is {} and {}.",
        groups.size_label(size),
        groups.tokens_label(tokens),
        fixed(from.0, 3),
        fixed(to.0, 3),
        percent(p),
        fixed(from.1, 3),
        fixed(to.1, 3),
    )
}
