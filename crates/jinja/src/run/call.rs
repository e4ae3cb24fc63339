//! Callable values, and calls of them.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result, fail};
use crate::run::interpreter::Interpreter;
use crate::run::scope::LoopState;
use crate::run::scope::Scope;
use crate::syntax::ast::MacroDef;
use crate::values::value::{Dict, Value};

/// A callable value.
pub enum Callable {
    /// A macro, or the block behind a `call`.
    #[doc(hidden)]
    Macro(Macro),
    /// A method of a value.
    #[doc(hidden)]
    Method(Value, Arc<str>),
    /// A function that every template can call.
    #[doc(hidden)]
    Global(Global),
    /// The result of `joiner(...)`.
    #[doc(hidden)]
    Joiner { separator: Value, used: Cell<bool> },
    /// The result of `cycler(...)`.
    #[doc(hidden)]
    Cycler { items: Vec<Value>, at: RefCell<usize> },
    /// A function that the caller passed to the template, with its name.
    #[doc(hidden)]
    Given(&'static str, Function),
}

type Function = Box<dyn Fn(&[Value]) -> std::result::Result<Value, String>>;

/// A macro with the scope in which it was defined.
pub struct Macro {
    pub(crate) def: Arc<MacroDef>,
    pub(crate) scope: Rc<Scope>,
}

/// A function that every template can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `range`
    Range,
    /// `dict`
    Dict,
    /// `namespace`
    Namespace,
    /// `joiner`
    Joiner,
    /// `cycler`
    Cycler,
}

/// The longest `range` in Jinja2's sandbox.
const MAX_RANGE: usize = 100_000;

impl Global {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "range" => Self::Range,
            "dict" => Self::Dict,
            "namespace" => Self::Namespace,
            "joiner" => Self::Joiner,
            "cycler" => Self::Cycler,
            _ => return None,
        })
    }
}

impl Callable {
    /// The nesting depth of the values that it holds.
    pub(crate) fn nesting(&self) -> u32 {
        match self {
            Self::Method(value, _) | Self::Joiner { separator: value, .. } => value.nesting(),
            Self::Cycler { items, .. } => items.iter().map(Value::nesting).max().unwrap_or(0),
            Self::Macro(_) | Self::Global(_) | Self::Given(..) => 0,
        }
    }
}

/// The arguments of a call.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Arc<str>, Value)>,
}

impl Arguments {
    /// Returns the arguments of a function with these parameters; `None` for arguments that were not given.
    pub(crate) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
    ) -> Result<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        let count = self.positional.len();
        if count > N {
            return fail(format!("{function} takes at most {N} arguments, got {count}"));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let place = names.iter().position(|own| **own == *name);
            match place.and_then(|place| bound.get_mut(place)) {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => return fail(format!("{function} got two values for '{name}'")),
                None => return fail(format!("{function} has no parameter '{name}'")),
            }
        }
        Ok(bound)
    }

    /// Returns the arguments of a function that accepts only positional ones.
    pub(crate) fn unnamed(self, function: &str) -> Result<Vec<Value>> {
        match self.named.first() {
            Some((name, _)) => fail(format!("{function} has no parameter '{name}'")),
            None => Ok(self.positional),
        }
    }
}

/// Returns an argument that must be given.
pub(crate) fn required(value: Option<Value>, function: &str, name: &str) -> Result<Value> {
    value.ok_or_else(|| Error::new(format!("{function} needs an argument '{name}'")))
}

/// Returns an integer argument, or its default.
pub(crate) fn integer(value: Option<Value>, default: i128, name: &str) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => value.as_int().ok_or_else(|| {
            Error::new(format!("'{name}' must be an integer, got {}", value.type_name()))
        }),
    }
}

impl Interpreter {
    /// Calls a value.
    pub(crate) fn call(&mut self, callee: &Value, arguments: Arguments) -> Result<Value> {
        self.charge(1)?;
        let value = match callee {
            Value::Callable(callable) => match &**callable {
                Callable::Macro(own) => self.deeper(|this| this.call_macro(own, arguments))?,
                Callable::Method(value, name) => self.call_method(value, name, arguments)?,
                Callable::Global(global) => self.call_global(*global, arguments)?,
                Callable::Given(name, function) => {
                    function(&arguments.unnamed(name)?).map_err(Error::new)?
                }
                Callable::Joiner { separator, used } => {
                    if used.replace(true) {
                        separator.clone()
                    } else {
                        Value::own("")
                    }
                }
                Callable::Cycler { .. } => return fail("'Cycler' object is not callable"),
            },
            Value::Loop(state) => self.call_loop(state, arguments)?,
            Value::Undefined(name) => return Err(Error::undefined(name)),
            _ => return fail(format!("'{}' object is not callable", callee.type_name())),
        };
        self.counted(value)
    }

