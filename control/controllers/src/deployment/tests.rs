//! Fixtures: the Deployment, then its sets: `web replicas=3 surge=1 unavailable=0 | old 3/3 | new 1/0`, where `3/2` means
//! that the set is to have 3 pods of which 2 are available. A set's pods all exist, unless `pods=` says otherwise.

use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::plan::{Action, Seen, plan};
use super::template::{hash, is_of_template};
use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": image }] },
    })
}

fn number(text: &str) -> Value {
    text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number))
}

fn deployment(text: &str) -> Deployment {
    let mut words = text.split_whitespace();
    let mut deployment = json!({
        "metadata": { "name": words.next(), "namespace": "default", "uid": "d", "generation": 1 },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template("new"),
            "strategy": { "rollingUpdate": {} } },
    });
    for word in words {
        let spec = &mut deployment["spec"];
        match word.split_once('=').unwrap_or((word, "")) {
            ("replicas", n) => spec["replicas"] = number(n),
            ("surge", n) => spec["strategy"]["rollingUpdate"]["maxSurge"] = number(n),
            ("unavailable", n) => spec["strategy"]["rollingUpdate"]["maxUnavailable"] = number(n),
            ("history", n) => spec["revisionHistoryLimit"] = number(n),
            ("recreate", _) => spec["strategy"] = json!({ "type": "Recreate" }),
            ("paused", _) => spec["paused"] = json!(true),
            ("revision", n) => deployment["metadata"]["annotations"] = json!({ template::REVISION: n }),
            ("going", _) => deployment["metadata"]["deletionTimestamp"] = json!(NOW),
            _ => panic!("unknown word {word}"),
        }
    }
    serde_json::from_value(deployment).expect("a deployment")
}

fn set(text: &str, number: usize, bounds: (i32, i32)) -> ReplicaSet {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let (size, available) = words.next().and_then(|counts| counts.split_once('/')).expect("counts");
    let (size, available): (i32, i32) = (size.parse().expect("a size"), available.parse().expect("a count"));
    let image = if name.starts_with("new") { "new" } else { name };
    let mut set = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "generation": 1,
            "labels": { "app": "web" }, "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
                "controller": true }],
            "annotations": { template::REVISION: number.to_string(), template::DESIRED: bounds.0.to_string(),
                template::MAX: bounds.1.to_string() } },
        "spec": { "replicas": size, "selector": {}, "template": template(image) },
        "status": { "replicas": size, "readyReplicas": available, "availableReplicas": available,
            "observedGeneration": 1 },
    });
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("pods", n) => set["status"]["replicas"] = self::number(n),
            ("desired", n) => set["metadata"]["annotations"][template::DESIRED] = json!(n),
            ("max", n) => set["metadata"]["annotations"][template::MAX] = json!(n),
            ("revision", n) => set["metadata"]["annotations"][template::REVISION] = json!(n),
            ("orphan", _) => set["metadata"]["ownerReferences"] = Value::Null,
            _ => panic!("unknown word {word}"),
        }
    }
    serde_json::from_value(set).expect("a set")
}

fn seen(fixture: &str) -> Seen {
    let mut parts = fixture.split('|').map(str::trim);
    let deployment = deployment(parts.next().expect("the deployment"));
    let bounds = template::Bounds::of(&deployment);
    let bounds = (bounds.replicas, bounds.replicas + bounds.surge);
    let sets: Vec<_> = parts.enumerate().map(|(n, text)| Arc::new(set(text, n + 1, bounds))).collect();
    let old = sets.iter().filter(|set| !set.name().starts_with("new"));
    let old_pods = old.filter_map(|set| set.status.as_ref()).map(|status| status.replicas).sum::<i32>();
    Seen { deployment: Arc::new(deployment), sets, old_pods: usize::try_from(old_pods).expect("a count") }
}

