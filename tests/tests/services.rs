//! Addresses and ports of services, as every kubectl makes and shows them, through three servers at once.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const VERSIONS: [&str; 3] = ["1.20", "1.32", "1.36"];

#[test]
fn services_get_addresses_and_ports_of_their_own() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let kubectl = cluster.kubectl("1.36");
    eventually(Duration::from_secs(60), "the API's own service is there", || {
        let said = kubectl.run("get svc kubernetes");
        expect_that(said.ok, said.stderr)
    });
    assert_eq!(kubectl.ok("get servicecidrs kubernetes -o jsonpath={.spec.cidrs[*]}"), "10.96.0.0/12");
    assert_eq!(shown(&kubectl, "kubernetes"), ["kubernetes", "ClusterIP", "10.96.0.1", "<none>"]);
    for version in VERSIONS {
        made_and_shown(&cluster.kubectl(version), version);
    }
    only_the_apis_own_is_left(&kubectl);
    many_at_once(&cluster);
    only_the_apis_own_is_left(&kubectl);
}

/// Name, type, address and outer address.
fn shown(kubectl: &Kubectl, name: &str) -> Vec<String> {
    let line = kubectl.ok(&format!("get svc {name} --no-headers"));
    line.split_whitespace().take(4).map(str::to_owned).collect()
}

fn field(kubectl: &Kubectl, name: &str, path: &str) -> String {
    kubectl.ok(&format!("get svc {name} -o jsonpath={{.spec.{path}}}"))
}

fn made_and_shown(kubectl: &Kubectl, version: &str) {
    kubectl.ok("create service clusterip inside --tcp=80:8080");
    let address = field(kubectl, "inside", "clusterIP");
    assert!(address.starts_with("10."), "{version}: {address:?}");
    assert_eq!(field(kubectl, "inside", "clusterIPs[*]"), address);
    assert_eq!(field(kubectl, "inside", "ipFamilies[*]"), "IPv4");
    assert_eq!(field(kubectl, "inside", "ipFamilyPolicy"), "SingleStack");
    assert_eq!(shown(kubectl, "inside")[1..3], ["ClusterIP".to_owned(), address.clone()]);
    let owner = kubectl.ok(&format!("get ipaddress {address} --no-headers"));
    assert!(owner.contains("services/default/inside"), "{owner}");

    kubectl.ok("create service clusterip bare --clusterip=None");
    assert_eq!(shown(kubectl, "bare")[2], "None");
    kubectl.ok("create service externalname far --external-name=example.com");
    assert_eq!(shown(kubectl, "far"), ["far", "ExternalName", "<none>", "example.com"]);
    kubectl.ok("create service nodeport outside --tcp=80:8080 --node-port=30100");
    let ports = kubectl.ok("get svc outside --no-headers");
    assert!(ports.contains("80:30100/TCP"), "{version}: {ports}");
    kubectl.ok("create service loadbalancer balanced --tcp=80:8080");
    let balanced = shown(kubectl, "balanced");
    assert_eq!((balanced[1].as_str(), balanced[3].as_str()), ("LoadBalancer", "<pending>"));
    let port = field(kubectl, "balanced", "ports[0].nodePort");
    assert!(port.parse().is_ok_and(|port: u16| (30_000..=32_767).contains(&port)), "{version}: {port:?}");

    kubectl.ok("create deployment web --image=registry.example.com/web:1");
    kubectl.ok("expose deployment web --port=80 --type=NodePort");
    assert_eq!(shown(kubectl, "web")[1], "NodePort");
    let refused = kubectl.fails("create service nodeport again --tcp=80:8080 --node-port=30100");
    assert!(refused.contains("provided port is already allocated"), "{version}: {refused}");
    let taken = format!("create service clusterip again --tcp=80:8080 --clusterip={address}");
    let refused = kubectl.fails(&taken);
    let why = format!("failed to allocate IP {address}: provided IP is already allocated");
    assert!(refused.contains(&why), "{version}: {refused}");
    assert!(kubectl.fails(&format!("delete ipaddress {address}")).contains("has this address"));

    let patch = r#"{"spec":{"type":"ClusterIP"}}"#;
    kubectl.ok(&format!("patch svc outside -p {patch}"));
    kubectl.ok("create service nodeport again --tcp=80:8080 --node-port=30100");
    kubectl.ok("delete svc inside bare far outside balanced web again");
    kubectl.ok("delete deployment web");
}

fn only_the_apis_own_is_left(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok("get ipaddresses -o name"), "ipaddress.networking.k8s.io/10.96.0.1\n");
}

/// Through all servers, and one of them asks for what the others were given.
fn many_at_once(cluster: &Cluster) {
    let kubectl = cluster.kubectl("1.36");
    let commands: Vec<_> = (0..12)
        .map(|number| {
            let through = kubectl.through(&format!("server-{}", number % 3 + 1));
            let mut command = through.command(&format!("create service nodeport s{number} --tcp=80:80"));
            command.stdout(Stdio::null()).spawn()
        })
        .collect();
    for command in commands {
        let ended = command.and_then(|mut command| command.wait()).expect("kubectl runs");
        assert!(ended.success());
    }
    let of_all = |path: &str| -> Vec<String> {
        let told = kubectl.ok(&format!("get svc -o jsonpath={{.items[*].spec.{path}}}"));
        told.split_whitespace().map(str::to_owned).collect()
    };
    for (path, count) in [("clusterIP", 13), ("ports[0].nodePort", 12)] {
        let all = of_all(path);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count, "{path}: {all:?}");
    }
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    kubectl.ok(&format!("delete svc {}", names.join(" ")));
}