    fn call_loop(&mut self, state: &Rc<LoopState>, arguments: Arguments) -> Result<Value> {
        let [items] = arguments.bind("loop", ["iterable"])?;
        let items = required(items, "loop", "iterable")?;
        let Some((def, scope)) = &state.recursion else {
            return fail("the loop must be marked 'recursive' to call itself");
        };
        let text = self.deeper(|own| {
            own.captured(|own| {
                own.for_block(def, &items, scope, state.depth + 1)?;
                Ok(crate::run::interpreter::Flow::On)
            })
        });
        text.map(Value::Str)
    }

    fn call_global(&mut self, global: Global, arguments: Arguments) -> Result<Value> {
        match global {
            Global::Range => {
                let items = range(arguments)?;
                self.charge(items.len())?;
                Ok(Value::list(items))
            }
            Global::Dict => dict("dict", arguments).map(|dict| Value::Dict(dict.into())),
            Global::Namespace => {
                let entries = dict("namespace", arguments)?;
                self.new_namespace(entries)
            }
            Global::Joiner => {
                let [separator] = arguments.bind("joiner", ["sep"])?;
                let separator = separator.unwrap_or_else(|| Value::own(", "));
                let used = Cell::new(false);
                Ok(Value::Callable(Rc::new(Callable::Joiner { separator, used })))
            }
            Global::Cycler => {
                let items = arguments.unnamed("cycler")?;
                if items.is_empty() {
                    return fail("at least one item has to be provided");
                }
                let at = RefCell::new(0);
                Ok(Value::Callable(Rc::new(Callable::Cycler { items, at })))
            }
        }
    }
}

fn range(arguments: Arguments) -> Result<Vec<Value>> {
    let [first, second, step] = arguments.bind("range", ["start", "stop", "step"])?;
    let (start, stop) = match (first, second) {
        (Some(stop), None) => (0, integer(Some(stop), 0, "stop")?),
        (start, stop) => (integer(start, 0, "start")?, integer(stop, 0, "stop")?),
    };
    let step = integer(step, 1, "step")?;
    let len = match step {
        0 => return fail("range() arg 3 must not be zero"),
        1.. => stop.saturating_sub(start).saturating_add(step - 1).checked_div(step),
        _ => start
            .saturating_sub(stop)
            .saturating_sub(step.saturating_add(1))
            .checked_div(step.saturating_neg()),
    };
    let len = usize::try_from(len.unwrap_or(0).max(0)).unwrap_or(usize::MAX);
    if len > MAX_RANGE {
        return fail(format!(
            "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE})."
        ));
    }
    let mut next = start;
    let value = |_| {
        let value = Value::Int(next);
        next = next.saturating_add(step);
        value
    };
    Ok((0..len).map(value).collect())
}

/// Makes a dictionary from another one, from pairs, and from keyword arguments.
fn dict(function: &str, arguments: Arguments) -> Result<Dict> {
    let mut dict = Dict::default();
    let Arguments { positional, named } = arguments;
    if positional.len() > 1 {
        return fail(format!("{function} takes at most 1 argument, got {}", positional.len()));
    }
    for source in positional {
        if let Value::Dict(own) = &source {
            own.entries().iter().for_each(|(key, value)| dict.insert(key.clone(), value.clone()));
            continue;
        }
        for pair in source.items()?.iter() {
            match &pair.items()?[..] {
                [key, value] => dict.insert(hashable(key)?, value.clone()),
                other => return fail(format!("expected a pair, got {} values", other.len())),
            }
        }
    }
    named.into_iter().for_each(|(name, value)| dict.insert(Value::own(&name), value));
    Ok(dict)
}

/// Returns the value if it can be a key.
pub(crate) fn hashable(value: &Value) -> Result<Value> {
    match value {
        Value::List(_) | Value::Dict(_) => {
            fail(format!("unhashable type: '{}'", value.type_name()))
        }
        Value::Tuple(items) => {
            items.iter().try_for_each(|item| hashable(item).map(drop))?;
            Ok(value.clone())
        }
        _ => Ok(value.clone()),
    }
}
