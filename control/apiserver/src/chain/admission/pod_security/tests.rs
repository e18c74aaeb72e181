//! Levels, versions, and what each says of a pod.

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::{Value, json};

use super::checks::{Subject, violations};
use super::policy::Policy;
use crate::tests::bench::Bench;

/// What the rule of the labels says of a pod with this spec.
fn check(level: &str, version: &str, spec: &str, expected: Expect) {
    let labels = json!({"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version});
    let (policy, _) = Policy::of(&json!({"metadata": {"labels": labels}}));
    let pod: Value =
        serde_json::from_str(&format!(r#"{{"metadata":{{"annotations":{{}}}},"spec":{spec}}}"#)).unwrap();
    let why = violations(policy.enforce, &Subject::of(&pod));
    expected.assert_eq(&why.map_or("runs".to_owned(), |why| why.details().replace("), ", ")\n")));
}

#[test]
fn baseline_keeps_pods_off_their_node() {
    check(
        "baseline",
        "latest",
        r#"{"hostNetwork":true,"hostPID":true,
            "volumes":[{"name":"v","hostPath":{"path":"/"}},{"name":"w","hostPath":{"path":"/"}}],
            "securityContext":{"sysctls":[{"name":"kernel.msgmax"},{"name":"net.ipv4.tcp_rmem"}],"seLinuxOptions":{"type":"x","user":"u"},
                "seccompProfile":{"type":"Unconfined"},"windowsOptions":{"hostProcess":true}},
            "initContainers":[{"name":"i","securityContext":{"privileged":true,"appArmorProfile":{"type":"Unconfined"}}}],
            "containers":[{"name":"c","ports":[{"hostPort":80},{"hostPort":9},{"hostPort":0}],"livenessProbe":{"httpGet":{"host":"h"}},
                "securityContext":{"procMount":"Unmasked","capabilities":{"add":["NET_RAW","CHOWN","BPF"]}}}]}"#,
        expect![[r#"
            forbidden AppArmor profile (container "i" must not set AppArmor profile type to "Unconfined")
            non-default capabilities (container "c" must not include "BPF", "NET_RAW" in securityContext.capabilities.add)
            host namespaces (hostNetwork=true, hostPID=true)
            hostPath volumes (volumes "v", "w")
            hostPort (container "c" uses hostPorts 80, 9)
            probe or lifecycle host (container "c" uses probe or lifecycle host "h")
            privileged (container "i" must not set securityContext.privileged=true)
            procMount (container "c" must not set securityContext.procMount to "Unmasked")
            seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)
            seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")
            forbidden sysctls (kernel.msgmax)
            hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"#]],
    );
    check("baseline", "latest", r#"{"containers":[{"name":"c"}]}"#, expect!["runs"]);
    check("privileged", "latest", r#"{"hostPID":true}"#, expect!["runs"]);
}

#[test]
fn restricted_asks_for_everything() {
    check(
        "restricted",
        "latest",
        r#"{"volumes":[{"name":"v","nfs":{}},{"name":"e","emptyDir":{}}],"securityContext":{"runAsUser":0},"containers":[{"name":"c"},{"name":"d","securityContext":{"capabilities":{"add":["CHOWN"]}}}]}"#,
        expect![[r#"
            allowPrivilegeEscalation != false (containers "c", "d" must set securityContext.allowPrivilegeEscalation=false)
            unrestricted capabilities (containers "c", "d" must set securityContext.capabilities.drop=["ALL"]; container "d" must not include "CHOWN" in securityContext.capabilities.add)
            restricted volume types (volume "v" uses restricted volume type "nfs")
            runAsNonRoot != true (pod or containers "c", "d" must set securityContext.runAsNonRoot=true)
            runAsUser=0 (pod must not set runAsUser=0)
            seccompProfile (pod or containers "c", "d" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#]],
    );
    let good = r#"{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
        "containers":[{"name":"c","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}"#;
    check("restricted", "latest", good, expect!["runs"]);
}

#[test]
fn a_version_keeps_its_checks() {
    let pod = r#"{"os":{"name":"windows"},"hostUsers":false,"containers":[{"name":"c","livenessProbe":{"tcpSocket":{"host":"h"}}}]}"#;
    check(
        "restricted",
        "v1.7",
        pod,
        expect![[
            r#"runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)"#
        ]],
    );
    check(
        "restricted",
        "v1.24",
        pod,
        expect![[r#"
            allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)
            unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])
            runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)
            seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#]],
    );
    check(
        "restricted",
        "v1.99",
        pod,
        expect![[r#"probe or lifecycle host (container "c" uses probe or lifecycle host "h")"#]],
    );
}

#[test]
fn labels_become_rules() {
    let rules = |labels: Value| {
        let (policy, errors) = Policy::of(&json!({"metadata": {"labels": labels}}));
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        format!("{} warn {} {}", policy.enforce, policy.warn, errors.join(", ")).trim_end().to_owned()
    };
    let told = [
        rules(json!({})),
        rules(
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"}),
        ),
        rules(
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}),
        ),
        rules(
            json!({"pod-security.kubernetes.io/enforce": "nope", "pod-security.kubernetes.io/warn-version": "v1.03"}),
        ),
    ];
    expect![[r#"
        privileged:latest warn privileged:latest
        baseline:v1.30 warn baseline:v1.30
        baseline:latest warn restricted:latest
        restricted:latest warn privileged:latest metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "nope": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v1.03": must be "latest" or "v1.x""#]]
    .assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn a_namespace_keeps_its_level() {
    const PODS: &str = "/api/v1/namespaces/tight/pods";
    let bench = Bench::start().await;
    let namespace = |level: &str| {
        json!({"metadata": {"name": "tight", "labels": {"pod-security.kubernetes.io/enforce": level}}})
            .to_string()
    };
    let pod = |name: &str, shares: bool| {
        json!({"metadata": {"name": name}, "spec": {"hostPID": shares, "containers": [{"name": "c", "image": "i"}]}}).to_string()
    };
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}).to_string();
    let relabel =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let mut lines = vec![
        bench.line("POST", "/api/v1/namespaces", &namespace("lax")).await,
        bench.line("POST", "/api/v1/namespaces", &namespace("privileged")).await,
        bench.line("POST", PODS, &pod("a", true)).await,
        bench.line("POST", PODS, &pod("b", true)).await,
        bench.line_with("PATCH", "/api/v1/namespaces/tight", &merge, &relabel).await,
        bench.line("POST", PODS, &pod("c", true)).await,
        bench.line("POST", PODS, &pod("d", false)).await,
        bench.line("POST", "/apis/apps/v1/namespaces/tight/deployments", &deployment).await,
    ];
    let label = r#"{"metadata":{"labels":{"x":"y"}}}"#;
    lines.push(bench.line_with("PATCH", &format!("{PODS}/a"), &merge, label).await);
    let image = r#"[{"op":"replace","path":"/spec/containers/0/image","value":"j"}]"#;
    let json_patch = [("content-type", "application/json-patch+json")];
    lines.push(bench.line_with("PATCH", &format!("{PODS}/a"), &json_patch, image).await);
    assert_eq!(tree::text(&bench.get(&format!("{PODS}/a")).await, "metadata.labels.x"), "y");
    expect![[r#"
        422 Invalid: Namespace "tight" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "lax": must be one of privileged, baseline, restricted
        201 Namespace tight
        201 Pod a
        201 Pod b
        200 Namespace tight WARNING 299 - "existing pods in namespace \"tight\" violate the new PodSecurity enforce level \"baseline:latest\"" WARNING 299 - "a (and 1 other pod): host namespaces"
        403 Forbidden: pods "c" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)
        201 Pod d
        201 Deployment web WARNING 299 - "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
        200 Pod a
        403 Forbidden: pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)"#]].assert_eq(&lines.join("\n"));
}
