//! The texts, ids and masks of testdata/chat, which tools/checks/check_chat_templates.py makes with `transformers`,
//! compared with ours.

use std::fs;
use std::path::PathBuf;

use mixdown_documents::{
    ChunkReader, Document, InputList, LabelFields, Labeler, ReadOptions, TrainOn,
};
use serde_json::{Value, json};

use crate::encode::labels::LabelEncoder;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::model_template::chat_template;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chat").join(name)
}

/// A model folder with the test's tokenizer and template.
fn model_folder(template: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(testdata("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let text = fs::read_to_string(testdata(&format!("{template}.jinja"))).unwrap();
    let config = json!({"chat_template": text, "bos_token": "<|begin_of_text|>"});
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}

/// The only document of the conversation.
fn document(messages: &Value, labeler: &Labeler, fields: &LabelFields) -> Document {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    fs::write(&path, json!({"messages": messages}).to_string()).unwrap();
    let options = ReadOptions { labels: Some(fields.clone()), ..ReadOptions::default() };
    let inputs = InputList::discover_with(&[path], &options).unwrap();
    let mut reader = ChunkReader::open(&inputs, 0, 0).unwrap();
    let chunk = reader.next_before(u64::MAX).unwrap().unwrap();
    let mut records = chunk.labeled_records(&options, Some(labeler));
    records.next().unwrap().unwrap()
}

#[test]
fn ids_and_masks_are_those_of_transformers() {
    let golden = fs::read_to_string(testdata("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let mut checked = 0;
    for case in golden["cases"].as_array().unwrap() {
        let folder = model_folder(case["template"].as_str().unwrap());
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let encoder = LabelEncoder::new(&tokenizer).unwrap();
        let template = chat_template(&tokenizer, None, None).unwrap();
        for (train_on, name) in
            [(TrainOn::Assistant, "assistant"), (TrainOn::LastTurn, "last-turn")]
        {
            let messages = "messages".to_owned();
            let fields = LabelFields::Chat { messages, tools: None, train_on };
            let special = encoder.special_tokens();
            let labeler = Labeler::new(fields.clone(), Some(&template), &special).unwrap();
            let document = document(&case["messages"], &labeler, &fields);
            let what = format!("{} {} {name}", case["template"], case["name"]);
            assert_eq!(document.text, case["text"].as_str().unwrap(), "{what}");
            let labeled = encoder.encode(&document.text, &document.labels.unwrap()).unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(labeled.ids, ids, "{what}");
            let mask: String = labeled.mask.iter().map(|byte| byte.to_string()).collect();
            assert_eq!(mask, case["masks"][name].as_str().unwrap(), "{what}");
            checked += 1;
        }
    }
    assert_eq!(checked, 66);
}
