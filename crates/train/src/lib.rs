//! The candle trainer: model, optimiser, evaluation and checkpoints.

mod ops;
