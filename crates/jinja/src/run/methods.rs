//! Methods of values that Jinja2's sandbox lets templates call.

use std::sync::Arc;

use crate::error::{Result, fail};
use crate::run::call::{Arguments, Callable, hashable, required};
use crate::run::interpreter::Interpreter;
use crate::strings::methods::{STRING_METHODS, string_method};
use crate::values::value::{Dict, Value};

/// Methods of dictionaries.
const DICT_METHODS: [&str; 5] = ["get", "items", "keys", "values", "copy"];
/// Methods of lists and tuples.
const LIST_METHODS: [&str; 3] = ["count", "index", "copy"];
/// Methods that change a value: in the sandbox they exist, but are undefined.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_CHANGES: [&str; 8] =
    ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];

/// Returns whether a value has a method of this name, which hides an item of the same name.
pub(crate) fn has_method(of: &Value, name: &str) -> bool {
    match of {
        Value::Str(_) => STRING_METHODS.contains(&name),
        Value::Dict(_) => DICT_METHODS.contains(&name) || DICT_CHANGES.contains(&name),
        Value::List(_) => LIST_METHODS.contains(&name) || LIST_CHANGES.contains(&name),
        Value::Tuple(_) => matches!(name, "count" | "index"),
        Value::Int(_) | Value::Float(_) => name == "is_integer",
        Value::Loop(_) => matches!(name, "cycle" | "changed"),
        Value::Callable(callable) => {
            matches!((&**callable, name), (Callable::Cycler { .. }, "next" | "reset"))
        }
        _ => false,
    }
}

/// Returns whether a method would change its value, which templates may not do.
pub(crate) fn is_change(of: &Value, name: &str) -> bool {
    match of {
        Value::Dict(_) => DICT_CHANGES.contains(&name),
        Value::List(_) => LIST_CHANGES.contains(&name),
        _ => false,
    }
}

impl Interpreter {
    pub(crate) fn call_method(
        &mut self,
        of: &Value,
        name: &Arc<str>,
        arguments: Arguments,
    ) -> Result<Value> {
        match of {
            Value::Str(text) => {
                self.charge(text.as_str().len() / 16)?;
                string_method(text, name, arguments)
            }
            Value::Dict(dict) => {
                self.charge(dict.entries().len() / 4)?;
                dict_method(of, dict, name, arguments)
            }
            Value::List(items) | Value::Tuple(items) => {
                self.charge(items.len())?;
                list_method(of, items, name, arguments)
            }
            Value::Loop(state) => {
                let values = arguments.unnamed(name)?;
                if &**name == "changed" {
                    let mut last = state.changed.borrow_mut();
                    let changed = last.as_deref() != Some(&values[..]);
                    *last = Some(values);
                    return Ok(Value::Bool(changed));
                }
                match state.index.get().checked_rem(values.len()) {
                    Some(place) => Ok(values.get(place).cloned().unwrap_or(Value::None)),
                    None => fail("no items for cycling given"),
                }
            }
            Value::Callable(callable) => match &**callable {
                Callable::Cycler { items, at } if &**name == "next" => {
                    let mut at = at.borrow_mut();
                    let item = items.get(*at).cloned().unwrap_or(Value::None);
                    *at = (*at + 1) % items.len().max(1);
                    Ok(item)
                }
                Callable::Cycler { at, .. } => {
                    *at.borrow_mut() = 0;
                    Ok(Value::None)
                }
                _ => fail(format!("no method '{name}'")),
            },
            Value::Float(number) => Ok(Value::Bool(number.fract() == 0.0)),
            _ => Ok(Value::Bool(true)),
        }
    }
}

fn dict_method(of: &Value, dict: &Dict, name: &str, arguments: Arguments) -> Result<Value> {
    let entries = dict.entries();
    if name == "get" {
        let [key, default] = arguments.bind("get", ["key", "default"])?;
        let key = hashable(&required(key, "get", "key")?)?;
        return Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None));
    }
    arguments.bind(name, [])?;
    let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
    Ok(match name {
        "items" => view("dict_items", entries.iter().map(pair).collect()),
        "keys" => view("dict_keys", entries.iter().map(|(key, _)| key.clone()).collect()),
        "values" => view("dict_values", entries.iter().map(|(_, value)| value.clone()).collect()),
        _ => of.clone(),
    })
}

fn list_method(of: &Value, items: &[Value], name: &str, arguments: Arguments) -> Result<Value> {
    if name == "copy" {
        arguments.bind(name, [])?;
        return Ok(of.clone());
    }
    let [value] = arguments.bind(name, ["value"])?;
    let value = required(value, name, "value")?;
    if name == "count" {
        return Ok(Value::len(items.iter().filter(|item| **item == value).count()));
    }
    match items.iter().position(|item| *item == value) {
        Some(place) => Ok(Value::len(place)),
        None => fail(format!("{value:?} is not in list")),
    }
}

fn view(name: &'static str, items: Vec<Value>) -> Value {
    Value::View(name, std::rc::Rc::new(items.into()))
}
