//! Pods: defaults, validation, updates, columns, binding.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::POD;
use crate::check::{NOW, create_errors, created, row, update};
use crate::{Deletion, Serves, tree};

fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&POD, json!({"spec": spec})));
}

fn check_row(pod: Value, expected: Expect) {
    expected.assert_eq(&row(&POD, pod));
}

fn web() -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}]})
}

#[test]
fn a_small_pod_becomes_whole() {
    let pod = created(
        &POD,
        json!({"spec": {
        "containers": [{
            "name": "web", "image": "localhost:5000/web", "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "resources": {"limits": {"cpu": "1"}}}],
        "serviceAccount": "sa",
        "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "c"}}]}}),
    );
    expect![[r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z","generation":1},"spec":{"containers":[{"name":"web","image":"localhost:5000/web","ports":[{"containerPort":80,"protocol":"TCP"}],"readinessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],"serviceAccount":"sa","volumes":[{"name":"a","emptyDir":{}},{"name":"b","configMap":{"name":"c","defaultMode":420}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"sa","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{"phase":"Pending","qosClass":"Burstable"}}"#]]
    .assert_eq(&pod.to_string());
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("host:5000/web", "Always"),
        ("host:5000/web:2", "IfNotPresent"),
        ("web@sha256:0123", "IfNotPresent"),
    ] {
        let pod = created(&POD, json!({"spec": {"containers": [{"name": "a", "image": image}]}}));
        let container = &tree::items(&pod, "spec.containers")[0];
        assert_eq!(tree::text(container, "imagePullPolicy"), policy, "{image}");
    }
}

#[test]
fn a_good_pod_passes() {
    check(web(), expect![[""]]);
}

#[test]
fn containers_are_checked_by_field() {
    check(
        json!({}),
        expect![[r#"
        spec.containers: Required value
    "#]],
    );
    check(
        json!({"containers": []}),
        expect![[r#"
        spec.containers: Required value
    "#]],
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "a", "image": " x"}, {"image": "y"}]}),
        expect![[r#"
            spec.containers[0].image: Required value
            spec.containers[1].image: Invalid value: " x": must not have leading or trailing whitespace
            spec.containers[1].name: Duplicate value: "a"
            spec.containers[2].name: Required value
        "#]],
    );
    check(
        json!({"containers": [{"name": "A_", "image": "x", "imagePullPolicy": "Maybe",
            "ports": [{"containerPort": 70000}, {"name": "a--b", "containerPort": 1, "protocol": "X"}, {}],
            "env": [{"name": ""}, {"name": "a=b"}, {"name": "c", "valueFrom": {}}]}]}),
        expect![[r#"
            spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].name: Invalid value: "a--b": must not contain consecutive hyphens
            spec.containers[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
            spec.containers[0].ports[2].containerPort: Required value
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`
            spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"
        "#]],
    );
    check(
        json!({"containers": [{"name": "a", "image": "x",
            "volumeMounts": [{"name": "nope", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}, {"name": "v"}],
            "livenessProbe": {"httpGet": {"port": 0}, "exec": {}, "periodSeconds": -1, "successThreshold": 2}}],
            "initContainers": [{"name": "a", "image": "x", "readinessProbe": {"exec": {"command": ["a"]}}}],
            "volumes": [{"name": "v", "hostPath": {"path": "../a"}, "emptyDir": {}}, {"name": "v", "secret": {}},
                {"name": "i", "image": {"pullPolicy": "Maybe"}}]}),
        expect![[r#"
            spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type
            spec.volumes[0].hostPath.path: Invalid value: "../a": must not contain '..'
            spec.volumes[1].name: Duplicate value: "v"
            spec.volumes[1].secret.secretName: Required value
            spec.volumes[2].image.reference: Required value
            spec.volumes[2].image.pullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[0].volumeMounts[0].name: Not found: "nope"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts[2].mountPath: Required value
            spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.initContainers[0].name: Duplicate value: "a"
            spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
        "#]],
    );
}

#[test]
fn resources_are_checked() {
    check(
        json!({"containers": [{"name": "a", "image": "x", "resources": {
            "limits": {"cpu": "1", "memory": "-1Gi", "foo": "1", "example.com/gpu": "1.5"},
            "requests": {"cpu": "2", "memory": "1x"}}}]}),
        expect![[r#"
            spec.containers[0].resources.limits[memory]: Invalid value: "-1Gi": must be greater than or equal to 0
            spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource type or fully qualified
            spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource for containers
            spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.requests[memory]: Invalid value: "1x": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
            spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers
            spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
        "#]],
    );
}

#[test]
fn where_and_how_it_runs_is_checked() {
    check(
        json!({"containers": [{"name": "a", "image": "x"}], "restartPolicy": "Sometimes", "dnsPolicy": "X",
            "nodeSelector": {"a b": "c"}, "activeDeadlineSeconds": 0, "hostname": "A", "nodeName": "B_",
            "tolerations": [{"operator": "Equal"}, {"key": "a", "operator": "X", "effect": "Y"},
                {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
            "topologySpreadConstraints": [{"maxSkew": 0}]}),
        expect![[r#"
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"
            spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].operator: Unsupported value: "X": supported values: "Equal", "Exists"
            spec.tolerations[1].effect: Unsupported value: "Y": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.tolerations[2].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `tolerationSeconds` is set
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Required value
            spec.nodeName: Invalid value: "B_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
        "#]],
    );
}

#[test]
fn little_may_change() {
    let check = |new: Value, expected: Expect| {
        let mut old = web();
        tree::set(&mut old, "tolerations", json!([{"key": "a", "operator": "Exists"}]));
        let mut changed = old.clone();
        for (name, value) in new.as_object().unwrap() {
            tree::set(&mut changed, name, value.clone());
        }
        expected.assert_eq(&update(&POD, json!({"spec": old}), json!({"spec": changed})));
    };
    check(
        json!({}),
        expect![[r#"
        good, generation 1
    "#]],
    );
    check(
        json!({"containers": [{"name": "web", "image": "web:2"}]}),
        expect![[r#"
        good, generation 2
    "#]],
    );
    check(
        json!({"containers": [{"name": "web", "image": ""}]}),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        - containers: [{"name":"web","image":"","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}]
        + containers: [{"name":"web","image":"","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}]

    "#]],
    );
    check(
        json!({"nodeName": "n1", "restartPolicy": "Never"}),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        - restartPolicy: "Always"
        + restartPolicy: "Never"
        + nodeName: "n1"

    "#]],
    );
    check(
        json!({"containers": [{"name": "a", "image": "b"}, {"name": "c", "image": "d"}]}),
        expect![[r#"
        spec.containers: Forbidden: pod updates may not add or remove containers
    "#]],
    );
    check(
        json!({"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]}),
        expect![[r#"
            good, generation 2
        "#]],
    );
    check(
        json!({"tolerations": []}),
        expect![[r#"
        spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds
    "#]],
    );
}

#[test]
fn a_running_pod_shows_its_restarts_and_address() {
    check_row(
        json!({"spec": {"nodeName": "n1", "containers": [{}, {}], "readinessGates": [{"conditionType": "a"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a", "status": "True"}],
            "containerStatuses": [
                {"ready": true, "restartCount": 3, "state": {"running": {}},
                 "lastState": {"terminated": {"finishedAt": "2026-11-21T11:58:00Z"}}},
                {"ready": false, "restartCount": 0, "state": {"running": {}}}]}}),
        expect![[r#"
            Name: x
            Ready: 1/2
            Status: Running
            Restarts: 3 (2m ago)
            Age: 4m30s
            IP: 10.0.0.1
            Node: n1
            Nominated Node: <none>
            Readiness Gates: 1/1
        "#]],
    );
}

#[test]
fn the_status_says_what_is_wrong() {
    let status = |pod: Value| {
        let row = row(&POD, pod);
        let line =
            |name: &str| row.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        format!("{} {} {}", line("Ready: "), line("Status: "), line("Restarts: "))
    };
    let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let of = |fields: Value| status(json!({"spec": spec, "status": fields}));
    let waiting = |reason: &str| json!([{"restartCount": 2, "state": {"waiting": {"reason": reason}}}]);
    let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let ended = |terminated: Value| json!([{"state": {"terminated": terminated}}]);
    let lines = [
        of(json!({"phase": "Pending"})),
        of(json!({"phase": "Running", "containerStatuses": waiting("CrashLoopBackOff")})),
        of(json!({"phase": "Pending", "containerStatuses": waiting("ImagePullBackOff")})),
        of(
            json!({"phase": "Pending", "initContainerStatuses": [done, {"name": "j", "state": {"running": {}}}]}),
        ),
        of(json!({"phase": "Pending", "initContainerStatuses": waiting("ErrImagePull")})),
        of(json!({"phase": "Pending", "initContainerStatuses": ended(json!({"exitCode": 3}))})),
        of(
            json!({"phase": "Succeeded", "containerStatuses": ended(json!({"exitCode": 0, "reason": "Completed"}))}),
        ),
        of(json!({"phase": "Failed", "containerStatuses": ended(json!({"exitCode": 1, "reason": "Error"}))})),
        of(json!({"phase": "Failed", "containerStatuses": ended(json!({"signal": 9}))})),
        of(json!({"phase": "Failed", "reason": "Evicted"})),
        status(json!({"spec": spec, "status": {"phase": "Running"},
            "metadata": {"deletionTimestamp": crate::check::NOW}})),
    ];
    expect![[r#"
        0/1 Pending 0
        0/1 CrashLoopBackOff 2
        0/1 ImagePullBackOff 2
        0/1 Init:1/2 0
        0/1 Init:ErrImagePull 2
        0/1 Init:ExitCode:3 0
        0/1 Completed 0
        0/1 Error 0
        0/1 Signal:9 0
        0/1 Evicted 0
        0/1 Terminating 0"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn grace_comes_from_the_request_or_the_spec() {
    let Deletion::Graceful(grace) = POD.strategy.deletion else { panic!("pods go gracefully") };
    let bound = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}});
    assert_eq!(grace(&bound, None), 30);
    assert_eq!(grace(&bound, Some(5)), 5);
    assert_eq!(grace(&bound, Some(-3)), 1);
    let mut ended = bound.clone();
    tree::set(&mut ended, "status.phase", "Failed");
    assert_eq!(grace(&ended, None), 0);
    assert_eq!(grace(&json!({"spec": {"terminationGracePeriodSeconds": 30}}), None), 0);
}

#[test]
fn binding_happens_once() {
    let now = crate::check::NOW.parse().unwrap();
    let mut pod = created(&POD, json!({"spec": web()}));
    let binding = json!({"metadata": {"annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n1"}});
    super::bind(&mut pod, &binding, now).unwrap();
    let conditions = tree::get(&pod, "status.conditions").to_string();
    expect![[r#"[{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-21T12:00:00Z"}]"#]].assert_eq(&conditions);
    assert_eq!(tree::text(&pod, "spec.nodeName"), "n1");
    assert_eq!(crate::meta::annotation(&pod, "a"), Some("b"));
    let refused = super::bind(&mut pod, &binding, now).unwrap_err().to_string();
    expect![[r#"pod x is already assigned to node "n1""#]].assert_eq(&refused);
}

#[test]
fn the_class_of_service_follows_from_requests() {
    let class = |resources: Value| {
        super::quality_of_service(&json!({"spec": {"containers": [{"resources": resources}]}}))
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
        "Burstable"
    );
}

/// What a write of the view of this name says, with `change` made to a pod as it is: errors, or the generation after it.
fn write_view(view: &str, pod: Value, change: impl Fn(&mut Value)) -> String {
    let Some(Serves::View(view)) = POD.subresource(view).map(|subresource| &subresource.serves) else {
        panic!("{view} is no view")
    };
    let mut old = created(&POD, pod.clone());
    tree::copy(&mut old, "metadata.annotations", &pod);
    let mut new = old.clone();
    change(&mut new);
    tree::set(&mut new, "metadata.labels", json!({"nobody": "asked"}));
    POD.default_fields(&mut new);
    POD.prepare_view(view, &mut new, (&old, NOW));
    assert!(tree::get(&new, "metadata.labels").is_null(), "views leave the metadata alone");
    let errors = POD.validate_view(view, &new, &old);
    match errors.is_empty() {
        true => format!("good, generation {}", tree::get(&new, "metadata.generation")),
        false => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

#[test]
fn ephemeral_containers_are_only_added() {
    let with = |containers: Value| {
        write_view("ephemeralcontainers", json!({"spec": web()}), |pod| {
            tree::set(pod, "spec.ephemeralContainers", containers.clone());
            tree::set(pod, "spec.nodeName", "not-here");
        })
    };
    expect!["good, generation 2"]
        .assert_eq(&with(json!([{"name": "look", "image": "i:1", "targetContainerName": "web"}])));
    expect![[r#"
        spec.ephemeralContainers[0].name: Duplicate value: "web"
        spec.ephemeralContainers[1].image: Required value
        spec.ephemeralContainers[1].volumeMounts[0].name: Not found: "v"
        spec.ephemeralContainers[1].targetContainerName: Not found: "nobody"
        spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers[1].resources: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers[1].livenessProbe: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers[1].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container
    "#]].assert_eq(&with(json!([
        {"name": "web", "image": "i:1"},
        {"name": "look", "image": "", "targetContainerName": "nobody", "ports": [{"containerPort": 1}],
         "livenessProbe": {"exec": {"command": ["true"]}}, "resources": {"limits": {"cpu": "1"}},
         "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]},
    ])));
    let list = json!([{"name": "look", "image": "i:1"}, {"name": "more", "image": "i:1"}]);
    let mut pod = json!({"spec": web()});
    tree::set(&mut pod, "spec.ephemeralContainers", list);
    let changed = write_view("ephemeralcontainers", pod.clone(), |pod| {
        tree::set(pod, "spec.ephemeralContainers", json!([{"name": "more", "image": "i:2"}]));
    });
    expect![[r#"
        spec.ephemeralContainers: Forbidden: existing ephemeral containers "look" may not be removed

        spec.ephemeralContainers: Forbidden: existing ephemeral containers "more" may not be changed
        - image: "i:1"
        + image: "i:2"

    "#]]
    .assert_eq(&changed);
    expect![[r#"
        spec.ephemeralContainers: Forbidden: cannot be set on create
    "#]]
    .assert_eq(&create_errors(&POD, pod.clone()));
    expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        + ephemeralContainers: [{"name":"look","image":"i:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"},{"name":"more","image":"i:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}]

    "#]].assert_eq(&update(&POD, json!({"spec": web()}), pod));
}

#[test]
fn a_resize_changes_cpu_and_memory_only() {
    let pod = |requests: Value| {
        json!({"spec": {"containers": [
            {"name": "web", "image": "web:1", "resources": {"requests": requests, "limits": {"memory": "2Gi"}}}]}})
    };
    let sized = pod(json!({"cpu": "1", "memory": "1Gi"}));
    let to = |resources: Value| {
        write_view("resize", sized.clone(), |pod| {
            let container = tree::items_mut(pod, "spec.containers").next().unwrap();
            tree::set(container, "resources", resources.clone());
            tree::set(container, "image", "other:1");
        })
    };
    let memory = json!({"memory": "2Gi"});
    expect!["good, generation 2"]
        .assert_eq(&to(json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": memory})));
    expect![[r#"
        spec.containers[0].resources.limits[memory]: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer
    "#]].assert_eq(&to(json!({"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}})));
    expect![[r#"
        spec: Forbidden: only cpu and memory resources are mutable
    "#]]
    .assert_eq(&to(
        json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}, "limits": memory}),
    ));
    expect![[r#"
        spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing
    "#]]
    .assert_eq(&to(
        json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}),
    ));
    let more = write_view("resize", sized.clone(), |pod| {
        tree::get_mut(pod, "spec.containers")
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "two", "image": "i:1"}));
    });
    expect![[r#"
        spec: Forbidden: only cpu and memory resources are mutable
    "#]]
    .assert_eq(&more);
    let mut deaf = sized.clone();
    tree::set(&mut deaf, "metadata.annotations", json!({"kubernetes.io/config.mirror": "x"}));
    expect![[r#"
        : Forbidden: static pods cannot be resized
    "#]]
    .assert_eq(&write_view("resize", deaf, |_| {}));
}
