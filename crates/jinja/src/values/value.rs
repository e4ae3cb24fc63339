//! Values of a template: the subset of Python's that templates use.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Result, fail};
use crate::run::call::Callable;
use crate::run::scope::LoopState;
use crate::values::text::{Origin, Text};

/// A value with Python's semantics. Clones are cheap; a value stays on its thread.
#[derive(Clone)]
pub enum Value {
    /// The value of a name or attribute that does not exist; its name, for messages.
    Undefined(Rc<str>),
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A float.
    Float(f64),
    /// A string.
    Str(Text),
    /// A list.
    List(Rc<Items>),
    /// A tuple.
    Tuple(Rc<Items>),
    /// A dictionary, in insertion order.
    Dict(Rc<Dict>),
    /// The result of `dict.keys()` and similar methods: it has a length but cannot be indexed.
    View(&'static str, Rc<Items>),
    /// An iterator that can be consumed once, with the nesting of its items.
    Iterator(Rc<RefCell<VecDeque<Self>>>, u32),
    /// A `namespace(...)`.
    Namespace(Rc<RefCell<Dict>>),
    /// The `loop` of a for block.
    Loop(Rc<LoopState>),
    /// A callable value.
    Callable(Rc<Callable>),
}

/// Values in order, with their nesting depth: a value inside ten thousand lists would overflow the stack when it is
/// compared or dropped.
#[derive(Clone, Default)]
pub struct Items {
    values: Vec<Value>,
    nesting: u32,
}

impl Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.values
    }
}

impl From<Vec<Value>> for Items {
    fn from(values: Vec<Value>) -> Self {
        let nesting = values.iter().map(Value::nesting).max().unwrap_or(0);
        Self { values, nesting }
    }
}

/// Keys with their values, in insertion order.
#[derive(Clone, Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    nesting: u32,
    /// Positions of the string keys, once there are many.
    places: HashMap<Arc<str>, usize>,
}

/// From this length on, a dictionary finds its keys by hash.
const MANY_KEYS: usize = 16;

impl Dict {
    /// Returns the entries in order.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// let dict = Value::dict([(Value::own("a"), Value::Int(1))]);
    /// assert_eq!(dict.as_dict().unwrap().entries().len(), 1);
    /// ```
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// Returns the value of a key that is a string.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// let dict = Value::dict([(Value::own("a"), Value::Int(1))]);
    /// assert!(dict.as_dict().unwrap().get_str("a").is_some());
    /// ```
    pub fn get_str(&self, key: &str) -> Option<&Value> {
        let place = if self.places.is_empty() {
            self.entries.iter().position(|(own, _)| own.as_str() == Some(key))
        } else {
            self.places.get(key).copied()
        };
        self.entries.get(place?).map(|(_, value)| value)
    }

    /// Returns the value of any key.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// let dict = Value::dict([(Value::own("a"), Value::Int(1))]);
    /// assert!(dict.as_dict().unwrap().get(&Value::own("b")).is_none());
    /// ```
    pub fn get(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::Str(key) => self.get_str(key.as_str()),
            _ => self.entries.iter().find(|(own, _)| own == key).map(|(_, value)| value),
        }
    }

    /// Sets the value of a key; an existing key keeps its position.
    ///
    /// ```
    /// use mixdown_jinja::{Dict, Value};
    ///
    /// let mut dict = Dict::default();
    /// dict.insert(Value::own("a"), Value::Int(1));
    /// dict.insert(Value::own("a"), Value::Int(2));
    /// assert_eq!(dict.entries().len(), 1);
    /// ```
    pub fn insert(&mut self, key: Value, value: Value) {
        self.nesting = self.nesting.max(value.nesting()).max(key.nesting());
        let place = match &key {
            Value::Str(key) if !self.places.is_empty() => self.places.get(key.as_str()).copied(),
            _ => self.entries.iter().position(|(own, _)| *own == key),
        };
        if let Some((_, old)) = place.and_then(|place| self.entries.get_mut(place)) {
            *old = value;
            return;
        }
        let place = self.entries.len();
        if let (Value::Str(key), false) = (&key, self.places.is_empty()) {
            self.places.insert(key.as_str().into(), place);
        }
        self.entries.push((key, value));
        if self.entries.len() == MANY_KEYS {
            let keys = self.entries.iter().enumerate();
            let keys = keys.filter_map(|(place, (key, _))| Some((key.as_str()?.into(), place)));
            self.places = keys.collect();
        }
    }
}

