//! `mixdown generate`.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use mixdown_base::display::plural;
use mixdown_documents::TemplateDate;
use mixdown_experiments::{PromptTokenizer, StreamedText, chat_turns};
use mixdown_tokenize::{ChatPrompt, ChatTurn};
use mixdown_train::{FinishReason, GenerateOptions, Model, Sampling, generate_until};
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::runs::load_model;
use crate::terminal::args::ComputeArgs;
use crate::terminal::output::{Lines, Output, for_reader, reader_is_there};
use crate::terminal::progress::say;

/// The heading of the flags that choose tokens.
const SAMPLING: &str = "Sampling";

/// The most texts of one call: they are generated side by side, and each has separate keys and values.
const MOST_TEXTS: u64 = 10_000;

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown generate runs/math/best --prompt 'The sum of'
  mixdown generate runs/math/best --prompt-file prompt.txt --count 4 --top-p 0.9 --seed 1
  the most likely token each time:
    mixdown generate runs/math/best --prompt 'The sum of' --temperature 0
  a chat model, one question or line by line (Ctrl-D ends it):
    mixdown generate models/smollm2 --chat --prompt 'What is the capital of France?'
    mixdown generate models/smollm2 --chat --system 'Answer in one sentence.'

The text is printed while it is generated. It ends at a token that ends a text, after --max-tokens, or at the model's
last position.")]
pub struct GenerateArgs {
    /// Model folder in Hugging Face's format with its tokenizer, such as a run's best/; a run's folder means its
    /// best/.
    checkpoint: PathBuf,
    /// Text to continue; '' starts a new text.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present_any = ["prompt_file", "chat"]
    )]
    prompt: Option<String>,
    /// File whose whole content is the prompt.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// Render the prompt as a user's message with the model's chat template; without a prompt, chat line by line.
    #[arg(long)]
    chat: bool,
    /// System message of the chat.
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    system: Option<String>,
    /// Day that the chat template's strftime_now returns (2026-01-31).
    #[arg(long, value_name = "DAY", requires = "chat")]
    template_date: Option<TemplateDate>,
    /// Encode special tokens that are written in the prompt as special tokens, not as plain text.
    #[arg(long, conflicts_with = "chat")]
    parse_special: bool,
    /// Largest number of new tokens.
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_tokens: u64,
    /// Sampling temperature; 0 is greedy.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.8, help_heading = SAMPLING)]
    temperature: f64,
    /// Sample from the K most likely tokens.
    #[arg(long, value_name = "K", help_heading = SAMPLING)]
    top_k: Option<u64>,
    /// Sample from the most likely tokens that together have this probability.
    #[arg(long, value_name = "P", help_heading = SAMPLING)]
    top_p: Option<f64>,
    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SAMPLING)]
    seed: u64,
    /// Number of texts; several are printed when all are complete.
    #[arg(long, default_value = "1", value_name = "N", help_heading = SAMPLING)]
    count: NonZeroU64,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    prompt: String,
    prompt_tokens: u64,
    samples: Vec<Sample>,
    /// New tokens of all samples per second, without the time for reading the prompt.
    tokens_per_second: f64,
}

/// One text.
#[derive(Debug, Serialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    ending: &'static str,
}

/// Runs the subcommand.
///
/// # Errors
/// A checkpoint or tokenizer that cannot be loaded, a prompt longer than the model's context, settings with which no
/// token can be sampled, a chat without a chat template.
pub fn run(arguments: GenerateArgs, context: Context) -> Result<(), Error> {
    if arguments.count.get() > MOST_TEXTS {
        let message = format!("--count: expected 1 to {MOST_TEXTS} texts, got {}", arguments.count);
        return Err(Error::usage(message, "generate fewer at once, with another --seed each time"));
    }
    let prompt = arguments.prompt_text()?;
    let (folder, mut model) = load_model(&arguments.checkpoint)?;
    let text = PromptTokenizer::load(&folder)?;
    let chat = if arguments.chat { Some(text.chat(arguments.template_date)?) } else { None };
    model.set_pass(arguments.compute.pass())?;
    let ends = chat.as_ref().map_or(Ok(Vec::new()), ChatPrompt::ends)?;
    let mut session = Session { arguments: &arguments, context, text, model, ends };
    let (ids, prompt) = match (&chat, prompt) {
        (Some(chat), None) => return session.talk(chat),
        (Some(chat), Some(prompt)) => {
            (chat.ids(&chat_turns(arguments.system.as_deref(), &prompt))?, prompt)
        }
        (None, prompt) => {
            let prompt = prompt.unwrap_or_default();
            let text = &session.text;
            let parse = arguments.parse_special;
            let ids =
                if parse { text.prompt_with_special_tokens(&prompt) } else { text.prompt(&prompt) };
            (ids?, prompt)
        }
    };
    session.answer(prompt, &ids, arguments.seed, None).map(drop)
}

