//! Jinja2's filters of lists and other values with items.

use std::cmp::Ordering;

use crate::error::{Error, Result, fail};
use crate::run::call::{Arguments, integer, required};
use crate::run::filters::path;
use crate::run::interpreter::Interpreter;
use crate::run::operators::{add, order};
use crate::strings::methods::{cased, join};
use crate::values::python_text::str_of;
use crate::values::text::{Text, TextBuilder};
use crate::values::value::{Dict, Value};

/// Returns whether a filter iterates over items.
pub(crate) fn is_item_filter(name: &str) -> bool {
    matches!(
        name,
        "list"
            | "first"
            | "last"
            | "join"
            | "reverse"
            | "sort"
            | "unique"
            | "min"
            | "max"
            | "sum"
            | "map"
            | "select"
            | "reject"
            | "selectattr"
            | "rejectattr"
            | "dictsort"
            | "groupby"
            | "batch"
            | "slice"
    )
}

impl Interpreter {
    pub(crate) fn item_filter(
        &mut self,
        name: &str,
        value: &Value,
        arguments: Arguments,
    ) -> Result<Value> {
        match name {
            "map" => return self.map(value, arguments),
            "select" | "reject" | "selectattr" | "rejectattr" => {
                return self.select(name, value, arguments);
            }
            "reverse" if value.as_str().is_some() => {
                let Value::Str(text) = value else { return fail("expected a string") };
                let mut out = TextBuilder::default();
                let chars: Vec<_> = text.chars().collect();
                chars.iter().rev().for_each(|(c, origin)| out.push_char(*c, *origin));
                return out.finish().map(Value::Str);
            }
            "last" | "reverse" if matches!(value, Value::Iterator(..)) => {
                return fail("'generator' object is not reversible");
            }
            "dictsort" => return dictsort(value, arguments),
            _ => {}
        }
        let items = value.items()?;
        self.charge(items.len())?;
        let undefined = |words| Value::undefined(words);
        Ok(match name {
            "list" => Value::list(items.to_vec()),
            "first" => {
                items.first().cloned().unwrap_or_else(|| undefined("the first item of nothing"))
            }
            "last" => {
                items.last().cloned().unwrap_or_else(|| undefined("the last item of nothing"))
            }
            "reverse" => Value::iterator(items.iter().rev().cloned()),
            "join" => {
                let [separator, attribute] = arguments.bind(name, ["d", "attribute"])?;
                let separator = separator.map_or(Ok(Text::from("")), |own| str_of(&own))?;
                let mut texts = Vec::with_capacity(items.len());
                for item in items.iter() {
                    let item = match &attribute {
                        Some(attribute) if !attribute.is_none() => path(item, attribute)?,
                        _ => item.clone(),
                    };
                    texts.push(Value::Str(str_of(&item)?));
                }
                Value::Str(join(&separator, texts.iter())?)
            }
            "sort" | "unique" | "min" | "max" | "groupby" => ordered(name, &items, arguments)?,
            "sum" => {
                let [attribute, start] = arguments.bind(name, ["attribute", "start"])?;
                let mut sum = start.unwrap_or(Value::Int(0));
                for item in items.iter() {
                    let item = match &attribute {
                        Some(attribute) if !attribute.is_none() => path(item, attribute)?,
                        _ => item.clone(),
                    };
                    if sum.as_str().is_some() {
                        return fail("sum() can't sum strings");
                    }
                    sum = add(&sum, &item)?;
                }
                sum
            }
            _ => groups(name, &items, arguments)?,
        })
    }

