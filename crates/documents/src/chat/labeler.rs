//! Chats, and prompts with their completions, as text with known loss targets.

use std::ops::Range;

use mixdown_jinja::{Text, Value};
use serde::{Deserialize, Serialize};

use crate::chat::message::{checked_messages, checked_tools, kind_of};
use crate::chat::special_spellings::{Spellings, block_spans};
use crate::chat::template::{ChatTemplate, ChatTemplateSource, GenerationPrompt};
use crate::error::Error;
use crate::reading::document::{Labels, RecordFault};
use crate::reading::record::Record;

/// The fields that hold a labeled record's text, and the part of it that is trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelFields {
    /// A conversation, which the model's chat template renders.
    Chat {
        /// Field with the list of messages.
        messages: String,
        /// Field with the list of tools, where records have one.
        tools: Option<String>,
        /// The part that is trained on.
        train_on: TrainOn,
    },
    /// A prompt, which is not a target, and its completion, which is. No template is used.
    Completion {
        /// Field with the prompt.
        prompt: String,
        /// Field with the completion, which is appended unchanged.
        completion: String,
    },
}

/// The loss targets of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// Every turn of the assistant, with the tokens that end it.
    #[default]
    Assistant,
    /// The assistant's last turn.
    LastTurn,
    /// Everything, including the template's own text.
    All,
}

/// A renderer of records of one kind. One labeler serves all threads.
#[derive(Debug)]
pub struct Labeler {
    fields: LabelFields,
    /// The template, for conversations.
    template: Option<ChatTemplate>,
    spellings: Spellings,
}

