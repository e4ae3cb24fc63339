//! The findings of runs in sentences that are computed from their rows.

use mixdown_runs::{EvalRecord, MeanLoss};
use mixdown_scaling::forgetting_removed;

use crate::parts::text::{count, fixed, percent, percent_fixed, percent_rounded, signed};
use crate::runs::comparison::{ReportedLoss, baseline, difference};
use crate::runs::results::plus_minus;
use crate::runs::series::{Finetuned, Series};

/// A removed share of the baseline's forgetting below this one counts as little.
const LITTLE: f64 = 0.1;

/// The main sentence and one for each other share.
#[derive(Debug, Default)]
pub(crate) struct Headline {
    pub main: String,
    pub others: Vec<String>,
}

/// Returns the sentences for finetuning runs; the main one is about the injected share nearest to 1 %.
pub(crate) fn of_finetuning(runs: &[Finetuned<'_>]) -> Headline {
    let injected: Vec<&Finetuned<'_>> =
        runs.iter().filter(|run| run.row.p_requested > 0.0).collect();
    let distance = |run: &Finetuned<'_>| (run.row.p_requested / 0.01).ln().abs();
    let main = injected
        .iter()
        .enumerate()
        .min_by(|left, right| distance(left.1).total_cmp(&distance(right.1)))
        .map(|(place, _)| place);
    // If two runs have the same p, a sentence needs the name of its run.
    let by_share = runs
        .windows(2)
        .all(|pair| matches!(pair, [low, high] if low.row.p_requested < high.row.p_requested));
    let of = |run: &Finetuned<'_>, text: String| {
        if by_share { text } else { named(&run.series.label, &text) }
    };
    let mut sentences: Vec<String> =
        injected.iter().map(|run| of(run, sentence(run, baseline(runs, run)))).collect();
    match main {
        Some(place) => Headline { main: sentences.remove(place), others: sentences },
        None => Headline {
            main: runs.iter().map(|run| of(run, alone(run))).collect::<Vec<_>>().join(" "),
            others: Vec::new(),
        },
    }
}

/// Returns the sentence with the name of its run in front.
fn named(name: &str, sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|letter| letter.to_lowercase().to_string());
    format!("{name}: {}{}", first.unwrap_or_default(), letters.as_str())
}

/// Returns the sentences for runs that have only losses.
pub(crate) fn of_losses(runs: &[Series<'_>]) -> Headline {
    let mut sentences = runs.iter().flat_map(|run| {
        let summary = &run.page.summary;
        summary.best.iter().map(|best| {
            let before = EvalRecord::find(&summary.before, &best.corpus);
            let from = before.map_or(String::new(), |before| format!(" from {}", fixed(before.loss, 3)));
            let sentence = format!(
                "Held-out loss on {} went{from} to {} nats per token by step {} ({} bits per byte).",
                best.corpus,
                fixed(best.loss, 3),
                count(summary.best_step),
                fixed(best.bits_per_byte, 3),
            );
            match runs {
                [_] => sentence,
                _ => named(&run.label, &sentence),
            }
        })
    });
    let main = sentences.next().unwrap_or_else(|| "No evaluation was recorded.".to_owned());
    Headline { main, others: sentences.collect() }
}

fn sentence(run: &Finetuned<'_>, baseline: Option<&Finetuned<'_>>) -> String {
    let Some(baseline) = baseline else { return alone(run) };
    let (from, to) = (baseline.row.forgetting(), run.row.forgetting());
    let p = share(run);
    let target = target_change(run, baseline);
    let Some(removed) = forgetting_removed(from, to) else {
        return format!(
            "Nothing was forgotten at p = 0 ({} nats), so p = {p} had nothing to remove: {} nats; {target}",
            fixed(from, 3),
            fixed(to, 3),
        );
    };
    let removed_text = removed_share(removed);
    let (from_text, to_text) = (fixed(from, digits(from)), fixed(to, digits(from)));
    let forgetting = if removed >= LITTLE {
        format!(
            "At p = {p} forgetting fell from {from_text} to {to_text} nats ({removed_text} removed)"
        )
    } else if removed > 0.0 {
        format!(
            "p = {p} helped little here: forgetting was {from_text} nats without and {to_text} nats \
             with it ({removed_text} removed)"
        )
    } else {
        format!(
            "p = {p} did not help here: forgetting was {from_text} nats without and {to_text} nats \
             with it"
        )
    };
    format!("{forgetting}{}; {target}", within_error(run, baseline))
}

/// Formats a share of forgetting that was removed. Above 100 % the loss ended below its value before finetuning, and a
/// percentage has no meaning.
pub(crate) fn removed_share(removed: f64) -> String {
    if removed > 1.0 { "more than all of it".to_owned() } else { percent_fixed(removed, 0) }
}

/// Formats the requested share, and the delivered one if it differs in three digits.
fn share(run: &Finetuned<'_>) -> String {
    let requested = percent(run.row.p_requested);
    let realised = percent_rounded(run.row.p_realised, 3);
    if realised == percent_rounded(run.row.p_requested, 3) {
        requested
    } else {
        format!("{requested} ({realised} realized to the best step)")
    }
}

/// Returns the number of decimals of a forgetting: two, or three below a tenth of a nat.
fn digits(forgetting: f64) -> usize {
    if forgetting < 0.1 { 3 } else { 2 }
}

fn target_change(run: &Finetuned<'_>, baseline: &Finetuned<'_>) -> String {
    let change = run.row.target_loss - baseline.row.target_loss;
    let own = signed(change, 3);
    match difference(run, baseline, ReportedLoss::Target) {
        Ok(paired) => {
            let change = plus_minus(signed(paired.mean, 3), paired.standard_error);
            format!("target loss changed by {change} nats{}.", chance_remark(&paired))
        }
        Err(reason) => {
            format!("target loss changed by {own} nats ({reason}, so it has no error).")
        }
    }
}

/// Returns the remark about a difference that may be chance.
fn chance_remark(paired: &MeanLoss) -> &'static str {
    match paired.standard_error {
        None => ", whose error one sequence alone cannot show",
        Some(_) if !paired.is_clear() => ", which may be chance",
        Some(_) => "",
    }
}

