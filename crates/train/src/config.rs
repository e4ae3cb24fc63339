//! A run as a user describes it, and as its folder repeats it.

pub(crate) mod compute;
pub(crate) mod lora;
pub(crate) mod model_choice;
pub(crate) mod run_config;
pub(crate) mod run_file;