fn steps(fixture: &str) -> Vec<String> {
    let seen = seen(fixture);
    let steps = plan(&seen, NOW.parse().expect("a time")).into_iter().filter_map(|action| match action {
        Action::Adopt(set) => Some(format!("adopt {}", set.name())),
        Action::Release(set) => Some(format!("release {}", set.name())),
        Action::Create(set) => {
            Some(format!("create at {} with revision {}", size(&set), template::revision_of(&*set)))
        }
        Action::Scale { set, to, .. } => Some(format!("scale {} {} -> {to}", set.name(), size(&set))),
        Action::Annotate { set, annotations } => {
            let short = annotations.iter().map(|(k, v)| format!("{}={v}", k.rsplit('/').next().unwrap_or(k)));
            Some(format!("annotate {} {}", set.name(), short.collect::<Vec<_>>().join(" ")))
        }
        Action::Forget(set) => Some(format!("forget {}", set.name())),
        Action::Status { revision, .. } => revision.map(|revision| format!("revision {revision}")),
        Action::Again(_) => None,
    });
    steps.collect()
}

fn check(fixture: &str, expected: Expect) {
    expected.assert_eq(&steps(fixture).join("; "));
}

#[test]
fn makes_the_first_set_at_full_size() {
    check("web replicas=3", expect!["create at 3 with revision 1; revision 1"]);
}

#[test]
fn grows_the_new_set_before_shrinking_the_old() {
    let web = "web replicas=3 surge=1 unavailable=0 revision=2";
    check(&format!("{web} | old 3/3"), expect!["create at 1 with revision 2"]);
    check(&format!("{web} | old 3/3 | new 0/0"), expect!["scale new 0 -> 1"]);
    check(&format!("{web} | old 3/3 | new 1/0"), expect![""]);
    check(&format!("{web} | old 3/3 | new 1/1"), expect!["scale old 3 -> 2"]);
    check(&format!("{web} | old 2/3 | new 1/1"), expect!["scale new 1 -> 2"]);
    check(&format!("{web} | old 1/1 | new 3/2"), expect![""]);
    check(&format!("{web} | old 1/1 | new 3/3"), expect!["scale old 1 -> 0"]);
}

#[test]
fn shrinks_at_once_what_may_be_unavailable() {
    let web = "web replicas=4 surge=0 unavailable=2 revision=2";
    check(&format!("{web} | old 4/4 | new 0/0"), expect!["scale old 4 -> 2"]);
    check(&format!("{web} | old 2/2 | new 0/0"), expect!["scale new 0 -> 2"]);
    check(&format!("{web} | old 2/2 | new 2/0"), expect![""]);
}

#[test]
fn broken_pods_of_old_sets_go_first() {
    check(
        "web replicas=3 surge=1 unavailable=0 revision=3 | broken 1/0 | old 3/3 | new 0/0",
        expect!["scale broken 1 -> 0"],
    );
}

#[test]
fn percentages_round_surge_up_and_unavailable_down() {
    check("web replicas=3 revision=2 | old 3/3", expect!["create at 1 with revision 2"]);
    let bounds = template::Bounds::of(&deployment("web replicas=10 surge=25% unavailable=25%"));
    assert_eq!((bounds.surge, bounds.unavailable), (3, 2));
    let bounds = template::Bounds::of(&deployment("web replicas=1 surge=0% unavailable=10%"));
    assert_eq!((bounds.surge, bounds.unavailable), (0, 1));
}

