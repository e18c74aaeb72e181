//! What must be complete: every kind listed, every controller started, every metric described.
//!
//! Read from the sources, so that forgetting a line in a table is a failing test and not a missing feature.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_kind_is_listed() {
    let registry = read("control/kinds/src/registry.rs");
    let defined =
        sources("control/kinds/src").flat_map(|text| words_between(&text, "pub static ", ": Kind ="));
    let missing: Vec<String> = defined.filter(|kind| !registry.contains(&format!("::{kind},"))).collect();
    assert!(missing.is_empty(), "not in kinds::ALL: {missing:?}");
}

#[test]
fn every_controller_is_started() {
    let table = read("control/controllers/src/all.rs");
    let defined: BTreeSet<String> = sources("control/controllers/src")
        .flat_map(|text| words_between(&text, "impl Controller for ", " {"))
        .collect();
    assert!(!defined.is_empty());
    let missing: Vec<&String> =
        defined.iter().filter(|name| !table.contains(&format!("Entry::of::<{name}>()"))).collect();
    assert!(missing.is_empty(), "not in controllers::ALL: {missing:?}");
}

#[test]
fn every_metric_is_described() {
    for room in
        ["agent", "store", "control/apiserver", "control/client", "control/controllers", "control/scheduler"]
    {
        let text = read(&format!("{room}/src/metrics.rs"));
        let (describe, rest) = text
            .split_once("fn describe()")
            .map(|(rest, body)| (body, rest))
            .unwrap_or_else(|| panic!("{room} has no describe()"));
        let names = words_between(rest, "const ", ": &str = \"");
        let missing: Vec<String> =
            names.into_iter().filter(|name| !describe.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{room} does not describe {missing:?}");
    }
}

#[test]
fn every_room_is_in_the_front_door() {
    let readme = read("README.md");
    let manifest = read("Cargo.toml");
    let members =
        manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    let missing: Vec<&str> = members
        .lines()
        .map(|line| line.trim().trim_end_matches(',').trim_matches('"'))
        .filter(|room| !room.is_empty() && !readme.contains(room))
        .collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

/// The words that stand between two texts.
fn words_between(text: &str, before: &str, after: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once(before)?.1.split_once(after));
    lines.map(|(word, _)| word.to_owned()).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Tests are left out: what they define, they start.
fn sources(folder: &str) -> impl Iterator<Item = String> {
    let mut folders = vec![root().join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                texts.push(fs::read_to_string(path).expect("a source can be read"));
            }
        }
    }
    texts.into_iter()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}
