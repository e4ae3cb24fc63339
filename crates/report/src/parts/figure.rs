//! Figures and tables of a page.

use maud::{Markup, PreEscaped, html};

use crate::parts::chart::Plot;
use crate::parts::text::{count, fixed, percent_rounded, short};

/// One figure: a plot with its title, its caption and the table behind it. plotly.js reads a little HTML in the texts
/// of the plot.
pub(crate) struct Figure {
    pub title: String,
    pub caption: String,
    pub plot: Plot,
    pub table: Table,
    /// Whether it takes half of a wide page or all of it.
    pub width: Width,
}

/// How much of a wide page a figure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Half,
    Whole,
}

impl Figure {
    /// Renders the figure; page.js finds the JSON by its attribute and draws it in the box before it.
    pub fn render(&self) -> Markup {
        let class = match self.width {
            Width::Half => "half",
            Width::Whole => "whole",
        };
        html! {
            figure class=(class) {
                figcaption { h3 { (self.title) } p { (self.caption) } }
                div class="plot" role="img" aria-label=(self.title) {}
                script type="application/json" data-figure { (script_json(&self.plot.to_json())) }
                @if !self.table.is_empty() {
                    details { summary { "Numbers" } (self.table.render("numbers")) }
                }
            }
        }
    }
}

/// A cell: the text that a reader sees, and the number behind it with all its digits, which the CSV has instead.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    raw: Option<String>,
}

impl Cell {
    pub fn number(text: String, raw: f64) -> Self {
        Self { text, raw: raw.is_finite().then(|| raw.to_string()) }
    }

    /// A number with `digits` decimals.
    pub fn fixed(value: f64, digits: usize) -> Self {
        Self::number(fixed(value, digits), value)
    }

    pub fn count(value: u64) -> Self {
        Self { text: count(value), raw: Some(value.to_string()) }
    }

    /// A share in percent; the number behind it is the share.
    pub fn percent(share: f64) -> Self {
        Self::number(percent_rounded(share, 4), share)
    }

    /// A size of a model or of data.
    pub fn short(value: f64) -> Self {
        Self::number(short(value), value)
    }

    pub fn or_dash(cell: Option<Self>) -> Self {
        cell.unwrap_or_else(|| Self { text: "—".to_owned(), raw: Some(String::new()) })
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, raw: None }
    }
}

/// A table of cells; the first column names the row, the others are set as numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn push<C: Into<Cell>>(&mut self, row: Vec<C>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table in a box that scrolls sideways on narrow screens.
    pub fn render(&self, class: &str) -> Markup {
        html! {
            div class="scroll" tabindex="0" {
                table class=(class) {
                    thead { tr { @for name in &self.head { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    @if column == 0 {
                                        th scope="row" data-raw=[&cell.raw] { (cell.text) }
                                    } @else {
                                        td data-raw=[&cell.raw] { (cell.text) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Makes JSON safe inside a `<script>` element: these three characters occur only within its strings, and without them
/// neither `</script>` nor `<!--` can occur.
fn script_json(json: &str) -> PreEscaped<String> {
    PreEscaped(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"))
}

#[cfg(test)]
mod tests {
    use super::{Table, script_json};

    #[test]
    fn no_markup_survives() {
        let json = serde_json::to_string("</script><!-- & <b>").unwrap();
        let safe = script_json(&json).into_string();
        assert!(!safe.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!-- & <b>");
        let mut table = Table::new(["<i>"]);
        table.push(vec!["<b>".to_owned(), "<u> & \"'".to_owned()]);
        let html = table.render("results\"><s>").into_string();
        assert!(!["<i>", "<b>", "<u>", "<s>"].iter().any(|tag| html.contains(tag)), "{html}");
        assert!(html.contains("&lt;u&gt; &amp; &quot;'"), "{html}");
    }
}
