//! Running a rule, each step paid for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Call, Expr, Node, Select};
use super::functions::Ran;
use super::library::regex;
use super::meter::{Failure, Meter};
use super::value::{Key, Text, Val};

pub(super) struct Machine<'m, 'a> {
    /// Variables by position: those of the rule, then those of the macros that are being run.
    pub slots: Vec<Val<'a>>,
    pub meter: &'m mut Meter,
}

impl<'a> Machine<'_, 'a> {
    pub(super) fn evaluate(&mut self, expr: &Expr) -> Ran<'a> {
        self.meter.spend(1)?;
        match &expr.node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Slot(slot) => Ok(self.slots[*slot].clone()),
            // The checker leaves none.
            Node::Name(name) => Err(Failure::said(format!("undeclared reference to '{name}'"))),
            Node::Select(select) => self.select(select),
            Node::Call(call) => self.call(call),
            Node::And(parts) => self.junction(parts, false),
            Node::Or(parts) => self.junction(parts, true),
            Node::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                match self.evaluate(condition)?.as_bool()? {
                    true => self.evaluate(then),
                    false => self.evaluate(otherwise),
                }
            }
            Node::List(elements) => {
                let mut items = Vec::with_capacity(elements.len());
                for element in elements {
                    let value = self.evaluate(&element.value)?;
                    items.extend(present(value, element.is_optional)?);
                }
                Ok(Val::list(items))
            }
            Node::Map(entries) => {
                let mut made = BTreeMap::new();
                for entry in entries {
                    let key = Key::of(&self.evaluate(&entry.key)?)?;
                    let value = self.evaluate(&entry.value)?;
                    if let Some(value) = present(value, entry.is_optional)?
                        && made.insert(key, value).is_some()
                    {
                        return Err(Failure::said("Failed with repeated key"));
                    }
                }
                Ok(Val::map(made))
            }
            Node::Each(each) => self.each(each),
        }
    }

    /// One part that says `settles` settles it, errors of others notwithstanding.
    fn junction(&mut self, parts: &[Expr], settles: bool) -> Ran<'a> {
        let mut failed = None;
        for part in parts {
            match self.evaluate(part).and_then(|value| value.as_bool()) {
                Ok(flag) if flag == settles => return Ok(Val::Bool(settles)),
                Ok(_) => {}
                Err(Failure::Budget) => return Err(Failure::Budget),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(Val::Bool(!settles)), Err)
    }

    fn select(&mut self, select: &Select) -> Ran<'a> {
        let from = self.evaluate(&select.from)?;
        let (from, is_optional) = match from {
            Val::Optional(Some(value)) => ((*value).clone(), true),
            Val::Optional(None) if select.is_test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            other => (other, select.is_optional),
        };
        let found = match &from {
            Val::Object(object) if select.is_test => return Ok(Val::Bool(object.has(&select.field))),
            Val::Object(object) => object.get(&select.field)?,
            Val::Map(map) => map.get(&Val::Text(Text::Own(Arc::from(select.field.as_str()))))?,
            _ if is_optional => None,
            _ => return Err(Failure::NoOverload),
        };
        match (select.is_test, is_optional, found) {
            (true, _, found) => Ok(Val::Bool(found.is_some())),
            (false, true, found) => Ok(Val::Optional(found.map(Arc::new))),
            (false, false, Some(value)) => Ok(value),
            (false, false, None) => Err(Failure::NoKey(select.field.clone())),
        }
    }

    fn call(&mut self, call: &Call) -> Ran<'a> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            let target = self.evaluate(target)?;
            // What would not be used is not asked for.
            match (call.name.as_str(), &target) {
                ("or", Val::Optional(Some(_))) => return Ok(target),
                ("orValue", Val::Optional(Some(value))) => return Ok((**value).clone()),
                (_, _) => {}
            }
            args.push(target);
        }
        for arg in &call.args {
            args.push(self.evaluate(arg)?);
        }
        let bytes: usize = args.iter().map(Val::bytes).fold(0, usize::saturating_add);
        self.meter.spend_bytes(bytes)?;
        if let Some(pattern) = &call.pattern
            && let [Val::Text(_), Val::Text(_), ..] = args.as_slice()
        {
            return regex::run_compiled(&call.name, &args, pattern, self.meter);
        }
        if call.name == "_[?_]" || call.name == "_[_]" && matches!(args.first(), Some(Val::Optional(_))) {
            return self.optional_index(call, args);
        }
        self.apply(call, &args)
    }

    fn apply(&mut self, call: &Call, args: &[Val<'a>]) -> Ran<'a> {
        let fits = |takes: &[super::types::Pattern]| {
            takes.len() == args.len() && takes.iter().zip(args).all(|(pattern, value)| pattern.holds(value))
        };
        match call.overloads.iter().find(|overload| fits(overload.takes)) {
            Some(overload) => (overload.run)(args, self.meter),
            None => Err(Failure::NoOverload),
        }
    }

    /// An index into what may be absent, or that may itself be.
    fn optional_index(&mut self, call: &Call, mut args: Vec<Val<'a>>) -> Ran<'a> {
        match args.first() {
            Some(Val::Optional(None)) => return Ok(Val::Optional(None)),
            Some(Val::Optional(Some(value))) => args[0] = (**value).clone(),
            _ => {}
        }
        match self.apply(call, &args) {
            Ok(value) => Ok(Val::some(value)),
            Err(Failure::NoKey(_) | Failure::OutOfBounds(_)) => Ok(Val::Optional(None)),
            Err(failure) => Err(failure),
        }
    }
}

/// Of an element that may be absent, what is there.
fn present(value: Val<'_>, is_optional: bool) -> Result<Option<Val<'_>>, Failure> {
    match (is_optional, value) {
        (false, value) => Ok(Some(value)),
        (true, Val::Optional(value)) => Ok(value.map(|value| (*value).clone())),
        (true, _) => Err(Failure::NoOverload),
    }
}
