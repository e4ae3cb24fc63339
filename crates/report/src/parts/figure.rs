//! A figure on the page: title, caption, plot and the table behind it.

use crate::parts::chart::Plot;
use crate::parts::html::{Table, escape, escape_json, push};

/// One figure. `title` and `caption` are texts; plotly.js reads a little HTML in the plot's own texts.
pub(crate) struct Figure {
    pub title: String,
    pub caption: String,
    pub plot: Plot,
    pub table: Table,
    /// Across the whole page, not half of it.
    pub width: Width,
}

/// How much of a wide page a figure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Half,
    Whole,
}

impl Figure {
    /// The figure as HTML; page.js finds the JSON by its attribute and draws it in the box before.
    pub fn render(&self) -> String {
        let class = match self.width {
            Width::Half => "half",
            Width::Whole => "whole",
        };
        let mut html = format!(
            "<figure class=\"{class}\">\n<figcaption><h3>{}</h3>\n<p>{}</p></figcaption>\n",
            escape(&self.title),
            escape(&self.caption)
        );
        push(
            &mut html,
            format_args!(
                "<div class=\"plot\" role=\"img\" aria-label=\"{}\"></div>\n\
                 <script type=\"application/json\" data-figure>{}</script>\n",
                escape(&self.title),
                escape_json(&self.plot.to_json())
            ),
        );
        if !self.table.is_empty() {
            push(
                &mut html,
                format_args!(
                    "<details><summary>Numbers</summary>{}</details>\n",
                    self.table.render("numbers")
                ),
            );
        }
        html.push_str("</figure>\n");
        html
    }
}
