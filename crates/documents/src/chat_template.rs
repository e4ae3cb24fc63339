//! A model's chat template: Jinja as `transformers` sets it up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value};

use crate::content_marks::Marks;
use crate::document::RecordFault;
use crate::error::Error;
use crate::generation_tag::{self, CLOSE, FUNCTION, OPEN};
use crate::python_json::tojson;
use crate::template_date::TemplateDate;

/// A chat template with what its model says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplateSource {
    /// The file that the template stands in, for messages.
    pub path: PathBuf,
    /// The template.
    pub text: String,
    /// The model's special tokens by their roles (`bos_token`), which the template may name.
    pub tokens: BTreeMap<String, String>,
    /// The day that the template is told. Without one it finds no `strftime_now`, as with older
    /// versions of `transformers`: most templates then name a day of their own.
    pub date: Option<TemplateDate>,
}

/// A compiled chat template. Rendering takes `&self`: one serves all threads.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    text: String,
    tokens: BTreeMap<String, String>,
    generation_blocks: usize,
}

/// The template's name: without an ending that would turn escaping on.
const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// Its syntax is wrong.
    pub(crate) fn new(source: &ChatTemplateSource) -> Result<Self, Error> {
        let (rewritten, generation_blocks) = generation_tag::rewrite(&source.text);
        let bad = |error: minijinja::Error| Error::ChatTemplate {
            path: source.path.clone(),
            line: line_of(&error),
            got: words_of(&error),
        };
        let mut environment = environment(source.date).map_err(bad)?;
        environment.add_template_owned(NAME, rewritten).map_err(bad)?;
        let (text, tokens) = (source.text.clone(), source.tokens.clone());
        Ok(Self { environment, text, tokens, generation_blocks })
    }

    /// Whether the template says itself what the model writes.
    pub(crate) fn has_generation_blocks(&self) -> bool {
        self.generation_blocks > 0
    }

    /// The template as it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text of a conversation, with marks around generation blocks.
    pub(crate) fn render(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        marks: Marks,
        prompt: GenerationPrompt,
    ) -> Result<String, RecordFault> {
        let variable = |name: &str, value| (name.to_owned(), value);
        let tokens = self.tokens.iter().map(|(role, token)| variable(role, Value::from(&**token)));
        let variables = tokens.chain([
            variable("messages", messages.iter().cloned().collect()),
            variable("tools", tools.cloned().unwrap_or(Value::from(()))),
            variable("documents", Value::from(())),
            variable("add_generation_prompt", Value::from(prompt == GenerationPrompt::Add)),
            variable(OPEN, Value::from(marks.open.to_string())),
            variable(CLOSE, Value::from(marks.close.to_string())),
        ]);
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(variables)))
            .map_err(|error| RecordFault::ChatTemplate {
                line: line_of(&error),
                got: words_of(&error),
            })
    }
}

/// Whether a rendering ends with what asks the model for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerationPrompt {
    Add,
    Leave,
}

fn environment(date: Option<TemplateDate>) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(format_as_python);
    environment.add_filter("tojson", |value: &Value, options: Kwargs| tojson(value, options));
    environment.add_function("raise_exception", raise_exception);
    environment.add_function(FUNCTION, generation);
    if let Some(date) = date {
        environment.add_function("strftime_now", move |pattern: &str| {
            date.format(pattern).map_err(|directive| {
                let words = format!("strftime_now: the directive {directive} is not known");
                minijinja::Error::new(ErrorKind::InvalidOperation, words)
            })
        });
    }
    Ok(environment)
}

/// Prints what Python's `str` gives for the values that Jinja prints in another way.
fn format_as_python(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let written = match value.kind() {
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        _ => return minijinja::escape_formatter(out, state, value),
    };
    written.map_err(minijinja::Error::from)
}

fn raise_exception(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("\"{message}\"")))
}

/// What stands in a generation block, between its marks.
fn generation(
    state: &mut State<'_, '_>,
    open: &str,
    close: &str,
    block: Kwargs,
) -> Result<String, minijinja::Error> {
    let text = block.get::<Value>("caller")?.call(state, &[])?;
    Ok(format!("{open}{text}{close}"))
}

fn line_of(error: &minijinja::Error) -> Option<u64> {
    error.line().and_then(|line| u64::try_from(line).ok())
}

