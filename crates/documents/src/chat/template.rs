//! A model's chat template, with Jinja set up as in `transformers`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mixdown_jinja::{Template, Text, Value};

use crate::chat::date::TemplateDate;
use crate::error::Error;
use crate::reading::document::RecordFault;

/// A chat template with the model's settings for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplateSource {
    /// The template's file, for messages.
    pub path: PathBuf,
    /// The template.
    pub text: String,
    /// The template for conversations with tools, if the model has a separate one.
    pub tool_use: Option<ToolTemplate>,
    /// The model's special tokens by role (`bos_token`), which the template can use.
    pub tokens: BTreeMap<String, String>,
    /// The date that the template receives. Without one, `strftime_now` is undefined, as in older versions of
    /// `transformers`: most templates then use a fixed date.
    pub date: Option<TemplateDate>,
}

/// A chat template for conversations with tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolTemplate {
    /// The template's file, for messages.
    pub path: PathBuf,
    /// The template.
    pub text: String,
}

/// A parsed chat template. Rendering takes `&self`, so one template serves all threads.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    template: Template,
    /// The template for conversations with tools.
    tool_use: Option<Template>,
    tokens: BTreeMap<String, String>,
    date: Option<TemplateDate>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// Its syntax is wrong.
    pub(crate) fn new(source: &ChatTemplateSource) -> Result<Self, Error> {
        let parsed = |path: &PathBuf, text: &str| {
            Template::parse(text).map_err(|error| Error::ChatTemplate {
                path: path.clone(),
                line: error.line,
                got: error.got,
            })
        };
        let tool_use = source.tool_use.as_ref();
        Ok(Self {
            template: parsed(&source.path, &source.text)?,
            tool_use: tool_use.map(|own| parsed(&own.path, &own.text)).transpose()?,
            tokens: source.tokens.clone(),
            date: source.date,
        })
    }

    /// Returns the template for a conversation with or without tools, chosen as in `transformers`.
    fn template(&self, tools: Option<&Value>) -> &Template {
        self.tool_use.as_ref().filter(|_| tools.is_some()).unwrap_or(&self.template)
    }

    /// Returns whether the template itself marks what the model writes.
    pub(crate) fn has_generation_blocks(&self, tools: Option<&Value>) -> bool {
        self.template(tools).generation_blocks() > 0
    }

    /// Renders a conversation.
    pub(crate) fn render(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        prompt: GenerationPrompt,
    ) -> Result<Text, RecordFault> {
        let tokens = self.tokens.iter().map(|(role, token)| (role.as_str(), Value::own(token)));
        let day = self.date.map(|date| ("strftime_now", day_function(date)));
        let variables = tokens.chain(day).chain([
            ("messages", Value::list(messages.to_vec())),
            ("tools", tools.cloned().unwrap_or(Value::None)),
            ("documents", Value::None),
            ("add_generation_prompt", Value::Bool(prompt == GenerationPrompt::Add)),
            ("raise_exception", Value::function("raise_exception", raise_exception)),
        ]);
        self.template(tools).render(variables).map_err(|error| RecordFault::ChatTemplate {
            line: error.line,
            got: with_way_out(error.got),
        })
    }
}

/// Whether a rendering ends with the prompt for the model's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerationPrompt {
    Add,
    Leave,
}

fn raise_exception(values: &[Value]) -> Result<Value, String> {
    Err(match values.first().and_then(Value::as_str) {
        Some(message) => format!("\"{message}\""),
        None => "an exception without a message".to_owned(),
    })
}

fn day_function(date: TemplateDate) -> Value {
    Value::function("strftime_now", move |values| {
        let Some(pattern) = values.first().and_then(Value::as_str) else {
            return Err("strftime_now: expected a format".to_owned());
        };
        let day = date.format(pattern);
        let unknown = |directive| format!("strftime_now: the directive {directive} is not known");
        day.map(|day| Value::own(&day)).map_err(unknown)
    })
}

