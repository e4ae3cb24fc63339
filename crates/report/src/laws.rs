//! The page of a sweep or of a fit.

use std::path::Path;

use maud::{Markup, html};
use mixdown_runs::RunRow;
use mixdown_scaling::{Observation, ScalingFit, ShareAdvice};

use crate::error::Error;
use crate::parts::figure::{Figure, Width};
use crate::parts::{self, choices, facts, folded, grid, notes, section, write_html};
use crate::runs::RunPage;
use crate::runs::curves;
use crate::runs::grouping::{Groups, page_groups};
use crate::runs::mix;
use crate::runs::series::arrange_all;

pub(crate) mod check;
pub(crate) mod delivered;
pub(crate) mod forgetting;
pub(crate) mod headline;
pub(crate) mod lost;
pub(crate) mod tables;
pub(crate) mod target;

/// Everything that a page about a grid of runs shows. All texts are plain texts.
#[derive(Debug, Clone)]
pub struct ScalingReport {
    /// The title of the page.
    pub title: String,
    /// One or two sentences below the title.
    pub lead: String,
    /// The domains, each with its own laws.
    pub domains: Vec<DomainPage>,
    /// The pretraining curves of the base models that are known.
    pub bases: Vec<BaseCurve>,
    /// Remarks for the reader, one paragraph each.
    pub notes: Vec<String>,
    /// Facts that all runs share, as (name, value).
    pub settings: Vec<(String, String)>,
    /// Files shown as they are, as (name, text).
    pub documents: Vec<(String, String)>,
}

/// One domain of a grid of runs.
#[derive(Debug, Clone)]
pub struct DomainPage {
    /// The name of the domain.
    pub name: String,
    /// The settings that all its runs share, as (field, value).
    pub recipe: Vec<(String, String)>,
    /// The observations that the laws are fitted to; empty for a domain that a fit refused.
    pub observations: Vec<Observation>,
    /// The fitted laws, or why there are none.
    pub laws: Laws,
    /// The rows of the table of runs, if it was read.
    pub rows: Vec<RunRow>,
    /// The runs whose folders exist.
    pub runs: Vec<RunPage>,
}

/// The laws of a domain.
#[derive(Debug, Clone)]
pub enum Laws {
    /// The laws were fitted.
    Fitted {
        /// The fit.
        fit: Box<ScalingFit>,
        /// Advice, if it was asked for.
        advice: Option<Box<ShareAdvice>>,
    },
    /// The runs do not determine the laws, for this reason.
    Refused(String),
}

impl DomainPage {
    pub(crate) fn fit(&self) -> Option<&ScalingFit> {
        match &self.laws {
            Laws::Fitted { fit, .. } => Some(fit),
            Laws::Refused(_) => None,
        }
    }
}

/// The evaluations of a base model during its pretraining.
#[derive(Debug, Clone)]
pub struct BaseCurve {
    /// The name of the base model.
    pub name: String,
    /// Names of the observations that started from it.
    pub runs: Vec<String>,
    /// (tokens, held-out pretraining loss), tokens rising.
    pub points: Vec<(u64, f64)>,
}

