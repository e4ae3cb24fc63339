//! The processes of a run on one node, one a GPU: who they are, how they meet, and what they exchange.
//!
//! Each has the whole model and computes its part of a batch; gradients are summed over all ranks, so that every
//! rank does the same optimizer step. Small things (losses, counts, whether to stop) and, on the CPU, the gradients go
//! over sockets of this machine by way of rank 0, which adds in the order of ranks; those on GPUs are summed by NCCL.

mod frame;
mod process_group;
mod rendezvous;
mod world;

pub(crate) use process_group::ProcessGroup;
#[cfg(test)]
pub(crate) use process_group::tests;
pub use world::World;
