//! Tests of the mixing contract from outside against naive models.

#[cfg(test)]
mod corpora;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod loader;
#[cfg(test)]
mod mixing;
#[cfg(test)]
mod permutations;
#[cfg(test)]
mod random;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod stage_bounds;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod states;
