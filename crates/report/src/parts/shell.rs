//! What every page has: head, theme, plotly.js, script, and the parts that pages are put together from.

use std::path::Path;

use mixdown_base::files;

use crate::error::Error;
use crate::parts::figure::Figure;
use crate::parts::html::{escape, push};
use crate::parts::plot;
use crate::runs::headline::Headline;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Runs before anything is drawn, so that a dark page does not begin white.
const THEME: &str = include_str!("theme.js");

/// A whole page round its body.
pub(crate) fn page(title: &str, lead: &str, body: &str) -> String {
    let mut html = head(title);
    push(
        &mut html,
        format_args!(
            "<body>\n<main>\n<button type=\"button\" class=\"theme\" data-theme-toggle>Theme</button>\n\
             <header>\n<p class=\"brand\">mixdown report</p>\n<h1>{}</h1>\n<p \
             class=\"lead\">{}</p>\n</header>\n",
            escape(title),
            escape(lead)
        ),
    );
    html.push_str(body);
    html.push_str(
        "<noscript><p class=\"small\">The figures need JavaScript; the numbers behind them stand \
         in the tables.</p></noscript>\n<footer class=\"small\">Click a name in a legend to hide its \
         curve, drag to enlarge, double-click to go back. The page is complete in itself and loads \
         nothing.</footer>\n",
    );
    push(
        &mut html,
        format_args!("</main>\n{}\n<script>{SCRIPT}</script>\n</body>\n</html>\n", plot::script()),
    );
    html
}

/// The policy forbids the page every connection: what it shows is in it.
fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src \
         'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n<script>{THEME}</script>\n</head>\n",
        escape(title)
    )
}

/// Writes a page to a file, by a temporary name and rename.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_html(html: &str, path: &Path) -> Result<(), Error> {
    files::write(path, html.as_bytes()).map_err(|error| {
        let (_, path, source) = error.into_parts();
        Error::Io { path, source }
    })
}

/// Figures under a heading; nothing without figures.
pub(crate) fn section(title: &str, figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{}</h2>\n{}</section>\n", escape(title), grid(figures))
}

/// Figures beside and below one another.
pub(crate) fn grid(figures: &[Figure]) -> String {
    let mut html = "<div class=\"figures\">\n".to_owned();
    for figure in figures {
        html.push_str(&figure.render());
    }
    html.push_str("</div>\n");
    html
}

/// Groups of figures of which one is shown, by a select box; the last group at first, which is also the
/// one that is printed. One group alone has no box.
pub(crate) fn choices(label: &str, groups: &[(String, Vec<Figure>)]) -> String {
    match groups {
        [] => return String::new(),
        [(_, figures)] => return grid(figures),
        _ => {}
    }
    let last = groups.len() - 1;
    let mut html =
        format!("<div data-choices>\n<label class=\"choose\">{} <select>", escape(label));
    for (place, (name, _)) in groups.iter().enumerate() {
        let selected = if place == last { " selected" } else { "" };
        push(
            &mut html,
            format_args!("<option value=\"{place}\"{selected}>{}</option>", escape(name)),
        );
    }
    html.push_str("</select></label>\n");
    for (place, (_, figures)) in groups.iter().enumerate() {
        let hidden = if place == last { "" } else { " hidden" };
        push(
            &mut html,
            format_args!("<div data-choice=\"{place}\"{hidden}>\n{}</div>\n", grid(figures)),
        );
    }
    html.push_str("</div>\n");
    html
}

/// The first sentences of a page.
pub(crate) fn headline(headline: &Headline) -> String {
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

/// Remarks, a paragraph each.
pub(crate) fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let mut html = "<section>\n<h2>Notes</h2>\n".to_owned();
    for note in notes {
        push(&mut html, format_args!("<p>{}</p>\n", escape(note)));
    }
    html.push_str("</section>\n");
    html
}

/// Names and values.
pub(crate) fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let mut html = "<dl>\n".to_owned();
    for (name, value) in facts {
        push(&mut html, format_args!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)));
    }
    html.push_str("</dl>\n");
    html
}

/// Something long under its name, folded.
pub(crate) fn folded(name: &str, html: &str) -> String {
    format!("<details><summary>{}</summary>{html}</details>\n", escape(name))
}
