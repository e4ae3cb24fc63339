//! `mixdown generate`.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, value_parser};
use mixdown_train::{Ending, GenerateOptions, Sampling, generate};
use serde::Serialize;

use crate::commands::Context;
use crate::commands::compute_args::ComputeArgs;
use crate::error::Error;
use crate::models::load_model;
use crate::output::{Output, reader_is_there};
use crate::progress::say;
use crate::text::{Growing, Text};

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown generate runs/math/best --prompt 'The sum of'
  mixdown generate runs/math/best --prompt-file prompt.txt --count 4 --top-p 0.9 --seed 1
  the most likely token each time:
    mixdown generate runs/math/best --prompt 'The sum of' --temperature 0

The text that follows the prompt goes to standard output as it comes. It ends where the model ends it, after
--max-tokens, or at the model's last position.")]
pub struct GenerateArgs {
    /// A Hugging Face model folder with its tokenizer, such as a run's best/; of a run's folder its best/ is taken.
    checkpoint: PathBuf,
    /// The text to go on from; '' for a text from its beginning.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "prompt_file"
    )]
    prompt: Option<String>,
    /// The file that holds it, to its last byte.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// New tokens, at most.
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_tokens: u64,
    /// What the logits are divided by; 0 takes the most likely token.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Only so many of the most likely tokens.
    #[arg(long, value_name = "N")]
    top_k: Option<u64>,
    /// Only the most likely tokens that together have this probability.
    #[arg(long, value_name = "SHARE")]
    top_p: Option<f64>,
    /// What is drawn: the same seed gives the same text.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Texts to draw; of several each is printed when all are there.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: u64,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    prompt: String,
    prompt_tokens: u64,
    samples: Vec<Sample>,
    /// New ones of all samples, without reading the prompt.
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
/// A checkpoint or tokenizer that cannot be loaded, a prompt longer than the model's context, settings nothing
/// can be drawn with.
pub fn run(arguments: GenerateArgs, context: Context) -> Result<(), Error> {
    let prompt = arguments.prompt_text()?;
    let (folder, mut model) = load_model(&arguments.checkpoint)?;
    let text = Text::load(&folder)?;
    model.set_pass(arguments.compute.pass())?;
    let ids = text.prompt(&prompt)?;
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let prompts = vec![ids.clone(); count];
    let mut shown = Shown {
        growing: (context.output == Output::Text && count == 1).then(|| Growing::new(&text, &ids)),
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
    let generated =
        generate(&mut model, &prompts, &arguments.options(), &mut on_token, context.stop);
    shown.end()?;
    if shown.reader.is_break() {
        return Ok(());
    }
    let generated = generated?;
    let report = Report {
        prompt_tokens: u64::try_from(ids.len()).unwrap_or(u64::MAX),
        prompt,
        tokens_per_second: shown.rate(),
        samples: generated
            .into_iter()
            .map(|generated| {
                let text = text.continuation(&ids, &generated.ids)?;
                Ok(Sample { text, ids: generated.ids, ending: generated.ending.name() })
            })
            .collect::<Result<_, Error>>()?,
    };
    say(&closing(&report, model.config().max_position_embeddings));
    if shown.growing.is_some() {
        return Ok(());
    }
    context.output.print(&report, describe)
}

impl GenerateArgs {
    fn prompt_text(&self) -> Result<String, Error> {
        match (&self.prompt, &self.prompt_file) {
            (_, Some(path)) => {
                std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))
            }
            (prompt, None) => Ok(prompt.clone().unwrap_or_default()),
        }
    }

    fn options(&self) -> GenerateOptions {
        let (temperature, top_k, top_p) = (self.temperature, self.top_k, self.top_p);
        let sampling = Sampling { temperature, top_k, top_p };
        GenerateOptions { max_tokens: self.max_tokens, sampling, seed: self.seed }
    }
}

/// What is seen of a text while it comes.
struct Shown<'a> {
    /// The text, where it is printed as it comes.
    growing: Option<Growing<'a>>,
    fault: Option<Error>,
    reader: ControlFlow<()>,
    /// When the first token came.
    first: Option<Instant>,
    tokens: u32,
}

impl Shown<'_> {
    /// Breaks where nothing more can be shown.
    fn token(&mut self, id: u32) -> ControlFlow<()> {
        self.first.get_or_insert_with(Instant::now);
        self.tokens += 1;
        let Some(growing) = &mut self.growing else { return ControlFlow::Continue(()) };
        let fresh = growing.push(id);
        self.print(fresh)
    }

    fn print(&mut self, fresh: Result<String, Error>) -> ControlFlow<()> {
        let printed = fresh.and_then(|fresh| {
            let mut stdout = std::io::stdout().lock();
            reader_is_there(stdout.write_all(fresh.as_bytes()).and_then(|()| stdout.flush()))
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

    /// Prints what is left, and the end of the line.
    fn end(&mut self) -> Result<(), Error> {
        if let (Some(growing), true, None) =
            (&mut self.growing, self.reader.is_continue(), &self.fault)
        {
            let left = growing.finish().map(|left| left + "\n");
            let _ = self.print(left);
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Tokens a second, from the first on.
    fn rate(&self) -> f64 {
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        f64::from(self.tokens.saturating_sub(1)) / seconds.max(1e-9)
    }
}

fn closing(report: &Report, positions: u64) -> String {
    let tokens: usize = report.samples.iter().map(|sample| sample.ids.len()).sum();
    let full = report.samples.iter().any(|sample| sample.ending == Ending::ContextFull.name());
    let full =
        if full { format!(", ended by the model's {positions} positions") } else { String::new() };
    format!("generate: {tokens} tokens, {:.0} tokens/s{full}", report.tokens_per_second)
}

fn describe(report: &Report) -> String {
    let count = report.samples.len();
    let samples = (1..).zip(&report.samples).map(|(number, sample): (usize, &Sample)| {
        format!("── {number} of {count}, {} ──\n{}", sample.ending, sample.text)
    });
    samples.collect::<Vec<_>>().join("\n")
}
