//! A run as a user describes it, and as its folder repeats it.

pub(crate) mod device_choice;
pub(crate) mod finetune;
pub(crate) mod lora;
pub(crate) mod model_choice;
pub(crate) mod precision;
pub(crate) mod run_base;
pub(crate) mod run_config;
pub(crate) mod run_file;
