//! What pages are put together from: the shell, text, tables, figures.

pub(crate) mod chart;
pub(crate) mod figure;
pub(crate) mod html;
pub(crate) mod plot;
pub(crate) mod shell;
pub(crate) mod text;
