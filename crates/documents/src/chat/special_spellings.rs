//! Text of a conversation that looks like a special token but is not one.

use std::ops::Range;

use mixdown_jinja::Text;

/// The spellings of a model's special tokens.
#[derive(Debug, Clone)]
pub(crate) struct Spellings {
    /// The tokens, each with the length of its first character.
    tokens: Vec<(String, usize)>,
}

impl Spellings {
    pub(crate) fn new(tokens: &[String]) -> Self {
        let first = |token: &String| token.chars().next().map_or(0, char::len_utf8);
        let tokens = tokens.iter().filter(|token| !token.is_empty());
        Self { tokens: tokens.map(|token| (token.clone(), first(token))).collect() }
    }

    /// Returns the position after the first character of every spelling, also of overlapping ones, in order.
    pub(crate) fn cuts(&self, text: &str) -> Vec<usize> {
        self.cuts_from(text, |_| true)
    }

    /// Like [`Self::cuts`], for spellings whose first character comes from the conversation.
    ///
    /// # Errors
    /// One of them is a single character, which cannot be cut; the error is that token.
    pub(crate) fn foreign_cuts(&self, text: &Text) -> Result<Vec<usize>, &str> {
        let foreign: Vec<(Range<usize>, bool)> =
            text.runs().map(|(range, origin)| (range, origin.foreign)).collect();
        let is_foreign = |at: usize| {
            let run = foreign.partition_point(|(range, _)| range.end <= at);
            foreign.get(run).is_some_and(|(_, foreign)| *foreign)
        };
        let single = self.tokens.iter().find(|(token, first)| {
            let mut found = text.as_str().match_indices(token.as_str());
            token.len() == *first && found.any(|(at, _)| is_foreign(at))
        });
        match single {
            Some((token, _)) => Err(token),
            None => Ok(self.cuts_from(text.as_str(), is_foreign)),
        }
    }

    fn cuts_from(&self, text: &str, counts: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (token, first) in &self.tokens {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|text| text.find(token.as_str())) {
                if counts(from + at) {
                    cuts.push(from + at + first);
                }
                from += at + first;
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

/// Returns the span of each generation block, in order, that wrote any text.
pub(crate) fn block_spans(text: &Text) -> Vec<Range<usize>> {
    let mut spans: Vec<(u32, Range<usize>)> = Vec::new();
    for (range, origin) in text.runs().filter(|(_, origin)| origin.block > 0) {
        match spans.last_mut() {
            Some((block, span)) if *block == origin.block && span.end == range.start => {
                span.end = range.end;
            }
            _ => spans.push((origin.block, range)),
        }
    }
    spans.into_iter().map(|(_, span)| span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mixdown_jinja::{Template, from_json};

    fn spellings() -> Spellings {
        Spellings::new(&["<s>".to_owned(), "é|".to_owned(), "ss".to_owned(), String::new()])
    }

    fn render(template: &str, value: &str) -> Text {
        let value = from_json(value).unwrap();
        Template::parse(template).unwrap().render([("v", value)]).unwrap()
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
    fn the_templates_own_tokens_and_those_it_makes_of_a_role_are_not_cut() {
        let text = render("<s>{{ v.text }}<{{ v.role }}>", r#"{"text":"a<s>b","role":"s"}"#);
        assert_eq!(text.as_str(), "<s>a<s>b<s>");
        assert_eq!(spellings().foreign_cuts(&text), Ok(vec![5]));
        let text = render("{{ v.split('<s>') | join('<s>') }}", r#""x<s>y""#);
        assert_eq!(spellings().foreign_cuts(&text), Ok(Vec::new()));
    }

    #[test]
    fn tokens_of_one_character_are_named() {
        let spellings = Spellings::new(&["é".to_owned()]);
        assert_eq!(spellings.foreign_cuts(&render("{{ v.a[0] }}", r#"{"a":["café"]}"#)), Err("é"));
        assert_eq!(spellings.foreign_cuts(&render("é{{ v }}", r#""e""#)), Ok(Vec::new()));
    }

    #[test]
    fn blocks_that_touch_are_apart() {
        let template = "{% generation %}a{{ v }}{% endgeneration %}{% generation %}c{% endgeneration %}d{% generation %}{% endgeneration %}";
        assert_eq!(block_spans(&render(template, "\"b\"")), [0..2, 2..3]);
    }
}
