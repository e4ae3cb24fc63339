//! Frames of the terminal: runs, boards, curves.

pub(crate) mod board_view;
#[cfg(test)]
pub(crate) mod board_view_tests;
pub(crate) mod chart;
pub(crate) mod curves;
pub(crate) mod look;
pub(crate) mod run_view;
pub(crate) mod scale;
pub(crate) mod text;
#[cfg(test)]
pub(crate) mod view_tests;