impl Labeler {
    /// Makes a labeler of records with these fields. `special_tokens` are the spellings of the tokenizer's special
    /// tokens, which count as plain text inside a record. A template is for conversations.
    ///
    /// # Errors
    /// The template's syntax is wrong, or conversations have no template.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use mixdown_documents::{ChatTemplateSource, ChatTurn, LabelFields, Labeler, TrainOn};
    ///
    /// let fields = LabelFields::Chat { messages: "messages".into(), tools: None, train_on: TrainOn::Assistant };
    /// let template = ChatTemplateSource {
    ///     path: "chat_template.jinja".into(),
    ///     text: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}".into(),
    ///     tool_use: None,
    ///     tokens: BTreeMap::new(),
    ///     date: None,
    /// };
    /// let labeler = Labeler::new(fields, Some(&template), &["</s>".into()])?;
    /// assert_eq!(labeler.end_of_turn().as_deref(), Some("</s>"));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn new(
        fields: LabelFields,
        template: Option<&ChatTemplateSource>,
        special_tokens: &[String],
    ) -> Result<Self, Error> {
        let template = match &fields {
            LabelFields::Completion { .. } => None,
            LabelFields::Chat { .. } => {
                Some(ChatTemplate::new(template.ok_or(Error::NoChatTemplate)?)?)
            }
        };
        Ok(Self { fields, template, spellings: Spellings::new(special_tokens) })
    }

    /// Returns the text of a record, and its labels.
    pub(crate) fn label(&self, record: &Record<'_>) -> Result<(String, Labels), RecordFault> {
        match &self.fields {
            LabelFields::Completion { prompt, completion } => {
                let prompt = record.string(prompt)?;
                Ok(self.label_completion(&prompt, &record.string(completion)?))
            }
            LabelFields::Chat { messages, tools, train_on } => {
                let value = |field: &str| record.value(field);
                let tools = match tools {
                    Some(field) => value(field)?.map(|tools| checked_tools(field, &tools)),
                    None => None,
                };
                let tools = tools.transpose()?.flatten();
                let conversation = value(messages)?.ok_or_else(|| record.missing(messages))?;
                self.label_chat(messages, &conversation, tools, *train_on)
            }
        }
    }

    /// Renders the prompt for the model's next turn, with the positions that no special token may cross, because the
    /// content of turns never becomes one.
    ///
    /// # Errors
    /// The template refuses the turns, or there is no template.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use mixdown_documents::{ChatTemplateSource, ChatTurn, LabelFields, Labeler, TrainOn};
    ///
    /// let fields = LabelFields::Chat { messages: "messages".into(), tools: None, train_on: TrainOn::Assistant };
    /// let template = ChatTemplateSource {
    ///     path: "chat_template.jinja".into(),
    ///     text: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}".into(),
    ///     tool_use: None,
    ///     tokens: BTreeMap::new(),
    ///     date: None,
    /// };
    /// let labeler = Labeler::new(fields, Some(&template), &["</s>".into()])?;
    /// let turn = ChatTurn { role: "user".into(), content: "Hello".into() };
    /// assert_eq!(labeler.prompt(&[turn]).unwrap().0, "<user>Hello</s>");
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn prompt(&self, turns: &[ChatTurn]) -> Result<(String, Labels), RecordFault> {
        let message = |turn: &ChatTurn| {
            let field = |name, value| (Value::own(name), Value::foreign(value));
            Value::dict([field("role", &turn.role), field("content", &turn.content)])
        };
        let place = "messages";
        let Some(template) = &self.template else {
            return Err(chat_fault(place, "a chat template", "none"));
        };
        let messages = Value::list(turns.iter().map(message).collect());
        let messages = checked_messages(place, &messages)?;
        let chat = Chat { template, messages, tools: None };
        let text = chat.render(chat.messages.len(), GenerationPrompt::Add)?;
        let labels = Labels { targets: Vec::new(), plain: self.plain(place, &text)? };
        Ok((text.as_str().to_owned(), labels))
    }

    /// Returns the text that the template writes after an assistant's turn, which begins with the token that ends a
    /// turn; `None` if the template does not render a plain question and its answer.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use mixdown_documents::{ChatTemplateSource, ChatTurn, LabelFields, Labeler, TrainOn};
    ///
    /// let fields = LabelFields::Chat { messages: "messages".into(), tools: None, train_on: TrainOn::Assistant };
    /// let template = ChatTemplateSource {
    ///     path: "chat_template.jinja".into(),
    ///     text: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}".into(),
    ///     tool_use: None,
    ///     tokens: BTreeMap::new(),
    ///     date: None,
    /// };
    /// let labeler = Labeler::new(fields, Some(&template), &["</s>".into()])?;
    /// assert_eq!(labeler.end_of_turn().as_deref(), Some("</s>"));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn end_of_turn(&self) -> Option<String> {
        const ANSWER: &str = "an-answer-of-some-words";
        let turn = |role: &str, content: &str| {
            let field = |name, value| (Value::own(name), Value::foreign(value));
            Value::dict([field("role", role), field("content", content)])
        };
        let messages = vec![turn("user", "a question"), turn("assistant", ANSWER)];
        let chat = Chat { template: self.template.as_ref()?, messages, tools: None };
        let text = chat.render(2, GenerationPrompt::Leave).ok()?;
        text.as_str().rsplit_once(ANSWER).map(|(_, behind)| behind.to_owned())
    }

    /// Returns the text of a prompt with its completion, and its labels.
    fn label_completion(&self, prompt: &str, completion: &str) -> (String, Labels) {
        let text = format!("{prompt}{completion}");
        // Spellings are searched in the joined text: one that spans both parts counts, too.
        let plain = self.spellings.cuts(&text);
        let targets = Some(prompt.len()..text.len()).filter(|target| !target.is_empty());
        (text, Labels { targets: targets.into_iter().collect(), plain })
    }

    /// Returns the text of the conversation in `field`, and its labels.
    fn label_chat(
        &self,
        field: &str,
        messages: &Value,
        tools: Option<Value>,
        train_on: TrainOn,
    ) -> Result<(String, Labels), RecordFault> {
        let Some(template) = &self.template else {
            return Err(chat_fault(field, "a prompt and a completion", kind_of(messages)));
        };
        let chat = Chat { template, messages: checked_messages(field, messages)?, tools };
        let has_blocks = template.has_generation_blocks(chat.tools.as_ref());
        let text = chat.render(chat.messages.len(), GenerationPrompt::Leave)?;
        let plain = self.plain(field, &text)?;
        let whole = text.as_str();
        let targets = match train_on {
            TrainOn::All => std::iter::once(0..whole.len()).collect(),
            TrainOn::Assistant if has_blocks => block_spans(&text),
            TrainOn::LastTurn if has_blocks => chat.last_spans(block_spans(&text))?,
            TrainOn::Assistant => chat.turns(whole, &chat.assistant_turns(), train_on)?,
            TrainOn::LastTurn => {
                let last: Vec<usize> =
                    chat.assistant_turns().into_iter().next_back().into_iter().collect();
                chat.turns(whole, &last, train_on)?
            }
        };
        Ok((whole.to_owned(), Labels { targets: joined(targets), plain }))
    }

    /// Returns the positions in a text that no special token may cross.
    fn plain(&self, field: &str, text: &Text) -> Result<Vec<usize>, RecordFault> {
        self.spellings.foreign_cuts(text).map_err(|token| {
            let expected = "text without the special tokens of a single character";
            chat_fault(field, expected, &format!("\"{}\"", token.escape_debug()))
        })
    }
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTurn {
    /// The speaker: `system`, `user`, `assistant` or another role that the template knows.
    pub role: String,
    /// The content.
    pub content: String,
}

