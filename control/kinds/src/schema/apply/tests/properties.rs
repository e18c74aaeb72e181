//! What holds for any configurations: applying twice is applying once, disjoint applies commute, ownership is what a
//! replay says, and sets survive their encoding.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::*;
use super::{World, deployment};
use crate::schema::Schema;

/// A Deployment that says something of labels, finalizers, containers and ports with these names.
fn config(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(names);
    let port = (1..3_i32, option::of(prop::sample::select(&["TCP", "UDP"][..])), option::of(0..2_i32));
    let container = (option::of(0..2_i32), option::of(vec(0..2_i32, 1..3)), vec(port, 0..3));
    let labels = btree_map(name(), 0..2_i32, 0..3);
    let containers = btree_map(name(), container, 0..3);
    (labels, btree_set(name(), 0..3), containers).prop_map(|(labels, finalizers, containers)| {
        let mut object = json!({});
        if !labels.is_empty() {
            let labels: Map<String, Value> =
                labels.into_iter().map(|(name, value)| (name.to_owned(), json!(value.to_string()))).collect();
            object["metadata"]["labels"] = Value::Object(labels);
        }
        if !finalizers.is_empty() {
            object["metadata"]["finalizers"] =
                json!(finalizers.iter().map(|name| format!("x.io/{name}")).collect::<Vec<_>>());
        }
        if !containers.is_empty() {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, args, ports))| container_of(name, image, args, ports))
                .collect();
            object["spec"] = json!({"template": {"spec": {"containers": containers}}});
        }
        object
    })
}

