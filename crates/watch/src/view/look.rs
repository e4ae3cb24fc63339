//! The colors and marks of a view.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;

/// The colors and marks of a view. Colors are those of the terminal's theme, so that light and dark themes both work,
/// and no information is conveyed by color alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The style of curves.
    pub curve: Style,
    /// The style of single values behind a curve.
    pub raw: Style,
    /// The style of the value before finetuning.
    pub before: Style,
    /// The style of the best step.
    pub best: Style,
    /// The style of titles.
    pub title: Style,
    /// The style of what is in order.
    pub good: Style,
    /// The style of what needs attention.
    pub bad: Style,
    /// The style of side remarks.
    pub dim: Style,
    /// The style of the selected row.
    pub chosen: Style,
    /// The marks that curves are drawn with.
    pub marker: Marker,
}

impl Look {
    /// Returns the colors of the terminal's theme.
    ///
    /// ```
    /// use mixdown_watch::Look;
    ///
    /// assert_ne!(Look::colored().curve, Look::plain().curve);
    /// ```
    pub fn colored() -> Self {
        let plain = Self::plain();
        Self {
            curve: plain.curve.fg(Color::Magenta),
            best: plain.best.fg(Color::Green),
            good: plain.good.fg(Color::Green),
            bad: plain.bad.fg(Color::Red),
            ..plain
        }
    }

    /// Returns a look without colors.
    pub fn plain() -> Self {
        let style = Style::new();
        let (bold, dim) = (style.add_modifier(Modifier::BOLD), style.add_modifier(Modifier::DIM));
        Self {
            curve: bold,
            raw: dim,
            before: style,
            best: bold,
            title: bold,
            good: bold,
            bad: bold,
            dim,
            chosen: style.add_modifier(Modifier::REVERSED),
            marker: Marker::Braille,
        }
    }

    /// Returns the look that suits the environment: `NO_COLOR` (no-color.org), and the console of Linux, whose font has
    /// no Braille.
    pub fn of_environment() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let look = if is_set("NO_COLOR") { Self::plain() } else { Self::colored() };
        let is_console = std::env::var_os("TERM").is_some_and(|term| term == "linux");
        Self { marker: if is_console { Marker::Dot } else { Marker::Braille }, ..look }
    }
}