/// One conversation, which can be rendered from its beginning to any message.
struct Chat<'c> {
    template: &'c ChatTemplate,
    messages: Vec<Value>,
    tools: Option<Value>,
}

impl Chat<'_> {
    fn render(&self, messages: usize, prompt: GenerationPrompt) -> Result<Text, RecordFault> {
        let messages = self.messages.get(..messages).unwrap_or_default();
        self.template.render(messages, self.tools.as_ref(), prompt)
    }

    fn assistant_turns(&self) -> Vec<usize> {
        let is_assistant = |message: &Value| {
            let role = message.as_dict().and_then(|message| message.get_str("role"));
            role.and_then(Value::as_str) == Some("assistant")
        };
        (0..)
            .zip(&self.messages)
            .filter(|(_, message)| is_assistant(message))
            .map(|(n, _)| n)
            .collect()
    }

    /// Selects, from the template's own spans, those that the last assistant turn adds.
    fn last_spans(&self, mut spans: Vec<Range<usize>>) -> Result<Vec<Range<usize>>, RecordFault> {
        let Some(last) = self.assistant_turns().into_iter().next_back() else {
            return Ok(Vec::new());
        };
        let before = match last {
            0 => 0,
            _ => block_spans(&self.render(last, GenerationPrompt::Leave)?).len(),
        };
        Ok(spans.split_off(before.min(spans.len())))
    }

    /// Returns, for each of the given turns, what it adds to the text after its prompt.
    fn turns(
        &self,
        whole: &str,
        turns: &[usize],
        train_on: TrainOn,
    ) -> Result<Vec<Range<usize>>, RecordFault> {
        let span = |&turn: &usize| {
            let prompt = self.render(turn, GenerationPrompt::Add)?;
            let through = match turn + 1 == self.messages.len() {
                true => None,
                false => Some(self.render(turn + 1, GenerationPrompt::Leave)?),
            };
            let (prompt, through) = (prompt.as_str(), through.as_ref().map_or(whole, Text::as_str));
            let agreed = common_prefix(prompt, through).min(common_prefix(through, whole));
            if agreed >= prompt.len() && common_prefix(through, whole) == through.len() {
                return Ok(prompt.len()..through.len());
            }
            Err(RecordFault::EarlierTextChanges {
                turn: u64::try_from(turn).unwrap_or(u64::MAX),
                offset_bytes: u64::try_from(agreed).unwrap_or(u64::MAX),
                train_on,
            })
        };
        turns.iter().map(span).collect()
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Merges ranges, in order, that touch or overlap.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

pub(crate) fn chat_fault(place: &str, expected: &'static str, got: &str) -> RecordFault {
    RecordFault::Chat { place: place.into(), expected, got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::line::JsonLine;
    use serde_json::Value as Json;
    use std::fs;
    use std::path::PathBuf;

    const SPECIAL: [&str; 7] = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
    ];

    fn testdata(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chat").join(name)
    }

    fn template(text: String) -> ChatTemplateSource {
        let tokens = [("bos_token".to_owned(), "<|begin_of_text|>".to_owned())];
        ChatTemplateSource {
            path: "t.jinja".into(),
            text,
            tool_use: None,
            tokens: tokens.into(),
            date: None,
        }
    }

    fn labeler(template_text: &str, train_on: TrainOn) -> Labeler {
        let source = template(template_text.to_owned());
        let fields = LabelFields::Chat { messages: "messages".to_owned(), tools: None, train_on };
        Labeler::new(fields, Some(&source), &SPECIAL.map(str::to_owned)).unwrap()
    }

    fn named(name: &str, train_on: TrainOn) -> Labeler {
        labeler(&fs::read_to_string(testdata(&format!("{name}.jinja"))).unwrap(), train_on)
    }

    fn targets<'t>(text: &'t str, labels: &Labels) -> Vec<&'t str> {
        labels.targets.iter().map(|range| &text[range.clone()]).collect()
    }

    fn label(labeler: &Labeler, messages: &str) -> Result<(String, Labels), RecordFault> {
        let line = format!("{{\"messages\":{messages}}}");
        let mut entries = Vec::new();
        labeler.label(&Record::Line(JsonLine::parse(&line, &mut entries).unwrap()))
    }

    #[test]
    fn texts_are_those_of_transformers() {
        let golden = fs::read_to_string(testdata("golden.json")).unwrap();
        let golden: Json = serde_json::from_str(&golden).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let labeler = named(case["template"].as_str().unwrap(), TrainOn::Assistant);
            let (text, labels) = label(&labeler, &case["messages"].to_string()).unwrap();
            assert_eq!(
                text,
                case["text"].as_str().unwrap(),
                "{} {}",
                case["template"],
                case["name"]
            );
            let spelled = case["name"] == "special text";
            assert_eq!(labels.plain.is_empty(), !spelled, "{}", case["name"]);
        }
    }

    /// Keys stay in order, and JSON is written as Python does.
    #[test]
    fn tools_are_rendered_as_transformers_does() {
        let golden = fs::read_to_string(testdata("golden.json")).unwrap();
        // This does not use serde_json's map, which would sort the keys.
        let golden = mixdown_jinja::from_json(&golden).unwrap();
        let case = golden.as_dict().unwrap().get_str("tools").unwrap().as_dict().unwrap();
        let field = |name| case.get_str(name).unwrap();
        let labeler = named("chatml", TrainOn::Assistant);
        let tools = checked_tools("tools", field("tools")).unwrap();
        let (text, labels) =
            labeler.label_chat("messages", field("messages"), tools, TrainOn::Assistant).unwrap();
        assert_eq!(Some(text.as_str()), field("text").as_str());
        let turns = targets(&text, &labels);
        assert!(turns[0].contains("\"arguments\": {\"place\": \"Zürich\", \"days\": 2}"));
        assert_eq!(turns[1], "Sunny.<|im_end|>\n");
    }

    #[test]
    fn a_prompt_asks_for_the_next_turn() {
        let turn =
            |role: &str, content: &str| ChatTurn { role: role.into(), content: content.into() };
        let labeler = named("chatml", TrainOn::Assistant);
        let (text, labels) = labeler.prompt(&[turn("user", "<|im_end|>?")]).unwrap();
        assert!(text.ends_with("<|im_end|>?<|im_end|>\n<|im_start|>assistant\n"), "{text}");
        assert_eq!(labels.plain, [text.find("<|im_end|>?").unwrap() + 1]);
        assert_eq!(labeler.end_of_turn().as_deref(), Some("<|im_end|>\n"));
        let fault = labeler.prompt(&[]).unwrap_err().to_string();
        assert!(fault.contains("at least one message"), "{fault}");
    }

    const THREE: &str = r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a"},
        {"role":"user","content":"r"},{"role":"assistant","content":"b<|im_end|>"},
        {"role":"user","content":"s"}]"#;

    #[test]
    fn targets_are_the_turns_asked_for() {
        for name in ["chatml", "generation"] {
            let end = "<|im_end|>\n";
            let (text, labels) = label(&named(name, TrainOn::Assistant), THREE).unwrap();
            let expected = [format!("a{end}"), format!("b<|im_end|>{end}")];
            assert_eq!(targets(&text, &labels), expected, "{name}");
            let cut = text.find("b<|im_end|>").unwrap() + 2;
            assert_eq!(labels.plain, [cut]);
            let (_, labels) = label(&named(name, TrainOn::LastTurn), THREE).unwrap();
            assert_eq!(targets(&text, &labels), expected[1..]);
            let (_, labels) = label(&named(name, TrainOn::All), THREE).unwrap();
            assert_eq!(targets(&text, &labels), [text.as_str()]);
            let nobody = r#"[{"role":"user","content":"q"}]"#;
            for train_on in [TrainOn::Assistant, TrainOn::LastTurn] {
                let (_, labels) = label(&named(name, train_on), nobody).unwrap();
                assert!(labels.targets.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn earlier_text_that_changes_is_refused() {
        let drops_reasoning = "{% for m in messages %}[{{ m.role }}]{% if loop.last %}{{ m.think }}{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let chat = r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a","think":"so"},
            {"role":"user","content":"r"},{"role":"assistant","content":"b","think":"hm"}]"#;
        let fault = label(&labeler(drops_reasoning, TrainOn::Assistant), chat).unwrap_err();
        let RecordFault::EarlierTextChanges { turn: 1, offset_bytes, .. } = fault else {
            panic!("{fault}")
        };
        assert_eq!(offset_bytes, 18, "{fault}");
        assert!(fault.to_string().contains("last-turn)"), "{fault}");
        let (text, labels) = label(&labeler(drops_reasoning, TrainOn::LastTurn), chat).unwrap();
        assert_eq!(targets(&text, &labels), ["hmb"]);
        let no_prefix = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
        let fault = label(&labeler(no_prefix, TrainOn::LastTurn), chat).unwrap_err().to_string();
        assert!(fault.contains("{% generation %}"), "{fault}");
    }

    #[test]
    fn roles_that_a_template_refuses_are_named() {
        let chat = r#"[{"role":"user","content":"q"},{"role":"tool","content":"a"}]"#;
        let fault = label(&named("llama3", TrainOn::Assistant), chat).unwrap_err().to_string();
        assert!(fault.ends_with(": \"Only user and assistant turns, got tool\""), "{fault}");
    }

    #[test]
    fn content_in_parts_is_the_templates_business() {
        let chat = r#"[{"role":"user","content":[{"type":"text","text":" q "}]},
            {"role":"assistant","content":[{"type":"text","text":"a<|eot_id|>"}]}]"#;
        let (text, labels) = label(&named("llama3", TrainOn::Assistant), chat).unwrap();
        assert_eq!(targets(&text, &labels), ["a<|eot_id|><|eot_id|>"]);
        assert_eq!(labels.plain, [text.len() - "eot_id|><|eot_id|>".len() - 1]);
    }

    #[test]
    fn completions_follow_their_prompts() {
        let (prompt, completion) = ("q".to_owned(), "a".to_owned());
        let fields = LabelFields::Completion { prompt, completion };
        let labeler = Labeler::new(fields, None, &SPECIAL.map(str::to_owned)).unwrap();
        let (text, labels) = labeler.label_completion("2 + 2 <|im_", "end|> = 4");
        assert_eq!((text.as_str(), &labels.plain), ("2 + 2 <|im_end|> = 4", &vec![7]));
        assert_eq!(targets(&text, &labels), ["end|> = 4"]);
        assert!(labeler.label_completion("x", "").1.targets.is_empty());
        let mut entries = Vec::new();
        let line = JsonLine::parse(r#"{"a":" 4","q":"2 + 2 ="}"#, &mut entries).unwrap();
        assert_eq!(labeler.label(&Record::Line(line)).unwrap().0, "2 + 2 = 4");
        let line = JsonLine::parse(r#"{"q":"2 + 2 ="}"#, &mut entries).unwrap();
        let fault = labeler.label(&Record::Line(line)).unwrap_err().to_string();
        assert_eq!(fault, "the field \"a\" is missing, the record has \"q\"");
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(joined(vec![5..7, 0..2, 2..3, 9..9, 6..8]), [0..3, 5..8]);
    }
}
