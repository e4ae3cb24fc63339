//! Messages in ShareGPT's form, `{"from": "human", "value": "..."}`, converted to roles and contents.

use std::borrow::Cow;

use mixdown_jinja::{Dict, Value, from_json};

use crate::chat::labeler::chat_fault;
use crate::reading::document::RecordFault;

/// Returns a message with `role` and `content`; a message that is not in ShareGPT's form is unchanged.
pub(crate) fn from_share_gpt<'m>(
    place: &str,
    message: &'m Dict,
) -> Result<Cow<'m, Dict>, RecordFault> {
    let Some(from) = message.get_str("from").filter(|_| message.get_str("role").is_none()) else {
        return Ok(Cow::Borrowed(message));
    };
    let Some(name) = from.as_str() else {
        let got = crate::chat::message::kind_of(from);
        return Err(chat_fault(&format!("{place}.from"), "a string", got));
    };
    if name == "function_call" {
        return tool_call(place, message).map(Cow::Owned);
    }
    let role = match name {
        "human" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" => "assistant",
        "function" | "function_response" | "tool_response" | "observation" => "tool",
        other => other,
    };
    let renamed = message.entries().iter().map(|(key, value)| match key.as_str() {
        Some("from") => (Value::own("role"), Value::foreign(role)),
        Some("value") if message.get_str("content").is_none() => {
            (Value::own("content"), value.clone())
        }
        _ => (key.clone(), value.clone()),
    });
    Ok(Cow::Owned(renamed.collect()))
}

/// Returns the assistant's turn for a tool call, which the message's value holds as JSON.
fn tool_call(place: &str, message: &Dict) -> Result<Dict, RecordFault> {
    let value = message.get_str("value").and_then(Value::as_str).unwrap_or_default();
    let calls = match from_json(value) {
        Ok(Value::List(calls)) => calls.to_vec(),
        Ok(call) => vec![call],
        Err(_) => Vec::new(),
    };
    let is_call = |call: &Value| call.as_dict().is_some_and(|call| call.get_str("name").is_some());
    if calls.is_empty() || !calls.iter().all(is_call) {
        let start: String = value.chars().take(24).collect();
        let expected = "the JSON of a call with its name and arguments";
        let got = format!("\"{}\"", start.escape_debug());
        return Err(chat_fault(&format!("{place}.value"), expected, &got));
    }
    let call = |call: Value| {
        let kind = (Value::own("type"), Value::own("function"));
        Value::dict([kind, (Value::own("function"), call)])
    };
    let calls = Value::list(calls.into_iter().map(call).collect());
    let role = (Value::own("role"), Value::foreign("assistant"));
    Ok([role, (Value::own("tool_calls"), calls)].into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(json: &str) -> Result<String, String> {
        let message = from_json(json).unwrap();
        let converted = from_share_gpt("m[0]", message.as_dict().unwrap());
        let converted = converted.map_err(|fault| fault.to_string())?.into_owned();
        Ok(format!("{:?}", Value::Dict(converted.into())))
    }

    #[test]
    fn names_and_values_become_roles_and_contents() {
        for (json, expected) in [
            (r#"{"from":"human","value":"a"}"#, "{'role': 'user', 'content': 'a'}"),
            (
                r#"{"value":"a","weight":1,"from":"gpt"}"#,
                "{'content': 'a', 'weight': 1, 'role': 'assistant'}",
            ),
            (r#"{"from":"system","value":"a"}"#, "{'role': 'system', 'content': 'a'}"),
            (r#"{"from":"observation","value":"3"}"#, "{'role': 'tool', 'content': '3'}"),
            (r#"{"from":"assistant","value":"a"}"#, "{'role': 'assistant', 'content': 'a'}"),
            (
                r#"{"role":"user","content":"a","from":"x"}"#,
                "{'role': 'user', 'content': 'a', 'from': 'x'}",
            ),
            (
                r#"{"from":"function_call","value":"{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}"#,
                "{'role': 'assistant', 'tool_calls': [{'type': 'function', 'function': {'name': 'f', 'arguments': {'x': 1}}}]}",
            ),
        ] {
            assert_eq!(converted(json).as_deref(), Ok(expected), "{json}");
        }
        let fault = converted(r#"{"from":"function_call","value":"f(1)"}"#).unwrap_err();
        assert!(fault.contains("in \"m[0].value\", got \"f(1)\""), "{fault}");
        assert!(converted(r#"{"from":1,"value":"f(1)"}"#).unwrap_err().contains("m[0].from"));
    }
}
