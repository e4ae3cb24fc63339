//! Renders conversations with a chat template, for tools/checks/check_chat_templates.py.
//!
//! `render_chats TEMPLATE CHATS.jsonl SETTINGS` prints a line of JSON for each record: its byte offset with the text
//! and the byte ranges that are loss targets, or why it is refused. SETTINGS is JSON: `tokens` (special tokens by their
//! roles), `date`, `train_on`, and `prompt` for texts that end with the prompt for the next turn.

use std::error::Error;
use std::fs;

use mixdown_documents::{
    ChatTemplateSource, ChatTurn, ChunkReader, InputList, LabelFields, Labeler, ReadOptions,
    TrainOn,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [template, chats, settings] = arguments.as_slice() else {
        return Err("usage: render_chats TEMPLATE CHATS.jsonl SETTINGS".into());
    };
    let settings: Value = serde_json::from_str(settings)?;
    let train_on: TrainOn = serde_json::from_value(settings["train_on"].clone())?;
    let fields = LabelFields::Chat {
        messages: "messages".to_owned(),
        tools: Some("tools".to_owned()),
        train_on,
    };
    let source = ChatTemplateSource {
        path: template.into(),
        text: fs::read_to_string(template)?,
        tool_use: None,
        tokens: serde_json::from_value(settings["tokens"].clone())?,
        date: serde_json::from_value(settings["date"].clone())?,
    };
    let labeler = match Labeler::new(fields.clone(), Some(&source), &[]) {
        Ok(labeler) => labeler,
        Err(error) => return print(&json!({"refused": error.to_string()})),
    };
    if settings["prompt"] == true {
        return print_prompts(&labeler, chats);
    }
    let options = ReadOptions { labels: Some(fields), ..ReadOptions::default() };
    let inputs = InputList::discover_with(&[chats.into()], &options)?;
    let mut reader = ChunkReader::open(&inputs, 0, 0)?;
    while let Some(chunk) = reader.next_before(u64::MAX)? {
        for record in chunk.labeled_records(&options, Some(&labeler)) {
            let line = match record {
                Ok(document) => {
                    let labels = document.labels.unwrap_or_default();
                    let targets = labels.targets.iter().map(|range| [range.start, range.end]);
                    let targets: Vec<_> = targets.collect();
                    json!({"at": document.place.offset, "text": document.text, "targets": targets})
                }
                Err(bad) => json!({"at": bad.place.offset, "refused": bad.fault.to_string()}),
            };
            print(&line)?;
        }
    }
    Ok(())
}

/// Prints the prompts of conversations whose messages have only roles and contents.
fn print_prompts(labeler: &Labeler, chats: &str) -> Result<(), Box<dyn Error>> {
    let mut at = 0;
    for line in fs::read_to_string(chats)?.lines() {
        let record: Value = serde_json::from_str(line)?;
        let messages = record["messages"].as_array().ok_or("no messages")?;
        let turn = |message: &Value| {
            let field = |name: &str| message[name].as_str().map(str::to_owned);
            Some(ChatTurn { role: field("role")?, content: field("content")? })
        };
        let turns: Option<Vec<ChatTurn>> = messages.iter().map(turn).collect();
        print(&match labeler.prompt(&turns.ok_or("a message of more than role and content")?) {
            Ok((text, _)) => json!({"at": at, "text": text, "targets": []}),
            Err(fault) => json!({"at": at, "refused": fault.to_string()}),
        })?;
        at += line.len() + 1;
    }
    Ok(())
}

fn print(line: &Value) -> Result<(), Box<dyn Error>> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
