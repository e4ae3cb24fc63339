//! The figure of forgetting against p, with the curve of the law if the points determine one.

use mixdown_scaling::{Error as ScalingError, InjectionFit, fit_injection, forgetting_removed};

use crate::parts::chart::{DashType, Layout, Line, Plot, Trace};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{bare_line, large_point, law_line};
use crate::parts::text::{fixed, percent_fixed, percent_rounded};
use crate::runs::comparison::{baseline, differences};
use crate::runs::series::Finetuned;
use crate::runs::shares::ShareScale;

/// Returns the figure; `None` if no run has a row.
pub(crate) fn figure(runs: &[Finetuned<'_>]) -> Option<Figure> {
    if runs.is_empty() {
        return None;
    }
    let shares = runs.iter().map(|run| (run.row.p_requested, run.row.p_realised));
    let scale = ShareScale::of(shares);
    let with_zero = runs.iter().any(|run| run.row.p_realised <= 0.0);
    let differences = differences(runs);
    let fit = differences.is_empty().then(|| fit(runs));
    let mut data = Vec::new();
    match &fit {
        None => {}
        Some(Ok(fit)) => {
            let line = Line::of("var(--ink-soft)", 1.5);
            if with_zero {
                let dotted = line.clone().dashed(DashType::Dot);
                let bridge = scale.bridge().map(|(place, p)| (place, fit.law().excess(p)));
                data.push(law_line(bridge, dotted));
            }
            let curve = scale.curve().map(|(place, p)| (place, fit.law().excess(p)));
            data.push(law_line(curve, line));
        }
        Some(Err(_)) => {
            let points =
                runs.iter().map(|run| (scale.position(run.row.p_realised), run.row.forgetting()));
            let line = Line::of("var(--rule)", 1.5).dashed(DashType::Dot);
            data.push(bare_line(points.collect(), None, line));
        }
    }
    for run in runs {
        data.push(point(run, &scale));
    }
    let layout = scale.layout("forgetting (nats per token)");
    let mut caption = "Rise of the held-out pretraining loss at the chosen checkpoint over its \
                       value before finetuning, on the same sequences. The axis is logarithmic"
        .to_owned();
    caption.push_str(if with_zero { "; p = 0 is apart on its left. " } else { ". " });
    caption.push_str(&match fit {
        Some(fit) => law_text(&fit, runs),
        None => {
            let fields = differences.iter().map(|(field, values)| format!("{field} {values}"));
            format!(
                "No curve is fitted: the runs differ in more than p ({}).",
                fields.collect::<Vec<_>>().join("; ")
            )
        }
    });
    Some(Figure {
        title: "Forgetting against the share of pretraining data".to_owned(),
        caption,
        plot: Plot { data, layout: Layout { showlegend: Some(false), ..layout } },
        table: table(runs),
        width: Width::Half,
    })
}

fn fit(runs: &[Finetuned<'_>]) -> Result<InjectionFit, ScalingError> {
    let points: Vec<(f64, f64)> =
        runs.iter().map(|run| (run.row.p_realised, run.row.forgetting())).collect();
    fit_injection(&points)
}

/// Describes the fit or why there is none.
fn law_text(fit: &Result<InjectionFit, ScalingError>, runs: &[Finetuned<'_>]) -> String {
    let fit = match fit {
        Ok(fit) => fit,
        Err(ScalingError::TooFewShares { needed, got }) => {
            return format!(
                "No law is fitted: its three coefficients need runs at {needed} different shares \
                 or more, and here are {got}."
            );
        }
        Err(error) => return format!("No law is fitted: {error}."),
    };
    let law = fit.law();
    let mut text = format!(
        "Fitted law: {} · (1 + {}·p)^(−{}), residuals {} nats (root mean square).",
        fixed(law.f0(), 3),
        significant(law.b()),
        fixed(law.alpha(), 2),
        fixed(fit.root_mean_square(), 3),
    );
    if !fit.identified() {
        text.push_str(
            " These points do not identify B and α: many other curves fit as well, so read the \
             curve between the points only.",
        );
        return text;
    }
    let (b_range, alpha_range) = (fit.b_range(), fit.alpha_range());
    text.push_str(&format!(
        " 95 % profile ranges: B {} to {}, α {} to {}.",
        significant(b_range.0),
        significant(b_range.1),
        fixed(alpha_range.0, 2),
        fixed(alpha_range.1, 2),
    ));
    let advice = fit.p_star(law.f0() / 2.0).ok();
    if let Some((p, low, high)) =
        advice.and_then(|advice| Some((advice.p?, advice.lowest?, advice.highest?)))
    {
        let largest = runs.iter().map(|run| run.row.p_realised).fold(0.0, f64::max);
        text.push_str(&format!(
            " By this law half of the forgetting is gone at p = {} ({} to {}){}.",
            percent_rounded(p, 2),
            percent_rounded(low, 2),
            percent_rounded(high, 2),
            if p > largest { ", which is beyond the largest share that was run" } else { "" },
        ));
    }
    text
}

fn significant(value: f64) -> String {
    if value >= 1e6 {
        format!("{value:.1e}")
    } else {
        fixed(value, if value < 10.0 { 2 } else { 0 })
    }
}

fn point(run: &Finetuned<'_>, scale: &ShareScale) -> Trace {
    let hover = format!(
        "{}: {} nats (p realized to the best step {})",
        run.series.label,
        fixed(run.row.forgetting(), 4),
        percent_rounded(run.row.p_realised, 3)
    );
    let place = (scale.position(run.row.p_realised), run.row.forgetting());
    let series = &run.series;
    large_point(place, &hover, &series.label, &series.color, series.symbol)
}

fn table(runs: &[Finetuned<'_>]) -> Table {
    let mut table = Table::new([
        "Run",
        "p realized to best step",
        "pretraining loss before",
        "pretraining loss after",
        "forgetting (nats)",
        "removed",
    ]);
    for run in runs {
        let row = run.row;
        let removed = baseline(runs, run)
            .filter(|_| row.p_requested > 0.0)
            .and_then(|base| forgetting_removed(base.row.forgetting(), row.forgetting()));
        table.push(vec![
            run.series.label.clone().into(),
            Cell::number(percent_rounded(row.p_realised, 3), row.p_realised),
            Cell::fixed(row.pretraining_loss_before, 4),
            Cell::fixed(row.pretraining_loss, 4),
            Cell::fixed(row.forgetting(), 4),
            Cell::or_dash(removed.map(|share| Cell::number(percent_fixed(share, 0), share))),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use mixdown_scaling::InjectionLaw;

    use super::figure;
    use crate::runs::RunPage;
    use crate::runs::series::arrange;
    use crate::testing::finetuned;

    fn caption(pages: &[RunPage]) -> String {
        figure(&arrange(pages).0).unwrap().caption.replace('\u{a0}', " ")
    }

    #[test]
    fn the_law_is_drawn_only_where_the_runs_give_it() {
        let three = [0.0, 0.01, 0.05].map(|p| finetuned(p, 0.5));
        assert!(
            caption(&three).contains("need runs at 4 different shares or more, and here are 3")
        );
        let law = InjectionLaw::new(0.8, 300.0, 0.4).unwrap();
        let five = [0.0, 0.001, 0.01, 0.05, 0.2].map(|p| finetuned(p, law.excess(p)));
        let text = caption(&five);
        assert!(text.contains("Fitted law: 0.800 · (1 + 300·p)^(−0.40)"), "{text}");
        assert!(text.contains("half of the forgetting is gone at p = 1.6 %"), "{text}");
        let few = [0.0, 0.000_5, 0.001, 0.002, 0.003, 0.004].map(|p| finetuned(p, law.excess(p)));
        let text = caption(&few);
        assert!(text.contains("), which is beyond the largest share that was run."), "{text}");
        let flat = [0.0, 0.001, 0.01, 0.05].map(|p| finetuned(p, 0.5));
        assert!(caption(&flat).contains("do not identify B and α"));
        let mut mixed = five;
        mixed[2].summary.row.as_mut().unwrap().model_size = 5;
        let text = caption(&mixed);
        let expected = "the runs differ in more than p (model_size 1000000, 5)";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn p_zero_is_spoken_of_only_where_it_is() {
        let apart = "p = 0 is apart";
        assert!(caption(&[0.0, 0.01].map(|p| finetuned(p, 0.5))).contains(apart));
        let without = caption(&[0.01, 0.05].map(|p| finetuned(p, 0.5)));
        assert!(!without.contains(apart), "{without}");
    }
}
