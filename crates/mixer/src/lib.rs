//! Token corpora to deterministic batches in an exact ratio.
//!
//! A [`MixtureConfig`] names [`Source`]s, their [`Weight`]s and the shape of a batch; a [`Mixture`]
//! is one whose sources fit each other; a [`Mixer`] gives any slot, step and rank of the endless
//! run over it. A reader follows weight → `weight_parts` → schedule → `source_order` (permutation,
//! window) → planner → mixer.
//!
//! Nothing here depends on a clock, on thread count or on floats: the [`Schedule`] is
//! integer arithmetic, the [`Permutation`] is keyed by BLAKE3, and [`MixerState`] is a slot
//! number with the hash of what orders the run. docs/design/mixing.md holds the contract and the
//! proofs.

mod batch;
mod config;
mod deviation;
mod error;
mod fork;
mod identity;
mod mixer;
mod mixture;
mod permutation;
mod planner;
mod rank;
mod schedule;
mod shares;
mod source_order;
mod state;
mod table;
mod tree;
mod two_sources;
mod weight;
mod weight_parts;
mod window;

pub use batch::Batch;
pub use config::{MixtureConfig, SourceConfig, WindowOffset};
pub use deviation::{Deviations, largest_deviations};
pub use error::Error;
pub use mixer::Mixer;
pub use mixture::{Mixture, MixtureShape, Source};
pub use permutation::{LONGEST_PERMUTATION, Permutation};
pub use planner::{Planner, Slot};
pub use rank::Rank;
pub use schedule::{Placement, SCHEDULE_VERSION, Schedule};
pub use shares::SourceShare;
pub use state::MixerState;
pub use weight::{Weight, WeightUnit};
pub use weight_parts::{LARGEST_PERIOD, WeightParts};
