//! The mixing contract, tested from outside against naive models.

mod corpora;
mod mixing;
mod permutations;
mod random;
mod refusals;
mod schedules;
mod states;
