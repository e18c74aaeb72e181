//! Macros: `all`, `exists`, `map` and their kin, each item and each result paid for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Each, Expr, Verb};
use super::evaluate::Machine;
use super::functions::Ran;
use super::library::lists;
use super::meter::Failure;
use super::value::{Key, List, Map, Val};

/// What a macro goes through.
enum Range<'a> {
    List(List<'a>),
    Map(Vec<Val<'a>>, Map<'a>),
}

impl<'a> Range<'a> {
    fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Map(keys, _) => keys.len(),
        }
    }

    /// The variables at one step: the item or the key; or both the index or key, and the item or value.
    fn step(&self, index: usize, names: usize) -> Result<Vec<Val<'a>>, Failure> {
        match self {
            Self::List(list) if names == 1 => Ok(vec![list.get(index)?]),
            Self::List(list) => {
                Ok(vec![Val::Int(i64::try_from(index).unwrap_or(i64::MAX)), list.get(index)?])
            }
            Self::Map(keys, _) if names == 1 => Ok(vec![keys[index].clone()]),
            Self::Map(keys, map) => {
                let key = keys[index].clone();
                let value = map.get(&key)?.unwrap_or(Val::Null);
                Ok(vec![key, value])
            }
        }
    }
}

impl<'a> Machine<'_, 'a> {
    pub(super) fn each(&mut self, each: &Each) -> Ran<'a> {
        let range = match self.evaluate(&each.over)? {
            Val::List(list) => Range::List(list),
            Val::Map(map) => {
                self.meter.spend(map.len())?;
                Range::Map(map.keys(), map)
            }
            Val::Optional(value) => return self.mapped(each, value),
            _ => return Err(Failure::NoOverload),
        };
        match each.verb {
            Verb::All => self.quantified(each, &range, false),
            Verb::Exists => self.quantified(each, &range, true),
            Verb::ExistsOne => self.exactly_one(each, &range),
            Verb::Filter | Verb::Map => self.listed(each, &range),
            Verb::TransformMap | Verb::TransformMapEntry => self.transformed(each, &range),
            Verb::SortBy => self.sorted(each, &range),
            Verb::OptMap | Verb::OptFlatMap => Err(Failure::NoOverload),
        }
    }

    /// Evaluates with these values of the macro's variables.
    fn with(&mut self, values: &[Val<'a>], expr: &Expr) -> Ran<'a> {
        let mark = self.slots.len();
        self.slots.extend_from_slice(values);
        let outcome = self.evaluate(expr);
        self.slots.truncate(mark);
        outcome
    }

    fn mapped(&mut self, each: &Each, value: Option<Arc<Val<'a>>>) -> Ran<'a> {
        if !matches!(each.verb, Verb::OptMap | Verb::OptFlatMap) {
            return Err(Failure::NoOverload);
        }
        let Some(value) = value else { return Ok(Val::Optional(None)) };
        let made = self.with(&[(*value).clone()], &each.body)?;
        match (each.verb, made) {
            (Verb::OptMap, made) => Ok(Val::some(made)),
            (_, made @ Val::Optional(_)) => Ok(made),
            (_, _) => Err(Failure::NoOverload),
        }
    }

    /// `all` and `exists`: one item that says `settles` settles it, errors of others notwithstanding.
    fn quantified(&mut self, each: &Each, range: &Range<'a>, settles: bool) -> Ran<'a> {
        let mut failed = None;
        for index in 0..range.len() {
            self.meter.spend(1)?;
            let values = range.step(index, each.names.len())?;
            match self.with(&values, &each.body).and_then(|value| value.as_bool()) {
                Ok(flag) if flag == settles => return Ok(Val::Bool(settles)),
                Ok(_) => {}
                Err(Failure::Budget) => return Err(Failure::Budget),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(Val::Bool(!settles)), Err)
    }

    fn exactly_one(&mut self, each: &Each, range: &Range<'a>) -> Ran<'a> {
        let mut count = 0;
        for index in 0..range.len() {
            self.meter.spend(1)?;
            let values = range.step(index, each.names.len())?;
            count += usize::from(self.with(&values, &each.body)?.as_bool()?);
        }
        Ok(Val::Bool(count == 1))
    }

    fn passes(&mut self, each: &Each, values: &[Val<'a>]) -> Result<bool, Failure> {
        self.meter.spend(1)?;
        match &each.filter {
            Some(filter) => self.with(values, filter)?.as_bool(),
            None => Ok(true),
        }
    }

    fn listed(&mut self, each: &Each, range: &Range<'a>) -> Ran<'a> {
        let mut out = Vec::new();
        for index in 0..range.len() {
            let mut values = range.step(index, each.names.len())?;
            if !self.passes(each, &values)? {
                continue;
            }
            let made = self.with(&values, &each.body)?;
            match each.verb {
                Verb::Filter if made.as_bool()? => out.push(values.swap_remove(0)),
                Verb::Filter => {}
                _ => out.push(made),
            }
        }
        Ok(Val::list(out))
    }

    fn transformed(&mut self, each: &Each, range: &Range<'a>) -> Ran<'a> {
        let mut out = BTreeMap::new();
        for index in 0..range.len() {
            let values = range.step(index, each.names.len())?;
            if !self.passes(each, &values)? {
                continue;
            }
            let made = self.with(&values, &each.body)?;
            if each.verb == Verb::TransformMap {
                out.insert(Key::of(&values[0])?, made);
                continue;
            }
            let Val::Map(entries) = made else { return Err(Failure::NoOverload) };
            for key in entries.keys() {
                self.meter.spend(1)?;
                let value = entries.get(&key)?.unwrap_or(Val::Null);
                if out.insert(Key::of(&key)?, value).is_some() {
                    return Err(Failure::said("insert failed: key already exists"));
                }
            }
        }
        Ok(Val::map(out))
    }

    fn sorted(&mut self, each: &Each, range: &Range<'a>) -> Ran<'a> {
        let mut items = Vec::new();
        for index in 0..range.len() {
            self.meter.spend(1)?;
            let mut values = range.step(index, 1)?;
            let key = self.with(&values, &each.body)?;
            items.push((key, values.swap_remove(0)));
        }
        lists::sorted(items, self.meter)
    }
}
