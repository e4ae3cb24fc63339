//! Scopes of names, and the `loop` of a for block.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::syntax::ast::ForDef;
use crate::values::value::Items;
use crate::values::value::Value;

/// The names of a block, inside those of the enclosing blocks.
pub(crate) struct Scope {
    names: RefCell<Vec<(Arc<str>, Value)>>,
    outer: Option<Rc<Self>>,
}

impl Scope {
    pub(crate) fn new(outer: Option<&Rc<Self>>) -> Rc<Self> {
        Rc::new(Self { names: RefCell::default(), outer: outer.cloned() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            let names = scope.names.borrow();
            if let Some((_, value)) = names.iter().rev().find(|(own, _)| **own == *name) {
                return Some(value.clone());
            }
            drop(names);
            scope = scope.outer.as_deref()?;
        }
    }

    pub(crate) fn set(&self, name: &Arc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        match names.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => names.push((Arc::clone(name), value)),
        }
    }

    /// Removes all names: a macro holds the scope that holds the macro.
    pub(crate) fn clear(&self) {
        self.names.take();
    }
}

/// The position of a for block in its items.
pub struct LoopState {
    pub(crate) items: Rc<Items>,
    pub(crate) index: Cell<usize>,
    /// The number of enclosing for blocks of the same recursive loop.
    pub(crate) depth: usize,
    /// The values of the last call of `loop.changed`.
    pub(crate) changed: RefCell<Option<Vec<Value>>>,
    /// The block and its scope, if the block can call itself.
    pub(crate) recursion: Option<(Arc<ForDef>, Rc<Scope>)>,
}

impl LoopState {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn description(&self) -> String {
        format!("<LoopContext {}/{}>", self.index.get() + 1, self.len())
    }

    /// Returns an attribute that is a value; `None` if it does not exist.
    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        let (index, len) = (self.index.get(), self.len());
        let neighbor =
            |item: Option<&Value>, name| item.cloned().unwrap_or_else(|| Value::undefined(name));
        Some(match name {
            "index" => Value::len(index + 1),
            "index0" => Value::len(index),
            "revindex" => Value::len(len.saturating_sub(index)),
            "revindex0" => Value::len(len.saturating_sub(index + 1)),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == len),
            "length" => Value::len(len),
            "depth" => Value::len(self.depth + 1),
            "depth0" => Value::len(self.depth),
            "previtem" => {
                let previous = index.checked_sub(1).and_then(|index| self.items.get(index));
                neighbor(previous, "there is no previous item")
            }
            "nextitem" => neighbor(self.items.get(index + 1), "there is no next item"),
            _ => return None,
        })
    }
}
