//! Dispatch of Jinja2's filters, and the filters of single values.

use crate::error::{Error, Result, fail};
use crate::run::call::{Arguments, integer, required};
use crate::run::interpreter::Interpreter;
use crate::run::item_filters::is_item_filter;
use crate::run::operators::{attribute, binary, item};
use crate::strings::filters::{is_string_filter, string_filter};
use crate::values::number::{Arithmetic, as_float, integer_of, round};
use crate::values::python_text::{repr, str_of};
use crate::values::text::Text;
use crate::values::value::Value;

impl Interpreter {
    /// Applies a filter to a value.
    pub(crate) fn filter(
        &mut self,
        name: &str,
        value: &Value,
        arguments: Arguments,
    ) -> Result<Value> {
        self.charge(1)?;
        let filtered = if is_string_filter(name) {
            // String filters copy their text.
            self.charge(value.as_str().map_or(0, |text| text.len() / 16))?;
            string_filter(name, value, arguments)?
        } else if is_item_filter(name) {
            self.item_filter(name, value, arguments)?
        } else {
            self.value_filter(name, value, arguments)?
        };
        self.counted(filtered)
    }

    fn value_filter(&mut self, name: &str, value: &Value, arguments: Arguments) -> Result<Value> {
        Ok(match name {
            "tojson" => Value::Str(crate::values::tojson::tojson(value, arguments)?),
            "default" | "d" => {
                let [default, boolean] = arguments.bind(name, ["default_value", "boolean"])?;
                let boolean = boolean.is_some_and(|boolean| boolean.is_true());
                if value.is_undefined() || (boolean && !value.is_true()) {
                    default.unwrap_or_else(|| Value::own(""))
                } else {
                    value.clone()
                }
            }
            "string" => Value::Str(str_of(value)?),
            "safe" => value.clone(),
            "length" | "count" => Value::len(value.length()?),
            "int" => to_int(value, arguments)?,
            "float" => {
                let [default] = arguments.bind(name, ["default"])?;
                let number = match value {
                    Value::Str(text) => float_of(text.as_str()),
                    Value::Undefined(name) => return Err(Error::undefined(name)),
                    other => as_float(other),
                };
                number.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float)
            }
            "abs" => match value {
                Value::Float(number) => Value::Float(number.abs()),
                _ => match value.as_int() {
                    Some(number) if number < 0 => binary(Arithmetic::Sub, &Value::Int(0), value)?,
                    Some(number) => Value::Int(number),
                    None => {
                        return fail(format!(
                            "bad operand type for abs(): '{}'",
                            value.type_name()
                        ));
                    }
                },
            },
            "round" => to_rounded(value, arguments)?,
            "items" => match value {
                Value::Undefined(_) => Value::iterator([]),
                Value::Dict(dict) => {
                    let pair = |(key, value): &(Value, Value)| {
                        Value::tuple(vec![key.clone(), value.clone()])
                    };
                    Value::iterator(dict.entries().iter().map(pair))
                }
                _ => return fail("Can only get item pairs from a mapping."),
            },
            "attr" => {
                let [own] = arguments.bind(name, ["name"])?;
                let own = str_of(&required(own, name, "name")?)?;
                // This filter looks up attributes only, never items.
                match value {
                    Value::Dict(_) => Value::undefined(own.as_str()),
                    _ => attribute(value, own.as_str())?,
                }
            }
            "pprint" => Value::Str(repr(value)?),
            "filesizeformat" => {
                let [binary] = arguments.bind(name, ["binary"])?;
                file_size(value, binary.is_some_and(|binary| binary.is_true()))?
            }
            _ => return fail(format!("No filter named '{name}'.")),
        })
    }
}

fn to_int(value: &Value, arguments: Arguments) -> Result<Value> {
    let [default, base] = arguments.bind("int", ["default", "base"])?;
    let base = u32::try_from(integer(base, 10, "base")?).unwrap_or(0);
    let default = || default.unwrap_or(Value::Int(0));
    Ok(match value {
        Value::Str(text) => {
            let text =
                text.as_str().trim_matches(crate::values::python_text::is_space).replace('_', "");
            let digits = match base {
                16 => text.trim_start_matches("0x").trim_start_matches("0X"),
                8 => text.trim_start_matches("0o").trim_start_matches("0O"),
                2 => text.trim_start_matches("0b").trim_start_matches("0B"),
                _ => &text,
            };
            if !(2..=36).contains(&base) {
                return fail("int() base must be >= 2 and <= 36");
            }
            match i128::from_str_radix(digits, base) {
                Ok(number) => Value::Int(number),
                Err(_) => {
                    let number = float_of(&text).and_then(|number| integer_of(number).ok());
                    number.map_or_else(default, Value::Int)
                }
            }
        }
        Value::Float(number) => integer_of(*number).map_or_else(|_| default(), Value::Int),
        Value::Undefined(name) => return Err(Error::undefined(name)),
        other => other.as_int().map_or_else(default, Value::Int),
    })
}

/// Python's `float` of a string.
fn float_of(text: &str) -> Option<f64> {
    let text = text.trim_matches(crate::values::python_text::is_space);
    let number = text.replace('_', "").parse().ok();
    number.filter(|_| !text.starts_with('_') && !text.ends_with('_'))
}

fn to_rounded(value: &Value, arguments: Arguments) -> Result<Value> {
    let [precision, method] = arguments.bind("round", ["precision", "method"])?;
    let precision = integer(precision, 0, "precision")?;
    let method = method.map_or(Ok(Text::from("common")), |method| str_of(&method))?;
    let Some(number) = as_float(value) else {
        return fail(format!("type {} doesn't define __round__ method", value.type_name()));
    };
    let is_float = matches!(value, Value::Float(_));
    match method.as_str() {
        "common" if is_float || precision < 0 => {
            let rounded = round(number, precision)?;
            Ok(if is_float { Value::Float(rounded) } else { Value::Int(integer_of(rounded)?) })
        }
        "common" => Ok(Value::Int(value.as_int().unwrap_or_default())),
        "ceil" | "floor" => {
            let unit = 10_f64.powi(i32::try_from(precision).unwrap_or(0).clamp(-300, 300));
            let scaled = number * unit;
            let whole = if method.as_str() == "ceil" { scaled.ceil() } else { scaled.floor() };
            Ok(Value::Float(whole / unit))
        }
        _ => fail("method must be common, ceil or floor"),
    }
}

fn file_size(value: &Value, binary: bool) -> Result<Value> {
    let number = match value {
        Value::Str(text) => float_of(text.as_str()),
        other => as_float(other),
    };
    let Some(bytes) = number else { return fail("filesizeformat needs a number") };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes.to_bits() == 1.0_f64.to_bits() {
        return Ok(Value::own("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::own(&format!("{} Bytes", bytes.trunc())));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut unit = base;
    for prefix in prefixes {
        unit *= base;
        if bytes < unit || prefix == "Y" {
            let number = base * bytes / unit;
            let prefix =
                if binary { format!("{}i", prefix.to_uppercase()) } else { prefix.to_owned() };
            return Ok(Value::own(&format!("{number:.1} {prefix}B")));
        }
    }
    Ok(Value::own(""))
}

/// Returns what `attribute="a.0.b"` of a filter finds in a value.
pub(crate) fn path(value: &Value, attribute: &Value) -> Result<Value> {
    match attribute {
        Value::Str(path) => {
            let mut found = value.clone();
            for part in path.as_str().split('.') {
                let key = part.parse().map_or_else(|_| Value::own(part), Value::Int);
                found = item(&found, &key)?;
            }
            Ok(found)
        }
        other => item(value, other),
    }
}
