//! Conversations: messages, templates, and which characters are targets.

pub(crate) mod date;
pub(crate) mod labeler;
pub(crate) mod message;
pub(crate) mod share_gpt;
pub(crate) mod special_spellings;
pub(crate) mod template;
