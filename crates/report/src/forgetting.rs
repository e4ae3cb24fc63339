//! Forgetting against p, with the law's curve where the points give one.

use mixdown_scaling::{Error as ScalingError, InjectionFit, fit_injection, forgetting_removed};
use plotly::common::{DashType, HoverInfo, Line, Marker, Mode};
use plotly::{Layout, Plot, Scatter};

use crate::comparison::{baseline, comparable};
use crate::figure::{Figure, Width};
use crate::html::Table;
use crate::plot::{axis, bare_line, layout, plain};
use crate::series::Finetuned;
use crate::text::{fixed, per_cent, percent_fixed, percent_rounded};

/// Points of the law's curve.
const CURVE_POINTS: u32 = 120;

/// The figure, or none when no run has a row.
pub(crate) fn figure(runs: &[Finetuned<'_>]) -> Option<Figure> {
    if runs.is_empty() {
        return None;
    }
    let scale = Scale::of(runs);
    let with_zero = runs.iter().any(|run| run.row.p_realised <= 0.0);
    let fit = comparable(runs).then(|| fit(runs));
    let mut plot = Plot::new();
    match &fit {
        None => {}
        Some(Ok(fit)) => {
            let line = Line::new().color("var(--ink-soft)").width(1.5);
            if with_zero {
                let dotted = line.clone().dash(DashType::Dot);
                plot.add_trace(bare_line(scale.bridge(fit), None, dotted));
            }
            plot.add_trace(bare_line(scale.curve(fit), None, line));
        }
        Some(Err(_)) => {
            let points =
                runs.iter().map(|run| (scale.place(run.row.p_realised), run.row.forgetting()));
            let line = Line::new().color("var(--rule)").width(1.5).dash(DashType::Dot);
            plot.add_trace(bare_line(points.collect(), None, line));
        }
    }
    for run in runs {
        plot.add_trace(point(run, &scale));
    }
    plot.set_layout(scale.layout());
    let mut caption = "Rise of the held-out pretraining loss at the chosen checkpoint over its \
                       value before finetuning, on the same sequences. The axis is logarithmic"
        .to_owned();
    caption.push_str(if with_zero { "; p = 0 stands apart on its left. " } else { ". " });
    caption.push_str(&match fit {
        Some(fit) => law_text(&fit),
        None => {
            "No curve is fitted: the runs differ in more than p (start, model, target tokens or recipe)."
                .to_owned()
        }
    });
    Some(Figure {
        title: "Forgetting against the share of pretraining data".to_owned(),
        caption,
        plot,
        table: table(runs),
        width: Width::Half,
    })
}

fn fit(runs: &[Finetuned<'_>]) -> Result<InjectionFit, ScalingError> {
    let points: Vec<(f64, f64)> =
        runs.iter().map(|run| (run.row.p_realised, run.row.forgetting())).collect();
    fit_injection(&points)
}

/// What the fit says, or why there is none.
fn law_text(fit: &Result<InjectionFit, ScalingError>) -> String {
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
        text.push_str(&format!(
            " By this law half of the forgetting is gone at p = {} ({} to {}).",
            percent_rounded(p, 2),
            percent_rounded(low, 2),
            percent_rounded(high, 2),
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

/// Places of shares on the axis: decades of p, and p = 0 one step left of the least share.
struct Scale {
    zero: f64,
    low: f64,
    right: f64,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn of(runs: &[Finetuned<'_>]) -> Self {
        let shares = runs.iter().map(|run| run.row.p_realised).filter(|p| *p > 0.0);
        let (low, high) = shares
            .fold((f64::INFINITY, 0.0_f64), |(low, high), p| (low.min(p.log10()), high.max(p)));
        let (low, high) = if low.is_finite() { (low, high.log10()) } else { (-2.0, -2.0) };
        let zero = low - ((high - low) * 0.3).max(0.6);
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for run in runs {
            let p = run.row.p_requested;
            let place = if p > 0.0 { p.log10() } else { zero };
            if ticks.last().is_none_or(|(last, _)| place - last > 1e-9) {
                ticks.push((place, per_cent(p)));
            }
        }
        Self { zero, low, right: high + ((high - low) * 0.1).max(0.2), ticks }
    }

    fn place(&self, p: f64) -> f64 {
        if p > 0.0 { p.log10().max(self.zero) } else { self.zero }
    }

    /// The law from the middle of the gap to the right end.
    fn curve(&self, fit: &InjectionFit) -> Vec<(f64, f64)> {
        let left = self.gap_middle();
        let step = (self.right - left) / f64::from(CURVE_POINTS);
        let at = |place: f64| (place, fit.law().excess(10.0_f64.powf(place)));
        (0..=CURVE_POINTS).map(|k| at(left + step * f64::from(k))).collect()
    }

    /// From p = 0 to where the curve begins: infinitely far on a true logarithmic axis, so dotted.
    fn bridge(&self, fit: &InjectionFit) -> Vec<(f64, f64)> {
        let left = self.gap_middle();
        vec![(self.zero, fit.law().f0()), (left, fit.law().excess(10.0_f64.powf(left)))]
    }

    fn gap_middle(&self) -> f64 {
        f64::midpoint(self.zero, self.low)
    }

    fn layout(&self) -> Layout {
        let (places, names): (Vec<f64>, Vec<String>) = self.ticks.iter().cloned().unzip();
        let room = (self.right - self.zero) * 0.06;
        let x_axis = axis("share of pretraining data p (%)")
            .tick_values(places)
            .tick_text(names)
            .range(plotly::layout::AxisRange::new(self.zero - room, self.right));
        let y_axis = axis("forgetting (nats per token)")
            .range_mode(plotly::layout::RangeMode::ToZero)
            .zero_line(true)
            .zero_line_color("var(--rule)");
        layout(x_axis, y_axis).hover_mode(plotly::layout::HoverMode::Closest).show_legend(false)
    }
}

fn point(run: &Finetuned<'_>, scale: &Scale) -> Box<Scatter<f64, f64>> {
    let hover = format!(
        "{}: {} nats (realised p {})",
        run.series.label,
        fixed(run.row.forgetting(), 4),
        percent_rounded(run.row.p_realised, 3)
    );
    Scatter::new(vec![scale.place(run.row.p_realised)], vec![run.row.forgetting()])
        .mode(Mode::Markers)
        .name(plain(&run.series.label))
        .hover_text(plain(&hover))
        .hover_info(HoverInfo::Text)
        .marker(
            Marker::new()
                .size(13)
                .symbol(run.series.symbol.clone())
                .color(run.series.colour.clone()),
        )
}

fn table(runs: &[Finetuned<'_>]) -> Table {
    let mut table = Table::new([
        "Run",
        "p realised",
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
            run.series.label.clone(),
            percent_rounded(row.p_realised, 3),
            fixed(row.pretraining_loss_before, 4),
            fixed(row.pretraining_loss, 4),
            fixed(row.forgetting(), 4),
            removed.map_or_else(|| "—".to_owned(), |removed| percent_fixed(removed, 0)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use mixdown_scaling::InjectionLaw;

    use super::{Scale, figure};
    use crate::page::RunPage;
    use crate::series::arrange;
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
        let flat = [0.0, 0.001, 0.01, 0.05].map(|p| finetuned(p, 0.5));
        assert!(caption(&flat).contains("do not identify B and α"));
        let mut mixed = five;
        mixed[2].summary.row.as_mut().unwrap().model_size = 5;
        assert!(caption(&mixed).contains("No curve is fitted: the runs differ"));
    }

    #[test]
    fn p_zero_is_spoken_of_only_where_it_is() {
        let apart = "p = 0 stands apart";
        assert!(caption(&[0.0, 0.01].map(|p| finetuned(p, 0.5))).contains(apart));
        let without = caption(&[0.01, 0.05].map(|p| finetuned(p, 0.5)));
        assert!(!without.contains(apart), "{without}");
    }

    #[test]
    fn p_zero_stands_left_of_every_share() {
        let pages = [0.0, 0.001, 0.2].map(|p| finetuned(p, 0.5));
        let scale = Scale::of(&arrange(&pages).0);
        assert!(scale.place(0.0) < scale.place(0.001) - 0.5);
        assert!(scale.place(0.2) < scale.right);
        let names: Vec<&str> = scale.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(names, ["0", "0.1", "20"]);
    }
}