    fn map(&mut self, value: &Value, arguments: Arguments) -> Result<Value> {
        let items = value.items()?;
        self.charge(items.len())?;
        let Arguments { mut positional, mut named } = arguments;
        let mut mapped = Vec::with_capacity(items.len());
        if positional.is_empty() {
            let take = |named: &mut Vec<(std::sync::Arc<str>, Value)>, name: &str| {
                let place = named.iter().position(|(own, _)| **own == *name)?;
                Some(named.remove(place).1)
            };
            let attribute = required(take(&mut named, "attribute"), "map", "attribute")?;
            let default = take(&mut named, "default");
            Arguments { positional, named }.bind("map", [])?;
            for item in items.iter() {
                let found = path(item, &attribute)?;
                let default = default.clone().filter(|_| found.is_undefined());
                mapped.push(default.unwrap_or(found));
            }
            return Ok(Value::iterator(mapped));
        }
        let filter = positional.remove(0);
        let Some(filter) = filter.as_str() else { return fail("map needs a filter's name") };
        for item in items.iter() {
            let arguments = Arguments { positional: positional.clone(), named: named.clone() };
            mapped.push(self.filter(filter, item, arguments)?);
        }
        Ok(Value::iterator(mapped))
    }

    fn select(&mut self, name: &str, value: &Value, arguments: Arguments) -> Result<Value> {
        let items = value.items()?;
        self.charge(items.len())?;
        let Arguments { mut positional, named } = arguments;
        let attribute = if name.ends_with("attr") {
            if positional.is_empty() {
                return fail("Missing parameter for attribute name");
            }
            Some(positional.remove(0))
        } else {
            None
        };
        let test = if positional.is_empty() { None } else { Some(positional.remove(0)) };
        let mut kept = Vec::new();
        for item in items.iter() {
            let asked = match &attribute {
                Some(attribute) => path(item, attribute)?,
                None => item.clone(),
            };
            let passes = match &test {
                None => asked.is_true(),
                Some(test) => {
                    let Some(test) = test.as_str() else {
                        return fail("select needs a test's name");
                    };
                    let arguments =
                        Arguments { positional: positional.clone(), named: named.clone() };
                    self.test(test, &asked, arguments)?
                }
            };
            if passes == name.starts_with("select") {
                kept.push(item.clone());
            }
        }
        Ok(Value::iterator(kept))
    }
}

/// Returns the key by which an item is sorted: strings ignore case unless case matters.
fn sort_key(item: &Value, attribute: Option<&Value>, case_sensitive: bool) -> Result<Value> {
    let found = match attribute {
        Some(attribute) if !attribute.is_none() => path(item, attribute)?,
        _ => item.clone(),
    };
    match &found {
        Value::Str(text) if !case_sensitive => cased(text, "lower").map(Value::Str),
        _ => Ok(found),
    }
}

/// Sorts by keys, stably; returns an error if two keys have no order.
fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
    let mut fault: Option<Error> = None;
    keyed.sort_by(|(a, _), (b, _)| match order(a, b) {
        Ok(order) => {
            let order = order.unwrap_or(Ordering::Equal);
            if reverse { order.reverse() } else { order }
        }
        Err(error) => {
            fault.get_or_insert(error);
            Ordering::Equal
        }
    });
    fault.map_or(Ok(keyed), Err)
}