/// Adds a hint to the template engine's message, where there is one.
fn with_way_out(mut words: String) -> String {
    if words == "'strftime_now' is undefined" {
        words.push_str(
            ": name the day that the template is told (the option template_date: 2026-01-31)",
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use mixdown_jinja::from_json;

    fn source(text: &str) -> ChatTemplateSource {
        ChatTemplateSource {
            path: "chat_template.jinja".into(),
            text: text.to_owned(),
            tool_use: None,
            tokens: [("bos_token".to_owned(), "<s>".to_owned())].into(),
            date: None,
        }
    }

    fn render(text: &str, messages: &str) -> Result<String, RecordFault> {
        render_source(&source(text), messages, None)
    }

    fn render_source(
        source: &ChatTemplateSource,
        messages: &str,
        tools: Option<Value>,
    ) -> Result<String, RecordFault> {
        let messages = from_json(messages).unwrap().as_items().unwrap().to_vec();
        let template = ChatTemplate::new(source).unwrap();
        let text = template.render(&messages, tools.as_ref(), GenerationPrompt::Add)?;
        Ok(text.as_str().to_owned())
    }

    #[test]
    fn templates_find_what_transformers_gives_them() {
        let messages = r#"[{"role":"user","content":" a "},{"role":"x","content":"b","n":null}]"#;
        let cases = [
            ("{{ bos_token }}{{ eos_token }}|", "<s>|"),
            ("{{ tools is none }} {{ tools is defined }} {{ date is defined }}", "True True False"),
            ("{{ documents }}{{ add_generation_prompt }} {{ messages[1].n }}", "NoneTrue None"),
            ("{{ messages[0]['content'] | trim ~ messages | length }}", "a2"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, messages).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn conversations_with_tools_take_the_template_for_tools() {
        let mut source = source("{{ tools }}{% generation %}{% endgeneration %}");
        let text = "[{{ tools | length }}]".to_owned();
        source.tool_use = Some(ToolTemplate { path: "tool_use.jinja".into(), text });
        let tools = Value::list(Vec::new());
        assert_eq!(render_source(&source, "[]", None).unwrap(), "None");
        assert_eq!(render_source(&source, "[]", Some(tools.clone())).unwrap(), "[0]");
        let template = ChatTemplate::new(&source).unwrap();
        assert!(template.has_generation_blocks(None));
        assert!(!template.has_generation_blocks(Some(&tools)));
        source.tool_use = Some(ToolTemplate { path: "t.jinja".into(), text: "{% x %}".into() });
        let error = ChatTemplate::new(&source).unwrap_err().to_string();
        assert!(error.starts_with("t.jinja: line 1: "), "{error}");
    }

    #[test]
    fn the_day_is_an_option() {
        let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}";
        assert_eq!(render(template, "[]").unwrap(), "26 Jul 2024");
        let mut source = source(template);
        source.date = Some("2026-01-31".parse().unwrap());
        assert_eq!(render_source(&source, "[]", None).unwrap(), "31 Jan 2026");
        let fault = render("{{ strftime_now('%d') }}", "[]").unwrap_err().to_string();
        assert!(fault.contains("template_date"), "{fault}");
        source.text = "{{ strftime_now('%Q') }}".to_owned();
        let fault = render_source(&source, "[]", None).unwrap_err().to_string();
        assert!(fault.contains("%Q"), "{fault}");
    }

    #[test]
    fn wrong_syntax_is_named_with_its_line() {
        for (text, line) in
            [("a\n{% if x %}\n{% endfor %}", 3), ("{{ 'a }}", 1), ("\n{% foo %}", 2)]
        {
            let error = ChatTemplate::new(&source(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let message = error.to_string();
            let start = format!("chat_template.jinja: line {line}: ");
            assert!(message.starts_with(&start), "{message}");
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
