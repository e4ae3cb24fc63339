//! Names and what they stand for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::values::value::Value;

/// The names of a block, within those of the blocks around it.
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

    /// Forgets all names: a macro holds the scope that holds the macro.
    pub(crate) fn clear(&self) {
        self.names.take();
    }
}
