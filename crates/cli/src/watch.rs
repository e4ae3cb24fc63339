//! Runs and sweeps in the terminal, while they go on or afterwards.
//!
//! Files are all that is known of a run: follow.rs and sweep_board.rs read what was appended to them, and from
//! that alone run_view.rs and board_view.rs draw a frame, plain.rs writes lines and report.rs an object. A view
//! can so stand beside any run, on any machine that sees its folder, and cannot disturb it.

mod app;
mod board;
mod description;
mod follow;
mod live;
mod plain;
mod report;
mod run_data;
mod screen;
mod sweep_board;
mod view;

pub use self::app::{App, Place, Subject, Turn};
pub use self::live::LiveView;
pub use self::plain::write_lines;
pub use self::report::report;
pub use self::screen::{give_back, is_possible, show};
pub use self::view::look::Look;