/// Renders the page as HTML. The same report gives the same bytes.
///
/// ```
/// use mixdown_report::{DomainPage, Laws, ScalingReport, render_scaling};
/// use mixdown_scaling::{ForgettingLaw, Simulation, TargetLaw};
///
/// let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
/// let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
/// let observations = Simulation { forgetting, target, noise: 0.0 }.runs(&[(41e6, 3e5, 0.0), (41e6, 3e5, 0.01)], 7);
/// let domain = DomainPage {
///     name: "math".to_owned(),
///     recipe: Vec::new(),
///     observations,
///     laws: Laws::Refused("there are two runs".to_owned()),
///     rows: Vec::new(),
///     runs: Vec::new(),
/// };
/// let report = ScalingReport {
///     title: "A first sweep".to_owned(),
///     lead: String::new(),
///     domains: vec![domain],
///     bases: Vec::new(),
///     notes: Vec::new(),
///     settings: Vec::new(),
///     documents: Vec::new(),
/// };
/// let html = render_scaling(&report)?;
/// assert!(html.contains("The laws are not determined by these runs: there are two runs."));
/// # Ok::<(), mixdown_report::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoRuns`].
pub fn render_scaling(report: &ScalingReport) -> Result<String, Error> {
    let none = report.domains.iter().all(|domain| domain.observations.is_empty());
    if none {
        return Err(Error::NoRuns { title: report.title.clone() });
    }
    let body = html! {
        (parts::headline(&headline::of(&report.domains)))
        @if report.domains.len() > 1 {
            nav {
                @for (number, domain) in report.domains.iter().enumerate() {
                    a href={ "#domain-" (number) } { (domain.name) }
                }
            }
        }
        @for (number, domain) in report.domains.iter().enumerate() {
            div id={ "domain-" (number) } { (render_domain(domain, report)) }
        }
        (appendix(report))
    };
    Ok(parts::page(&report.title, &report.lead, &body))
}

/// Renders the page to a file, under a temporary name that is then renamed.
///
/// # Errors
/// [`Error::NoRuns`], [`Error::Io`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_report::{Error, ScalingReport, write_scaling};
///
/// let report = ScalingReport {
///     title: "A sweep that has not begun".to_owned(),
///     lead: String::new(),
///     domains: Vec::new(),
///     bases: Vec::new(),
///     notes: Vec::new(),
///     settings: Vec::new(),
///     documents: Vec::new(),
/// };
/// let path = directory.path().join("scaling.html");
/// assert!(matches!(write_scaling(&report, &path), Err(Error::NoRuns { .. })));
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_scaling(report: &ScalingReport, path: &Path) -> Result<(), Error> {
    write_html(&render_scaling(report)?, path)
}

fn render_domain(domain: &DomainPage, report: &ScalingReport) -> Markup {
    let groups = Groups::of(&domain.observations);
    if domain.observations.is_empty() {
        return render_laws(domain, &groups);
    }
    let name = &domain.name;
    let curves: Vec<(String, Vec<Figure>)> = page_groups(&domain.runs)
        .iter()
        .map(|group| (group.label(), curves::figures(&arrange_all(&group.pages).0)))
        .collect();
    html! {
        @if !curves.is_empty() {
            section {
                h2 { (name) ": losses of every run" }
                (choices("Model size N and target tokens D", &curves))
            }
        }
        section {
            h2 { (name) ": forgetting" }
            (choices("Target tokens D", &forgetting_by_tokens(domain, &groups, report)))
        }
        (section(&format!("{name}: target loss"), &[target::figure(domain, &groups)]))
        (render_laws(domain, &groups))
        section {
            h2 { (name) ": runs and what they were given" }
            (grid(&[delivered::figure(domain, &groups)]))
            (sources(domain))
        }
    }
}

/// For each number of target tokens its label and the figures of forgetting and of pretraining progress lost.
fn forgetting_by_tokens(
    domain: &DomainPage,
    groups: &Groups,
    report: &ScalingReport,
) -> Vec<(String, Vec<Figure>)> {
    let figures = |tokens: f64| {
        let mut forgetting = forgetting::figure(domain, groups, tokens);
        let lost = lost::figure(domain, groups, tokens, &report.bases);
        if lost.is_none() {
            forgetting.width = Width::Whole;
        }
        std::iter::once(forgetting).chain(lost).collect()
    };
    groups.tokens.iter().map(|tokens| (groups.tokens_label(*tokens), figures(*tokens))).collect()
}

