//! Escaping, and tables.

use std::fmt::Write;

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

/// A table of texts; the first column names the row, the others are set as numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
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
                let cell = escape(cell);
                match place {
                    0 => push(&mut html, format_args!("<th scope=\"row\">{cell}</th>")),
                    _ => push(&mut html, format_args!("<td>{cell}</td>")),
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
