//! Sets of numbers: what was added is there for ever, and to everybody who looks after it was known to be.
//!
//! A set is the value of one key named like its workload, numbers between commas; each number is added once, by writing
//! the set with the number at its end. All but `lock-set` must keep everything: `lock-set` rests on a lock alone,
//! and shows that a loss is seen.

use std::collections::BTreeMap;

use super::Input;
use super::reads::reads;
use super::tally::Tally;
use crate::history::{Answer, Op, Operation, Outcome, Place};
use crate::verdict::Finding;

/// Each is also the name of its property.
const WORKLOADS: [&str; 4] = ["set", "lock-set", "fenced-lock", "store-fence"];

/// Of each set that the run uses.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let used = WORKLOADS.iter().filter(|workload| input.uses(workload));
    used.map(|workload| check(&input.operations, workload)).collect()
}

/// An element is put to the test if it was known to be in the set before somebody looked.
pub fn check(operations: &[Operation<'_>], workload: &'static str) -> Finding {
    let set = Set::of(operations, workload);
    let mut tally = Tally::of(workload);
    set.missing(&mut tally);
    set.misread(&mut tally);
    tally.finish()
}

/// What was asked of one set, and what was seen of it.
struct Set {
    elements: BTreeMap<u64, Element>,
    /// By their invocation.
    looks: Vec<Look>,
}

#[derive(Default)]
struct Element {
    /// Lines of whoever asked to add it.
    asked: Vec<u64>,
    /// All who asked were refused.
    is_refused: bool,
    /// From when on it was known to be there.
    known: Option<Place>,
    /// When the last look began that saw it.
    last_seen: Option<Place>,
}

struct Look {
    process: u32,
    began: Place,
    ended: Place,
    /// In order, as often as they were read.
    elements: Vec<u64>,
}

impl Set {
    fn of(operations: &[Operation<'_>], workload: &str) -> Self {
        let key = format!("/chaos/{workload}");
        let mut set = Self { elements: BTreeMap::new(), looks: Vec::new() };
        for operation in operations.iter().filter(|operation| operation.workload == workload) {
            set.learn_addition(operation, &key);
            set.learn_looks(operation, &key);
        }
        for look in &set.looks {
            for element in &look.elements {
                let Some(element) = set.elements.get_mut(element) else { continue };
                element.known = earlier(element.known, look.ended);
                element.last_seen = element.last_seen.max(Some(look.began));
            }
        }
        set
    }

    fn learn_addition(&mut self, operation: &Operation<'_>, key: &str) {
        let Some(number) = added(operation.op, key) else { return };
        let element =
            self.elements.entry(number).or_insert(Element { is_refused: true, ..Element::default() });
        element.asked.extend(operation.lines());
        match operation.outcome {
            Outcome::Refused(_) | Outcome::Ok { answer: Answer::Txn { succeeded: false, .. }, .. } => {}
            Outcome::Unknown(_) => element.is_refused = false,
            Outcome::Ok { .. } => {
                element.is_refused = false;
                element.known = operation.returned;
            }
        }
    }

    fn learn_looks(&mut self, operation: &Operation<'_>, key: &str) {
        let Some(ended) = operation.returned else { return };
        for (_, kvs) in reads(operation).into_iter().filter(|(range, _)| range.key == key) {
            let mut elements = kvs.first().map_or_else(Vec::new, |kv| elements(&kv.value));
            elements.sort_unstable();
            self.looks.push(Look { process: operation.process, began: operation.invoked, ended, elements });
        }
    }

    /// Elements that a look should have seen and did not.
    fn missing(&self, tally: &mut Tally) {
        for (number, element) in &self.elements {
            let Some(known) = element.known else { continue };
            let after: Vec<&Look> = self.looks.iter().filter(|look| look.began.at > known.at).collect();
            let blind: Vec<&&Look> =
                after.iter().filter(|look| look.elements.binary_search(number).is_err()).collect();
            if after.is_empty() {
                continue;
            }
            tally.hold(blind.is_empty(), || {
                let (first, last) = (blind[0], blind[blind.len() - 1]);
                let is_lost = element.last_seen.is_none_or(|seen| seen < last.began);
                let words = if is_lost { "is lost" } else { "was not seen for a while" };
                let what = format!(
                    "{number} {words}: known to be there since line {}, it was not there when p{} looked; {} looks \
                     missed it",
                    known.line,
                    first.process,
                    blind.len(),
                );
                let mut lines = element.asked.clone();
                lines.extend([known.line, first.began.line, first.ended.line, last.ended.line]);
                (what, lines)
            });
        }
    }

    /// What no look may show.
    fn misread(&self, tally: &mut Tally) {
        for look in &self.looks {
            let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
            look.elements.iter().for_each(|element| *counts.entry(*element).or_default() += 1);
            for (number, count) in counts {
                let words = match self.elements.get(&number) {
                    _ if count > 1 => format!("{count} times"),
                    None => "which nobody asked to add".to_owned(),
                    Some(element) if element.is_refused => "whose addition was refused".to_owned(),
                    Some(_) => continue,
                };
                let lines = vec![look.began.line, look.ended.line];
                tally.violate(|| (format!("p{} saw {number}, {words}", look.process), lines));
            }
        }
    }
}

fn earlier(one: Option<Place>, other: Place) -> Option<Place> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// The last of the set that it asks to write.
fn added(op: &Op, key: &str) -> Option<u64> {
    match op {
        Op::Put(put) if put.key == key => elements(&put.value).pop(),
        Op::Txn(txn) => txn.then.iter().find_map(|op| added(op, key)),
        _ => None,
    }
}

fn elements(value: &str) -> Vec<u64> {
    value.split(',').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, equal, get, put, txn};
    use crate::history::{Event, Target};
    use crate::verdict::Verdict;

    const KEY: &str = "/chaos/set";

    fn script() -> Script {
        let mut script = Script::begin();
        script.workload = "set".to_owned();
        script
    }

    /// Adds to what is there now, guarded by it.
    fn add(script: &Script, element: u64) -> Op {
        let (before, modified) =
            script.store.get(KEY).map_or((String::new(), 0), |kv| (format!("{},", kv.value), kv.modified));
        txn(
            vec![equal(KEY, Target::Modified(modified))],
            vec![put(KEY, &format!("{before}{element}"))],
            vec![get(KEY)],
        )
    }

    fn filled() -> Script {
        let mut script = script();
        for element in 1..=3 {
            let op = add(&script, element);
            script.run(1, op);
        }
        script
    }

    /// Looks, and is told something else.
    fn look(script: &mut Script, value: &str) {
        let line = script.run(2, get(KEY));
        let Event::Return { outcome: Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } } =
            &mut script.line(line).event
        else {
            panic!("a read returned otherwise")
        };
        kvs[0].value = value.to_owned();
    }

    fn found(script: &Script) -> Finding {
        let history = script.history();
        check(&history.operations(), "set")
    }

    fn fails(script: &Script, words: &str) {
        let finding = found(script);
        assert_eq!(finding.verdict(), Verdict::Fail, "{finding:?}");
        assert!(finding.violations.iter().any(|violation| violation.what.contains(words)), "{finding:?}");
    }

    #[test]
    fn an_honest_set_passes() {
        let mut script = filled();
        let op = add(&script, 4);
        script.call(3, op.clone());
        script.apply(3);
        script.unknown(3);
        script.run(1, op);
        script.run(2, get(KEY));
        let finding = found(&script);
        assert_eq!((finding.verdict(), finding.checked), (Verdict::Pass, 4), "{finding:?}");
    }

    #[test]
    fn a_set_that_nobody_looked_at_is_not_judged() {
        assert_eq!(found(&filled()).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn a_lost_element_fails() {
        let mut script = filled();
        look(&mut script, "1,3");
        fails(&script, "2 is lost");
    }

    #[test]
    fn an_element_that_comes_and_goes_fails() {
        let mut script = filled();
        look(&mut script, "1,3");
        look(&mut script, "1,2,3");
        fails(&script, "2 was not seen for a while");
    }

    #[test]
    fn what_was_seen_once_by_one_must_be_seen_by_the_next() {
        let mut script = filled();
        let op = add(&script, 4);
        script.call(3, op);
        script.unknown(3);
        look(&mut script, "1,2,3,4");
        look(&mut script, "1,2,3");
        fails(&script, "4 is lost");
    }

    #[test]
    fn an_element_twice_fails() {
        let mut script = filled();
        look(&mut script, "1,2,2,3");
        fails(&script, "2, 2 times");
    }

    #[test]
    fn elements_that_nobody_added_fail() {
        let mut script = filled();
        look(&mut script, "1,2,3,9");
        fails(&script, "nobody asked");
        let mut script = filled();
        let late = add(&script, 4);
        let op = add(&script, 5);
        script.run(1, op);
        script.run(1, late);
        look(&mut script, "1,2,3,5,4");
        fails(&script, "whose addition was refused");
    }

    #[test]
    fn a_lock_alone_does_not_save_a_set() {
        let mut script = Script::begin();
        script.workload = "lock-set".to_owned();
        script.run(1, put("/chaos/lock-set", "1"));
        // It read 1 while it had the lock, and overslept.
        script.run(2, put("/chaos/lock-set", "1,2"));
        script.run(1, put("/chaos/lock-set", "1,3"));
        script.run(3, get("/chaos/lock-set"));
        let history = script.history();
        let finding = check(&history.operations(), "lock-set");
        assert!(finding.violations[0].what.contains("2 is lost"), "{finding:?}");
    }
}