fn render_laws(domain: &DomainPage, groups: &Groups) -> Markup {
    html! {
        section {
            h2 { (domain.name) ": the laws" }
            @match &domain.laws {
                Laws::Refused(reason) => {
                    p { "The laws are not determined by these runs: " (reason) "." }
                }
                Laws::Fitted { fit, advice } => {
                    (tables::laws(fit, advice.as_deref()))
                    (grid(&check::figures(fit, groups)))
                    (tables::hold_outs(fit))
                    (tables::comparisons(fit))
                }
            }
        }
    }
}

/// Renders shares, tokens and epochs of every source, of the runs whose folders are there.
fn sources(domain: &DomainPage) -> Markup {
    let pages: Vec<&RunPage> = domain.runs.iter().collect();
    let (mut runs, _) = arrange_all(&pages);
    for run in &mut runs {
        run.series.label.clone_from(&run.row.run_id);
    }
    let series: Vec<_> = runs.iter().map(|run| &run.series).collect();
    html! {
        @if let Some(figure) = mix::figure(&series) {
            (grid(&[figure]))
            (folded("Sources of every run", &mix::table(&series).render("numbers second-text")))
        }
    }
}

fn appendix(report: &ScalingReport) -> Markup {
    html! {
        (notes(&report.notes))
        section {
            h2 { "Settings and fingerprints" }
            (facts(&report.settings))
            @for domain in &report.domains {
                @if !domain.recipe.is_empty() {
                    (folded(&format!("Recipe of {}", domain.name), &facts(&domain.recipe)))
                }
                @if !domain.rows.is_empty() {
                    (folded(
                        &format!("Fingerprints of the runs of {}", domain.name),
                        &delivered::fingerprints(&domain.rows).render("numbers identities"),
                    ))
                }
            }
            @for (name, text) in &report.documents { (folded(name, &html! { pre { (text) } })) }
        }
    }
}

#[cfg(test)]
mod tests {
    use mixdown_runs::RunRow;
    use mixdown_scaling::{
        FinetuningPlan, FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid,
    };

    use super::{BaseCurve, DomainPage, Laws, ScalingReport, render_scaling, write_scaling};
    use crate::error::Error;
    use crate::runs::RunPage;
    use crate::testing::{MARKUP, count, figures, finetuned, mark_up, strings, without_library};

