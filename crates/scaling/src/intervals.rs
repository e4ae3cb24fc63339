//! Intervals by resampling, and Student's t.

pub(crate) mod interval;
pub(crate) mod resample;
pub(crate) mod student;
