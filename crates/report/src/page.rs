//! The page as a whole.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use mixdown_runs::{MetricsRecord, Summary};

use crate::base;
use crate::curves;
use crate::error::Error;
use crate::figure::Figure;
use crate::forgetting;
use crate::headline::{self, Headline};
use crate::html::{escape, push};
use crate::mix;
use crate::plot;
use crate::results;
use crate::series::{Finetuned, Series, arrange};
use crate::training;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Everything a page shows. All texts are plain texts: markup in them is shown, not obeyed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The page's title.
    pub title: String,
    /// One or two sentences below it: what was done, on what.
    pub lead: String,
    /// The runs. Those with a row are compared by p; the others are shown by their losses.
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
    /// `run.toml` as text.
    pub settings_toml: String,
}

/// The page as HTML, about 4.7 MB, nearly all of it plotly.js.
///
/// The same report gives the same bytes.
///
/// # Errors
/// [`Error::NoRuns`].
pub fn render(report: &Report) -> Result<String, Error> {
    if report.runs.is_empty() {
        return Err(Error::NoRuns { title: report.title.clone() });
    }
    let (finetuned, others) = arrange(&report.runs);
    let mut html = head(&report.title);
    push(
        &mut html,
        format_args!(
            "<body>\n<main>\n<header>\n<p class=\"brand\">mixdown report</p>\n<h1>{}</h1>\n<p \
             class=\"lead\">{}</p>\n</header>\n",
            escape(&report.title),
            escape(&report.lead)
        ),
    );
    html.push_str(&body(&finetuned, &others));
    html.push_str(&appendix(report));
    push(
        &mut html,
        format_args!("</main>\n{}\n<script>{SCRIPT}</script>\n</body>\n</html>\n", plot::script()),
    );
    Ok(html)
}

/// Renders the page to a file, by a temporary name and rename.
///
/// # Errors
/// [`Error::NoRuns`], [`Error::Io`].
pub fn write(report: &Report, path: &Path) -> Result<(), Error> {
    let html = render(report)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(html.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::Io { path: path.to_path_buf(), source })
}

/// The policy forbids the page every connection: what it shows is in it.
fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src \
         'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n",
        escape(title)
    )
}

fn body(finetuned: &[Finetuned<'_>], others: &[Series<'_>]) -> String {
    let mut html = String::new();
    if finetuned.is_empty() {
        html.push_str(&headline_html(&headline::of_losses(others)));
        html.push_str("<section>\n<h2>Results</h2>\n");
        html.push_str(
            &results::losses(others.iter().map(|run| run.page)).render("results second-text"),
        );
        html.push_str("</section>\n");
    } else {
        html.push_str(&headline_html(&headline::of_finetuning(finetuned)));
        html.push_str("<section>\n<h2>Results</h2>\n");
        html.push_str(&results::finetuning(finetuned).render("results"));
        html.push_str(
            "<p class=\"small\">Losses in nats per token on held-out text at the chosen checkpoint; \
             se is the standard error over evaluation sequences. Forgetting is the pretraining loss \
             less its value before finetuning, on the same sequences. One run for each line: \
             differences between seeds are not measured here.</p>\n</section>\n",
        );
        html.push_str(&section("Losses and forgetting", &group_figures(finetuned)));
        html.push_str(&mix_section(finetuned));
    }
    for run in others {
        let title = match (finetuned, others) {
            ([], [_]) => "Losses".to_owned(),
            ([], _) => format!("Losses: {}", run.label),
            _ => format!("Before finetuning: {}", run.label),
        };
        html.push_str(&section(&title, &base::figures(run)));
    }
    html
}