impl FromIterator<(Value, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(entries: I) -> Self {
        let mut dict = Self::default();
        entries.into_iter().for_each(|(key, value)| dict.insert(key, value));
        dict
    }
}

impl Value {
    /// Makes a string whose origin is the template.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert_eq!(Value::own("a").as_str(), Some("a"));
    /// ```
    pub fn own(text: &str) -> Self {
        Self::Str(Text::from(text))
    }

    /// Makes a string whose origin is outside the template.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert_eq!(Value::foreign("a").as_str(), Some("a"));
    /// ```
    pub fn foreign(text: &str) -> Self {
        Self::Str(Text::new(text, Origin::FOREIGN))
    }

    /// Makes a list of values.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert_eq!(Value::list(vec![Value::Int(1)]).as_items().unwrap().len(), 1);
    /// ```
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items.into()))
    }

    /// Makes a dictionary from entries.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// let dict = Value::dict([(Value::own("a"), Value::Int(1))]);
    /// assert!(dict.as_dict().is_some());
    /// ```
    pub fn dict(entries: impl IntoIterator<Item = (Self, Self)>) -> Self {
        Self::Dict(Rc::new(entries.into_iter().collect()))
    }

    /// Makes a function that templates can call with positional arguments.
    ///
    /// ```
    /// use mixdown_jinja::{Template, Value};
    ///
    /// let count = Value::function("count", |values| Ok(Value::Int(values.len() as i128)));
    /// let text = Template::parse("{{ count(1, 2) }}")?.render([("count", count)])?;
    /// assert_eq!(text.as_str(), "2");
    /// # Ok::<(), mixdown_jinja::Error>(())
    /// ```
    pub fn function(
        name: &'static str,
        function: impl Fn(&[Self]) -> std::result::Result<Self, String> + 'static,
    ) -> Self {
        Self::Callable(Rc::new(Callable::Given(name, Box::new(function))))
    }

    pub(crate) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(items.into()))
    }

    pub(crate) fn iterator(items: impl IntoIterator<Item = Self>) -> Self {
        let items: VecDeque<Self> = items.into_iter().collect();
        let nesting = items.iter().map(Self::nesting).max().unwrap_or(0);
        Self::Iterator(Rc::new(RefCell::new(items)), nesting)
    }

    /// Returns the nesting depth of the value. A namespace counts as one: it can hold itself.
    pub(crate) fn nesting(&self) -> u32 {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::View(_, items) => items.nesting + 1,
            Self::Dict(dict) => dict.nesting + 1,
            Self::Iterator(_, nesting) => nesting + 1,
            Self::Callable(callable) => callable.nesting() + 1,
            _ => 0,
        }
    }

    pub(crate) fn undefined(name: &str) -> Self {
        Self::Undefined(name.into())
    }

    pub(crate) fn len(len: usize) -> Self {
        Self::Int(i128::try_from(len).unwrap_or(i128::MAX))
    }

    /// Returns the characters of a string; `None` for other values.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert_eq!(Value::Int(1).as_str(), None);
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the items of a list or a tuple; `None` for other values.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert!(Value::Int(1).as_items().is_none());
    /// ```
    pub fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a dictionary; `None` for other values.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert!(Value::Int(1).as_dict().is_none());
    /// ```
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// Returns whether the value is `None`.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert!(Value::None.is_none());
    /// ```
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns whether the value belongs to a missing name.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert!(!Value::None.is_undefined());
    /// ```
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Returns an integer, or a boolean as one.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(truth) => Some(i128::from(*truth)),
            _ => None,
        }
    }

    /// Returns whether the value is true in Python.
    ///
    /// ```
    /// use mixdown_jinja::Value;
    ///
    /// assert!(Value::own("a").is_true() && !Value::own("").is_true());
    /// ```
    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.as_str().is_empty(),
            Self::List(items) | Self::Tuple(items) | Self::View(_, items) => !items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Iterator(..) | Self::Namespace(_) | Self::Loop(_) | Self::Callable(_) => true,
        }
    }

    /// Returns the name of the value's type in Python.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(name, _) => name,
            Self::Iterator(..) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Callable(_) => "function",
        }
    }

    /// Returns the items that Python's `iter` yields; of an iterator, the remaining ones.
    pub(crate) fn items(&self) -> Result<Rc<Items>> {
        let values: Vec<Self> = match self {
            Self::List(items) | Self::Tuple(items) | Self::View(_, items) => {
                return Ok(Rc::clone(items));
            }
            Self::Undefined(_) => Vec::new(),
            Self::Dict(dict) => dict.entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Iterator(left, _) => left.borrow_mut().drain(..).collect(),
            Self::Str(text) => (text.as_str().char_indices())
                .map(|(at, c)| Self::Str(text.slice(at..at + c.len_utf8())))
                .collect(),
            _ => return fail(format!("'{}' object is not iterable", self.type_name())),
        };
        Ok(Rc::new(values.into()))
    }

    /// Python's `len`.
    pub(crate) fn length(&self) -> Result<usize> {
        Ok(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => text.as_str().chars().count(),
            Self::List(items) | Self::Tuple(items) | Self::View(_, items) => items.len(),
            Self::Dict(dict) => dict.entries.len(),
            Self::Loop(state) => state.len(),
            _ => return fail(format!("object of type '{}' has no len()", self.type_name())),
        })
    }
}

