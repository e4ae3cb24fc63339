//! Token corpora to deterministic batches in an exact ratio.
//!
//! A [`MixtureConfig`] names [`Source`]s, their [`Weight`]s and the shape of a batch; a [`Mixture`]
//! is one whose sources fit each other; a [`Mixer`] gives any slot, step and rank of the endless
//! run over it. A reader follows weight → `weight_parts` → schedule (of a run's first stage; `carried` of later
//! ones) → timeline → `source_order` (permutation, window) → planner → mixer.
//!
//! Nothing here depends on a clock, on thread count or on floats: the [`Schedule`] is
//! integer arithmetic, the [`Permutation`] is keyed by BLAKE3, and [`MixerState`] is a slot
//! number with the hash of what orders the run. docs/design/mixing.md holds the contract and the
//! proofs.

mod batch;
mod blocks;
mod carried;
mod config;
mod deviation;
mod documents;
mod error;
mod fork;
mod gather;
mod identity;
mod loader;
mod memory;
mod mixer;
mod mixture;
mod mixture_check;
mod mixture_stages;
mod permutation;
mod planner;
mod rank;
mod read_ahead;
mod residual;
mod run_length;
mod schedule;
mod shares;
mod source_order;
mod stage;
mod state;
mod table;
mod timeline;
mod tree;
mod two_sources;
mod weight;
mod weight_parts;
mod window;

pub use batch::Batch;
pub use config::{MixtureConfig, SourceConfig, StageConfig, WeightUnit, WindowOffset};
pub use deviation::{Deviations, largest_deviations};
pub use documents::Documents;
pub use error::Error;
pub use loader::{LoadedBatch, Loader, LoaderConfig};
pub use mixer::Mixer;
pub use mixture::{Mixture, MixtureShape, Source};
pub use permutation::{LONGEST_PERMUTATION, Permutation};
pub use planner::{Planner, Slot};
pub use rank::Rank;
pub use run_length::RunLength;
pub use schedule::{Placement, SCHEDULE_VERSION, Schedule};
pub use shares::{SourceShare, StageShares};
pub use state::MixerState;
pub use weight::{Weight, WeightNotation};
pub use weight_parts::{LARGEST_PERIOD, WeightParts};