/// The engine's words, and the way out where there is one.
fn words_of(error: &minijinja::Error) -> String {
    let mut words = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if error.kind() == ErrorKind::UnknownFunction && words.contains("strftime_now") {
        words.push_str(": name the day that it shall be told (--template-date 2026-01-31)");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> ChatTemplateSource {
        ChatTemplateSource {
            path: "chat_template.jinja".into(),
            text: text.to_owned(),
            tokens: [("bos_token".to_owned(), "<s>".to_owned())].into(),
            date: None,
        }
    }

    const MARKS: Marks = Marks { cut: '!', open: '(', close: ')' };

    fn render(text: &str, messages: &str) -> Result<String, RecordFault> {
        render_source(&source(text), messages)
    }

    fn render_source(source: &ChatTemplateSource, messages: &str) -> Result<String, RecordFault> {
        let messages: Vec<Value> = serde_json::from_str(messages).unwrap();
        ChatTemplate::new(source).unwrap().render(&messages, None, MARKS, GenerationPrompt::Add)
    }

    #[test]
    fn templates_find_what_transformers_gives_them() {
        let messages = r#"[{"role":"user","content":" a "},{"role":"x","content":"b","n":null}]"#;
        let cases = [
            ("{{ bos_token }}{{ eos_token }}|", "<s>|"),
            (
                "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m['content'] | trim }}\n  {% endif %}\n{% endfor %}\n.",
                "a\n.",
            ),
            ("{{ messages[0].content.strip() + messages[-1]['role'].upper() }}", "aX"),
            (
                "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                "user",
            ),
            ("{{ tools is none }} {{ tools is defined }} {{ date is defined }}", "True True False"),
            (
                "{{ add_generation_prompt }} {{ messages[1].n }} {{ 1.0 }} {{ 'a' in 'abc' }}",
                "True None 1.0 True",
            ),
            (
                "{% set ns = namespace(n=1) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            (
                "{{ messages | tojson }}",
                "[{\"role\": \"user\", \"content\": \" a \"}, {\"role\": \"x\", \"content\": \"b\", \"n\": null}]",
            ),
            ("{%- macro f(x) -%}[{{ x }}]{%- endmacro -%}{{ f('<é&>') }}", "[<é&>]"),
            ("{{ 'y' if messages[0].tool_calls else 'n' }}{{ messages[0].nothing }}", "n"),
            ("{{ '%s-%s' | format('a', 1) }}{{ (messages | length) % 2 }}", "a-10"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, messages).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn generation_blocks_are_marked_wherever_they_stand() {
        let template = "{% macro turn(m) %}\n{% generation %}\n{{ m.content }}!\n{%- endgeneration %}\n{% endmacro %}
{%- for m in messages -%}
{{ loop.index }}{{ turn(m) }}{% generation -%} {{ m.role }} {{ loop.index }}{%- endgeneration %}
{%- endfor %}";
        let messages = r#"[{"role":"u","content":"a"},{"role":"v","content":"b"}]"#;
        assert_eq!(render(template, messages).unwrap(), "1(a!)(u 1)2(b!)(v 2)");
    }

    #[test]
    fn the_day_is_an_option() {
        let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}";
        assert_eq!(render(template, "[]").unwrap(), "26 Jul 2024");
        let mut source = source(template);
        source.date = Some("2026-01-31".parse().unwrap());
        assert_eq!(render_source(&source, "[]").unwrap(), "31 Jan 2026");
        let fault = render("{{ strftime_now('%d') }}", "[]").unwrap_err().to_string();
        assert!(fault.contains("--template-date"), "{fault}");
        source.text = "{{ strftime_now('%Q') }}".to_owned();
        assert!(render_source(&source, "[]").unwrap_err().to_string().contains("%Q"));
    }

    #[test]
    fn wrong_syntax_is_named_with_its_line() {
        for (text, line) in
            [("a\n{% if x %}\n{% endfor %}", 3), ("{{ 'a }}", 1), ("\n{% foo %}", 2)]
        {
            let error = ChatTemplate::new(&source(text)).unwrap_err();
            assert!(error.is_configuration());
            let message = error.to_string();
            assert!(
                message.starts_with(&format!("chat_template.jinja: line {line}: ")),
                "{message}"
            );
        }
        let error = ChatTemplate::new(&source("{% generation %}")).unwrap_err().to_string();
        assert!(error.contains("end"), "{error}");
    }

    #[test]
    fn what_a_template_raises_is_quoted() {
        let template = "\n{{ raise_exception('Only user and assistant roles!') }}";
        let fault = render(template, "[]").unwrap_err().to_string();
        assert_eq!(
            fault,
            "the chat template refuses it in its line 2: \"Only user and assistant roles!\""
        );
        for template in ["{{ messages[0].role.x.y }}", "{{ 'a' + messages }}", "{{ nothing() }}"] {
            let fault = render(template, "[]").unwrap_err();
            assert!(matches!(fault, RecordFault::ChatTemplate { .. }), "{template}: {fault}");
        }
    }
}