    fn fitted(name: &str) -> DomainPage {
        let simulation = Simulation {
            forgetting: ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 },
            target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
            noise: 0.003,
        };
        let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
        let mut observations = simulation.runs(&grid, 0);
        observations.iter_mut().for_each(|one| one.name = format!("{name}-{}", one.name));
        let options = FitOptions { draws: 20, ..FitOptions::default() };
        let fit = fit_scaling(&observations, &options).unwrap();
        let plan = FinetuningPlan {
            budget: 0.1,
            model_size: 1.27e9,
            target_tokens: 3e7,
            pretraining_loss_before: None,
        };
        let advice = Some(Box::new(fit.advise(&plan).unwrap()));
        DomainPage {
            name: name.to_owned(),
            recipe: vec![("learning_rate".to_owned(), "0.001".to_owned())],
            observations,
            laws: Laws::Fitted { fit: Box::new(fit), advice },
            rows: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// A domain of runs with folders whose laws are not determined.
    fn measured() -> (DomainPage, BaseCurve) {
        let runs: Vec<RunPage> =
            [(0.0, 0.8), (0.01, 0.4)].map(|(p, rise)| finetuned(p, rise)).into();
        let rows: Vec<RunRow> = runs.iter().filter_map(|run| run.summary.row.clone()).collect();
        let mut observations = fitted("x").observations;
        observations.truncate(rows.len());
        for (one, row) in observations.iter_mut().zip(&rows) {
            one.name.clone_from(&row.run_id);
            (one.p, one.p_realised) = (row.p_requested, Some(row.p_realised));
            (one.target_loss, one.pretraining_loss) = (row.target_loss, row.pretraining_loss);
            one.pretraining_loss_before = row.pretraining_loss_before;
        }
        let base = BaseCurve {
            name: "base".to_owned(),
            runs: rows.iter().map(|row| row.run_id.clone()).collect(),
            points: vec![(0, 7.6), (1_000, 4.3), (4_000, 3.7)],
        };
        let laws = Laws::Refused("expected three shares, got two".to_owned());
        let page = DomainPage {
            name: "code".to_owned(),
            recipe: Vec::new(),
            observations,
            laws,
            rows,
            runs,
        };
        (page, base)
    }

    fn report(domains: Vec<DomainPage>, bases: Vec<BaseCurve>) -> ScalingReport {
        ScalingReport {
            title: "Title".to_owned(),
            lead: "Lead.".to_owned(),
            domains,
            bases,
            notes: vec!["Note.".to_owned()],
            settings: vec![("Intervals".to_owned(), "20 draws".to_owned())],
            documents: vec![("sweep.toml".to_owned(), "p = [\"0\"]\n".to_owned())],
        }
    }

    fn plain(html: &str) -> String {
        html.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn a_fit_is_shown_with_all_that_it_holds() {
        let html = plain(&without_library(
            &render_scaling(&report(vec![fitted("math")], Vec::new())).unwrap(),
        ));
        assert!(
            html.contains("math: p* = 0.898 % is the least share"),
            "the share of the advice stands first"
        );
        assert!(
            html.contains(
                "is the least share of pretraining data that keeps forgetting within 0.1"
            )
        );
        for part in [
            "Law of forgetting",
            "Law of the target loss",
            "Hold-outs",
            "Laws compared",
            "<ul class=\"warnings\">",
        ] {
            assert!(html.contains(part), "{part}");
        }
        for absent in ["progress lost", "losses of every run"] {
            assert_eq!(count(&html, absent), 0, "{absent}");
        }
        assert_eq!(count(&html, "<option "), 3, "one for each D");
        assert_eq!(count(&html, " selected>D = 3M"), 1, "the largest D is chosen at first");
        assert_eq!(count(&html, "<div data-choice=\"2\">"), 1);
        assert_eq!(count(&html, " hidden>"), 2);
    }

    #[test]
    fn figures_are_json_and_each_has_its_numbers() {
        let (code, base) = measured();
        let page = render_scaling(&report(vec![code, fitted("math")], vec![base])).unwrap();
        let html = without_library(&page);
        let plots = figures(&html);
        let refused = 2 + 2 + 1 + 1 + 1;
        let of_fit = 3 + 1 + 4 + 1;
        let titles: Vec<&str> = html
            .split("<figcaption><h3>")
            .skip(1)
            .map(|piece| piece.split('<').next().unwrap())
            .collect();
        assert_eq!(plots.len(), refused + of_fit, "{titles:?}");
        for plot in &plots {
            assert!(!plot["data"].as_array().unwrap().is_empty());
        }
        let with_table = count(&html, "<summary>Numbers</summary>");
        assert_eq!(with_table, plots.len() - 1, "the sources' table stands below them");
        assert_eq!(
            render_scaling(&report(vec![measured().0, fitted("math")], vec![measured().1]))
                .unwrap(),
            page
        );
        for outside in ["http://", "https://", " src=", "<link", "@import", "url("] {
            assert_eq!(count(&html, outside), 0, "{outside}");
        }
    }

    #[test]
    fn the_points_of_a_figure_are_the_numbers_of_its_table() {
        let domain = fitted("math");
        let html =
            without_library(&render_scaling(&report(vec![domain.clone()], Vec::new())).unwrap());
        let raw = |value: f64| format!("data-raw=\"{value}\"");
        for one in &domain.observations {
            assert!(html.contains(&raw(one.forgetting())) && html.contains(&raw(one.target_loss)));
        }
        let plots = figures(&html);
        let shown: Vec<f64> = plots[..3]
            .iter()
            .flat_map(|plot| plot["data"].as_array().unwrap())
            .filter(|trace| trace["mode"] == "markers")
            .flat_map(|trace| trace["y"].as_array().unwrap())
            .map(|y| y.as_f64().unwrap())
            .collect();
        assert_eq!(shown.len(), 18);
        for one in &domain.observations {
            assert!(shown.iter().any(|y| (y - one.forgetting()).abs() < 1e-12), "{}", one.name);
        }
    }

    #[test]
    fn what_is_not_determined_is_said_and_progress_is_shown() {
        let (code, base) = measured();
        let html =
            plain(&without_library(&render_scaling(&report(vec![code], vec![base])).unwrap()));
        assert!(
            html.contains(
                "code: measured at N = 41M and D = 300K, forgetting is 0.800 nats at p = 0"
            )
        );
        assert!(html.contains(
            "the laws are not identified by these runs: expected three shares, got two."
        ));
        // 3.7 + 0.4 is a third of the way from 4.3 to 3.7: 1,000 · 4^(1/3) of 4,000 tokens.
        assert!(html.contains(">60 %</td>"), "1 − 4^(1/3)/4 is 0.603");
        assert!(html.contains(">at least 75 %</td>"), "4.5 is above the first evaluation");
    }

    #[test]
    fn markup_is_shown_and_not_obeyed() {
        let (code, base) = measured();
        let clean = report(vec![code, fitted("math")], vec![base]);
        let mut dirty = clean.clone();
        let texts =
            [&mut dirty.title, &mut dirty.lead, &mut dirty.notes[0], &mut dirty.documents[0].0];
        for text in texts {
            text.push_str(MARKUP);
        }
        dirty.documents[0].1.push_str(MARKUP);
        dirty.settings.push((MARKUP.to_owned(), MARKUP.to_owned()));
        dirty.bases[0].name.push_str(MARKUP);
        for domain in &mut dirty.domains {
            domain.name.push_str(MARKUP);
            domain.recipe.push((MARKUP.to_owned(), MARKUP.to_owned()));
            domain.observations.iter_mut().for_each(|one| one.name.push_str(MARKUP));
            domain.runs.iter_mut().for_each(mark_up);
            for row in &mut domain.rows {
                row.run_id.push_str(MARKUP);
                row.fingerprint.push_str(MARKUP);
                row.tokenizer = Some(MARKUP.to_owned());
            }
            match &mut domain.laws {
                Laws::Refused(reason) => reason.push_str(MARKUP),
                Laws::Fitted { fit, .. } => {
                    fit.observations.iter_mut().for_each(|one| one.name.push_str(MARKUP));
                    for one in &mut fit.comparisons {
                        one.model.push_str(MARKUP);
                        one.formula.push_str(MARKUP);
                    }
                    for one in &mut fit.forgetting.coefficients {
                        one.name.push_str(MARKUP);
                    }
                }
            }
        }
        dirty.bases[0].runs.iter_mut().for_each(|run| run.push_str(MARKUP));
        let clean = without_library(&render_scaling(&clean).unwrap());
        let dirty = without_library(&render_scaling(&dirty).unwrap());
        for tag in ["<script", "</script", "<!--"] {
            assert_eq!(count(&dirty, tag), count(&clean, tag), "{tag}");
        }
        for tag in ["<b ", "onclick='x'>", "alert(1)</"] {
            assert_eq!(count(&dirty, tag), 0, "{tag}");
        }
        assert_eq!(figures(&dirty).len(), figures(&clean).len());
        for figure in &figures(&dirty) {
            let mut texts = Vec::new();
            strings(figure, &mut texts);
            assert!(texts.iter().all(|text| !text.contains(['<', '>'])), "plotly obeys {texts:?}");
        }
    }

    #[test]
    fn a_page_of_nothing_is_refused_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        let error = write_scaling(&report(Vec::new(), Vec::new()), &path).unwrap_err();
        assert!(matches!(error, Error::NoRuns { .. }));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