/// A loaded model that answers one prompt, or the lines of a chat.
struct Session<'a> {
    arguments: &'a GenerateArgs,
    context: Context,
    text: PromptTokenizer,
    model: Model,
    /// Ids that end a turn of a chat.
    ends: Vec<u32>,
}

impl Session<'_> {
    /// Generates the continuation of a prompt and prints it, as a line of `lines` if it is given; `None` if the
    /// reader has closed standard output.
    fn answer(
        &mut self,
        prompt: String,
        ids: &[u32],
        seed: u64,
        lines: Option<&mut Lines>,
    ) -> Result<Option<Report>, Error> {
        let count = usize::try_from(self.arguments.count.get()).unwrap_or(usize::MAX);
        let (text, context) = (&self.text, self.context);
        let mut shown = Shown {
            growing: (context.output == Output::Text && count == 1)
                .then(|| StreamedText::new(text, ids)),
            fault: None,
            reader: ControlFlow::Continue(()),
            first: None,
            tokens: 0,
        };
        let mut on_token = |_: usize, id: u32| {
            if shown.token(id).is_break() {
                context.stop.store(true, Ordering::Relaxed);
            }
        };
        let (prompts, options) = (vec![ids.to_vec(); count], self.arguments.options(seed));
        let (model, ends) = (&mut self.model, &self.ends);
        let generated =
            generate_until(model, &prompts, &options, ends, &mut on_token, context.stop);
        shown.end()?;
        if shown.reader.is_break() {
            return Ok(None);
        }
        let report = Report {
            prompt_tokens: u64::try_from(ids.len()).unwrap_or(u64::MAX),
            prompt,
            tokens_per_second: shown.rate(),
            samples: generated?
                .into_iter()
                .map(|generated| {
                    let text = text.continuation(ids, &generated.ids)?;
                    Ok(Sample { text, ids: generated.ids, ending: generated.finish_reason.name() })
                })
                .collect::<Result<_, Error>>()?,
        };
        say(&closing(&report, self.model.config().max_position_embeddings));
        if let Some(lines) = lines {
            let read = lines.write(&report)?.is_continue() && lines.flush()?.is_continue();
            return Ok(read.then_some(report));
        }
        if shown.growing.is_none() {
            context.output.print(&report, describe)?;
        }
        Ok(Some(report))
    }

    /// Reads the user's messages from standard input, one per line, and answers them.
    fn talk(&mut self, chat: &ChatPrompt) -> Result<(), Error> {
        if self.arguments.count.get() > 1 {
            let message = "--count: expected 1 in a chat line by line, which has one answer per message, got more";
            return Err(Error::usage(
                message,
                "give one message with --prompt TEXT, or leave out --count",
            ));
        }
        let mut said: Vec<ChatTurn> = Vec::new();
        let system = self.arguments.system.as_deref();
        let stdin = std::io::stdin();
        let asks = stdin.is_terminal();
        let mut lines = (self.context.output == Output::Json).then(Lines::new);
        for turn in 0_u64.. {
            if asks {
                say("your message (Ctrl-D ends the chat):");
            }
            let mut line = String::new();
            let read = stdin.lock().read_line(&mut line);
            if read.map_err(|error| Error::io("standard input".as_ref(), "read", error))? == 0 {
                break;
            }
            let message = line.trim_end_matches(['\n', '\r']);
            if message.trim().is_empty() {
                continue;
            }
            if said.is_empty() {
                said = chat_turns(system, message);
            } else {
                said.extend(chat_turns(None, message));
            }
            let ids = chat.ids(&said)?;
            let seed = self.arguments.seed.wrapping_add(turn);
            let Some(report) = self.answer(message.to_owned(), &ids, seed, lines.as_mut())? else {
                break;
            };
            let content = report.samples.into_iter().map(|sample| sample.text).collect();
            said.push(ChatTurn { role: "assistant".to_owned(), content });
        }
        Ok(())
    }
}

