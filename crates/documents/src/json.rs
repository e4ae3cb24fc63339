//! JSON records: lines, arrays, objects.

pub(crate) mod line;
pub(crate) mod marks;
pub(crate) mod pieces;
pub(crate) mod raw;
pub(crate) mod scan;