fn ordered(name: &str, items: &[Value], arguments: Arguments) -> Result<Value> {
    let is_true = |flag: &Option<Value>| flag.as_ref().is_some_and(Value::is_true);
    let (reverse, case_sensitive, attribute) = match name {
        "sort" => {
            let [reverse, case, attribute] =
                arguments.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            (is_true(&reverse), is_true(&case), attribute)
        }
        "groupby" => {
            let [attribute, default, case] =
                arguments.bind(name, ["attribute", "default", "case_sensitive"])?;
            if default.is_some() {
                return fail("groupby: 'default' is not known here");
            }
            (false, is_true(&case), Some(required(attribute, name, "attribute")?))
        }
        _ => {
            let [case, attribute] = arguments.bind(name, ["case_sensitive", "attribute"])?;
            (false, is_true(&case), attribute)
        }
    };
    let key =
        |item: &Value| Ok((sort_key(item, attribute.as_ref(), case_sensitive)?, item.clone()));
    let keyed: Vec<(Value, Value)> = items.iter().map(key).collect::<Result<_>>()?;
    let values = |keyed: Vec<(Value, Value)>| keyed.into_iter().map(|(_, item)| item);
    match name {
        "sort" => Ok(Value::list(values(sorted(keyed, reverse)?).collect())),
        "unique" => {
            let mut seen = Dict::default();
            let mut kept = Vec::new();
            for (key, item) in keyed {
                let key = crate::run::call::hashable(&key)?;
                if seen.get(&key).is_none() {
                    seen.insert(key, Value::None);
                    kept.push(item);
                }
            }
            Ok(Value::iterator(kept))
        }
        "groupby" => {
            let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
            for (key, item) in sorted(keyed, false)? {
                match groups.last_mut() {
                    Some((last, group)) if *last == key => group.push(item),
                    _ => groups.push((key, vec![item])),
                }
            }
            let pair = |(key, group)| Value::tuple(vec![key, Value::list(group)]);
            Ok(Value::list(groups.into_iter().map(pair).collect()))
        }
        _ => {
            let mut best: Option<(Value, Value)> = None;
            let better = if name == "min" { Ordering::Less } else { Ordering::Greater };
            for (key, item) in keyed {
                let replaces = match &best {
                    None => true,
                    Some((own, _)) => order(&key, own)? == Some(better),
                };
                if replaces {
                    best = Some((key, item));
                }
            }
            let none = || Value::undefined("the first item of nothing");
            Ok(best.map_or_else(none, |(_, item)| item))
        }
    }
}

fn dictsort(value: &Value, arguments: Arguments) -> Result<Value> {
    let names = ["case_sensitive", "by", "reverse"];
    let [case, by, reverse] = arguments.bind("dictsort", names)?;
    let Value::Dict(dict) = value else {
        return fail(format!("dictsort needs a dict, got {}", value.type_name()));
    };
    let case = case.is_some_and(|case| case.is_true());
    let place = match by.as_ref().map(Value::as_str) {
        None | Some(Some("key")) => 0,
        Some(Some("value")) => 1,
        _ => return fail("You can only sort by either \"key\" or \"value\""),
    };
    let mut keyed = Vec::with_capacity(dict.entries().len());
    for (key, value) in dict.entries() {
        let by = if place == 0 { key } else { value };
        let pair = Value::tuple(vec![key.clone(), value.clone()]);
        keyed.push((sort_key(by, None, case)?, pair));
    }
    let reverse = reverse.is_some_and(|reverse| reverse.is_true());
    Ok(Value::list(sorted(keyed, reverse)?.into_iter().map(|(_, pair)| pair).collect()))
}

/// `batch` and `slice`: items in groups of a given size, or in a given number of groups.
fn groups(name: &str, items: &[Value], arguments: Arguments) -> Result<Value> {
    let size_name = if name == "batch" { "linecount" } else { "slices" };
    let [size, fill] = arguments.bind(name, [size_name, "fill_with"])?;
    let size = integer(Some(required(size, name, size_name)?), 1, size_name)?;
    let size = usize::try_from(size).ok().filter(|size| (1..=1_000_000).contains(size));
    let Some(size) = size else { return fail(format!("{name} needs a number from 1 to 1000000")) };
    let fill = fill.filter(|fill| !fill.is_none());
    let mut groups: Vec<Vec<Value>> = Vec::new();
    if name == "batch" {
        groups.extend(items.chunks(size).map(<[Value]>::to_vec));
        if let (Some(last), Some(fill)) = (groups.last_mut(), &fill) {
            last.resize(size, fill.clone());
        }
    } else {
        let (each, more) = (items.len() / size, items.len() % size);
        let mut rest = items;
        for group in 0..size {
            let (own, behind) = rest.split_at(each + usize::from(group < more));
            let mut own = own.to_vec();
            if group >= more && more > 0 {
                own.extend(fill.clone());
            }
            groups.push(own);
            rest = behind;
        }
    }
    Ok(Value::iterator(groups.into_iter().map(Value::list)))
}
