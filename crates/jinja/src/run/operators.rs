//! Python's operators, attributes and items.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::error::{Error, Result, fail};
use crate::run::call::Callable;
use crate::run::methods::{has_method, is_change};
use crate::syntax::ast::Comparison;
use crate::values::number::{self, Arithmetic, calculate};
use crate::values::text::{MAX_TEXT_BYTES, Text, TextBuilder};
use crate::values::value::Value;

/// `a.name`: a method or an attribute, otherwise the item of that name, otherwise undefined.
pub(crate) fn attribute(of: &Value, name: &str) -> Result<Value> {
    if let Some(value) = own_attribute(of, name)? {
        return Ok(value);
    }
    let found = match of {
        Value::Dict(dict) => dict.get_str(name).cloned(),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| missing(of, name)))
}

/// `a[key]`: the item, otherwise the attribute or method of that name, otherwise undefined.
pub(crate) fn item(of: &Value, key: &Value) -> Result<Value> {
    let found = match (of, key) {
        (Value::Undefined(name), _) => return Err(Error::undefined(name)),
        (Value::Dict(dict), key) => dict.get(key).cloned(),
        (Value::List(items) | Value::Tuple(items), key) => {
            key.as_int().and_then(|at| place(at, items.len())).and_then(|at| items.get(at).cloned())
        }
        (Value::Str(text), key) => key.as_int().and_then(|at| {
            let at = place(at, text.as_str().chars().count())?;
            let (start, c) = text.as_str().char_indices().nth(at)?;
            Some(Value::Str(text.slice(start..start + c.len_utf8())))
        }),
        _ => None,
    };
    if let Some(value) = found {
        return Ok(value);
    }
    match key {
        Value::Str(name) => {
            let own = own_attribute(of, name.as_str())?;
            Ok(own.unwrap_or_else(|| missing(of, name.as_str())))
        }
        _ => Ok(missing(of, &format!("{key:?}"))),
    }
}

/// Returns an attribute or method that a value has in addition to its items.
fn own_attribute(of: &Value, name: &str) -> Result<Option<Value>> {
    match of {
        Value::Undefined(own) => return Err(Error::undefined(own)),
        Value::Namespace(namespace) => return Ok(namespace.borrow().get_str(name).cloned()),
        Value::Loop(state) => {
            if let Some(value) = state.attribute(name) {
                return Ok(Some(value));
            }
        }
        Value::Callable(callable) => match (&**callable, name) {
            (Callable::Cycler { items, at }, "current") => {
                return Ok(items.get(*at.borrow()).cloned());
            }
            (Callable::Macro(own), "name") => return Ok(Some(Value::own(&own.def.name))),
            (Callable::Macro(own), "arguments") => {
                let names = own.def.parameters.iter().map(|(name, _)| Value::own(name));
                return Ok(Some(Value::tuple(names.collect())));
            }
            _ => {}
        },
        _ => {}
    }
    if is_change(of, name) {
        let words = format!("the method '{name}', which changes its {},", of.type_name());
        return Ok(Some(Value::undefined(&words)));
    }
    let method = || Value::Callable(Rc::new(Callable::Method(of.clone(), name.into())));
    Ok(has_method(of, name).then(method))
}

fn missing(of: &Value, name: &str) -> Value {
    Value::undefined(&format!("{} object has no attribute {name}", of.type_name()))
}

/// Converts an index, which may count from the end, to a position.
fn place(at: i128, len: usize) -> Option<usize> {
    let len = i128::try_from(len).ok()?;
    let at = if at < 0 { at + len } else { at };
    usize::try_from(at).ok().filter(|_| at < len)
}

/// `a + b`.
pub(crate) fn add(a: &Value, b: &Value) -> Result<Value> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            let mut out = TextBuilder::default();
            out.push(a);
            out.push(b);
            out.finish().map(Value::Str)
        }
        (Value::List(a), Value::List(b)) => Ok(Value::list([&a[..], &b[..]].concat())),
        (Value::Tuple(a), Value::Tuple(b)) => Ok(Value::tuple([&a[..], &b[..]].concat())),
        _ => binary(Arithmetic::Add, a, b),
    }
}

/// The largest length of a multiplied list.
const MAX_ITEMS: usize = 10_000_000;

/// An operator between two values.
pub(crate) fn binary(operator: Arithmetic, a: &Value, b: &Value) -> Result<Value> {
    if let Some(result) = calculate(operator, a, b) {
        return result;
    }
    if operator == Arithmetic::Mul {
        let (many, count) = if a.as_int().is_some() { (b, a) } else { (a, b) };
        if let Some(count) = count.as_int() {
            let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
            match many {
                Value::Str(text) => return repeated(text, count).map(Value::Str),
                Value::List(items) | Value::Tuple(items) => {
                    if items.len().saturating_mul(count) > MAX_ITEMS {
                        return fail(format!("a list of more than {MAX_ITEMS} items"));
                    }
                    let repeated =
                        std::iter::repeat_n(&items[..], count).flatten().cloned().collect();
                    let is_list = matches!(many, Value::List(_));
                    return Ok(if is_list {
                        Value::list(repeated)
                    } else {
                        Value::tuple(repeated)
                    });
                }
                _ => {}
            }
        }
    }
    for value in [a, b] {
        if let Value::Undefined(name) = value {
            return Err(Error::undefined(name));
        }
    }
    let (sign, a, b) = (operator.sign(), a.type_name(), b.type_name());
    fail(format!("unsupported operand type(s) for {sign}: '{a}' and '{b}'"))
}