fn group_figures(finetuned: &[Finetuned<'_>]) -> Vec<Figure> {
    let series: Vec<&Series<'_>> = finetuned.iter().map(|run| &run.series).collect();
    let mut figures = curves::figures(finetuned);
    figures.extend(forgetting::figure(finetuned));
    let what = "Loss on the batches trained on, target and injected sequences together.";
    figures.extend(training::figure(&series, what));
    figures
}

fn mix_section(finetuned: &[Finetuned<'_>]) -> String {
    let series: Vec<&Series<'_>> = finetuned.iter().map(|run| &run.series).collect();
    let Some(figure) = mix::figure(&series) else { return String::new() };
    format!(
        "<section>\n<h2>Data</h2>\n<div class=\"figures\">\n{}</div>\n{}</section>\n",
        figure.render(),
        mix::table(&series).render("results second-text data")
    )
}

fn section(title: &str, figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let mut html = format!("<section>\n<h2>{}</h2>\n<div class=\"figures\">\n", escape(title));
    for figure in figures {
        html.push_str(&figure.render());
    }
    html.push_str("</div>\n</section>\n");
    html
}

fn headline_html(headline: &Headline) -> String {
    let mut html =
        format!("<section class=\"headline\">\n<p class=\"main\">{}</p>\n", escape(&headline.main));
    if !headline.others.is_empty() {
        html.push_str("<ul>\n");
        for sentence in &headline.others {
            push(&mut html, format_args!("<li>{}</li>\n", escape(sentence)));
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</section>\n");
    html
}

fn appendix(report: &Report) -> String {
    let mut html = String::new();
    if !report.notes.is_empty() {
        html.push_str("<section>\n<h2>Notes</h2>\n");
        for note in &report.notes {
            push(&mut html, format_args!("<p>{}</p>\n", escape(note)));
        }
        html.push_str("</section>\n");
    }
    html.push_str("<section>\n<h2>Runs and settings</h2>\n");
    if !report.settings.is_empty() {
        html.push_str("<dl>\n");
        for (name, value) in &report.settings {
            push(&mut html, format_args!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)));
        }
        html.push_str("</dl>\n");
    }
    html.push_str(&results::identities(&report.runs).render("results second-text identities"));
    html.push_str(&results::settings(&report.runs));
    html.push_str("</section>\n");
    html.push_str(
        "<noscript><p class=\"small\">The figures need JavaScript; the numbers behind them stand \
         in the tables.</p></noscript>\n<footer class=\"small\">Click a name in a legend to hide its \
         curve, drag to enlarge, double-click to go back. The page is complete in itself and loads \
         nothing.</footer>\n",
    );
    html
}

#[cfg(test)]
mod tests {
    use super::{Report, RunPage, render, write};
    use crate::error::Error;
    use crate::testing::{base, finetuned, report};

    const MARKUP: &str = "</script><script>alert(1)</script><!-- <b onclick='x'>";

    /// The page without plotly.js, which has every tag somewhere in its strings.
    fn without_library(html: &str) -> String {
        let library = crate::plot::script();
        assert!(html.contains(&library));
        assert!(library.contains("plotly.js v") && library.len() < 5_000_000, "MathJax came along");
        html.replace(&library, "")
    }

    fn count(html: &str, text: &str) -> usize {
        html.matches(text).count()
    }

    /// What page.js reads.
    fn figures(html: &str) -> Vec<serde_json::Value> {
        let pieces = html.split("data-figure>").skip(1);
        let json = pieces.map(|piece| piece.split("</script>").next().unwrap());
        json.map(|json| serde_json::from_str(json).unwrap()).collect()
    }

    /// Every string of a figure, keys left out.
    fn strings<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::String(text) => found.push(text),
            serde_json::Value::Array(values) => {
                values.iter().for_each(|value| strings(value, found));
            }
            serde_json::Value::Object(entries) => {
                entries.values().for_each(|value| strings(value, found));
            }
            _ => {}
        }
    }

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

    fn mark_up(page: &mut RunPage) {
        let summary = &mut page.summary;
        for text in [&mut summary.title, &mut summary.run_id, &mut page.settings_toml] {
            text.push_str(MARKUP);
        }
        if let Some(row) = &mut summary.row {
            row.run_id.push_str(MARKUP);
            row.domain.push_str(MARKUP);
            row.fingerprint.push_str(MARKUP);
        }
        for share in &mut summary.shares {
            share.source.push_str(MARKUP);
        }
        let recorded = page.metrics.iter_mut().flat_map(|record| &mut record.evals);
        let evals = summary.before.iter_mut().chain(&mut summary.best).chain(&mut summary.last);
        for eval in evals.chain(recorded) {
            eval.corpus.push_str(MARKUP);
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
        assert!(html.len() < 6_000_000, "{} bytes", html.len());
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
        assert!(matches!(error, Error::NoRuns { .. }) && error.is_configuration());
        let full: Report = report(vec![base()]);
        let error = write(&full, "/nowhere/report.html".as_ref()).unwrap_err();
        assert!(error.is_configuration());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write(&full, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), render(&full).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
