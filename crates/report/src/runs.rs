//! The page of runs.

use std::path::Path;

use maud::{Markup, html};
use mixdown_runs::{LossesRecord, MetricsRecord, Summary};

use crate::error::Error;
use crate::parts::figure::Figure;
use crate::parts::{self, facts, grid, headline as headline_section, notes, section, write_html};
use crate::runs::series::{Finetuned, Series, arrange};

pub(crate) mod comparison;
pub(crate) mod curves;
pub(crate) mod forgetting;
pub(crate) mod grouping;
pub(crate) mod headline;
pub(crate) mod mix;
pub(crate) mod results;
pub(crate) mod series;
pub(crate) mod shares;
pub(crate) mod training;

/// What the numbers of the table of results mean.
const EXPLANATION: &str = "Losses in nats per token on held-out text at the chosen checkpoint. Forgetting is the \
    pretraining loss minus its value before finetuning; ‘against p = 0’ is the difference to the run with p = 0. Both \
    are differences on the same sequences, and se is the standard error of that difference. A difference may be chance \
    if 0 is within its 95 % interval (Student’s, with as many units as are counted below). One run for each line: \
    differences between seeds are not measured here.";

/// Everything that a page of runs shows. All texts are plain texts: markup in them is shown as it is.
#[derive(Debug, Clone)]
pub struct Report {
    /// The title of the page.
    pub title: String,
    /// One or two sentences below the title: what was done with which data.
    pub lead: String,
    /// The runs. Those with a row in their summary are compared by p; of the others the losses are shown.
    pub runs: Vec<RunPage>,
    /// Remarks for the reader, one paragraph each.
    pub notes: Vec<String>,
    /// Facts common to all runs as (name, value): versions, command, corpora.
    pub settings: Vec<(String, String)>,
}

/// One run on the page.
#[derive(Debug, Clone)]
pub struct RunPage {
    /// `summary.json`.
    pub summary: Summary,
    /// `metrics.jsonl`.
    pub metrics: Vec<MetricsRecord>,
    /// `losses.json`, by which runs are compared sequence by sequence; `None` for runs of versions that did not write
    /// it.
    pub losses: Option<LossesRecord>,
    /// `run.toml` as text.
    pub settings_toml: String,
}

/// Renders the page as HTML. It has about 1.2 MB, nearly all of it plotly.js; the same report gives the same bytes.
///
/// ```
/// use mixdown_report::{Report, RunPage, render};
/// use mixdown_runs::Summary;
///
/// let summary: Summary = serde_json::from_str(
///     r#"{"run_id": "a1", "title": "Math at 1 %", "best_step": 20, "steps": 40, "before": [], "best": [], "last": [],
///         "shares": [], "row": null, "model_parameters": 1000, "tokens_per_second": 5e3, "seconds": 16.0}"#,
/// )?;
/// let run = RunPage { summary, metrics: Vec::new(), losses: None, settings_toml: "steps = 40".to_owned() };
/// let report = Report {
///     title: "Finetuning on <math>".to_owned(),
///     lead: "One run.".to_owned(),
///     runs: vec![run],
///     notes: Vec::new(),
///     settings: Vec::new(),
/// };
/// assert!(render(&report)?.contains("<h1>Finetuning on &lt;math&gt;</h1>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NoRuns`].
pub fn render(report: &Report) -> Result<String, Error> {
    if report.runs.is_empty() {
        return Err(Error::NoRuns { title: report.title.clone() });
    }
    let (finetuned, others) = arrange(&report.runs);
    let body = html! {
        (body(&finetuned, &others))
        (appendix(report))
    };
    Ok(parts::page(&report.title, &report.lead, &body))
}

/// Renders the page to a file, under a temporary name that is then renamed.
///
/// ```
/// use mixdown_report::{Error, Report, write};
///
/// let empty = Report {
///     title: "Nothing yet".to_owned(),
///     lead: String::new(),
///     runs: Vec::new(),
///     notes: Vec::new(),
///     settings: Vec::new(),
/// };
/// assert!(matches!(write(&empty, "report.html".as_ref()), Err(Error::NoRuns { .. })));
/// ```
///
/// # Errors
/// [`Error::NoRuns`], [`Error::Io`].
pub fn write(report: &Report, path: &Path) -> Result<(), Error> {
    write_html(&render(report)?, path)
}

fn body(finetuned: &[Finetuned<'_>], others: &[Series<'_>]) -> Markup {
    let title = |run: &Series<'_>| match (finetuned, others) {
        ([], [_]) => "Losses".to_owned(),
        ([], _) => format!("Losses: {}", run.label),
        _ => format!("Before finetuning: {}", run.label),
    };
    html! {
        @if finetuned.is_empty() {
            (headline_section(&headline::of_losses(others)))
            section {
                h2 { "Results" }
                (results::losses(others.iter().map(|run| run.page)).render("results second-text"))
            }
        } @else {
            (headline_section(&headline::of_finetuning(finetuned)))
            section {
                h2 { "Results" }
                (results::finetuning(finetuned).render("results"))
                p class="small" { (EXPLANATION) " " (results::sample(finetuned)) }
            }
            (section("Losses and forgetting", &group_figures(finetuned)))
            (mix_section(finetuned))
        }
        @for run in others { (section(&title(run), &curves::of_all_corpora(run))) }
    }
}