impl PartialEq for Value {
    /// Python's `==`: compares numbers of all types by value, lists and dictionaries by their items.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a[..] == b[..],
            (Self::Dict(a), Self::Dict(b)) => {
                let same = |(key, value): &(Self, Self)| b.get(key) == Some(value);
                a.entries.len() == b.entries.len() && a.entries.iter().all(same)
            }
            (Self::View(_, a), Self::View(_, b)) => a[..] == b[..],
            (Self::Iterator(a, _), Self::Iterator(b, _)) => Rc::ptr_eq(a, b),
            (Self::Namespace(a), Self::Namespace(b)) => Rc::ptr_eq(a, b),
            (Self::Loop(a), Self::Loop(b)) => Rc::ptr_eq(a, b),
            (Self::Callable(a), Self::Callable(b)) => Rc::ptr_eq(a, b),
            _ => crate::values::number::compare(self, other).is_some_and(std::cmp::Ordering::is_eq),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match crate::values::python_text::repr(self) {
            Ok(text) => f.write_str(text.as_str()),
            Err(_) => write!(f, "<{}>", self.type_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_places_and_the_last_value_counts() {
        let entry = |n: i128| (Value::own(&format!("k{}", n % 40)), Value::Int(n));
        let dict: Dict = (0..60).map(entry).collect();
        assert_eq!(dict.entries().len(), 40);
        assert_eq!(dict.get_str("k3"), Some(&Value::Int(43)));
        assert_eq!(dict.get_str("k30"), Some(&Value::Int(30)));
        assert_eq!(dict.entries()[3].0.as_str(), Some("k3"));
        assert_eq!(dict.get(&Value::Int(1)), None);
    }

    #[test]
    fn equality_is_pythons() {
        assert_eq!(Value::Int(1), Value::Bool(true));
        assert_eq!(Value::Float(2.0), Value::Int(2));
        assert_ne!(Value::own("1"), Value::Int(1));
        assert_eq!(Value::own("a"), Value::foreign("a"));
        let list = |items: &[i128]| Value::list(items.iter().map(|&n| Value::Int(n)).collect());
        assert_eq!(list(&[1, 2]), list(&[1, 2]));
        assert_ne!(list(&[1]), Value::tuple(vec![Value::Int(1)]));
        assert_ne!(Value::Float(f64::NAN), Value::Float(f64::NAN));
    }
}
