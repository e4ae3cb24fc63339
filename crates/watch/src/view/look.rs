//! The colors and marks of a view.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;

/// How a view looks: colors are those that the terminal's own theme has, so that a light and a dark one
/// are both served, and nothing is told by color alone.
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
    /// The style of what needs a look.
    pub bad: Style,
    /// The style of what is said by the way.
    pub dim: Style,
    /// The style of the chosen row.
    pub chosen: Style,
    /// The marks that curves are drawn with.
    pub marker: Marker,
}

impl Look {
    /// Takes the colors of the terminal's theme.
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

    /// Takes no colors.
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

    /// Takes what the environment asks for: `NO_COLOR` (no-color.org), and the console of Linux, whose font has no
    /// Braille.
    pub fn of_environment() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let look = if is_set("NO_COLOR") { Self::plain() } else { Self::colored() };
        let is_console = std::env::var_os("TERM").is_some_and(|term| term == "linux");
        Self { marker: if is_console { Marker::Dot } else { Marker::Braille }, ..look }
    }
}
