//! Execution of statements, and the limits of a whole rendering.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result, fail};
use crate::run::call::{Callable, Macro};
use crate::run::scope::LoopState;
use crate::run::scope::Scope;
use crate::syntax::ast::{Expr, ExprKind, FilterCall, ForDef, Stmt, StmtKind, Target};
use crate::values::python_text::{MAX_NESTING, str_of};
use crate::values::text::{Origin, Text, TextBuilder};
use crate::values::value::{Dict, Value};

/// The deepest nesting of expressions, blocks and calls: each level uses stack.
const MAX_DEPTH: u32 = 1000;
/// Bytes of a string that count as one step, which bounds the memory of strings.
const BYTES_PER_STEP: usize = 4;

/// The way in which a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    On,
    Break,
    Continue,
}

/// The state of one rendering.
pub(crate) struct Interpreter {
    steps: u64,
    steps_left: u64,
    depth: u32,
    pub(crate) out: TextBuilder,
    /// The number of generation blocks entered so far.
    blocks: u32,
    root: Rc<Scope>,
    /// Scopes that can hold themselves; they are cleared at the end.
    scopes: Vec<Rc<Scope>>,
    namespaces: Vec<Rc<RefCell<Dict>>>,
}

impl Interpreter {
    pub(crate) fn new(steps: u64, values: Vec<(&str, Value)>) -> Self {
        let root = Scope::new(None);
        for (name, value) in values {
            root.set(&name.into(), value);
        }
        Self {
            steps,
            steps_left: steps,
            depth: 0,
            out: TextBuilder::default(),
            blocks: 0,
            root,
            scopes: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Runs the statements and returns the text that they write.
    pub(crate) fn run(mut self, body: &[Stmt]) -> Result<Text> {
        let root = Rc::clone(&self.root);
        self.statements(body, &root)?;
        std::mem::take(&mut self.out).finish()
    }

    /// Takes steps from the remaining ones.
    pub(crate) fn charge(&mut self, steps: usize) -> Result<()> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        match self.steps_left.checked_sub(steps) {
            Some(left) => self.steps_left = left,
            None => {
                self.steps_left = 0;
                let steps = self.steps;
                return fail(format!(
                    "expected at most {steps} steps for this conversation, got more"
                ));
            }
        }
        Ok(())
    }

    /// Runs `run` one level deeper, if the limit of the depth allows it.
    pub(crate) fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return fail(format!(
                "more than {MAX_DEPTH} expressions, blocks and calls within each other"
            ));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Charges a new value by its size and returns it.
    pub(crate) fn counted(&mut self, value: Value) -> Result<Value> {
        if usize::try_from(value.nesting()).is_ok_and(|nesting| nesting > MAX_NESTING) {
            return fail(format!("more than {MAX_NESTING} values within each other"));
        }
        self.charge(match &value {
            Value::Str(text) => text.as_str().len() / BYTES_PER_STEP,
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => items.len(),
            Value::Dict(dict) => dict.entries().len(),
            _ => 0,
        })?;
        Ok(value)
    }

    pub(crate) fn new_namespace(&mut self, entries: Dict) -> Result<Value> {
        for (name, _) in entries.entries() {
            check_namespace_name(name.as_str().unwrap_or_default())?;
        }
        let namespace = Rc::new(RefCell::new(entries));
        self.namespaces.push(Rc::clone(&namespace));
        Ok(Value::Namespace(namespace))
    }

    /// Returns what `run` writes instead of writing it.
    pub(crate) fn captured(&mut self, run: impl FnOnce(&mut Self) -> Result<Flow>) -> Result<Text> {
        let outer = std::mem::take(&mut self.out);
        let result = run(self);
        let inner = std::mem::replace(&mut self.out, outer);
        result?;
        let text = inner.finish()?;
        self.charge(text.as_str().len() / BYTES_PER_STEP)?;
        Ok(text)
    }

    pub(crate) fn statements(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<Flow> {
        for statement in body {
            self.charge(1).map_err(|error| error.or_line(statement.line))?;
            let flow = self
                .deeper(|own| own.statement(statement, scope))
                .map_err(|error| error.or_line(statement.line))?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, statement: &Stmt, scope: &Rc<Scope>) -> Result<Flow> {
        match &statement.kind {
            StmtKind::Text(text) => {
                self.write(&Text::shared(Arc::clone(text), Origin::default()))?
            }
            StmtKind::Output(expr) => {
                let value = self.eval(expr, scope)?;
                self.write(&str_of(&value)?)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.eval(test, scope)?.is_true() {
                        return self.statements(body, scope);
                    }
                }
                return self.statements(otherwise, scope);
            }
            StmtKind::For(def) => {
                let items = self.eval(&def.items, scope)?;
                self.for_block(def, &items, scope, 0)?;
            }
            StmtKind::Set(target, expr) => {
                let value = self.eval(expr, scope)?;
                self.assign(target, value, scope)?;
            }
            StmtKind::SetBlock(target, filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.assign(target, value, scope)?;
            }
            StmtKind::Macro(def) => {
                let own = Macro { def: Arc::clone(def), scope: Rc::clone(scope) };
                self.scopes.push(Rc::clone(scope));
                scope.set(&def.name, Value::Callable(Rc::new(Callable::Macro(own))));
            }
            StmtKind::Call(def, call) => self.call_block(def, call, scope)?,
            StmtKind::Filter(filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.write(&str_of(&value)?)?;
            }
            StmtKind::With(assignments, body) => {
                let inner = Scope::new(Some(scope));
                for (target, expr) in assignments {
                    let value = self.eval(expr, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.statements(body, &inner);
            }
            StmtKind::Generation(body) => self.generation(body, scope)?,
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn write(&mut self, text: &Text) -> Result<()> {
        self.charge(text.as_str().len() / BYTES_PER_STEP)?;
        self.out.push(text);
        Ok(())
    }

    fn generation(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<()> {
        self.blocks = self.blocks.saturating_add(1);
        let block = self.blocks;
        let inner = Scope::new(Some(scope));
        let text = self.captured(|own| own.statements(body, &inner))?;
        self.write(&text.in_block(block))
    }

    /// Writes a block's text after passing it through its filters.
    fn filtered(
        &mut self,
        filters: &[FilterCall],
        body: &[Stmt],
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let inner = Scope::new(Some(scope));
        let mut value = Value::Str(self.captured(|own| own.statements(body, &inner))?);
        for filter in filters {
            let arguments = self.arguments(&filter.args, scope)?;
            let filtered = self.filter(&filter.name, &value, arguments);
            value = filtered.map_err(|error| error.or_line(filter.line))?;
        }
        Ok(value)
    }

    fn call_block(
        &mut self,
        def: &Arc<crate::syntax::ast::MacroDef>,
        call: &Expr,
        scope: &Rc<Scope>,
    ) -> Result<()> {
        let ExprKind::Call(callee, args) = &call.kind else { return fail("expected a call") };
        let callee = self.eval(callee, scope)?;
        let mut arguments = self.arguments(args, scope)?;
        let caller = Macro { def: Arc::clone(def), scope: Rc::clone(scope) };
        arguments.named.push(("caller".into(), Value::Callable(Rc::new(Callable::Macro(caller)))));
        let value = self.call(&callee, arguments)?;
        self.write(&str_of(&value)?)
    }

    /// Runs a for block over items, at a depth of its recursion.
    pub(crate) fn for_block(
        &mut self,
        def: &Arc<ForDef>,
        items: &Value,
        scope: &Rc<Scope>,
        depth: usize,
    ) -> Result<()> {
        let mut items = items.items()?;
        if let (true, Some(test)) = (def.uses_loop, &def.test) {
            let mut kept = Vec::new();
            for item in items.iter() {
                if self.passes(def, test, item, scope)? {
                    kept.push(item.clone());
                }
            }
            items = Rc::new(kept.into());
        }
        let recursion = def.recursive.then(|| (Arc::clone(def), Rc::clone(scope)));
        let state = def.uses_loop.then(|| {
            let (index, changed) = (Cell::new(0), RefCell::new(None));
            Rc::new(LoopState { items: Rc::clone(&items), index, depth, changed, recursion })
        });
        let name: Arc<str> = "loop".into();
        let mut any = false;
        for (index, item) in items.iter().enumerate() {
            self.charge(2)?;
            if let (None, Some(test)) = (&state, &def.test)
                && !self.passes(def, test, item, scope)?
            {
                continue;
            }
            let inner = Scope::new(Some(scope));
            if let Some(state) = &state {
                state.index.set(index);
                inner.set(&name, Value::Loop(Rc::clone(state)));
            }
            self.assign(&def.target, item.clone(), &inner)?;
            let flow = self.statements(&def.body, &inner)?;
            // As in Jinja2, an item that is left early does not count for the else block.
            any |= flow == Flow::On;
            if flow == Flow::Break {
                break;
            }
        }
        if !any {
            self.statements(&def.otherwise, &Scope::new(Some(scope)))?;
        }
        Ok(())
    }

    fn passes(
        &mut self,
        def: &ForDef,
        test: &Expr,
        item: &Value,
        scope: &Rc<Scope>,
    ) -> Result<bool> {
        let inner = Scope::new(Some(scope));
        self.assign(&def.target, item.clone(), &inner)?;
        Ok(self.eval(test, &inner)?.is_true())
    }

    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Tuple(targets) => {
                let items = value.items()?;
                if items.len() != targets.len() {
                    let (expected, got) = (targets.len(), items.len());
                    return fail(format!("expected {expected} values to unpack, got {got}"));
                }
                for (target, item) in targets.iter().zip(items.iter()) {
                    self.assign(target, item.clone(), scope)?;
                }
            }
            Target::Attribute(name, attribute) => match scope.get(name) {
                Some(Value::Namespace(namespace)) => {
                    check_namespace_name(attribute)?;
                    namespace.borrow_mut().insert(Value::own(attribute), value);
                }
                _ => {
                    return fail(format!(
                        "cannot assign to an attribute of '{name}': no namespace"
                    ));
                }
            },
        }
        Ok(())
    }
}

/// Checks a name as `transformers` does.
fn check_namespace_name(name: &str) -> Result<()> {
    if name.starts_with('_') {
        return fail(format!("a namespace cannot hold '{name}', which begins with an underscore"));
    }
    Ok(())
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        for scope in self.scopes.drain(..).chain([Rc::clone(&self.root)]) {
            scope.clear();
        }
        for namespace in self.namespaces.drain(..) {
            namespace.take();
        }
    }
}

impl Error {
    /// Makes the error for a name that does not exist.
    pub(crate) fn undefined(name: &str) -> Self {
        Self::new(format!("'{name}' is undefined"))
    }
}
