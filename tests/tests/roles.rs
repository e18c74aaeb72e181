//! Roles, with the real kubectl: who may what, who gives it, and who may ask.

use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::eventually;
use tests::kubectl::Kubectl;

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn roles_are_given_asked_about_and_not_exceeded() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    for version in ["1.20", "1.32", "1.36"] {
        let kubectl = cluster.kubectl(version);
        let namespace = format!("team-{}", version.replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}"));
        roles_are_made(&kubectl, &namespace);
        nobody_exceeds_what_they_have(&kubectl, &namespace);
        if version != "1.20" {
            let whoami = kubectl.ok("auth whoami --as=ann --as-group=devs -o jsonpath={.status.userInfo}");
            assert!(whoami.contains(r#""username":"ann""#) && whoami.contains("devs"), "{whoami}");
        }
    }
}

fn can(kubectl: &Kubectl, question: &str) -> String {
    let said = kubectl.run(&format!("auth can-i {question}"));
    assert_eq!(said.ok, said.stdout.trim() == "yes", "{question}: {}{}", said.stdout, said.stderr);
    said.stdout.trim().to_owned()
}

fn roles_are_made(kubectl: &Kubectl, namespace: &str) {
    assert_eq!(can(kubectl, "* *"), "yes");
    let ask = |question: &str| can(kubectl, &format!("{question} --as=ann -n {namespace}"));
    assert_eq!(ask("list pods"), "no");
    kubectl.ok(&format!("create role reader --verb=get,list --resource=pods,pods/log -n {namespace}"));
    kubectl.ok(&format!("create rolebinding ann --role=reader --user=ann -n {namespace}"));
    eventually(WITHIN, "ann may list", || match ask("list pods").as_str() {
        "yes" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(ask("get pods/log"), "yes");
    assert_eq!(ask("get pods --subresource=log"), "yes");
    assert_eq!(ask("delete pods"), "no");
    assert_eq!(ask("get /version"), "yes");
    assert_eq!(ask("get /metrics"), "no");
    assert_eq!(can(kubectl, "list pods --as=ann -n default"), "no");
    let all = kubectl.ok(&format!("auth can-i --list --as=ann -n {namespace}"));
    assert!(all.contains("pods/log") && all.contains("[get list]"), "{all}");
    kubectl.ok(&format!("get pods --as=ann -n {namespace}"));
    let refused = kubectl.fails(&format!("delete pod p --as=ann -n {namespace}"));
    let expected = format!(
        r#"pods "p" is forbidden: User "ann" cannot delete resource "pods" in API group "" in the namespace "{namespace}""#
    );
    assert!(refused.contains(&expected), "{refused}");
}

/// Who may write roles gives only what they have.
fn nobody_exceeds_what_they_have(kubectl: &Kubectl, namespace: &str) {
    kubectl.ok(&format!("create rolebinding cleo --clusterrole=admin --user=cleo -n {namespace}"));
    let as_cleo = format!("--as=cleo -n {namespace}");
    // `admin` gathers its rules from other roles.
    eventually(WITHIN, "cleo may make roles", || {
        match can(kubectl, &format!("create roles {as_cleo}")).as_str() {
            "yes" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    kubectl.ok(&format!("create role looker --verb=get,list --resource=pods {as_cleo}"));
    kubectl.ok(&format!("create rolebinding dan --role=looker --user=dan {as_cleo}"));
    let refused = kubectl.fails(&format!("create role stronger --verb=escalate --resource=roles {as_cleo}"));
    assert!(refused.contains("is attempting to grant RBAC permissions not currently held"), "{refused}");
    let refused =
        kubectl.fails(&format!("create rolebinding all --clusterrole=cluster-admin --user=cleo {as_cleo}"));
    assert!(refused.contains(r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#), "{refused}");
    let manifest = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: looker, namespace: {namespace}}}\nrules:\n- {{apiGroups: [''], resources: [pods], verbs: [get, watch]}}\n"
    );
    let said = kubectl.with_input("auth reconcile -f -", &manifest);
    assert!(said.ok && said.stdout.contains("reconciled"), "{}{}", said.stdout, said.stderr);
    let verbs = kubectl.ok(&format!("get role looker -n {namespace} -o jsonpath={{.rules}}"));
    assert!(verbs.contains("watch") && verbs.contains("list"), "{verbs}");
}
