//! Several writes as one revision, or none.

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Answer, Bench, CONFIG_MAPS};
use crate::Identity;

const TRANSACTIONS: &str = "/apis/navarch.io/v1/transactions";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})
}

fn transaction(operations: &[(&str, Value)]) -> String {
    let operation = |(verb, object): &(&str, Value)| json!({"verb": verb, "object": object});
    let operations: Vec<Value> = operations.iter().map(operation).collect();
    json!({"apiVersion": "navarch.io/v1", "kind": "Transaction", "operations": operations}).to_string()
}

async fn send(bench: &Bench, operations: &[(&str, Value)]) -> Answer {
    bench.send("POST", TRANSACTIONS, &transaction(operations)).await
}

async fn names(bench: &Bench) -> String {
    let list = bench.get(CONFIG_MAPS).await;
    let names: Vec<&str> =
        tree::items(&list, "items").iter().map(|item| tree::text(item, "metadata.name")).collect();
    names.join(" ")
}

#[tokio::test]
async fn all_operations_are_one_revision() {
    let bench = Bench::start().await;
    bench.config_map("old").await;
    bench.config_map("kept").await;
    let mut changed = config_map("kept");
    changed["data"] = json!({"color": "blue"});
    let operations = [("create", config_map("new")), ("update", changed), ("delete", config_map("old"))];
    let before = bench.store.revision();
    let answer = send(&bench, &operations).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(bench.store.revision(), before.next());
    assert_eq!(answer.revision(), before.next().get());
    let done = answer.json();
    let done = tree::items(&done, "operations");
    for written in &done[..2] {
        let version = tree::text(written, "object.metadata.resourceVersion");
        assert_eq!(version, before.next().to_string(), "{written}");
    }
    assert_eq!(names(&bench).await, "kept new");
    let kept = bench.get(&format!("{CONFIG_MAPS}/kept")).await;
    assert_eq!(tree::text(&kept, "data.color"), "blue");
}

#[tokio::test]
async fn what_comes_later_builds_on_what_comes_before() {
    let bench = Bench::start().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    let mut inside = config_map("a");
    inside["metadata"]["namespace"] = json!("team");
    let mut applied = inside.clone();
    applied["data"] = json!({"color": "red"});
    let operations = [("create", namespace), ("create", inside), ("apply", applied)];
    let body = transaction(&operations);
    let answer = bench.send("POST", &format!("{TRANSACTIONS}?fieldManager=me"), &body).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let made = bench.get("/api/v1/namespaces/team/configmaps/a").await;
    assert_eq!(tree::text(&made, "data.color"), "red");
}

#[tokio::test]
async fn a_list_is_created() {
    let bench = Bench::start().await;
    let list = "apiVersion: v1\nkind: List\nitems:\n\
        - {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}\n\
        - {apiVersion: v1, kind: ConfigMap, metadata: {generateName: b-, namespace: default}}\n";
    let answer = bench.send("POST", TRANSACTIONS, list).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(names(&bench).await.split(' ').count(), 2);
}

/// All change the same object, so all but the first are overtaken and decided again.
#[tokio::test]
async fn transactions_that_meet_happen_one_after_the_other() {
    let bench = Bench::start().await;
    bench.config_map("shared").await;
    let before = bench.store.revision();
    let all = (0..8).map(|number| {
        let mut shared = config_map("shared");
        shared["data"] = json!({"last": number.to_string()});
        let operations = [("create", config_map(&format!("own-{number}"))), ("update", shared)];
        let bench = &bench;
        async move { send(bench, &operations).await }
    });
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.code, 201, "{}", answer.text);
    }
    assert_eq!(bench.store.revision().get(), before.get() + 8);
    assert_eq!(names(&bench).await.split(' ').count(), 9);
}

async fn check_refusal(operations: &[(&str, Value)], expected: Expect) {
    let bench = Bench::start().await;
    bench.config_map("there").await;
    let before = bench.store.revision();
    expected.assert_eq(&send(&bench, operations).await.line());
    assert_eq!(bench.store.revision(), before, "nothing happened");
}

