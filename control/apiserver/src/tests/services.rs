//! Addresses and ports of services: given in the write, taken back in the write, never to two.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use futures::future::join_all;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::Bench;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const TRANSACTIONS: &str = "/apis/navarch.io/v1/transactions";

fn service(name: &str, spec: Value) -> Value {
    let mut all = json!({"selector": {"app": name}, "ports": [{"port": 80}]});
    for (field, value) in spec.as_object().expect("fields") {
        all[field] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": all})
}

async fn create(bench: &Bench, name: &str, spec: Value) -> String {
    bench.line("POST", SERVICES, &service(name, spec).to_string()).await
}

async fn made(bench: &Bench, name: &str, spec: Value) -> Value {
    let answer = bench.send("POST", SERVICES, &service(name, spec).to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

/// What is taken: addresses with their owners, and ports.
async fn taken(bench: &Bench) -> String {
    let list = bench.get(ADDRESSES).await;
    let address = |item: &Value| {
        let parent = tree::get(item, "spec.parentRef");
        format!("{} {}\n", tree::text(item, "metadata.name"), tree::text(parent, "name"))
    };
    let mut lines: Vec<String> = tree::items(&list, "items").iter().map(address).collect();
    let span = store::Span::prefix("/navarch/nodeports/".to_owned());
    let ports = bench.store.range(store::Range::of(span)).await.expect("the ports");
    let name = |kv: &store::KeyValue| String::from_utf8_lossy(&kv.key).rsplit('/').next().map(str::to_owned);
    lines.extend(ports.kvs.iter().filter_map(name).map(|port| format!("{port}\n")));
    lines.concat()
}

fn address(service: &Value) -> String {
    tree::text(service, "spec.clusterIP").to_owned()
}

#[tokio::test]
async fn a_service_is_given_what_it_needs_and_gives_it_back() {
    let bench = Bench::start().await;
    let web = made(&bench, "web", json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [
        {"port": 80, "nodePort": 30080, "name": "a"}, {"port": 53, "name": "t"}, {"port": 53, "protocol": "UDP", "name": "u"},
    ]}))
    .await;
    assert_eq!(tree::get(&web, "spec.clusterIPs"), &json!(["10.96.0.9"]));
    assert_eq!(tree::get(&web, "spec.ipFamilies"), &json!(["IPv4"]));
    assert_eq!(tree::text(&web, "spec.ipFamilyPolicy"), "SingleStack");
    let ports = tree::items(&web, "spec.ports");
    assert_eq!(ports[1]["nodePort"], ports[2]["nodePort"], "two protocols of one port");
    assert!((30_086..=32_767).contains(&tree::int(&ports[1], "nodePort").unwrap_or_default()));
    let given = tree::int(&ports[1], "nodePort").unwrap_or_default();
    assert_eq!(taken(&bench).await, format!("10.96.0.9 web\n30080\n{given}\n"));

    let path = format!("{SERVICES}/web");
    let inside = json!({"spec": {"type": "ClusterIP"}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    assert_eq!(bench.line_with("PATCH", &path, &merge, &inside).await, "200 Service web");
    assert_eq!(taken(&bench).await, "10.96.0.9 web\n");
    let name = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}).to_string();
    assert_eq!(bench.line_with("PATCH", &path, &merge, &name).await, "200 Service web");
    let web = bench.get(&path).await;
    assert_eq!(tree::get(&web, "spec.clusterIPs"), &Value::Null);
    assert_eq!(tree::get(&web, "spec.ipFamilies"), &Value::Null);
    assert_eq!(taken(&bench).await, "");
    assert_eq!(bench.line_with("PATCH", &path, &merge, &inside).await, "200 Service web");
    let web = bench.get(&path).await;
    assert_eq!(taken(&bench).await, format!("{} web\n", address(&web)));
    assert_eq!(bench.send("DELETE", &path, "").await.code, 200);
    assert_eq!(taken(&bench).await, "");
}

#[tokio::test]
async fn what_is_taken_or_outside_is_refused() {
    let bench = Bench::start().await;
    made(
        &bench,
        "a",
        json!({"clusterIP": "10.96.0.5", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}),
    )
    .await;
    let check = async |spec: Value, expected: Expect| expected.assert_eq(&create(&bench, "b", spec).await);
    check(
        json!({"clusterIP": "10.96.0.5"}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.5"]: failed to allocate IP 10.96.0.5: provided IP is already allocated"#]],
    )
    .await;
    check(
        json!({"clusterIP": "10.0.0.5"}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.0.0.5"]: failed to allocate IP 10.0.0.5: the provided network does not match the current range"#]],
    )
    .await;
    check(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#]],
    )
    .await;
    check(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"#]],
    )
    .await;
    check(
        json!({"ports": [{"port": 80, "nodePort": 30002}]}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"#]],
    )
    .await;
    check(
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#]],
    )
    .await;
    check(
        json!({"ipFamilies": ["IPv6"]}),
        expect![[r#"422 Invalid: Service "b" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#]],
    )
    .await;
    let again =
        json!({"clusterIP": "10.96.0.5", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]});
    expect![[r#"409 AlreadyExists: services "a" already exists"#]]
        .assert_eq(&create(&bench, "a", again).await);
    assert_eq!(taken(&bench).await, "10.96.0.5 a\n30001\n", "a refusal takes nothing");
    expect![[r#"403 Forbidden: ipaddresses.networking.k8s.io "10.96.0.5" is forbidden: the service default/a has this address"#]]
        .assert_eq(&bench.line("DELETE", &format!("{ADDRESSES}/10.96.0.5"), "").await);
}

#[tokio::test]
async fn headless_services_and_names_need_nothing() {
    let bench = Bench::start().await;
    let headless = made(&bench, "a", json!({"clusterIP": "None"})).await;
    assert_eq!(tree::get(&headless, "spec.clusterIPs"), &json!(["None"]));
    assert_eq!(tree::text(&headless, "spec.ipFamilyPolicy"), "SingleStack");
    let bare = made(&bench, "b", json!({"clusterIP": "None", "selector": null})).await;
    assert_eq!(tree::text(&bare, "spec.ipFamilyPolicy"), "RequireDualStack");
    assert_eq!(tree::get(&bare, "spec.ipFamilies"), &json!(["IPv4", "IPv6"]));
    made(&bench, "c", json!({"type": "ExternalName", "externalName": "a.b"})).await;
    assert_eq!(taken(&bench).await, "");
}

#[tokio::test]
async fn a_balancer_that_stays_local_is_asked_for_its_health() {
    let bench = Bench::start().await;
    let local = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": false,
    });
    let made = made(&bench, "a", local).await;
    let port = tree::int(&made, "spec.healthCheckNodePort").unwrap_or_default();
    assert_eq!(tree::get(&tree::items(&made, "spec.ports")[0], "nodePort"), &Value::Null);
    assert_eq!(taken(&bench).await, format!("{} a\n{port}\n", address(&made)));
    let everywhere = json!({"spec": {"externalTrafficPolicy": "Cluster"}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let path = format!("{SERVICES}/a");
    assert_eq!(bench.line_with("PATCH", &path, &merge, &everywhere).await, "200 Service a");
    let changed = bench.get(&path).await;
    assert_eq!(tree::get(&changed, "spec.healthCheckNodePort"), &Value::Null);
    assert_eq!(taken(&bench).await, format!("{} a\n", address(&made)));
}

#[tokio::test]
async fn a_put_that_leaves_out_what_was_given_keeps_it() {
    let bench = Bench::start().await;
    let first = made(&bench, "a", json!({"type": "NodePort"})).await;
    let path = format!("{SERVICES}/a");
    let again = service("a", json!({"type": "NodePort", "ports": [{"port": 81}]})).to_string();
    assert_eq!(bench.line("PUT", &path, &again).await, "200 Service a");
    let second = bench.get(&path).await;
    let given =
        |service: &Value| (address(service), tree::items(service, "spec.ports")[0]["nodePort"].clone());
    assert_eq!(given(&first), given(&second));
    let elsewhere = service("a", json!({"type": "NodePort", "ports": [{"port": 81, "nodePort": 31999}]}));
    assert_eq!(bench.line("PUT", &path, &elsewhere.to_string()).await, "200 Service a");
    assert_eq!(taken(&bench).await, format!("{} a\n31999\n", address(&first)), "the other port is free");
}

#[tokio::test]
async fn finalizers_hold_the_address_too_and_a_dry_run_takes_nothing() {
    let bench = Bench::start().await;
    let dry =
        bench.send("POST", &format!("{SERVICES}?dryRun=All"), &service("a", json!({})).to_string()).await;
    assert!(!address(&dry.json()).is_empty(), "{}", dry.text);
    assert_eq!(taken(&bench).await, "");
    let mut held = service("a", json!({"clusterIP": "10.96.0.7"}));
    held["metadata"]["finalizers"] = json!(["lab.io/mine"]);
    assert_eq!(bench.line("POST", SERVICES, &held.to_string()).await, "201 Service a");
    let path = format!("{SERVICES}/a");
    assert_eq!(bench.send("DELETE", &format!("{path}?dryRun=All"), "").await.code, 200);
    assert_eq!(bench.send("DELETE", &path, "").await.code, 200);
    assert_eq!(taken(&bench).await, "10.96.0.7 a\n");
    let merge = [("content-type", "application/merge-patch+json")];
    let free = json!({"metadata": {"finalizers": null}}).to_string();
    assert_eq!(bench.send_with("PATCH", &path, &merge, free.into_bytes()).await.code, 200);
    assert_eq!(taken(&bench).await, "");
}

#[tokio::test]
async fn many_at_once_get_one_each() {
    let bench = Bench::start().await;
    let names: Vec<String> = (0..24).map(|number| format!("s{number}")).collect();
    let all = join_all(names.iter().map(|name| made(&bench, name, json!({"type": "NodePort"})))).await;
    let addresses: BTreeSet<String> = all.iter().map(address).collect();
    assert_eq!(addresses.len(), names.len());
    let others: Vec<String> = names.iter().map(|name| format!("{name}x")).collect();
    let wanted = others.iter().map(|name| create(&bench, name, json!({"clusterIP": "10.96.0.40"})));
    let got: Vec<String> = join_all(wanted).await;
    assert_eq!(got.iter().filter(|line| line.starts_with("201")).count(), 1, "{got:?}");
    assert!(
        got.iter().all(|line| line.starts_with("201") || line.contains("provided IP is already allocated"))
    );
}

#[tokio::test]
async fn services_of_one_transaction_get_different_addresses() {
    let bench = Bench::start().await;
    made(&bench, "old", json!({"clusterIP": "10.96.0.3"})).await;
    let operation = |verb: &str, object: Value| json!({"verb": verb, "object": object});
    let send = async |operations: Vec<Value>| {
        let body = json!({"apiVersion": "navarch.io/v1", "kind": "Transaction", "operations": operations});
        bench.send("POST", TRANSACTIONS, &body.to_string()).await
    };
    let both = vec![
        operation("create", service("a", json!({"type": "NodePort"}))),
        operation("create", service("b", json!({"type": "NodePort"}))),
        operation("delete", service("old", json!({}))),
        operation("create", service("new", json!({"clusterIP": "10.96.0.3"}))),
    ];
    let answer = send(both).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let (a, b) = (bench.get(&format!("{SERVICES}/a")).await, bench.get(&format!("{SERVICES}/b")).await);
    assert_ne!(address(&a), address(&b));
    let told = taken(&bench).await;
    assert!(told.contains("10.96.0.3 new\n") && told.lines().count() == 5, "{told}");
    let twice = vec![
        operation("create", service("c", json!({"clusterIP": "10.96.0.4"}))),
        operation("create", service("d", json!({"clusterIP": "10.96.0.4"}))),
    ];
    expect![[r#"422 Invalid: operation 1 (create services "d"): Service "d" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.4"]: failed to allocate IP 10.96.0.4: provided IP is already allocated"#]]
        .assert_eq(&send(twice).await.line());
    assert_eq!(taken(&bench).await, told);
}

#[tokio::test]
async fn a_range_of_an_object_is_used_too() {
    let bench = Bench::start().await;
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["192.168.7.0/29"]}});
    let path = "/apis/networking.k8s.io/v1/servicecidrs";
    assert_eq!(bench.line("POST", path, &range.to_string()).await, "201 ServiceCIDR more");
    made(&bench, "a", json!({"clusterIP": "192.168.7.1"})).await;
    expect![[r#"422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["192.168.7.7"]: failed to allocate IP 192.168.7.7: provided IP 192.168.7.7 is not in the valid range"#]]
        .assert_eq(&create(&bench, "b", json!({"clusterIP": "192.168.7.7"})).await);
    assert_eq!(taken(&bench).await, "192.168.7.1 a\n");
}
