//! The rules of STYLE.md that a machine can check, over every source file that git knows.
//!
//! Limits ratchet: an exception names a file and its size, and may only shrink.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 600;

/// Who may depend on whom, by crate. What is not here is forbidden; a new arrow is a commit of its own.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("proto", &[]),
    ("store", &["base", "proto"]),
    ("kinds", &["base"]),
    ("client", &["base", "kinds"]),
    ("apiserver", &["base", "kinds", "store"]),
    ("controllers", &["base", "client", "kinds"]),
    ("scheduler", &["base", "client", "kinds"]),
    ("agent", &["base", "client", "kinds", "proto"]),
    ("chaos", &["apiserver", "base", "client", "controllers", "proto", "scheduler", "store"]),
    (
        "control",
        &[
            "agent",
            "apiserver",
            "base",
            "chaos",
            "client",
            "controllers",
            "kinds",
            "proto",
            "scheduler",
            "store",
        ],
    ),
    ("tests", &["agent", "apiserver", "base", "chaos", "client", "controllers", "kinds", "proto", "store"]),
];

/// Words that name nothing.
const BANNED_IN_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

/// Marks of work that is not done. Split, so that this file does not name them.
const LEFTOVERS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK:")];

/// What may be named only in some places: the words, and the paths' beginnings.
const FENCED_NAMES: &[(&str, &[&str])] = &[
    ("rocksdb::", &["store/src/disk"]),
    ("bincode::", &["store/src/disk"]),
    ("openraft::", &["store/src/raft"]),
    ("tokio::task::JoinSet", &["proto/base/src/tasks.rs"]),
];

struct Source {
    path: String,
    text: String,
}

#[test]
fn files_are_short_enough_to_read() {
    refuse(sources(), |source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("has {lines} lines, more than {FILE_LINES_MAX}: split it"))
    });
}

#[test]
fn every_file_says_what_it_owns() {
    refuse(sources(), |source| {
        (!source.text.starts_with("//!")).then(|| "does not open with `//!`".to_owned())
    });
}

#[test]
fn every_select_is_biased() {
    refuse(sources(), |source| {
        let mut rest = source.text.as_str();
        while let Some((_, after)) = rest.split_once(concat!("select", "! {")) {
            if !after.trim_start().starts_with("biased;") {
                return Some("has a `select!` without `biased;`".to_owned());
            }
            rest = after;
        }
        None
    });
}

