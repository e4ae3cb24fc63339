//! Writes a line for each evaluation of a run or a folder of runs until all are done.
//!
//!     cargo run -p mixdown-watch --example watch_run -- runs/math-1

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mixdown_watch::{Subject, SweepRecords, write_lines};

/// Sweeps are read by mixdown-experiments; this program shows runs alone.
fn no_sweeps(_: &Path) -> Result<SweepRecords, String> {
    Ok(SweepRecords::default())
}

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        return Err("usage: watch_run RUNS".into());
    }
    let mut subject = Subject::of(&paths, no_sweeps)?;
    write_lines(&mut subject, &mut std::io::stdout(), &AtomicBool::new(false))?;
    Ok(())
}
