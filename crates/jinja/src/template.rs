//! A template, which renders values to text.

use crate::error::{Error, Result};
use crate::run::interpreter::Interpreter;
use crate::syntax::ast::Stmt;
use crate::syntax::parser::parse;
use crate::values::text::Text;
use crate::values::value::Value;

/// Steps that every rendering may take. A long conversation takes about ten thousand.
const STEPS: u64 = 20_000_000;
/// Additional steps for every byte of the rendered values.
const STEPS_PER_BYTE: u64 = 200;

/// A parsed template. Rendering takes `&self`, so one template serves all threads.
#[derive(Debug)]
pub struct Template {
    body: Vec<Stmt>,
    generation_blocks: usize,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Its syntax is wrong.
    ///
    /// ```
    /// use mixdown_jinja::Template;
    ///
    /// assert!(Template::parse("{{ name }}").is_ok());
    /// assert_eq!(Template::parse("a\n{{ name").err().unwrap().line, Some(2));
    /// ```
    pub fn parse(source: &str) -> Result<Self> {
        let (body, generation_blocks) = parse(source)?;
        Ok(Self { body, generation_blocks })
    }

    /// Returns the number of `{% generation %}` blocks in the template.
    ///
    /// ```
    /// use mixdown_jinja::Template;
    ///
    /// let template = Template::parse("{% generation %}yes{% endgeneration %}")?;
    /// assert_eq!(template.generation_blocks(), 1);
    /// # Ok::<(), mixdown_jinja::Error>(())
    /// ```
    pub fn generation_blocks(&self) -> usize {
        self.generation_blocks
    }

    /// Renders the template with values by their names.
    ///
    /// # Errors
    /// Python would raise an exception, the template raises one itself, or it takes more steps or writes more text than
    /// any conversation needs.
    ///
    /// ```
    /// use mixdown_jinja::{Template, Value};
    ///
    /// let template = Template::parse("Hello {{ name }}!")?;
    /// let text = template.render([("name", Value::foreign("Ada"))])?;
    /// assert_eq!(text.as_str(), "Hello Ada!");
    /// assert!(text.origin_at(6).foreign && !text.origin_at(0).foreign);
    /// # Ok::<(), mixdown_jinja::Error>(())
    /// ```
    pub fn render<'n>(
        &self,
        values: impl IntoIterator<Item = (&'n str, Value)>,
    ) -> std::result::Result<Text, Error> {
        let values: Vec<(&str, Value)> = values.into_iter().collect();
        let bytes = values.iter().map(|(_, value)| bytes_of(value)).fold(0, u64::saturating_add);
        let steps = STEPS.saturating_add(bytes.saturating_mul(STEPS_PER_BYTE));
        Interpreter::new(steps, values).run(&self.body)
    }
}

/// The approximate size of a value in bytes.
fn bytes_of(value: &Value) -> u64 {
    let own = value.as_str().map_or(8, str::len);
    let own = u64::try_from(own).unwrap_or(u64::MAX);
    let inner = match (value.as_items(), value.as_dict()) {
        (Some(items), _) => items.iter().map(bytes_of).fold(0, u64::saturating_add),
        (_, Some(dict)) => {
            let entries = dict.entries().iter();
            entries.map(|(key, value)| bytes_of(key) + bytes_of(value)).fold(0, u64::saturating_add)
        }
        _ => 0,
    };
    own.saturating_add(inner)
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
