//! The selection of input files, and their formats.

pub(crate) mod binary;
pub(crate) mod detect;
pub(crate) mod discovery;
pub(crate) mod folder;
pub(crate) mod format;
pub(crate) mod input_list;
pub(crate) mod layout;
pub(crate) mod selection;
pub(crate) mod standard_input;
