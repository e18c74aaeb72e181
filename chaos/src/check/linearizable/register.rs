//! One key as a register that is read, written, deleted and written under guards, and what a call tells of it.
//!
//! It knows values and how often they were written, never a revision: that is what makes it a second opinion. What a
//! register holds may be known in part only, which makes it accept more, never less.

use crate::history::Is;

/// A value of the run, by number. Numbers have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// The key is not there.
    pub const NOTHING: Self = Self(0);
    /// Stands for every value that nobody ever saw or named: they cannot be told apart.
    pub const UNSEEN: Self = Self(1);
}

/// What a register holds, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    pub value: Option<Value>,
    /// How often it was written since it was made; zero is: it is not there.
    pub version: Option<u64>,
}

/// One operation on one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub process: u32,
    /// Times of one clock.
    pub invoked: u64,
    /// None: it happened at any time after its invocation, or never.
    pub returned: Option<u64>,
    pub input: Asked,
    pub output: Answered,
}

/// Writes if all guards hold. Without a write it only looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub guards: Vec<Guard>,
    pub write: Option<Write>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    Put(Value),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// No value is less or greater than another: such a guard is not known to hold or to fail.
    Value(Is, Value),
    Version(Is, u64),
}

/// What the answer told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Whether all guards held.
    pub held: Option<bool>,
    pub before: Register,
    pub after: Register,
}

impl Register {
    pub const NOTHING: Self = Self { value: Some(Value::NOTHING), version: Some(0) };
    /// Nothing is known of it.
    pub const ANY: Self = Self { value: None, version: None };

    /// What it holds after the call; none if the call's answer cannot come from it. A call of unknown outcome whose
    /// guards may hold, writes: that it need not is left to the search, which need not take it.
    pub fn after(self, call: &Call) -> Option<Self> {
        let Call { input, output, .. } = call;
        let before = self.meet(output.before)?;
        let held = match (output.held, before.holds(&input.guards)) {
            (Some(told), Some(known)) if told != known => return None,
            (told, known) => told.or(known).unwrap_or(true),
        };
        let before = if held { before.narrowed(&input.guards)? } else { before };
        let after = match input.write {
            Some(Write::Put(value)) if held => before.put(value),
            Some(Write::Delete) if held => Self::NOTHING,
            Some(_) | None => before,
        };
        after.meet(output.after)
    }

    /// What both tell; none if they contradict each other.
    fn meet(self, other: Self) -> Option<Self> {
        let value = agree(self.value, other.value)?;
        let version = agree(self.version, other.version)?;
        match (value, version) {
            (Some(Value::NOTHING), None | Some(0)) | (None, Some(0)) => Some(Self::NOTHING),
            (Some(Value::NOTHING), Some(_)) | (Some(_), Some(0)) => None,
            (value, version) => Some(Self { value, version }),
        }
    }

    fn put(self, value: Value) -> Self {
        Self { value: Some(value), version: self.version.map(|version| version + 1) }
    }

    /// Whether all of them do.
    fn holds(self, guards: &[Guard]) -> Option<bool> {
        let mut all = Some(true);
        for guard in guards {
            match self.holds_one(*guard) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    fn holds_one(self, guard: Guard) -> Option<bool> {
        match guard {
            Guard::Value(Is::Equal, value) => self.value.map(|held| held == value),
            Guard::Value(Is::NotEqual, value) => self.value.map(|held| held != value),
            Guard::Value(Is::Less | Is::Greater, _) => None,
            Guard::Version(is, version) => self.version.map(|held| match is {
                Is::Equal => held == version,
                Is::NotEqual => held != version,
                Is::Less => held < version,
                Is::Greater => held > version,
            }),
        }
    }

    /// What is known of it if all of them hold.
    fn narrowed(self, guards: &[Guard]) -> Option<Self> {
        guards.iter().try_fold(self, |register, guard| match *guard {
            Guard::Value(Is::Equal, value) => register.meet(Self { value: Some(value), version: None }),
            Guard::Version(Is::Equal, version) => register.meet(Self { value: None, version: Some(version) }),
            Guard::Value(..) | Guard::Version(..) => Some(register),
        })
    }
}

/// The one that is known; none if both are, and differ.
#[expect(clippy::option_option, reason = "whether they agree, and on what")]
fn agree<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => Some(one.or(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn holding(value: u32, version: u64) -> Register {
        Register { value: Some(Value(value)), version: Some(version) }
    }

    fn call(guards: &[Guard], write: Option<Write>, output: Answered) -> Call {
        let input = Asked { guards: guards.to_vec(), write };
        Call { process: 1, invoked: 0, returned: Some(1), input, output }
    }

    #[test]
    fn a_read_must_see_what_is_there() {
        let seen = |before| call(&[], None, Answered { before, ..Answered::default() });
        assert_eq!(holding(7, 2).after(&seen(holding(7, 2))), Some(holding(7, 2)));
        assert_eq!(holding(7, 2).after(&seen(holding(8, 2))), None);
        assert_eq!(holding(7, 2).after(&seen(holding(7, 3))), None);
        assert_eq!(holding(7, 2).after(&seen(Register::NOTHING)), None);
        assert_eq!(Register::ANY.after(&seen(holding(7, 2))), Some(holding(7, 2)));
    }

    #[test]
    fn a_put_counts_and_a_deletion_forgets() {
        let put = call(&[], Some(Write::Put(Value(9))), Answered::default());
        assert_eq!(holding(7, 2).after(&put), Some(holding(9, 3)));
        assert_eq!(Register::NOTHING.after(&put), Some(holding(9, 1)));
        let delete = call(&[], Some(Write::Delete), Answered::default());
        assert_eq!(holding(7, 2).after(&delete), Some(Register::NOTHING));
    }

    #[test]
    fn a_guard_decides() {
        let guard = [Guard::Version(Is::Equal, 2)];
        let with = |held| call(&guard, Some(Write::Put(Value(9))), Answered { held, ..Answered::default() });
        assert_eq!(holding(7, 2).after(&with(Some(true))), Some(holding(9, 3)));
        assert_eq!(holding(7, 2).after(&with(Some(false))), None);
        assert_eq!(holding(7, 3).after(&with(Some(true))), None);
        assert_eq!(holding(7, 3).after(&with(Some(false))), Some(holding(7, 3)));
        assert_eq!(holding(7, 3).after(&with(None)), Some(holding(7, 3)), "it would write nothing");
        assert_eq!(
            Register::ANY.after(&with(Some(true))).unwrap().version,
            Some(3),
            "the guard told the version"
        );
    }

    #[test]
    fn what_one_guard_refutes_no_other_saves() {
        let half_known = Register { value: Some(Value(7)), version: None };
        let guards = [Guard::Version(Is::Equal, 2), Guard::Value(Is::Equal, Value(8))];
        assert_eq!(half_known.holds(&guards), Some(false));
        assert_eq!(half_known.holds(&guards[..1]), None);
    }
}