fn repeated(text: &Text, count: usize) -> Result<Text> {
    let mut out = TextBuilder::default();
    let mut runs = text.runs();
    match (runs.next(), runs.next()) {
        (Some((_, origin)), None) => out.push_repeated(text.as_str(), count, origin),
        _ if text.as_str().len().saturating_mul(count) > MAX_TEXT_BYTES => {
            return fail(format!("a string of more than {MAX_TEXT_BYTES} bytes"));
        }
        (Some(_), _) => (0..count).for_each(|_| out.push(text)),
        (None, _) => {}
    }
    out.finish()
}

/// `-a`.
pub(crate) fn negative(of: &Value) -> Result<Value> {
    match (of, of.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(-number)),
        (_, Some(_)) => binary(Arithmetic::Sub, &Value::Int(0), of),
        (Value::Undefined(name), _) => Err(Error::undefined(name)),
        _ => fail(format!("bad operand type for unary -: '{}'", of.type_name())),
    }
}

/// `+a`.
pub(crate) fn positive(of: &Value) -> Result<Value> {
    match (of, of.as_int()) {
        (Value::Float(_), _) => Ok(of.clone()),
        (_, Some(number)) => Ok(Value::Int(number)),
        (Value::Undefined(name), _) => Err(Error::undefined(name)),
        _ => fail(format!("bad operand type for unary +: '{}'", of.type_name())),
    }
}

/// A comparison other than `in`.
pub(crate) fn compare(comparison: Comparison, a: &Value, b: &Value) -> Result<bool> {
    if comparison == Comparison::Equal {
        return Ok(a == b);
    }
    if comparison == Comparison::NotEqual {
        return Ok(a != b);
    }
    // NaN compares as false with everything.
    let Some(order) = order(a, b)? else { return Ok(false) };
    Ok(match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// Returns the order of two values that have one.
pub(crate) fn order(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    if let (Some(_), Some(_)) = (number::as_float(a), number::as_float(b)) {
        return Ok(number::compare(a, b));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.as_str().cmp(b.as_str()))),
        (Value::List(own), Value::List(other)) | (Value::Tuple(own), Value::Tuple(other)) => {
            for (own, other) in own.iter().zip(other.iter()) {
                if own != other {
                    return order(own, other);
                }
            }
            Ok(Some(own.len().cmp(&other.len())))
        }
        (Value::Undefined(name), _) | (_, Value::Undefined(name)) => Err(Error::undefined(name)),
        _ => {
            let (a, b) = (a.type_name(), b.type_name());
            fail(format!("values of '{a}' and '{b}' have no order"))
        }
    }
}

/// `key in of`.
pub(crate) fn contains(of: &Value, key: &Value) -> Result<bool> {
    match (of, key) {
        (Value::Str(text), Value::Str(part)) => Ok(text.as_str().contains(part.as_str())),
        (Value::Str(_), _) => {
            fail(format!("'in <string>' requires string as left operand, not {}", key.type_name()))
        }
        (Value::Dict(dict), key) => {
            crate::run::call::hashable(key)?;
            Ok(dict.get(key).is_some())
        }
        _ => match of.items() {
            Ok(items) => Ok(items.contains(key)),
            Err(_) => fail(format!("argument of type '{}' is not iterable", of.type_name())),
        },
    }
}

/// `a[start:stop:step]`.
pub(crate) fn slice(of: &Value, bounds: [Option<Value>; 3]) -> Result<Value> {
    let mut numbers = [None, None, None];
    for (number, bound) in numbers.iter_mut().zip(&bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(Value::Undefined(_)) => {
                return fail("slice indices must be integers or None, got an undefined value");
            }
            Some(bound) => match bound.as_int() {
                Some(number) => Some(number),
                None => return fail("slice indices must be integers or None"),
            },
        };
    }
    match of {
        Value::Str(text) => {
            let starts: Vec<usize> = text.as_str().char_indices().map(|(at, _)| at).collect();
            let end_of = |at: usize| starts.get(at).copied().unwrap_or(text.as_str().len());
            let places = places(starts.len(), numbers)?;
            if let (Some(&first), Some(&last), true) = (
                places.first(),
                places.last(),
                numbers.get(2).is_some_and(|step| step.unwrap_or(1) == 1),
            ) {
                return Ok(Value::Str(text.slice(end_of(first)..end_of(last + 1))));
            }
            let mut out = TextBuilder::default();
            places.iter().for_each(|&at| out.push_slice(text, end_of(at)..end_of(at + 1)));
            out.finish().map(Value::Str)
        }
        Value::List(items) | Value::Tuple(items) => {
            let places = places(items.len(), numbers)?;
            let picked: Vec<Value> =
                places.iter().filter_map(|&at| items.get(at)).cloned().collect();
            let is_list = matches!(of, Value::List(_));
            Ok(if is_list { Value::list(picked) } else { Value::tuple(picked) })
        }
        Value::Undefined(name) => Err(Error::undefined(name)),
        _ => Ok(Value::undefined(&format!("{} object has no slices", of.type_name()))),
    }
}

/// Returns the positions that a slice takes, in its order.
fn places(len: usize, [start, stop, step]: [Option<i128>; 3]) -> Result<Vec<usize>> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return fail("slice step cannot be zero");
    }
    let len = i128::try_from(len).unwrap_or(i128::MAX);
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |bound: Option<i128>, default: i128| match bound {
        None => default,
        Some(at) if at < 0 => at.saturating_add(len).max(low),
        Some(at) => at.min(high),
    };
    let (first, end) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, stop) = (bound(start, first), bound(stop, end));
    let mut places = Vec::new();
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        places.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(places)
}
