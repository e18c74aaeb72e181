//! Files that Kubernetes itself wrote: one object of every kind, each field set, as JSON, YAML and protobuf.
//!
//! They are not part of this repository. `NAVARCH_KUBERNETES_TESTDATA` names a folder of them, such as
//! `testdata/v1.36.0` of github.com/kubernetes/api; Debian's `golang-k8s-api-dev` installs one, too.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::super::{Schema, decode_yaml};
use super::super::{TypeMeta, decode, encode, envelope};

const FOLDER: &str = "NAVARCH_KUBERNETES_TESTDATA";
const INSTALLED: &str = "/usr/share/gocode/src/k8s.io/api/testdata/HEAD";

/// What is wrong with our reading or writing of one object; `None` of a kind that we do not know.
fn problems(schema: &Schema, json: &Path) -> Option<Vec<String>> {
    let text = fs::read(json).expect("the JSON");
    let theirs = fs::read(json.with_extension("pb")).expect("the protobuf");
    let yaml = fs::read(json.with_extension("yaml")).expect("the YAML");
    let value: Value = serde_json::from_slice(&text).expect("JSON");
    let of = TypeMeta { api_version: value["apiVersion"].as_str()?, kind: value["kind"].as_str()? };
    let message = schema.message_of_object(of)?;
    let (group, version) = of.api_version.rsplit_once('/').unwrap_or(("", of.api_version));
    let ty = schema.type_of_kind(group, version, of.kind)?;
    let mut problems = Vec::new();
    match encode(schema, (of, message), &text) {
        Ok(ours) if ours == theirs => {}
        Ok(ours) => {
            let inner = |bytes: &[u8]| envelope(bytes).expect("an envelope").raw.to_vec();
            let (ours, theirs) = (inner(&ours), inner(&theirs));
            let at = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            let around = |bytes: &[u8]| {
                String::from_utf8_lossy(
                    &bytes[at.saturating_sub(24).min(bytes.len())..bytes.len().min(at + 24)],
                )
                .into_owned()
            };
            problems.push(format!("bytes differ at {at}: {:?} is {:?}", around(&ours), around(&theirs)));
        }
        Err(error) => problems.push(format!("encode: {error:?}")),
    }
    match decode(schema, &theirs) {
        Ok(ours) if ours == value => {}
        Ok(ours) => problems.push(difference("", &ours, &value)),
        Err(error) => problems.push(format!("decode: {error}")),
    }
    match decode_yaml(schema, ty, &yaml) {
        Ok(ours) if ours.value == value && ours.unknown.is_empty() => {}
        Ok(ours) => {
            problems.push(format!("YAML: {} {:?}", difference("", &ours.value, &value), ours.unknown));
        }
        Err(error) => problems.push(format!("YAML: {error}")),
    }
    Some(problems)
}

/// Where two values first differ.
fn difference(path: &str, ours: &Value, theirs: &Value) -> String {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys());
            let null = Value::Null;
            let sides = |key: &String| (ours.get(key).unwrap_or(&null), theirs.get(key).unwrap_or(&null));
            keys.filter(|key| sides(key).0 != sides(key).1)
                .map(|key| difference(&format!("{path}.{key}"), sides(key).0, sides(key).1))
                .next()
                .unwrap_or_default()
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let unlike = ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
            unlike.map(|(ours, theirs)| difference(&format!("{path}[]"), ours, theirs)).unwrap_or_default()
        }
        (ours, theirs) => format!("{path}: {ours} is {theirs}"),
    }
}

#[test]
fn what_kubernetes_wrote_is_what_we_write_and_read() {
    let installed = || Path::new(INSTALLED).is_dir().then(|| PathBuf::from(INSTALLED));
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from).or_else(installed) else {
        println!("skipped: set {FOLDER} to testdata/v1.36.0 of github.com/kubernetes/api");
        return;
    };
    let schema = Schema::builtin();
    let (mut failures, mut equal, mut unknown) = (Vec::new(), 0, Vec::new());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the folder").map(|file| file.expect("a file").path()).collect();
    // What a newer version made of an older one's object is that version's business.
    let is_own = |name: &str| name.ends_with(".json") && !name.ends_with(".after_roundtrip.json");
    files.retain(|file| file.file_name().is_some_and(|name| is_own(&name.to_string_lossy())));
    files.sort();
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match problems(&schema, file) {
            None => unknown.push(name),
            Some(problems) if problems.is_empty() => equal += 1,
            Some(problems) => failures.push(format!("{name}: {}", problems.join("; "))),
        }
    }
    println!("{equal} of {} are equal; of no known kind: {}", files.len(), unknown.join(" "));
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(equal >= 90, "only {equal} of {} were looked at", files.len());
}