impl GenerateArgs {
    /// The prompt, if one is given.
    fn prompt_text(&self) -> Result<Option<String>, Error> {
        match (&self.prompt, &self.prompt_file) {
            (_, Some(path)) => {
                let read = std::fs::read_to_string(path);
                read.map(Some).map_err(|error| match error.kind() {
                    ErrorKind::InvalidData => Error::usage(
                        format!(
                            "{}: expected a prompt in UTF-8, got bytes that are not",
                            path.display()
                        ),
                        "convert the file to UTF-8",
                    ),
                    _ => Error::io(path, "read", error),
                })
            }
            (prompt, None) => Ok(prompt.clone()),
        }
    }

    fn options(&self, seed: u64) -> GenerateOptions {
        let (temperature, top_k, top_p) = (self.temperature, self.top_k, self.top_p);
        let sampling = Sampling { temperature, top_k, top_p };
        GenerateOptions { max_tokens: self.max_tokens, sampling, seed }
    }
}

/// The output of a text while it is generated.
struct Shown<'a> {
    /// The text, if it is printed while it is generated.
    growing: Option<StreamedText<'a>>,
    fault: Option<Error>,
    reader: ControlFlow<()>,
    /// When the first token came.
    first: Option<Instant>,
    tokens: u32,
}

impl Shown<'_> {
    /// Breaks if nothing more can be printed.
    fn token(&mut self, id: u32) -> ControlFlow<()> {
        self.first.get_or_insert_with(Instant::now);
        self.tokens += 1;
        let Some(growing) = &mut self.growing else { return ControlFlow::Continue(()) };
        let fresh = growing.push(id);
        self.print(fresh)
    }

    fn print(&mut self, fresh: Result<String, mixdown_experiments::Error>) -> ControlFlow<()> {
        let printed = fresh.map_err(Error::from).and_then(|fresh| {
            let mut stdout = std::io::stdout().lock();
            reader_is_there(
                stdout.write_all(for_reader(&fresh).as_bytes()).and_then(|()| stdout.flush()),
            )
        });
        match printed {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            Ok(gone) => {
                self.reader = gone;
                gone
            }
            Err(error) => {
                self.fault = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Prints the rest and a line end.
    fn end(&mut self) -> Result<(), Error> {
        if let (Some(growing), true, None) =
            (&mut self.growing, self.reader.is_continue(), &self.fault)
        {
            let left = growing.finish().map(|left| left + "\n");
            let _ = self.print(left);
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Tokens per second, counted from the first one.
    fn rate(&self) -> f64 {
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        f64::from(self.tokens.saturating_sub(1)) / seconds.max(1e-9)
    }
}

fn closing(report: &Report, positions: u64) -> String {
    let tokens = report.samples.iter().map(|sample| sample.ids.len()).sum::<usize>();
    let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
    let full =
        report.samples.iter().any(|sample| sample.ending == FinishReason::ContextFull.name());
    let full =
        if full { format!(", ended by the model's {positions} positions") } else { String::new() };
    format!("generate: {}, {:.0} tokens/s{full}", plural(tokens, "token"), report.tokens_per_second)
}

fn describe(report: &Report) -> String {
    let count = report.samples.len();
    let samples = (1..).zip(&report.samples).map(|(number, sample): (usize, &Sample)| {
        format!("── {number} of {count}, {} ──\n{}", sample.ending, sample.text)
    });
    samples.collect::<Vec<_>>().join("\n")
}
