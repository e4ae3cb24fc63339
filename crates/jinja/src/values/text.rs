//! Strings that know the origin of each of their characters.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Result, fail};

/// The longest string that a template may build: 1 GiB.
pub const MAX_TEXT_BYTES: usize = 1 << 30;

/// The origin of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Whether they come from the values that the template received, rather than from the template.
    pub foreign: bool,
    /// The number of the outermost `{% generation %}` block that wrote them, counted from 1 in the order in which
    /// blocks were entered; 0 outside of blocks.
    pub block: u32,
}

impl Origin {
    /// The origin of characters that come from the values that the template received.
    pub const FOREIGN: Self = Self { foreign: true, block: 0 };
}

/// Characters of one origin, up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OriginRun {
    end: usize,
    origin: Origin,
}

/// A string whose characters know their origin. Clones are cheap.
#[derive(Clone)]
pub struct Text {
    text: Arc<str>,
    /// Empty if the template wrote all of it.
    runs: Arc<[OriginRun]>,
}

impl Text {
    /// Makes a string whose characters all have one origin.
    ///
    /// ```
    /// use mixdown_jinja::{Origin, Text};
    ///
    /// let text = Text::new("Ada", Origin::FOREIGN);
    /// assert!(text.origin_at(0).foreign);
    /// ```
    pub fn new(text: &str, origin: Origin) -> Self {
        Self::shared(text.into(), origin)
    }

    pub(crate) fn shared(text: Arc<str>, origin: Origin) -> Self {
        let own = origin == Origin::default() || text.is_empty();
        let runs: Arc<[OriginRun]> =
            if own { Arc::default() } else { Arc::new([OriginRun { end: text.len(), origin }]) };
        Self { text, runs }
    }

    /// Returns the characters.
    ///
    /// ```
    /// use mixdown_jinja::{Origin, Text};
    ///
    /// assert_eq!(Text::new("Ada", Origin::default()).as_str(), "Ada");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the ranges of bytes with one origin each, in order.
    ///
    /// ```
    /// use mixdown_jinja::{Origin, Text};
    ///
    /// let text = Text::new("Ada", Origin::FOREIGN);
    /// assert_eq!(text.runs().collect::<Vec<_>>(), [(0..3, Origin::FOREIGN)]);
    /// ```
    pub fn runs(&self) -> impl Iterator<Item = (Range<usize>, Origin)> {
        let own = self.runs.is_empty() && !self.text.is_empty();
        let own = own.then(|| (0..self.text.len(), Origin::default()));
        let starts = std::iter::once(0).chain(self.runs.iter().map(|run| run.end));
        own.into_iter()
            .chain(starts.zip(&*self.runs).map(|(start, run)| (start..run.end, run.origin)))
    }

    /// Returns the origin of the byte at a position; after the end it is the template's own.
    ///
    /// ```
    /// use mixdown_jinja::{Origin, Text};
    ///
    /// assert_eq!(Text::new("Ada", Origin::FOREIGN).origin_at(3), Origin::default());
    /// ```
    pub fn origin_at(&self, at: usize) -> Origin {
        let run = self.runs.partition_point(|run| run.end <= at);
        self.runs.get(run).map_or_else(Origin::default, |run| run.origin)
    }

    /// Returns the part between two positions, which must be character boundaries.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        if range == (0..self.text.len()) {
            return self.clone();
        }
        let mut builder = TextBuilder::default();
        builder.push_slice(self, range);
        builder.text_so_far()
    }

    /// Returns the part of this string that `part`, a slice of [`Self::as_str`], covers.
    pub(crate) fn part(&self, part: &str) -> Self {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.slice(start..start + part.len())
    }

    /// Returns the characters with their positions and origins.
    pub(crate) fn chars(&self) -> impl Iterator<Item = (char, Origin)> {
        self.text.char_indices().map(|(at, c)| (c, self.origin_at(at)))
    }

    /// Returns the same characters with a generation block as their origin.
    pub(crate) fn in_block(&self, block: u32) -> Self {
        let runs: Vec<OriginRun> = self
            .runs()
            .map(|(range, origin)| OriginRun { end: range.end, origin: Origin { block, ..origin } })
            .collect();
        let mut merged = TextBuilder::default();
        let mut start = 0;
        for run in runs {
            merged.push_str(self.text.get(start..run.end).unwrap_or_default(), run.origin);
            start = run.end;
        }
        merged.text_so_far()
    }
}

