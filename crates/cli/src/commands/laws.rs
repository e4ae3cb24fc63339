//! Laws of runs, plans of grids, pages.

pub mod design;
pub mod fit;
pub mod report;
