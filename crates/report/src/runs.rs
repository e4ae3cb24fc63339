//! The page of runs.

pub(crate) mod comparison;
pub(crate) mod curves;
pub(crate) mod delivered;
pub(crate) mod forgetting;
pub(crate) mod grouping;
pub(crate) mod headline;
pub(crate) mod mix;
pub(crate) mod page;
pub(crate) mod results;
pub(crate) mod series;
pub(crate) mod shares;
pub(crate) mod training;
