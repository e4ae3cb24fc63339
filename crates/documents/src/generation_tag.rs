//! `{% generation %}` blocks, which mark what a model writes, in terms of tags that minijinja has.

/// The function that a rewritten block calls with what it holds.
pub(crate) const FUNCTION: &str = "__generation";
/// Variables with the marks before and after a block; as arguments they reach into macros too.
pub(crate) const OPEN: &str = "__generation_open";
/// See [`OPEN`].
pub(crate) const CLOSE: &str = "__generation_close";

/// The template with `{% generation %} … {% endgeneration %}` as calls of [`FUNCTION`], and how many
/// such blocks there are. Line numbers and white space control stay as they are.
pub(crate) fn rewrite(template: &str) -> (String, usize) {
    let mut out = String::with_capacity(template.len() + 64);
    let (mut rest, mut blocks) = (template, 0);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let len = if from.starts_with("{#") {
            from.find("#}").map_or(from.len(), |end| end + 2)
        } else if from.starts_with("{{") {
            end_of_tag(from, "}}")
        } else if from.starts_with("{%") {
            end_of_block(from)
        } else {
            1
        };
        let (tag, later) = from.split_at(len);
        match renamed(tag) {
            Some((name, renamed)) => {
                blocks += usize::from(name == "generation");
                out.push_str(&renamed);
            }
            None => out.push_str(tag),
        }
        rest = later;
    }
    out.push_str(rest);
    (out, blocks)
}

/// A generation tag's own name, and the tag as it shall be.
fn renamed(tag: &str) -> Option<(&'static str, String)> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let name = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    match name {
        "generation" => {
            let call = format!("call {FUNCTION}({OPEN}, {CLOSE})");
            Some(("generation", tag.replacen("generation", &call, 1)))
        }
        "endgeneration" => Some(("endgeneration", tag.replacen("endgeneration", "endcall", 1))),
        _ => None,
    }
}

/// The length of a block tag; of `{% raw %}` everything up to the end of `{% endraw %}`.
fn end_of_block(from: &str) -> usize {
    let len = end_of_tag(from, "%}");
    let (tag, rest) = from.split_at(len);
    if block_name(tag) != "raw" {
        return len;
    }
    let mut searched = 0;
    while let Some(at) = rest.get(searched..).and_then(|rest| rest.find("{%")) {
        let start = searched + at;
        let Some(tag) = rest.get(start..) else { break };
        let tag = tag.split_at(end_of_tag(tag, "%}")).0;
        if block_name(tag) == "endraw" {
            return len + start + tag.len();
        }
        searched = start + 2;
    }
    from.len()
}

fn block_name(tag: &str) -> &str {
    let inner = tag.trim_start_matches("{%").trim_start_matches(['-', '+']).trim_start();
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    inner.split_at(end).0
}

/// The length of a tag that ends with `close` outside of strings; all there is where it does not.
fn end_of_tag(from: &str, close: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in from.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if from.get(at..).is_some_and(|rest| rest.starts_with(close)) => {
                return at + close.len();
            }
            None => {}
        }
    }
    from.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_calls_and_keep_their_white_space_control() {
        let cases = [
            ("a{% generation %}b{% endgeneration %}c", 1),
            ("{%- generation -%}\n{{ x }}\n{%+endgeneration+%}", 1),
            ("{%generation%}{% endgeneration%}{%- generation %}{%endgeneration -%}", 2),
        ];
        for (template, blocks) in cases {
            let call = "call __generation(__generation_open, __generation_close)";
            let expected = template.replace("endgeneration", "endcall").replace("generation", call);
            assert_eq!(rewrite(template), (expected, blocks), "{template}");
        }
    }

    #[test]
    fn whatever_is_no_such_tag_stays() {
        for template in [
            "",
            "{",
            "plain generation",
            "{# {% generation %} #}{{ '{% generation %}' }}",
            "{% set x = \"%}{% generation %}\" %}",
            "{% raw %}{% generation %}{% endgeneration %}{% endraw %}",
            "{% raw %}{% generation %}",
            "{% generations %}{% if generation %}{% endif %}",
            "{% set x = 'a\\'%}{% generation %}' %}",
            "{% generation",
            "{# {% generation %}",
            "é{é{%é",
        ] {
            assert_eq!(rewrite(template), (template.to_owned(), 0), "{template}");
        }
        let mixed = "{% raw %}{% x %}{%- endraw -%}{% generation %}";
        assert_eq!(rewrite(mixed).1, 1);
    }
}
