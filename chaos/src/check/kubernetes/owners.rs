//! I9, I11: what belonged to the dead is gone in the end, and a name's object is not replaced by another in passing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Invariant, Objects, Step};
use crate::check::tally::Tally;

/// I9: after the last revision nothing is left whose owners are all gone. Judges only logs of runs that came to rest.
#[derive(Default)]
pub(super) struct Orphans {
    /// Lines that last wrote what has owners, by key; and that deleted an object, by uid.
    written: BTreeMap<String, u64>,
    deleted: BTreeMap<String, u64>,
}

impl Invariant for Orphans {
    fn property(&self) -> &'static str {
        "owner-garbage"
    }

    fn see(&mut self, step: &Step<'_>, _tally: &mut Tally) {
        for one in &step.moves {
            match (&one.before, &one.after) {
                (_, Some(after)) if after.owners().next().is_some() => {
                    self.written.insert(one.key.to_owned(), step.line);
                }
                (Some(before), None) => _ = self.deleted.insert(before.uid().to_owned(), step.line),
                (_, _) => {}
            }
        }
    }

    fn end(&mut self, objects: &Objects<'_>, tally: &mut Tally) {
        let there: BTreeSet<&str> = objects.values().map(|object| object.uid()).collect();
        for (key, object) in objects {
            let owners: Vec<&str> = object.owners().map(|owner| owner.uid).collect();
            if owners.is_empty() {
                continue;
            }
            // Whoever waits for its finalizers is as good as deleted.
            let is_orphan = !object.is_terminating() && !owners.iter().any(|uid| there.contains(uid));
            tally.hold(!is_orphan, || {
                let what =
                    format!("{key} is there in the end, but its owners are not: {}", owners.join(", "));
                let deleted = owners.iter().filter_map(|uid| self.deleted.get(*uid));
                (what, deleted.chain(self.written.get(*key)).copied().collect())
            });
        }
    }
}

/// I11: an object is deleted before another takes its name.
#[derive(Default)]
pub(super) struct OneLife;

impl Invariant for OneLife {
    fn property(&self) -> &'static str {
        "object-identity"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            let (Some(before), Some(after)) = (&one.before, &one.after) else { continue };
            let [was, is] = [before, after].map(|object| object.uid());
            if was.is_empty() {
                continue;
            }
            let wrong = || format!("{} was {was}, and is {is:?} now, without a deletion", one.key);
            step.test(tally, (was != is).then(wrong));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::Log;

    const OWNER: &str = "/registry/replicasets/default/web";
    const POD: &str = "/registry/pods/default/web-1";

    fn owner(uid: &str) -> Value {
        json!({"metadata": {"uid": uid}})
    }

    fn owned(owners: &[&str]) -> Value {
        let owners: Vec<Value> = owners.iter().map(|uid| json!({"kind": "ReplicaSet", "uid": uid})).collect();
        json!({"metadata": {"uid": "p1", "ownerReferences": owners}})
    }

    #[test]
    fn what_has_an_owner_stays_and_what_has_none_goes() {
        let mut log = Log::default();
        log.put(OWNER, &owner("r1"));
        log.put(POD, &owned(&["r1"]));
        log.put("/registry/configmaps/default/a", &owned(&["r1", "r0"]));
        log.put("/registry/pods/default/web-2", &owned(&["r2"]));
        log.delete("/registry/pods/default/web-2");
        log.passes("owner-garbage");
    }

    #[test]
    fn the_orphan_of_a_dead_owner_fails() {
        let mut log = Log::default();
        log.put(OWNER, &owner("r1"));
        log.put(POD, &owned(&["r1"]));
        log.delete(OWNER);
        log.fails("owner-garbage", "/registry/pods/default/web-1 is there in the end");
        assert_eq!(log.finding("owner-garbage").violations[0].lines, [3, 4]);
    }

    #[test]
    fn an_owner_of_the_same_name_is_another() {
        let mut log = Log::default();
        log.put(OWNER, &owner("r1"));
        log.put(POD, &owned(&["r1"]));
        log.delete(OWNER);
        log.put(OWNER, &owner("r2"));
        log.fails("owner-garbage", "its owners are not: r1");
        log.delete(POD);
        log.put(POD, &owned(&["r2"]));
        log.passes("owner-garbage");
    }

    #[test]
    fn a_name_is_given_anew_only_after_a_deletion() {
        let mut log = Log::default();
        log.put(OWNER, &owner("r1"));
        log.put(OWNER, &owner("r1"));
        log.delete(OWNER);
        log.put(OWNER, &owner("r2"));
        log.passes("object-identity");
        log.put(OWNER, &owner("r3"));
        log.fails("object-identity", "was r2");
    }

    #[test]
    fn an_object_does_not_lose_its_uid() {
        let mut log = Log::default();
        log.put(POD, &owner("p1"));
        log.put(POD, &json!({"metadata": {}}));
        log.fails("object-identity", "was p1");
    }
}