#[test]
fn undo_takes_the_old_set_of_the_same_template_under_a_new_revision() {
    check(
        "web replicas=2 surge=1 unavailable=0 revision=2 | new 0/0 revision=1 | other 2/2 revision=2",
        expect!["scale new 0 -> 1; revision 3"],
    );
    check(
        "web replicas=2 surge=1 unavailable=0 revision=3 | new 1/0 revision=1 | other 2/2 revision=2",
        expect!["annotate new revision=3 revision-history=1"],
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    check("web replicas=2 recreate revision=2 | old 2/2", expect!["scale old 2 -> 0"]);
    check("web replicas=2 recreate revision=2 | old 0/0 pods=1", expect![""]);
    check(
        "web replicas=2 recreate revision=1 | old 0/0 pods=0",
        expect!["create at 2 with revision 2; revision 2"],
    );
}

#[test]
fn scaling_during_a_rollout_is_proportional() {
    check(
        "web replicas=10 surge=0 unavailable=1 revision=2 | old 3/3 desired=5 max=5 | new 2/2 desired=5 max=5",
        expect!["scale old 3 -> 6; scale new 2 -> 4"],
    );
    check("web replicas=5 revision=1 | new 3/3 desired=3 max=4", expect!["scale new 3 -> 5"]);
}

#[test]
fn paused_follows_the_size_but_does_not_roll() {
    check("web replicas=3 paused revision=1 | old 3/3", expect![""]);
    check("web replicas=4 paused revision=1 | old 3/3 desired=3", expect!["scale old 3 -> 4"]);
}

#[test]
fn keeps_only_so_many_old_sets() {
    check(
        "web replicas=1 history=1 revision=4 | a 0/0 | b 0/0 | c 0/0 | new 1/1",
        expect!["forget a; forget b"],
    );
    check("web replicas=1 history=1 revision=4 | a 0/0 | b 0/0 | c 0/0 | new 1/0", expect![""]);
}

#[test]
fn adopts_before_anything_else() {
    check("web replicas=1 | new 1/1 orphan", expect!["adopt new"]);
}

#[test]
fn a_deployment_on_its_way_out_is_left_alone() {
    check("web replicas=3 going | old 3/3", expect![""]);
}

fn check_status(fixture: &str, expected: Expect) {
    let seen = seen(fixture);
    let status = plan(&seen, NOW.parse().expect("a time")).into_iter().find_map(|action| match action {
        Action::Status { status, .. } => Some(*status),
        _ => None,
    });
    let status = status.expect("a status");
    let conditions = status.conditions.unwrap_or_default();
    let conditions = conditions
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.as_deref().unwrap_or_default()));
    let count = |count: Option<i32>| count.unwrap_or(0);
    expected.assert_eq(&format!(
        "{} updated {} ready {} available {} unavailable {}; {}",
        count(status.replicas),
        count(status.updated_replicas),
        count(status.ready_replicas),
        count(status.available_replicas),
        count(status.unavailable_replicas),
        conditions.collect::<Vec<_>>().join("; ")
    ));
}

#[test]
fn the_status_counts_and_says_how_it_goes() {
    check_status(
        "web replicas=3",
        expect![[
            "0 updated 0 ready 0 available 0 unavailable 0; Available=False MinimumReplicasUnavailable; Progressing=True NewReplicaSetCreated"
        ]],
    );
    check_status(
        "web replicas=3 surge=1 unavailable=0 | old 2/2 | new 2/1",
        expect![[
            "4 updated 2 ready 3 available 3 unavailable 1; Available=True MinimumReplicasAvailable; Progressing=True ReplicaSetUpdated"
        ]],
    );
    check_status(
        "web replicas=3 | old 0/0 | new 3/3",
        expect![[
            "3 updated 3 ready 3 available 3 unavailable 0; Available=True MinimumReplicasAvailable; Progressing=True NewReplicaSetAvailable"
        ]],
    );
    check_status(
        "web replicas=3 paused | old 3/3",
        expect![[
            "3 updated 0 ready 3 available 3 unavailable 0; Available=True MinimumReplicasAvailable; Progressing=Unknown DeploymentPaused"
        ]],
    );
}

#[test]
fn templates_are_equal_but_for_the_hash_label() {
    let deployment = deployment("web replicas=1");
    let made = template::set_of(&deployment, 1, 1).expect("a set");
    let template = &deployment.spec.as_ref().expect("a spec").template;
    assert!(is_of_template(&made, template));
    assert_eq!(made.name(), format!("web-{}", hash(template, 0)));
    assert_ne!(hash(template, 0), hash(template, 1));
    let selector: &LabelSelector = &made.spec.as_ref().expect("a spec").selector;
    assert!(selects(
        selector,
        made.spec.as_ref().and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.as_ref())
    ));
}
