//! The messages of a conversation as templates may expect them.

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::content_marks::items;
use crate::document::RecordFault;
use crate::labeller::chat_fault;

/// The messages in a record's `field`, checked, as `transformers` hands them to a template: fields
/// that are null are left out, and reasoning stands under the names that templates read.
pub(crate) fn checked_messages(field: &str, messages: &Value) -> Result<Vec<Value>, RecordFault> {
    if messages.kind() != ValueKind::Seq {
        return Err(chat_fault(field, "a list of messages", kind_of(messages)));
    }
    let messages: Vec<Value> = items(messages).collect();
    if messages.is_empty() {
        return Err(chat_fault(field, "at least one message", "an empty list"));
    }
    let checked = |(place, message): (usize, &Value)| {
        let place = format!("{field}[{place}]");
        check_message(&place, message)?;
        Ok(with_reasoning(message))
    };
    (0..).zip(&messages).map(checked).collect()
}

fn check_message(place: &str, message: &Value) -> Result<(), RecordFault> {
    if message.kind() != ValueKind::Map {
        return Err(chat_fault(place, "an object with role and content", kind_of(message)));
    }
    let role = message.get_attr("role").unwrap_or_default();
    if role.kind() != ValueKind::String {
        return Err(chat_fault(&format!("{place}.role"), "a string", kind_of(&role)));
    }
    let content = message.get_attr("content").unwrap_or_default();
    let place = format!("{place}.content");
    match content.kind() {
        ValueKind::String => Ok(()),
        ValueKind::Seq => (0_usize..)
            .zip(items(&content))
            .try_for_each(|(part, value)| check_part(&format!("{place}[{part}]"), &value)),
        ValueKind::None | ValueKind::Undefined if calls_tools(message) => Ok(()),
        _ => Err(chat_fault(&place, "a string or a list of text parts", kind_of(&content))),
    }
}

fn calls_tools(message: &Value) -> bool {
    message.get_attr("tool_calls").is_ok_and(|calls| calls.is_true())
}

fn check_part(place: &str, part: &Value) -> Result<(), RecordFault> {
    if part.kind() != ValueKind::Map {
        return Err(chat_fault(place, "an object with type and text", kind_of(part)));
    }
    let field = |name| part.get_attr(name).unwrap_or_default();
    let (kind, text) = (field("type"), field("text"));
    match (kind.as_str(), text.kind()) {
        (Some("text"), ValueKind::String) => Ok(()),
        (Some("text"), _) => Err(chat_fault(&format!("{place}.text"), "a string", kind_of(&text))),
        (Some(other), _) => {
            let got = format!("\"{}\"", other.escape_debug());
            Err(chat_fault(&format!("{place}.type"), "\"text\"", &got))
        }
        (None, _) => Err(chat_fault(&format!("{place}.type"), "\"text\"", kind_of(&kind))),
    }
}

/// Names under which a message's reasoning is passed; templates read the first one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

fn with_reasoning(message: &Value) -> Value {
    let get = |key: &Value| message.get_item(key).unwrap_or_default();
    let mut fields: Vec<(Value, Value)> = items(message)
        .map(|key| (key.clone(), get(&key)))
        .filter(|(_, value)| !value.is_none())
        .collect();
    let present = |name: &&str| fields.iter().find(|(key, _)| key.as_str() == Some(name)).cloned();
    if let Some((_, reasoning)) = REASONING.iter().find_map(present) {
        for name in ["thinking", "reasoning_content"] {
            if !fields.iter().any(|(key, _)| key.as_str() == Some(name)) {
                fields.push((Value::from(name), reasoning.clone()));
            }
        }
    }
    Value::from_pairs(fields)
}

/// What a value is, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "nothing",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number => "a number",
        ValueKind::String => "a string",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "an object",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &str) -> Result<Vec<Value>, String> {
        let messages = serde_json::from_str(messages).unwrap();
        checked_messages("messages", &messages).map_err(|fault| fault.to_string())
    }

    #[test]
    fn faults_name_their_place() {
        let cases = [
            ("\"hello\"", "expected a list of messages in \"messages\", got a string"),
            ("{}", "expected a list of messages in \"messages\", got an object"),
            ("null", "expected a list of messages in \"messages\", got null"),
            ("[]", "expected at least one message in \"messages\", got an empty list"),
            ("[1]", "expected an object with role and content in \"messages[0]\", got a number"),
            (
                r#"[{"role":"user","content":"a"},{"content":"a"}]"#,
                "expected a string in \"messages[1].role\", got nothing",
            ),
            (
                r#"[{"role":"user","content":null}]"#,
                "expected a string or a list of text parts in \"messages[0].content\", got null",
            ),
            (
                r#"[{"role":"user","content":[{"type":"image","image":"x"}]}]"#,
                "expected \"text\" in \"messages[0].content[0].type\", got \"image\"",
            ),
            (
                r#"[{"role":"user","content":[{"type":"text","text":1}]}]"#,
                "expected a string in \"messages[0].content[0].text\", got a number",
            ),
        ];
        for (messages, expected) in cases {
            assert_eq!(check(messages).unwrap_err(), expected, "{messages}");
        }
    }

    #[test]
    fn sound_messages_come_without_nulls_and_with_their_reasoning() {
        let messages = r#"[{"role":"user","content":[{"type":"text","text":"a"}],"name":null},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1"}],"reasoning":"so"}]"#;
        let checked = check(messages).unwrap();
        assert!(checked[0].get_attr("name").unwrap().is_undefined());
        for name in ["thinking", "reasoning_content", "reasoning"] {
            assert_eq!(checked[1].get_attr(name).unwrap().as_str(), Some("so"));
        }
        assert!(checked[1].get_attr("content").unwrap().is_undefined());
    }
}
