//! The settings of a run: as a user writes them, and as its folder records them.

pub(crate) mod compute;
pub(crate) mod lora;
pub(crate) mod model_choice;
pub(crate) mod run_config;
pub(crate) mod run_file;
