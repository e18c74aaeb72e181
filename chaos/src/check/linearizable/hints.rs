//! What follows from all calls on a key together, said to each of them, so that the search need not find out by trying.

use std::collections::{BTreeMap, BTreeSet};

use super::register::{Call, Guard, Register, Value, Write};

/// Changes nothing about which orders explain the calls.
pub(super) fn sharpen(calls: &mut [Call]) {
    let facts = Facts::of(calls);
    for call in calls {
        let Some(Write::Put(value)) = call.input.write else { continue };
        if call.returned.is_none() && !facts.named.contains(&value) {
            call.input.write = Some(Write::Put(Value::UNSEEN));
        } else if let Some(version) = facts.version(value) {
            let told = Register { value: Some(value), version: Some(version) };
            if call.output.held != Some(false) && call.output.after == Register::ANY {
                call.output.after = told;
            }
        }
    }
}

/// What the calls tell of values.
#[derive(Default)]
struct Facts {
    /// Seen, guarded for, or certainly written.
    named: BTreeSet<Value>,
    writers: BTreeMap<Value, usize>,
    /// In which versions each was seen.
    versions: BTreeMap<Value, BTreeSet<u64>>,
}

impl Facts {
    fn of(calls: &[Call]) -> Self {
        let mut facts = Self::default();
        for call in calls {
            for guard in &call.input.guards {
                if let Guard::Value(_, value) = guard {
                    facts.named.insert(*value);
                }
            }
            if let Some(Write::Put(value)) = call.input.write {
                *facts.writers.entry(value).or_default() += 1;
                facts.named.extend(call.returned.map(|_| value));
            }
            for seen in [call.output.before, call.output.after] {
                let Some(value) = seen.value else { continue };
                facts.named.insert(value);
                facts.versions.entry(value).or_default().extend(seen.version);
            }
        }
        facts
    }

    /// The version that a value made which was written once, if anybody saw it.
    fn version(&self, value: Value) -> Option<u64> {
        let mut versions = self.versions.get(&value)?.iter();
        match (self.writers.get(&value), versions.next(), versions.next()) {
            (Some(1), Some(version), None) => Some(*version),
            (_, _, _) => None,
        }
    }
}
