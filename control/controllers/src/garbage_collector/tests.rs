//! Fixtures: the object with its finalizers, its owners with their state, its dependents: `pod | rs absent | x blocking`.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn item(name: &str) -> Item {
    Item { resource: 0, key: client::ObjectKey::namespaced("default", name) }
}

fn check(fixture: &str, expected: Expect) {
    let mut parts = fixture.split('|').map(str::trim);
    let mut words = parts.next().expect("an object").split_whitespace();
    let mut meta = json!({ "name": words.next(), "uid": "self", "finalizers": [] });
    for word in words {
        match word {
            "going" => meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            finalizer => meta["finalizers"].as_array_mut().expect("a list").push(json!(finalizer)),
        }
    }
    let object = Arc::new(serde_json::from_value(json!({ "metadata": meta })).expect("an object"));
    let owners = parts.next().unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty());
    let owners = owners.map(|text| {
        let (uid, state) = text.split_once(' ').expect("a uid and a state");
        let state = match state {
            "solid" => OwnerState::Solid,
            "waiting" => OwnerState::Waiting,
            "absent" => OwnerState::Absent,
            _ => panic!("unknown state {state}"),
        };
        (OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() }, state)
    });
    let dependents =
        parts.next().unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty());
    let dependents = dependents.map(|text| {
        let name = text.split(' ').next().unwrap_or_default();
        let mut meta = json!({ "name": name, "ownerReferences": [{ "apiVersion": "v1", "kind": "X", "name": "x",
            "uid": "self", "blockOwnerDeletion": text.contains("blocking") }] });
        if text.contains("going") {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let object = serde_json::from_value(json!({ "metadata": meta })).expect("a dependent");
        (item(name), Arc::new(object))
    });
    let seen = Seen { object, owners: owners.collect(), dependents: dependents.collect() };
    let steps = plan(&seen).into_iter().map(|action| match action {
        Action::Delete(policy) => format!("delete {policy}"),
        Action::DropOwners(uids) => format!("drop {}", uids.join(" ")),
        Action::RemoveFinalizer(finalizer) => format!("unfinalize {finalizer}"),
        Action::Orphan(item) => format!("orphan {}", item.key.name),
        Action::Look(item) => format!("look {}", item.key.name),
    });
    expected.assert_eq(&steps.collect::<Vec<_>>().join("; "));
}

#[test]
fn goes_when_all_owners_are_gone() {
    check("pod | a solid", expect![""]);
    check("pod | a absent", expect!["delete Background"]);
    check("pod | a solid, b absent", expect!["drop b"]);
    check("pod", expect![""]);
    check("pod going | a absent", expect![""]);
}

#[test]
fn an_owner_in_the_foreground_waits_for_what_blocks_it() {
    check("set going foregroundDeletion || a blocking, b blocking going", expect!["look a"]);
    check("set going foregroundDeletion || a", expect!["unfinalize foregroundDeletion"]);
    check("set going foregroundDeletion", expect!["unfinalize foregroundDeletion"]);
    check("pod | a waiting", expect!["delete Background"]);
    check("set | a waiting | pod blocking", expect!["delete Foreground"]);
}

#[test]
fn an_orphaning_owner_lets_go_first() {
    check("set going orphan || a, b", expect!["orphan a; orphan b; unfinalize orphan"]);
}

#[test]
fn what_was_followed_by_another_of_its_name_is_gone() {
    let object = |uid: &str| -> Option<Arc<Partial>> {
        let object = serde_json::from_value(json!({ "metadata": { "name": "web", "uid": uid } }));
        (!uid.is_empty()).then(|| Arc::new(object.expect("an object")))
    };
    let gone = |old: &str, new: &str| {
        let change = client::Change { old: object(old), new: object(new) };
        graph::gone(&change).map(|gone| gone.uid().to_owned())
    };
    assert_eq!(gone("a", ""), Some("a".to_owned()));
    assert_eq!(gone("a", "b"), Some("a".to_owned()));
    assert_eq!(gone("a", "a"), None);
    assert_eq!(gone("", "a"), None);
}
