//! Escaping, and tables.

use std::fmt::Write;

use crate::parts::text::{count, fixed, percent_rounded, short};

/// Text made safe for element content and for quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// JSON made safe inside a `<script>` element: these three stand only within its strings, and
/// without them neither `</script>` nor `<!--` can occur.
pub(crate) fn escape_json(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// A cell: what is read, and the number behind it with all its digits, which a CSV takes in its place.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    raw: Option<String>,
}

impl Cell {
    pub fn number(text: String, raw: f64) -> Self {
        Self { text, raw: raw.is_finite().then(|| raw.to_string()) }
    }

    /// With `digits` decimals.
    pub fn fixed(value: f64, digits: usize) -> Self {
        Self::number(fixed(value, digits), value)
    }

    pub fn count(value: u64) -> Self {
        Self { text: count(value), raw: Some(value.to_string()) }
    }

    /// A share in per cent; its number is the share.
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

    /// The table in a box that scrolls sideways on narrow screens.
    pub fn render(&self, class: &str) -> String {
        let mut html = format!(
            "<div class=\"scroll\" tabindex=\"0\"><table class=\"{}\">\n<thead><tr>",
            escape(class)
        );
        for name in &self.head {
            push(&mut html, format_args!("<th scope=\"col\">{}</th>", escape(name)));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (place, cell) in row.iter().enumerate() {
                let raw = cell.raw.as_ref();
                let raw =
                    raw.map_or_else(String::new, |raw| format!(" data-raw=\"{}\"", escape(raw)));
                let text = escape(&cell.text);
                match place {
                    0 => push(&mut html, format_args!("<th scope=\"row\"{raw}>{text}</th>")),
                    _ => push(&mut html, format_args!("<td{raw}>{text}</td>")),
                }
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }
}

/// Appends formatted text; writing to a String cannot fail.
pub(crate) fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = html.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::{Table, escape, escape_json};

    #[test]
    fn no_markup_survives() {
        assert_eq!(
            escape("<a href='x' b=\"y\">&"),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;"
        );
        let json = serde_json::to_string("</script><!-- & <b>").unwrap();
        let safe = escape_json(&json);
        assert!(!safe.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!-- & <b>");
        let mut table = Table::new(["<i>"]);
        table.push(vec!["<b>".to_owned(), "<u>".to_owned()]);
        let html = table.render("results");
        assert!(!["<i>", "<b>", "<u>"].iter().any(|tag| html.contains(tag)), "{html}");
    }
}
