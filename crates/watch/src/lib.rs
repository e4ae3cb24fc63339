//! Views of runs and sweeps in the terminal, during the training or afterwards.
//!
//! A view only reads files: each poll ([`Subject::poll`]) reads what a run appended to its folder. From that a frame is
//! drawn ([`App`], [`show`]), lines are written for a pipe ([`write_lines`]), or one object is made for a program
//! ([`report`]). A view can therefore watch any run on any machine that can read its folder, and cannot disturb it.
//! [`LiveView`] is the view of a run in the process that trains it.
//!
//! ```
//! use std::path::{Path, PathBuf};
//! use std::time::SystemTime;
//!
//! use mixdown_watch::{Subject, SweepRecords, report};
//!
//! // The reader of the folders of sweeps; there are none here.
//! fn no_sweeps(_: &Path) -> Result<SweepRecords, String> {
//!     Ok(SweepRecords::default())
//! }
//!
//! let paths = [PathBuf::from("a/run/that/has/not/begun")];
//! let mut subject = Subject::of(&paths, no_sweeps)?;
//! subject.poll(SystemTime::now());
//! let object = serde_json::to_value(report(&subject)).unwrap();
//! assert_eq!(object["runs"][0]["state"], "waiting");
//! # Ok::<(), mixdown_watch::Error>(())
//! ```
#![forbid(unsafe_code)]

mod app;
mod board;
mod description;
mod error;
mod follow;
mod live;
mod plain;
mod report;
mod run_data;
mod screen;
mod sweep_board;
mod view;

pub use crate::app::{App, KeyAction, Subject, ViewProcess};
pub use crate::error::Error;
pub use crate::live::{Host, LiveView, Notice};
pub use crate::plain::write_lines;
pub use crate::report::{WatchReport, report};
pub use crate::screen::{Ending, is_possible, restore_terminal, show};
pub use crate::sweep_board::{ExpectedRun, SweepReader, SweepRecords};
pub use crate::view::look::Look;
