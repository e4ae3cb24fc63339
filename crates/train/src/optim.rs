//! What a step changes: AdamW, learning-rate schedules, averages, frozen tensors.

pub(crate) mod adamw;
pub(crate) mod average;
pub(crate) mod freeze;
pub(crate) mod schedule;
pub(crate) mod trainable_state;