/// Returns the remark about pretraining losses whose difference may be chance.
fn within_error(run: &Finetuned<'_>, baseline: &Finetuned<'_>) -> &'static str {
    match difference(run, baseline, ReportedLoss::Pretraining) {
        Ok(paired) if paired.standard_error.is_some() && !paired.is_clear() => {
            ", which may be chance"
        }
        _ => "",
    }
}

fn alone(run: &Finetuned<'_>) -> String {
    let row = run.row;
    format!(
        "At p = {} pretraining loss went from {} to {} nats (forgetting {} nats) while target loss reached {} nats.",
        share(run),
        fixed(row.pretraining_loss_before, 3),
        fixed(row.pretraining_loss, 3),
        signed(row.forgetting(), 3),
        fixed(row.target_loss, 3),
    )
}

#[cfg(test)]
mod tests {
    use super::{of_finetuning, of_losses};
    use crate::runs::RunPage;
    use crate::runs::series::arrange;
    use crate::testing::{base, finetuned, losses};

    /// All sentences, the main one first.
    fn sentences(pages: &[RunPage]) -> Vec<String> {
        let headline = of_finetuning(&arrange(pages).0);
        let all = std::iter::once(headline.main).chain(headline.others);
        all.map(|text| text.replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn what_helped_is_said_with_its_price() {
        let mut injected = finetuned(0.01, 0.42);
        let row = injected.summary.row.as_mut().unwrap();
        row.target_loss += 0.24;
        injected.summary.best[0].loss += 0.24;
        injected.losses = Some(losses(&injected.summary, 0.02));
        let pages = [finetuned(0.05, 0.2), injected, finetuned(0.0, 0.83)];
        assert_eq!(
            sentences(&pages),
            [
                "At p = 1 % forgetting fell from 0.83 to 0.42 nats (49 % removed); target loss \
                 changed by +0.240 ± 0.008 nats.",
                "At p = 5 % forgetting fell from 0.83 to 0.20 nats (76 % removed); target loss \
                 changed by +0.000 ± 0.000 nats, which may be chance.",
            ]
        );
    }

    #[test]
    fn what_helped_little_is_said_too() {
        let pages = [finetuned(0.0, 0.83), finetuned(0.01, 0.80)];
        let text = sentences(&pages).remove(0);
        assert!(
            text.starts_with(
                "p = 1 % helped little here: forgetting was 0.83 nats without and 0.80 nats with \
                 it (4 % removed); target"
            ),
            "{text}"
        );
        // Documents differ far more among themselves, but not between the two runs.
        let mut pages = [finetuned(0.0, 0.83), finetuned(0.01, 0.825)];
        let text = sentences(&pages).remove(0);
        assert!(text.contains("(1 % removed); target"), "{text}");
        pages[1].losses = Some(losses(&pages[1].summary, 0.02));
        let text = sentences(&pages).remove(0);
        assert!(text.contains("(1 % removed), which may be chance"), "{text}");
    }

    #[test]
    fn runs_that_cannot_be_paired_have_no_error() {
        let mut pages = [finetuned(0.0, 0.83), finetuned(0.01, 0.42)];
        pages[0].losses = None;
        let text = sentences(&pages).remove(0);
        assert!(
            text.contains("by +0.000 nats (one of the runs has no losses.json, as runs"),
            "{text}"
        );
        assert!(text.ends_with("so it has no error)."), "{text}");
        let mut other = losses(&pages[0].summary, 0.0);
        other.corpora[0].measured = "cd".to_owned();
        pages[0].losses = Some(other);
        let text = sentences(&pages).remove(0);
        assert!(text.contains("not measured on the same held-out sequences"), "{text}");
        assert!(!text.contains("standard error"), "{text}");
    }

    #[test]
    fn more_than_all_of_the_forgetting_is_no_percentage() {
        let pages = [finetuned(0.0, 0.2), finetuned(0.1, -0.031)];
        let text = sentences(&pages).remove(0);
        let expected = "forgetting fell from 0.20 to −0.03 nats (more than all of it removed)";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_did_not_help_is_said_without_a_share_removed() {
        for (forgetting, text) in [(0.75, "0.75"), (0.52, "0.52"), (0.5, "0.50")] {
            let pages = [finetuned(0.0, 0.5), finetuned(0.01, forgetting)];
            let expected = format!(
                "p = 1 % did not help here: forgetting was 0.50 nats without and {text} nats with it"
            );
            let sentence = sentences(&pages).remove(0);
            assert!(sentence.starts_with(&expected), "{sentence}");
            assert!(!sentence.contains("removed"), "{sentence}");
        }
    }

    #[test]
    fn the_share_delivered_is_told_where_it_differs() {
        let mut injected = finetuned(0.01, 0.42);
        injected.summary.row.as_mut().unwrap().p_realised = 0.009_937_5;
        let pages = [finetuned(0.0, 0.83), injected];
        let sentence = sentences(&pages).remove(0);
        assert!(
            sentence.starts_with("At p = 1 % (0.994 % realized to the best step) forgetting fell"),
            "{sentence}"
        );
    }

    #[test]
    fn a_sentence_names_its_run_where_p_does_not() {
        let titled = |p: f64, title: &str| {
            let mut page = finetuned(p, 0.8 - 40.0 * p);
            page.summary.title = title.to_owned();
            page
        };
        let pages = [
            titled(0.0, "small, p = 0"),
            titled(0.01, "small, seed 1"),
            titled(0.01, "small, seed 2"),
        ];
        let texts = sentences(&pages);
        assert!(texts[0].starts_with("small, seed 1: at p = 1 % forgetting fell"), "{texts:?}");
        assert!(texts[1].starts_with("small, seed 2: at p = 1 % forgetting fell"), "{texts:?}");
        let mut bases = [base(), base()];
        bases[0].summary.title = "one".to_owned();
        bases[1].summary.title = "two".to_owned();
        let headline = of_losses(&arrange(&bases).1);
        assert!(headline.main.starts_with("one: held-out loss on pretraining went"));
        assert!(headline.others[0].starts_with("two: held-out loss on pretraining went"));
    }

    #[test]
    fn no_forgetting_and_no_baseline_claim_no_share() {
        let pages = [finetuned(0.0, -0.02), finetuned(0.01, -0.03)];
        assert!(sentences(&pages)[0].starts_with("Nothing was forgotten at p = 0 (−0.020 nats)"));
        let alone = [finetuned(0.01, 0.4)];
        assert_eq!(
            sentences(&alone),
            ["At p = 1 % pretraining loss went from 3.700 to 4.100 nats (forgetting +0.400 nats) \
                 while target loss reached 3.100 nats."]
        );
        let mut other = finetuned(0.0, 0.8);
        other.summary.row.as_mut().unwrap().target_tokens = 1;
        assert_eq!(sentences(&[other, finetuned(0.01, 0.4)]), sentences(&alone));
    }

    #[test]
    fn one_run_alone_is_told_by_its_losses() {
        let pages = [base()];
        let headline = of_losses(&arrange(&pages).1);
        assert!(
            headline.main.ends_with("to 3.700 nats per token by step 40 (1.850 bits per byte).")
        );
        assert!(headline.others.is_empty());
    }
}
