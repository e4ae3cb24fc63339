//! What in a rendered chat came from the conversation and only looks like a special token.
//!
//! A character that occurs nowhere else is put inside every spelling of a special token in the
//! conversation's strings, travels through the template with it, and is taken out again: where it
//! stood no special token is. The same way a pair of characters encloses generation blocks.

use std::ops::Range;

use minijinja::Value;
use minijinja::value::ValueKind;

/// Unicode's noncharacters for internal use; text has no business holding them, but may.
const CANDIDATES: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Three characters that occur neither in the template nor in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) cut: char,
    pub(crate) open: char,
    pub(crate) close: char,
}

impl Marks {
    /// Marks for a template's text and the values that it renders; `None` if there are no three.
    pub(crate) fn for_values<'v>(
        template: &str,
        values: impl IntoIterator<Item = &'v Value>,
    ) -> Option<Self> {
        let mut used: Vec<char> = template.chars().filter(is_candidate).collect();
        for value in values {
            visit(value, &mut |text| used.extend(text.chars().filter(is_candidate)));
        }
        let mut free = CANDIDATES.filter(|c| !used.contains(c));
        Some(Self { cut: free.next()?, open: free.next()?, close: free.next()? })
    }
}

fn is_candidate(c: &char) -> bool {
    CANDIDATES.contains(c)
}

fn visit(value: &Value, look: &mut dyn FnMut(&str)) {
    match value.kind() {
        ValueKind::String => look(value.as_str().unwrap_or_default()),
        ValueKind::Seq => items(value).for_each(|item| visit(&item, look)),
        ValueKind::Map => items(value).for_each(|key| {
            visit(&key, look);
            visit(&value.get_item(&key).unwrap_or_default(), look);
        }),
        _ => {}
    }
}

/// Items of a list, keys of a map.
pub(crate) fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten()
}

/// The spellings of a model's special tokens.
#[derive(Debug, Clone)]
pub(crate) struct Spellings {
    /// The tokens with the length of their first character.
    tokens: Vec<(String, usize)>,
}

impl Spellings {
    pub(crate) fn new(tokens: &[String]) -> Self {
        let first = |token: &String| token.chars().next().map_or(0, char::len_utf8);
        let tokens = tokens.iter().filter(|token| !token.is_empty());
        Self { tokens: tokens.map(|token| (token.clone(), first(token))).collect() }
    }

    /// A special token of a single character that a string of `value` holds: no mark fits inside.
    pub(crate) fn unmarkable(&self, value: &Value) -> Option<&str> {
        let mut found = None;
        visit(value, &mut |text| {
            let single = |(token, first): &&(String, usize)| token.len() == *first;
            let held = |(token, _): &&(String, usize)| text.contains(token.as_str());
            let token = self.tokens.iter().filter(single).find(held);
            found = found.or(token.map(|(token, _)| token.as_str()));
        });
        found
    }

    /// The places after the first character of every spelling, overlapping ones too, in order.
    pub(crate) fn cuts(&self, text: &str) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (token, first) in &self.tokens {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|text| text.find(token.as_str())) {
                cuts.push(from + at + first);
                from += at + first;
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The value with the mark inside every spelling of a special token; keys stay as they are.
    pub(crate) fn marked(&self, value: &Value, mark: char) -> Value {
        match value.kind() {
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                let cuts = self.cuts(text);
                if cuts.is_empty() { value.clone() } else { with_marks(text, &cuts, mark).into() }
            }
            ValueKind::Seq => items(value).map(|item| self.marked(&item, mark)).collect(),
            ValueKind::Map => Value::from_pairs(items(value).map(|key| {
                let item = value.get_item(&key).unwrap_or_default();
                (key, self.marked(&item, mark))
            })),
            _ => value.clone(),
        }
    }
}

fn with_marks(text: &str, cuts: &[usize], mark: char) -> String {
    let mut marked = String::with_capacity(text.len() + 3 * cuts.len());
    let mut done = 0;
    for &cut in cuts {
        marked.push_str(text.get(done..cut).unwrap_or_default());
        marked.push(mark);
        done = cut;
    }
    marked.push_str(text.get(done..).unwrap_or_default());
    marked
}