#[tokio::test]
async fn one_that_fails_fails_all() {
    let create = || ("create", config_map("new"));
    check_refusal(
        &[create(), ("create", config_map("there"))],
        expect![[
            r#"409 AlreadyExists: operation 1 (create configmaps "there"): configmaps "there" already exists"#
        ]],
    )
    .await;
    check_refusal(
        &[create(), create()],
        expect![[
            r#"409 AlreadyExists: operation 1 (create configmaps "new"): configmaps "new" already exists"#
        ]],
    )
    .await;
    check_refusal(
        &[create(), ("delete", config_map("absent"))],
        expect![[r#"404 NotFound: operation 1 (delete configmaps "absent"): configmaps "absent" not found"#]],
    )
    .await;
    let mut stale = config_map("there");
    stale["metadata"]["resourceVersion"] = json!("1");
    check_refusal(&[create(), ("update", stale.clone())], expect![[r#"409 Conflict: operation 1 (update configmaps "there"): Operation cannot be fulfilled on configmaps "there": the object has been modified; please apply your changes to the latest version and try again"#]]).await;
    check_refusal(&[create(), ("delete", stale)], expect![[r#"409 Conflict: operation 1 (delete configmaps "there"): Operation cannot be fulfilled on ConfigMap "there": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (4). The object might have been modified"#]]).await;
    let mut wrong = config_map("wrong");
    wrong["data"] = json!({"not/a key": "x"});
    check_refusal(&[create(), ("create", wrong)], expect![[r#"422 Invalid: operation 1 (create configmaps "wrong"): ConfigMap "wrong" is invalid: data[not/a key]: Invalid value: "not/a key": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#]]).await;
}

#[tokio::test]
async fn what_is_no_transaction_is_refused() {
    check_refusal(&[], expect![[r#"422 Invalid: Transaction.navarch.io "" is invalid: operations: Required value: must name at least one object"#]]).await;
    check_refusal(&[("patch", config_map("a"))], expect![[r#"422 Invalid: Transaction.navarch.io "" is invalid: operations[0].verb: Unsupported value: "patch": supported values: "apply", "create", "delete", "update""#]]).await;
    let unknown = json!({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "a"}});
    check_refusal(&[("create", unknown)], expect![[r#"422 Invalid: Transaction.navarch.io "" is invalid: operations[0].object.kind: Invalid value: "Nothing of \"v1\"": is not served"#]]).await;
    let nowhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    check_refusal(&[("create", nowhere)], expect![[r#"422 Invalid: Transaction.navarch.io "" is invalid: operations[0].object.metadata.namespace: Required value"#]]).await;
    let many: Vec<_> = (0..65).map(|number| ("create", config_map(&format!("a-{number}")))).collect();
    check_refusal(&many, expect![[r#"422 Invalid: Transaction.navarch.io "" is invalid: operations: Invalid value: 65: must have at most 64 items"#]]).await;
    let bench = Bench::start().await;
    expect![[r#"400 BadRequest: the body must be a Transaction of navarch.io/v1 or a List of v1, not kind "ConfigMap" of "v1""#]].assert_eq(&bench.line("POST", TRANSACTIONS, &config_map("a").to_string()).await);
    expect!["404 404 page not found"].assert_eq(&bench.line("GET", TRANSACTIONS, "").await);
}

#[tokio::test]
async fn trying_changes_nothing() {
    let bench = Bench::start().await;
    let before = bench.store.revision();
    let body = transaction(&[("create", config_map("a"))]);
    let answer = bench.send("POST", &format!("{TRANSACTIONS}?dryRun=All"), &body).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(bench.store.revision(), before);
    let tried = answer.json();
    let object = &tree::items(&tried, "operations")[0];
    assert_eq!(tree::text(object, "object.metadata.resourceVersion"), "");
    assert_ne!(tree::text(object, "object.metadata.uid"), "");
}

#[tokio::test]
async fn each_operation_must_be_allowed() {
    let bench = crate::chain::authz::tests::roles::furnished().await;
    let nobody = Identity::known("nobody", &[]);
    bench.until(&nobody, 200, "GET", "/api").await;
    let body = transaction(&[("create", config_map("a"))]);
    expect![[r#"403 Forbidden: operation 0 (create configmaps "a"): configmaps is forbidden: User "nobody" cannot create resource "configmaps" in API group "" in the namespace "default""#]]
        .assert_eq(&bench.line_as(&nobody, "POST", TRANSACTIONS, &body).await);
    assert_eq!(names(&bench).await, "");
}

/// Two of one revision: a client that was told of one, and then cut off, hears of both.
#[tokio::test]
async fn a_watch_that_goes_on_from_a_transaction_is_told_all_of_it() {
    let bench = Bench::start().await;
    let at = send(&bench, &[("create", config_map("a")), ("create", config_map("b"))]).await.revision();
    let mut watch = bench.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={at}")).await;
    assert_eq!(watch.line().await, "ADDED ConfigMap a");
    assert_eq!(watch.line().await, "ADDED ConfigMap b");
    let alone = bench.config_map("c").await.revision();
    assert_eq!(watch.line().await, "ADDED ConfigMap c");
    let mut later = bench.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={alone}")).await;
    bench.config_map("d").await;
    assert_eq!(later.line().await, "ADDED ConfigMap d");
}