type Port = (i32, Option<&'static str>, Option<i32>);

fn container_of(name: &str, image: Option<i32>, args: Option<Vec<i32>>, ports: Vec<Port>) -> Value {
    let mut container = json!({"name": name});
    if let Some(image) = image {
        container["image"] = json!(format!("i{image}"));
    }
    if let Some(args) = args {
        container["args"] = json!(args.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    let ports: BTreeMap<(i32, &str), Value> = ports
        .into_iter()
        .map(|(number, protocol, name)| {
            let mut port = json!({"containerPort": number});
            if let Some(protocol) = protocol {
                port["protocol"] = json!(protocol);
            }
            if let Some(name) = name {
                port["name"] = json!(format!("n{name}"));
            }
            ((number, protocol.unwrap_or("TCP")), port)
        })
        .collect();
    if !ports.is_empty() {
        container["ports"] = json!(ports.into_values().collect::<Vec<_>>());
    }
    container
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Value),
    Force(Value),
    Update(Value),
}

const NAMES: &[&str] = &["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<(&'static str, Step)>> {
    let step = prop_oneof![
        config(NAMES).prop_map(Step::Apply),
        config(NAMES).prop_map(Step::Force),
        config(NAMES).prop_map(Step::Update),
    ];
    vec((prop::sample::select(&["p", "q", "r"][..]), step), 1..8)
}

fn take(world: &mut World, manager: &str, step: &Step) -> bool {
    match step {
        Step::Apply(config) => world.try_apply(manager, config, OnConflict::Refuse).is_ok(),
        Step::Force(config) => world.try_apply(manager, config, OnConflict::Force).is_ok(),
        Step::Update(object) => {
            world.update(manager, object.clone());
            true
        }
    }
}

/// Every leaf of an object with its value, told by hand: the oracle knows no schema.
fn leaves(object: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (name, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        found.insert(format!(".metadata.labels.{name}"), value.clone());
    }
    for value in object["metadata"]["finalizers"].as_array().into_iter().flatten() {
        found.insert(format!(".metadata.finalizers[={value}]"), value.clone());
    }
    for container in object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten() {
        let at = format!(".spec.template.spec.containers[name={}]", container["name"]);
        for (name, value) in container.as_object().into_iter().flatten().filter(|(name, _)| *name != "ports")
        {
            found.insert(format!("{at}.{name}"), value.clone());
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            let protocol = port.get("protocol").cloned().unwrap_or(json!("TCP"));
            let at = format!("{at}.ports[containerPort={},protocol={protocol}]", port["containerPort"]);
            for (name, value) in port.as_object().into_iter().flatten() {
                found.insert(format!("{at}.{name}"), value.clone());
            }
        }
    }
    found
}

type Ownership = BTreeMap<(String, &'static str), BTreeSet<String>>;

/// The same history of ownership, from objects before and after alone.
fn replay(owned: &mut Ownership, manager: &str, step: &Step, before: &Value, after: &Value) {
    let (old, new) = (leaves(before), leaves(after));
    let changed: BTreeSet<String> = new
        .iter()
        .filter(|(path, value)| old.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let gone: BTreeSet<String> = old.keys().filter(|path| !new.contains_key(*path)).cloned().collect();
    owned.values_mut().for_each(|paths| paths.retain(|path| !changed.contains(path) && !gone.contains(path)));
    match step {
        Step::Apply(config) | Step::Force(config) => {
            owned.insert((manager.to_owned(), "Apply"), leaves(config).into_keys().collect());
        }
        Step::Update(_) => owned.entry((manager.to_owned(), "Update")).or_default().extend(changed),
    }
    owned.retain(|_, paths| !paths.is_empty());
}

/// The leaves that managers have by the object's own account.
fn told(world: &World) -> Ownership {
    let managed = world.managers().encode().unwrap_or_default();
    let entries = managed.as_array().into_iter().flatten().map(|entry| {
        let operation = if entry["operation"] == "Apply" { "Apply" } else { "Update" };
        let fields = FieldSet::from_fields_v1(&entry["fieldsV1"]).expect("good fields").to_string();
        // Items and containers themselves are no leaves; neither is what structs hold by value.
        let is_leaf = |path: &&str| {
            let item = path.ends_with(']') && !path.contains("finalizers");
            let containers = [".labels", ".finalizers", ".containers", ".ports", ".resources"];
            !item && !path.is_empty() && !containers.iter().any(|name| path.ends_with(name))
        };
        let leaves: BTreeSet<String> = fields.lines().filter(is_leaf).map(str::to_owned).collect();
        ((entry["manager"].as_str().unwrap_or_default().to_owned(), operation), leaves)
    });
    entries.filter(|(_, leaves)| !leaves.is_empty()).collect()
}

proptest! {
    #[test]
    fn ownership_is_what_a_replay_says(steps in steps()) {
        let mut world = World::default();
        let mut owned = Ownership::new();
        for (manager, step) in &steps {
            let before = world.object.clone().unwrap_or_default();
            // Who was never managed is not from an update on either.
            let untracked = world.object.is_some() && world.managers().is_empty();
            if !take(&mut world, manager, step) {
                prop_assert_eq!(world.object.clone().unwrap_or_default(), before);
                continue;
            }
            if untracked {
                return Ok(());
            }
            replay(&mut owned, manager, step, &before, world.object.as_ref().unwrap_or(&Value::Null));
            prop_assert_eq!(told(&world), owned.clone());
        }
    }

    #[test]
    fn applying_twice_is_applying_once(steps in steps(), config in config(NAMES)) {
        let mut world = World::default();
        for (manager, step) in &steps {
            take(&mut world, manager, step);
        }
        world.force("p", config.clone());
        let once = world.object.clone();
        for (path, value) in leaves(&config) {
            let there = leaves(once.as_ref().unwrap_or(&Value::Null));
            prop_assert_eq!(there.get(&path), Some(&value));
        }
        world.apply("p", config);
        prop_assert_eq!(once, world.object);
    }

    #[test]
    fn disjoint_applies_commute(one in config(&["a", "b"]), two in config(&["c", "d"]), again in config(&["a", "b"])) {
        let run = |order: &[(&str, &Value)]| {
            let mut world = World::default();
            for (manager, config) in order {
                world.apply(manager, (*config).clone());
            }
            let mut object = world.object.clone().unwrap_or_default();
            crate::meta::remove(&mut object, "managedFields");
            (object, told(&world))
        };
        let orders = [
            [("p", &one), ("q", &two), ("p", &again)],
            [("q", &two), ("p", &one), ("p", &again)],
            [("p", &one), ("p", &again), ("q", &two)],
        ];
        let (object, owned) = run(&orders[0]);
        for order in &orders[1..] {
            let (other, owned_there) = run(order);
            // The order of items may differ; nothing else.
            let differing = compare(&Schema::builtin(), deployment(), &object, &other);
            prop_assert!(differing.is_same(), "{differing:?}");
            prop_assert_eq!(&owned, &owned_there);
        }
    }

    #[test]
    fn sets_survive_their_encoding(one in config(NAMES), two in config(NAMES)) {
        let fields = |object: &Value| fields_of(&Schema::builtin(), deployment(), object);
        let (one, two) = (fields(&one), fields(&two));
        for set in [one.union(&two), one.intersection(&two), one.difference(&two), one.recursive_difference(&two)] {
            prop_assert_eq!(&FieldSet::from_fields_v1(&set.to_fields_v1()).expect("good fields"), &set);
            let mut again = FieldSet::default();
            set.paths().iter().for_each(|path| again.insert(&path.0));
            prop_assert_eq!(again, set);
        }
        prop_assert_eq!(one.difference(&two).union(&one.intersection(&two)), one);
    }

    #[test]
    fn no_managed_fields_are_too_strange(text in "[fkvi.]:[{}\\[\\]\":,a-z0-9]{0,12}", below in "[fkvi]:[a-z0-9]{0,3}") {
        if let Ok(set) = FieldSet::from_fields_v1(&json!({text: {below: {}}})) {
            prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()).expect("good fields"), set);
        }
    }
}
