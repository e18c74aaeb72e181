//! DELETE: preconditions, finalizers, grace, collections.

use expect_test::{Expect, expect};
use kinds::tree;

use super::bench::{Bench, CONFIG_MAPS};

async fn check(steps: &[(&str, &str, &str)], expected: Expect) {
    let bench = Bench::start().await;
    bench.config_map("p1").await;
    let mut lines = String::new();
    for (method, below, body) in steps {
        let headers: &[(&str, &str)] =
            if *method == "PATCH" { &[("content-type", "application/merge-patch+json")] } else { &[] };
        let line = bench.line_with(method, &format!("{CONFIG_MAPS}{below}"), headers, body).await;
        lines.push_str(&format!("{line}\n"));
    }
    expected.assert_eq(&lines);
}

#[tokio::test]
async fn options_are_checked() {
    check(
        &[
            ("DELETE", "/p1", r#"{"preconditions":{"resourceVersion":"1"}}"#),
            ("DELETE", "/p1", r#"{"propagationPolicy":"Foo"}"#),
            ("DELETE", "/p1", r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#),
            ("DELETE", "/p1?dryRun=All", ""),
            ("GET", "/p1", ""),
            ("DELETE", "/p1", r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#),
            ("DELETE", "/p1", ""),
        ],
        expect![[r#"
            409 Conflict: Operation cannot be fulfilled on ConfigMap "p1": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (4). The object might have been modified
            422 Invalid: DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"
            422 Invalid: DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set
            200 Status
            200 ConfigMap p1
            200 Status
            404 NotFound: configmaps "p1" not found
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_uid_is_a_precondition() {
    let bench = Bench::start().await;
    let uid = tree::text(&bench.config_map("p1").await.json(), "metadata.uid").to_owned();
    let uri = format!("{CONFIG_MAPS}/p1");
    let line = bench.line("DELETE", &uri, r#"{"preconditions":{"uid":"x"}}"#).await;
    assert_eq!(
        line,
        format!(
            r#"409 Conflict: Operation cannot be fulfilled on ConfigMap "p1": the UID in the precondition (x) does not match the UID in record ({uid}). The object might have been deleted and then recreated"#
        )
    );
    let done = bench.send("DELETE", &uri, &format!(r#"{{"preconditions":{{"uid":"{uid}"}}}}"#)).await.json();
    assert_eq!(tree::text(&done, "status"), "Success");
    assert_eq!(tree::text(&done, "details.uid"), uid);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    check(
        &[
            ("POST", "", r#"{"metadata":{"name":"fin","finalizers":["lab.io/x"]}}"#),
            ("DELETE", "/fin", ""),
            ("PATCH", "/fin", r#"{"metadata":{"finalizers":["lab.io/x","lab.io/y"]}}"#),
            ("PATCH", "/fin", r#"{"metadata":{"finalizers":null}}"#),
            ("GET", "/fin", ""),
        ],
        expect![[r#"
            201 ConfigMap fin
            200 ConfigMap fin
            422 Invalid: ConfigMap "fin" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"lab.io/y"}
            200 ConfigMap fin
            404 NotFound: configmaps "fin" not found
        "#]],
    )
    .await;
}

#[tokio::test]
async fn foreground_and_orphan_are_finalizers() {
    let bench = Bench::start().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        bench.config_map("p").await;
        let uri = format!("{CONFIG_MAPS}/p?propagationPolicy={policy}");
        let marked = bench.send("DELETE", &uri, "").await.json();
        assert_eq!(marked["metadata"]["finalizers"], serde_json::json!([finalizer]));
        assert_eq!(tree::text(&marked, "metadata.deletionTimestamp"), "2026-11-21T00:00:00Z");
        assert_eq!(tree::int(&marked, "metadata.deletionGracePeriodSeconds"), Some(0));
        // Background takes the hold off again.
        let uri = format!("{CONFIG_MAPS}/p?propagationPolicy=Background");
        assert_eq!(tree::text(&bench.send("DELETE", &uri, "").await.json(), "status"), "Success");
    }
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let bench = Bench::start().await;
    for name in ["a", "b", "c"] {
        bench.config_map(name).await;
    }
    let uri = format!("{CONFIG_MAPS}?labelSelector=app+in+(a,b)");
    let deleted = bench.send("DELETE", &uri, "").await.json();
    assert_eq!(tree::text(&deleted, "kind"), "ConfigMapList");
    assert_eq!(tree::items(&deleted, "items").len(), 2);
    assert_eq!(tree::items(&bench.get(CONFIG_MAPS).await, "items").len(), 1);
}

#[tokio::test]
async fn a_namespace_goes_through_finalize() {
    let bench = Bench::start().await;
    let line = bench.line("DELETE", "/api/v1/namespaces/default", "").await;
    expect![[r#"403 Forbidden: namespaces "default" is forbidden: this namespace may not be deleted"#]]
        .assert_eq(&line);
    bench.send("POST", "/api/v1/namespaces", r#"{"metadata":{"name":"team"}}"#).await;
    let going = bench.send("DELETE", "/api/v1/namespaces/team", "").await.json();
    assert_eq!(tree::text(&going, "status.phase"), "Terminating");
    let body = r#"{"metadata":{"name":"late"}}"#;
    let line = bench.line("POST", "/api/v1/namespaces/team/configmaps", body).await;
    expect![[r#"403 Forbidden: configmaps "late" is forbidden: unable to create new content in namespace team because it is being terminated"#]].assert_eq(&line);
    let mut freed = going.clone();
    freed["spec"]["finalizers"] = serde_json::json!([]);
    let line = bench.line("PUT", "/api/v1/namespaces/team/finalize", &freed.to_string()).await;
    expect!["200 Namespace team"].assert_eq(&line);
    let line = bench.line("GET", "/api/v1/namespaces/team", "").await;
    expect![[r#"404 NotFound: namespaces "team" not found"#]].assert_eq(&line);
}