impl PartialEq for Text {
    /// Strings are equal if their characters are; their origins do not matter.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl From<&str> for Text {
    /// Makes a text whose origin is the template.
    fn from(text: &str) -> Self {
        Self::new(text, Origin::default())
    }
}

/// A string that grows up to [`MAX_TEXT_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct TextBuilder {
    text: String,
    runs: Vec<OriginRun>,
    /// Whether something was left out because the whole would have become too long.
    overflow: bool,
}

impl TextBuilder {
    pub(crate) fn push_str(&mut self, text: &str, origin: Origin) {
        if self.has_room(text.len()) {
            self.text.push_str(text);
            self.extend_run(origin);
        }
    }

    /// Appends text that the template, or Python, writes itself.
    pub(crate) fn push_own(&mut self, text: &str) {
        self.push_str(text, Origin::default());
    }

    pub(crate) fn push_char(&mut self, c: char, origin: Origin) {
        if self.has_room(c.len_utf8()) {
            self.text.push(c);
            self.extend_run(origin);
        }
    }

    pub(crate) fn push_repeated(&mut self, text: &str, count: usize, origin: Origin) {
        if self.has_room(text.len().saturating_mul(count)) && !text.is_empty() {
            self.text.extend(std::iter::repeat_n(text, count));
            self.extend_run(origin);
        }
    }

    pub(crate) fn push(&mut self, text: &Text) {
        self.push_slice(text, 0..text.text.len());
    }

    pub(crate) fn push_slice(&mut self, text: &Text, range: Range<usize>) {
        let mut at = range.start;
        let first = text.runs.partition_point(|run| run.end <= at);
        for run in text.runs.iter().skip(first) {
            let end = run.end.min(range.end);
            if at >= end {
                break;
            }
            self.push_str(text.text.get(at..end).unwrap_or_default(), run.origin);
            at = end;
        }
        self.push_own(text.text.get(at..range.end).unwrap_or_default());
    }

    fn has_room(&mut self, more: usize) -> bool {
        self.overflow |= self.text.len().saturating_add(more) > MAX_TEXT_BYTES;
        !self.overflow
    }

    fn extend_run(&mut self, origin: Origin) {
        let end = self.text.len();
        match self.runs.last_mut() {
            Some(last) if last.end == end => {}
            Some(last) if last.origin == origin => last.end = end,
            _ if end > 0 => self.runs.push(OriginRun { end, origin }),
            _ => {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the string.
    ///
    /// # Errors
    /// It is longer than [`MAX_TEXT_BYTES`].
    pub(crate) fn finish(self) -> Result<Text> {
        if self.overflow {
            return fail(format!(
                "expected at most {MAX_TEXT_BYTES} bytes (1 GiB) of text, got more"
            ));
        }
        Ok(self.text_so_far())
    }

    /// Returns the string, which cannot be too long, as it is part of another one.
    pub(crate) fn text_so_far(self) -> Text {
        let own = self.runs.iter().all(|run| run.origin == Origin::default());
        let runs = if own { Arc::default() } else { self.runs.into() };
        Text { text: self.text.into(), runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_keeps_its_origin() {
        let mut builder = TextBuilder::default();
        builder.push_own("<a>");
        builder.push(&Text::new("é!", Origin::FOREIGN));
        builder.push_own("");
        builder.push(&Text::new("x", Origin::FOREIGN));
        builder.push_own("z");
        let text = builder.finish().unwrap();
        assert_eq!(text.as_str(), "<a>é!xz");
        let runs: Vec<_> = text.runs().map(|(range, origin)| (range, origin.foreign)).collect();
        assert_eq!(runs, [(0..3, false), (3..7, true), (7..8, false)]);
        let runs: Vec<_> = text.slice(2..5).runs().map(|(range, o)| (range, o.foreign)).collect();
        assert_eq!(runs, [(0..1, false), (1..3, true)]);
        assert!(text.part(text.as_str().trim_start_matches("<a>")).origin_at(0).foreign);
        assert!(!text.origin_at(99).foreign && Text::from("").runs().next().is_none());
        let block = text.slice(2..5).in_block(3);
        assert!(block.runs().all(|(_, origin)| origin.block == 3) && block.runs().count() == 2);
    }

    #[test]
    fn strings_end_at_their_limit() {
        let mut builder = TextBuilder::default();
        builder.push_repeated("ab", 1 << 40, Origin::default());
        builder.push_own("c");
        let error = builder.finish().unwrap_err();
        assert!(error.to_string().contains("1073741824"), "{error}");
    }
}
