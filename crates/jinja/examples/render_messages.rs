//! Renders a chat template on messages and shows which characters the template wrote itself.
//!
//!     cargo run -p mixdown-jinja --example render_messages -- chat_template.jinja messages.json
//!
//! messages.json holds a list such as `[{"role": "user", "content": "Hello"}]`. Characters that come from the messages
//! are put in brackets: a special token inside them is plain text to mixdown, while one that the template writes is
//! special.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::fs;

use mixdown_jinja::{Template, Value, from_json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(template), Some(messages)) = (arguments.next(), arguments.next()) else {
        return Err("usage: render_messages TEMPLATE.jinja MESSAGES.json".into());
    };
    let template = Template::parse(&fs::read_to_string(template)?)?;
    let messages = from_json(&fs::read_to_string(messages)?)?;
    let text = template.render([
        ("messages", messages),
        ("add_generation_prompt", Value::Bool(true)),
        ("bos_token", Value::None),
    ])?;
    let (mut shown, mut is_foreign) = (String::new(), false);
    for (offset, character) in text.as_str().char_indices() {
        let foreign = text.origin_at(offset).foreign;
        if foreign != is_foreign {
            shown.push(if foreign { '[' } else { ']' });
            is_foreign = foreign;
        }
        shown.push(character);
    }
    if is_foreign {
        shown.push(']');
    }
    println!("{shown}");
    Ok(())
}
