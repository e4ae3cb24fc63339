//! Calls of macros.

use std::sync::Arc;

use crate::error::{Result, fail};
use crate::run::call::{Arguments, Macro};
use crate::run::interpreter::Interpreter;
use crate::run::scope::Scope;
use crate::values::value::Value;

impl Interpreter {
    /// Calls a macro and returns the text that it writes.
    pub(crate) fn call_macro(&mut self, own: &Macro, arguments: Arguments) -> Result<Value> {
        let (def, scope) = (&own.def, Scope::new(Some(&own.scope)));
        let Arguments { positional, mut named } = arguments;
        let mut positional = positional.into_iter();
        for (name, default) in &def.parameters {
            let own = named.iter().position(|(given, _)| given == name);
            let value = match (positional.next(), own) {
                (Some(_), Some(_)) => {
                    return fail(format!("macro '{}' got two values for '{name}'", def.name));
                }
                (Some(value), None) => value,
                (None, Some(place)) => named.remove(place).1,
                (None, None) => match default {
                    Some(default) => self.eval(default, &scope)?,
                    None => Value::undefined(&format!("parameter '{name}' was not provided")),
                },
            };
            scope.set(name, value);
        }
        self.special_names(own, &scope, positional.collect(), named)?;
        let text = self.captured(|interpreter| interpreter.statements(&def.body, &scope))?;
        Ok(Value::Str(text))
    }

    /// Defines `caller`, `varargs` and `kwargs` for a macro that uses them.
    fn special_names(
        &mut self,
        own: &Macro,
        scope: &Scope,
        varargs: Vec<Value>,
        mut named: Vec<(Arc<str>, Value)>,
    ) -> Result<()> {
        let def = &own.def;
        if def.caller {
            let place = named.iter().position(|(name, _)| &**name == "caller");
            let caller = place.map(|place| named.remove(place).1);
            let none = || Value::undefined("No caller defined");
            scope.set(&"caller".into(), caller.unwrap_or_else(none));
        }
        if def.kwargs {
            let entries = named.drain(..).map(|(name, value)| (Value::own(&name), value));
            scope.set(&"kwargs".into(), Value::dict(entries));
        }
        if let Some((name, _)) = named.first() {
            return fail(format!("macro '{}' takes no keyword argument '{name}'", def.name));
        }
        if def.varargs {
            scope.set(&"varargs".into(), Value::tuple(varargs));
        } else if !varargs.is_empty() {
            let expected = def.parameters.len();
            return fail(format!(
                "macro '{}' takes not more than {expected} argument(s)",
                def.name
            ));
        }
        Ok(())
    }
}
