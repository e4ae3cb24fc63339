//! Tests of the public interface: round trips, damage, golden files.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod export;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod interchange;
#[cfg(test)]
mod interchange_refusals;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod support;
#[cfg(test)]
mod writer;
