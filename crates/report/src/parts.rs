//! The parts that pages share: head, theme, plotly.js, script, and sections.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use mixdown_base::files;

use crate::error::Error;
use crate::parts::figure::Figure;
use crate::runs::headline::Headline;

pub(crate) mod chart;
pub(crate) mod figure;
pub(crate) mod plot;
pub(crate) mod text;

const STYLE: &str = include_str!("parts/page.css");
const SCRIPT: &str = include_str!("parts/page.js");
/// Runs before anything is drawn, so that a dark page does not begin white.
const THEME: &str = include_str!("parts/theme.js");
/// Forbids the page every connection: all that it shows is in the file.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/// Renders a whole page around its body.
pub(crate) fn page(title: &str, lead: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                main {
                    button type="button" class="theme" data-theme-toggle { "Theme" }
                    header {
                        p class="brand" { "mixdown report" }
                        h1 { (title) }
                        p class="lead" { (lead) }
                    }
                    (body)
                    noscript {
                        p class="small" {
                            "The figures need JavaScript; the numbers behind them are in the tables."
                        }
                    }
                    footer class="small" {
                        "Click a name in a legend to hide its curve, drag to enlarge, double-click to go back. The page \
                         is complete in itself and loads nothing."
                    }
                }
                (plot::script())
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            title { (title) }
            style { (PreEscaped(STYLE)) }
            script { (PreEscaped(THEME)) }
        }
    }
}

/// Writes a page to a file, under a temporary name that is then renamed.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_html(html: &str, path: &Path) -> Result<(), Error> {
    files::write(path, html.as_bytes()).map_err(|error| {
        let (_, path, source) = error.into_parts();
        Error::Io { path, source }
    })
}

/// Renders figures under a heading; nothing without figures.
pub(crate) fn section(title: &str, figures: &[Figure]) -> Markup {
    html! {
        @if !figures.is_empty() {
            section { h2 { (title) } (grid(figures)) }
        }
    }
}

/// Renders figures beside and below one another.
pub(crate) fn grid(figures: &[Figure]) -> Markup {
    html! {
        div class="figures" {
            @for figure in figures { (figure.render()) }
        }
    }
}

/// Renders groups of figures of which a select box shows one. The last group is shown at first, and it is the one that
/// is printed. A single group has no box.
pub(crate) fn choices(label: &str, groups: &[(String, Vec<Figure>)]) -> Markup {
    match groups {
        [] => return html! {},
        [(_, figures)] => return grid(figures),
        _ => {}
    }
    let last = groups.len() - 1;
    html! {
        div data-choices {
            label class="choose" {
                (label) " "
                select {
                    @for (number, (name, _)) in groups.iter().enumerate() {
                        option value=(number) selected[number == last] { (name) }
                    }
                }
            }
            @for (number, (_, figures)) in groups.iter().enumerate() {
                div data-choice=(number) hidden[number != last] { (grid(figures)) }
            }
        }
    }
}

/// Renders the first sentences of a page.
pub(crate) fn headline(headline: &Headline) -> Markup {
    html! {
        section class="headline" {
            p class="main" { (headline.main) }
            @if !headline.others.is_empty() {
                ul { @for sentence in &headline.others { li { (sentence) } } }
            }
        }
    }
}

/// Renders remarks, each as one paragraph.
pub(crate) fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section { h2 { "Notes" } @for note in notes { p { (note) } } }
        }
    }
}

/// Renders a list of names and values.
pub(crate) fn facts(facts: &[(String, String)]) -> Markup {
    html! {
        @if !facts.is_empty() {
            dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        }
    }
}

/// Renders something long, folded under its name.
pub(crate) fn folded(name: &str, content: &Markup) -> Markup {
    html! { details { summary { (name) } (content) } }
}
