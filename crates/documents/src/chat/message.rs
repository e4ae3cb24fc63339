//! The messages of a conversation in the form that templates expect.

use std::borrow::Cow;

use mixdown_jinja::{Dict, Value, from_json};

use crate::chat::labeler::chat_fault;
use crate::chat::share_gpt::from_share_gpt;
use crate::reading::document::RecordFault;

/// Returns the checked messages in a record's `field`, as `transformers` passes them to a template: null fields are
/// left out, and reasoning gets the field names that templates read. A string of JSON counts as its value, and messages
/// may have ShareGPT's form.
pub(crate) fn checked_messages(field: &str, messages: &Value) -> Result<Vec<Value>, RecordFault> {
    let expected = "a list of messages, or its JSON as a string,";
    let messages = parsed_list(field, messages, expected)?;
    let messages = messages.as_items().unwrap_or_default();
    if messages.is_empty() {
        return Err(chat_fault(field, "at least one message", "an empty list"));
    }
    let checked = |(place, message): (usize, &Value)| {
        let place = format!("{field}[{place}]");
        let Some(own) = message.as_dict() else {
            let expected = "an object with role and content";
            return Err(chat_fault(&place, expected, kind_of(message)));
        };
        let message = from_share_gpt(&place, own)?;
        check_message(&place, &message)?;
        Ok(with_reasoning(&message))
    };
    (0..).zip(messages).map(checked).collect()
}

/// Returns the checked tools in a record's `field`, if it has any.
pub(crate) fn checked_tools(field: &str, tools: &Value) -> Result<Option<Value>, RecordFault> {
    if tools.is_none() {
        return Ok(None);
    }
    let tools = parsed_list(field, tools, "a list of tools, or its JSON as a string,")?;
    // Some data sets store a list of strings, each of which is one tool.
    let parsed = |(place, tool): (usize, &Value)| {
        let place = format!("{field}[{place}]");
        let expected = "an object that describes a tool, or its JSON as a string,";
        let tool = parsed_json(&place, tool, expected)?;
        match tool.as_dict() {
            Some(_) => Ok(tool.into_owned()),
            None => Err(chat_fault(&place, expected, kind_of(&tool))),
        }
    };
    let Some(tools) = tools.as_items() else { return Ok(None) };
    let tools: Result<Vec<Value>, RecordFault> = (0..).zip(tools).map(parsed).collect();
    tools.map(|tools| Some(Value::list(tools)))
}

/// Returns a list, or the list in a string of JSON; null if the string is JSON null.
fn parsed_list<'v>(
    field: &str,
    value: &'v Value,
    expected: &'static str,
) -> Result<Cow<'v, Value>, RecordFault> {
    let parsed = parsed_json(field, value, expected)?;
    let null = parsed.is_none() && value.as_str().is_some();
    if null || parsed.as_items().is_some() {
        return Ok(parsed);
    }
    Err(chat_fault(field, expected, kind_of(&parsed)))
}

/// Returns a value, or the value in a string of JSON.
fn parsed_json<'v>(
    place: &str,
    value: &'v Value,
    expected: &'static str,
) -> Result<Cow<'v, Value>, RecordFault> {
    let Some(text) = value.as_str() else { return Ok(Cow::Borrowed(value)) };
    let not_json = |words: String| {
        let start: String = text.chars().take(24).collect();
        let got = format!("the string \"{}\" ({words})", start.escape_debug());
        chat_fault(place, expected, &got)
    };
    from_json(text).map(Cow::Owned).map_err(not_json)
}

fn check_message(place: &str, message: &Dict) -> Result<(), RecordFault> {
    let role = message.get_str("role");
    let Some(role) = role.and_then(Value::as_str) else {
        return Err(chat_fault(&format!("{place}.role"), "a string", kind_of_field(role)));
    };
    let content = message.get_str("content");
    let place = format!("{place}.content");
    match content {
        Some(Value::Str(_)) => Ok(()),
        // Templates that support tools write a tool's result as JSON.
        Some(content) if !content.is_none() && is_tool(role) => Ok(()),
        Some(Value::List(parts)) => (0_usize..)
            .zip(parts.iter())
            .try_for_each(|(part, value)| check_part(&format!("{place}[{part}]"), value)),
        None | Some(Value::None) if says_otherwise(message) => Ok(()),
        _ => Err(chat_fault(&place, "a string or a list of text parts", kind_of_field(content))),
    }
}

fn is_tool(role: &str) -> bool {
    matches!(role, "tool" | "function" | "ipython" | "observation")
}

/// Returns whether a message calls tools or reasons, and so may have no content.
fn says_otherwise(message: &Dict) -> bool {
    let fields = REASONING.iter().chain(&["tool_calls"]);
    fields.filter_map(|name| message.get_str(name)).any(Value::is_true)
}