/// A rendered text without its marks, and where they stood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unmarked {
    pub(crate) text: String,
    /// Places of the cuts, in order.
    pub(crate) cuts: Vec<usize>,
    /// What stood between an opening mark and its closing one; within each other the outermost.
    pub(crate) spans: Vec<Range<usize>>,
}

impl Unmarked {
    pub(crate) fn new(rendered: &str, marks: Marks) -> Self {
        let mut unmarked = Self::default();
        let mut open = Vec::new();
        let mut rest = rendered;
        let marks_all = [marks.cut, marks.open, marks.close];
        while let Some(at) = rest.find(marks_all) {
            let (before, from) = rest.split_at(at);
            unmarked.text.push_str(before);
            let here = unmarked.text.len();
            let mut after = from.chars();
            match after.next() {
                Some(mark) if mark == marks.cut => unmarked.cuts.push(here),
                Some(mark) if mark == marks.open => open.push(here),
                _ => match open.pop() {
                    Some(start) if open.is_empty() => unmarked.add_span(start..here),
                    _ => {}
                },
            }
            rest = after.as_str();
        }
        unmarked.text.push_str(rest);
        unmarked.cuts.dedup();
        unmarked
    }

    fn add_span(&mut self, span: Range<usize>) {
        if !span.is_empty() {
            self.spans.push(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spellings() -> Spellings {
        Spellings::new(&["<s>".to_owned(), "é|".to_owned(), "ss".to_owned(), String::new()])
    }

    #[test]
    fn every_spelling_is_cut_after_its_first_character() {
        for (text, cuts) in [
            ("", &[][..]),
            ("<s", &[]),
            ("a<s>b<s><s>", &[2, 6, 9]),
            ("é|é|", &[2, 5]),
            ("sss", &[1, 2]),
            ("<ss>", &[2]),
        ] {
            assert_eq!(spellings().cuts(text), cuts, "{text}");
        }
    }

    #[test]
    fn marks_come_out_where_they_went_in() {
        let value: Value =
            serde_json::from_str(r#"[{"b":"x<s>y","a":["é|",1,null]},"<s>"]"#).unwrap();
        let marks = Marks::for_values("", [&value]).unwrap();
        let marked = spellings().marked(&value, marks.cut).to_string();
        let unmarked = Unmarked::new(&marked, marks);
        assert_eq!(unmarked.text, value.to_string());
        let places: Vec<_> = unmarked.cuts.iter().map(|&cut| &unmarked.text[cut..]).collect();
        assert!(places[0].starts_with("s>y") && places[1].starts_with('|'), "{places:?}");
        assert!(places[2].starts_with("s>") && places.len() == 3, "{places:?}");
    }

    #[test]
    fn marks_that_are_taken_are_passed_over() {
        let value: Value = serde_json::from_str("{\"a\u{fdd1}\":\"\u{fdd0}\"}").unwrap();
        let marks = Marks::for_values("\u{fdd3}", [&value]).unwrap();
        assert_eq!((marks.cut, marks.open, marks.close), ('\u{fdd2}', '\u{fdd4}', '\u{fdd5}'));
        let all: String = CANDIDATES.collect();
        assert_eq!(Marks::for_values(&all, []), None);
    }

    #[test]
    fn spans_are_the_outermost_and_never_empty() {
        let marks = Marks { cut: '!', open: '(', close: ')' };
        let unmarked = Unmarked::new("a(b(c!)d)e()f(g", marks);
        assert_eq!(unmarked.text, "abcdefg");
        assert_eq!(unmarked.cuts, [3]);
        assert!(unmarked.spans.iter().eq([&(1..4)]));
    }

    #[test]
    fn tokens_of_one_character_are_named() {
        let spellings = Spellings::new(&["é".to_owned()]);
        let value: Value = serde_json::from_str(r#"{"a":["café"]}"#).unwrap();
        assert_eq!(spellings.unmarkable(&value), Some("é"));
        assert_eq!(spellings.unmarkable(&Value::from("e")), None);
    }
}