fn group_figures(finetuned: &[Finetuned<'_>]) -> Vec<Figure> {
    let series: Vec<&Series<'_>> = finetuned.iter().map(|run| &run.series).collect();
    let mut figures = curves::figures(finetuned);
    figures.extend(forgetting::figure(finetuned));
    let what = "Loss on the batches trained on, target and injected sequences together.";
    figures.extend(training::figure(&series, what));
    figures
}

fn mix_section(finetuned: &[Finetuned<'_>]) -> Markup {
    let series: Vec<&Series<'_>> = finetuned.iter().map(|run| &run.series).collect();
    html! {
        @if let Some(figure) = mix::figure(&series) {
            section {
                h2 { "Data" }
                (grid(&[figure]))
                (mix::table(&series).render("results second-text data"))
            }
        }
    }
}

fn appendix(report: &Report) -> Markup {
    html! {
        (notes(&report.notes))
        section {
            h2 { "Runs and settings" }
            (facts(&report.settings))
            (results::identities(&report.runs).render("results second-text identities"))
            (results::settings(&report.runs))
        }
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::{Report, render, write};
    use crate::error::Error;
    use crate::testing::{
        MARKUP, base, count, figures, finetuned, mark_up, report, strings, without_library,
    };

    #[test]
    fn markup_in_names_is_shown_and_not_obeyed() {
        // Two runs of the same p, so that titles and not shares stand in every figure.
        let clean = report(vec![base(), finetuned(0.01, 0.8), finetuned(0.01, 0.4)]);
        let mut dirty = clean.clone();
        for text in [&mut dirty.title, &mut dirty.lead] {
            text.push_str(MARKUP);
        }
        dirty.notes.push(MARKUP.to_owned());
        dirty.settings.push((MARKUP.to_owned(), MARKUP.to_owned()));
        for page in &mut dirty.runs {
            mark_up(page);
        }
        let clean = without_library(&render(&clean).unwrap());
        let dirty = without_library(&render(&dirty).unwrap());
        for tag in ["<script", "</script", "<!--"] {
            assert_eq!(count(&dirty, tag), count(&clean, tag), "{tag}");
        }
        for tag in ["<b ", "onclick='x'>", "alert(1)</"] {
            assert_eq!(count(&dirty, tag), 0, "{tag}");
        }
        assert!(dirty.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        let figures = figures(&dirty);
        assert_eq!(figures.len(), 7, "4 for the group, the mix, 2 for the base run");
        for figure in &figures {
            let mut texts = Vec::new();
            strings(figure, &mut texts);
            let markup: Vec<_> = texts.iter().filter(|text| text.contains(['<', '>'])).collect();
            assert!(markup.is_empty(), "plotly obeys {markup:?}");
            let shown = texts.iter().any(|text| text.contains("&lt;/script&gt;"));
            assert!(shown, "no name of ours in {figure}");
        }
    }

    #[test]
    fn every_figure_is_json_and_stands_beside_its_box_and_numbers() {
        let runs = vec![base(), finetuned(0.05, 0.2), finetuned(0.0, 0.8), finetuned(0.01, 0.4)];
        let html = without_library(&render(&report(runs)).unwrap());
        let plots = figures(&html);
        assert_eq!(plots.len(), 7, "4 for the group, the mix, 2 for the base run");
        for plot in plots {
            assert!(!plot["data"].as_array().unwrap().is_empty());
            for axis in ["xaxis", "yaxis"] {
                let title = &plot["layout"][axis]["title"]["text"];
                assert!(title.is_string() || plot["data"][0]["type"] == "bar", "{plot}");
            }
            let bars = plot["data"][0]["type"] == "bar";
            assert_eq!(plot["layout"]["yaxis"]["type"] == "category", bars, "{plot}");
        }
        assert_eq!(count(&html, "<div class=\"plot\""), 7);
        assert_eq!(count(&html, "<summary>Numbers</summary>"), 6);
        assert_eq!(count(&html, "class=\"results second-text data\""), 1);
    }

    #[test]
    fn the_page_is_complete_in_itself_and_the_same_each_time() {
        let report = report(vec![finetuned(0.0, 0.8), finetuned(0.01, 0.4)]);
        let html = render(&report).unwrap();
        assert_eq!(render(&report).unwrap(), html);
        assert!(html.len() < 1_300_000, "{} bytes", html.len());
        let own = without_library(&html);
        for outside in ["http://", "https://", " src=", "<link", "@import", "url("] {
            assert_eq!(count(&own, outside), 0, "{outside}");
        }
    }

    #[test]
    fn a_run_without_a_row_shows_its_losses_only() {
        let html = without_library(&render(&report(vec![base()])).unwrap());
        assert!(html.contains("Held-out loss on pretraining went from 7.600 to 3.700 nats"));
        assert_eq!(count(&html, "<div class=\"plot\""), 2);
        for absent in ["orgetting (nats)", "p requested", "Before finetuning"] {
            assert_eq!(count(&html, absent), 0, "{absent}");
        }
    }

    #[test]
    fn settings_and_fingerprints_are_on_the_page() {
        let html = render(&report(vec![finetuned(0.01, 0.4)])).unwrap();
        assert!(html.contains("sequence_length = 128"));
        assert!(html.contains(&"ab".repeat(32)));
        assert!(html.contains("<dt>Tokenizer</dt><dd>2 048 ids</dd>"));
    }

    #[test]
    fn an_empty_report_and_a_missing_folder_are_the_users_to_mend() {
        let error = render(&report(Vec::new())).unwrap_err();
        assert!(matches!(error, Error::NoRuns { .. }) && error.kind() == ErrorKind::Configuration);
        let full: Report = report(vec![base()]);
        let error = write(&full, "/nowhere/report.html".as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write(&full, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), render(&full).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
