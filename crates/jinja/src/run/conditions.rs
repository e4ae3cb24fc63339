//! Jinja2's tests, which follow `is`.

use crate::error::{Result, fail};
use crate::run::call::{Arguments, required};
use crate::run::interpreter::Interpreter;
use crate::run::operators::{binary, compare, contains};
use crate::strings::methods::string_method;
use crate::syntax::ast::Comparison;
use crate::values::number::Arithmetic;
use crate::values::python_text::str_of;
use crate::values::value::Value;

impl Interpreter {
    /// Returns whether a value passes a test.
    pub(crate) fn test(&mut self, name: &str, value: &Value, arguments: Arguments) -> Result<bool> {
        self.charge(1)?;
        if let Some(passes) = with_argument(name, value, &arguments)? {
            return Ok(passes);
        }
        arguments.bind(name, [])?;
        Ok(match name {
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "none" => value.is_none(),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            "string" => matches!(value, Value::Str(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "sequence" => is_sequence(value),
            "iterable" => is_iterable(value),
            "callable" => matches!(value, Value::Callable(_)),
            "escaped" => false,
            "lower" => is_case(value, "islower")?,
            "upper" => is_case(value, "isupper")?,
            "odd" | "even" => {
                let rest = binary(Arithmetic::Rem, value, &Value::Int(2))?;
                (rest == Value::Int(1)) == (name == "odd")
            }
            _ => return fail(format!("No test named '{name}'.")),
        })
    }
}

/// Returns the outcome of a test that takes an argument; `None` for other tests.
fn with_argument(name: &str, value: &Value, arguments: &Arguments) -> Result<Option<bool>> {
    let comparison = match name {
        "==" | "eq" | "equalto" => Some(Comparison::Equal),
        "!=" | "ne" => Some(Comparison::NotEqual),
        "<" | "lt" | "lessthan" => Some(Comparison::Less),
        "<=" | "le" => Some(Comparison::LessEqual),
        ">" | "gt" | "greaterthan" => Some(Comparison::Greater),
        ">=" | "ge" => Some(Comparison::GreaterEqual),
        _ => None,
    };
    if comparison.is_none() && !matches!(name, "in" | "sameas" | "divisibleby" | "filter" | "test")
    {
        return Ok(None);
    }
    if name == "filter" || name == "test" {
        return fail(format!("the test '{name}' is not known here"));
    }
    let other = arguments.positional.first().or(arguments.named.first().map(|(_, value)| value));
    let other = required(other.cloned(), name, "other")?;
    match (comparison, name) {
        (Some(comparison), _) => compare(comparison, value, &other).map(Some),
        (None, "in") => contains(&other, value).map(Some),
        (None, "sameas") => Ok(Some(value == &other && value.type_name() == other.type_name())),
        (None, _) => Ok(Some(binary(Arithmetic::Rem, value, &other)? == Value::Int(0))),
    }
}

/// Returns whether a value has a length and can be indexed, which in Python includes strings and dictionaries.
fn is_sequence(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_))
        || value.is_undefined()
}

/// Returns whether Python can iterate over a value; it cannot over `None`.
fn is_iterable(value: &Value) -> bool {
    matches!(value, Value::View(..) | Value::Iterator(..) | Value::Loop(_)) || is_sequence(value)
}

fn is_case(value: &Value, method: &str) -> Result<bool> {
    let passes = string_method(&str_of(value)?, method, Arguments::default())?;
    Ok(passes.is_true())
}
