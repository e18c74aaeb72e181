//! Jepsen's EDN: a map for each invocation and each completion.
//!
//! Reads, writes and compare-and-sets of one key bear `[key value]`, as `jepsen.independent` has it, with `nil` for a key
//! that is not there; other operations bear what was asked and answered, as our own format names it. Faults are the
//! nemesis's.

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;

use super::register::{Ended, Values, View, ended};
use super::{Moment, moments};
use crate::history::{Event, Fault, History, Operation, Step};

pub(super) fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let operations = history.operations();
    let values = Values::of(&operations);
    let lives = operations
        .iter()
        .map(|operation| (operation.invoked.line, operation.returned.map(|place| place.line)));
    let faults = history.lines().iter().zip(0_u64..).filter_map(|(line, number)| match &line.event {
        Event::Fault(fault) => Some((number, Item::Fault(line.at, fault))),
        _ => None,
    });
    let mut items: Vec<(u64, Item<'_>)> = moments(lives)
        .into_iter()
        .map(|(line, moment)| (line, Item::Operation(moment)))
        .chain(faults)
        .collect();
    items.sort_by_key(|(line, _)| *line);
    for (index, (_, item)) in items.iter().enumerate() {
        write!(out, "{{:index {index}, ")?;
        match item {
            Item::Operation(Moment::Invoked(place)) => {
                let operation = &operations[*place];
                write_operation(out, operation, values.view(operation.op), None)?;
            }
            Item::Operation(Moment::Returned(place)) => {
                let operation = &operations[*place];
                write_operation(out, operation, values.view(operation.op), Some(ended(operation)))?;
            }
            Item::Fault(at, fault) => write_fault(out, *at, fault)?,
        }
    }
    Ok(())
}

enum Item<'a> {
    Operation(Moment),
    /// When, in nanoseconds, and what.
    Fault(u64, &'a Fault),
}

/// `ended`: none is the invocation.
fn write_operation(
    out: &mut impl Write,
    operation: &Operation<'_>,
    view: View<'_>,
    ended: Option<Ended<'_>>,
) -> io::Result<()> {
    let place = ended.and(operation.returned).unwrap_or(operation.invoked);
    write!(out, ":time {}, :process {}, ", place.at, operation.process)?;
    let kind = match ended {
        None => "invoke",
        Some(Ended::Ok(_)) => "ok",
        Some(Ended::Failed) => "fail",
        Some(Ended::Unknown) => "info",
    };
    match view {
        View::Read { key } => {
            let seen = match ended {
                Some(Ended::Ok(seen)) => seen,
                None | Some(Ended::Failed | Ended::Unknown) => None,
            };
            writeln!(out, ":type :{kind}, :f :read, :value [{} {}]}}", Quoted(key), Known(seen))
        }
        View::Write { key, value } => {
            writeln!(out, ":type :{kind}, :f :write, :value [{} {}]}}", Quoted(key), Quoted(value))
        }
        View::CompareAndSet { key, from, to } => {
            writeln!(
                out,
                ":type :{kind}, :f :cas, :value [{} [{} {}]]}}",
                Quoted(key),
                Known(from),
                Quoted(to)
            )
        }
        View::Other(op) => {
            let mut asked = serde_json::to_value(op)?;
            let name = asked.as_object_mut().and_then(|fields| fields.remove("op"));
            let name = name.as_ref().and_then(Value::as_str).unwrap_or("unknown").to_owned();
            let value = if ended.is_some() { serde_json::to_value(operation.outcome)? } else { asked };
            writeln!(out, ":type :{kind}, :f :{name}, :value {}}}", Edn(&value))
        }
    }
}

fn write_fault(out: &mut impl Write, at: u64, fault: &Fault) -> io::Result<()> {
    let (step, told) = match &fault.step {
        Step::Installed { evidence } => ("installed", evidence),
        Step::Skipped { reason } => ("skipped", reason),
        Step::Indeterminate { reason } => ("indeterminate", reason),
        Step::Healed { evidence } => ("healed", evidence),
    };
    let target: Vec<String> = fault.target.iter().map(|target| Quoted(target).to_string()).collect();
    writeln!(
        out,
        ":time {at}, :process :nemesis, :type :info, :f :{}, :value {{:fault {}, :step :{step}, :target [{}], :told {}}}}}",
        fault.kind,
        fault.fault,
        target.join(" "),
        Quoted(told)
    )
}

/// A string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What JSON escapes, EDN reads the same.
        write!(out, "{}", Value::from(self.0))
    }
}

/// A string, or `nil`.
struct Known<'a>(Option<&'a str>);

impl fmt::Display for Known<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => Quoted(text).fmt(out),
            None => out.write_str("nil"),
        }
    }
}

/// JSON in EDN's clothes: names are keywords.
struct Edn<'a>(&'a Value);

impl fmt::Display for Edn<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => out.write_str("nil"),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => write!(out, "{}", self.0),
            Value::Array(items) => {
                out.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    let between = if place > 0 { " " } else { "" };
                    write!(out, "{between}{}", Edn(item))?;
                }
                out.write_str("]")
            }
            Value::Object(fields) => {
                out.write_str("{")?;
                for (place, (name, value)) in fields.iter().enumerate() {
                    let between = if place > 0 { ", " } else { "" };
                    write!(out, "{between}:{} {}", name.replace('_', "-"), Edn(value))?;
                }
                out.write_str("}")
            }
        }
    }
}
