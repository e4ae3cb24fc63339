//! Jinja2 templates as Python renders them, with the origin of every character.
//!
//! Chat templates are written for Jinja2 on Python, and they show it: they call methods of `str` and `dict`, print
//! floats, test what is iterable, and split messages at special tokens. A [`Template`] behaves as Jinja2 does when
//! `transformers` sets it up (`trim_blocks`, `lstrip_blocks`, loop controls, a sandbox, `tojson` as `json.dumps`), with
//! two additions: each character of the result records whether the template or one of its input values wrote it, and in
//! which `{% generation %}` block ([`Origin`]); and the time and memory of a template are limited.
//!
//! ```
//! use mixdown_jinja::{Template, Value};
//! # fn main() -> Result<(), mixdown_jinja::Error> {
//! let template = Template::parse("{% for n in numbers %}{{ n }}{{ ', ' if not loop.last }}{% endfor %}")?;
//! let numbers = mixdown_jinja::from_json("[1e-5, 2.0]").unwrap_or(Value::None);
//! let text = template.render([("numbers", numbers)])?;
//! assert_eq!(text.as_str(), "1e-05, 2.0");
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing)]

mod error;
mod run;
mod strings;
mod syntax;
mod template;
mod values;

pub use error::Error;
pub use template::Template;
pub use values::json::parse as from_json;
pub use values::text::{MAX_TEXT_BYTES, Origin, Text};
pub use values::value::{Dict, Items, Value};
