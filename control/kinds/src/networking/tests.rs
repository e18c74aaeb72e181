//! Ingresses, policies, addresses: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::ingress::INGRESS;
use super::ingress_class::INGRESS_CLASS;
use super::ip_address::IP_ADDRESS;
use super::network_policy::NETWORK_POLICY;
use super::service_cidr::SERVICE_CIDR;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn rule(host: &str, path: Value) -> Value {
    json!({"host": host, "http": {"paths": [path]}})
}

fn backend() -> Value {
    json!({"service": {"name": "web", "port": {"number": 80}}})
}

#[test]
fn an_ingress_says_who_answers() {
    let errors = |spec| create_errors(&INGRESS, json!({"spec": spec}));
    expect![[r#"
        spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified
    "#]]
    .assert_eq(&errors(json!({})));
    expect![[r#"
        spec.defaultBackend: Required value: resource or service backend is required
    "#]]
    .assert_eq(&errors(json!({"defaultBackend": {}})));
    expect![[r#"
        spec.defaultBackend: Invalid value: {"service":{"name":"Web","port":{}},"resource":{}}: cannot set both resource and service backends
    "#]].assert_eq(&errors(
        json!({"defaultBackend": {"service": {"name": "Web", "port": {}}, "resource": {}}}),
    ));
    expect![[r#"
        spec.defaultBackend.service.name: Required value
        spec.defaultBackend.service.port: Invalid value: {"name":"http","number":80}: cannot set both port name & port number
    "#]].assert_eq(&errors(
        json!({"defaultBackend": {"service": {"name": "", "port": {"name": "http", "number": 80}}}}),
    ));
    expect![[r#"
        spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address
        spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path
        spec.rules[1].http.paths[0].path: Invalid value: "/a//b/..": must not contain '//'
        spec.rules[1].http.paths[0].path: Invalid value: "/a//b/..": cannot end with '/..'
        spec.rules[2].host: Invalid value: "*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[2].http.paths[0].pathType: Required value: pathType must be specified
        spec.rules[3].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"
        spec.rules[4].http.paths: Required value
    "#]].assert_eq(&errors(json!({"rules": [
        rule("10.0.0.1", json!({"path": "a", "pathType": "Prefix", "backend": backend()})),
        rule("*.example.com", json!({"path": "/a//b/..", "pathType": "Exact", "backend": backend()})),
        rule("*", json!({"path": "/", "backend": backend()})),
        rule("example.com", json!({"path": "/", "pathType": "Regex", "backend": backend()})),
        {"host": "example.com", "http": {"paths": []}}]})));
    expect![[r#"
        spec.ingressClassName: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]].assert_eq(&errors(json!({"defaultBackend": backend(), "ingressClassName": "a b"})));
}

#[test]
fn columns_of_an_ingress() {
    let rules: Vec<Value> = ["a.example", "b.example", "c.example", "d.example"]
        .map(|host| rule(host, json!({"path": "/", "pathType": "Prefix", "backend": backend()})))
        .into();
    expect![[r#"
        Name: x
        Class: web
        Hosts: a.example,b.example,c.example + 1 more...
        Address: 192.0.2.1,lb.example
        Ports: 80, 443
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &INGRESS,
        json!({
        "spec": {"ingressClassName": "web", "rules": rules, "tls": [{}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}}}),
    ));
    expect![[r#"
        Name: x
        Class: <none>
        Hosts: *
        Address: 
        Ports: 80
        Age: 4m30s
    "#]]
    .assert_eq(&row(&INGRESS, json!({"spec": {"defaultBackend": backend()}})));
}

#[test]
fn a_class_of_ingresses_keeps_its_controller() {
    let of = |controller: &str| json!({"spec": {"controller": controller}});
    expect![[r#"
        spec.controller: Required value
    "#]]
    .assert_eq(&create_errors(&INGRESS_CLASS, of("")));
    expect![[r#"
        spec.controller: Invalid value: "plain": must be a domain-prefixed path (such as "acme.io/foo")
    "#]]
    .assert_eq(&create_errors(&INGRESS_CLASS, of("plain")));
    expect![[r#"
        spec.parameters.name: Required value: name is required
        spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'
    "#]]
    .assert_eq(&create_errors(
        &INGRESS_CLASS,
        json!({"spec": {
        "controller": "example.com/c", "parameters": {"kind": "K", "scope": "Namespace"}}}),
    ));
    expect![[r#"
        spec.controller: Invalid value: "example.com/b": field is immutable
    "#]]
    .assert_eq(&update(&INGRESS_CLASS, of("example.com/a"), of("example.com/b")));
}

#[test]
fn a_policy_names_peers_and_ports() {
    let policy = created(
        &NETWORK_POLICY,
        json!({"spec": {
        "podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}}),
    );
    assert_eq!(tree::get(&policy, "spec.policyTypes"), &json!(["Ingress", "Egress"]));
    assert_eq!(tree::get(&policy, "spec.egress")[0]["ports"][0]["protocol"], "TCP");
    expect![[r#"
        spec.podSelector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.ingress[0].ports[1].endPort: Invalid value: 80: must be greater than or equal to `port`
        spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is non-numeric
        spec.ingress[0].ports[2].port: Invalid value: "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
        spec.ingress[0].ports[2].port: Invalid value: "HTTP": must contain at least one letter (a-z)
        spec.ingress[0].ports[3].endPort: Invalid value: 5: may not be specified when `port` is not specified
        spec.ingress[0].ports[4].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
        spec.ingress[0].from[0]: Required value: must specify a peer
        spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer
        spec.ingress[0].from[2].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        spec.ingress[0].from[3].ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`
        spec.ingress[0].from[3].ipBlock.except[2]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`
        spec.policyTypes[0]: Unsupported value: "Both": supported values: "Egress", "Ingress"
    "#]].assert_eq(&create_errors(&NETWORK_POLICY, json!({"spec": {
        "podSelector": {"matchLabels": {"a b": "c"}},
        "policyTypes": ["Both"],
        "ingress": [{
            "ports": [
                {"port": 0}, {"port": 90, "endPort": 80}, {"port": "HTTP", "endPort": 1}, {"endPort": 5},
                {"protocol": "ICMP"}],
            "from": [
                {}, {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}},
                {"ipBlock": {"cidr": "10.0.0.0"}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8"]}}]}]}})));
    expect![[r#"
        Name: x
        Pod-Selector: app=db
        Age: 4m30s
    "#]]
    .assert_eq(&row(&NETWORK_POLICY, json!({"spec": {"podSelector": {"matchLabels": {"app": "db"}}}})));
}

#[test]
fn addresses_and_ranges_are_canonical() {
    expect![[r#"
        metadata.name: Invalid value: "010.0.0.1": must be a valid IP address in canonical form, (e.g. 10.9.8.7 or 2001:db8::ffff)
        spec.parentRef: Required value
    "#]].assert_eq(&create_errors(&IP_ADDRESS, json!({"metadata": {"name": "010.0.0.1"}})));
    let of = |name: &str| json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "name": name}}});
    expect![[r#"
        spec.parentRef: Invalid value: {"resource":"services","name":"b"}: field is immutable
    "#]]
    .assert_eq(&update(&IP_ADDRESS, of("a"), of("b")));
    expect![[r#"
        Name: 10.0.0.1
        ParentRef: services/a
        Age: 4m30s
    "#]]
    .assert_eq(&row(&IP_ADDRESS, of("a")));
    let ranges = |ranges: Value| create_errors(&SERVICE_CIDR, json!({"spec": {"cidrs": ranges}}));
    expect![[r#"
        spec.cidrs: Required value: at least one CIDR required
    "#]]
    .assert_eq(&ranges(json!([])));
    expect![[r#"
        spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64
    "#]].assert_eq(&ranges(json!(["10.0.0.0/24", "10.1.0.0/24"])));
    expect![[r#"
        spec.cidrs: Invalid value: ["10.0.0.0/24","2001:db8::/112","x"]: may only hold up to 2 values
        spec.cidrs[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
    "#]]
    .assert_eq(&ranges(json!(["10.0.0.0/24", "2001:db8::/112", "x"])));
    expect![""].assert_eq(&ranges(json!(["10.0.0.0/24", "2001:db8::/112"])));
}
