//! What a node may write: `check` shows the refusal, or `fine`.

use expect_test::{Expect, expect};
use kinds::core::{node, persistent_volume_claim, pod};
use serde_json::json;

use super::*;

fn kubelet() -> Identity {
    Identity::known("system:node:n1", &["system:nodes"])
}

fn check(answer: Result<(), Status>, expected: Expect) {
    expected.assert_eq(&answer.map_or_else(|status| status.message().to_owned(), |()| "fine".to_owned()));
}

fn labelled(labels: Value, taints: Value) -> Value {
    json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": taints}})
}

#[test]
fn a_node_does_not_choose_what_is_sent_to_it() {
    let plain = labelled(json!({"kubernetes.io/hostname": "n1"}), json!([]));
    let of = |old: Option<&Value>, new: Value| check_node(&node::NODE, "n1", old, &new);
    check(of(None, plain.clone()), expect!["fine"]);
    check(of(Some(&plain), labelled(json!({"disk": "ssd"}), json!([]))), expect!["fine"]);
    check(
        of(
            None,
            labelled(
                json!({"node-restriction.kubernetes.io/pci": "x", "node-role.kubernetes.io/control-plane": ""}),
                json!([]),
            ),
        ),
        expect![[
            r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/pci, node-role.kubernetes.io/control-plane"#
        ]],
    );
    check(
        of(Some(&plain), labelled(json!({"kubernetes.io/hostname": "n1", "x.k8s.io/y": "z"}), json!([]))),
        expect![[r#"nodes "n1" is forbidden: is not allowed to modify labels: x.k8s.io/y"#]],
    );
    check(
        of(
            Some(&plain),
            labelled(json!({"kubernetes.io/hostname": "n1", "a.node.kubernetes.io/y": "z"}), json!([])),
        ),
        expect!["fine"],
    );
    check(
        of(
            Some(&plain),
            labelled(json!({"kubernetes.io/hostname": "n1"}), json!([{"key": "k", "effect": "NoExecute"}])),
        ),
        expect![[r#"nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#]],
    );
    check(
        of(None, json!({"metadata": {"name": "n2"}})),
        expect![[r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#]],
    );
}

#[test]
fn a_node_writes_about_its_own_pods() {
    let on = |node: &str| json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": node}});
    check(check_status(&kubelet(), &pod::POD, &on("n1"), &on("n1")), expect!["fine"]);
    check(
        check_status(&kubelet(), &pod::POD, &on("n2"), &on("n2")),
        expect![[
            r#"pods "p" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself"#
        ]],
    );
    let mut labelled = on("n1");
    labelled["metadata"]["labels"] = json!({"a": "b"});
    check(
        check_status(&kubelet(), &pod::POD, &on("n1"), &labelled),
        expect![[r#"pods "p" is forbidden: node "n1" cannot update labels through pod status"#]],
    );
    check(check_delete(&kubelet(), &pod::POD, (&on("n1"), false)), expect!["fine"]);
    check(
        check_delete(&kubelet(), &pod::POD, (&on("n2"), false)),
        expect![[
            r#"pods "p" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself"#
        ]],
    );
    check(
        check_delete(&kubelet(), &pod::POD, (&on(""), true)),
        expect![[r#"pods "p" is forbidden: node n1 can only evict pods with spec.nodeName set to itself"#]],
    );
    let admin = Identity::known("admin", &["system:masters"]);
    check(check_delete(&admin, &pod::POD, (&on("n2"), false)), expect!["fine"]);
    // Who is not of the nodes' group is no node, whatever the name.
    let named = Identity::known("system:node:n1", &[]);
    check(check_delete(&named, &pod::POD, (&on("n2"), false)), expect!["fine"]);
}

#[test]
fn a_claim_grows_and_nothing_else() {
    let claim = |status: Value| json!({"metadata": {"name": "c"}, "spec": {}, "status": status});
    let kind = &persistent_volume_claim::PERSISTENT_VOLUME_CLAIM;
    let old = claim(json!({"phase": "Bound"}));
    let of = |status: Value| check_status(&kubelet(), kind, &old, &claim(status));
    check(of(json!({"phase": "Bound", "capacity": {"storage": "2Gi"}})), expect!["fine"]);
    check(
        of(json!({"phase": "Lost"})),
        expect![[
            r#"persistentvolumeclaims "c" is forbidden: node "n1" is not allowed to update fields other than status.capacity and status.conditions"#
        ]],
    );
}

#[test]
fn what_a_node_runs_by_itself_uses_nothing() {
    let uses = |spec: Value, expected: Expect| {
        expected.assert_eq(used(&json!({"spec": spec})).unwrap_or("nothing"));
    };
    uses(json!({"containers": [{"env": [{"name": "A", "value": "b"}]}]}), expect!["nothing"]);
    uses(json!({"serviceAccountName": "default"}), expect!["a service account"]);
    uses(json!({"imagePullSecrets": [{"name": "s"}]}), expect!["secrets"]);
    uses(json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}), expect!["secrets"]);
    uses(
        json!({"volumes": [{"projected": {"sources": [{"configMap": {"name": "m"}}]}}]}),
        expect!["configmaps"],
    );
    uses(
        json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}),
        expect!["persistentvolumeclaims"],
    );
}
