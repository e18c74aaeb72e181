//! Kinds that come with the API, with every kubectl: an autoscaler, a request for a certificate, events, versions for old
//! clients, and what is listed and explained.

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::kubectl::Kubectl;

/// `CN=ann, O=devs`, signed with its own key.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTU1Bb0dBMVVFQXd3RFlXNXVNUTB3Q3dZRFZRUUtEQVJrWlhaek1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVBTithSk0rYmhHQUliMlEyUVk3bmMyeGNtWGRxZzEvT1plQnAyMmdECmF2bTNTMU9rTUI1cXVHM21BVGZZL3lYMmhnZGtubTYxRlc4TjlyVlVaNjlkWmFBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJQzhpMGdlL2VseVlLa3ErY1lXSHMvWTRCQVhDeEZYNWxGRWFXUThPYzZ2WkFpRUFuZkcvbnZaZAo0cTIwUTVHeFRzdzNDejVDYWVPR1NXekJZMXQwcE5OcndCaz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

#[test]
fn every_kubectl_knows_them() {
    let cluster = Cluster::start_with(Size { servers: 1, agents: 0 }, &["--legacy-api-versions"]);
    for version in ["1.20", "1.32", "1.36"] {
        let kubectl = cluster.kubectl(version);
        autoscaler(&kubectl, version);
        certificate(&kubectl, version);
        events(&kubectl, version);
        listed_and_explained(&kubectl, version);
        kubectl.ok("delete deployment,hpa,events --all");
    }
    old_versions(&cluster.kubectl("1.20"));
}

fn autoscaler(kubectl: &Kubectl, version: &str) {
    kubectl.ok("create deployment web --image=registry.example.com/web:1");
    let share = if version == "1.36" { "--cpu=50%" } else { "--cpu-percent=50" };
    kubectl.ok(&format!("autoscale deployment web --min=2 --max=5 {share}"));
    let shown = kubectl.ok("get hpa web --no-headers");
    let cells: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(&cells[..6], ["web", "Deployment/web", "cpu:", "<unknown>/50%", "2", "5"], "{shown}");
    let older = kubectl
        .ok("get horizontalpodautoscalers.v1.autoscaling web -o jsonpath={.apiVersion},{.spec.targetCPUUtilizationPercentage}");
    assert_eq!(older, "autoscaling/v1,50");
    let patch = r#"{"spec":{"maxReplicas":9}}"#;
    kubectl.ok(&format!("patch horizontalpodautoscalers.v1.autoscaling web --type=merge -p {patch}"));
    assert_eq!(
        kubectl.ok("get horizontalpodautoscalers.v2.autoscaling web -o jsonpath={.spec.maxReplicas}"),
        "9"
    );
    assert!(kubectl.ok("describe hpa web").contains("Deployment/web"), "{version}");
}

fn certificate(kubectl: &Kubectl, version: &str) {
    let name = format!("ann-{}", version.replace('.', "-"));
    kubectl.apply(&format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec: {{request: {REQUEST}, signerName: example.com/any, usages: [client auth]}}\n"
    ));
    assert!(kubectl.ok(&format!("get csr {name} --no-headers")).contains("Pending"));
    kubectl.ok(&format!("certificate approve {name}"));
    let shown = kubectl.ok(&format!("get csr {name} --no-headers"));
    assert!(shown.contains("Approved") && shown.contains("example.com/any"), "{shown}");
    assert!(kubectl.fails(&format!("certificate deny {name}")).contains("already Approved"));
    let selected = kubectl.ok("get csr --field-selector spec.signerName=example.com/any -o name");
    assert!(selected.contains(&name), "{selected}");
}

fn events(kubectl: &Kubectl, version: &str) {
    kubectl.apply(
        "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: told, namespace: default}\nregarding: {apiVersion: apps/v1, kind: Deployment, name: web, namespace: default}\nreason: Grown\nnote: it has grown\ntype: Normal\neventTime: 2026-11-22T00:00:00.000000Z\naction: Grow\nreportingController: example.com/test\nreportingInstance: test-1\n",
    );
    assert!(kubectl.ok("get events --field-selector involvedObject.name=web").contains("it has grown"));
    assert!(
        kubectl
            .ok("get events.v1.events.k8s.io --field-selector regarding.name=web")
            .contains("it has grown")
    );
    if version == "1.36" {
        assert!(kubectl.ok("events --for deployment/web").contains("it has grown"));
    }
}

fn listed_and_explained(kubectl: &Kubectl, version: &str) {
    let listed = kubectl.ok("api-resources -o name");
    for name in [
        "horizontalpodautoscalers.autoscaling",
        "certificatesigningrequests.certificates.k8s.io",
        "events.events.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "apiservices.apiregistration.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "resourceclaims.resource.k8s.io",
        "componentstatuses",
    ] {
        assert!(listed.lines().any(|line| line == name), "{version}: {name} is not in {listed}");
    }
    assert!(kubectl.ok("explain hpa.spec").contains("scaleTargetRef"));
    assert!(kubectl.ok("explain apiservice.spec").contains("groupPriorityMinimum"));
    kubectl.ok("get componentstatuses,apiservices,flowschemas,prioritylevelconfigurations,validatingwebhookconfigurations");
}

/// What clients of before 1.21 ask for.
fn old_versions(kubectl: &Kubectl) {
    kubectl.ok("create cronjob tick --image=registry.example.com/tick:1 --schedule=@hourly");
    let job: Value =
        serde_json::from_str(&kubectl.ok("get cronjob.v1beta1.batch tick -o json")).expect("JSON");
    assert_eq!(job["apiVersion"], "batch/v1beta1");
    assert_eq!(job["spec"]["schedule"], "@hourly");
    kubectl.apply(
        "apiVersion: networking.k8s.io/v1beta1\nkind: Ingress\nmetadata: {name: web}\nspec: {backend: {serviceName: web, servicePort: 80}}\n",
    );
    let port = kubectl
        .ok("get ingress.v1.networking.k8s.io web -o jsonpath={.spec.defaultBackend.service.port.number}");
    assert_eq!(port, "80");
    kubectl.ok("create pdb web --selector=app=web --min-available=1");
    assert_eq!(kubectl.ok("get pdb.v1beta1.policy web -o jsonpath={.apiVersion}"), "policy/v1beta1");
}