#[test]
fn names_mean_something() {
    refuse(sources(), |source| {
        let stem = Path::new(&source.path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let words: Vec<String> = stem.unwrap_or_default().split('_').map(str::to_owned).collect();
        if let Some(word) = words.iter().find(|word| BANNED_IN_NAMES.contains(&word.as_str())) {
            return Some(format!("is named `{word}`"));
        }
        let definitions = source.text.lines().filter_map(|line| {
            let (_, name) = line.split_once("fn ").filter(|(before, _)| !before.contains("//"))?;
            name.starts_with(concat!("do", "_")).then(|| name.to_owned())
        });
        definitions.into_iter().next().map(|name| format!("defines `fn {name}`"))
    });
}

#[test]
fn no_leftovers() {
    refuse(sources(), |source| {
        let found = LEFTOVERS.iter().find(|mark| source.text.contains(**mark));
        found.map(|mark| format!("holds the mark {mark}: do it, or file it"))
    });
}

#[test]
fn merges_are_finished() {
    let marks = [concat!("<<<<", "<<< "), concat!(">>>>", ">>> ")];
    refuse(files(&[".rs", ".md", ".toml", ".proto", ".yaml", ".txt", "Makefile"]), |source| {
        let left = source.text.lines().find(|line| marks.iter().any(|mark| line.starts_with(mark)));
        left.map(|line| format!("holds both sides of a conflict: {line}"))
    });
}

#[test]
fn fenced_names_stay_in_their_rooms() {
    refuse(sources(), |source| {
        let code = without_comments(&source.text);
        let outside = FENCED_NAMES.iter().find(|(name, rooms)| {
            code.contains(name) && !rooms.iter().any(|room| source.path.starts_with(room))
        });
        outside
            .filter(|_| source.path != "tests/tests/tidy.rs")
            .map(|(name, rooms)| format!("names `{name}`, which belongs to {}", rooms.join(", ")))
    });
}

#[test]
fn the_store_uses_no_hash_maps() {
    refuse(sources(), |source| {
        let in_store = source.path.starts_with("store/src") || source.path.starts_with("chaos/src");
        let code = without_comments(&source.text);
        (in_store && (code.contains("HashMap") || code.contains("HashSet")))
            .then(|| "uses a hash map: its order is chance".to_owned())
    });
}

#[test]
fn files_name_no_machine() {
    let home = concat!("/ro", "ot/");
    refuse(files(&[".rs", ".md", ".toml", ".proto", "Makefile"]), |source| {
        source.text.contains(home).then(|| format!("names {home}"))
    });
}

#[test]
fn every_file_is_reached() {
    let all = sources();
    refuse(sources(), |source| {
        let path = Path::new(&source.path);
        let name = path.file_stem()?.to_str()?;
        let is_root = matches!(name, "lib" | "main" | "build")
            || path.parent()?.ends_with("tests")
            || path.parent()?.ends_with("bin");
        let parent = parent_module(path);
        let declared = all.iter().filter(|other| parent.contains(&PathBuf::from(&other.path))).any(|other| {
            ["mod", "pub mod", "pub(crate) mod", "pub(super) mod"]
                .iter()
                .any(|keyword| other.text.lines().any(|line| line.trim() == format!("{keyword} {name};")))
        });
        (!is_root && !declared).then(|| "is declared by no module: nothing compiles it".to_owned())
    });
}

#[test]
fn arrows_point_down() {
    let mut faults = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest = manifest_of(name);
        let text = fs::read_to_string(&manifest).expect("a manifest can be read");
        let wanted = text
            .split_once("[dependencies]")
            .map(|(_, rest)| rest.split("\n[").next().unwrap_or_default())
            .unwrap_or_default();
        let ours = wanted
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|dependency| ARROWS.iter().any(|(room, _)| room == dependency));
        for dependency in ours.filter(|dependency| !allowed.contains(dependency)) {
            faults.push(format!("{name} -> {dependency} is no allowed arrow"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_crate_has_a_readme() {
    let missing: Vec<String> = ARROWS
        .iter()
        .map(|(name, _)| manifest_of(name).with_file_name("README.md"))
        .filter(|readme| !readme.exists())
        .map(|readme| readme.display().to_string())
        .collect();
    assert!(missing.is_empty(), "missing: {}", missing.join(", "));
}

fn refuse(all: Vec<Source>, fault: impl Fn(&Source) -> Option<String>) {
    let faults: Vec<String> =
        all.iter().filter_map(|source| Some(format!("{} {}", source.path, fault(source)?))).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn sources() -> Vec<Source> {
    files(&[".rs"])
}

fn files(endings: &[&str]) -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let wanted = listed.lines().filter(|path| endings.iter().any(|ending| path.ends_with(ending)));
    wanted
        .filter_map(|path| {
            Some(Source { path: path.to_owned(), text: fs::read_to_string(root().join(path)).ok()? })
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

fn manifest_of(name: &str) -> PathBuf {
    let folders = ["proto", "proto/base", "store", "control", "control/kinds", "control/client"];
    let more = ["control/apiserver", "control/controllers", "control/scheduler", "agent", "chaos", "tests"];
    let manifests = folders.iter().chain(&more).map(|folder| root().join(folder).join("Cargo.toml"));
    let line = format!("name = \"{name}\"");
    let found = manifests.into_iter().find(|manifest| {
        fs::read_to_string(manifest)
            .is_ok_and(|text| text.lines().nth(1).is_some_and(|second| second == line))
    });
    found.unwrap_or_else(|| panic!("no crate is named {name}"))
}

/// The files that may declare the module of this file.
fn parent_module(path: &Path) -> Vec<PathBuf> {
    let Some(folder) = path.parent() else { return Vec::new() };
    vec![folder.with_extension("rs"), folder.join("lib.rs"), folder.join("main.rs")]
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
