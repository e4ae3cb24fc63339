//! The training of one run.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use mixdown_base::observer::Observer;
use mixdown_runs::Summary;
use mixdown_train::{
    AllowedChanges, ModelChoice, ModelPlace, Progress, RunConfig, RunName, Trainer, World,
};

use crate::error::Error;
use crate::runs::models::run_base;
use crate::runs::text::PromptTokenizer;

/// A run to be trained.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_base::observer::Observer;
/// use mixdown_experiments::{Training, base_folder, read_run};
/// use mixdown_train::{AllowedChanges, RunName, World};
///
/// let description = Path::new("run.toml");
/// let training = Training {
///     config: &read_run(description, &["train.learning_rate=1e-4".parse().unwrap()])?,
///     base: base_folder(description),
///     out: Path::new("runs/math"),
///     name: RunName { run_id: "math".to_owned(), title: "math".to_owned() },
///     changes: AllowedChanges::None,
///     world: World::single(),
/// };
/// let summary = training.run(Observer::new(
///     &|at| println!("{} of {}", at.step, at.steps),
///     &AtomicBool::new(false),
/// ))?;
/// println!("best step {}", summary.best_step);
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
#[derive(Debug)]
pub struct Training<'a> {
    /// The run's settings.
    pub config: &'a RunConfig,
    /// The folder that relative paths of the settings are taken from.
    pub base: &'a Path,
    /// The run's folder.
    pub out: &'a Path,
    /// The run's name.
    pub name: RunName,
    /// What may differ from the run that is in the folder.
    pub changes: AllowedChanges,
    /// The rank of this process among the processes of the run.
    pub world: World,
}

impl Training<'_> {
    /// Opens the run in its folder, from its last checkpoint if there is one, with the tokenizer for samples if they
    /// are asked for.
    ///
    /// # Errors
    /// As [`Trainer::open`]; a tokenizer that cannot be loaded.
    pub fn open(self, stop: &AtomicBool) -> Result<Trainer, Error> {
        let Self { config, base, out, name, changes, world } = self;
        let mut trainer = Trainer::open(config, run_base(base), out, name, changes, world, stop)?;
        if config.eval.samples.is_some() {
            trainer.set_text_codec(Box::new(text_of(config, base)?))?;
        }
        Ok(trainer)
    }

    /// Trains the run to its end. The observer receives every step and may stop the training with a checkpoint, from
    /// which the same call continues.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Trainer::run`].
    pub fn run(self, observer: Observer<'_, Progress>) -> Result<Summary, Error> {
        Ok(self.open(observer.stop())?.run(observer)?)
    }
}

/// Loads the tokenizer of the corpus whose loss chooses best/, which all corpora share. For chats it loads that of the
/// model from which the run starts, because the chat template is beside it.
fn text_of(config: &RunConfig, base: &Path) -> Result<PromptTokenizer, Error> {
    let chat = config.eval.samples.as_ref().is_some_and(|samples| samples.chat);
    if let (true, ModelChoice::Init(folder)) = (chat, &config.model) {
        return PromptTokenizer::load(&ModelPlace::find(base, folder)?.folder);
    }
    let corpora = &config.eval.corpus;
    let chosen = corpora.iter().find(|corpus| corpus.name == config.eval.select);
    PromptTokenizer::load(
        &base.join(chosen.map_or(Path::new(""), |chosen| chosen.corpus.as_path())),
    )
}
