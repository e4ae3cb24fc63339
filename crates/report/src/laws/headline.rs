//! The findings of a grid of runs in one or two sentences for each domain.

use mixdown_scaling::{AdviceStatus, Observation, ShareAdvice, forgetting_removed};

use crate::laws::tables::share_interval;
use crate::laws::{DomainPage, Laws};
use crate::parts::text::{fixed, percent, percent_rounded, short, significant};
use crate::runs::grouping::{Groups, same};
use crate::runs::headline::{Headline, removed_share};

/// Returns the sentences of all domains; the first is the main one.
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
    let measured = measured(domain);
    match &domain.laws {
        Laws::Fitted { advice: Some(advice), .. } => match advice.status() {
            AdviceStatus::Identified => (advised(advice), Some(measured)),
            // The headline is what the runs measured; the law at p = 100 % is far from them, too.
            AdviceStatus::NoShare | AdviceStatus::Extrapolated | AdviceStatus::NotIdentified => {
                (measured, Some(advised(advice)))
            }
        },
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
    let law = match advice.p {
        Some(p) => format!(
            "p* = {} is the least share of pretraining data that keeps forgetting within {place} ({interval})",
            percent_rounded(p, 3)
        ),
        None => format!(
            "by the law no share of pretraining data below 100\u{a0}% keeps forgetting within {place} ({interval})"
        ),
    };
    match advice.status() {
        AdviceStatus::Identified | AdviceStatus::NoShare => format!("{law}."),
        AdviceStatus::Extrapolated => format!(
            "not a finding, because it is an extrapolation of {} times beyond the runs: {law}.",
            significant(advice.extrapolation(), 3)
        ),
        AdviceStatus::NotIdentified => format!(
            "these runs do not identify p*, the least share of pretraining data that keeps forgetting within {place} \
             ({interval})."
        ),
    }
}

/// Returns the effect of the share nearest to 1 % at the largest N and, among those runs, the largest D.
fn measured(domain: &DomainPage) -> String {
    let observations = &domain.observations;
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
        let (without, with) = pairs(domain, &runs, p);
        Some(sentence((size, tokens, p), &mean(&without)?, &mean(&with)?, &groups))
    });
    found.unwrap_or_else(|| {
        "no model size and amount of data has comparable runs both at p = 0 and above.".to_owned()
    })
}

/// Returns the runs at p = 0 that may be compared with runs at p, and those runs.
fn pairs<'a>(
    domain: &DomainPage,
    runs: &[&'a Observation],
    p: f64,
) -> (Vec<&'a Observation>, Vec<&'a Observation>) {
    let of_share = |p: f64| runs.iter().copied().filter(move |one| same(one.p + 0.0, p));
    let without = of_share(0.0).filter(|zero| of_share(p).any(|one| comparable(domain, zero, one)));
    let with = of_share(p).filter(|one| of_share(0.0).any(|zero| comparable(domain, zero, one)));
    (without.collect(), with.collect())
}

/// Returns whether two runs may be compared: by the rule of [`mixdown_runs::differences`] if their rows are known, else
/// if they begin at the same loss.
fn comparable(domain: &DomainPage, left: &Observation, right: &Observation) -> bool {
    let row = |one: &Observation| domain.rows.iter().find(|row| row.run_id == one.name);
    match (row(left), row(right)) {
        (Some(left), Some(right)) => mixdown_runs::differences(&[left, right]).is_empty(),
        _ => {
            let (left, right) = (left.pretraining_loss_before, right.pretraining_loss_before);
            (left - right).abs() <= 1e-6 * left
        }
    }
}

/// Means over the runs of one p.
struct Mean {
    forgetting: f64,
    target_loss: f64,
    runs: usize,
}

fn mean(runs: &[&Observation]) -> Option<Mean> {
    let count = runs.len() as f64;
    let mean = |of: fn(&Observation) -> f64| runs.iter().map(|one| of(one)).sum::<f64>() / count;
    (!runs.is_empty()).then(|| Mean {
        forgetting: mean(Observation::forgetting),
        target_loss: mean(|one| one.target_loss),
        runs: runs.len(),
    })
}