fn check_part(place: &str, part: &Value) -> Result<(), RecordFault> {
    let Some(part) = part.as_dict() else {
        return Err(chat_fault(place, "an object with type and text", kind_of(part)));
    };
    let (kind, text) = (part.get_str("type"), part.get_str("text"));
    match (kind.and_then(Value::as_str), text) {
        (Some("text"), Some(Value::Str(_))) => Ok(()),
        (Some("text"), _) => {
            Err(chat_fault(&format!("{place}.text"), "a string", kind_of_field(text)))
        }
        (Some(other), _) => {
            let got = format!("\"{}\"", other.escape_debug());
            Err(chat_fault(&format!("{place}.type"), "\"text\"", &got))
        }
        (None, _) => Err(chat_fault(&format!("{place}.type"), "\"text\"", kind_of_field(kind))),
    }
}

/// The field names for a message's reasoning; templates read the first one, those of gpt-oss the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Returns the message without its nulls; keys have the order that `transformers` gives them.
fn with_reasoning(message: &Dict) -> Value {
    let mut fields = Dict::default();
    let reasoning = REASONING
        .iter()
        .find_map(|name| message.get_str(name).filter(|reasoning| !reasoning.is_none()));
    if let Some(reasoning) = reasoning {
        fields.insert(Value::own("thinking"), reasoning.clone());
    }
    let present = message.entries().iter().filter(|(_, value)| !value.is_none());
    present.for_each(|(key, value)| fields.insert(key.clone(), value.clone()));
    if let Some(reasoning) = reasoning {
        fields.insert(Value::own("reasoning_content"), reasoning.clone());
    }
    Value::Dict(fields.into())
}

fn kind_of_field(value: Option<&Value>) -> &'static str {
    value.map_or("nothing", kind_of)
}

/// Returns the kind of a value, for error messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::None => "null",
        Value::Bool(_) => "a boolean",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a string",
        Value::List(_) | Value::Tuple(_) => "a list",
        Value::Dict(_) => "an object",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &str) -> Result<Vec<Value>, String> {
        let messages = from_json(messages).unwrap();
        checked_messages("messages", &messages).map_err(|fault| fault.to_string())
    }

    #[test]
    fn faults_name_their_place() {
        let list = "expected a list of messages, or its JSON as a string, in \"messages\", got";
        let cases = [
            ("{}", format!("{list} an object")),
            ("null", format!("{list} null")),
            ("\"{}\"", format!("{list} an object")),
            (
                "\"hello\"",
                "expected a list of messages, or its JSON as a string, in \"messages\", got the string \
                 \"hello\" (byte 0: expected a JSON value, got 'h')"
                    .to_owned(),
            ),
            ("[]", "expected at least one message in \"messages\", got an empty list".to_owned()),
            (
                "[1]",
                "expected an object with role and content in \"messages[0]\", got a number"
                    .to_owned(),
            ),
            (
                r#"[{"role":"user","content":"a"},{"content":"a"}]"#,
                "expected a string in \"messages[1].role\", got nothing".to_owned(),
            ),
            (
                r#"[{"role":"user","content":null}]"#,
                "expected a string or a list of text parts in \"messages[0].content\", got null"
                    .to_owned(),
            ),
            (
                r#"[{"role":"user","content":[{"type":"image","image":"x"}]}]"#,
                "expected \"text\" in \"messages[0].content[0].type\", got \"image\"".to_owned(),
            ),
            (
                r#"[{"role":"user","content":[{"type":"text","text":1}]}]"#,
                "expected a string in \"messages[0].content[0].text\", got a number".to_owned(),
            ),
        ];
        for (messages, expected) in cases {
            assert_eq!(check(messages).unwrap_err(), expected, "{messages}");
        }
    }

    #[test]
    fn sound_messages_come_without_nulls_and_with_their_reasoning() {
        let messages = r#"[{"role":"user","content":[{"type":"text","text":"a"}],"name":null},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1"}],"reasoning":"so"},
            {"role":"tool","content":{"degrees":3}}]"#;
        let checked = format!("{:?}", check(messages).unwrap());
        assert_eq!(
            checked,
            "[{'role': 'user', 'content': [{'type': 'text', 'text': 'a'}]}, \
             {'thinking': 'so', 'role': 'assistant', 'tool_calls': [{'id': '1'}], \
             'reasoning': 'so', 'reasoning_content': 'so'}, \
             {'role': 'tool', 'content': {'degrees': 3}}]"
        );
    }

    #[test]
    fn strings_that_are_json_count_as_what_they_say() {
        let messages = r#""[{\"role\":\"user\",\"content\":\"a\"}]""#;
        assert_eq!(format!("{:?}", check(messages).unwrap()), "[{'role': 'user', 'content': 'a'}]");
        let tools = |json: &str| {
            let tools = checked_tools("data.tools", &from_json(json).unwrap());
            tools.map(|tools| format!("{tools:?}")).map_err(|fault| fault.to_string())
        };
        for (json, expected) in [
            ("null", "None"),
            ("\"null\"", "None"),
            ("[]", "Some([])"),
            (r#""[{\"name\":\"f\"}]""#, "Some([{'name': 'f'}])"),
            (r#"["{\"name\":1e-5}"]"#, "Some([{'name': 1e-05}])"),
        ] {
            assert_eq!(tools(json).as_deref(), Ok(expected), "{json}");
        }
        for json in ["1", "{}", "\"\"", "\"{}\"", "[1]", "[\"x\"]"] {
            assert!(tools(json).unwrap_err().contains("\"data.tools"), "{json}");
        }
    }
}
