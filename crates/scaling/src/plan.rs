//! What a planned grid of runs would tell, and how much pretraining data is enough.

pub(crate) mod advise;
pub(crate) mod plan_grid;
pub(crate) mod requirements;
pub(crate) mod simulate;
