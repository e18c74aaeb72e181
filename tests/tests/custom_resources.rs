//! The CronTab of Kubernetes' documentation, with every kubectl: defined, made, read, changed, scaled, explained, deleted.

use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const VERSIONS: &[&str] = &["1.20", "1.32", "1.36"];

const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: A CronTab runs something now and then.
        properties:
          spec:
            type: object
            description: What is to run, and when.
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', description: The times.}
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 2, description: How many run at once.}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
";

const OBJECT: &str = "
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: my-new-cron-object}
spec: {cronSpec: '* * * * */5', image: my-awesome-cron-image}
";

const RULED: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [engine, min, max]
            properties:
              engine:
                type: string
                x-kubernetes-validations: [{rule: self == oldSelf, message: engine is immutable}]
              min: {type: integer}
              max: {type: integer}
              storage: {x-kubernetes-int-or-string: true}
              allowed: {type: array, items: {type: string}}
            x-kubernetes-validations:
            - rule: self.min <= self.max
            - rule: '!has(self.storage) || quantity(string(self.storage)).compareTo(quantity(''1Gi'')) >= 0'
              messageExpression: '''storage must be 1Gi or more, not %s''.format([self.storage])'
              fieldPath: .storage
            - rule: '!has(self.allowed) || self.allowed.all(a, isIP(a) || isCIDR(a))'
              message: allowed must be addresses or ranges
";

const DATABASE: &str = "
apiVersion: stable.example.com/v1
kind: Database
metadata: {name: main}
spec: {engine: postgres, min: 1, max: 3, storage: 2Gi, allowed: [10.0.0.0/8, '::1']}
";

#[test]
fn rules_of_a_definition_are_kept() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let kubectl = cluster.kubectl("1.36");
    let senseless =
        kubectl.with_input("create -f -", &RULED.replace("self.min <= self.max", "self.least <= self.max"));
    let place = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule";
    let why = "compilation failed: ERROR: <input>:1:5: undefined field 'least'";
    let told = &senseless.stderr;
    assert!(!senseless.ok && told.contains(place) && told.contains(why), "{told}");
    kubectl.apply(RULED);
    kubectl.ok("wait --for condition=established --timeout=30s crd/databases.stable.example.com");
    eventually(Duration::from_secs(5), "the kind is served", || {
        let said = kubectl.run("get databases");
        expect_that(said.ok, said.stderr)
    });
    let refused = |object: &str, wanted: &str| {
        let said = kubectl.with_input("create -f -", object);
        assert!(!said.ok && said.stderr.contains(wanted), "{wanted}: {}", said.stderr);
    };
    refused(
        &DATABASE.replace("min: 1", "min: 5"),
        "The Database \"main\" is invalid: spec: Invalid value: failed rule: self.min <= self.max",
    );
    refused(
        &DATABASE.replace("2Gi", "5Mi"),
        "spec.storage: Invalid value: storage must be 1Gi or more, not 5Mi",
    );
    refused(&DATABASE.replace("::1", "nowhere"), "spec: Invalid value: allowed must be addresses or ranges");
    kubectl.apply(DATABASE);
    kubectl.ok(r#"patch database main --type=merge -p {"spec":{"max":5}}"#);
    let changed = kubectl.fails(r#"patch database main --type=merge -p {"spec":{"engine":"mysql"}}"#);
    assert!(changed.contains("spec.engine: Invalid value: \"mysql\": engine is immutable"), "{changed}");
    let worse = DATABASE.replace("max: 3", "max: 0");
    let applied = kubectl.with_input("apply --server-side --force-conflicts -f -", &worse);
    let told = &applied.stderr;
    assert!(!applied.ok && told.contains("failed rule: self.min <= self.max"), "{told}");
}

#[test]
fn a_custom_kind_is_used_like_any_other() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        kubectl.apply(DEFINITION);
        kubectl.ok("wait --for condition=established --timeout=30s crd/crontabs.stable.example.com");
        every_server_serves(&kubectl);
        make_and_read(&kubectl);
        change(&kubectl, version);
        explain(&kubectl);
        delete(&kubectl);
    }
}

fn every_server_serves(kubectl: &Kubectl) {
    for server in ["server-1", "server-2", "server-3"] {
        eventually(Duration::from_secs(2), "the kind is served", || {
            let said = kubectl.through(server).run("get --raw /apis/stable.example.com/v1");
            expect_that(said.ok, said.stderr)
        });
    }
}

fn make_and_read(kubectl: &Kubectl) {
    kubectl.apply(OBJECT);
    let table = kubectl.ok("get ct");
    let mut lines = table.lines();
    let words = |line: Option<&str>| -> Vec<String> {
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words(lines.next()), ["NAME", "SPEC", "REPLICAS", "AGE"], "{table}");
    assert_eq!(words(lines.next())[..7], ["my-new-cron-object", "*", "*", "*", "*", "*/5", "2"], "{table}");
    assert!(kubectl.ok("get all").contains("crontab.stable.example.com/my-new-cron-object"));
    assert!(kubectl.ok("describe crontab my-new-cron-object").contains("Cron Spec:"));
    let wrong = OBJECT.replace("* * * * */5", "* * * *").replace("my-new", "wrong");
    let refused = kubectl.with_input("create -f -", &wrong);
    assert!(
        !refused.ok && refused.stderr.contains("spec.cronSpec in body should match"),
        "{}",
        refused.stderr
    );
    let unknown = OBJECT.replace("spec: {", "spec: {someRandomField: 42, ").replace("my-new", "other");
    let refused = kubectl.with_input("create -f -", &unknown);
    assert!(!refused.ok && refused.stderr.contains("someRandomField"), "{}", refused.stderr);
    let kept = kubectl.with_input("create --validate=false -f - -o json", &unknown);
    assert!(kept.ok && !kept.stdout.contains("someRandomField"), "{}{}", kept.stdout, kept.stderr);
}

fn change(kubectl: &Kubectl, version: &str) {
    let replicas = || kubectl.ok("get ct my-new-cron-object -o jsonpath={.spec.replicas}");
    kubectl.ok(r#"patch ct my-new-cron-object --type=merge -p {"spec":{"replicas":3}}"#);
    assert_eq!(replicas(), "3");
    kubectl.ok("scale --replicas=5 crontabs/my-new-cron-object");
    assert_eq!(replicas(), "5");
    kubectl.apply(&OBJECT.replace("cron-image", "other-image"));
    assert_eq!(replicas(), "5", "apply leaves what it does not name");
    let mut edit = kubectl.command("edit ct my-new-cron-object");
    let edited =
        edit.env("KUBE_EDITOR", "sed -i s/replicas:.5/replicas:\\ 7/").output().expect("kubectl runs");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert_eq!(replicas(), "7");
    kubectl.ok("label ct my-new-cron-object color=red");
    let refused = kubectl.fails(r#"patch ct my-new-cron-object --type=merge -p {"spec":{"replicas":11}}"#);
    assert!(refused.contains("should be less than or equal to 10"), "{refused}");
    if *version != *"1.20" {
        let applied = kubectl.with_input("apply --server-side --force-conflicts -f -", OBJECT);
        assert!(applied.ok, "{}", applied.stderr);
        kubectl.ok(
            r#"patch ct my-new-cron-object --subresource=status --type=merge -p {"status":{"replicas":1}}"#,
        );
        assert_eq!(kubectl.ok("get ct my-new-cron-object -o jsonpath={.status.replicas}"), "1");
    }
}

fn explain(kubectl: &Kubectl) {
    let told = kubectl.ok("explain crontabs.spec");
    assert!(told.contains("What is to run, and when.") && told.contains("How many run at once."), "{told}");
    let resources = kubectl.ok("api-resources --api-group=stable.example.com");
    assert!(resources.contains("crontabs") && resources.contains("ct "), "{resources}");
}

/// What a custom object owns goes with it.
fn collect(kubectl: &Kubectl) {
    kubectl.apply(&OBJECT.replace("my-new", "owner"));
    let uid = kubectl.ok("get ct owner-cron-object -o jsonpath={.metadata.uid}");
    let owner = format!(
        "{{apiVersion: stable.example.com/v1, kind: CronTab, name: owner-cron-object, uid: {uid}, blockOwnerDeletion: true}}"
    );
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owned, ownerReferences: [{owner}]}}\n"
    ));
    kubectl.ok("delete ct owner-cron-object");
    eventually(Duration::from_secs(60), "what it owned is gone", || {
        let said = kubectl.run("get configmap owned -o name --ignore-not-found");
        expect_that(said.ok && said.stdout.is_empty(), said.stdout)
    });
}

fn delete(kubectl: &Kubectl) {
    collect(kubectl);
    kubectl.ok("create namespace room");
    assert!(kubectl.with_input("create -n room -f -", OBJECT).ok);
    kubectl.ok("delete namespace room --timeout=60s");
    kubectl.ok("delete ct my-new-cron-object");
    let left: Value = serde_json::from_str(&kubectl.ok("get ct -A -o json")).expect("JSON");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    kubectl.ok("delete crd crontabs.stable.example.com --timeout=60s");
    eventually(Duration::from_secs(5), "the kind is gone", || {
        let said = kubectl.run("get --raw /apis/stable.example.com/v1");
        expect_that(!said.ok, said.stdout)
    });
    kubectl.apply(DEFINITION);
    kubectl.ok("wait --for condition=established --timeout=30s crd/crontabs.stable.example.com");
    eventually(Duration::from_secs(5), "the kind is back, without its objects", || {
        let said = kubectl.run("get ct -o name");
        expect_that(said.ok && said.stdout.is_empty(), format!("{}{}", said.stdout, said.stderr))
    });
    kubectl.ok("delete crd crontabs.stable.example.com --timeout=60s");
}
