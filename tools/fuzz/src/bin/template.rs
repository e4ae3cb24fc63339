//! Chat templates of any content, with a conversation that has tools.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixdown_jinja::{Template, Value, from_json};

const MESSAGES: &str = r#"[
    {"role": "system", "content": " Be brief.\n"},
    {"role": "user", "content": "<b>é 漢</b> {{ 1 }}", "n": [1, -2.5e-7, null, true]},
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "2"}}}]},
    {"role": "tool", "name": "add", "content": "3"},
    {"role": "assistant", "content": "It is 3.", "reasoning_content": "\n1 + 2\n"}
]"#;
const TOOLS: &str = r#"[{"type": "function", "function": {"name": "add", "parameters": {}}}]"#;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(template) = Template::parse(source) else { return };
    let variables = [
        ("bos_token", Value::own("<s>")),
        ("messages", from_json(MESSAGES).expect("JSON")),
        ("tools", from_json(TOOLS).expect("JSON")),
        ("documents", Value::None),
        ("add_generation_prompt", Value::Bool(true)),
        ("raise_exception", Value::function("raise_exception", |_| Err("raised".to_owned()))),
    ];
    let Ok(text) = template.render(variables) else { return };
    // The runs cover the text without a gap, each at borders of characters.
    let mut end = 0;
    for (range, origin) in text.runs() {
        assert!(range.start == end && range.end > end, "{range:?} after {end}");
        assert!(text.as_str().get(range.clone()).is_some(), "{range:?} cuts a character");
        assert_eq!(text.origin_at(range.start), origin);
        assert!(origin.block == 0 || template.generation_blocks() > 0);
        end = range.end;
    }
    assert_eq!(end, text.as_str().len());
});