fn sentence((size, tokens, p): (f64, f64, f64), from: &Mean, to: &Mean, groups: &Groups) -> String {
    let removed = match forgetting_removed(from.forgetting, to.forgetting) {
        Some(removed) if removed > 0.0 => format!("{} removed", removed_share(removed)),
        Some(_) => "nothing removed".to_owned(),
        None => "nothing was forgotten at p = 0".to_owned(),
    };
    let runs = match (from.runs, to.runs) {
        (1, 1) => "one run each".to_owned(),
        (from, to) => format!("means of {from} and {to} runs"),
    };
    format!(
        "measured at {} and {}, forgetting is {} nats at p = 0 and {} at p = {} ({removed}); the target loss \
         is {} and {} ({runs}: the differences between seeds are not in these numbers).",
        groups.size_label(size),
        groups.tokens_label(tokens),
        fixed(from.forgetting, 3),
        fixed(to.forgetting, 3),
        percent(p),
        fixed(from.target_loss, 3),
        fixed(to.target_loss, 3),
    )
}

#[cfg(test)]
mod tests {
    use mixdown_scaling::{
        FinetuningPlan, FitOptions, ForgettingLaw, Observation, Simulation, TargetLaw, fit_scaling,
        full_grid,
    };

    use super::of;
    use crate::laws::{DomainPage, Laws};

    fn runs() -> Vec<Observation> {
        let simulation = Simulation {
            forgetting: ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 },
            target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
            noise: 0.001,
        };
        simulation.runs(&full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]), 0)
    }

    fn headline(observations: Vec<Observation>, model_size: f64, budget: f64) -> (String, String) {
        let fit = fit_scaling(&observations, &FitOptions { draws: 20, ..FitOptions::default() });
        let fit = fit.unwrap();
        let plan = FinetuningPlan {
            model_size,
            target_tokens: 3e6,
            budget,
            pretraining_loss_before: None,
        };
        let advice = Some(Box::new(fit.advise(&plan).unwrap()));
        let domain = DomainPage {
            name: "math".to_owned(),
            recipe: Vec::new(),
            observations,
            laws: Laws::Fitted { fit: Box::new(fit), advice },
            rows: Vec::new(),
            runs: Vec::new(),
        };
        let headline = of(&[domain]);
        let plain = |text: String| text.replace(['\u{a0}', '\u{202f}'], " ");
        (plain(headline.main), plain(headline.others.join(" ")))
    }

    #[test]
    fn what_the_runs_do_not_say_is_no_headline() {
        let (main, _) = headline(runs(), 334e6, 0.2);
        assert!(main.starts_with("math: p* = "), "{main}");
        // A thousand times the largest model.
        let (main, others) = headline(runs(), 334e9, 0.005);
        assert!(main.starts_with("math: measured at N = 334M"), "{main}");
        let expected = "math: not a finding, because it is an extrapolation of 1000 times beyond the runs: p* = ";
        assert!(others.starts_with(expected), "{others}");
        // The share does nothing but noise.
        let mut flat = runs();
        for pair in flat.chunks_mut(2) {
            pair[1].pretraining_loss = pair[0].pretraining_loss * 1.0005;
        }
        let (main, others) = headline(flat.clone(), 334e6, 0.305);
        assert!(main.starts_with("math: measured at N = 334M"), "{main}");
        assert!(
            others.starts_with("math: these runs do not identify p*, the least share"),
            "{others}"
        );
        assert!(!others.contains("p* = "), "{others}");
        let (main, others) = headline(flat, 334e6, 0.1);
        assert!(main.starts_with("math: measured at N = 334M"), "{main}");
        assert!(
            others.starts_with("math: by the law no share of pretraining data below 100 %"),
            "{others}"
        );
    }

    #[test]
    fn only_runs_that_begin_alike_are_compared() {
        let mut observations = runs();
        let last = observations.len() - 1;
        observations[last].pretraining_loss_before *= 1.1;
        let (_, others) = headline(observations, 334e6, 0.2);
        assert!(others.contains("measured at N = 334M and D = 1M"), "{others}");
    }
}
