//! Experiments: runs from recipes, sweeps of runs, and laws fitted to their tables.
//!
//! A [`Recipe`] or a file ([`read_run`]) gives the settings of one run, and [`Training`] trains it. A [`Sweep`] trains
//! a grid of runs from one description ([`SweepConfig`]), each of them one row of a table. [`read_domains`] reads such
//! tables, [`fit_domains`] fits the laws of forgetting to them, and [`Delivery`] is the mixture for the advised share.
//!
//! Nothing here prints or ends the process: an observer receives events, a flag stops the work at a safe point, and the
//! same call then continues from what is on disk.
//!
//! ```
//! use mixdown_experiments::SweepConfig;
//!
//! let settings = SweepConfig::parse(
//!     "pretraining = 'corpora/general'
//!      p = ['0', '0.5%', '1%']
//!      target_tokens = ['300k', '1M']
//!      train = { sequence_length = 128, batch_size = 16 }
//!      domain = [{ name = 'math', corpus = 'corpora/math' }]
//!      model = [{ name = '41M', size = '41M', tokens = '800M' }]",
//! )?
//! .checked()?;
//! let runs = settings.planned_runs()?;
//! assert_eq!(runs.len(), 6);
//! assert_eq!(runs[1].run_id, "math-41M-300k-0.5pct-seed0");
//! # Ok::<(), mixdown_experiments::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod fits;
/// Runs: how they are described, what they start from, and one training.
mod runs {
    pub(crate) mod configuration;
    pub(crate) mod injection;
    pub(crate) mod models;
    pub(crate) mod overrides;
    pub(crate) mod recipe;
    pub(crate) mod run_template;
    pub(crate) mod text;
    pub(crate) mod training;
}
mod sweep;

pub use crate::error::{Error, Hint};
pub use crate::fits::expected::{ExpectedLaw, simulation_of_fit};
pub use crate::fits::mixture::Delivery;
pub use crate::fits::tables::{DomainRuns, Pooling, domain_runs, observation, read_domains};
pub use crate::fits::{fit_domain, fit_domains, read_fit};
pub use crate::runs::configuration::{
    base_folder, parse_description, read_description, read_run, read_toml,
};
pub use crate::runs::injection::Injection;
pub use crate::runs::models::{finetuning_length, load_model, run_base};
pub use crate::runs::overrides::{Override, apply_overrides};
pub use crate::runs::recipe::{PRETRAINING, Recipe, TARGET};
pub use crate::runs::run_template::render_run;
pub use crate::runs::text::{PromptTokenizer, StreamedText, chat_turns};
pub use crate::runs::training::Training;
pub use crate::sweep::cost::RunCost;
pub use crate::sweep::event::{SweepEvent, SweepObserver, SweepPart, TimeLeft};
pub use crate::sweep::folder::{Failure, SweepFolder};
pub use crate::sweep::plan::PlannedRun;
pub use crate::sweep::preview::{PartPreview, RateOrigin, SweepPreview};
pub use crate::sweep::settings::{
    Design, DomainSettings, EvalSettings, ModelSettings, PretrainSettings, RunSettings, SweepConfig,
};
pub use crate::sweep::settings_file::check_unclaimed;
pub use crate::sweep::train_settings::TrainSettings;
pub use crate::sweep::{Sweep, SweepOutcome, SweepStage, bottom_is_reached, planned_runs};
