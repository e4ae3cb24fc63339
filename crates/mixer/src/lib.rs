//! A mixer from token corpora to deterministic batches in an exact ratio.
//!
//! A [`MixtureConfig`] names [`Source`]s, their [`Weight`]s and the shape of a batch; a [`Mixture`] is a description
//! whose sources fit each other; a [`Mixer`] gives any slot, step and rank of the endless run over it. A good reading
//! order is weights → schedule (of a run's first stage; `carried` of later ones) → timeline → order (permutation,
//! window) → planner → mixer.
//!
//! Nothing here depends on a clock, on the thread count or on floats: the [`Schedule`] is integer arithmetic, the
//! [`Permutation`] is keyed by BLAKE3, and [`MixerState`] is a slot number with the hash of what determines the run's
//! order. docs/design/mixing.md holds the contract and the proofs.

mod config;
mod error;
mod loader;
mod mixer;
mod mixture;
mod order;
mod schedule;
mod weights;

pub use config::{MixtureConfig, RunLength, SourceConfig, StageConfig, WeightUnit, WindowOffset};
pub use error::Error;
pub use loader::{LoadedBatch, Loader, LoaderConfig};
pub use mixer::Mixer;
pub use mixer::batch::{Batch, Documents, Rank};
pub use mixer::planner::{Planner, Slot};
pub use mixer::state::MixerState;
pub use mixture::shares::{SourceShare, StageShares};
pub use mixture::{Mixture, MixtureShape, Source};
pub use order::permutation::{LONGEST_PERMUTATION, Permutation};
pub use schedule::deviation::{Deviations, largest_deviations};
pub use schedule::{Placement, SCHEDULE_VERSION, Schedule};
pub use weights::parts::{LARGEST_PERIOD, WeightParts};
pub use weights::{Weight, WeightNotation};
