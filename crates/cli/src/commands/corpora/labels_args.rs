//! The options of `prepare` for chats, completions and rows.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mixdown_documents::{LabelFields, TemplateDate, TrainOn};
use mixdown_tokenize::{ChatOptions, PackOptions, TooLong};

/// Arguments about labels and rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Labels and rows")]
pub struct LabelsArgs {
    /// Field with a conversation's messages, which are rendered with the model's chat template.
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["prompt_field", "text_field"])]
    messages_field: Option<String>,
    /// Field with the tools that a conversation may call.
    #[arg(long, value_name = "FIELD", requires = "messages_field")]
    tools_field: Option<String>,
    /// File with a chat template, instead of the one in the tokenizer's folder.
    #[arg(long, value_name = "FILE", requires = "messages_field")]
    chat_template: Option<PathBuf>,
    /// Day that the template's strftime_now returns (2026-01-31); without it a template has no such function.
    #[arg(long, value_name = "DAY", requires = "messages_field")]
    template_date: Option<TemplateDate>,
    /// Loss targets of a conversation.
    #[arg(long, value_name = "TARGETS", value_enum, default_value_t, requires = "messages_field")]
    train_on: TrainOnName,
    /// Field with a prompt, which is not a loss target.
    #[arg(
        long,
        value_name = "FIELD",
        requires = "completion_field",
        conflicts_with = "text_field"
    )]
    prompt_field: Option<String>,
    /// Field with the prompt's completion, which is a loss target.
    #[arg(long, value_name = "FIELD", requires = "prompt_field")]
    completion_field: Option<String>,
    /// Pack whole documents into padded rows of T inputs (T + 1 ids).
    #[arg(long, value_name = "T")]
    pack: Option<u64>,
    /// Treatment of a document that is longer than a row.
    #[arg(long, value_name = "ACTION", value_enum, default_value_t, requires = "pack")]
    too_long: TooLongName,
}

/// The loss targets of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum TrainOnName {
    /// Every turn of the assistant, with the tokens that end it.
    #[default]
    Assistant,
    /// The assistant's last turn.
    LastTurn,
    /// All tokens.
    All,
}

/// The treatment of a document that is longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum TooLongName {
    /// Stop with an error.
    #[default]
    Error,
    /// Leave it out and count it.
    Drop,
    /// Cut off its end and count it.
    Truncate,
}

impl LabelsArgs {
    /// The fields of labeled records; none if records are not labeled.
    pub fn fields(&self) -> Option<LabelFields> {
        if let Some(messages) = &self.messages_field {
            let train_on = match self.train_on {
                TrainOnName::Assistant => TrainOn::Assistant,
                TrainOnName::LastTurn => TrainOn::LastTurn,
                TrainOnName::All => TrainOn::All,
            };
            let (messages, tools) = (messages.clone(), self.tools_field.clone());
            return Some(LabelFields::Chat { messages, tools, train_on });
        }
        let (prompt, completion) = self.prompt_field.clone().zip(self.completion_field.clone())?;
        Some(LabelFields::Completion { prompt, completion })
    }

    /// How conversations are rendered.
    pub fn chat(&self) -> ChatOptions {
        ChatOptions { template: self.chat_template.clone(), date: self.template_date }
    }

    /// The rows that documents are packed into, if any.
    pub fn pack(&self) -> Option<PackOptions> {
        let too_long = match self.too_long {
            TooLongName::Error => TooLong::Error,
            TooLongName::Drop => TooLong::Drop,
            TooLongName::Truncate => TooLong::Truncate,
        };
        self.pack.map(|sequence_length| PackOptions { sequence_length, too_long })
    }
}
